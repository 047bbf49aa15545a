"""Many callers, callbacks that raise, and the end of clients and loops (C03 to C30), over real sockets."""

from __future__ import annotations

import asyncio
import gc
import os
import traceback
import tracemalloc
from functools import partial
from typing import Any

import anyio
import pytest
import trio

import holdfast
from holdfast import CircuitBreaker, ConcurrencyLimit, Pipeline, RateLimit, Retry
from holdfast.testing.faulty import Answer, Close, Drip, FaultyServer, HalfBody, Held, InTurn, Never, Reset, Stream
from tests.conftest import modules_of
from tests.faults.lifetime import (
    OPEN_MAX,
    AheadClock,
    Life,
    all_at,
    held,
    life,
    of_row,
    serves_at_once,
    until,
)
from tests.faults.wire import HALF_READ, named, outcome, retry, stopwatch
from tests.support import FAMILY_NAMES, FamilyModules

pytestmark = [pytest.mark.anyio, HALF_READ]
BREAKER = CircuitBreaker(failures=3, open_for=40.0)


@pytest.fixture
def server(server: FaultyServer) -> FaultyServer:
    server.on("/down", Answer(503))
    return server


async def trip(on: Life, server: FaultyServer) -> None:
    """Open the circuit of ``server`` by its threshold of failures."""
    for _ in range(3):
        assert (await on.http.get(f"{server.url}/down")).status_code == 503
    assert on.circuit(server)["state"] == "open"


@pytest.mark.heavy
@pytest.mark.parametrize(
    "calls",
    [pytest.param(200, id="C03"), pytest.param(5000, id="C03-full", marks=pytest.mark.slow)],
)
async def test_all_calls_at_once_are_answered_over_20_connections(
    family: FamilyModules, server: FaultyServer, calls: int
) -> None:
    answered = 0
    async with life(family, server, limits=20, deadline=None) as on:

        async def call(number: int) -> None:
            nonlocal answered
            response = await on.http.get(f"{server.url}/{number}")
            answered += response.text == f"GET /{number}"

        with stopwatch() as watch:
            async with anyio.create_task_group() as tasks:
                for number in range(calls):
                    tasks.start_soon(call, number)
        assert (answered, server.count()) == (calls, calls)
        assert server.connections_opened <= 20
        assert watch.seconds < 0.1 * calls


@of_row("C05")
async def test_an_open_circuit_refuses_at_once_and_sends_nothing(family: FamilyModules, server: FaultyServer) -> None:
    async with life(family, server, retry=None, breaker=BREAKER) as on:
        await trip(on, server)
        with stopwatch() as watch:
            errors = [await outcome(on.http, "GET", f"{server.url}/down") for _ in range(100)]
        assert {type(error) for error in errors} == {named(family, "CircuitOpen")}
        assert watch.seconds / 100 < 0.1
        assert server.count() == 3
        assert isinstance(errors[0], family.http.TransportError)
        assert 0 < errors[0].retry_after <= 48.0


@pytest.mark.parametrize(
    "how", [pytest.param("cancel", id="C07-cancelled"), pytest.param("deadline", id="C07-timeout")]
)
async def test_calls_that_their_callers_ended_do_not_count(
    family: FamilyModules, server: FaultyServer, how: str
) -> None:
    server.on("/never", Never())
    options = {"holdfast": {"deadline": 0.1}} if how == "deadline" else {}
    async with life(family, server, retry=None, breaker=BREAKER) as on:
        async with anyio.create_task_group() as calls:
            for _ in range(6):
                calls.start_soon(partial(outcome, on.http, "GET", f"{server.url}/never", extensions=options))
            if how == "cancel":
                await server.await_for(lambda server: server.count() == 6)
                calls.cancel_scope.cancel()
        circuit = on.circuit(server)
        assert (circuit["state"], circuit["failures"], circuit["failures_in_a_row"]) == ("closed", 0, 0)
        assert (await on.http.get(f"{server.url}/up")).status_code == 200


@of_row("C08")
async def test_circuits_are_kept_by_origin_and_a_404_is_no_failure(family: FamilyModules, server: FaultyServer) -> None:
    with FaultyServer() as other:
        other.on("/missing", Answer(404))
        async with life(family, server, other, retry=None, breaker=BREAKER) as on:
            await trip(on, server)
            for _ in range(20):
                assert (await on.http.get(f"{other.url}/missing")).status_code == 404
            assert on.circuit(other)["state"] == "closed"
            assert type(await outcome(on.http, "GET", f"{server.url}/up")) is named(family, "CircuitOpen")


