"""Windows and several limits at once, from outside."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.call import Call, Options
from holdfast.core.bucket import RateLimit
from holdfast.core.limits import Scope
from holdfast.core.sliding import Window
from holdfast.errors import InvalidOption, RateLimited
from holdfast.policies._gates import Limit
from holdfast.policies.rate_limit import RateLimiter
from holdfast.testing.clock import VirtualClock
from tests.conftest import modules_of
from tests.policies.scripted_limits import KEY, Desk
from tests.support import FamilyModules, examples

pytestmark = pytest.mark.anyio


def open_desk(
    family: FamilyModules, limits: Limit | Sequence[Limit], *, jump: bool = False
) -> tuple[RateLimiter, Desk, VirtualClock]:
    clock = VirtualClock(jump=jump)
    limiter = RateLimiter(limits, clock=clock)
    return limiter, Desk(family, limiter, clock), clock


def call_of(desk: Desk, *, tenant: str, deadline: float | None = None, operation: str | None = None) -> Call:
    now = desk.clock.monotonic()
    options = Options(identity=tenant, operation=operation)
    return Call(options, now, None if deadline is None else now + deadline, deadline, KEY)


async def test_a_window_lets_its_limit_go_at_once_and_then_one_for_each_that_has_left_it(family: FamilyModules) -> None:
    _, desk, clock = open_desk(family, Window(3, per=60.0, margin=0.0))
    async with anyio.create_task_group() as tasks:
        for name in range(7):
            tasks.start_soon(desk.send, name)
            await clock.settle()
            await clock.advance(1.0)
        await clock.advance(200.0)
    assert desk.sends == [(0.0, 0), (1.0, 1), (2.0, 2), (60.0, 3), (61.0, 4), (62.0, 5), (120.0, 6)]


async def test_a_request_that_goes_out_late_counts_from_then(family: FamilyModules) -> None:
    # All three tokens of a minute are granted in one moment, but the event loop stands still before the last one runs.
    _, desk, clock = open_desk(family, Window(1, per=10.0, margin=0.0))
    async with anyio.create_task_group() as tasks:
        await desk.send("first")
        tasks.start_soon(desk.send, "second")
        await clock.settle()
        tasks.start_soon(desk.send, "third")
        await clock.settle()
        await clock.advance(10.0)
        await clock.advance(30.0)
    assert desk.times == [0.0, 10.0, 20.0]


async def test_a_window_refuses_at_once_who_cannot_wait_and_dismisses_who_hoped_too_much(family: FamilyModules) -> None:
    # Costs that differ: behind them the wait is known to be at least so long, not exactly.
    _, desk, clock = open_desk(family, Window(5, per=10.0, margin=0.0))
    refused: list[tuple[str, float]] = []

    async def caller(name: str, cost: float, deadline: float | None) -> None:
        try:
            await desk.send(name, cost=cost, deadline=deadline)
        except RateLimited:
            refused.append((name, clock.monotonic()))

    async with anyio.create_task_group() as tasks:
        for name, cost, deadline in [("a", 3.0, None), ("b", 3.0, None), ("c", 3.0, 15.0), ("d", 1.0, 5.0)]:
            tasks.start_soon(caller, name, cost, deadline)
            await clock.settle()
        await clock.advance(40.0)
    assert desk.sends == [(0.0, "a"), (10.0, "b")]
    assert refused == [("d", 0.0), ("c", 15.0)]


async def test_all_limits_must_pass(family: FamilyModules) -> None:
    limiter, desk, _ = open_desk(family, [RateLimit(1), Window(3, per=60.0, margin=0.0)], jump=True)
    for _ in range(5):
        await desk.send()
    assert desk.times == pytest.approx([0.0, 1.0, 2.0, 60.0, 61.0])
    assert limiter.snapshot()[KEY]["limits"] == [
        {"kind": "rate", "limit": 1, "per": 1.0, "burst": 1.0},
        {"kind": "window", "limit": 3, "per": 60.0, "burst": 3},
    ]


async def test_the_smallest_of_them_says_what_a_cost_may_be(family: FamilyModules) -> None:
    _, desk, _ = open_desk(family, [RateLimit(10, burst=5), Window(3)])
    with pytest.raises(InvalidOption, match="burst is 3"):
        await desk.send(cost=4.0)


async def test_a_token_that_was_not_used_goes_back_to_all_of_them(family: FamilyModules) -> None:
    limiter, desk, _ = open_desk(family, [RateLimit(10, burst=2), Window(3)])
    desk.serve = desk.refuse
    for _ in range(10):
        with pytest.raises(family.http.ConnectError):
            await desk.send(cost=2.0)
    assert limiter.snapshot()[KEY]["tokens"] == pytest.approx(2.0)
    assert limiter.wait_time(KEY, 2.0) == 0.0


BY_TENANT: list[Limit] = [RateLimit(1, burst=2), Window(2, per=100.0, margin=0.0, key="identity")]


async def test_a_tenant_that_has_used_up_its_quota_holds_up_nobody_else(family: FamilyModules) -> None:
    _, desk, clock = open_desk(family, BY_TENANT)
    async with anyio.create_task_group() as tasks:
        for name in range(3):
            tasks.start_soon(partial(desk.send, ("greedy", name), call=call_of(desk, tenant="greedy")))
            await clock.settle()
        for name in range(2):
            tasks.start_soon(partial(desk.send, ("modest", name), call=call_of(desk, tenant="modest")))
            await clock.settle()
        await clock.advance(120.0)
    assert desk.sends == [
        (0.0, ("greedy", 0)),
        (0.0, ("greedy", 1)),
        (1.0, ("modest", 0)),
        (2.0, ("modest", 1)),
        (100.0, ("greedy", 2)),
    ]


async def test_nobody_takes_the_token_that_an_earlier_caller_of_another_tenant_is_about_to_get(
    family: FamilyModules,
) -> None:
    _, desk, clock = open_desk(family, [RateLimit(0.1), Window(1, per=12.0, margin=0.0, key="identity")])
    async with anyio.create_task_group() as tasks:
        await desk.send("a1", call=call_of(desk, tenant="a"))
        tasks.start_soon(partial(desk.send, "a2", call=call_of(desk, tenant="a")))  # may go at 12, the origin at 10
        await clock.settle()
        await clock.advance(5.0)
        tasks.start_soon(partial(desk.send, "b1", call=call_of(desk, tenant="b")))
        await clock.settle()
        tasks.start_soon(partial(desk.send, "c1", call=call_of(desk, tenant="c")))
        await clock.settle()
        await clock.advance(60.0)
    # At 10 the origin has a token, but if b took it, a would wait until 20.
    assert desk.sends == [(0.0, "a1"), (12.0, "a2"), (22.0, "b1"), (32.0, "c1")]


async def test_a_caller_who_gives_up_makes_room_for_other_tenants_at_once(family: FamilyModules) -> None:
    _, desk, clock = open_desk(family, [RateLimit(0.1), Window(1, per=12.0, margin=0.0, key="identity")])
    async with anyio.create_task_group() as tasks:
        await desk.send("a1", call=call_of(desk, tenant="a"))
        giving_up = anyio.CancelScope()

        async def cancelled() -> None:
            with giving_up:
                await desk.send("a2", call=call_of(desk, tenant="a"))

        tasks.start_soon(cancelled)
        await clock.settle()
        tasks.start_soon(partial(desk.send, "b1", call=call_of(desk, tenant="b")))
        await clock.settle()
        giving_up.cancel()
        await clock.advance(30.0)
    assert desk.sends == [(0.0, "a1"), (10.0, "b1")]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("origin", KEY),
        ("operation", f"{KEY} Users.get"),
        ("identity", f"{KEY} acme"),
        (lambda scope: f"{scope.identity}/{scope.operation}", "acme/Users.get"),
    ],
)
async def test_a_limit_says_whose_tokens_a_request_takes(family: FamilyModules, key: Any, name: str) -> None:
    limiter, desk, _ = open_desk(family, RateLimit(1, key=key))
    await desk.send(call=call_of(desk, tenant="acme", operation="Users.get"))
    assert list(limiter.snapshot()) == [name]


@pytest.mark.parametrize("key", [lambda scope: 1 / 0, lambda scope: None], ids=["raises", "no string"])
async def test_a_key_function_that_fails_is_an_error_of_the_caller(family: FamilyModules, key: Any) -> None:
    _, desk, _ = open_desk(family, RateLimit(1, key=key))
    with pytest.raises(InvalidOption, match="key function"):
        await desk.send()


@pytest.mark.heavy
async def test_limits_of_many_tenants_are_bounded_although_they_share_a_busy_origin() -> None:
    clock = VirtualClock()
    tenants: list[str] = []

    def tenant(scope: Scope) -> str:
        return tenants[-1]

    limiter = RateLimiter([RateLimit(1e6, per=3600.0, burst=1e5), Window(5, key=tenant)], clock=clock)
    for number in range(2000):
        tenants.append(f"tenant {number}")
        assert limiter.try_acquire(KEY)
    assert len(limiter.snapshot()) == 2000  # all of them have a debt
    for number in range(2000, 4500):
        tenants.append(f"tenant {number}")
        limiter.wait_time(KEY)
        if number == 3000:
            await clock.advance(100.0)
    assert len(limiter.snapshot()) <= 1024
    assert len(limiter._gates._crossings) <= 1025
    assert limiter.snapshot()[f"{KEY} + tenant 4499"]["tokens"] == 5


PLANS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.1, 1.0, 5.0]),
        st.sampled_from("abc"),
        st.integers(1, 2),
        st.one_of(st.none(), st.floats(0.1, 30.0)),
    ),
    min_size=1,
    max_size=25,
)
LIMITS: list[Limit] = [RateLimit(0.5, burst=3), Window(4, per=20.0, margin=0.0, key="identity")]


@given(PLANS, st.sampled_from(["asyncio", "trio"]))
@examples(0.4)
def test_whoever_comes_and_whoever_gives_up_all_promises_are_kept_and_everybody_gets_through(
    plan: list[tuple[float, str, int, float | None]], backend: str
) -> None:
    limiter, desk, clock = open_desk(modules_of("httpx"), LIMITS, jump=True)

    async def caller(number: int, tenant: str, cost: int, patience: float | None) -> None:
        call = Call(Options(identity=tenant, cost=float(cost)), clock.monotonic(), None, None, KEY)
        with clock.timeout_at(1e9 if patience is None else clock.monotonic() + patience):
            await desk.send((number, tenant, cost), call=call)

    async def everybody() -> None:
        async with anyio.create_task_group() as tasks:
            for number, (pause, tenant, cost, patience) in enumerate(plan):
                await clock.sleep(pause)
                tasks.start_soon(caller, number, tenant, cost, patience)
                await clock.settle()

    anyio.run(everybody, backend=backend)
    sends: list[tuple[float, Any]] = desk.sends
    assert {n for n, (*_, patience) in enumerate(plan) if patience is None} <= {name[0] for _, name in sends}
    for tenant in "abc":
        own = [(at, name) for at, name in sends if name[1] == tenant]
        assert [name[0] for _, name in own] == sorted(name[0] for _, name in own)
        for at, _ in own:
            assert sum(name[2] for then, name in own if at - 20.0 + 1e-6 < then <= at) <= 4
    for first, (begin, _) in enumerate(sends):
        total = 0
        for end, name in sends[first:]:
            total += name[2]
            assert total <= (end - begin) * 0.5 + 3 + 1e-6
    assert all(gate["waiting"] == 0 for gate in limiter.snapshot().values())
    assert not any(crossing.lines for crossing in limiter._gates._crossings.values())
