"""Ranges: what is cut from a stored answer, what is kept of a part, and how a part becomes a whole."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from holdfast import Cache, MemoryStore, Offline, Pipeline
from holdfast.testing import Fails, Reply
from tests.cache_origin import answer, status_of, told
from tests.cache_stores import Remote
from tests.scripting import URL, Stage, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
CACHED: dict[str, Any] = {"cache": Cache()}
TEN = b"0123456789"
LONG = bytes(range(256)) * 4096  # 1 MiB


@dataclass(slots=True)
class File:
    """An origin's file, which knows ranges and conditions (RFC 9110 13.2.2, 14.2), and what it was asked for."""

    body: bytes = TEN
    etag: str = '"1"'
    headers: dict[str, str] = field(default_factory=dict)
    max_age: int = 60
    delay: float = 0.0
    break_at: int | None = None  # bytes of the next answer that come before the connection breaks
    chunks_of: int | None = None  # bytes; None: the body is here with its fields
    asked: list[str] = field(default_factory=list)

    def __call__(self, number: int, request: Any) -> Reply:
        wanted, condition = request.headers.get("range", ""), request.headers.get("if-range")
        self.asked.append(wanted + (f" if {condition}" if condition else ""))
        headers = {"Cache-Control": f"max-age={self.max_age}", "ETag": self.etag, **self.headers}
        if request.headers.get("if-none-match") == self.etag:
            return Reply(304, headers=headers, delay=self.delay)
        status, body = 200, self.body
        if wanted and (condition is None or condition == self.etag):
            first, last = wanted.removeprefix("bytes=").split("-")
            start = int(first) if first else max(0, len(self.body) - int(last))
            stop = len(self.body) if not first or not last else min(int(last) + 1, len(self.body))
            if start >= stop:
                headers["Content-Range"] = f"bytes */{len(self.body)}"
                return Reply(416, headers={**headers, "Content-Length": "0"})
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(self.body)}"
            status, body = 206, self.body[start:stop]
        headers["Content-Length"] = str(len(body))
        if self.break_at is None and self.chunks_of is not None:
            chunks = tuple(body[at : at + self.chunks_of] for at in range(0, len(body), self.chunks_of))
            return Reply(status, headers=headers, body=chunks, delay=self.delay)
        if self.break_at is None:
            return Reply(status, headers=headers, body=body, delay=self.delay)
        broken, self.break_at = self.break_at, None
        return Reply(status, headers=headers, body=(body[:broken],), then=Fails("ReadError"))


async def get(on: Stage, wanted: str = "", **headers: str) -> Any:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return await on.client.get(URL, headers={**({"Range": f"bytes={wanted}"} if wanted else {}), **fields})


# From a whole answer


@pytest.mark.parametrize(
    ("wanted", "status", "content", "content_range"),
    [
        ("2-4", 206, b"234", "bytes 2-4/10"),
        ("7-", 206, b"789", "bytes 7-9/10"),
        ("-3", 206, b"789", "bytes 7-9/10"),
        ("0-", 206, TEN, "bytes 0-9/10"),
        ("5-99", 206, b"56789", "bytes 5-9/10"),
        ("3-5,0-2,5-6", 206, b"0123456", "bytes 0-6/10"),
        ("10-", 416, b"", "bytes */10"),
    ],
)
async def test_a_stored_answer_gives_any_part_of_itself(
    family: FamilyModules, wanted: str, status: int, content: bytes, content_range: str
) -> None:
    async with stage(family, File(headers={"X-Kept": "1", "Content-Type": "text/plain"}), **CACHED) as on:
        await get(on)
        await on.clock.sleep(5)
        response = await get(on, wanted)
        assert (response.status_code, response.content) == (status, content)
        assert response.headers["content-range"] == content_range
        assert response.headers["content-length"] == str(len(content))
        assert (response.headers["age"], response.headers["etag"]) == ("5", '"1"')
        assert ("x-kept" in response.headers) == (status == 206)
        assert (status_of(response), told(response)) == ("holdfast; hit; ttl=55", ("cache", "hit"))
        assert len(on.script.sent) == 1
        assert (await get(on)).content == TEN


