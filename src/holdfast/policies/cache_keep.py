"""An answer of the origin's on its way to who asked: it is passed on, and stored if it may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from holdfast._families import fields_of
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
from holdfast.core.caching.storing import Objection, Storable, Unstorable, entered, forbidden
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
        reason = self.forbidden(trip.ask, trip.call, response.status_code, fields)
        if reason is None:
            judged = self.entered(trip, response, exchange, fields)
            if isinstance(judged, Storable):
                return await self.pass_on(trip, response, judged.entry, fields, why, flight, remove=remove, sent=sent)
            reason = judged.reason
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
        length = _declared(fields, response)
        stored, unstored = False, None
        if length is None or length <= self._policy.max_entry_bytes:
            stored = await self._take(trip, response, entry, length, flight)
        else:
            unstored = "too long"
            self._flights.land(trip.key, flight)
            if remove:
                await self._shelf.delete(trip.key)
        told = cache_status.forwarded(why, unstored, status=sent, stored=stored)
        return passed_on(response, trip.call, self._counts, told, "miss", fields)

    def forbidden(self, ask: Ask, call: Call, status: int, fields: Fields) -> Objection | None:
        """Why an answer must not be stored, as far as that can be told without making an entry of it."""
        if status == PARTIAL:
            return None  # a part is judged as the whole that it is of
        if status == 401 and call.options.identity is not None and ask.terms.lifetime(status) is None:
            return "status"  # it is about a token, which the identity outlives
        return forbidden(ask, status, fields, self._policy)

    def entered(self, trip: Trip[Q], response: R, exchange: Exchange, fields: Fields) -> Storable | Unstorable:
        """The entry of an answer that is not `forbidden`."""
        ask, status, policy, identity = trip.ask, response.status_code, self._policy, trip.identity
        if status == PARTIAL:
            return judge_part(ask, trip.key, response.headers.raw, exchange, policy, identity, fields)
        return entered(ask, trip.key, status, response.headers.raw, exchange, policy, identity, fields)

    async def _take(self, trip: Trip[Q], response: R, entry: Entry, length: int | None, flight: Flight | None) -> bool:
        """See to it that the body is stored; True if it is already.

        A body in memory is stored now. So is one that others wait for, read whole before the leader's call
        returns, unless it is too long for that, or of a kind that need not end. Any other is stored while the
        caller reads it.
        """
        family = self._family
        whole: bytes | None
        if response.is_closed:
            whole = await _content(response, family, length)
        elif (body := family.body(response)).in_memory:
            whole = body.peek()
        else:
            return await self._record(trip, response, entry, length, flight)
        if whole is None or len(whole) > self._policy.max_entry_bytes or length not in (None, len(whole)):
            self._flights.land(trip.key, flight)
            return False
        return await self.store(trip, entry.complete(whole), flight)

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

    async def store(self, trip: Trip[Q], entry: Entry, flight: Flight | None, *, joining: bool = True) -> bool:
        """True if it was stored; a part is first joined to what there is, unless it has come from there."""
        try:
            if joining and entry.status == PARTIAL:
                stored = await self._parts.join(trip.request, trip.url, entry, trip.mark)
            else:
                now = self._shelf.put_now(entry, trip.mark)
                stored = await self._shelf.put(entry, trip.mark) if now is None else now
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
    head = read_head(response.headers.raw)
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
