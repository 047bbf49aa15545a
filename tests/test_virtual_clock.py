"""The clock under all other tests."""

from __future__ import annotations

import anyio
import pytest

from holdfast.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio


async def test_sleepers_wake_in_order_each_at_its_own_time() -> None:
    clock, woken = VirtualClock(start=100.0), list[tuple[float, float]]()

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.monotonic()))

    async with anyio.create_task_group() as tasks:
        for seconds in (3.0, 1.0, 2.0, 7.0):
            tasks.start_soon(sleeper, seconds)
        await clock.advance(5.0)
        assert woken == [(1.0, 101.0), (2.0, 102.0), (3.0, 103.0)]
        assert (clock.monotonic(), clock.sleepers) == (105.0, 1)
        await clock.advance(2.0)
    assert clock.sleepers == 0


async def test_one_who_wakes_and_sleeps_again_is_served_within_the_same_advance() -> None:
    clock, times = VirtualClock(), list[float]()

    async def ticker() -> None:
        for _ in range(4):
            await clock.sleep(0.5)
            times.append(clock.monotonic())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticker)
        await clock.advance(10.0)
    assert times == [0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_no_time_passes_in_an_empty_sleep(seconds: float) -> None:
    clock = VirtualClock()
    await clock.sleep(seconds)
    assert (clock.monotonic(), clock.sleepers) == (0.0, 0)


async def test_a_cancelled_sleeper_leaves_no_timer() -> None:
    clock = VirtualClock()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.sleep, 5.0)
        await clock.settle()
        assert clock.sleepers == 1
        tasks.cancel_scope.cancel()
    assert clock.sleepers == 0


async def test_it_jumps_by_itself_when_told_to() -> None:
    clock, times = VirtualClock(jump=True), list[float]()

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        times.append(clock.monotonic())

    async with anyio.create_task_group() as tasks:
        for seconds in (3600.0, 1.0):
            tasks.start_soon(sleeper, seconds)
    assert times == [1.0, 3600.0]


async def test_the_wall_moves_with_time_and_can_be_set_alone() -> None:
    clock = VirtualClock(wall=1000.0)
    await clock.advance(5.0)
    assert clock.wall() == 1005.0
    clock.set_wall(10.0)
    await clock.advance(1.0)
    assert (clock.wall(), clock.monotonic()) == (11.0, 6.0)


async def test_a_time_limit_cancels_what_is_inside_when_its_time_comes() -> None:
    clock, ended = VirtualClock(), list[float]()

    async def limited() -> None:
        with clock.timeout_at(2.0):
            await clock.sleep(10.0)
            return
        ended.append(clock.monotonic())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(limited)
        await clock.advance(5.0)
    assert ended == [2.0]
    assert clock.sleepers == 0


async def test_a_time_limit_that_is_not_reached_leaves_nothing_behind() -> None:
    clock = VirtualClock()
    with clock.timeout_at(2.0):
        assert clock.sleepers == 1
    await clock.advance(5.0)
    assert clock.sleepers == 0


async def test_a_time_limit_in_the_past_cancels_at_the_first_wait() -> None:
    clock = VirtualClock(start=5.0)
    with clock.timeout_at(2.0):
        await clock.sleep(1.0)
        pytest.fail("it went on")
