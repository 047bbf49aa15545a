"""How does a long body leave, and how far is it? From a file, which may be read again, or from a stream, which may not.

Files are read in threads, block by block, and are open no longer than a block takes: nothing is left open by a
request that was given up half-way.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Callable
from pathlib import Path
from typing import Final, TypeAlias

import anyio.to_thread

from holdfast.errors import InvalidInput

__all__ = ["OnProgress", "Upload"]

OnProgress: TypeAlias = Callable[[int, "int | None"], object]
"""Called on the event loop with the bytes so far, and those that there will be (None: nobody knows)."""

_BLOCK: Final = 256 * 1024


class Upload:
    """A body for ``content=``, or a file of ``files=``: a file by its path, or an async iterator of bytes.

    A file has a Content-Length and is read anew for each attempt, so a call that may be sent again is. A stream is
    sent once: an attempt that failed after it began is not repeated. ``size``: the bytes of a stream, where they are
    known; without it they go out in chunks. ``progress(bytes, total)`` is called on the event loop as the transport
    takes them, from 0 for each attempt. ``block``: bytes read from a file at once. Memory is constant.

    Sending raises OSError for a file that is not there, or that changes meanwhile, and `InvalidInput` for a stream
    that was sent before.

    >>> Upload("disk.img", size=7)
    Traceback (most recent call last):
    holdfast.errors.InvalidInput: a file knows its size; size= is for a stream
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | AsyncIterable[bytes],
        *,
        size: int | None = None,
        progress: OnProgress | None = None,
        block: int = _BLOCK,
    ) -> None:
        if isinstance(source, AsyncIterable):
            self._path: Path | None = None
            self._stream: AsyncIterable[bytes] | None = source
        else:
            self._path, self._stream = Path(source), None
        if self._path is not None and size is not None:
            raise InvalidInput("a file knows its size; size= is for a stream", argument="size")
        if block < 1 or (size is not None and size < 0):
            raise InvalidInput("block must be at least 1 byte, and size at least 0", argument="block")
        self._size = size
        self._progress = progress
        self._block = block
        self._begun = False

    @property
    def path(self) -> Path | None:
        """The file; None for a stream."""
        return self._path

    @property
    def replayable(self) -> bool:
        """Whether it can be sent again."""
        return self._path is not None

    def length(self) -> int | None:
        """Bytes that there are to send; None if nobody knows. Raises OSError."""
        return self._size if self._path is None else self._path.stat().st_size

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self._path is not None:
            return _Reported(_FileBlocks(self._path, self._block), self.length(), self._progress)
        assert self._stream is not None, "one of the two"
        if self._begun:
            raise InvalidInput("this stream was sent before, and cannot be sent again", argument="content")
        self._begun = True
        return _Reported(self._stream.__aiter__(), self._size, self._progress)


class _Reported:
    """Tells of each piece once the next is asked for, which is when the transport has taken it."""

    def __init__(self, pieces: AsyncIterator[bytes], total: int | None, progress: OnProgress | None) -> None:
        self._pieces = pieces
        self._total = total
        self._progress = progress
        self._taken = 0
        self._given = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._progress is not None and self._given > self._taken:
            self._taken = self._given
            self._progress(self._taken, self._total)
        piece = await self._pieces.__anext__()
        self._given += len(piece)
        return piece


class _FileBlocks:
    def __init__(self, path: Path, block: int) -> None:
        self._path = path
        self._block = block
        self._at = 0
        self._first: tuple[int, int, int] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        block = await anyio.to_thread.run_sync(self._read)
        if not block:
            raise StopAsyncIteration
        return block

    def _read(self) -> bytes:
        with self._path.open("rb", buffering=0) as file:
            told = os.fstat(file.fileno())
            state = (told.st_ino, told.st_size, told.st_mtime_ns)
            if self._first not in (None, state):  # half of one file and half of another is neither
                raise OSError(f"{self._path} changed while it was being sent")
            self._first = state
            file.seek(self._at)
            block = file.read(self._block)
            self._at += len(block)
            return block
