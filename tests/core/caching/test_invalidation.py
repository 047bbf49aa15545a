"""Unsafe methods make stored answers worthless, on their own origin only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.invalidation import invalidated
from holdfast.core.caching.key import target
from tests.support import CHARACTERS

URL = "https://a.example/users/1?x=1"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "M-SEARCH", "get", "ANYTHING"])
@pytest.mark.parametrize("status", [200, 201, 204, 303, 399])
def test_an_unsafe_method_that_worked_removes_the_target(method: str, status: int) -> None:
    assert invalidated(method, f"{URL}#part", status, {}) == [URL]


@pytest.mark.parametrize(
    ("method", "status"),
    [
        ("GET", 200),
        ("HEAD", 200),
        ("OPTIONS", 200),
        ("TRACE", 200),
        ("QUERY", 200),
        ("POST", 500),
        ("PUT", 412),
    ],
)
def test_a_safe_method_or_an_error_removes_nothing(method: str, status: int) -> None:
    assert invalidated(method, URL, status, {b"location": b"/users/2"}) == []


@pytest.mark.parametrize(
    ("reference", "removed"),
    [
        (b"/users/2", "https://a.example/users/2"),
        (b"2", "https://a.example/users/2"),
        (b"../groups?y=2", "https://a.example/groups?y=2"),
        (b"?y=2", "https://a.example/users/1?y=2"),
        (b" /users/2\t", "https://a.example/users/2"),
        (b"/users/2#part", "https://a.example/users/2"),
        (b"/a%2Fb", "https://a.example/a%2Fb"),
        (b"/\xc3\xa9", "https://a.example/%C3%A9"),
        (b"https://a.example/x", "https://a.example/x"),
        (b"https://A.EXAMPLE:443/x", "https://a.example/x"),
        (b"https://user:secret@a.example/x", "https://a.example/x"),
        (b"https://a.example", "https://a.example/"),
        (b"//a.example/x", "https://a.example/x"),
        (b"http://a.example/x", None),
        (b"https://a.example:8443/x", None),
        (b"https://b.example/x", None),
        (b"//b.example/x", None),
        (b"https://a.example.evil/x", None),
        (b"https://a.example@b.example/x", None),
        (b"https://[", None),
        (b"https://a.example:port/x", None),
        (b"mailto:a@a.example", None),
        (b"\xff", "https://a.example/users/%FF"),
        (b"/" + b"x" * 70_000, None),
    ],
)
@pytest.mark.parametrize("name", [b"location", b"content-location"])
def test_named_resources_of_the_same_origin_go_too(name: bytes, reference: bytes, removed: str | None) -> None:
    expected = [URL] if removed is None else [URL, removed]
    assert invalidated("POST", URL, 201, {name: reference}) == expected


def test_both_fields_count_and_each_url_is_named_once() -> None:
    fields = {b"location": b"/x", b"content-location": b"/y"}
    assert invalidated("PUT", URL, 200, fields) == [URL, "https://a.example/x", "https://a.example/y"]
    assert invalidated("PUT", URL, 200, {b"location": b"?x=1"}) == [URL]


@given(st.binary(), st.text(CHARACTERS))
def test_no_reference_and_no_url_raises(reference: bytes, url: str) -> None:
    assert invalidated("POST", url, 200, {b"location": reference})[0] == target(url)


@given(st.binary())
def test_no_reference_leaves_the_origin(reference: bytes) -> None:
    for url in invalidated("POST", URL, 200, {b"content-location": reference}):
        assert url.startswith("https://a.example/")
