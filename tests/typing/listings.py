"""Listings, collections, many calls at once and batches as a user's editor sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_type

from holdfast.client import (
    Call,
    Crud,
    Failed,
    Ok,
    Outcome,
    Page,
    Pages,
    Resource,
    Service,
    accessor,
    by_cursor,
    by_link,
    by_page,
    outcome_of,
    resume_token,
)


@dataclass
class User:
    id: int
    name: str


@dataclass
class Envelope:
    items: list[User]
    next: str | None


class Users(Crud[User], path="/users"): ...


class Teams(Resource, path="/teams"):
    def members(self, *, role: str | None = None) -> Pages[User]:
        return self.GET("", list[User], query={"role": role}).pages(by_link())

    def wrapped(self) -> Pages[User]:
        return self.GET("", Envelope).map(lambda page: page.items).pages(by_cursor("next"), max_pages=100, prefetch=1)

    def search(self, name: str) -> Pages[User]:
        call = self.POST("/search", list[User], json={"name": name}).using(json={"size": 5})
        return call.pages(by_cursor("after", parameter="page.after", sent_in="body"))

    def search_by_form(self, name: str) -> Pages[User]:
        call = self.POST("/search", list[User], form={"name": name}).using(form={"size": 5})
        return call.pages(by_cursor("after", sent_in="form")).using(form={"name": None})

    def add(self, names: Sequence[str]) -> Call[list[Outcome[User]]]:
        call = self.POST("/batch", list[dict[str, Any]], json=[*names])
        return call.map(lambda lines: [outcome_of(line["status"], User(**line["user"])) for line in lines])

    def add_one(self, name: str) -> Call[User]:
        return self.POST("", User, json={"name": name})


class Shop(Service):
    users = accessor(Users)
    teams = accessor(Teams)


async def a_listing_has_items_of_its_type(shop: Shop) -> None:
    pages = assert_type(shop.teams.members(role="admin"), Pages[User])
    async for user in pages:
        assert_type(user, User)
    async for page in pages.pages():
        assert_type(page, Page[User])
        assert_type(page.items, Sequence[User])
        assert_type(page.token, str | None)
        assert_type(page.reply.attempts, int)
    assert_type(await pages.collect(limit=500), list[User])
    assert_type(await pages.limit(5), list[User])
    assert_type(await pages.parallel(limit=3).using(deadline=2, prefetch=1).resume(None).limit(5), list[User])
    _ = assert_type(shop.teams.wrapped(), Pages[User])


async def a_query_is_a_listing(shop: Shop) -> None:
    query = assert_type(shop.query("/users", User), Pages[User])
    _ = assert_type(query.where(role="admin", tag=["a"]).sort("-created").limit(50), Pages[User])
    _names = assert_type(
        shop.query("/names/{kind}", str | None, paging=by_page(more="more"), kind="x"), Pages[str | None]
    )


async def a_collection_is_two_lines(shop: Shop) -> None:
    assert_type(await shop.users.get(1), User)
    assert_type(await shop.users.create({"name": "Ada"}), User)
    assert_type(await shop.users.create(User(1, "Ada"), idempotent="key"), User)
    assert_type(await shop.users.update(1, {"name": "Ada"}), User)
    assert_type(await shop.users.delete(1), None)
    _ = assert_type(shop.users.list(role="admin"), Pages[User])


async def many_calls_have_an_end_each(shop: Shop) -> None:
    ends = await shop.gather([shop.users.get(id) for id in range(3)], limit=2, on_error="collect")
    assert_type(ends, list[Outcome[User]])
    by_name = await shop.gather({"ada": shop.users.get(1), "bob": shop.users.get(2)})
    assert_type(by_name, dict[str, Outcome[User]])
    match by_name["ada"]:
        case Ok(user):
            assert_type(user, User)
        case Failed(error):
            assert_type(resume_token(error), str | None)


async def a_batch_has_an_end_of_each_item(shop: Shop) -> None:
    assert_type(await shop.batch(["ada"], shop.teams.add, size=50), list[Outcome[User]])
    ends = await shop.batch_or_singles(["ada"], shop.teams.add, shop.teams.add_one)
    assert_type(ends, list[Outcome[User]])


async def mistakes_are_seen(shop: Shop) -> None:
    shop.users.get(1).pages(by_link())  # type: ignore[misc, unused-awaitable]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    shop.teams.members(role=1)  # type: ignore[arg-type, unused-awaitable]  # pyright: ignore[reportArgumentType]
    await shop.teams.members().collect()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await shop.users.create(["Ada"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await shop.batch([1], shop.teams.add)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await shop.gather([shop.users.get(1)], on_error="ignore")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    shop.teams.members().using(dead_line=2)  # type: ignore[call-arg, unused-awaitable]  # pyright: ignore[reportCallIssue]
    by_cursor("after", sent_in="path")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    shop.teams.members()  # type: ignore[unused-awaitable]
