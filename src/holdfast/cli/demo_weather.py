"""What does the demo's origin do to a request, and which calls does the demo make? Drawn from a seed.

No I/O and no clock: callers pass the seconds since the start. Both sides of the demo are given the same calls
at the same times, and the n-th request in a weather meets the same fate on both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from random import Random

__all__ = [
    "QUOTA",
    "QUOTA_BURST",
    "WEATHERS",
    "Ending",
    "Fate",
    "Planned",
    "Quota",
    "Representation",
    "Weather",
    "plan",
    "represent",
    "weather_at",
]

WEATHERS = ("fair", "errors", "slow", "outage", "recovery")
"""In this order, each for the same time."""

QUOTA = 40.0
"""Requests a second that the origin grants; above it, it answers 429."""
QUOTA_BURST = 15.0

_STEADY = 30
"""Calls a second, evenly spread."""
_WAVE = 20
"""Calls that come at once, half a second after each full one: a page that loads, or a job that starts."""

_COLD = 0.08
"""Seconds that an answer takes at the beginning of the recovery: caches are cold, and warm up."""


class Ending(Enum):
    """How an exchange ends on the wire."""

    WHOLE = "whole"
    CUT = "cut"  # the connection closes in the middle of the body
    RESET = "reset"  # TCP RST in place of an answer


@dataclass(frozen=True, slots=True)
class Fate:
    """What the origin does to one request, after ``delay`` seconds."""

    delay: float
    status: int = 200
    ending: Ending = Ending.WHOLE


def weather_at(elapsed: float, length: float) -> int:
    """Index into `WEATHERS`; the first before the start, and the last after the end."""
    return min(max(int(elapsed // length), 0), len(WEATHERS) - 1)


class Weather:
    """The fates of requests, in the order in which they arrive in a weather. ``length``: seconds for each weather."""

    def __init__(self, seed: int, length: float) -> None:
        self._length = length
        self._draws = [Random(f"{seed}/{name}") for name in WEATHERS]

    def fate(self, elapsed: float) -> Fate:
        """The fate of the next request, which was sent ``elapsed`` seconds after the start."""
        index = weather_at(elapsed, self._length)
        # Two draws for each request, whatever they are used for, so that the n-th fate depends on n alone.
        luck, pace = self._draws[index].random(), self._draws[index].random()
        usual = 0.005 + 0.010 * pace
        match WEATHERS[index]:
            case "errors":
                return _stormy(luck, usual)
            case "slow":
                return Fate(0.2 + 0.6 * pace)
            case "outage":  # half of it a dead server, half the gateway in front of one
                return Fate(0.001, 502) if luck < 0.5 else Fate(0.001, ending=Ending.RESET)
            case "recovery":
                into = elapsed / self._length - index
                return Fate(usual + _COLD * max(0.0, 1.0 - into))
            case _:
                return Fate(usual)


def _stormy(luck: float, delay: float) -> Fate:
    """20 % failures, of four kinds."""
    if luck < 0.08:
        return Fate(delay, 503)
    if luck < 0.12:
        return Fate(delay, 500)
    if luck < 0.17:
        return Fate(delay, ending=Ending.RESET)
    if luck < 0.20:
        return Fate(delay, ending=Ending.CUT)
    return Fate(delay)


class Quota:
    """A token bucket: `QUOTA` a second, `QUOTA_BURST` at once. Apart from holdfast's own, as its judge."""

    def __init__(self) -> None:
        self._tokens = QUOTA_BURST
        self._at = 0.0

    def take(self, now: float) -> bool:
        self._tokens = min(QUOTA_BURST, self._tokens + (now - self._at) * QUOTA)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


@dataclass(frozen=True, slots=True)
class Representation:
    """A resource as it is at one moment."""

    body: bytes
    etag: str | None
    cache_control: str


@dataclass(frozen=True, slots=True)
class _Kind:
    """``share`` of the calls go to ``count`` resources, which change every ``changes`` seconds."""

    share: float
    count: int
    changes: float
    cache_control: str
    size: int


_KINDS = {
    "catalogue": _Kind(0.35, 1, 4.0, "max-age=1", 4000),
    "articles": _Kind(0.25, 30, 60.0, "max-age=60", 1500),
    "prices": _Kind(0.20, 6, 3.0, "no-cache", 300),  # to be asked about each time, and seldom changed
    "orders": _Kind(0.20, 50, 1.0, "no-store", 600),
}


def represent(path: str, elapsed: float) -> Representation | None:
    """What ``/kind/number`` is at that time; None if there is no such resource."""
    name, _, number = path.removeprefix("/").partition("/")
    kind = _KINDS.get(name)
    if kind is None or not number.isdecimal() or not 1 <= int(number) <= kind.count:
        return None
    version = int(elapsed // kind.changes)
    body = json.dumps({"resource": path, "version": version, "text": "x" * kind.size}).encode()
    etag = None if kind.cache_control == "no-store" else f'"{name}-{number}-{version}"'
    return Representation(body, etag, kind.cache_control)


@dataclass(frozen=True, slots=True)
class Planned:
    """A call to make ``at`` seconds after the start, whether or not the ones before it have ended."""

    at: float
    path: str


def plan(seed: int, length: float) -> list[Planned]:
    """All calls of a run, by time. ``length``: seconds for each weather."""
    random = Random(f"{seed}/calls")
    names = list(_KINDS)
    shares = [kind.share for kind in _KINDS.values()]

    def paths() -> Iterator[str]:
        while True:
            (name,) = random.choices(names, shares)
            yield f"/{name}/{random.randint(1, _KINDS[name].count)}"

    total = length * len(WEATHERS)
    times = [index / _STEADY for index in range(int(total * _STEADY))]
    second = 0
    while second + 0.5 < total:
        times += [second + 0.5] * _WAVE
        second += 1
    return [Planned(at, path) for at, path in zip(sorted(times), paths(), strict=False)]
