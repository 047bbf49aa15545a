"""Standing in line where the answer depends on time as well as on events: the head asks for itself."""

from __future__ import annotations

import math
from collections.abc import Callable

import anyio

from holdfast._waiting import Queue, Waiter
from holdfast.clock import Clock

__all__ = ["Turnstile"]


class _Turn(Waiter):
    """A caller that lets time pass in ``scope`` while it is the head."""

    __slots__ = ("scope",)

    def __init__(self, owner: object) -> None:
        super().__init__(owner)
        self.scope: anyio.CancelScope | None = None

    def wake(self) -> None:
        super().wake()
        if self.scope is not None:
            self.scope.cancel()


class Turnstile(Queue[_Turn]):
    """A queue in which the head asks whether it may pass, and when to ask again.

    For owners such as a circuit, whose probe has a lease and whose ramp spreads its starts: nobody keeps a
    timer for them, because the head is one. Nothing is ever handed to a caller that may be gone, so there is
    nothing to give back on cancellation.
    """

    __slots__ = ()

    def nudge(self) -> None:
        """Have the head ask again: something happened."""
        if self._waiters and self._deserted():
            self._waiters.clear()
        if (head := self.first) is not None:
            head.wake()

    def dismiss(self, make_error: Callable[[], Exception], owner: object = None) -> None:
        """Send everybody away, or only those of ``owner``; each `wait` raises an exception of its own."""
        for waiter in self:
            if owner is None or waiter.owner is owner:
                self.leave(waiter)
                if not self._deserted():
                    waiter.settle(make_error())
        self.nudge()

    async def wait(self, clock: Clock, ask: Callable[[bool], float | None], owner: object = None) -> None:
        """Join at the end, and return once ``ask(head)`` has returned None: the caller may pass.

        ``ask`` gets True if the caller is the head. Any number that it returns is the monotonic second at
        which it wants to be asked again (the head also is after each `nudge`); what it raises ends the wait.
        A caller that is cancelled leaves at once, and the next one is asked.
        """
        waiter = _Turn(owner)
        self.join(waiter)
        try:
            while (until := ask(head := self.first is waiter)) is not None:
                if until == math.inf:
                    await waiter
                elif head:  # by sleep: a virtual clock jumps only where somebody sleeps
                    with anyio.CancelScope() as waiter.scope:
                        await clock.sleep(until - clock.monotonic())
                    waiter.scope = None
                else:
                    with clock.timeout_at(until):
                        await waiter
                waiter.raise_if_dismissed()
                self.renew(waiter)
        finally:
            was_head = self.first is waiter
            self.leave(waiter)
            if was_head:
                self.nudge()
