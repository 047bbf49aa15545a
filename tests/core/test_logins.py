"""What is read from the answer to a login: JSON Pointers, lifetimes in all their spellings, cookies."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.core.logins import NotThere, cookie_token, json_token, pointed
from holdfast.core.secret import Secret
from holdfast.core.tokens import Token

WALL = 1_800_000_000.0
# RFC 6901 5
DOCUMENT = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "m~n": 8, "~1": 9, "deep": {"list": [{"token": "t"}]}}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/m~0n", 8),
        ("/~01", 9),
        ("/deep/list/0/token", "t"),
        ("/foo/2", None),
        ("/foo/-1", None),
        ("/foo/-", None),
        ("/foo/0/x", None),
        ("/nothing/at/all", None),
    ],
)
def test_a_pointer_finds_its_value_or_nothing(pointer: str, value: Any) -> None:
    assert pointed(DOCUMENT, pointer) == value


@pytest.mark.parametrize(
    ("document", "expires", "left"),
    [
        ({"e": 900}, "/e", 900.0),
        ({"e": "900"}, "/e", 900.0),
        ({"e": 899.5}, "/e", 899.5),
        ({"e": WALL + 60}, "/e", 60.0),
        ({"e": int((WALL + 60) * 1000)}, "/e", 60.0),
        ({"e": "2027-01-15T08:01:00Z"}, "/e", 60.0),
        ({"e": "Fri, 15 Jan 2027 08:01:00 GMT"}, "/e", 60.0),
        ({"e": True}, "/e", None),
        ({"e": "soon"}, "/e", None),
        ({"e": None}, "/e", None),
        ({}, "/e", None),
        ({}, 1800, 1800.0),
        ({}, None, None),
        ({"e": 1e12 * 86400}, "/e", None),
    ],
    ids=str,
)
def test_however_the_end_is_told(document: dict[str, Any], expires: str | float | None, left: float | None) -> None:
    token = json_token({"t": "x", **document}, token="/t", refresh_token=None, expires=expires, wall=WALL)
    assert token.lifetime == (None if left is None else pytest.approx(left))
    assert token.expires_at == (None if left is None else pytest.approx(WALL + left))


@pytest.mark.parametrize("document", [{}, {"t": ""}, {"t": 7}, {"t": None}, [], "t", None, {"T": "x"}], ids=str)
def test_an_answer_without_a_token_is_none(document: Any) -> None:
    with pytest.raises(NotThere, match="/t"):
        json_token(document, token="/t", refresh_token=None, expires=None, wall=WALL)


def test_a_refresh_token_stays_where_no_other_comes() -> None:
    previous = Token(Secret("old"), refresh_token=Secret("r1"))
    for document, kept in (({"t": "x"}, "r1"), ({"t": "x", "r": "r2"}, "r2"), ({"t": "x", "r": None}, "r1")):
        token = json_token(document, token="/t", refresh_token="/r", expires=None, wall=WALL, previous=previous)
        assert token.refresh_token == Secret(kept)


@pytest.mark.parametrize(
    ("lines", "value", "left"),
    [
        (["session=abc"], "abc", None),
        (["session=abc; Path=/; HttpOnly; Max-Age=900"], "abc", 900.0),
        (["session=abc; expires=Fri, 15 Jan 2027 08:01:00 GMT"], "abc", 60.0),
        (["session=abc; Expires=Fri, 15 Jan 2027 08:01:00 GMT; Max-Age=5"], "abc", 5.0),
        (["session=abc; Max-Age=soon"], "abc", None),
        (['session="abc"'], "abc", None),
        (["other=1", "session=a=b=; Secure"], "a=b=", None),
        (["session=first", "session=second"], "second", None),
        (["session=gone; Max-Age=0", "session=abc"], "abc", None),
    ],
)
def test_a_cookie_is_a_token_as_long_as_it_lives(lines: list[str], value: str, left: float | None) -> None:
    token = cookie_token(lines, "session", None, WALL)
    assert (token.access_token, token.lifetime) == (Secret(value), left)
    assert cookie_token(lines, "session", 30.0, WALL).lifetime == 30.0


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["Session=abc"],
        ["session"],
        ["session="],
        ["session=abc; Max-Age=0"],
        ["session=abc", "session=; Max-Age=-1"],
    ],
)
def test_a_cookie_that_is_not_set_or_taken_back_is_no_token(lines: list[str]) -> None:
    with pytest.raises(NotThere, match="session"):
        cookie_token(lines, "session", None, WALL)
