"""Half-open and the ramp over real sockets: one probe, then no more than the origin can bear (C06, C28)."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from holdfast import CircuitBreaker
from holdfast.testing.faulty import Answer, AtMost, FaultyServer, Held, Never
from tests.faults.lifetime import OPEN_MAX, AheadClock, Life, all_at, life, of_row, until
from tests.faults.wire import named, outcome
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
CALLERS = 100
PATIENT = CircuitBreaker(failures=3, probe_wait=120.0)
"""Callers wait for the verdict as long as this machine may need for it."""


async def break_circuit(on: Life, server: FaultyServer, clock: AheadClock) -> None:
    """Open the circuit of ``server``, and let its open time pass."""
    server.on("/down", Answer(503))
    for _ in range(3):
        assert (await on.http.get(f"{server.url}/down")).status_code == 503
    assert on.circuit(server)["state"] == "open"
    server.reset_counts()
    clock.ahead += 2 * OPEN_MAX


@pytest.mark.heavy
@of_row("C06-one-probe")
async def test_one_request_is_on_the_wire_until_the_verdict(family: FamilyModules, server: FaultyServer) -> None:
    clock, gate = AheadClock(), server.gate()
    got: list[Any] = []
    async with life(family, server, retry=None, breaker=PATIENT, clock=clock, deadline=None) as on:
        await break_circuit(on, server, clock)
        server.on("/up", Held(gate))

        async def call() -> None:
            got.append(await outcome(on.http, "GET", f"{server.url}/up"))

        async with anyio.create_task_group() as calls:
            for _ in range(CALLERS):
                calls.start_soon(call)
            await all_at(gate, server, 1)
            await until(lambda: on.circuit(server)["waiting"] == CALLERS - 1)
            assert (server.count(), on.circuit(server)["in_flight"]) == (1, 1)
            gate.open()
        assert [answer.status_code for answer in got] == [200] * CALLERS
        assert server.count() == CALLERS


def waits(on: Life, server: FaultyServer, callers: int) -> bool:
    return bool(on.circuit(server)["waiting"] == callers)


def has_seen(requests: int, server: FaultyServer) -> bool:
    return server.count() == requests


@pytest.mark.heavy
@of_row("C28-probe-cancelled")
async def test_a_cancelled_probe_is_followed_by_one_other(family: FamilyModules, server: FaultyServer) -> None:
    clock, gate, rounds = AheadClock(), server.gate(), 5
    got: list[Any] = []
    scopes = [anyio.CancelScope() for _ in range(CALLERS)]
    async with life(family, server, retry=None, breaker=PATIENT, clock=clock, deadline=None) as on:
        await break_circuit(on, server, clock)
        server.on("/up", Held(gate))

        async def call(scope: anyio.CancelScope) -> None:
            with scope:
                got.append(await outcome(on.http, "GET", f"{server.url}/up"))

        async with anyio.create_task_group() as calls:
            for number, scope in enumerate(scopes):
                calls.start_soon(call, scope)
                await until(lambda: on.circuit(server)["in_flight"] == 1)
                await until(partial(waits, on, server, number))  # first come, first served
            await all_at(gate, server, 1)
            for number in range(rounds):
                assert (server.count(), on.circuit(server)["in_flight"]) == (number + 1, 1)
                scopes[number].cancel()
                await server.await_for(partial(has_seen, number + 2))
            assert on.circuit(server)["state"] == "half_open"
            await all_at(gate, server, 1)
            assert (server.count(), server.in_flight) == (rounds + 1, 1)
            gate.open()
        assert [answer.status_code for answer in got] == [200] * (CALLERS - rounds)


@of_row("C28-probe-hangs")
async def test_a_probe_that_hangs_loses_its_place_with_its_lease(family: FamilyModules, server: FaultyServer) -> None:
    clock = AheadClock()
    server.on("/never", Never())
    breaker = CircuitBreaker(failures=3, lease=20.0)
    async with life(family, server, retry=None, breaker=breaker, clock=clock) as on:
        await break_circuit(on, server, clock)
        async with anyio.create_task_group() as calls:
            calls.start_soon(outcome, on.http, "GET", f"{server.url}/never")
            await server.await_for(lambda server: server.in_flight == 1)
            clock.ahead += 20.0
            assert (await on.http.get(f"{server.url}/up")).status_code == 200
            calls.cancel_scope.cancel()
        assert on.circuit(server)["state"] == "ramping"  # a probe that lost its place has no say any more


@of_row("C28-probe-fails")
async def test_a_failed_probe_refuses_those_who_waited(family: FamilyModules, server: FaultyServer) -> None:
    clock, gate = AheadClock(), server.gate()
    got: list[Any] = []
    async with life(family, server, retry=None, breaker=PATIENT, clock=clock) as on:
        await break_circuit(on, server, clock)
        server.on("/up", Held(gate, Answer(503)))

        async def call() -> None:
            got.append(await outcome(on.http, "GET", f"{server.url}/up"))

        async with anyio.create_task_group() as calls:
            for _ in range(CALLERS):
                calls.start_soon(call)
            await all_at(gate, server, 1)
            await until(lambda: on.circuit(server)["waiting"] == CALLERS - 1)
            gate.open()
        assert server.count() == 1
        refused: list[Any] = [answer for answer in got if isinstance(answer, Exception)]
        assert len(refused) == CALLERS - 1
        for error in refused:
            assert type(error) is named(family, "CircuitOpen")
            assert error.retry_after > 0


@of_row("C06-fragile-origin")
@pytest.mark.heavy
async def test_an_origin_that_takes_8_gets_its_load_back_with_few_failures(
    family: FamilyModules, server: FaultyServer
) -> None:
    clock, callers, each = AheadClock(), 60, 5
    good = bad = 0
    fragile = AtMost(8, then=Answer(delay=0.02), otherwise=Answer(503))
    async with life(family, server, retry=None, breaker=PATIENT, clock=clock) as on:
        await break_circuit(on, server, clock)
        server.on("/up", fragile)

        async def caller() -> None:
            nonlocal good, bad
            for _ in range(each):
                answer = await outcome(on.http, "GET", f"{server.url}/up")
                if isinstance(answer, Exception) or answer.status_code != 200:
                    bad += 1
                else:
                    good += 1

        async with anyio.create_task_group() as calls:
            for _ in range(callers):
                calls.start_soon(caller)
        assert good + bad == callers * each
        assert bad < 0.05 * callers * each, f"{bad} of {callers * each} calls failed"
