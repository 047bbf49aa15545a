"""An entry gives back what came, byte for byte."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.entry import pack
from tests.core.caching.building import DATE, KEY, URL, stored

PARTS = st.binary().filter(lambda part: b"\n" not in part)


@given(st.lists(st.tuples(PARTS, PARTS)))
def test_packed_fields_come_back_as_they_were(headers: list[tuple[bytes, bytes]]) -> None:
    packed = pack(headers)
    assert packed is not None
    assert replace(stored("Cache-Control: max-age=1"), head=packed).headers == headers


@pytest.mark.parametrize("pair", [(b"A", b"1\n2"), (b"A\nB", b"1"), (b"A\n", b"")])
def test_a_field_with_a_line_break_is_not_packed(pair: tuple[bytes, bytes]) -> None:
    assert pack([(b"X", b"y"), pair]) is None


def test_names_order_repeats_and_high_bytes_are_kept() -> None:
    entry = stored("X-B: \xe9\nx-a: 1\nCache-Control: max-age=1\nX-B: \xff")
    assert entry.headers == [
        (b"X-B", b"\xe9"),
        (b"x-a", b"1"),
        (b"Cache-Control", b"max-age=1"),
        (b"X-B", b"\xff"),
        (b"Date", DATE),  # when it came: it did not say when it was made (RFC 9110 6.6.1)
    ]
    assert entry.fields[b"x-b"] == b"\xe9, \xff"


def test_an_entry_knows_its_request() -> None:
    entry = stored("Cache-Control: max-age=1")
    assert (entry.key, entry.method, entry.url) == (KEY, "GET", URL)


def test_a_body_is_added_without_touching_the_rest_and_stays_out_of_the_repr() -> None:
    entry = stored("Cache-Control: max-age=1", body=b"")
    whole = entry.with_body(b"secret text")
    assert whole.with_body(b"") == entry
    assert "secret text" not in repr(whole)
