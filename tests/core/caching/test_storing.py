"""What may be stored, and which of its fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.fields import LONGEST_LIST
from holdfast.core.caching.key import primary_key
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.storing import Storable, Unstorable, judge
from tests.core.caching.building import (
    DATE,
    IDENTITY,
    KEY,
    PRIVATE,
    SHARED,
    URL,
    ask,
    block,
    exchange,
    judged,
    stored,
)

FRESH = "Cache-Control: max-age=60"
TAGGED = 'ETag: "a"'
OWN_KEY = primary_key("GET", URL, "0f")


@pytest.mark.parametrize("status", [200, 203, 204, 299, 301, 302, 303, 307, 400, 404, 410, 499, 500, 503, 599])
def test_any_final_status_with_a_lifetime_is_stored(status: int) -> None:
    assert isinstance(judged(FRESH, status=status), Storable)


@pytest.mark.parametrize(
    ("response", "status", "private", "shared"),
    [
        (FRESH, 200, True, True),
        (f"Expires: {DATE.decode()}\n{TAGGED}", 200, True, True),
        (TAGGED, 200, True, True),
        (TAGGED, 404, True, True),
        (f"Last-Modified: {DATE.decode()}", 200, True, True),
        ("X: no lifetime, no validator", 200, False, False),
        ("Cache-Control: max-age=0", 200, False, False),
        (f"Cache-Control: no-cache\n{TAGGED}", 200, True, True),
        (f"Cache-Control: max-age=60, no-store\n{TAGGED}", 200, False, False),
        ("Cache-Control: private, max-age=60", 200, True, False),
        (f"Cache-Control: private\n{TAGGED}", 201, True, False),
        ('Cache-Control: private="a", max-age=60', 200, True, True),
        (TAGGED, 201, False, False),
        (TAGGED, 503, False, False),
        (f"Cache-Control: public\n{TAGGED}", 201, True, True),
        (f"Cache-Control: s-maxage=60\n{TAGGED}", 201, False, True),
        (FRESH, 206, False, False),
        (FRESH, 304, False, False),
        (FRESH, 103, False, False),
        ("Cache-Control: max-age=60, must-understand, no-store", 200, True, True),
        ("Cache-Control: max-age=60, must-understand", 599, False, False),
        ("Cache-Control: max-age=60, must-understand, no-store", 599, False, False),
        (f"{FRESH}\nVary: *", 200, False, False),
        (f"{FRESH}\nVary: A\nVary: *", 200, False, False),
        (f"{FRESH}\nVary: A", 200, True, True),
    ],
)
def test_what_the_response_allows(response: str, status: int, private: bool, shared: bool) -> None:
    answers = [judged(response, status=status, policy=policy) for policy in (PRIVATE, SHARED)]
    assert [isinstance(answer, Storable) for answer in answers] == [private, shared], answers


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "get", "QUERY"])
def test_only_get_is_stored(method: str) -> None:
    assert judged(FRESH, method=method) == Unstorable("method")


def test_a_request_may_forbid_storing() -> None:
    assert judged(FRESH, request="Cache-Control: no-store") == Unstorable("no-store in the request")


@pytest.mark.parametrize(
    ("said", "allowed"),
    [
        ("max-age=60", False),
        ("max-age=60, public", True),
        ("max-age=60, must-revalidate", True),
        ("s-maxage=60", True),
        ("max-age=60, proxy-revalidate", False),
    ],
)
def test_a_shared_cache_keeps_answers_to_authorization_only_when_told(said: str, allowed: bool) -> None:
    request = "Authorization: Bearer a"
    answer = judged(f"Cache-Control: {said}", request=request, policy=SHARED)
    assert isinstance(answer, Storable) is allowed
    assert isinstance(judged("Cache-Control: max-age=60", request=request), Storable)


def test_a_field_with_a_line_break_makes_the_response_unstorable() -> None:
    headers = [*block(FRESH), (b"X", b"1\nSet-Cookie: a=b")]
    assert judge(ask(), KEY, 200, headers, exchange(), PRIVATE, IDENTITY) == Unstorable("malformed")


def names(response: str, policy: CachePolicy = PRIVATE, key: str = KEY) -> list[bytes]:
    entry = stored(f"{FRESH}\nDate: {DATE.decode()}\n{response}", policy=policy, key=key)
    return [name for name, _ in entry.headers if name not in (b"Cache-Control", b"Date")]


@pytest.mark.parametrize(
    "name",
    [
        "Age",
        "Connection",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authentication-Info",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Transfer-Encoding",
        "Upgrade",
    ],
)
def test_fields_of_the_connection_are_not_stored(name: str) -> None:
    assert names(f"{name}: 0\nX-A: 1") == [b"X-A"]


@pytest.mark.parametrize(
    "name",
    ["Content-Foo", "Content-Encoding", "Content-Length", "Content-MD5", "Set-Cookie2", "X-XSS-Protection"],
)
def test_other_fields_are_stored(name: str) -> None:
    assert names(f"{name}: 0") == [name.encode()]


def test_fields_that_connection_names_are_not_stored() -> None:
    assert names("X-A: 1\nConnection: x-a, close\nx-a: 2\nX-B: 3\nConnection: X-C\nX-C: 4") == [b"X-B"]


def test_a_connection_field_too_long_to_be_honest_makes_the_response_unstorable() -> None:
    assert judged(f"{FRESH}\nConnection: {'a, ' * LONGEST_LIST}") == Unstorable("malformed")


def test_fields_that_must_be_validated_before_use_are_not_stored() -> None:
    response = 'X-A: 1\nX-B: 2\nCache-Control: no-cache="x-a"'
    assert names(response) == [b"X-B"]
    assert not stored(f"{FRESH}\n{response}").directives.no_cache


def test_private_fields_are_kept_from_a_shared_cache_only() -> None:
    response = 'X-A: 1\nCache-Control: private="x-a"'
    assert (names(response), names(response, SHARED)) == ([b"X-A"], [])


def test_a_cookie_is_stored_only_for_the_one_who_got_it() -> None:
    cookie = "Set-Cookie: session=1"
    assert names(cookie) == []
    assert names(cookie, SHARED, OWN_KEY) == []
    assert names(cookie, PRIVATE, OWN_KEY) == [b"Set-Cookie"]
    assert names(cookie, CachePolicy(store_set_cookie=True)) == [b"Set-Cookie"]


def test_no_credential_of_the_request_is_in_the_entry() -> None:
    request = "Authorization: Bearer token-1\nCookie: token-2\nX-Api-Key: token-3\nAccept: text/html"
    partition = IDENTITY.partition(ask(request).fields)
    entry = stored(
        f"{FRESH}\nVary: Authorization, Cookie, X-Api-Key, Accept",
        request=request,
        key=primary_key("GET", URL, partition),
    )
    assert "token-" not in repr(entry)
    assert b"text/html" in entry.variant


HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"Cache-Control", b"Vary", b"ETag", b"Age", b"Date", b"Expires", b"Connection", b"X"])
        | st.binary(),
        st.binary() | st.sampled_from([b"max-age=60", b"public", b"*", b"a, b", b'"a"', DATE, b'no-cache="a"']),
    )
)


@given(HEADERS, st.integers(-1, 1_000), st.booleans())
def test_no_response_raises(headers: list[tuple[bytes, bytes]], status: int, shared: bool) -> None:
    policy = CachePolicy(shared=shared, heuristic=True)
    answer = judge(ask(), KEY, status, headers, exchange(), policy, IDENTITY)
    if isinstance(answer, Storable):
        kept = answer.entry.headers
        if all(name.lower() != b"date" for name, _ in headers):
            assert kept.pop() == (b"Date", DATE)
        assert kept == [pair for pair in headers if pair in kept]