@pytest.mark.parametrize("hours", [pytest.param(-1, id="C10-back"), pytest.param(1, id="C10-ahead")])
async def test_the_wall_clock_has_no_say_in_when_a_circuit_recovers(
    family: FamilyModules, server: FaultyServer, hours: int
) -> None:
    clock = AheadClock()
    async with life(family, server, retry=None, breaker=BREAKER, clock=clock) as on:
        await trip(on, server)
        clock.wall_ahead += hours * 3600
        refused = await outcome(on.http, "GET", f"{server.url}/up")
        assert type(refused) is named(family, "CircuitOpen")
        assert refused.retry_after <= 48.0
        clock.ahead += refused.retry_after
        assert (await on.http.get(f"{server.url}/up")).status_code == 200


@of_row("C11")
async def test_each_refusal_is_a_fresh_error_and_no_traceback_grows(
    family: FamilyModules, server: FaultyServer
) -> None:
    async with life(family, server, retry=None, breaker=BREAKER) as on:
        await trip(on, server)
        errors = [await outcome(on.http, "GET", f"{server.url}/up") for _ in range(500)]
        assert len(set(map(id, errors))) == 500
        assert len({len(list(traceback.walk_tb(error.__traceback__))) for error in errors}) == 1
        assert {error.__cause__.__traceback__ for error in errors} == {None}
        assert server.count() == 3


@pytest.mark.parametrize(
    ("fault", "settings"),
    [
        pytest.param(HalfBody(100, 40), {}, id="C12-cut"),
        pytest.param(HalfBody(100, 40), {"buffer_body": False}, id="C12-cut-streamed"),
        pytest.param(HalfBody(100, 40, reset=True), {}, id="C12-reset"),
        pytest.param(Drip(bytes(50), every=60.0), {"attempt_timeout": 0.1}, id="C12-body-timeout"),
        pytest.param(
            InTurn(Drip(bytes(50), every=60.0)),
            {"attempt_timeout": 0.1, "buffer_body": False},
            id="C12-body-timeout-streamed",
        ),
    ],
)
async def test_bodies_that_fail_count_as_failures(
    family: FamilyModules, server: FaultyServer, fault: Any, settings: dict[str, Any]
) -> None:
    server.on("/half-body", fault)
    async with life(family, server, retry=None, breaker=CircuitBreaker(failures=6), **settings) as on:
        for _ in range(6):
            assert isinstance(await outcome(on.http, "GET", f"{server.url}/half-body"), family.http.TransportError)
        assert on.circuit(server)["state"] == "open"
        assert server.count() <= 6  # a stalled machine may end an attempt before the origin has seen it


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"concurrency": ConcurrencyLimit(1)}, id="C13-permit"),
        pytest.param({"concurrency": None}, id="C13-connection"),
        pytest.param({"rate_limit": RateLimit(1, per=3600.0, burst=1), "deadline": None}, id="C13-token"),
        pytest.param({"rate_limit": RateLimit(20, per=3600.0, burst=20), "concurrency": None}, id="C13-retry"),
    ],
)
async def test_closing_names_itself_to_calls_that_wait(
    family: FamilyModules, server: FaultyServer, settings: dict[str, Any]
) -> None:
    gate = server.gate()
    server.on("/held", Held(gate))
    got: list[Any] = []
    patience = {"deadline": 120.0, "attempt_timeout": 110.0}
    async with life(family, server, limits=1, **{**patience, **settings}) as on:

        async def call() -> None:
            got.append(await outcome(on.http, "GET", f"{server.url}/held"))

        async with anyio.create_task_group() as calls:
            for _ in range(5):
                calls.start_soon(call)
            await all_at(gate, server, 1)
            await anyio.wait_all_tasks_blocked()
            with stopwatch() as watch:
                await on.transport.aclose()
                await until(lambda: len(got) >= 4)
            assert watch.seconds < 20.0
            await on.transport.aclose()  # twice is safe
            gate.open()
        refused = [error for error in got if type(error) is named(family, "Closed")]
        assert len(refused) >= 4
        assert all(isinstance(error, family.http.TransportError) for error in got)
        assert type(await outcome(on.http, "GET", f"{server.url}/late")) is named(family, "Closed")
        assert server.count() == 1


