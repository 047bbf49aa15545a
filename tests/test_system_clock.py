"""Does the clock of the system end what runs too long, and nothing else? On both loops, and on trio inside asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import trio

from holdfast.clock import SystemClock

pytestmark = pytest.mark.anyio

CLOCK = SystemClock()
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
                await asyncio.sleep(60.0)
            pytest.fail("it swallowed the end of another")

    with pytest.raises(TimeoutError):
        await bounded()


@ON_ASYNCIO
async def test_a_failing_sibling_in_a_task_group_of_asyncio_passes_through(anyio_backend: str) -> None:
    reached: list[str] = []

    async def bounded() -> None:
        with CLOCK.timeout_at(CLOCK.monotonic() + 60.0):
            await asyncio.sleep(60.0)
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
