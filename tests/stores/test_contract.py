"""What every store does; a new one is added to ``STORES``, and to ``OFFERED`` if it can more, and has to pass."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio
import pytest

from holdfast.core.caching.entry import Blob
from holdfast.core.caching.key import primary_key
from holdfast.stores.base import KeepsSecret, Listing, Store, StoreError, Streaming, SyncLookup, SyncPut
from holdfast.stores.encrypted import Encrypted
from holdfast.stores.memory import MemoryStore
from holdfast.stores.sqlite import SQLiteStore
from holdfast.stores.tiered import Tiered
from holdfast.testing import VirtualClock
from tests.core.caching.building import RECEIVED, URL, WALL
from tests.stores.entries import LONG, body_of, entry, long_body, write

MAX_BYTES: Final = 4 * 1024 * 1024
STORES: dict[str, Callable[[Path, VirtualClock], Store]] = {
    "memory": lambda path, clock: MemoryStore(max_bytes=MAX_BYTES),
    "sqlite": lambda path, clock: SQLiteStore(path / "cache.db", max_bytes=MAX_BYTES, clock=clock),
    "encrypted memory": lambda path, clock: Encrypted(MemoryStore(max_bytes=MAX_BYTES), key=bytes(32), clock=clock),
    "encrypted sqlite": lambda path, clock: Encrypted(
        SQLiteStore(path / "cache.db", max_bytes=MAX_BYTES, clock=clock), key=[b"1" * 32, b"2" * 32], clock=clock
    ),
    "tiered": lambda path, clock: Tiered(
        MemoryStore(max_bytes=MAX_BYTES),
        SQLiteStore(path / "cache.db", max_bytes=MAX_BYTES, clock=clock),
        clock=clock,
    ),
    "tiered encrypted": lambda path, clock: Tiered(
        MemoryStore(max_bytes=MAX_BYTES),
        Encrypted(SQLiteStore(path / "cache.db", max_bytes=MAX_BYTES, clock=clock), key=bytes(32), clock=clock),
        recheck_after=0,
        clock=clock,
    ),
}
OFFERED: dict[type, tuple[str, ...]] = {
    SyncLookup: ("memory", "tiered", "tiered encrypted"),
    SyncPut: ("memory",),
    Streaming: ("sqlite", "encrypted sqlite", "tiered", "tiered encrypted"),
    Listing: tuple(STORES),
    KeepsSecret: ("sqlite", "encrypted sqlite", "tiered", "tiered encrypted"),
}
"""What a store may offer besides, and the stores that do."""


def offering(capability: type) -> pytest.MarkDecorator:
    """A test of the stores that can do that."""
    return pytest.mark.parametrize("store", OFFERED[capability], indirect=True)


pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(start=RECEIVED, wall=WALL)


@pytest.fixture(params=list(STORES))
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: VirtualClock) -> AsyncGenerator[Store, None]:
    name: str = request.param
    made = STORES[name](tmp_path, clock)
    yield made
    await made.aclose()


@pytest.fixture
def streaming(store: Store) -> Streaming:
    assert isinstance(store, Streaming)
    return store


@pytest.mark.parametrize("name", STORES)
async def test_a_store_offers_what_is_told_of_it(name: str, tmp_path: Path, clock: VirtualClock) -> None:
    store = STORES[name](tmp_path, clock)
    offered = [capability for capability in OFFERED if isinstance(store, capability)]
    assert offered == [capability for capability, names in OFFERED.items() if name in names]
    await store.aclose()


async def test_an_entry_comes_back_as_it_was_put(store: Store) -> None:
    put = entry(body=bytes(range(256)), tags=("list", "\u00fcser"))
    await store.put(put)
    assert await store.get(put.key) == (put,)


async def test_an_unknown_key_has_nothing(store: Store) -> None:
    assert await store.get(primary_key("GET", URL)) == ()


async def test_any_text_is_a_key(store: Store) -> None:
    for key in ("", " ", "nonsense", "GET  http://api.test/\udc80", "GET \x00 x", f"GET  {URL}\n"):
        put = replace(entry(), key=key)
        await store.put(put)
        assert await store.get(key) == (put,)
        await store.delete(key)
        assert await store.get(key) == ()


async def test_the_same_variant_is_replaced(store: Store) -> None:
    old, new = entry(body=b"old"), entry(body=b"new")
    await store.put(old)
    await store.put(new)
    assert await store.get(new.key) == (new,)


async def test_variants_stand_beside_each_other_the_last_first(store: Store) -> None:
    plain, german, french = entry(), entry(language="de"), entry(language="fr")
    for variant in (plain, german, french):
        await store.put(variant)
    assert await store.get(plain.key) == (french, german, plain)
    newer = replace(german, body=b"newer")
    await store.put(newer)
    assert await store.get(plain.key) == (newer, french, plain)


async def test_a_key_is_deleted_with_its_variants_and_no_other(store: Store) -> None:
    other = entry(f"{URL}?other")
    for put in (entry(language="de"), entry(language="fr"), other):
        await store.put(put)
    await store.delete(primary_key("GET", URL))
    await store.delete(primary_key("GET", URL))
    assert await store.get(primary_key("GET", URL)) == ()
    assert await store.get(other.key) == (other,)


async def test_a_purge_reaches_every_partition_and_variant_of_one_url(store: Store) -> None:
    other = [entry(f"{URL}{suffix}", partition=partition) for suffix in ("0", "?") for partition in ("", "aa")]
    gone = [
        entry(),
        entry(partition="aa"),
        entry(partition="bb", language="de"),
        entry(partition="bb", language="fr"),
        replace(entry(), key=primary_key("QUERY", URL)),
    ]
    for put in (*other, *gone):
        await store.put(put)
    assert await store.purge(URL) == len(gone)
    assert await store.purge(URL) == 0
    assert [await store.get(put.key) for put in gone] == [()] * len(gone)
    assert [await store.get(put.key) for put in other] == [(put,) for put in other]


PREFIXED: Final = [
    "https://api.test/a",
    "https://api.test/a%",
    "https://api.test/a%2F",
    "https://api.test/a_b",
    "https://api.test/ab",
    "https://api.test/b",
    "https://api.test/\u00e9",
    "https://api.test/\uffff\U0010ffff",
    "http://api.test/a",
]


async def test_a_prefix_is_compared_character_by_character(store: Store) -> None:
    api = "https://api.test/"
    for prefix in ("", f"{api}a", f"{api}a%", f"{api}a_", f"{api}\uffff", "x"):
        for url in PREFIXED:
            await store.put(entry(url, partition="aa"))
        gone = {url for url in PREFIXED if url.startswith(prefix)}
        assert await store.purge_prefix(prefix) == len(gone)
        left = {url for url in PREFIXED if await store.get(primary_key("GET", url, "aa"))}
        assert left == set(PREFIXED) - gone


async def test_a_tag_takes_those_that_have_it_and_no_other(store: Store) -> None:
    plain, german, french = entry(), entry(language="de", tags=("list", "a")), entry(language="fr", tags=("a",))
    other = entry(f"{URL}2", tags=("list",))
    for put in (plain, german, french, other):
        await store.put(put)
    await store.put(replace(other, tags=("List",)))  # put again, it is no more in its old tag
    assert await store.purge_tag("list") == 1
    assert await store.purge_tag("list") == 0
    assert await store.get(plain.key) == (french, plain)
    assert await store.get(other.key) == (replace(other, tags=("List",)),)


async def test_clearing_leaves_nothing(store: Store) -> None:
    puts = [entry(), entry(partition="aa"), entry(f"{URL}2", tags=("list",))]
    for put in puts:
        await store.put(put)
    await store.clear()
    assert [await store.get(put.key) for put in puts] == [()] * 3
    assert (await store.purge(URL), await store.purge_tag("list"), await store.purge_prefix("")) == (0, 0, 0)


async def test_what_was_purged_can_be_put_again(store: Store) -> None:
    put = entry(tags=("list",))
    for purge in (store.purge(URL), store.purge_prefix(URL), store.purge_tag("list"), store.clear()):
        await purge
        await store.put(put)
        assert await store.get(put.key) == (put,)


async def test_an_entry_too_large_takes_the_outdated_one_with_it_and_no_other(store: Store) -> None:
    small, other = entry(language="de"), entry(language="fr")
    for put in (small, other):
        await store.put(put)
    await store.put(replace(small, body=bytes(MAX_BYTES)))
    assert await store.get(small.key) == (other,)


async def test_variants_are_limited_and_the_last_ones_stay(store: Store) -> None:
    puts = [entry(language=f"x-{number}") for number in range(40)]
    for put in puts:
        await store.put(put)
    assert await store.get(puts[0].key) == tuple(reversed(puts[8:]))


async def test_an_entry_ages_while_it_is_kept(store: Store, clock: VirtualClock) -> None:
    put = entry()
    await store.put(put)
    await clock.advance(100)
    (found,) = await store.get(put.key)
    assert clock.monotonic() - found.response_time == pytest.approx(100)


async def test_a_wall_clock_that_is_set_makes_no_entry_younger(store: Store, clock: VirtualClock) -> None:
    put = entry()
    await store.put(put)
    await clock.advance(100)
    clock.set_wall(WALL - 3600)
    (found,) = await store.get(put.key)
    assert clock.monotonic() - found.response_time == pytest.approx(100)


async def test_many_at_once_do_not_mix(store: Store) -> None:
    async def use(number: int) -> None:
        mine = entry(f"{URL}/{number}", body=b"%d" % number)
        for _ in range(5):
            await store.put(mine)
            assert await store.get(mine.key) == (mine,)
            await store.purge(mine.url)
            assert await store.get(mine.key) == ()

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(use, number)


async def test_a_store_can_be_closed_twice(store: Store) -> None:
    await store.put(entry())
    await store.aclose()
    await store.aclose()


@offering(SyncLookup)
async def test_a_synchronous_lookup_answers_like_get_or_leaves_it_to_it(store: Store) -> None:
    assert isinstance(store, SyncLookup)
    for put in (entry(language="de"), entry(language="fr")):
        await store.put(put)
        assert store.lookup(put.key) in (await store.get(put.key), None)
    await store.purge(URL)
    assert store.lookup(put.key) in ((), None)
    assert store.lookup("nonsense") in ((), None)


@offering(SyncPut)
async def test_what_is_put_at_once_is_there_as_if_it_had_been_put(store: Store) -> None:
    assert isinstance(store, SyncPut)
    await store.put(entry(language="fr"))
    for put in (entry(language="de"), entry(language="fr", body=b"newer"), entry(language="en")):
        store.put_now(put)
        assert (await store.get(put.key))[0] == put
    store.put_now(entry(language="de", body=bytes(MAX_BYTES)))  # too large, so the one that it was to replace goes
    assert [kept.body for kept in await store.get(put.key)] == [put.body, b"newer"]


@offering(Listing)
async def test_what_is_there_can_be_listed(store: Store) -> None:
    assert isinstance(store, Listing)
    puts = [entry(body=b"12"), entry(language="de", body=b""), entry(f"{URL}2", tags=("list",))]
    for put in puts:
        await store.put(put)
    async with aclosing(store.entries()) as listed:
        found = [one async for one in listed]
    wanted = {(put.key, put.size, put.status, put.head, put.variant, put.tags) for put in puts}
    assert {(one.key, one.size, one.status, one.head, one.variant, one.tags) for one in found} == wanted
    assert len(found) == len(puts)


@offering(KeepsSecret)
async def test_a_secret_is_made_once(store: Store) -> None:
    assert isinstance(store, KeepsSecret)
    secret = await store.secret()
    await store.clear()
    await store.aclose()
    assert (len(secret), await store.secret()) == (32, secret)


# Long bodies


@offering(Streaming)
async def test_a_body_comes_back_as_it_was_written(store: Store, streaming: Streaming) -> None:
    for size in (0, 1, 61_440, 300_000, 983_040, 983_041, LONG):
        body = long_body()[:size]
        finished = await write(streaming, entry(), body)
        (found,) = await store.get(entry().key)
        assert found == finished
        assert found.size == size
        assert await body_of(store, found) == body


async def test_a_long_body_can_be_put_whole(store: Store) -> None:
    put = entry(body=long_body())
    await store.put(put)
    (found,) = await store.get(put.key)
    assert await body_of(store, found) == put.body


@offering(Streaming)
async def test_a_body_is_read_from_any_byte(store: Store, streaming: Streaming) -> None:
    found = await write(streaming, entry(), long_body())
    assert found is not None
    for start in (1, 61_439, 61_440, 61_441, 983_040, LONG - 1, LONG):
        assert await body_of(store, found, start) == long_body()[start:], start


@offering(Streaming)
async def test_nothing_is_there_before_a_body_is_finished_or_after_it_was_discarded(
    store: Store, streaming: Streaming
) -> None:
    for size in (10, LONG):
        writer = await streaming.writer()
        await writer.write(long_body()[:size])
        assert await store.get(entry().key) == ()
        await writer.discard()
        await writer.discard()
        assert await store.get(entry().key) == ()
        with pytest.raises(StoreError):
            await writer.finish(entry())


@offering(Streaming)
async def test_discarding_what_was_finished_takes_nothing_back(store: Store, streaming: Streaming) -> None:
    writer = await streaming.writer()
    await writer.write(long_body())
    await writer.finish(entry())
    await writer.discard()
    (found,) = await store.get(entry().key)
    assert await body_of(store, found) == long_body()


@offering(Streaming)
async def test_a_body_too_large_is_refused_and_takes_the_outdated_one_with_it(
    store: Store, streaming: Streaming
) -> None:
    await store.put(entry())
    writer = await streaming.writer()
    accepted = [await writer.write(bytes(MAX_BYTES // 4)) for _ in range(5)]
    assert accepted == [True, True, True, True, False]
    assert await writer.finish(entry()) is None
    assert await store.get(entry().key) == ()


@offering(Streaming)
async def test_a_body_that_is_being_read_stays_whole(store: Store, streaming: Streaming) -> None:
    found = await write(streaming, entry(), long_body())
    assert found is not None
    async with aclosing(streaming.read(found)) as reading:
        read = [await anext(reading)]
        await write(streaming, entry(), long_body(seed=1))
        for other in range(3):  # enough to evict everything
            await write(streaming, entry(f"{URL}/{other}"), long_body(seed=other))
        await store.clear()
        read += [piece async for piece in reading]
    assert b"".join(read) == long_body()


@offering(Streaming)
async def test_a_body_goes_along_with_new_metadata(store: Store, streaming: Streaming) -> None:
    found = await write(streaming, entry(), long_body())
    assert found is not None
    fresher = replace(found, lifetime=3600, status=203)
    await store.put(fresher)
    assert await store.get(entry().key) == (fresher,)
    assert await body_of(store, fresher) == long_body()
    other = replace(found, key=primary_key("GET", f"{URL}/other"))
    await store.put(other)  # and belongs to one entry
    assert (await store.get(entry().key), await store.get(other.key)) == ((), (other,))
    assert await body_of(store, other) == long_body()


@offering(Streaming)
async def test_a_body_that_is_gone_is_not_put_again(store: Store, streaming: Streaming) -> None:
    found = await write(streaming, entry(), long_body())
    assert found is not None
    await store.clear()
    await store.put(found)
    await store.put(replace(found, body=Blob(5, "another store's")))
    assert await store.get(found.key) == ()
    for gone in (found, replace(found, body=Blob(5, "another store's"))):
        with pytest.raises(StoreError):
            await body_of(store, gone)


def test_a_store_error_is_one_of_ours() -> None:
    assert str(StoreError("the disk is full")) == "the disk is full"
