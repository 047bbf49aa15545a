"""On what condition may a write go ahead, so that it overwrites nothing that its writer has not seen? (RFC 9110 13)"""

from __future__ import annotations

from holdfast.core.caching.fields import Fields
from holdfast.core.caching.ranges import strong_validator
from holdfast.errors import WeakValidator

__all__ = ["if_match", "if_unchanged"]


def if_match(etag: str) -> tuple[str, str]:
    """The field for an ETag that was kept, or for "*" (there is something). Raises `WeakValidator`."""
    quoted = etag.strip(" \t")
    # Compared strongly (RFC 9110 13.1.1), so a weak one would never match; a list of them is no reply's.
    if quoted != "*" and not (quoted[:1] == quoted[-1:] == '"' and quoted.count('"') == 2):
        raise WeakValidator("if_match takes a strong ETag, in its quotes, or *", argument="if_match")
    return "If-Match", quoted


def if_unchanged(fields: Fields, wall: float) -> tuple[str, str]:
    """The field for an answer with these fields, by lower-case name. ``wall``: when it came. Raises `WeakValidator`."""
    validator = strong_validator(fields, wall)
    if validator is not None:
        return ("If-Match" if b"etag" in fields else "If-Unmodified-Since"), validator.decode("latin-1")
    if b"etag" in fields:
        raise WeakValidator("the reply's ETag is weak: two states of the resource may share it", argument="if_match")
    if b"last-modified" in fields:  # RFC 9110 8.8.2.2
        raise WeakValidator("the reply is too fresh for its date to tell two changes apart", argument="if_match")
    raise WeakValidator("the reply has neither an ETag nor a Last-Modified", argument="if_match")
