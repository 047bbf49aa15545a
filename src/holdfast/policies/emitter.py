"""How do records of what happened reach those who listen?

Made once for a pipeline with listeners; a pipeline without has none, and a policy asks ``if emitter is not None``
before it makes a record. So this module and `holdfast.events` are imported by those who listen, and by nobody else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from itertools import count
from typing import Final, TypedDict

from holdfast.call import Call, refusal_reason
from holdfast.clock import Clock
from holdfast.core.breaker import cause
from holdfast.core.breaker_settings import CircuitBreaker
from holdfast.core.circuit import Closed, Disabled, ForcedOpen, HalfOpen, Open, Ramping, State
from holdfast.core.retry import Again
from holdfast.errors import Refused
from holdfast.events import (
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitRamping,
    Event,
    FallbackFailed,
    FellBack,
    GaveUp,
    HedgeWon,
    Listener,
    Refusal,
    Retried,
    WentOffline,
    WentOnline,
)

__all__ = ["About", "Emitter"]

_logger = logging.getLogger("holdfast")

_calls: Final = count(1)


class About(TypedDict):
    """What every record of a call begins with."""

    at: float
    key: str
    call: str | None
    operation: str | None


class Emitter:
    """The listeners of a pipeline. Shared by its policies; called between awaits, so no lock.

    A listener that raises is logged once and dropped: it must not break a call, nor fill the log.
    """

    __slots__ = ("_listeners", "_process", "_wall")

    def __init__(self, listeners: Iterable[Listener], clock: Clock) -> None:
        self._listeners = tuple(listeners)
        self._wall = clock.wall
        self._process = os.urandom(4).hex()

    def reconfigure(self, listeners: Iterable[Listener]) -> None:
        """Others are told from now on."""
        self._listeners = tuple(listeners)

    def emit(self, event: Event) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # whoever listens: the call is protected from all of it
                self._listeners = tuple(other for other in self._listeners if other is not listener)
                _logger.exception("a listener raised and is not called again: %r", listener)

    def retried(self, call: Call, number: int, reason: str, again: Again) -> None:
        self.emit(Retried(**self.about(call), number=number, reason=reason, wait=again.wait, source=again.source))

    def gave_up(self, call: Call, number: int, reason: str) -> None:
        self.emit(GaveUp(**self.about(call), number=number, reason=reason))

    def hedge_won(self, call: Call, arm: int) -> None:
        self.emit(HedgeWon(**self.about(call), arm=arm))

    def refused(self, call: Call, error: Refused, *, observed: bool = False) -> None:
        self.emit(
            Refusal(
                **self.about(call),
                policy=error.policy,
                reason=refusal_reason(error),
                retry_after=error.retry_after,
                observed=observed,
            )
        )

    def fell_back(self, call: Call, source: str, reason: str) -> None:
        self.emit(FellBack(**self.about(call), source=source, reason=reason, age=call.age))

    def fallback_failed(self, call: Call, source: str, error: Exception) -> None:
        self.emit(FallbackFailed(**self.about(call), source=source, error=type(error).__name__))

    def went_offline(self, key: str, reason: str) -> None:
        self.emit(WentOffline(**self.at(key), reason=reason))

    def went_online(self, key: str, offline_for: float) -> None:
        self.emit(WentOnline(**self.at(key), offline_for=offline_for))

    def circuit_moved(self, key: str, before: State, state: State, settings: CircuitBreaker, now: float) -> None:
        about = self.at(key)
        match state:
            case Open(until=until):
                self.emit(CircuitOpened(**about, open_for=until - now, reason=cause(before, settings, now)))
            case ForcedOpen():
                self.emit(CircuitOpened(**about, open_for=None, reason="forced"))
            case HalfOpen():
                self.emit(CircuitHalfOpened(**about))
            case Ramping():
                self.emit(CircuitRamping(**about))
            case Closed() | Disabled():
                since = now if isinstance(before, Closed | Disabled) else before.opened_at
                self.emit(CircuitClosed(**about, open_for=now - since, forced=isinstance(state, Disabled)))

    def about(self, call: Call) -> About:
        """The fields that every record of ``call`` has."""
        if call.id is None:
            call.id = f"{self._process}-{next(_calls)}"
        return {"at": self._wall(), "key": call.key, "call": call.id, "operation": call.options.operation}

    def at(self, key: str) -> About:
        """The fields of a record that belongs to no single call."""
        return {"at": self._wall(), "key": key, "call": None, "operation": None}