@pytest.mark.parametrize("wanted", ["0-0,5-5", "x", "9-0"])
async def test_what_we_do_not_answer_goes_to_the_origin_as_it_is(family: FamilyModules, wanted: str) -> None:
    script = [answer(TEN), answer(b"many parts", 206, Content_Type="multipart/byteranges; boundary=x")]
    async with stage(family, script, **CACHED) as on:
        await get(on)
        response = await get(on, wanted)
        assert (response.status_code, response.content) == (206, b"many parts")
        assert dict(on.script.sent[1].headers)[b"Range"] == f"bytes={wanted}".encode()
        assert (await get(on)).content == TEN


@pytest.mark.parametrize(
    ("method", "headers", "status", "content"),
    [
        ("GET", {"If-Range": '"1"'}, 206, b"234"),
        ("GET", {"If-Range": '"2"'}, 200, TEN),
        ("GET", {"If-Range": 'W/"1"'}, 200, TEN),
        ("GET", {"If-None-Match": '"1"'}, 304, b""),
        ("GET", {"If-None-Match": '"2"', "If-Range": '"1"'}, 206, b"234"),
        ("HEAD", {}, 200, b""),
    ],
)
async def test_conditions_and_methods_come_before_the_range(
    family: FamilyModules, method: str, headers: dict[str, str], status: int, content: bytes
) -> None:
    async with stage(family, File(), **CACHED) as on:
        await get(on)
        response = await on.client.request(method, URL, headers={"Range": "bytes=2-4", **headers})
        assert (response.status_code, response.content, len(on.script.sent)) == (status, content, 1)


async def test_a_post_has_no_range(family: FamilyModules) -> None:
    async with stage(family, [answer(TEN), answer(b"done"), answer(b"again")], **CACHED) as on:
        await get(on)
        posted = await on.client.post(URL, headers={"Range": "bytes=0-1"})
        assert (posted.status_code, posted.content) == (200, b"done")
        assert (await get(on, "0-1")).content == b"again"


async def test_a_stale_answer_is_validated_and_then_cut(family: FamilyModules) -> None:
    file = File()
    async with stage(family, file, **CACHED) as on:
        await get(on)
        await on.clock.sleep(61)
        response = await get(on, "2-4")
        assert (response.status_code, response.content) == (206, b"234")
        assert status_of(response) == "holdfast; fwd=stale; fwd-status=304; stored"
        assert (await get(on)).content == TEN
        assert len(on.script.sent) == 2


async def test_a_part_of_a_newer_version_takes_the_place_of_the_older_whole(family: FamilyModules) -> None:
    file = File()
    async with stage(family, file, **CACHED) as on:
        await get(on)
        file.body, file.etag = b"abcdefghij", '"2"'
        await on.clock.sleep(61)
        assert (await get(on, "2-4")).content == b"cde"
        assert (await get(on, "3-4")).content == b"de"
        assert (await get(on)).content == b"abcdefghij"
        assert file.asked == ["", "bytes=2-4", ""]


async def test_an_origin_in_trouble_leaves_the_stored_answer(family: FamilyModules) -> None:
    script = [answer(TEN, ETag='"1"'), answer(b"", 503), answer(b"", 416, Content_Range="bytes */1"), Reply(304)]
    async with stage(family, script, retry=None, **CACHED) as on:
        await get(on)
        await on.clock.sleep(61)
        assert [(await get(on, "0-1")).status_code for _ in range(3)] == [503, 416, 206]


async def test_a_part_of_a_stale_answer_is_given_while_the_whole_is_refreshed(family: FamilyModules) -> None:
    file = File(headers={"Cache-Control": "max-age=60, stale-while-revalidate=60"})
    async with stage(family, file, **CACHED) as on:
        await get(on)
        await on.clock.sleep(61)
        file.body, file.etag = b"abcdefghij", '"2"'
        stale = await get(on, "2-4")
        assert (stale.status_code, stale.content) == (206, b"234")
        await on.clock.sleep(1)
        assert (await get(on)).content == b"abcdefghij"
        assert file.asked == ["", ""]


