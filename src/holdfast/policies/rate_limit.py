"""Rate limit: each request takes a token of its key, in the order of arrival, and waits for it if it must.

`core.bucket` decides; here is the queue. Nobody overtakes: who arrives while others wait stands behind them,
whatever it costs and whatever is free. Only the first in line lets time pass, and it takes the tokens of all
behind it whose time has come as well; so there is one timer for each key, however long the line.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
import sniffio
from cachetools import Cache, LRUCache

from holdfast._waiting import Queue, Waiter
from holdfast._wire import Family, Handler, Q, R
from holdfast.call import CALL, Call
from holdfast.clock import Clock, SystemClock
from holdfast.core.bucket import Bucket, RateLimit
from holdfast.errors import InvalidOption, RateLimited, Refused

if TYPE_CHECKING:
    import asyncio

    from aiolimiter import AsyncLimiter

__all__ = ["RateLimiter"]

_KEYS = 1024
"""How many keys are remembered beyond those whose bucket is not full or who have callers waiting."""

_LEAKY_FROM = 10.0
"""Burst from which aiolimiter keeps up its rate when one caller at a time stands in it (R5.0)."""


class _Caller(Waiter):
    """Waits for ``cost`` tokens until ``until`` (monotonic); in ``scope`` while it lets time pass for all."""

    __slots__ = ("cost", "scope", "until")

    def __init__(self, cost: float, until: float, owner: object) -> None:
        super().__init__(owner)
        self.cost = cost
        self.until = until
        self.scope: anyio.CancelScope | None = None


class _Gate:
    """What is known of one key: its bucket, the line in front of it, and the sum of the costs in the line.

    ``waiting`` counts those in the line and those who were served but have not run since.
    """

    __slots__ = ("aio", "bucket", "key", "line", "queued", "waiting")

    def __init__(self, key: str, settings: RateLimit, leaky: bool) -> None:
        self.key = key
        self.bucket = Bucket(settings.capacity, settings.interval)
        self.line: Queue[_Caller] = Queue()
        self.queued = 0.0
        self.waiting = 0
        self.aio = _AioBucket(self.bucket) if leaky else None

    def idle(self, now: float) -> bool:
        return not self.waiting and self.bucket.idle(now)

    def wait_at_end(self, cost: float, now: float) -> float:
        """Seconds that a caller would wait who joins now; exact, unless somebody in front gives up."""
        return self.bucket.wait(self.queued + cost, now, queued=bool(self.line))

    def give_back(self, place: float, cost: float, now: float) -> None:
        self.bucket.give_back(place, cost, now)
        if (first := self.line.first) is not None and first.scope is not None:
            first.scope.cancel()  # it looks at the bucket again

    def join(self, caller: _Caller) -> bool:
        """Stand at the end; True if that is the head of the line."""
        self.line.join(caller)
        self.queued += caller.cost
        return len(self.line) == 1

    def leave(self, caller: _Caller) -> bool:
        """Out of the line, wherever it stood; the next one becomes the head. True if it stood there."""
        was_first = self.line.first is caller
        if not self.line.leave(caller):
            return False
        self.queued = self.queued - caller.cost if self.line else 0.0
        if was_first and (first := self.line.first) is not None:
            first.wake()
        return True

    def dismiss(self, caller: _Caller, error: Exception) -> None:
        if self.leave(caller):
            caller.settle(error)
            if caller.scope is not None:
                caller.scope.cancel()

    def serve(self, now: float) -> None:
        """Hand tokens to the front of the line as far as they are due, and have the next one take over."""
        while (first := self.line.first) is not None:
            place = self.bucket.take(first.cost, now, queued=True)
            if place is None:
                break
            self.line.leave(first)
            self.queued -= first.cost
            first.settle(place)
        if first is None:
            self.queued = 0.0
        else:
            first.wake()


class RateLimiter:
    """Holds back each request until its key has a token for it; a cost of more than one takes that many.

    Shared by all transports that are given it, through their pipeline; the state of a key is plain numbers
    while nobody waits, so it survives the end of an event loop. A second loop whose callers must wait while
    those of the first still do gets a RuntimeError.

    Raises the family's `RateLimited` at once, without joining the line, if the wait is longer than what
    the deadline or ``max_wait`` leaves, or if the line is full; ``retry_after`` is the wait. Raises
    `InvalidOption` (a ValueError) if the cost is above the burst. A caller that is cancelled leaves the line
    as if it had never stood there; a token that was not used for a send goes back.

    >>> from holdfast.clock import SystemClock
    >>> limiter = RateLimiter(RateLimit(2, per=60.0, burst=1), clock=SystemClock())
    >>> limiter.try_acquire("https://api.example:443"), limiter.try_acquire("https://api.example:443")
    (True, False)
    """

    def __init__(self, settings: RateLimit, *, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        # aiolimiter reads asyncio's clock, so it is of no use with another.
        wants_leaky = settings.engine == "leaky" or (settings.engine is None and settings.capacity >= _LEAKY_FROM)
        self._leaky = wants_leaky and isinstance(clock, SystemClock)
        self._gates: LRUCache[str, _Gate] = LRUCache(math.inf)  # bounded by `_trim`, which looks before it drops
        self._recent: _Gate | None = None  # an LRU look-up costs more than taking a token

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        monotonic, key_of = self._clock.monotonic, self.settings.key

        async def handle(request: Q) -> R:
            call: Call = request.extensions[CALL]
            key = call.key if key_of is None else key_of(call.key)
            gate = self._recent
            if gate is None or gate.key != key:
                gate = self._gate(key)
            cost = call.options.cost
            place = None if gate.waiting else gate.bucket.take(cost, monotonic())
            if place is None:
                try:
                    place = await self._queue(gate, call, cost)
                except Refused as error:
                    raise family.refusal(error, request) from None
            sends = call.sends
            try:
                return await inner(request)
            finally:
                if call.sends == sends:
                    gate.give_back(place, cost, monotonic())

        return handle

    def try_acquire(self, key: str, cost: float = 1.0) -> bool:
        """Take tokens if they are there and nobody waits for them; there is no giving back."""
        self._check_cost(cost)
        gate = self._gate(key)
        return not gate.waiting and gate.bucket.take(cost, self._clock.monotonic()) is not None

    def wait_time(self, key: str, cost: float = 1.0) -> float:
        """Seconds that a request would wait which arrives now."""
        self._check_cost(cost)
        return self._gate(key).wait_at_end(cost, self._clock.monotonic())

    def block(self, key: str, until: float) -> None:
        """No request of ``key`` before ``until`` (monotonic seconds), waiting ones included; then the rate.

        Those who cannot wait that long are refused now. A block is never shortened.
        """
        gate = self._gate(key)
        gate.bucket.block(until)
        now, ahead = self._clock.monotonic(), 0.0
        for caller in gate.line:
            wait = gate.bucket.wait(ahead + caller.cost, now, queued=True)
            if now + wait > caller.until:
                gate.dismiss(caller, self._too_long(gate, wait))
            else:
                ahead += caller.cost

    def dismiss(self, make_error: Callable[[], Exception], owner: object = None) -> None:
        """Send away all who wait, or those of one ``owner``: each raises an error of its own."""
        for gate in self._gates.values():
            for caller in gate.line:
                if owner is None or caller.owner is owner:
                    gate.dismiss(caller, make_error())

    def snapshot(self) -> dict[str, dict[str, float | int | str]]:
        """By key: setting, tokens there (below 0 during a block), callers waiting, seconds still blocked."""
        now = self._clock.monotonic()
        return {
            key: {
                "limit": self.settings.limit,
                "per": self.settings.per,
                "burst": gate.bucket.burst,
                "engine": "leaky" if self._leaky else "smooth",
                "tokens": gate.bucket.available(now),
                "waiting": len(gate.line),
                "blocked_for": max(0.0, gate.bucket.blocked_until - now),
            }
            for key in list(self._gates)  # a look is no use of it, so not by LRUCache.__getitem__
            for gate in (Cache.__getitem__(self._gates, key),)
        }

    async def _queue(self, gate: _Gate, call: Call, cost: float) -> float:
        """Stand in line; returns the place of the tokens."""
        clock = self._clock
        started = clock.monotonic()
        caller = self._enter(gate, call, cost, started)
        gate.waiting += 1
        try:
            if not gate.join(caller):
                await caller
            elif gate.waiting > 1:
                await clock.sleep(0.0)  # those who were served a moment ago run first
            while caller.outcome is None:  # at the head of the line
                now = clock.monotonic()
                if (wait := gate.bucket.wait(cost, now, queued=True)) > 0:
                    with anyio.CancelScope() as caller.scope:
                        await self._pass_time(gate, cost, now, wait)
                    caller.scope = None
                else:
                    gate.serve(now)
        except BaseException:
            if not gate.leave(caller) and isinstance(caller.outcome, float):
                gate.give_back(caller.outcome, cost, clock.monotonic())
            raise
        finally:
            gate.waiting -= 1
        caller.raise_if_dismissed()
        assert isinstance(caller.outcome, float), "either sent away or served"
        call.waited("rate_limit", clock.monotonic() - started)
        return caller.outcome

    def _enter(self, gate: _Gate, call: Call, cost: float, now: float) -> _Caller:
        """May this caller join? Raises what it is told if not."""
        self._check_cost(cost)
        gate.line.settle_loop()
        until = math.inf if self.settings.max_wait is None else now + self.settings.max_wait
        if call.deadline is not None and call.deadline < until:
            until = call.deadline
        wait = gate.wait_at_end(cost, now)
        if now + wait > until:
            raise self._too_long(gate, wait)
        if len(gate.line) >= self.settings.max_queue:
            raise RateLimited(
                f"{len(gate.line)} requests already wait for a token of {gate.key}, which is max_queue",
                policy="rate_limit",
                key=gate.key,
                retry_after=wait,
            )
        return _Caller(cost, until, call.owner)

    async def _pass_time(self, gate: _Gate, cost: float, now: float, wait: float) -> None:
        """Return about when the head's tokens are due; the bucket has the last word."""
        if gate.aio is None or sniffio.current_async_library() != "asyncio":
            await self._clock.sleep(wait)
        elif (surplus := gate.aio.surplus(now)) > 0:
            await self._clock.sleep(surplus)
        elif not await gate.aio.stand(cost, now):
            await self._clock.sleep(wait)

    def _check_cost(self, cost: float) -> None:
        if cost > self.settings.capacity:
            raise InvalidOption(f"cost={cost:g} can never pass a rate limit whose burst is {self.settings.capacity:g}")

    def _too_long(self, gate: _Gate, wait: float) -> RateLimited:
        return RateLimited(
            f"a token of {gate.key} would be there in {wait:.3f} s, which is longer than this call can wait",
            policy="rate_limit",
            key=gate.key,
            retry_after=wait,
        )

    def _gate(self, key: str) -> _Gate:
        gate = self._gates.get(key)
        if gate is None:
            self._trim()
            gate = self._gates[key] = _Gate(key, self.settings, self._leaky)
        self._recent = gate
        return gate

    def _trim(self) -> None:
        """Drop keys that were not used for longest, but never one that remembers something.

        A few looks for each new key keep the cost constant even if all keys are in use.
        """
        now = self._clock.monotonic()
        for _ in range(8):
            if len(self._gates) < _KEYS:
                return
            key, gate = self._gates.popitem()
            if not gate.idle(now):
                self._gates[key] = gate


class _AioBucket:
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
