"""How do three seconds pass for two hundred cases at once, over real sockets?

Either they do, or time stands still while the sockets work and is moved on by hand as soon as every case waits for
that. The second is quick, and no stall of the machine makes an answer older than its case says.
"""

from __future__ import annotations

from typing import Final, Protocol

import anyio
import anyio.lowlevel

from holdfast.clock import SystemClock, TimeLimit

PAUSE: Final = 3.0


class HandClock:
    """Time that stands still until it is moved on. Backoffs cost nothing, time limits are measured in real time."""

    def __init__(self) -> None:
        real = SystemClock()
        self._now = real.monotonic()
        self._wall = real.wall()

    def monotonic(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._wall

    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()

    def timeout_at(self, deadline: float) -> TimeLimit:
        return anyio.CancelScope(deadline=anyio.current_time() + deadline - self._now)

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._wall += seconds


class Pauses(Protocol):
    """The pauses of all cases of one replay."""

    async def pause(self) -> None: ...
    def finished(self) -> None:
        """One of the cases will pause no more."""
        ...


class RealPauses:
    async def pause(self) -> None:
        await anyio.sleep(PAUSE)  # some rows are replayed in real time, as the suite's own client does it

    def finished(self) -> None:
        pass


class HandPauses:
    """Moves ``clock`` on when all ``cases`` that are not finished wait."""

    def __init__(self, clock: HandClock, cases: int) -> None:
        self._clock = clock
        self._running = cases
        self._waiting = 0
        self._over = anyio.Event()

    async def pause(self) -> None:
        over = self._over
        self._waiting += 1
        self._look()
        await over.wait()

    def finished(self) -> None:
        self._running -= 1
        self._look()

    def _look(self) -> None:
        if self._waiting == self._running > 0:
            self._clock.advance(PAUSE)
            over, self._over, self._waiting = self._over, anyio.Event(), 0
            over.set()
