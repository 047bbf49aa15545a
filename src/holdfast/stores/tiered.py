"""Two stores as one: a fast one in front of a lasting one."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from holdfast.clock import Clock, SystemClock
from holdfast.core.caching.entry import Entry
from holdfast.stores.base import KeepsSecret, Listing, Store, StoreError, Streaming, SyncLookup, Writer

__all__ = ["Tiered"]

T = TypeVar("T")

_CHECKED: Final = 50_000
"""Keys of each generation that are believed; of more, those longest ago are looked up below once more."""
_OWED: Final = 1024  # keys

_logger = logging.getLogger("holdfast.stores")


class Tiered:
    """``first`` in front of ``second``: what is read below is kept above, what is put is put into both.

    >>> from holdfast import MemoryStore, SQLiteStore
    >>> Tiered(MemoryStore(), SQLiteStore("answers.db"))
    Tiered(MemoryStore(0 of 100000 entries, 0 of 67108864 bytes), SQLiteStore('answers.db', max_bytes=268435456))

    A purge reaches both, and is done when it returns. One that *another process* makes in a shared ``second`` shows
    after ``recheck_after`` seconds at the latest, because for no longer is ``first`` believed without asking
    below. None: for ever, which is right where no other process uses ``second``. Raises ValueError for less than 0.

    While ``second`` is in trouble, ``first`` goes on alone, and the log is told once. More tiers are made of two:
    ``Tiered(memory, Tiered(disk, far))``. What else the two can do is offered too: `SyncLookup` of ``first``,
    `Streaming` and `Listing` of ``second``, `KeepsSecret` of either. Long bodies stay below.

    One event loop at a time. Cancelled, a put may have reached one store and not the other; then what is left in
    ``second`` is removed before it is believed. After a removal that did not get through to ``first``, nothing there
    is believed before it was looked up below.
    """

    # Given to an instance only if its stores can do it: this is how a capability is asked for.
    lookup: Callable[[str], tuple[Entry, ...] | None]
    writer: Callable[[], Coroutine[Any, Any, Writer]]
    read: Callable[..., AsyncGenerator[bytes, None]]
    secret: Callable[[], Coroutine[Any, Any, bytes]]
    entries: Callable[[], AsyncGenerator[Entry, None]]

    def __init__(
        self, first: Store, second: Store, *, recheck_after: float | None = 10.0, clock: Clock | None = None
    ) -> None:
        if recheck_after is not None and not 0 <= recheck_after < float("inf"):
            raise ValueError(f"recheck_after must be 0 seconds or more, or None, got {recheck_after}")
        self.first = first
        self.second = second
        self._checked = _Checked(recheck_after, SystemClock() if clock is None else clock)
        self._turns: dict[str, object] = {}  # by key, who came last to fill ``first`` from below, or to put into both
        self._owed: dict[str, None] = {}  # keys of which ``second`` has an old answer
        self._failing = False
        if isinstance(first, SyncLookup):
            self._look = first.lookup
            self.lookup = self._lookup
        if isinstance(second, Streaming):
            self._streaming = second
            self.writer, self.read = self._writer, second.read
        keeper = second if isinstance(second, KeepsSecret) else first
        if isinstance(keeper, KeepsSecret):
            self.secret = keeper.secret
        if isinstance(second, Listing):
            self.entries = second.entries

    def __repr__(self) -> str:
        return f"Tiered({self.first!r}, {self.second!r})"

    async def get(self, key: str) -> tuple[Entry, ...]:
        """All variants of ``key``: from the first store, if that is up to date, else from the second."""
        if key in self._checked:
            with suppress(StoreError):
                if found := _short(await self.first.get(key)):
                    return found
        turn = self._turns[key] = object()
        below: tuple[Entry, ...] | None = None
        try:
            if key not in self._owed or await self._pay(key):
                below = await self._below(self.second.get(key))
            await self._fill(key, below or (), turn)
        finally:
            if self._turns.get(key) is turn:
                del self._turns[key]
        return below or ()

    async def put(self, entry: Entry) -> None:
        """Store an entry in both. A fault of the second leaves it to the first."""
        key = entry.key
        turn = self._turns[key] = object()
        stored = False
        try:
            if key in self._checked and isinstance(entry.body, bytes):
                with suppress(StoreError):
                    await self.first.put(entry)
            else:  # what else is there may be old, or not all of it: who reads next fills it
                await self._forget(key)
            stored = await self._below(_counted(self.second.put(entry))) is not None
        finally:
            if not stored:  # or nobody knows, because it was cancelled
                self._owe(key)
            if self._turns.pop(key, None) is not turn:  # who read below meanwhile may have kept what was there before
                self._checked.discard(key)

    async def delete(self, key: str) -> None:
        """Remove all variants of ``key`` from both."""
        await self._everywhere(lambda store: _counted(store.delete(key)))

    async def purge(self, url: str) -> int:
        """Remove every entry of a URL from both; the number removed, each counted once."""
        return await self._everywhere(lambda store: store.purge(url))

    async def purge_prefix(self, prefix: str) -> int:
        """Remove every entry whose URL begins with ``prefix`` from both; the number removed."""
        return await self._everywhere(lambda store: store.purge_prefix(prefix))

    async def purge_tag(self, tag: str) -> int:
        """Remove every entry that has ``tag`` from both; the number removed."""
        return await self._everywhere(lambda store: store.purge_tag(tag))

    async def clear(self) -> None:
        """Remove everything from both."""
        await self._everywhere(lambda store: _counted(store.clear()))
        self._owed.clear()

    async def aclose(self) -> None:
        """Close both."""
        try:
            await self.first.aclose()
        finally:
            await self.second.aclose()

    def _lookup(self, key: str) -> tuple[Entry, ...] | None:
        return (_short(self._look(key) or ()) or None) if key in self._checked else None

    async def _writer(self) -> Writer:
        writer = await self._streaming.writer()
        return _Writer(writer, partial(self._finish, writer))

    async def _finish(self, writer: Writer, entry: Entry) -> Entry | None:
        """Finish a body below, and see to it that nothing older is above."""
        self._turns.pop(entry.key, None)
        await self._forget(entry.key)
        try:
            return await writer.finish(entry)
        finally:
            self._turns.pop(entry.key, None)
            self._checked.discard(entry.key)

    async def _fill(self, key: str, found: tuple[Entry, ...], turn: object) -> None:
        """Have the first store give the same as the second did; nothing, if that is too long for it.

        It is not believed before, and not at all if somebody put or removed something meanwhile.
        """

        def mine() -> bool:
            return self._turns.get(key) is turn

        with suppress(StoreError):
            if mine():
                self._checked.discard(key)
                await self.first.delete(key)
            for entry in reversed(_short(found)):
                if mine():
                    await self.first.put(entry)
            if mine():
                self._checked.add(key)

    async def _forget(self, key: str) -> None:
        self._checked.discard(key)
        with suppress(StoreError):
            await self.first.delete(key)

    async def _everywhere(self, remove: Callable[[Store], Awaitable[int]]) -> int:
        """Remove something from both: below first, so that nobody reads it there and keeps it above."""
        try:
            below = await remove(self.second)
        finally:
            self._turns.clear()
            try:
                above = await remove(self.first)
            except BaseException:
                self._checked.clear()  # what is left there may be what was to go
                raise
        return max(above, below)

    async def _pay(self, key: str) -> bool:
        """Whether the second store has nothing old of ``key`` any more."""
        if await self._below(_counted(self.second.delete(key))) is None:
            return False
        self._owed.pop(key, None)
        return True

    def _owe(self, key: str) -> None:
        self._owed[key] = None
        if len(self._owed) > _OWED:
            del self._owed[next(iter(self._owed))]

    async def _below(self, work: Awaitable[T]) -> T | None:
        """What the second store says; None while it is in trouble."""
        try:
            result = await work
        except StoreError as error:
            if not self._failing:
                _logger.warning("%r goes on without its second store: %s", self, error)
            self._failing = True
            return None
        self._failing = False
        return result


class _Writer:
    """A long body on its way into the second store."""

    def __init__(self, writer: Writer, finish: Callable[[Entry], Awaitable[Entry | None]]) -> None:
        self._finish = finish
        self.write = writer.write
        self.discard = writer.discard

    async def finish(self, entry: Entry) -> Entry | None:
        return await self._finish(entry)


class _Checked:
    """Keys that were added in the last ``seconds``, in two generations of half that time, or of ``most`` keys, each."""

    def __init__(self, seconds: float | None, clock: Clock, most: int = _CHECKED) -> None:
        self._most = most
        self._half = float("inf") if seconds is None else seconds / 2
        self._monotonic = clock.monotonic
        self._turn = self._monotonic() + self._half
        self._young: set[str] = set()
        self._old: set[str] = set()

    def __contains__(self, key: str) -> bool:
        now = self._monotonic()
        if now >= self._turn:
            late = now >= self._turn + self._half
            self._old, self._young = (set() if late else self._young), set()
            self._turn = (now if late else self._turn) + self._half
        return key in self._young or key in self._old

    def add(self, key: str) -> None:
        if key in self:  # also begins a new generation, if it is time
            self._old.discard(key)
        self._young.add(key)
        if len(self._young) >= self._most:
            self._old, self._young = self._young, set()

    def discard(self, key: str) -> None:
        self._young.discard(key)
        self._old.discard(key)

    def clear(self) -> None:
        self._young.clear()
        self._old.clear()


async def _counted(work: Awaitable[None]) -> int:
    await work
    return 0


def _short(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """All of them; none if one has a body that only the second store could read."""
    return entries if all(isinstance(entry.body, bytes) for entry in entries) else ()
