"""Streams of events and of lines: typed values as they come, over as many connections as it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import Any

import anyio
import pytest

import holdfast
from holdfast import DeadlineExceeded, Pipeline, Retry
from holdfast.client import ServerEvent
from holdfast.errors import BadRequest, DecodeError, HoldfastError, InvalidInput, LineTooLong, Unavailable
from holdfast.testing import VirtualClock
from holdfast.testing.faulty import Answer as Whole
from holdfast.testing.faulty import FaultyServer, Raw, Stream
from holdfast.testing.scripted import Answer, Fails, Hangs, Reply
from tests.client.api import Shop, User, stage
from tests.faults.wire import HALF_READ
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

EVENTS = {"content-type": "text/event-stream; charset=utf-8"}
ROWS = {"content-type": "application/x-ndjson"}


def events(*chunks: str, **how: Any) -> Reply:
    return Reply(200, headers=EVENTS, body=tuple(chunk.encode() for chunk in chunks), **how)


ADA = 'data: {"id": 1,\ndata: "name": "Ada"}\n\n'
GONE = Reply(204)


async def drain(stream: AbstractAsyncContextManager[AsyncIterator[Any]], into: list[Any] | None = None) -> None:
    """Read all of a stream into a list, which has what came if it fails."""
    async with stream as values:
        async for value in values:
            if into is not None:
                into.append(value)


async def test_the_data_of_an_event_is_decoded_into_the_type_of_the_call(family: FamilyModules) -> None:
    script = [events("id: 7\nevent: joined\nda", 'ta: {"id": 1, "name": "Ada"}\n\n: ping\n\n', ADA), GONE]
    async with stage(family, script) as s:
        async with s.shop.users.get(1).events() as stream:
            seen = [event async for event in stream]
        assert seen == [ServerEvent(User(1, "Ada"), "joined", "7"), ServerEvent(User(1, "Ada"), "message", "7")]
        assert s.requests[0].headers["accept"] == "text/event-stream"
        assert "last-event-id" not in s.requests[0].headers


async def test_a_stream_that_ends_or_breaks_goes_on_where_it_was(family: FamilyModules) -> None:
    script: list[Answer] = [
        events("id: 1\ndata: a\n\n", "retry: 4000\n"),
        events("id: 2\ndata: b\n\n", "data: cut", then=Fails("ReadError")),
        Fails("ConnectError"),
        events("data: c\n\n"),
        GONE,
    ]
    async with stage(family, script, pipeline={"retry": None}) as s:
        async with s.shop.GET("/feed", str).events() as stream:
            seen = [(event.value, event.id) async for event in stream]
        assert seen == [("a", "1"), ("b", "2"), ("c", "2")]
        assert [request.headers.get("last-event-id") for request in s.requests] == [None, "1", "2", "2", "2"]
        times = [sent.at for sent in s.script.sent]
        waits = [later - earlier for earlier, later in pairwise(times)]
        assert all(4.0 <= wait <= 4.8 for wait in (waits[0], waits[1], waits[3]))
        assert 8.0 <= waits[2] <= 9.6  # one more in vain


async def test_a_server_that_names_no_time_is_asked_at_once_and_less_often_where_nothing_comes(
    family: FamilyModules,
) -> None:
    script = [events("data: a\n\n", "retry: 0\n"), *[events(": nothing\n")] * 2, events("data: b\n\n"), GONE]
    async with stage(family, script, pipeline={"retry": None}) as s:
        async with s.shop.GET("/feed", str).events() as stream:
            assert [event.value async for event in stream] == ["a", "b"]
        times = [sent.at for sent in s.script.sent]
        first, second, third, last = [later - earlier for earlier, later in pairwise(times)]
    assert (first, last) == (0.0, 0.0)
    assert 0.19 <= second <= 0.25
    assert 0.39 <= third <= 0.49


@pytest.mark.parametrize(
    ("script", "error", "sent"),
    [
        ([events("data: a\n\n"), Reply(503)], Unavailable, 6),
        ([events("data: a\n\n"), Reply(400)], BadRequest, 2),
        ([events("data: a\n\n"), Reply(200, body=b"<html>", headers={"content-type": "text/html"})], DecodeError, 2),
        ([events("data: a\n\n"), events(": nothing\n")], HoldfastError, 6),
        ([Reply(503)], Unavailable, 1),
        ([Reply(200, body=b"{}", headers={"content-type": "application/json"})], DecodeError, 1),
    ],
    ids=["down", "refused", "another type", "empty again and again", "never there", "no stream"],
)
async def test_what_does_not_come_back_is_raised(
    family: FamilyModules, script: list[Reply], error: type[Exception], sent: int
) -> None:
    expected = family.http.ReadError if error is HoldfastError else error
    seen: list[Any] = []
    async with stage(family, script, pipeline={"retry": None, "breaker": None}) as s:
        with pytest.raises(expected) as raised:
            await drain(s.shop.GET("/feed", str).events(), seen)
        assert isinstance(raised.value, family.http.HTTPError)
        assert len(s.requests) == sent
        assert [event.value for event in seen] == ["a"] * (sent > 1)


async def test_the_longer_wait_of_a_server_holds(family: FamilyModules) -> None:
    script = [events("data: a\n\n"), Reply(503, headers={"retry-after": "40"}), events("data: b\n\n"), GONE]
    async with stage(family, script, pipeline={"retry": None, "pacing": None}) as s:
        async with s.shop.GET("/feed", str).events() as stream:
            assert [event.value async for event in stream] == ["a", "b"]
        assert s.script.sent[2].at - s.script.sent[1].at >= 40


async def test_a_post_is_not_sent_again_and_the_end_has_a_word(family: FamilyModules) -> None:
    script = [events(ADA, "data: [DONE]\n\n", ADA), events("data: [DONE]\n")]
    async with stage(family, script) as s:
        async with s.shop.users.create("Ada").events(until="[DONE]") as stream:
            assert [event.value async for event in stream] == [User(1, "Ada")]
        async with s.shop.users.create("Ada").events() as stream:
            assert [event async for event in stream] == []
        assert len(s.requests) == 2


async def test_an_event_that_does_not_fit_is_an_error_where_it_stands(family: FamilyModules) -> None:
    script = [events(ADA, 'data: {"id": "x"}\n\n', ADA), GONE]
    async with stage(family, script) as s, s.shop.users.get(1).events() as stream:
        assert (await anext(stream)).value == User(1, "Ada")
        with pytest.raises(DecodeError) as raised:
            await anext(stream)
        assert (raised.value.operation, raised.value.path) == ("Users.get", "$.id")
        assert isinstance(raised.value, family.http.DecodingError)
        assert (await anext(stream)).value == User(1, "Ada")
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_silence_counts_as_a_break_after_a_while(family: FamilyModules) -> None:
    script = [events("data: a\n\n", ": ping\n", then=Hangs(), every=50.0), events("data: b\n\n"), GONE]
    async with stage(family, script, pipeline={"deadline": 5.0}) as s:  # the call's deadline ends with the head
        async with s.shop.GET("/feed", str).events() as stream:
            assert [event.value async for event in stream] == ["a", "b"]
        assert s.script.sent[1].at - s.script.sent[0].at >= 160
        assert s.script.sent[1].at - s.script.sent[0].at <= 162


async def test_a_deadline_of_the_context_ends_the_tries(family: FamilyModules) -> None:
    async with stage(family, [events("data: a\n\n"), Fails("ConnectError")], pipeline={"retry": None}) as s:
        with pytest.raises((DeadlineExceeded, family.http.ConnectError)), holdfast.deadline(3.0, clock=s.clock):
            await drain(s.shop.GET("/feed", str).events(reconnects=100))
        assert s.clock.monotonic() - s.script.sent[0].at <= 3.0


async def test_rows_are_values_and_the_last_needs_no_end(family: FamilyModules) -> None:
    body = (b'{"id": 1, "na', b'me": "Ada"}\r\n\n{"id": 2, "name": "Bo"}\n{"id"', b': 3, "name": "C"}')
    async with stage(family, [Reply(200, headers=ROWS, body=body)]) as s, s.shop.users.get(1).rows() as rows:
        assert [row async for row in rows] == [User(1, "Ada"), User(2, "Bo"), User(3, "C")]
        assert rows.response.headers["content-type"] == ROWS["content-type"]


async def test_rows_that_break_off_are_an_error(family: FamilyModules) -> None:
    reply = Reply(200, headers=ROWS, body=(b'{"id": 1, "name": "Ada"}\n{"id": 2', b', "na'), then=Fails("ReadError"))
    async with stage(family, [reply]) as s, s.shop.users.get(1).rows() as rows:
        assert await anext(rows) == User(1, "Ada")
        with pytest.raises(family.http.ReadError):
            await anext(rows)


async def give_up_reading(stream: Any) -> None:
    """A read of the stream that is cancelled while it waits."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream.__anext__)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("kind", ["rows", "events"])
