"""Which field decides where some are meant for one kind of cache, and what a Dictionary is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.fields import combine
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.storing import Storable
from holdfast.core.caching.targeted import dictionary, effective_directives
from tests.core.caching.building import HOSTILE, LINEAR, MINUTE_LATER, block, growth, judged

CDN = CachePolicy(shared=True, targets=("Example-CDN-Cache-Control", "CDN-Cache-Control"))
LATER = MINUTE_LATER.decode()


@pytest.mark.parametrize(
    ("response", "lifetime"),
    [
        ("CDN-Cache-Control: max-age=60\nCache-Control: max-age=1", 60),
        ("CDN-Cache-Control: max-age=60\nCache-Control: no-store", 60),
        ("CDN-Cache-Control: no-store\nCache-Control: max-age=60", None),
        (f"CDN-Cache-Control: max-age=0\nETag: x\nExpires: {LATER}", 0),
        (f"CDN-Cache-Control: must-revalidate\nETag: x\nExpires: {LATER}", 0),
        ("CDN-Cache-Control: max-age=1\nExample-CDN-Cache-Control: max-age=2", 2),
        ("CDN-Cache-Control: max-age=1\nExample-CDN-Cache-Control:", 1),
        ("CDN-Cache-Control: max-age=1\nExample-CDN-Cache-Control: max-age=2,", 1),
        ("CDN-Cache-Control: private, max-age=60", None),
        ("CDN-Cache-Control: private=?0, max-age=60", 60),
        ("CDN-Cache-Control: s-maxage=60, max-age=1", 60),
        ("CDN-Cache-Control: max-age=60;foo=1, bar=(a b;c), baz", 60),
        ("CDN-Cache-Control: max-age=60\nCDN-Cache-Control: max-age=1", 1),
        ("CDN-Cache-Control: max-age=60, &&&\nCache-Control: no-store", None),
        ("CDN-Cache-Control: Max-Age=60\nCache-Control: max-age=1", 1),
        ("CDN-Cache-Control: max-age =60\nCache-Control: max-age=1", 1),
        ('CDN-Cache-Control: max-age="60"\nCache-Control: max-age=1\nETag: x', 0),
        ("CDN-Cache-Control: max-age=60.5\nETag: x", 0),
        ("CDN-Cache-Control: max-age=-60\nETag: x", 0),
        ("CDN-Cache-Control: max-age\nETag: x", 0),
        ("Surrogate-Control: max-age=60\nCache-Control: max-age=1", 1),
        ("Cache-Control: max-age=1", 1),
    ],
)
def test_the_first_valid_field_of_the_list_decides_alone(response: str, lifetime: float | None) -> None:
    answer = judged(response, policy=CDN)
    assert (answer.entry.lifetime if isinstance(answer, Storable) else None) == lifetime


def test_a_field_that_is_not_on_the_list_is_stored_and_says_nothing() -> None:
    answer = judged("CDN-Cache-Control: no-store\nCache-Control: max-age=60")
    assert isinstance(answer, Storable)
    assert (b"CDN-Cache-Control", b"no-store") in answer.entry.headers


def test_fields_are_listed_by_a_string_alone() -> None:
    said = 'no-cache="a, B", private="c\\"d"'
    directives = effective_directives(combine(block(f"CDN-Cache-Control: {said}")), CDN.targets)
    assert not directives.no_cache
    assert directives.no_cache_fields == {b"a", b"b"}
    for other in ("no-cache=a", "no-cache=(a b)", "no-cache=1", "no-cache"):
        assert effective_directives(combine(block(f"CDN-Cache-Control: {other}")), CDN.targets).no_cache


@pytest.mark.parametrize(
    ("value", "members"),
    [
        (b"", {}),
        (b"  a  ", {b"a": None}),
        (b"a=1, b=2.5,c=tok/en:*,\td=\"s, \\\"t\\\\\", e=:aGk=:, f=?0, g=@-1, h=(1 \"x\";y ?1), *i=()", None),
        (b"a=1,a=2", {b"a": b"2"}),
        (b"a;b;c=1", {b"a": None}),
        (b'a=%"b%c3%bc"', {b"a": b'%"b%c3%bc"'}),
    ],
)  # fmt: skip
def test_a_dictionary_has_members(value: bytes, members: dict[bytes, bytes | None] | None) -> None:
    if members is None:
        assert sorted(dictionary(value) or ()) == [b"*i", b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"]
    else:
        assert dictionary(value) == members


NONE = b"""A|1|,|a,|,a|a,,b|a b|a =1|a= 1|a=|a;|a=1.|a=1.2345|a=1234567890123456|a="|a="\\x"|a=?2
|a=(1|a=(1)2|a=(1\t2)|a=:?:|a=\xff|\x00|a;B|a\t"""


@pytest.mark.parametrize("value", [value.strip(b"\n") for value in NONE.split(b"|")])
def test_a_dictionary_is_read_strictly(value: bytes) -> None:
    assert dictionary(value) is None


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_reading_takes_linear_time(make: Callable[[int], bytes]) -> None:
    fields = {b"cdn-cache-control": b""}

    def read(value: bytes) -> object:
        fields[b"cdn-cache-control"] = value[:8_000]
        return effective_directives(fields, CDN.targets)

    assert growth(read, make) < LINEAR


@given(st.binary(max_size=40) | st.text('a=1;,"?(): \\@%*', max_size=30).map(str.encode))
def test_no_value_raises(value: bytes) -> None:
    effective_directives({b"cdn-cache-control": value}, CDN.targets)
