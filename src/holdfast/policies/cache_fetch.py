"""What the store could not answer: ask the origin, together with others who want the same, or about what is stored."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final, Generic, Protocol, TypeAlias, cast

from holdfast._families import append_field, fields_of
from holdfast._wire import Family, Handler, Q, R
from holdfast.call import Call
from holdfast.core.caching import cache_status, parts
from holdfast.core.caching.entry import Entry, Exchange
from holdfast.core.caching.fields import Headers
from holdfast.core.caching.freshness import current_age
from holdfast.core.caching.key import Identity
from holdfast.core.caching.parts import PARTIAL, Completed, completing, judge_rest
from holdfast.core.caching.ranges import Span
from holdfast.core.caching.request import Ask
from holdfast.core.caching.reuse import Complete, Fresh, Miss, Validate, Why, decide
from holdfast.core.caching.stale import ERRORS, Trouble, if_error
from holdfast.core.caching.storing import forbidden
from holdfast.core.caching.validation import (
    Mismatch,
    Superseded,
    Untouched,
    Updated,
    Verdict,
    conditions,
    is_conditional,
    judge_answer,
    unchanged,
    with_conditions,
)
from holdfast.errors import DeadlineExceeded, Refused
from holdfast.policies._aside import close
from holdfast.policies.cache_keep import Keeping, Trip
from holdfast.policies.cache_ranges import filled
from holdfast.policies.cache_stale import in_place_of, trouble_of
from holdfast.policies.cache_state import Answers, Shared, passed_on
from holdfast.policies.coalesce import Flight

__all__ = ["Fetches"]


# What is asked for a part, or only if it is new, would be of no use to others.
_NOT_FOR_ALL: Final = frozenset((b"range", b"if-none-match", b"if-modified-since"))

Lacking: TypeAlias = Miss | Validate | Complete
"""Why what is stored is no answer."""


class Fetches(Generic[Q, R]):
    """The fetches of one transport. Whatever way one ends, nobody is left waiting for it, and nothing stays open."""

    def __init__(self, inner: Handler[Q, R], family: Family[Q, R], shared: Shared, answers: Answers[Q, R]) -> None:
        self._inner = inner
        self._family = family
        self._answers = answers
        self._policy = shared.policy
        self._shelf = shared.shelf
        self._keeping = Keeping(family, shared)
        self._flights = shared.flights
        self._clock = shared.clock
        self._monotonic = shared.clock.monotonic
        self._counts = shared.counts

    def fetch(self, trip: Trip[Q], reuse: Lacking) -> Awaitable[R]:
        """Ask the origin, alone or together with others who want the same."""
        ask, key = trip.ask, trip.key
        if ask.method != "GET" or not _NOT_FOR_ALL.isdisjoint(ask.fields) or self._flights.find(key) is not None:
            return self._together(trip, reuse)
        if isinstance(reuse, Miss):
            return self.first(trip.request, trip.call, ask, key, trip.url, trip.identity, reuse.why)
        return self.exchange(trip, reuse, self._flights.lead(key, self._shelf.mark))

    async def first(self, request: Q, call: Call, ask: Ask, key: str, url: str, identity: Identity, why: Why) -> R:
        """A GET of the whole, of which nothing is stored, and nobody asks yet.

        Most such answers may not be stored, so until that is known nothing is made but a mark for those who come next.
        """
        mark = self._shelf.mark
        flight = self._flights.lead(key, mark)
        response = None
        try:
            began, earlier = self._monotonic(), len(call.attempts)
            response = await self._inner(request)
            status, fields = response.status_code, fields_of(response.headers)
            reason = None if status == PARTIAL else forbidden(ask, status, fields, self._policy)
            if reason is None:
                trip = Trip(request, call, ask, key, url, identity, mark, mark=mark)
                entry = self._keeping.entered(trip, response, self._came(call, began, earlier), fields)
                if isinstance(entry, Entry):
                    return await self._keeping.pass_on(trip, response, entry, fields, why, flight)
                reason = entry
            self._flights.land(key, flight)
            return passed_on(response, call, self._counts, cache_status.forwarded(why, reason), "miss", fields)
        except BaseException as error:
            if response is not None:
                await close(response)
            self._lost(key, call, flight, error)
            if isinstance(error, Refused) and not isinstance(error, self._family.transport_error):
                raise self._family.refusal(error, request) from None
            raise

    async def _together(self, trip: Trip[Q], reuse: Lacking) -> R:
        flights, ask = self._flights, trip.ask
        if ask.method != "GET" or b"range" in ask.fields:  # a part of the answer would be of no use to others
            return await self.exchange(trip, reuse, None)
        flight = flights.find(trip.key)
        if flight is not None and not self._shelf.changed(trip.url, flight.mark):
            if ask.directives.no_cache or flight.read_here:
                return await self.exchange(trip, reuse, None)
            try:
                leads = await flights.wait(trip.key, flight, trip.call)
            except Refused as error:
                instead = await self._in_place_of(error, trip, reuse)
                if instead is None:
                    raise
                return instead
            if not leads:
                answer = await self._with_others(trip, reuse, flight)
                return await self.exchange(trip, reuse, None) if answer is None else answer
        elif isinstance(reuse, Miss) and is_conditional(ask):
            return await self.exchange(trip, reuse, None)  # a 304 for the caller would be of no use to others
        else:
            flight = flights.lead(trip.key, self._shelf.mark)
        return await self.exchange(trip, reuse, flight)

    async def _in_place_of(self, error: BaseException, trip: Trip[Q], reuse: Lacking) -> R | None:
        """The stored answer, if somebody allowed it in place of an error.

        Raises a refusal that the library does not know yet as one that it does.
        """
        if not isinstance(error, (Refused, self._family.transport_error)):
            return None
        trouble = trouble_of(error, trip.call, self._family)
        instead = None if trouble is None else await self._instead(trip, reuse, trouble)
        if instead is None and isinstance(error, Refused) and not isinstance(error, self._family.transport_error):
            raise self._family.refusal(error, trip.request) from None
        return instead

    def _lost(self, key: str, call: Call, flight: Flight, error: BaseException) -> None:
        """The leader has no answer for those who wait: one of them leads, or all go their own way."""
        if not isinstance(error, Exception) or self._is_callers_own(error, call):
            self._flights.leave(key, flight)
            return
        if isinstance(error, (Refused, self._family.transport_error)):
            flight.trouble = trouble_of(error, call, self._family)
        self._flights.land(key, flight)

    def _is_callers_own(self, error: Exception, call: Call) -> bool:
        """Whether it ended because the caller had no more time: that says nothing about the origin."""
        if isinstance(error, DeadlineExceeded):
            return True
        return call.deadline is not None and call.deadline <= self._monotonic()

    async def _with_others(self, trip: Trip[Q], reuse: Lacking, flight: Flight) -> R | None:
        """What another caller's fetch, now over, means for this one; None if it has to ask itself."""
        if flight.entry is not None:
            return await self._collapsed(trip, flight.entry, reuse.why)
        if flight.trouble is not None:  # the origin is not helped by hearing it from everybody
            return await self._instead(trip, reuse, flight.trouble, collapsed=True)
        return None

    async def _instead(self, trip: Trip[Q], reuse: Lacking, trouble: Trouble, *, collapsed: bool = False) -> R | None:
        """The stored answer in place of an error, if somebody allowed that (RFC 5861 4)."""
        if not isinstance(reuse, Validate) or not trip.attended:
            return None
        if self._shelf.changed(trip.url, trip.found, reuse.entry.tags):
            return None
        entry, age = reuse.entry, current_age(reuse.entry, self._monotonic())
        if not if_error(trip.ask, entry, age, self._policy):
            return None
        told = in_place_of(trouble, entry.lifetime - age, collapsed=collapsed)
        answer = await self._answers.open(trip.request, trip.ask, entry, age, told)
        if answer is not None:
            self._counts.hits += 1
            self._counts.stale += age >= entry.lifetime
            self._counts.instead_of_error += 1
            call = trip.call
            call.source, call.cache, call.reason, call.age = "cache", "stale", trouble.reason, age
        return answer

    async def _collapsed(self, trip: Trip[Q], entry: Entry, why: Why) -> R | None:
        """The answer that another caller fetched, if it may be this one's too (RFC 9111 4, collapsed requests).

        It may if it was fresh when it came: while its body was on its way it grew old for its first caller as well.
        """
        reuse = decide(
            trip.ask,
            trip.key,
            (entry,),
            now=entry.response_time,
            policy=self._policy,
            identity=trip.identity,
        )
        if not isinstance(reuse, Fresh):
            return None
        age = current_age(entry, self._monotonic())
        told = cache_status.forwarded(why, collapsed=True)
        answer = await self._answers.open(trip.request, trip.ask, entry, age, told)
        if answer is not None:
            self._counts.collapsed += 1
            trip.call.source, trip.call.cache, trip.call.age = "cache", "collapsed", age
        return answer

    def exchange(self, trip: Trip[Q], reuse: Lacking, flight: Flight | None) -> Awaitable[R]:
        """Send the request, conditional if there is something to validate, and make use of the answer.

        For all who wait for ``flight``, or come to do so.
        """
        trip.mark = self._shelf.mark
        if flight is not None:
            flight.mark = trip.mark
        return self._get(trip, reuse, flight) if isinstance(reuse, Miss) else self._validate(trip, reuse, flight)

    async def _get(self, trip: Trip[Q], reuse: Miss, flight: Flight | None) -> R:
        response = None
        try:
            response, exchange = await self._send(trip.request, trip.call)
            return await self._keeping.keep(trip, response, exchange, reuse.why, flight)
        except BaseException as error:
            await self._give_up(trip, flight, response, error)
            instead = await self._in_place_of(error, trip, reuse)
            if instead is None:
                raise
            return instead

    async def _validate(self, trip: Trip[Q], reuse: Validate | Complete, flight: Flight | None) -> R:
        old, why, response = reuse.entry, reuse.why, None
        gap = reuse.gap if isinstance(reuse, Complete) else None
        try:
            added = conditions(old) if gap is None else completing(old, gap)
            request = self._conditional(trip, added) if added else trip.request
            began, earlier = self._monotonic(), len(trip.call.attempts)
            response = await self._inner(request)
            exchange = self._came(trip.call, began, earlier)
            verdict = self._verdict(trip, old, response, exchange, conditional=bool(added), gap=gap)
            if isinstance(verdict, Mismatch):
                await _discard(response, self._family)
                response, exchange = await self._send(trip.request, trip.call)
                verdict = self._verdict(trip, old, response, exchange, conditional=False)
            match verdict:
                case Updated(entry, keep):
                    answer = await self._updated(trip, response, entry, why, flight, keep=keep)
                    if answer is not None:
                        return answer
                    response, exchange = await self._send(trip.request, trip.call)
                    return await self._keeping.keep(trip, response, exchange, why, flight)
                case Completed():
                    whole = await filled(self._shelf, self._family, trip.request, old, verdict, response)
                    if whole is not None:
                        response = whole
                        return await self._keeping.keep(trip, response, exchange, why, flight, sent=PARTIAL)
                    await close(response)
                    response, exchange = await self._send(trip.request, trip.call)
                    return await self._keeping.keep(trip, response, exchange, why, flight)
                case Superseded(remove):
                    return await self._keeping.keep(trip, response, exchange, why, flight, remove=remove)
                case Untouched() | Mismatch():
                    instead = await self._in_trouble(trip, reuse, response.status_code, flight)
                    if instead is not None:
                        await close(response)
                        return instead
                    return passed_on(response, trip.call, self._counts, cache_status.forwarded(why), "miss")
        except BaseException as error:
            await self._give_up(trip, flight, response, error)
            instead = await self._in_place_of(error, trip, reuse)
            if instead is None:
                raise
            return instead

    async def _give_up(self, trip: Trip[Q], flight: Flight | None, response: R | None, error: BaseException) -> None:
        """Nothing of an exchange stays open, and nobody waits for it."""
        if response is not None:
            await close(response)
        if flight is not None:
            self._lost(trip.key, trip.call, flight, error)

    async def _in_trouble(
        self, trip: Trip[Q], reuse: Validate | Complete, status: int, flight: Flight | None
    ) -> R | None:
        """What is given in place of an answer that says nothing about the entry; None: that answer itself."""
        trouble = None if status not in ERRORS else Trouble(trip.call.reason or f"status_{status}", status)
        if flight is not None:
            flight.trouble = trouble
        self._flights.land(trip.key, flight)
        return None if trouble is None else await self._instead(trip, reuse, trouble)

    def _verdict(
        self,
        trip: Trip[Q],
        old: Entry,
        response: R,
        exchange: Exchange,
        *,
        conditional: bool,
        gap: Span | None = None,
    ) -> Verdict | Completed:
        if gap is None:
            if conditional and response.status_code == 304:
                fields = fields_of(response.headers)
                if (updated := unchanged(trip.ask, old, fields, exchange, self._policy)) is not None:
                    return updated
        else:
            rest = judge_rest(old, gap, response.status_code, response.headers.raw, exchange.wall)
            if rest is not None:
                return Mismatch() if response.is_closed else rest
            conditional = False
        return judge_answer(
            trip.ask,
            old,
            conditional=conditional,
            status=response.status_code,
            headers=response.headers.raw,
            exchange=exchange,
            policy=self._policy,
            identity=trip.identity,
        )

    async def _updated(
        self, trip: Trip[Q], response: R, entry: Entry, why: Why, flight: Flight | None, *, keep: bool
    ) -> R | None:
        """The stored answer holds: it, or a 200 to HEAD, is the answer.

        None if the store has lost its body, or its new fields make it no answer to this request.
        """
        answers = response.status_code == 304
        if answers:
            await _discard(response, self._family)
        if keep:
            now = self._keeping.store_now(trip, entry, flight)
            stored = await self._keeping.store(trip, entry, flight, joining=False) if now is None else now
        else:
            stored = False
            self._flights.land(trip.key, flight)
            await self._shelf.delete(trip.key)
        if not answers:
            return passed_on(response, trip.call, self._counts, cache_status.forwarded(why, stored=stored), "miss")
        if not parts.answers(trip.ask, entry):  # an If-Range holds now that did not, or the other way round
            return None
        told = cache_status.forwarded(why, status=304, stored=stored)
        age, body = current_age(entry, self._monotonic()), entry.body
        answer: R | None
        if isinstance(body, bytes):
            answer = self._answers.from_memory(trip.request, trip.ask, entry, body, age, told)
        else:
            answer = await self._answers.open(trip.request, trip.ask, entry, age, told)
        if answer is not None:
            self._counts.revalidated += 1
            trip.call.age = age
            trip.call.source = trip.call.cache = "revalidated"
        return answer

    async def _send(self, request: Q, call: Call) -> tuple[R, Exchange]:
        began, earlier = self._monotonic(), len(call.attempts)
        response = await self._inner(request)
        return response, self._came(call, began, earlier)

    def _came(self, call: Call, began: float, earlier: int) -> Exchange:
        """A response is here, to a request that was handed down at ``began``, after so many ``earlier`` attempts."""
        if len(call.attempts) > earlier:  # queues, backoffs and failed attempts make the answer no older
            began = call.attempts[-1][1]
        now = self._monotonic()
        return Exchange(request_time=began, response_time=now, wall=self._clock.wall())

    def _conditional(self, trip: Trip[Q], added: Headers) -> Q:
        """A request of ours, with our conditions in place of the caller's."""
        attempt = self._family.fresh_attempt(trip.request)
        headers = cast(_Editable, attempt.headers)  # those of both families are; to ask them takes 40 looks
        headers.encoding = "iso-8859-1"  # so that a validator's bytes go out as they came
        if is_conditional(trip.ask):
            kept = {name.lower() for name, _ in with_conditions(headers.raw, added)}
            for name in {name.lower() for name, _ in headers.raw} - kept:
                del headers[name.decode("latin-1")]
        for name, value in added:
            if name.lower() in trip.ask.fields:
                headers[name.decode("latin-1")] = value.decode("latin-1")
            else:
                append_field(headers, name, value)
        return attempt


class _Editable(Protocol):
    encoding: str

    @property
    def raw(self) -> list[tuple[bytes, bytes]]: ...
    def __setitem__(self, key: str, value: str) -> None: ...
    def __delitem__(self, key: str) -> None: ...


async def _discard(response: R, family: Family[Q, R]) -> None:
    """Read an answer without a body to its end, so that its connection can be used again, and close it."""
    if not response.is_closed:
        body = family.body(response)
        if not body.in_memory:
            await body.load(0)
            await body.aclose()
