"""What becomes of an answer that its caller does not get: it is closed, or put aside while something else is tried.

Either way its connection comes free; and one that was put aside may yet be the last.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import anyio

from holdfast._body import Body
from holdfast._wire import Family, Q, R, ResponseLike
from holdfast.clock import Clock
from holdfast.errors import BodyDropped

__all__ = ["close", "set_aside"]

_BYTES = 64 * 1024
_SECONDS = 0.25
_DROPPED = "the rest of this body was dropped to free its connection for another request, which brought nothing better"


async def close(response: ResponseLike) -> None:
    """Give its connection back, whoever leaves meanwhile."""
    with anyio.CancelScope(shield=True):
        await response.aclose()


async def set_aside(response: R, request: Q, family: Family[Q, R], clock: Clock) -> None:
    """Take the response off the wire, and keep what was read: at most 64 KiB, in at most a quarter of a second.

    Where that is not all, reading on raises `BodyDropped`. The response itself stays open.
    """
    if response.is_closed:
        return
    body = family.body(response)
    if body.in_memory:
        return
    chunks: list[bytes] = []
    # In HTTP/2 another request needs no connection, so there is nothing to drain it for.
    whole = response.extensions.get("http_version") != b"HTTP/2" and await _drain(body, chunks, family, clock)
    await body.aclose()
    rest = None if whole else _Dropped(lambda: family.refusal(BodyDropped(_DROPPED), request))
    family.rebody(response, chunks, rest=rest)


async def _drain(body: Body, chunks: list[bytes], family: Family[Q, R], clock: Clock) -> bool:
    """Read a small rest of a body into ``chunks``; False if it is long, slow or broken."""
    size, until = 0, clock.monotonic() + _SECONDS
    with clock.timeout_at(until + family.grace):
        try:
            async for chunk in body:
                chunks.append(chunk)
                size += len(chunk)
                if size > _BYTES or clock.monotonic() > until:
                    return False
        except family.transport_error:
            return False
        return True
    return False


class _Dropped:
    """The rest of a body that was given up, in case its head is the last real answer after all."""

    def __init__(self, make_error: Callable[[], Exception]) -> None:
        self._make_error = make_error

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        raise self._make_error()

    async def aclose(self) -> None:
        """Nothing is held."""
