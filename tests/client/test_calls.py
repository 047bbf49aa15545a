"""Calls are values: made when they are awaited, each time anew, and changed only into other calls."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import warnings
from typing import Any

import anyio
import pytest

from holdfast import CircuitOpen, Retry
from holdfast.auth import Basic
from holdfast.client import Failed, Ok, by_link
from holdfast.errors import Conflict, DecodeError, HoldfastError, InvalidInput, InvalidOption, NotFound, Unauthorized
from holdfast.testing.scripted import Fails, Reply
from tests.client.api import ADA, BASE, Shop, User, document, stage
from tests.support import FamilyModules, spelled

pytestmark = pytest.mark.anyio


async def test_nothing_is_sent_before_a_call_is_awaited_and_something_each_time(family: FamilyModules) -> None:
    async with stage(family) as s:
        call = s.shop.users.get(1)
        assert s.urls == []
        assert await call == User(1, "Ada")
        assert await call == User(1, "Ada")
        assert s.urls == [f"{BASE}/users/1"] * 2


async def test_a_request_is_what_the_method_says(family: FamilyModules) -> None:
    async with stage(family, [document([])], default_headers={"X-Version": "3"}, user_agent="shop/1") as s:
        assert await s.shop.users.all(role=None, tags=["a b", "c"]) == []
        assert s.urls == [f"{BASE}/users?tag=a%20b&tag=c"]
        headers = s.last.headers
        assert (headers["x-version"], headers["user-agent"], headers["accept"]) == ("3", "shop/1", "application/json")


async def test_a_body_is_json_form_content_or_files(family: FamilyModules) -> None:
    bodies: list[tuple[str, bytes]] = []

    async with stage(family) as s:

        @s.shop.around_attempt
        async def keep(request: Any, call_next: Any) -> Any:
            bodies.append((request.headers.get("content-type", ""), await request.aread()))
            return await call_next(request)

        await s.shop.POST("/a", None, json={"b": "é", "c": None})
        await s.shop.POST("/a", None, json=None)
        await s.shop.PUT("/a", None, form={"b": "c d", "e": None, "f": [1, 2]})
        await s.shop.PATCH("/a", None, content=b"raw", headers={"Content-Type": "image/png"})
        await s.shop.DELETE("/a")
        await s.shop.POST("/a", None, files={"f": ("n.txt", b"data")}, form={"g": 1})
    assert bodies[:-1] == [
        ("application/json", '{"b":"é","c":null}'.encode()),
        ("application/json", b"null"),
        ("application/x-www-form-urlencoded", b"b=c%20d&f=1&f=2"),
        ("image/png", b"raw"),
        ("", b""),
    ]
    assert bodies[-1][0].startswith("multipart/form-data; boundary=")
    assert b'name="g"\r\n\r\n1\r\n' in bodies[-1][1]


async def test_a_body_is_as_it_was_when_the_call_was_made(family: FamilyModules) -> None:
    given = {"name": "Ada"}
    async with stage(family) as s:
        call = s.shop.POST("/a", None, json=given)
        given["name"] = "Bob"
        assert b"Ada" in call.request().stream.__dict__["_stream"]  # type: ignore[attr-defined]
        await call


async def test_a_body_of_a_function_is_made_for_each_send(family: FamilyModules) -> None:
    async def chunks() -> Any:
        yield b"one"
        yield b"two"

    read: list[bytes] = []
    async with stage(family, pipeline={"retry": None}) as s:

        @s.shop.around_attempt
        async def keep(request: Any, call_next: Any) -> Any:
            read.append(await request.aread())
            return await call_next(request)

        call = s.shop.POST("/a", None, content=chunks)
        await call
        await call
    assert read == [b"onetwo"] * 2


@pytest.mark.parametrize(
    "body",
    [
        {"json": 1, "content": b"x"},
        {"form": {}, "content": b"x"},
        {"json": float("nan")},
        {"json": object()},
        {"json": {1: {2, "a"}, "b": b"bytes"}},
        {"headers": {"X-A": "a\r\nX-B: c"}},
        {"headers": {"X A": "a"}},
        {"headers": {"X-A": "a\0"}},
        {"query": {"a": object()}},
        {"headers": "text"},
        {"query": "text"},
    ],
    ids=spelled,
)
def test_what_no_request_is_made_of_is_refused_at_once(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        _ = Shop(BASE).POST("/a", None, **body)


async def test_using_makes_another_call_and_leaves_the_first(family: FamilyModules) -> None:
    async with stage(family, pipeline={"retry": Retry(attempts=4)}) as s:
        first = s.shop.users.get(1).using(headers={"X-Trace": "1"}, query={"a": 1, "b": 2})
        other = first.using(
            headers={"x-trace": "2"}, query={"b": None, "c": 3}, deadline=2, retry=None, cache="refresh"
        )
        await other
        assert s.urls == [f"{BASE}/users/1?a=1&c=3"]
        assert s.last.headers.get_list("x-trace") == ["2"]
        assert s.last.extensions["holdfast"] == {
            "operation": "Users.get",
            "template": "/users/{id}",
            "deadline": 2,
            "attempts": 1,
            "cache": "refresh",
        }
        await first
        assert s.urls[-1] == f"{BASE}/users/1?a=1&b=2"
        assert s.last.headers["X-Trace"] == "1"


async def test_members_of_a_body_are_changed_as_parameters_are(family: FamilyModules) -> None:
    async with stage(family) as s:
        first = s.shop.POST("/a", None, json={"a": {"b": 1, "c": [1]}, "d": 1})
        await first.using(json={"a": {"b": None, "c": [2], "e": {"f": None}}, "d": None})
        await s.shop.POST("/a", None).using(json={"a": 1})
        await first
        assert [request.content for request in s.requests] == [
            b'{"a":{"c":[2],"e":{}}}',
            b'{"a":1}',
            b'{"a":{"b":1,"c":[1]},"d":1}',
        ]
        assert [request.headers["content-type"] for request in s.requests] == ["application/json"] * 3
        for other in (
            s.shop.GET("/a", None),
            s.shop.POST("/a", None, json=[1]),
            s.shop.POST("/a", None, form={"a": 1}),
            s.shop.POST("/a", None, content=b"{}"),
        ):
            with pytest.raises(InvalidInput, match="json="):
                _ = other.using(json={"a": 1})


async def test_fields_of_a_form_are_changed_as_parameters_are(family: FamilyModules) -> None:
    async with stage(family, lists="brackets") as s:
        first = s.shop.POST("/a", None, form={"a": [1, 2], "b": "x y", "c": 3})
        await first.using(form={"a": [3], "b": None, "d": True})
        await first
        await s.shop.POST("/a", None).using(form={"a": 1})
        assert [request.content for request in s.requests] == [
            b"a[]=3&c=3&d=true",
            b"a[]=1&a[]=2&b=x%20y&c=3",
            b"a=1",
        ]
        for other in (
            s.shop.GET("/a", None),
            s.shop.POST("/a", None, json={}),
            s.shop.POST("/a", None, form={"a": 1}, files={"b": b"c"}),
            s.shop.POST("/a", None, content=b"a=1"),
            s.shop.POST("/a", None).using(json={"a": 1}),
        ):
            with pytest.raises(InvalidInput, match="form="):
                _ = other.using(form={"a": 1})


@pytest.mark.parametrize(
    "change", [{"deadline": -1}, {"cache": "never"}, {"attempts": 0}, {"options": {"x": 1}}], ids=spelled
)
def test_an_option_that_cannot_be_is_refused_where_it_is_given(change: dict[str, Any]) -> None:
    call = Shop(BASE).users.get(1)
    with pytest.raises(InvalidOption):
        _ = call.using(**change)
    call.as_curl()


def test_a_call_never_changes() -> None:
    call = Shop(BASE).users.get(1)
    with pytest.raises(AttributeError):
        call._plan = None  # type: ignore[assignment]
    assert repr(call) == "<Call Users.get: GET /users/1>"
    link = call.following("?token=hunter2")
    assert repr(link) == f"<Call Users.get: GET {BASE}/users/1>"
    link.as_curl()
    call.as_curl()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_a_copy_of_what_never_changes_is_the_same(copied: Any) -> None:
    shop = Shop(BASE)
    call = shop.users.get(1)
    assert copied(call) is call
    assert copied(shop).users.get(1).as_curl() == call.as_curl()
    assert copied(shop).pipeline is shop.pipeline
    assert repr(copied(call.pages(by_link()))) == repr(call.pages(by_link()))


def test_a_call_is_of_its_process() -> None:
    shop = Shop(BASE)
    call = shop.users.get(1)
    call.as_curl()
    for mine in (shop, shop.users, call, shop.users.all().pages(by_link())):
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(mine)


async def test_a_retry_is_a_retry_of_the_call(family: FamilyModules) -> None:
    async with stage(family, [Reply(503), Fails("ConnectError"), ADA]) as s:
        reply = await s.shop.users.get(1).reply()
    assert reply.value == User(1, "Ada")
    assert (reply.status, reply.attempts, reply.source, reply.operation) == (200, 3, "origin", "Users.get")
    assert [attempt.status for attempt in reply.history.attempts] == [503, None, 200]
    assert reply.elapsed > 0


async def test_a_reply_keeps_what_the_response_said(family: FamilyModules) -> None:
    answer = document(
        {"id": 1, "name": "Ada"},
        X_Request_Id="r-1",
        X_RateLimit_Remaining="7",
        X_RateLimit_Reset="60",
        X_RateLimit_Limit="9",
    )
    async with stage(family, [answer]) as s:
        reply = await s.shop.users.get(1).reply()
    assert reply.request_id == "r-1"
    assert [(hint.left, hint.resets_in, hint.size) for hint in reply.limits] == [(7, 60, 9)]
    assert reply.headers.get("CONTENT-TYPE") == "application/json"
    assert reply.url == f"{BASE}/users/1"


async def test_map_changes_the_value_and_nothing_else(family: FamilyModules) -> None:
    async with stage(family) as s:
        call = s.shop.users.get(1).map(lambda user: user.name).map(len)
        assert await call == 3
        reply = await call.reply()
        assert (reply.value, reply.status) == (3, 200)
        assert await call.using(query={"a": 1}) == 3


async def test_or_else_stands_in_for_the_errors_that_it_names(family: FamilyModules) -> None:
    async with stage(family, [Reply(404)]) as s:
        call = s.shop.users.get(1).or_else(None, on=NotFound)
        assert await call is None
        reply = await call.reply()
        assert (reply.value, reply.source, reply.status, reply.attempts) == (None, "fallback", None, 0)
        with pytest.raises(NotFound):
            await s.shop.users.get(1).or_else(None, on=(Conflict, CircuitOpen))
        assert await s.shop.users.get(1).map(lambda user: user.name).or_else("nobody", on=NotFound).map(len) == 6


@pytest.mark.parametrize(
    ("answer", "error"), [(Reply(401), Unauthorized), (document({"id": "x"}), DecodeError)], ids=["401", "wrong shape"]
)
async def test_or_else_hides_no_news_that_somebody_must_hear(
    family: FamilyModules, answer: Reply, error: type[Exception]
) -> None:
    async with stage(family, [answer]) as s:
        with pytest.raises(error):
            await s.shop.users.get(1).or_else(None, on=HoldfastError)
        assert await s.shop.users.get(1).or_else(None, on=error) is None


def test_or_else_names_its_errors() -> None:
    call = Shop(BASE).users.get(1)
    with pytest.raises(ValueError, match="hide bugs"):
        _ = call.or_else(None, on=(NotFound, Exception))
    call.as_curl()


async def test_an_outcome_is_a_value_whatever_came(family: FamilyModules) -> None:
    class Gone(Exception):
        pass

    async with stage(family, [Reply(404)], status_errors={409: lambda _: Gone()}) as s:
        outcome = await s.shop.users.get(1).outcome()
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, NotFound)
        assert isinstance(outcome.error, family.http.HTTPStatusError)
        assert outcome.error.operation == "Users.get"
        with pytest.raises(NotFound):
            _ = outcome.value
    async with stage(family, [ADA]) as s:
        assert await s.shop.users.get(1).outcome() == Ok(User(1, "Ada"))
        with pytest.raises(ZeroDivisionError):  # a bug is no outcome
            await s.shop.users.get(1).map(lambda _: 1 / 0).outcome()
    async with stage(family, [Reply(409)], status_errors={409: lambda _: Gone()}) as s:
        assert isinstance((await s.shop.users.get(1).outcome()).error, Gone)  # type: ignore[union-attr]


async def test_a_stream_is_the_response_at_its_head(family: FamilyModules) -> None:
    async with stage(family, [Reply(200, body=(b"a", b"b"))]) as s:
        async with s.shop.GET("/export", bytes).stream() as response:
            assert [chunk async for chunk in response.aiter_bytes()] == [b"a", b"b"]
        async with s.shop.GET("/export", bytes).stream() as response:
            pass
        assert response.is_closed
        with pytest.raises(InvalidInput):
            s.shop.GET("/export", bytes).map(len).stream()


async def test_a_stream_of_a_failure_is_its_error(family: FamilyModules) -> None:
    async with stage(family, [Reply(404)]) as s:
        with pytest.raises(NotFound):
            async with s.shop.GET("/export", bytes).stream():
                raise AssertionError("not reached")


@pytest.mark.parametrize("make", ["as_curl", "request", "using", "map", "stream"])
def test_a_call_that_was_made_use_of_says_nothing(family: FamilyModules, make: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settings: dict[str, Any] = {"family": family.name}
        call: Any = Shop(BASE, **settings).users.get(1)
        made = call.map(len) if make == "map" else getattr(call, make)()
        if make in ("using", "map"):
            made.as_curl()
        del call, made
        gc.collect()


def test_a_call_that_was_forgotten_warns_where_it_was_made() -> None:
    with pytest.warns(RuntimeWarning, match="Users.remove was never made") as told:
        Shop(BASE).users.remove(1)  # type: ignore[unused-awaitable]
    assert told[0].filename == __file__


async def test_a_key_belongs_to_the_call_and_is_the_same_for_each_attempt(family: FamilyModules) -> None:
    async with stage(family, [Fails("ReadTimeout"), ADA]) as s:
        call = s.shop.users.order("Ada")
        await call
        await call.using(deadline=3)
        await s.shop.users.order("Ada")
        await call.using(idempotency_key="mine")
        keys = [request.headers["idempotency-key"] for request in s.requests]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert keys[4] == "mine"


async def test_a_post_without_a_key_is_tried_once(family: FamilyModules) -> None:
    async with stage(family, [Fails("ReadTimeout"), ADA]) as s:
        with pytest.raises(family.http.ReadTimeout):
            await s.shop.users.create("Ada")
        assert len(s.urls) == 1


async def test_a_curl_line_has_all_but_the_secrets() -> None:
    shop = Shop(
        BASE, auth=Basic("user", "hunter2", allow_http=True), default_headers={"X-Api-Key": "hunter2", "X-Version": "3"}
    )
    line = shop.POST(
        "/a", None, query={"page": 1, "token": "hunter2"}, json={"name": "O'Hara", "password": "hunter2"}
    ).as_curl()
    assert "hunter2" not in line
    assert line == (
        f"curl -X POST '{BASE}/a?page=1&token=***' -H 'X-Api-Key: ***' -H 'X-Version: 3'"
        " -H 'Content-Type: application/json' -H 'Authorization: ***'"
        """ --data-raw '{"name":"O'"'"'Hara","password":"***"}'"""
    )


def test_asyncio_takes_a_call_where_it_takes_an_awaitable(family: FamilyModules) -> None:
    async def main() -> None:
        async with stage(family) as s:
            assert [*await asyncio.gather(s.shop.users.get(1), s.shop.users.get(2))] == [User(1, "Ada")] * 2
            assert await asyncio.wait_for(s.shop.users.get(1), 1) == User(1, "Ada")
            async with asyncio.TaskGroup() as group:
                task = group.create_task(s.shop.users.get(1).value())
            assert task.result() == User(1, "Ada")

    asyncio.run(main())


async def test_a_task_group_of_anyio_starts_a_reply(family: FamilyModules) -> None:
    async with stage(family) as s:
        async with anyio.create_task_group() as group:
            group.start_soon(s.shop.users.get(1).reply)
            group.start_soon(s.shop.users.get(2).value)
        assert sorted(s.urls) == [f"{BASE}/users/1", f"{BASE}/users/2"]