@of_row("C13-probe")
async def test_closing_names_itself_to_calls_that_wait_for_a_probe(family: FamilyModules, server: FaultyServer) -> None:
    clock, got = AheadClock(), []
    server.on("/never", Never())
    breaker = CircuitBreaker(failures=3, probe_wait=120.0)
    patience: dict[str, Any] = {"deadline": None, "attempt_timeout": 120.0}
    async with life(family, server, retry=None, breaker=breaker, clock=clock, **patience) as on:
        await trip(on, server)
        clock.ahead += OPEN_MAX

        async def call() -> None:
            got.append(await outcome(on.http, "GET", f"{server.url}/never"))

        async with anyio.create_task_group() as calls:
            for _ in range(5):
                calls.start_soon(call)
            await server.await_for(lambda server: server.count("/never") == 1)
            await until(lambda: on.circuit(server)["waiting"] == 4)
            with stopwatch() as watch:
                await on.transport.aclose()
                await until(lambda: len(got) == 5)
            assert watch.seconds < 20.0
        assert sum(type(error) is named(family, "Closed") for error in got) >= 4
        assert server.count("/never") == 1


@pytest.mark.parametrize("streams", [pytest.param(False, id="C13-drain"), pytest.param(True, id="C13-drain-bodies")])
async def test_a_drain_lets_running_calls_end_and_refuses_new_ones(
    family: FamilyModules, server: FaultyServer, streams: bool
) -> None:
    gate, got, ended = server.gate(), [], anyio.Event()
    answer = Answer(body=bytes(300 * 1024))
    server.on("/held", InTurn(Held(gate, Stream(bytes(1000), times=50))) if streams else Held(gate, answer))

    async def call(on: Life) -> None:
        async with on.http.stream("GET", f"{server.url}/held") as response:
            got.append(len(await response.aread()))

    async with life(family, server) as on:

        async def close() -> None:
            await on.transport.aclose(drain=60.0)
            ended.set()

        async with anyio.create_task_group() as calls:
            for _ in range(5):
                calls.start_soon(call, on)
            await all_at(gate, server, 5)
            calls.start_soon(close)
            await anyio.wait_all_tasks_blocked()
            assert not ended.is_set()
            refused = await outcome(on.http, "GET", f"{server.url}/new")
            assert type(refused) is named(family, "Closed")
            gate.open()
        assert ended.is_set()
        assert got == [50_000 if streams else 300 * 1024] * 5
        assert server.count() == 5


async def test_who_closes_in_a_hurry_ends_the_wait_of_who_lets_calls_end(family: FamilyModules) -> None:
    closed = 0

    class Inner(family.http.AsyncBaseTransport):  # type: ignore[misc, name-defined]  # a base known at run time only
        async def handle_async_request(self, request: Any) -> Any:
            await anyio.sleep_forever()

        async def aclose(self) -> None:
            nonlocal closed
            closed += 1

    transport = family.holdfast.ResilientTransport(Pipeline(deadline=None, attempt_timeout=None), inner=Inner())
    with anyio.fail_after(30.0):
        async with anyio.create_task_group() as tasks:
            http = family.http.AsyncClient(transport=transport, timeout=None)
            tasks.start_soon(http.get, "http://api.test/")
            await anyio.wait_all_tasks_blocked()
            async with anyio.create_task_group() as closing:
                closing.start_soon(partial(transport.aclose, drain=60.0))
                await anyio.wait_all_tasks_blocked()
                await http.aclose()
            tasks.cancel_scope.cancel()
    assert closed == 1


async def test_closing_again_closes_what_a_cancelled_close_left_open(family: FamilyModules) -> None:
    told: list[str] = []

    class Inner(family.http.AsyncBaseTransport):  # type: ignore[misc, name-defined]  # a base known at run time only
        async def aclose(self) -> None:
            told.append("begins")
            if len(told) == 1:
                await anyio.sleep_forever()
            told.append("ends")

    transport = family.holdfast.ResilientTransport(inner=Inner())
    async with anyio.create_task_group() as closing:
        closing.start_soon(transport.aclose)
        await anyio.wait_all_tasks_blocked()
        await transport.aclose()  # somebody is at it
        closing.cancel_scope.cancel()
    for _ in range(2):
        await transport.aclose()
        assert told == ["begins", "begins", "ends"]


