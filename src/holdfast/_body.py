"""A response's body on its way to the caller, and who is told when it ends.

A permit, a circuit, a pool and a cache all need to know when and how a body ended. They watch one
`Body` instead of wrapping the stream once each. It never reads ahead, unless it is told to `load`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from typing import Protocol, TypeVar

import anyio

__all__ = ["Body", "Guard", "Stream", "Watcher"]

Watcher = Callable[["BaseException | None", bool], None]
"""Called once with (error, complete): ``(None, True)`` when the body was read to its end and closed, ``(None,
False)`` when the caller closed early or dropped the response, else the exception that ended it. It must
neither raise nor wait."""


class Stream(Protocol):
    """A body on the wire: what both families call ``AsyncByteStream``."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def aclose(self) -> None: ...


S = TypeVar("S", bound=Stream)


class Orphans(Protocol):
    """Where streams wait that were dropped unclosed."""

    def append(self, stream: Stream, /) -> None: ...


class Guard(Protocol):
    """Stands around each read of a chunk, as the deadline does that covers the body."""

    async def next(self, chunks: AsyncIterator[bytes]) -> bytes:
        """The next chunk, or ``StopAsyncIteration``, or an error of the guard's own."""
        ...


class Body:
    """``chunks`` that are here already, then ``rest`` from the wire. Each family subclasses it.

    Not shared: one body belongs to one response. A read that is cancelled or fails ends the body and closes
    the stream. A body that is dropped unclosed warns (ResourceWarning), lets its watchers free what they
    hold, and leaves its stream in ``orphans`` for the transport to close: a finalizer cannot wait.
    """

    __slots__ = ("_chunks", "_complete", "_reading", "_rest", "_watchers", "guard", "orphans")

    def __init__(self, chunks: Iterable[bytes] = (), rest: Stream | None = None) -> None:
        self._chunks: Iterator[bytes] | None = None if chunks == () else iter(chunks)
        self._rest = rest
        self._reading: AsyncIterator[bytes] | None = None
        self._watchers: tuple[Watcher, ...] = ()
        self._complete = False
        self.guard: Guard | None = None
        self.orphans: Orphans | None = None

    @property
    def in_memory(self) -> bool:
        """True if nothing of it is on the wire any more, so that it holds no connection."""
        return self._rest is None

    def peek(self) -> bytes:
        """What of it is in memory, which stays to be read."""
        chunks = list(self._chunks or ())
        self._chunks = iter(chunks)
        return b"".join(chunks)

    def take(self) -> Iterable[bytes]:
        """What of it is in memory, for the one who reads it."""
        chunks, self._chunks = self._chunks, None
        return chunks or ()

    def over(self, wrapping: Callable[[Stream], S]) -> S:
        """Put a stream of one's own around the one below, before anything of it was read."""
        assert self._rest is not None, "nothing of this body is on the wire"
        assert self._reading is None, "this body is being read"
        self._rest = wrapped = wrapping(self._rest)
        return wrapped

    def watch(self, watcher: Watcher) -> None:
        """Tell ``watcher`` how the body ended; at once with (None, True) if it is in memory."""
        if self._rest is None:
            watcher(None, True)
        else:
            self._watchers += (watcher,)

    async def load(self, limit: int | None, wanted: Callable[[], bool] | None = None) -> None:
        """Read it into memory, but not beyond the chunk that passes ``limit`` bytes (None: to its end).

        It stops too when it is not ``wanted`` any more, asked after each chunk. What was read stays to be read, and
        the rest follows it from the wire. Fails like any read.
        """
        rest = self._rest
        if rest is None:
            return
        chunks = [] if self._chunks is None else [*self._chunks]
        size, most = 0, sys.maxsize if limit is None else limit
        reading = self._reading
        if reading is None:
            reading = self._reading = rest.__aiter__()
        try:
            async for chunk in reading if self.guard is None else self:
                chunks.append(chunk)
                size += len(chunk)
                if size > most or (wanted is not None and not wanted()):
                    break
            else:
                self._complete = True
        except BaseException as error:
            await self.fail(error)
            raise
        if self._complete:
            await self.aclose()
        self._chunks = iter(chunks)

    def chunks(self) -> AsyncIterator[bytes]:
        """As iterating over it, for a reader that says how it ended: `read_whole`, `fail`, or just `aclose`.

        That saves a coroutine for each chunk.
        """
        if self._rest is None or self._reading is not None or self._chunks is not None or self.guard is not None:
            return self
        self._reading = self._rest.__aiter__()
        return self._reading

    def read_whole(self) -> None:
        """There are no more `chunks`."""
        self._complete = True

    async def fail(self, error: BaseException) -> None:
        """Reading `chunks` failed."""
        if self._rest is not None:  # a read with a guard has ended it already
            await self._end(error)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._chunks is not None:
            for chunk in self._chunks:
                return chunk
            self._chunks = None
        reading = self._reading
        if reading is None:
            if self._rest is None:
                raise StopAsyncIteration
            reading = self._reading = self._rest.__aiter__()
        elif self._complete:
            raise StopAsyncIteration
        try:
            if self.guard is None:
                return await reading.__anext__()
            return await self.guard.next(reading)
        except StopAsyncIteration:
            self._complete = True
            raise
        except BaseException as error:
            await self._end(error)
            raise

    async def aclose(self) -> None:
        """Close the stream below; it is closed to the end even when cancelled. Safe to call again."""
        self._chunks = None
        rest = self._rest
        if rest is None:
            return
        if not self._complete:
            await self._end(None)
            return
        self._rest = self._reading = None
        try:
            await rest.aclose()  # nothing to wait for: no shield, which costs more than the call
        finally:
            self._tell(None)

    async def _end(self, error: BaseException | None) -> None:
        rest, self._rest = self._rest, None
        reading, self._reading = self._reading, None
        assert rest is not None, "a body ends once"
        try:
            with anyio.CancelScope(shield=True):
                try:
                    if isinstance(reading, AsyncGenerator):  # trio warns of one that is left to the collector
                        await reading.aclose()
                finally:
                    await rest.aclose()
        finally:
            self._tell(error)

    def _tell(self, error: BaseException | None) -> None:
        if watchers := self._watchers:
            self._watchers = ()
            for watcher in watchers:
                watcher(error, self._complete)

    def __del__(self) -> None:
        rest = self._rest
        if rest is None:
            return
        self._rest = self._reading = None
        self._tell(None)
        if isinstance(rest, Body):
            return  # its own finalizer does the rest
        if self.orphans is not None:
            self.orphans.append(rest)
        warnings.warn(
            "a streamed response was dropped without being closed; use `async with client.stream(...)`",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )
