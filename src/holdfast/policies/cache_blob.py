"""Bodies that are too long to be held in memory: on their way into a store, and out of one.

A store may slow the reader of such a body down a little, never stop or fail a call that the origin can answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Final

from holdfast._wire import Family, Q, R
from holdfast.core.caching.entry import Entry
from holdfast.policies.cache_store import Shelf
from holdfast.stores.base import Writer

__all__ = ["Reading", "Spool"]

_SAVINGS: Final = 10
"""Timeouts that a store may save up: a checkpoint of SQLite's or a busy disk takes half a second now and then."""


class Spool:
    """A body on its way into the store. Belongs to one response.

    Each piece may take the shelf's timeout and what earlier ones left of theirs, up to ten timeouts. A store that is
    slower, or fails, is given up, with this body. Cancellation is for `aclose` to clean up after.
    """

    __slots__ = ("_patience", "_shelf", "_writer")

    def __init__(self, shelf: Shelf, writer: Writer, patience: float) -> None:
        self._shelf = shelf
        self._writer: Writer | None = writer
        self._patience = patience

    @classmethod
    async def begin(cls, shelf: Shelf) -> Spool | None:
        """None if the store is in trouble, or takes no long bodies."""
        if shelf.streaming is None:
            return None
        until = shelf.clock.monotonic() + shelf.timeout
        writer = await shelf.run(shelf.streaming.writer)
        # The first piece may take what is left of the time: a store that is down costs a call one timeout.
        return None if writer is None else cls(shelf, writer, until - shelf.clock.monotonic())

    async def write(self, piece: bytes) -> bool:
        """Whether storing goes on."""
        writer, shelf = self._writer, self._shelf
        if writer is None:
            return False
        until = shelf.clock.monotonic() + self._patience
        written = await shelf.run(lambda: writer.write(piece), self._patience)
        if written:
            saved = until - shelf.clock.monotonic()
            self._patience = min(saved + shelf.timeout, _SAVINGS * shelf.timeout)
            return True
        if written is None:
            self._writer = None
            shelf.orphans.append(_Discarding(writer))  # it had its time; the next operation looks after it
        else:
            await self.aclose()
        return False

    async def finish(self, entry: Entry, mark: int) -> Entry | None:
        """The entry as it is stored; None if it is not."""
        writer = self._writer
        if writer is None:
            return None
        stored = await self._shelf.commit(lambda: writer.finish(entry), entry, mark, self._patience)
        if stored is None:
            await self.aclose()
        self._writer = None
        return stored

    async def aclose(self) -> None:
        """Forget what was written, unless it is stored. Safe to call again, and when cancelled."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await self._shelf.close(_Discarding(writer))

    def __del__(self) -> None:
        if self._writer is not None:
            self._shelf.orphans.append(_Discarding(self._writer))


class _Discarding:
    __slots__ = ("aclose",)

    def __init__(self, writer: Writer) -> None:
        self.aclose = writer.discard


class Reading:
    """A stored body on its way to a caller: a `Stream` that fails like one from the wire, with the family's ReadError.

    Each piece may take the caller's own read timeout. Not shared.
    """

    __slots__ = ("_chunks", "_first", "_left", "_make_error", "_patience", "shelf")

    def __init__(
        self,
        shelf: Shelf,
        chunks: AsyncGenerator[bytes, None],
        first: bytes,
        left: int,
        *,
        patience: float | None,
        make_error: Callable[[str], Exception],
    ) -> None:
        self.shelf = shelf
        self._chunks = chunks
        self._first: bytes | None = first
        self._left = left
        self._patience = patience
        self._make_error = make_error
        shelf.lent.add(self)

    @classmethod
    async def open(
        cls, shelf: Shelf, entry: Entry, family: Family[Q, R], request: Q, start: int = 0, stop: int | None = None
    ) -> Reading | None:
        """Bytes ``start`` to ``stop`` of ``entry``, the first piece read already; None if that cannot be had.

        So a body that is gone is a miss, and not a broken answer.
        """
        if shelf.streaming is None:
            return None
        chunks = shelf.streaming.read(entry, start)
        try:
            first = await shelf.run(chunks.__anext__)
        except BaseException:
            await shelf.close(chunks)
            raise
        if first is None:
            await shelf.close(chunks)
            return None
        timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
        return cls(
            shelf,
            chunks,
            first,
            (entry.size if stop is None else stop) - start,
            patience=timeouts.get("read"),
            make_error=lambda message: family.read_error(message, request),
        )

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        chunk, self._first = self._first, None
        try:
            if chunk is None:
                chunk = await self._next()
        except StopAsyncIteration:
            raise self._broken(f"{self._left} bytes are missing") from None
        except Exception as error:  # a store of somebody else's making
            raise self._broken(f"{type(error).__name__}: {error}") from error
        if chunk is None:
            raise self._broken(f"nothing came for {self._patience} s")
        chunk = chunk[: self._left]
        self._left -= len(chunk)
        return chunk

    async def _next(self) -> bytes | None:
        if self._patience is None:
            return await self._chunks.__anext__()
        with self.shelf.clock.timeout_at(self.shelf.clock.monotonic() + self._patience):
            return await self._chunks.__anext__()
        return None

    def _broken(self, problem: str) -> Exception:
        self.shelf.fault(problem)
        return self._make_error(f"the stored body broke off: {problem}")

    async def aclose(self) -> None:
        self.shelf.lent.discard(self)
        await self.shelf.close(self._chunks)
