"""The rate limit from outside: who is sent when, in which order, and who is refused."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.call import Call
from holdfast.clock import SystemClock
from holdfast.core.bucket import RateLimit
from holdfast.errors import Closed, InvalidOption, RateLimited
from holdfast.policies.rate_limit import RateLimiter
from holdfast.testing.clock import VirtualClock
from tests.conftest import modules_of
from tests.policies.loop_time import JumpingLoop, LoopClock
from tests.policies.scripted_limits import KEY, Desk
from tests.support import FamilyModules, examples

pytestmark = pytest.mark.anyio


def open_desk(family: FamilyModules, limit: RateLimit, *, jump: bool = False) -> tuple[RateLimiter, Desk, Any]:
    clock = VirtualClock(jump=jump)
    limiter = RateLimiter(limit, clock=clock)
    return limiter, Desk(family, limiter, clock), clock


async def test_the_burst_goes_at_once_and_the_rest_in_order_at_the_rate(family: FamilyModules) -> None:
    _, desk, clock = open_desk(family, RateLimit(2, burst=2))
    async with anyio.create_task_group() as tasks:
        for name in range(6):
            tasks.start_soon(desk.send, name)
            await clock.settle()
        await clock.advance(10.0)
    assert desk.sends == [(0.0, 0), (0.0, 1), (0.5, 2), (1.0, 3), (1.5, 4), (2.0, 5)]


async def test_each_key_has_tokens_of_its_own(family: FamilyModules) -> None:
    _, desk, _ = open_desk(family, RateLimit(1, max_wait=0.0))
    await desk.send(key="http://one.test:80")
    await desk.send(key="http://two.test:80")
    with pytest.raises(RateLimited):
        await desk.send(key="http://one.test:80")


async def test_keys_can_be_put_together(family: FamilyModules) -> None:
    _, desk, _ = open_desk(family, RateLimit(1, max_wait=0.0, key=lambda _: "one provider"))
    await desk.send(key="http://one.test:80")
    with pytest.raises(RateLimited) as caught:
        await desk.send(key="http://two.test:80")
    assert caught.value.key == "one provider"


@pytest.mark.parametrize(
    ("limit", "deadline"),
    [(RateLimit(1, max_wait=0.9), None), (RateLimit(1), 0.9), (RateLimit(1, max_wait=5.0), 0.9)],
    ids=["max_wait", "deadline", "both"],
)
async def test_who_cannot_wait_long_enough_is_refused_at_once_and_does_not_join(
    family: FamilyModules, limit: RateLimit, deadline: float | None
) -> None:
    limiter, desk, clock = open_desk(family, limit)
    await desk.send()
    with pytest.raises(RateLimited) as caught:
        await desk.send(deadline=deadline)
    assert isinstance(caught.value, family.http.TransportError)
    assert (caught.value.retry_after, caught.value.key) == (pytest.approx(1.0), KEY)
    assert clock.monotonic() == 0.0
    assert limiter.snapshot()[KEY]["waiting"] == 0
    assert limiter.wait_time(KEY) == pytest.approx(1.0)  # nothing was taken either


async def test_the_refusal_counts_everybody_who_stands_in_front(family: FamilyModules) -> None:
    limiter, desk, clock = open_desk(family, RateLimit(1, burst=3))
    async with anyio.create_task_group() as tasks:
        for cost in (3.0, 2.0, 1.0):
            tasks.start_soon(partial(desk.send, cost=cost))
            await clock.settle()
        assert limiter.wait_time(KEY) == pytest.approx(4.0)
        with pytest.raises(RateLimited) as caught:
            await desk.send(deadline=3.99)
        assert caught.value.retry_after == pytest.approx(4.0)
        await clock.advance(3.0)
    assert desk.times == [0.0, 2.0, 3.0]


async def test_a_full_queue_refuses_at_once(family: FamilyModules) -> None:
    _, desk, clock = open_desk(family, RateLimit(1, max_queue=2))
    async with anyio.create_task_group() as tasks:
        for name in range(3):
            tasks.start_soon(desk.send, name)
        await clock.settle()
        with pytest.raises(RateLimited) as caught:
            await desk.send()
        assert caught.value.retry_after == pytest.approx(3.0)
        await clock.advance(2.0)
    assert desk.times == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("others_wait", [False, True])
async def test_a_cost_above_the_burst_is_an_error_of_the_caller(family: FamilyModules, *, others_wait: bool) -> None:
    limiter, desk, clock = open_desk(family, RateLimit(1, burst=2))
    async with anyio.create_task_group() as tasks:
        if others_wait:
            for _ in range(3):
                tasks.start_soon(desk.send)
            await clock.settle()
        with pytest.raises(InvalidOption, match="burst is 2") as caught:
            await desk.send(cost=2.5)
        assert isinstance(caught.value, family.http.TransportError)
        with pytest.raises(ValueError, match="burst is 2"):
            limiter.try_acquire(KEY, 2.5)
        await clock.advance(5.0)


async def test_a_large_cost_is_served_in_its_turn_though_small_ones_would_pass(family: FamilyModules) -> None:
    _, desk, clock = open_desk(family, RateLimit(1, burst=5))
    async with anyio.create_task_group() as tasks:
        await desk.send("first", cost=4.0)
        tasks.start_soon(lambda: desk.send("large", cost=5.0))
        await clock.settle()
        for name in range(3):  # one token is free, and not theirs
            tasks.start_soon(desk.send, name)
            await clock.settle()
        await clock.advance(10.0)
    assert desk.sends == [(0.0, "first"), (4.0, "large"), (5.0, 0), (6.0, 1), (7.0, 2)]


async def test_the_wait_is_noted_and_the_circuit_looked_at_again(family: FamilyModules) -> None:
    _, desk, clock = open_desk(family, RateLimit(2))
    at_once, later = desk.call(), desk.call()
    async with anyio.create_task_group() as tasks:
        await desk.send(call=at_once)
        tasks.start_soon(lambda: desk.send(call=later))
        await clock.advance(1.0)
    assert (at_once.waits, at_once.queued) == ({}, False)
    assert later.waits == pytest.approx({"rate_limit": 0.5})
    assert later.queued


async def test_cancelled_callers_leave_no_trace_and_the_others_move_up(family: FamilyModules) -> None:
    limiter, desk, clock = open_desk(family, RateLimit(10))
    scopes: dict[int, anyio.CancelScope] = {}

    async def caller(name: int) -> None:
        with anyio.CancelScope() as scopes[name]:
            await desk.send(name)

    async with anyio.create_task_group() as tasks:
        for name in range(204):
            tasks.start_soon(caller, name)
            await anyio.lowlevel.checkpoint()
        await clock.settle()
        for name in range(1, 201):  # the head of the line among them
            scopes[name].cancel()
        await clock.settle()
        assert limiter.snapshot()[KEY]["waiting"] == 3
        await clock.advance(1.0)
    assert desk.sends == [
        (0.0, 0),
        (pytest.approx(0.1), 201),
        (pytest.approx(0.2), 202),
        (pytest.approx(0.3), 203),
    ]
    assert limiter.snapshot()[KEY]["waiting"] == 0
    assert clock.sleepers == 0


async def test_a_token_that_was_not_used_for_a_send_goes_back(family: FamilyModules) -> None:
    limiter, desk, _ = open_desk(family, RateLimit(1, burst=2, max_wait=0.0))
    desk.serve = desk.refuse
    for _ in range(5):
        with pytest.raises(family.http.ConnectError):
            await desk.send(cost=2.0)
    assert limiter.snapshot()[KEY]["tokens"] == pytest.approx(2.0)


async def test_a_token_that_was_used_is_gone_even_if_the_send_failed(family: FamilyModules) -> None:
    limiter, desk, _ = open_desk(family, RateLimit(1, max_wait=0.0))

    async def fail(_request: Any) -> Any:
        raise family.http.ReadError("scripted")

    desk.serve = fail
    with pytest.raises(family.http.ReadError):
        await desk.send()
    assert limiter.wait_time(KEY) == pytest.approx(1.0)


async def test_a_token_that_comes_back_goes_to_the_first_in_line(family: FamilyModules) -> None:
    _, desk, clock = open_desk(family, RateLimit(1))
    signing = anyio.CancelScope()

    async def cancelled_while_it_signs() -> None:
        with signing:
            await desk.send("never")

    async with anyio.create_task_group() as tasks:
        desk.sign = lambda: clock.sleep(100.0)
        tasks.start_soon(cancelled_while_it_signs)
        await clock.settle()
        desk.sign = None
        tasks.start_soon(desk.send, "next")
        tasks.start_soon(desk.send, "last")
        await clock.advance(0.25)
        assert desk.sends == []
        signing.cancel()
        await clock.advance(2.0)
    assert desk.times == [0.25, pytest.approx(1.25)]


async def test_a_block_holds_for_all_and_ends_at_the_rate(family: FamilyModules) -> None:
    limiter, desk, clock = open_desk(family, RateLimit(2, burst=2))
    async with anyio.create_task_group() as tasks:
        for name in range(4):
            tasks.start_soon(desk.send, name)
            await clock.settle()
        limiter.block(KEY, 10.0)
        limiter.block(KEY, 5.0)  # does not shorten it
        assert limiter.snapshot()[KEY]["blocked_for"] == pytest.approx(10.0)
        tasks.start_soon(desk.send, 4)
        await clock.advance(20.0)
    assert desk.sends == [(0.0, 0), (0.0, 1), (10.0, 2), (10.5, 3), (11.0, 4)]


async def test_a_block_sends_those_away_who_cannot_wait_for_its_end(family: FamilyModules) -> None:
    limiter, desk, clock = open_desk(family, RateLimit(1))
    refused: list[tuple[str, float | None]] = []

    async def caller(name: str, deadline: float | None) -> None:
        try:
            await desk.send(name, deadline=deadline)
        except RateLimited as error:
            refused.append((name, error.retry_after))

    async with anyio.create_task_group() as tasks:
        for name, deadline in [
            ("now", None),
            ("head", 5.0),
            ("patient", 60.0),
            ("middle", 9.0),
            ("last", None),
        ]:
            tasks.start_soon(caller, name, deadline)
            await clock.settle()
        limiter.block(KEY, 10.0)
        await clock.settle()
        assert dict(refused) == pytest.approx({"head": 10.0, "middle": 11.0})
        await clock.advance(11.0)
    assert desk.sends == [(0.0, "now"), (10.0, "patient"), (11.0, "last")]


async def test_closing_sends_the_callers_of_that_transport_away(family: FamilyModules) -> None:
    limiter, desk, clock = open_desk(family, RateLimit(1))
    ours, outcomes = object(), list[str]()

    async def caller(owner: object) -> None:
        try:
            await desk.send(owner=owner)
        except Closed:
            outcomes.append("closed")
        else:
            outcomes.append("sent")

    async with anyio.create_task_group() as tasks:
        for owner in (None, ours, None, ours):
            tasks.start_soon(caller, owner)
            await clock.settle()
        limiter.dismiss(lambda: Closed("the transport was closed"), ours)
        await clock.settle()
        assert outcomes == ["sent", "closed", "closed"]
        await clock.advance(1.0)
        tasks.start_soon(caller, ours)
        await clock.settle()
        limiter.dismiss(lambda: Closed("the transport was closed"))
    assert outcomes == ["sent", "closed", "closed", "sent", "closed"]


async def test_tokens_can_be_taken_without_waiting_but_not_past_the_line(family: FamilyModules) -> None:
    limiter, desk, clock = open_desk(family, RateLimit(1, burst=2))
    assert [limiter.try_acquire(KEY) for _ in range(3)] == [True, True, False]
    assert limiter.wait_time(KEY) == pytest.approx(1.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: desk.send(cost=2.0))
        await clock.advance(1.5)
        assert not limiter.try_acquire(KEY)
        await clock.advance(0.5)
    assert desk.times == [2.0]


async def test_a_newcomer_does_not_overtake_those_who_were_served_a_moment_ago(family: FamilyModules) -> None:
    _, desk, clock = open_desk(family, RateLimit(1, burst=9))
    desk.serve = desk.stream
    async with anyio.create_task_group() as tasks:
        await desk.send("first", cost=9.0)
        tasks.start_soon(lambda: desk.send("head", cost=9.0))
        await clock.settle()
        tasks.start_soon(desk.send, "second")
        await clock.settle()

        async def newcomer() -> None:
            await clock.sleep(10.0)  # its timer is behind the head's, and fires in the same moment
            await desk.send("newcomer")

        tasks.start_soon(newcomer)
        await clock.advance(20.0)
    assert desk.names == ["first", "head", "second", "newcomer"]


async def test_the_fast_path_never_suspends(family: FamilyModules) -> None:
    _, desk, _ = open_desk(family, RateLimit(1))
    coroutine = desk.send()
    with pytest.raises(StopIteration):
        coroutine.send(None)


async def test_no_reference_cycles_are_left_behind(family: FamilyModules) -> None:
    limiter, desk, clock = open_desk(family, RateLimit(1000, max_wait=0.01), jump=True)
    del clock
    await desk.send()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            await desk.send()
            limiter.block(KEY, desk.clock.monotonic() + 1.0)
            with pytest.raises(RateLimited):
                await desk.send()
            await desk.clock.sleep(1.0)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        ours = [thing for thing in gc.garbage if type(thing).__module__.startswith("holdfast.policies")]
        assert ours == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_keys_are_bounded_but_none_with_a_debt_is_forgotten() -> None:
    clock = VirtualClock()
    limiter = RateLimiter(RateLimit(1), clock=clock)
    limiter.block("blocked", 1e9)
    for number in range(5000):
        limiter.wait_time(f"key {number}")
    assert len(limiter.snapshot()) <= 1024
    assert "blocked" in limiter.snapshot()
    for number in range(2000):
        limiter.try_acquire(f"busy {number}")
    assert not any(limiter.try_acquire(f"busy {number}") for number in range(2000))


@pytest.mark.heavy
@pytest.mark.parametrize("rate", [10, 1000, 5000])
async def test_the_long_run_rate_is_the_one_that_was_asked_for(rate: int) -> None:
    # One family is enough: nothing of it is touched.
    _, desk, clock = open_desk(modules_of("httpx"), RateLimit(rate, burst=1), jump=True)
    calls = min(rate * 20, 300)

    async def caller() -> None:
        await desk.send()

    async with anyio.create_task_group() as tasks:
        for _ in range(calls):
            tasks.start_soon(caller)
    assert clock.monotonic() == pytest.approx((calls - 1) / rate, rel=0.005)


PLANS = st.lists(
    st.tuples(st.floats(0.0, 2.0), st.integers(1, 3), st.one_of(st.none(), st.floats(0.0, 3.0))),
    min_size=1,
    max_size=25,
)


@given(PLANS, st.integers(3, 5), st.sampled_from(["asyncio", "trio"]))
@examples(0.3)
def test_order_and_promise_hold_whoever_comes_and_whoever_gives_up(
    plan: list[tuple[float, int, float | None]], burst: int, backend: str
) -> None:
    limiter, desk, clock = open_desk(modules_of("httpx"), RateLimit(2, burst=burst), jump=True)

    async def caller(number: int, cost: int, patience: float | None) -> None:
        with clock.timeout_at(1e9 if patience is None else clock.monotonic() + patience):
            await desk.send((number, cost), cost=float(cost))

    async def everybody() -> None:
        async with anyio.create_task_group() as tasks:
            for number, (pause, cost, patience) in enumerate(plan):
                await clock.sleep(pause)
                tasks.start_soon(caller, number, cost, patience)
                await clock.settle()

    anyio.run(everybody, backend=backend)
    names: list[Any] = desk.names
    assert names == sorted(names)
    assert {number for number, (_, _, patience) in enumerate(plan) if patience is None} <= {n for n, _ in names}
    for first, (begin, _) in enumerate(desk.sends):
        total = 0
        for (end, _), (_, cost) in zip(desk.sends[first:], names[first:], strict=True):
            total += cost
            assert total <= (end - begin) * 2 + burst + 1e-6
    assert limiter.snapshot()[KEY]["waiting"] == 0


# --- the engine that stands in aiolimiter: asyncio's own time, made to pass by itself ---


# In these tests every sleep is in the loop's own time, asyncio's own included, which aiolimiter uses: none takes any.


def in_loop_time(main: Callable[[RateLimiter, Desk], Awaitable[None]], limit: RateLimit) -> None:
    async def run() -> None:
        clock = LoopClock()
        limiter = RateLimiter(limit, clock=clock)
        assert limiter._gates.leaky  # or the test would be about the other engine
        await main(limiter, Desk(modules_of("httpx"), limiter, clock))

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(run())


@pytest.mark.parametrize(
    ("burst", "rate"), [(10, 10), (10, 1000), (50, 5000), (1, 10)], ids=["10", "1000", "5000", "burst 1"]
)
def test_the_leaky_engine_keeps_order_rate_and_promise(burst: int, rate: int) -> None:
    calls = burst + min(20 * rate, 600)

    async def main(limiter: RateLimiter, desk: Desk) -> None:
        async with asyncio.TaskGroup() as tasks:
            for name in range(calls):
                tasks.create_task(desk.send(name))
        assert desk.names == list(range(calls))
        assert desk.times[-1] == pytest.approx((calls - burst) / rate, rel=0.005)
        times = desk.times
        for first in range(0, calls, 7):
            for last in range(first, calls, 13):
                window = times[last] - times[first]
                assert last - first + 1 <= window * rate + burst + 0.5
        assert limiter.snapshot()[KEY]["waiting"] == 0

    in_loop_time(main, RateLimit(rate, burst=burst, engine="leaky"))


@pytest.mark.parametrize("callers", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("engine", ["leaky", "smooth"])
def test_all_callers_drain_in_order_at_the_exact_rate_with_a_few_timers_for_each(
    engine: Literal["leaky", "smooth"], callers: int
) -> None:
    # How long they take the machine is for benchmarks/limiter to say; that it is no more than so much for each is seen
    # from what they ask of the loop.
    rate, burst = 1000, 10

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        limiter = RateLimiter(RateLimit(rate, burst=burst, engine=engine), clock=LoopClock())
        taken: list[tuple[float, int]] = []

        async def caller(number: int) -> None:
            await limiter.acquire(KEY)
            taken.append((loop.time(), number))

        async with asyncio.TaskGroup() as tasks:
            for number in range(callers):
                tasks.create_task(caller(number))
        assert [number for _, number in taken] == list(range(callers))
        ideal = [max(0, number + 1 - burst) / rate for number in range(callers)]
        assert [at for at, _ in taken] == pytest.approx(ideal, abs=2 / rate)
        assert loop.timers <= 2 * callers
        assert loop.looks <= 5 * callers

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(main())


def test_the_leaky_engine_uses_what_is_given_back_and_keeps_blocks() -> None:
    async def main(limiter: RateLimiter, desk: Desk) -> None:
        desk.serve = desk.refuse
        for _ in range(30):  # three times the burst, and nothing of it used
            with pytest.raises(desk.family.http.ConnectError):
                await desk.send()
        desk.serve = desk.good
        async with asyncio.TaskGroup() as tasks:
            for name in range(12):
                tasks.create_task(desk.send(name))
            await desk.clock.sleep(0.05)
            limiter.block(KEY, 5.0)
        assert desk.times == [pytest.approx(at, abs=1e-3) for at in [0.0] * 10 + [5.0, 5.1]]

    in_loop_time(main, RateLimit(10, burst=10))


def test_the_leaky_engine_lets_cancelled_callers_go_and_serves_the_next() -> None:
    async def main(limiter: RateLimiter, desk: Desk) -> None:
        await desk.send(cost=10.0)
        tasks = [asyncio.create_task(desk.send(name)) for name in range(104)]
        await desk.clock.sleep(0.05)
        for task in tasks[:100]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert desk.names[1:] == [100, 101, 102, 103]
        assert desk.times[1:] == [pytest.approx(at, abs=1e-3) for at in (0.1, 0.2, 0.3, 0.4)]

    in_loop_time(main, RateLimit(10, burst=10))


def test_it_serves_one_loop_after_another() -> None:
    limiter = RateLimiter(RateLimit(1, per=1e6, burst=10), clock=SystemClock())

    async def main() -> None:
        desk = Desk(modules_of("httpx"), limiter, SystemClock())
        for _ in range(3):
            await desk.send()
        with pytest.raises(RateLimited):
            await desk.send(cost=9.0, deadline=0.5)
        waiting = asyncio.create_task(desk.send(cost=9.0))
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(main())
    asyncio.run(asyncio.sleep(0))
    assert limiter.snapshot()[KEY]["tokens"] == pytest.approx(7.0, abs=0.01)

    async def again() -> Call:
        desk = Desk(modules_of("httpx"), limiter, SystemClock())
        call = desk.call()
        await desk.send(call=call)
        return call

    assert asyncio.run(again()).waits == {}


def test_a_second_loop_is_refused_while_callers_of_the_first_wait_and_served_after_it_closed() -> None:
    clock = VirtualClock()
    limiter = RateLimiter(RateLimit(1, burst=1), clock=clock)
    desk = Desk(modules_of("httpx"), limiter, clock)
    first = asyncio.new_event_loop()
    stuck = first.create_task(desk.send("stuck"))
    stuck = first.create_task(desk.send("stuck"))
    first.run_until_complete(asyncio.sleep(0))

    async def second() -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await desk.send("second")

    asyncio.run(second())
    first.run_until_complete(cancelled(stuck))
    first.close()

    async def third() -> None:
        task = asyncio.create_task(desk.send("third"))
        await clock.advance(5.0)
        await task

    asyncio.run(third())
    assert desk.names == ["stuck", "third"]


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