async def test_a_part_stands_in_for_an_error_and_while_offline(family: FamilyModules) -> None:
    part = answer(b"23456", 206, ETag='"1"', Content_Range="bytes 2-6/10")
    script = [part, answer(b"", 503), answer(b"", 503)]
    async with stage(family, script, retry=None, cache=Cache(stale_if_error=3600)) as on:
        await get(on, "2-6")
        await on.clock.sleep(61)
        instead = await get(on, "3-4")
        assert (instead.status_code, instead.content) == (206, b"34")
        assert (await get(on, "3-7")).status_code == 503
        on.pipeline.offline()
        stored = await get(on, "5-6")
        assert (stored.status_code, stored.content, stored.headers["content-range"]) == (206, b"56", "bytes 5-6/10")
        for wanted in ("", "5-7"):
            with pytest.raises(Offline):
                await get(on, wanted)


# From parts


async def test_what_is_not_stored_is_fetched_as_asked_and_kept(family: FamilyModules) -> None:
    file = File()
    async with stage(family, file, **CACHED) as on:
        first = await get(on, "2-6")
        assert (first.status_code, first.content, first.headers["content-range"]) == (206, b"23456", "bytes 2-6/10")
        assert status_of(first) == "holdfast; fwd=uri-miss; stored"
        again = await get(on, "3-4")
        assert (again.status_code, again.content, again.headers["content-range"]) == (206, b"34", "bytes 3-4/10")
        assert status_of(again) == "holdfast; hit; ttl=60"
        wider = await get(on, "3-8")
        assert (wider.content, status_of(wider)) == (b"345678", "holdfast; fwd=partial; stored")
        assert (await get(on, "2-8")).content == b"2345678"
        assert file.asked == ["bytes=2-6", "bytes=3-8"]


@pytest.mark.parametrize("etag", ['"1"', 'W/"1"', ""])
@pytest.mark.parametrize("asked", [{}, {"Cache-Control": "max-stale"}, {"Cache-Control": "max-age=5"}])
async def test_a_part_is_never_the_answer_to_a_plain_get_or_head(
    family: FamilyModules, etag: str, asked: dict[str, str]
) -> None:
    file = File(headers={"ETag": etag})
    async with stage(family, file, **CACHED) as on:
        await get(on, "0-4")
        headed = await on.client.head(URL, headers=asked)
        assert headed.headers.get("content-range") is None
        whole = await on.client.get(URL, headers=asked)
        assert (whole.status_code, whole.content, whole.headers["content-length"]) == (200, TEN, "10")
        assert "content-range" not in whole.headers
        assert len(on.script.sent) == 3


async def test_nothing_but_what_is_cached_is_no_part(family: FamilyModules) -> None:
    async with stage(family, File(), **CACHED) as on:
        await get(on, "0-4")
        assert (await get(on, Cache_Control="only-if-cached")).status_code == 504
        assert (await get(on, "0-5", Cache_Control="only-if-cached")).status_code == 504
        assert (await get(on, "0-3", Cache_Control="only-if-cached")).content == b"0123"


async def test_parts_that_are_everything_answer_a_plain_get(family: FamilyModules) -> None:
    file = File()
    async with stage(family, file, **CACHED) as on:
        for wanted in ("6-", "0-2", "2-6"):
            await get(on, wanted)
        whole = await get(on)
        assert (whole.status_code, whole.content, whole.headers["content-length"]) == (200, TEN, "10")
        assert (await on.client.head(URL)).headers["content-length"] == "10"
        assert len(on.script.sent) == 3


