"""Asking the origin in the background about an answer that was just given stale (RFC 5861 3)."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Final, Generic

from cachetools import LRUCache

from holdfast._wire import Family, Q, R
from holdfast.call import CALL, Call
from holdfast.core.caching.entry import Entry
from holdfast.core.caching.request import read_ask
from holdfast.core.caching.reuse import Validate
from holdfast.errors import Refused
from holdfast.policies._aside import close
from holdfast.policies.attempt import deadline_exceeded
from holdfast.policies.cache_fetch import Fetches
from holdfast.policies.cache_keep import Trip, endless
from holdfast.policies.cache_state import Shared
from holdfast.policies.coalesce import Flight

__all__ = ["Refreshes"]

_logger = logging.getLogger("holdfast.cache")

_REST: Final = 1.0  # seconds
_KEYS: Final = 1024
_OF_THE_CALLER: Final = ("if-none-match", "if-modified-since", "range", "if-range", "cache-control")
"""Fields that want less than a whole new answer, or say how this one caller wants to be answered."""


class Refreshes(Generic[Q, R]):
    """The background validations of one transport: one for each key at a time, which others may join.

    Each is a call of its own, with the pipeline's deadline, below the cache: it is retried, limited and judged by
    the circuit like any other. If it fails, what is stored stays, and that is counted and logged; for a second
    nobody tries again, or each caller of a popular answer would have the origin, or an open circuit, asked anew.
    """

    def __init__(self, fetches: Fetches[Q, R], family: Family[Q, R], shared: Shared) -> None:
        self._fetches = fetches
        self._family = family
        self._flights = shared.flights
        self._shelf = shared.shelf
        self._clock = shared.clock
        self._counts = shared.counts
        self._telemetry = shared.telemetry
        self._shared = shared
        self._resting: MutableMapping[str, float] = LRUCache(_KEYS)  # until when, by key

    def begin(self, trip: Trip[Q], entry: Entry) -> bool:
        """See to it that ``entry`` is validated, unless that has just failed; False if there is no background."""
        flight = self._flights.find(trip.key)
        if flight is not None and not self._shelf.changed(trip.url, flight.mark):
            return True
        if self._resting and self._clock.monotonic() < self._resting.get(trip.key, 0.0):
            return True
        owner = trip.call.owner
        if owner is None:
            return False
        flight, own = self._flights.lead(trip.key, self._shelf.mark), self._unattended(trip)

        async def work() -> None:
            await self._told(own, entry, flight)

        def lost() -> None:
            self._flights.leave(trip.key, flight)

        started = owner.start(work, lost)
        if not started:
            lost()
        return started

    def _unattended(self, trip: Trip[Q]) -> Trip[Q]:
        """The same for nobody in particular: a request and a call of its own, without the caller's wishes."""
        caller, now = trip.call, self._clock.monotonic()
        seconds = self._shared.deadline
        deadline = None if seconds is None else now + seconds
        options = caller.options.replace(deadline=None, cache=None)
        call = Call(options, now, deadline, seconds, caller.key, caller.owner)
        call.sends_again, call.single, call.background = caller.sends_again, caller.single, True
        request = self._family.fresh_attempt(trip.request)
        request.method = "GET"
        request.extensions[CALL] = call
        request.extensions.pop("trace", None)  # httpcore's, of the caller: its own request is over
        for name in _OF_THE_CALLER:
            if name in request.headers:
                del request.headers[name]
        ask = read_ask("GET", request.headers.raw)
        ask.terms = trip.ask.terms
        return Trip(request, call, ask, trip.key, trip.url, trip.identity, found=trip.found, attended=False)

    async def _told(self, trip: Trip[Q], entry: Entry, flight: Flight) -> None:
        """`_in_time`, with the records of a call around it, for those who listen."""
        telemetry = self._telemetry
        if telemetry is None:
            await self._in_time(trip, entry, flight)
            return
        call, began = trip.call, self._clock.monotonic()
        response: R | None = None
        error: BaseException | None = None
        telemetry.started(call, trip.request.method, trip.request.url)
        try:
            response, error = await self._in_time(trip, entry, flight)
        except BaseException as raised:
            error = raised
            raise
        finally:
            status = None if response is None else response.status_code
            telemetry.ended(call, trip.request.method, self._clock.monotonic() - began, status, error)
            del error  # its traceback holds this frame

    async def _in_time(self, trip: Trip[Q], entry: Entry, flight: Flight) -> tuple[R | None, Exception | None]:
        """The answer, read and closed; or the error in its place."""
        try:
            deadline = trip.call.deadline
            if deadline is None:
                return await self._refresh(trip, entry, flight), None
            with self._clock.timeout_at(deadline + self._family.grace):
                return await self._refresh(trip, entry, flight), None
            raise deadline_exceeded(trip.call)
        except (Refused, self._family.transport_error) as error:
            self._failed(trip, type(error).__name__)
            return None, error

    async def _refresh(self, trip: Trip[Q], entry: Entry, flight: Flight) -> R:
        response = await self._fetches.exchange(trip, Validate(entry, "stale"), flight)
        try:
            if response.status_code >= 500:
                self._failed(trip, str(response.status_code))
            elif not (flight.over or response.is_closed or endless(response)):
                async for _ in self._family.body(response):
                    if flight.over:  # it will not be stored
                        break
        finally:
            await close(response)
        return response

    def _failed(self, trip: Trip[Q], what: str) -> None:
        self._counts.failed_refreshes += 1
        self._resting[trip.key] = self._clock.monotonic() + _REST
        _logger.info(
            "an answer of %s stays stale: the origin was asked about it, and there was %s", trip.call.key, what
        )
