"""Which connection takes a request, and which one has to go? Decided from plain data.

No I/O, no clock, no HTTP library: callers pass ``now``, and open and close what the answers name.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Final, Generic, TypeVar

from holdfast.core.value import Value

__all__ = ["Key", "Lane", "Ledger", "PoolLimits"]

W = TypeVar("W")

Key = tuple[str, str, "int | None"]
"""Scheme, host and port: the requests that may share a connection."""


class PoolLimits(Value):
    """How many connections, over all origins together, how many idle ones of them at most, and for how many seconds
    an idle one may wait for its next request. None: no limit. The defaults are httpx's.
    """

    def __init__(self, *, connections: int | None = 100, kept: int | None = 20, keep_for: float | None = 5.0) -> None:
        if connections is not None and connections < 1:
            raise ValueError(f"connections must be at least 1, got {connections}")
        if kept is not None and kept < 0:
            raise ValueError(f"kept must not be negative, got {kept}")
        if keep_for is not None and not keep_for >= 0:
            raise ValueError(f"keep_for must not be negative, got {keep_for}")
        self.connections: Final = connections
        self.kept: Final = kept
        self.keep_for: Final = keep_for


class Lane(Generic[W]):
    """One connection at most, to one origin, and ``wire`` that opens it when it is first needed.

    ``streams`` is how many requests run on it: one at most, unless it is ``shared`` (HTTP/2). A
    ``retired`` lane takes no more, and is closed when its last request has ended. ``proven`` once a
    response came over it.
    """

    __slots__ = ("idle_since", "key", "proven", "retired", "shared", "streams", "wire")

    def __init__(self, key: Key, wire: W) -> None:
        self.key = key
        self.wire = wire
        self.streams = 1
        self.shared = False
        self.retired = False
        self.proven = False
        self.idle_since = 0.0


class Ledger(Generic[W]):
    """All lanes of one event loop, and the slots that bound how many of them are busy.

    A slot is claimed before a lane is used and goes back with `finish`, when the lane's last request is over,
    or with `unclaim`. Busy lanes never exceed ``limits.connections``; a caller that holds a slot closes what
    `in_the_way` names before it opens a lane, so busy and idle ones together do not either.
    """

    __slots__ = ("_idle", "_idle_by_key", "_keep_for", "_kept", "_most", "_shared", "lanes", "taken")

    def __init__(self, limits: PoolLimits) -> None:
        self._most = sys.maxsize if limits.connections is None else limits.connections
        self._kept = sys.maxsize if limits.kept is None else limits.kept
        self._keep_for = float("inf") if limits.keep_for is None else limits.keep_for
        self._idle: OrderedDict[Lane[W], None] = OrderedDict()  # in the order in which they became idle
        self._idle_by_key: dict[Key, list[Lane[W]]] = {}  # the same, and the same order, for each key
        self._shared: dict[Key, Lane[W]] = {}
        self.lanes: set[Lane[W]] = set()
        self.taken = 0

    @property
    def idle(self) -> int:
        """How many lanes wait for a request."""
        return len(self._idle)

    def claim(self) -> bool:
        """Take a slot; False if there is none."""
        if self.taken >= self._most:
            return False
        self.taken += 1
        return True

    def unclaim(self) -> None:
        """Give back a slot that no lane was taken for."""
        self.taken -= 1

    def join(self, key: Key) -> Lane[W] | None:
        """A busy connection that takes one more request without a slot of its own (HTTP/2)."""
        lane = self._shared.get(key)
        if lane is not None:
            lane.streams += 1
        return lane

    def reuse(self, key: Key) -> Lane[W] | None:
        """The idle lane that was used last, because its connection is the least likely to have gone stale."""
        waiting = self._idle_by_key.get(key)
        if waiting is None:
            return None
        lane = waiting.pop()
        if not waiting:
            del self._idle_by_key[key]
        del self._idle[lane]
        lane.streams = 1
        if lane.shared:
            self._shared[key] = lane
        return lane

    def in_the_way(self) -> Lane[W] | None:
        """The lane to close before another can be opened: the one that is idle for longest."""
        if len(self.lanes) < self._most:
            return None
        lane = next(iter(self._idle))
        self._remove(lane)
        return lane

    def open(self, key: Key, wire: W) -> Lane[W]:
        """Enter a new lane, busy with one request; the caller holds a slot for it."""
        lane = Lane(key, wire)
        self.lanes.add(lane)
        return lane

    def share(self, lane: Lane[W]) -> None:
        """The connection of a busy lane speaks HTTP/2: let others join it, unless they have one already."""
        lane.shared = True
        if self._shared.setdefault(lane.key, lane) is not lane:
            lane.retired = True

    def retire(self, lane: Lane[W]) -> None:
        """Let no further request onto a busy lane."""
        lane.retired = True
        if self._shared.get(lane.key) is lane:
            del self._shared[lane.key]

    def finish(self, lane: Lane[W], now: float, *, reusable: bool) -> Lane[W] | None:
        """One request of ``lane`` is over. Returns the lane to close now: it, a surplus one, or none."""
        lane.streams -= 1
        if not reusable:
            self.retire(lane)
        if lane.streams:
            return None
        self.taken -= 1
        if lane.shared and self._shared.get(lane.key) is lane:
            del self._shared[lane.key]
        if lane.retired:
            self.lanes.discard(lane)
            return lane
        lane.idle_since = now
        self._idle[lane] = None
        waiting = self._idle_by_key.get(lane.key)
        if waiting is None:
            self._idle_by_key[lane.key] = [lane]
        else:
            waiting.append(lane)
        if len(self._idle) <= self._kept:
            return None
        surplus = next(iter(self._idle))
        self._remove(surplus)
        return surplus

    def any_expired(self, now: float) -> bool:
        for oldest in self._idle:
            return now - oldest.idle_since > self._keep_for
        return False

    def expired(self, now: float) -> list[Lane[W]]:
        """The lanes that were idle for too long, to be closed."""
        gone: list[Lane[W]] = []
        while self.any_expired(now):
            lane = next(iter(self._idle))
            self._remove(lane)
            gone.append(lane)
        return gone

    def distrusted(self, key: Key) -> list[Lane[W]]:
        """All idle lanes of an origin, to be closed because one of them turned out dead."""
        gone = list(self._idle_by_key.get(key, ()))
        for lane in gone:
            self._remove(lane)
        return gone

    def _remove(self, lane: Lane[W]) -> None:
        del self._idle[lane]
        waiting = self._idle_by_key[lane.key]
        waiting.remove(lane)
        if not waiting:
            del self._idle_by_key[lane.key]
        self.lanes.discard(lane)
