"""An asyncio loop whose time is its own, and passes by itself: for what reads the loop's clock, as aiolimiter does."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

from holdfast.clock import SystemClock


class JumpingSelector(selectors.DefaultSelector):
    """Lets time pass instead of waiting for it, and a microsecond with each look, as on any machine."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        self.now += 1e-6 if events or timeout is None else timeout + 1e-6
        return events


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.jumping = JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


class LoopClock(SystemClock):
    """The system's clock, as seen from a loop that has a time of its own."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()
