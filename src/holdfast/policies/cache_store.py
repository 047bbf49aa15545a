"""The store as the cache layer uses it: in time, never failing, and never behind a purge.

A store fault costs a fetch, never a call. What must not happen is that an answer survives its own removal, so
every purge is counted, and one that failed is owed: until it is done, nothing of that URL is believed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import anyio

from holdfast.clock import Clock
from holdfast.core.caching.entry import Entry
from holdfast.core.caching.key import is_passing, split_key
from holdfast.core.caching.reach import EVERYTHING, Reach
from holdfast.stores.base import KeepsSecret, Store, Streaming, SyncLookup, SyncPut

if TYPE_CHECKING:
    from holdfast.policies.emitter import Emitter

__all__ = ["Shelf"]

T = TypeVar("T")

_REMEMBERED: Final = 1024  # URLs and tags
_REMEMBERED_PREFIXES: Final = 32  # each is compared with every fetch that is under way
_FAULTS: Final = 3  # in a row, before the store is left alone
_REST: Final = 5.0  # seconds for which it is
_OPENING: Final = 5.0
"""Seconds in which a store that has answered nothing yet may be slow: it opens its file, or makes it."""
_PAUSE: Final = 0.2  # seconds in which it is not asked then
_FIRST_PAUSE: Final = 1.0
"""Seconds between two tries of a purge that is owed, each time twice as many while it fails."""
_LONGEST_PAUSE: Final = 60.0
_SECRET: Final = 1.0  # seconds between two questions for a secret

_logger = logging.getLogger("holdfast.cache")


class Closing(Protocol):
    """What a store has to be told when it is not needed any more."""

    def aclose(self) -> Awaitable[None]: ...


class Shelf:
    """A store behind a time limit and a small breaker of its own. Shared by all calls of a pipeline.

    ``timeout`` is in seconds, for each operation; after three faults in a row the store is left alone for five
    seconds. One that is slow when it is first used is opening: that is no fault, and no call waits longer for it. A
    store that offers `SyncLookup` is read through ``lookup`` first, without a limit and without an await, and one that
    offers `SyncPut` is written to so. Long bodies go in by `cache_blob.Spool` and out by `cache_blob.Reading`, if the
    store is ``streaming``.
    """

    def __init__(self, store: Store, *, clock: Clock, timeout: float, emitter: Emitter | None = None) -> None:
        self._store = store
        self._emitter = emitter
        self.clock = clock
        self.timeout = timeout
        self._faults = 0
        self._resting_until = 0.0
        self._opening_until: float | None = None  # monotonic seconds
        self._opened = False  # it has answered something
        self._pausing_until = 0.0
        self._secret_at = 0.0  # when it may be asked for that
        self._secretless = False
        self.fault_count = 0
        self.mark = 0
        """How many purges there were; a fetch notes it when it begins."""
        self._purged: dict[str, int] = {}  # URLs and tags, in the order of their marks
        self._prefixes: dict[str, int] = {}
        self._forgotten = 0  # the highest mark that is no more in there
        self._tagged = 0  # the mark of the last purge of a tag
        self.owed: dict[Reach, None] = {}
        """Purges that failed."""
        self._pause = _FIRST_PAUSE  # before the next try of one that concerns nobody
        self._next_try = 0.0
        self.lookup: Callable[[str], tuple[Entry, ...] | None] | None = (
            store.lookup if isinstance(store, SyncLookup) else None
        )
        self._put_now: Callable[[Entry], None] | None = (
            store.put_now if isinstance(store, SyncPut) and _means(store, "put_now", "put") else None
        )
        self.streaming: Streaming | None = store if isinstance(store, Streaming) else None
        self.keeps_secret: KeepsSecret | None = store if isinstance(store, KeepsSecret) else None
        self.orphans: list[Closing] = []
        """What was dropped unclosed: a finalizer cannot wait, so the next operation closes it."""
        # A collector that finds a generator in a cycle finalizes it, whoever rescues it from there.
        self.lent: set[Closing] = set()

    def changed(self, url: str, mark: int, tags: Sequence[str] | None = None) -> bool:
        """Whether answers of ``url`` were purged since ``mark``, so that one fetched then may be out of date.

        Without ``tags``, which come with the answer, it may be if any tag was purged.
        """
        if self.mark == mark:
            return False
        purged, forgotten = self._purged, self._forgotten
        return (
            purged.get(url, forgotten) > mark
            or any(at > mark and url.startswith(prefix) for prefix, at in self._prefixes.items())
            or (self._tagged > mark if tags is None else any(purged.get(tag, forgotten) > mark for tag in tags))
        )

    async def get(self, key: str, url: str) -> tuple[Entry, ...]:
        """All variants of ``key``; none if the store is in trouble, or owes a purge of ``url``."""
        if is_passing(key) or (self.owed and not await self._settle(url)):
            return ()
        if self.lookup is not None and (known := self.lookup(key)) is not None:
            return known
        found = await self.run(lambda: self._store.get(key))
        return () if found is None else found

    def put_now(self, entry: Entry, mark: int) -> bool | None:
        """As `put`, without an await; None where there has to be one."""
        if (
            self._put_now is not None
            and self.mark == mark  # nothing was purged since
            and not (self.owed or self._faults or self.orphans or is_passing(entry.key))
        ):
            try:
                self._put_now(entry)
            except Exception as error:  # as in `run`
                self.fault(f"{type(error).__name__}: {error}", type(error).__name__)
                return False
            self._opened = True
            return True
        return None

    async def put(self, entry: Entry, mark: int) -> bool:
        """Store an answer whose fetch began at ``mark``; False if it was not stored."""
        now = self.put_now(entry, mark)
        if now is not None:
            return now
        return await self.commit(lambda: _done(self._store.put(entry)), entry, mark) is not None

    async def commit(
        self, write: Callable[[], Awaitable[T]], entry: Entry, mark: int, limit: float | None = None
    ) -> T | None:
        """What ``write`` gives, in at most ``limit`` seconds; None if nothing was, or is to stay, stored."""
        _, _, url = split_key(entry.key)
        if is_passing(entry.key) or self.changed(url, mark, entry.tags):
            return None
        if self.owed and not await self._settle(url):
            return None
        try:
            stored = await self.run(write, limit)
        except BaseException:  # cancelled: it may be there, or not
            if self.changed(url, mark, entry.tags):
                self._owe(Reach("url", url))
            raise
        if self.changed(url, mark, entry.tags):  # while it was written
            await self.delete(entry.key)
            return None
        return stored

    async def delete(self, key: str) -> None:
        """Remove all variants of ``key``."""
        done = None
        try:
            done = await self.run(lambda: _done(self._store.delete(key)))
        finally:
            if done is None:
                self._owe(Reach("url", split_key(key)[2]))

    async def secret(self, use: Callable[[bytes], T]) -> T | None:
        """What ``use`` makes of the secret that the store keeps; None if it keeps none, or cannot say now.

        That is no fault of the rest of it: of two tiers the second keeps the secret, and the first goes on alone.
        """
        keeper = self.keeps_secret
        if keeper is None or self.clock.monotonic() < self._secret_at:
            return None

        async def load() -> T:
            return use(await keeper.secret())

        before = self.fault_count
        made = await self.run(load, aside=True)
        if made is None and self.fault_count > before:
            self._secret_at = self.clock.monotonic() + _SECRET
            if not self._secretless:
                self._secretless = True
                _logger.warning("answers to credentials are not stored: the store cannot tell its secret")
        return made

    async def purge(self, reaches: Sequence[Reach], limit: float | None = None) -> int:
        """Remove all answers within ``reaches``, in at most ``limit`` seconds each; how many were stored.

        Those that are being fetched now are not stored. What the store cannot do, or not in time, is owed.
        """
        for reach in reaches:
            self._note(reach)
        removed, undone = 0, dict.fromkeys(reaches)
        try:
            for reach in reaches:
                if (count := await self._remove(reach, limit)) is not None:
                    removed += count
                    undone.pop(reach, None)
                    self.owed.pop(reach, None)
        finally:
            for reach in undone:
                self._owe(reach)
        return removed

    def _note(self, reach: Reach) -> None:
        """Remember that what began before now may be out of date; for good, if only with what else is forgotten."""
        self.mark += 1
        marks, most = (self._prefixes, _REMEMBERED_PREFIXES) if reach.kind == "prefix" else (self._purged, _REMEMBERED)
        marks.pop(reach.text, None)
        marks[reach.text] = self.mark
        if len(marks) > most:
            self._forgotten = max(self._forgotten, marks.pop(next(iter(marks))))
        if reach.kind == "tag":
            self._tagged = self.mark

    async def _remove(self, reach: Reach, limit: float | None = None, *, aside: bool = False) -> int | None:
        """How many answers within ``reach`` were removed; None if the store is in trouble."""
        match reach.kind:
            case "url":
                return await self.run(lambda: self._store.purge(reach.text), limit, aside=aside)
            case "prefix":
                return await self.run(lambda: self._store.purge_prefix(reach.text), limit, aside=aside)
            case "tag":
                return await self.run(lambda: self._store.purge_tag(reach.text), limit, aside=aside)

    async def _settle(self, url: str) -> bool:
        """Whether nothing is owed that may concern ``url``; tries to make up for it.

        Which answers have a tag only the store knows, so none is believed before a purge of one is made up for.
        """
        for reach in [*self.owed]:
            if reach.kind != "tag" and (url != reach.text if reach.kind == "url" else not url.startswith(reach.text)):
                continue
            if not await self._pay(reach):
                return False
        await self._pay_another()
        return True

    async def _pay(self, reach: Reach, *, aside: bool = False) -> bool:
        """Make up for a purge; False if it is still owed."""
        if reach == EVERYTHING:
            paid = await self.run(lambda: _done(self._store.clear())) is not None
        else:
            paid = await self._remove(reach, aside=aside) is not None
        if paid:
            self.owed.pop(reach, None)
        return paid

    async def _pay_another(self) -> None:
        """Try one that concerns nobody now, ever less often while that fails: as long as any is owed, nothing is
        looked up at once, and nobody may ever ask for what it removes.
        """
        now = self.clock.monotonic()
        if not self.owed or now < self._next_try:
            return
        reach = next(iter(self.owed))
        self._next_try, self._pause = now + self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        if await self._pay(reach, aside=True):
            self._next_try, self._pause = 0.0, _FIRST_PAUSE
        elif reach in self.owed:
            self.owed[reach] = self.owed.pop(reach)  # to the end, so that none keeps the others from their turn

    def _owe(self, reach: Reach) -> None:
        if len(self.owed) >= _REMEMBERED:
            self.owed = {EVERYTHING: None}
        elif EVERYTHING not in self.owed:
            self.owed[reach] = None

    async def run(
        self, operation: Callable[[], Awaitable[T]], limit: float | None = None, *, aside: bool = False
    ) -> T | None:
        """The result, or None if the store fails, is too slow (over ``limit`` seconds), or is left alone.

        ``aside``: a failure says nothing about other operations.
        """
        now = self.clock.monotonic()
        if self._faults >= _FAULTS and now < self._resting_until:
            return None
        if self._opening_until is None:
            self._opening_until = now + _OPENING
        elif not self._opened and limit is None and now < self._pausing_until:
            return None
        seconds = self.timeout if limit is None else limit
        kind, problem = "timeout", f"it took longer than {seconds:.3g} s"
        while self.orphans:
            await self.close(self.orphans.pop(), now + seconds)
        try:
            with self.clock.timeout_at(now + seconds):
                result = await operation()
                self._opened = True
                if self._faults:
                    self._recovered()
                return result
        except Exception as error:  # a store of somebody else's making: the call is protected from all of it
            kind, problem = type(error).__name__, f"{type(error).__name__}: {error}"
        else:
            now = self.clock.monotonic()
            if not self._opened and now < self._opening_until:
                self._pausing_until = now + _PAUSE
                return None
        if aside:
            self.fault_count += 1
        else:
            self.fault(problem, kind)
        return None

    async def close(self, something: Closing, until: float | None = None) -> None:
        """Let go of a writer or a body that is being read: also when cancelled, in time, and never failing."""
        with anyio.CancelScope(shield=True):
            try:
                with self.clock.timeout_at(self.clock.monotonic() + self.timeout if until is None else until):
                    await something.aclose()
            except Exception:
                return  # as in `run`; what is left of it, the store removes in time

    def _recovered(self) -> None:
        degraded, self._faults = self._faults >= _FAULTS, 0
        if degraded and self._emitter is not None:
            from holdfast.events import StoreRecovered

            self._emitter.emit(StoreRecovered(**self._emitter.at(""), store=type(self._store).__name__))

    def fault(self, problem: str, kind: str = "fault") -> None:
        """Count a fault of the store. ``problem`` is for the log; ``kind``, without what a store may quote, for all."""
        self._faults += 1
        self.fault_count += 1
        self._resting_until = self.clock.monotonic() + _REST
        if self._faults == _FAULTS:
            if self._emitter is not None:
                from holdfast.events import StoreDegraded

                self._emitter.emit(
                    StoreDegraded(**self._emitter.at(""), store=type(self._store).__name__, problem=kind)
                )
            _logger.warning("the cache goes on without its store for %s s at a time: %s", _REST, problem)


def _means(store: Store, name: str, other: str) -> bool:
    """Whether a store's ``name`` is of the same making as its ``other``, not of a class it was derived from."""
    for kind in type(store).__mro__:
        if name in vars(kind) or other in vars(kind):
            return name in vars(kind)
    return True  # both are the instance's own


async def _done(work: Awaitable[None]) -> bool:
    await work
    return True
