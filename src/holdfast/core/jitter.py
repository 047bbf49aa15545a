"""Backoff with jitter: the formulas that tenacity lacks, as tenacity wait strategies.

Each may stand wherever tenacity takes a ``wait``. Inside a pipeline they draw from the pipeline's random
source; tenacity's own strategies draw from the global ``random``. Formulas: AWS Architecture Blog, "Exponential
Backoff And Jitter" (2015), and the gRPC connection-backoff document for the proportional one.
"""

from __future__ import annotations

import random as global_random
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from holdfast.core.settings import Settings

__all__ = ["DecorrelatedJitter", "EqualJitter", "FullJitter", "Jitter", "ProportionalJitter"]


class RetryState(Protocol):
    """The part of tenacity's ``RetryCallState`` that is looked at."""

    attempt_number: int


class Jitter(Settings, ABC):
    """``base`` seconds doubled with each attempt, up to ``cap`` seconds, and then spread."""

    base: float = 0.1
    cap: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.base <= self.cap:
            raise ValueError(f"base must be more than 0 and at most cap, got base={self.base}, cap={self.cap}")

    @abstractmethod
    def seconds(self, attempt: int, previous: float, random: Callable[[], float]) -> float:
        """The wait after failed attempt number ``attempt`` (1, 2, ...); ``previous`` is the wait before it."""

    def __call__(self, retry_state: RetryState) -> float:
        return self.seconds(retry_state.attempt_number, 0.0, global_random.random)

    def ceiling(self, attempt: int) -> float:
        return min(self.cap, self.base * 2.0 ** min(attempt - 1, 60))


class FullJitter(Jitter):
    """Anything from 0 to the ceiling: spreads a crowd best. The same as ``tenacity.wait_random_exponential``."""

    def seconds(self, attempt: int, previous: float, random: Callable[[], float]) -> float:
        return random() * self.ceiling(attempt)


class EqualJitter(Jitter):
    """Half the ceiling, and up to as much again."""

    def seconds(self, attempt: int, previous: float, random: Callable[[], float]) -> float:
        half = self.ceiling(attempt) / 2
        return half + random() * half


class DecorrelatedJitter(Jitter):
    """From ``base`` to three times the wait before, capped; each caller walks a way of its own."""

    def seconds(self, attempt: int, previous: float, random: Callable[[], float]) -> float:
        top = 3 * max(previous, self.base)
        return min(self.cap, self.base + random() * (top - self.base))


class ProportionalJitter(Jitter):
    """The ceiling, give or take 20 % (gRPC)."""

    def seconds(self, attempt: int, previous: float, random: Callable[[], float]) -> float:
        return self.ceiling(attempt) * (0.8 + 0.4 * random())
