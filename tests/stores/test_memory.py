"""The memory store stays within its bounds, whatever is put into it."""

from __future__ import annotations

import itertools
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.entry import Entry
from holdfast.core.caching.key import primary_key
from holdfast.stores.memory import MemoryStore
from tests.core.caching.building import IDENTITY, URL, stored

RESPONSE = (
    "Date: Sun, 06 Nov 1994 08:49:37 GMT\nContent-Type: application/json\nContent-Length: 4\n"
    'Cache-Control: max-age=60\nETag: "0123456789abcdef"\nServer: example'
)


ON_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])  # nothing here waits, so no loop has a say


def entry(number: int, *, partition: str = "", variant: int | None = None, body: bytes = b"1") -> Entry:
    vary, request = ("", "") if variant is None else ("\nVary: X-Id", f"X-Id: {variant}")
    key = primary_key("GET", f"{URL}/{number}", partition)
    return stored(RESPONSE + vary, request=request, key=key, body=body)


@pytest.mark.anyio
@ON_ASYNCIO
async def test_the_entry_used_longest_ago_is_forgotten_first() -> None:
    store = MemoryStore(max_entries=2)
    first, second, third = entry(1), entry(2), entry(3)
    await store.put(first)
    await store.put(second)
    assert store.lookup(first.key) == (first,)
    await store.put(third)
    assert [len(store.lookup(put.key)) for put in (first, second, third)] == [1, 0, 1]


@pytest.mark.anyio
@ON_ASYNCIO
async def test_bytes_are_bounded_and_a_large_entry_makes_room_for_itself() -> None:
    store = MemoryStore(max_bytes=10_000)
    for number in range(30):
        await store.put(entry(number))
    before = len(store)
    await store.put(entry(99, body=bytes(8_000)))
    assert before > 2
    assert len(store) < before
    assert store.bytes_used <= 10_000
    assert store.lookup(entry(99).key)


@pytest.mark.parametrize("change", [{}, {"head": b"Date\nnow"}, {"body": b"longer"}, {"tags": ("group",)}], ids=str)
@pytest.mark.parametrize("partition", ["", "ann"], ids=["everybody's", "somebody's"])
def test_an_entry_in_the_place_of_another_counts_for_itself_alone(change: dict[str, Any], partition: str) -> None:
    before = entry(1, partition=partition)
    replacing, alone = MemoryStore(), MemoryStore()
    replacing.put_now(before)
    for store in (replacing, alone):
        store.put_now(replace(before, **change))
    assert (len(replacing), replacing.bytes_used) == (1, alone.bytes_used)


@pytest.mark.anyio
@ON_ASYNCIO
async def test_an_entry_larger_than_the_store_takes_the_outdated_one_with_it_and_no_other() -> None:
    store = MemoryStore(max_bytes=10_000)
    other = entry(2)
    await store.put(other)
    await store.put(entry(1))
    await store.put(entry(1, body=bytes(10_000)))
    assert store.lookup(entry(1).key) == ()
    assert store.lookup(other.key) == (other,)


@pytest.mark.anyio
@ON_ASYNCIO
async def test_an_entry_larger_than_the_store_leaves_the_other_variants() -> None:
    store = MemoryStore(max_bytes=10_000)
    small = entry(1, variant=1)
    await store.put(small)
    await store.put(entry(1, variant=2, body=bytes(10_000)))
    assert store.lookup(small.key) == (small,)


@pytest.mark.anyio
@ON_ASYNCIO
async def test_variants_of_one_key_are_bounded_by_number_and_by_bytes() -> None:
    store = MemoryStore(max_variants=3)
    for variant in range(2_000):
        await store.put(entry(1, variant=variant))
    assert [len(store), len(store.lookup(entry(1).key))] == [1, 3]
    store = MemoryStore(max_bytes=5_000)
    for variant in range(4):
        await store.put(entry(1, variant=variant, body=bytes(1_500)))
    kept = store.lookup(entry(1).key)
    assert [found.variant for found in kept] == [entry(1, variant=3).variant, entry(1, variant=2).variant]
    assert store.bytes_used <= 5_000


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "delete", "purge", "lookup"]),
        st.integers(0, 3),
        st.sampled_from(["", "aa", "bb"]),
        st.sampled_from([None, 1, 2]),
        st.integers(0, 3_000),
    ),
    max_size=40,
)


@pytest.mark.anyio
@ON_ASYNCIO
@given(STEPS)
async def test_the_accounts_hold_after_any_steps(
    steps: list[tuple[str, int, str, int | None, int]],
) -> None:
    store = MemoryStore(max_bytes=8_000, max_entries=4, max_variants=2)
    keys: set[str] = set()
    for what, number, partition, variant, size in steps:
        made = entry(number, partition=partition, variant=variant, body=bytes(size))
        keys.add(made.key)
        match what:
            case "put":
                await store.put(made)
            case "delete":
                await store.delete(made.key)
            case "purge":
                await store.purge(made.url)
            case _:
                store.lookup(made.key)
        assert store.bytes_used <= 8_000
        assert len(store) <= 4
    held = [key for key in keys if store.lookup(key)]
    assert len(held) == len(store)
    for key in held:  # an index that had lost a key could not purge it
        await store.purge(entry(0).url.removesuffix("/0") + "/" + key.rpartition("/")[2])
    assert (len(store), store.bytes_used) == (0, 0)


@pytest.mark.anyio
@ON_ASYNCIO
async def test_urls_whose_hashes_meet_are_purged_one_by_one() -> None:
    numbers: dict[int, int] = {}
    stem = entry(0).url.removesuffix("0")
    for number in itertools.count():
        known = numbers.setdefault(hash(f"{stem}{number}") & 0x3FFFFFFF, number)  # as the index has them
        if known != number:
            break
    one, other = entry(known, partition="aa"), entry(number, partition="aa")
    store = MemoryStore()
    await store.put(one)
    await store.put(other)
    assert await store.purge(one.url) == 1
    assert (store.lookup(one.key), store.lookup(other.key)) == ((), (other,))
    await store.put(one)
    await store.delete(other.key)
    assert await store.purge(other.url) == 0
    assert await store.purge(one.url) == 1


@pytest.mark.anyio
@ON_ASYNCIO
@pytest.mark.parametrize("partitioned", [False, True], ids=["common", "partitioned"])
async def test_what_is_counted_is_what_is_used(partitioned: bool) -> None:
    store = MemoryStore()
    count = 1_000
    entry(0)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(count):
            partition = IDENTITY.partition({b"cookie": b"%d" % number}) if partitioned else ""
            await store.put(entry(number, partition=partition, body=bytes(100)))
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert used == pytest.approx(store.bytes_used, rel=0.2)
    assert partitioned or used / count - 100 <= 700


@pytest.mark.parametrize("name", ["max_bytes", "max_entries", "max_variants"])
def test_a_bound_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        MemoryStore(**{name: 0})


def test_its_repr_tells_its_state() -> None:
    assert repr(MemoryStore(max_bytes=5, max_entries=7)) == "MemoryStore(0 of 7 entries, 0 of 5 bytes)"
