"""What time is it, and how is time waited for?

Every policy reads time and sleeps through a `Clock`, so that tests can put `holdfast.testing.VirtualClock`
in its place. Wall time is for HTTP dates alone: everything that measures uses monotonic seconds, because a
wall clock can be set back.
"""

from __future__ import annotations

import asyncio
import functools
import time
from types import TracebackType
from typing import Protocol

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
        if task is None:  # trio, perhaps as a guest of asyncio
            return anyio.CancelScope(deadline=deadline - time.monotonic() + anyio.current_time())
        # Loops count like time.monotonic(), unless they are made for tests.
        return _asyncio_scope()(deadline=deadline - time.monotonic() + task.get_loop().time())


@functools.cache
def _asyncio_scope() -> type[anyio.CancelScope]:
    """What ``anyio.CancelScope`` makes here: asked once, because finding out costs half as much as the scope itself."""
    return type(anyio.CancelScope())
