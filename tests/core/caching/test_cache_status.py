"""Cache-Status tells what happened in the words of RFC 9211."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.cache_status import Member, forwarded, hit, neither
from tests.support import CHARACTERS


@pytest.mark.parametrize(
    ("told", "data", "text"),
    [
        (hit(376.9), {"hit": True, "ttl": 376}, b"holdfast; hit; ttl=376"),
        (hit(-412.5), {"hit": True, "ttl": -413}, b"holdfast; hit; ttl=-413"),
        (
            hit(1, detail="memory"),
            {"hit": True, "ttl": 1, "detail": "memory"},
            b'holdfast; hit; ttl=1; detail="memory"',
        ),
        (forwarded("uri-miss", stored=True), {"fwd": "uri-miss", "stored": True}, b"holdfast; fwd=uri-miss; stored"),
        (
            forwarded("stale", status=304),
            {"fwd": "stale", "fwd-status": 304},
            b"holdfast; fwd=stale; fwd-status=304",
        ),
        (
            forwarded("stale", status=304, stored=True, collapsed=True),
            {"fwd": "stale", "fwd-status": 304, "stored": True, "collapsed": True},
            b"holdfast; fwd=stale; fwd-status=304; stored; collapsed",
        ),
        (forwarded("method"), {"fwd": "method"}, b"holdfast; fwd=method"),
        (
            forwarded("bypass", detail='a"b\\c\né'),
            {"fwd": "bypass", "detail": 'a"b\\c\né'},
            b'holdfast; fwd=bypass; detail="a\\"b\\\\c??"',
        ),
        (neither("only-if-cached"), {"detail": "only-if-cached"}, b'holdfast; detail="only-if-cached"'),
    ],
)
def test_the_data_and_the_member_say_the_same(told: Member, data: dict[str, object], text: bytes) -> None:
    assert told == (data, text)


@given(st.text(CHARACTERS))
def test_a_detail_never_ends_the_field(detail: str) -> None:
    text = hit(0, detail=detail).text
    assert text.isascii()
    assert all(0x20 <= byte < 0x7F for byte in text)
    inner = text.split(b'detail="', 1)[1][:-1]
    assert b'"' not in inner.replace(b"\\\\", b"").replace(b'\\"', b"")
