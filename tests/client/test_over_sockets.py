"""The resource layer over real sockets: what arrives at a server, and what becomes of connections."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from holdfast import DeadlineExceeded, Pipeline, Retry
from holdfast.errors import ForeignOrigin, NotFound, ServerFault
from holdfast.testing.faulty import Answer, Drip, Echo, FaultyServer, Never, Reset
from tests.client.api import Shop, User
from tests.faults.wire import HALF_READ
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio


def of(family: FamilyModules) -> dict[str, Any]:
    return {"family": family.name}


ADA = Answer.json({"id": 1, "name": "Ada"})


@pytest.mark.parametrize(
    ("id", "target"),
    [
        ("../admin", "/v1/users/..%2Fadmin"),
        ("1?x=1", "/v1/users/1%3Fx%3D1"),
        ("1#f", "/v1/users/1%23f"),
        ("a b", "/v1/users/a%20b"),
        ("é/ü", "/v1/users/%C3%A9%2F%C3%BC"),
        ("%2e%2e", "/v1/users/%252e%252e"),
    ],
)
async def test_no_value_reaches_another_path(family: FamilyModules, id: str, target: str) -> None:
    async with FaultyServer() as server, Shop(f"{server.url}/v1", **of(family)) as shop:
        server.default(ADA)
        await shop.users.get(id)
        assert [request.target for request in server.requests] == [target]


async def test_a_call_survives_what_a_pipeline_survives(family: FamilyModules) -> None:
    async with FaultyServer() as server, Shop(f"{server.url}/v1", **of(family)) as shop:
        server.on("/v1/users/1", Reset(), Answer(503), ADA)
        reply = await shop.users.get(1).reply()
        assert (reply.value, reply.attempts) == (User(1, "Ada"), 3)
        assert server.count() == 3


async def test_a_next_link_is_asked_for_as_it_is(family: FamilyModules) -> None:
    """A client with ``params`` of its own would ask for page 1 for ever (it replaces a URL's query)."""
    async with FaultyServer() as server, family.http.AsyncClient(params={"api_key": "K"}) as client:
        server.default(Echo())
        shop = Shop(server.url, client=client, auth=("user", "hunter2"))
        link = f"{server.url}/users?page=2&filter=a%2Cb&empty="
        await shop.users.all().following(link).map(lambda _: None).outcome()
        (request,) = server.requests
        assert request.target == "/users?page=2&filter=a%2Cb&empty="
        assert b"authorization" in {name.lower() for name, _ in request.headers}


async def test_no_credential_follows_to_another_host(family: FamilyModules) -> None:
    secrets = {"X-Api-Key": "hunter2"}
    async with FaultyServer() as home, FaultyServer() as away:
        home.on("/v1/users/1", Answer(302, headers={"location": f"{away.url}/taken"}))
        away.default(ADA)
        shop = Shop(f"{home.url}/v1", auth=("user", "hunter2"), default_headers=secrets, **of(family))
        async with shop:
            with pytest.raises(ForeignOrigin):
                await shop.users.get(1)
            assert away.count() == 0
        shop = Shop(
            f"{home.url}/v1",
            auth=("user", "hunter2"),
            default_headers=secrets,
            allow_origins=[away.url],
            **of(family),
        )
        async with shop:
            assert await shop.users.get(1) == User(1, "Ada")
            assert await shop.users.get(1).following(f"{away.url}/next") == User(1, "Ada")
        assert b"hunter2" not in b"".join(b"".join(field) for request in away.requests for field in request.headers)
        assert {name.lower() for request in away.requests for name, _ in request.headers} == {
            b"host",
            b"accept",
            b"accept-encoding",
            b"connection",
            b"user-agent",
        }


async def test_a_body_that_stalls_ends_with_the_deadline(family: FamilyModules) -> None:
    async with FaultyServer() as server, Shop(server.url, **of(family)) as shop:
        server.on("/users/1", Drip(b'{"id": 1, "name": "Ada"}', every=2.0))
        with pytest.raises(DeadlineExceeded), anyio.fail_after(30):
            await shop.users.get(1).using(deadline=0.5)


@HALF_READ
async def test_an_error_keeps_what_matters_and_gives_its_connection_back(family: FamilyModules) -> None:
    page = Answer(404, body=b"<html>" + b"x" * 3_000_000, headers={"x-request-id": "r1", "content-type": "text/html"})
    async with FaultyServer() as server, Shop(server.url, **of(family)) as shop:
        server.on("/users/1", page)
        server.on("/users/2", ADA)
        with pytest.raises(NotFound) as failed:
            await shop.users.get(1)
        assert (failed.value.request_id, failed.value.operation) == ("r1", "Users.get")
        assert len(failed.value.body) <= 8192
        assert isinstance(failed.value, family.http.HTTPStatusError)
        assert await shop.users.get(2) == User(1, "Ada")
        await server.await_for(lambda server: server.connections_open <= 1)


async def test_a_cancelled_call_leaves_nothing_behind(family: FamilyModules) -> None:
    async with FaultyServer() as server, Shop(server.url, **of(family)) as shop:
        server.on("/users/1", Never())
        server.on("/users/2", ADA)
        with anyio.move_on_after(0.2) as scope:
            await shop.users.get(1)
        assert scope.cancelled_caught
        await server.await_for(lambda server: server.in_flight == 0)
        assert await shop.users.get(2) == User(1, "Ada")


async def test_a_stream_hands_on_what_has_come(family: FamilyModules) -> None:
    async with FaultyServer() as server, Shop(server.url, **of(family)) as shop:
        server.on("/users/1", Drip(b"abcdefgh", every=0.05))
        async with shop.users.get(1).stream() as response:
            chunks = [chunk async for chunk in response.aiter_raw()]
        assert b"".join(chunks) == b"abcdefgh"
        assert len(chunks) > 1
        server.on("/users/1", Drip(b"x" * 100_000, every=0.05))
        async with shop.users.get(1).stream():
            pass
        await server.await_for(lambda server: server.in_flight == 0)


async def test_a_pipeline_may_serve_two_services(family: FamilyModules) -> None:
    pipeline = Pipeline(retry=Retry(attempts=1))
    async with FaultyServer() as server:
        server.default(Answer(503))
        async with (
            Shop(server.url, pipeline=pipeline, **of(family)) as one,
            Shop(server.url, pipeline=pipeline, **of(family)) as other,
        ):
            for shop in (one, other):
                with pytest.raises(ServerFault):
                    await shop.users.get(1)
            (origin,) = pipeline.snapshot()["origins"].values()
            assert origin["circuit"]["state"] == "closed"
            assert other.pipeline is one.pipeline is pipeline
