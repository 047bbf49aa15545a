"""What the rate limiter costs: uncontended, and with 10,000 callers in line; beside bare aiolimiter.

    python -m benchmarks.limiter [--waiters 10000] [--rate 100000] [--rounds 5] [--json]

Everything runs in one process and interleaved, round by round, so that a busy machine slows all sides alike;
the medians are printed. What counts are differences to a plain await and ratios to the ideal.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, cast

from aiolimiter import AsyncLimiter

from benchmarks.report import Figure, Section, show
from holdfast._wire import Family, Handler
from holdfast.call import CALL, Call, Options
from holdfast.clock import SystemClock
from holdfast.core.bucket import RateLimit
from holdfast.policies.rate_limit import RateLimiter

CALLS = 50_000
ENDLESS = 1e9  # a limit that never holds anybody back
AIOLIMITER_TOOK = 1.0  # microseconds more than a plain await, on the machine of the bars
Engine = Literal["leaky", "smooth"]


@dataclass(slots=True)
class Request:
    """As much of a request as the limiter looks at."""

    extensions: dict[str, Any]


@dataclass(slots=True)
class Response:
    """What the scripted far side answers."""

    status_code: int = 200
    extensions: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drain:
    """How 10,000 callers got through: seconds over the ideal, CPU and memory for each, order kept or not."""

    ratio: float
    cpu: float  # microseconds for each caller
    order_kept: bool


RESPONSE = Response()
Send = Callable[[Request], Awaitable[object]]


async def instant(request: Request) -> Response:
    """The transport below, which sends at once."""
    request.extensions[CALL].sends += 1
    return RESPONSE


def limited(settings: RateLimit, inner: Send = instant) -> Send:
    """The limiter's layer around ``inner``."""
    # The layer touches neither the family nor the library's classes unless it refuses.
    handler = cast("Handler[Any, Any]", inner)
    return RateLimiter(settings, clock=SystemClock()).bind(handler, cast("Family[Any, Any]", None))


def request(number: int = 0) -> Request:
    """A request on its way down, with the record of its call."""
    call = Call(Options(), time.monotonic(), None, None, "https://api.example:443")
    return Request({CALL: call, "number": number})


async def each(send: Send, calls: int = CALLS) -> float:
    """Microseconds of CPU for one call, awaited one after the other."""
    one = request()
    started = time.process_time()
    for _ in range(calls):
        await send(one)
    return (time.process_time() - started) / calls * 1e6


async def uncontended(rounds: int) -> dict[str, float]:
    """Median microseconds over a plain await."""
    bare = AsyncLimiter(ENDLESS / 100, 0.01)

    async def through_aiolimiter(one: Request) -> object:
        await bare.acquire()
        return await instant(one)

    sides: dict[str, Send] = {
        "plain await": instant,
        "bare aiolimiter": through_aiolimiter,
        "holdfast, leaky": limited(RateLimit(ENDLESS, engine="leaky")),
        "holdfast, smooth": limited(RateLimit(ENDLESS, engine="smooth")),
    }
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, send in sides.items():
            figures[name].append(await each(send))
    return {name: statistics.median(taken) for name, taken in figures.items()}


async def drain(make: Callable[[Send], Send], waiters: int, ideal: float) -> Drain:
    """Start ``waiters`` callers at once, and see them through."""
    order: list[int] = []

    async def arrive(one: Request) -> Response:
        order.append(one.extensions["number"])
        return await instant(one)

    send = make(arrive)
    gc.collect()
    started, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for number in range(waiters):
            group.create_task(see_through(send, number))
    took = time.perf_counter() - started
    return Drain(took / ideal, (time.process_time() - cpu) / waiters * 1e6, order == sorted(order))


async def see_through(send: Send, number: int) -> None:
    """The caller's own task."""
    await send(request(number))


