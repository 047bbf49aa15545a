"""Stored answers in this process's memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final, TypeAlias

from cachetools import LRUCache

from holdfast.core.caching.entry import Entry
from holdfast.core.caching.key import EVERYBODY, NOBODY, split_key

_Record: TypeAlias = Entry | tuple[Entry, ...]  # a tuple only for several variants: it takes 48 bytes

# What CPython adds to the bytes of an entry and of a key, measured with 1,000,000 entries.
_ENTRY_OVERHEAD: Final = 460
_INDEX_OVERHEAD: Final = 80


class MemoryStore:
    """Keeps the answers that were used last, within a number of bytes and a number of keys.

    ``max_bytes`` counts bodies, header fields, keys and what Python adds to them; ``max_entries`` counts
    keys, each with at most ``max_variants`` variants. Raises ValueError when one of them is below 1.

    >>> MemoryStore(max_bytes=10_000_000, max_entries=1_000)
    MemoryStore(0 of 1000 entries, 0 of 10000000 bytes)

    No method waits, so cancellation finds no half-done work, and one event loop needs no lock. It may be
    shared by all pipelines of that loop; pipelines in other threads each need a store of their own.
    """

    __slots__ = ("_indexed", "_records", "bytes_used", "max_bytes", "max_entries", "max_variants")

    def __init__(
        self, *, max_bytes: int = 64 * 1024 * 1024, max_entries: int = 100_000, max_variants: int = 32
    ) -> None:
        for name, value in (
            ("max_bytes", max_bytes),
            ("max_entries", max_entries),
            ("max_variants", max_variants),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.max_bytes = max_bytes
        self.max_entries = max_entries
        self.max_variants = max_variants
        self.bytes_used = 0
        # The sizes are added up here, not by cachetools' getsizeof, which keeps them: 75 bytes an entry.
        self._records: LRUCache[str, _Record] = LRUCache(max_entries)
        # Keys by URL, for purging; only those that do not follow from the URL itself. The URL is in the key, so its
        # hash will do here, for a third of the memory; two URLs may have the same.
        self._indexed: dict[int, str | set[str]] = {}

    def __repr__(self) -> str:
        return (
            f"MemoryStore({len(self._records)} of {self.max_entries} entries, "
            f"{self.bytes_used} of {self.max_bytes} bytes)"
        )

    def __len__(self) -> int:
        """Keys that are stored."""
        return len(self._records)

    def lookup(self, key: str) -> tuple[Entry, ...]:
        """As `get`, at once; see `holdfast.stores.base.SyncLookup`."""
        try:
            record = self._records[key]
        except KeyError:
            return ()
        return record if isinstance(record, tuple) else (record,)

    async def get(self, key: str) -> tuple[Entry, ...]:
        """All variants stored for ``key``, the one put last first."""
        return self.lookup(key)

    def put_now(self, entry: Entry) -> None:
        """As `put`, at once; see `holdfast.stores.base.SyncPut`."""
        size, variants = _size((entry,)), [entry]
        if before := self._remove(entry.key):
            same = (entry.vary, entry.variant)
            variants += [other for other in before if (other.vary, other.variant) != same]
        if size > self.max_bytes:
            del variants[0]
        if len(variants) != 1 or size > self.max_bytes:  # else its size is known
            del variants[self.max_variants :]
            while (size := _size(variants)) > self.max_bytes:
                variants.pop()
        if variants:
            self._add(entry.key, variants, size)

    async def put(self, entry: Entry) -> None:
        """Store an entry, and forget those used longest ago until it fits."""
        self.put_now(entry)

    async def delete(self, key: str) -> None:
        """Remove all variants of ``key``."""
        self._remove(key)

    async def purge(self, url: str) -> int:
        """Remove every entry of a URL; the number removed."""
        indexed = self._indexed.get(_short_hash(url), ())
        keys = [key for key in ([indexed] if isinstance(indexed, str) else indexed) if split_key(key)[2] == url]
        return sum(len(self._remove(key)) for key in (*(common + url for common in _COMMON), *keys))

    async def purge_prefix(self, prefix: str) -> int:
        """Remove every entry whose URL begins with ``prefix``, looking at all keys; the number removed."""
        keys = [key for key in self._records if split_key(key)[2].startswith(prefix)]
        return sum(len(self._remove(key)) for key in keys)

    async def purge_tag(self, tag: str) -> int:
        """Remove every entry that has ``tag``, looking at all entries; the number removed."""
        removed = 0
        for key in list(self._records):
            variants = self._peek(key)
            kept = [entry for entry in variants if tag not in entry.tags]
            if len(kept) < len(variants):
                removed += len(variants) - len(kept)
                self._remove(key)
                if kept:
                    self._add(key, kept, _size(kept))
        return removed

    async def entries(self) -> AsyncGenerator[Entry, None]:
        """Every entry, the one used longest ago first."""
        for key in list(self._records):
            for entry in self._peek(key):
                yield entry

    async def clear(self) -> None:
        """Remove everything."""
        self._records.clear()
        self._indexed.clear()
        self.bytes_used = 0

    async def aclose(self) -> None:
        """Nothing is held open, so nothing happens; the entries stay."""

    def _peek(self, key: str) -> tuple[Entry, ...]:
        """As `lookup`, but not a use."""
        try:
            record = super(LRUCache, self._records).__getitem__(key)  # its own notes the use
        except KeyError:
            return ()
        return record if isinstance(record, tuple) else (record,)

    def _add(self, key: str, variants: list[Entry], size: int) -> None:
        records = self._records
        while records and (self.bytes_used + size > self.max_bytes or len(records) >= self.max_entries):
            self._forget(*records.popitem())
        records[key] = variants[0] if len(variants) == 1 else tuple(variants)
        self.bytes_used += size
        if key.startswith(_COMMON):
            return
        _, _, url = split_key(key)
        number = _short_hash(url)
        match self._indexed.get(number):
            case None:
                self._indexed[number] = key
            case set() as keys:
                keys.add(key)
            case other:
                self._indexed[number] = {other, key}

    def _remove(self, key: str) -> tuple[Entry, ...]:
        variants = self.lookup(key)
        if variants:
            self._forget(key, self._records.pop(key))
        return variants

    def _forget(self, key: str, record: _Record) -> None:
        """Settle the accounts of a record that has left."""
        self.bytes_used -= _size(record if isinstance(record, tuple) else (record,))
        _, _, url = split_key(key)
        number = _short_hash(url)
        match self._indexed.get(number):
            case set() as keys:
                keys.discard(key)
                if not keys:
                    del self._indexed[number]
            case other if other == key:
                del self._indexed[number]
            case _:
                pass


def _size(variants: list[Entry] | tuple[Entry, ...]) -> int:
    """Bytes that the variants of one key count for."""
    total = 0
    for entry in variants:
        key = entry.key
        if entry.tags:  # as if each entry had its own, since those of a hostile origin all differ
            total += sum(map(len, entry.tags))
        total += entry.size + len(entry.head) + len(entry.variant) + len(key) + _ENTRY_OVERHEAD
        if not key.startswith(_COMMON):
            total += _INDEX_OVERHEAD
    return total


_COMMON: Final = (f"GET {NOBODY} ", f"GET {EVERYBODY} ")


def _short_hash(url: str) -> int:
    return hash(url) & 0x3FFFFFFF  # as much of it as the smallest int object holds
