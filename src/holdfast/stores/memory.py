"""Stored answers in this process's memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator
from typing import Final, TypeAlias

from holdfast.core.caching.entry import Entry
from holdfast.core.caching.key import EVERYBODY, NOBODY, split_key

_Record: TypeAlias = Entry | tuple[Entry, ...]  # a tuple only for several variants: it takes 48 bytes

# What CPython adds to the bytes of an entry and of a key, measured with 1,000,000 entries.
_ENTRY_OVERHEAD: Final = 450
_INDEX_OVERHEAD: Final = 40
_GROUPED: Final = 32  # keys in a group of the index, when the store is full


class MemoryStore:
    """Keeps the answers that were used last, within a number of bytes and a number of keys.

    ``max_bytes`` counts bodies, header fields, keys and what Python adds to them; ``max_entries`` counts
    keys, each with at most ``max_variants`` variants. Raises ValueError when one of them is below 1.

    >>> MemoryStore(max_bytes=10_000_000, max_entries=1_000)
    MemoryStore(0 of 1000 entries, 0 of 10000000 bytes)

    No method waits, so cancellation finds no half-done work, and one event loop needs no lock. It may be
    shared by all pipelines of that loop; pipelines in other threads each need a store of their own.
    """

    __slots__ = ("_groups", "_indexed", "_records", "bytes_used", "max_bytes", "max_entries", "max_variants")

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
        # Used longest ago first. cachetools' LRUCache is a dict beside one of these: 50 bytes an entry more.
        self._records: OrderedDict[str, _Record] = OrderedDict()
        # Keys by URL, for purging; only those that do not follow from the URL itself. They lie in groups of some that
        # are equal in a part of their URL's hash: one for each URL takes twice the memory.
        self._groups = max(1, max_entries // _GROUPED)
        self._indexed: dict[int, dict[str, None]] = {}

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
        record = self._records.get(key)
        if record is None:
            return ()
        self._records.move_to_end(key)
        return record if isinstance(record, tuple) else (record,)

    async def get(self, key: str) -> tuple[Entry, ...]:
        """All variants stored for ``key``, the one put last first."""
        return self.lookup(key)

    def put_now(self, entry: Entry) -> None:
        """As `put`, at once; see `holdfast.stores.base.SyncPut`."""
        key, records = entry.key, self._records
        before = records.get(key)
        if before is None:
            size = _size(entry)
            if size > self.max_bytes:
                return
            self._count(key, size)
        elif isinstance(before, tuple) or before.variant != entry.variant or before.vary != entry.vary:
            kept = self._beside(entry, _variants(before))
            self._set(key, _record(kept), sum(map(_size, kept)))
            return
        elif entry.body is before.body and entry.tags is before.tags:  # it was validated
            self.bytes_used += len(entry.head) - len(before.head)
            records.move_to_end(key)
        else:
            size = _size(entry)
            if size > self.max_bytes:
                self._set(key, None)
                return
            self.bytes_used += size - _size(before)
            records.move_to_end(key)
        records[key] = entry
        if self.bytes_used > self.max_bytes or len(records) > self.max_entries:
            self._evict()

    async def put(self, entry: Entry) -> None:
        """Store an entry, and forget those used longest ago until it fits."""
        self.put_now(entry)

    async def delete(self, key: str) -> None:
        """Remove all variants of ``key``."""
        self._set(key, None)

    async def purge(self, url: str) -> int:
        """Remove every entry of a URL; the number removed."""
        near = self._indexed.get(hash(url) % self._groups, ())
        keys = [common + url for common in _COMMON] + [key for key in near if split_key(key)[2] == url]
        return sum(self._set(key, None) for key in keys)

    async def purge_prefix(self, prefix: str) -> int:
        """Remove every entry whose URL begins with ``prefix``, looking at all keys; the number removed."""
        keys = [key for key in self._records if split_key(key)[2].startswith(prefix)]
        return sum(self._set(key, None) for key in keys)

    async def purge_tag(self, tag: str) -> int:
        """Remove every entry that has ``tag``, looking at all entries; the number removed."""
        removed = 0
        for key, record in list(self._records.items()):
            variants = _variants(record)
            kept = tuple(entry for entry in variants if tag not in entry.tags)
            if len(kept) < len(variants):
                self._set(key, _record(kept), sum(map(_size, kept)))
                removed += len(variants) - len(kept)
        return removed

    async def entries(self) -> AsyncGenerator[Entry, None]:
        """Every entry, the one used longest ago first."""
        for key in list(self._records):
            for entry in _variants(self._records.get(key, ())):
                yield entry

    async def clear(self) -> None:
        """Remove everything."""
        self._records.clear()
        self._indexed.clear()
        self.bytes_used = 0

    async def aclose(self) -> None:
        """Nothing is held open, so nothing happens; the entries stay."""

    def _beside(self, entry: Entry, others: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """What to store of ``entry`` and the variants of its key: the ones put last, as many as fit."""
        variants = [entry] if _size(entry) <= self.max_bytes else []
        same = (entry.vary, entry.variant)
        variants += [other for other in others if (other.vary, other.variant) != same]
        del variants[self.max_variants :]
        while sum(map(_size, variants)) > self.max_bytes:
            variants.pop()
        return tuple(variants)

    def _set(self, key: str, record: _Record | None, size: int = 0) -> int:
        """Have ``record`` in place of what ``key`` had, and forget others until it fits; how many variants it had."""
        records = self._records
        before = records.pop(key, None)
        removed = 0 if before is None else self._forget(key, before)
        if record is not None:
            records[key] = record
            self._count(key, size)
            self._evict()
        return removed

    def _count(self, key: str, size: int) -> None:
        """Open the account of a record that is new here."""
        self.bytes_used += size
        if not key.startswith(_COMMON):
            self._indexed.setdefault(self._group(key), {})[key] = None

    def _evict(self) -> None:
        """Forget those used longest ago until the others fit."""
        while self.bytes_used > self.max_bytes or len(self._records) > self.max_entries:
            self._forget(*self._records.popitem(last=False))

    def _group(self, key: str) -> int:
        return hash(split_key(key)[2]) % self._groups

    def _forget(self, key: str, record: _Record) -> int:
        """Settle the accounts of a record that has left; how many variants it had."""
        if isinstance(record, Entry):
            self.bytes_used -= _size(record)
            variants = 1
        else:
            self.bytes_used -= sum(map(_size, record))
            variants = len(record)
        if not key.startswith(_COMMON):
            group = self._group(key)
            keys = self._indexed[group]
            del keys[key]
            if not keys:
                del self._indexed[group]
        return variants


def _variants(record: _Record) -> tuple[Entry, ...]:
    return record if isinstance(record, tuple) else (record,)


def _record(variants: tuple[Entry, ...]) -> _Record | None:
    return variants if len(variants) > 1 else variants[0] if variants else None


def _size(entry: Entry) -> int:
    """Bytes that an entry counts for."""
    key, body = entry.key, entry.body
    size = len(body) if isinstance(body, bytes) else body.size
    size += len(entry.head) + len(entry.variant) + len(key) + _ENTRY_OVERHEAD
    if not key.startswith(_COMMON):
        size += _INDEX_OVERHEAD
    if entry.tags:  # as if each entry had its own, since those of a hostile origin all differ
        size += sum(map(len, entry.tags))
    return size


_COMMON: Final = (f"GET {NOBODY} ", f"GET {EVERYBODY} ")
