"""Which stored answers belong together? (RFC 9875)

A group is known by its origin and its name, compared by case. An answer is found again by its tags: for each
group one that holds within its origin, which is all that a response may invalidate, and one that holds in all
origins, for whoever purges by hand; and one for the operation that fetched it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from holdfast.core.caching.fields import LONGEST_LIST

MOST_GROUPS: Final = 64
"""Groups of one answer that are heeded; RFC 9875 2 asks for at least 32, of up to 32 characters."""
LONGEST_GROUP: Final = 128

_MOST_TAGS: Final = 3 * MOST_GROUPS
# RFC 9651 4.2: strings with parameters; possessive, so that nothing is read twice. Not compiled here: re does that,
# and keeps it, when a field is first read.
_STRING: Final = rb'"((?:[ !#-\[\]-~]|\\["\\])*+)"'
_BARE_ITEM: Final = (
    rb'(?:-?[0-9]{1,12}\.[0-9]{1,3}|@?-?[0-9]{1,15}|\?[01]|:[A-Za-z0-9+/=]*+:|%?"(?:[ !#-\[\]-~]|\\["\\])*+"'
    rb"|[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*+)"
)
_PARAMETERS: Final = rb"(?:; *+[a-z*][a-z0-9_\-.*]*+(?:=" + _BARE_ITEM + rb")?+)*+"
_MEMBER: Final = _STRING + _PARAMETERS
_LIST: Final = _MEMBER + rb"(?:[ \t]*+,[ \t]*+" + _MEMBER + rb")*+"


def read_groups(value: bytes | None) -> tuple[str, ...]:
    """Names that a Cache-Groups or Cache-Group-Invalidation field lists, each once.

    None at all for what is not a list of strings, as RFC 9651 wants it; parameters are ignored. Names over
    ``LONGEST_GROUP`` characters, and those after the first ``MOST_GROUPS``, are left out.
    """
    if value is None or len(value) > LONGEST_LIST:
        return ()
    value = value.strip(b" ")
    if not re.fullmatch(_LIST, value):
        return ()
    # The list is well formed, so what begins after a comma or at the start is a member.
    names = (_unescaped(member[1]) for member in re.finditer(_MEMBER + rb"(?:[ \t]*+,[ \t]*+)?+", value))
    return tuple(dict.fromkeys(name for name in names if len(name) <= LONGEST_GROUP))[:MOST_GROUPS]


@lru_cache(maxsize=1024)
def tags_of(origin: str, groups: tuple[str, ...], operation: str | None) -> tuple[str, ...]:
    """Tags of an answer; the same object for equal ones, which entries then share."""
    tags = [tag for group in dict.fromkeys(groups) for tag in (group_tag(group), group_tag_within(origin, group))]
    return tuple(tags) if operation is None else (*tags, operation_tag(operation))


def joined(tags: tuple[str, ...], earlier: tuple[str, ...]) -> tuple[str, ...]:
    """Tags of an answer that was validated: a group that it ever had may still make it worthless."""
    if not earlier:
        return tags
    return earlier if set(tags) <= set(earlier) else tuple(dict.fromkeys((*tags, *earlier)))[:_MOST_TAGS]


def group_tag(group: str) -> str:
    """What a purge by hand removes: the group of every origin."""
    return f"group:{group}"


def group_tag_within(origin: str, group: str) -> str:
    """What an exchange with ``origin`` may remove (RFC 9875 2.1)."""
    return f"group@{origin} {group}"  # an origin has no space, so no name can pass for another origin's group


def operation_tag(operation: str) -> str:
    """What a purge by operation removes."""
    return f"operation:{operation}"


def _unescaped(text: bytes) -> str:
    plain = text.decode("ascii")
    # Only quotes and backslashes are escaped, each by one backslash.
    return re.sub(r'\\(["\\])', r"\1", plain) if "\\" in plain else plain
