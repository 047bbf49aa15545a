"""Which outages is somebody told of? One alert for each that lasts, and one when it is over.

No clock and no listener: callers pass what happened, and the wall time at which it did.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from holdfast.core.health import SENTENCES

__all__ = ["Alert", "Outages"]

_REMEMBERED = 1024
"""Keys whose last alert, or whose short outages, are remembered before those that matter least are forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What somebody should know. Times are wall time, in seconds since the epoch.

    >>> print(Alert(kind="outage", key="https://api.example:443", code="circuit_open", since=1000.0, at=1062.5))
    outage: https://api.example:443, circuit_open for 62 s
    """

    kind: Literal["outage", "recovery"]
    key: str
    """What is down or back: an origin, or the key that the user gave; empty for all of a pipeline."""

    code: str
    """Why, as in `Health`: circuit_open, circuit_forced_open or offline."""

    since: float
    """When the outage began."""

    at: float
    """When this was found: an outage lasts longer then than it has to, a recovery is over."""

    untold: int = 0
    """Outages of this key since its last alert that nobody was told of: too short, or too soon after it."""

    @property
    def sentence(self) -> str:
        """One sentence for end users, without the key."""
        return SENTENCES["ok" if self.kind == "recovery" else self.code]

    def __str__(self) -> str:
        return f"{self.kind}: {self.key or 'all'}, {self.code} for {self.at - self.since:.0f} s"


class _Outage:
    __slots__ = ("causes", "code", "since", "told")

    def __init__(self, since: float, code: str) -> None:
        self.since = since
        self.code = code
        self.causes: set[str] = set()
        self.told = False


class Outages:
    """The outages that are going on, by key. Changed in place by its one owner; every method is one step.

    An outage is told when it has lasted ``after`` seconds, though not within ``every`` seconds of the key's last
    such alert: one that flaps is told once in that time, and one that still lasts then is told then. Its end is told
    if it was.

    >>> outages = Outages(after=60.0, every=3600.0)
    >>> outages.began("api", "circuit", "circuit_open", 0.0)
    >>> [alert.kind for now in range(0, 300, 20) for alert in outages.due(now)]
    ['outage']
    >>> outages.ended("api", "circuit", 300.0)
    Alert(kind='recovery', key='api', code='circuit_open', since=0.0, at=300.0, untold=0)
    """

    __slots__ = ("_after", "_every", "_last", "_running", "_untold", "next_due")

    def __init__(self, *, after: float, every: float) -> None:
        self._after = after
        self._every = every
        self._running: dict[str, _Outage] = {}
        self._last: dict[str, float] = {}  # when an outage of this key was last told
        self._untold: dict[str, int] = {}
        self.next_due = math.inf
        """Before this time, `due` has nothing to say."""

    def began(self, key: str, cause: str, code: str, now: float) -> None:
        """``cause`` names what must end for the outage to be over; one that has begun already changes nothing."""
        outage = self._running.get(key)
        if outage is None:
            outage = self._running[key] = _Outage(now, code)
            self.next_due = min(self.next_due, self._due(key, outage))
        outage.causes.add(cause)

    def ended(self, key: str, cause: str, now: float) -> Alert | None:
        """The alert that it is over, if all of it is, and if it was told that it began."""
        outage = self._running.get(key)
        if outage is None:
            return None
        outage.causes.discard(cause)
        if outage.causes:
            return None
        del self._running[key]
        if not outage.told:
            self._untold[key] = self._untold.pop(key, 0) + 1
            if len(self._untold) > _REMEMBERED:
                del self._untold[next(iter(self._untold))]
            return None
        return Alert(kind="recovery", key=key, code=outage.code, since=outage.since, at=now)

    def due(self, now: float) -> list[Alert]:
        """The alerts whose time has come, each given once."""
        if now < self.next_due:
            return []
        alerts: list[Alert] = []
        for key, outage in self._running.items():
            if not outage.told and now >= self._due(key, outage):
                outage.told, self._last[key] = True, now
                untold = self._untold.pop(key, 0)
                alerts.append(
                    Alert(kind="outage", key=key, code=outage.code, since=outage.since, at=now, untold=untold)
                )
        waiting = [self._due(key, outage) for key, outage in self._running.items() if not outage.told]
        self.next_due = min(waiting, default=math.inf)
        self._forget(now)
        return alerts

    def _due(self, key: str, outage: _Outage) -> float:
        return max(outage.since + self._after, self._last.get(key, -math.inf) + self._every)

    def _forget(self, now: float) -> None:
        if len(self._last) > _REMEMBERED:
            self._last = {key: at for key, at in self._last.items() if at + self._every > now}
            self._untold = {key: count for key, count in self._untold.items() if key in self._last}
