"""The life of a transport: which calls run through it, what they left to be done, and how it is closed under them."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

from holdfast._waiting import Line
from holdfast.background import Background, Work
from holdfast.by_origin import Bindable
from holdfast.call import closed_error
from holdfast.clock import SystemClock

__all__ = ["Door", "certificate_of"]


def certificate_of(cert: str | tuple[str, ...] | None) -> bytes | None:
    """What stands for a client certificate, as the libraries take one: equal for one file, whoever asks."""
    if cert is None:
        return None
    content = Path(cert if isinstance(cert, str) else cert[0]).read_bytes()
    return blake2b(content, digest_size=16).digest()


class Closing(Protocol):
    async def aclose(self) -> None: ...


class Door:
    """Counts the running calls of one transport; once it is closing no call comes in, once closed none sends.

    A call runs until its response's body is closed; work in the background counts as one. Not shared; one event
    loop at a time. See `call.Owner`.
    """

    def __init__(self, certificate: bytes | None = None) -> None:
        self.certificate = certificate
        self.closing = False
        self.closed = False
        self.running = 0
        self._open = True  # what is beneath is not closed, and nobody is at it
        self._last = Line()  # who waits for the last running call
        self._background = Background()

    def leave(self, error: BaseException | None, complete: bool) -> None:
        self.running -= 1
        if self.closing and self.running == 0:
            self._last.admit(len(self._last))

    def start(self, work: Work, lost: Callable[[], None]) -> bool:
        if self.closing:
            return False

        def ended(began: bool) -> None:
            self.leave(None, began)
            if not began:
                lost()

        self.running += 1
        self._background.start(work, ended)
        return True

    async def close(self, pipeline: Bindable, inner: Closing, drain: float) -> None:
        """See `ResilientTransport.aclose`. If it is cancelled, call it again: it goes on from there."""
        if drain < 0:
            raise ValueError(f"drain must be at least 0 seconds, got {drain}")
        self.closing = True
        if drain > 0 and self.running > 0 and not self.closed:
            clock = SystemClock()
            await self._last.wait(clock, clock.monotonic() + drain, lambda: None)
        if not self._open:  # somebody has closed it, or is at it
            return
        self.closed, self._open = True, False
        self._last.admit(len(self._last))
        pipeline.dismiss(closed_error, owner=self)
        try:
            try:
                await self._background.aclose()
            finally:
                await inner.aclose()
        except BaseException:
            self._open = True
            raise
