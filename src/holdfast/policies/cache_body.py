"""Keeping a body while somebody else reads it.

It never reads ahead of the caller, holds no more than its limit, and calls a body whole only when the wire said
that it ended and its length is the one that was declared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from holdfast._body import Body
from holdfast.core.caching.fields import Headers, delta_seconds

__all__ = ["Recording", "declared_length", "read_body"]


class Recording:
    """Stands around each read of a chunk (`holdfast._body.Guard`) and keeps what passes, up to ``limit`` bytes.

    ``whole`` is awaited with the body before the reader learns of its end; ``cut`` is called instead, once,
    when the body fails, is abandoned, or passes the limit: from then on nothing is kept. ``passed`` is called
    for each chunk. Belongs to one response.
    """

    __slots__ = ("_chunks", "_cut", "_length", "_limit", "_passed", "_size", "_whole")

    def __init__(
        self,
        chunks: list[bytes],
        *,
        limit: int,
        length: int | None,
        whole: Callable[[bytes], Awaitable[None]],
        cut: Callable[[], None],
        passed: Callable[[], None],
    ) -> None:
        self._chunks: list[bytes] | None = chunks
        self._size = sum(map(len, chunks))
        self._limit = limit
        self._length = length
        self._whole = whole
        self._cut = cut
        self._passed = passed

    async def next(self, chunks: AsyncIterator[bytes]) -> bytes:
        try:
            chunk = await chunks.__anext__()
        except StopAsyncIteration:
            kept, self._chunks = self._chunks, None
            if kept is not None and (self._length is None or self._length == self._size):
                await self._whole(b"".join(kept))
            elif kept is not None:
                self._cut()
            raise
        if self._chunks is not None:
            self._size += len(chunk)
            if self._size > self._limit:
                self._drop()
            else:
                self._chunks.append(chunk)
                self._passed()
        return chunk

    def ended(self, error: BaseException | None, complete: bool) -> None:
        """The body's watcher: an end that `next` has not seen is not a whole body."""
        self._drop()

    def _drop(self) -> None:
        if self._chunks is not None:
            self._chunks = None
            self._cut()


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
