"""Two stores as one: the first answers, the second lasts, and what was removed below is not served from above."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

import anyio
import pytest

from holdfast import Cache, MemoryStore, Pipeline, SQLiteStore, StoreError, Tiered
from holdfast.core.caching.entry import Entry
from holdfast.core.caching.key import primary_key
from holdfast.stores.base import KeepsSecret, Listing, Store, Streaming, SyncLookup
from holdfast.stores.tiered import _Checked  # pyright: ignore[reportPrivateUsage]
from holdfast.testing import VirtualClock
from tests.cache_origin import answer, told
from tests.core.caching.building import RECEIVED, URL, WALL
from tests.scripting import stage
from tests.stores.entries import body_of, entry, long_body, write
from tests.support import FamilyModules

T = TypeVar("T")

KEY: Final = primary_key("GET", URL)

pytestmark = pytest.mark.anyio


class Below:
    """A second store that counts what it is asked, may fail, and may be held up before and after its work."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.asked: list[str] = []
        self.down = False
        self.before: Callable[[], Awaitable[object]] | None = None
        self.after: Callable[[], Awaitable[object]] | None = None

    async def get(self, key: str) -> tuple[Entry, ...]:
        return await self._do("get", lambda: self.store.get(key))

    async def put(self, entry: Entry) -> None:
        await self._do("put", lambda: self.store.put(entry))

    async def delete(self, key: str) -> None:
        await self._do("delete", lambda: self.store.delete(key))

    async def purge(self, url: str) -> int:
        return await self._do("purge", lambda: self.store.purge(url))

    async def purge_prefix(self, prefix: str) -> int:
        return await self._do("purge_prefix", lambda: self.store.purge_prefix(prefix))

    async def purge_tag(self, tag: str) -> int:
        return await self._do("purge_tag", lambda: self.store.purge_tag(tag))

    async def clear(self) -> None:
        await self._do("clear", lambda: self.store.clear())

    async def aclose(self) -> None:
        self.asked.append("aclose")

    async def _do(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        self.asked.append(name)
        if self.before is not None:
            await self.before()
        if self.down:
            raise StoreError("down")
        result = await work()
        if self.after is not None:
            await self.after()
        return result


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(start=RECEIVED, wall=WALL)


@pytest.fixture
def below() -> Below:
    return Below()


@pytest.fixture
def store(below: Below, clock: VirtualClock) -> Tiered:
    return Tiered(MemoryStore(), below, recheck_after=10.0, clock=clock)


async def test_what_was_read_once_is_answered_from_above(store: Tiered, below: Below) -> None:
    variants = (entry(language="de"), entry(language="fr"), entry())
    for put in reversed(variants):
        await below.store.put(put)
    assert store.lookup(KEY) is None
    assert await store.get(KEY) == variants
    assert store.lookup(KEY) == variants
    assert await store.get(KEY) == variants
    assert below.asked == ["get"]


async def test_what_was_missed_and_put_is_answered_from_above(store: Tiered, below: Below) -> None:
    assert await store.get(KEY) == ()
    await store.put(entry())
    assert store.lookup(KEY) == await below.store.get(KEY) == (entry(),)


async def test_a_variant_that_is_put_does_not_hide_those_below(store: Tiered, below: Below) -> None:
    await below.store.put(entry(language="de"))
    await store.put(entry(language="fr"))
    assert await store.get(KEY) == (entry(language="fr"), entry(language="de"))


@pytest.mark.parametrize("passed", [4.9, 9.9, 10.1, 100.0])
@pytest.mark.parametrize("changed", ["purged", "replaced"])
async def test_what_another_process_did_below_shows_in_time(
    store: Tiered, below: Below, clock: VirtualClock, passed: float, changed: str
) -> None:
    await below.store.put(entry(body=b"old"))
    await store.get(KEY)
    await clock.advance(passed / 2)
    assert store.lookup(KEY) or passed == 100.0  # being asked for does not make it any newer
    if changed == "purged":
        await below.store.purge(URL)
    else:
        await below.store.put(entry(body=b"new"))
    await clock.advance(passed / 2)
    found = [one.body for one in store.lookup(KEY) or await store.get(KEY)]
    now = [] if changed == "purged" else [b"new"]
    assert found in ([[b"old"], now] if passed < 10 else [now])
    if passed > 10:
        assert [one.body for one in await store.get(KEY)] == now


async def test_alone_it_never_asks_again(below: Below, clock: VirtualClock) -> None:
    store = Tiered(MemoryStore(), below, recheck_after=None, clock=clock)
    await store.get(KEY)
    await store.put(entry())
    await clock.advance(10**6)
    assert store.lookup(KEY) == (entry(),)


def test_what_it_believes_of_the_first_is_bounded_where_it_never_asks_again(clock: VirtualClock) -> None:
    checked = _Checked(None, clock, most=3)
    for key in "abcdefg":
        checked.add(key)
    assert [key for key in "abcdefg" if key in checked] == ["d", "e", "f", "g"]


REMOVALS: Final[dict[str, Callable[[Store], Awaitable[object]]]] = {
    "delete": lambda store: store.delete(KEY),
    "purge": lambda store: store.purge(URL),
    "prefix": lambda store: store.purge_prefix(URL[:9]),
    "tag": lambda store: store.purge_tag("list"),
    "clear": lambda store: store.clear(),
}


@pytest.mark.parametrize("remove", REMOVALS.values(), ids=REMOVALS)
async def test_a_removal_reaches_both_although_the_second_is_in_trouble(
    store: Tiered, below: Below, remove: Callable[[Store], Awaitable[object]]
) -> None:
    await store.get(KEY)
    await store.put(entry(tags=("list",)))
    below.down = True
    with pytest.raises(StoreError):
        await remove(store)
    assert store.lookup(KEY) is None
    assert await store.get(KEY) == ()
    below.down = False
    await remove(store)
    assert await store.get(KEY) == ()


@pytest.mark.parametrize("remove", REMOVALS.values(), ids=REMOVALS)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_reader_on_its_way_does_not_bring_back_what_is_removed_meanwhile(
    store: Tiered, below: Below, remove: Callable[[Store], Awaitable[object]], when: str
) -> None:
    await below.store.put(entry(tags=("list",)))
    held, go_on = anyio.Event(), anyio.Event()

    async def hold() -> None:
        if not held.is_set():
            held.set()
            await go_on.wait()

    setattr(below, when, hold)
    async with anyio.create_task_group() as group:
        group.start_soon(store.get, KEY)
        await held.wait()
        await remove(store)
        go_on.set()
    assert store.lookup(KEY) is None
    assert await store.get(KEY) == ()


@pytest.mark.parametrize("remove", REMOVALS.values(), ids=REMOVALS)
async def test_a_first_store_that_hangs_does_not_hold_up_a_removal_that_is_cancelled_and_is_not_believed(
    below: Below, clock: VirtualClock, remove: Callable[[Store], Awaitable[object]]
) -> None:
    first = Below()
    store = Tiered(first, below, clock=clock)
    await store.get(KEY)
    await store.put(entry(tags=("list",)))
    first.before = anyio.sleep_forever

    async def go() -> None:
        await remove(store)

    async with anyio.create_task_group() as group:
        group.start_soon(go)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    first.before = None
    assert await store.get(KEY) == ()


async def test_a_reader_on_its_way_does_not_replace_what_is_put_meanwhile(store: Tiered, below: Below) -> None:
    await below.store.put(entry(body=b"old"))
    held, go_on = anyio.Event(), anyio.Event()

    async def hold() -> None:
        if not held.is_set():
            held.set()
            await go_on.wait()

    below.after = hold
    async with anyio.create_task_group() as group:
        group.start_soon(store.get, KEY)
        await held.wait()
        await store.put(entry(body=b"new"))
        go_on.set()
    assert [one.body for one in await store.get(KEY)] == [b"new"]


async def test_a_reader_who_comes_and_goes_while_something_is_put_leaves_nothing_old_above(
    store: Tiered, below: Below
) -> None:
    await below.store.put(entry(body=b"old"))
    held, go_on = anyio.Event(), anyio.Event()

    async def hold() -> None:
        held.set()
        await go_on.wait()

    below.before = hold
    async with anyio.create_task_group() as group:
        group.start_soon(store.put, entry(body=b"new"))
        await held.wait()
        below.before = None
        assert [one.body for one in await store.get(KEY)] == [b"old"]
        go_on.set()
    assert [one.body for one in await store.get(KEY)] == [b"new"]


@pytest.mark.parametrize("remove", REMOVALS.values(), ids=REMOVALS)
async def test_a_first_store_that_has_to_wait_does_not_bring_back_what_is_removed_meanwhile(
    below: Below, clock: VirtualClock, remove: Callable[[Store], Awaitable[object]]
) -> None:
    first = Below()
    store = Tiered(first, below, clock=clock)
    await below.store.put(entry(tags=("list",)))
    held, go_on = anyio.Event(), anyio.Event()

    async def hold() -> None:
        if first.asked[-1] == "put":
            held.set()
            await go_on.wait()

    first.before = hold
    async with anyio.create_task_group() as group:
        group.start_soon(store.get, KEY)
        await held.wait()
        await remove(store)
        go_on.set()
    assert await store.get(KEY) == ()


async def test_the_first_goes_on_alone_and_the_second_is_not_believed_until_it_caught_up(
    store: Tiered, below: Below, clock: VirtualClock
) -> None:
    await below.store.put(entry(body=b"old"))
    below.down = True
    assert await store.get(KEY) == ()
    await store.put(entry(body=b"new"))
    assert [one.body for one in await store.get(KEY)] == [b"new"]
    await clock.advance(60)
    assert await store.get(KEY) == ()  # nobody knows what became of it
    below.down = False
    assert await store.get(KEY) == ()  # and not the old one
    assert await below.store.get(KEY) == ()


async def test_a_first_store_in_trouble_leaves_it_to_the_second(below: Below, clock: VirtualClock) -> None:
    first = Below()
    store = Tiered(first, below, clock=clock)
    await store.get(KEY)
    first.down = True
    await store.put(entry())
    assert await store.get(KEY) == (entry(),)
    await clock.advance(60)
    assert await store.get(KEY) == (entry(),)


async def test_a_cancelled_put_is_not_undone_by_what_is_old(store: Tiered, below: Below, clock: VirtualClock) -> None:
    await below.store.put(entry(body=b"old"))
    await store.get(KEY)

    async def for_ever() -> None:
        await anyio.sleep_forever()

    below.before = for_ever
    async with anyio.create_task_group() as group:
        group.start_soon(store.put, entry(body=b"new"))
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    below.before = None
    assert [one.body for one in await store.get(KEY)] == [b"new"]
    await clock.advance(60)
    assert await store.get(KEY) == ()


@pytest.fixture
async def file(tmp_path: Path, clock: VirtualClock) -> AsyncGenerator[SQLiteStore, None]:
    async with aclosing(SQLiteStore(tmp_path / "cache.db", clock=clock)) as made:
        yield made


async def test_long_bodies_stay_below(file: SQLiteStore, clock: VirtualClock) -> None:
    first = MemoryStore()
    store = Tiered(first, file, clock=clock)
    await store.get(KEY)
    await store.put(entry())
    found = await write(store, entry(), long_body())
    assert found is not None
    assert store.lookup(KEY) is None
    assert await store.get(KEY) == (found,)
    assert await body_of(store, found) == long_body()
    await store.put(replace(found, status=203))
    assert await store.get(KEY) == (replace(found, status=203),)
    assert len(first) == 0


def test_it_offers_what_its_stores_can_do(tmp_path: Path) -> None:
    memory, file = MemoryStore(), SQLiteStore(tmp_path / "cache.db")
    kinds = (SyncLookup, Listing, Streaming, KeepsSecret)
    tiers: list[tuple[Store, Store]] = [
        (memory, file),
        (memory, memory),
        (file, memory),
        (file, file),
        (memory, Tiered(memory, file)),
    ]
    assert [[isinstance(Tiered(*pair), kind) for kind in kinds] for pair in tiers] == [
        [True, True, True, True],
        [True, True, False, False],
        [False, True, False, True],
        [False, True, True, True],
        [True, True, True, True],
    ]


async def test_both_are_closed(below: Below) -> None:
    first = Below()
    await Tiered(first, below).aclose()
    assert (first.asked, below.asked) == (["aclose"], ["aclose"])


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_a_time_out_of_range_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError):
        Tiered(MemoryStore(), MemoryStore(), recheck_after=seconds)


async def test_a_hit_comes_from_memory_and_after_a_restart_from_the_file(family: FamilyModules, tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    for caches in (["miss", "hit", "hit"], ["hit", "hit", "hit"]):
        stores: list[SQLiteStore] = []

        def pipeline(clock: VirtualClock, stores: list[SQLiteStore] = stores) -> Pipeline:
            stores.append(SQLiteStore(path, clock=clock))
            tiers = Tiered(MemoryStore(), stores[0], clock=clock)
            return Pipeline(clock=clock, cache=Cache(store=tiers, store_timeout=10.0))

        async with stage(family, lambda number, request: answer(b"x"), pipeline=pipeline) as on:
            assert [told(await on.client.get(URL))[1] for _ in range(3)] == caches
            if caches[0] == "hit":
                assert await on.pipeline.purge(url=URL) == 1
            await stores[0].aclose()
