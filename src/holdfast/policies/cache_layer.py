"""One request through the cache: what is stored is looked at, and the origin asked where it must be.

The decisions are in `holdfast.core.caching`; here they are carried out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final, Generic, Literal

import anyio

from holdfast._families import fields_of
from holdfast._wire import AROUND_ATTEMPT, Family, Handler, Q, R, RequestLike
from holdfast.call import CALL, DEFAULT_OPTIONS, Call, Options
from holdfast.core.caching import cache_status
from holdfast.core.caching.directives import NO_REQUEST_DIRECTIVES, RequestDirectives
from holdfast.core.caching.entry import Entry
from holdfast.core.caching.fields import Fields
from holdfast.core.caching.groups import group_tag_within, read_groups
from holdfast.core.caching.invalidation import SAFE_METHODS, invalidated
from holdfast.core.caching.key import CERTIFICATE, EVERYBODY, Identity, key_of_target, origin_of, target
from holdfast.core.caching.reach import Reach
from holdfast.core.caching.request import NO_RULE, Ask, Terms, ask_of
from holdfast.core.caching.reuse import (
    HEEDED,
    Bypass,
    Complete,
    Fresh,
    Meanwhile,
    Miss,
    Unsatisfiable,
    Validate,
    Why,
    decide,
)
from holdfast.core.caching.rules import CacheRule, without_query
from holdfast.errors import Refused
from holdfast.policies._aside import close
from holdfast.policies.cache_fetch import Fetches
from holdfast.policies.cache_keep import Trip
from holdfast.policies.cache_refresh import Refreshes
from holdfast.policies.cache_state import Answers, Found, Shared, passed_on, unsatisfied

__all__ = ["CacheLayer"]

_ASKED: Final = ""
"""Why the cache keeps out of a request whose caller said so: that needs no explanation."""
_AROUND: Final = frozenset((AROUND_ATTEMPT, "target"))
"""Extensions of a request that may keep the cache out."""


class CacheLayer(Generic[Q, R]):
    """The cache of one transport, in front of ``inner``. See `holdfast.policies.cache.Cache`.

    A request of the caller's is never written to; a response from the store is a new one each time. Cancellation
    closes what was opened, and hands a fetch that others wait for to one of them.
    """

    def __init__(self, inner: Handler[Q, R], family: Family[Q, R], shared: Shared) -> None:
        self._inner = inner
        self._family = family
        self._policy = shared.policy
        self._shared = shared
        self._shelf = shared.shelf
        self._monotonic = shared.clock.monotonic
        self._counts = shared.counts
        self._rules = shared.rules
        self._signed = shared.signed
        self._everybody = shared.policy.shared
        self._lookup = shared.shelf.lookup or _nothing_at_once
        self._answers = Answers(family, shared.shelf)
        fetches = Fetches(inner, family, shared, self._answers)
        self._fetch = fetches.fetch
        self._first = fetches.first
        self._under_way = shared.flights.find
        self._refresh = Refreshes(fetches, family, shared).begin
        self._identified(shared.identity)

    def find(self, ask: Ask, url: str, options: Options, limit: int | None, *, signed: bool) -> Found[Q, R] | None:
        """What answers a request at once, as `handle` would; None where that would wait, or do anything else.

        ``url`` is as `target` gives it; ``limit`` is the cap on a decoded body; ``signed``: the request would have
        something around its attempts. Nothing is counted yet: see `give`.
        """
        shelf, identity = self._shelf, self._shared.identity
        if identity is None or shelf.lookup is None or shelf.owed:
            return None
        rule = None if self._rules is None else self._rules.find(url, options.operation, options.template)
        if options.cache is not None:
            ask = _asked(ask, options.cache)
        if self._barred(ask.fields, options, url, rule, signed) is not None:
            return None
        url, key = self._keyed(ask, url, options, identity, rule)
        entries = shelf.lookup(key)
        if not entries:
            return None
        reuse = decide(ask, key, entries, now=self._monotonic(), policy=self._policy, identity=identity)
        return self._answers.find(ask, reuse.entry, reuse.age, limit) if isinstance(reuse, Fresh) else None

    def give(self, found: Found[Q, R], call: Call) -> None:
        """Count what was found, and note in its call's record that this is the answer."""
        left = found.entry.lifetime - found.age
        call.cache_status = cache_status.hit(left).parameters.copy()
        self._given(call, found.age, left)
        found.call = call

    def handle(self, request: Q) -> Awaitable[R]:
        method, extensions, identity = request.method, request.extensions, self._plain
        call: Call = extensions[CALL]
        if (  # nobody says anything that the cache would have to heed: most requests
            method == "GET"
            and identity is not None
            and call.options is DEFAULT_OPTIONS
            and not self._shelf.owed
            and (call.owner is None or call.owner.certificate is None)
            and _AROUND.isdisjoint(extensions)
            and HEEDED.isdisjoint(fields := fields_of(request.headers))
            and (url := target(str(request.url))).startswith(_origins(fields.get(b"host", b"")))
        ):
            key = key_of_target(url, EVERYBODY if self._everybody else identity.partition(fields))
            entries = self._lookup(key)
            if entries is not None:
                ask = Ask("GET", fields, NO_REQUEST_DIRECTIVES)
                if not entries and self._under_way(key) is None:
                    return self._first(request, call, ask, key, url, identity, "uri-miss")
                return self._looked_up(request, call, ask, key, url, identity, None, entries)
        if method != "GET" and method != "HEAD":
            return self._change(request, call)
        return self._heeding(request, call)

    async def _heeding(self, request: Q, call: Call) -> R:
        """A GET or HEAD with all that a request, its options and a rule can say."""
        url, options = target(str(request.url)), call.options
        ask = _ask_of(request, call)
        rule = None if self._rules is None else self._rules.find(url, options.operation, options.template)
        if options.cache is not None:
            ask = _asked(ask, options.cache)
        reason = self._barred(ask.fields, options, url, rule, AROUND_ATTEMPT in request.extensions)
        if reason is None and "target" in request.extensions:  # another request target on the wire than the URL's
            reason = "target"
        if reason is not None:
            if ask.directives.only_if_cached and reason is not _ASKED:
                return unsatisfied(self._family, request, call, self._counts)
            return await self._around(request, call, "bypass", reason or None)
        identity = self._identity
        if identity is None:
            identity = await self._identify()
        url, key = self._keyed(ask, url, options, identity, rule)
        entries = await self._shelf.get(key, url)
        return await self._looked_up(request, call, ask, key, url, identity, rule, entries)

    async def _looked_up(
        self,
        request: Q,
        call: Call,
        ask: Ask,
        key: str,
        url: str,
        identity: Identity,
        rule: CacheRule | None,
        entries: Sequence[Entry],
    ) -> R:
        """What is stored for a request, or what it takes to get an answer."""
        reuse = decide(ask, key, entries, now=self._monotonic(), policy=self._policy, identity=identity)
        if isinstance(reuse, Fresh):
            entry, age = reuse.entry, reuse.age
            left = entry.lifetime - age
            told = cache_status.hit(left)
            response: R | None
            if isinstance(entry.body, bytes):
                response = self._answers.from_memory(request, ask, entry, entry.body, age, told)
            else:
                response = await self._answers.open(request, ask, entry, age, told)
            if response is not None:
                self._given(call, age, left)
                return response
            reuse = Unsatisfiable() if ask.directives.only_if_cached else Miss("uri-miss")  # its body is gone
        match reuse:
            case Miss() | Validate() | Complete():
                return await self._fetch(self._trip(request, call, ask, key, url, identity, rule), reuse)
            case Meanwhile(entry, age):
                trip = self._trip(request, call, ask, key, url, identity, rule)
                response = await self._meanwhile(trip, entry, age)
                return await self._fetch(trip, Validate(entry, "stale")) if response is None else response
            case Bypass(why):
                return await self._around(request, call, why)
            case Unsatisfiable():
                return unsatisfied(self._family, request, call, self._counts)

    async def stored(self, request: Q, past: float, *, instead_of: Literal["network", "error"]) -> R | None:
        """What is stored for a request, at most ``past`` seconds past its time; None if nothing may be given.

        What its caller asked about age is passed over. must-revalidate and no-cache of the answer are not: an error
        is what a cache without a connection has to give for those (RFC 9111 5.2.2.2, 5.2.2.4).
        """
        method = request.method
        call: Call = request.extensions[CALL]
        if method != "GET" and method != "HEAD":
            return None
        url, options = target(str(request.url)), call.options
        ask = _ask_of(request, call)
        rule = None if self._rules is None else self._rules.find(url, options.operation, options.template)
        if "target" in request.extensions:
            return None
        if self._barred(ask.fields, options, url, rule, AROUND_ATTEMPT in request.extensions) is not None:
            return None
        if ask.directives.no_store:
            return None
        ask.directives = RequestDirectives(max_stale=past)
        identity = await self._shared.identify()
        url, key = self._keyed(ask, url, options, identity, rule)
        entries = await self._shelf.get(key, url)
        reuse = decide(ask, key, entries, now=self._monotonic(), policy=self._policy, identity=identity)
        if not isinstance(reuse, Fresh):
            return None
        entry, age = reuse.entry, reuse.age
        left = entry.lifetime - age
        told = cache_status.hit(left, detail="offline" if instead_of == "network" else "fallback")
        response = await self._answers.open(request, ask, entry, age, told)
        if response is not None:
            self._counts.hits += 1
            self._counts.stale += left <= 0
            call.age = age
            if instead_of == "network":
                self._counts.offline += 1
                call.source, call.cache, call.reason = "cache", "offline", "offline"
            else:
                self._counts.instead_of_error += 1
                call.cache = "hit" if left > 0 else "stale"
        return response

    async def _meanwhile(self, trip: Trip[Q], entry: Entry, age: float) -> R | None:
        """The stale entry, with the origin asked about it in the background; None where that cannot be done."""
        told = cache_status.hit(entry.lifetime - age, detail="stale-while-revalidate")
        response = await self._answers.open(trip.request, trip.ask, entry, age, told)
        if response is None:
            return None
        if not self._refresh(trip, entry):
            await close(response)
            return None
        self._counts.hits += 1
        self._counts.stale += 1
        trip.call.source, trip.call.cache, trip.call.age = "cache", "stale", age
        return response

    def _trip(
        self, request: Q, call: Call, ask: Ask, key: str, url: str, identity: Identity, rule: CacheRule | None
    ) -> Trip[Q]:
        if rule is not None or call.options is not DEFAULT_OPTIONS:
            ask = replace(ask, terms=_terms(call.options, rule))
        return Trip(request, call, ask, key, url, identity, self._shelf.mark)

    async def _identify(self) -> Identity:
        identity = await self._shared.identify()
        self._identified(self._shared.identity)
        return identity

    def _identified(self, identity: Identity | None) -> None:
        """It is known by now how people are told apart, or it is not."""
        self._identity = identity
        # Neither a rule nor a hook can say anything of a request that is not to be seen in it.
        self._plain = identity if self._rules is None and not self._signed else None

    def _given(self, call: Call, age: float, left: float) -> None:
        """An answer from the store, with ``left`` seconds of its lifetime, is what a call gets."""
        self._counts.hits += 1
        if left <= 0:
            self._counts.stale += 1
        call.source, call.cache, call.age = "cache", "hit" if left > 0 else "stale", age

    def _keyed(
        self, ask: Ask, url: str, options: Options, identity: Identity, rule: CacheRule | None
    ) -> tuple[str, str]:
        """The URL as a rule wants it, and the key under which answers to it are kept."""
        partition = EVERYBODY if self._everybody else identity.partition(ask.fields, options.identity)
        if rule is not None:
            url = without_query(url, rule.ignore_query) if rule.ignore_query else url
            partition = identity.divided(partition, ask.fields, rule.key_headers)
        return url, key_of_target(url, partition)

    def _barred(self, fields: Fields, options: Options, url: str, rule: CacheRule | None, signed: bool) -> str | None:
        """Why the cache must keep out, for reasons that the request's cache directives know nothing of.

        ``signed``: this request brings something along that may sign its attempts, as hooks do for all of them.
        """
        if options.cache == "bypass":
            return _ASKED
        if rule is not None and rule.never:
            return "rule"
        if (signed or self._signed) and (self._everybody or options.identity is None):
            return "signed by a hook"  # whose answer it will be is not known yet
        if self._everybody and CERTIFICATE in fields:
            return "certificate"
        host = fields.get(b"host")
        # A Host of the caller's own names another resource than the URL does, and the key holds the URL.
        if host is not None and not url.startswith(_origins(host)):
            return "host"
        return None

    async def _change(self, request: Q, call: Call) -> R:
        """A method that is not cached; one that is unsafe removes what it makes worthless."""
        method, options = request.method, call.options
        if options.cache == "only":
            return unsatisfied(self._family, request, call, self._counts)
        if method in SAFE_METHODS:
            return await self._around(request, call, "method")
        url = target(str(request.url))
        rule = None if self._rules is None else self._rules.find(url, options.operation, options.template)
        ours = (*(options.invalidates or ()), *(() if rule is None else rule.invalidates))
        try:
            response = await self._inner(request)
        except BaseException as error:
            if call.sends or not isinstance(error, Refused):
                # Nobody knows whether it was done, so what is stored may be out of date.
                with anyio.CancelScope(shield=True):
                    await self._purge(url, [url], ours)
            raise
        try:
            fields = fields_of(response.headers)
            worthless = invalidated(method, url, response.status_code, fields)
            # What the origin itself names is worthless, whatever became of the request.
            named = read_groups(fields.get(b"cache-group-invalidation"))
            if worthless or named:
                await self._purge(url, worthless, named + ours if worthless else named)
        except BaseException:
            await close(response)
            raise
        return passed_on(response, call, self._counts, cache_status.forwarded("method"), "bypass")

    async def _purge(self, url: str, urls: Sequence[str], groups: tuple[str, ...]) -> None:
        """Remove the answers of ``urls``, and of the groups within the origin of ``url``."""
        rules, origin = self._rules, origin_of(url)
        spelled = [spelling for one in urls for spelling in ((one,) if rules is None else rules.spellings(one))]
        reaches = [Reach("url", spelling) for spelling in spelled]
        reaches += [Reach("tag", group_tag_within(origin, group)) for group in dict.fromkeys(groups)]
        await self._shelf.purge(reaches)

    async def _around(self, request: Q, call: Call, why: Why, detail: str | None = None) -> R:
        response = await self._inner(request)
        return passed_on(response, call, self._counts, cache_status.forwarded(why, detail), "bypass")


