"""Old answers over real sockets (K10, K11): the origin closes, is down, or is asked by a hundred at once."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import anyio
import pytest
import sniffio

import holdfast
from holdfast import Cache, Pipeline, SQLiteStore
from holdfast.events import CallStarted, Event
from holdfast.testing.faulty import Answer, Close, FaultyServer, HalfBody, Held, Never, Reset
from holdfast.testing.faulty.exchange import Behaviour
from tests.faults.lifetime import AheadClock, life, of_row, until
from tests.faults.wire import HALF_READ, TRUSTS_NOBODY, running_tasks
from tests.support import FamilyModules

pytestmark = [pytest.mark.anyio, HALF_READ]
IF_ERROR = (("cache-control", "max-age=60, stale-if-error=600"),)
WHILE = (("cache-control", "max-age=60, stale-while-revalidate=600"), ("etag", '"a"'))


def told(response: Any) -> tuple[str | None, str | None]:
    record = holdfast.history(response)
    return record.source, record.cache


@of_row("K10")
@pytest.mark.parametrize(
    "failure",
    [Close(), Reset(), Answer(500, body=b"no"), Answer(503, body=b"x" * 300_000), HalfBody(8, 4), Never()],
    ids=["closes", "resets", "500", "503 of some length", "half a body", "never answers"],
)
async def test_a_stale_answer_is_there_when_the_origin_is_not(
    family: FamilyModules, server: FaultyServer, failure: Behaviour
) -> None:
    clock = AheadClock()
    server.on("/kept", Answer(body=b"kept", headers=IF_ERROR), failure)
    patience: dict[str, Any] = {"attempt_timeout": 0.3, "retry": None} if isinstance(failure, Never) else {}
    async with life(family, server, limits=1, cache=Cache(), clock=clock, **patience) as on:
        await on.http.get(f"{server.url}/kept")
        clock.ahead += 61
        for _ in range(2):
            response = await on.http.get(f"{server.url}/kept")
            assert (response.status_code, response.content, told(response)) == (200, b"kept", ("cache", "stale"))
        assert (await on.http.get(f"{server.url}/else")).status_code == 200  # the one connection is there again


@of_row("K10")
async def test_it_outlives_the_outage_and_the_open_circuit(family: FamilyModules, server: FaultyServer) -> None:
    clock = AheadClock()
    server.on("/kept", Answer(body=b"kept", headers=IF_ERROR))
    async with life(family, server, cache=Cache(), clock=clock) as on:
        await on.http.get(f"{server.url}/kept")
        clock.ahead += 61
        server.go_down()
        responses = [await on.http.get(f"{server.url}/kept") for _ in range(12)]
        assert {response.content for response in responses} == {b"kept"}
        reasons = [holdfast.history(response).reason for response in responses]
        assert (reasons[0], reasons[-1]) == ("attempts", "circuit_open")
        server.come_up()
        on.pipeline.circuits.reset(server.url)
        assert told(await on.http.get(f"{server.url}/kept")) == ("origin", "miss")


@of_row("K11")
@pytest.mark.parametrize("said", [IF_ERROR, WHILE], ids=["validated", "while it is validated"])
async def test_a_hundred_callers_at_expiry_make_one_request(
    family: FamilyModules, server: FaultyServer, said: tuple[tuple[str, str], ...]
) -> None:
    clock, gate = AheadClock(), server.gate()
    server.on("/kept", Answer(body=b"old", headers=said), Held(gate, Answer(body=b"new", headers=said)))
    async with life(family, server, cache=Cache(), clock=clock) as on:
        await on.http.get(f"{server.url}/kept")
        clock.ahead += 61
        got: list[bytes] = []

        async def ask() -> None:
            got.append((await on.http.get(f"{server.url}/kept")).content)

        async with anyio.create_task_group() as callers:
            for _ in range(100):
                callers.start_soon(ask)
            await server.await_for(lambda _: gate.waiting == 1)
            if said is WHILE:
                await until(lambda: len(got) == 100)
            gate.open()
        assert set(got) == {b"old" if said is WHILE else b"new"}
        await until(lambda: on.pipeline.snapshot()["cache"]["fetching"] == 0)
        assert (await on.http.get(f"{server.url}/kept")).content == b"new"
        assert server.count("/kept") == 2


@of_row("K11")
async def test_a_hundred_callers_at_expiry_of_a_failing_origin_make_one_call(
    family: FamilyModules, server: FaultyServer
) -> None:
    clock, gate, seen = AheadClock(), server.gate(), list[Event]()
    server.on("/kept", Answer(body=b"old", headers=IF_ERROR), Held(gate, Close()))
    async with life(family, server, cache=Cache(), clock=clock, retry=None, listeners=[seen.append]) as on:
        await on.http.get(f"{server.url}/kept")
        clock.ahead += 61
        got: list[bytes] = []

        async def ask() -> None:
            got.append((await on.http.get(f"{server.url}/kept")).content)

        async with anyio.create_task_group() as callers:
            for _ in range(100):
                callers.start_soon(ask)
            await server.await_for(lambda _: gate.waiting == 1)
            await until(lambda: sum(isinstance(event, CallStarted) for event in seen) == 101)
            gate.open()
        assert (set(got), server.count("/kept")) == ({b"old"}, 2)


async def test_closing_with_a_fetch_under_way_leaves_no_task_and_no_connection(
    family: FamilyModules, server: FaultyServer
) -> None:
    before, complaints = running_tasks(), list[Any]()
    if sniffio.current_async_library() == "asyncio":
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    clock = AheadClock()
    for path in ("/a", "/b", "/c"):
        server.on(path, Answer(body=b"old", headers=WHILE), Never())
    pipeline = Pipeline(cache=Cache(), clock=clock, deadline=None, attempt_timeout=None)
    transport = family.holdfast.ResilientTransport(pipeline, verify=TRUSTS_NOBODY)
    # Never entered: that is no condition for a background.
    client = family.http.AsyncClient(transport=transport, timeout=None)
    for path in ("/a", "/b", "/c"):
        await client.get(f"{server.url}{path}")
    clock.ahead += 61
    for path in ("/a", "/b", "/c"):
        assert told(await client.get(f"{server.url}{path}")) == ("cache", "stale")
    await server.await_for(lambda _: server.in_flight == 3)
    with anyio.fail_after(30.0):
        await transport.aclose()
    assert running_tasks() == before
    await server.await_for(lambda _: server.connections_open == 0)
    state = transport.pipeline.snapshot()
    assert state["cache"]["fetching"] == state["origins"][server.url]["concurrency"]["in_use"] == 0
    await client.aclose()
    gc.collect()
    assert complaints == []


async def test_a_drain_lets_the_background_end(family: FamilyModules, server: FaultyServer) -> None:
    clock = AheadClock()
    server.on("/kept", Answer(body=b"old", headers=WHILE), Answer(body=b"new", headers=WHILE, delay=0.1))
    pipeline = Pipeline(cache=Cache(), clock=clock)
    transport = family.holdfast.ResilientTransport(pipeline, verify=TRUSTS_NOBODY)
    async with family.http.AsyncClient(transport=transport) as http:
        await http.get(f"{server.url}/kept")
        clock.ahead += 61
        await http.get(f"{server.url}/kept")
        await transport.aclose(drain=60.0)
    assert pipeline.snapshot()["cache"]["stored"] == 2


async def test_a_client_with_mounts_is_left_whole(family: FamilyModules, server: FaultyServer) -> None:
    """Both families leave the transports of a client in the order of entering, which no nursery of ours would bear."""
    clock = AheadClock()
    for path in ("/a", "/b"):
        server.on(path, Answer(body=b"old", headers=WHILE), Never())
    before = running_tasks()
    inner, mounted = (family.http.AsyncHTTPTransport(verify=TRUSTS_NOBODY) for _ in range(2))
    plain = family.http.AsyncClient(transport=inner, mounts={"all://localhost": mounted})
    async with family.holdfast.wrap(plain, Pipeline(cache=Cache(), clock=clock)) as http:
        urls = f"{server.url}/a", f"{server.url}/b".replace("127.0.0.1", "localhost")
        for url in urls:
            await http.get(url)
        clock.ahead += 61
        for url in urls:
            assert told(await http.get(url)) == ("cache", "stale")
        await server.await_for(lambda _: server.in_flight == 2)
    assert running_tasks() == before


def test_a_loop_that_ends_over_a_fetch_leaves_nothing_to_wait_for(family: FamilyModules) -> None:
    clock = AheadClock()
    with FaultyServer() as server:
        server.on("/kept", Answer(body=b"old", headers=WHILE), Never(), Answer(body=b"new", headers=WHILE))
        pipeline = Pipeline(cache=Cache(), clock=clock)

        async def leave_open() -> None:
            transport = family.holdfast.ResilientTransport(pipeline, verify=TRUSTS_NOBODY)
            client = family.http.AsyncClient(transport=transport)
            await client.get(f"{server.url}/kept")
            clock.ahead += 61
            await client.get(f"{server.url}/kept")  # and the task is cancelled by the loop before its first step

        async def again() -> bytes:
            transport = family.holdfast.ResilientTransport(pipeline, verify=TRUSTS_NOBODY)
            async with family.http.AsyncClient(transport=transport) as client:
                insists = {"cache-control": "max-age=1"}
                content: bytes = (await client.get(f"{server.url}/kept", headers=insists)).content
                return content

        asyncio.run(leave_open())
        assert pipeline.snapshot()["cache"]["fetching"] == 0
        if server.count("/kept") == 1:
            server.on("/kept", Answer(body=b"new", headers=WHILE))
        assert asyncio.run(again()) == b"new"


async def test_a_long_answer_is_given_stale_and_offline_from_its_file(
    family: FamilyModules, server: FaultyServer, tmp_path: Path
) -> None:
    clock, body = AheadClock(), b"0123456789abcdef" * 20_000
    server.on("/long", Answer(body=body, headers=IF_ERROR), Close())
    async with SQLiteStore(tmp_path / "cache.db") as store:
        cache = Cache(store=store, spill_bytes=16_384, store_timeout=60.0)
        async with life(family, server, cache=cache, clock=clock) as on:
            await on.http.get(f"{server.url}/long")
            clock.ahead += 61
            stale = await on.http.get(f"{server.url}/long")
            on.pipeline.offline()
            offline = await on.http.get(f"{server.url}/long")
            assert (stale.content, offline.content) == (body, body)
            assert (told(stale), told(offline)) == (("cache", "stale"), ("cache", "offline"))
            on.pipeline.online()


async def test_a_pipeline_comes_back_when_the_origin_does(family: FamilyModules, server: FaultyServer) -> None:
    clock = AheadClock()
    server.on("/kept", Answer(body=b"old", headers=IF_ERROR), Answer(body=b"new", headers=IF_ERROR))
    async with life(family, server, cache=Cache(), clock=clock) as on:
        await on.http.get(f"{server.url}/kept")
        on.pipeline.offline(probe_every=10.0)
        server.go_down()
        for _ in range(2):
            clock.ahead += 10
            assert told(await on.http.get(f"{server.url}/kept")) == ("cache", "offline")
        server.come_up()
        assert told(await on.http.get(f"{server.url}/kept")) == ("cache", "offline")
        clock.ahead += 10
        assert (await on.http.get(f"{server.url}/kept")).content == b"new"
        assert on.pipeline.snapshot()["offline"] is None
