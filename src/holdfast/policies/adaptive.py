"""A concurrency limit that finds itself: permits as in `policies.concurrency`, and how many there are moves.

`core.gradient` decides how far. Here is what it must not know: which part of a call was the server's, and what an
outcome says of its load.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from holdfast._wire import Family, Fault, Handler, Q, R
from holdfast.call import CALL, Call
from holdfast.clock import Clock
from holdfast.core.gradient import AdaptiveConcurrency, Gradient
from holdfast.errors import Refused
from holdfast.policies.concurrency import Concurrency, ConcurrencyLimit, Permits

if TYPE_CHECKING:
    from holdfast.policies.emitter import Emitter

__all__ = ["AdaptiveLimits"]

_TOO_MUCH = frozenset({429, 503})
"""Statuses by which a server says that it has too much to do."""


class _Moving(Permits):
    """The permits of one key, and the gradient that says how many there are."""

    __slots__ = ("gradient",)

    def __init__(self, gradient: Gradient) -> None:
        super().__init__(gradient.limit)
        self.gradient = gradient


class AdaptiveLimits(Concurrency):
    """As `Concurrency`, with a limit for each key that moves between two bounds.

    When it falls, permits that are out stay out: as many as were taken away are not handed on when they come back.
    What a server takes is counted from the send to the head of its answer, queues of ours not included. Answers of
    500 and above, 429 and 503 apart, and failures that are no timeouts, say nothing of its load.
    """

    def __init__(self, settings: AdaptiveConcurrency, *, clock: Clock, emitter: Emitter | None = None) -> None:
        super().__init__(_plain(settings), clock=clock, emitter=emitter)
        self._adaptive = settings

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        monotonic = self._clock.monotonic

        async def measured(request: Q) -> R:
            call: Call = request.extensions[CALL]
            permits = self._keys[call.key]
            assert isinstance(permits, _Moving), "made below"
            began, waited = monotonic(), sum(call.waits.values())
            in_flight = permits.limit - permits.free
            try:
                response = await inner(request)
            except family.timeout_error as error:
                if self._is_overload(error, call, family.fault):
                    self._drop(call.key, permits)
                raise
            if response.status_code in _TOO_MUCH:
                self._drop(call.key, permits)
            elif response.status_code < 500 and not call.superseded:
                now = monotonic()
                seconds = now - began - (sum(call.waits.values()) - waited)
                permits.gradient.answered(seconds, in_flight, now)
                self._follow(call.key, permits)
            return response

        return super().bind(measured, family)

    def reconfigure(self, settings: ConcurrencyLimit | AdaptiveConcurrency) -> None:
        """Other settings from now on, also for those who wait; each limit goes on from where it is."""
        assert isinstance(settings, AdaptiveConcurrency), "checked: of the same kind"
        self.settings, self._adaptive = _plain(settings), settings
        for key, permits in self._keys.items():
            assert isinstance(permits, _Moving), "made below"
            permits.gradient.reconfigure(settings)
            self._follow(key, permits)

    def _make(self, key: str) -> Permits:
        return _Moving(Gradient(self._adaptive, self._clock.monotonic()))

    def _drop(self, key: str, permits: _Moving) -> None:
        permits.gradient.drop(self._clock.monotonic())
        self._follow(key, permits)

    def _follow(self, key: str, permits: _Moving) -> None:
        limit = permits.gradient.limit
        if limit == permits.limit:
            return
        permits.resize(limit)
        if self._emitter is not None:
            from holdfast.events import LimitAdapted

            self._emitter.emit(LimitAdapted(**self._emitter.at(key), limit=limit, policy="concurrency"))

    def _is_overload(self, error: Exception, call: Call, fault: Callable[[Exception], Fault]) -> bool:
        # To the library our own refusals are timeouts too, and so is a pool that is full on our side.
        if isinstance(error, Refused) or call.superseded or fault(error) is Fault.SATURATED:
            return False
        return not call.cut_short(self._clock.monotonic())


def _plain(settings: AdaptiveConcurrency) -> ConcurrencyLimit:
    """What a limit that stands still needs to know of them."""
    return ConcurrencyLimit(settings.start, max_queue=settings.max_queue, observe=settings.observe)
