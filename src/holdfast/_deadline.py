"""How much time is left for all that is done on somebody's behalf? A deadline that calls find in their context.

A pipeline takes the shorter of it and its own deadline. It is handed down to tasks and threads that are started
under it, as context variables are, and to the next server by `SendDeadline`, if asked.
"""

from __future__ import annotations

import math
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any

from holdfast.call import CALL, Call
from holdfast.clock import Clock, SystemClock

__all__ = ["TIMEOUT_HEADER", "Deadline", "SendDeadline", "deadline", "in_force", "outlive", "share"]

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
"""Whole milliseconds that the sender goes on waiting; no standard has one, and several gateways use this name."""


class Deadline:
    """What `deadline` gives. Belongs to the tasks under it, which only read it; entered once."""

    __slots__ = ("_clock", "_token", "_until", "seconds")

    def __init__(self, seconds: float, clock: Clock) -> None:
        if not 0 <= seconds < math.inf:
            raise ValueError(f"a deadline is 0 seconds or more, got {seconds}")
        self.seconds = seconds  # of the deadline in force, once it was entered
        self._clock = clock
        self._until = math.inf
        self._token: Token[Deadline | None] | None = None

    @property
    def left(self) -> float:
        """Seconds until it is over; below 0 after that."""
        return self._until - self._clock.monotonic()

    def __enter__(self) -> Deadline:
        if self._token is not None:
            raise RuntimeError("a deadline is entered once: make another one")
        outer, left = in_force(), self.seconds
        if outer is not None and outer.left < left:
            left, self.seconds = outer.left, outer.seconds
        self._until = self._clock.monotonic() + left
        self._token = _current.set(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        assert self._token is not None, "left without having been entered"
        _current.reset(self._token)


def deadline(seconds: float, *, clock: Clock = SystemClock()) -> Deadline:
    """Bound every call that a pipeline makes in this context: ``with holdfast.deadline(2.0):``.

    Calls end with `DeadlineExceeded` when it is over, and those that begin later send nothing. Code of another kind
    runs on: this is no cancel scope. Nested, the shorter one holds. Tasks and threads started under it have it too,
    also after it was left. ``left`` tells the seconds that remain. Raises ValueError for less than 0 seconds.

    >>> with deadline(60.0), deadline(90.0) as inner:
    ...     inner.left <= 60.0
    True
    """
    return Deadline(seconds, clock)


_current: ContextVar[Deadline | None] = ContextVar("holdfast.deadline", default=None)
in_force = _current.get


def outlive() -> None:
    """Go on without the deadline of whoever started this task: for work that is everybody's."""
    _current.set(None)


def share(deadline: Deadline | None) -> None:
    """Go on under another's deadline: for work in the background that is one caller's after all."""
    _current.set(deadline)


class SendDeadline:
    """An attempt hook that tells the server how long the caller goes on waiting: ``hooks=[SendDeadline()]``.

    ``header`` has the whole milliseconds that are left of the call's deadline when the attempt goes out, at least 1.
    A call without a deadline sends none. ``clock`` is the pipeline's.
    """

    def __init__(self, header: str = TIMEOUT_HEADER, *, clock: Clock = SystemClock()) -> None:
        self._header = header
        self._clock = clock

    def __call__(self, request: Any, attempt: int) -> None:
        call: Call = request.extensions[CALL]
        if call.deadline is not None:
            left = call.deadline - self._clock.monotonic()
            request.headers[self._header] = str(max(1, int(left * 1000)))
