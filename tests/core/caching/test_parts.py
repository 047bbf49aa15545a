"""What of a stored answer a request gets, and how parts become a whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.entry import Entry
from holdfast.core.caching.parts import (
    WHOLE,
    Completed,
    Cut,
    OutOfRange,
    completing,
    cut_off,
    joined,
    judge_part,
    judge_rest,
    missing,
    portion,
    reply,
)
from holdfast.core.caching.ranges import Span, content_range
from holdfast.core.caching.storing import Storable, Unstorable
from holdfast.core.caching.validation import Mismatch, Updated, judge_answer
from tests.core.caching.building import (
    DATE,
    IDENTITY,
    KEY,
    MINUTE_EARLIER,
    PRIVATE,
    RECEIVED,
    SHARED,
    WALL,
    ask,
    block,
    exchange,
    stored,
)

TEN = b"0123456789"
MUCH = 1_000_000
FRESH = "Cache-Control: max-age=60\n"
STRONG = FRESH + 'ETag: "a"\n'


def judged_part(response: str, *, request: str = "Range: bytes=0-4", at: float = RECEIVED) -> Storable | Unstorable:
    return judge_part(ask(request), KEY, block(response), exchange(at), PRIVATE, IDENTITY)


def part(first: int, stop: int, fields: str = STRONG, *, at: float = RECEIVED, body: bytes = TEN) -> Entry:
    """A 206 as it came, not yet joined to anything."""
    said = fields + f"Content-Range: {content_range(Span(first, stop), len(body)).decode()}"
    judged = judged_part(said, at=at)
    assert isinstance(judged, Storable), judged
    return judged.entry.with_body(body[first:stop])


def kept(*parts: Entry, limit: int = MUCH) -> Entry:
    """What is stored when these have come, one after the other."""
    entry: Entry | None = None
    for one in parts:
        entry = joined(entry, one, limit) or entry
    assert entry is not None
    return entry


def lines(entry: Entry, name: bytes) -> list[bytes]:
    return [value for field, value in entry.headers if field.lower() == name]


# What a request gets


@pytest.mark.parametrize(
    ("request_headers", "answer"),
    [
        ("", WHOLE),
        ("Range: bytes=0-4", Cut(Span(0, 5), 10, 0)),
        ("Range: bytes=-4", Cut(Span(6, 10), 10, 6)),
        ("Range: bytes=0-", Cut(Span(0, 10), 10, 0)),
        ("Range: bytes=5-9,0-4", Cut(Span(0, 10), 10, 0)),
        ("Range: bytes=10-", OutOfRange(10)),
        ("Range: bytes=-0", OutOfRange(10)),
        ("Range: bytes=0-1,5-6", None),
        ("Range: items=0-1", None),
        ("Range: bytes=x", None),
        ('If-Range: "a"', WHOLE),
        ('Range: bytes=0-4\nIf-Range: "a"', Cut(Span(0, 5), 10, 0)),
        ('Range: bytes=0-4\nIf-Range: "b"', WHOLE),
        ('Range: bytes=99-\nIf-Range: "b"', WHOLE),
        ('Range: bytes=0-4\nIf-Range: W/"a"', WHOLE),
    ],
)
def test_what_a_whole_answer_is_good_for(request_headers: str, answer: object) -> None:
    assert portion(ask(request_headers), stored(STRONG, body=TEN)) == answer


@pytest.mark.parametrize(
    "entry",
    [
        stored(FRESH, status=404, body=TEN),
        stored(FRESH, body=b""),
        stored(FRESH + "Content-Encoding: gzip", body=TEN),
        stored(FRESH + 'Content-Encoding: gzip\nETag: W/"a"', body=TEN),
    ],
    ids=["404", "empty", "encoded", "encoded and weak"],
)
def test_a_range_of_what_has_none_is_all_of_it(entry: Entry) -> None:
    assert portion(ask("Range: bytes=0-4"), entry) == WHOLE


@pytest.mark.parametrize("fields", [FRESH, FRESH + 'ETag: W/"a"', STRONG + "Content-Encoding: gzip"])
def test_a_range_is_cut_from_bytes_that_stay(fields: str) -> None:
    assert portion(ask("Range: bytes=0-4"), stored(fields, body=TEN)) == Cut(Span(0, 5), 10, 0)


def test_head_has_no_range() -> None:
    assert portion(ask("Range: bytes=0-4", "HEAD"), stored(STRONG, body=TEN)) == WHOLE


@pytest.mark.parametrize(
    ("request_headers", "status", "span"),
    [
        ("Range: bytes=2-4", 206, (2, 5)),
        ("Range: bytes=10-", 416, (0, 0)),
        ('Range: bytes=2-4\nIf-None-Match: "a"', 304, (0, 0)),
        ('Range: bytes=2-4\nIf-None-Match: "b"', 206, (2, 5)),
        ('Range: bytes=2-4\nIf-Range: "b"', 200, (0, 10)),
    ],
)
def test_the_fields_of_an_answer_tell_of_it_and_not_of_the_whole(
    request_headers: str, status: int, span: tuple[int, int]
) -> None:
    said = (
        STRONG + "Content-Length: 10\nContent-Digest: x\nRepr-Digest: y\nContent-Type: a/b\nX: 1\nAccept-Ranges: bytes"
    )
    given_status, headers, given_span = reply(ask(request_headers), stored(said, body=TEN))
    names = [name for name, _ in headers]
    assert (given_status, given_span) == (status, span)
    assert (b"ETag", b'"a"') in headers
    assert len(names) == len(set(names))
    if status == 206:
        assert (b"Content-Range", b"bytes 2-4/10") in headers
        assert (b"Content-Length", b"3") in headers
        assert {b"Repr-Digest", b"Content-Type", b"X", b"Accept-Ranges"} <= set(names)
        assert b"Content-Digest" not in names
    if status == 416:
        assert (b"Content-Range", b"bytes */10") in headers
        assert (b"Content-Length", b"0") in headers
        assert b"Content-Type" not in names


# What of a 206 is stored


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (STRONG + "Content-Range: bytes 0-4/10", None),
        (STRONG + "Content-Range: bytes 0-4/10\nContent-Length: 5", None),
        (FRESH + "Content-Range: bytes 0-4/10", None),
        ("Cache-Control: max-age=9, must-understand\nContent-Range: bytes 0-4/10", None),
        ('ETag: "a"\nContent-Range: bytes 0-4/10', None),
        (STRONG, "range"),
        (STRONG + "Content-Type: multipart/byteranges; boundary=x", "range"),
        (STRONG + "Content-Range: bytes 0-4/*", "range"),
        (STRONG + "Content-Range: items 0-4/10", "range"),
        (STRONG + "Content-Range: bytes 0-4/10\nContent-Length: 6", "range"),
        ('Cache-Control: no-store\nETag: "a"\nContent-Range: bytes 0-4/10', "no-store"),
        (STRONG + "Vary: *\nContent-Range: bytes 0-4/10", "vary"),
        ("Content-Range: bytes 0-4/10", "no lifetime and no validator"),
    ],
)
def test_what_of_a_206_may_be_stored(response: str, reason: str | None) -> None:
    judged = judged_part(response)
    assert (judged.reason if isinstance(judged, Unstorable) else None) == reason


def test_a_206_that_nobody_asked_for_is_not_stored() -> None:
    assert isinstance(judged_part(STRONG + "Content-Range: bytes 0-4/10", request=""), Unstorable)


def test_a_body_that_is_not_as_long_as_it_said_is_not_kept() -> None:
    assert joined(None, part(0, 5).with_body(b"0123"), MUCH) is None


@pytest.mark.parametrize(
    ("request_headers", "answer"),
    [
        ("Range: bytes=2-3", Cut(Span(2, 4), 10, 0)),
        ("Range: bytes=3-4", Cut(Span(3, 5), 10, 1)),
        ("Range: bytes=8-", Cut(Span(8, 10), 10, 4)),
        ("Range: bytes=-1", Cut(Span(9, 10), 10, 5)),
        ('Range: bytes=-1\nIf-Range: "a"', Cut(Span(9, 10), 10, 5)),
        ('Range: bytes=-1\nIf-Range: "b"', None),
        ("Range: bytes=1-3", None),
        ("Range: bytes=4-8", None),
        ("Range: bytes=-6", None),
        ("Range: bytes=10-", None),
        ("Range: bytes=2-2,8-8", None),
        ("", None),
    ],
)
def test_what_parts_are_good_for(request_headers: str, answer: object) -> None:
    entry = kept(part(7, 10), part(2, 5), part(7, 8))
    assert (entry.status, entry.body) == (206, b"234789")
    assert portion(ask(request_headers), entry) == answer


def test_parts_are_nothing_to_head() -> None:
    assert portion(ask("", "HEAD"), kept(part(2, 5))) is None


@pytest.mark.parametrize("head", ["bytes 0-4/10", "bytes 0-1/10\nbytes 2-4/10", "bytes 0-2/10\nbytes 3-3/9", "x", ""])
def test_a_part_whose_pieces_are_not_its_body_is_good_for_nothing(head: str) -> None:
    damaged = replace(
        kept(part(0, 5)), head=b"\n".join(b"Content-Range\n" + line.encode() for line in head.split("\n")), body=b"0123"
    )
    assert portion(ask("Range: bytes=0-0"), damaged) is None
    assert missing(damaged) is None


# Parts become a whole


@pytest.mark.parametrize(
    "parts",
    [[(0, 5), (5, 10)], [(5, 10), (0, 5)], [(0, 10)], [(2, 4), (6, 8), (0, 10)], [(0, 6), (8, 10), (3, 9)]],
)
def test_parts_that_are_everything_are_a_whole(parts: list[tuple[int, int]]) -> None:
    entry = kept(*(part(*one) for one in parts))
    assert (entry.status, entry.body) == (200, TEN)
    assert (lines(entry, b"content-length"), lines(entry, b"content-range")) == ([b"10"], [])
    assert portion(ask(), entry) == WHOLE


@given(st.lists(st.tuples(st.integers(0, 29), st.integers(1, 30)), min_size=1, max_size=12), st.data())
def test_whatever_parts_come_each_byte_is_in_its_place(places: list[tuple[int, int]], data: st.DataObject) -> None:
    body = bytes(range(30))
    have: set[int] = set()
    entry: Entry | None = None
    for first, size in places:
        span = Span(first, min(30, first + size))
        have |= set(range(*span))
        entry = joined(entry, part(*span, body=body), MUCH) or entry
    assert entry is not None
    assert (entry.status == 200) == (len(have) == 30)
    assert entry.size == len(have)
    first = data.draw(st.integers(0, 29))
    last = data.draw(st.integers(first, 29))
    answer = portion(ask(f"Range: bytes={first}-{last}"), entry)
    if isinstance(answer, Cut):
        assert isinstance(entry.body, bytes)
        assert entry.body[answer.offset :][: last + 1 - first] == body[first : last + 1]
        assert answer.span == (first, last + 1)
    assert isinstance(answer, Cut) == (set(range(first, last + 1)) <= have)


OLD = STRONG + "X-Old: 1\nX-Both: 1\n"
NEW = STRONG.replace("60", "90") + "X-Both: 2\nContent-Digest: of the part\n"


@pytest.mark.parametrize("late", [False, True], ids=["in order", "older one last"])
def test_fields_are_those_of_the_answer_that_came_last(late: bool) -> None:
    older, newer = part(0, 5, OLD), part(5, 10, NEW, at=RECEIVED + 7)
    entry = kept(newer, older) if late else kept(older, newer)
    assert (lines(entry, b"x-both"), lines(entry, b"x-old")) == ([b"2"], [b"1"])
    assert lines(entry, b"content-digest") == []
    assert (entry.lifetime, entry.response_time) == (90, RECEIVED + 7)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (STRONG, STRONG.replace('"a"', '"b"')),
        (STRONG, FRESH),
        (FRESH, FRESH),
        (FRESH + 'ETag: W/"a"\n', FRESH + 'ETag: W/"a"\n'),
        (STRONG, FRESH + 'ETag: W/"a"\n'),
        (
            FRESH + f"Last-Modified: {DATE.decode()}\nDate: {DATE.decode()}\n",
            FRESH + f"Last-Modified: {DATE.decode()}\nDate: {DATE.decode()}\n",
        ),
    ],
    ids=["other", "none", "neither", "weak", "weakened", "too young"],
)
def test_parts_without_one_strong_validator_are_never_put_together(first: str, second: str) -> None:
    entry = kept(part(0, 5, first), part(5, 10, second))
    assert (entry.status, entry.body) == (206, b"56789")
    assert kept(part(0, 5, first, at=RECEIVED + 1), part(5, 10, second)).body == b"01234"  # the newer one stays


def test_an_old_date_is_a_strong_validator() -> None:
    fields = FRESH + f"Last-Modified: {MINUTE_EARLIER.decode()}\nDate: {DATE.decode()}\n"
    assert kept(part(0, 5, fields), part(5, 10, fields)).status == 200


def test_parts_of_another_length_are_not_of_the_same_thing() -> None:
    assert kept(part(0, 5), part(5, 11, body=TEN + b"x")).body == b"56789x"


@pytest.mark.parametrize(
    ("whole", "new", "stays"),
    [
        (STRONG, STRONG.replace('"a"', '"b"'), False),
        (STRONG, FRESH, True),
        (FRESH, STRONG, True),
        (FRESH + 'ETag: W/"a"', FRESH + 'ETag: W/"b"\n', True),
    ],
)
def test_a_part_displaces_only_a_whole_that_is_known_to_be_out_of_date(whole: str, new: str, stays: bool) -> None:
    entry = joined(stored(whole, body=TEN), part(0, 5, new), MUCH)
    assert (entry is None) == stays


def test_a_part_of_the_stored_whole_makes_it_younger() -> None:
    entry = joined(stored(OLD, body=TEN), part(0, 5, NEW, at=RECEIVED + 50), MUCH)
    assert entry is not None
    assert (entry.status, entry.body, entry.response_time) == (200, TEN, RECEIVED + 50)
    assert lines(entry, b"x-both") == [b"2"]


def test_parts_are_bounded_in_bytes_and_in_number() -> None:
    body = bytes(1000)
    many = kept(*(part(at, at + 1, body=body) for at in range(0, 1000, 2)))
    assert len(lines(many, b"content-range")) == 64
    assert portion(ask("Range: bytes=998-998"), many) is not None
    assert portion(ask("Range: bytes=0-0"), many) is None
    grown = kept(*(part(at, at + 10, body=body) for at in range(0, 300, 10)), limit=100)
    assert grown.size <= 100
    assert portion(ask("Range: bytes=290-299"), grown) is not None


def test_what_it_may_be_purged_by_is_that_of_all_parts() -> None:
    entry = kept(replace(part(0, 5), tags=("one",)), replace(part(5, 10), tags=("two",)))
    assert sorted(entry.tags) == ["one", "two"]


# The rest


@pytest.mark.parametrize(
    ("parts", "gap", "asked"),
    [
        ([(0, 4)], (4, 10), b"bytes=4-"),
        ([(6, 10)], (0, 6), b"bytes=0-5"),
        ([(0, 2), (8, 10)], (2, 8), b"bytes=2-7"),
        ([(0, 2), (4, 5), (8, 10)], (2, 8), b"bytes=2-7"),
        ([(4, 5)], None, None),
    ],
)
def test_the_rest_is_asked_for_in_one_piece(
    parts: list[tuple[int, int]], gap: tuple[int, int] | None, asked: bytes | None
) -> None:
    entry = kept(*(part(*one) for one in parts))
    found = missing(entry)
    assert found == gap
    if found is not None:
        assert completing(entry, found) == [(b"Range", asked), (b"If-Range", b'"a"')]


@pytest.mark.parametrize("fields", [FRESH, FRESH + 'ETag: W/"a"\n'])
def test_without_a_strong_validator_there_is_no_rest(fields: str) -> None:
    assert missing(kept(part(0, 5, fields))) is None


@pytest.mark.parametrize(
    ("status", "response", "fits"),
    [
        (206, STRONG + "Content-Range: bytes 5-9/10", True),
        (206, STRONG + "Content-Range: bytes 4-9/10", False),
        (206, STRONG + "Content-Range: bytes 5-8/10", False),
        (206, STRONG + "Content-Range: bytes 5-9/11", False),
        (206, STRONG.replace('"a"', '"b"') + "Content-Range: bytes 5-9/10", False),
        (206, STRONG.replace('"a"', 'W/"a"') + "Content-Range: bytes 5-9/10", False),
        (206, FRESH + "Content-Range: bytes 5-9/10", False),
        (206, STRONG, False),
        (416, "Content-Range: bytes */5", False),
    ],
)
def test_only_the_very_rest_is_put_behind_a_part(status: int, response: str, fits: bool) -> None:
    entry = kept(part(0, 5))
    verdict = judge_rest(entry, Span(5, 10), status, block(response), WALL)
    if not fits:
        assert verdict == Mismatch()
        return
    assert isinstance(verdict, Completed)
    assert (verdict.before, verdict.size, verdict.after) == (5, 5, 0)
    assert (b"Content-Length", b"10") in verdict.headers


@pytest.mark.parametrize("status", [200, 304, 404, 503])
def test_another_answer_stands_for_itself(status: int) -> None:
    assert judge_rest(kept(part(0, 5)), Span(5, 10), status, block(STRONG), WALL) is None


@pytest.mark.parametrize(
    ("fields", "size", "length", "is_kept"),
    [
        (STRONG + "Content-Length: 10", 4, 10, True),
        (FRESH + 'Content-Length: 10\nETag: W/"a"', 4, 10, False),
        (STRONG, 4, None, False),
        (STRONG, 0, 10, False),
        (STRONG, 11, 10, False),
    ],
)
def test_what_is_kept_of_an_answer_that_broke_off(fields: str, size: int, length: int | None, is_kept: bool) -> None:
    entry = cut_off(stored(fields, body=b""), size, length)
    assert (entry is not None) == is_kept
    if entry is not None:
        held = kept(entry.with_body(TEN[:size]))
        assert (held.status, missing(held)) == (206, (4, 10))
        assert lines(held, b"content-length") == []


# Validation


def validated(entry: Entry, headers: str) -> object:
    return judge_answer(
        ask("Range: bytes=0-4"),
        entry,
        conditional=True,
        status=304,
        headers=block(headers),
        exchange=exchange(RECEIVED + 100),
        policy=SHARED,
        identity=IDENTITY,
    )


def test_a_304_makes_parts_younger_and_leaves_them_where_they_are() -> None:
    verdict = validated(kept(part(2, 5)), "Cache-Control: max-age=70\nContent-Range: bytes 0-0/1")
    assert isinstance(verdict, Updated)
    assert (verdict.keep, verdict.entry.status, verdict.entry.lifetime) == (True, 206, 70)
    assert portion(ask("Range: bytes=2-4"), verdict.entry) == Cut(Span(2, 5), 10, 0)


def test_a_304_that_weakens_the_validator_is_not_for_parts() -> None:
    assert validated(kept(part(2, 5)), 'ETag: W/"a"') == Mismatch()
    assert isinstance(validated(stored(STRONG), 'ETag: W/"a"'), Updated)
