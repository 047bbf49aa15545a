"""A concurrency limit that finds itself, from outside: what moves it, and what becomes of those who wait."""

from __future__ import annotations

import contextlib
import heapq
import statistics
from typing import Any

import anyio
import pytest

import holdfast
from holdfast import AdaptiveConcurrency, Hedge
from holdfast.events import Event, LimitAdapted
from holdfast.testing import Fails, Hangs, Reply
from holdfast.testing.scripted import Answer
from tests.scripting import URL, Stage, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
ORIGIN = "http://api.test:80"
QUICK = AdaptiveConcurrency(start=10, window=0.1, samples=10)
BARE: dict[str, Any] = {"retry": None, "breaker": None}


def told(on: Stage) -> dict[str, int]:
    described: dict[str, int] = on.pipeline.snapshot()["origins"][ORIGIN]["concurrency"]
    return described


@pytest.mark.heavy
async def test_it_finds_what_an_origin_serves_at_once(family: FamilyModules) -> None:
    """60 callers want an origin that serves 6 at once, each in 50 ms; the others stand in its queue."""
    settings = AdaptiveConcurrency(start=10, window=0.2, samples=20)
    events: list[Event] = []
    free: list[float] = [0.0] * 6  # when each of its places is free

    def serve(_: int, request: Any) -> Answer:
        now = on.clock.monotonic()
        done = max(now, heapq.heappop(free)) + 0.05
        heapq.heappush(free, done)
        return Reply(200, delay=done - now)

    async with stage(family, serve, concurrency=settings, listeners=[events.append], **BARE) as on:
        seen: list[int] = []

        async def caller() -> None:
            while on.clock.monotonic() < 5.0:
                await on.client.get(URL)
                if on.clock.monotonic() > 3.0:
                    seen.append(told(on)["limit"])

        async with anyio.create_task_group() as callers:
            for _ in range(60):
                callers.start_soon(caller)
        assert statistics.fmean(seen) == pytest.approx(6, rel=0.2)
        served = sum(sent.at > 3.0 for sent in on.script.sent)
        assert served >= 0.9 * 2.0 * 6 / 0.05
        moves = [event for event in events if isinstance(event, LimitAdapted)]
        assert {(event.key, event.policy) for event in moves} == {(ORIGIN, "concurrency")}
        assert moves[-1].limit == told(on)["limit"]


@pytest.mark.parametrize(
    ("answer", "limit"),
    [
        (Reply(200), 10),
        (Reply(404), 10),
        (Reply(500), 10),
        (Reply(429), 7),
        (Reply(503), 7),
        (Fails("ReadTimeout"), 7),
        (Fails("ConnectTimeout"), 7),
        (Hangs(), 7),
        (Fails("PoolTimeout"), 10),
        (Fails("ConnectError"), 10),
        (Fails("ReadError"), 10),
    ],
    ids=str,
)
async def test_what_lowers_the_limit_at_once(family: FamilyModules, answer: Answer, limit: int) -> None:
    async with stage(family, [answer], concurrency=QUICK, **BARE) as on:
        with contextlib.suppress(family.http.TransportError):
            await on.client.get(URL)
        assert told(on) == {"limit": limit, "in_use": 0, "waiting": 0}


@pytest.mark.parametrize("ends", ["cancelled", "deadline"])
async def test_a_caller_without_patience_says_nothing_of_the_server(family: FamilyModules, ends: str) -> None:
    async with stage(family, [Hangs()], concurrency=QUICK, **BARE) as on:
        options = {"holdfast": {"deadline": 2.0}} if ends == "deadline" else {}
        patience = on.clock.timeout_at(1.0 if ends == "cancelled" else 100.0)
        with patience, pytest.raises(family.http.TimeoutException):
            await on.client.get(URL, extensions=options)
        assert told(on)["limit"] == 10


async def test_permits_that_are_out_are_not_handed_on_when_the_limit_has_fallen(family: FamilyModules) -> None:
    """Ten are out and ten wait when the limit falls to 7: the first three to come back admit nobody."""
    script: list[Answer] = [Reply(429, delay=1.0), *[Reply(200, delay=2.0 + number) for number in range(9)]]
    async with stage(family, [*script, Reply(200, delay=100.0)], repeat_last=True, concurrency=QUICK, **BARE) as on:
        async with anyio.create_task_group() as callers:
            for _ in range(20):
                callers.start_soon(on.client.get, URL)
            await on.clock.sleep(1.5)
            assert told(on) == {"limit": 7, "in_use": 9, "waiting": 10}
            await on.clock.sleep(2.0)  # 3.5: two more are back
            assert told(on) == {"limit": 7, "in_use": 7, "waiting": 10}
            await on.clock.sleep(1.0)  # 4.5: the next one is taken up
            assert told(on) == {"limit": 7, "in_use": 7, "waiting": 9}
            callers.cancel_scope.cancel()
        assert told(on)["in_use"] == 0


@pytest.mark.heavy
async def test_a_limit_that_grows_lets_in_who_waits(family: FamilyModules) -> None:
    async with stage(family, [Reply(200, delay=0.2)], repeat_last=True, concurrency=QUICK, **BARE) as on:
        async with anyio.create_task_group() as callers:
            for _ in range(200):
                callers.start_soon(on.client.get, URL)
        assert on.script.peak_in_flight > 10
        assert told(on)["limit"] > 10


async def test_keys_have_limits_of_their_own(family: FamilyModules) -> None:
    async with stage(family, [Reply(429), Reply(200)], concurrency=QUICK, **BARE) as on:
        await on.client.get(URL)
        await on.client.get("http://other.test/")
        limits = {key: parts["concurrency"]["limit"] for key, parts in on.pipeline.snapshot()["origins"].items()}
        assert limits == {ORIGIN: 7, "http://other.test:80": 10}


async def test_time_in_our_own_queues_is_not_the_servers(family: FamilyModules) -> None:
    """A rate limit below makes callers wait ever longer; the origin answers as quickly as ever."""
    rate = holdfast.RateLimit(10, per=1.0, burst=1)
    async with stage(
        family, [Reply(200, delay=0.01)], repeat_last=True, concurrency=QUICK, rate_limit=rate, **BARE
    ) as on:
        async with anyio.create_task_group() as callers:
            for _ in range(100):
                callers.start_soon(on.client.get, URL)
        assert told(on)["limit"] >= 10


async def test_a_hedge_takes_no_permit_that_is_not_there(family: FamilyModules) -> None:
    alone = AdaptiveConcurrency(start=1, max=1)
    async with stage(family, [Reply(200, delay=5.0)], concurrency=alone, hedge=Hedge(delay=1.0), **BARE) as on:
        await on.client.get(URL)
        assert on.times == [0.0]
