"""Which bytes does a request ask for, which does an answer hold, and are they of the same thing? (RFC 9110 14)

Positions are half-open, as Python's slices: `Span(0, 500)` is ``bytes=0-499``. Every function is total and linear.
What cannot be read is None: the origin then judges a request, and an answer is no part that could be stored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from holdfast.core.caching.dates import parse_date
from holdfast.core.caching.fields import LONGEST_LIST, Fields, split_list


class Span(NamedTuple):
    """Bytes ``start`` up to, and without, ``stop``."""

    start: int
    stop: int

    def holds(self, other: Span) -> bool:
        return self.start <= other.start and other.stop <= self.stop


class Wanted(NamedTuple):
    """One range-spec as it was asked: a suffix has no ``first``, a range that is open at its end no ``last``."""

    first: int | None
    last: int | None


_MOST: Final = 64  # ranges in one field; a client that reads sensibly asks for a few (RFC 9110 14.2, 17.15)
# Not compiled here: re does that, and keeps it, when a range is first read, which most programs never do.
_SPEC: Final = rb"([0-9]*)-([0-9]*)"
_CONTENT: Final = rb"bytes[ \t]+([0-9]+)-([0-9]+)/([0-9]+)"
_DIGITS: Final = 18  # of a position; int() of a very long text is slow, and raises above 4,300 digits
# RFC 9110 8.8.2.2 wants a second, by one clock; a minute leaves room for origins of several (RFC 7232 2.2.2).
_SETTLED: Final = 60.0


def read_range(value: bytes) -> tuple[Wanted, ...] | None:
    """The ranges of a Range field in bytes; None for another unit, a fault of syntax, or too many."""
    unit, equals, ranges = value.strip(b" \t").partition(b"=")
    if not equals or unit.lower() != b"bytes" or len(ranges) > LONGEST_LIST or ranges.count(b",") >= _MOST:
        return None
    wanted: list[Wanted] = []
    for member in split_list(ranges):
        match = re.fullmatch(_SPEC, member)
        if match is None:
            return None
        first, last = (_position(digits) for digits in match.groups())
        if (first is None and last is None) or (first is not None and last is not None and last < first):
            return None
        wanted.append(Wanted(first, last))
    return tuple(wanted) or None


def satisfied(wanted: Sequence[Wanted], length: int) -> list[Span]:
    """What there is of ``wanted`` in ``length`` bytes, in order, with those that touch made one; empty for a 416."""
    spans: list[Span] = []
    for span in sorted(_clipped(one, length) for one in wanted):
        if span.start >= span.stop:
            continue
        if spans and span.start <= spans[-1].stop:
            spans[-1] = Span(spans[-1].start, max(spans[-1].stop, span.stop))
        else:
            spans.append(span)
    return spans


def read_content_range(value: bytes) -> tuple[Span, int] | None:
    """The bytes that an answer holds, and how many there are of the whole.

    None for another unit, a whole of unknown length, an answer to an unsatisfiable range, or one that
    contradicts itself.
    """
    match = re.fullmatch(_CONTENT, value.strip(b" \t").lower())
    if match is None or any(len(digits) > _DIGITS for digits in match.groups()):
        return None
    first, last, length = (int(digits) for digits in match.groups())
    return (Span(first, last + 1), length) if first <= last < length else None


def content_range(span: Span, length: int) -> bytes:
    """Content-Range of an answer with the bytes of ``span``."""
    return b"bytes %d-%d/%d" % (span.start, span.stop - 1, length)


def strong_validator(fields: Fields, wall: float) -> bytes | None:
    """The value that no other sequence of bytes of this resource has; None if there is none (RFC 9110 8.8.1).

    A strong ETag. Without any ETag it is Last-Modified, if the answer was made so much later that a second
    change could not have the same date (RFC 9110 8.8.2.2). ``wall``: when the answer came, in wall seconds.
    """
    etag = fields.get(b"etag")
    if etag is not None:
        etag = etag.strip(b" \t")
        return etag if etag[:1] == etag[-1:] == b'"' and etag.count(b'"') == 2 else None  # not two of them in a list
    return fields[b"last-modified"] if _settled(fields, wall) is not None else None


def if_range_holds(value: bytes, fields: Fields, wall: float) -> bool:
    """Whether an If-Range field names the very bytes of the answer with ``fields`` (RFC 9110 13.1.5)."""
    value = value.strip(b" \t")
    if value[:1] == b'"':
        return value == fields.get(b"etag", b"").strip(b" \t") == strong_validator(fields, wall)
    moment = parse_date(value, wall)  # a weak ETag is no date either
    return moment is not None and moment == _settled(fields, wall)


def _settled(fields: Fields, wall: float) -> float | None:
    """Last-Modified in wall seconds, where it is a strong validator."""
    modified = parse_date(fields.get(b"last-modified"), wall)
    made = parse_date(fields.get(b"date"), wall)
    return modified if modified is not None and made is not None and made - modified >= _SETTLED else None


def _clipped(wanted: Wanted, length: int) -> Span:
    first, last = wanted
    if first is None:
        return Span(max(0, length - (last or 0)), length)
    return Span(first, length if last is None else min(last + 1, length))


def _position(digits: bytes) -> int | None:
    if not digits:
        return None
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= _DIGITS else 10**_DIGITS
