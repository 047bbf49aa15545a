"""An answer of the origin's on its way to who asked: it is passed on, and stored if it may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from holdfast._families import fields_of, raw_of
from holdfast._wire import Family, Q, R, ResponseLike
from holdfast.call import Call
from holdfast.core.buffering import is_stream, read_head
from holdfast.core.caching import cache_status
from holdfast.core.caching.entry import Entry, Exchange
from holdfast.core.caching.fields import Fields, delta_seconds
from holdfast.core.caching.key import Identity
from holdfast.core.caching.parts import PARTIAL, cut_off, judge_part
from holdfast.core.caching.request import Ask
from holdfast.core.caching.reuse import Why
from holdfast.core.caching.storing import Objection, Storable, entered, forbidden
from holdfast.policies.cache_blob import Spool
from holdfast.policies.cache_body import Recording, declared_length, read_body
from holdfast.policies.cache_ranges import Parts
from holdfast.policies.cache_state import Shared, passed_on
from holdfast.policies.coalesce import Flight

__all__ = ["Keeping", "Trip", "endless"]


@dataclass(slots=True, eq=False)
class Trip(Generic[Q]):
    """One request that what is stored did not answer."""

    request: Q
    call: Call
    ask: Ask
    key: str
    url: str
    identity: Identity  # that the key was made with
    found: int  # the shelf's mark when what is stored was looked at
    attended: bool = True  # a caller waits for the answer
    mark: int = 0  # the shelf's, when the request was sent


class Keeping(Generic[Q, R]):
    """How the answers that one transport fetches get into the store. Whatever comes of it, their flights land."""

    def __init__(self, family: Family[Q, R], shared: Shared) -> None:
        self._family = family
        self._policy = shared.policy
        self._shelf = shared.shelf
        # Bytes of a body that are held at once while it comes.
        self._memory = self._policy.max_entry_bytes if shared.shelf.streaming is None else shared.spill_bytes
        self._parts = Parts(shared.shelf, family, self._policy.max_entry_bytes)
        self._flights = shared.flights
        self._monotonic = shared.clock.monotonic
        self._counts = shared.counts

    async def keep(
        self,
        trip: Trip[Q],
        response: R,
        exchange: Exchange,
        why: Why,
        flight: Flight | None,
        *,
        remove: bool = False,
        sent: int | None = None,
    ) -> R:
        """Pass an answer of the origin's on, and store it if it may be; ``sent``: its status, if it had another."""
        fields = fields_of(response.headers)
        status = response.status_code
        reason = None if status == PARTIAL else forbidden(trip.ask, status, fields, self._policy)
        if reason is None:
            entry = self.entered(trip, response, exchange, fields)
            if isinstance(entry, Entry):
                return await self.pass_on(trip, response, entry, fields, why, flight, remove=remove, sent=sent)
            reason = entry
        self._flights.land(trip.key, flight)
        if remove:
            await self._shelf.delete(trip.key)
        told = cache_status.forwarded(why, reason, status=sent)
        return passed_on(response, trip.call, self._counts, told, "miss", fields)

    async def pass_on(
        self,
        trip: Trip[Q],
        response: R,
        entry: Entry,
        fields: Fields,
        why: Why,
        flight: Flight | None,
        *,
        remove: bool = False,
        sent: int | None = None,
    ) -> R:
        """Pass on an answer that may be stored, which it is unless it is too long; see `keep`."""
        length, most = _declared(fields, response), self._policy.max_entry_bytes
        body = None if response.is_closed else self._family.body(response)
        stored, unstored = False, None
        if length is not None and length > most:
            unstored = "too long"
            self._flights.land(trip.key, flight)
            if remove:
                await self._shelf.delete(trip.key)
        elif body is not None and not body.in_memory:
            stored = await self._record(trip, response, entry, length, flight)
        else:
            whole = await _content(response, self._family, length) if body is None else body.peek()
            if whole is None or len(whole) > most or length not in (None, len(whole)):
                self._flights.land(trip.key, flight)
            else:
                now = self.store_now(trip, entry.complete(whole), flight)
                stored = await self.store(trip, entry, flight) if now is None else now
        told = cache_status.forwarded(why, unstored, status=sent, stored=stored)
        return passed_on(response, trip.call, self._counts, told, "miss", fields)

    def entered(self, trip: Trip[Q], response: R, exchange: Exchange, fields: Fields) -> Entry | Objection:
        """The entry of an answer that is not `forbidden`, or is a part, which is judged as the whole that it is of."""
        ask, status, headers = trip.ask, response.status_code, raw_of(response.headers)
        if status == PARTIAL:
            judged = judge_part(ask, trip.key, headers, exchange, self._policy, trip.identity, fields)
            return judged.entry if isinstance(judged, Storable) else judged.reason
        if status == 401 and trip.call.options.identity is not None and ask.terms.lifetime(status) is None:
            return "status"  # it is about a token, which the identity outlives
        return entered(ask, trip.key, status, headers, exchange, self._policy, trip.identity, fields)

    async def _record(
        self, trip: Trip[Q], response: R, entry: Entry, length: int | None, flight: Flight | None
    ) -> bool:
        """Keep what passes of a body on the wire, read by us for those who wait, or by the caller."""
        family, flights, key = self._family, self._flights, trip.key
        stored = handed_over = False

        async def whole(kept: bytes | Spool) -> None:
            nonlocal stored
            if isinstance(kept, bytes):
                stored = await self.store(trip, entry.complete(kept), flight)
            else:
                stored = await self._store_spooled(trip, entry, kept, flight)

        async def torn(kept: bytes | Spool, size: int) -> None:
            part = cut_off(entry, size, length)
            if part is not None:
                self._counts.stored += await self._parts.keep_torn(trip.request, trip.url, part, kept, size, trip.mark)

        def cut() -> None:
            if handed_over:  # before that, how the call ends says what becomes of those who wait
                flights.land(key, flight)

        def passed() -> None:
            if handed_over and flight is not None:
                flight.moved = self._monotonic()

        inside = family.body(response)
        recording = Recording(
            inside,
            self._shelf,
            memory=self._parts.limit if entry.status == PARTIAL else self._memory,
            limit=self._parts.limit if entry.status == PARTIAL else self._policy.max_entry_bytes,
            length=length,
            whole=whole,
            torn=torn,
            cut=cut,
            passed=passed,
        )
        body = family.rebody(response, (), rest=recording)
        body.orphans = inside.orphans
        if flight is not None and flight.followed and not endless(response):
            await body.load(self._memory, lambda: flight.followed)
        handed_over = True
        if not recording.keeping:
            flights.land(key, flight)
        elif flight is not None:
            flight.stream(self._monotonic())
        return stored

    def store_now(self, trip: Trip[Q], entry: Entry, flight: Flight | None) -> bool | None:
        """As `store`, without an await; None where there has to be one."""
        stored = None if entry.status == PARTIAL else self._shelf.put_now(entry, trip.mark)
        if stored is not None:
            self._flights.land(trip.key, flight, entry)
            self._counts.stored += stored
        return stored

    async def store(self, trip: Trip[Q], entry: Entry, flight: Flight | None, *, joining: bool = True) -> bool:
        """True if it was stored; a part is first joined to what there is, unless it has come from there."""
        try:
            if joining and entry.status == PARTIAL:
                stored = await self._parts.join(trip.request, trip.url, entry, trip.mark)
            else:
                stored = await self._shelf.put(entry, trip.mark)
        finally:
            # Also if the store is full or down: the answer is whole, and those who wait asked before it came.
            self._flights.land(trip.key, flight, entry)
        self._counts.stored += stored
        return stored

    async def _store_spooled(self, trip: Trip[Q], entry: Entry, spool: Spool, flight: Flight | None) -> bool:
        stored = None
        try:
            stored = await spool.finish(entry, trip.mark)
        finally:
            self._flights.land(trip.key, flight, stored)  # without it, those who wait go their own way
        self._counts.stored += stored is not None
        return stored is not None


def endless(response: ResponseLike) -> bool:
    """Whether the body may go on for ever: events and lines without a declared length."""
    head = read_head(fields_of(response.headers))
    return head.length is None and is_stream(head, response.status_code)


def _declared(fields: Fields, response: ResponseLike) -> int | None:
    """As `declared_length`, which need not look where it is one whole number."""
    value = fields.get(b"content-length")
    return delta_seconds(value) if value is None or value.isdigit() else declared_length(response.headers.raw)


async def _content(response: R, family: Family[Q, R], length: int | None) -> bytes | None:
    """Wire bytes of a response that was made, or read, before it came to us; None if they are gone.

    A mock transport's response can be read again. Others cannot, which shows by an error or by the length.
    """
    body = family.body(response)
    try:
        chunks, _ = await read_body(body, length or 0, lambda: True)
    except Exception:  # of whatever stream stands there; the caller has the body in any case
        return None
    finally:
        await body.aclose()
    whole = b"".join(chunks)
    return whole if len(whole) == length else None
