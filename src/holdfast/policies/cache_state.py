"""What the transports of one pipeline share of the cache, and the responses that it makes or hands on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from holdfast._wire import Family, Q, R
from holdfast.call import CALL, Call
from holdfast.clock import Clock
from holdfast.core.caching import cache_status
from holdfast.core.caching.entry import Blob, Entry
from holdfast.core.caching.key import Identity
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.request import Ask
from holdfast.core.caching.rules import Rules
from holdfast.core.caching.validation import is_conditional, not_modified, not_modified_headers
from holdfast.policies.cache_blob import Reading
from holdfast.policies.cache_store import Shelf
from holdfast.policies.coalesce import Flights

__all__ = ["Counts", "Shared", "answered", "from_entry", "passed_on", "unsatisfied"]

_STATUS_FIELD: Final = cache_status.NAME.decode("ascii")
_LOWER_STATUS_FIELD: Final = cache_status.NAME.lower()


@dataclass(slots=True)
class Counts:
    """How calls were answered since the pipeline was made; those before ``stale`` add up to the answers."""

    hits: int = 0  # from the store, without the origin
    revalidated: int = 0  # from the store, after the origin said that it holds
    collapsed: int = 0  # with what another call was fetching
    misses: int = 0  # by the origin
    bypassed: int = 0  # by the origin, past the cache
    unsatisfied: int = 0  # with a 504 of our own, because the origin was not to be asked
    stale: int = 0  # of the hits, those past their lifetime
    instead_of_error: int = 0  # of the hits, those given because the origin could not
    offline: int = 0  # of the hits, those while the pipeline was offline
    stored: int = 0
    failed_refreshes: int = 0  # in the background


@dataclass(slots=True, kw_only=True)
class Shared:
    """What all transports of a pipeline share of the cache. One event loop at a time."""

    policy: CachePolicy
    identity: Identity | None  # None until the store, which keeps its secret, was asked for it
    stand_in: Identity  # for as long as it cannot say: an answer under it is found by nobody else
    shelf: Shelf
    spill_bytes: int
    flights: Flights
    clock: Clock
    deadline: float | None  # seconds for a fetch in the background
    rules: Rules | None
    signed: bool  # an attempt hook may add a credential that the cache cannot see
    counts: Counts = field(default_factory=Counts)

    async def identify(self) -> Identity:
        """The identity by the secret that the store keeps, or the stand-in if the store is in trouble."""
        keeper = self.shelf.keeps_secret
        if self.identity is None and keeper is not None:

            async def load() -> Identity:
                return Identity.of(self.policy, await keeper.secret())

            self.identity = await self.shelf.run(load)
        return self.identity or self.stand_in


def from_entry(
    family: Family[Q, R],
    request: Q,
    ask: Ask,
    entry: Entry,
    age: float,
    told: cache_status.Told,
    reading: Reading | None = None,
) -> R:
    """A response from what is stored; ``reading`` is its body if that is a `Blob` and the answer has one."""
    body: bytes | Blob
    if is_conditional(ask) and not_modified(ask, entry):
        status, headers, body = 304, not_modified_headers(entry), b""
    else:
        status, headers = entry.status, entry.headers
        body = b"" if ask.method == "HEAD" else entry.body
    headers.append((b"Age", b"%d" % int(age)))
    headers.append((cache_status.NAME, cache_status.member(told)))
    call: Call = request.extensions[CALL]
    call.cache_status = told
    if isinstance(body, bytes):
        return family.response(request, status, headers, body)
    assert reading is not None, "a long body is opened first; see `answered`"
    response = family.response(request, status, headers, b"", rest=reading)
    family.body(response).orphans = reading.shelf.orphans
    return response


async def answered(
    shelf: Shelf, family: Family[Q, R], request: Q, ask: Ask, entry: Entry, age: float, told: cache_status.Told
) -> R | None:
    """As `from_entry`, whatever its body is; None if that cannot be read any more."""
    reading = None
    if not isinstance(entry.body, bytes) and ask.method != "HEAD" and not not_modified(ask, entry):
        reading = await Reading.open(shelf, entry, family, request)
        if reading is None:
            return None
    return from_entry(family, request, ask, entry, age, told, reading)


def unsatisfied(family: Family[Q, R], request: Q, call: Call, counts: Counts) -> R:
    """The answer to a request that wants nothing but a stored one (RFC 9111 5.2.1.7)."""
    counts.unsatisfied += 1
    call.source, call.cache = "cache", "unsatisfiable"
    call.cache_status = cache_status.neither("only-if-cached")
    headers = [(b"Content-Length", b"0"), (cache_status.NAME, cache_status.member(call.cache_status))]
    return family.response(request, 504, headers, b"")


def passed_on(response: R, call: Call, counts: Counts, told: cache_status.Told, cache: str) -> R:
    """An answer of the origin's, with our word on it after those of the caches before us (RFC 9211 2)."""
    if cache == "bypass":
        counts.bypassed += 1
    else:
        counts.misses += 1
    call.cache, call.cache_status = cache, told
    headers, text = response.headers, cache_status.member(told).decode("ascii")
    for name, _ in headers.raw:  # a look-up by name that finds nothing costs twice as much
        if len(name) == len(_STATUS_FIELD) and name.lower() == _LOWER_STATUS_FIELD:
            text = f"{headers.get(_STATUS_FIELD)}, {text}"
            break
    headers[_STATUS_FIELD] = text
    return response
