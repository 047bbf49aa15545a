"""Two lines that give list, get, create, update and delete; and a query that is narrowed step by step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from holdfast import Pipeline
from holdfast.client import Call, Crud, Service, accessor, by_cursor, by_page
from holdfast.errors import InvalidInput
from holdfast.testing import ScriptedTransport, VirtualClock
from holdfast.testing.scripted import Reply
from tests.client.api import BASE, User, document
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

T = TypeVar("T")


class Users(Crud[User], path="/users"): ...


class Base(Crud[T]):
    def archive(self, id: int) -> Call[None]:
        return self.POST("/{id}/archive", id=id)


@dataclass
class Order:
    id: int


class Orders(Base[Order], path="/orders", paging=by_page(more="more"), update_by="PUT"): ...


class Shop(Service):
    users = accessor(Users)
    orders = accessor(Orders)


@asynccontextmanager
async def shop(family: FamilyModules, answer: Reply, sent: list[Any], **settings: Any) -> AsyncIterator[Shop]:
    def take(number: int, request: Any) -> Reply:
        sent.append(request)
        return answer

    clock = VirtualClock(jump=True)
    far_side: ScriptedTransport[Any, Any] = ScriptedTransport(family.holdfast.FAMILY, take, clock=clock)
    settings = {"family": family.name, "pipeline": Pipeline(clock=clock), "transport": far_side, **settings}
    async with Shop(BASE, **settings) as made:
        yield made


ADA = User(1, "Ada")


async def test_two_lines_are_five_operations(family: FamilyModules) -> None:
    sent: list[Any] = []
    async with shop(family, document({"id": 1, "name": "Ada"}), sent) as s:
        assert await s.users.get(1) == ADA
        assert await s.users.create({"name": "Ada"}) == ADA
        assert await s.users.create(User(1, "Ada"), idempotent="key") == ADA
        assert await s.users.update(1, {"name": "Ada"}) == ADA
        await s.users.delete(1)
    assert [(request.method, str(request.url)) for request in sent] == [
        ("GET", f"{BASE}/users/1"),
        ("POST", f"{BASE}/users"),
        ("POST", f"{BASE}/users"),
        ("PATCH", f"{BASE}/users/1"),
        ("DELETE", f"{BASE}/users/1"),
    ]
    told = [request.extensions["holdfast"]["operation"] for request in sent]
    assert told == ["Users.get", "Users.create", "Users.create", "Users.update", "Users.delete"]
    assert "idempotency-key" in sent[2].headers


async def test_a_list_is_a_listing(family: FamilyModules) -> None:
    sent: list[Any] = []
    async with shop(family, document([{"id": 1, "name": "Ada"}]), sent) as s:
        assert await s.users.list(role="admin", team=None).limit(50) == [ADA]
        assert await s.users.list({"filter[role]": "x"}).collect(limit=1) == [ADA]
    assert [str(request.url) for request in sent] == [f"{BASE}/users?role=admin", f"{BASE}/users?filter%5Brole%5D=x"]
    assert sent[0].extensions["holdfast"]["operation"] == "Users.list"


async def test_a_class_between_may_add_methods_and_says_not_of_what_it_is(family: FamilyModules) -> None:
    sent: list[Any] = []
    async with shop(family, document({"id": 7, "more": False}), sent) as s:
        assert await s.orders.update(7, Order(7)) == Order(7)
        await s.orders.archive(7)
    assert [(request.method, request.url.path) for request in sent] == [
        ("PUT", "/v1/orders/7"),
        ("POST", "/v1/orders/7/archive"),
    ]


async def test_each_collection_may_have_its_own_paging(family: FamilyModules) -> None:
    sent: list[Any] = []
    answer = document({"items": [{"id": 7, "name": "x"}], "more": False, "next": None})
    async with shop(family, answer, sent, unwrap="items", paging=by_cursor("next")) as s:
        assert await s.orders.list().limit(9) == [Order(7)]
        assert await s.users.list().limit(9) == [User(7, "x")]
        assert await s.query("/users", User).limit(9) == [User(7, "x")]
        assert await s.query("/users", User, paging=by_page(more="more")).limit(9) == [User(7, "x")]
    assert [request.url.query.decode() for request in sent] == ["page=1", "", "", "page=1"]


async def test_a_query_is_narrowed_step_by_step(family: FamilyModules) -> None:
    sent: list[Any] = []
    async with shop(family, document([{"id": 1, "name": "Ada"}]), sent, validate="strict") as s:
        base = s.query("/orgs/{org}/users", User, org="a/b")
        admins = base.where(role="admin", gone=None)
        assert await admins.sort("-created").limit(50) == [ADA]
        assert await base.where(role="user", tag=["x", "y"]).limit(50) == [ADA]
        assert [user async for user in base] == [ADA]
    assert [str(request.url) for request in sent] == [
        f"{BASE}/orgs/a%2Fb/users?role=admin&sort=-created",
        f"{BASE}/orgs/a%2Fb/users?role=user&tag=x&tag=y",
        f"{BASE}/orgs/a%2Fb/users",
    ]
    assert sent[0].extensions["holdfast"]["operation"] == "GET /orgs/{org}/users"


def test_a_collection_of_nothing_in_particular_is_refused() -> None:
    class Things(Crud, path="/things"): ...  # type: ignore[type-arg]

    class Odd(Service):
        things = accessor(Things)

    with pytest.raises(InvalidInput, match="Things"):
        _ = Odd(BASE).things.get(1)
    with pytest.raises(InvalidInput, match="update_by"):

        class Wrong(Crud[User], path="/x", update_by="GET"): ...  # type: ignore[arg-type]
