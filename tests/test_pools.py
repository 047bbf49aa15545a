"""The small pools over real sockets: who gets a connection, who waits, and what is closed when."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import ssl
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import trustme

from holdfast import errors
from holdfast.pools import PoolLimits, Pools, leftover
from holdfast.pools.ledger import Key, Lane, Ledger
from holdfast.pools.leftover import holds_records
from holdfast.testing.clock import VirtualClock
from holdfast.testing.faulty import (
    Answer,
    Behaviour,
    EachConnection,
    Exchange,
    FaultyServer,
    HalfBody,
    Held,
    InTurn,
    Never,
    Raw,
    Reset,
    Stream,
    StreamReset,
    Upgrade,
)
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
TWO_IN_ONE = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood" + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        yield server


def secure_server(authority: trustme.CA, *, alpn: list[str]) -> FaultyServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.set_alpn_protocols(alpn)
    return FaultyServer(ssl_context=context, http2="h2" in alpn)


@dataclass(frozen=True, slots=True)
class TwoRecords(Behaviour):
    """Two whole responses in two writes, so over TLS in two records."""

    async def play(self, exchange: Exchange) -> None:
        half = len(TWO_IN_ONE) // 2
        await exchange.raw(TWO_IN_ONE[:half])
        await exchange.raw(TWO_IN_ONE[half:])
        exchange.settle()


class Wire:
    """A client without a client: pools of one family, and requests as an AsyncClient would hand them down."""

    def __init__(
        self,
        family: FamilyModules,
        *,
        connections: int | None = 100,
        kept: int | None = 20,
        verify: ssl.SSLContext | None = None,
        http1: bool = True,
        http2: bool = False,
        clock: VirtualClock | None = None,
    ) -> None:
        self.http = family.http
        self.family = family.holdfast.FAMILY
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if verify is None else verify
        one = self.http.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
        self.made = 0

        def make() -> Any:
            self.made += 1
            return self.http.AsyncHTTPTransport(verify=context, limits=one, http1=http1, http2=http2, trust_env=False)

        self.pools: Pools[Any, Any] = Pools(
            make,
            family=self.family,
            limits=PoolLimits(connections=connections, kept=kept),
            http1=http1,
            http2=http2,
            clock=clock,
        )

    async def __aenter__(self) -> Wire:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.pools.aclose()

    async def send(self, url: str, *, pool: float | None = 60.0, method: str = "GET", **extensions: Any) -> Any:
        timeout = {"connect": 60.0, "read": 60.0, "write": 60.0, "pool": pool}
        request = self.http.Request(method, url, extensions={"timeout": timeout, **extensions})
        return await self.pools.handle_async_request(request)

    async def get(self, url: str, **options: Any) -> bytes:
        response = await self.send(url, **options)
        try:
            body: bytes = await response.aread()
        finally:
            await response.aclose()
        return body

    def is_at_rest(self) -> bool:
        """True if no slot is taken and nobody waits."""
        here = self.pools._here
        return here is None or (here.ledger.taken == 0 and not len(here.line) and not here.scouts)


A, B = ("http", "a", 80), ("http", "b", 80)


def busy(ledger: Ledger[str], key: Key, wire: str) -> Lane[str]:
    """A lane as a caller gets one: under a slot, a kept one if there is any."""
    assert ledger.claim()
    return ledger.reuse(key) or ledger.open(key, wire)


def test_the_lane_used_last_is_used_next() -> None:
    ledger: Ledger[str] = Ledger(PoolLimits())
    lanes = [busy(ledger, A, wire) for wire in ("first", "second")]
    for lane in lanes:
        ledger.finish(lane, 0.0, reusable=True)
    assert busy(ledger, A, "new").wire == "second"
    assert busy(ledger, A, "new").wire == "first"
    assert busy(ledger, A, "new").wire == "new"
    assert busy(ledger, B, "other").wire == "other"


def test_busy_and_idle_lanes_together_stay_within_the_cap() -> None:
    ledger: Ledger[str] = Ledger(PoolLimits(connections=2))
    first, second = busy(ledger, A, "first"), busy(ledger, A, "second")
    assert not ledger.claim()
    ledger.finish(first, 1.0, reusable=True)
    assert ledger.claim()
    assert ledger.reuse(B) is None
    assert ledger.in_the_way() is first
    assert ledger.in_the_way() is None
    third = ledger.open(B, "third")
    assert ledger.lanes == {second, third}
    assert not ledger.claim()


@pytest.mark.parametrize(("kept", "closed"), [(0, ["1", "2", "3"]), (2, ["1"]), (None, [])])
def test_idle_lanes_beyond_the_limit_are_named_the_oldest_first(kept: int | None, closed: list[str]) -> None:
    ledger: Ledger[str] = Ledger(PoolLimits(kept=kept))
    lanes = [busy(ledger, A, wire) for wire in ("1", "2", "3")]
    named = [ledger.finish(lane, 0.0, reusable=True) for lane in lanes]
    assert [lane.wire for lane in named if lane is not None] == closed
    assert ledger.taken == 0
    assert len(ledger.lanes) == ledger.idle == 3 - len(closed)


def test_lanes_expire_in_the_order_in_which_they_became_idle() -> None:
    ledger: Ledger[str] = Ledger(PoolLimits(keep_for=5.0))
    early, late = busy(ledger, A, "early"), busy(ledger, B, "late")
    ledger.finish(early, 10.0, reusable=True)
    ledger.finish(late, 12.0, reusable=True)
    assert ledger.expired(15.0) == []
    assert ledger.expired(15.1) == [early]
    assert ledger.expired(18.0) == [late]
    assert not ledger.lanes


def test_a_lane_that_may_not_be_reused_is_named_and_forgotten() -> None:
    ledger: Ledger[str] = Ledger(PoolLimits())
    lane = busy(ledger, A, "broken")
    assert ledger.finish(lane, 0.0, reusable=False) is lane
    assert ledger.reuse(A) is None
    assert (ledger.taken, ledger.idle, ledger.lanes) == (0, 0, set())


def test_distrust_of_an_origin_spares_the_others() -> None:
    ledger: Ledger[str] = Ledger(PoolLimits())
    lanes = [busy(ledger, A, "1"), busy(ledger, A, "2"), busy(ledger, B, "3")]
    for lane in lanes:
        ledger.finish(lane, 0.0, reusable=True)
    assert ledger.distrusted(A) == lanes[:2]
    assert ledger.lanes == {lanes[2]}


def test_a_shared_lane_holds_one_slot_for_all_of_its_streams() -> None:
    ledger: Ledger[str] = Ledger(PoolLimits(connections=1))
    lane = busy(ledger, A, "h2")
    assert ledger.join(A) is None
    ledger.share(lane)
    assert ledger.join(A) is lane
    assert ledger.join(B) is None
    assert (lane.streams, ledger.taken) == (2, 1)
    assert ledger.finish(lane, 0.0, reusable=True) is None
    assert ledger.taken == 1
    assert ledger.finish(lane, 0.0, reusable=True) is None
    assert (ledger.taken, ledger.idle) == (0, 1)
    assert ledger.join(A) is None  # an idle one needs a slot again
    assert busy(ledger, A, "new") is lane
    assert ledger.join(A) is lane


def test_a_retired_shared_lane_ends_with_its_last_stream() -> None:
    ledger: Ledger[str] = Ledger(PoolLimits())
    lane = busy(ledger, A, "h2")
    ledger.share(lane)
    assert ledger.join(A) is lane
    assert ledger.finish(lane, 0.0, reusable=False) is None
    assert ledger.join(A) is None
    assert ledger.finish(lane, 0.0, reusable=True) is lane
    assert ledger.taken == 0


def test_a_second_shared_lane_to_an_origin_retires() -> None:
    ledger: Ledger[str] = Ledger(PoolLimits())
    first, second = busy(ledger, A, "1"), busy(ledger, A, "2")
    ledger.share(first)
    ledger.share(second)
    assert ledger.join(A) is first
    assert ledger.finish(second, 0.0, reusable=True) is second


@pytest.mark.parametrize("wrong", [{"connections": 0}, {"kept": -1}, {"keep_for": -0.1}, {"keep_for": math.nan}])
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        PoolLimits(**wrong)


async def test_calls_in_turn_use_one_connection(family: FamilyModules, server: FaultyServer) -> None:
    async with Wire(family) as wire:
        for number in range(20):
            assert await wire.get(f"{server.url}/{number}") == f"GET /{number}".encode()
    assert server.connections_opened == 1


async def test_calls_at_once_stay_within_the_cap_and_all_are_answered(
    family: FamilyModules, server: FaultyServer
) -> None:
    gate = server.gate()
    server.default(Held(gate))
    async with Wire(family, connections=5) as wire, anyio.create_task_group() as tasks:
        for number in range(40):
            tasks.start_soon(wire.get, f"{server.url}/{number}")
        await server.await_for(lambda server: server.in_flight == 5)
        assert wire.pools.snapshot() == {"connections": 5, "idle": 0, "waiting": 35}
        gate.open()
    assert server.count() == 40
    assert server.connections_opened == 5
    assert server.peak_in_flight == 5


async def test_the_line_is_first_come_first_served(family: FamilyModules, server: FaultyServer) -> None:
    gate = server.gate()
    server.default(Held(gate))
    async with Wire(family, connections=1) as wire, anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(wire.get, f"{server.url}/{number}")
            await anyio.wait_all_tasks_blocked()
        gate.open()
    assert [request.path for request in server.requests] == [f"/{number}" for number in range(10)]


async def test_idle_connections_beyond_the_limit_are_closed_at_once(
    family: FamilyModules, server: FaultyServer
) -> None:
    gate = server.gate()
    server.default(Held(gate))
    async with Wire(family, kept=2) as wire:
        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(wire.get, f"{server.url}/{number}")
            await server.await_for(lambda server: server.in_flight == 8)
            gate.open()
        assert wire.pools.snapshot() == {"connections": 2, "idle": 2, "waiting": 0}
        await server.await_for(lambda server: server.connections_open == 2)


async def test_an_idle_connection_expires(family: FamilyModules, server: FaultyServer) -> None:
    clock = VirtualClock()
    async with Wire(family, clock=clock) as wire:
        await wire.get(server.url)
        await clock.advance(5.1)
        with FaultyServer() as other:
            await wire.get(other.url)
            await server.await_for(lambda server: server.connections_open == 0)
            assert wire.pools.snapshot()["connections"] == 1


async def test_at_the_cap_an_idle_connection_of_another_origin_makes_room(
    family: FamilyModules, server: FaultyServer
) -> None:
    async with Wire(family, connections=1) as wire:
        with FaultyServer() as other:
            for _ in range(3):
                await wire.get(server.url)
                await wire.get(other.url)
        assert wire.made == 6
    assert server.connections_opened == 3


async def test_the_wait_in_the_line_is_bounded_by_the_pool_timeout(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/never", Never())
    clock = VirtualClock()
    async with Wire(family, connections=1, clock=clock) as wire, anyio.create_task_group() as tasks:
        tasks.start_soon(wire.get, f"{server.url}/never")
        await server.await_for(lambda server: server.in_flight == 1)

        async def wait() -> None:
            with pytest.raises(family.http.PoolTimeout):
                await wire.get(server.url, pool=3.0)

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await clock.advance(2.9)
        assert wire.pools.snapshot()["waiting"] == 1
        await clock.advance(0.2)
        assert wire.pools.snapshot()["waiting"] == 0
        tasks.cancel_scope.cancel()


async def test_the_callers_extensions_are_not_written_into(family: FamilyModules, server: FaultyServer) -> None:
    async with Wire(family) as wire:
        timeout = {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 1.0}
        extensions = {"timeout": timeout}
        request = wire.http.Request("GET", server.url, extensions=extensions)
        response = await wire.pools.handle_async_request(request)
        await response.aread()
        await response.aclose()
        assert request.extensions == {"timeout": {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 1.0}}


async def test_a_call_cancelled_at_any_of_its_points_leaves_no_slot_taken(
    family: FamilyModules, server: FaultyServer
) -> None:
    async with Wire(family, connections=2) as wire:
        for steps in range(60):
            async with anyio.create_task_group() as tasks:
                for number in range(3):
                    tasks.start_soon(wire.get, f"{server.url}/{number}")
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            assert wire.is_at_rest()
        await serves_its_full_size(wire, server, 2)
    await server.await_for(lambda server: server.connections_open == 0)


async def serves_its_full_size(wire: Wire, server: FaultyServer, size: int) -> None:
    gate = server.gate()
    server.on("/full", Held(gate))
    async with anyio.create_task_group() as tasks:
        for _ in range(size):
            tasks.start_soon(lambda: wire.get(f"{server.url}/full", pool=30.0))
        await server.await_for(lambda server: server.in_flight >= size)
        gate.open()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_tasks_cancelled_under_contention_leave_the_pool_intact(
    family: FamilyModules, server: FaultyServer
) -> None:
    async with Wire(family, connections=5) as wire:
        for batch in range(20):
            running = [asyncio.ensure_future(wire.get(f"{server.url}/{batch}/{each}")) for each in range(15)]
            for task in running:
                for _ in range(3):
                    await asyncio.sleep(0)
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        assert wire.is_at_rest()
        await serves_its_full_size(wire, server, 5)
    await server.await_for(lambda server: server.connections_open == 0)


async def test_a_cancelled_call_takes_its_connection_with_it(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/never", Never())
    async with Wire(family) as wire:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wire.get, f"{server.url}/never")
            await server.await_for(lambda server: server.in_flight == 1)
            tasks.cancel_scope.cancel()
        await server.await_for(lambda server: server.connections_open == 0)
        await wire.get(server.url)
    assert server.connections_opened == 2


async def test_a_response_holds_its_slot_until_it_is_closed(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/stream", Stream(b"x" * 100, times=None, every=0.01))
    async with Wire(family, connections=1) as wire:
        response = await wire.send(f"{server.url}/stream")
        with pytest.raises(family.http.PoolTimeout):
            await wire.get(server.url, pool=0.0)
        assert repr(wire.pools) == "<Pools 1 busy, 0 idle, at most 1>"
        await response.aclose()
        await wire.get(server.url, pool=0.0)


async def test_a_dropped_response_lets_the_next_in_line_pass(family: FamilyModules, server: FaultyServer) -> None:
    async with Wire(family, connections=1) as wire, anyio.create_task_group() as tasks:
        response = await wire.send(f"{server.url}/dropped")
        tasks.start_soon(wire.get, f"{server.url}/waits")
        await anyio.wait_all_tasks_blocked()
        assert wire.pools.snapshot()["waiting"] == 1
        kept = [response]
        del response
        with pytest.warns(ResourceWarning, match="dropped without being closed"):
            let_go(kept)
    assert server.count("/waits") == 1


async def test_a_dropped_response_is_closed_by_aclose(family: FamilyModules, server: FaultyServer) -> None:
    async with Wire(family) as wire:
        response = await wire.send(server.url)
        kept = [response]
        del response
        with pytest.warns(ResourceWarning, match="dropped without being closed"):
            let_go(kept)
    await server.await_for(lambda server: server.connections_open == 0)


async def test_an_upgraded_connection_holds_its_slot_until_the_response_is_closed(
    family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/upgrade", Upgrade("echo"))
    async with Wire(family, connections=1) as wire:
        request = wire.http.Request(
            "GET",
            f"{server.url}/upgrade",
            headers={"connection": "upgrade", "upgrade": "echo"},
            extensions={},
        )
        response = await wire.pools.handle_async_request(request)
        assert response.status_code == 101
        assert response.extensions["network_stream"] is not None
        with pytest.raises(family.http.PoolTimeout):
            await wire.get(server.url, pool=0.0)
        await response.aclose()
        await wire.get(server.url, pool=0.0)
    assert server.connections_opened == 2


async def test_a_second_response_that_nobody_asked_for_answers_nobody(
    family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/two", Raw(TWO_IN_ONE, close=False))
    async with Wire(family) as wire:
        assert await wire.get(f"{server.url}/two") == b"good"
        assert await wire.get(f"{server.url}/next") == b"GET /next"
    assert server.connections_opened == 2


async def test_nor_does_one_in_a_tls_record_of_its_own(
    family: FamilyModules, authority: trustme.CA, trust: ssl.SSLContext
) -> None:
    with secure_server(authority, alpn=["http/1.1"]) as server:
        server.on("/two", TwoRecords())
        async with Wire(family, verify=trust) as wire:
            assert await wire.get(f"{server.url}/two") == b"good"
            await server.await_for(lambda server: server.in_flight == 0)  # both records have left
            assert await wire.get(f"{server.url}/next") == b"GET /next"
            assert await wire.get(f"{server.url}/kept") == b"GET /kept"
        assert server.connections_opened == 2


def test_a_tls_record_that_the_socket_no_longer_shows_is_found(authority: trustme.CA, trust: ssl.SSLContext) -> None:
    client, server = tls_in_memory(authority, trust)
    server.write(b"the body")
    assert client.read(100) == b"the body"
    assert not holds_records(client)
    server.write(b"the body")
    server.write(b"and more")
    assert client.read(100) == b"the body"
    assert holds_records(client)


def let_go(kept: list[Any]) -> None:
    kept.clear()
    gc.collect()


def tls_in_memory(authority: trustme.CA, trust: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trust.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return client, server


async def test_without_a_way_to_look_for_unread_bytes_it_warns_once_and_goes_on(
    family: FamilyModules,
) -> None:
    class Foreign:
        """A stream of a connection that is kept somewhere else."""

        __module__ = "httpcore"

    leftover._warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="nobody asked for"):
        assert leftover.connection_is_clean(Foreign(), False)
    assert leftover.connection_is_clean(Foreign(), True)  # a second warning would be an error here


async def test_after_a_kept_connection_broke_a_retry_meets_a_fresh_one(
    family: FamilyModules, server: FaultyServer
) -> None:
    gate = server.gate()
    server.default(EachConnection(Held(gate), Reset(), Answer()))
    async with Wire(family) as wire:
        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(wire.get, f"{server.url}/{number}")
            await server.await_for(lambda server: server.in_flight == 10)
            gate.open()
        with pytest.raises(family.http.NetworkError):
            await wire.get(f"{server.url}/breaks")
        await wire.get(f"{server.url}/again")
    assert server.connections_opened == 11


async def test_a_body_cut_off_takes_its_connection_with_it(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/half", HalfBody(100, 10))
    async with Wire(family, connections=1) as wire:
        for _ in range(5):
            with pytest.raises(family.http.RemoteProtocolError):
                await wire.get(f"{server.url}/half")
        assert wire.is_at_rest()
        assert await wire.get(f"{server.url}/fine") == b"GET /fine"


async def test_aclose_sends_waiting_callers_away_by_name(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/never", Never())
    refused: list[Exception] = []
    wire = Wire(family, connections=1)

    async def call(path: str) -> None:
        try:
            await wire.get(server.url + path)
        except family.http.TransportError as error:
            refused.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, "/never")
        await server.await_for(lambda server: server.in_flight == 1)
        for _ in range(3):
            tasks.start_soon(call, "/waits")
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(30):
            await wire.pools.aclose()
    named = [error for error in refused if isinstance(error, errors.Closed)]
    assert len(named) == len({id(error) for error in named}) == 3
    assert len(refused) == 4  # the running call lost its connection
    with pytest.raises(errors.Closed):
        await wire.get(server.url)
    await wire.pools.aclose()
    assert server.count("/waits") == 0


def test_a_new_event_loop_starts_afresh_after_the_old_one_was_closed(
    family: FamilyModules, server: FaultyServer
) -> None:
    wire = Wire(family, connections=1)
    left_open: list[Any] = []

    async def one_call_and_a_half() -> None:
        await wire.get(server.url)
        left_open.append(await wire.send(server.url))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # asyncio's own, for sockets that died with their loop
        for _ in range(3):
            asyncio.run(one_call_and_a_half())
        asyncio.run(wire.pools.aclose())
        left_open.clear()
        for _ in range(3):  # finalizers bring some back for one more round
            gc.collect()
    assert server.count() == 6


def test_two_running_event_loops_at_once_are_refused(family: FamilyModules, server: FaultyServer) -> None:
    wire = Wire(family)

    async def first() -> None:
        response = await wire.send(server.url)
        with pytest.raises(RuntimeError, match="another event loop"):
            await anyio.to_thread.run_sync(asyncio.run, wire.send(server.url))
        await response.aread()
        await response.aclose()
        await wire.pools.aclose()

    anyio.run(first)


async def test_a_host_that_speaks_http2_gets_one_connection(
    family: FamilyModules, authority: trustme.CA, trust: ssl.SSLContext
) -> None:
    with secure_server(authority, alpn=["h2", "http/1.1"]) as server:
        async with Wire(family, verify=trust, http2=True, connections=2) as wire:
            async with anyio.create_task_group() as tasks:
                for number in range(30):
                    tasks.start_soon(wire.get, f"{server.url}/{number}")
            assert wire.is_at_rest()
            assert wire.pools.snapshot() == {"connections": 1, "idle": 1, "waiting": 0}
            await wire.get(server.url)
        assert server.count() == 31
        assert server.connections_opened == 1


async def test_a_slow_first_answer_keeps_nobody_from_an_http2_connection(
    family: FamilyModules, authority: trustme.CA, trust: ssl.SSLContext
) -> None:
    with secure_server(authority, alpn=["h2", "http/1.1"]) as server:
        server.on("/never", Never())
        async with Wire(family, verify=trust, http2=True) as wire, anyio.create_task_group() as tasks:
            tasks.start_soon(wire.get, f"{server.url}/never")
            await server.await_for(lambda server: server.in_flight == 1)
            for number in range(5):
                await wire.get(f"{server.url}/{number}")
            assert server.connections_opened == 1
            tasks.cancel_scope.cancel()
        await server.await_for(lambda server: server.connections_open == 0)


async def test_a_host_that_could_speak_http2_and_does_not_gets_a_connection_for_each_call(
    family: FamilyModules, authority: trustme.CA, trust: ssl.SSLContext
) -> None:
    with secure_server(authority, alpn=["http/1.1"]) as server:
        gate = server.gate()
        server.default(Held(gate))
        async with Wire(family, verify=trust, http2=True) as wire, anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(wire.get, f"{server.url}/{number}")
            await server.await_for(lambda server: server.in_flight == 4)
            gate.open()
        assert server.connections_opened == 4


async def test_callers_behind_a_scout_that_failed_go_on_by_themselves(
    family: FamilyModules, authority: trustme.CA, trust: ssl.SSLContext
) -> None:
    with secure_server(authority, alpn=["h2"]) as server:
        server.go_down()
        failed = 0
        async with Wire(family, verify=trust, http2=True) as wire:

            async def call() -> None:
                nonlocal failed
                try:
                    await wire.get(server.url)
                except family.http.ConnectError:
                    failed += 1

            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(call)
            assert failed == 5
            assert wire.is_at_rest()
            server.come_up()
            await wire.get(server.url)


async def test_an_http2_stream_given_up_closes_its_connection_once_the_others_have_ended(
    family: FamilyModules,
) -> None:
    with FaultyServer(http2=True) as server:
        gate = server.gate()
        server.on("/held", Held(gate))
        server.on("/never", Never())
        async with Wire(family, http1=False, http2=True) as wire, anyio.create_task_group() as tasks:
            tasks.start_soon(wire.get, f"{server.url}/held")
            await server.await_for(lambda server: server.in_flight == 1)
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as inner:
                    inner.start_soon(wire.get, f"{server.url}/never")
                    await server.await_for(lambda server: server.in_flight == 2)
                    scope.cancel()
            assert server.connections_open == 1
            await wire.get(f"{server.url}/after")
            assert server.connections_opened == 2
            gate.open()
            await server.await_for(lambda server: server.connections_open == 1)
        assert wire.is_at_rest()


async def test_a_refused_http2_stream_says_nothing_against_its_connection(family: FamilyModules) -> None:
    with FaultyServer(http2=True) as server:
        server.on("/refused", StreamReset(7))
        async with Wire(family, http1=False, http2=True) as wire:
            for _ in range(3):
                with pytest.raises(family.http.RemoteProtocolError):
                    await wire.get(f"{server.url}/refused")
            await wire.get(server.url)
        assert server.connections_opened == 1


async def test_the_second_address_of_a_host_is_tried_when_the_first_is_dead(
    family: FamilyModules, server: FaultyServer
) -> None:
    async with Wire(family) as wire:
        with anyio.fail_after(30):  # the server listens on 127.0.0.1 alone; localhost may be ::1 first
            assert await wire.get(f"http://localhost:{server.port}/x") == b"GET /x"


async def test_a_mixed_run_leaves_no_connection_and_no_task(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/odd", InTurn(Answer(), HalfBody(10, 5), Reset(), Answer(503)))
    async with Wire(family, connections=4) as wire:

        async def call(number: int) -> None:
            with anyio.move_on_after(0.001 if number % 7 == 0 else 5):
                try:
                    await wire.get(f"{server.url}/odd" if number % 3 else f"{server.url}/{number}")
                except family.http.TransportError:
                    return

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(call, number)
        assert wire.is_at_rest()
    await server.await_for(lambda server: server.connections_open == 0)
