"""What the transports of one pipeline share of the cache, and the responses that it makes or hands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Generic

from holdfast._families import append_field, fields_of
from holdfast._wire import Family, HeadersLike, Q, R
from holdfast.call import CALL, OPTIONS, Call
from holdfast.clock import Clock
from holdfast.core.caching import cache_status
from holdfast.core.caching.entry import Entry, unpack
from holdfast.core.caching.fields import Fields
from holdfast.core.caching.key import Identity
from holdfast.core.caching.parts import PARTIAL, reply
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.request import Ask
from holdfast.core.caching.rules import Rules
from holdfast.policies.cache_blob import Reading
from holdfast.policies.cache_store import Shelf
from holdfast.policies.coalesce import Flights

if TYPE_CHECKING:
    from holdfast.policies.telemetry import CallTelemetry

__all__ = ["Answers", "Counts", "Found", "Shared", "passed_on", "unsatisfied"]

_STATUS_FIELD: Final = cache_status.NAME.decode("ascii")
_LOWER_STATUS_FIELD: Final = cache_status.NAME.lower()
_FOR_LESS: Final = frozenset((b"if-none-match", b"if-modified-since", b"range"))
"""Request fields that may be answered with less than what is stored."""
_HEADS: Final = 128  # blocks of header fields, as they are for one second


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
    stand_in: Identity  # for as long as it cannot say: nothing is stored under it
    shelf: Shelf
    spill_bytes: int
    flights: Flights
    clock: Clock
    deadline: float | None  # seconds for a fetch in the background
    rules: Rules | None
    signed: bool  # an attempt hook may add a credential that the cache cannot see
    telemetry: CallTelemetry | None  # of the calls in the background
    counts: Counts = field(default_factory=Counts)

    async def identify(self) -> Identity:
        """The identity by the secret that the store keeps, or the stand-in if the store is in trouble."""
        if self.identity is None:
            self.identity = await self.shelf.secret(lambda secret: Identity.of(self.policy, secret))
        return self.identity or self.stand_in


class Found(Generic[Q, R]):
    """A stored answer for a call that has no request: its content, and a response for whoever wants one."""

    __slots__ = ("_answers", "age", "call", "content", "content_type", "deprecated", "entry", "method")

    def __init__(
        self,
        answers: Answers[Q, R],
        ask: Ask,
        entry: Entry,
        age: float,
        content: bytes,
        content_type: str | None,
        deprecated: bool,
    ) -> None:
        self._answers = answers
        self.method = ask.method
        self.entry = entry
        self.age = age
        self.content = content  # decoded
        self.content_type = content_type
        self.deprecated = deprecated
        self.call: Call | None = None  # until it was given

    @property
    def status_code(self) -> int:
        return self.entry.status

    def response(self, request: Q) -> R:
        """As the client would have given it, read and closed."""
        return self._answers.respond(self, request)


class Answers(Generic[Q, R]):
    """Responses from what is stored, for one transport."""

    def __init__(self, family: Family[Q, R], shelf: Shelf) -> None:
        self._family = family
        self._shelf = shelf
        self._head = _heads(family)
        self._outline = _outlines(family)

    def from_memory(self, request: Q, ask: Ask, entry: Entry, body: bytes, age: float, told: cache_status.Member) -> R:
        """A response of ``entry``, whose ``body`` is in memory."""
        if _FOR_LESS.isdisjoint(ask.fields):
            status, head = entry.status, self._head(entry.head, *_marks(age, told))
        else:
            status, headers, (start, stop) = reply(ask, entry)
            head = self._family.head([*headers, *_fields(*_marks(age, told))])
            body = body[start:stop]
        call: Call = request.extensions[CALL]
        call.cache_status = told.parameters.copy()
        return self._family.stored(request, status, head, b"" if ask.method == "HEAD" else body)

    def find(self, ask: Ask, entry: Entry, age: float, limit: int | None) -> Found[Q, R] | None:
        """``entry`` as the whole answer to ``ask``, with no request made; None where it takes one to tell.

        That is: its body is not in memory, less than the whole is asked for, its status means failure (whose error has
        the request), or its content cannot be decoded, or not within ``limit`` bytes for certain.
        """
        if not isinstance(entry.body, bytes) or entry.status >= 300 or entry.status == PARTIAL:
            return None
        if not _FOR_LESS.isdisjoint(ask.fields):
            return None
        content = b"" if ask.method == "HEAD" else entry.body
        head, content_type, encoded, deprecated = self._outline(entry.head)
        if limit is not None and (encoded or len(content) > limit):
            return None
        if encoded:
            decoded = self._family.decoded(head, content)
            if decoded is None:
                return None
            content = decoded
        return Found(self, ask, entry, age, content, content_type, deprecated)

    def respond(self, found: Found[Q, R], request: Q) -> R:
        """The response that `from_memory` would make of what was found, read."""
        entry, call = found.entry, found.call
        assert isinstance(entry.body, bytes), "nothing else is found"
        assert call is not None, "it was given"
        head = self._head(entry.head, *_marks(found.age, cache_status.hit(entry.lifetime - found.age)))
        body = b"" if found.method == "HEAD" else entry.body
        return self._family.received(request, entry.status, head, body, {OPTIONS: call.record()})

    async def open(self, request: Q, ask: Ask, entry: Entry, age: float, told: cache_status.Member) -> R | None:
        """As `from_memory`, wherever the body is; None if it cannot be read any more."""
        if isinstance(entry.body, bytes):
            return self.from_memory(request, ask, entry, entry.body, age, told)
        family = self._family
        status, headers, (start, stop) = reply(ask, entry)
        reading = None
        if start < stop and ask.method != "HEAD":
            reading = await Reading.open(self._shelf, entry, family, request, start, stop)
            if reading is None:
                return None
        call: Call = request.extensions[CALL]
        call.cache_status = told.parameters.copy()
        response = family.response(request, status, [*headers, *_fields(*_marks(age, told))], b"", rest=reading)
        if reading is not None:
            family.body(response).orphans = reading.shelf.orphans
        return response


def _heads(family: Family[Q, R]) -> Callable[[bytes, int | None, bytes], HeadersLike]:
    """Header fields of a stored answer as of now: what is asked for often is read once a second."""

    @lru_cache(maxsize=_HEADS)
    def head(block: bytes, age: int | None, status: bytes) -> HeadersLike:
        return family.head([*unpack(block), *_fields(age, status)])

    return head


def _outlines(family: Family[Q, R]) -> Callable[[bytes], tuple[HeadersLike, str | None, bool, bool]]:
    """Of a block of header fields: how it is read, its Content-Type, whether its content is encoded, or deprecated."""

    @lru_cache(maxsize=_HEADS)
    def outline(block: bytes) -> tuple[HeadersLike, str | None, bool, bool]:
        head = family.head(unpack(block))
        deprecated = "deprecation" in head or "sunset" in head
        return head, head.get("content-type"), "content-encoding" in head, deprecated

    return outline


def _marks(age: float, told: cache_status.Member) -> tuple[int | None, bytes]:
    """What our fields say: the Age, which says that nobody validated it for this request, and the Cache-Status."""
    # RFC 9111 5.1
    return (int(age) if age >= 1 or "fwd-status" not in told.parameters else None), told.text


def _fields(age: int | None, status: bytes) -> list[tuple[bytes, bytes]]:
    """Our fields, after those of the answer."""
    return [*(() if age is None else [(b"Age", b"%d" % age)]), (cache_status.NAME, status)]


def unsatisfied(family: Family[Q, R], request: Q, call: Call, counts: Counts) -> R:
    """The answer to a request that wants nothing but a stored one (RFC 9111 5.2.1.7)."""
    counts.unsatisfied += 1
    call.source, call.cache = "cache", "unsatisfiable"
    told = cache_status.neither("only-if-cached")
    call.cache_status = told.parameters
    headers = [(b"Content-Length", b"0"), (cache_status.NAME, told.text)]
    return family.response(request, 504, headers, b"")


def passed_on(
    response: R, call: Call, counts: Counts, told: cache_status.Member, cache: str, fields: Fields | None = None
) -> R:
    """An answer of the origin's, with our word on it after those of the caches before us (RFC 9211 2).

    ``fields`` are its own, from who has them at hand.
    """
    if cache == "bypass":
        counts.bypassed += 1
    else:
        counts.misses += 1
    call.cache, call.cache_status = cache, told.parameters.copy()
    headers = response.headers
    if _LOWER_STATUS_FIELD in (fields_of(headers) if fields is None else fields):
        headers[_STATUS_FIELD] = f"{headers.get(_STATUS_FIELD)}, {told.text.decode('ascii')}"
    else:
        append_field(headers, cache_status.NAME, told.text)
    return response
