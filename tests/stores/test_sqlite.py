"""The SQLite store: its file, its bounds, other processes, and everything that can happen to it."""

# ruff: noqa: ASYNC240  (a test may wait for the disk)

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import tracemalloc
import warnings
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio

from holdfast import Cache, Pipeline, SQLiteStore, StoreError
from holdfast.clock import SystemClock
from holdfast.core.caching.entry import Entry
from holdfast.core.caching.key import primary_key
from holdfast.stores.encoding import decode
from holdfast.stores.sqlite_file import File
from holdfast.stores.sqlite_threads import Threads
from holdfast.testing import Reply, VirtualClock
from tests.cache_origin import answer, told
from tests.core.caching.building import RECEIVED, URL, WALL
from tests.scripting import stage
from tests.stores.entries import LONG, body_of, entry, long_body, write
from tests.support import FamilyModules

ROOT: Final = Path(__file__).parents[2]
MIB: Final = 1024 * 1024

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(start=RECEIVED, wall=WALL)


@pytest.fixture
async def store(path: Path, clock: VirtualClock) -> AsyncGenerator[SQLiteStore, None]:
    async with opened(path, clock) as made:
        yield made


def opened(path: Path, clock: VirtualClock | None = None, *, max_bytes: int = 8 * MIB) -> aclosing[SQLiteStore]:
    return aclosing(SQLiteStore(path, max_bytes=max_bytes, clock=clock))


