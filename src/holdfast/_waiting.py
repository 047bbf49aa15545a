"""Standing in line: first come, first served in each priority, on asyncio and on trio, safe under cancellation.

One small file knows both event loops, because an ``anyio.Event`` costs twice a bare future for each waiter.
Who may pass is not decided here: the owner of the `Line` (or of the `Queue` below it) does that.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

import sniffio

from holdfast.clock import Clock
from holdfast.core.priority import Order
from holdfast.errors import Closed

if TYPE_CHECKING:
    import trio

__all__ = ["Line", "Queue", "Waiter", "running_loop", "running_task"]


class Waiter:
    """One caller in a queue. ``outcome``: None while it stands, an exception when it was sent away, and
    otherwise whatever the owner of the queue hands out. ``owner`` names the group to be dismissed together.
    ``arrived`` (monotonic seconds) counts only in a queue with several priorities.

    ``await waiter`` returns once the waiter was settled or woken; whoever woke it has set ``outcome`` or not.
    It has no coroutine of its own: that would be another frame in memory for everybody who waits.
    """

    __slots__ = ("_signal", "arrived", "cost", "outcome", "owner", "priority")

    def __init__(self, owner: object = None, *, arrived: float = 0.0, priority: int = 0, cost: float = 1.0) -> None:
        self._signal: asyncio.Future[None] | trio.Event | None = None
        self.outcome: object = None
        self.owner = owner
        self.arrived = arrived
        self.priority = priority
        self.cost = cost

    def settle(self, outcome: object) -> None:
        self.outcome = outcome
        self.wake()

    def wake(self) -> None:
        signal = self._signal
        if isinstance(signal, asyncio.Future):
            if not signal.done():  # done: woken before, or its task was cancelled and has not run since
                signal.set_result(None)
        elif signal is not None:
            signal.set()

    def raise_if_dismissed(self) -> None:
        """Raise the exception that it was sent away with, and keep no reference that would make a cycle."""
        outcome, self.outcome = self.outcome, None
        if isinstance(outcome, Exception):
            try:
                raise outcome
            finally:
                del outcome
        self.outcome = outcome

    def __await__(self) -> Generator[object, None, None]:
        signal = self._signal
        assert signal is not None, "wait after joining a queue"
        return signal.__await__() if isinstance(signal, asyncio.Future) else signal.wait().__await__()

    def _prepare(self, loop: object) -> None:
        self._signal = (
            loop.create_future() if isinstance(loop, asyncio.AbstractEventLoop) else sys.modules["trio"].Event()
        )


W = TypeVar("W", bound=Waiter)


class Queue(Generic[W]):
    """Waiters in the order of their turns (`core.priority`); each can leave from anywhere in one step, without a trace.

    Belongs to one event loop at a time, and to none while it is empty. A second loop that joins while
    callers of the first still wait gets a RuntimeError; callers whose loop was closed are dropped silently.
    """

    __slots__ = ("_loop", "_waiters")

    def __init__(self) -> None:
        self._loop: object = None
        self._waiters: Order[W] = Order()

    def __len__(self) -> int:
        return len(self._waiters)

    def __bool__(self) -> bool:
        return bool(self._waiters)

    def __iter__(self) -> Iterator[W]:
        """Everybody who stands here now; safe against changes on the way."""
        return iter(self._waiters)

    def __contains__(self, waiter: W) -> bool:
        return waiter in self._waiters

    @property
    def first(self) -> W | None:
        return self._waiters.first

    def cost_before(self, arrived: float, priority: int) -> float:
        """What those take who go before somebody who arrives now."""
        return self._waiters.cost_before(arrived, priority)

    def settle_loop(self) -> None:
        """Drop callers of a closed loop; raise RuntimeError if those of another living one still wait."""
        if not self._waiters or self._loop is (here := running_loop()):
            return
        if not self._deserted():
            raise RuntimeError(
                "callers of another event loop still wait here; share a pipeline within one loop at a time"
            )
        self._waiters.clear()
        self._loop = here

    def join(self, waiter: W) -> None:
        """Stand behind all whose turn is earlier. Call `settle_loop` first where it matters who stands here.

        Raises `errors.Closed` for a call of a transport that was closed meanwhile: those who stood here were sent
        away then, and nobody would do so with one who comes later, as a retry does.
        """
        if getattr(waiter.owner, "closed", False):
            raise Closed("the transport was closed before this call could wait", policy="transport")
        self.settle_loop()
        if not self._waiters:
            self._loop = running_loop()
        self.renew(waiter)
        self._waiters.add(waiter)

    def renew(self, waiter: W) -> None:
        """Have it wait again after it was woken: a future and an event serve once."""
        waiter._prepare(self._loop)  # pyright: ignore[reportPrivateUsage]  (the other half of this file)

    def leave(self, waiter: W) -> bool:
        """True if it stood here."""
        return self._waiters.discard(waiter)

    def pop(self) -> W | None:
        """The first one, who leaves; None if nobody is there (any more)."""
        if self._waiters and self._deserted():
            self._waiters.clear()
        first = self._waiters.first
        if first is not None:
            self._waiters.discard(first)
        return first

    def _deserted(self) -> bool:
        # A trio loop needs no such test: it never ends before all its tasks have left.
        return isinstance(self._loop, asyncio.AbstractEventLoop) and self._loop.is_closed()


class Line(Queue[Waiter]):
    """A queue in which all want the same: one place each. Shared by all calls of a key."""

    __slots__ = ()

    def admit(self, count: int = 1) -> int:
        """Let the first ``count`` callers pass; returns how many there were."""
        admitted = 0
        while admitted < count and (waiter := self.pop()) is not None:
            waiter.settle(True)
            admitted += 1
        return admitted

    def dismiss(self, make_error: Callable[[], Exception], owner: object = None) -> None:
        """Send everybody away, or only those of ``owner``; each `wait` raises an exception of its own."""
        for waiter in self:
            if (owner is None or waiter.owner is owner) and self.leave(waiter) and not self._deserted():
                waiter.settle(make_error())

    def wait(
        self, clock: Clock, until: float | None, lost: Callable[[], None], owner: object = None
    ) -> Awaitable[bool]:
        """Join, and `stand` there: for owners who need to do nothing in between."""
        return self.stand(self.enter(owner), clock, until, lost)

    def enter(self, owner: object = None, *, arrived: float = 0.0, priority: int = 0) -> Waiter:
        """Join. What is returned must `stand`."""
        waiter = Waiter(owner, arrived=arrived, priority=priority)
        self.join(waiter)
        return waiter

    async def stand(self, waiter: Waiter, clock: Clock, until: float | None, lost: Callable[[], None]) -> bool:
        """True once admitted, False if ``until`` (monotonic seconds) came first.

        A caller that is cancelled leaves at once and without a trace. If it was admitted in the very same
        moment, ``lost`` is called so that the owner can give the place to the next one. Whoever is sent away
        raises the exception that `dismiss` made for it.
        """
        try:
            if until is None:
                await waiter
            else:
                with clock.timeout_at(until):
                    await waiter
        except BaseException:
            if not self.leave(waiter) and waiter.outcome is True:
                lost()
            raise
        waiter.raise_if_dismissed()
        if waiter.outcome is None:
            self.leave(waiter)
        return waiter.outcome is True


def running_task() -> object:
    """The task that runs now; to be compared by identity with one noted earlier."""
    if sniffio.current_async_library() == "trio":
        return sys.modules["trio"].lowlevel.current_task()
    return asyncio.current_task()


def running_loop() -> object:
    """The event loop of asyncio, or the token that stands for the run of trio."""
    if sniffio.current_async_library() == "trio":
        return sys.modules["trio"].lowlevel.current_trio_token()
    return asyncio.get_running_loop()
