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
    fails, is abandoned, passes the limit, or is too fast for the store. If it broke off, ``torn`` is awaited before
    that with what there is, and its size. ``passed`` is called for each chunk. Belongs to one response.
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
        "_reading",
        "_shelf",
        "_size",
        "_spool",
        "_torn",
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
        torn: Callable[[bytes | Spool, int], Awaitable[None]],
        cut: Callable[[], None],
        passed: Callable[[], None],
    ) -> None:
        self._body = body
        self._reading: AsyncIterator[bytes] | None = None
        self._shelf = shelf
        self._memory = memory
        self._limit = limit
        self._length = length
        self._whole = whole
        self._torn = torn
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
        if self._reading is None:  # an `async for` over what was given out as an iterator asks again
            self._reading = self._body.chunks()
        return self

    async def __anext__(self) -> bytes:
        assert self._reading is not None, "it is iterated over"
        try:
            chunk = await self._reading.__anext__()
        except StopAsyncIteration:
            self._body.read_whole()
            if self._chunks is not None and self._length in (None, self._size):
                await self._finish(self._chunks, whole=True)
            else:
                await self._drop()
            raise
        except BaseException as error:
            await self._body.fail(error)
            if self._chunks is not None and isinstance(error, Exception):
                await self._finish(self._chunks, whole=False)
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

    async def _finish(self, chunks: list[bytes], whole: bool) -> None:
        if self._spool is not None and chunks and not await self._spill(chunks):
            return await self._drop()
        kept = b"".join(chunks) if self._spool is None else self._spool
        if whole:
            self._chunks = None
            return await self._whole(kept)
        try:
            await self._torn(kept, self._size)
        finally:
            await self._drop()

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
