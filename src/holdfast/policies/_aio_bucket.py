"""aiolimiter's leaky bucket behind ours: the engine in which the head of a line stands on asyncio."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

from holdfast.core.bucket import Bucket

if TYPE_CHECKING:
    import asyncio

    from aiolimiter import AsyncLimiter

__all__ = ["AioBucket"]


class AioBucket:
    """aiolimiter's leaky bucket behind ours, for the head of the line to stand in.

    aiolimiter can neither look ahead nor take back, so it is told of tokens when somebody must wait: what was
    taken since is poured in first, and what was given back is poured less. ``empty_at`` is when it will
    have run out by our reckoning, in the form of `Bucket.full_at`.
    """

    __slots__ = ("_bucket", "_empty_at", "_limiter", "_loop")

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._limiter: AsyncLimiter | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._empty_at = -math.inf

    def surplus(self, now: float) -> float:
        """Seconds until what is owed fits in at all; more than 0 only during a block."""
        return self._bucket.wait(0.0, now)

    async def stand(self, cost: float, now: float) -> bool:
        """Wait until ``cost`` tokens fit in. False, at once, if there is nothing to pour.

        When cancelled, what was poured in stays there and is counted.
        """
        limiter = self._here()
        interval = self._bucket.interval
        owed = (self._bucket.full_at - max(self._empty_at, now)) / interval
        if owed > 0:
            await limiter.acquire(min(owed, limiter.max_rate))
            self._empty_at = self._bucket.full_at
        tokens = cost + min(owed, 0.0)
        if tokens <= 0:
            return False
        await limiter.acquire(tokens)
        self._empty_at = max(self._empty_at, now) + tokens * interval
        return True

    def _here(self) -> AsyncLimiter:
        """The limiter of the running loop; a new one starts empty, and is owed everything."""
        loop = sys.modules["asyncio"].get_running_loop()
        if self._limiter is None or self._loop is not loop:
            from aiolimiter import AsyncLimiter  # 3 ms that only those pay who ever wait

            self._limiter = AsyncLimiter(self._bucket.burst, self._bucket.burst * self._bucket.interval)
            self._loop = loop
            self._empty_at = -math.inf
        return self._limiter
