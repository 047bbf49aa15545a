"""A clock that stands still until it is told to move, so that no test ever sleeps."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from types import TracebackType

import anyio
import anyio.lowlevel

from holdfast.clock import TimeLimit

__all__ = ["VirtualClock"]

_QUIET = 25
"""How many checkpoints in a row without a new timer count as "everybody waits". A hand-over from task to
task takes one or two; chains in one call are shorter than twenty."""


class _Timer:
    """One entry of the clock's heap; ``fire`` is None once it is over."""

    __slots__ = ("at", "fire", "order")

    def __init__(self, at: float, order: int, fire: Callable[[], None]) -> None:
        self.at = at
        self.order = order
        self.fire: Callable[[], None] | None = fire

    def __lt__(self, other: _Timer) -> bool:
        return (self.at, self.order) < (other.at, other.order)


class _Sleeper:
    """One task in `VirtualClock.sleep`: parked, or driving the clock for all."""

    __slots__ = ("_parked", "_stirred", "woken")

    def __init__(self, parked: dict[_Sleeper, None]) -> None:
        self._parked = parked
        self._stirred = anyio.Event()
        self.woken = False

    def wake(self) -> None:
        self.woken = True
        self.stir()

    def stir(self) -> None:
        self._parked.pop(self, None)
        self._stirred.set()

    async def park(self) -> None:
        """Wait until woken, or stirred to drive the clock."""
        self._stirred = anyio.Event()
        self._parked[self] = None
        try:
            await self._stirred.wait()
        finally:
            self._parked.pop(self, None)


class VirtualClock:
    """Time for tests: ``await clock.advance(5.0)`` makes five seconds pass, and lets everybody act on each.

    ``jump=True`` makes it jump by itself to the next timer as soon as every task waits. Use that with a
    scripted transport only: a task that waits for a socket looks idle too. `set_wall` moves the wall clock
    alone, as an administrator does. Serves asyncio and trio; belongs to one event loop at a time.

    >>> clock = VirtualClock(wall=1_000_000_000.0)
    >>> clock.monotonic(), clock.wall()
    (0.0, 1000000000.0)
    """

    def __init__(self, *, start: float = 0.0, wall: float = 1_800_000_000.0, jump: bool = False) -> None:
        self._now = start
        self._wall_offset = wall - start
        self._jump = jump
        self._timers: list[_Timer] = []
        self._order = itertools.count()
        self._stirs = 0  # grows with every timer: the sign that somebody acted
        self._driving = False
        self._parked: dict[_Sleeper, None] = {}

    def monotonic(self) -> float:
        """Seconds since ``start``; moved by `advance`, or by itself with ``jump``."""
        return self._now

    def wall(self) -> float:
        """Seconds since the epoch; goes with `monotonic`, unless `set_wall` moves it."""
        return self._now + self._wall_offset

    def set_wall(self, seconds: float) -> None:
        """Set the wall clock; monotonic time, and whatever waits on it, does not notice."""
        self._wall_offset = seconds - self._now

    @property
    def sleepers(self) -> int:
        """How many sleeps and open time limits there are."""
        return sum(1 for timer in self._timers if timer.fire is not None)

    async def sleep(self, seconds: float) -> None:
        """Return when so much virtual time has passed; 0 or less is a checkpoint. A cancelled one leaves no trace."""
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        sleeper = _Sleeper(self._parked)
        timer = self.call_at(self._now + seconds, sleeper.wake)
        try:
            while not sleeper.woken:
                if self._jump and not self._driving:
                    await self._drive(sleeper)
                else:
                    await sleeper.park()
        finally:
            timer.fire = None
            if not self._driving:
                self._hand_over()

    def timeout_at(self, deadline: float) -> TimeLimit:
        """A context that cancels what is inside it when `monotonic` reaches ``deadline``, and swallows that."""
        return _VirtualTimeLimit(self, deadline)

    def call_at(self, at: float, fire: Callable[[], None]) -> _Timer:
        """Have ``fire`` called when time reaches ``at``; set the timer's ``fire`` to None to call it off."""
        timer = _Timer(at, next(self._order), fire)
        heapq.heappush(self._timers, timer)
        self._stirs += 1
        return timer

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, timer by timer, with every task run until it waits again."""
        target = self._now + seconds
        await self._settle()
        while (timer := self._next()) is not None and timer.at <= target:
            self._fire(timer)
            await self._settle()
        self._now = max(self._now, target)
        await self._settle()

    async def settle(self) -> None:
        """Let every task run until it waits, without any time passing."""
        await self._settle()

    async def _settle(self) -> None:
        quiet, stirs = 0, self._stirs
        while quiet < _QUIET:
            await anyio.lowlevel.checkpoint()
            quiet, stirs = (quiet + 1, stirs) if stirs == self._stirs else (0, self._stirs)

    async def _drive(self, sleeper: _Sleeper) -> None:
        """Jump from timer to timer until ``sleeper`` is woken; one sleeper drives, the others are parked."""
        self._driving = True
        try:
            while not sleeper.woken:
                await self._settle()
                timer = self._next()
                if timer is None or timer.at == math.inf:
                    return await sleeper.park()  # nothing is left to happen: whoever comes next drives on
                if not sleeper.woken:
                    self._fire(timer)
        finally:
            self._driving = False

    def _hand_over(self) -> None:
        """Let a parked sleeper drive on."""
        for sleeper in self._parked:
            sleeper.stir()
            return

    def _next(self) -> _Timer | None:
        while self._timers and self._timers[0].fire is None:
            heapq.heappop(self._timers)
        return self._timers[0] if self._timers else None

    def _fire(self, timer: _Timer) -> None:
        heapq.heappop(self._timers)
        self._now = max(self._now, timer.at)
        fire, timer.fire = timer.fire, None
        self._stirs += 1
        if fire is not None:
            fire()


class _VirtualTimeLimit:
    """A context that is cancelled when virtual time reaches ``deadline``; see `holdfast.clock.TimeLimit`."""

    __slots__ = ("_clock", "_deadline", "_scope", "_timer")

    def __init__(self, clock: VirtualClock, deadline: float) -> None:
        self._clock = clock
        self._deadline = deadline
        self._scope = anyio.CancelScope()
        self._timer: _Timer | None = None

    def __enter__(self) -> None:
        self._scope.__enter__()
        if self._deadline <= self._clock.monotonic():
            self._scope.cancel()
        elif self._deadline < math.inf:
            self._timer = self._clock.call_at(self._deadline, self._scope.cancel)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None:
        if self._timer is not None:
            self._timer.fire = None
        return self._scope.__exit__(kind, error, trace)
