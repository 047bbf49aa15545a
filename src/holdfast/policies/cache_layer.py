"""One request through the cache: what is stored is looked at, and the origin asked where it must be.

The decisions are in `holdfast.core.caching`; here they are carried out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Generic

import anyio

from holdfast._wire import Family, Handler, Q, R
from holdfast.call import CALL, Call
from holdfast.core.caching import cache_status
from holdfast.core.caching.fields import Fields, combine
from holdfast.core.caching.invalidation import SAFE_METHODS, invalidated
from holdfast.core.caching.key import NOBODY, Identity, primary_key, target
from holdfast.core.caching.request import Ask, read_ask
from holdfast.core.caching.reuse import Bypass, Fresh, Miss, Unsatisfiable, Why, decide
from holdfast.errors import Refused
from holdfast.policies.cache_fetch import Fetches, Trip, close
from holdfast.policies.cache_state import Shared, answered, from_entry, passed_on, unsatisfied

__all__ = ["CacheLayer"]


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
        self._identity = shared.identity
        self._shelf = shared.shelf
        self._monotonic = shared.clock.monotonic
        self._counts = shared.counts
        self._signed = shared.signed
        self._everybody = shared.policy.shared
        self._fetch = Fetches(inner, family, shared).fetch

    async def handle(self, request: Q) -> R:
        method = request.method
        call: Call = request.extensions[CALL]
        if method != "GET" and method != "HEAD":
            return await self._change(request, call)
        url = target(str(request.url))
        ask = read_ask(method, request.headers.raw)
        options = call.options
        if self._barred(request, call, ask.fields, url):
            return await self._around(request, call, "bypass")
        if options.cache is not None:
            ask = _asked(ask, options.cache)
        identity = self._identity
        if identity is None:
            identity = await self._identify()
        partition = NOBODY if self._everybody else identity.partition(ask.fields, options.identity)
        key = primary_key(method, url, partition)
        shelf = self._shelf
        if shelf.lookup is None or shelf.owed:
            entries = await shelf.get(key, url)
        else:
            entries = shelf.lookup(key)
        reuse = decide(ask, key, entries, now=self._monotonic(), policy=self._policy, identity=identity)
        if isinstance(reuse, Fresh):
            entry, age = reuse.entry, reuse.age
            left = entry.lifetime - age
            member = cache_status.hit(left)
            response: R | None
            if isinstance(entry.body, bytes):
                response = from_entry(self._family, request, ask, entry, age, member)
            else:
                response = await answered(shelf, self._family, request, ask, entry, age, member)
            if response is not None:
                self._counts.hits += 1
                call.source, call.cache = "cache", "hit" if left > 0 else "stale"
                return response
            reuse = Unsatisfiable() if ask.directives.only_if_cached else Miss("uri-miss")  # its body is gone
        match reuse:
            case Bypass(why):
                return await self._around(request, call, why)
            case Unsatisfiable():
                return unsatisfied(self._family, request, call)
            case _:
                return await self._fetch(Trip(request, call, ask, key, url, identity), reuse)

    async def _identify(self) -> Identity:
        identity = await self._shared.identify()
        self._identity = self._shared.identity
        return identity

    def _barred(self, request: Q, call: Call, fields: Fields, url: str) -> bool:
        """Whether the cache must keep out, for reasons that the request's cache directives know nothing of."""
        if call.options.cache == "bypass":
            return True
        if self._signed and (self._everybody or call.options.identity is None):
            return True  # whose answer it will be is not known yet
        if "target" in request.extensions:  # another request target on the wire than the URL's
            return True
        host = fields.get(b"host")
        # A Host of the caller's own names another resource than the URL does, and the key holds the URL.
        return host is not None and not url.startswith(f"{host.decode('latin-1').lower()}/", url.find("//") + 2)

    async def _change(self, request: Q, call: Call) -> R:
        """A method that is not cached; one that is unsafe removes what it makes worthless."""
        method = request.method
        if method in SAFE_METHODS:
            return await self._around(request, call, "method")
        url = target(str(request.url))
        try:
            response = await self._inner(request)
        except BaseException as error:
            if call.sends or not isinstance(error, Refused):
                # Nobody knows whether it was done, so what is stored may be out of date.
                with anyio.CancelScope(shield=True):
                    await self._shelf.purge(url)
            raise
        try:
            worthless = invalidated(method, url, response.status_code, combine(response.headers.raw))
            for other in worthless:
                await self._shelf.purge(other)
        except BaseException:
            await close(response)
            raise
        return passed_on(response, call, self._counts, cache_status.forwarded("method"), "bypass")

    async def _around(self, request: Q, call: Call, why: Why) -> R:
        response = await self._inner(request)
        return passed_on(response, call, self._counts, cache_status.forwarded(why), "bypass")


def _asked(ask: Ask, option: str | Mapping[str, float]) -> Ask:
    """The request with what its caller asked of us besides."""
    if not isinstance(option, str):
        return replace(ask, ttl=float(option["ttl"]))
    if option == "only":
        return replace(ask, directives=replace(ask.directives, only_if_cached=True))
    return replace(ask, directives=replace(ask.directives, no_cache=True))
