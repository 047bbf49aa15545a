"""`Pipeline.limiter`: tokens for what is not sent through the pipeline, from the same lot and in the same line."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from holdfast import Pipeline, RateLimit, Scope, Window
from holdfast.errors import Closed, InvalidOption, RateLimited
from holdfast.testing.clock import VirtualClock
from holdfast.testing.scripted import Reply
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

KEY = "https://mail.example:443"


def limited(limits: Any, **settings: Any) -> tuple[Any, VirtualClock]:
    clock = VirtualClock()
    return Pipeline(rate_limit=limits, clock=clock, **settings).limiter, clock


KINDS: list[Any] = [
    RateLimit(1, burst=2),
    Window(2, per=2.0, margin=0.0),
    [RateLimit(1, burst=2), Window(1000)],
    [RateLimit(1, burst=2), Window(1000, key="identity")],
]
NAMES = ["rate", "window", "both", "apart"]


@pytest.mark.parametrize("limits", KINDS, ids=NAMES)
async def test_tokens_are_taken_in_the_order_of_coming(limits: Any) -> None:
    limiter, clock = limited(limits)
    got: list[tuple[int, float]] = []

    async def caller(name: int) -> None:
        await limiter.acquire(KEY)
        got.append((name, clock.monotonic()))

    async with anyio.create_task_group() as tasks:
        for name in range(4):
            tasks.start_soon(caller, name)
            await clock.settle()
        assert limiter.snapshot()[next(iter(limiter.snapshot()))]["waiting"] == 2
        await clock.advance(10.0)
    assert [name for name, _ in got] == [0, 1, 2, 3]
    assert [at for _, at in got[:2]] == [0.0, 0.0]
    assert got[3][1] == pytest.approx(2.0)


async def test_they_come_from_the_lot_that_requests_take_from(family: FamilyModules) -> None:
    async with stage(family, lambda *_: Reply(), rate_limit=RateLimit(1), retry=None) as on:
        limiter = on.pipeline.limiter
        assert limiter.try_acquire("http://api.test:80")
        await on.client.get(URL)
        await limiter.acquire("http://api.test:80")
        assert (on.times, on.clock.monotonic()) == ([1.0], 2.0)


@pytest.mark.parametrize("limits", KINDS, ids=NAMES)
async def test_what_was_not_used_goes_back_once(limits: Any) -> None:
    limiter, _ = limited(limits)
    tokens = await limiter.acquire(KEY, 2.0)
    assert not limiter.try_acquire(KEY)
    tokens.give_back()
    tokens.give_back()
    assert limiter.wait_time(KEY, 2.0) == 0.0
    assert limiter.try_acquire(KEY, 2.0)
    assert not limiter.try_acquire(KEY)


@pytest.mark.parametrize("limits", KINDS, ids=NAMES)
async def test_who_cannot_wait_so_long_is_told_at_once_how_long_it_would_be(limits: Any) -> None:
    limiter, clock = limited(limits)
    await limiter.acquire(KEY, 2.0)
    for patience in (0.0, 0.9):
        with pytest.raises(RateLimited) as caught:
            await limiter.acquire(KEY, max_wait=patience)
        assert caught.value.retry_after == pytest.approx(limiter.wait_time(KEY))
        assert limiter.wait_time(KEY) > 0.99
        assert isinstance(caught.value, RateLimited)
    assert clock.monotonic() == 0.0


@pytest.mark.parametrize("limits", KINDS, ids=NAMES)
async def test_who_is_cancelled_leaves_no_trace(limits: Any) -> None:
    limiter, clock = limited(limits)
    await limiter.acquire(KEY, 2.0)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(limiter.acquire, KEY, 2.0)
        await clock.advance(0.5)
        tasks.cancel_scope.cancel()
    (gate,) = limiter.snapshot().values()
    assert (gate["waiting"], clock.sleepers) == (0, 0)
    await clock.advance(1.5)
    assert limiter.try_acquire(KEY, 2.0)


@pytest.mark.parametrize("cost", [2.5, 0.0, -1.0, float("nan")])
async def test_a_cost_that_can_never_be_is_an_error_of_the_caller(cost: float) -> None:
    limiter, _ = limited(RateLimit(1, burst=2))
    for ask in (limiter.try_acquire, limiter.wait_time):
        with pytest.raises(ValueError, match="cost"):
            ask(KEY, cost)
    with pytest.raises(InvalidOption, match="cost"):
        await limiter.acquire(KEY, cost)


@pytest.mark.parametrize(
    "given", [{"max_wait": -1.0}, {"max_wait": float("nan")}, {"priority": 4}, {"priority": True}], ids=str
)
async def test_a_wish_that_cannot_be_is_refused_by_name(given: dict[str, Any]) -> None:
    limiter, _ = limited(RateLimit(1))
    with pytest.raises(InvalidOption, match=next(iter(given))):
        await limiter.acquire(KEY, **given)


async def test_without_waiting_nobody_gets_past_the_line() -> None:
    limiter, clock = limited(RateLimit(1, burst=2))
    await limiter.acquire(KEY)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(limiter.acquire, KEY, 2.0)
        await clock.settle()
        assert not limiter.try_acquire(KEY)  # though one token is there
        with pytest.raises(RateLimited):
            await limiter.acquire(KEY, max_wait=0.0)
        tasks.start_soon(partial(limiter.acquire, KEY, priority=1, max_wait=0.0))
        await clock.settle()
        assert limiter.wait_time(KEY) == pytest.approx(3.0)
        await clock.advance(5.0)


async def test_limits_with_keys_of_their_own_are_told_of_by_a_scope() -> None:
    limiter, _ = limited([RateLimit(10), Window(1, key="identity")])
    assert limiter.try_acquire(Scope(KEY, identity="acme"))
    assert limiter.wait_time(Scope(KEY, identity="acme")) > 50.0
    assert limiter.wait_time(Scope(KEY, identity="other")) == pytest.approx(0.1)


async def test_those_who_wait_here_stay_when_a_transport_closes(family: FamilyModules) -> None:
    async with anyio.create_task_group() as tasks:
        async with stage(family, lambda *_: Reply(), rate_limit=RateLimit(1), jump=False) as on:
            limiter = on.pipeline.limiter
            assert limiter.try_acquire("http://api.test:80")
            tasks.start_soon(limiter.acquire, "http://api.test:80")
            await on.clock.settle()
        assert limiter.snapshot()["http://api.test:80"]["waiting"] == 1
        await on.clock.advance(1.0)
        assert limiter.snapshot()["http://api.test:80"]["waiting"] == 0


async def test_all_can_be_sent_away() -> None:
    limiter, clock = limited(RateLimit(1))
    outcomes: list[str] = []

    async def caller() -> None:
        try:
            await limiter.acquire(KEY)
        except Closed:
            outcomes.append("closed")

    await limiter.acquire(KEY)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(caller)
        await clock.settle()
        limiter.dismiss(lambda: Closed("the service ends"))
    assert outcomes == ["closed"] * 3


async def test_without_a_limit_it_knows_what_servers_asked_for(family: FamilyModules) -> None:
    async with stage(family, [Reply(429, headers={"Retry-After": "7"})], retry=None) as on:
        limiter = on.pipeline.limiter
        assert limiter.wait_time("http://api.test:80") == 0.0
        await on.client.get(URL)
        assert limiter.wait_time("http://api.test:80") == pytest.approx(7.0)
        await limiter.acquire("http://api.test:80")
        assert on.clock.monotonic() == pytest.approx(7.0)


def test_a_pipeline_that_neither_limits_nor_listens_has_none() -> None:
    with pytest.raises(ValueError, match="no rate limit"):
        _ = Pipeline(pacing=None).limiter
