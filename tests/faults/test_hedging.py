"""Hedging over real sockets: the winner's body is whole, what came too late is cleared away, no connection is lost."""

from __future__ import annotations

import random
from typing import Any

import anyio
import pytest

from holdfast import ConcurrencyLimit, Hedge, Pipeline
from holdfast.events import AttemptEnded, Event
from holdfast.testing.faulty import Answer, Close, Drip, FaultyServer, HalfBody, Held, Never, Reset, Stream
from holdfast.testing.faulty.exchange import Behaviour
from tests.faults.lifetime import all_at, held, life, serves_at_once, stepping, succeed, until
from tests.faults.wire import HALF_READ, TRUSTS_NOBODY, outcome, running_tasks
from tests.support import FamilyModules

pytestmark = [pytest.mark.anyio, HALF_READ]
SIZE = 512 * 1024
FIRST, SECOND = bytes(range(256)) * (SIZE // 256), bytes(reversed(range(256))) * (SIZE // 256)
SOON = Hedge(delay=0.02)


async def cleared(server: FaultyServer, pipeline: Pipeline) -> None:
    """What a call left behind is over, by itself or because it was cancelled."""
    await until(lambda: held(pipeline) == {})


@pytest.mark.parametrize("buffer_body", [True, False, "auto"], ids=str)
async def test_the_winners_body_is_whole(family: FamilyModules, server: FaultyServer, buffer_body: Any) -> None:
    gate = server.gate()
    server.on("/big", Held(gate, Answer(body=FIRST)), Answer(body=SECOND))
    async with life(family, server, hedge=SOON, buffer_body=buffer_body) as on:
        response = await on.http.get(f"{server.url}/big")
        assert response.content == SECOND
        gate.open()
        await cleared(server, on.pipeline)


async def test_bodies_that_come_side_by_side_are_not_mixed(family: FamilyModules, server: FaultyServer) -> None:
    """Both answers come at about the same time, so that one is given up in the middle of its body."""
    server.on("/big", *[Answer(body=FIRST, delay=0.03), Answer(body=SECOND, delay=0.01)] * 10)
    async with life(family, server, hedge=SOON) as on:
        for _ in range(10):
            assert (await on.http.get(f"{server.url}/big")).content in (FIRST, SECOND)
        await cleared(server, on.pipeline)


async def test_a_stream_is_read_to_its_end_while_the_other_one_ends(
    family: FamilyModules, server: FaultyServer
) -> None:
    gate = server.gate()
    server.on("/stream", Held(gate, Stream(b"a" * 9_999, times=50)), Stream(b"b" * 9_999, times=50))
    async with life(family, server, hedge=SOON) as on:
        size = 0
        async with on.http.stream("GET", f"{server.url}/stream") as response:
            async for chunk in response.aiter_bytes():
                gate.open()
                assert set(chunk) == {ord("b")}
                size += len(chunk)
        assert size == 50 * 9_999
        await cleared(server, on.pipeline)


@pytest.mark.parametrize(
    "first", [None, Close(), Reset(), HalfBody(8, 4), Drip(b"x" * 30, every=0.02, head=True), Answer(503)], ids=str
)
async def test_whatever_the_first_does_the_second_answers(
    family: FamilyModules, server: FaultyServer, first: Behaviour | None
) -> None:
    gate = server.gate()
    server.on("/odd", first or Held(gate), Answer(body=b"second"))
    async with life(family, server, limits=2, hedge=SOON, retry=None) as on:
        assert (await on.http.get(f"{server.url}/odd")).content == b"second"
        gate.open()
        await cleared(server, on.pipeline)
        await serves_at_once(on.http, server, 2)
        await cleared(server, on.pipeline)  # on a slow machine these were hedged, too


async def test_a_hedge_waits_for_no_connection(family: FamilyModules, server: FaultyServer) -> None:
    """There are permits to spare, and no connection: one request for each call."""
    gate, seen = server.gate(), list[Event]()
    server.on("/slow", Held(gate))
    async with life(family, server, limits=2, hedge=SOON, listeners=[seen.append]) as on:
        async with anyio.create_task_group() as calls:
            for _ in range(2):
                calls.start_soon(succeed, on.http, f"{server.url}/slow")
            await all_at(gate, server, 2)
            await until(lambda: [one.error for one in seen if isinstance(one, AttemptEnded)] == ["PoolTimeout"] * 2)
            gate.open()
        assert len(server.requests) == 2
        await cleared(server, on.pipeline)


@pytest.mark.heavy
async def test_cancelled_anywhere_a_hedged_call_leaves_nothing(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/mixed", *[Answer(delay=0.01, body=bytes(2000)), Answer(body=bytes(2000)), Answer(503)] * 200)
    async with life(family, server, limits=6, hedge=Hedge(delay=0.003)) as on, stepping() as steps:
        dice = random.Random(2)

        async def caller() -> None:
            for _ in range(30):
                with steps.cancel_after(dice.randrange(60)):
                    await outcome(on.http, "GET", f"{server.url}/mixed")

        async with anyio.create_task_group() as callers:
            for _ in range(4):
                callers.start_soon(caller)
        await cleared(server, on.pipeline)
        await serves_at_once(on.http, server, 6)
        await cleared(server, on.pipeline)


@pytest.mark.heavy
async def test_a_pool_of_the_librarys_own_loses_no_slot(family: FamilyModules, server: FaultyServer) -> None:
    """httpx 0.28.1's pool does if what came too late is cancelled (encode/httpcore#1093).

    Two at once for each call, and a connection for each request: the one that lost is given up anywhere on its way.
    """
    before = running_tasks()
    server.on("/fresh", Answer(keep_alive=False))
    limits = family.http.Limits(max_connections=4, max_keepalive_connections=4)
    inner = family.http.AsyncHTTPTransport(verify=TRUSTS_NOBODY, limits=limits)
    hedge = Hedge(delay=0.0)
    pipeline = Pipeline(hedge=hedge, budget=None, concurrency=ConcurrencyLimit(8), retry=None, deadline=60.0)
    transport = family.holdfast.ResilientTransport(pipeline, inner=inner)
    async with family.http.AsyncClient(transport=transport) as http:

        async def caller() -> None:
            for _ in range(20):
                await succeed(http, f"{server.url}/fresh")

        async with anyio.create_task_group() as callers:
            for _ in range(4):
                callers.start_soon(caller)
        await cleared(server, pipeline)
        sequel = family.holdfast.ResilientTransport(Pipeline(), inner=inner)
        await serves_at_once(family.http.AsyncClient(transport=sequel), server, 4)
    await server.await_for(lambda server: server.connections_open == 0)
    assert running_tasks() == before


async def test_closing_the_client_ends_what_was_left_behind(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/odd", Never(), Answer())
    async with life(family, server, hedge=SOON) as on:
        await succeed(on.http, f"{server.url}/odd")
        await on.http.aclose()
