"""How many requests at once can a server take before they only stand in its queue? Found out from what answers take.

Answers that take longer than they would under less load have waited. So the limit follows the gradient of the two, as
in Netflix's concurrency-limits and failsafe-go, window by window. What they take under less load is not remembered
from better days, which would take a slower server for a fuller one: now and then one window is run below the limit,
to see. No I/O, no clock: callers pass ``now``.
"""

from __future__ import annotations

import math
from typing import Final

from holdfast.core.settings import Settings

__all__ = ["AdaptiveConcurrency", "Gradient"]

_SMOOTHING: Final = 0.5
"""How far the limit falls at once to where a window points: one window is not much to go by."""
_GROWTH: Final = 0.08
"""The share by which the limit grows while nothing waits, but at least by one."""
_NO_LONGER: Final = 1.05
"""Answers that take so many times as long as under less load take no longer: the clock is not that exact."""
_STEEPEST: Final = 0.5
"""One window at most halves the limit."""
_DROP: Final = 0.7
"""Of the limit, after a timeout or a refusal."""

_PROBE_LOAD: Final = 0.7
"""Of the limit, while it is found out what answers take under less load."""
_PROBE_EVERY: Final = 20
"""Windows."""
_PROBE_SOON: Final = 2
"""Windows, after a look that changed the picture."""
_NEWS: Final = 0.15
"""A change of what answers take under less load by more than this is one."""
_MOST_SAMPLES: Final = 1000


class AdaptiveConcurrency(Settings):
    """A concurrency limit for each key that finds the limit by itself, from ``start``, between ``min`` and ``max``.

    It is looked at when a window is over: after ``window`` seconds and ``samples`` answers, or ``window_max`` seconds.
    The limit grows while answers take no longer than under less load and more than half of it is used. It falls in
    proportion when they take longer, those beyond the ``quantile`` left out; and at once, to 0.7 of it, after a
    timeout, a 429 or a 503, once for each window. ``max_queue`` bounds each line. ``observe``: find the limit, count
    and report who would have to wait or be refused, and hold back nobody.

    >>> AdaptiveConcurrency(max=50).start
    20
    """

    start: int = 20
    min: int = 1
    max: int = 200
    window: float = 1.0
    window_max: float = 30.0
    samples: int = 50
    quantile: float = 0.9
    max_queue: int = 10_000
    observe: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.start <= self.max:
            raise ValueError(f"1 <= min <= start <= max must hold, got {self.min}, {self.start}, {self.max}")
        if not 0 < self.window <= self.window_max < math.inf:
            raise ValueError(f"window must be between 0 and window_max seconds, got {self.window}, {self.window_max}")
        if self.samples < 10:
            raise ValueError(f"samples must be at least 10, for a quantile of fewer says little, got {self.samples}")
        if not 0.5 <= self.quantile < 1:
            raise ValueError(f"quantile must be at least 0.5 and less than 1, got {self.quantile}")
        if self.max_queue < 0:
            raise ValueError(f"max_queue must be 0 or more, got {self.max_queue}")


class Gradient:
    """The limit of one key. Every method is one step.

    >>> gradient = Gradient(AdaptiveConcurrency(start=10), now=0.0)
    >>> gradient.drop(now=0.5)
    >>> gradient.limit
    7
    """

    __slots__ = (
        "_base",
        "_began",
        "_busiest",
        "_depth",
        "_dropped",
        "_latest",
        "_next_probe",
        "_probed_at",
        "_settings",
        "_steady",
        "_taken",
    )

    def __init__(self, settings: AdaptiveConcurrency, now: float) -> None:
        self._settings = settings
        self._steady = float(settings.start)  # the limit, but for probes
        self._base: float | None = None  # seconds that answers take under less load
        self._next_probe = 1  # windows until then
        self._depth = 0  # of a look at less load, in steps
        self._latest = 0.0  # what answers took in the window before
        self._probed_at = self._steady  # the limit when it was last looked at
        self._taken: list[float] = []
        self._busiest = 0
        self._dropped = False
        self._began = now

    @property
    def limit(self) -> int:
        """How many requests may be under way at once now."""
        return max(self._settings.min, int(self._steady * _PROBE_LOAD**self._depth + 1e-9))

    def reconfigure(self, settings: AdaptiveConcurrency) -> None:
        """Other settings from now on; the limit stays where it is, within the new bounds."""
        self._settings = settings
        self._move(self._steady)

    def answered(self, seconds: float, in_flight: int, now: float) -> None:
        """An answer came, ``seconds`` after its request, when ``in_flight`` were under way with it."""
        if now - seconds >= self._began:  # the others went out under another limit
            if len(self._taken) < _MOST_SAMPLES:
                self._taken.append(seconds)
            self._busiest = max(self._busiest, in_flight)
        settings, age = self._settings, now - self._began
        if age >= settings.window_max or (age >= settings.window and len(self._taken) >= settings.samples):
            self._look()
            self._begin(now)

    def drop(self, now: float) -> None:
        """The server has refused a request, or left it without an answer."""
        if not self._dropped:
            self._move(self._steady * _DROP)
            self._begin(now)
            self._dropped = True

    def _begin(self, now: float) -> None:
        self._began, self._taken, self._busiest, self._dropped = now, [], 0, False

    def _look(self) -> None:
        """A window is over."""
        if not self._taken:
            return
        known = sorted(self._taken)[: math.ceil(self._settings.quantile * len(self._taken))]
        took = sum(known) / len(known)
        if self._depth:
            self._learn(took)
            return
        if self._base is None:
            self._base = took
        self._follow(took, self._base)
        self._latest = took
        self._next_probe -= 1
        # A limit that fell so far may be that of a server which is slower, and not fuller.
        if self._next_probe <= 0 or self._steady < self._probed_at * _PROBE_LOAD:
            self._depth, self._probed_at = 1, self._steady

    def _learn(self, took: float) -> None:
        """``took`` is from a window of less load. If that made it shorter, there was a queue; with still less load,
        there may be less of it.
        """
        assert self._base is not None, "the first window is none of less load"
        if took < self._latest * (1 - _NEWS) and self.limit > self._settings.min:
            self._latest = took
            self._depth += 1
            return
        took = min(took, self._latest) if self._depth > 1 else took
        news = abs(took - self._base) > 2 * _NEWS * self._base
        self._base = took if news else (self._base + took) / 2
        self._next_probe = _PROBE_SOON if news else _PROBE_EVERY
        self._depth = 0

    def _follow(self, took: float, base: float) -> None:
        if took > base * _NO_LONGER:
            aim = self.limit * max(_STEEPEST, base / took)
            self._move(min(self._steady, self._steady + _SMOOTHING * (aim - self._steady)))
        elif self._busiest > self._steady / 2:  # nothing is known of a load that was not there
            self._move(self._steady + max(1.0, self._steady * _GROWTH))

    def _move(self, limit: float) -> None:
        self._steady = min(float(self._settings.max), max(float(self._settings.min), limit))
