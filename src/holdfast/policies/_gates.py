"""Which tokens does a request take? The gates of a rate limiter: one for each key, or set of keys, that came by.

They are made when they are first asked for, and dropped when nothing is lost with them. Waiting and sending is
`rate_limit`'s, the line at one gate is `_gate`'s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from cachetools import LRUCache

from holdfast.clock import Clock, SystemClock
from holdfast.core.bucket import Bucket, RateLimit
from holdfast.core.limits import Joint, Meter, Scope, key_for
from holdfast.core.pacing import Pacing
from holdfast.core.sliding import Log, Window
from holdfast.errors import InvalidOption
from holdfast.policies._aio_bucket import AioBucket
from holdfast.policies._gate import Crossing, Gate

__all__ = ["Gates", "Limit", "meter_of", "shape_of"]

Limit = RateLimit | Window

_KEYS = 1024
"""How many keys are remembered beyond those whose tokens are not all there or who have callers waiting."""

_LEAKY_FROM = 10.0
"""Burst from which aiolimiter keeps up its rate when one caller at a time stands in it (R5.0)."""


class Gates:
    """Those of one `RateLimiter`. ``recent`` is the gate that was found last, and ``plain`` says that keys are origins.

    At most 1,024 keys are remembered, and beyond them those whose tokens are not all there or who have callers waiting.
    """

    def __init__(self, limits: Sequence[Limit], pacing: Pacing, clock: Clock) -> None:
        self._clock = clock
        self._limits, self._pacing = tuple(limits), pacing
        keys = [limit.key for limit in limits]
        self.plain = all(key == "origin" for key in keys)
        self.recent: Gate | None = None  # an LRU look-up costs more than taking a token
        # Limits that are asked for different keys do not stand and fall together.
        self._apart = any(key != keys[0] for key in keys)
        # Bounded by `_trim`, which looks before it drops.
        self._gates: LRUCache[tuple[str, ...], Gate] = LRUCache(math.inf)
        self._crossings: dict[tuple[int, str], Crossing] = {}

    @property
    def leaky(self) -> bool:
        """Whether the first in line stands in aiolimiter. It reads asyncio's clock, so it is of no use with another."""
        if len(self._limits) != 1 or not isinstance(self._clock, SystemClock):
            return False
        (only,) = self._limits
        return isinstance(only, RateLimit) and (
            only.engine == "leaky" or (only.engine is None and only.capacity >= _LEAKY_FROM)
        )

    def find(self, scope: Scope) -> Gate:
        """The gate of a request, a new one if it is the first. Raises InvalidOption if a limit's key function fails."""
        keys = (scope.key,) if self.plain else self._keys(scope)
        gate = self.recent
        if gate is not None and gate.keys == keys:
            return gate
        gate = self._gates.get(keys)
        if gate is None:
            self._trim()
            gate = self._gates[keys] = self._crossed(keys) if self._apart else self._single(keys)
        self.recent = gate
        return gate

    def all(self) -> list[Gate]:
        """Every gate; being looked at here is no use of it."""
        return [super(LRUCache, self._gates).__getitem__(keys) for keys in list(self._gates)]

    def reconfigure(self, limits: Sequence[Limit], pacing: Pacing) -> None:
        """Other figures for the tokens that are there; `shape_of` each limit is as before."""
        self._limits, self._pacing = tuple(limits), pacing
        now, leaky = self._clock.monotonic(), self.leaky
        for (number, _), crossing in self._crossings.items():
            _resize(crossing.meter, self._limits[number : number + 1], now)
        for gate in self.all():
            gate.reconfigure(pacing)
            if not gate.crossings:
                _resize(gate.meter, self._limits, now)
                gate.aio = AioBucket(gate.meter) if leaky and isinstance(gate.meter, Bucket) else None

    def _keys(self, scope: Scope) -> tuple[str, ...]:
        """One for each limit; one for all of them if they are asked for the same."""
        keys: list[str] = []
        for limit in self._limits if self._apart else self._limits[:1]:
            try:
                key = key_for(limit.key, scope)
            except Exception as error:  # the user's function; what it broke on is chained
                raise InvalidOption(f"a rate limit's key function raised {type(error).__name__}: {error}") from error
            if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]  (it is the user's)
                raise InvalidOption(f"a rate limit's key function returned {key!r}, which is no string")
            keys.append(key)
        return tuple(keys)

    def _single(self, keys: tuple[str, ...]) -> Gate:
        meters = [meter_of(limit, alone=len(self._limits) == 1) for limit in self._limits]
        only = meters[0] if len(meters) == 1 else None
        return Gate(
            keys,
            Joint(meters) if only is None else only,
            self._pacing,
            aio=AioBucket(only) if self.leaky and isinstance(only, Bucket) else None,
            smooth_release=any(isinstance(meter, Bucket) for meter in meters),
        )

    def _crossed(self, keys: tuple[str, ...]) -> Gate:
        crossings: list[Crossing] = []
        for place in enumerate(keys):
            crossing = self._crossings.get(place)
            if crossing is None:
                crossing = self._crossings[place] = Crossing(meter_of(self._limits[place[0]], alone=False))
            crossings.append(crossing)
        meter = Joint([crossing.meter for crossing in crossings])
        return Gate(keys, meter, self._pacing, crossings=tuple(crossings))

    def _trim(self) -> None:
        """Drop keys that were not used for longest, but never one that remembers something.

        A few looks for each new key keep the cost constant even if all keys are in use.
        """
        now = self._clock.monotonic()
        for _ in range(8):
            if len(self._gates) < _KEYS:
                return
            keys, gate = self._gates.popitem()
            if not gate.idle(now):
                self._gates[keys] = gate
                continue
            for place, crossing in zip(enumerate(keys), gate.crossings, strict=False):  # none, where nothing is shared
                crossing.gates -= 1
                if not crossing.gates:
                    del self._crossings[place]


def meter_of(limit: Limit, *, alone: bool) -> Meter:
    if isinstance(limit, RateLimit):
        # Beside others it may not be this one for which a caller is late, so nothing is made up for.
        return Bucket(limit.capacity, limit.interval) if alone else Bucket(limit.capacity, limit.interval, 0.0)
    return Log(limit.limit, limit.per + limit.margin_in_force)


def shape_of(limit: Limit) -> tuple[object, ...]:
    """What of a limit stays as it is as long as its tokens are kept."""
    return type(limit), limit.key, limit.observe


def _resize(meter: Meter, limits: Sequence[Limit], now: float) -> None:
    """Give a meter, or each part of a joint one, the figures of its limit."""
    parts = meter.parts if isinstance(meter, Joint) else (meter,)
    for part, limit in zip(parts, limits, strict=True):
        if isinstance(part, Bucket) and isinstance(limit, RateLimit):
            part.resize(limit.capacity, limit.interval, now)
        elif isinstance(part, Log) and isinstance(limit, Window):
            part.resize(limit.limit, limit.per + limit.margin_in_force)
