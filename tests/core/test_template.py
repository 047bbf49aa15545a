"""Paths, queries and addresses: what values make of them, and what no value can make of them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.address import address_of, origin_text
from holdfast.core.masking import masked, masked_query
from holdfast.core.query import encode_query
from holdfast.core.template import Template
from holdfast.errors import ForeignOrigin, InvalidInput
from tests.support import CHARACTERS, spelled


class Colour(Enum):
    RED = "red/1"


class Size(IntEnum):
    BIG = 3


class Kind(StrEnum):
    NEW = "new"


class Mixed(str, Enum):  # noqa: UP042  (what was written before there was StrEnum)
    OLD = "old"


@pytest.mark.parametrize(
    ("template", "values", "path"),
    [
        ("", {}, ""),
        ("/users", {}, "/users"),
        ("/users/{id}", {"id": 7}, "/users/7"),
        ("/users/{id}/", {"id": -7}, "/users/-7/"),
        ("/{a}/{b}.json", {"a": "x", "b": "y"}, "/x/y.json"),
        ("/users/{id}", {"id": "../admin"}, "/users/..%2Fadmin"),
        ("/users/{id}", {"id": "1?x=1"}, "/users/1%3Fx%3D1"),
        ("/users/{id}", {"id": "1#f"}, "/users/1%23f"),
        ("/users/{id}", {"id": "%2e%2e"}, "/users/%252e%252e"),
        ("/users/{id}", {"id": "..."}, "/users/..."),
        ("/users/{id}", {"id": "a b+c@d:é"}, "/users/a%20b%2Bc%40d%3A%C3%A9"),
        ("/users/{id}", {"id": True}, "/users/true"),
        ("/users/{id}", {"id": 1.5}, "/users/1.5"),
        ("/users/{id}", {"id": Colour.RED}, "/users/red%2F1"),
        ("/users/{id}", {"id": Size.BIG}, "/users/3"),
        ("/users/{id}", {"id": Kind.NEW}, "/users/new"),
        ("/users/{id}", {"id": Mixed.OLD}, "/users/old"),
        ("/users/{id}", {"id": UUID(int=1)}, "/users/00000000-0000-0000-0000-000000000001"),
        ("/users/{id}", {"id": Decimal("1.50")}, "/users/1.50"),
        ("/users/{id}", {"id": date(2026, 11, 22)}, "/users/2026-11-22"),
        ("/users/{id}", {"id": datetime(2026, 11, 22, 1, 2, tzinfo=UTC)}, "/users/2026-11-22T01%3A02%3A00%2B00%3A00"),
        ("/a%20b/{id}", {"id": "x"}, "/a%20b/x"),
    ],
)
def test_each_value_is_one_encoded_segment(template: str, values: dict[str, Any], path: str) -> None:
    assert Template(template).fill(values) == path


@pytest.mark.parametrize(
    "value",
    [
        "",
        ".",
        "..",
        "a\rb",
        "a\nb",
        "a\0b",
        "\ud800",
        None,
        b"x",
        ["x"],
        {"a": 1},
        object(),
        float("nan"),
        float("inf"),
    ],
    ids=spelled,
)
def test_a_value_that_is_no_segment_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        Template("/users/{user_id}").fill({"user_id": value})
    assert refused.value.argument == "user_id"


@pytest.mark.parametrize("values", [{}, {"id": 1, "other": 2}, {"other": 2}], ids=spelled)
def test_missing_and_unused_names_are_errors(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Template("/users/{id}").fill(values)


@pytest.mark.parametrize(
    "text",
    [
        "users",
        "//evil.test/x",
        "https://evil.test/x",
        "/users?x={id}",
        "/users#f",
        "/users/{}",
        "/users/{0}",
        "/users/{id!r}",
        "/users/{id:>3}",
        "/users/{a.b}",
        "/users/{{id}}",
        "/users/{id",
        "/users/../x",
        "/users/./x",
        "/users/%2e%2E/x",
        "/a b",
        "/a\\b",
        "/a%2",
        "/{id}/{id}",
        "/a\n",
    ],
)
def test_what_is_no_path_is_no_template(text: str) -> None:
    with pytest.raises(InvalidInput):
        Template(text)


@given(st.text(CHARACTERS, min_size=1))
def test_no_text_leaves_its_segment(value: str) -> None:
    try:
        path = Template("/users/{id}/end").fill({"id": value})
    except InvalidInput:
        return
    *front, segment, end = path.split("/")
    assert (front, end) == (["", "users"], "end")
    assert not set(segment) & set("/?#\\ ")
    assert unquote(segment, errors="strict") == value


@pytest.mark.parametrize(
    ("query", "style", "text"),
    [
        ({"a": None}, "repeat", ""),
        ({"a": 1, "b": None, "c": True, "d": False}, "repeat", "a=1&c=true&d=false"),
        ({"a": ""}, "repeat", "a="),
        ({"a": [1, 2]}, "repeat", "a=1&a=2"),
        ({"a": (1, "x,y")}, "comma", "a=1,x%2Cy"),
        ({"a": [1, 2]}, "brackets", "a[]=1&a[]=2"),
        ({"a": []}, "repeat", ""),
        ({"a": []}, "comma", ""),
        ({"a b": "c&d=e"}, "repeat", "a%20b=c%26d%3De"),
        ({"since": datetime(2026, 1, 2, tzinfo=UTC)}, "repeat", "since=2026-01-02T00%3A00%3A00%2B00%3A00"),
    ],
)
def test_a_query_says_what_was_given(query: dict[str, Any], style: Any, text: str) -> None:
    assert "&".join(filter(None, encode_query(query, style).values())) == text


@pytest.mark.parametrize("query", [{"a": {"b": 1}}, {"a": [None]}, {"a": b"x"}, {"a": object()}, "a=1"], ids=spelled)
def test_a_query_that_cannot_be_said_is_refused(query: Any) -> None:
    with pytest.raises(InvalidInput):
        encode_query(query)


def test_the_styles_of_lists_have_names() -> None:
    with pytest.raises(InvalidInput):
        encode_query({"a": [1]}, "pipes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.Example.com/v1", "https://api.example.com"),
        ("HTTPS://api.example.com:443/", "https://api.example.com"),
        ("http://api.example.com:080", "http://api.example.com"),
        ("http://api.example.com:8080/x?y#z", "http://api.example.com:8080"),
        ("http://[::1]:81/", "http://[::1]:81"),
    ],
)
def test_an_origin_is_read_as_every_reader_reads_it(url: str, origin: str) -> None:
    assert origin_text(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "/x",
        "api.example.com",
        "ftp://api.example.com",
        "https://user:pw@api.example.com/",
        "https://api.example.com\\@evil.test/",
        "https://api.example.com\\.evil.test/",
        "https://api.example.com:99999999/",
        "https:///x",
        "https://a b/",
        "https://a\tb/",
        "https://a/\nb",
        "javascript:alert(1)",
    ],
)
def test_a_url_that_two_readers_could_read_differently_is_none(url: str) -> None:
    with pytest.raises(InvalidInput):
        origin_text(url)


@pytest.mark.parametrize("reference", ["/a\nb", "a\r\nb", "?a=\tb", "\0", "/x\n", "//api.test/\nx", " /x"])
def test_a_link_with_a_control_character_is_none(reference: str) -> None:
    with pytest.raises(InvalidInput):
        address_of("https://api.test/v1").reach(reference)


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("https://api.test/v2/x?page=2&a=%2F", "https://api.test/v2/x?page=2&a=%2F"),
        ("https://api.test:443/x", "https://api.test:443/x"),
        ("?page=2", "https://api.test/v1/users?page=2"),
        ("/x", "https://api.test/x"),
        ("other", "https://api.test/v1/other"),
        ("//api.test/x", "https://api.test/x"),
        ("https://api.test/x#part", "https://api.test/x"),
    ],
)
def test_a_link_to_the_own_origin_is_taken_as_it_is(reference: str, url: str) -> None:
    assert address_of("https://api.test/v1").reach(reference, "https://api.test/v1/users?page=1") == (url, False)


@pytest.mark.parametrize(
    "reference",
    ["https://evil.test/", "//evil.test/x", "http://api.test/", "https://api.test:8443/", "https://api.test.evil.test"],
)
def test_a_link_to_another_origin_is_not_followed(reference: str) -> None:
    with pytest.raises(ForeignOrigin):
        address_of("https://api.test/v1").reach(reference)


def test_an_origin_that_was_allowed_is_foreign_all_the_same() -> None:
    address = address_of("https://api.test", ["https://files.test/anything"])
    assert address.reach("https://files.test/x") == ("https://files.test/x", True)


@pytest.mark.parametrize("url", ["https://api.test/?a=1", "https://api.test/#x", "api.test", "https://u:p@api.test"])
def test_a_base_url_is_an_address_and_no_more(url: str) -> None:
    with pytest.raises(InvalidInput):
        address_of(url)


def test_secrets_are_told_by_their_names() -> None:
    shown = masked({"name": "Ada", "password": "x", "nested": [{"api_key": "y", "monkey": 1, "client_secret": "z"}]})
    assert shown == {
        "name": "Ada",
        "password": "***",
        "nested": [{"api_key": "***", "monkey": 1, "client_secret": "***"}],
    }
    assert masked_query("page=2&access_token=x&sig=y&design=z") == "page=2&access_token=***&sig=***&design=z"
