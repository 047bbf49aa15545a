"""Cache-Status tells what happened in the words of RFC 9211."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.cache_status import forwarded, hit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (hit(376.9), b"holdfast; hit; ttl=376"),
        (hit(-412.5), b"holdfast; hit; ttl=-413"),
        (hit(1, detail="memory"), b'holdfast; hit; ttl=1; detail="memory"'),
        (forwarded("uri-miss", stored=True), b"holdfast; fwd=uri-miss; stored"),
        (forwarded("stale", status=304), b"holdfast; fwd=stale; fwd-status=304"),
        (
            forwarded("stale", status=304, stored=True, collapsed=True),
            b"holdfast; fwd=stale; fwd-status=304; stored; collapsed",
        ),
        (forwarded("method"), b"holdfast; fwd=method"),
        (forwarded("bypass", detail='a"b\\c\né'), b'holdfast; fwd=bypass; detail="a\\"b\\\\c??"'),
    ],
)
def test_members(text: bytes, expected: bytes) -> None:
    assert text == expected


@given(st.text())
def test_a_detail_never_ends_the_field(detail: str) -> None:
    text = hit(0, detail=detail)
    assert text.isascii()
    assert all(0x20 <= byte < 0x7F for byte in text)
    inner = text.split(b'detail="', 1)[1][:-1]
    assert b'"' not in inner.replace(b"\\\\", b"").replace(b'\\"', b"")
