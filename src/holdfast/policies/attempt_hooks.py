"""Runs the user's hooks on each attempt: signatures with a time or a nonce, tracing headers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from holdfast._wire import Family, Handler, Q, R
from holdfast.call import CALL, Call
from holdfast.errors import HoldfastError
from holdfast.policies._aside import close

__all__ = ["Again", "AttemptHook", "AttemptHooks"]

Again = Callable[[Any], Awaitable[bool]]
"""``await again(response)``: whether the attempt is worth being made once more, with all hooks run anew."""

AttemptHook = Callable[[Any, int], "Awaitable[Again | None] | None"]
"""``hook(request, attempt)``: may change headers and extensions of this attempt; attempts count from 1."""


class AttemptHooks:
    """Each attempt gets a copy with headers and extensions of its own; a change is gone with the attempt.

    ``httpx.Auth`` runs above the transport, so three attempts would carry one nonce; a hook makes it afresh.
    An exception from a hook ends the call: a request that was not signed is not sent. One of ours is the family's too.

    An async hook may return a function that is asked of the answer whether to send once more, as a credential does
    after a 401 that another token may mend. It is asked once for an attempt, and not where the body cannot be sent
    again.
    """

    def __init__(self, hooks: Sequence[AttemptHook]) -> None:
        self._hooks = tuple(hooks)

    def reconfigure(self, hooks: Sequence[AttemptHook]) -> None:
        """For the calls that come in from now on."""
        self._hooks = tuple(hooks)

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        hooks = self._hooks

        async def prepare(request: Q) -> tuple[Q, list[Again]]:
            call: Call = request.extensions[CALL]
            attempt = family.fresh_attempt(request)
            asked: list[Again] = []
            try:
                for hook in hooks:
                    result = hook(attempt, call.sends)
                    if result is not None and callable(again := await result):
                        asked.append(again)
            except HoldfastError as error:
                raise family.refusal(error, request) from error.__cause__
            return attempt, asked

        async def handle(request: Q) -> R:
            try:
                attempt, asked = await prepare(request)
            except BaseException:
                request.extensions[CALL].sends -= 1  # this one was not sent after all
                raise
            response = await inner(attempt)
            if not asked or not family.replayable(request) or not await _worth_it(response, asked):
                return response
            attempt, _ = await prepare(request)
            return await inner(attempt)

        return handle


async def _worth_it(response: Any, asked: Sequence[Again]) -> bool:
    """Whether to send once more; the response is closed then, and where asking fails."""
    worth_it = True
    try:
        worth_it = any([await again(response) for again in asked])
    finally:
        if worth_it:
            await close(response)
    return worth_it
