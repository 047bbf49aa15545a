"""How does the body of an open answer come in? Piece by piece, with a limit on the silence between two pieces."""

from __future__ import annotations

from random import random
from typing import TYPE_CHECKING, Any, Final, cast

import anyio

from holdfast._deadline import in_force
from holdfast.core.fault import Fault
from holdfast.errors import Closed, Refused, StatusError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from holdfast._wire import ClientFamily, ReceivedLike
    from holdfast.client.channel import Channel

__all__ = ["LONGEST_ASKED", "Incoming", "check_idle", "passes", "pause"]

_LONGEST_PAUSE: Final = 60.0
_LEAST: Final = 0.1  # seconds, to be doubled
LONGEST_ASKED: Final = 300.0
"""Seconds that a server may have its clients wait; beyond it a slip of theirs would be an outage."""


class Incoming:
    """One answer's body. Whoever opened it closes it, on every path; it belongs to one task.

    ``idle``: seconds that may pass before the next piece (None: any number).
    """

    def __init__(self, response: ReceivedLike, channel: Channel, *, idle: float | None) -> None:
        self.response: Final = response
        self._family: Final = channel.backend.family
        self._clock: Final = channel.clock
        self._idle: Final = idle
        # The decoded ones are those that `max_body_bytes` counts. Both libraries give a generator, and say less of it.
        self._pieces: Final = cast("AsyncGenerator[bytes, None]", response.aiter_bytes())
        self._broken = False

    async def next(self) -> bytes | None:
        """The next piece, None at the end. Raises the family's ReadTimeout after ``idle`` seconds of silence.

        A read that fails or is cancelled is the last; after it, ReadError is raised, for that is no end of a body.
        """
        if self._broken:
            message = "an earlier read of this body failed or was given up"
            raise self._family.read_error(message, self.response.request)
        try:
            return await self._next()
        except BaseException:
            self._broken = True
            raise

    async def _next(self) -> bytes | None:
        try:
            if self._idle is None:
                return await anext(self._pieces)
            with self._clock.timeout_at(self._clock.monotonic() + self._idle):
                return await anext(self._pieces)
        except StopAsyncIteration:
            return None
        raise self._family.timeout(f"nothing came for {self._idle:.3g} s", self.response.request)

    async def aclose(self) -> None:
        """Give the connection back, whoever leaves."""
        with anyio.CancelScope(shield=True):
            try:
                await self._pieces.aclose()  # trio warns of generators that are left half-way
            finally:
                await self.response.aclose()


def check_idle(idle: float | None) -> float | None:
    """Raises ValueError for what is no time."""
    if idle is not None and not 0 < idle < float("inf"):
        raise ValueError(f"idle must be more than 0 seconds, or None for no limit, got {idle}")
    return idle


def passes(error: Exception, family: ClientFamily[Any, Any]) -> bool:
    """Whether what broke a stream, or kept it from being had again, may be over in a while."""
    around = in_force()
    if isinstance(error, Closed) or (around is not None and around.left <= 0):
        return False
    if isinstance(error, StatusError):
        return error.status_code >= 500 or error.status_code == 429
    return isinstance(error, Refused) or family.fault(error) is not Fault.LOCAL


def pause(base: float, in_vain: int, error: Exception) -> float:
    """Seconds until the next try: ``base``, doubled with each in vain, never less than was asked for.

    ``base`` may be 0: a server may have its clients come at once, but not again and again for nothing.
    """
    asked = getattr(error, "retry_after", None) or 0.0
    if in_vain:
        base = max(base, _LEAST)
    longest = max(base, min(_LONGEST_PAUSE, base * 2.0 ** min(in_vain, 60)))
    wait = max(longest * (1.0 + 0.2 * random()), min(asked, LONGEST_ASKED))
    around = in_force()
    return wait if around is None else min(wait, max(0.0, around.left))
