"""Runs the user's hooks on each attempt: signatures with a time or a nonce, tracing headers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from holdfast._wire import Family, Handler, Q, R
from holdfast.call import CALL, Call
from holdfast.errors import HoldfastError

__all__ = ["AttemptHook", "AttemptHooks"]

AttemptHook = Callable[[Any, int], "Awaitable[None] | None"]
"""``hook(request, attempt)``: may change headers and extensions of this attempt; attempts count from 1."""


class AttemptHooks:
    """Each attempt gets a copy with headers and extensions of its own; a change is gone with the attempt.

    ``httpx.Auth`` runs above the transport, so three attempts would carry one nonce; a hook makes it afresh.
    An exception from a hook ends the call: a request that was not signed is not sent. One of ours is the family's too.
    """

    def __init__(self, hooks: Sequence[AttemptHook]) -> None:
        for hook in hooks:
            if not callable(hook):
                raise TypeError(f"a hook is a function of (request, attempt), got {hook!r}")
        self._hooks = tuple(hooks)

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        hooks = self._hooks

        async def handle(request: Q) -> R:
            call: Call = request.extensions[CALL]
            attempt = family.fresh_attempt(request)
            try:
                for hook in hooks:
                    result = hook(attempt, call.sends)
                    if result is not None:
                        await result
            except HoldfastError as error:
                raise family.refusal(error, request) from error.__cause__
            return await inner(attempt)

        return handle
