"""What is kept of a response?

Plain data. What a hit needs is parsed when the entry is made; what only a validation needs is read from the
header block then. Objects are shared or packed where they can be, because a store may hold a million.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain

from holdfast.core.caching.directives import ResponseDirectives
from holdfast.core.caching.fields import Fields, combine
from holdfast.core.caching.key import split_key


@dataclass(slots=True, kw_only=True)  # made for every answer, and never written to; see `Ask`
class Exchange:
    """When a response came: monotonic seconds for its age, wall seconds for comparing with HTTP dates."""

    request_time: float  # monotonic, just before the request was sent
    response_time: float  # monotonic, when the response's header block was complete
    wall: float  # seconds since the epoch, at response_time


@dataclass(frozen=True, slots=True)
class Blob:
    """A body that its store keeps apart, because it is too long to be handed about; read with `Streaming.read`."""

    size: int  # bytes of the wire
    name: str  # the store's own handle; means nothing to another store


@dataclass(slots=True, kw_only=True)  # as `Exchange`: frozen, it would cost three microseconds more
class Entry:
    """A stored response (RFC 9111 3)."""

    key: str  # primary key; a store that gives an entry back under another key is not believed
    status: int
    head: bytes  # header fields as they came, packed; see `headers`
    body: bytes | Blob = field(repr=False)  # bytes of the wire, still content-encoded
    vary: tuple[bytes, ...]  # lower-case names of Vary, sorted; shared between entries
    variant: bytes  # the request's side of Vary, normalised, credentials concealed; see vary.py
    directives: ResponseDirectives  # shared between entries with the same Cache-Control
    lifetime: float  # seconds (RFC 9111 4.2.1)
    initial_age: float  # seconds, at response_time (RFC 9111 4.2.3)
    response_time: float  # monotonic seconds; means nothing in another process or after a reboot
    wall: float  # seconds since the epoch, at response_time
    tags: tuple[str, ...] = ()  # what it may be purged by besides its URL; shared between entries with the same

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.size

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Header fields as they came, but those that RFC 9111 3.1 does not store, and Age; a new list.

        A response that came without a Date has one here.
        """
        return unpack(self.head)

    @property
    def fields(self) -> Fields:
        """Header fields for looking up."""
        return _fields_of(self.head)

    @property
    def method(self) -> str:
        return split_key(self.key)[0]

    @property
    def url(self) -> str:
        return split_key(self.key)[2]

    def with_body(self, body: bytes | Blob) -> Entry:
        """The same entry with the body that arrived after its header block."""
        return Entry(
            key=self.key,
            status=self.status,
            head=self.head,
            body=body,
            vary=self.vary,
            variant=self.variant,
            directives=self.directives,
            lifetime=self.lifetime,
            initial_age=self.initial_age,
            response_time=self.response_time,
            wall=self.wall,
            tags=self.tags,
        )

    def complete(self, body: bytes | Blob) -> Entry:
        """Itself, with the body that has arrived: only for who made it, before anybody else sees it.

        A second entry is a microsecond more.
        """
        self.body = body
        return self


def pack(headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """Header block as one value; None when a field holds a line break, which no field may (RFC 9110 5.5).

    One value takes a third of the memory of a list of pairs, and unpacks in less than a microsecond.
    """
    packed = b"\n".join(chain.from_iterable(headers))
    return packed if packed.count(b"\n") == max(2 * len(headers) - 1, 0) else None


@lru_cache(maxsize=32)  # one validation looks several times
def _fields_of(block: bytes) -> Fields:
    return combine(unpack(block))


def unpack(block: bytes) -> list[tuple[bytes, bytes]]:
    """Header fields that `pack` packed."""
    parts = iter(block.split(b"\n"))
    return list(zip(parts, parts))  # noqa: B905  (an empty block is one part, and no field)
