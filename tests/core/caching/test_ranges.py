"""Range, Content-Range and If-Range fields."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.fields import combine
from holdfast.core.caching.ranges import (
    Span,
    Wanted,
    content_range,
    if_range_holds,
    read_content_range,
    read_range,
    satisfied,
    strong_validator,
)
from tests.core.caching.building import DATE, HOSTILE, LINEAR, MINUTE_EARLIER, WALL, block, growth


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("bytes=0-499", [(0, 499)]),
        ("BYTES=0-0", [(0, 0)]),
        ("bytes=9500-", [(9500, None)]),
        ("bytes=-500", [(None, 500)]),
        ("bytes=-0", [(None, 0)]),
        (" bytes=0-1 , ,5-6,\t-2 ", [(0, 1), (5, 6), (None, 2)]),
        ("bytes=" + "0" * 5000 + "7-", [(7, None)]),
        ("bytes=0-" + "9" * 5000, [(0, 10**18)]),
        ("bytes=" + ",".join(["0-0"] * 64), [(0, 0)] * 64),
        ("bytes=" + ",".join(["0-0"] * 65), None),
        ("bytes=1-0", None),
        ("bytes=0-1,9-8", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes=,", None),
        ("bytes 0-1", None),
        ("bytes=0 - 1", None),
        ("bytes=0-1-2", None),
        ("bytes=+0-1", None),
        ("bytes=0x0-1", None),
        ("bytes=\xb2-3", None),
        ("bytes=0-1, bytes=2-3", None),
        ("items=0-1", None),
        ("", None),
    ],
)
def test_what_a_range_field_asks_for(field: str, wanted: list[tuple[int | None, int | None]] | None) -> None:
    assert read_range(field.encode("latin-1")) == (None if wanted is None else tuple(Wanted(*one) for one in wanted))


@pytest.mark.parametrize(
    ("field", "spans"),
    [
        ("bytes=0-4", [(0, 5)]),
        ("bytes=9-", [(9, 10)]),
        ("bytes=10-", []),
        ("bytes=0-999", [(0, 10)]),
        ("bytes=-3", [(7, 10)]),
        ("bytes=-30", [(0, 10)]),
        ("bytes=-0", []),
        ("bytes=10-20,-0", []),
        ("bytes=50-60,2-3", [(2, 4)]),
        ("bytes=5-9,0-4", [(0, 10)]),
        ("bytes=0-3,2-5,-4", [(0, 10)]),
        ("bytes=0-1,3-4", [(0, 2), (3, 5)]),
        ("bytes=8-8,0-0,0-0", [(0, 1), (8, 9)]),
    ],
)
def test_what_there_is_of_it_in_ten_bytes(field: str, spans: list[tuple[int, int]]) -> None:
    wanted = read_range(field.encode())
    assert wanted is not None
    assert satisfied(wanted, 10) == spans


positions = st.one_of(st.none(), st.integers(0, 40))


@given(st.lists(st.tuples(positions, positions), min_size=1, max_size=8), st.integers(0, 30))
def test_the_bytes_given_are_those_asked_for(specs: list[tuple[int | None, int | None]], length: int) -> None:
    text = ",".join(f"{'' if first is None else first}-{'' if last is None else last}" for first, last in specs)
    wanted = read_range(b"bytes=" + text.encode())
    valid = all(
        not (first is None and last is None) and not (first is not None and last is not None and last < first)
        for first, last in specs
    )
    assert (wanted is not None) == valid
    if wanted is None:
        return
    asked: set[int] = set()
    for first, last in specs:
        if first is None:
            asked |= set(range(max(0, length - (last or 0)), length))
        else:
            asked |= set(range(first, length if last is None else min(last + 1, length)))
    spans = satisfied(wanted, length)
    assert {at for span in spans for at in range(*span)} == asked
    assert all(one.stop < other.start for one, other in itertools.pairwise(spans))


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("bytes 0-4/10", (Span(0, 5), 10)),
        ("Bytes  5-9/10 ", (Span(5, 10), 10)),
        ("bytes 0-9/10", (Span(0, 10), 10)),
        ("bytes 4-10/10", None),
        ("bytes 5-4/10", None),
        ("bytes 0-4/*", None),
        ("bytes */10", None),
        ("items 0-4/10", None),
        ("bytes=0-4/10", None),
        ("bytes 0-4/10, bytes 5-9/10", None),
        ("bytes 0-4/" + "9" * 19, None),
        ("", None),
    ],
)
def test_what_a_content_range_field_tells(field: str, told: tuple[Span, int] | None) -> None:
    assert read_content_range(field.encode()) == told


@given(st.integers(0, 10**17), st.integers(1, 10**17), st.integers(0, 10**17))
def test_a_content_range_is_read_as_it_was_written(start: int, size: int, more: int) -> None:
    span, length = Span(start, start + size), start + size + more
    assert read_content_range(content_range(span, length)) == (span, length)


@given(st.binary(max_size=200))
def test_no_field_fails(value: bytes) -> None:
    for prefix in (b"", b"bytes=", b"bytes "):
        read_range(prefix + value)
        read_content_range(prefix + value)
        if_range_holds(prefix + value, {b"etag": value, b"last-modified": value, b"date": value}, WALL)


@pytest.mark.parametrize("make", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_fields_take_linear_time(make: object) -> None:
    assert callable(make)
    assert growth(lambda value: read_range(b"bytes=" + value), make) < LINEAR
    assert growth(lambda value: read_content_range(b"bytes " + value), make) < LINEAR
    assert growth(lambda value: if_range_holds(value, {b"etag": value}, WALL), make) < LINEAR


A_SECOND_EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ('ETag: "a"', b'"a"'),
        ('ETag: ""', b'""'),
        ('ETag: W/"a"', None),
        ("ETag: a", None),
        ('ETag: "', None),
        ('ETag: "a"\nETag: "b"', None),
        (f"Last-Modified: {MINUTE_EARLIER.decode()}\nDate: {DATE.decode()}", MINUTE_EARLIER),
        (f'ETag: W/"a"\nLast-Modified: {MINUTE_EARLIER.decode()}\nDate: {DATE.decode()}', None),
        (f"Last-Modified: {A_SECOND_EARLIER}\nDate: {DATE.decode()}", None),
        (f"Last-Modified: {MINUTE_EARLIER.decode()}", None),
        ("", None),
    ],
)
def test_only_a_strong_validator_tells_bytes_apart(headers: str, validator: bytes | None) -> None:
    assert strong_validator(combine(block(headers)), WALL) == validator


MODIFIED = f"Last-Modified: {MINUTE_EARLIER.decode()}\nDate: {DATE.decode()}"


@pytest.mark.parametrize(
    ("if_range", "headers", "holds"),
    [
        ('"a"', 'ETag: "a"', True),
        ('"b"', 'ETag: "a"', False),
        ('W/"a"', 'ETag: W/"a"', False),
        ('"a"', 'ETag: W/"a"', False),
        ('W/"a"', 'ETag: "a"', False),
        ('"a", "b"', 'ETag: "a"', False),
        ("a", "ETag: a", False),
        ('"a"', "", False),
        ("", "", False),
        (MINUTE_EARLIER.decode(), MODIFIED, True),
        ("Sunday, 06-Nov-94 08:48:37 GMT", MODIFIED, True),
        (DATE.decode(), MODIFIED, False),
        (A_SECOND_EARLIER, f"Last-Modified: {A_SECOND_EARLIER}\nDate: {DATE.decode()}", False),
        (MINUTE_EARLIER.decode(), 'ETag: "a"', False),
    ],
)
def test_if_range_compares_strongly(if_range: str, headers: str, holds: bool) -> None:
    assert if_range_holds(if_range.encode(), combine(block(headers)), WALL) is holds
