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

from holdfast.call import Call
from holdfast.clock import Clock
from holdfast.events import Event, Listener

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

    def emit(self, event: Event) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # whoever listens: the call is protected from all of it
                self._listeners = tuple(other for other in self._listeners if other is not listener)
                _logger.exception("a listener raised and is not called again: %r", listener)

    def about(self, call: Call) -> About:
        """The fields that every record of ``call`` has."""
        if call.id is None:
            call.id = f"{self._process}-{next(_calls)}"
        return {"at": self._wall(), "key": call.key, "call": call.id, "operation": call.options.operation}

    def at(self, key: str) -> About:
        """The fields of a record that belongs to no single call."""
        return {"at": self._wall(), "key": key, "call": None, "operation": None}
