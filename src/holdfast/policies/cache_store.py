"""The store as the cache layer uses it: in time, never failing, and never behind a purge.

A store fault costs a fetch, never a call. What must not happen is that an answer survives its own removal, so
every purge is counted, and one that failed is owed: until it is done, nothing of that URL is believed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

import anyio

from holdfast.clock import Clock
from holdfast.core.caching.entry import Entry
from holdfast.core.caching.key import split_key
from holdfast.stores.base import KeepsSecret, Store, Streaming, SyncLookup

__all__ = ["Shelf"]

T = TypeVar("T")

_REMEMBERED: Final = 1024  # URLs
_FAULTS: Final = 3  # in a row, before the store is left alone
_REST: Final = 5.0  # seconds for which it is
_EVERYTHING: Final = ""

_logger = logging.getLogger("holdfast.cache")


class Closing(Protocol):
    """What a store has to be told when it is not needed any more."""

    def aclose(self) -> Awaitable[None]: ...


class Shelf:
    """A store behind a time limit and a small breaker of its own. Shared by all calls of a pipeline.

    ``timeout`` is in seconds, for each operation; after three faults in a row the store is left alone for five
    seconds. A store that offers `SyncLookup` is read through ``lookup``, without a limit and without an await. Long
    bodies go in by `cache_blob.Spool` and out by `cache_blob.Reading`, if the store is ``streaming``.
    """

    def __init__(self, store: Store, *, clock: Clock, timeout: float) -> None:
        self._store = store
        self.clock = clock
        self.timeout = timeout
        self._faults = 0
        self._resting_until = 0.0
        self.fault_count = 0
        self.mark = 0
        """How many purges there were; a fetch notes it when it begins."""
        self._purged: dict[str, int] = {}  # in the order of their marks
        self._forgotten = 0  # the highest mark that is no more in there
        self.owed: dict[str, None] = {}
        """URLs whose purge failed."""
        self.lookup: Callable[[str], tuple[Entry, ...]] | None = store.lookup if isinstance(store, SyncLookup) else None
        self.streaming: Streaming | None = store if isinstance(store, Streaming) else None
        self.keeps_secret: KeepsSecret | None = store if isinstance(store, KeepsSecret) else None
        self.orphans: list[Closing] = []
        """What was dropped unclosed: a finalizer cannot wait, so the next operation closes it."""

    def changed(self, url: str, mark: int) -> bool:
        """Whether answers of ``url`` were purged since ``mark``, so that one fetched then may be out of date."""
        return self.mark != mark and self._purged.get(url, self._forgotten) > mark

    async def get(self, key: str, url: str) -> tuple[Entry, ...]:
        """All variants of ``key``; none if the store is in trouble, or owes a purge of ``url``."""
        if self.owed and not await self._settle(url):
            return ()
        if self.lookup is not None:
            return self.lookup(key)
        found = await self.run(lambda: self._store.get(key))
        return () if found is None else found

    async def put(self, entry: Entry, mark: int) -> bool:
        """Store an answer whose fetch began at ``mark``; False if it was not stored."""
        return await self.commit(lambda: _done(self._store.put(entry)), entry.key, mark) is not None

    async def commit(
        self, write: Callable[[], Awaitable[T]], key: str, mark: int, limit: float | None = None
    ) -> T | None:
        """What ``write`` gives, in at most ``limit`` seconds; None if nothing was, or is to stay, stored."""
        _, _, url = split_key(key)
        if self.changed(url, mark) or (self.owed and not await self._settle(url)):
            return None
        stored = await self.run(write, limit)
        if self.changed(url, mark):  # while it was written
            await self.delete(key)
            return None
        return stored

    async def delete(self, key: str) -> None:
        """Remove all variants of ``key``."""
        if await self.run(lambda: _done(self._store.delete(key))) is None:
            self._owe(split_key(key)[2])

    async def purge(self, url: str) -> int:
        """Remove every answer of ``url``, those that are being fetched now included; how many were stored."""
        self.mark += 1
        self._purged.pop(url, None)
        self._purged[url] = self.mark
        if len(self._purged) > _REMEMBERED:
            self._forgotten = self._purged.pop(next(iter(self._purged)))
        removed = None
        try:
            removed = await self.run(lambda: self._store.purge(url))
        finally:
            if removed is None:
                self._owe(url)
        return removed or 0

    async def _settle(self, url: str) -> bool:
        """Whether nothing is owed that concerns ``url``; tries to make up for it."""
        if _EVERYTHING in self.owed:
            if await self.run(lambda: _done(self._store.clear())) is None:
                return False
            del self.owed[_EVERYTHING]
        elif url in self.owed:
            if await self.run(lambda: self._store.purge(url)) is None:
                return False
            self.owed.pop(url, None)
        return True

    def _owe(self, url: str) -> None:
        if len(self.owed) >= _REMEMBERED:
            self.owed = {_EVERYTHING: None}
        elif _EVERYTHING not in self.owed:
            self.owed[url] = None

    async def run(self, operation: Callable[[], Awaitable[T]], limit: float | None = None) -> T | None:
        """The result, or None if the store fails, is too slow (over ``limit`` seconds), or is left alone."""
        now = self.clock.monotonic()
        if self._faults >= _FAULTS and now < self._resting_until:
            return None
        seconds = self.timeout if limit is None else limit
        problem = f"it took longer than {seconds:.3g} s"
        while self.orphans:
            await self.close(self.orphans.pop(), now + seconds)
        try:
            with self.clock.timeout_at(now + seconds):
                result = await operation()
                self._faults = 0
                return result
        except Exception as error:  # a store of somebody else's making: the call is protected from all of it
            problem = f"{type(error).__name__}: {error}"
        self.fault(problem)
        return None

    async def close(self, something: Closing, until: float | None = None) -> None:
        """Let go of a writer or a body that is being read: also when cancelled, in time, and never failing."""
        with anyio.CancelScope(shield=True):
            try:
                with self.clock.timeout_at(self.clock.monotonic() + self.timeout if until is None else until):
                    await something.aclose()
            except Exception:
                return  # as in `run`; what is left of it, the store removes in time

    def fault(self, problem: str) -> None:
        """Count a fault of the store."""
        self._faults += 1
        self.fault_count += 1
        self._resting_until = self.clock.monotonic() + _REST
        if self._faults == _FAULTS:
            _logger.warning("the cache goes on without its store for %s s at a time: %s", _REST, problem)


async def _done(work: Awaitable[None]) -> bool:
    await work
    return True
