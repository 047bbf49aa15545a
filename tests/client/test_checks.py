"""Is the API there, and a fresh start: the health check as the probe, and connections made anew under running calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from holdfast import Cache, CircuitBreaker, Fallback, Pipeline
from holdfast.client import Call, Resource, Service, accessor, health_check
from holdfast.core.offline import OfflineMode
from holdfast.errors import CircuitOpen, InvalidInput, Offline, Unavailable
from holdfast.testing import ScriptedTransport, VirtualClock
from holdfast.testing.faulty import Answer as Whole
from holdfast.testing.faulty import FaultyServer, Held
from holdfast.testing.scripted import Answer, Fails, Hangs, Reply
from tests.client.api import BASE, Shop, User
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

ORIGIN = "http://api.test:80"


class Status(Resource, path="/status"):
    @health_check
    def get(self) -> Call[bytes]:
        return self.GET("", bytes)


class Watched(Service):
    status = accessor(Status)

    def ping(self) -> Call[None]:
        return self.GET("/ping", None)


class Direct(Service):
    @health_check
    def ping(self) -> Call[None]:
        return self.GET("/ping", None)


class Twice(Direct):
    status = accessor(Status)


class Scene:
    def __init__(self, service: Watched, script: ScriptedTransport[Any, Any], clock: VirtualClock) -> None:
        self.service, self.script, self.clock = service, script, clock
        assert isinstance(service.pipeline, Pipeline)
        self.pipeline = service.pipeline


@asynccontextmanager
async def scene(
    family: FamilyModules, script: Iterable[Answer], *, lent: bool = False, **policies: Any
) -> AsyncIterator[Scene]:
    clock = VirtualClock(jump=True)
    far: ScriptedTransport[Any, Any] = ScriptedTransport(
        family.holdfast.FAMILY, [*script], clock=clock, repeat_last=True
    )
    pipeline = Pipeline(clock=clock, random=lambda: 0.5, **policies)
    if lent:  # and wrapped by whoever lends it
        async with family.holdfast.wrap(family.http.AsyncClient(transport=far), pipeline) as client:
            yield Scene(Watched(BASE, client=client), far, clock)
        return
    async with Watched(BASE, pipeline=pipeline, transport=far, family=family.name) as service:  # type: ignore[arg-type]
        yield Scene(service, far, clock)


async def test_a_check_is_one_request_past_everything(family: FamilyModules) -> None:
    stored = Reply(200, headers={"cache-control": "max-age=60"}, body=b"fine")
    fallback = Fallback(default="as ever")
    async with scene(family, [stored, stored, Reply(503)], cache=Cache(), fallback=fallback) as s:
        assert await s.service.status.get() == b"fine"
        checked = await s.service.check()
        assert (checked.ok, checked.operation, checked.error) == (True, "Status.get", None)
        assert checked.health is not None
        assert checked.health.status == "ok"
        checked = await s.service.check()
        assert not checked.ok
        assert isinstance(checked.error, Unavailable)
        assert len(s.script.sent) == 3  # not from the cache, and not again


async def test_a_check_has_a_deadline_of_its_own(family: FamilyModules) -> None:
    async with scene(family, [Hangs()]) as s:
        checked = await s.service.check(deadline=2.0)
        assert not checked.ok
        assert checked.seconds == pytest.approx(2.0, abs=0.5)
        assert isinstance(checked.error, family.http.TimeoutException)


@pytest.mark.parametrize("lent", [False, True])
async def test_a_check_is_the_probe_of_an_open_circuit(lent: bool, family: FamilyModules) -> None:
    breaker = CircuitBreaker(failures=2, open_for=60.0)
    script: list[Answer] = [*[Fails("ConnectError")] * 3, Reply(204)]
    async with scene(family, script, lent=lent, breaker=breaker, retry=None) as s:
        for _ in range(2):
            await s.service.ping().outcome()
        with pytest.raises(CircuitOpen):
            await s.service.ping()
        checked = await s.service.check()  # 60 seconds before anybody else would have asked
        assert isinstance(checked.error, family.http.ConnectError)
        assert checked.health is not None
        assert checked.health.code == "circuit_open"
        with pytest.raises(CircuitOpen):
            await s.service.ping()
        assert (await s.service.check()).ok
        await s.service.ping()
        assert len(s.script.sent) == 5
        s.pipeline.circuits.force_open(ORIGIN)
        checked = await s.service.check()  # switched off by hand it stays
        assert isinstance(checked.error, CircuitOpen)
        assert len(s.script.sent) == 5


async def test_a_check_is_the_probe_of_what_is_offline(family: FamilyModules) -> None:
    script: list[Answer] = [Reply(204), Fails("ConnectError"), Fails("ConnectError"), Reply(204)]
    mode = OfflineMode(after=10.0, probe_every=300.0)
    async with scene(family, script, offline=mode, retry=None, breaker=None) as s:
        await s.service.ping()
        await s.service.ping().outcome()
        await s.clock.advance(11.0)
        await s.service.ping().outcome()
        assert s.pipeline.is_offline(ORIGIN)
        with pytest.raises(Offline):
            await s.service.ping()
        assert (await s.service.check()).ok
        assert not s.pipeline.is_offline(ORIGIN)
        s.pipeline.offline(probe_every=None)
        assert isinstance((await s.service.check()).error, Offline)
        s.pipeline.offline(probe_every=300.0)
        assert (await s.service.check()).ok
        assert not s.pipeline.is_offline()


async def test_a_lent_client_without_a_pipeline_is_checked_too(family: FamilyModules) -> None:
    async with FaultyServer() as server, family.http.AsyncClient() as client:
        server.on("/ping", Whole(204), Whole(503))
        service = Direct(server.url, client=client)
        checked = await service.check()
        assert (checked.ok, checked.health) == (True, None)
        assert isinstance((await service.check()).error, Unavailable)


async def test_a_lent_client_of_several_pipelines_has_none_to_ask(family: FamilyModules) -> None:
    transports = [family.holdfast.ResilientTransport(Pipeline()) for _ in range(2)]
    async with family.http.AsyncClient(transport=transports[0], mounts={"all://a.test": transports[1]}) as client:
        assert Watched(BASE, client=client).pipeline is None


@pytest.mark.parametrize("kind", [Shop, Twice], ids=["none", "two"])
async def test_one_operation_is_the_check(kind: type[Service]) -> None:
    with pytest.raises(InvalidInput, match="marked"):
        await kind(BASE).check()


async def test_running_calls_end_on_the_old_connections_and_new_ones_do_not(family: FamilyModules) -> None:
    async with FaultyServer() as server, Shop(server.url, family=family.name) as shop:  # type: ignore[arg-type]
        gate = server.gate()
        server.on("/users/1", Held(gate, Whole.json({"id": 1, "name": "Ada"})))
        server.on("/users/2", Whole.json({"id": 2, "name": "Bo"}))
        found: list[User] = []

        async def slow() -> None:
            found.append(await shop.users.get(1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(slow)
            await server.await_for(lambda server: server.in_flight == 1)
            tasks.start_soon(shop.reconnect)
            await server.await_for(lambda server: server.in_flight == 1)
            assert await shop.users.get(2) == User(2, "Bo")
            assert await shop.using(deadline=60.0).users.get(2) == User(2, "Bo")
            assert server.connections_opened == 2
            assert found == []
            gate.open()
        assert found == [User(1, "Ada")]
        await server.await_for(lambda server: server.connections_open == 1)


@pytest.mark.parametrize("leave", [Shop.reconnect, lambda shop: shop.aclose(60.0)], ids=["reconnect", "aclose"])
async def test_an_auth_flow_of_several_requests_ends_where_it_began(family: FamilyModules, leave: Any) -> None:
    challenge = {"www-authenticate": 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'}
    auth = family.http.DigestAuth("ada", "hunter2")
    async with FaultyServer() as server, Shop(server.url, family=family.name, auth=auth) as shop:  # type: ignore[arg-type]
        gate = server.gate()
        server.on("/users/1", Held(gate, Whole(401, headers=challenge)), Whole.json({"id": 1, "name": "Ada"}))
        found: list[User] = []

        async def slow() -> None:
            found.append(await shop.users.get(1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(slow)
            await server.await_for(lambda server: server.in_flight == 1)
            tasks.start_soon(leave, shop)
            await anyio.wait_all_tasks_blocked()
            gate.open()
        assert found == [User(1, "Ada")]
        await server.await_for(lambda server: server.connections_open == 0)


async def test_a_service_that_is_cancelled_while_it_waits_is_closed(family: FamilyModules) -> None:
    async with FaultyServer() as server, Shop(server.url, family=family.name) as shop:  # type: ignore[arg-type]
        gate = server.gate()
        server.on("/users/1", Held(gate, Whole.json({"id": 1, "name": "Ada"})))
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(shop.users.get(1).using(retry=None).outcome)
                await server.await_for(lambda server: server.in_flight == 1)
                with anyio.move_on_after(0.05):
                    await shop.aclose(60.0)
        await server.await_for(lambda server: server.connections_open == 0)


async def test_who_does_not_end_in_time_is_cut_off(family: FamilyModules) -> None:
    async with FaultyServer() as server, Shop(server.url, family=family.name) as shop:  # type: ignore[arg-type]
        gate = server.gate()
        server.on("/users/1", Held(gate, Whole.json({"id": 1, "name": "Ada"})))
        outcomes: list[Any] = []

        async def slow() -> None:
            patient = shop.users.get(1).using(retry=None, deadline=120.0, attempt_timeout=110.0)
            outcomes.append(await patient.outcome())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(slow)
            await server.await_for(lambda server: server.in_flight == 1)
            with anyio.fail_after(30):
                await shop.reconnect(drain=0.1)
        assert [outcome.ok for outcome in outcomes] == [False]
        await server.await_for(lambda server: server.connections_open == 0)
        gate.open()
        assert await shop.users.get(1) == User(1, "Ada")


async def test_connections_that_were_given_are_not_made_anew(family: FamilyModules) -> None:
    async with family.http.AsyncClient() as client:
        with pytest.raises(InvalidInput):
            await Shop(BASE, client=client).reconnect()
    shop = Shop(BASE, transport=family.holdfast.ResilientTransport())
    with pytest.raises(InvalidInput):
        await shop.reconnect()
    await Shop(BASE, family=family.name).reconnect()  # type: ignore[arg-type]  # nothing to do yet
