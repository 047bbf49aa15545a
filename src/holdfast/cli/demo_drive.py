"""Drives both sides of the demo, and writes down what each caller got."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import math
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from holdfast._history import history
from holdfast.cli.demo_origin import TAG, TIME, Counts
from holdfast.cli.demo_process import OriginProcess
from holdfast.cli.demo_promises import Promise, judge
from holdfast.cli.demo_weather import QUOTA, QUOTA_BURST, WEATHERS, Planned, plan, weather_at
from holdfast.core.breaker import CircuitBreaker
from holdfast.core.bucket import RateLimit
from holdfast.core.budget import RetryBudget
from holdfast.errors import Refused
from holdfast.pipeline import Pipeline
from holdfast.policies.cache import Cache

__all__ = ["BUDGET", "Outcome", "Run", "Side", "Transition", "drive"]

BUDGET = RetryBudget()
_CALL_SECONDS = 5.0  # httpx's own timeout, and so the deadline of each holdfast call
# Attempts are tagged by a hook, and a hook may sign: the cache wants to be told whose answers these are.
_EXTENSIONS = {"holdfast": {"identity": "demo"}}
_CLOSING = 40  # times that the origin is asked, 0.05 s between, until it has seen that connections were closed
_SENT_IN: ContextVar[int] = ContextVar("_SENT_IN")  # the weather in which this call sent its last request


class Reply(Protocol):
    status_code: int

    def json(self) -> Any: ...


class Client(Protocol):
    """What both families' AsyncClient offers to the demo."""

    async def get(self, url: str, *, extensions: dict[str, Any]) -> Reply: ...
    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one caller got. ``error`` is None if it was the answer asked for, and whole.

    ``source`` is what `holdfast.history` says, None on the plain side and for a call that failed.
    """

    weather: int
    seconds: float
    error: str | None
    source: str | None = None
    cache_hit: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Transition:
    """A circuit changed its state, ``at`` seconds after the start.

    ``weather`` is that in which the request was sent whose answer, or whose turn, changed it.
    """

    at: float
    weather: int
    origin: str
    old: str
    new: str


@dataclass(slots=True)
class Side:
    """One of the two: "plain" or "holdfast"."""

    name: str
    url: str
    client: Client
    extensions: dict[str, Any] = field(default_factory=dict[str, Any])  # of each request
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    counts: Counts = field(default_factory=Counts)  # the origin's, once the client is closed


@dataclass(slots=True)
class Run:
    """All that is known of a run, while it goes on and after. ``started``: None before the weather begins.

    The clock of a run stands still while a call is overdue: on a machine that stalls, the weather stalls too,
    and each call is made in the weather that was planned for it.
    """

    seed: int
    seconds: float
    settings: str = ""  # of holdfast, where they are not the defaults
    calls: int = 0
    lateness: float = 0.0  # seconds by which a call was begun after its time, at most
    started: float | None = None
    due: float = 0.0  # when the next call is
    sides: list[Side] = field(default_factory=list[Side])
    transitions: list[Transition] = field(default_factory=list[Transition])
    promises: list[Promise] = field(default_factory=list[Promise])

    @property
    def elapsed(self) -> float:
        return 0.0 if self.started is None else min(time.perf_counter() - self.started, self.due)

    @property
    def weather(self) -> int:
        return weather_at(self.elapsed, self.length)

    @property
    def length(self) -> float:
        """Seconds for each weather."""
        return self.seconds / len(WEATHERS)


async def drive(run: Run, family: str, show: Callable[[Run], None]) -> None:
    """Make all calls of ``run`` on both sides, and judge. ``show`` is called ten times a second meanwhile.

    The two sides run at the same time in one event loop, each against an origin of its own: what disturbs
    this machine disturbs both. Who of the two is first to make a call alternates. Raises `OriginGone`.
    """
    importlib.import_module("tenacity")  # or holdfast's first retry would load it, and halt both sides meanwhile
    before = asyncio.all_tasks()
    planned = plan(run.seed, run.length)
    run.calls = len(planned)
    async with OriginProcess(run.seed, run.length) as origin:
        plain_url, holdfast_url = (f"http://127.0.0.1:{port}" for port in origin.ports)
        run.sides = [
            Side("plain", plain_url, _plain(family, run)),
            Side("holdfast", holdfast_url, _holdfast(family, run), _EXTENSIONS),
        ]
        try:
            await origin.start_weather()
            run.started = time.perf_counter()
            await _make(run, planned, origin, show)
        finally:
            for side in run.sides:
                await side.client.aclose()
        tasks = sorted(task.get_name() for task in asyncio.all_tasks() - before)
        await _count(origin, run.sides)
    holdfast = run.sides[1]
    longest = max((outcome.seconds for outcome in holdfast.outcomes), default=0.0)
    run.promises = judge(holdfast.counts, BUDGET, longest_call=longest, tasks=tasks)


def _plain(family: str, run: Run) -> Client:
    async def tell(request: Any) -> None:
        request.headers[TIME] = str(run.elapsed)

    # Proxies of the environment are not for a loopback address.
    client: Client = importlib.import_module(family).AsyncClient(trust_env=False, event_hooks={"request": [tell]})
    return client


def _holdfast(family: str, run: Run) -> Client:
    # The weathers are short, so the circuit looks again sooner than by default (5 s, and up to 60).
    breaker = CircuitBreaker(open_for=run.length / 6, open_for_max=run.length / 4)
    # A little under the quota, as one does who knows it.
    rate_limit = RateLimit(0.9 * QUOTA, per=1.0, burst=0.8 * QUOTA_BURST)
    run.settings = (
        f"RateLimit({rate_limit.limit:g}, burst={rate_limit.capacity:g}), Cache(), "
        f"CircuitBreaker(open_for={breaker.open_for:.2g}, open_for_max={breaker.open_for_max:.2g}), "
        f"deadline={_CALL_SECONDS:g}"
    )
    pipeline = Pipeline(
        budget=BUDGET,
        breaker=breaker,
        rate_limit=rate_limit,
        cache=Cache(),
        deadline=_CALL_SECONDS,
        hooks=[_tagger(run)],
    )

    def moved(key: str, old: str, new: str, now: float) -> None:
        run.transitions.append(Transition(run.elapsed, _SENT_IN.get(), key, old, new))

    pipeline.circuits.on_transition = moved
    transport = importlib.import_module(f"holdfast.{family}").ResilientTransport(pipeline)
    client: Client = importlib.import_module(family).AsyncClient(transport=transport, trust_env=False)
    return client


def _tagger(run: Run) -> Callable[[Any, int], None]:
    """A hook by which each attempt tells the origin its time, its number and the circuit's state."""
    numbers = itertools.count(1)

    def tag(request: Any, attempt: int) -> None:
        circuit = run.transitions[-1].new if run.transitions else "closed"
        request.headers[TAG] = f"{next(numbers)};{attempt};{circuit}"
        request.headers[TIME] = str(run.elapsed)
        _SENT_IN.set(run.weather)

    return tag


