"""The default wire: many small connection pools under one cap, in front of which callers stand in one line.

httpcore's pool looks at all of its connections several times for each request, and loses slots when a
request is cancelled (encode/httpcore#1093). So each small pool here holds a single connection, a *lane*: it
never queues, and it is thrown away whole when anything went wrong on it. Which lane takes a request is
decided in `pools.ledger`; here it is waited, sent and closed. Never reads ahead, and starts no task.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, Generic

from cachetools import LRUCache

from holdfast import errors
from holdfast._waiting import Line
from holdfast._wire import Family, Inner, Q, R, URLLike
from holdfast.call import CALL, Call
from holdfast.clock import Clock, SystemClock
from holdfast.pools.here import Clean, Here, Scout, closed_error, current_loop, lease
from holdfast.pools.ledger import Key, Lane, PoolLimits
from holdfast.pools.leftover import connection_is_clean

__all__ = ["Clean", "PoolLimits", "Pools"]

_PROTOCOLS_REMEMBERED = 1024


class Pools(Generic[Q, R]):
    """An inner transport made of inner transports; ``make`` builds one that holds a single connection.

    ``make`` is called for each connection, so what it builds should share one SSL context; its
    connections should expire with ``limits.keep_for``. ``http1`` and ``http2`` say what they speak. The
    request's own pool timeout bounds its time in the line.

    Raises the family's ``PoolTimeout`` when that is over, `errors.Closed` after `aclose`, and what the
    lane raises. A caller cancelled in the line leaves without a trace; one cancelled later takes its
    connection with it. A response holds its connection until its body is closed. Shared by all calls of
    one event loop at a time: once that loop was closed, the next call starts afresh, and the old
    connections, which died with it, are forgotten.
    """

    def __init__(
        self,
        make: Callable[[], Inner[Q, R]],
        *,
        family: Family[Q, R],
        limits: PoolLimits = PoolLimits(),
        http1: bool = True,
        http2: bool = False,
        clean: Clean = connection_is_clean,
        clock: Clock | None = None,
    ) -> None:
        self._make = make
        self._family = family
        self._clean = clean
        self._limits = limits
        self._http1 = http1
        self._http2 = http2
        self._clock = SystemClock() if clock is None else clock
        self._speaks_http2: LRUCache[Key, bool] = LRUCache(_PROTOCOLS_REMEMBERED)
        self._here: Here[Q, R] | None = None
        self._closed = False

    def __repr__(self) -> str:
        most, here = self._limits.connections, self._here
        busy, idle = (0, 0) if here is None else (here.ledger.taken, here.ledger.idle)
        closed = "closed " if self._closed else ""
        return f"<{closed}{type(self).__name__} {busy} busy, {idle} idle, at most {'any' if most is None else most}>"

    async def handle_async_request(self, request: Q) -> R:
        """Send ``request`` over a lane of its origin, and return on the response's head."""
        here = self._here
        if here is None or here.closed or here.loop is not current_loop():
            here = self._begin(request)
        if here.needs_tidying():
            await here.tidy()
        key = self._key(request.url)
        lane = self._lane_at_once(here, key) or await self._lane_in_line(here, key, request)
        try:
            if here.scouts and here.is_scout(lane):
                response = await self._send_ahead(here, lane, request)
            else:
                response = await lane.wire.handle_async_request(request)
        except BaseException as error:
            fault = self._family.fault(error) if isinstance(error, Exception) else None
            await here.failed(lane, fault)
            raise
        lane.proven = True
        if self._http2:
            self._learn(here, lane, response.extensions.get("http_version") == b"HTTP/2")
        if response.is_closed:
            await here.finish(lane, reusable=True)
        else:
            lease(here, lane, self._family.body(response))
        return response

    async def aclose(self) -> None:
        """Close every connection, those of running calls too, and send away by name who waits in the line.

        Safe to call again: that goes on where a cancelled `aclose` stopped.
        """
        self._closed = True
        here = self._here
        if here is None:
            return
        if here.loop is not current_loop():
            self._here = None  # its connections died with their loop
            return
        await here.aclose()

    def snapshot(self) -> dict[str, int]:
        """How many connections there are, how many of them idle, and how many callers wait for one."""
        here = self._here
        if here is None:
            return {"connections": 0, "idle": 0, "waiting": 0}
        return {"connections": len(here.ledger.lanes), "idle": here.ledger.idle, "waiting": len(here.line)}

    def _key(self, url: URLLike) -> Key:
        # Also through a proxy: httpcore keeps a connection to a forward proxy for one origin.
        return (url.scheme, url.host, url.port)

    def _begin(self, request: Q) -> Here[Q, R]:
        if self._closed:
            raise self._family.refusal(closed_error(), request)
        before = self._here
        if before is not None and before.ledger.taken and not _is_over(before.loop):
            raise RuntimeError(
                "calls of another event loop still run here; share a transport within one loop at a time"
            )
        self._here = Here(self._limits, self._clock, self._clean)
        return self._here

    def _lane_at_once(self, here: Here[Q, R], key: Key) -> Lane[Inner[Q, R]] | None:
        ledger = here.ledger
        if self._http2:
            lane = ledger.join(key)
            if lane is not None:
                return lane
            if self._protocol_unknown(key):
                return None
        if here.line or not ledger.claim():
            return None
        lane = ledger.reuse(key)
        if lane is None:
            ledger.unclaim()
        return lane

    async def _lane_in_line(self, here: Here[Q, R], key: Key, request: Q) -> Lane[Inner[Q, R]]:
        if not self._protocol_unknown(key):
            return await self._lane_with_slot(here, key, request)
        scout = here.scouts.get(key)
        if scout is not None:
            # The first caller finds out what this origin speaks; else a burst would open a connection for
            # each caller to an origin that wants one for all.
            await self._wait(here, scout.line, request, _nothing)
            return here.ledger.join(key) or await self._lane_with_slot(here, key, request)
        scout = here.scouts[key] = Scout()
        try:
            scout.lane = lane = await self._lane_with_slot(here, key, request)
        except BaseException:
            here.settle_scout(key)
            raise
        return lane

    async def _lane_with_slot(self, here: Here[Q, R], key: Key, request: Q) -> Lane[Inner[Q, R]]:
        ledger = here.ledger
        if here.line or not ledger.claim():
            await self._wait(here, here.line, request, here.give_back)
        try:
            await here.bury()
            while True:
                lane = ledger.join(key)
                if lane is not None:
                    here.give_back()
                    return lane
                lane = ledger.reuse(key)
                if lane is not None:
                    return lane
                in_the_way = ledger.in_the_way()
                if in_the_way is None:
                    break
                await here.close(in_the_way)
            if here.closed:
                raise self._family.refusal(closed_error(), request)
            lane = ledger.open(key, self._make())
        except BaseException:
            here.give_back()
            raise
        if self._http2 and (not self._http1 or self._speaks_http2.get(key)):
            ledger.share(lane)  # others may join while it still connects
        return lane

    async def _wait(self, here: Here[Q, R], line: Line, request: Q, lost: Callable[[], None]) -> None:
        call: Call | None = request.extensions.get(CALL)
        if call is not None and call.arm > 1:
            raise self._family.pool_timeout("no connection is free for a hedge", request)
        started = self._clock.monotonic()
        patience: float | None = request.extensions.get("timeout", {}).get("pool")
        until = None if patience is None else started + patience
        try:
            admitted = await line.wait(self._clock, until, lost)
        except errors.Closed as error:
            raise self._family.refusal(error, request) from None
        if not admitted:
            message = f"no connection became free in {patience} s; {here.ledger.taken} are busy"
            raise self._family.pool_timeout(message, request)
        if call is None:
            return
        call.waited("pool", self._clock.monotonic() - started)
        if call.recheck is not None:
            try:
                call.recheck()
            except BaseException:
                lost()
                raise

    def _protocol_unknown(self, key: Key) -> bool:
        return self._http2 and self._http1 and key[0] == "https" and key not in self._speaks_http2

    def _learn(self, here: Here[Q, R], lane: Lane[Inner[Q, R]], speaks_http2: bool) -> None:
        self._speaks_http2[lane.key] = speaks_http2
        if speaks_http2 and not lane.shared:
            here.ledger.share(lane)
        elif lane.shared and not speaks_http2:  # it did the last time
            here.ledger.retire(lane)
        if lane.key in here.scouts:
            here.settle_scout(lane.key)

    async def _send_ahead(self, here: Here[Q, R], lane: Lane[Inner[Q, R]], request: Q) -> R:
        """Send, and learn from the TLS handshake what the origin speaks, long before its answer."""
        extensions = request.extensions
        listener = extensions.get("trace")

        async def trace(event: str, info: dict[str, Any]) -> None:
            if event.endswith(".start_tls.complete"):
                tls = info["return_value"].get_extra_info("ssl_object")
                self._learn(here, lane, tls is not None and tls.selected_alpn_protocol() == "h2")
            if listener is not None:
                await listener(event, info)

        request.extensions = {**extensions, "trace": trace}  # never into the dict: redirects share it
        try:
            return await lane.wire.handle_async_request(request)
        finally:
            request.extensions = extensions


def _nothing() -> None:
    """A place in a scout's line gives no slot, so nothing is lost with it."""


def _is_over(loop: Any) -> bool:
    if isinstance(loop, asyncio.AbstractEventLoop):
        return loop.is_closed()
    try:
        loop.run_sync_soon(_nothing)
    except sys.modules["trio"].RunFinishedError:
        return True
    return False
