"""What rate does a server stand that says no more than "too many requests"? TCP's question, and CUBIC's answer.

No I/O, no clock, no lock: callers pass ``now``. Cut and curve are those of botocore's adaptive mode.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["Adaptive"]

_ROUNDING: Final = 1e-9
_BETA: Final = 0.7
"""What is left of the rate after a cut."""
_SCALE: Final = 0.4
"""How steeply the rate rises: CUBIC's C, in requests a second for each cubic second."""
_LEAST: Final = 0.5
"""Requests a second that are always tried."""
_HEADROOM: Final = 2.0
"""A rate that nobody uses says nothing, so it rises to so many times what was accepted lately."""
_WINDOW: Final = 1.0
"""Seconds over which requests are counted, and in which one cut is enough."""
_CATCH_UP: Final = 0.05
"""Seconds of requests that may be made up at once after a late timer, as in `core.bucket`."""
_TOLD: Final = 0.1
"""Part of the rate by which it must have risen to be told of again."""
_FORGOTTEN: Final = 300.0
"""Seconds without a cut after which what the server stood then is of no interest."""


class Adaptive:
    """The rate of one key. Owned by one limiter, and by one event loop at a time.

    Nobody is held back before the first refusal. A refusal cuts the rate to 0.7 of what was sent; from there it climbs
    along a cubic curve to where it was, stays about there for a while, and then tries more. What was sent before a cut
    says nothing of the rate since, so however many are refused together, they cut once.
    """

    __slots__ = ("_accepted", "_climb", "_cut_at", "_next_at", "_peak", "_sent", "_told", "rate")

    def __init__(self) -> None:
        self.rate: float | None = None  # requests of cost 1 in a second; None: as many as come
        self._sent = _Flow()
        self._accepted = _Flow()
        self._next_at = -math.inf  # when the next may go
        self._cut_at = -math.inf
        self._peak = 0.0  # the rate that was too much
        self._climb = 0.0  # seconds from a cut until that is reached again
        self._told = 0.0

    def wait(self, now: float, *, ahead: float = 0.0) -> float:
        """Seconds until the next may go, whatever it costs, or one behind others who cost ``ahead``; 0 if now."""
        if self.rate is None:
            return 0.0
        wait = self._start(self.rate, now) + ahead / self.rate - now
        return wait if wait > _ROUNDING else 0.0

    def take(self, cost: float, now: float) -> None:
        """``cost`` goes. Only after `wait` said 0."""
        if self.rate is not None:
            self._next_at = self._start(self.rate, now) + cost / self.rate

    def give_back(self, cost: float) -> None:
        """It was not sent after all."""
        if self.rate is not None:
            self._next_at -= cost / self.rate

    def sent(self, cost: float, now: float) -> None:
        self._sent.add(cost, now)

    def accepted(self, cost: float, now: float) -> bool:
        """A request was answered, and not refused; True if the rate has risen by so much that it should be told."""
        self._accepted.add(cost, now)
        if self.rate is None:
            return False
        curve = self._peak + _SCALE * (now - self._cut_at - self._climb) ** 3
        self.rate = max(self.rate, min(curve, _HEADROOM * self._accepted.rate(now)))
        if self.rate < self._told * (1 + _TOLD):
            return False
        self._told = self.rate
        return True

    def refused(self, sent_at: float, now: float) -> bool:
        """A request was refused; True if that cut the rate."""
        if sent_at <= self._cut_at or now < self._cut_at + _WINDOW:
            return False
        sent = self._sent.rate(now)
        if self.rate is None:
            self._peak = sent
        else:
            # Where a quota is far below what was sent, one cut after the other would take long.
            self._peak = min(self.rate, sent, self._accepted.rate(now) / _BETA)
        self._cut_at = now
        self.rate = self._told = max(_LEAST, _BETA * self._peak)
        self._climb = math.cbrt(max(0.0, self._peak - self.rate) / _SCALE)
        return True

    def idle(self, now: float) -> bool:
        """True if a new one would do as well."""
        return self.rate is None or now > self._cut_at + _FORGOTTEN

    def _start(self, rate: float, now: float) -> float:
        """When the next was due, or could have been."""
        return max(self._next_at, now - max(0.0, _CATCH_UP - 1 / rate))


class _Flow:
    """How much there was in a second, where what is longer ago counts for less."""

    __slots__ = ("_at", "_much")

    def __init__(self) -> None:
        self._much = 0.0
        self._at = 0.0

    def add(self, cost: float, now: float) -> None:
        self._much = self.rate(now) * _WINDOW + cost
        self._at = now

    def rate(self, now: float) -> float:
        return self._much * math.exp((self._at - now) / _WINDOW) / _WINDOW
