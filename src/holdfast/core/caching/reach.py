"""What does a purge remove?"""

from __future__ import annotations

from typing import Literal, NamedTuple

from holdfast.core.caching.groups import group_tag, operation_tag
from holdfast.core.caching.key import spelled


class Reach(NamedTuple):
    """One URL, all URLs that begin with a text, or all answers with a tag; ``text`` is spelled as in the entries."""

    kind: Literal["url", "prefix", "tag"]
    text: str


EVERYTHING = Reach("prefix", "")


def reach_of(
    *, url: str | None = None, prefix: str | None = None, group: str | None = None, operation: str | None = None
) -> Reach:
    """What a person means by one of these; raises ValueError for none, for several, and for no absolute URL."""
    given = {"url": url, "prefix": prefix, "group": group, "operation": operation}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise ValueError(f"purge takes one of url, prefix, group and operation, got {', '.join(named) or 'none'}")
    if url is not None:
        return Reach("url", spelled(url))
    if prefix is not None:
        return Reach("prefix", spelled(prefix))  # with a path at least, so that no other host begins like it
    return Reach("tag", group_tag(group) if group is not None else operation_tag(str(operation)))
