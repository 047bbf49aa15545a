"""What a call that goes well must not cost. The structure is tested, never the time: `benchmarks/` takes that."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest

from holdfast import Pipeline, RateLimit
from tests.support import FamilyModules

URL = "http://api.test/things"
NO_TIMES: dict[str, Any] = {"deadline": None, "attempt_timeout": None, "buffer_body": False}
SETTINGS = pytest.mark.parametrize("settings", [{}, NO_TIMES], ids=["defaults", "no limits in time"])


def transport_to_instant_far_side(family: FamilyModules, settings: dict[str, Any]) -> Any:
    """The whole pipeline, with a rate limit that holds nobody back, around a far side that answers at once."""
    http: Any = family.http

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 1024

    class Body(http.AsyncByteStream):  # type: ignore[misc]  # one of two libraries
        def __aiter__(self) -> AsyncIterator[bytes]:
            return chunks()

    class FarSide:
        async def handle_async_request(self, request: Any) -> Any:
            return http.Response(200, headers=[(b"content-length", b"1024")], stream=Body())

        async def aclose(self) -> None:
            pass

    pipeline = Pipeline(rate_limit=RateLimit(1e9, per=1.0), **settings)
    return family.holdfast.ResilientTransport(pipeline, inner=FarSide())


async def call(transport: Any, family: FamilyModules) -> None:
    response = await transport.handle_async_request(family.http.Request("GET", URL))
    await response.aread()
    assert response.status_code == 200


@SETTINGS
def test_a_good_call_starts_no_task_and_never_gives_up_its_turn(
    family: FamilyModules, settings: dict[str, Any]
) -> None:
    transport = transport_to_instant_far_side(family, settings)

    async def step_through() -> None:
        # Driven by hand: whatever it yields to the event loop would come out here. A lock, a task that is waited
        # for and a sleep all yield.
        running = call(transport, family)
        with pytest.raises(StopIteration):
            running.send(None)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(step_through())


@SETTINGS
def test_a_good_call_makes_no_lock_and_at_most_one_cancel_scope(
    family: FamilyModules, settings: dict[str, Any]
) -> None:
    transport = transport_to_instant_far_side(family, settings)
    asyncio.run(call(transport, family))
    made = asyncio.run(calls_of(lambda: call(transport, family), *MAKERS))
    scopes = made.pop("CancelScope.__enter__")
    assert scopes == (0 if settings else 1)
    assert set(made.values()) == {0}


def test_the_counter_of_locks_and_scopes_sees_them() -> None:
    async def wasteful() -> None:
        async with anyio.Lock(), asyncio.Lock():
            with anyio.CancelScope():
                await asyncio.create_task(asyncio.sleep(0))

    made = asyncio.run(calls_of(wasteful, *MAKERS))
    assert all(made.values()), made


MAKERS = ("CancelScope.__enter__", "Lock.__init__", "Lock.acquire", "BaseEventLoop.create_task")


async def calls_of(run: Callable[[], Awaitable[None]], *names: str) -> dict[str, int]:
    """How often functions with these names are called meanwhile, in this thread."""
    counted = dict.fromkeys(names, 0)

    def count(frame: Any, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_qualname in counted:
            counted[frame.f_code.co_qualname] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        await run()
    finally:
        sys.setprofile(before)
    return counted


@SETTINGS
def test_a_good_call_leaves_no_reference_cycle(family: FamilyModules, settings: dict[str, Any]) -> None:
    transport = transport_to_instant_far_side(family, settings)

    async def count() -> int:
        for _ in range(3):  # what is made once
            await call(transport, family)
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await call(transport, family)
            return gc.collect()
        finally:
            gc.enable()

    assert asyncio.run(count()) == 0


LEAN = """
import asyncio, sys
import {family}, holdfast.{family}
from holdfast import Pipeline, RateLimit

async def main():
    inner = {family}.MockTransport(lambda request: {family}.Response(200, content=b"fine"))
    pipeline = Pipeline(rate_limit=RateLimit(100, per=1.0))
    async with {family}.AsyncClient(transport=holdfast.{family}.ResilientTransport(pipeline, inner=inner)) as client:
        assert (await client.get("http://api.test/")).text == "fine"

asyncio.run(main())
print(*sorted({{"tenacity", "aiolimiter", "holdfast.policies.cache"}} & set(sys.modules)))
"""


def test_a_good_call_imports_neither_tenacity_nor_aiolimiter_nor_the_cache(family: FamilyModules) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LEAN.format(family=family.name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