@pytest.mark.parametrize("slow", [False, True], ids=["memory", "a store that has to be waited for"])
async def test_parts_fetched_at_once_are_all_kept(family: FamilyModules, slow: bool) -> None:
    file = File(delay=1.0)

    def pipeline(clock: Any) -> Pipeline:
        return Pipeline(cache=Cache(store=Remote(clock) if slow else None), clock=clock)

    async with stage(family, file, pipeline=pipeline) as on:
        async with anyio.create_task_group() as tasks:
            for wanted in ("0-2", "3-5", "6-9"):
                tasks.start_soon(get, on, wanted)
        assert len(set(on.times)) == 1  # nobody waited for another
        assert (await get(on)).content == TEN
        assert len(on.script.sent) == 3


async def test_a_range_neither_joins_nor_leads_a_fetch(family: FamilyModules) -> None:
    file = File(delay=1.0)
    got: list[tuple[int, bytes]] = []
    async with stage(family, file, **CACHED) as on:

        async def note(wanted: str, after: float) -> None:
            await on.clock.sleep(after)
            response = await get(on, wanted)
            got.append((response.status_code, response.content))

        async with anyio.create_task_group() as tasks:
            for wanted, after in (("0-4", 0.0), ("", 0.1), ("5-9", 0.2), ("", 0.3)):
                tasks.start_soon(note, wanted, after)
        assert sorted(got) == [(200, TEN), (200, TEN), (206, b"01234"), (206, b"56789")]
        assert on.times == [0.0, 0.1, 0.2]


async def test_versions_are_never_mixed(family: FamilyModules) -> None:
    file = File()
    async with stage(family, file, **CACHED) as on:
        await get(on, "0-4")
        file.body, file.etag = b"abcdefghij", '"2"'
        assert (await get(on, "5-9")).content == b"fghij"
        assert (await get(on, "0-4")).content == b"abcde"
        assert (await get(on)).content == b"abcdefghij"
        assert len(on.script.sent) == 3


async def test_parts_are_kept_apart_by_variant_and_by_user(family: FamilyModules) -> None:
    def far_side(number: int, request: Any) -> Reply:
        language, user = request.headers.get("accept-language"), request.headers.get("authorization")
        return File(f"{language:_<5}{user:_<5}".encode(), headers={"Vary": "Accept-Language"})(number, request)

    async with stage(family, far_side, **CACHED) as on:
        for _ in range(2):
            for language in ("de", "en"):
                for user in ("me", "you"):
                    response = await get(on, "0-9", Accept_Language=language, Authorization=user)
                    assert response.text == f"{language:_<5}{user:_<5}"
        assert len(on.script.sent) == 4


@pytest.mark.parametrize(("etag", "sent"), [('"1"', "304"), ('W/"1"', "206")])
async def test_a_stale_part_is_validated_only_by_a_strong_validator(
    family: FamilyModules, etag: str, sent: str
) -> None:
    async with stage(family, File(etag=etag), **CACHED) as on:
        await get(on, "0-4")
        await on.clock.sleep(61)
        response = await get(on, "1-2")
        assert (response.status_code, response.content) == (206, b"12")
        assert ("fwd-status=304" in status_of(response)) == (sent == "304")
        assert (await get(on, "1-2")).content == b"12"
        assert len(on.script.sent) == 2


async def test_a_purge_removes_parts_and_those_on_their_way(family: FamilyModules) -> None:
    file = File(delay=1.0)
    async with stage(family, file, **CACHED) as on:
        await get(on, "0-4")
        assert await on.pipeline.purge(url=URL) == 1
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(get, on, "5-9")
            await on.clock.sleep(0.5)
            await on.pipeline.purge(url=URL)
        await get(on, "5-9")
        assert len(on.script.sent) == 3