async def test_a_stream_that_was_given_up_in_the_middle_has_not_ended(family: FamilyModules, kind: str) -> None:
    rows = Reply(200, headers=ROWS, body=(b'"a"\n', b'"cut'), then=Hangs())
    async with stage(family, [rows if kind == "rows" else events("data: a\n\n", "data: cut", then=Hangs())]) as s:
        call = s.shop.POST("/feed", Any if kind == "rows" else str)
        stream: Any = call.rows(idle=None) if kind == "rows" else call.events(idle=None)
        async with stream as values:
            await anext(values)
            await give_up_reading(values)
            with pytest.raises(family.http.ReadError, match="given up"):
                await anext(values)


@pytest.mark.parametrize("where", ["reading", "connecting"])
async def test_events_go_on_behind_a_read_that_was_given_up(family: FamilyModules, where: str) -> None:
    first = events("id: 1\ndata: a\n\n", **({"then": Hangs()} if where == "reading" else {}))
    script: list[Answer] = [first, *([Hangs()] if where == "connecting" else []), events("data: b\n\n"), GONE]
    patient = {"deadline": None, "attempt_timeout": None}
    async with stage(family, script, pipeline=patient) as s, s.shop.GET("/feed", str).events(idle=None) as stream:
        assert (await anext(stream)).value == "a"
        await give_up_reading(stream)
        assert [event.value async for event in stream] == ["b"]
        assert {request.headers.get("last-event-id") for request in s.requests[1:]} == {"1"}


