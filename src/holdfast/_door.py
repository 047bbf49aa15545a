"""The life of a transport: which calls run through it, and how it is closed under them."""

from __future__ import annotations

from typing import Protocol

from holdfast._waiting import Line
from holdfast.by_origin import Bindable
from holdfast.call import closed_error
from holdfast.clock import SystemClock

__all__ = ["Door"]


class Closing(Protocol):
    async def aclose(self) -> None: ...


class Door:
    """Counts the running calls of one transport; once it is closing no call comes in, once closed none sends.

    A call runs until its response's body is closed. Not shared; one event loop at a time. See `call.Owner`.
    """

    def __init__(self) -> None:
        self.closing = False
        self.closed = False
        self.running = 0
        self._last = Line()  # who waits for the last running call

    def leave(self, error: BaseException | None, complete: bool) -> None:
        self.running -= 1
        if self.running == 0 and len(self._last):
            self._last.admit(len(self._last))

    async def close(self, pipeline: Bindable, inner: Closing, drain: float) -> None:
        """See `ResilientTransport.aclose`. If it is cancelled while it drains, call it again."""
        if drain < 0:
            raise ValueError(f"drain must be at least 0 seconds, got {drain}")
        if self.closed:
            return
        self.closing = True
        if drain > 0 and self.running > 0:
            clock = SystemClock()
            await self._last.wait(clock, clock.monotonic() + drain, lambda: None)
        self.closed = True
        pipeline.dismiss(closed_error, owner=self)
        await inner.aclose()
