"""Bodies that do not fit into memory: into the store while they are read, and out of it, whatever the store does."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast import Cache, Pipeline
from holdfast.stores.base import StoreError
from holdfast.testing import Fails, Hangs, Reply
from tests.cache_origin import answer, status_of, told
from tests.directory_store import DirectoryStore
from tests.scripting import URL, Stage, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
CHUNKS = tuple(bytes([65 + number]) * 400 for number in range(20))
LONG = b"".join(CHUNKS)
ANN = {"Authorization": "Bearer ann"}
BOB = {"Authorization": "Bearer bob"}
# httpx leaves a generator of its own to the collector when a body is not read to its end, and trio warns of that.
LEFT_BY_HTTPX = pytest.mark.filterwarnings("ignore:Async generator 'httpx._client.BoundAsyncStream:ResourceWarning")


def long_answer(*, delay: float = 0.0, every: float = 0.0, then: Any = None, length: int | None = None) -> Reply:
    """8,000 bytes in 20 chunks, fresh for a minute; of no declared length unless told."""
    said = {"Cache-Control": "max-age=60", "ETag": '"1"'}
    if length is not None:
        said["Content-Length"] = str(length)
    return Reply(200, headers=said, body=CHUNKS, delay=delay, every=every, then=then)


@dataclass(frozen=True, slots=True)
class Scene:
    on: Stage
    store: DirectoryStore

    async def sent_after(self, family: FamilyModules) -> str:
        """Where the next whole answer comes from."""
        response = await self.on.client.get(URL)
        assert response.content == LONG
        source: str = told(response)[0] or ""
        return source

    async def read(self, *, chunks: int) -> None:
        """Begin to read the answer, and leave it."""
        async with self.on.client.stream("GET", URL) as response, aclosing(response.aiter_raw()) as read:
            async for _ in read:
                chunks -= 1
                if not chunks:
                    return


@asynccontextmanager
async def scene(
    family: FamilyModules,
    directory: Path,
    script: Any,
    *,
    store: dict[str, Any] | None = None,
    repeat_last: bool = True,
    **cache: Any,
) -> AsyncIterator[Scene]:
    """A client whose cache spills after 1,000 bytes into a store of files. Afterwards nothing may be open there."""
    made: list[DirectoryStore] = []

    def pipeline(clock: Any) -> Pipeline:
        made.append(DirectoryStore(directory, clock, **(store or {})))
        settings = Cache(**{"store": made[0], "spill_bytes": 1000, **cache})
        return Pipeline(clock=clock, cache=settings, retry=None, breaker=None, buffer_body=False)

    async with stage(family, script, pipeline=pipeline, repeat_last=repeat_last) as on:
        yield Scene(on, made[0])
    assert made[0].reading == 0


# In and out


@pytest.mark.parametrize("length", [None, len(LONG)], ids=["undeclared", "declared"])
async def test_a_long_body_is_stored_while_it_is_read_and_then_comes_from_the_store(
    family: FamilyModules, tmp_path: Path, length: int | None
) -> None:
    async with scene(family, tmp_path, [long_answer(length=length)]) as at:
        first = await at.on.client.get(URL)
        assert (first.content, told(first)) == (LONG, ("origin", "miss"))
        assert (at.store.bodies, at.store.parts) == ([LONG], [])
        await at.on.clock.sleep(7.0)
        again = await at.on.client.get(URL)
        assert (again.content, told(again), again.headers["age"]) == (LONG, ("cache", "hit"), "7")
        assert status_of(again) == "holdfast; hit; ttl=53"
        counts = at.on.pipeline.snapshot()["cache"]
        assert (len(at.on.script.sent), counts["stored"], counts["hits"], counts["store_faults"]) == (1, 1, 1, 0)


async def test_a_body_that_fits_into_memory_is_put_whole(family: FamilyModules, tmp_path: Path) -> None:
    async with scene(family, tmp_path, [long_answer()], spill_bytes=len(LONG)) as at:
        await at.on.client.get(URL)
        assert (at.store.bodies, await at.sent_after(family)) == ([], "cache")


async def test_the_copy_in_memory_stays_small_and_goes_on_in_pieces(family: FamilyModules, tmp_path: Path) -> None:
    ahead: list[int] = []
    async with scene(family, tmp_path, [long_answer()]) as at, at.on.client.stream("GET", URL) as response:
        passed = 0
        async for chunk in response.aiter_raw():
            passed += len(chunk)
            ahead.append(passed - sum(path.stat().st_size for path in at.store.files))
    assert ahead[:4] == [400, 800, 0, 400]
    assert max(ahead) <= 1000


async def test_the_first_byte_arrives_before_the_last_has_left(family: FamilyModules, tmp_path: Path) -> None:
    async with (
        scene(family, tmp_path, [long_answer(every=1.0)]) as at,
        at.on.client.stream("GET", URL) as response,
    ):
        moments = [at.on.clock.monotonic() async for _ in response.aiter_raw()]
        assert (moments[0], moments[-1]) == (1.0, 20.0)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [("HEAD", {}, 200), ("GET", {"If-None-Match": '"1"'}, 304), ("HEAD", {"If-None-Match": '"1"'}, 304)],
    ids=str,
)
async def test_what_needs_no_body_reads_none(
    family: FamilyModules, tmp_path: Path, method: str, headers: dict[str, str], status: int
) -> None:
    async with scene(family, tmp_path, [long_answer(length=len(LONG))]) as at:
        await at.on.client.get(URL)
        response = await at.on.client.request(method, URL, headers=headers)
        assert (response.status_code, response.content, told(response)[1]) == (status, b"", "hit")
        assert at.store.pieces_read == 0


async def test_a_304_keeps_the_body_where_it_is(family: FamilyModules, tmp_path: Path) -> None:
    script = [long_answer(), Reply(304, headers={"ETag": '"1"', "Cache-Control": "max-age=90", "X-New": "yes"})]
    async with scene(family, tmp_path, script) as at:
        await at.on.client.get(URL)
        (before,) = at.store.files
        inode = before.stat().st_ino
        await at.on.clock.sleep(61.0)
        for told_of in (("revalidated", "revalidated"), ("cache", "hit")):
            response = await at.on.client.get(URL)
            assert (response.content, told(response), response.headers["x-new"]) == (LONG, told_of, "yes")
        assert [path.stat().st_ino for path in at.store.files] == [inode]
        assert len(at.on.script.sent) == 2


# Never half of it


@pytest.mark.parametrize(
    ("reply", "settings"),
    [
        (long_answer(then=Fails("RemoteProtocolError")), {}),
        (long_answer(length=len(LONG) + 1), {}),
        (long_answer(length=len(LONG) - 1), {}),
        (long_answer(), {"max_entry_bytes": len(LONG) - 1}),
        (long_answer(length=len(LONG)), {"max_entry_bytes": len(LONG) - 1}),
        (long_answer(), {"store": {"largest": len(LONG) - 1}}),
    ],
    ids=["cut off", "too short", "too long", "over the cap", "declared over the cap", "too large for the store"],
)
async def test_a_body_that_is_not_whole_or_too_long_leaves_nothing_in_the_store(
    family: FamilyModules, tmp_path: Path, reply: Reply, settings: dict[str, Any]
) -> None:
    async with scene(family, tmp_path, [reply, long_answer()], **settings) as at:
        try:
            first = await at.on.client.get(URL)
        except family.http.RemoteProtocolError:
            assert reply.then is not None
        else:
            assert (reply.then, first.content) == (None, LONG)
        assert (at.store.files, at.on.pipeline.snapshot()["cache"]["store_faults"]) == ([], 0)
        assert await at.sent_after(family) == "origin"


@LEFT_BY_HTTPX
@pytest.mark.parametrize("chunks", [1, 4, 20])
async def test_an_abandoned_body_leaves_nothing_in_the_store(
    family: FamilyModules, tmp_path: Path, chunks: int
) -> None:
    async with scene(family, tmp_path, [long_answer()]) as at:
        await at.read(chunks=chunks)
        assert at.store.files == []
        assert await at.sent_after(family) == "origin"


@pytest.mark.parametrize("at_step", ["origin", "writer", "write", "finish"])
async def test_a_cancelled_read_leaves_nothing_in_the_store(
    family: FamilyModules, tmp_path: Path, at_step: str
) -> None:
    hangs = long_answer(then=Hangs()) if at_step == "origin" else long_answer()
    async with scene(family, tmp_path, [hangs, long_answer()], store_timeout=100.0) as at:
        if at_step != "origin":
            at.store.delays = {at_step: 10.0}
        with at.on.clock.timeout_at(5.0):
            await at.on.client.get(URL)
            pytest.fail("it hangs for longer")
        assert at.on.clock.monotonic() == 5.0
        assert at.store.files == []
        at.store.delays = {}
        assert await at.sent_after(family) == "origin"


async def test_a_dropped_body_is_discarded_at_the_next_chance(family: FamilyModules, tmp_path: Path) -> None:
    async with scene(family, tmp_path, [long_answer()]) as at:
        transport = family.holdfast.ResilientTransport(at.on.pipeline, inner=at.on.script)
        response = await transport.handle_async_request(family.http.Request("GET", URL))
        for _ in range(4):
            await response.stream.__anext__()
        assert len(at.store.parts) == 1
        with pytest.warns(ResourceWarning, match="without being closed"):  # noqa: PT031  (both together drop it)
            del response
            gc.collect()
        await at.on.client.get("http://api.test/other")
        assert at.store.parts == []


async def test_a_body_under_way_while_its_url_is_purged_is_not_stored(family: FamilyModules, tmp_path: Path) -> None:
    async with scene(family, tmp_path, [long_answer(every=1.0)]) as at, anyio.create_task_group() as group:
        group.start_soon(at.on.client.get, URL)
        await at.on.clock.sleep(10.5)
        assert len(at.store.parts) == 1
        await at.on.pipeline.purge(url=URL)
        await at.on.clock.sleep(20.0)
        assert at.store.files == []


# A store in trouble (K23)


@pytest.mark.parametrize("step", ["writer", "write", "finish"])
@pytest.mark.parametrize("trouble", [1.0, StoreError("the disk is full"), RuntimeError("no contract")], ids=str)
async def test_a_store_in_trouble_costs_a_long_body_one_timeout_at_most(
    family: FamilyModules, tmp_path: Path, step: str, trouble: Any
) -> None:
    async with scene(family, tmp_path, [long_answer()]) as at:
        if isinstance(trouble, float):
            at.store.delays[step] = trouble
        else:
            at.store.errors = {step: trouble}
        first = await at.on.client.get(URL)
        assert first.content == LONG
        # What the pieces before it did not use, the last step may.
        saved = 10 * 0.05 if step == "finish" else 0.05
        assert at.on.clock.monotonic() <= saved + 1e-6
        at.store.delays, at.store.errors = {}, {}
        assert await at.sent_after(family) == "origin"
        assert at.store.parts == []
        assert await at.sent_after(family) == "cache"


@pytest.mark.parametrize(
    ("delays", "stored"),
    [
        ([0.04] * 9, True),
        ([0.01, 0.01, 0.1], True),  # it may use what it did not use before
        ([0.01, 0.01, 0.15], False),
        ([0.06], False),
        ([0.049, 0.06], False),
    ],
    ids=str,
)
async def test_a_store_that_falls_behind_is_given_up(
    family: FamilyModules, tmp_path: Path, delays: list[float], stored: bool
) -> None:
    async with scene(family, tmp_path, [long_answer()]) as at:
        at.store.delays = {"write": delays}
        assert (await at.on.client.get(URL)).content == LONG
        assert await at.sent_after(family) == ("cache" if stored else "origin")


@pytest.mark.parametrize("trouble", [{"delays": {"read": 1.0}}, {"errors": {"read": StoreError("down")}}], ids=str)
async def test_a_body_that_cannot_be_read_any_more_is_a_miss(
    family: FamilyModules, tmp_path: Path, trouble: dict[str, Any]
) -> None:
    async with scene(family, tmp_path, [long_answer()]) as at:
        await at.on.client.get(URL)
        for name, value in trouble.items():
            setattr(at.store, name, value)
        began = at.on.clock.monotonic()
        assert await at.sent_after(family) == "origin"
        assert at.on.clock.monotonic() - began <= 0.05 + 1e-6


async def test_a_body_that_is_gone_is_neither_served_nor_validated(family: FamilyModules, tmp_path: Path) -> None:
    script = [long_answer(), Reply(304, headers={"ETag": '"1"'}), long_answer()]
    async with scene(family, tmp_path, script, repeat_last=False) as at:
        await at.on.client.get(URL)
        (body,) = at.store.files
        await at.on.clock.sleep(61.0)
        body.unlink()
        response = await at.on.client.get(URL)
        assert (response.content, told(response)) == (LONG, ("origin", "miss"))
        assert await at.sent_after(family) == "cache"
        (body,) = at.store.files
        body.unlink()
        unsatisfied = await at.on.client.get(URL, headers={"Cache-Control": "only-if-cached"})
        assert unsatisfied.status_code == 504


@pytest.mark.parametrize(
    ("trouble", "read_timeout", "seconds"),
    [
        (("delays", {"read": 100.0}), 5.0, 5.0),
        (("errors", {"read": StoreError("the disk is gone")}), None, 0.0),
        (("missing", 1), None, 0.0),
    ],
    ids=["hangs", "fails", "is short"],
)
async def test_a_stored_body_that_breaks_off_is_a_read_error_like_one_from_the_wire(
    family: FamilyModules, tmp_path: Path, trouble: tuple[str, Any], read_timeout: float | None, seconds: float
) -> None:
    async with scene(family, tmp_path, [long_answer()]) as at:
        await at.on.client.get(URL)
        timeout = family.http.Timeout(None, read=read_timeout)
        async with at.on.client.stream("GET", URL, timeout=timeout) as response:
            assert told(response)[1] == "hit"
            setattr(at.store, *trouble)
            began = at.on.clock.monotonic()
            with pytest.raises(family.http.ReadError, match="stored body broke off"):
                await response.aread()
        assert at.on.clock.monotonic() - began == seconds


@LEFT_BY_HTTPX
async def test_a_reader_that_leaves_lets_go_of_the_store(family: FamilyModules, tmp_path: Path) -> None:
    async with scene(family, tmp_path, [long_answer()]) as at:
        await at.on.client.get(URL)
        await at.read(chunks=2)
        assert at.store.reading == 0
        async with at.on.client.stream("GET", URL) as response:  # read by nobody
            assert (response.status_code, at.store.reading) == (200, 1)
        assert at.store.reading == 0
        at.store.delays = {"read": [0.0, 10.0]}
        with at.on.clock.timeout_at(at.on.clock.monotonic() + 5.0):
            await at.on.client.get(URL)
            pytest.fail("it hangs for longer")
        assert at.store.reading == 0


async def test_a_reader_that_is_dropped_lets_go_of_the_store_at_the_next_chance(
    family: FamilyModules, tmp_path: Path
) -> None:
    async with scene(family, tmp_path, [long_answer()]) as at:
        await at.on.client.get(URL)
        with pytest.warns(ResourceWarning, match="without being closed"):  # noqa: PT031  (both together drop it)
            await at.on.client.send(at.on.client.build_request("GET", URL), stream=True)
            gc.collect()
        assert at.store.reading == 1
        await at.sent_after(family)
        assert at.store.reading == 0


# Many at once


@pytest.mark.parametrize("stored", [True, False])
async def test_those_who_wait_for_a_long_body_get_it_from_the_store_or_go_their_own_way(
    family: FamilyModules, tmp_path: Path, stored: bool
) -> None:
    async with scene(family, tmp_path, [long_answer(every=0.1)]) as at:
        if not stored:
            at.store.errors = {"finish": StoreError("full")}
        got: list[Any] = []

        async def ask() -> None:
            got.append(await at.on.client.get(URL))

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(ask)
        assert [response.content for response in got] == [LONG] * 10
        assert len(at.on.script.sent) == (1 if stored else 10)
        assert sorted(told(response)[1] or "" for response in got) == (["collapsed"] * 9 if stored else []) + [
            "miss"
        ] * (1 if stored else 10)


async def test_a_leader_that_is_cancelled_in_a_long_body_hands_the_fetch_on(
    family: FamilyModules, tmp_path: Path
) -> None:
    async with scene(family, tmp_path, [long_answer(delay=0.5, every=0.1)], spill_bytes=10_000) as at:
        got: list[Any] = []

        async def ask() -> None:
            got.append(await at.on.client.get(URL))

        async with anyio.create_task_group() as group, anyio.create_task_group() as leader:
            leader.start_soon(ask)
            await at.on.clock.sleep(0.01)
            for _ in range(5):
                group.start_soon(ask)
            await at.on.clock.sleep(1.0)
            leader.cancel_scope.cancel()
        assert [response.content for response in got] == [LONG] * 5
        assert len(at.on.script.sent) == 2


# Whose answer it is, after a restart (KeepsSecret)


async def whose(client: Any, headers: dict[str, str]) -> tuple[str, str | None]:
    response = await client.get(URL, headers=headers)
    return response.text, told(response)[1]


def by_credential(number: int, request: Any) -> Reply:
    return answer(request.headers.get("authorization", "nobody").encode())


async def test_answers_to_credentials_are_found_after_a_restart_by_the_one_they_are_for(
    family: FamilyModules, tmp_path: Path
) -> None:
    async with scene(family, tmp_path, by_credential) as first:
        assert await whose(first.on.client, ANN) == ("Bearer ann", "miss")

        def again(clock: Any) -> Pipeline:
            first.store.clock = clock
            return Pipeline(clock=clock, cache=Cache(store=first.store))

        async with stage(family, by_credential, pipeline=again) as second:
            assert await whose(second.client, ANN) == ("Bearer ann", "hit")
            assert await whose(second.client, BOB) == ("Bearer bob", "miss")
            assert await whose(second.client, {}) == ("nobody", "miss")


@pytest.mark.parametrize(
    "trouble",
    [{"delays": {"secret": 1.0}}, {"errors": {"secret": StoreError("down")}}, {"kept_secret": b"short"}],
    ids=str,
)
async def test_without_the_secret_of_the_store_nobody_gets_another_s_answer(
    family: FamilyModules, tmp_path: Path, trouble: dict[str, Any]
) -> None:
    async with scene(family, tmp_path, by_credential) as at:
        assert await whose(at.on.client, ANN) == ("Bearer ann", "miss")

        def again(clock: Any) -> Pipeline:
            at.store.clock = clock
            return Pipeline(clock=clock, cache=Cache(store=at.store))

        good = {name: getattr(at.store, name) for name in trouble}
        async with stage(family, by_credential, pipeline=again) as on:
            for name, value in trouble.items():
                setattr(at.store, name, value)
            assert await whose(on.client, BOB) == ("Bearer bob", "miss")
            assert on.clock.monotonic() <= 0.05 + 1e-6
            for name, value in good.items():
                setattr(at.store, name, value)
            await on.clock.sleep(1.0)  # it is not asked for it all the time
            assert await whose(on.client, ANN) == ("Bearer ann", "hit")
            assert await whose(on.client, BOB) == ("Bearer bob", "miss")
            assert await whose(on.client, BOB) == ("Bearer bob", "hit")


async def test_a_key_of_the_user_s_own_is_used_in_place_of_the_store_s(family: FamilyModules, tmp_path: Path) -> None:
    async with scene(family, tmp_path, by_credential, key=b"k" * 16) as at:
        at.store.errors = {"secret": AssertionError("not to be asked")}
        assert await whose(at.on.client, ANN) == ("Bearer ann", "miss")
        assert at.on.pipeline.snapshot()["cache"]["store_faults"] == 0


# Parts of it. See also test_cache_ranges.py


def part_of(body: bytes, request: Any, *, break_at: int | None = None) -> Reply:
    """A 206 of what is asked for, in chunks; it breaks off after ``break_at`` bytes."""
    first, last = request.headers["range"].removeprefix("bytes=").split("-")
    start, stop = int(first), int(last or len(body) - 1) + 1
    headers = {
        "Cache-Control": "max-age=60",
        "ETag": '"1"',
        "Content-Range": f"bytes {start}-{stop - 1}/{len(body)}",
        "Content-Length": str(stop - start),
    }
    chunks = tuple(body[at : min(at + 400, stop)] for at in range(start, stop, 400))
    if break_at is None:
        return Reply(206, headers=headers, body=chunks)
    return Reply(206, headers=headers, body=chunks[: break_at // 400], then=Fails("ReadError"))


@pytest.mark.parametrize(
    ("wanted", "first", "stop", "pieces"),
    [("0-0", 0, 1, 1), ("2500-2599", 2500, 2600, 1), ("900-3100", 900, 3101, 3), ("-1500", 6500, 8000, 2)],
)
async def test_a_range_is_read_without_what_lies_around_it(
    family: FamilyModules, tmp_path: Path, wanted: str, first: int, stop: int, pieces: int
) -> None:
    async with scene(family, tmp_path, [long_answer()]) as at:
        await at.on.client.get(URL)
        response = await at.on.client.get(URL, headers={"Range": f"bytes={wanted}"})
        assert (response.status_code, response.content) == (206, LONG[first:stop])
        assert response.headers["content-range"] == f"bytes {first}-{stop - 1}/8000"
        assert response.headers["content-length"] == str(stop - first)
        assert (at.store.pieces_read, at.store.reading, len(at.on.script.sent)) == (pieces, 0, 1)
        condition = {"Range": "bytes=0-1", "If-None-Match": '"1"'}
        assert (await at.on.client.get(URL, headers=condition)).status_code == 304
        assert (await at.on.client.get(URL, headers={"Range": "bytes=9000-"})).status_code == 416
        assert at.store.pieces_read == pieces


async def test_a_range_of_a_body_that_is_gone_is_asked_of_the_origin(family: FamilyModules, tmp_path: Path) -> None:
    def far_side(number: int, request: Any) -> Reply:
        return part_of(LONG, request) if "range" in request.headers else long_answer()

    async with scene(family, tmp_path, far_side) as at:
        await at.on.client.get(URL)
        for path in at.store.files:
            path.unlink()
        response = await at.on.client.get(URL, headers={"Range": "bytes=10-19"})
        assert (response.status_code, response.content, told(response)[0]) == (206, LONG[10:20], "origin")


async def test_a_long_download_that_broke_off_goes_on_where_it_did(family: FamilyModules, tmp_path: Path) -> None:
    asked: list[str] = []

    def far_side(number: int, request: Any) -> Reply:
        asked.append(request.headers.get("range", ""))
        if number == 1:
            return replace(long_answer(length=len(LONG), then=Fails("ReadError")), body=CHUNKS[:12])
        return part_of(LONG, request, break_at=2000 if number == 2 else None)

    async with scene(family, tmp_path, far_side) as at:
        for size in (4800, 6800):
            with pytest.raises(family.http.ReadError):
                await at.on.client.get(URL)
            assert (at.store.bodies, at.store.parts) == ([LONG[:size]], [])
        part = await at.on.client.get(URL, headers={"Range": "bytes=100-5099"})
        assert (part.content, told(part)[0]) == (LONG[100:5100], "cache")
        ahead: list[int] = []
        async with at.on.client.stream("GET", URL) as response:
            assert (response.status_code, response.headers["content-length"]) == (200, "8000")
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                ahead.append(len(body) - sum(path.stat().st_size for path in at.store.files if path.suffix == ".part"))
        assert body == LONG
        assert max(ahead[:-1]) <= 2000  # neither the part nor the rest was read into memory
        assert at.store.bodies == [LONG]
        assert await at.sent_after(family) == "cache"
        assert asked == ["", "bytes=4800-", "bytes=6800-"]


async def test_a_part_that_the_store_has_lost_is_fetched_again(family: FamilyModules, tmp_path: Path) -> None:
    def far_side(number: int, request: Any) -> Reply:
        if number == 1:
            return replace(long_answer(length=len(LONG), then=Fails("ReadError")), body=CHUNKS[:12])
        return part_of(LONG, request) if "range" in request.headers else long_answer()

    async with scene(family, tmp_path, far_side) as at:
        with pytest.raises(family.http.ReadError):
            await at.on.client.get(URL)
        for path in at.store.files:
            path.unlink()
        assert await at.sent_after(family) == "origin"
        assert at.on.script.in_flight == 0


async def test_another_part_joins_one_that_the_store_keeps_apart(family: FamilyModules, tmp_path: Path) -> None:
    def far_side(number: int, request: Any) -> Reply:
        if number == 1:
            return replace(long_answer(length=len(LONG), then=Fails("ReadError")), body=CHUNKS[:12])
        return part_of(LONG, request)

    async with scene(family, tmp_path, far_side) as at:
        with pytest.raises(family.http.ReadError):
            await at.on.client.get(URL)
        await at.on.client.get(URL, headers={"Range": "bytes=4800-7999"})
        assert await at.sent_after(family) == "cache"
        assert len(at.on.script.sent) == 2


async def test_a_304_keeps_a_long_part_where_it_is(family: FamilyModules, tmp_path: Path) -> None:
    def far_side(number: int, request: Any) -> Reply:
        if number == 1:
            return replace(long_answer(length=len(LONG), then=Fails("ReadError")), body=CHUNKS[:12])
        return Reply(304, headers={"Cache-Control": "max-age=60", "ETag": '"1"'})

    async with scene(family, tmp_path, far_side) as at:
        with pytest.raises(family.http.ReadError):
            await at.on.client.get(URL)
        await at.on.clock.sleep(61)
        sources: list[str | None] = []
        for _ in range(2):
            part = await at.on.client.get(URL, headers={"Range": "bytes=1000-1099"})
            assert (part.status_code, part.content) == (206, LONG[1000:1100])
            sources.append(told(part)[0])
        assert sources == ["revalidated", "cache"]
        assert (at.store.bodies, len(at.on.script.sent)) == ([LONG[:4800]], 2)
