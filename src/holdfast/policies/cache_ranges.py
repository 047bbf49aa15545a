"""Parts of an answer that are stored: put together as they come, and around the rest that the origin sends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, Generic

import anyio

from holdfast._body import Body, Stream
from holdfast._wire import Family, Q, R
from holdfast.core.caching.entry import Entry
from holdfast.core.caching.parts import PARTIAL, Completed, joined, same_bytes
from holdfast.policies.cache_blob import Reading, Spool
from holdfast.policies.cache_store import Shelf

__all__ = ["Parts", "filled"]

_LONGEST: Final = 8 * 1024 * 1024


class Parts(Generic[Q, R]):
    """The parts that one transport stores. They are put together in memory, so there they are at most 8 MiB.

    One at a time for each key, so that two which end at once do not each miss the other. What another process
    stores meanwhile may be lost: it is fetched again. Nothing of this fails a call.
    """

    def __init__(self, shelf: Shelf, family: Family[Q, R], max_entry_bytes: int) -> None:
        self._shelf = shelf
        self._family = family
        self.limit = min(max_entry_bytes, _LONGEST)
        self._joining: dict[str, anyio.Lock] = {}

    async def join(self, request: Q, url: str, part: Entry, mark: int) -> bool:
        """Store a part together with what there is of the same bytes; False if nothing was stored."""
        async with self._alone(part.key):
            beside = await self._beside(part, url)
            if beside is not None and beside.status == PARTIAL and beside.size <= self.limit:
                beside = await self._in_memory(request, beside)
            entry = joined(beside, part, self.limit)
            return entry is not None and await self._shelf.put(entry, mark)

    async def keep_torn(self, request: Q, url: str, part: Entry, kept: bytes | Spool, size: int, mark: int) -> bool:
        """Store what came of an answer that broke off, ``size`` bytes, so that the next call asks for the rest only."""
        beside = await self._beside(part, url)
        if beside is not None and beside.status != PARTIAL:
            return False  # a whole answer, if a stale one, is of more use than a part
        if isinstance(kept, bytes):
            return await self.join(request, url, part.with_body(kept), mark)
        if beside is not None and beside.size > size and same_bytes(beside, part):
            return False
        return await kept.finish(part, mark) is not None

    async def _beside(self, part: Entry, url: str) -> Entry | None:
        """The entry whose place ``part`` would take."""
        stored = await self._shelf.get(part.key, url)
        same = (part.vary, part.variant)
        return next((entry for entry in stored if (entry.vary, entry.variant) == same), None)

    async def _in_memory(self, request: Q, entry: Entry) -> Entry:
        """The entry with its body in memory; as it is, if that cannot be had."""
        body = await _piece(self._shelf, self._family, request, entry, 0, entry.size)
        if body is None:
            return entry
        try:
            return entry.with_body(b"".join([chunk async for chunk in body]))
        except self._family.transport_error:  # the store's, and not the caller's
            return entry
        finally:
            await body.aclose()

    @asynccontextmanager
    async def _alone(self, key: str) -> AsyncGenerator[None, None]:
        lock = self._joining.setdefault(key, anyio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._joining.get(key) is lock:
                del self._joining[key]


async def filled(shelf: Shelf, family: Family[Q, R], request: Q, held: Entry, made: Completed, rest: R) -> R | None:
    """The whole answer, a 200, from what is stored and the ``rest``; None if the store has lost its part.

    Closing it closes ``rest``, whose place it takes. It fails with the family's ReadError if ``rest`` is of another
    length: what comes behind it would not be where it belongs.
    """
    before = await _piece(shelf, family, request, held, 0, made.before)
    if before is None:
        return None
    after = None
    try:
        after = await _piece(shelf, family, request, held, held.size - made.after, held.size)
    finally:
        if after is None:
            await before.aclose()
    if after is None:
        return None
    inside = family.body(rest)
    extensions = {name: value for name, value in rest.extensions.items() if name != "reason_phrase"}
    filling = _Filling(before, inside, made.size, after, lambda message: family.read_error(message, request))
    response = family.response(request, 200, made.headers, b"", extensions, rest=filling)
    family.body(response).orphans = inside.orphans
    return response


async def _piece(shelf: Shelf, family: Family[Q, R], request: Q, entry: Entry, start: int, stop: int) -> Stream | None:
    if start == stop:
        return Body()
    if isinstance(entry.body, bytes):
        return Body((entry.body[start:stop],))
    return await Reading.open(shelf, entry, family, request, start, stop)


class _Filling:
    """``size`` bytes of another stream, between two that are stored."""

    def __init__(
        self, before: Stream, rest: Stream, size: int, after: Stream, make_error: Callable[[str], Exception]
    ) -> None:
        self._before = before
        self._rest = rest
        self._size = size
        self._after = after
        self._make_error = make_error

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        async for chunk in self._before:
            yield chunk
        left = self._size
        async for chunk in self._rest:
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
        if left:
            raise self._make_error(f"the rest of a stored body has {self._size - left} bytes instead of {self._size}")
        async for chunk in self._after:
            yield chunk

    async def aclose(self) -> None:
        try:
            await self._rest.aclose()
        finally:
            for stored in (self._before, self._after):
                await stored.aclose()
