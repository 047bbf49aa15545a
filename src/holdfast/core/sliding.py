"""Sliding window: when may the next request go, if no stretch of time may hold more than so many? A log of sends.

No I/O, no clock, no lock: callers pass ``now``.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import KW_ONLY

from holdfast.core.limits import Key, Place, check_limit
from holdfast.core.settings import Settings

__all__ = ["Log", "Window"]

_ROUNDING = 1e-9
"""Seconds by which a grant may seem early: sums of floats are that far off after days of uptime."""

_MARGIN = 0.5
"""At most so many seconds of margin unless the user asks for more."""


class Window(Settings, kw_only=False):
    """Never more than ``limit`` requests in any ``per`` seconds, wherever one begins to count.

    That is what a provider's quota says, and what `RateLimit` does not: after a pause all ``limit`` may go at once,
    and then none until the first of them is ``per`` seconds old.

    A request counts from the moment it is handed on to be sent. Not all are equally long on their way, so each counts
    for ``margin`` seconds more than ``per``: as long as no request is later than another by more than that, the
    promise holds where the server counts too. None: a hundredth of ``per``, at most 0.5 s (`margin_in_force`).

    ``max_wait`` (seconds, None: as long as the call's deadline allows), ``max_queue``, ``key`` and ``observe``
    are as for `RateLimit`. A cost counts as so many requests, rounded up. Memory: one float for each request of the
    window.

    >>> Window(1000, per=3600.0).margin_in_force
    0.5
    """

    limit: int
    _: KW_ONLY
    per: float = 60.0
    margin: float | None = None
    max_wait: float | None = None
    max_queue: int = 10_000
    key: Key = "origin"
    observe: bool = False

    def __post_init__(self) -> None:
        check_limit(self.limit, self.per, self.max_wait, self.max_queue, self.key)
        if self.limit != int(self.limit):
            raise ValueError(f"limit must be a whole number of requests, got {self.limit}")
        vars(self)["limit"] = int(self.limit)  # 1e4 is whole, and no place in a log
        if self.margin is not None and not 0 <= self.margin < math.inf:
            raise ValueError(f"margin must be 0 seconds or more, got {self.margin}")

    @property
    def margin_in_force(self) -> float:
        """Seconds."""
        return min(_MARGIN, self.per / 100) if self.margin is None else self.margin


class Log:
    """When the requests of one key were sent, as long as they count. Owned by one limiter, and by one loop at a time.

    A token that was granted to somebody in line is held back until its owner runs and says that it sends (`sent`):
    a late event loop could otherwise let the window end before the request in it has gone.
    """

    __slots__ = ("_granted", "_times", "blocked_until", "holds", "limit")

    def __init__(self, limit: int, holds: float) -> None:
        self.limit = limit
        self.holds = holds  # seconds for which a request counts
        self.blocked_until = -math.inf
        self._times: deque[float] = deque()  # one for each token, in order
        self._granted = 0  # tokens whose owners have not run since

    @property
    def largest(self) -> float:
        return self.limit

    def wait(self, cost: float, now: float, *, queued: bool = False) -> float:
        """Seconds until ``cost`` tokens are there, 0 if they are; ``queued`` makes no difference here.

        For the caller at the end of a line, ``cost`` is the sum of all costs in it: exact if all cost the same, and
        else never too long.
        """
        times = self._times
        self._forget(now)
        # Token number n may go once number n - limit has left the window, and enters the window itself then.
        rounds, place = divmod(len(times) + self._granted + math.ceil(cost) - 1, self.limit)
        wait = self.blocked_until - now
        if rounds:
            began = times[place] if place < len(times) else now
            wait = max(wait, began - now + rounds * self.holds)
        return wait if wait > _ROUNDING else 0.0

    def take(self, cost: float, now: float, *, queued: bool = False) -> float | None:
        """Take ``cost`` tokens if they are there: the place that they occupy (for `give_back`), else None."""
        if self.wait(cost, now) > 0:
            return None
        if queued:
            self._granted += math.ceil(cost)
            return math.inf
        self._times.extend([now] * math.ceil(cost))
        return now

    def sent(self, place: Place, cost: float, now: float) -> float:
        """Those that were granted in line count from now."""
        if place != math.inf:
            assert isinstance(place, float), "a place of this log"
            return place
        self._granted -= math.ceil(cost)
        self._times.extend([now] * math.ceil(cost))
        return now

    def give_back(self, place: Place, cost: float, now: float) -> None:
        """As if they had never been taken. What has left the window meanwhile is gone anyway."""
        if place == math.inf:
            self._granted -= math.ceil(cost)
            return
        assert isinstance(place, float), "a place of this log"
        left = math.ceil(cost)
        times, position = self._times, len(self._times) - 1
        while left and position >= 0 and times[position] >= place:
            if times[position] == place:
                del times[position]
                left -= 1
            position -= 1

    def resize(self, limit: int, holds: float) -> None:
        """Another limit from now on; what was sent counts on, as long as it is remembered."""
        while len(self._times) > limit:  # those beyond it delay nobody
            self._times.popleft()
        self.limit, self.holds = limit, holds

    def block(self, until: float) -> None:
        """No token before ``until``. Never shortens a block."""
        self.blocked_until = max(self.blocked_until, until)

    def available(self, now: float) -> float:
        """Tokens that are there; 0 during a block. Changes nothing, so that another thread may ask."""
        if self.blocked_until > now:
            return 0.0
        counting = sum(at > now - self.holds + _ROUNDING for at in tuple(self._times))
        return float(self.limit - counting - self._granted)

    def idle(self, now: float) -> bool:
        """True if no request counts any more."""
        self._forget(now)
        return not self._times and not self._granted and self.blocked_until <= now

    def _forget(self, now: float) -> None:
        times, before = self._times, now - self.holds + _ROUNDING
        while times and times[0] <= before:
            times.popleft()
