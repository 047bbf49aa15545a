"""Is what came the rest of a file that is there in part? Decided from a response's head, before a byte is written.

No I/O. What cannot be trusted to be the same bytes is fetched again from the start.
"""

from __future__ import annotations

import binascii
import re
from typing import Final, Literal, TypeAlias

from holdfast.core.caching.ranges import read_content_range
from holdfast.core.value import Value

__all__ = ["Part", "Piece", "digest_of", "judge"]

Piece: TypeAlias = Literal["whole", "rest", "complete", "useless"]
"""What an answer is: all of it; what follows the part; nothing, for the part is all of it; or not to be used."""

_UNSATISFIED: Final = rb"bytes[ \t]+\*/([0-9]{1,18})"
# RFC 9651 3.2: a dictionary whose values are byte sequences; parameters are passed over.
_MEMBER: Final = r"[ \t]*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):[^,]*(?:,|$)"
_SIZES: Final = {"sha-512": 64, "sha-256": 32}  # RFC 9530 5: the active ones, the stronger first


class Part(Value):
    """What is known of a part: the strong ``validator`` of its bytes, the ``length`` of the whole, and its ``digest``.

    ``digest`` is a field of RFC 9530 over the whole, as it came. None: not known.
    """

    def __init__(self, validator: str, length: int | None, digest: str | None) -> None:
        self.validator: Final = validator
        self.length: Final = length
        self.digest: Final = digest


def judge(status: int, content_range: str | None, etag: str | None, *, start: int, part: Part | None) -> Piece:
    """What a success, or a 416, is to a part of ``start`` bytes; without a ``part``, no range was asked for."""
    told = (content_range or "").encode("latin-1", "replace")
    if status == 416:
        found = re.fullmatch(_UNSATISFIED, told.strip())
        return "complete" if part is not None and found is not None and int(found[1]) == start else "useless"
    if status != 206:
        return "whole"
    holds = read_content_range(told)
    if part is None or holds is None:
        return "useless"
    span, length = holds
    changed = etag is not None and part.validator[:1] == '"' and etag != part.validator
    return "useless" if changed or span.start != start or part.length not in (None, length) else "rest"


def digest_of(field: str | None) -> tuple[str, bytes] | None:
    """The strongest digest that a Repr-Digest or Content-Digest field has and that is worth something."""
    found: dict[str, bytes] = {}
    for name, text in re.findall(_MEMBER, field or "")[:16]:
        try:
            value = binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error:
            continue
        if len(value) == _SIZES.get(name):
            found[name] = value
    return next(((name, found[name]) for name in _SIZES if name in found), None)
