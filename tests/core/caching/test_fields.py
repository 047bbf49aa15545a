"""Field blocks are read whole, in linear time, and never raise."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.fields import DELTA_CAP, combine, delta_seconds, split_list
from tests.core.caching.building import HOSTILE, LINEAR, growth


@pytest.mark.parametrize(
    ("value", "members"),
    [
        (b"", []),
        (b",, ,\t,", []),
        (b"a, b\t,c", [b"a", b"b", b"c"]),
        (b'a="x, y", b', [b'a="x, y"', b"b"]),
        (b'a="x\\", y", b', [b'a="x\\", y"', b"b"]),
        (b"a\\, b", [b"a\\", b"b"]),
        (b'a\\"b, c", d', [b'a\\"b, c"', b"d"]),
        (b'a="x, no-store', [b'a="x', b"no-store"]),
        (b'a, b="\\"x, c', [b"a", b'b="\\"x', b"c"]),
        (b"\xe9, \xff", [b"\xe9", b"\xff"]),
    ],
)
def test_lists_split_at_commas_outside_quotes(value: bytes, members: list[bytes]) -> None:
    assert split_list(value) == members


@given(st.lists(st.from_regex(rb"[a-z=]+|\"[a-z, ]*\"", fullmatch=True)))
def test_a_list_that_was_joined_splits_into_its_members(members: list[bytes]) -> None:
    assert split_list(b" ,\t".join(members)) == members


@given(st.binary())
def test_splitting_never_raises_and_loses_nothing_but_commas_and_space(value: bytes) -> None:
    assert b"".join(split_list(value)).translate(None, b", \t") == value.translate(None, b", \t")


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("wrap", [b"", b'x="'], ids=["bare", "quoted"])
def test_splitting_takes_linear_time(make: Callable[[int], bytes], wrap: bytes) -> None:
    assert growth(split_list, lambda size: wrap + make(size)) < LINEAR


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"0", 0),
        (b"60", 60),
        (b"0060", 60),
        (b"2147483648", DELTA_CAP),
        (b"99999999999", DELTA_CAP),
        (b"9" * 5_000, DELTA_CAP),
        (b"0" * 5_000 + b"7", 7),
        (b"", None),
        (b"-1", None),
        (b"+1", None),
        (b"1.0", None),
        (b"1_000", None),
        (b" 1", None),
        (b"1e3", None),
        (b"\xb2", None),
        ("٣".encode(), None),
        (None, None),
    ],
)
def test_only_ascii_digits_are_seconds(text: bytes | None, seconds: int | None) -> None:
    assert delta_seconds(text) == seconds


@given(st.binary())
def test_seconds_never_raise_and_never_pass_the_cap(text: bytes) -> None:
    seconds = delta_seconds(text)
    assert seconds is None or 0 <= seconds <= DELTA_CAP


def test_repeated_fields_are_joined_in_order_and_names_lose_their_case() -> None:
    assert combine([(b"Vary", b"A"), (b"X", b"\xff"), (b"vary", b"B"), (b"VARY", b"C")]) == {
        b"vary": b"A, B, C",
        b"x": b"\xff",
    }


def test_joining_many_lines_of_one_name_takes_linear_time() -> None:
    def lines(value: bytes) -> dict[bytes, bytes]:
        return combine([(b"Link", b"12345678")] * (len(value) // 8))

    assert growth(lines, bytes) < LINEAR