@of_row("C13-streams")
async def test_closing_ends_bodies_that_are_being_read(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/stalls", Drip(bytes(400_000), every=60.0))
    errors: list[Exception] = []
    read = 0
    async with life(family, server) as on:

        async def call() -> None:
            nonlocal read
            try:
                async with on.http.stream("GET", f"{server.url}/stalls") as response:
                    async for chunk in response.aiter_raw():
                        read += len(chunk)
            except family.http.TransportError as error:  # the library's own name for it
                errors.append(error)

        async with anyio.create_task_group() as calls:
            for _ in range(3):
                calls.start_soon(call)
            await until(lambda: read == 3)
            with anyio.fail_after(30.0):
                await on.transport.aclose()
        assert len(errors) == 3
        assert server.count() == 3


@of_row("C14")
# A loop that is closed under a kept connection leaves its socket to the collector.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
def test_a_client_serves_one_event_loop_after_another(family: FamilyModules, server: FaultyServer) -> None:
    transport = family.holdfast.ResilientTransport(Pipeline(rate_limit=RateLimit(1000, per=1.0)))
    http = family.http.AsyncClient(transport=transport)

    async def calls() -> None:
        for _ in range(2):
            assert (await http.get(f"{server.url}/up")).status_code == 200

    asyncio.run(calls())
    asyncio.run(calls())
    trio.run(calls)
    trio.run(http.aclose)
    gc.collect()


@of_row("C15")
async def test_a_response_dropped_unclosed_warns_and_gives_its_connection_back(
    family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/stream", Stream(b"x", every=0.01))
    async with life(family, server, limits=1, concurrency=ConcurrencyLimit(1)) as on:
        request = on.http.build_request("GET", f"{server.url}/stream")
        response = await on.http.send(request, stream=True)
        assert held(on.pipeline) != {}
        held_by = [response]
        del response
        with pytest.warns(ResourceWarning, match="without being closed"):
            collect(held_by)
        assert held(on.pipeline) == {}
        await serves_at_once(on.http, server, 1)


def collect(dropped: list[Any]) -> None:
    dropped.clear()
    gc.collect()  # httpx's response stands in a cycle


@of_row("C17")
async def test_a_response_hook_that_raises_leaves_its_connection_usable(
    family: FamilyModules, server: FaultyServer
) -> None:
    async def check(response: Any) -> None:
        if response.request.url.path == "/hooked":
            raise LookupError("the user's own")

    server.on("/hooked", Answer(body=bytes(300 * 1024)))
    hooks = {"event_hooks": {"response": [check]}}
    async with life(family, server, limits=1, client=hooks, concurrency=ConcurrencyLimit(1)) as on:
        for _ in range(5):
            assert type(await outcome(on.http, "GET", f"{server.url}/hooked")) is LookupError
        await serves_at_once(on.http, server, 1)


@of_row("C19-attempts")
async def test_each_attempt_takes_a_token_and_a_permit(family: FamilyModules, server: FaultyServer) -> None:
    settings: dict[str, Any] = {"rate_limit": RateLimit(1, per=1e9, burst=100), "concurrency": ConcurrencyLimit(2)}
    async with life(family, server, breaker=None, budget=None, **settings) as on:
        async with anyio.create_task_group() as calls:
            for _ in range(10):
                calls.start_soon(outcome, on.http, "GET", f"{server.url}/down")
        assert server.count() == 30
        assert server.peak_in_flight <= 2
        assert round(on.pipeline.snapshot()["origins"][server.url]["rate_limit"]["tokens"]) == 70


@of_row("C19-waiters")
async def test_cancelled_waiters_take_no_token(family: FamilyModules, server: FaultyServer) -> None:
    clock = AheadClock()
    settings: dict[str, Any] = {"rate_limit": RateLimit(1, per=3600.0, burst=1), "concurrency": ConcurrencyLimit(300)}
    async with life(family, server, deadline=None, clock=clock, **settings) as on:
        assert (await on.http.get(f"{server.url}/first")).status_code == 200
        async with anyio.create_task_group() as calls:
            for _ in range(200):
                calls.start_soon(outcome, on.http, "GET", f"{server.url}/waits")
            await until(lambda: on.pipeline.snapshot()["origins"][server.url]["rate_limit"]["waiting"] == 200)
            calls.cancel_scope.cancel()
        assert held(on.pipeline) == {}
        clock.ahead += 3600.0
        with anyio.fail_after(30.0):
            assert (await on.http.get(f"{server.url}/next")).status_code == 200
        assert server.count() == 2


@of_row("C22")
async def test_a_backoff_holds_no_connection_and_no_permit(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/wait", Answer(503, headers=(("retry-after", "20"),), body=bytes(2000)))
    # With pacing, what the server asks for would hold back the second caller too.
    async with life(family, server, limits=1, concurrency=ConcurrencyLimit(1), pacing=None) as on:
        async with anyio.create_task_group() as calls:
            calls.start_soon(outcome, on.http, "GET", f"{server.url}/wait")
            await server.await_for(lambda server: server.count("/wait") == 1 and server.in_flight == 0)
            with anyio.fail_after(10.0):
                await serves_at_once(on.http, server, 1)
            calls.cancel_scope.cancel()
        assert server.count("/wait") == 1


@of_row("C23")
async def test_a_mixed_run_leaves_no_task_no_error_and_no_descriptor(
    family: FamilyModules, server: FaultyServer, anyio_backend: str
) -> None:
    complaints: list[dict[str, Any]] = []
    if anyio_backend == "asyncio":
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    server.on("/half", HalfBody(100, 40))
    server.on("/close", Close())
    server.on("/reset", Reset())
    server.on("/slow", Answer(delay=0.02))
    server.on("/never", Never())
    server.on("/large", Answer(body=bytes(400_000)))
    await server.await_for(lambda server: True)  # the thread that waits stays
    before = descriptors()
    async with life(family, server, limits=10, breaker=None) as on, anyio.create_task_group() as calls:
        for path in ("/half", "/close", "/reset", "/slow", "/never", "/large", "/down", "/fine"):
            for method in ("GET", "POST"):
                options = {"holdfast": {"deadline": 0.5}}
                for _ in range(2):
                    calls.start_soon(partial(outcome, on.http, method, server.url + path, extensions=options))
    gc.collect()
    await until(lambda: descriptors() <= before)
    assert complaints == []


def descriptors() -> int:
    """Open file descriptors of this process; the server's ends of connections are among them."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.mark.parametrize(
    ("paths", "most"),
    [pytest.param(300, 2, id="C26"), pytest.param(10_000, 24, id="C26-full", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_many_paths_take_no_memory_with_them(
    family: FamilyModules, server: FaultyServer, paths: int, most: int
) -> None:
    async with life(family, server, limits=10, rate_limit=RateLimit(10**6, per=1.0)) as on:
        await on.http.get(f"{server.url}/warm")
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(paths):
                await on.http.get(f"{server.url}/ok/{number}")
                if number % 1000 == 999:
                    server.reset_counts()  # it remembers what it received
            server.reset_counts()
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert grown < most * 1024 * 1024
        assert list(on.pipeline.snapshot()["origins"]) == [server.url]


def _raise(*arguments: Any) -> Any:
    raise LookupError("the user's own")


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        pytest.param({"hooks": [_raise]}, LookupError, id="C30-hook"),
        pytest.param({"retry": Retry(retry_if=_raise)}, LookupError, id="C30-retry_if"),
        pytest.param({"retry": Retry(retry=_raise)}, LookupError, id="C30-retry"),
        pytest.param({"retry": Retry(wait=_raise, wait_throttled=_raise)}, LookupError, id="C30-wait"),
        pytest.param({"retry": Retry(stop=_raise, wait=lambda _: 0.0)}, LookupError, id="C30-stop"),
        pytest.param({"breaker": CircuitBreaker(key=_raise)}, holdfast.InvalidOption, id="C30-breaker-key"),
        pytest.param({"rate_limit": RateLimit(100, per=1.0, key=_raise)}, holdfast.InvalidOption, id="C30-rate-key"),
    ],
)
async def test_a_callback_that_raises_ends_its_call_and_corrupts_nothing(
    family: FamilyModules, server: FaultyServer, settings: dict[str, Any], error: type[Exception]
) -> None:
    server.on("/large", Answer(503, body=bytes(300 * 1024)))
    limits: dict[str, Any] = {"limits": 1, "concurrency": ConcurrencyLimit(1), "buffer_body": False}
    async with life(family, server, **{**limits, **settings}) as on:
        for path in ("/large", "/large", "/fine"):
            got = await outcome(on.http, "GET", server.url + path)
            assert isinstance(got, error) or (path == "/fine" and got.status_code == 200), repr(got)
        assert held(on.pipeline) == {}
        await server.await_for(lambda server: server.in_flight == 0)


@of_row("C30-listener")
async def test_a_listener_that_raises_is_dropped_and_its_call_goes_on(
    family: FamilyModules, server: FaultyServer
) -> None:
    clock = AheadClock()
    async with life(family, server, retry=None, breaker=BREAKER, clock=clock) as on:
        on.pipeline.circuits.on_transition = _raise
        await trip(on, server)
        clock.ahead += OPEN_MAX
        assert (await on.http.get(f"{server.url}/up")).status_code == 200


async def test_clients_of_both_families_share_the_circuits_of_one_pipeline(server: FaultyServer) -> None:
    one, other = (modules_of(name) for name in FAMILY_NAMES)
    shared = Pipeline(retry=None, breaker=BREAKER)
    async with (
        one.http.AsyncClient(transport=one.holdfast.ResilientTransport(shared)) as first,
        other.http.AsyncClient(transport=other.holdfast.ResilientTransport(shared)) as second,
    ):
        for http in (first, second, first):
            await http.get(f"{server.url}/down")
        for http, family in ((first, one), (second, other)):
            refused = await outcome(http, "GET", f"{server.url}/up")
            assert isinstance(refused, holdfast.CircuitOpen)
            assert isinstance(refused, family.http.TransportError)
        assert server.count() == 3
        shared.circuits.reset(server.url)
        assert (await second.get(f"{server.url}/up")).status_code == 200


async def test_each_api_has_a_pipeline_of_its_own_and_the_longest_prefix_wins(
    family: FamilyModules, server: FaultyServer
) -> None:
    alone: dict[str, Any] = {"breaker": None, "budget": None}
    with FaultyServer() as elsewhere:
        for place in (server, elsewhere):
            place.default(Answer(503))
        pipelines: Any = Pipeline.by_origin(
            {
                server.url: Pipeline(retry=retry(2), **alone),
                f"{server.url}/v3/": Pipeline(retry=retry(4), **alone),
            },
            default=Pipeline(retry=None),
        )
        async with life(family, server, elsewhere, pipeline=pipelines) as on:
            for url, attempts in (
                (f"{server.url}/v2/things", 2),
                (f"{server.url}/v3/things", 4),
                (f"{server.url}/v3", 4),
                (f"{server.url}/v33", 2),
                (f"{elsewhere.url}/v3/things", 1),
            ):
                before = server.count() + elsewhere.count()
                await on.http.get(url)
                assert server.count() + elsewhere.count() - before == attempts, url
            beside = f"{server.url} ({server.url}/v3/)"
            assert set(pipelines.snapshot()["origins"]) == {server.url, beside, elsewhere.url}


@pytest.mark.parametrize(
    ("prefix", "url", "meant"),
    [
        ("https://api.test", "https://api.test/x", True),
        ("HTTPS://API.test:443/v3/", "https://api.test/v3", True),
        ("https://api.test/v3", "https://api.test/v33", False),
        ("https://api.test", "http://api.test/", False),
        ("http://[::1]:80", "http://[::1]/", True),
        ("https://bücher.test", "https://xn--bcher-kva.test/", True),
        ("https://xn--bcher-kva.test", "https://bücher.test/", True),
        ("https://api.bücher.test", "https://api.xn--bcher-kva.test/", True),
        ("https://api.xn--bcher-kva.test", "https://api.bücher.test/", True),
        ("https://api.test/ü b", "https://api.test/%C3%BC%20b/1", True),
        ("https://api.test/%C3%BC%20b", "https://api.test/ü b/1", True),
    ],
)
def test_a_prefix_is_meant_however_it_is_written(family: FamilyModules, prefix: str, url: str, meant: bool) -> None:
    pipelines = Pipeline.by_origin({prefix: (own := Pipeline())})
    assert (pipelines.choose(family.http.URL(url)) is own) == meant