async def test_rows_end_with_silence_and_not_with_the_deadline(family: FamilyModules) -> None:
    text = {"content-type": "application/json"}  # nothing says that it takes its time
    reply = Reply(200, headers=text, body=(b'{"id": 1, "name": "Ada"}\n',) * 3, every=20.0, then=Hangs())
    async with stage(family, [reply], pipeline={"deadline": 5.0, "retry": None}) as s:
        seen: list[Any] = []
        with pytest.raises(family.http.ReadTimeout):
            await drain(s.shop.users.get(1).rows(idle=30.0), seen)
        assert len(seen) == 3


@pytest.mark.parametrize("kind", ["events", "rows"])
async def test_a_line_has_a_cap(family: FamilyModules, kind: str) -> None:
    headers = EVENTS if kind == "events" else ROWS
    first = b"data: Ada\n\ndata: xxxxx" if kind == "events" else b'"Ada"\n"xxxxx'
    seen: list[Any] = []
    async with stage(family, [Reply(200, headers=headers, body=(first, *(b"xxxxxxxxxx",) * 10))]) as s:
        with pytest.raises(LineTooLong) as raised:
            await drain(getattr(s.shop.GET("/feed", str), kind)(longest=50))
    async with stage(family, [Reply(200, headers=headers, body=(first + b"x" * 100,))]) as s:
        with pytest.raises(LineTooLong) as raised:
            await drain(getattr(s.shop.GET("/feed", str), kind)(longest=50), seen)
        assert len(seen) == 1  # what came before it, in the same piece
        assert raised.value.limit == 50
        assert isinstance(raised.value, family.http.TransportError)


