"""What do all limits have in common? Whose tokens a request takes, and how several limits act as one.

No I/O, no clock, no lock: callers pass ``now``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

__all__ = ["Joint", "Key", "Meter", "Place", "Scope", "check_limit", "key_for"]


class Scope(NamedTuple):
    """What is known of a request when a limit asks whose tokens it takes.

    ``key`` is the origin, or the request's option of that name; ``operation`` and ``identity`` are the options.
    """

    key: str
    operation: str | None = None
    identity: str | None = None


Key: TypeAlias = Literal["origin", "operation", "identity"] | Callable[[Scope], str]
"""Tokens for each key of a call, for each operation or identity under it, or as a function says."""

Place: TypeAlias = float | tuple[float, ...]
"""Where tokens were taken, to give them back; for several limits at once, one place in each."""


class Meter(Protocol):
    """The tokens of one key. Every method is one step, and none waits.

    ``queued`` says that callers stand in line: who takes a token then learns of it a moment later, and calls `sent`
    once it runs.
    """

    @property
    def largest(self) -> float:
        """The most that can ever be taken at once."""
        ...

    @property
    def blocked_until(self) -> float: ...

    def wait(self, cost: float, now: float, *, queued: bool = False) -> float:
        """Seconds until ``cost`` tokens are there, if nobody else takes any; exactly 0 if `take` would give them."""
        ...

    def take(self, cost: float, now: float, *, queued: bool = False) -> Place | None: ...

    def sent(self, place: Place, cost: float, now: float) -> Place:
        """The request with these tokens goes out only now; returns where they are from now on."""
        ...

    def give_back(self, place: Place, cost: float, now: float) -> None: ...

    def block(self, until: float) -> None: ...

    def available(self, now: float) -> float: ...

    def idle(self, now: float) -> bool:
        """True if a new one would be the same."""
        ...


class Joint:
    """Several limits as one: a token of each, or none of any. Of no limit at all there is always a token.

    The wait of a caller who is next is exact: the longest. That of callers behind others is so too while one limit
    is the tightest for all of them, and never too long otherwise.
    """

    __slots__ = ("_meters",)

    def __init__(self, meters: Sequence[Meter]) -> None:
        self._meters = tuple(meters)

    @property
    def parts(self) -> tuple[Meter, ...]:
        return self._meters

    @property
    def largest(self) -> float:
        return min((meter.largest for meter in self._meters), default=math.inf)

    @property
    def blocked_until(self) -> float:
        return max((meter.blocked_until for meter in self._meters), default=-math.inf)

    def wait(self, cost: float, now: float, *, queued: bool = False) -> float:
        return max((meter.wait(cost, now, queued=queued) for meter in self._meters), default=0.0)

    def take(self, cost: float, now: float, *, queued: bool = False) -> Place | None:
        for meter in self._meters:
            if meter.wait(cost, now, queued=queued) > 0:
                return None
        places: list[float] = []
        for meter in self._meters:
            place = meter.take(cost, now, queued=queued)
            assert isinstance(place, float), "a meter whose wait is 0 gives its token"
            places.append(place)
        return tuple(places)

    def sent(self, place: Place, cost: float, now: float) -> Place:
        return tuple(_single(meter.sent(one, cost, now)) for meter, one in self._pairs(place))

    def give_back(self, place: Place, cost: float, now: float) -> None:
        for meter, one in self._pairs(place):
            meter.give_back(one, cost, now)

    def block(self, until: float) -> None:
        for meter in self._meters:
            meter.block(until)

    def available(self, now: float) -> float:
        return min((meter.available(now) for meter in self._meters), default=math.inf)

    def idle(self, now: float) -> bool:
        return all(meter.idle(now) for meter in self._meters)

    def _pairs(self, place: Place) -> zip[tuple[Meter, float]]:
        assert isinstance(place, tuple), "a place of this joint"
        return zip(self._meters, place, strict=True)


def key_for(key: Key, scope: Scope) -> str:
    """Whose tokens a request takes. What has no operation (or identity) shares those of the bare key."""
    if key == "origin":
        return scope.key
    if key == "operation":
        return scope.key if scope.operation is None else f"{scope.key} {scope.operation}"
    if key == "identity":
        return scope.key if scope.identity is None else f"{scope.key} {scope.identity}"
    return key(scope)


def check_limit(limit: float, per: float, max_wait: float | None, max_queue: int, key: Key) -> None:
    """Raise ValueError for a setting that no limit can have."""
    if not 0 < limit < math.inf:
        raise ValueError(f"limit must be a number of requests above 0, got {limit}")
    if not 0 < per < math.inf:
        raise ValueError(f"per must be a number of seconds above 0, got {per}")
    if max_wait is not None and not max_wait >= 0:  # nan is neither
        raise ValueError(f"max_wait must be 0 seconds or more, got {max_wait}")
    if max_queue < 0:
        raise ValueError(f"max_queue must be 0 or more, got {max_queue}")
    if not callable(key) and key not in ("origin", "operation", "identity"):
        raise ValueError(f'key must be "origin", "operation", "identity" or a function of a Scope, got {key!r}')


def _single(place: Place) -> float:
    assert isinstance(place, float), "joints are not nested"
    return place
