"""What does the cache cost, and what does it save? Beside it: hishel, which keeps answers in SQLite.

    python -m benchmarks.cache [--quick] [--rounds N] [--calls N] [--json]

Takes about three minutes. The far side answers at once, over a stream of 1 KiB; a call is a request and its body read
to the end. All run interleaved in one process. Times are CPU times, of all threads, for what never waits; where
SQLite is waited for, the time that passed. hishel follows RFC 9111 here (``rfc=True``), as we do.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from email.utils import formatdate
from pathlib import Path
from typing import Any

import hishel
import hishel.httpx
import hishel.httpx2

from benchmarks import cache_entries
from benchmarks.pipeline import BODY, FAMILIES, RATE, TIMES_OFF, Modules, anchors, slowness
from benchmarks.report import Figure, Rounds, Section, interleaved, median_difference, median_ratio, show
from holdfast import Cache, Pipeline, SQLiteStore

URL = "https://api.example/things/1"
HERD = 100
CACHE_ONLY: dict[str, Any] = {
    "retry": None,
    "breaker": None,
    "concurrency": None,
    "deadline": None,
    "attempt_timeout": None,
}
BARE, MEMORY, SQLITE, HISHEL = "bare transport", "holdfast, memory", "holdfast, SQLite", "hishel, SQLite"
SLOW = (SQLITE, HISHEL)
"""Those that wait for a thread at each call, and are called a tenth as often."""

HIT_BARS = {"httpx": 7.0, "httpx2": 10.0}  # times faster than hishel, through a client
Once = Callable[[], Awaitable[object]]


class Origin:
    """A transport that answers at once, or after ``delay`` seconds, and validates its one ETag."""

    def __init__(self, family: Modules, cache_control: bytes, delay: float = 0.0) -> None:
        http = family.http

        class Body(http.AsyncByteStream):  # type: ignore[misc,name-defined]  # one of two libraries
            def __init__(self, *chunks: bytes) -> None:
                self.chunks = chunks

            async def __aiter__(self) -> AsyncIterator[bytes]:
                for chunk in self.chunks:
                    yield chunk

            async def aclose(self) -> None:
                pass

        self._response, self._body = http.Response, Body
        self.delay = delay
        self._headers = [
            (b"Date", formatdate(usegmt=True).encode("ascii")),
            (b"Content-Type", b"application/json"),
            (b"Content-Length", b"%d" % len(BODY)),
            (b"Cache-Control", cache_control),
            (b"ETag", b'"v1"'),
        ]
        self.requests = 0

    async def handle_async_request(self, request: Any) -> Any:
        self.requests += 1
        if self.delay:
            await asyncio.sleep(self.delay)
        if "if-none-match" in request.headers:
            return self._response(304, headers=self._headers, stream=self._body())
        return self._response(200, headers=self._headers, stream=self._body(BODY))

    async def aclose(self) -> None:
        pass


class Caches:
    """The same origin behind each cache; to be closed with ``stack``."""

    def __init__(self, family: Modules, stack: AsyncExitStack) -> None:
        self._family = family
        self._stack = stack
        self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self._numbers = itertools.count()

    async def around(
        self, cache_control: bytes, delay: float = 0.0, settings: Mapping[str, Any] = CACHE_ONLY
    ) -> dict[str, tuple[Any, Origin]]:
        """A transport and the origin behind it, by name."""
        ours, number = self._family.holdfast.ResilientTransport, next(self._numbers)
        origins = {name: Origin(self._family, cache_control, delay) for name in (BARE, MEMORY, SQLITE, HISHEL)}
        store = SQLiteStore(self._directory / f"holdfast{number}.db")
        self._stack.push_async_callback(store.aclose)
        patient = Cache(store=store, store_timeout=5.0)  # it is measured how long the store takes
        storage = hishel.AsyncSqliteStorage(database_path=self._directory / f"hishel{number}.db")
        caching: Any = hishel.httpx if self._family.name == "httpx" else hishel.httpx2
        transports = {
            BARE: origins[BARE],
            MEMORY: ours(Pipeline(cache=Cache(), **settings), inner=origins[MEMORY]),
            SQLITE: ours(Pipeline(cache=patient, **settings), inner=origins[SQLITE]),
            HISHEL: caching.AsyncCacheTransport(origins[HISHEL], storage=storage, rfc=True),
        }
        self._stack.push_async_callback(transports[HISHEL].aclose)
        return {name: (transport, origins[name]) for name, transport in transports.items()}


class Timing:
    """Microseconds of each subject by round, by both clocks; ``passed`` is filled while ``cpu`` is taken."""

    def __init__(self) -> None:
        self.cpu: Rounds = {}
        self.passed: Rounds = {}

    async def take(self, subjects: Mapping[str, Once], rounds: int, calls: int) -> Timing:
        """Each subject ``calls`` times in each round; the slow ones less often."""
        self.passed = {name: [] for name in subjects}
        each = {
            name: self._timed(name, once, max(3, calls // 10) if name in SLOW else calls)
            for name, once in subjects.items()
        }
        self.cpu = await interleaved(each, rounds)
        return self

    def _timed(self, name: str, once: Once, calls: int) -> Callable[[], Awaitable[float]]:
        async def timed() -> float:
            gc.collect()
            cpu, passed = time.process_time(), time.perf_counter()
            for _ in range(calls):
                await once()
            self.passed[name].append((time.perf_counter() - passed) / calls * 1e6)
            return (time.process_time() - cpu) / calls * 1e6

        return timed


def at_transport(
    family: Modules, transport: Any, urls: Iterator[str] | None = None, headers: Mapping[str, str] | None = None
) -> Once:
    """A call to the transport. A request for one URL is made once, for one of many each time."""
    new, same = family.http.Request, family.http.Request("GET", URL, headers=headers)

    async def once() -> object:
        request = same if urls is None else new("GET", next(urls))
        return await (await transport.handle_async_request(request)).aread()

    return once


def at_client(family: Modules, transport: Any, urls: Iterator[str] | None = None) -> Once:
    """``client.get``."""
    client = family.http.AsyncClient(transport=transport)

    async def once() -> object:
        return await client.get(URL if urls is None else next(urls))

    return once


def new_urls() -> Iterator[str]:
    """One URL after the other."""
    return (f"https://api.example/things/{number}" for number in itertools.count())


KINDS: dict[str, tuple[bytes, bool]] = {
    "fresh hit": (b"max-age=86400", False),
    "304": (b"no-cache", False),
    "miss and store": (b"max-age=86400", True),
    "nothing to store": (b"no-store", False),
}
"""Cache-Control of the origin, and whether each call is for a URL of its own."""


async def costs(family: Modules, kind: str, call: Callable[..., Once], rounds: int, calls: int) -> Timing:
    """What a call of one kind takes with each cache."""
    cache_control, always_new = KINDS[kind]
    async with AsyncExitStack() as stack:
        around = await Caches(family, stack).around(cache_control)
        subjects = {
            name: call(family, transport, new_urls() if always_new else None) for name, (transport, _) in around.items()
        }
        for once in subjects.values():
            await once()
        return await Timing().take(subjects, rounds, calls)


def compared(kind: str, level: str, family: Modules, timing: Timing) -> list[Figure]:
    """One line for each subject: beside the bare transport and beside hishel."""
    figures: list[Figure] = []
    for name in (MEMORY, SQLITE, HISHEL):
        to_bare = median_ratio(timing.cpu, name, BARE)
        faster = median_ratio(timing.passed, HISHEL, name)
        value = f"{statistics.median(timing.passed[name]):.0f} us   {to_bare:.2f} x bare"
        if name != HISHEL:
            value += f"   {faster:.1f} x faster than hishel"
        bar, kept = _bar(kind, level, name, family, to_bare, faster)
        figures.append(Figure(f"{kind}: {name}", value, bar, kept))
    return figures


def _bar(kind: str, level: str, name: str, family: Modules, to_bare: float, faster: float) -> tuple[str, bool | None]:
    match kind, level, name:
        case "fresh hit", "transport", "holdfast, memory":
            return ">= 35 x faster", faster >= 35
        case "fresh hit", "client.get", "holdfast, memory":
            least = HIT_BARS[family.name]
            return f"<= 1.05 x bare, >= {least:.0f} x faster", to_bare <= 1.05 and faster >= least
        case "fresh hit", _, "holdfast, SQLite":
            return ">= 2 x faster", faster >= 2
        case "miss and store", "client.get", "holdfast, memory":
            return "<= 1.25 x bare", to_bare <= 1.25
        case "304", "client.get", "holdfast, memory":
            return "<= 1.2 x bare", to_bare <= 1.2
        case _:
            return "", None


async def looking_on(family: Modules, rounds: int, calls: int) -> Section:
    """What the whole pipeline costs with a cache that looks at an answer which nobody may store."""
    policies: dict[str, Any] = {"rate_limit": RATE, **TIMES_OFF}
    with_cache = policies | {"cache": Cache()}
    bare = Origin(family, b"no-store")
    transports: dict[str, Any] = {BARE: bare}
    for name, settings in (("all policies", policies), ("all policies and the cache", with_cache)):
        inner = Origin(family, b"no-store")
        transports[name] = family.holdfast.ResilientTransport(Pipeline(**settings), inner=inner)
    subjects = {name: at_transport(family, transport) for name, transport in transports.items()}
    extra = anchors(bare.handle_async_request, family.http.Request("GET", URL))
    timing = await Timing().take(subjects | extra, rounds, calls)
    slower = slowness(timing.cpu)
    figures = [Figure("so this machine is slower by", f"{slower:.2f} x")]
    for name in ("all policies", "all policies and the cache"):
        more = median_difference(timing.cpu, name, BARE)
        kept = None if name == "all policies" else more / slower <= 12.0
        bar = "" if kept is None else "<= +12 us"
        figures.append(Figure(name, f"{more:+.1f} us   scaled {more / slower:+.1f} us", bar, kept))
    return Section(f"An answer that nobody may store, {family.name}, at the transport", figures, timing.cpu)


async def herd(family: Modules, rounds: int) -> Section:
    """A hundred at once ask for what nobody has, and what a validation costs afterwards."""
    figures: list[Figure] = []
    found: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        caches = Caches(family, stack)
        crowded = await caches.around(b"max-age=86400", delay=0.05)
        alone = await caches.around(b"max-age=86400")
        for name, (transport, origin) in crowded.items():
            once = at_transport(family, transport)
            await asyncio.gather(*(once() for _ in range(HERD)))
            found[name] = origin.requests
            origin.delay = 0.0
        subjects = {}
        validated = {"Cache-Control": "max-age=0"}
        for name in (MEMORY, SQLITE, HISHEL):
            await at_transport(family, alone[name][0])()
            subjects[name] = at_transport(family, crowded[name][0], headers=validated)
            subjects[f"{name}, alone"] = at_transport(family, alone[name][0], headers=validated)
        timing = await Timing().take(subjects, rounds, 5)
        for name in (MEMORY, SQLITE, HISHEL):
            sent = found[name]
            more = median_ratio(timing.passed, name, f"{name}, alone")
            value = f"{sent} requests to the origin   a later 304: {more:.2f} x one without a herd"
            bar = "" if name == HISHEL else "1, and no more"
            figures.append(Figure(name, value, bar, None if name == HISHEL else sent == 1 and more <= 1.2))
    return Section(f"{HERD} cold calls at once, {family.name}", figures, {"requests": found, "after": timing.passed})


async def measure(rounds: int, calls: int, entries: int) -> list[Section]:
    """Both families, at the transport and through a client; then a store full of entries."""
    sections: list[Section] = []
    for family in FAMILIES:
        for level, call in (("transport", at_transport), ("client.get", at_client)):
            figures: list[Figure] = []
            found: dict[str, Any] = {}
            for kind in KINDS:
                timing = await costs(family, kind, call, rounds, calls)
                figures += compared(kind, level, family, timing)
                found[kind] = {"cpu": timing.cpu, "passed": timing.passed}
            sections.append(Section(f"The cache, {family.name}, {level}", figures, found))
        sections.append(await looking_on(family, rounds, calls))
        sections.append(await herd(family, rounds))
    sections.append(cache_entries.measure(entries))
    return sections


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="whether it runs, not how fast")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=100, help="of each subject in each round")
    parser.add_argument("--entries", type=int, default=1_000_000, help="in the store that is looked up")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    sizes = (3, 20, 20_000) if given.quick else (given.rounds, given.calls, given.entries)
    print(show(asyncio.run(measure(*sizes)), as_json=given.json))
