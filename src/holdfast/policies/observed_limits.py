"""Rate limits that only observe: what would they do with the calls that come by?

They act on nothing, so calls do not wait where they would; here the line is played through instead, in the time in
which its tokens would have come.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from holdfast._wire import Family, Handler, Q, R
from holdfast.call import CALL, Call
from holdfast.clock import Clock
from holdfast.core.limits import key_for
from holdfast.errors import RateLimited
from holdfast.policies._gates import Limit, meter_of
from holdfast.policies.rate_limit import described, scope_of

if TYPE_CHECKING:
    from holdfast.policies.emitter import Emitter

__all__ = ["ObservedLimits"]

_KEYS = 1024
_ROUNDING = 1e-9


class _Line:
    """The tokens of one limit under one key, and the line that would stand before them."""

    __slots__ = ("_at", "_costs", "_max_queue", "_meter", "_queued", "would_reject", "would_wait")

    def __init__(self, limit: Limit) -> None:
        self._meter = meter_of(limit, alone=True)
        self._max_queue = limit.max_queue
        self._costs: deque[float] = deque()
        self._queued = 0.0
        self._at = -math.inf  # until when the line was played through
        self.would_wait = 0
        self.would_reject = 0

    def arrive(self, cost: float, until: float, now: float) -> float | None:
        """Seconds after which a call might come again that would be refused now; None for one that would be sent."""
        self._play(now)
        if cost > self._meter.largest:
            self.would_reject += 1
            return math.inf
        if not self._costs and self._meter.take(cost, now) is not None:
            return None
        wait = self._meter.wait(self._queued + cost, now, queued=bool(self._costs))
        if now + wait > until or len(self._costs) >= self._max_queue:
            self.would_reject += 1
            return wait
        self.would_wait += 1
        self._costs.append(cost)
        self._queued += cost
        return None

    def _play(self, now: float) -> None:
        """Hand out the tokens that have come since, each at its time."""
        at = self._at
        while self._costs:
            at += self._meter.wait(self._costs[0], at, queued=True)
            if at > now:
                return
            place = self._meter.take(self._costs[0], at, queued=True)
            if place is None:
                at += _ROUNDING
                continue
            cost = self._costs.popleft()
            self._meter.sent(place, cost, at)
            self._queued -= cost
            self._at = at
        self._at, self._queued = now, 0.0

    def snapshot(self, now: float) -> dict[str, Any]:
        return {
            "tokens": self._meter.available(now),
            "waiting": len(self._costs),
            "would_wait": self.would_wait,
            "would_reject": self.would_reject,
        }


class ObservedLimits:
    """Counts and reports whom limits would hold back or refuse, and sends all of them at once.

    Shared by all transports that are given it. Each limit is looked at alone, and an attempt that is refused further
    in has taken its tokens. 1,024 keys at most, least recently used out first; state is free of event loops.
    """

    def __init__(self, limits: Sequence[Limit], *, clock: Clock, emitter: Emitter | None = None) -> None:
        self.limits = tuple(limits)
        self._clock = clock
        self._emitter = emitter
        self._lines: LRUCache[tuple[int, str], _Line] = LRUCache(_KEYS)

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        async def handle(request: Q) -> R:
            self._look(request.extensions[CALL])
            return await inner(request)

        return handle

    def reconfigure(self, limits: Sequence[Limit]) -> None:
        """Other limits from now on, counted from nothing."""
        self.limits = tuple(limits)
        self._lines.clear()

    def snapshot(self) -> dict[str, list[dict[str, Any]]]:
        """By key, one for each limit: its settings, who would be in line, and who would have waited or been refused."""
        now, lines = self._clock.monotonic(), self._lines
        found: dict[str, list[dict[str, Any]]] = {}
        for number, key in list(lines):
            line = super(LRUCache, lines).__getitem__((number, key))  # a look is no use of it
            found.setdefault(key, []).append({**described(self.limits[number]), **line.snapshot(now)})
        return found

    def _look(self, call: Call) -> None:
        now, cost = self._clock.monotonic(), call.options.cost
        for number, limit in enumerate(self.limits):
            until = math.inf if limit.max_wait is None else now + limit.max_wait
            if call.deadline is not None:
                until = min(until, call.deadline)
            try:
                key = str(key_for(limit.key, scope_of(call)))
            except Exception:  # the user's function; what only observes breaks no call
                key = call.key
            line = self._lines.get((number, key))
            if line is None:
                line = self._lines[number, key] = _Line(limit)
            wait = line.arrive(cost, until, now)
            if wait is not None and self._emitter is not None:
                message = f"a token of {key} would be there in {wait:.3f} s, which is longer than this call can wait"
                after = None if wait == math.inf else wait
                refused = RateLimited(message, policy="rate_limit", key=key, retry_after=after)
                self._emitter.refused(call, refused, observed=True)
