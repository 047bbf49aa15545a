"""One circuit among many: its state, who waits for it, and what it remembers and tells of itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from holdfast.core.breaker_settings import CircuitBreaker
from holdfast.core.circuit import Closed, Disabled, ForcedOpen, HalfOpen, Open, Ramping, State
from holdfast.policies._turnstile import Turnstile

__all__ = ["Circuit", "copier", "describe"]


class Circuit:
    """The state of one key, and who waits for it to change."""

    __slots__ = ("failure", "key", "late", "left", "queue", "recheck", "state", "would_reject")

    def __init__(self, key: str, state: State) -> None:
        self.key = key
        self.state = state
        self.queue = Turnstile()
        self.failure: Callable[[], Exception] | None = None  # makes a fresh copy of the last failure
        self.recheck: Callable[[], None] | None = None  # for the calls of the present closed state
        self.would_reject = 0  # calls that were only observed
        self.late = 0  # outcomes that came after their generation was over
        self.left = 0.0  # when it was last closed, in monotonic seconds: an outage may open it many times


def copier(error: Exception) -> Callable[[], Exception]:
    """A function that makes copies of ``error``, without traceback, request and all else that it holds.

    An exception that is kept and chained over and over would keep the frames and bodies of its call alive.
    """
    kind = type(error)
    plain = all(isinstance(argument, str | int | float | bytes | None) for argument in error.args)
    return partial(_copy, kind, error.args if plain else (str(error),), tuple(vars(error)))


def _copy(kind: type[Exception], arguments: tuple[object, ...], names: tuple[str, ...]) -> Exception:
    try:
        copy = kind.__new__(kind, *arguments)
        copy.args = arguments
        vars(copy).update(dict.fromkeys(names))
    except Exception:  # a class with a constructor of its own kind; its name must do
        return Exception(f"{kind.__name__}: {' '.join(map(str, arguments))}")
    return copy


def describe(circuit: Circuit, settings: CircuitBreaker, now: float) -> dict[str, Any]:
    state = circuit.state
    described: dict[str, Any] = {
        "state": state.name,
        "for": None if isinstance(state, Closed) else now - circuit.left,
        "generation": state.generation,
        "waiting": len(circuit.queue),
        "late": circuit.late,
        "last_failure": None if circuit.failure is None else str(circuit.failure()),
        "failures_in_a_row": 0,
        "calls": 0,
        "failures": 0,
        "retry_after": None,
        "in_flight": None,
        "limit": None,
    }
    if settings.observe:
        described["would_reject"] = circuit.would_reject
    match state:
        case Closed(tally=tally):
            described["failures_in_a_row"] = tally.run
            described["calls"], described["failures"] = tally.window.sums(now)
        case Open(until=until):
            described["retry_after"] = max(0.0, until - now)
        case HalfOpen(probes=permits):
            described.update(in_flight=len(permits), limit=settings.half_open_max)
        case Ramping(permits=permits, ramp=ramp):
            described.update(in_flight=len(permits), limit=ramp.limit, failures_in_a_row=ramp.run)
        case ForcedOpen():
            described["retry_after"] = settings.open_for
        case Disabled():
            pass
    return described
