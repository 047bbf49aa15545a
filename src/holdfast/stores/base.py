"""What must a place for stored answers do?

An `Entry` is metadata and a body; its ``key`` names the request, its ``variant`` one of several answers to
it. Everything in an entry is text, bytes, numbers or tuples of them, so a store can write it down without
pickle. It holds no request credential: the key and the variant carry keyed digests only.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol, runtime_checkable

from holdfast.core.caching.entry import Entry
from holdfast.errors import HoldfastError


class StoreError(HoldfastError):
    """A store could not be read or written. The cache goes to the origin instead, and reports it once."""


class StoreDamaged(StoreError):
    """What is stored was cut off or tampered with, or was sealed with another key. It is left as it is."""


class StoreUnsafe(StoreError):
    """Others could read what is stored, or it would lie in clear. Nothing of it is used, nothing is written."""


class StoreLocked(StoreError):
    """There is no key to open the store with."""


class StoreReadOnly(StoreError):
    """This store takes nothing: what is in it is set elsewhere."""


class Store(Protocol):
    """Entries by key. One contract test suite runs on every implementation.

    A store may forget anything at any time. What it gives back is whole and as it was put: an entry that is
    damaged, of an unknown version or half written is a miss, never an error. Any method but `aclose` may
    raise `StoreError`, and no other exception. A cancelled call leaves each entry either as it was or as it
    was to become. Calls of one event loop may overlap.
    """

    async def get(self, key: str) -> tuple[Entry, ...]:
        """All variants stored for ``key``, the one put last first; empty when there is none.

        Entries are given back fresh or stale: only the cache knows what a request accepts.
        ``response_time`` is on this process's monotonic clock; a store that outlives a process works it
        out from ``wall`` and treats an entry from the future as absent.
        """
        ...

    async def put(self, entry: Entry) -> None:
        """Store an entry in place of the variant that has its ``key``, ``vary`` and ``variant``.

        An entry too large for the store is not stored, and the one it was to replace is removed: it is out of
        date. A store may limit the variants of one key, and then forgets the one put longest ago. One that
        several processes share does not let an answer that came before a purge undo it.

        An entry whose body is a `Blob` that this store gave keeps that body under the same name, and nothing is
        copied. A body belongs to one entry: the one that had it goes, also if it was of another variant. If the
        body is gone meanwhile, nothing is stored.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove all variants of ``key``; nothing happens when there are none."""
        ...

    async def purge(self, url: str) -> int:
        """Remove every entry of a URL, whatever its method, partition and variant; the number removed.

        ``url`` is spelled as in the keys (`holdfast.core.caching.key.target`). The work depends on the
        entries of that URL, not on the size of the store.
        """
        ...

    async def purge_prefix(self, prefix: str) -> int:
        """Remove every entry whose URL begins with ``prefix``; the number removed.

        Compared character by character. The work may depend on the size of the store.
        """
        ...

    async def purge_tag(self, tag: str) -> int:
        """Remove every entry that has ``tag`` among its `Entry.tags`; the number removed."""
        ...

    async def clear(self) -> None:
        """Remove everything."""
        ...

    async def aclose(self) -> None:
        """Give back what the store holds open. May be called twice; never raises for a store in trouble."""
        ...


@runtime_checkable
class SyncLookup(Protocol):
    """What a store in memory can do besides: answer at once, without a task switch."""

    def lookup(self, key: str) -> tuple[Entry, ...] | None:
        """As `Store.get`, but returns at once and never raises; None where only `Store.get` can tell."""
        ...


@runtime_checkable
class SyncPut(Protocol):
    """What a store in memory can do besides: store at once, without a task switch.

    A subclass that has a ``put`` of its own and no ``put_now`` is asked for that.
    """

    def put_now(self, entry: Entry) -> None:
        """As `Store.put`, but is done when it returns, and never raises."""
        ...


@runtime_checkable
class Measured(Protocol):
    """What a store can do besides: tell how full it is, at once and without I/O."""

    @property
    def bytes_used(self) -> int:
        """Bytes of what is stored, as the store counts them against its own limit."""
        ...

    def __len__(self) -> int:
        """Entries, or keys, that are stored."""
        ...


class Writer(Protocol):
    """A body on its way into a store. Belongs to one task at a time; any method may raise `StoreError`.

    Nothing of it can be read before `finish` returned. A process that dies before leaves no entry, and what it
    had written is removed by the store in time.
    """

    async def write(self, chunk: bytes) -> bool:
        """Append to the body, of any length. Bounded memory, whatever was written before.

        False when it has become too large for the store: then the writer is to be discarded.
        """
        ...

    async def finish(self, entry: Entry) -> Entry | None:
        """Store ``entry`` with what was written as its body; as `Store.put` in all else.

        The entry as `Store.get` gives it, so that it can be read at once, or None if it was not stored.
        """
        ...

    async def discard(self) -> None:
        """Forget what was written. May be called at any time, also after `finish`, when nothing happens."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """What a store on disk can do besides: take and give bodies that do not fit into memory.

    Its `Store.get` gives entries with a long body as `Blob`; which bodies are long is the store's choice.
    """

    async def writer(self) -> Writer:
        """A new body. Whoever asks for one ends it with `Writer.finish` or `Writer.discard`."""
        ...

    def read(self, entry: Entry, start: int = 0) -> AsyncGenerator[bytes, None]:
        """The body of an entry that `Store.get` gave, from byte ``start`` on, in pieces of at most 64 KiB.

        At constant memory, and without reading what lies before ``start``. It is whole even if the entry is
        replaced or evicted meanwhile, or raises `StoreError`. Whoever asks for it closes it (``aclose``), read to
        its end or not.
        """
        ...


@runtime_checkable
class Listing(Protocol):
    """What a store that knows its entries does besides: tell them."""

    def entries(self) -> AsyncGenerator[Entry, None]:
        """Every entry, in no particular order. Its body may be a `Blob` that cannot be read.

        What is put or removed meanwhile may be among them or not. Whoever asks for them closes it (``aclose``).
        """
        ...


@runtime_checkable
class KeepsSecret(Protocol):
    """What a store that outlives the process does besides: keep the secret of the digests in its entries' keys.

    Without it a private cache could not find its own answers after a restart.
    """

    async def secret(self) -> bytes:
        """32 random bytes, made by the first who asks, and the same for all who ever open this store."""
        ...
