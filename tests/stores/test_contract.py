"""What every store does; a new one is added to ``STORES`` and has to pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from holdfast.core.caching.entry import Entry
from holdfast.core.caching.key import primary_key
from holdfast.stores.base import Store, StoreError, SyncLookup
from holdfast.stores.memory import MemoryStore
from tests.core.caching.building import URL, stored

STORES: dict[str, Callable[[], Store]] = {"memory": MemoryStore}

pytestmark = pytest.mark.anyio


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest) -> Store:
    name: str = request.param
    return STORES[name]()


def entry(url: str = URL, *, partition: str = "", language: str | None = None, body: bytes = b"1") -> Entry:
    vary, request = ("", "") if language is None else ("\nVary: Accept-Language", f"Accept-Language: {language}")
    return stored(
        f"Cache-Control: max-age=60\nX-High: \xe9{vary}",
        request=request,
        key=primary_key("GET", url, partition),
        body=body,
    )


async def test_an_entry_comes_back_as_it_was_put(store: Store) -> None:
    put = entry(body=bytes(range(256)))
    await store.put(put)
    assert await store.get(put.key) == (put,)


async def test_an_unknown_key_has_nothing(store: Store) -> None:
    assert await store.get(primary_key("GET", URL)) == ()


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


async def test_clearing_leaves_nothing(store: Store) -> None:
    puts = [entry(), entry(partition="aa"), entry(f"{URL}2")]
    for put in puts:
        await store.put(put)
    await store.clear()
    assert [await store.get(put.key) for put in puts] == [()] * 3
    assert await store.purge(URL) == 0


async def test_a_store_can_be_closed_twice(store: Store) -> None:
    await store.aclose()
    await store.aclose()


async def test_a_synchronous_lookup_answers_like_get(store: Store) -> None:
    if not isinstance(store, SyncLookup):
        pytest.skip("an optional capability")
    for put in (entry(language="de"), entry(language="fr")):
        await store.put(put)
        assert store.lookup(put.key) == await store.get(put.key)
    assert store.lookup("nonsense") == ()


def test_a_store_error_is_one_of_ours() -> None:
    assert str(StoreError("the disk is full")) == "the disk is full"
