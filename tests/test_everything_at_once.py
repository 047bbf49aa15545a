"""A pipeline with every layer on: callers leave, settings change, the origin fails, and it goes offline and back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import anyio
import pytest

from holdfast import (
    Cache,
    CircuitBreaker,
    ConcurrencyLimit,
    Fallback,
    Hedge,
    HoldfastError,
    IdempotencyKeys,
    OfflineMode,
    RateLimit,
    Retry,
    RetryBudget,
    Throttle,
    Window,
)
from holdfast.events import AttemptEnded, AttemptStarted, CallEnded, CallStarted, Event
from holdfast.testing import Fails, Hangs, Reply
from holdfast.testing.scripted import Answer
from tests.faults.lifetime import held
from tests.scripting import Stage, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
KEY = "http://api.test:80"
CALLS = 120
SOON = {"cache-control": "max-age=1, stale-while-revalidate=5"}


def other_settings(dice: Random) -> dict[str, Any]:
    choices: list[Callable[[], dict[str, Any]]] = [
        lambda: {"rate_limit": [RateLimit(dice.choice([1, 50]), burst=2), Window(dice.choice([5, 60]), per=2.0)]},
        lambda: {"concurrency": ConcurrencyLimit(dice.choice([1, 3, 10]))},
        lambda: {"breaker": CircuitBreaker(failures=dice.choice([1, 5]), observe=dice.random() < 0.3)},
        lambda: {"throttle": Throttle(observe=dice.random() < 0.5)},
        lambda: {"retry": Retry(attempts=dice.choice([1, 4])), "budget": RetryBudget(reserve=dice.choice([0, 50]))},
        lambda: {"deadline": dice.choice([3.0, 10.0])},
    ]
    return dice.choice(choices)()


class Crowd:
    """Callers of all kinds, each with patience of its own, and somebody who turns the knobs meanwhile."""

    def __init__(self, on: Stage, family: FamilyModules, dice: Random) -> None:
        self.on = on
        self.dice = dice
        self.expected = (HoldfastError, OSError, family.http.TransportError)
        self.ended = 0

    async def caller(self, number: int) -> None:
        clock, dice = self.on.clock, self.dice
        await clock.sleep(dice.random() * 20)
        with clock.timeout_at(clock.monotonic() + dice.choice([0.1, 1.0, 5.0, 100.0])), suppress(*self.expected):
            match number % 4:
                case 0:
                    await self.on.client.post("http://api.test/x", extensions={"holdfast": {"priority": number % 3}})
                case 1:
                    await self.on.pipeline.call(self.work, key=KEY, idempotent=dice.random() < 0.5)
                case _:
                    await self.on.client.get(f"http://api.test/{number % 5}")
        self.ended += 1

    async def work(self) -> None:
        await self.on.clock.sleep(self.dice.random())
        if self.dice.random() < 0.3:
            raise OSError

    async def operator(self) -> None:
        for _ in range(12):
            await self.on.clock.sleep(self.dice.random() * 3)
            self.on.pipeline.reconfigure(**other_settings(self.dice))
            if self.dice.random() < 0.3:
                self.on.pipeline.offline(probe_every=0.5)
            else:
                self.on.pipeline.online()

    async def run(self) -> None:
        with anyio.fail_after(100.0):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.operator)
                for number in range(CALLS):
                    tasks.start_soon(self.caller, number)
            await self.on.clock.sleep(30.0)  # what was left behind, or is asked in the background, ends too


@pytest.mark.parametrize("seed", [1, 2])
async def test_nobody_hangs_nothing_is_held_and_all_is_told_once_and_in_order(family: FamilyModules, seed: int) -> None:
    dice, told = Random(seed), list[Event]()
    troubles: list[Answer] = [
        Reply(503, delay=0.5),
        Reply(429, headers={"retry-after": "1"}),
        Fails("ReadError", delay=0.5),
        Fails("ConnectError"),
        Fails("PoolTimeout"),
        Hangs(),
    ]

    def answer(number: int, request: Any) -> Answer:
        failing = number // 20 % 3 == 1
        return dice.choice(troubles) if dice.random() < (0.9 if failing else 0.2) else Reply(headers=SOON, delay=0.5)

    settings: dict[str, Any] = {
        "breaker": CircuitBreaker(failures=4, open_for=1.0),
        "throttle": Throttle(k=5.0),
        "rate_limit": [RateLimit(20, burst=3), Window(60, per=2.0)],
        "concurrency": ConcurrencyLimit(5),
        "hedge": Hedge(delay=0.3),
        "cache": Cache(),
        "fallback": Fallback(failover={"http://api.test": ["http://other.test"]}, default={"made": "up"}),
        "offline": OfflineMode(after=3.0, probe_every=1.0),
        "idempotency": IdempotencyKeys(),
        "listeners": [told.append],
    }
    async with stage(family, answer, deadline=8.0, attempt_timeout=2.0, **settings) as on:
        crowd = Crowd(on, family, dice)
        await crowd.run()
        assert crowd.ended == CALLS
        assert held(on.pipeline) == {}
    by_call: dict[str | None, list[type[Event]]] = {}
    for event in told:
        by_call.setdefault(event.call, []).append(type(event))
    by_call.pop(None)
    assert len(by_call) >= CALLS
    for kinds in by_call.values():
        assert kinds[0] is CallStarted
        assert (kinds.count(CallStarted), kinds.count(CallEnded)) == (1, 1)
        assert kinds.count(AttemptStarted) == kinds.count(AttemptEnded)
        assert set(kinds[kinds.index(CallEnded) + 1 :]) <= {AttemptEnded}  # of a hedge that came too late
