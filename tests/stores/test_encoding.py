"""What is written down is read back the same, and what anybody else wrote is refused, never more than that."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any, Final
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.directives import ResponseDirectives
from holdfast.core.caching.entry import Entry
from holdfast.stores.encoding import Unreadable, decode, encode
from tests.core.caching.building import RECEIVED, WALL
from tests.stores.entries import entry
from tests.support import CHARACTERS, examples

numbers = st.integers(0, 2**53) | st.floats(0, 2**53)
octets = st.binary(max_size=30)
BY_ANNOTATION: Final[dict[str, st.SearchStrategy[Any]]] = {
    "str": st.text(CHARACTERS, max_size=30),
    "bool": st.booleans(),
    "int": st.integers(0, 2**53),
    "int | None": st.none() | st.integers(0, 2**53),
    "float": numbers,
    "float | None": st.none() | numbers,
    "bytes": octets,
    "bytes | None": st.none() | octets,
    "tuple[str, ...]": st.lists(st.text(CHARACTERS, max_size=9), max_size=3).map(tuple),
    "tuple[bytes, ...]": st.lists(octets, max_size=3).map(tuple),
    "frozenset[bytes]": st.frozensets(octets, max_size=3),
    "bytes | Blob": octets,
}


def all_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Any value that the class can have, by the annotations of its fields."""
    return st.builds(kind, **{field.name: BY_ANNOTATION[str(field.type)] for field in fields(kind)})


BY_ANNOTATION["ResponseDirectives"] = all_of(ResponseDirectives)


def record(**changes: Any) -> bytes:
    """A record with its JSON changed, or without what is given as ``...``, and its checksum right."""
    text = encode(entry(tags=("list",)), size=1, checksum=7).split(b"\n", 1)[1]
    made = {**json.loads(text), **changes}
    return framed(json.dumps({name: value for name, value in made.items() if value is not ...}))


def framed(text: str) -> bytes:
    return b"holdfast-entry/1 %08x\n%b" % (crc32(text.encode()), text.encode())


@examples(0.3)  # each draws thirty values
@given(all_of(Entry), st.integers(0, 2**50), st.integers(0, 2**32 - 1), st.text(CHARACTERS, max_size=40))
def test_an_entry_is_read_as_it_was_written(written: Entry, size: int, checksum: int, epoch: str) -> None:
    metadata = decode(encode(written, size=size, checksum=checksum, epoch=epoch))
    assert metadata.entry(written.body, written.response_time) == written
    assert (metadata.size, metadata.checksum, metadata.epoch) == (size, checksum, epoch)
    assert metadata.monotonic == written.response_time


def test_equal_parts_of_entries_are_one_object() -> None:
    first, second = (decode(encode(entry(f"http://a.test/{n}"), size=1, checksum=1)).entry(b"", 0) for n in "12")
    assert first.directives is second.directives
    assert first.vary is second.vary


@given(st.binary(max_size=300))
def test_garbage_is_unreadable(garbage: bytes) -> None:
    for given_bytes in (garbage, b"holdfast-entry/1 " + garbage, b"holdfast-entry/1 %08x\n" % crc32(garbage) + garbage):
        with pytest.raises(Unreadable):
            decode(given_bytes)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(CHARACTERS, max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(CHARACTERS, max_size=9), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(json.loads(record().split(b"\n", 1)[1]))), json_values)
def test_a_field_of_another_kind_is_unreadable_or_of_its_kind(name: str, value: Any) -> None:
    try:
        metadata = decode(record(**{name: value}))
    except Unreadable:
        return
    read = metadata.entry(b"", 0.0)
    kinds: dict[str, Any] = {"lifetime": (int, float), "initial_age": (int, float), "wall": (int, float)}
    assert all(
        isinstance(getattr(read, field.name), kinds.get(field.name, type(getattr(entry(), field.name))))
        for field in fields(Entry)
        if field.name not in ("body", "response_time")
    )