async def bytes_for_each(make: Callable[[Send], Send], waiters: int) -> float:
    """Bytes that a caller in line takes, beyond those of a task which waits for a future shared by all."""
    shared = asyncio.get_running_loop().create_future()

    async def stand(_: Request) -> None:
        await shared

    return (await held(make(instant), waiters) - await held(stand, waiters)) / waiters


async def held(send: Send, waiters: int) -> int:
    """Bytes that so many callers hold while they wait. They are cancelled in the end."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tasks = [asyncio.create_task(see_through(send, number)) for number in range(waiters)]
    for _ in range(3):
        await asyncio.sleep(0)
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return size


def through_aiolimiter(rate: float, burst: float) -> Callable[[Send], Send]:
    """Makes bare aiolimiter look like a layer."""

    def make(inner: Send) -> Send:
        bare = AsyncLimiter(burst, burst / rate)

        async def send(one: Request) -> object:
            await bare.acquire()
            return await inner(one)

        return send

    return make


def through_holdfast(rate: float, burst: float, engine: Engine) -> Callable[[Send], Send]:
    """Our layer, with the same setting."""
    settings = RateLimit(rate, burst=burst, engine=engine, max_queue=10**9)
    return lambda inner: limited(settings, inner)


async def measure(waiters: int, rounds: int, rate: float = 100_000.0) -> list[Section]:
    """Both questions, answered."""
    return [await without_waiting(rounds), await in_line(waiters, rate, rounds)]


async def without_waiting(rounds: int) -> Section:
    times = await uncontended(rounds)
    bars = {"holdfast, leaky": 1.2, "holdfast, smooth": 0.6}
    slower = (times["bare aiolimiter"] - times["plain await"]) / AIOLIMITER_TOOK
    figures = [Figure("so this machine is slower by", f"{slower:.2f} x")]
    for name, took in times.items():
        more, bar = took - times["plain await"], bars.get(name)
        kept = None if bar is None else more / slower <= bar
        value = f"{more:+.2f} us   scaled {more / slower:+.2f} us"
        figures.append(Figure(name, value, "" if bar is None else f"<= +{bar} us", kept))
    return Section("Rate limit, nobody waits: beyond a plain await", figures, times)


async def in_line(waiters: int, rate: float, rounds: int) -> Section:
    burst = max(1.0, rate / 100)
    sides: dict[str, Callable[[float, float], Callable[[Send], Send]]] = {
        "no limiter": lambda _rate, _burst: lambda inner: inner,
        "bare aiolimiter": through_aiolimiter,
        "holdfast, leaky": partial(through_holdfast, engine="leaky"),
        "holdfast, smooth": partial(through_holdfast, engine="smooth"),
    }
    drains: dict[str, list[Drain]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            drains[name].append(await drain(side(rate, burst), waiters, (waiters - burst) / rate))
    figures: list[Figure] = []
    data: dict[str, dict[str, float | bool]] = {}
    for name, side in sides.items():
        ratio = statistics.median(one.ratio for one in drains[name])
        cpu = statistics.median(one.cpu for one in drains[name])
        waits, ours = name != "no limiter", name.startswith("holdfast")
        size = statistics.median([await bytes_for_each(side(0.001, 1.0), waiters) for _ in range(3)]) if waits else 0
        order = all(one.order_kept for one in drains[name])
        data[name] = {"ratio": ratio, "cpu": cpu, "bytes": size, "order_kept": order}
        said = f"{ratio:.2f} x ideal  {cpu:.1f} us CPU  {size:.0f} bytes each  order {'kept' if order else 'broken'}"
        kept = (ratio <= 2 and size <= 1000 and order) if ours else None
        figures.append(Figure(name, said, "<= 2 x, 1000 bytes" if ours else "", kept))
    return Section(f"Rate limit, {waiters} callers in line at {rate:g}/s", figures, data)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--waiters", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=100_000.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    print(show(asyncio.run(measure(given.waiters, given.rounds, given.rate)), as_json=given.json))
