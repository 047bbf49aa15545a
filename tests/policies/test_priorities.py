"""Who goes first where calls have priorities: in the lines for tokens and for permits, from outside."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from holdfast import ConcurrencyLimit, RateLimit, Scope, Window
from holdfast.errors import DeadlineExceeded, RateLimited
from holdfast.policies._gates import Limit
from holdfast.policies.concurrency import Concurrency
from holdfast.policies.rate_limit import RateLimiter
from holdfast.testing.clock import VirtualClock
from holdfast.testing.scripted import Reply
from tests.policies.scripted_limits import KEY, Desk
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio


def open_desk(family: FamilyModules, limits: Any) -> tuple[RateLimiter, Desk, VirtualClock]:
    clock = VirtualClock()
    limiter = RateLimiter(limits, clock=clock)
    return limiter, Desk(family, limiter, clock), clock


LIMITS = [RateLimit(1), Window(1, per=1.0, margin=0.0), [RateLimit(1), Window(1, per=1.0, margin=0.0)]]
KINDS = ["rate", "window", "both"]


@pytest.mark.parametrize("limits", LIMITS, ids=KINDS)
async def test_the_higher_goes_first_and_among_equals_who_came_first(family: FamilyModules, limits: Any) -> None:
    _, desk, clock = open_desk(family, limits)
    async with anyio.create_task_group() as tasks:
        for name, priority in enumerate([0, 0, -1, 0, 2, 1, 2]):
            tasks.start_soon(partial(desk.send, name, priority=priority))
            await clock.settle()
        await clock.advance(10.0)
    assert desk.sends == [(0.0, 0), (1.0, 4), (2.0, 6), (3.0, 5), (4.0, 1), (5.0, 3), (6.0, 2)]


async def test_the_option_of_a_request_says_it(family: FamilyModules) -> None:
    async with stage(family, lambda *_: Reply(), rate_limit=RateLimit(1), jump=False, deadline=None) as on:

        async def caller(path: str, priority: int) -> None:
            await on.client.get(f"{URL}/{path}", extensions={"holdfast": {"priority": priority}})

        async with anyio.create_task_group() as tasks:
            for path, priority in [("sent", 0), ("batch", -1), ("page", 0), ("health", 1)]:
                tasks.start_soon(caller, path, priority)
                await on.clock.settle()
            await on.clock.advance(5.0)
        paths = [sent.path.rpartition("/")[2] for sent in on.script.sent]
        assert paths == ["sent", "health", "page", "batch"]


async def test_whoever_has_waited_long_enough_goes_before_the_next_level(family: FamilyModules) -> None:
    # More high ones come than there are tokens, for ever.
    _, desk, clock = open_desk(family, RateLimit(1))
    async with anyio.create_task_group() as tasks:
        await desk.send("first")
        tasks.start_soon(partial(desk.send, "low"))
        for number in range(80):
            tasks.start_soon(partial(desk.send, number, priority=1))
            await clock.advance(0.5)
        await clock.advance(50.0)
    # Two come for each token. Of them only those go before who came in the first thirty seconds.
    before = desk.names[1 : desk.names.index("low")]
    assert before == list(range(61))
    assert desk.sends[62] == (62.0, "low")


async def test_who_overtakes_the_first_with_another_cost_goes_when_its_own_tokens_are_there(
    family: FamilyModules,
) -> None:
    _, desk, clock = open_desk(family, RateLimit(1, burst=4))
    async with anyio.create_task_group() as tasks:
        await desk.send("burst", cost=4.0)
        tasks.start_soon(partial(desk.send, "large", cost=4.0))
        await clock.settle()
        tasks.start_soon(partial(desk.send, "urgent", priority=1))
        await clock.advance(0.5)
        tasks.start_soon(partial(desk.send, "more urgent", cost=2.0, priority=2))
        await clock.advance(20.0)
    assert desk.sends == [(0.0, "burst"), (2.0, "more urgent"), (3.0, "urgent"), (7.0, "large")]


async def test_who_is_overtaken_and_cannot_wait_so_long_any_more_is_told_when_its_time_is_over(
    family: FamilyModules,
) -> None:
    limiter, desk, clock = open_desk(family, RateLimit(1))
    refused: list[tuple[str, float, Any]] = []

    async def caller(name: str, deadline: float | None, priority: int = 0) -> None:
        try:
            await desk.send(name, deadline=deadline, priority=priority)
        except RateLimited as error:
            refused.append((name, clock.monotonic(), error.retry_after))

    async with anyio.create_task_group() as tasks:
        for name, deadline in [("sent", None), ("a", 1.0), ("b", 2.5), ("c", None)]:
            tasks.start_soon(caller, name, deadline)
            await clock.settle()
        for name in ("d", "e"):
            tasks.start_soon(caller, name, None, 1)
            await clock.settle()
        assert limiter.wait_time(KEY) == pytest.approx(6.0)
        assert limiter.wait_time(KEY, priority=1) == pytest.approx(3.0)
        await clock.advance(10.0)
    assert desk.sends == [(0.0, "sent"), (1.0, "d"), (2.0, "e"), (3.0, "c")]
    assert refused == [("a", 1.0, pytest.approx(4.0)), ("b", 2.5, pytest.approx(1.5))]
    assert (limiter.snapshot()[KEY]["waiting"], clock.sleepers) == (0, 0)


async def test_a_wait_foretold_counts_only_those_who_go_before(family: FamilyModules) -> None:
    _, desk, clock = open_desk(family, RateLimit(1))
    async with anyio.create_task_group() as tasks:
        for name in range(6):
            tasks.start_soon(partial(desk.send, name))
        await clock.settle()
        with pytest.raises(RateLimited) as caught:
            await desk.send(deadline=5.9)
        assert caught.value.retry_after == pytest.approx(6.0)
        tasks.start_soon(partial(desk.send, "urgent", deadline=1.5, priority=1))
        await clock.advance(10.0)
    assert desk.sends[1] == (1.0, "urgent")


async def test_cancelled_callers_of_every_level_leave_no_trace(family: FamilyModules) -> None:
    limiter, desk, clock = open_desk(family, RateLimit(1))
    scopes: list[anyio.CancelScope] = []

    async def caller(priority: int) -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await desk.send(f"level {priority}", priority=priority, deadline=1000.0)

    async with anyio.create_task_group() as tasks:
        await desk.send("first")
        for number in range(300):
            tasks.start_soon(caller, number % 3)
            await anyio.lowlevel.checkpoint()
        tasks.start_soon(partial(desk.send, "last"))
        await clock.settle()
        for scope in scopes:
            scope.cancel()
        await clock.settle()
        assert limiter.snapshot()[KEY]["waiting"] == 1
        assert len(limiter._gates.find(Scope(KEY)).ends) <= 66  # memory is not to be seen from outside
        await clock.advance(1.0)
    assert desk.sends == [(0.0, "first"), (1.0, "last")]
    assert clock.sleepers == 0


async def test_between_tenants_priority_decides_who_gets_the_tokens_that_they_share(family: FamilyModules) -> None:
    clock = VirtualClock()
    limits: list[Limit] = [RateLimit(1, key=lambda _: "all"), Window(10, per=100.0, margin=0.0)]
    limiter = RateLimiter(limits, clock=clock)
    desk = Desk(family, limiter, clock)
    async with anyio.create_task_group() as tasks:
        for name, key, priority in [("a1", "a", 0), ("a2", "a", 0), ("a3", "a", 0), ("b1", "b", 1), ("b2", "b", 1)]:
            tasks.start_soon(partial(desk.send, name, key=f"{KEY}/{key}", priority=priority))
            await clock.settle()
        await clock.advance(10.0)
    assert desk.sends == [(0.0, "a1"), (1.0, "b1"), (2.0, "b2"), (3.0, "a2"), (4.0, "a3")]


@pytest.mark.parametrize(
    ("limit", "order"),
    [
        (ConcurrencyLimit(1), ["sent", "health", "page", "batch"]),
        (ConcurrencyLimit(9, total=1), ["sent", "health", "page", "batch"]),
        # Here batch has its key's permit already, and stands alone in the second line.
        (ConcurrencyLimit(2, total=1), ["sent", "batch", "health", "page"]),
    ],
    ids=["key", "total", "both"],
)
async def test_a_permit_goes_to_the_highest_who_waits(
    family: FamilyModules, limit: ConcurrencyLimit, order: list[str]
) -> None:
    clock = VirtualClock()
    desk = Desk(family, Concurrency(limit, clock=clock), clock)

    async def hold(_request: Any) -> Any:
        await clock.sleep(1.0)
        return family.http.Response(200, content=b"")

    desk.serve = hold
    late: list[str] = []

    async def caller(name: str, priority: int, deadline: float | None) -> None:
        try:
            await desk.send(name, priority=priority, deadline=deadline)
        except DeadlineExceeded:
            late.append(name)

    async with anyio.create_task_group() as tasks:
        for name, priority, deadline in [
            ("sent", 0, None),
            ("batch", -1, None),
            ("page", 0, None),
            ("hasty", 0, 2.5),
            ("health", 1, None),
        ]:
            tasks.start_soon(caller, name, priority, deadline)
            await clock.settle()
        await clock.advance(10.0)
    assert desk.names == order
    assert late == ["hasty"]
