"""Rate limit: when may the next request go, and how long is the wait? Arithmetic on one number.

No I/O, no clock, no lock: callers pass ``now``. The leaky bucket as a meter (ITU-T I.371) and the GCRA are
the same sum seen from two sides; here it is kept in the GCRA's form, as the time at which the bucket
will have run empty, so that rounding never adds up and an idle bucket needs no upkeep.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY
from typing import Literal

from holdfast.core.limits import Key, Place, check_limit
from holdfast.core.settings import Settings

__all__ = ["Bucket", "RateLimit"]

_ROUNDING = 1e-9
"""Seconds by which a grant may seem early: sums of floats are that far off after days of uptime."""

_CATCH_UP = 0.05
"""Seconds of grants that may be made up at once after the event loop was held up (R5.1)."""

_RETURNS = 64
"""How many returns are remembered one by one, for the sake of tokens that are older or younger."""


class RateLimit(Settings, kw_only=False):
    """At most ``limit`` requests in ``per`` seconds, of which ``burst`` may go at once after a pause.

    In any stretch of ``w`` seconds at most ``limit * w / per + burst`` requests are sent for each key.

    ``burst`` defaults to a hundredth of the limit, at least 1 (`capacity` is the number in force).
    ``engine``: "leaky" waits in an aiolimiter ``AsyncLimiter``; "smooth" sleeps for what the arithmetic says.
    None takes "leaky" on asyncio with the system's clock and a burst of 10 or more, and "smooth" otherwise;
    trio and other clocks are always served by "smooth". Promise, order and waits are the same for both.

    ``max_wait`` (seconds, None: as long as the call's deadline allows) and ``max_queue`` (callers for each
    key) bound the queue; who cannot be served within them is refused at once with `RateLimited`. ``key`` says
    whose tokens a request takes: "origin" (or what its option ``key`` names in place of it), "operation" or
    "identity" for each of those options under it, or a function of a `Scope`, which has all three.

    ``observe``: count and report who would have to wait or be refused, and hold back nobody.

    >>> RateLimit(100, per=60.0, burst=10).interval
    0.6
    """

    limit: float
    _: KW_ONLY
    per: float = 1.0
    burst: float | None = None
    engine: Literal["leaky", "smooth"] | None = None
    max_wait: float | None = None
    max_queue: int = 10_000
    key: Key = "origin"
    observe: bool = False

    def __post_init__(self) -> None:
        check_limit(self.limit, self.per, self.max_wait, self.max_queue, self.key)
        if self.burst is not None and not 1 <= self.burst < math.inf:
            raise ValueError(f"burst must be at least 1, got {self.burst}")
        if self.engine not in (None, "leaky", "smooth"):
            raise ValueError(f'engine must be "leaky", "smooth" or None, got {self.engine!r}')

    @property
    def capacity(self) -> float:
        """The burst in force."""
        return max(1.0, self.limit / 100) if self.burst is None else self.burst

    @property
    def interval(self) -> float:
        """Seconds for each token: the T of the GCRA."""
        return self.per / self.limit


class Bucket:
    """Tokens of one key. Holds ``burst`` of them, and gains one each ``interval`` seconds.

    Each token taken occupies a stretch of ``interval`` seconds on the time line, one behind the other;
    ``full_at`` is where the last one ends, and with it the time at which the bucket will be full again (the
    GCRA's theoretical arrival time). Owned by one limiter, and by one event loop at a time.
    """

    __slots__ = (
        "_barrier",
        "_catch_up",
        "_folded",
        "_returns",
        "_shift",
        "blocked_until",
        "burst",
        "full_at",
        "interval",
        "late",
    )

    def __init__(self, burst: float, interval: float, catch_up: float = _CATCH_UP) -> None:
        self.burst = burst
        self.interval = interval
        self.full_at = -math.inf
        self.blocked_until = -math.inf
        # A timer fires late, by a millisecond or so. What that costs is made up, at one time up to 50 ms of
        # grants or the burst, whichever is more. Half an interval never lets another grant through.
        self._catch_up = catch_up
        self.late = max(catch_up - burst * interval, min(interval / 2, catch_up))
        self._shift = 0.0  # seconds by which all returns so far have moved the end of the line
        self._folded = 0.0  # the part of it that is not in the list any more
        self._returns: list[tuple[float, float, float]] = []  # place, seconds, moment after which it is history
        self._barrier = -math.inf  # tokens before this place were taken before a block

    @property
    def largest(self) -> float:
        return self.burst

    def wait(self, cost: float, now: float, *, queued: bool = False) -> float:
        """Seconds until ``cost`` tokens are there, 0 if they are. ``queued``: callers stand in line for them.

        For the caller at the end of a line, ``cost`` is the sum of all costs in it.
        """
        start = max(self.full_at, now - self.late if queued else now)
        wait = start + (cost - self.burst) * self.interval - now
        return wait if wait > _ROUNDING else 0.0

    def take(self, cost: float, now: float, *, queued: bool = False) -> float | None:
        """Take ``cost`` tokens if they are there: the place that they occupy (for `give_back`), else None.

        While callers are ``queued``, time is counted from when the token was due, not from when a late timer
        fired, so that the rate is kept.
        """
        full_at, interval = self.full_at, self.interval
        start = now - self.late if queued else now
        if full_at > start:
            start = full_at
        # Written as in `wait`, to the last bit: who is told to wait no longer must get the token.
        if start + (cost - self.burst) * interval - now > _ROUNDING:
            return None
        self.full_at = end = start + cost * interval
        return end + self._shift

    def sent(self, place: Place, cost: float, now: float) -> Place:
        """A token was due when it was granted, however late its owner is."""
        return place

    def give_back(self, place: Place, cost: float, now: float) -> None:
        """Return tokens that were not used: whatever of them has not run out of the bucket since.

        At once it is as if they had never been taken. Later, those who came after have already had the good
        of them in part; the promise is kept in every case. Tokens from before a block are not taken back.
        """
        assert not isinstance(place, tuple), "a place of this bucket"
        if place <= self._barrier:
            return
        self._forget_returns(now)
        # Everything that was returned from before this place has moved it to the left.
        end = place - self._folded - sum(seconds for other, seconds, _ in self._returns if other < place)
        seconds = min(cost * self.interval, end - now)
        if seconds <= 0:
            return
        self._returns.append((place, seconds, self.full_at))
        self._shift += seconds
        self.full_at -= seconds

    def block(self, until: float) -> None:
        """No token before ``until``; from then on at the rate, without a burst. Never shortens a block."""
        self.blocked_until = max(self.blocked_until, until)
        end = until + (self.burst - 1) * self.interval
        if end > self.full_at:
            self.full_at = end
            self._barrier = end + self._shift

    def resize(self, burst: float, interval: float, now: float) -> None:
        """Another burst and rate from now on. Tokens that are there stay, as far as they fit in; a block holds.

        Tokens that were taken before are not taken back.
        """
        at, before = max(now, self.blocked_until), self.full_at
        tokens = min(self.available(at), burst)
        self.late = max(self._catch_up - burst * interval, min(interval / 2, self._catch_up))
        self.burst, self.interval = burst, interval
        self.full_at = at + (burst - tokens) * interval
        moved = max(0.0, before - self.full_at) if before > now else 0.0  # places only ever grow
        self._shift += moved
        self._folded += moved
        self._barrier = self.full_at + self._shift

    def available(self, now: float) -> float:
        """Tokens that are there; less than 0 during a block."""
        return min(self.burst, self.burst - (self.full_at - now) / self.interval)

    def idle(self, now: float) -> bool:
        """True if it is full: a new bucket would be the same."""
        return self.full_at <= now

    def _forget_returns(self, now: float) -> None:
        # A token taken before a return ended no later than the line did then, and has run out by that time.
        keep = [item for item in self._returns if item[2] > now][-_RETURNS + 1 :]
        if len(keep) < len(self._returns):
            self._returns = keep
            self._folded = self._shift - sum(seconds for _, seconds, _ in keep)
