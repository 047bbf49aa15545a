"""What time is it, and how is time waited for?

Every policy reads time and sleeps through a `Clock`, so that tests can put `holdfast.testing.VirtualClock`
in its place. Wall time is for HTTP dates alone: everything that measures uses monotonic seconds, because a
wall clock can be set back.
"""

from __future__ import annotations

import asyncio
import functools
import math
import time
from types import TracebackType
from typing import Protocol
from weakref import WeakKeyDictionary

import anyio

__all__ = ["Clock", "SystemClock", "TimeLimit"]


class TimeLimit(Protocol):
    """A context that is cancelled at a point in time.

    Leaving it swallows its own cancellation, never that of others: what stands after the ``with`` block, and is
    otherwise returned past, is reached when the time was over.
    """

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None: ...


class Clock(Protocol):
    """Source of time. Implementations hold no state of an event loop: one clock serves several loops in turn."""

    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back."""
        ...

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump either way."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` (at once, but with a checkpoint, for 0 or less). Ends early when cancelled."""
        ...

    def timeout_at(self, deadline: float) -> TimeLimit:
        """A context that is cancelled when `monotonic` reaches ``deadline``."""
        ...


class SystemClock:
    """The machine's clock; sleeps and timeouts through anyio, so on asyncio and on trio."""

    __slots__ = ()

    # Plain functions as class attributes would be bound like methods; these are built in, and are not.
    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(max(0.0, seconds))

    def timeout_at(self, deadline: float) -> TimeLimit:
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        left = deadline - time.monotonic()
        if task is None:  # trio, perhaps as a guest of asyncio
            return anyio.CancelScope(deadline=left + anyio.current_time())
        # Loops count like time.monotonic(), unless they are made for tests.
        loop = task.get_loop()
        return _InTime(loop, loop.time() + left, over=left <= 0)


class _InTime:
    """A scope of anyio's whose deadline is kept by the `_Alarm` of its event loop."""

    __slots__ = ("_alarm", "_deadline", "_loop", "_scope")

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: float, *, over: bool) -> None:
        self._scope = scope = _asyncio_scope()()
        self._loop = loop
        self._deadline = deadline
        if over:
            scope.cancel()
        try:
            self._alarm = _alarms[loop]
        except KeyError:
            self._alarm = _alarms[loop] = _Alarm()

    def __enter__(self) -> None:
        self._scope.__enter__()
        self._alarm.set(self._scope, self._deadline, self._loop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._alarm.due.pop(self._scope, None)
        return self._scope.__exit__(kind, error, trace)


class _Alarm:
    """One timer for all that must end in time in one event loop.

    Nearly all of it is left before its deadline: a timer for each would cost as much as the scope, only to be
    cancelled. This one rings at the earliest deadline that was set, and then at the earliest that is still due.
    """

    __slots__ = ("__weakref__", "_rings_at", "due")

    def __init__(self) -> None:
        self.due: dict[anyio.CancelScope, float] = {}
        self._rings_at = math.inf

    def set(self, scope: anyio.CancelScope, deadline: float, loop: asyncio.AbstractEventLoop) -> None:
        self.due[scope] = deadline
        if deadline < self._rings_at:
            self._ring_at(deadline, loop)

    def _ring_at(self, at: float, loop: asyncio.AbstractEventLoop) -> None:
        self._rings_at = at
        if at < math.inf:
            loop.call_at(at, self._ring, at, loop)

    def _ring(self, at: float, loop: asyncio.AbstractEventLoop) -> None:
        if at != self._rings_at:
            return  # an earlier deadline was set since, and a timer for it
        now = loop.time()
        for scope in [scope for scope, deadline in self.due.items() if deadline <= now]:
            del self.due[scope]
            scope.cancel()
        self._ring_at(min(self.due.values(), default=math.inf), loop)


_alarms: WeakKeyDictionary[asyncio.AbstractEventLoop, _Alarm] = WeakKeyDictionary()


@functools.cache
def _asyncio_scope() -> type[anyio.CancelScope]:
    """What ``anyio.CancelScope`` makes here: asked once, because finding out costs half as much as the scope itself."""
    return type(anyio.CancelScope())
