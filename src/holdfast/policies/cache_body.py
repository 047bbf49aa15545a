"""Keeping a body while somebody else reads it.

It never reads ahead of the caller, holds no more than its limit, and calls a body whole only when the wire said
that it ended and its length is the one that was declared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from holdfast._body import Body
from holdfast.core.caching.fields import Headers, delta_seconds
from holdfast.policies.cache_blob import Spool
from holdfast.policies.cache_store import Shelf

__all__ = ["Recording", "declared_length", "read_body"]


class Recording:
    """A body on its way to its reader, of which a copy is kept: a `Stream` around another body.

    The copy is in memory up to ``memory`` bytes, then it goes into the store; over ``limit`` bytes nothing is kept.
    ``whole`` is awaited with the copy before the reader learns of the end. ``cut`` is called instead when the body
    fails, is abandoned, passes the limit, or is too fast for the store. ``passed`` is called for each chunk.
    Belongs to one response; cancellation ends it like any failure.
    """

    __slots__ = (
        "_body",
        "_chunks",
        "_cut",
        "_held",
        "_length",
        "_limit",
        "_memory",
        "_passed",
        "_shelf",
        "_size",
        "_spool",
        "_whole",
    )

    def __init__(
        self,
        body: Body,
        shelf: Shelf,
        *,
        memory: int,
        limit: int,
        length: int | None,
        whole: Callable[[bytes | Spool], Awaitable[None]],
        cut: Callable[[], None],
        passed: Callable[[], None],
    ) -> None:
        self._body = body
        self._shelf = shelf
        self._memory = memory
        self._limit = limit
        self._length = length
        self._whole = whole
        self._cut = cut
        self._passed = passed
        self._chunks: list[bytes] | None = []
        self._held = 0  # bytes in _chunks
        self._size = 0
        self._spool: Spool | None = None

    @property
    def keeping(self) -> bool:
        """Whether there is still a copy in the making."""
        return self._chunks is not None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._body.__anext__()
        except StopAsyncIteration:
            if self._chunks is not None:
                await self._finish(self._chunks)
            raise
        if self._chunks is not None:
            await self._keep(self._chunks, chunk)
        return chunk

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            await self._drop()

    async def _keep(self, chunks: list[bytes], chunk: bytes) -> None:
        self._size += len(chunk)
        self._held += len(chunk)
        chunks.append(chunk)
        if self._size > self._limit or (self._held > self._memory and not await self._spill(chunks)):
            await self._drop()
        else:
            self._passed()

    async def _spill(self, chunks: list[bytes]) -> bool:
        """Hand what is held to the store; False if it does not take it."""
        piece = b"".join(chunks)
        chunks.clear()
        self._held = 0
        if self._spool is None:
            self._spool = await Spool.begin(self._shelf)
        return self._spool is not None and await self._spool.write(piece)

    async def _finish(self, chunks: list[bytes]) -> None:
        if self._length is not None and self._length != self._size:
            await self._drop()
        elif self._spool is None:
            self._chunks = None
            await self._whole(b"".join(chunks))
        elif chunks and not await self._spill(chunks):
            await self._drop()
        else:
            self._chunks = None
            await self._whole(self._spool)

    async def _drop(self) -> None:
        """Keep nothing of it, also in the store; again: nothing happens."""
        spool, self._spool = self._spool, None
        if self._chunks is not None:
            self._chunks = None
            self._cut()
        if spool is not None:
            await spool.aclose()


async def read_body(body: Body, limit: int, wanted: Callable[[], bool]) -> tuple[list[bytes], bool]:
    """The chunks up to the end (True), or until they pass ``limit`` or are not ``wanted`` any more (False)."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in body:
        chunks.append(chunk)
        size += len(chunk)
        if size > limit or not wanted():
            return chunks, False
    return chunks, True


def declared_length(headers: Headers) -> int | None:
    """Content-Length in bytes; None if there is none, or one that cannot be read."""
    for name, value in headers:
        if len(name) == 14 and name.lower() == b"content-length":
            return delta_seconds(value.strip(b" \t"))
    return None
