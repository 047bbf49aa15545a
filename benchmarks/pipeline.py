"""What does the whole pipeline cost a call that goes well?

    python -m benchmarks.pipeline [--quick] [--rounds N] [--json]

One call is a request handed to the transport and its answer of 1 KiB read to the end. The far side answers at
once: it builds a Response from raw headers over a stream, as a real transport does. All run interleaved in one
process; its CPU time is taken, and medians over the rounds are shown. Ratios are facts. "Scaled" is an inference:
microseconds on the machine of the bars, where it is known what a cancel scope, an aiolimiter and a bare call took.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import tenacity
from aiolimiter import AsyncLimiter
from purgatory import AsyncCircuitBreakerFactory

from benchmarks.report import Figure, Rounds, Section, interleaved, median_difference, median_ratio, show
from holdfast import CircuitBreaker, ConcurrencyLimit, Pipeline, RateLimit, Retry

BODY = b"x" * 1024
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"1024")]
URL = "https://api.example/things"
ENDLESS = 1e9  # a limit that never holds anybody back
# Microseconds on the machine of the bars: what ours may take over the bare transport, and what it was known by.
BARS = {"holdfast, no limits in time": 5.0, "holdfast, defaults": 18.0}
ANCHORS = {"a bare call, unread": 2.5, "anyio.CancelScope": 7.0, "aiolimiter's acquire": 1.0}

Send = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Modules:
    """One family: the library, and ours for it."""

    name: str
    http: Any
    holdfast: Any


FAMILIES = [
    Modules(name, importlib.import_module(name), importlib.import_module(f"holdfast.{name}"))
    for name in ("httpx", "httpx2")
]


def far_side(family: Modules) -> Any:
    """A transport that answers at once."""
    http = family.http

    class Body(http.AsyncByteStream):  # type: ignore[misc,name-defined]  # one of two libraries
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield BODY

        async def aclose(self) -> None:
            pass

    class FarSide:
        async def handle_async_request(self, request: Any) -> Any:
            return http.Response(200, headers=HEADERS, stream=Body())

        async def aclose(self) -> None:
            pass

    return FarSide()


def assembled(family: Modules, inner: Any, breaker: Any) -> Any:
    """The stack that one builds by hand: tenacity around purgatory around aiolimiter."""
    http, limiter = family.http, AsyncLimiter(ENDLESS / 100, 0.01)
    controller = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=20.0),
        retry=tenacity.retry_if_exception_type(http.TransportError),
        reraise=True,
    )

    class Assembled:
        async def handle_async_request(self, request: Any) -> Any:
            return await controller(self.once, request)

        async def once(self, request: Any) -> Any:
            async with await breaker.get_breaker("api.example"):
                await limiter.acquire()
                return await inner.handle_async_request(request)

        async def aclose(self) -> None:
            await inner.aclose()

    return Assembled()


LAYERS_OFF: dict[str, Any] = {"retry": None, "breaker": None, "concurrency": None}
TIMES_OFF: dict[str, Any] = {"deadline": None, "attempt_timeout": None, "buffer_body": False}
RATE = RateLimit(ENDLESS, per=1.0)
OURS: dict[str, dict[str, Any]] = {
    "holdfast, no limits in time": {"rate_limit": RATE, **TIMES_OFF},
    "holdfast, defaults": {"rate_limit": RATE},
}
ONE_LAYER: dict[str, dict[str, Any]] = {
    "the frame alone": {**LAYERS_OFF, **TIMES_OFF},
    "frame + retry and budget": {**LAYERS_OFF, **TIMES_OFF, "retry": Retry()},
    "frame + circuit breaker": {**LAYERS_OFF, **TIMES_OFF, "breaker": CircuitBreaker()},
    "frame + concurrency limit": {**LAYERS_OFF, **TIMES_OFF, "concurrency": ConcurrencyLimit(100)},
    "frame + rate limit": {**LAYERS_OFF, **TIMES_OFF, "rate_limit": RATE},
    "frame + body buffer": {**LAYERS_OFF, **TIMES_OFF, "buffer_body": "auto"},
    "frame + deadline, body buffer": LAYERS_OFF,
}


async def transports(family: Modules, *, layers: bool = False) -> dict[str, Any]:
    """Every stack around a far side of its own."""
    found = {"bare transport": far_side(family)}
    for name, settings in (OURS | ONE_LAYER if layers else OURS).items():
        found[name] = family.holdfast.ResilientTransport(Pipeline(**settings), inner=far_side(family))
    factory = AsyncCircuitBreakerFactory()
    await factory.initialize()
    found["assembled by hand"] = assembled(family, far_side(family), factory)
    return found


async def stacks(family: Modules, *, layers: bool = False) -> dict[str, Send]:
    """The same, as what one awaits."""
    made = await transports(family, layers=layers)
    return {name: transport.handle_async_request for name, transport in made.items()}


async def exchange(send: Send, family: Modules) -> None:
    """One call: there, back, and the body read."""
    response = await send(family.http.Request("GET", URL))
    await response.aread()


async def each(once: Callable[[], Awaitable[object]], calls: int) -> float:
    """Microseconds of CPU for one call, awaited one after the other: nothing here waits for anything else."""
    gc.collect()
    await asyncio.sleep(0)  # as every real call does: the loop forgets the timers that were left in time
    started = time.process_time()
    for _ in range(calls):
        await once()
    return (time.process_time() - started) / calls * 1e6


async def at_transport(family: Modules, rounds: int, calls: int) -> Rounds:
    """Microseconds for a call through each stack. Building the request is no part of it."""
    request = family.http.Request("GET", URL)

    def reading(send: Send) -> Callable[[], Awaitable[object]]:
        async def once() -> object:
            return await (await send(request)).aread()

        return once

    sends = await stacks(family, layers=True)
    subjects = {name: _timed(reading(send), calls) for name, send in sends.items()}
    named = {name: _timed(once, calls) for name, once in anchors(sends["bare transport"], request).items()}
    return await interleaved(subjects | named, rounds)


async def at_client(family: Modules, rounds: int, calls: int) -> Rounds:
    """Microseconds for ``client.get``."""
    clients = {name: family.http.AsyncClient(transport=it) for name, it in (await transports(family)).items()}

    def getting(client: Any) -> Callable[[], Awaitable[object]]:
        return lambda: client.get(URL)

    taken = await interleaved({name: _timed(getting(it), calls) for name, it in clients.items()}, rounds)
    for client in clients.values():
        await client.aclose()
    return taken


def _timed(once: Callable[[], Awaitable[object]], calls: int) -> Callable[[], Awaitable[float]]:
    return lambda: each(once, calls)


def anchors(bare: Send, request: Any) -> dict[str, Callable[[], Awaitable[object]]]:
    """What is known of the machine of the bars."""
    limiter = AsyncLimiter(ENDLESS / 100, 0.01)

    async def scope() -> None:
        with anyio.CancelScope(deadline=time.monotonic() + 3600.0):  # noqa: ASYNC100 - what the scope itself costs
            pass

    once: list[Callable[[], Awaitable[object]]] = [lambda: bare(request), scope, limiter.acquire]
    return dict(zip(ANCHORS, once, strict=True))


def slowness(rounds: Rounds) -> float:
    """How many times slower than the machine of the bars this one was, judged by the anchors."""
    return statistics.median(statistics.median(rounds[name]) / took for name, took in ANCHORS.items())


def figures_at_transport(rounds: Rounds) -> list[Figure]:
    """Differences to the bare transport, as measured and on the machine of the bars."""
    slower, bare = slowness(rounds), "bare transport"
    figures = [
        Figure(f"anchor: {name}", f"{statistics.median(rounds[name]):.2f} us", f"{took:g} us")
        for name, took in ANCHORS.items()
    ]
    figures += [
        Figure("so this machine is slower by", f"{slower:.2f} x"),
        Figure("bare transport", f"{statistics.median(rounds[bare]):.1f} us"),
    ]
    for name in rounds:
        if name == bare or name in ANCHORS:
            continue
        more = median_difference(rounds, name, bare)
        bar = BARS.get(name)
        value = f"{median_ratio(rounds, name, bare):.2f} x   {more:+.1f} us   scaled {more / slower:+.1f} us"
        figures.append(
            Figure(name, value, "" if bar is None else f"<= +{bar:g} us", None if bar is None else more / slower <= bar)
        )
    return figures


async def measure(rounds: int, calls: int) -> list[Section]:
    """Both families, at the transport and through a client."""
    sections: list[Section] = []
    for family in FAMILIES:
        low, high = await at_transport(family, rounds, calls), await at_client(family, rounds, calls // 2)
        sections.append(
            Section(f"A call that goes well, {family.name}, at the transport", figures_at_transport(low), low)
        )
        ratios = [
            Figure(name, f"{median_ratio(high, name, 'bare transport'):.2f} x   {statistics.median(high[name]):.0f} us")
            for name in high
        ]
        sections.append(Section(f"A call that goes well, {family.name}, client.get", ratios, high))
    return sections


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="whether it runs, not how fast")
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--calls", type=int, default=500, help="of each stack in each round")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = asyncio.run(measure(5, 50) if given.quick else measure(given.rounds, given.calls))
    print(show(found, as_json=given.json))