@contextmanager
def edited(path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else's connection to the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@asynccontextmanager
async def cached(family: FamilyModules, path: Path, reply: Reply) -> AsyncGenerator[Any, None]:
    """A client with a cache in the file."""
    stores: list[SQLiteStore] = []

    def pipeline(clock: VirtualClock) -> Pipeline:
        stores.append(SQLiteStore(path, clock=clock))
        return Pipeline(clock=clock, cache=Cache(store=stores[0], store_timeout=10.0))

    async with stage(family, lambda number, request: reply, pipeline=pipeline) as on:
        yield on.client
        await stores[0].aclose()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


# Who may read it, and what is in it. K17, K18


async def test_its_files_are_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cache.db"
    with umask(0o022):
        async with opened(path) as store:
            await store.put(entry())
            found = {file.name: mode(file) for file in path.parent.iterdir()}
    assert found == dict.fromkeys(("cache.db", "cache.db-wal", "cache.db-shm"), 0o600)
    assert mode(path.parent) == 0o700


async def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    path.touch(0o644)
    async with opened(path) as store:
        await store.put(entry())
        assert mode(path) == 0o600


async def test_credentials_of_requests_are_not_written_down(family: FamilyModules, tmp_path: Path) -> None:
    credentials = {
        "Authorization": "Bearer s3cret-token",
        "Cookie": "session=s3cret-cookie",
        "X-Api-Key": "s3cret-key",
        "Proxy-Authorization": "Basic s3cret-proxy",
    }
    vary = ", ".join(credentials)
    async with cached(family, tmp_path / "cache.db", answer(b"x", Vary=vary)) as client:
        for _ in range(2):
            response = await client.get("http://u:s3cret-password@api.test/", headers=credentials)
        assert told(response)[1] == "hit"
        written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"api.test" in written
    assert b"s3cret" not in written


# Another program's file, another version's, or a damaged one


def text(path: Path) -> None:
    path.write_bytes(b"dear diary\n" * 1000)


def other_database(path: Path) -> None:
    with edited(path) as connection:
        connection.execute("CREATE TABLE precious (thing)")


async def of_ours(path: Path) -> None:
    async with opened(path) as store:
        for number in range(50):
            await store.put(entry(f"{URL}/{number}", body=bytes(2000)))


def older(path: Path) -> None:
    with edited(path) as connection:
        connection.execute("PRAGMA user_version = 999")


def bugged(path: Path) -> None:
    with edited(path) as connection:
        connection.execute("CREATE TRIGGER spy AFTER INSERT ON entries BEGIN DELETE FROM facts; END")


def smashed(path: Path) -> None:
    """Each page but the first overwritten."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(secrets.token_bytes(size - 4096))


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("spoil", "ours", "aside"),
    [
        (text, False, "cache.db.foreign"),
        (other_database, False, "cache.db.foreign"),
        (older, True, "cache.db.aside"),
        (bugged, True, "cache.db.aside"),
        (smashed, True, "cache.db.aside"),
        (halved, True, "cache.db.aside"),
    ],
)
async def test_a_file_that_is_of_no_use_is_set_aside_with_one_warning(
    path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None], ours: bool, aside: str
) -> None:
    if ours:
        await of_ours(path)
    spoil(path)
    spoiled = path.read_bytes()
    async with opened(path) as store, opened(path) as other:
        for number in range(50):
            assert await store.get(entry(f"{URL}/{number}").key) == ()
        await store.put(replace(entry(), response_time=SystemClock.monotonic(), wall=SystemClock.wall()))
        assert await store.get(entry().key) == await other.get(entry().key) != ()
        assert (path.parent / aside).read_bytes() == spoiled
        assert {file.name for file in path.parent.iterdir()} <= {"cache.db", "cache.db-wal", "cache.db-shm", aside}
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


async def test_nothing_that_is_not_ours_is_ever_overwritten(path: Path) -> None:
    for number in range(3):
        path.write_bytes(b"dear diary %d\n" % number)
        async with opened(path) as store:
            assert await store.get("x") == ()
        path.unlink()
    kept = {file.name: file.read_bytes() for file in path.parent.glob("*.foreign*")}
    assert sorted(kept.values()) == [b"dear diary %d\n" % number for number in range(3)]


async def test_a_file_that_is_damaged_while_it_is_in_use_is_begun_anew(path: Path) -> None:
    async with opened(path) as store, opened(path) as other:
        for number in range(50):
            await store.put(entry(f"{URL}/{number}", body=bytes(2000)))
        with edited(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        smashed(path)
        for used in (store, other):
            for number in range(50):
                try:
                    await used.put(entry(f"{URL}/{number}"))
                except StoreError:
                    pytest.fail("a damaged file is the store's own affair")
        assert len(await store.get(entry(f"{URL}/7").key)) == len(await other.get(entry(f"{URL}/7").key))


async def test_a_file_that_is_removed_is_begun_anew_by_all(path: Path, clock: VirtualClock) -> None:
    async with opened(path, clock) as store, opened(path, clock) as other:
        await store.put(entry())
        assert len(await other.get(entry().key)) == 1
        path.unlink()
        assert await other.get(entry().key) == ()
        await store.put(entry(f"{URL}/2"))
        assert len(await other.get(entry(f"{URL}/2").key)) == 1


async def test_a_directory_that_cannot_be_used_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with opened(tmp_path / "file" / "cache.db") as store:
        with pytest.raises(StoreError):
            await store.get("x")


# A row that somebody edited. K21, K22, X02


TAMPERED: Final[dict[str, str]] = {
    "another key": f"UPDATE entries SET url = CAST('{URL}/other' AS BLOB)",
    "another partition": "UPDATE entries SET who = CAST('GET aa ' AS BLOB)",
    "another version": "UPDATE entries SET record = replace(record, 'entry/1', 'entry/2')",
    "a flipped letter": "UPDATE entries SET record = CAST(replace(CAST(record AS TEXT), 'max-age', 'max-agf') AS BLOB)",
    "a record of another type": "UPDATE entries SET record = 7",
    "an empty record": "UPDATE entries SET record = x''",
    "a body cut off": "UPDATE entries SET body = substr(body, 1, 3)",
    "another body": "UPDATE entries SET body = CAST('54321' AS BLOB)",
    "a body of another type": "UPDATE entries SET body = 12345",
}


@pytest.mark.parametrize("statement", TAMPERED.values(), ids=TAMPERED)
async def test_a_row_that_was_edited_is_a_miss_and_goes(
    path: Path, store: SQLiteStore, clock: VirtualClock, statement: str
) -> None:
    put = entry(body=b"12345")
    await store.put(put)
    with edited(path) as connection:
        connection.execute(statement)
    assert await store.get(put.key) == ()
    assert await store.get(primary_key("GET", f"{URL}/other")) == ()
    assert await store.get(primary_key("GET", URL, "aa")) == ()
    await store.put(put)
    assert await store.get(put.key) == (put,)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE pieces SET content = zeroblob(length(content)) WHERE id % 16777216 = 20",
        "DELETE FROM pieces WHERE id % 16777216 = 20",
        "UPDATE pieces SET content = substr(content, 1, 100), checksum = 0 WHERE id % 16777216 = 20",
        "UPDATE pieces SET content = 'text' WHERE id % 16777216 = 20",
        "DELETE FROM pieces WHERE id % 16777216 = 0",
    ],
)
async def test_a_long_body_that_was_edited_ends_in_an_error(path: Path, store: SQLiteStore, statement: str) -> None:
    found = await write(store, entry(), long_body())
    assert found is not None
    with edited(path) as connection:
        assert connection.execute(statement).rowcount == 1
    with pytest.raises(StoreError):
        await body_of(store, found)


# Time


async def test_an_entry_outlives_the_process(path: Path, clock: VirtualClock) -> None:
    async with opened(path, clock) as store:
        await store.put(entry())
    later = VirtualClock(start=5.0, wall=WALL + 100)  # another boot
    async with opened(path, later) as store:
        (found,) = await store.get(entry().key)
        assert later.monotonic() - found.response_time == pytest.approx(100)
        assert replace(found, response_time=RECEIVED) == entry()


async def test_an_entry_from_the_future_is_not_there(path: Path, clock: VirtualClock) -> None:
    async with opened(path, clock) as store:
        await store.put(entry())
    async with opened(path, VirtualClock(wall=WALL - 10)) as store:
        assert await store.get(entry().key) == ()


async def test_two_processes_of_one_boot_share_the_monotonic_clock(path: Path) -> None:
    class SetBack(SystemClock):
        wall = staticmethod(lambda: SystemClock.wall() - 3600)

    put = replace(entry(), response_time=SystemClock.monotonic() - 50, wall=SystemClock.wall() - 50)
    async with opened(path) as store, aclosing(SQLiteStore(path, clock=SetBack())) as other:
        await store.put(put)
        (found,) = await other.get(put.key)
        assert found.response_time == put.response_time


# Removal that holds


@pytest.mark.parametrize("kind", ["url", "prefix", "tag", "everything"])
async def test_an_answer_that_came_before_a_purge_is_not_put_after_it(
    path: Path, store: SQLiteStore, clock: VirtualClock, kind: str
) -> None:
    async with opened(path, clock) as other:
        before = entry(tags=("list",))
        await clock.advance(1)
        match kind:
            case "url":
                await other.purge(URL)
            case "prefix":
                await other.purge_prefix(URL[:-3])
            case "tag":
                await other.purge_tag("list")
            case _:
                await other.clear()
        await store.put(before)
        assert await store.get(before.key) == ()
        assert await write(store, before, long_body()) is None
        await store.put(replace(before, key=primary_key("GET", "http://other.test/"), tags=()))
        await clock.advance(1)
        after = replace(before, response_time=clock.monotonic(), wall=clock.wall())
        await store.put(after)
        assert await store.get(after.key) == (after,)


async def test_a_purge_from_the_future_forbids_nothing(store: SQLiteStore, clock: VirtualClock) -> None:
    clock.set_wall(WALL + 3600)
    await store.purge(URL)
    clock.set_wall(WALL)
    await store.put(entry())
    assert await store.get(entry().key) == (entry(),)


async def test_a_write_that_is_late_does_not_replace_what_came_after_it(
    store: SQLiteStore, clock: VirtualClock
) -> None:
    await clock.advance(5)
    newer = replace(entry(body=b"newer"), response_time=clock.monotonic(), wall=clock.wall())
    await store.put(newer)
    await store.put(entry(body=b"older"))
    assert await store.get(newer.key) == (newer,)


# Bounds. K26


def on_disk(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob("cache.db*") if not file.name.endswith("-shm"))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the file is the same on every loop
@pytest.mark.parametrize(
    ("bound", "count", "size"),
    [(MIB, 900, 800), (MIB, 200, 10_000), (8 * MIB, 60, 200_000), (8 * MIB, 30, 400_000), (16 * MIB, 9, 3_000_000)],
)
async def test_the_file_stays_within_its_bound_and_uses_it(path: Path, bound: int, count: int, size: int) -> None:
    async with opened(path, max_bytes=bound) as store:
        for number in range(count):
            await store.put(entry(f"{URL}/{number}", body=secrets.token_bytes(size)))
            if not number % 20:
                assert on_disk(path) <= 1.1 * bound
        assert 0.9 * bound - size <= on_disk(path) <= 1.1 * bound
        figures = await store.stats()
        assert figures["entry_bytes"] >= 0.6 * bound - size
        assert figures["file_bytes"] <= bound


async def test_what_was_used_longest_ago_goes_first(path: Path, clock: VirtualClock) -> None:
    async with opened(path, clock, max_bytes=MIB) as store:
        for number in range(5):
            await store.put(entry(f"{URL}/{number}", body=bytes(100_000)))
        await clock.advance(600)
        assert await store.get(entry(f"{URL}/0").key)
        await clock.advance(600)
        fresh = replace(entry(body=bytes(100_000)), response_time=clock.monotonic(), wall=clock.wall())
        for number in range(5, 12):
            await store.put(replace(fresh, key=primary_key("GET", f"{URL}/{number}")))
        left = [number for number in range(12) if await store.get(primary_key("GET", f"{URL}/{number}"))]
        assert left[0] == 0
        assert left[1:] == list(range(13 - len(left), 12))


async def test_variants_do_not_pile_up(store: SQLiteStore) -> None:
    for number in range(100):
        await store.put(entry(language=f"x-{number}"))
    assert len(await store.get(entry().key)) == 32
    assert (await store.stats())["entries"] == 32


@pytest.mark.heavy
async def test_space_is_given_back(path: Path, store: SQLiteStore) -> None:
    for number in range(4):
        await write(store, entry(f"{URL}/{number}"), long_body(number))
    await store.clear()
    figures = await store.stats()
    assert (figures["entries"], figures["loose_bodies"]) == (0, 0)
    assert figures["file_bytes"] < 200_000


async def test_a_body_that_was_replaced_is_removed_step_by_step(store: SQLiteStore) -> None:
    for seed in range(3):
        await write(store, entry(), long_body(seed))
    for number in range(5):
        await store.put(entry(f"{URL}/{number}"))
    figures = await store.stats()
    assert (figures["loose_bodies"], figures["entries"]) == (0, 6)
    assert figures["file_bytes"] - figures["free_bytes"] < 1.2 * LONG


@pytest.mark.parametrize("ended", [False, True], ids=["abandoned", "discarded"])
async def test_a_body_that_nobody_finishes_is_removed(
    path: Path, store: SQLiteStore, clock: VirtualClock, ended: bool
) -> None:
    writer = await store.writer()
    await writer.write(long_body())
    if ended:
        await writer.discard()
    else:
        await clock.advance(599)
        await store.put(entry(f"{URL}/1"))
        assert (await store.stats())["loose_bodies"] == 1
        await clock.advance(2)
        await store.put(entry(f"{URL}/2"))
        await store.put(entry(f"{URL}/3"))
        with pytest.raises(StoreError):
            await writer.finish(entry())
    figures = await store.stats()
    assert (figures["loose_bodies"], figures["loose_bytes"]) == (0, 0)
    with edited(path) as connection:
        assert connection.execute("SELECT count(*) FROM pieces").fetchone() == (0,)


@pytest.mark.heavy
async def test_a_long_body_passes_through_little_memory(path: Path) -> None:
    size = 16 * MIB
    async with opened(path, max_bytes=32 * MIB) as store:
        chunk = secrets.token_bytes(MIB)
        tracemalloc.start()
        try:
            writer = await store.writer()
            for _ in range(size // MIB):
                assert await writer.write(chunk)
            found = await writer.finish(
                replace(entry(), response_time=SystemClock.monotonic(), wall=SystemClock.wall())
            )
            assert found is not None
            read = 0
            async with aclosing(store.read(found)) as reading:
                async for piece in reading:
                    read += len(piece)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert read == size
        assert peak < 6 * MIB


# Several users at once


CHILD: Final = """
import sys, anyio
from dataclasses import replace
from holdfast import SQLiteStore
from holdfast.clock import SystemClock
from tests.core.caching.building import URL
from tests.stores.entries import entry, long_body, write

async def main(path, me, count):
    store = SQLiteStore(path, max_bytes=64 * 1024 * 1024, busy_timeout=30.0)
    print((await store.secret()).hex(), flush=True)
    for number in range(count):
        now = dict(response_time=SystemClock.monotonic(), wall=SystemClock.wall())
        await store.put(replace(entry(f"{URL}/{me}/{number}", body=b"%d" % number * 500), **now))
        await store.put(replace(entry(f"{URL}/common", partition=str(number % 7), body=me.encode() * 999), **now))
        if number % 8 == 0:
            await write(store, replace(entry(f"{URL}/{me}/long/{number}"), **now), long_body(number))
        print(number, flush=True)
    await store.aclose()

anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
"""


def child(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


async def check_whole(store: SQLiteStore, name: str, number: int) -> bool:
    """Whether an entry of a child's is there; what is there must be whole."""
    found = await store.get(entry(f"{URL}/{name}/{number}").key)
    assert [one.body for one in found] in ([], [b"%d" % number * 500])
    return bool(found)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_several_processes_write_at_once(path: Path) -> None:
    count, names = 24, ["a", "b", "c"]
    children = [child(path, name, count) for name in names]
    outputs = [one.communicate(timeout=100)[0].split() for one in children]
    assert [one.returncode for one in children] == [0, 0, 0]
    async with opened(path, max_bytes=64 * MIB) as store:
        assert {output[0] for output in outputs} == {(await store.secret()).hex()}
        for name in names:
            assert all([await check_whole(store, name, number) for number in range(count)])
            for number in range(0, count, 8):
                (found,) = await store.get(entry(f"{URL}/{name}/long/{number}").key)
                assert await body_of(store, found) == long_body(number)
        for partition in range(7):
            (found,) = await store.get(entry(f"{URL}/common", partition=str(partition)).key)
            assert found.body in [name.encode() * 999 for name in names]
        with edited(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio keeps a thread's place until it has ended
async def test_operations_that_hang_do_not_pile_up(path: Path) -> None:
    threads = Threads(File(path, log_pages=16, busy_timeout=1.0), most=3)
    begun, go_on = threading.Semaphore(0), threading.Event()

    def hang(connection: sqlite3.Connection) -> None:
        begun.release()
        go_on.wait()

    for _ in range(3):
        async with anyio.create_task_group() as group:
            group.start_soon(threads.write, hang)
            await anyio.to_thread.run_sync(begun.acquire)
            group.cancel_scope.cancel()
    with pytest.raises(StoreError, match="3 operations"):
        await threads.read(hang)
    go_on.set()
    await threads.close()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("after", [3, 16])
async def test_a_process_that_is_killed_leaves_no_half_entry(path: Path, after: int) -> None:
    killed = child(path, "k", 100)
    assert killed.stdout is not None
    for line in killed.stdout:
        if line.strip() == str(after):
            break
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    async with opened(path, max_bytes=64 * MIB) as store:
        assert all([await check_whole(store, "k", number) for number in range(after + 1)])
        for number in range(after + 1, 100):
            await check_whole(store, "k", number)
        for number in range(0, 100, 8):
            for found in await store.get(entry(f"{URL}/k/long/{number}").key):
                assert await body_of(store, found) == long_body(number)
        with edited(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert connection.execute(
                "SELECT count(*) FROM pieces WHERE id >> 24 NOT IN (SELECT long FROM entries WHERE long > 0) "
                "AND id >> 24 NOT IN (SELECT long FROM loose)"
            ).fetchone() == (0,)  # what it had not finished can be collected


async def test_a_busy_file_is_waited_for_within_bounds_and_can_be_read(path: Path) -> None:
    async with aclosing(SQLiteStore(path, busy_timeout=0.05)) as store:
        put = replace(entry(), response_time=SystemClock.monotonic(), wall=SystemClock.wall())
        await store.put(put)
        with edited(path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            took: list[float] = []
            for _ in range(3):  # a machine that stalls does not do so each time
                began = SystemClock.monotonic()
                with pytest.raises(StoreError):
                    await store.purge(URL)
                took.append(SystemClock.monotonic() - began)
            assert min(took) < 4
            assert await store.get(put.key) == (put,)
            connection.execute("ROLLBACK")
        assert await store.purge(URL) == 1


async def test_a_cancelled_write_is_done_or_not_and_the_store_goes_on(path: Path, store: SQLiteStore) -> None:
    old = entry(body=b"old")
    await store.put(old)
    for attempt in range(30):
        new = entry(body=b"new %d" % attempt)
        async with anyio.create_task_group() as group:
            group.start_soon(store.put, new)
            for _ in range(attempt % 6):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        (found,) = await store.get(old.key)
        assert found.body in (b"old", *(b"new %d" % number for number in range(attempt + 1)))
    with edited(path) as connection:  # nobody holds a lock any more
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(store.get, old.key)


async def test_a_cancelled_writer_is_of_no_more_use(path: Path, store: SQLiteStore) -> None:
    writer = await store.writer()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await writer.write(long_body())
    with pytest.raises(StoreError):
        await writer.finish(entry())
    await writer.discard()
    assert await store.get(entry().key) == ()


def test_one_store_serves_one_loop_after_the_other(path: Path, clock: VirtualClock) -> None:
    store = SQLiteStore(path, clock=clock)

    async def use() -> tuple[Entry, ...]:
        found = await store.get(entry().key)
        await store.put(entry())
        return found

    assert asyncio.run(use()) == ()
    assert asyncio.run(use()) == (entry(),)
    assert trio.run(use) == (entry(),)
    asyncio.run(store.aclose())
    assert asyncio.run(use()) == (entry(),)
    asyncio.run(store.aclose())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no os.fork on Windows")
def test_a_forked_process_opens_the_file_for_itself(path: Path, clock: VirtualClock) -> None:
    store = SQLiteStore(path, clock=clock)
    asyncio.run(store.put(entry()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads; theirs are idle here
        forked = os.fork()
    if not forked:
        found = asyncio.run(store.get(entry().key))
        os._exit(0 if found == (entry(),) else 1)
    assert os.waitpid(forked, 0)[1] == 0
    asyncio.run(store.put(entry(f"{URL}/2")))
    assert asyncio.run(store.get(entry(f"{URL}/2").key)) == (entry(f"{URL}/2"),)
    asyncio.run(store.aclose())


async def test_a_private_cache_finds_its_own_answers_after_a_restart(family: FamilyModules, path: Path) -> None:
    ann, bob = {"Authorization": "Bearer ann"}, {"Authorization": "Bearer bob"}
    told_after: list[str | None] = []
    for _ in range(2):
        async with cached(family, path, answer(b"x")) as client:
            told_after += [told(await client.get("http://api.test/", headers=who))[1] for who in (ann, bob)]
    assert told_after == ["miss", "miss", "hit", "hit"]


@pytest.mark.heavy
async def test_entries_are_listed_page_by_page(store: SQLiteStore) -> None:
    for number in range(520):
        await store.put(entry(f"{URL}/{number}"))
    async with aclosing(store.entries()) as listed:
        found = [one.url async for one in listed]
    assert found == [f"{URL}/{number}" for number in range(520)]


async def test_what_is_written_is_plain_text(path: Path, store: SQLiteStore) -> None:
    await store.put(entry(body=b"12345"))
    with edited(path) as connection:
        record, body = connection.execute("SELECT record, body FROM entries").fetchone()
    assert record.startswith(b"holdfast-entry/1 ")
    assert decode(record).size == len(body) == 5


@pytest.mark.parametrize(
    ("path", "settings"),
    [
        ("x", {"max_bytes": MIB - 1}),
        ("x", {"max_variants": 0}),
        ("x", {"busy_timeout": 0}),
        ("x", {"busy_timeout": float("inf")}),
        ("", {}),
        (":memory:", {}),
    ],
)
def test_settings_out_of_range_are_refused(path: str, settings: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        SQLiteStore(path, **settings)  # type: ignore[arg-type]  # a table of all of them
