"""An asyncio loop whose time is its own, and passes by itself: for what reads the loop's clock, as aiolimiter does."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVarTuple

import anyio

from holdfast.clock import SystemClock

Ts = TypeVarTuple("Ts")


class JumpingSelector(selectors.DefaultSelector):
    """Lets time pass instead of waiting for it, and a microsecond with each look, as on any machine."""

    now = 0.0
    looks = 0

    def select(self, timeout: float | None = None) -> Any:
        self.looks += 1
        events = super().select(0)
        self.now += 1e-6 if events or timeout is None else timeout + 1e-6
        return events


class JumpingLoop(asyncio.SelectorEventLoop):
    """``timers`` and ``looks`` count what is asked of it, where seconds would depend on the machine."""

    def __init__(self) -> None:
        self.jumping = JumpingSelector()
        self.timers = 0
        super().__init__(self.jumping)

    @property
    def looks(self) -> int:
        return self.jumping.looks

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(when, callback, *args, context=context)

    def time(self) -> float:
        return self.jumping.now


class LoopClock(SystemClock):
    """The system's clock, as seen from a loop that has a time of its own."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return 1_800_000_000.0 + self.monotonic()

    def timeout_at(self, deadline: float) -> anyio.CancelScope:
        return anyio.CancelScope(deadline=deadline)