def _ask_of(request: RequestLike, call: Call) -> Ask:
    ask = ask_of(request.method, fields_of(request.headers))
    if call.owner is not None and call.owner.certificate is not None:
        ask.fields = {**ask.fields, CERTIFICATE: call.owner.certificate}
    return ask


def _nothing_at_once(key: str) -> None:
    """The look-up of a store that has to be waited for."""


@lru_cache(maxsize=64)
def _origins(host: bytes) -> tuple[str, ...]:
    """How a URL begins if this is its Host."""
    authority = host.decode("latin-1").lower()
    return f"http://{authority}/", f"https://{authority}/"


def _asked(ask: Ask, option: str | Mapping[str, float]) -> Ask:
    """The request with what its caller asked of us besides."""
    if option == "only":
        return replace(ask, directives=replace(ask.directives, only_if_cached=True))
    if option == "refresh":
        return replace(ask, directives=replace(ask.directives, no_cache=True))
    return ask


def _terms(options: Options, rule: CacheRule | None) -> Terms:
    """What the user wants done with the answer that is fetched now."""
    return Terms(
        ttl=None if options.cache is None or isinstance(options.cache, str) else float(options.cache["ttl"]),
        rule=NO_RULE if rule is None else rule,
        groups=tuple(options.cache_groups or ()),
        operation=options.operation,
    )
