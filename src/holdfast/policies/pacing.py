"""Listens to what servers say of their limits, where the user has set none: nothing is held back until one speaks.

Then `policies.rate_limit` is imported, which has the line, and every call goes through it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from holdfast._wire import Family, Handler, Q, R, ResponseLike
from holdfast.call import CALL, Call
from holdfast.clock import Clock
from holdfast.core.retry_after import ASKING, LOOK_EVERY, tells

if TYPE_CHECKING:
    from holdfast.core.pacing import Mode, Pacing
    from holdfast.policies._gates import Limit
    from holdfast.policies.emitter import Emitter
    from holdfast.policies.rate_limit import RateLimiter

__all__ = ["Listening", "pacing_of"]


class Listening:
    """A limit that is none until a server has asked for one; shared like `RateLimiter`, which it then is."""

    def __init__(self, pacing: Pacing | Mode, *, clock: Clock, emitter: Emitter | None = None) -> None:
        self._pacing: Pacing | Mode = pacing
        self._clock = clock
        self._emitter = emitter
        self._limiter: RateLimiter | None = None
        self._look_in: float = 0  # answers until one is looked at

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        limited: Handler[Q, R] | None = None

        async def handle(request: Q) -> R:
            nonlocal limited
            if self._limiter is not None:
                if limited is None:
                    limited = self._limiter.bind(inner, family)
                return await limited(request)
            response = await inner(request)
            if self._look_in and response.status_code not in ASKING:
                self._look_in -= 1
            else:
                self._hear(request.extensions[CALL], response)
            return response

        return handle

    def reconfigure(self, limits: Sequence[Limit], pacing: Pacing | None) -> None:
        """As `RateLimiter.reconfigure`; there are no limits, and there is a pacing."""
        assert pacing is not None, "there would be nobody to listen"
        self._pacing, self._look_in = pacing, 0
        if self._limiter is not None:
            self._limiter.reconfigure(limits, pacing)

    @property
    def limiter(self) -> RateLimiter:
        """What it is once a server has spoken, or somebody asks for it."""
        if self._limiter is None:
            from holdfast.policies.rate_limit import RateLimiter

            pacing = pacing_of(self._pacing)
            self._limiter = RateLimiter((), clock=self._clock, pacing=pacing, emitter=self._emitter)
        return self._limiter

    def dismiss(self, make_error: Callable[[], Exception], owner: object = None) -> None:
        """As `RateLimiter.dismiss`."""
        if self._limiter is not None:
            self._limiter.dismiss(make_error, owner)

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """As `RateLimiter.snapshot`; nothing while no server has spoken."""
        return {} if self._limiter is None else self._limiter.snapshot()

    def _hear(self, call: Call, response: ResponseLike) -> None:
        self._look_in = LOOK_EVERY - 1
        if tells(response.status_code, response.headers.raw):
            self.limiter.hear(call, response)


def pacing_of(given: Pacing | Mode) -> Pacing:
    """The settings that a short form stands for. Raises ValueError for one that there is not."""
    from holdfast.core.pacing import Pacing

    return given if isinstance(given, Pacing) else Pacing(given)
