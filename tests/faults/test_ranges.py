"""Parts of a file over real sockets, from memory and from a SQLite file: never a byte in a wrong place."""

from __future__ import annotations

import gzip
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from holdfast import Cache, MemoryStore
from holdfast.stores.sqlite import SQLiteStore
from holdfast.testing.faulty import Answer, Behaviour, Exchange, FaultyServer, Received
from tests.faults.wire import surviving
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
MIB: Final = 1024 * 1024
BODY: Final = random.Random(9111).randbytes(3 * MIB)


@dataclass(frozen=True, slots=True)
class Torn(Behaviour):
    """Announces all of ``body``, sends so many bytes of it, and drops the connection."""

    body: bytes
    sent: int
    headers: tuple[tuple[bytes, bytes], ...]

    async def play(self, exchange: Exchange) -> None:
        await exchange.start(200, self.headers, length=len(self.body))
        exchange.settle()
        await exchange.send(self.body[: self.sent])
        exchange.close()


@dataclass(slots=True)
class File:
    """A file on an origin that knows ranges; of the first answer only ``torn`` bytes come."""

    body: bytes = BODY
    etag: str = '"1"'
    encoding: str | None = None
    torn: int | None = None
    asked: list[str] = field(default_factory=list)

    def __call__(self, request: Received) -> Behaviour:
        wanted, condition = request.header("range"), request.header("if-range")
        self.asked.append(wanted or "")
        fields = [("cache-control", "max-age=600"), ("etag", self.etag), ("accept-ranges", "bytes")]
        if self.encoding:
            fields.append(("content-encoding", self.encoding))
        headers = tuple((name.encode(), value.encode()) for name, value in fields)
        if self.torn is not None:
            torn, self.torn = self.torn, None
            return Torn(self.body, torn, headers)
        if wanted is None or condition not in (None, self.etag):
            return Answer(headers=headers, body=self.body)
        first, last = wanted.removeprefix("bytes=").split("-")
        start, stop = int(first), min(int(last) + 1 if last else len(self.body), len(self.body))
        told = (b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, len(self.body)))
        return Answer(206, headers=(*headers, told), body=self.body[start:stop])


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        yield server


@pytest.fixture(params=["memory", "sqlite"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where the cache is kept; None: in memory."""
    return tmp_path / "cache.db" if request.param == "sqlite" else None


@asynccontextmanager
async def caching(family: FamilyModules, server: FaultyServer, file: Path | None) -> AsyncIterator[Any]:
    store = MemoryStore() if file is None else SQLiteStore(file)
    try:
        # How fast this machine's disk is at the moment is not what is tested.
        cache = Cache(store=store, store_timeout=60.0)
        async with surviving(family, server, cache=cache, retry=None, breaker=None) as http:
            yield http
    finally:
        await store.aclose()


async def get(http: Any, url: str, wanted: str = "", **headers: str) -> Any:
    fields = {"Accept-Encoding": "identity"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return await http.get(url, headers=fields | ({"Range": f"bytes={wanted}"} if wanted else {}))


async def test_ranges_of_a_file_that_was_read_once_need_no_origin(
    family: FamilyModules, server: FaultyServer, file: Path | None
) -> None:
    server.on("/file", File())
    url = f"{server.url}/file"
    async with caching(family, server, file) as http:
        assert (await get(http, url)).content == BODY
        for wanted, start, stop in (
            ("0-0", 0, 1),
            ("1048570-1048590", 1048570, 1048591),
            ("65535-2097153", 65535, 2097154),
            ("-70001", 3 * MIB - 70001, 3 * MIB),
            ("3145727-", 3 * MIB - 1, 3 * MIB),
        ):
            part = await get(http, url, wanted)
            assert (part.status_code, part.content == BODY[start:stop]) == (206, True)
            assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{3 * MIB}"
            assert part.headers["content-length"] == str(stop - start)
        assert (await get(http, url, "3145728-")).status_code == 416
        assert server.count("/file") == 1


async def test_a_client_goes_on_with_what_it_has_if_it_is_still_the_same(
    family: FamilyModules, server: FaultyServer, file: Path | None
) -> None:
    served = File()
    server.on("/file", served)
    url = f"{server.url}/file"
    async with caching(family, server, file) as http:
        had = (await get(http, url, "0-999999")).content
        rest = await get(http, url, "1000000-", If_Range='"1"')
        assert (rest.status_code, had + rest.content == BODY) == (206, True)
        again = await get(http, url, "1000000-", If_Range='"1"')
        assert (again.status_code, again.content == rest.content) == (206, True)
        other = await get(http, url, "1000000-", If_Range='"0"')
        assert (other.status_code, other.content == BODY) == (200, True)
        assert served.asked == ["bytes=0-999999", "bytes=1000000-"]


@pytest.mark.heavy
async def test_parts_from_several_connections_make_the_whole(
    family: FamilyModules, server: FaultyServer, file: Path | None
) -> None:
    served = File()
    server.on("/file", served)
    url = f"{server.url}/file"
    step = 300_000
    async with caching(family, server, file) as http:
        places = list(range(0, 3 * MIB, step))
        random.Random(3).shuffle(places)
        async with anyio.create_task_group() as tasks:
            limit = anyio.CapacityLimiter(3)

            async def fetch(at: int) -> None:
                async with limit:
                    part = await get(http, url, f"{at}-{at + step - 1}")
                    assert part.content == BODY[at : at + step]

            for at in places:
                tasks.start_soon(fetch, at)
        assert len(served.asked) == len(places)
        assert (await get(http, url)).content == BODY
        assert len(served.asked) == len(places)


@pytest.mark.parametrize("torn", [1, 700_000, 2 * MIB + 1])
async def test_a_download_that_a_connection_lost_goes_on_in_the_next_call(
    family: FamilyModules, server: FaultyServer, file: Path | None, torn: int
) -> None:
    served = File(torn=torn)
    server.on("/file", served)
    url = f"{server.url}/file"
    async with caching(family, server, file) as http:
        with pytest.raises(family.http.RemoteProtocolError):
            await get(http, url)
        whole = await get(http, url)
        assert (whole.status_code, whole.content == BODY) == (200, True)
        assert served.asked[0] == ""
        assert served.asked[1].startswith("bytes=")
        assert 0 < int(served.asked[1][6:-1]) <= torn
        assert (await get(http, url, "-5")).content == BODY[-5:]
        assert len(served.asked) == 2


@pytest.mark.heavy
async def test_an_encoded_file_is_put_together_before_it_is_decoded(
    family: FamilyModules, server: FaultyServer, file: Path | None
) -> None:
    packed = gzip.compress(BODY, 1)
    served = File(packed, encoding="gzip", torn=1_500_000)
    server.on("/file", served)
    async with caching(family, server, file) as http:
        with pytest.raises(family.http.RemoteProtocolError):
            await http.get(f"{server.url}/file")
        assert (await http.get(f"{server.url}/file")).content == BODY
        async with http.stream("GET", f"{server.url}/file", headers={"Range": "bytes=100-1000099"}) as part:
            assert b"".join([chunk async for chunk in part.aiter_raw()]) == packed[100:1_000_100]
        assert len(served.asked) == 2
