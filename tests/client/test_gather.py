"""Many calls at once: in order, no more than allowed, each with an end of its own, and nothing left when it is over."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from holdfast.client import Call, Failed, Ok, Progress, by_link
from holdfast.errors import InvalidInput, NotFound
from holdfast.testing.scripted import Reply
from tests.client.api import Stage, User, document, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio


def id_of(request: Any) -> int:
    return int(request.url.path.rpartition("/")[2])


def users(number: int, request: Any) -> Reply:
    """Later ones are quicker; 4 is missing."""
    id = id_of(request)
    if id == 4:
        return Reply(404)
    return replace(document({"id": id, "name": f"user {id}"}), delay=10.0 - id)


class Watch:
    """How many calls are under way, at most and now."""

    def __init__(self, s: Stage) -> None:
        self.now = self.most = self.begun = 0

        @s.shop.around_call
        async def count(request: Any, call_next: Any) -> Any:
            self.begun += 1
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                return await call_next(request)
            finally:
                self.now -= 1


async def test_outcomes_come_in_the_order_of_the_calls(family: FamilyModules) -> None:
    async with stage(family, users) as s:
        watch = Watch(s)
        told: list[Progress] = []
        ends = await s.shop.gather([s.shop.users.get(id) for id in range(1, 8)], limit=3, on_progress=told.append)
        assert [end.ok for end in ends] == [True, True, True, False, True, True, True]
        assert [end.value for end in ends if end.ok] == [User(id, f"user {id}") for id in (1, 2, 3, 5, 6, 7)]
        assert isinstance(ends[3], Failed)
        assert isinstance(ends[3].error, NotFound)
        assert watch.most == 3
        assert told[-1] == Progress(7, 7, 1)
        assert [each.done for each in told] == [*range(1, 8)]


async def test_the_keys_of_a_mapping_stay(family: FamilyModules) -> None:
    async with stage(family, users) as s:
        ends = await s.shop.gather({name: s.shop.users.get(id) for name, id in {"b": 2, "a": 1, "d": 4}.items()})
        assert [*ends] == ["b", "a", "d"]
        assert ends["a"] == Ok(User(1, "user 1"))
        assert not ends["d"].ok
        assert await s.shop.gather({}) == {}
        assert await s.shop.gather([]) == []


async def test_a_generator_is_drawn_from_as_calls_are_made(family: FamilyModules) -> None:
    async with stage(family, users) as s:
        watch = Watch(s)
        ahead: list[int] = []

        def calls() -> Iterator[Call[User]]:
            for id in range(5, 9):
                ahead.append(id - 4 - watch.begun)
                yield s.shop.users.get(id)

        told: list[Progress] = []
        ends = await s.shop.gather(calls(), limit=2, on_progress=told.append)
        assert [end.value.id for end in ends if end.ok] == [5, 6, 7, 8]
        assert max(ahead) <= 2
        assert told[-1] == Progress(4, None)


async def test_the_first_failure_is_raised_and_takes_the_others_along(family: FamilyModules) -> None:
    async with stage(family, users) as s:
        watch = Watch(s)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a call that was not made was not forgotten
            with pytest.raises(NotFound):
                await s.shop.gather([s.shop.users.get(id) for id in (1, 2, 4, 5, 6)], limit=3, on_error="raise")
            gc.collect()
        assert (watch.now, watch.begun) == (0, 3)
        assert s.clock.monotonic() == 0.0
        ends = await s.shop.gather([s.shop.users.get(8)], on_error="raise")
        assert ends == [Ok(User(8, "user 8"))]


async def test_a_bug_is_raised_as_itself(family: FamilyModules) -> None:
    async with stage(family, users) as s:
        watch = Watch(s)

        def buggy(user: User) -> str:
            raise ZeroDivisionError

        calls = [s.shop.users.get(1), s.shop.users.get(9).map(buggy), s.shop.users.get(2)]
        with pytest.raises(ZeroDivisionError):
            await s.shop.gather(calls)
        with pytest.raises(LookupError):
            await s.shop.gather([s.shop.users.get(9)], on_progress=lambda told: [][told.done])
        assert watch.now == 0


async def test_a_cancellation_stops_the_rest_and_leaves_nothing_running(family: FamilyModules) -> None:
    async with stage(family, lambda number, request: replace(users(number, request), delay=1000.0)) as s:
        watch = Watch(s)
        async with anyio.create_task_group() as tasks:

            async def gather() -> None:
                await s.shop.gather([s.shop.users.get(id) for id in range(10, 20)], limit=3)

            tasks.start_soon(gather)
            while watch.now < 3:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert (watch.now, watch.begun) == (0, 3)


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"on_error": "ignore"}])
async def test_settings_that_cannot_be_are_refused(family: FamilyModules, wrong: dict[str, Any]) -> None:
    async with stage(family, users) as s:
        with pytest.raises(InvalidInput):
            await s.shop.gather([], **wrong)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_calls_and_listings_go_where_asyncio_takes_an_awaitable(
    family: FamilyModules, anyio_backend: str
) -> None:
    async with stage(family, users) as s:
        one, other = await asyncio.gather(s.shop.users.get(1), s.shop.users.get(2))
        assert (one.id, other.id) == (1, 2)
        assert (await asyncio.wait_for(s.shop.users.get(3), 60)).id == 3
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(s.shop.users.get(id).value()) for id in (5, 6)]
        assert [task.result().id for task in tasks] == [5, 6]
        (ends,) = await asyncio.gather(s.shop.gather([s.shop.users.get(7)]))
        assert ends == [Ok(User(7, "user 7"))]


async def test_calls_and_listings_go_where_anyio_takes_a_function(family: FamilyModules) -> None:
    async with stage(family, lambda number, request: document([{"id": number, "name": "x"}])) as s:
        found: list[User] = []

        async def read() -> None:
            found.extend(await s.shop.users.all().pages(by_link()).collect(limit=1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(s.shop.users.all().reply)
            tasks.start_soon(s.shop.users.all().value)
            tasks.start_soon(read)
        assert len(found) == 1
        assert len(s.urls) == 3
