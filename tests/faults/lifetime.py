"""A client's whole life on a faulty origin: what its calls hold meanwhile, and that nothing is left when it ends."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from holdfast import Pipeline
from holdfast.clock import SystemClock, TimeLimit
from holdfast.testing.faulty import FaultyServer, Gate, Held
from tests.faults.wire import TRUSTS_NOBODY, retry, running_tasks
from tests.support import FamilyModules

OPEN_MAX = 60.0
"""Seconds after which an open circuit probes, whatever its jitter: the default ``open_for_max``."""


def of_row(name: str) -> pytest.MarkDecorator:
    """Put the id of a row of the faults table into a test's id."""
    return pytest.mark.parametrize((), [pytest.param(id=name)])


class AheadClock:
    """The real clock, which a test may set ahead: nobody sleeps until an open circuit is due."""

    def __init__(self) -> None:
        self._real = SystemClock()
        self.ahead = 0.0
        self.wall_ahead = 0.0
        self.sleep = self._real.sleep

    def monotonic(self) -> float:
        return self._real.monotonic() + self.ahead

    def wall(self) -> float:
        return self._real.wall() + self.wall_ahead

    def timeout_at(self, deadline: float) -> TimeLimit:
        return self._real.timeout_at(deadline - self.ahead)


@dataclass(frozen=True, slots=True)
class Life:
    """A client, and what a user keeps beside it."""

    http: Any
    transport: Any
    pipeline: Pipeline

    def circuit(self, server: FaultyServer) -> dict[str, Any]:
        described: dict[str, Any] = self.pipeline.snapshot()["origins"][server.url]["circuit"]
        return described


@asynccontextmanager
async def life(
    family: FamilyModules,
    *servers: FaultyServer,
    pipeline: Pipeline | None = None,
    limits: int | None = None,
    transport: dict[str, Any] | None = None,
    client: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Life]:
    """A client on a pipeline of ``settings``, with at most ``limits`` connections.

    After the block no call may hold anything; after the client was closed no connection to any of ``servers`` and
    no task may be left.
    """
    before = running_tasks()
    made = pipeline or Pipeline(**{"retry": retry(), **settings})
    options: dict[str, Any] = {"verify": TRUSTS_NOBODY, **(transport or {})}
    if limits is not None:
        options["limits"] = family.http.Limits(max_connections=limits, max_keepalive_connections=limits)
    inside = family.holdfast.ResilientTransport(made, **options)
    async with family.http.AsyncClient(transport=inside, timeout=60.0, **(client or {})) as http:
        yield Life(http, inside, made)
        assert held(made) == {}
    for server in servers:
        await server.await_for(lambda server: server.connections_open == 0)
    assert running_tasks() == before


def held(pipeline: Pipeline) -> dict[str, int]:
    """What calls hold now: permits, probes, places in queues. Empty if there is nothing."""
    found: dict[str, int] = {}
    for key, origin in pipeline.snapshot()["origins"].items():
        for layer in ("circuit", "concurrency", "rate_limit"):
            for name in ("waiting", "in_flight", "in_use"):
                count = origin.get(layer, {}).get(name)
                if count:
                    found[f"{key} {layer} {name}"] = count
    return found


async def serves_at_once(http: Any, server: FaultyServer, count: int) -> None:
    """``count`` requests are on the wire at the same time, and all are answered: no place of the pool is lost."""
    gate = server.gate()
    server.on("/at-once", Held(gate))
    async with anyio.create_task_group() as calls:
        for _ in range(count):
            calls.start_soon(succeed, http, f"{server.url}/at-once")
        await all_at(gate, server, count)
        gate.open()


async def all_at(gate: Gate, server: FaultyServer, count: int) -> None:
    await server.await_for(lambda _: gate.waiting == count)


async def succeed(http: Any, url: str) -> None:
    response = await http.get(url)
    assert response.status_code == 200, response


class Steps:
    """Cancels scopes when the event loop has made so many steps more: at any await of a call, and no timer needed."""

    def __init__(self) -> None:
        self._now = 0
        self._order = itertools.count()
        self._due: list[tuple[int, int, anyio.CancelScope]] = []

    def cancel_after(self, steps: int) -> anyio.CancelScope:
        scope = anyio.CancelScope()
        heapq.heappush(self._due, (self._now + steps, next(self._order), scope))
        return scope

    async def run(self) -> None:
        """Count steps; to be cancelled."""
        while True:
            while self._due and self._due[0][0] <= self._now:
                heapq.heappop(self._due)[2].cancel()
            await anyio.lowlevel.checkpoint()
            self._now += 1


@asynccontextmanager
async def stepping() -> AsyncIterator[Steps]:
    steps = Steps()
    async with anyio.create_task_group() as driver:
        driver.start_soon(steps.run)
        yield steps
        driver.cancel_scope.cancel()


async def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Let the other tasks run until ``holds()``; TimeoutError after so long."""
    with anyio.fail_after(seconds):
        while not holds():
            await anyio.lowlevel.checkpoint()
