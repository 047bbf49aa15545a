"""Cancellation over real sockets: wherever a call is cut off, nothing of it stays (C01, C02, C21, C31)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from functools import partial
from typing import Any

import anyio
import pytest

from holdfast import (
    Cache,
    CircuitBreaker,
    ConcurrencyLimit,
    Fallback,
    Hedge,
    IdempotencyKeys,
    OfflineMode,
    RateLimit,
    Throttle,
    Window,
)
from holdfast.events import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallStarted,
    Event,
    FellBack,
    HedgeSent,
    Waited,
)
from holdfast.testing.faulty import Answer, FaultyServer, Held, Sometimes, Stream
from tests.faults.lifetime import (
    AheadClock,
    Life,
    Steps,
    all_at,
    held,
    life,
    of_row,
    serves_at_once,
    stepping,
    until,
)
from tests.faults.wire import HALF_READ, outcome, retry
from tests.support import FamilyModules

pytestmark = [pytest.mark.anyio, HALF_READ]
POOL = 10


@pytest.fixture
def server(server: FaultyServer) -> FaultyServer:
    server.on("/fine", Answer(body=bytes(2000)))
    server.on("/slow", Answer(body=bytes(2000), delay=0.005))
    server.on("/flaky", Sometimes(0.5, Answer(503, body=bytes(2000))))
    server.on("/stream", Stream(bytes(2000), times=4))
    return server


async def one_call(on: Life, server: FaultyServer, path: str) -> None:
    """A whole call, as a user makes it; a path under ``/stream`` is read as a stream."""
    if path == "/stream":
        async with on.http.stream("GET", server.url + path) as response:
            async for _ in response.aiter_bytes():
                pass
    else:
        await on.http.get(server.url + path)


async def one_plain_call(on: Life, server: FaultyServer, dice: random.Random) -> None:
    await one_call(on, server, dice.choice(("/fine", "/slow", "/flaky", "/stream")))


class Cancelling:
    """Callers that are cancelled at random points until so many were."""

    one = staticmethod(one_plain_call)

    def __init__(self, on: Life, server: FaultyServer, steps: Steps, wanted: int, within: int) -> None:
        self.on = on
        self.server = server
        self.steps = steps
        self.left = wanted
        self.within = within

    async def caller(self, dice: random.Random) -> None:
        while self.left > 0:
            with self.steps.cancel_after(dice.randrange(self.within)) as scope:
                await self.one(self.on, self.server, dice)
            self.left -= scope.cancelled_caught

    async def run(self, callers: int) -> None:
        async with anyio.create_task_group() as tasks:
            for seed in range(callers):
                tasks.start_soon(self.caller, random.Random(seed))


@pytest.mark.heavy
@pytest.mark.parametrize("cancelled", [200, pytest.param(1000, marks=pytest.mark.slow)])
async def test_after_many_cancelled_calls_nothing_is_lost(
    family: FamilyModules, server: FaultyServer, cancelled: int
) -> None:
    sent = 0

    def count(request: Any, attempt: int) -> None:
        nonlocal sent
        sent += 1

    tokens = 100_000
    settings: dict[str, Any] = {
        "breaker": None,
        "concurrency": ConcurrencyLimit(POOL),
        "rate_limit": RateLimit(1, per=1e9, burst=tokens),  # none comes back by itself
        "hooks": [count],
    }
    async with life(family, server, limits=POOL, clock=AheadClock(), **settings) as on, stepping() as steps:
        await Cancelling(on, server, steps, wanted=cancelled, within=30).run(callers=30)
        assert held(on.pipeline) == {}
        left = on.pipeline.snapshot()["origins"][server.url]["rate_limit"]["tokens"]
        assert round(tokens - left) == sent, "each token that is gone was for a request that was sent"
        await serves_at_once(on.http, server, POOL)
        assert server.peak_in_flight >= POOL


async def one_call_of_any_kind(on: Life, server: FaultyServer, dice: random.Random) -> None:
    """Also what the layers that are off by default care for: stale answers, keys, functions, other base URLs."""
    match dice.choice(("any", "stale", "key", "function")):
        case "stale":
            await on.http.get(f"{server.url}/stale?{dice.randrange(3)}")
        case "key":
            await on.http.post(f"{server.url}/flaky", json={}, extensions={"holdfast": {"priority": 1}})
        case "function":
            await on.pipeline.call(anyio.sleep, 0.001, key=server.url, idempotent=True)
        case _:
            await one_call(on, server, dice.choice(("/fine", "/slow", "/flaky", "/stream")))


@pytest.mark.heavy
@pytest.mark.parametrize("cancelled", [80, pytest.param(400, marks=pytest.mark.slow)])
async def test_cancelled_anywhere_with_every_layer_on_nothing_is_lost_and_all_is_told(
    family: FamilyModules, server: FaultyServer, cancelled: int
) -> None:
    fields = (("cache-control", "max-age=0, stale-while-revalidate=600"), ("etag", '"a"'))
    server.on("/stale", Answer(body=bytes(100), headers=fields))
    told: list[Event] = []
    tokens, permits = 100_000, 40
    settings: dict[str, Any] = {
        "breaker": CircuitBreaker(failures=None, failure_ratio=1.0),
        "throttle": Throttle(k=1e6),
        "hedge": Hedge(delay=0.001),
        "concurrency": ConcurrencyLimit(permits),
        "rate_limit": [RateLimit(1, per=1e9, burst=tokens), Window(tokens)],
        "cache": Cache(),
        "fallback": Fallback(failover={server.url: [f"{server.url}/elsewhere"]}, stale=True, default={"made": "up"}),
        "offline": OfflineMode(after=600.0),
        "idempotency": IdempotencyKeys(),
        "listeners": [told.append],
    }
    async with life(family, server, limits=permits, clock=AheadClock(), **settings) as on, stepping() as steps:

        class Mixed(Cancelling):
            one = staticmethod(one_call_of_any_kind)

        await Mixed(on, server, steps, wanted=cancelled, within=40).run(callers=25)
        await until(lambda: not held(on.pipeline))  # those that were left behind have ended
        sent = sum(isinstance(event, AttemptStarted) for event in told)
        left = on.pipeline.snapshot()["origins"][server.url]["rate_limit"]["tokens"]
        assert round(tokens - left) == sent, "each token that is gone was for a request that was sent"
        gate = server.gate()
        server.on("/at-once", Held(gate))
        async with anyio.create_task_group() as calls:
            for _ in range(permits):
                alone = {"holdfast": {"cache": "bypass", "hedge": False}}
                calls.start_soon(partial(on.http.get, f"{server.url}/at-once", extensions=alone))
            await all_at(gate, server, permits)
            gate.open()
    by_call: dict[str | None, Counter[type[Event]]] = {}
    for event in told:
        by_call.setdefault(event.call, Counter())[type(event)] += 1
    assert {HedgeSent, FellBack, Waited} <= {type(event) for event in told}
    assert any(event.background for event in told if isinstance(event, CallEnded))
    for call, counts in by_call.items():
        if call is not None:
            assert (counts[CallStarted], counts[CallEnded]) == (1, 1)
            assert counts[AttemptStarted] == counts[AttemptEnded]


@of_row("C01")
async def test_a_call_cancelled_at_any_of_its_points_leaves_the_pool_intact(
    family: FamilyModules, server: FaultyServer
) -> None:
    async with life(family, server, limits=2) as on, stepping() as steps:
        for point in range(60):
            with steps.cancel_after(point):
                await one_call(on, server, ("/fine", "/stream")[point % 2])
            assert held(on.pipeline) == {}
        await serves_at_once(on.http, server, 2)


@of_row("C02")
@pytest.mark.heavy
async def test_cancellation_under_contention_leaves_the_pool_intact(
    family: FamilyModules, server: FaultyServer
) -> None:
    async with life(family, server, limits=5, concurrency=None) as on, stepping() as steps:
        await Cancelling(on, server, steps, wanted=150, within=30).run(callers=15)
        await serves_at_once(on.http, server, 5)


@of_row("C21")
async def test_a_timeout_of_the_callers_own_ends_a_backoff_at_once(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/wait", Answer(503, headers=(("retry-after", "20"),)))
    async with life(family, server) as on:
        before = on.pipeline.snapshot()["origins"]
        with anyio.move_on_after(20.0) as patience:
            async with anyio.create_task_group() as calls:
                calls.start_soon(outcome, on.http, "GET", f"{server.url}/wait")
                await server.await_for(lambda server: server.count("/wait") == 1 and server.in_flight == 0)
                await until(lambda: on.pipeline.snapshot()["origins"].get(server.url, {}).get("retries_left") == 9.2)
                patience.cancel()  # as if its time were over now
        assert before == {}
        assert held(on.pipeline) == {}
        assert on.pipeline.snapshot()["origins"][server.url]["retries_left"] == 10.2, "the retry was given back"
        assert server.count("/wait") == 1


@of_row("C31")
@pytest.mark.parametrize("path", ["/held", "/held-body", "/wait"])
async def test_cancellation_is_never_swallowed(family: FamilyModules, server: FaultyServer, path: str) -> None:
    gate = server.gate()
    server.on("/held", Held(gate))
    server.on("/held-body", Stream(b"x", times=None, every=0.01))
    server.on("/wait", Answer(503, headers=(("retry-after", "20"),)))
    ended: list[BaseException] = []
    async with life(family, server, buffer_body=True) as on:

        async def call() -> None:
            try:
                await on.http.get(server.url + path)
            except BaseException as error:
                ended.append(error)
                raise

        async with anyio.create_task_group() as calls:
            calls.start_soon(call)
            await server.await_for(lambda server: server.count(path) == 1)
            calls.cancel_scope.cancel()
        assert [type(error) for error in ended] == [anyio.get_cancelled_exc_class()]
        assert server.count(path) == 1


@of_row("C31-asyncio")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncios_own_ways_to_cancel_work(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/held", Held(server.gate()))
    async with life(family, server, limits=1) as on:
        task = asyncio.create_task(on.http.get(f"{server.url}/held"))
        await server.await_for(lambda server: server.in_flight == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(on.http.get(f"{server.url}/held"), 0.05)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await on.http.get(f"{server.url}/held")
        assert held(on.pipeline) == {}
        await serves_at_once(on.http, server, 1)


@of_row("C31-retry")
async def test_a_cancelled_call_is_not_sent_again(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/held", Held(server.gate()))
    async with life(family, server, retry=retry(5)) as on:
        async with anyio.create_task_group() as calls:
            for _ in range(4):
                calls.start_soon(outcome, on.http, "GET", f"{server.url}/held")
            await server.await_for(lambda server: server.count() == 4)
            calls.cancel_scope.cancel()
        assert (await on.http.get(f"{server.url}/fine")).status_code == 200
        assert server.count("/held") == 4