@pytest.mark.parametrize(
    "reply",
    [
        answer(b"01234", 206, ETag='"1"'),
        answer(b"01234", 206, ETag='"1"', Content_Range="bytes 4-9/10"),
        answer(b"01234", 206, ETag='"1"', Content_Range="bytes 0-4/*"),
        answer(b"01234", 206, ETag='"1"', Content_Range="bytes 0-4/10", Cache_Control="no-store"),
        answer(b"", 416, Content_Range="bytes */10"),
        answer(b"01234", 404),
        Reply(206, headers={"Cache-Control": "max-age=60", "Content-Range": "bytes 0-4/10"}, body=(b"0123",)),
    ],
    ids=["no range", "too short", "of unknown length", "no-store", "416", "404", "shorter than it says"],
)
async def test_what_is_no_part_is_not_kept(family: FamilyModules, reply: Reply) -> None:
    async with stage(family, [reply], repeat_last=True, **CACHED) as on:
        for _ in range(2):
            assert "stored" not in status_of(await get(on, "0-4"))
        assert len(on.script.sent) == 2
        assert on.pipeline.snapshot()["cache"]["stored"] == 0


# The rest


async def test_a_plain_get_asks_for_the_rest_only(family: FamilyModules) -> None:
    file = File(headers={"X-Seen": "1"})
    async with stage(family, file, **CACHED) as on:
        await get(on, "0-2")
        await get(on, "8-")
        file.headers["X-Seen"] = "2"
        whole = await get(on)
        assert (whole.status_code, whole.reason_phrase, whole.content) == (200, "OK", TEN)
        assert (whole.headers["content-length"], whole.headers["x-seen"]) == ("10", "2")
        assert "content-range" not in whole.headers
        assert status_of(whole).startswith("holdfast; fwd=partial; fwd-status=206")
        assert file.asked[2:] == ['bytes=3-7 if "1"']
        assert (await get(on)).content == TEN
        assert len(on.script.sent) == 3


async def test_a_rest_of_another_version_is_the_whole_of_it(family: FamilyModules) -> None:
    file = File()
    async with stage(family, file, **CACHED) as on:
        await get(on, "0-4")
        file.body, file.etag = b"abc", '"2"'
        assert (await get(on)).content == b"abc"
        assert (await get(on, "1-")).content == b"bc"
        assert file.asked == ["bytes=0-4", 'bytes=5- if "1"']


@pytest.mark.parametrize(
    "wrong",
    [
        answer(b"6789", 206, ETag='"1"', Content_Range="bytes 6-9/10"),
        answer(b"56789", 206, ETag='"2"', Content_Range="bytes 5-9/10"),
        answer(b"56789", 206, Content_Range="bytes 5-9/10"),
        answer(b"", 416, Content_Range="bytes */10"),
    ],
    ids=["another place", "another version", "no version", "416"],
)
async def test_a_rest_that_does_not_fit_is_not_used(family: FamilyModules, wrong: Reply) -> None:
    part = answer(b"01234", 206, ETag='"1"', Content_Range="bytes 0-4/10")
    async with stage(family, [part, wrong, answer(TEN, ETag='"1"')], **CACHED) as on:
        await get(on, "0-4")
        assert (await get(on)).content == TEN
        assert b"Range" not in dict(on.script.sent[2].headers)
        assert on.script.in_flight == 0


@pytest.mark.parametrize("chunks", [(b"567",), (b"567", b"89x")], ids=["shorter", "longer"])
async def test_a_rest_of_another_length_is_an_error_and_not_an_answer(
    family: FamilyModules, chunks: tuple[bytes, ...]
) -> None:
    fields = {"Cache-Control": "max-age=60", "ETag": '"1"'}
    parts = [
        Reply(206, headers={**fields, "Content-Range": "bytes 0-2/10"}, body=b"012"),
        Reply(206, headers={**fields, "Content-Range": "bytes 8-9/10"}, body=b"89"),
        Reply(206, headers={**fields, "Content-Range": "bytes 3-7/10"}, body=chunks),
    ]
    async with stage(family, parts, retry=None, **CACHED) as on:
        await get(on, "0-2")
        await get(on, "8-")
        with pytest.raises(family.http.ReadError):
            await get(on)
        assert (await get(on, "8-")).content == b"89"
        assert on.script.in_flight == 0


