"""Concurrency limit: so many requests at a time, counted until each response's body is closed.

Nothing to decide here but "is a permit free?", so there is no file in ``core``. A permit that comes free is
handed straight to the first in line: a newcomer finds one only if nobody waits. Who is first: `core.priority`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import TYPE_CHECKING

from holdfast._waiting import Line
from holdfast._wire import Family, Handler, Q, R
from holdfast.call import CALL, Call
from holdfast.clock import Clock
from holdfast.core.settings import Settings
from holdfast.errors import ConcurrencyFull, DeadlineExceeded, Refused

if TYPE_CHECKING:
    from holdfast.core.gradient import AdaptiveConcurrency
    from holdfast.policies.emitter import Emitter

__all__ = ["Concurrency", "ConcurrencyLimit", "Permits"]


_KEYS = 1024
"""How many idle keys are remembered; those with a permit in use or a caller in line are never forgotten."""


class ConcurrencyLimit(Settings, kw_only=False):
    """At most ``limit`` requests at a time for each key (origin), and at most ``total`` over all keys.

    The limit is that of the pool below (default: 100 connections), so that callers queue here, in order and
    within their deadline, and not there; for each key, so that one slow origin cannot take every permit
    (``total``, default None: no such limit, would let it). ``max_queue`` bounds each line. ``observe``: count and
    report who would have to wait or be refused, and hold back nobody.

    >>> ConcurrencyLimit(20, total=100).limit
    20
    """

    limit: int = 100
    _: KW_ONLY
    total: int | None = None
    max_queue: int = 10_000
    observe: bool = False

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"limit must be at least 1, got {self.limit}")
        if self.total is not None and self.total < 1:
            raise ValueError(f"total must be at least 1, got {self.total}")
        if self.max_queue < 0:
            raise ValueError(f"max_queue must be 0 or more, got {self.max_queue}")


class Permits:
    """The permits of one key, or of all; and the line of those who wait. Free ones exist only if nobody waits."""

    __slots__ = ("free", "limit", "line", "total", "would_reject", "would_wait")

    def __init__(self, limit: int, total: Permits | None = None) -> None:
        self.limit = limit
        self.total = total
        self.free = limit
        self.line = Line()
        self.would_wait = self.would_reject = 0  # of those that were only observed

    @property
    def idle(self) -> bool:
        return self.free == self.limit and not self.line

    def give_back(self) -> None:
        self.free += 1
        if self.free == 1:  # who waits, waits because there was none
            self.hand_over()

    def hand_over(self) -> None:
        while self.free > 0 and self.line:
            self.free -= self.line.admit()

    def resize(self, limit: int) -> None:
        """From now on so many. If more are out, ``free`` is below 0 until they have come back."""
        self.free += limit - self.limit
        self.limit = limit
        self.hand_over()

    def body_ended(self, _error: BaseException | None, _complete: bool) -> None:
        """All that a request of this key holds goes back; the widest first, or a caller may wait for it in vain."""
        if self.total is not None:
            self.total.give_back()
        self.give_back()

    def snapshot(self) -> dict[str, int]:
        return {"limit": self.limit, "in_use": self.limit - self.free, "waiting": len(self.line)}


class Concurrency:
    """Lets a request through while it holds a permit: from here until its body is closed, read or not.

    Shared by all transports that are given it, through their pipeline; one event loop at a time while callers
    wait (a second one gets a RuntimeError).

    A permit goes back exactly once: when the body is closed or fails, at once if there is no body on the wire
    any more, when the attempt raises or is cancelled, and when the caller drops the response unclosed. Inside
    the retry layer, so none is held during a backoff.

    Raises the family's `ConcurrencyFull` at once if ``max_queue`` callers wait already, and its
    `DeadlineExceeded` if the deadline comes while the call stands in line: the call's time is over then, and
    a caller who catches timeouts means this one too. A caller that is cancelled leaves the line at once; if a
    permit was handed to it in that moment, the next one gets it.
    """

    def __init__(self, settings: ConcurrencyLimit, *, clock: Clock, emitter: Emitter | None = None) -> None:
        self.settings = settings
        self._clock = clock
        self._emitter = emitter
        self._total = None if settings.total is None else Permits(settings.total)
        self._keys: dict[str, Permits] = {}

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        keys, total = self._keys, self._total
        if self.settings.observe:
            return self._observing(inner, family)

        async def handle(request: Q) -> R:
            call: Call = request.extensions[CALL]
            permits = keys.get(call.key) or self._permits(call.key)
            if permits.free > 0 and total is None:
                permits.free -= 1
            else:
                try:
                    await self._take(permits, call)
                except Refused as error:
                    raise family.refusal(error, request) from None
            try:
                response = await inner(request)
                body = None if response.is_closed else family.body(response)
            except BaseException:
                permits.body_ended(None, False)
                raise
            if body is None:
                permits.body_ended(None, True)
            else:
                body.watch(permits.body_ended)
            return response

        return handle

    def _observing(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        """Those who would wait, or be refused, are counted, and sent like all others."""

        async def handle(request: Q) -> R:
            call: Call = request.extensions[CALL]
            permits = self._keys.get(call.key) or self._permits(call.key)
            if not self._would_admit(permits, call):
                return await inner(request)
            try:
                response = await inner(request)
                body = None if response.is_closed else family.body(response)
            except BaseException:
                permits.body_ended(None, False)
                raise
            if body is None:
                permits.body_ended(None, True)
            else:
                body.watch(permits.body_ended)
            return response

        return handle

    def _would_admit(self, permits: Permits, call: Call) -> bool:
        """Take the permits that a call would have, at once or after a wait; False for one that would be refused."""
        whole = [permits] if permits.total is None else [permits, permits.total]
        for one in whole:
            if -one.free >= self.settings.max_queue:  # as many have a permit too many as may wait for one
                one.would_reject += 1
                if self._emitter is not None:
                    self._emitter.refused(call, self._full(one, -one.free, call), observed=True)
                return False
        for one in whole:
            one.would_wait += one.free <= 0
            one.free -= 1
        return True

    def reconfigure(self, settings: ConcurrencyLimit | AdaptiveConcurrency) -> None:
        """Other limits from now on, also for those who wait. Permits that are out stay out until they come back."""
        assert isinstance(settings, ConcurrencyLimit), "checked: of the same kind"
        self.settings = settings
        for permits in self._keys.values():
            permits.resize(settings.limit)
        if self._total is not None and settings.total is not None:
            self._total.resize(settings.total)

    def dismiss(self, make_error: Callable[[], Exception], owner: object = None) -> None:
        """Send away all who wait, or those of one ``owner``: each raises an error of its own."""
        for permits in self._all().values():
            permits.line.dismiss(make_error, owner)

    def snapshot(self) -> dict[str, dict[str, int]]:
        """Permits in use and callers waiting, for each key; for all of them under ``"*"`` if there is a total."""
        if not self.settings.observe:
            return {key: permits.snapshot() for key, permits in self._all().items()}
        return {
            key: {**permits.snapshot(), "would_wait": permits.would_wait, "would_reject": permits.would_reject}
            for key, permits in self._all().items()
        }

    def _all(self) -> dict[str, Permits]:
        """In a dict of its own, made in one step: a thread that scrapes metrics may ask while keys come and go."""
        return ({} if self._total is None else {"*": self._total}) | self._keys

    def _permits(self, key: str) -> Permits:
        if len(self._keys) >= _KEYS:
            for idle in [key for key, permits in self._keys.items() if permits.idle]:
                del self._keys[idle]
        permits = self._keys[key] = self._make(key)
        return permits

    def _make(self, key: str) -> Permits:
        return Permits(self.settings.limit, self._total)

    async def _take(self, permits: Permits, call: Call) -> None:
        """First the key's permit, so that a busy key waits in a line of its own, then one of the total."""
        await self._take_one(permits, call)
        if permits.total is None:
            return
        try:
            await self._take_one(permits.total, call)
        except BaseException:
            permits.give_back()
            raise

    async def _take_one(self, permits: Permits, call: Call) -> None:
        if permits.free > 0:
            permits.free -= 1
            return
        line = permits.line
        line.settle_loop()
        if call.arm > 1:
            raise ConcurrencyFull("no permit is free for a hedge", policy="concurrency", key=call.key)
        if len(line) >= self.settings.max_queue:
            raise self._full(permits, len(line), call)
        started = self._clock.monotonic()
        caller = line.enter(call.owner, arrived=started, priority=call.options.priority)
        permits.hand_over()  # a dropped response is collected at any time, so perhaps since we looked
        admitted = await line.stand(caller, self._clock, call.deadline, permits.give_back)
        waited = self._clock.monotonic() - started
        if not admitted:
            raise DeadlineExceeded(
                f"the deadline passed after {waited:.3f} s in the line for one of {permits.limit} permits",
                policy="concurrency",
                key=call.key,
                deadline=call.total,
            )
        call.waited("concurrency", waited)

    def _full(self, permits: Permits, waiting: int, call: Call) -> ConcurrencyFull:
        return ConcurrencyFull(
            f"all {permits.limit} permits are taken and {waiting} requests wait, which is max_queue",
            policy="concurrency",
            key=call.key,
        )