def test_what_was_read_before_does_not_stand_in_for_what_only_equals_it() -> None:
    decode(record(directives={"no_cache": True}))
    with pytest.raises(Unreadable):
        decode(record(directives={"no_cache": 1}))


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_one_changed_byte_is_seen(at: int, flipped: int) -> None:
    good = bytearray(record())
    good[at % len(good)] ^= flipped
    with pytest.raises(Unreadable):
        decode(bytes(good))


@pytest.mark.parametrize(
    "bad",
    [
        {"unknown": 1},
        {"key": ...},
        {"key": None},
        {"status": "200"},
        {"status": True},
        {"status": -1},
        {"status": 1e3},
        {"head": "\u0100"},
        {"lifetime": "60"},
        {"lifetime": 1e300},
        {"lifetime": 10**400},
        {"lifetime": float("nan")},
        {"lifetime": float("inf")},
        {"wall": ...},
        {"vary": "accept"},
        {"vary": [1]},
        {"tags": {"list": 1}},
        {"directives": []},
        {"directives": {"max_age": "60"}},
        {"directives": {"max_age": -1}},
        {"directives": {"unknown": True}},
        {"directives": {"no_cache": 1}},
        {"directives": {"no_cache_fields": ["a", 1]}},
        {"directives": {"no_cache_fields": [["a"]]}},
        {"body": 5},
        {"body": [5]},
        {"body": [-5, 0]},
        {"body": [5, 0, 0]},
        {"clock": ["a"]},
        {"clock": [1, 1.0]},
    ],
    ids=str,
)
def test_what_is_not_of_the_expected_shape_is_unreadable(bad: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        decode(record(**bad))


@pytest.mark.parametrize("text", ["", "null", "[]", "7", '"text"', "{", "[" * 100_000, "{}", '{"key":"a"}'])
def test_what_is_no_record_at_all_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        decode(framed(text))


def test_a_field_with_a_default_may_be_missing_so_that_older_records_stay_readable() -> None:
    assert decode(record(tags=..., directives={})).entry(b"", 0.0).tags == ()


@pytest.mark.parametrize("lifetime", [float("inf"), float("nan")])
def test_a_number_that_no_record_can_hold_is_refused(lifetime: float) -> None:
    with pytest.raises(ValueError):
        encode(replace(entry(), lifetime=lifetime), size=1, checksum=1)


# It came 100 s ago by the wall clock, and RECEIVED is the reading of its own monotonic clock.
@pytest.mark.parametrize(
    ("epoch", "now", "wall", "arrived"),
    [
        ("other", 500.0, WALL + 100, 400.0),
        ("other", 5.0, WALL + 100, -95.0),
        ("other", 500.0, WALL - 0.1, None),
        ("same", RECEIVED + 100, WALL + 100, RECEIVED),
        ("same", RECEIVED + 100, WALL + 100.9, RECEIVED),
        ("same", RECEIVED + 100, WALL + 7_300, RECEIVED - 7_200),
        ("same", RECEIVED + 100, WALL - 3_600, RECEIVED),
        ("same", RECEIVED - 1, WALL + 100, RECEIVED - 101),
        ("same", RECEIVED - 1, WALL - 1, None),
        ("", RECEIVED + 100, WALL - 1, None),
    ],
    ids=[
        "another boot",
        "a young one",
        "from the future",
        "the same boot",
        "clocks drift a little",
        "the machine slept",
        "the wall clock was set back",
        "a monotonic clock that is not the same after all",
        "nothing fits",
        "no epoch",
    ],
)
def test_when_it_came_is_worked_out_from_two_clocks(epoch: str, now: float, wall: float, arrived: float | None) -> None:
    metadata = decode(encode(entry(), size=1, checksum=1, epoch="" if not epoch else "same"))
    assert metadata.arrived(epoch=epoch, now=now, wall=wall) == arrived
