"""Parts of a body that are stored: around what the origin sends of the rest, or read back to be put together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

from holdfast._body import Body, Stream
from holdfast._wire import Family, Q, R
from holdfast.core.caching.entry import Entry
from holdfast.core.caching.parts import Completed
from holdfast.policies.cache_blob import Reading
from holdfast.policies.cache_store import Shelf

__all__ = ["filled", "in_memory"]


async def filled(shelf: Shelf, family: Family[Q, R], request: Q, held: Entry, made: Completed, rest: R) -> R | None:
    """The whole answer, a 200, from what is stored and the ``rest``; None if the store has lost its part.

    Closing it closes ``rest``, whose place it takes. It fails with the family's ReadError if ``rest`` is of another
    length: what comes behind it would not be where it belongs.
    """
    before = await _piece(shelf, family, request, held, 0, made.before)
    if before is None:
        return None
    after = await _piece(shelf, family, request, held, held.size - made.after, held.size)
    if after is None:
        await before.aclose()
        return None
    inside = family.body(rest)
    extensions = {name: value for name, value in rest.extensions.items() if name != "reason_phrase"}
    filling = _Filling(before, inside, made.size, after, lambda message: family.read_error(message, request))
    response = family.response(request, 200, made.headers, b"", extensions, rest=filling)
    family.body(response).orphans = inside.orphans
    return response


async def in_memory(shelf: Shelf, family: Family[Q, R], request: Q, entry: Entry) -> Entry:
    """The entry with its body in memory; as it is, if that cannot be had."""
    body = await _piece(shelf, family, request, entry, 0, entry.size)
    if body is None:
        return entry
    try:
        return replace(entry, body=b"".join([chunk async for chunk in body.__aiter__()]))
    except family.transport_error:  # the store's, and not the caller's
        return entry
    finally:
        await body.aclose()


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
