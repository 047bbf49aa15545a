"""The concurrency limit from outside: how many at a time, in which order, and when a permit comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.errors import Closed, ConcurrencyFull, DeadlineExceeded
from holdfast.policies.concurrency import Concurrency, ConcurrencyLimit
from holdfast.testing.clock import VirtualClock
from tests.conftest import modules_of
from tests.policies.scripted_limits import KEY, Desk
from tests.support import FamilyModules, examples

pytestmark = pytest.mark.anyio

OTHER = "http://other.test:80"


def open_desk(family: FamilyModules, limit: ConcurrencyLimit) -> tuple[Concurrency, Desk, VirtualClock]:
    clock = VirtualClock()
    layer = Concurrency(limit, clock=clock)
    desk = Desk(family, layer, clock)
    desk.serve = desk.stream
    return layer, desk, clock


def in_use(layer: Concurrency, key: str = KEY) -> int:
    return layer.snapshot()[key]["in_use"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"limit": 0}, "limit"),
        ({"total": 0}, "total"),
        ({"max_queue": -1}, "max_queue"),
    ],
    ids=str,
)
def test_a_bad_setting_is_refused_by_name(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=rf"^{named} must be"):
        ConcurrencyLimit(**given)


async def read(response: Any) -> None:
    await response.aread()


async def close(response: Any) -> None:
    await response.aclose()


async def stop_half_way(response: Any) -> None:
    await anext(response.stream)
    await response.aclose()


async def close_twice(response: Any) -> None:
    await response.aclose()
    await response.aclose()
    await response.stream.aclose()


LIMITS = pytest.mark.parametrize("limit", [ConcurrencyLimit(1), ConcurrencyLimit(1, total=1)], ids=["per key", "total"])


@LIMITS
@pytest.mark.parametrize("finish", [read, close, stop_half_way, close_twice])
async def test_a_permit_is_held_until_the_body_is_closed(
    family: FamilyModules, limit: ConcurrencyLimit, finish: Callable[[Any], Awaitable[None]]
) -> None:
    layer, desk, clock = open_desk(family, limit)
    async with anyio.create_task_group() as tasks:
        response = await desk.send("first")
        tasks.start_soon(desk.visit, "second")
        await clock.settle()
        assert (desk.names, in_use(layer)) == (["first"], 1)
        await finish(response)
        await clock.settle()
        assert (desk.names, in_use(layer)) == (["first", "second"], 0)


@LIMITS
async def test_a_body_in_memory_and_a_closed_response_hold_no_permit(
    family: FamilyModules, limit: ConcurrencyLimit
) -> None:
    layer, desk, _ = open_desk(family, limit)

    async def in_memory(request: Any) -> Any:
        return family.holdfast.FAMILY.response(request, 200, [], b"here")

    for serve in (desk.good, in_memory):
        desk.serve = serve
        await desk.send()
        assert in_use(layer) == 0


@LIMITS
async def test_a_permit_comes_back_when_the_attempt_fails(family: FamilyModules, limit: ConcurrencyLimit) -> None:
    layer, desk, _ = open_desk(family, limit)
    desk.serve = desk.refuse
    for _ in range(3):
        with pytest.raises(family.http.ConnectError):
            await desk.send()
    assert in_use(layer) == 0


@LIMITS
async def test_a_permit_comes_back_when_the_attempt_is_cancelled(
    family: FamilyModules, limit: ConcurrencyLimit
) -> None:
    layer, desk, clock = open_desk(family, limit)
    desk.sign = lambda: clock.sleep(100.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.send)
        await clock.settle()
        assert in_use(layer) == 1
        tasks.cancel_scope.cancel()
    assert in_use(layer) == 0


@LIMITS
async def test_a_response_that_is_dropped_gives_its_permit_to_the_next(
    family: FamilyModules, limit: ConcurrencyLimit
) -> None:
    layer, desk, clock = open_desk(family, limit)
    async with anyio.create_task_group() as tasks:
        response = await desk.send("first")
        tasks.start_soon(desk.visit, "second")
        await clock.settle()
        desk.serve = desk.good
        with pytest.warns(ResourceWarning, match="dropped without being closed"):
            del response
        await clock.settle()
    assert desk.names == ["first", "second"]
    assert in_use(layer) == 0


async def test_callers_are_served_in_order_and_nobody_overtakes(family: FamilyModules) -> None:
    _, desk, clock = open_desk(family, ConcurrencyLimit(2))
    async with anyio.create_task_group() as tasks:
        open_ones = [await desk.send(0), await desk.send(1)]
        for name in range(2, 7):
            tasks.start_soon(desk.visit, name)
            await clock.settle()
        desk.serve = desk.good
        await open_ones[0].aclose()
        tasks.start_soon(desk.visit, "newcomer")
        await clock.settle()
        await open_ones[1].aclose()
    assert desk.names == [*range(7), "newcomer"]


async def test_a_full_queue_refuses_at_once(family: FamilyModules) -> None:
    layer, desk, clock = open_desk(family, ConcurrencyLimit(1, max_queue=1))
    async with anyio.create_task_group() as tasks:
        response = await desk.send("first")
        tasks.start_soon(desk.visit, "second")
        await clock.settle()
        with pytest.raises(ConcurrencyFull, match="max_queue") as caught:
            await desk.send("third")
        assert isinstance(caught.value, family.http.TransportError)
        assert caught.value.key == KEY
        assert layer.snapshot()[KEY] == {"limit": 1, "in_use": 1, "waiting": 1}
        await response.aclose()


async def test_no_queue_at_all_means_now_or_never(family: FamilyModules) -> None:
    _, desk, _ = open_desk(family, ConcurrencyLimit(1, max_queue=0))
    response = await desk.send()
    with pytest.raises(ConcurrencyFull):
        await desk.send()
    await response.aclose()
    await desk.visit()


async def test_the_wait_ends_with_the_deadline(family: FamilyModules) -> None:
    layer, desk, clock = open_desk(family, ConcurrencyLimit(1))
    response = await desk.send()
    outcomes: list[tuple[float, Exception]] = []

    async def caller(deadline: float) -> None:
        try:
            await desk.send(deadline=deadline)
        except DeadlineExceeded as error:
            outcomes.append((clock.monotonic(), error))

    async with anyio.create_task_group() as tasks:
        for deadline in (5.0, 2.0):
            tasks.start_soon(caller, deadline)
        await clock.advance(10.0)
    assert [at for at, _ in outcomes] == [2.0, 5.0]
    for _, error in outcomes:
        assert isinstance(error, DeadlineExceeded)
        assert isinstance(error, family.http.TimeoutException)
        assert (error.policy, error.key) == ("concurrency", KEY)
    assert layer.snapshot()[KEY]["waiting"] == 0
    await response.aclose()


async def test_the_wait_is_noted_and_the_circuit_looked_at_again(family: FamilyModules) -> None:
    _, desk, clock = open_desk(family, ConcurrencyLimit(1))
    at_once, later = desk.call(), desk.call()
    async with anyio.create_task_group() as tasks:
        response = await desk.send(call=at_once)
        tasks.start_soon(lambda: desk.visit(call=later))
        await clock.advance(1.5)
        await response.aclose()
    assert (at_once.waits, at_once.queued) == ({}, False)
    assert (later.waits, later.queued) == ({"concurrency": 1.5}, True)


async def test_cancelled_callers_leave_no_trace_and_take_no_permit(family: FamilyModules) -> None:
    layer, desk, clock = open_desk(family, ConcurrencyLimit(1))
    response = await desk.send("first")
    async with anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as doomed:
            for name in range(200):
                doomed.start_soon(desk.visit, name)
            await clock.settle()
            tasks.start_soon(desk.visit, "survivor")
            await clock.settle()
            assert layer.snapshot()[KEY]["waiting"] == 201
            doomed.cancel_scope.cancel()
        assert layer.snapshot()[KEY]["waiting"] == 1
        await response.aclose()
    assert desk.names == ["first", "survivor"]
    assert in_use(layer) == 0


@LIMITS
async def test_a_permit_handed_to_a_caller_who_is_cancelled_in_that_moment_goes_on(
    family: FamilyModules, limit: ConcurrencyLimit
) -> None:
    layer, desk, clock = open_desk(family, limit)
    scope = anyio.CancelScope()

    async def doomed() -> None:
        with scope:
            await desk.visit("doomed")

    async with anyio.create_task_group() as tasks:
        response = await desk.send("first")
        tasks.start_soon(doomed)
        await clock.settle()
        tasks.start_soon(desk.visit, "next")
        await clock.settle()
        desk.serve = desk.good
        await response.aclose()
        scope.cancel()  # the permit was handed over already
    # trio asks a task whether it was woken first, asyncio whether it was cancelled: both are right.
    assert desk.names in (["first", "next"], ["first", "doomed", "next"])
    assert in_use(layer) == 0


async def test_one_key_can_be_kept_from_taking_all_permits(family: FamilyModules) -> None:
    layer, desk, clock = open_desk(family, ConcurrencyLimit(2, total=3))
    async with anyio.create_task_group() as tasks:
        slow = [await desk.send(name) for name in ("slow 1", "slow 2")]
        tasks.start_soon(desk.visit, "slow 3")
        await clock.settle()
        quick = await desk.send("quick 1", key=OTHER)
        tasks.start_soon(lambda: desk.visit("quick 2", key=OTHER))
        await clock.settle()
        assert layer.snapshot() == {
            "*": {"limit": 3, "in_use": 3, "waiting": 1},
            KEY: {"limit": 2, "in_use": 2, "waiting": 1},
            OTHER: {"limit": 2, "in_use": 2, "waiting": 0},
        }
        desk.serve = desk.good
        await quick.aclose()
        await clock.settle()
        for response in slow:
            await response.aclose()
    assert desk.names == ["slow 1", "slow 2", "quick 1", "quick 2", "slow 3"]
    assert {key: permits["in_use"] for key, permits in layer.snapshot().items()} == {"*": 0, KEY: 0, OTHER: 0}


async def test_who_gives_up_in_the_common_line_gives_back_the_permit_of_its_key(
    family: FamilyModules,
) -> None:
    layer, desk, clock = open_desk(family, ConcurrencyLimit(1, total=1))
    response = await desk.send()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: desk.visit(key=OTHER))
        await clock.settle()
        assert in_use(layer, OTHER) == 1
        tasks.cancel_scope.cancel()
    assert in_use(layer, OTHER) == 0
    await response.aclose()


@LIMITS
async def test_closing_sends_the_waiting_callers_away(family: FamilyModules, limit: ConcurrencyLimit) -> None:
    layer, desk, clock = open_desk(family, limit)
    ours, outcomes = object(), list[str]()

    async def caller(name: str, owner: object) -> None:
        try:
            await desk.visit(name, owner=owner)
        except Closed:
            outcomes.append(f"{name} closed")
        else:
            outcomes.append(f"{name} sent")

    async with anyio.create_task_group() as tasks:
        response = await desk.send("first")
        for name, owner in [("a", ours), ("b", None), ("c", ours), ("d", None)]:
            tasks.start_soon(caller, name, owner)
            await clock.settle()
        layer.dismiss(lambda: Closed("the transport was closed"), ours)
        await clock.settle()
        assert sorted(outcomes) == ["a closed", "c closed"]
        layer.dismiss(lambda: Closed("the transport was closed"))
        await clock.settle()
        await response.aclose()
    assert sorted(outcomes[2:]) == ["b closed", "d closed"]
    assert in_use(layer) == 0


async def test_the_fast_path_never_suspends(family: FamilyModules) -> None:
    _, desk, _ = open_desk(family, ConcurrencyLimit(1))
    coroutine = desk.send()
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    await stopped.value.value.aclose()


def test_callers_of_a_closed_loop_are_forgotten() -> None:
    clock = VirtualClock()
    layer = Concurrency(ConcurrencyLimit(1), clock=clock)
    desk = Desk(modules_of("httpx"), layer, clock)
    desk.serve = desk.stream

    async def leave_one_waiting() -> Any:
        response = await desk.send("first")
        asyncio.get_running_loop().create_task(desk.send("stuck")).add_done_callback(lambda _: None)
        await asyncio.sleep(0)
        return response

    loop = asyncio.new_event_loop()
    response = loop.run_until_complete(leave_one_waiting())
    stuck = asyncio.all_tasks(loop)

    async def second() -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await desk.send("second")

    asyncio.run(second())
    for task in stuck:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*stuck, return_exceptions=True))
    loop.close()

    async def third() -> None:
        await response.aclose()
        desk.serve = desk.good
        await desk.send("third")

    asyncio.run(third())
    assert desk.names == ["first", "third"]


STEPS = st.lists(
    st.tuples(st.sampled_from(["send", "send", "close", "cancel", "drop"]), st.integers(0, 30), st.booleans()),
    min_size=1,
    max_size=40,
)


@given(STEPS, st.integers(1, 3), st.sampled_from([None, 1]), st.sampled_from(["asyncio", "trio"]))
@example([("send", 0, False)] * 4 + [("drop", 0, False)] * 2, 2, None, "trio")  # two are freed in one turn
@examples(0.4)
def test_permits_are_neither_lost_nor_doubled(
    steps: list[tuple[str, int, bool]], limit: int, total: int | None, backend: str
) -> None:
    layer, desk, clock = open_desk(modules_of("httpx"), ConcurrencyLimit(limit, total=total))
    held: list[Any] = []
    scopes: list[anyio.CancelScope] = []
    order: list[Any] = []

    def end_of_turn() -> None:
        turn = desk.names[len(order) :]
        order.extend(sorted(turn) if backend == "trio" else turn)  # trio runs who wakes in one turn in any order

    async def caller(number: int, key: str) -> None:
        scope = anyio.CancelScope()
        scopes.append(scope)
        with scope:
            held.append(await desk.send((key, number), key=key))
        scopes.remove(scope)

    async def play() -> None:
        async with anyio.create_task_group() as tasks:
            for number, (step, choice, other) in enumerate(steps):
                if step == "send":
                    tasks.start_soon(caller, number, OTHER if other else KEY)
                elif step == "cancel" and scopes:
                    scopes[choice % len(scopes)].cancel()
                elif held:
                    await held.pop(choice % len(held)).aclose()
                if step != "drop":  # else the next step comes before anybody could act on this one
                    await clock.settle()
                    end_of_turn()
                    keys = layer.snapshot() if total is None else ("*",)  # of its key one has a permit before that
                    assert sum(in_use(layer, key) for key in keys) == len(held)
                assert len(held) <= (2 * limit if total is None else total)
            tasks.cancel_scope.cancel()
        for response in held:
            await response.aclose()

    anyio.run(play, backend=backend)
    end_of_turn()
    assert all(permits["in_use"] == permits["waiting"] == 0 for permits in layer.snapshot().values())
    for key in (KEY, OTHER):
        mine = [name for name in order if name[0] == key]
        assert mine == sorted(mine)