@pytest.mark.parametrize("kind", ["events", "rows"])
async def test_a_stream_is_no_value(family: FamilyModules, kind: str) -> None:
    async with stage(family) as s:
        with pytest.raises(InvalidInput):
            getattr(s.shop.users.get(1).map(str), kind)()
        for bad in ({"idle": 0}, {"longest": 0}, {"reconnects": -1} if kind == "events" else {"idle": -1}):
            with pytest.raises(ValueError, match="must be"):
                getattr(s.shop.users.get(1), kind)(**bad)
        stream = getattr(s.shop.users.get(1), kind)()
        with pytest.raises(RuntimeError, match="inside"):
            await anext(stream)
        assert s.requests == []


@HALF_READ
@pytest.mark.parametrize("kind", ["events", "rows"])
async def test_leaving_closes_the_connection(family: FamilyModules, kind: str) -> None:
    endless = Stream(
        b'data: {"id": 1, "name": "Ada"}\n\n' if kind == "events" else b'{"id": 1, "name": "Ada"}\n',
        every=0.01,
        headers=EVENTS if kind == "events" else ROWS,
    )
    async with FaultyServer() as server, Shop(server.url, family=family.name) as shop:  # type: ignore[arg-type]
        server.on("/users/1", endless)
        async with getattr(shop.users.get(1), kind)() as stream:
            async for value in stream:
                assert (value.value if kind == "events" else value) == User(1, "Ada")
                break
        await server.await_for(lambda server: server.in_flight == server.connections_open == 0)
        with anyio.move_on_after(0.1) as scope:
            await drain(getattr(shop.users.get(1), kind)())
        assert scope.cancelled_caught
        await server.await_for(lambda server: server.in_flight == server.connections_open == 0)


async def test_silence_on_a_socket_gives_the_connection_back(family: FamilyModules) -> None:
    clock = VirtualClock()
    pipeline = Pipeline(clock=clock)
    async with FaultyServer() as server, Shop(server.url, family=family.name, pipeline=pipeline) as shop:  # type: ignore[arg-type]
        server.on("/users/1", Stream(b'{"id": 1, "name": "Ada"}\n', every=60.0, headers=ROWS))
        server.on("/users/2", Whole.json({"id": 2, "name": "Bo"}))
        async with shop.users.get(1).rows(idle=20.0) as rows, anyio.create_task_group() as tasks:
            assert await anext(rows) == User(1, "Ada")
            tasks.start_soon(clock.advance, 20.0)
            with pytest.raises(family.http.ReadTimeout), anyio.fail_after(30):
                await anext(rows)
        await server.await_for(lambda server: server.connections_open == 0)
        assert await shop.users.get(2) == User(2, "Bo")


async def test_a_connection_that_is_cut_is_made_anew(family: FamilyModules) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    cut = Raw(head + b"1f\r\nid: 5\nretry: 10\ndata: first\n\n\r\n5\r\ndat")
    async with FaultyServer() as server, Shop(server.url, family=family.name) as shop:  # type: ignore[arg-type]
        server.on("/feed", cut, Whole(200, body=b"data: second\n\n", headers=EVENTS), Whole(204))
        async with shop.GET("/feed", str).events() as stream:
            assert [event.value async for event in stream] == ["first", "second"]
        ids = [
            dict(request.headers).get(b"last-event-id") or dict(request.headers).get(b"Last-Event-ID")
            for request in server.requests
        ]
        assert ids == [None, b"5", b"5"]


@HALF_READ
async def test_a_lent_client_without_a_pipeline_streams_too(family: FamilyModules) -> None:
    async with FaultyServer() as server, family.http.AsyncClient() as client:
        server.on("/feed", Whole(200, body=b"data: a\n\n", headers=EVENTS))
        shop = Shop(server.url, client=client)
        async with shop.GET("/feed", str).events() as stream:
            assert (await anext(stream)).value == "a"
        async with shop.GET("/feed", str).stream() as response:
            assert await response.aread() == b"data: a\n\n"


async def test_retries_of_a_pipeline_are_for_the_head(family: FamilyModules) -> None:
    script = [Reply(503), events("data: a\n\n"), GONE]
    seen: list[Any] = []
    async with stage(family, script, pipeline={"retry": Retry(attempts=2)}) as s:
        await drain(s.shop.GET("/feed", str).events(), seen)
    assert [event.value for event in seen] == ["a"]
