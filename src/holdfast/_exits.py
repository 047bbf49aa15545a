"""The life of a transport: which calls run through it, and how it is closed under them."""

from __future__ import annotations

from typing import Generic

from holdfast._waiting import Line
from holdfast._wire import Family, Handler, Inner, Q, R
from holdfast.by_origin import Bindable
from holdfast.clock import SystemClock
from holdfast.errors import Closed

__all__ = ["Exits"]


class Exits(Generic[Q, R]):
    """Counts the running calls of one transport, refuses new ones once it closes, and waits for the others.

    A call runs until its response's body is closed. Not shared; one event loop at a time.
    """

    def __init__(self, family: Family[Q, R]) -> None:
        self._family = family
        self._running = 0
        self._closing = False
        self.closed = False  # read by the queues: nobody joins one any more
        self._last = Line()  # who waits for the last running call

    def bind(self, pipeline: Bindable, inner: Inner[Q, R]) -> Handler[Q, R]:
        """The pipeline around ``inner``, with a door above that counts, and one below that shuts."""
        family, send_inner = self._family, inner.handle_async_request

        async def send(request: Q) -> R:
            if self.closed:  # a retry that slept through the closing would open a fresh connection
                raise family.refusal(_closed(), request)
            return await send_inner(request)

        handle = pipeline.bind(send, family, owner=self)

        async def enter(request: Q) -> R:
            if self._closing:
                raise family.refusal(_closed(), request)
            self._running += 1
            try:
                response = await handle(request)
            except BaseException:
                self._leave(None, complete=False)
                raise
            if response.is_closed:
                self._leave(None, complete=True)
            else:
                family.body(response).watch(self._leave)
            return response

        return enter

    def _leave(self, error: BaseException | None, complete: bool) -> None:
        self._running -= 1
        if self._running == 0 and len(self._last):
            self._last.admit(len(self._last))

    async def close(self, pipeline: Bindable, inner: Inner[Q, R], drain: float) -> None:
        """See `ResilientTransport.aclose`. If it is cancelled while it drains, call it again."""
        if drain < 0:
            raise ValueError(f"drain must be at least 0 seconds, got {drain}")
        if self.closed:
            return
        self._closing = True
        if drain > 0 and self._running > 0:
            clock = SystemClock()
            await self._last.wait(clock, clock.monotonic() + drain, lambda: None)
        self.closed = True
        pipeline.dismiss(_closed, owner=self)
        await inner.aclose()


def _closed() -> Closed:
    return Closed("the transport is closed; no call may begin", policy="transport")
