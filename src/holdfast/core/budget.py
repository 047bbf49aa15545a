"""Retry budget: may this origin be bothered with one more retry?

Caps on attempts do not stop a retry storm, since every caller is under its cap; a budget does. Allowed
retries in a sliding window are ``reserve + ratio * first attempts``, as in Finagle's and tower's budgets.
"""

from __future__ import annotations

import math

from holdfast.core.settings import Settings

__all__ = ["Budget", "RetryBudget"]

_SLOTS = 10


class RetryBudget(Settings):
    """``ratio`` retries for each first attempt in the last ``window`` seconds, and ``reserve`` more.

    Defaults: 0.2 (Finagle, tower and Envoy allow 20 %), 10 in 10 s, so that a client with little traffic
    may retry at all. 1,000 calls into a total outage then make at most 1,210 requests, not 3,000.

    >>> RetryBudget(ratio=0.1, reserve=3)
    RetryBudget(ratio=0.1, reserve=3, window=10.0)
    """

    ratio: float = 0.2
    reserve: int = 10
    window: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 10:
            raise ValueError(f"ratio must be between 0 and 10 retries for each call, got {self.ratio}")
        if self.reserve < 0:
            raise ValueError(f"reserve must be at least 0 retries, got {self.reserve}")
        if not 0 < self.window < float("inf"):
            raise ValueError(f"window must be more than 0 seconds, got {self.window}")


class Budget:
    """What one key has earned and spent in the window. Not thread-safe; every method is one step.

    >>> budget = Budget(RetryBudget(ratio=0.5, reserve=0))
    >>> budget.deposit(now=0.0); budget.deposit(now=0.0)
    >>> budget.withdraw(now=1.0), budget.withdraw(now=1.0)
    (True, False)
    """

    __slots__ = ("_ends_at", "_first", "_index", "_retries", "_settings", "_slot", "_width")

    def __init__(self, settings: RetryBudget) -> None:
        self._begin(settings)

    def _begin(self, settings: RetryBudget) -> None:
        self._settings = settings
        self._width = settings.window / _SLOTS
        self._slot = -_SLOTS  # number of the newest slot that is in use
        self._index = 0  # where it is
        self._ends_at = -math.inf  # when it is over: until then nothing has to be turned
        self._first = [0] * _SLOTS
        self._retries = [0] * _SLOTS

    def reconfigure(self, settings: RetryBudget) -> None:
        """Other settings from now on; what was counted stays, unless the window is another."""
        if settings.window == self._settings.window:
            self._settings = settings
        else:
            self._begin(settings)

    def deposit(self, now: float) -> None:
        """A call sent its first attempt."""
        if now >= self._ends_at:
            self._turn(now)
        self._first[self._index] += 1

    def withdraw(self, now: float) -> bool:
        """Take one retry out; False, and nothing taken, if there is none left."""
        self._turn(now)
        if self.balance(now) < 1:
            return False
        self._retries[self._index] += 1
        return True

    def refund(self, now: float) -> None:
        """Give back a retry that was never sent."""
        self._turn(now)
        for age in range(_SLOTS):  # the newest first: it is the one that was taken last
            index = (self._index - age) % _SLOTS
            if self._retries[index]:
                self._retries[index] -= 1
                return

    def balance(self, now: float) -> float:
        """How many retries are left. Turns nothing, so another thread may ask."""
        settings, oldest = self._settings, max(self._slot, int(now // self._width)) - _SLOTS
        kept = [number % _SLOTS for number in range(oldest + 1, self._slot + 1)]
        first, retries = sum(self._first[index] for index in kept), sum(self._retries[index] for index in kept)
        return settings.reserve + settings.ratio * first - retries

    def _turn(self, now: float) -> None:
        slot = int(now // self._width)
        if slot <= self._slot:
            return
        for number in range(max(self._slot + 1, slot - _SLOTS + 1), slot + 1):
            self._first[number % _SLOTS] = 0
            self._retries[number % _SLOTS] = 0
        self._slot, self._index = slot, slot % _SLOTS
        self._ends_at = (slot + 1) * self._width
