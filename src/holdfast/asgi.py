"""For servers: how long may the answer to an inbound request take? As long as whoever sent it waits.

Plain ASGI, so it serves Starlette, FastAPI, Litestar, Django and Quart alike, and imports none of them.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from holdfast._deadline import TIMEOUT_HEADER, Deadline
from holdfast.clock import Clock, SystemClock

__all__ = ["DeadlineMiddleware"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_DIGITS = 10
"""Beyond that, no deadline is meant: a hundred days."""


class DeadlineMiddleware:
    """Runs an ASGI app under `holdfast.deadline`, as long as the request's ``header`` says in whole milliseconds.

    ``longest`` (60 s) bounds what a client may ask for. ``default`` holds where the header is absent or malformed
    (seconds, None: no deadline); of several values the shortest counts. Only ``http`` scopes have one.

    It bounds the calls that the app makes through holdfast, and cancels nothing: what to answer when one raises
    `DeadlineExceeded` is the app's decision (504 says it best).
    """

    def __init__(
        self,
        app: App,
        header: str = TIMEOUT_HEADER,
        *,
        longest: float = 60.0,
        default: float | None = None,
        clock: Clock = SystemClock(),
    ) -> None:
        for name, seconds in (("longest", longest), ("default", default)):
            if seconds is not None and not 0 < seconds < math.inf:
                raise ValueError(f"{name} must be more than 0 seconds, got {seconds}")
        self._app = app
        self._header = header.lower().encode("ascii")
        self._longest = longest
        self._default = default
        self._clock = clock

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        seconds = self._seconds(scope) if scope["type"] == "http" else None
        if seconds is None:
            await self._app(scope, receive, send)
        else:
            with Deadline(seconds, self._clock):
                await self._app(scope, receive, send)

    def _seconds(self, scope: Message) -> float | None:
        values = [value.strip() for name, value in scope["headers"] if name.lower() == self._header]
        asked = [int(value) / 1000 for value in values if value.isdigit() and len(value) <= _DIGITS]
        return min(*asked, self._longest) if asked else self._default