async def test_those_who_wait_get_the_completed_answer(family: FamilyModules) -> None:
    file = File(delay=1.0)
    async with stage(family, file, **CACHED) as on:
        await get(on, "0-4")
        got: list[bytes] = []

        async def note() -> None:
            got.append((await get(on)).content)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(note)
        assert got == [TEN] * 5
        assert len(on.script.sent) == 2


# On trio httpx 0.28.1 leaves its own generator to the collector when a stream is not read to its end.
@pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")
async def test_a_completed_answer_that_was_left_frees_its_connection_and_its_part(family: FamilyModules) -> None:
    file = File(LONG, chunks_of=100_000)
    async with stage(family, file, **CACHED) as on:
        await get(on, "0-99999")
        async with on.client.stream("GET", URL) as response, aclosing(response.aiter_raw()) as chunks:
            assert await anext(chunks) == LONG[:100_000]
        assert on.script.in_flight == 0
        assert (await get(on, "5-9")).content == LONG[5:10]
        assert len(on.script.sent) == 2


# Broken off


@pytest.mark.parametrize("etag", ['"1"', 'W/"1"'])
async def test_a_download_that_broke_off_goes_on_where_it_did(family: FamilyModules, etag: str) -> None:
    file = File(LONG, etag=etag, break_at=700_000)
    async with stage(family, file, retry=None, **CACHED) as on:
        with pytest.raises(family.http.ReadError):
            await get(on)
        whole = await get(on)
        assert (whole.status_code, whole.content) == (200, LONG)
        assert file.asked[1] == ('bytes=700000- if "1"' if etag == '"1"' else "")
        assert (await get(on, "-1")).content == LONG[-1:]
        assert len(on.script.sent) == 2


async def test_a_download_may_break_off_again(family: FamilyModules) -> None:
    file = File(LONG, break_at=300_000)
    async with stage(family, file, retry=None, **CACHED) as on:
        for _ in range(2):
            with pytest.raises(family.http.ReadError):
                await get(on)
            file.break_at = 400_000 if len(file.asked) == 1 else None
        assert (await get(on)).content == LONG
        assert file.asked == ["", 'bytes=300000- if "1"', 'bytes=700000- if "1"']


async def test_a_new_version_that_broke_off_leaves_the_old_one(family: FamilyModules) -> None:
    file = File(LONG)
    async with stage(family, file, retry=None, **CACHED) as on:
        await get(on)
        await on.clock.sleep(61)
        file.body, file.etag, file.break_at = LONG[::-1], '"2"', 1000
        with pytest.raises(family.http.ReadError):
            await get(on)
        old = await get(on, Cache_Control="max-stale")
        assert old.content == LONG


# On trio httpx 0.28.1 leaves its own generator to the collector when a stream is not read to its end.
@pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")
async def test_an_answer_that_was_left_is_not_kept(family: FamilyModules) -> None:
    file = File(LONG, chunks_of=1000)
    async with stage(family, file, **CACHED) as on:
        async with on.client.stream("GET", URL) as response, aclosing(response.aiter_raw()) as chunks:
            assert await anext(chunks) == LONG[:1000]
        await get(on)
        assert file.asked == ["", ""]


@pytest.mark.parametrize(
    "make",
    [lambda: Cache(max_entry_bytes=1000), lambda: Cache(store=MemoryStore(max_bytes=2000))],
    ids=["entry", "store"],
)
async def test_parts_are_bounded_like_answers(family: FamilyModules, make: Callable[[], Cache]) -> None:
    file = File(LONG)
    async with stage(family, file, cache=make()) as on:
        for at in range(0, 10_000, 500):
            await get(on, f"{at}-{at + 499}")
        assert (await get(on, "9600-9900")).content == LONG[9600:9901]
        assert (await get(on, "0-10")).content == LONG[:11]
        assert (await get(on, "0-5000")).content == LONG[:5001]
        assert len(on.script.sent) >= 21
