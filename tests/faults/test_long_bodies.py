"""Long bodies over real sockets and real files: constant memory, nothing left of half of one (K06, K25)."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from holdfast import Cache
from holdfast.stores.sqlite import SQLiteStore
from holdfast.testing.faulty import Answer, FaultyServer, HalfBody, Stream
from tests.faults.wire import HALF_READ, STALL, stopwatch, surviving
from tests.support import FamilyModules

pytestmark = [pytest.mark.anyio, HALF_READ]
ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024
FRESH = (("Cache-Control", "max-age=600"),)
# Of no size that is used anywhere, so that a piece that is lost, doubled or in a wrong place shows.
CHUNK = random.Random(3).randbytes(61_001)


def long_stream(size: int) -> Stream:
    """A body of at least ``size`` bytes, of no declared length."""
    return Stream(CHUNK, times=size // len(CHUNK) + 1, headers=FRESH)


def length_and_checksum(body: Stream) -> tuple[int, int]:
    found = 0
    assert body.times is not None
    for _ in range(body.times):
        found = zlib.crc32(CHUNK, found)
    return body.times * len(CHUNK), found


# Constant memory


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc, which Linux alone has")
@pytest.mark.parametrize(
    ("library", "backend", "size", "most"),
    [
        ("httpx", "asyncio", 24 * MIB, 20 * MIB),  # without the GIL an allocator has pages for each thread
        *[
            pytest.param(library, backend, 1024 * MIB, 32 * MIB, marks=pytest.mark.slow)
            for library in ("httpx", "httpx2")
            for backend in ("asyncio", "trio")
        ],
    ],
)
def test_a_long_body_takes_constant_memory_on_its_way_into_the_store_and_out_and_past_it(
    tmp_path: Path, library: str, backend: str, size: int, most: int
) -> None:
    cap = size + MIB
    long, above = long_stream(size), long_stream(cap + MIB)
    with FaultyServer() as server:
        server.on("/long", long)
        server.on("/above", above)
        command = [sys.executable, "-m", "tests.faults.long_body", library, backend, server.url]
        done = subprocess.run(
            [*command, str(tmp_path / "cache.db"), str(cap)], cwd=ROOT, check=True, stdout=subprocess.PIPE
        )
        fetches = server.count("/long"), server.count("/above")
    seen = json.loads(done.stdout)
    whole = length_and_checksum(long)
    assert [(body["cache"], body["size"], body["checksum"]) for body in seen["bodies"]] == [
        ("miss", *whole),
        ("hit", *whole),
        ("miss", *length_and_checksum(above)),
    ]
    assert all(body["first"] < body["seconds"] / 2 for body in seen["bodies"])
    assert (seen["again"]["status"], fetches, seen["cache"]["store_faults"]) == (504, (1, 1), 0)
    assert seen["growth"] < most


# Nothing of half a body


def rows(file: Path) -> dict[str, int]:
    """Rows of entries, and of what belongs to long bodies, as another program sees them."""
    with closing(sqlite3.connect(file)) as connection:
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("entries", "pieces", "loose", "holds")
        }


@asynccontextmanager
async def long_bodies(
    family: FamilyModules, server: FaultyServer, file: Path, **settings: Any
) -> AsyncIterator[tuple[Any, SQLiteStore]]:
    """A client with a cache in ``file``; afterwards no part of a body may be in there that no entry has."""
    async with SQLiteStore(file) as store:
        # What is tested here is not how fast this machine is.
        cache = Cache(**{"store": store, "max_entry_bytes": 64 * MIB, "store_timeout": 60.0, **settings})
        async with surviving(family, server, cache=cache, retry=None, breaker=None) as http:
            yield http, store
        for _ in range(10):  # a long body is removed in steps, one with each change
            await store.delete("GET  http://nowhere.test/")
    assert (rows(file)["loose"], rows(file)["holds"]) == (0, 0)


@pytest.mark.parametrize("how", ["whole", "cut off", "reset", "above the cap", "abandoned", "cancelled"])
async def test_only_a_whole_body_is_in_the_file(family: FamilyModules, tmp_path: Path, how: str) -> None:
    file = tmp_path / "cache.db"
    async with FaultyServer() as server:
        half = {
            "cut off": HalfBody(8 * MIB, 4 * MIB, headers=FRESH),
            "reset": HalfBody(8 * MIB, 4 * MIB, headers=FRESH, reset=True),
        }
        server.on("/long", half.get(how, long_stream(4 * MIB)))
        url = f"{server.url}/long"
        cap = {"max_entry_bytes": 3 * MIB} if how == "above the cap" else {}
        async with long_bodies(family, server, file, **cap) as (http, store):
            if how in ("cut off", "reset"):
                with pytest.raises(family.http.TransportError):
                    await http.get(url)
            elif how in ("whole", "above the cap"):
                assert len((await http.get(url)).content) == length_and_checksum(long_stream(4 * MIB))[0]
            else:
                with anyio.CancelScope() as scope:
                    async with http.stream("GET", url) as response:
                        size = 0
                        async with aclosing(response.aiter_raw()) as chunks:
                            async for chunk in chunks:
                                size += len(chunk)
                                if size < 3 * MIB:
                                    continue
                                assert rows(file)["loose"] == 1, "it was on its way into the file"
                                if how == "abandoned":
                                    break
                                scope.cancel()
                                await anyio.lowlevel.checkpoint()
        entries = await store.get(f"GET  {url}")
        assert len(entries) == (1 if how == "whole" else 0)
        await store.aclose()
    assert (rows(file)["pieces"] > 0) is (how == "whole")


# A file that is in use, and one that is opened again


async def test_a_file_that_another_program_has_locked_costs_the_copy_and_not_the_call(
    family: FamilyModules, tmp_path: Path
) -> None:
    file, body = tmp_path / "cache.db", long_stream(4 * MIB)
    async with FaultyServer() as server:
        server.on("/long", body)
        async with SQLiteStore(file, busy_timeout=60.0) as store:
            await store.delete("GET  http://nowhere.test/")  # the file is there
            cache = Cache(store=store, max_entry_bytes=64 * MIB)
            async with surviving(family, server, cache=cache) as http:
                with stopwatch() as took, closing(sqlite3.connect(file, isolation_level=None)) as other:
                    other.execute("BEGIN IMMEDIATE")
                    assert len((await http.get(f"{server.url}/long")).content) == length_and_checksum(body)[0]
                assert took.seconds < 2 * STALL


async def test_a_reader_that_leaves_does_not_wait_for_a_file_that_another_program_has_locked(
    family: FamilyModules, tmp_path: Path
) -> None:
    file = tmp_path / "cache.db"
    async with FaultyServer() as server:
        server.on("/long", long_stream(8 * MIB))
        async with SQLiteStore(file, busy_timeout=60.0) as store:
            cache = Cache(store=store, max_entry_bytes=64 * MIB, store_timeout=30.0)
            async with surviving(family, cache=cache) as http:
                await http.get(f"{server.url}/long")
                with stopwatch() as took, closing(sqlite3.connect(file, isolation_level=None)) as other:
                    async with http.stream("GET", f"{server.url}/long") as response:
                        other.execute("BEGIN IMMEDIATE")
                    assert response.extensions["holdfast"]["cache"] == "hit"
                assert took.seconds < 2 * STALL


async def test_a_restarted_client_finds_the_answers_to_its_credentials_and_no_one_else_s(
    family: FamilyModules, tmp_path: Path
) -> None:
    file = tmp_path / "cache.db"
    async with FaultyServer() as server:
        server.default(Answer(body=b"for ann", headers=FRESH))
        found: list[Any] = []
        for who in ("ann", "ann", "bob"):
            async with (
                SQLiteStore(file) as store,
                surviving(family, cache=Cache(store=store, store_timeout=60.0)) as http,
            ):
                answer = await http.get(f"{server.url}/mine", headers={"Authorization": f"Bearer {who}"})
                found.append(answer.extensions["holdfast"]["cache"])
    assert found == ["miss", "hit", "miss"]
