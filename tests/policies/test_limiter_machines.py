"""Every limiter against a model that knows nothing of how it is done: whatever hypothesis has callers do.

The model has the promise of each limit, word for word: it looks at all sends there have been, and lets the next one go
at the first moment that breaks none. Callers come with any cost, priority and patience, and are cancelled at any time;
what the limiter does, and when, must be the same. So it never sends earlier than promised, never later than it could,
in the order of turns, and a caller who has left is as if it had never come.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TypeAlias

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import RateLimit, RateLimited, Window
from holdfast.clock import Clock
from holdfast.core.priority import AHEAD
from holdfast.policies._gates import Limit
from holdfast.policies.rate_limit import RateLimiter
from holdfast.testing.clock import VirtualClock
from tests.policies.loop_time import JumpingLoop, LoopClock
from tests.support import examples

KEY = "http://api.test:80"
RATE = RateLimit(2, burst=3, max_queue=8)
WINDOW = Window(3, per=8.0, margin=0.0, max_queue=8)


@dataclass(frozen=True)
class Comes:
    cost: int
    priority: int
    patience: float | None


@dataclass(frozen=True)
class Leaves:
    place: int


@dataclass(frozen=True)
class Pause:
    seconds: float


Step: TypeAlias = Comes | Leaves | Pause

# Binary fractions, so that sums are exact in virtual time; patience never ends in the moment of a grant.
COMES = st.builds(
    Comes,
    st.sampled_from([1, 1, 2, 3]),
    st.sampled_from([0, 1, -1]),
    st.sampled_from([None, None, 1.09375, 2.09375, 4.09375, 20.09375]),
)
PAUSE = st.builds(Pause, st.sampled_from([0.25, 0.25, 0.5, 0.5, 1.75, 3.0, 8.0, 40.0]))
LEAVES = st.builds(Leaves, st.integers(0, 7))
STEPS = st.lists(st.one_of(*[COMES] * 5, LEAVES, *[PAUSE] * 2), min_size=15, max_size=40)


@dataclass(eq=False)
class Caller:
    number: int
    cost: int
    priority: int
    arrived: float
    until: float

    @property
    def turn(self) -> tuple[float, int, int]:
        return self.arrived - AHEAD * self.priority, -self.priority, self.number


@dataclass
class Model:
    limits: tuple[Limit, ...]
    now: float = 0.0
    waiting: list[Caller] = field(default_factory=list[Caller])
    sends: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])  # when, and the cost
    order: list[int] = field(default_factory=list[int])
    late: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])  # when, and who

    def earliest(self, cost: int, now: float) -> float:
        return max(self._allowed(limit, cost, now) for limit in self.limits)

    def _allowed(self, limit: Limit, cost: int, now: float) -> float:
        if isinstance(limit, Window):
            ends = [now, *(at + limit.per for at, _ in self.sends if at + limit.per > now)]
            return min(end for end in sorted(ends) if self._within(end, limit.per) + cost <= limit.limit)
        total, earliest = cost, now
        for at, taken in reversed(self.sends):
            total += taken
            earliest = max(earliest, at + (total - limit.capacity) * limit.interval)
        return earliest

    def _within(self, end: float, per: float) -> int:
        return sum(cost for at, cost in self.sends if end - per < at <= end)

    def advance(self, until: float, *, slack: float) -> None:
        """Everything that happens until then, in order."""
        while self.waiting:
            first = min(self.waiting, key=lambda caller: caller.turn)
            hasty = min(self.waiting, key=lambda caller: caller.until)
            at = self.earliest(first.cost, self.now)
            if min(at, hasty.until) > until + slack:
                break
            if hasty.until < at:
                self.now = hasty.until
                self.waiting.remove(hasty)
                self.late.append((self.now, hasty.number))
            else:
                self.now = max(self.now, at)
                self.waiting.remove(first)
                self.sends.append((self.now, first.cost))
                self.order.append(first.number)
        self.now = until

    def wait_of(self, newcomer: Caller) -> float:
        """If nobody comes and nobody gives up."""
        future = deepcopy(self)
        future.waiting = [Caller(c.number, c.cost, c.priority, c.arrived, math.inf) for c in (*self.waiting, newcomer)]
        future.advance(1e9, slack=0.0)
        return future.sends[future.order.index(newcomer.number)][0] - self.now


class Play:
    """The limiter and the model, side by side. ``slack``: seconds by which the two may differ."""

    def __init__(
        self, limits: tuple[Limit, ...], clock: Clock, pass_time: Callable[[float], Awaitable[None]], slack: float
    ) -> None:
        self.limiter = RateLimiter(limits, clock=clock)
        self.clock = clock
        self.pass_time = pass_time
        self.slack = slack
        self.exact = len(limits) == 1 and isinstance(limits[0], RateLimit)
        self.model = Model(limits, clock.monotonic())
        self.scopes: list[anyio.CancelScope] = []
        self.sends: list[tuple[float, int]] = []
        self.late: list[tuple[float, int]] = []

    async def play(self, steps: list[Step]) -> None:
        async with anyio.create_task_group() as tasks:
            for step in steps:
                match step:
                    case Comes():
                        await self.somebody_comes(step, tasks.start_soon)
                    case Leaves(place) if self.model.waiting:
                        leaving = self.model.waiting.pop(place % len(self.model.waiting))
                        self.scopes[leaving.number].cancel()
                    case Leaves():
                        continue
                    case Pause(seconds):
                        await self.pass_time(seconds)
                await self.pass_time(0.0)
                self.model.advance(self.clock.monotonic(), slack=self.slack)
                self.compare()
            tasks.cancel_scope.cancel()
        assert not any(gate.waiting or gate.line for gate in self.limiter._gates.all())

    async def somebody_comes(self, step: Comes, start_soon: Callable[..., object]) -> None:
        self.model.advance(now := self.clock.monotonic(), slack=self.slack)
        number, patience = len(self.scopes), step.patience
        until = math.inf if patience is None else now + patience
        caller = Caller(number, step.cost, step.priority, now, until)
        foretold = self.model.wait_of(caller)
        self.scopes.append(anyio.CancelScope())
        start_soon(self.call, number, step)
        await self.pass_time(0.0)
        if (refused := self.late[-1:]) and refused[0][1] == number:
            full = len(self.model.waiting) >= 8
            assert full or (patience is not None and foretold > patience - self.slack), "it could have waited"
            self.model.late.append((now, number))
        else:
            if self.exact and patience is not None:
                assert foretold <= patience + self.slack, "its wait was known, and was too long"
            assert len(self.model.waiting) < 8, "the line was full"
            self.model.waiting.append(caller)

    async def call(self, number: int, step: Comes) -> None:
        with self.scopes[number]:
            try:
                await self.limiter.acquire(KEY, step.cost, max_wait=step.patience, priority=step.priority)
            except RateLimited:
                self.late.append((self.clock.monotonic(), number))
            else:
                self.sends.append((self.clock.monotonic(), number))

    def compare(self) -> None:
        model = self.model
        # trio runs the tasks of one moment in any order.
        sends = sorted(self.sends, key=lambda send: (round(send[0], 2), model.order.index(send[1])))
        assert [number for _, number in sends] == model.order
        assert [at for at, _ in sends] == pytest.approx([at for at, _ in model.sends], abs=self.slack)
        assert [number for _, number in self.late] == [number for _, number in model.late]
        assert [at for at, _ in self.late] == pytest.approx([at for at, _ in model.late], abs=self.slack)
        if self.scopes:
            assert self.limiter.snapshot()[KEY]["waiting"] == len(model.waiting)
        if not model.waiting:
            for cost in (1, 3):
                wait = model.earliest(cost, model.now) - model.now
                assert self.limiter.wait_time(KEY, cost) == pytest.approx(wait, abs=self.slack)


def assert_done_as_the_model_does(limits: tuple[Limit, ...], steps: list[Step], backend: str) -> None:
    clock = VirtualClock()
    play = Play(limits, clock, clock.advance, 1e-9)
    anyio.run(play.play, steps, backend=backend)
    if backend == "asyncio":
        assert [number for _, number in play.sends] == play.model.order
    assert clock.sleepers == 0


BACKENDS = st.sampled_from(["asyncio", "trio"])


@given(STEPS, BACKENDS)
@examples(0.3)
def test_a_rate(steps: list[Step], backend: str) -> None:
    assert_done_as_the_model_does((RATE,), steps, backend)


@given(STEPS, BACKENDS)
@examples(0.3)
def test_a_window(steps: list[Step], backend: str) -> None:
    assert_done_as_the_model_does((WINDOW,), steps, backend)


@given(STEPS, BACKENDS)
@examples(0.3)
def test_several_at_once(steps: list[Step], backend: str) -> None:
    assert_done_as_the_model_does((RATE, WINDOW), steps, backend)


@given(STEPS)
@examples(0.3)
def test_the_leaky_engine(steps: list[Step]) -> None:
    clock = LoopClock()

    async def pass_time(seconds: float) -> None:
        # Off the grid by a different bit each time: nothing happens in the very moment at which we look.
        if seconds:
            await clock.sleep(seconds + 0.0123)
        for _ in range(5):
            await asyncio.sleep(0)

    async def main() -> None:
        limit = RateLimit(RATE.limit, burst=RATE.burst, max_queue=RATE.max_queue, engine="leaky")
        play = Play((limit,), clock, pass_time, 2e-3)
        assert play.limiter._gates.leaky  # or the test would be about the other engine
        await play.play(steps)
        assert [number for _, number in play.sends] == play.model.order

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(main())
