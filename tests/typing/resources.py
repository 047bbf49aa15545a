"""The resource layer as a user's editor sees it: values of calls, arguments, and an await that was forgotten."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import assert_type

import anyio
import httpx
import httpx2

from holdfast import Pipeline
from holdfast.client import Call, Failed, Ok, Outcome, Reply, Resource, Service, accessor
from holdfast.errors import CircuitOpen, NotFound


@dataclass
class User:
    id: int
    name: str


class Users(Resource, path="/users"):
    def get(self, id: int) -> Call[User]:
        return self.GET("/{id}", User, id=id)

    def all(self, *, role: str | None = None) -> Call[list[User]]:
        return self.GET("", list[User], query={"role": role})

    def create(self, name: str) -> Call[User]:
        return self.POST("", User, json={"name": name}, idempotent="key")

    def remove(self, id: int) -> Call[None]:
        return self.DELETE("/{id}", id=id)


class Repos(Resource, path="/repos"):
    def get(self, name: str) -> Call[bytes]:
        return self.GET("/{name}", bytes, name=name)


class Orgs(Resource, path="/orgs/{org}"):
    repos = accessor(Repos)

    def __call__(self, org: str) -> Orgs:
        return self.at(org=org)


class Shop(Service):
    users = accessor(Users)
    orgs = accessor(Orgs)


async def calls_are_values(shop: Shop) -> None:
    call = assert_type(shop.users.get(1), Call[User])
    assert_type(await call, User)
    assert_type(await call.value(), User)
    assert_type(await call.reply(), Reply[User])
    assert_type((await call.reply()).attempts, int)
    assert_type(await call.using(deadline=2, retry=None, cache="refresh"), User)
    assert_type(await call.map(lambda user: user.name), str)
    assert_type(await call.or_else(None, on=(CircuitOpen, NotFound)), User | None)
    assert_type(await shop.users.all(role="admin"), list[User])
    assert_type(await shop.users.remove(1), None)
    assert_type(await shop.orgs("a").repos.get("b"), bytes)


async def any_type_form_is_a_type_of_value(service: Service) -> None:
    assert_type(await service.GET("/a", int | None), int | None)
    assert_type(await service.GET("/a", dict[str, list[User]]), dict[str, list[User]])
    assert_type(await service.GET("/a", str), str)
    assert_type(await service.GET("/a", None), None)
    assert_type(await service.GET("/a", httpx.Response), httpx.Response)
    assert_type(await service.POST("/a", User, json=[1]), User)


def parsed(document: object) -> float:
    return float(str(document))


async def a_function_of_the_document_gives_its_type(service: Service) -> None:
    assert_type(await service.GET("/a", parsed), float)


async def an_outcome_is_one_of_two(shop: Shop) -> None:
    outcome = await shop.users.get(1).outcome()
    assert_type(outcome, Outcome[User])
    match outcome:
        case Ok(user):
            assert_type(user, User)
        case Failed(error):
            assert_type(error, Exception)
    if outcome.ok:
        assert_type(outcome.value, User)


async def a_call_goes_where_an_awaitable_goes(shop: Shop) -> None:
    one, other = await asyncio.gather(shop.users.get(1), shop.users.all())
    assert_type(one, User)
    assert_type(other, list[User])
    assert_type(await asyncio.wait_for(shop.users.get(1), 1), User)
    async with asyncio.TaskGroup() as group:
        task = assert_type(group.create_task(shop.users.get(1).value()), asyncio.Task[User])
        later: asyncio.Task[User] = group.create_task(shop.users.get(2))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportUnknownVariableType]
    assert_type([await task, await later], list[User])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shop.users.get(1).reply)


async def both_families_are_lent(url: str) -> None:
    Shop(url, client=httpx.AsyncClient(), auth=httpx.BasicAuth("a", "b"))
    Shop(url, client=httpx2.AsyncClient())
    Shop(url, transport=httpx.MockTransport(lambda _: httpx.Response(200)), pipeline=Pipeline())
    Shop(url, client=httpx.Client())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Shop(url, family="aiohttp")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    derived = Shop(url).using(auth=("a", "b"), headers={"x": "y"}, deadline=1.0)
    assert_type(derived, Shop)


async def mistakes_are_seen(shop: Shop) -> None:
    await shop.users.get("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await shop.users.GET("/{id}", User, id=None)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await shop.users.GET("/", User, query={"a": object()})  # type: ignore[dict-item]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await shop.users.get(1).name  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def takes(user: User) -> None: ...


async def an_await_is_missed(shop: Shop) -> None:
    takes(shop.users.get(1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    shop.users.remove(1)  # type: ignore[unused-awaitable]
