"""Stored answers in one SQLite file, which survives the process and may be shared by several.

Here is what waits: each operation goes to a worker thread once, and comes back. What it does there is in
`sqlite_rows`, with long bodies in `sqlite_pieces`, and the file itself in `sqlite_file`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import anyio

from holdfast.clock import Clock, SystemClock
from holdfast.core.caching.entry import Entry
from holdfast.stores.base import StoreError, Writer
from holdfast.stores.encoding import epoch_of
from holdfast.stores.sqlite_file import PAGE_BYTES, File
from holdfast.stores.sqlite_pieces import BATCH, BATCH_BYTES, LEASE, PIECE_BYTES, new_long, number_of
from holdfast.stores.sqlite_rows import Tables
from holdfast.stores.sqlite_threads import Threads

__all__ = ["SQLiteStore"]

_SMALLEST: Final = 1024 * 1024
_LONGEST_LOG: Final = 1000  # pages, SQLite's own default
_PARTING: Final = 0.1  # seconds to say goodbye in, also when cancelled; a file that is locked learns it by the lease
_LARGEST_PIECE: Final = 64 * 1024  # the most that `read` yields at once


class SQLiteStore:
    """Keeps answers in the file ``path``, which only its owner can read; made when it is first used.

    ``max_bytes`` bounds the file (at least 1 MiB): what was used longest ago is forgotten. A body above 256 KiB is
    given back as a `Blob`. ``busy_timeout`` is in seconds: for so long an operation waits for another process
    that writes. Raises ValueError for settings out of range.

    >>> SQLiteStore("answers.db", max_bytes=100_000_000)
    SQLiteStore('answers.db', max_bytes=100000000)

    Serves asyncio and trio, several event loops, one after the other or at once in several threads, and several
    processes. A call that is cancelled returns at once; what it began in its thread is done whole or not at all.
    Whoever made it closes it, with `aclose` or `async with`; using it after that opens the file again.

    A file that is damaged, of another version or not ours is renamed, with one warning in the log, and a new one
    begun. With ``create=False`` nothing is made or renamed: such a file, and one that is not there, is a `StoreError`.
    docs/stores.md tells what is in it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 256 * 1024 * 1024,
        max_variants: int = 32,
        busy_timeout: float = 1.0,
        create: bool = True,
        clock: Clock | None = None,
    ) -> None:
        if max_bytes < _SMALLEST:
            raise ValueError(f"max_bytes must be at least {_SMALLEST}, got {max_bytes}")
        if max_variants < 1:
            raise ValueError(f"max_variants must be at least 1, got {max_variants}")
        if not 0 < busy_timeout < float("inf"):
            raise ValueError(f"busy_timeout must be more than 0 seconds, got {busy_timeout}")
        if os.fspath(path) in ("", ":memory:"):
            raise ValueError(f"a file is needed, got {os.fspath(path)!r}; MemoryStore keeps answers in memory")
        self.path = Path(path)
        self.max_bytes = max_bytes
        clock = SystemClock() if clock is None else clock
        self._wall = clock.wall
        log_pages = max(16, min(_LONGEST_LOG, max_bytes // PAGE_BYTES // 20))
        self._threads = Threads(File(self.path, log_pages=log_pages, busy_timeout=busy_timeout, create=create))
        self._tables = Tables(clock=clock, epoch=epoch_of(clock), max_bytes=max_bytes, max_variants=max_variants)

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self.path)!r}, max_bytes={self.max_bytes})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def get(self, key: str) -> tuple[Entry, ...]:
        """All variants stored for ``key``, the one put last first."""
        return await self._threads.read(self._tables.find, key)

    async def put(self, entry: Entry) -> None:
        """Store an entry, unless it was purged since it came, or a later answer is here."""
        if not isinstance(entry.body, bytes) or len(entry.body) <= BATCH_BYTES:
            await self._threads.write(self._tables.store, entry)
            return
        writer = _Writer(self._threads, self._tables)  # a long transaction would be in everybody's way
        try:
            await writer.write(entry.body)
            await writer.finish(entry)
        finally:
            await writer.discard()

    async def delete(self, key: str) -> None:
        """Remove all variants of ``key``."""
        await self._threads.write(self._tables.delete, key)

    async def purge(self, url: str) -> int:
        """Remove every entry of a URL; an answer that any process has, and did not put yet, is not stored either."""
        return await self._threads.write(self._tables.purge, "url", url)

    async def purge_prefix(self, prefix: str) -> int:
        """Remove every entry whose URL begins with ``prefix``; as `purge` in all else."""
        return await self._threads.write(self._tables.purge, "prefix", prefix)

    async def purge_tag(self, tag: str) -> int:
        """Remove every entry that has ``tag``; as `purge` in all else."""
        return await self._threads.write(self._tables.purge, "tag", tag)

    async def clear(self) -> None:
        """Remove everything but the secret, and shrink the file."""
        await self._threads.write(self._tables.clear)

    async def aclose(self) -> None:
        """Close the file; operations that are still at work close it when they are done."""
        await self._threads.close()

    async def secret(self) -> bytes:
        """32 random bytes, made once for the file."""
        return await self._threads.read(self._tables.secret)

    async def entries(self, url: str | None = None) -> AsyncGenerator[Entry, None]:
        """Every entry, or those of ``url``, without its body, which is a `Blob` of the right size; the last put last.

        Spelled as in the keys, a URL is found without looking at the others.
        What is put or removed meanwhile may be in there or not. Close it (``aclose``), read to its end or not.
        """
        after: int | None = 0
        while after is not None:
            found, after = await self._threads.read(self._tables.listing, after, url)
            for entry in found:
                yield entry

    async def stats(self) -> dict[str, int]:
        """Figures of the file; keys are only added. The work grows with the number of entries."""
        return await self._threads.read(self._tables.figures)

    async def writer(self) -> Writer:
        """A new body. One that is not added to for ten minutes is given up."""
        return _Writer(self._threads, self._tables)

    async def read(self, entry: Entry, start: int = 0) -> AsyncGenerator[bytes, None]:
        """The body of an entry from byte ``start`` on. One that is not read on for ten minutes may be gone."""
        body = entry.body
        if isinstance(body, bytes):
            for begin in range(start, len(body), _LARGEST_PIECE):
                yield body[begin : begin + _LARGEST_PIECE]
            return
        long = number_of(body)
        if long is None:
            raise StoreError(f"{self.path}: {body.name!r} is no body of this store's")
        threads, tables = self._threads, self._tables
        index, skipped = divmod(start, PIECE_BYTES)
        last = -(-body.size // PIECE_BYTES) if start < body.size else 0
        hold, held_at = 0, self._wall()
        if last - index > BATCH:  # else one statement reads all of it, and that sees one state of the file
            hold = await threads.write(tables.hold, long)
        try:
            while index < last:
                if hold and abs(self._wall() - held_at) > LEASE / 2:
                    held_at = self._wall()
                    await threads.write(tables.renew, hold)
                pieces = await threads.read(tables.pieces.read, long, index)
                if sum(map(len, pieces)) != min(BATCH_BYTES, body.size - index * PIECE_BYTES):
                    raise StoreError(f"{self.path}: a body is damaged, or gone")
                index += BATCH
                for piece in pieces:
                    yield piece[skipped:] if skipped else piece
                    skipped = 0
        finally:
            if hold:
                with anyio.move_on_after(_PARTING, shield=True):
                    await threads.write(tables.release, hold)


class _Writer:
    """A body on its way into a `SQLiteStore`: up to 960 KiB of it in memory, the rest in the file."""

    def __init__(self, threads: Threads, tables: Tables) -> None:
        self._threads = threads
        self._tables = tables
        self._buffer = bytearray()
        self._long = new_long()
        self._size = 0  # bytes in the file
        self._hold = 0
        self._usable = True

    async def write(self, chunk: bytes) -> bool:
        self._check()
        left = memoryview(chunk)
        while left:
            room = BATCH_BYTES - len(self._buffer)
            self._buffer += left[:room]
            left = left[room:]
            if len(self._buffer) == BATCH_BYTES:
                await self._flush()
        return self._size + len(self._buffer) <= self._tables.max_bytes

    async def finish(self, entry: Entry) -> Entry | None:
        self._check()
        self._usable = False
        content = bytes(self._buffer)
        self._buffer.clear()
        if not self._hold:
            return await self._threads.write(self._tables.store, entry.with_body(content))
        stored = await self._threads.write(self._tables.finish, entry, self._long, self._size, content, self._hold)
        self._hold = 0
        return stored

    async def discard(self) -> None:
        self._usable = False
        self._buffer.clear()
        if self._hold:
            hold, self._hold = self._hold, 0
            with anyio.move_on_after(_PARTING, shield=True):
                await self._threads.write(self._tables.release, hold)

    def _check(self) -> None:
        if not self._usable:
            raise StoreError("this body is finished, discarded, or a write of it failed")

    async def _flush(self) -> None:
        content = bytes(self._buffer)
        self._buffer.clear()
        self._usable = False  # cancelled in here, nobody knows what is in the file
        self._hold = await self._threads.write(self._tables.append, self._long, self._size, content, self._hold)
        self._size += len(content)
        self._usable = True
