"""What of a stored answer does a request get, and how do parts become a whole? (RFC 9110 14, RFC 9111 3.3, 3.4)

A part is an entry of status 206. Its Content-Range lines name the pieces that it holds, in order, without overlap;
its body is their bytes, one after the other. It stands where the whole would stand, so either replaces the other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple, TypeAlias

from holdfast.core.caching.entry import Entry, Exchange, pack
from holdfast.core.caching.fields import Fields, Headers, combine, delta_seconds
from holdfast.core.caching.key import Identity
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.ranges import (
    Span,
    content_range,
    if_range_holds,
    read_content_range,
    read_range,
    satisfied,
    strong_validator,
)
from holdfast.core.caching.request import Ask
from holdfast.core.caching.storing import Storable, Unstorable, judge
from holdfast.core.caching.validation import Mismatch, merged, not_modified, not_modified_headers

PARTIAL: Final = 206

_MOST_PIECES: Final = 64
_NOTHING: Final = Span(0, 0)
_IN_A_416: Final = frozenset((b"date", b"etag", b"last-modified", b"accept-ranges"))
# Fields that tell of the bytes of one message, and not of the whole (RFC 9110 8.6, 14.4; RFC 9530 2).
_OF_THE_MESSAGE: Final = frozenset(
    (b"content-length", b"content-range", b"content-digest", b"content-md5", b"transfer-encoding")
)


class Completed(NamedTuple):
    """The answer is the ``size`` bytes that were missing, behind the first ``before`` of those that are stored.

    The last ``after`` of them follow. ``headers`` are those of the whole, a 200.
    """

    headers: list[tuple[bytes, bytes]]
    before: int
    size: int
    after: int


class Whole:
    """All of it, as if no range had been asked for."""

    __slots__ = ()


class Cut(NamedTuple):
    """The bytes of ``span``, of ``length`` in all; in the stored body they begin at ``offset``."""

    span: Span
    length: int
    offset: int


class OutOfRange(NamedTuple):
    """A 416: of ``length`` bytes there are none that were asked for."""

    length: int


Portion: TypeAlias = Whole | Cut | OutOfRange
WHOLE: Final = Whole()


def portion(ask: Ask, entry: Entry) -> Portion | None:
    """What of ``entry`` answers a GET or HEAD; None if it takes the origin.

    Several ranges that do not touch are for the origin, which may answer them in one message of many parts.
    """
    value = ask.fields.get(b"range") if ask.method == "GET" else None  # RFC 9110 14.2: for no other method
    if entry.status == PARTIAL:
        return None if value is None else _of_pieces(ask, value, entry)
    if value is None or entry.status != 200 or not entry.size:
        return WHOLE
    wanted = read_range(value)
    if wanted is None:
        return None
    fields = entry.fields
    if not _if_range(ask, entry):
        return WHOLE
    if b"content-encoding" in fields and strong_validator(fields, entry.wall) is None:
        # Encoded for this one answer: the bytes are not the same twice, and a slice of them can not be decoded.
        return WHOLE
    match satisfied(wanted, entry.size):
        case []:
            return OutOfRange(entry.size)
        case [span]:
            return Cut(span, entry.size, span.start)
        case _:
            return None


def answers(ask: Ask, entry: Entry) -> bool:
    """Whether there is a `reply` to ``ask``: not every part has one."""
    if entry.status != PARTIAL and b"range" not in ask.fields:
        return True
    return not_modified(ask, entry) or portion(ask, entry) is not None


def reply(ask: Ask, entry: Entry) -> tuple[int, list[tuple[bytes, bytes]], Span]:
    """Status, fields but for Age, and the bytes of the stored body that answer a request which `portion` allows."""
    if not_modified(ask, entry):
        return 304, not_modified_headers(entry), _NOTHING
    answer = portion(ask, entry)
    assert answer is not None, "the entry does not answer this request"
    kept = [pair for pair in entry.headers if pair[0].lower() not in _OF_THE_MESSAGE]
    match answer:
        case Whole():
            return entry.status, entry.headers, Span(0, entry.size)
        case Cut(span, length, offset):
            start, stop = span
            told = [(b"Content-Range", content_range(span, length)), (b"Content-Length", b"%d" % (stop - start))]
            return PARTIAL, [*kept, *told], Span(offset, offset + stop - start)
        case OutOfRange(length):
            kept = [pair for pair in kept if pair[0].lower() in _IN_A_416]
            return 416, [*kept, (b"Content-Range", b"bytes */%d" % length), (b"Content-Length", b"0")], _NOTHING


def judge_part(
    ask: Ask,
    key: str,
    headers: Headers,
    exchange: Exchange,
    policy: CachePolicy,
    identity: Identity,
    said: Fields | None = None,
) -> Storable | Unstorable:
    """Whether a 206 may be stored, which is so if a 200 with its fields might be (RFC 9111 3.3). See `judge`."""
    fields = combine(headers) if said is None else said
    told = read_content_range(fields.get(b"content-range", b""))
    if b"range" not in ask.fields or told is None:
        return Unstorable("range")
    (start, stop), _ = told
    declared = fields.get(b"content-length")
    if declared is not None and delta_seconds(declared.strip(b" \t")) != stop - start:
        return Unstorable("range")  # which bytes these are is anybody's guess
    judged = judge(ask, key, 200, headers, exchange, policy, identity, fields)
    return Storable(replace(judged.entry, status=PARTIAL)) if isinstance(judged, Storable) else judged


def cut_off(entry: Entry, size: int, length: int | None) -> Entry | None:
    """What to keep, but for the body, of an answer that broke off after ``size`` of ``length`` bytes.

    None if it could never be completed.
    """
    if length is None or not 0 < size < length or entry.status != 200:
        return None
    if strong_validator(entry.fields, entry.wall) is None:
        return None
    head = pack(_partial(entry.headers, [Span(0, size)], length))
    return None if head is None else replace(entry, status=PARTIAL, head=head)


def joined(stored: Entry | None, part: Entry, limit: int) -> Entry | None:
    """What takes the place of ``stored`` when ``part`` has come whole; None if ``stored`` stays.

    Parts with one strong validator become one entry, which is complete once nothing is missing (RFC 9111 3.4).
    Otherwise the newer part replaces an older one, and a whole that it proves to be out of date. Of more than
    ``limit`` bytes, or of too many pieces, those farthest from the new part are forgotten.
    """
    read = _pieces(part)
    if read is None or not isinstance(part.body, bytes):
        return None
    new, length = read
    span, content = new[0]
    if stored is None or not same_bytes(stored, part) or _length(stored) != length:
        if stored is not None and not _supersedes(part, stored):
            return None
        return _assemble(part, part.headers, new, length)
    newer, older = (part, stored) if part.response_time >= stored.response_time else (stored, part)
    held = _pieces(stored)
    if held is None:  # whole, or too long to be put together in memory: its bytes stay, and what is said of them
        told = [pair for pair in part.headers if pair[0].lower() not in _OF_THE_MESSAGE]
        return None if newer is stored else _with_headers(part, stored, merged(stored.headers, told), stored.tags)
    headers = merged(older.headers, newer.headers)
    pieces = _bounded(_merged_pieces(held[0], span, content), span, limit)
    return _assemble(newer, headers, pieces or new, length, older.tags)


def same_bytes(one: Entry, other: Entry) -> bool:
    """Whether both are of one representation (RFC 9110 8.8.1)."""
    validator = strong_validator(one.fields, one.wall)
    return validator is not None and validator == strong_validator(other.fields, other.wall)


def missing(entry: Entry) -> Span | None:
    """The bytes to ask for, in one piece, to make a part whole; None if nothing could be joined to it."""
    told = _spans(entry)
    if told is None or strong_validator(entry.fields, entry.wall) is None:
        return None
    spans, length = told
    first, last = spans[0], spans[-1]
    gap = Span(first.stop if first.start == 0 else 0, last.start if last.stop == length else length)
    return gap if gap != (0, length) else None


def completing(entry: Entry, gap: Span) -> list[tuple[bytes, bytes]]:
    """Fields that ask for ``gap``, and for everything if the representation is another now (RFC 9110 13.1.5)."""
    validator, told = strong_validator(entry.fields, entry.wall), _spans(entry)
    if validator is None or told is None:
        return []
    last = b"" if gap.stop == told[1] else b"%d" % (gap.stop - 1)
    return [(b"Range", b"bytes=%d-%b" % (gap.start, last)), (b"If-Range", validator)]


def judge_rest(entry: Entry, gap: Span, status: int, headers: Headers, wall: float) -> Completed | Mismatch | None:
    """What the answer to `completing` means; None if it stands for itself. ``wall``: when it came."""
    if status not in (PARTIAL, 416):
        return None
    told, fields = _spans(entry), combine(headers)
    if told is None or read_content_range(fields.get(b"content-range", b"")) != (gap, told[1]):
        return Mismatch()
    if strong_validator(fields, wall) != strong_validator(entry.fields, entry.wall):
        return Mismatch()
    start, stop = gap
    return Completed(_whole(merged(entry.headers, headers), told[1]), start, stop - start, told[1] - stop)


def _if_range(ask: Ask, entry: Entry) -> bool:
    """Whether the Range field counts."""
    value = ask.fields.get(b"if-range")
    return value is None or if_range_holds(value, entry.fields, entry.wall)


_Piece: TypeAlias = tuple[Span, bytes | memoryview]


def _of_pieces(ask: Ask, value: bytes, entry: Entry) -> Cut | None:
    wanted, told = read_range(value), _spans(entry)
    if wanted is None or told is None or not _if_range(ask, entry):
        return None
    spans, length = told
    asked = satisfied(wanted, length)
    offset = 0
    for held in spans:
        if len(asked) == 1 and held.holds(asked[0]):
            return Cut(asked[0], length, offset + asked[0].start - held.start)
        offset += held.stop - held.start
    return None


def _spans(entry: Entry) -> tuple[list[Span], int] | None:
    """Where the pieces of a part lie, and in how many bytes; None if it is no part or its body is not they."""
    if entry.status != PARTIAL:
        return None
    spans: list[Span] = []
    length = size = 0
    for name, value in entry.headers:
        if name.lower() != b"content-range":
            continue
        told = read_content_range(value)
        if told is None or (spans and (told[1] != length or told[0].start <= spans[-1].stop)):
            return None
        span, length = told
        spans.append(span)
        size += span.stop - span.start
    return (spans, length) if spans and size == entry.size else None


def _pieces(entry: Entry) -> tuple[list[_Piece], int] | None:
    told = _spans(entry)
    body = entry.body
    if told is None or not isinstance(body, bytes):
        return None
    pieces: list[_Piece] = []
    view, at = memoryview(body), 0
    for span in told[0]:
        end = at + span.stop - span.start
        pieces.append((span, view[at:end]))
        at = end
    return pieces, told[1]


def _length(entry: Entry) -> int | None:
    """Bytes of the whole."""
    if entry.status != PARTIAL:
        return entry.size if entry.status == 200 else None
    told = _spans(entry)
    return None if told is None else told[1]


def _supersedes(part: Entry, stored: Entry) -> bool:
    if stored.response_time > part.response_time:
        return False
    if stored.status != 200:
        return True
    # Without two strong validators nobody knows whether the whole, which can still be of use, is out of date.
    both = strong_validator(stored.fields, stored.wall), strong_validator(part.fields, part.wall)
    return None not in both


def _merged_pieces(held: list[_Piece], span: Span, content: bytes | memoryview) -> list[_Piece]:
    """``held`` with the new piece in it; where they overlap, the new one counts."""
    start, stop = span
    before: bytes | memoryview = b""
    after: bytes | memoryview = b""
    apart: list[_Piece] = []
    for other, kept in held:
        if other.stop < span.start or other.start > span.stop:
            apart.append((other, kept))
            continue
        if other.start < start:
            start, before = other.start, kept[: span.start - other.start]
        if other.stop > stop:
            stop, after = other.stop, kept[span.stop - other.start :]
    return sorted([*apart, (Span(start, stop), b"".join((before, content, after)))])


def _bounded(pieces: list[_Piece], new: Span, limit: int) -> list[_Piece]:
    size = sum(len(content) for _, content in pieces)
    while len(pieces) > 1 and (size > limit or len(pieces) > _MOST_PIECES):
        first, last = pieces[0][0], pieces[-1][0]
        _, content = pieces.pop(0 if new.start - first.start > last.stop - new.stop else -1)
        size -= len(content)
    return pieces if size <= limit else []


def _assemble(
    like: Entry, headers: Headers, pieces: list[_Piece], length: int, tags: tuple[str, ...] = ()
) -> Entry | None:
    """An entry of ``pieces``: complete, if that is all."""
    body = b"".join(content for _, content in pieces)
    if len(body) == length:
        status, fields = 200, _whole(headers, length)
    else:
        status, fields = PARTIAL, _partial(headers, [span for span, _ in pieces], length)
    entry = _with_headers(like, like, fields, tags)
    return None if entry is None else replace(entry, status=status, body=body)


def _with_headers(newer: Entry, body_of: Entry, headers: Headers, tags: tuple[str, ...]) -> Entry | None:
    head = pack(headers)
    if head is None:
        return None
    tags = tuple(dict.fromkeys((*newer.tags, *tags)))
    return replace(newer, status=body_of.status, head=head, body=body_of.body, tags=tags)


def _partial(headers: Headers, spans: list[Span], length: int) -> list[tuple[bytes, bytes]]:
    kept = [pair for pair in headers if pair[0].lower() not in _OF_THE_MESSAGE]
    return kept + [(b"Content-Range", content_range(span, length)) for span in spans]


def _whole(headers: Headers, length: int) -> list[tuple[bytes, bytes]]:
    kept = [pair for pair in headers if pair[0].lower() not in _OF_THE_MESSAGE]
    return [*kept, (b"Content-Length", b"%d" % length)]
