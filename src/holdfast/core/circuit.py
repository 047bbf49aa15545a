"""What a circuit can be: its states, the permits that it gives out, and what it answers to a call that asks.

Plain data; what leads from one state to the next is in `holdfast.core.breaker`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from holdfast.core.breaker_settings import CircuitBreaker
from holdfast.core.ramp import Ramp
from holdfast.core.window import OutcomeWindow

__all__ = [
    "Answer",
    "Closed",
    "Disabled",
    "ForcedOpen",
    "HalfOpen",
    "Open",
    "Permit",
    "Ramping",
    "Refuse",
    "State",
    "Tally",
    "Wait",
]


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send one call, known by ``generation`` and ``number``. Settling it twice does no harm."""

    generation: int
    number: int
    started: float = field(default=-math.inf, compare=False)
    expires: float = field(default=math.inf, compare=False)  # then its place may go to another
    level: int = field(default=0, compare=False)  # how many were on the wire with it, itself included
    round: int = field(default=0, compare=False)  # of the ramp


@dataclass(frozen=True, slots=True)
class Wait:
    """No place now. Ask again after the next outcome, or at ``until``."""

    until: float


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not now; ask again in ``retry_after`` seconds."""

    retry_after: float


Answer = Permit | Wait | Refuse


class Tally:
    """The outcomes of a closed circuit. Changes in place: a new one for each success costs too much."""

    __slots__ = ("run", "slow", "window")

    def __init__(self, settings: CircuitBreaker) -> None:
        self.run = 0  # failures in a row
        self.window = OutcomeWindow(settings.window, slots=settings.slots)
        self.slow = None if settings.slow_after is None else OutcomeWindow(settings.window, slots=settings.slots)

    def success(self, now: float) -> None:
        self.run = 0
        window = self.window
        if now >= window.ends_at:
            window.roll(now)
        window.calls += 1


@dataclass(frozen=True, slots=True)
class Closed:
    """Calls pass, and their outcomes are counted."""

    name: ClassVar[str] = "closed"
    permit: Permit
    tally: Tally = field(compare=False)

    @property
    def generation(self) -> int:
        return self.permit.generation


@dataclass(frozen=True, slots=True)
class Open:
    """Calls are refused; the first one from ``until`` on probes. ``openings``: so often without closing."""

    name: ClassVar[str] = "open"
    generation: int
    opened_at: float
    until: float
    openings: int


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """A few calls probe, the others wait for their verdict."""

    name: ClassVar[str] = "half_open"
    generation: int
    opened_at: float
    openings: int
    probes: tuple[Permit, ...] = ()
    issued: int = 0
    successes: int = 0


@dataclass(frozen=True, slots=True)
class Ramping:
    """The server answers again; it gets its load back step by step."""

    name: ClassVar[str] = "ramping"
    generation: int
    opened_at: float
    openings: int
    began: float
    ramp: Ramp
    permits: tuple[Permit, ...] = ()
    issued: int = 0


@dataclass(frozen=True, slots=True)
class ForcedOpen:
    """Refuses all calls until somebody resets it."""

    name: ClassVar[str] = "forced_open"
    generation: int
    opened_at: float


@dataclass(frozen=True, slots=True)
class Disabled:
    """Lets all calls pass, and judges none, until somebody resets it."""

    name: ClassVar[str] = "disabled"
    permit: Permit

    @property
    def generation(self) -> int:
        return self.permit.generation


State = Closed | Open | HalfOpen | Ramping | ForcedOpen | Disabled
