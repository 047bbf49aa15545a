"""Listings, collections, many calls at once and batches over real sockets: what arrives, and what is left."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest

from holdfast import Pipeline, Retry
from holdfast.client import Call, Crud, Outcome, Service, accessor, by_page, outcome_of
from holdfast.errors import NotFound
from holdfast.testing.faulty import Answer, FaultyServer, Never, Reset
from holdfast.testing.faulty.ledger import Received
from tests.client.api import User
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio


class Users(Crud[User], path="/users"): ...


class Shop(Service):
    users = accessor(Users)

    def double(self, numbers: Sequence[int]) -> Call[list[Outcome[int]]]:
        call = self.POST("/doubled", list[dict[str, int]], json=[*numbers])
        return call.map(lambda lines: [outcome_of(line["status"], line["value"], retry_after=0.01) for line in lines])

    def double_one(self, number: int) -> Call[int]:
        return self.POST("/double", int, json=number)


def of(family: FamilyModules) -> dict[str, Any]:
    return {"family": family.name}


def listing(count: int, base: str = "", delay: float = 0.0) -> Callable[[Received], Answer]:
    """Pages of two users; links as they stand there carry a filter of their own."""

    def answer(request: Received) -> Answer:
        page = int(parse_qs(urlsplit(request.target).query).get("page", ["1"])[0])
        users = [{"id": page * 10 + place, "name": "Ada"} for place in (0, 1)]
        link = f'<{base}?page={page + 1}&f=a%2Cb>; rel="next", <{base}?page={count}&f=a%2Cb>; rel="last"'
        return Answer.json(users, headers={"Link": link} if page < count else {}, delay=delay)

    return answer


EVERYONE = [User(page * 10 + place, "Ada") for page in range(1, 6) for place in (0, 1)]


async def test_a_listing_is_read_to_its_end_whatever_params_a_lent_client_has(family: FamilyModules) -> None:
    """Such a client, by itself, asks for page 1 for ever."""
    async with FaultyServer() as server, family.http.AsyncClient(params={"api_key": "K"}) as client:
        server.on("/users", listing(5))
        shop = Shop(server.url, client=client)
        with anyio.fail_after(20):
            assert await shop.users.list().collect(limit=100) == EVERYONE
        assert [request.target for request in server.requests] == [
            "/users?api_key=K",
            *(f"/users?page={page}&f=a%2Cb" for page in range(2, 6)),
        ]


async def test_a_listing_survives_what_a_pipeline_survives(family: FamilyModules) -> None:
    async with FaultyServer() as server, Shop(server.url, **of(family)) as shop:
        pages = listing(5)
        for change in ({}, {"prefetch": 1}):
            server.on("/users", pages, Reset(), pages, Reset(), pages)
            assert [user async for user in shop.users.list().using(**change)] == EVERYONE  # type: ignore[arg-type]


async def test_pages_at_once_are_no_more_than_allowed(family: FamilyModules) -> None:
    async with FaultyServer() as server, Shop(server.url, **of(family)) as shop:
        server.on("/users", listing(5, delay=0.02))
        assert await shop.users.list().parallel(limit=3).collect(limit=100) == EVERYONE
        assert server.peak_in_flight <= 3
        assert server.count() == 5


async def test_no_credential_goes_with_a_listing_to_another_host(family: FamilyModules) -> None:
    async with FaultyServer() as home, FaultyServer() as away:
        home.on("/users", listing(2, f"{away.url}/users"))
        away.on("/users", listing(2))
        shop = Shop(
            home.url,
            auth=("user", "hunter2"),
            default_headers={"X-Api-Key": "hunter2"},
            allow_origins=[away.url],
            **of(family),
        )
        async with shop:
            pages = shop.users.list().using(headers={"X-Signature": "hunter2"})
            assert await pages.collect(limit=100) == EVERYONE[:4]
        (request,) = away.requests
        assert b"hunter2" not in b"".join(b"".join(header) for header in request.headers)
        assert request.header("authorization") is None
        assert home.requests[0].header("x-signature") == "hunter2"


@pytest.mark.parametrize("ahead", [{"prefetch": 1}, {}])
async def test_whoever_leaves_a_listing_takes_along_what_is_under_way(
    family: FamilyModules, ahead: dict[str, int]
) -> None:
    async with FaultyServer() as server, Shop(server.url, **of(family)) as shop:
        server.on("/users", listing(5), Never())
        pages = shop.users.list().using(**ahead) if ahead else shop.users.list().parallel(limit=3)  # type: ignore[arg-type]
        async with aclosing(pages.pages()) as reader:
            async for page in reader:
                assert page.items == EVERYONE[:2]
                await server.await_for(lambda server: server.in_flight == (1 if ahead else 3))
                break
        await server.await_for(lambda server: server.in_flight == 0)
        asked = server.count()
        async for _ in shop.users.list().using(cache="bypass").limit(0):
            raise AssertionError("a limit of nothing")
        assert server.count() == asked
        server.on("/users", listing(5))
        async for _ in shop.users.list():
            break
        assert server.count() == asked + 1


async def test_a_collection_over_the_wire(family: FamilyModules) -> None:
    async with FaultyServer() as server, Shop(server.url, **of(family)) as shop:
        ada = Answer.json({"id": 1, "name": "Ada"})
        server.on("/users", ada)
        server.on("/users/1", ada, ada, Answer(204), Answer(404))
        assert await shop.users.create({"name": "Ada"}) == User(1, "Ada")
        assert await shop.users.get(1) == User(1, "Ada")
        assert await shop.users.update(1, {"name": "Ada"}) == User(1, "Ada")
        await shop.users.delete(1)
        with pytest.raises(NotFound) as gone:
            await shop.users.get(1)
        assert gone.value.operation == "Users.get"
        assert [(request.method, request.target, request.body) for request in server.requests] == [
            ("POST", "/users", b'{"name":"Ada"}'),
            ("GET", "/users/1", b""),
            ("PATCH", "/users/1", b'{"name":"Ada"}'),
            ("DELETE", "/users/1", b""),
            ("GET", "/users/1", b""),
        ]


async def test_a_query_over_the_wire(family: FamilyModules) -> None:
    async with FaultyServer() as server, Shop(server.url, **of(family)) as shop:
        server.on("/users", listing(5))
        base = shop.query("/users", User, paging=by_page(until_empty=True, size=2))
        assert len(await base.where(role="admin").sort("-id").limit(3)) == 3
        assert len(await base.limit(1)) == 1
        assert [request.target for request in server.requests] == [
            "/users?role=admin&sort=-id&page=1&per_page=2",
            "/users?role=admin&sort=-id&page=2&per_page=2",
            "/users?page=1&per_page=2",
        ]


async def test_many_calls_over_the_wire(family: FamilyModules) -> None:
    async with FaultyServer() as server, Shop(server.url, **of(family)) as shop:
        server.default(
            lambda request: Answer.json({"id": int(request.path.rpartition("/")[2]), "name": "x"}, delay=0.02)
        )
        server.on("/users/7", Answer(404))
        ends = await shop.gather([shop.users.get(id) for id in range(12)], limit=4)
        assert [end.value.id if end.ok else None for end in ends] == [*range(7), None, *range(8, 12)]
        assert server.peak_in_flight <= 4


async def test_a_cancelled_gather_leaves_nothing_behind(family: FamilyModules) -> None:
    async with FaultyServer() as server, Shop(server.url, **of(family)) as shop:
        server.default(Never())
        async with anyio.create_task_group() as tasks:

            async def gather() -> None:
                await shop.gather([shop.users.get(id) for id in range(50)], limit=4)

            tasks.start_soon(gather)
            await server.await_for(lambda server: server.in_flight == 4)
            tasks.cancel_scope.cancel()
        await server.await_for(lambda server: server.in_flight == 0)
        assert server.count() == 4


async def test_a_batch_with_and_without_its_endpoint(family: FamilyModules) -> None:
    busy = [429]

    def several(request: Received) -> Answer:
        numbers: list[int] = json.loads(request.body)
        return Answer.json([{"status": busy.pop() if busy else 200, "value": each * 2} for each in numbers])

    pipeline = Pipeline(retry=Retry(attempts=1))
    async with FaultyServer() as server, Shop(server.url, pipeline=pipeline, **of(family)) as shop:
        server.on("/doubled", several)
        server.on("/double", lambda request: Answer.json(json.loads(request.body) * 2))
        ends = await shop.batch_or_singles(range(4), shop.double, shop.double_one, size=3)
        assert [end.value for end in ends] == [0, 2, 4, 6]
        assert sorted(len(json.loads(request.body)) for request in server.requests) == [1, 1, 3]
    async with FaultyServer() as server, Shop(server.url, pipeline=pipeline, **of(family)) as shop:
        server.on("/doubled", Answer(404))
        server.on("/double", lambda request: Answer.json(json.loads(request.body) * 2))
        for _ in range(2):
            ends = await shop.batch_or_singles(range(4), shop.double, shop.double_one)
            assert [end.value for end in ends] == [0, 2, 4, 6]
        assert (server.count("/doubled"), server.count("/double")) == (1, 8)
