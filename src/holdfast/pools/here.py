"""Who holds a lane, and what happens to it when its request is over? The state of one event loop.

`Here` carries out what the ledger decides: it closes what has to go, and lets the next caller in.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from typing import Generic

import anyio

from holdfast import errors
from holdfast._body import Body, Stream
from holdfast._waiting import Line
from holdfast._wire import Inner, Q, R
from holdfast.clock import Clock
from holdfast.core.fault import Fault
from holdfast.pools.ledger import Key, Lane, Ledger, PoolLimits

__all__ = ["Clean", "Here", "Scout", "closed_error", "current_loop", "lease"]

Clean = Callable[[Stream, bool], bool]
"""Asked with the stream of a body that was read and closed, and whether it came over TLS: True if its
connection is idle and holds no bytes that nobody asked for, so that the next request may use it."""

_SPARES_OTHERS = frozenset({Fault.UNPROCESSED, Fault.LOCAL, Fault.SATURATED})
"""Faults of one HTTP/2 request that say nothing against the connection which it shares with others."""


class Scout(Generic[Q, R]):
    """The first call to an origin that may speak HTTP/2, and the line of those who wait to hear."""

    __slots__ = ("lane", "line")

    def __init__(self) -> None:
        self.lane: Lane[Inner[Q, R]] | None = None
        self.line = Line()


class Here(Generic[Q, R]):
    """What belongs to one event loop: its lanes, the line for their slots, and bodies left unclosed."""

    __slots__ = ("clean", "clock", "closed", "doomed", "ledger", "line", "loop", "orphans", "scouts")

    def __init__(self, limits: PoolLimits, clock: Clock, clean: Clean) -> None:
        self.loop = current_loop()
        self.clock = clock
        self.clean = clean
        self.ledger: Ledger[Inner[Q, R]] = Ledger(limits)
        self.line = Line()
        self.scouts: dict[Key, Scout[Q, R]] = {}
        self.orphans: list[Stream] = []
        self.doomed: list[Lane[Inner[Q, R]]] = []  # to be closed; emptied by the next call after a cancelled one
        self.closed = False

    def let_in(self) -> None:
        """Hand slots that became free to the first in the line, before a newcomer can take them."""
        while self.line and self.ledger.claim():
            if not self.line.admit():
                self.ledger.unclaim()

    def give_back(self) -> None:
        """Return a slot that no lane was taken for."""
        self.ledger.unclaim()
        self.let_in()

    async def finish(self, lane: Lane[Inner[Q, R]], *, reusable: bool) -> None:
        """One request of ``lane`` is over. Closes what may not be kept, to the end even when cancelled."""
        usable = reusable and not self.closed
        leaving = self.ledger.finish(lane, self.clock.monotonic(), reusable=usable)
        if self.line:
            self.let_in()
        if leaving is not None:
            await self.close(leaving)

    async def failed(self, lane: Lane[Inner[Q, R]], fault: Fault | None) -> None:
        """A request of ``lane`` raised before its response came; ``fault`` is None if it was cancelled."""
        if self.is_scout(lane):
            self.settle_scout(lane.key)
        if lane.proven and fault is Fault.INTERRUPTED and not lane.shared:
            # A kept connection that broke says that the others kept to this origin are likely dead too:
            # a retry should meet a fresh one, and not each of them in turn.
            self.doomed += self.ledger.distrusted(lane.key)
        await self.finish(lane, reusable=lane.shared and fault in _SPARES_OTHERS)

    def needs_tidying(self) -> bool:
        return bool(self.orphans or self.doomed) or self.ledger.any_expired(self.clock.monotonic())

    async def tidy(self) -> None:
        """Close the lanes that were idle for too long, and the bodies that were dropped."""
        await self.close(*self.ledger.expired(self.clock.monotonic()))
        await self.bury()

    async def close(self, *lanes: Lane[Inner[Q, R]]) -> None:
        """Close lanes that the ledger no longer knows, and any that somebody was cancelled over."""
        self.doomed += lanes
        while self.doomed:
            with anyio.CancelScope(shield=True):
                try:
                    await self.doomed.pop().wire.aclose()
                except Exception:
                    continue  # it is given up in any case; this protects the call that happened to close it

    async def bury(self) -> None:
        """Close the bodies that were dropped unclosed; this frees their slots."""
        while self.orphans:
            with anyio.CancelScope(shield=True):
                try:
                    await self.orphans.pop().aclose()
                except Exception:
                    continue  # its slot is free; this protects the call that happened to come next

    def is_scout(self, lane: Lane[Inner[Q, R]]) -> bool:
        scout = self.scouts.get(lane.key)
        return scout is not None and scout.lane is lane

    def settle_scout(self, key: Key) -> None:
        """Let those go on who waited for this scout, whatever it found."""
        line = self.scouts.pop(key).line
        line.admit(len(line))

    async def aclose(self) -> None:
        self.closed = True
        self.line.dismiss(closed_error)
        for scout in self.scouts.values():
            scout.line.dismiss(closed_error)
        await self.bury()
        lanes, self.ledger.lanes = self.ledger.lanes, set()
        await self.close(*lanes)


class _Lease(Generic[Q, R]):
    """A body on the wire, which holds its lane until it is closed."""

    __slots__ = ("_here", "_lane", "_stream")

    def __init__(self, here: Here[Q, R], lane: Lane[Inner[Q, R]], stream: Stream) -> None:
        self._here = here
        self._lane: Lane[Inner[Q, R]] | None = lane
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        lane, self._lane = self._lane, None
        if lane is None:
            return
        reusable = False
        try:
            await self._stream.aclose()
            reusable = self._left_usable(lane)
        finally:
            await self._here.finish(lane, reusable=reusable)

    def ended(self, error: BaseException | None, complete: bool) -> None:
        """Watches the body: one that was dropped is closed by the next caller, so one of those is woken."""
        here = self._here
        if self._lane is not None and here.line:
            here.ledger.taken += 1  # one more than there are, until that caller has closed us
            if not here.line.admit():
                here.ledger.unclaim()

    def _left_usable(self, lane: Lane[Inner[Q, R]]) -> bool:
        return self._here.clean(self._stream, lane.key[0] in ("https", "wss"))


class _SharedLease(_Lease[Q, R]):
    """One stream of an HTTP/2 connection.

    httpcore sends no RST_STREAM for one that is given up, so the server would go on sending, into a window
    that nobody empties. Its connection is retired instead: closed once the other streams have ended.
    """

    __slots__ = ("_complete",)

    def __init__(self, here: Here[Q, R], lane: Lane[Inner[Q, R]], stream: Stream) -> None:
        super().__init__(here, lane, stream)
        self._complete = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk
        self._complete = True

    def _left_usable(self, lane: Lane[Inner[Q, R]]) -> bool:
        return self._complete


def lease(here: Here[Q, R], lane: Lane[Inner[Q, R]], body: Body) -> None:
    """Put a lease between a body of which nothing was read yet and its stream."""
    held: _Lease[Q, R]
    if lane.shared:
        held = body.over(lambda stream: _SharedLease(here, lane, stream))
    else:
        held = body.over(lambda stream: _Lease(here, lane, stream))
    body.orphans = here.orphans
    body.watch(held.ended)


def closed_error() -> errors.Closed:
    return errors.Closed("the transport was closed", policy="pools")


def current_loop() -> object:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return sys.modules["trio"].lowlevel.current_trio_token()
