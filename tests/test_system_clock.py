"""Does the clock of the system end what runs too long, and nothing else? On both loops, and on trio inside asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVarTuple

import anyio
import pytest
import trio

from holdfast.clock import SystemClock

pytestmark = pytest.mark.anyio

CLOCK = SystemClock()
Ts = TypeVarTuple("Ts")
ON_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])


async def over_at_once() -> str:
    """Which of two ends it came to."""
    with CLOCK.timeout_at(CLOCK.monotonic()):
        await anyio.sleep_forever()
    return "over"


async def test_leaving_it_swallows_its_own_end() -> None:
    assert await over_at_once() == "over"


async def test_who_is_done_in_time_is_not_bothered() -> None:
    with CLOCK.timeout_at(CLOCK.monotonic() + 60.0):
        await anyio.lowlevel.checkpoint()
        return
    pytest.fail("it swallowed a good end")  # pyright: ignore[reportUnreachable]


async def test_the_end_of_a_scope_around_it_passes_through() -> None:
    with anyio.CancelScope() as around:
        with CLOCK.timeout_at(CLOCK.monotonic() + 60.0):
            around.cancel()
            await anyio.sleep_forever()
        pytest.fail("it swallowed the end of another")
    assert around.cancelled_caught


async def test_where_both_ends_come_at_once_the_scope_around_it_ends_too() -> None:
    with anyio.CancelScope() as around:
        with CLOCK.timeout_at(CLOCK.monotonic()):
            around.cancel()
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        pytest.fail("it swallowed the end of another")
    assert around.cancelled_caught


@ON_ASYNCIO
async def test_a_timeout_of_asyncio_around_it_passes_through(anyio_backend: str) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(0):
            with CLOCK.timeout_at(CLOCK.monotonic() + 60.0):
                await anyio.sleep_forever()
            pytest.fail("it swallowed the end of another")

    with pytest.raises(TimeoutError):
        await bounded()


@ON_ASYNCIO
async def test_a_failing_sibling_in_a_task_group_of_asyncio_passes_through(anyio_backend: str) -> None:
    reached: list[str] = []

    async def bounded() -> None:
        with CLOCK.timeout_at(CLOCK.monotonic() + 60.0):
            await anyio.sleep_forever()
        reached.append("behind it")

    async def failing() -> None:
        raise ValueError

    async def together() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(bounded())
            group.create_task(failing())

    with pytest.raises(ExceptionGroup) as caught:
        await together()
    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    assert reached == []


def test_it_serves_trio_as_a_guest_of_asyncio() -> None:
    async def host() -> Any:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        told: Callable[[Any], None] = done.set_result
        trio.lowlevel.start_guest_run(
            over_at_once, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=told
        )
        return (await done).unwrap()

    assert asyncio.run(host()) == "over"


async def test_each_ends_at_its_own_time_whatever_was_set_before() -> None:
    began, ended, all_over = CLOCK.monotonic(), dict[float, float](), anyio.Event()

    async def end_after(seconds: float) -> None:
        with CLOCK.timeout_at(began + seconds):
            await anyio.sleep_forever()
        ended[seconds] = CLOCK.monotonic() - began
        if len(ended) == 4:
            all_over.set()

    async with anyio.create_task_group() as group:
        for seconds in (60.0, 0.06, 0.02, 0.1, 0.04, 0.02):
            group.start_soon(end_after, seconds)
        with anyio.fail_after(30.0):
            await all_over.wait()
        group.cancel_scope.cancel()
    assert ended.keys() == {0.02, 0.04, 0.06, 0.1}
    assert all(took >= seconds - 0.002 for seconds, took in ended.items()), ended


async def test_one_inside_another_ends_the_one_that_is_over_first() -> None:
    with CLOCK.timeout_at(CLOCK.monotonic() + 60.0):
        with CLOCK.timeout_at(CLOCK.monotonic() + 0.01):
            await anyio.sleep_forever()
        with CLOCK.timeout_at(CLOCK.monotonic() + 30.0), CLOCK.timeout_at(CLOCK.monotonic() + 60.0):
            await anyio.sleep(0.01)  # the timer of the one before, were it still set, would end this
            return
    pytest.fail("it swallowed a good end")  # pyright: ignore[reportUnreachable]


def test_who_is_done_in_time_leaves_no_timer_behind() -> None:
    class Counting(asyncio.SelectorEventLoop):
        timers = 0

        def call_at(
            self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
        ) -> asyncio.TimerHandle:
            self.timers += 1
            return super().call_at(when, callback, *args, context=context)

    async def busy() -> int:
        for _ in range(100):
            with CLOCK.timeout_at(CLOCK.monotonic() + 60.0):
                await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Counting)
        return loop.timers

    for _ in range(2):  # the second loop has nothing of the first one's
        with asyncio.Runner(loop_factory=Counting) as runner:
            assert runner.run(busy()) == 1
