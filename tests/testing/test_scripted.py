"""The scripted far side: what it compares, and how a mismatch reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast.testing import Expect, Fails, Reply, ScriptMismatch
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("expect", "send"),
    [
        ({"path": "/things?page=2"}, {"params": {"page": "2"}}),
        ({"headers": {"Accept": "text/csv"}}, {"headers": {"accept": "text/csv", "x-other": "1"}}),
        ({"method": "POST", "body": b"a=1"}, {"data": {"a": "1"}}),
        ({"method": "POST", "json": {"a": [1, 2], "b": None}}, {"content": b'{"b":null,  "a":[1,2]}'}),
        ({"method": "POST", "json": None}, {"content": b"null"}),
        ({"method": "POST"}, {"json": {"whatever": 1}}),
    ],
    ids=str,
)
async def test_a_request_that_is_as_expected_is_answered(
    family: FamilyModules, expect: dict[str, Any], send: dict[str, Any]
) -> None:
    wanted = Expect(**{"method": "GET", "path": "/things", **expect}, answer=Reply(204))
    async with stage(family, [wanted]) as on:
        response = await on.client.request(wanted.method, URL, **send)
        assert response.status_code == 204
        on.script.assert_done()


@pytest.mark.parametrize(
    ("expect", "send", "lines"),
    [
        ({"path": "/things/1"}, {}, ["- GET /things/1", "+ GET /things"]),
        ({"method": "PUT"}, {}, ["- PUT /things", "+ GET /things"]),
        ({"headers": {"X-Key": "1"}}, {"headers": {"x-key": "2"}}, ["  GET /things", "- x-key: 1", "+ x-key: 2"]),
        ({"headers": {"X-Key": "1"}}, {}, ["  GET /things", "- x-key: 1"]),
        ({"body": b"a"}, {"content": b"b"}, ["- b'a'", "+ b'b'"]),
        (
            {"json": {"name": "Ada", "born": 1815}},
            {"content": b'{"name":"Ada","born":1816}'},
            ["  {", '-   "born": 1815,', '+   "born": 1816,', '    "name": "Ada"', "  }"],
        ),
        ({"json": {}}, {"content": b"<xml/>"}, ["- {}", "+ b'<xml/>'"]),
        ({"json": {}}, {}, ["- {}", "+ b''"]),
    ],
    ids=str,
)
async def test_a_mismatch_shows_the_difference_and_is_not_retried(
    family: FamilyModules, expect: dict[str, Any], send: dict[str, Any], lines: list[str]
) -> None:
    wanted = Expect(**{"method": "GET", "path": "/things", **expect}, answer=Reply())
    async with stage(family, [wanted, Reply()]) as on:
        with pytest.raises(ScriptMismatch) as caught:
            await on.client.request("GET", URL, **send)
        assert len(on.script.sent) == 1
    shown = [line for line in str(caught.value).splitlines() if not line.startswith("?")]
    assert shown[0].startswith("request 1 is not what the script has")
    assert [line for line in lines if line not in shown] == []


async def test_one_request_too_many_shows_what_came_before(family: FamilyModules) -> None:
    async with stage(family, [Reply(), Reply()]) as on:
        await on.client.get(f"{URL}/1")
        await on.client.delete(f"{URL}/2")
        with pytest.raises(ScriptMismatch) as caught:
            await on.client.get(f"{URL}/3")
    assert str(caught.value).splitlines() == [
        "request 3 is one more than the script has: GET /things/3; before it came:",
        "  GET /things/1",
        "  DELETE /things/2",
    ]


async def test_steps_that_never_came_are_named(family: FamilyModules) -> None:
    async with stage(family, [Reply(), Expect("GET", "/things/2", Reply()), Fails("ReadError")]) as on:
        await on.client.get(URL)
        with pytest.raises(ScriptMismatch) as caught:
            on.script.assert_done()
    assert str(caught.value).splitlines()[:2] == ["the script goes on, and nothing more came:", "  GET /things/2"]
    assert "ReadError" in str(caught.value).splitlines()[2]


async def test_what_was_sent_is_kept(family: FamilyModules) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async with stage(family, [Reply(), Reply(), Fails("ReadError")], retry=None) as on:
        await on.client.post(URL, content=chunks(), headers=[("X-Tag", "a"), ("x-tag", "b")])
        await on.client.get(URL)
        with pytest.raises(family.http.ReadError):
            await on.client.put(URL, content=b"three")
    assert [(sent.method, sent.body) for sent in on.script.sent] == [
        ("POST", b"one two"),
        ("GET", b""),
        ("PUT", b"three"),
    ]
    assert (on.script.sent[0].header("X-TAG"), on.script.sent[1].header("x-tag")) == ("a, b", None)


async def test_a_connection_that_fails_leaves_the_body_alone(family: FamilyModules) -> None:
    async def once() -> AsyncIterator[bytes]:
        yield b"body"

    async with stage(family, [Fails("ConnectError"), Reply()]) as on:
        await on.client.put(URL, content=once())
    assert [sent.body for sent in on.script.sent] == [b"", b"body"]


async def test_an_answer_may_be_given_as_a_value(family: FamilyModules) -> None:
    async with stage(family, [Reply.json({"a": [1]}, status=201, headers={"X-Key": "1"})]) as on:
        response = await on.client.get(URL)
    assert (response.status_code, response.json(), response.headers["x-key"]) == (201, {"a": [1]}, "1")
    assert response.headers["content-type"] == "application/json"
