"""Nothing of an encrypted store can be read, forged or moved without its key."""

# ruff: noqa: ASYNC240  (a test may wait for the disk)

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import aclosing, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from holdfast import Encrypted, MemoryStore, SQLiteStore, StoreError
from holdfast.core.caching.entry import Blob, Entry
from holdfast.core.caching.key import primary_key
from holdfast.stores.base import KeepsSecret, Listing, Store, Streaming, SyncLookup
from holdfast.testing import VirtualClock
from tests.core.caching.building import RECEIVED, URL, WALL
from tests.stores.entries import LONG, body_of, entry, long_body, write

KEY: Final = b"k" * 32
OTHER: Final = b"o" * 32

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(start=RECEIVED, wall=WALL)


def encrypted(inner: Store, *keys: bytes, clock: VirtualClock) -> Encrypted:
    return Encrypted(inner, key=keys or KEY, clock=clock)


async def only(store: Listing) -> Entry:
    async with aclosing(store.entries()) as listed:
        (found,) = [one async for one in listed]
    return found


async def test_nothing_can_be_read_at_rest(tmp_path: Path, clock: VirtualClock) -> None:
    async with aclosing(SQLiteStore(tmp_path / "cache.db", clock=clock)) as inner:
        store = encrypted(inner, clock=clock)
        secret = entry("https://private-host.test/private-path", language="private-variant", tags=("private-tag",))
        await store.put(replace(secret, body=b"private-body"))
        await write(store, entry("https://private-host.test/long"), b"private-body" * 100_000)
        await store.purge("https://private-host.test/purged")
        assert len(await store.get(secret.key)) == 1
        written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert len(written) > 1_200_000
    for text in (b"private", b"max-age", b"X-High", KEY):
        assert text not in written


@pytest.mark.parametrize("size", [0, 1, 100_000, 400_000, LONG])
async def test_a_wrong_key_finds_nothing_and_breaks_nothing(tmp_path: Path, clock: VirtualClock, size: int) -> None:
    async with aclosing(SQLiteStore(tmp_path / "cache.db", clock=clock)) as inner:
        right, wrong = encrypted(inner, clock=clock), encrypted(inner, OTHER, clock=clock)
        put = entry(body=long_body()[:size], tags=("list",))
        await right.put(put)
        assert await wrong.get(put.key) == ()
        assert [await wrong.purge(URL), await wrong.purge_prefix(""), await wrong.purge_tag("list")] == [0, 0, 0]
        assert await wrong.purge_prefix("https://") == 0
        (found,) = await right.get(put.key)
        assert await body_of(right, found) == put.body


async def test_keys_are_rotated(tmp_path: Path, clock: VirtualClock) -> None:
    async with aclosing(SQLiteStore(tmp_path / "cache.db", clock=clock)) as inner:
        before = encrypted(inner, OTHER, clock=clock)
        rotating = encrypted(inner, KEY, OTHER, clock=clock)
        after = encrypted(inner, KEY, clock=clock)
        await before.put(entry(body=b"old"))
        await write(before, entry(f"{URL}/long"), long_body())
        assert await rotating.get(entry().key) == (entry(body=b"old"),)
        (found,) = await rotating.get(entry(f"{URL}/long").key)
        await rotating.put(replace(found, status=203))  # what a 304 does: the body stays, under its key
        (found,) = await rotating.get(found.key)
        assert (found.status, await body_of(rotating, found)) == (203, long_body())
        await rotating.put(entry(body=b"new"))
        assert await rotating.get(entry().key) == (entry(body=b"new"),)
        assert await after.get(entry().key) == (entry(body=b"new"),)
        assert await before.get(entry().key) == ()
        assert await rotating.purge_prefix(URL) == 2


Forgery = Callable[[Entry, Entry], Entry]

FORGERIES: Final[dict[str, Forgery]] = {
    "the head of another": lambda one, other: replace(one, head=other.head),
    "the body of another": lambda one, other: replace(one, body=other.body),
    "both of another": lambda one, other: replace(one, head=other.head, body=other.body),
    "another variant": lambda one, other: replace(one, variant=other.variant),
    "a flipped bit in the body": lambda one, other: replace(one, body=flipped(bytes_of(one))),
    "a flipped bit in the head": lambda one, other: replace(one, head=flipped(one.head)),
    "no body": lambda one, other: replace(one, body=b""),
    "the last piece cut off": lambda one, other: replace(one, body=bytes_of(one)[: 60 * 1024]),
    "pieces swapped": lambda one, other: replace(
        one, body=bytes_of(one)[60 * 1024 : 120 * 1024] + bytes_of(one)[: 60 * 1024] + bytes_of(one)[120 * 1024 :]
    ),
    "no base64": lambda one, other: replace(one, head=b"\xff\xff"),
    "an empty head": lambda one, other: replace(one, head=b""),
}


def bytes_of(one: Entry) -> bytes:
    assert isinstance(one.body, bytes)
    return one.body


