"""What a circuit can be: its states, the permits that it gives out, and what it answers to a call that asks.

Plain data; what leads from one state to the next is in `holdfast.core.breaker`.
"""

from __future__ import annotations

import math
from typing import Final

from holdfast.core.breaker_settings import CircuitBreaker
from holdfast.core.ramp import Ramp
from holdfast.core.value import Value
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


class Permit(Value):
    """Leave to send one call, known by ``generation`` and ``number``. Settling it twice does no harm.

    At ``expires`` its place may go to another. ``level``: how many were on the wire with it, itself included; in
    ``round`` of the ramp.
    """

    def __init__(
        self,
        generation: int,
        number: int,
        started: float = -math.inf,
        expires: float = math.inf,
        level: int = 0,
        round: int = 0,
    ) -> None:
        self.generation: Final = generation
        self.number: Final = number
        self.started: Final = started
        self.expires: Final = expires
        self.level: Final = level
        self.round: Final = round

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Permit) and self.number == other.number and self.generation == other.generation

    def __hash__(self) -> int:
        return hash((self.generation, self.number))


class Wait(Value):
    """No place now. Ask again after the next outcome, or at ``until``."""

    __match_args__ = ("until",)

    def __init__(self, until: float) -> None:
        self.until: Final = until


class Refuse(Value):
    """Not now; ask again in ``retry_after`` seconds."""

    __match_args__ = ("retry_after",)

    def __init__(self, retry_after: float) -> None:
        self.retry_after: Final = retry_after


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


class Closed(Value):
    """Calls pass, and their outcomes are counted."""

    name = "closed"

    def __init__(self, permit: Permit, tally: Tally) -> None:
        self.permit: Final = permit
        self.tally: Final = tally

    @property
    def generation(self) -> int:
        return self.permit.generation


class Open(Value):
    """Calls are refused; the first one from ``until`` on probes. ``openings``: so often without closing."""

    name = "open"

    def __init__(self, generation: int, opened_at: float, until: float, openings: int) -> None:
        self.generation: Final = generation
        self.opened_at: Final = opened_at
        self.until: Final = until
        self.openings: Final = openings


class HalfOpen(Value):
    """A few calls probe, the others wait for their verdict."""

    name = "half_open"

    def __init__(
        self,
        generation: int,
        opened_at: float,
        openings: int,
        probes: tuple[Permit, ...] = (),
        issued: int = 0,
        successes: int = 0,
    ) -> None:
        self.generation: Final = generation
        self.opened_at: Final = opened_at
        self.openings: Final = openings
        self.probes: Final = probes
        self.issued: Final = issued
        self.successes: Final = successes


class Ramping(Value):
    """The server answers again; it gets its load back step by step."""

    name = "ramping"

    def __init__(
        self,
        generation: int,
        opened_at: float,
        openings: int,
        began: float,
        ramp: Ramp,
        permits: tuple[Permit, ...] = (),
        issued: int = 0,
    ) -> None:
        self.generation: Final = generation
        self.opened_at: Final = opened_at
        self.openings: Final = openings
        self.began: Final = began
        self.ramp: Final = ramp
        self.permits: Final = permits
        self.issued: Final = issued


class ForcedOpen(Value):
    """Refuses all calls until somebody resets it."""

    name = "forced_open"

    def __init__(self, generation: int, opened_at: float) -> None:
        self.generation: Final = generation
        self.opened_at: Final = opened_at


class Disabled(Value):
    """Lets all calls pass, and judges none, until somebody resets it."""

    name = "disabled"

    def __init__(self, permit: Permit) -> None:
        self.permit: Final = permit

    @property
    def generation(self) -> int:
        return self.permit.generation


State = Closed | Open | HalfOpen | Ramping | ForcedOpen | Disabled
