"""Cache-Control: what cannot be read, or contradicts itself, reuses less."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.directives import (
    RequestDirectives,
    ResponseDirectives,
    request_directives,
    response_directives,
)
from holdfast.core.caching.fields import DELTA_CAP, LONGEST_LIST
from tests.core.caching.building import HOSTILE

Response = ResponseDirectives
Request = RequestDirectives


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, Response()),
        (b"", Response()),
        (b"max-age=3600", Response(max_age=3600)),
        (b"MaX-aGe=3600, No-StOrE", Response(max_age=3600, no_store=True)),
        (b'max-age="3600"', Response(max_age=3600)),
        (b'max-age="36\\00"', Response(max_age=3600)),
        (b"max-age=2147483649", Response(max_age=DELTA_CAP)),
        (b"max-age=1, max-age=1800", Response(max_age=1)),
        (b"max-age=1800, max-age=1", Response(max_age=1)),
        (b"max-age=1800, max-age=abc", Response(max_age=0)),
        (b"max-age=1, s-maxage=60", Response(max_age=1, s_maxage=60)),
        (b"max-age", Response(max_age=0)),
        (b"max-age=", Response(max_age=0)),
        (b"max-age=-10", Response(max_age=0)),
        (b"max-age=1.5", Response(max_age=0)),
        (b"max-age='3600'", Response(max_age=0)),
        (b"max-age=3600a", Response(max_age=0)),
        (b"max-age =3600", Response(max_age=0)),
        (b"max-age= 3600", Response(max_age=0)),
        (b'max-age=1, extension="max-age=3600"', Response(max_age=1)),
        (b'extension="a\\", max-age=60", max-age=1', Response(max_age=1)),
        (b'extension="never closed, no-store', Response(no_store=True)),
        (b"foo=bar, \xff\xfe, =, ;", Response()),
        (b"no-store=1", Response(no_store=True)),
        (b"no-store =", Response(no_store=True)),
        (b"no-cache", Response(no_cache=True)),
        (b'no-cache=""', Response(no_cache=True)),
        (b'no-cache="Set-Cookie, A"', Response(no_cache_fields=frozenset({b"set-cookie", b"a"}))),
        (b"no-cache=Set-Cookie", Response(no_cache_fields=frozenset({b"set-cookie"}))),
        (b'no-cache="a", no-cache', Response(no_cache=True, no_cache_fields=frozenset({b"a"}))),
        (b"private", Response(private=True)),
        (b'private="X-User"', Response(private_fields=frozenset({b"x-user"}))),
        (
            b"public,must-revalidate,proxy-revalidate,must-understand",
            Response(public=True, must_revalidate=True, proxy_revalidate=True, must_understand=True),
        ),
    ],
)
def test_response_directives(value: bytes | None, said: ResponseDirectives) -> None:
    assert response_directives(value) == said


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, Request()),
        (b"no-store, no-cache, only-if-cached", Request(no_store=True, no_cache=True, only_if_cached=True)),
        (b"max-age=10, max-age=5", Request(max_age=5)),
        (b"max-age=abc", Request(max_age=0)),
        (b"max-stale", Request(max_stale=DELTA_CAP)),
        (b"max-stale=10", Request(max_stale=10)),
        (b"max-stale, max-stale=10", Request(max_stale=10)),
        (b"max-stale=abc", Request(max_stale=0)),
        (b"min-fresh=10, min-fresh=20", Request(min_fresh=20)),
        (b"min-fresh=abc", Request(min_fresh=DELTA_CAP)),
        (b"private, unknown=1", Request()),
    ],
)
def test_request_directives(value: bytes | None, wanted: RequestDirectives) -> None:
    assert request_directives(value) == wanted


@pytest.mark.parametrize(
    ("value", "private", "shared"),
    [
        (b"max-age=1", False, False),
        (b"must-revalidate", True, True),
        (b"no-cache", True, True),
        (b"proxy-revalidate", False, True),
        (b"s-maxage=1", False, True),
    ],
)
def test_who_may_never_use_a_stale_answer(value: bytes, private: bool, shared: bool) -> None:
    said = response_directives(value)
    assert (said.forbids_stale(shared=False), said.forbids_stale(shared=True)) == (private, shared)


def test_equal_values_share_one_object_but_long_ones_are_not_kept() -> None:
    assert response_directives(b"max-age=77") is response_directives(b"max-age=77")
    long = b"max-age=77" + b", x" * 200
    assert response_directives(long) is not response_directives(long)


@given(st.binary())
def test_reading_never_raises_and_seconds_stay_in_range(value: bytes) -> None:
    said, wanted = response_directives(value), request_directives(value)
    for seconds in (said.max_age, said.s_maxage, wanted.max_age, wanted.max_stale, wanted.min_fresh):
        assert seconds is None or 0 <= seconds <= DELTA_CAP


@given(st.lists(st.sampled_from([b"max-age=5", b"public", b'x="a,b"', b"y", b"no-cache"]), max_size=6))
def test_a_no_store_is_seen_wherever_it_stands(others: list[bytes]) -> None:
    for position in range(len(others) + 1):
        value = b", ".join([*others[:position], b"no-store", *others[position:]])
        assert response_directives(value).no_store
        assert request_directives(value).no_store


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_field_too_long_to_be_honest_allows_nothing(make: Callable[[int], bytes]) -> None:
    value = make(2 * LONGEST_LIST) + b"max-age=60,max-stale"
    assert response_directives(value) == Response(no_store=True)
    assert request_directives(value) == Request(no_store=True)