def flipped(value: bytes) -> bytes:
    return bytes((value[0] ^ 1,)) + value[1:]


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
async def test_what_was_tampered_with_is_not_found(clock: VirtualClock, forge: Forgery) -> None:
    inner = MemoryStore()
    store = encrypted(inner, clock=clock)
    mine, other = entry(language="de", body=long_body()[:200_000]), entry(language="fr", body=long_body(1)[:200_000])
    await store.put(other)
    sealed_other = await only(inner)
    await inner.clear()
    await store.put(mine)
    sealed = await only(inner)
    await inner.clear()
    await inner.put(sealed)
    assert await store.get(mine.key) == (mine,)
    await inner.clear()
    await inner.put(forge(sealed, sealed_other))
    assert await store.get(mine.key) == ()


async def test_an_answer_cannot_be_moved_to_another_url(clock: VirtualClock) -> None:
    inner = MemoryStore()
    store = encrypted(inner, clock=clock)
    await store.put(entry(f"{URL}/2"))
    target = (await only(inner)).key
    await inner.clear()
    await store.put(entry())
    await inner.put(replace(await only(inner), key=target))
    assert await store.get(entry(f"{URL}/2").key) == ()


async def test_an_answer_cannot_be_made_younger(clock: VirtualClock) -> None:
    inner = MemoryStore()
    store = encrypted(inner, clock=clock)
    await store.put(entry())
    await clock.advance(1000)
    await inner.put(replace(await only(inner), response_time=clock.monotonic(), wall=clock.wall(), lifetime=10**6))
    (found,) = await store.get(entry().key)
    assert (found.response_time, found.lifetime) == (RECEIVED, entry().lifetime)


TAMPERING: Final = {
    "pieces of another body": "UPDATE pieces SET (checksum, content) = (SELECT checksum, content FROM pieces AS other "
    "WHERE other.id = (:other << 24) + pieces.id % 16777216) WHERE id = (:mine << 24) + 3",
    "all of another body": "UPDATE pieces SET (checksum, content) = (SELECT checksum, content FROM pieces AS other "
    "WHERE other.id = (:other << 24) + pieces.id % 16777216) WHERE id >> 24 = :mine",
    "pieces swapped": "UPDATE pieces SET (checksum, content) = (SELECT checksum, content FROM pieces AS other "
    "WHERE other.id = (:mine << 24) + 7 - pieces.id % 16777216) WHERE id IN ((:mine << 24) + 3, (:mine << 24) + 4)",
    "the end cut off": "DELETE FROM pieces WHERE id = (:mine << 24) + 24",
}


@pytest.mark.parametrize("statement", TAMPERING.values(), ids=TAMPERING)
async def test_a_long_body_that_was_tampered_with_ends_in_an_error(
    tmp_path: Path, clock: VirtualClock, statement: str
) -> None:
    async with aclosing(SQLiteStore(tmp_path / "cache.db", clock=clock)) as inner:
        store = encrypted(inner, clock=clock)
        found = await write(store, entry(), long_body())
        other = await write(store, entry(f"{URL}/2"), long_body())
        assert found is not None
        assert other is not None
        assert await body_of(store, found) == await body_of(store, other)
        with closing(sqlite3.connect(tmp_path / "cache.db", isolation_level=None)) as connection:
            changed = connection.execute(statement, {"mine": number_in(found), "other": number_in(other)})
            assert changed.rowcount > 0
        with pytest.raises(StoreError):
            await body_of(store, found)
        assert await body_of(store, other) == long_body()


def number_in(found: Entry) -> int:
    """Under which the file has the body."""
    assert isinstance(found.body, Blob)
    return int(found.body.name.rpartition("/")[2], 16)


async def test_no_two_entries_are_sealed_alike(clock: VirtualClock) -> None:
    inner = MemoryStore()
    store = encrypted(inner, clock=clock)
    seen: set[object] = set()
    for _ in range(20):
        await store.put(entry(body=b"the same"))
        sealed = await only(inner)
        seen |= {sealed.head, sealed.body}
    assert len(seen) == 40


def test_it_offers_what_its_store_can_do_and_never_a_lookup(tmp_path: Path) -> None:
    over_memory = Encrypted(MemoryStore(), key=KEY)
    over_file = Encrypted(SQLiteStore(tmp_path / "cache.db"), key=KEY)
    offered = [
        [isinstance(store, kind) for kind in (SyncLookup, Listing, Streaming, KeepsSecret)]
        for store in (over_memory, over_file)
    ]
    assert offered == [[False, True, False, False], [False, True, True, True]]


class Plain:
    """A store that cannot list its entries."""

    def __init__(self) -> None:
        store = MemoryStore()
        self.get, self.put, self.delete, self.purge = store.get, store.put, store.delete, store.purge
        self.purge_prefix, self.purge_tag = store.purge_prefix, store.purge_tag
        self.clear, self.aclose = store.clear, store.aclose


@pytest.mark.parametrize("prefix", ["", "https://", "http://elsewhere.test/"])
async def test_a_prefix_removes_everything_from_a_store_that_cannot_list(clock: VirtualClock, prefix: str) -> None:
    store = encrypted(Plain(), clock=clock)
    await store.put(entry())
    assert await store.purge_prefix(prefix) == 1
    assert await store.get(primary_key("GET", URL)) == ()


@pytest.mark.parametrize("key", [b"", b"short", bytes(33), [], [KEY, b"short"], "k" * 32])
def test_a_key_of_another_length_is_refused(key: Any) -> None:
    with pytest.raises(ValueError):
        Encrypted(MemoryStore(), key=key)
