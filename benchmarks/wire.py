"""How many requests a second does the default transport serve, whole pipeline on, beside the bare clients?

One origin on loopback in its own process, one event loop here, callers in closed loops. Subjects take turns
in each round, and a round's figure is a rate over a short time after a warm-up. Rates on a shared machine
drift, and from one second to the next, so turns are short, and a ratio is taken within each round; medians of the
rounds are shown.

Beside the rates stand those for each second that this process computed: where the callers' side is what holds the calls
back, as from 16 callers on, they are the rates of a machine whose processor nobody else takes away.

    python -m benchmarks.wire [--quick] [--rounds N] [--seconds S] [--json]   # some six minutes
    python -m benchmarks.wire --without-sniffio       # the bare clients as a fresh install of them runs
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.machinery
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any, Final

from benchmarks.origin import DEFAULT_BYTES, Origin
from benchmarks.report import Figure, Rounds, Section, median_ratio, show

TURNS: Final = {1: (41, 0.1), 16: (31, 0.15), 64: (15, 0.3), 256: (5, 0.6)}
"""Rounds, and the seconds of a turn, by concurrency."""
QUICK: Final = dict.fromkeys(TURNS, (2, 0.1))
BARS: Final = {  # ours, over whom, and at least how many times as fast at each concurrency
    ("holdfast.httpx", "httpx"): (0.95, 1.8, 1.8, 4.0),
    ("holdfast.httpx", "httpx Limits(c, c)"): (0.95, 1.8, 5.0, 12.0),
    ("holdfast.httpx", "httpx2"): (0.85, 0.9, 0.9, 0.9),
    ("holdfast.httpx2", "httpx2"): (0.85, 0.9, 0.9, 0.9),
}


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests by subject, one figure for each round: for each second that passed, and for each that we computed."""

    passed: Rounds
    computed: Rounds


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom we measure: ``client`` makes an AsyncClient for so many callers at once."""

    name: str
    client: Callable[[int], Any]


def bare(http: ModuleType, *, limited: bool) -> Subject:
    def client(concurrency: int) -> Any:
        # Patience: at 256 the slow ones would else be measured by their timeouts.
        most, kept = (concurrency, concurrency) if limited else (100, 20)  # the latter: their defaults
        limits = http.Limits(max_connections=most, max_keepalive_connections=kept)
        return http.AsyncClient(timeout=60.0, trust_env=False, limits=limits)

    return Subject(f"{http.__name__} Limits(c, c)" if limited else http.__name__, client)


def ours(http: ModuleType, holdfast: ModuleType) -> Subject:
    def client(concurrency: int) -> Any:
        return http.AsyncClient(timeout=60.0, trust_env=False, transport=holdfast.ResilientTransport())

    return Subject(holdfast.__name__, client)


def subjects(*, with_ours: bool) -> list[Subject]:
    import httpx
    import httpx2

    found = [bare(http, limited=limited) for http in (httpx, httpx2) for limited in (False, True)]
    if with_ours:
        import holdfast.httpx
        import holdfast.httpx2

        found += [ours(httpx, holdfast.httpx), ours(httpx2, holdfast.httpx2)]
    return found


async def rate(client: Any, url: str, concurrency: int, seconds: float) -> tuple[float, float]:
    """Requests of ``concurrency`` callers, each with one after the other: per second, and per second of CPU."""
    served = 0
    until = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal served
        while time.perf_counter() < until:
            response = await client.get(url)
            assert response.status_code == 200, response
            assert len(response.content) == DEFAULT_BYTES, response
            served += 1

    started, computed = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return served / (time.perf_counter() - started), served / (time.process_time() - computed)


async def measure(url: str, contenders: Sequence[Subject], concurrency: int, rounds: int, seconds: float) -> Rates:
    """The rates of each subject, one of each interleaved round."""
    rates = Rates({subject.name: [] for subject in contenders}, {subject.name: [] for subject in contenders})
    async with AsyncExitStack() as stack:
        clients = [
            (subject.name, await stack.enter_async_context(subject.client(concurrency))) for subject in contenders
        ]
        for number in range(rounds):
            # Each round begins with another one, so that nobody always runs after the same neighbour.
            turn = number % len(clients)
            for name, client in clients[turn:] + clients[:turn]:
                await rate(client, url, concurrency, seconds / 4)  # connections are open again after this
                passed, computed = await rate(client, url, concurrency, seconds)
                rates.passed[name].append(passed)
                rates.computed[name].append(computed)
    return rates


def figures(results: dict[int, Rates]) -> list[Figure]:
    """Rates, then their ratios with the bars beside them; a cell for each concurrency."""
    found: list[Figure] = []
    names = list(next(iter(results.values())).passed)
    for name in names:
        for title, taken in ((name, "passed"), ("  for each second computed", "computed")):
            rounds = [getattr(rates, taken)[name] for rates in results.values()]
            cells = [f"{statistics.median(it):.0f}".rjust(6) for it in rounds]
            found.append(Figure(title, " ".join(cells), "requests/s"))
    if "holdfast.httpx" not in names:
        return found
    for (name, other), bars in BARS.items():
        least = {level: bar for level, bar in zip(TURNS, bars, strict=True) if level in results}
        bar = ">= " + " ".join(f"{bar:.2f}" for bar in least.values())
        ratios = {level: median_ratio(rates.passed, name, other) for level, rates in results.items()}
        kept = all(ratios[level] >= least[level] for level in results)
        found.append(Figure(f"{name} / {other}", _cells(ratios), bar, kept))
        computed = {level: median_ratio(rates.computed, name, other) for level, rates in results.items()}
        found.append(Figure("  for each second computed", _cells(computed)))
    return found


def _cells(ratios: dict[int, float]) -> str:
    return " ".join(f"{ratio:.2f}".rjust(6) for ratio in ratios.values())


def report(turns: Mapping[int, tuple[int, float]] = TURNS, *, without_sniffio: bool = False) -> Section:
    """Starts the origin, and measures at each concurrency."""
    contenders = subjects(with_ours=not without_sniffio)
    with Origin() as url:
        results = {level: asyncio.run(measure(url, contenders, level, *turn)) for level, turn in turns.items()}
    found = {str(level): asdict(rates) for level, rates in results.items()}
    concurrency = ", ".join(map(str, turns))
    return Section(f"On the wire, over loopback, at concurrency {concurrency}", figures(results), found)


def hide_sniffio() -> None:
    """Have ``import sniffio`` search all of sys.path in vain, as where it is not installed."""

    class Hidden(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> Any:
            absent = "sniffio_that_is_not_there" if fullname == "sniffio" else fullname
            return super().find_spec(absent, path, target)

    sys.meta_path[:] = [Hidden if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short rounds: whether it runs, not how fast")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each subject in each round")
    parser.add_argument("--concurrency", type=int, choices=TURNS, help="only this one")
    parser.add_argument("--without-sniffio", action="store_true", help="the bare clients alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.without_sniffio:
        hide_sniffio()
    turns = {
        level: (options.rounds or rounds, options.seconds or seconds)
        for level, (rounds, seconds) in (QUICK if options.quick else TURNS).items()
        if options.concurrency in (None, level)
    }
    print(show([report(turns, without_sniffio=options.without_sniffio)], as_json=options.json))


if __name__ == "__main__":
    main()