async def _make(run: Run, planned: Sequence[Planned], origin: OriginProcess, show: Callable[[Run], None]) -> None:
    """Start each call at its time, whatever became of those before it, and wait for the last to end."""
    showing = asyncio.create_task(_show(run, show))
    try:
        async with asyncio.TaskGroup() as group:
            for number, call in enumerate(planned):
                if number == 0 or call.at > run.due:
                    await _come(run, call.at, origin)
                for side in run.sides if number % 2 else reversed(run.sides):
                    group.create_task(_call(side, call, weather_at(call.at, run.length)))
            run.due = math.inf
    finally:
        showing.cancel()
        await asyncio.wait([showing])


async def _come(run: Run, due: float, origin: OriginProcess) -> None:
    """Let the time come for what is ``due``. It does not go on before an origin that stalls does."""
    run.due = due
    await asyncio.sleep(due - run.elapsed)
    await origin.is_there()
    assert run.started is not None, "the weather has begun"
    late = time.perf_counter() - run.started - due
    run.lateness = max(run.lateness, late)
    run.started += late


async def _show(run: Run, show: Callable[[Run], None]) -> None:
    while True:
        show(run)
        await asyncio.sleep(0.1)


async def _call(side: Side, call: Planned, weather: int) -> None:
    _SENT_IN.set(weather)
    began = time.perf_counter()
    outcome: Reply | Exception
    error: str | None
    try:
        outcome = reply = await side.client.get(side.url + call.path, extensions=side.extensions)
    except Exception as failure:  # whatever a caller would have got is what the demo has to show
        outcome, error = failure, type(failure).__name__
    else:
        error = _wrong(reply, call.path)
    seconds = time.perf_counter() - began
    if side.name == "plain":
        side.outcomes.append(Outcome(weather, seconds, error))
        return
    told = history(outcome)
    hit = error is None and not told.attempts
    side.outcomes.append(Outcome(weather, seconds, error, told.source, hit, isinstance(outcome, Refused)))


def _wrong(reply: Reply, path: str) -> str | None:
    """Why this is not what the caller asked for; None if it is."""
    if reply.status_code != 200:
        return str(reply.status_code)
    try:
        return None if reply.json()["resource"] == path else "wrong resource"
    except ValueError:
        return "not JSON"


async def _count(origin: OriginProcess, sides: Sequence[Side]) -> None:
    """Ask the origin for its counts, once it has seen all connections close or was asked often enough."""
    counts = await origin.counts()
    for _ in range(_CLOSING):
        if not any(count.open for count in counts):
            break
        await asyncio.sleep(0.05)
        counts = await origin.counts()
    for side, count in zip(sides, counts, strict=True):
        side.counts = count
