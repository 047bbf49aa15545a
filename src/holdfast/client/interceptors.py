"""Whose code runs around a call, and around each of its attempts? Functions of one shape, in the order of an onion."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import anyio

from holdfast._wire import Handler

__all__ = ["CallNext", "Interceptor", "Interceptors", "around"]

CallNext: TypeAlias = Callable[[Any], Awaitable[Any]]
Interceptor: TypeAlias = Callable[[Any, CallNext], Awaitable[Any]]
"""``async (request, call_next) -> response``, with the request and the response of the service's HTTP library.

It may change the request's headers or pass on another one, answer without calling on, or call on several times. What
it raises ends the call. Responses that it opened and did not return are closed for it.
"""

F = TypeVar("F", bound=Interceptor)


class Interceptors(list[Interceptor]):
    """The first is the outermost. To be used as a decorator; a list otherwise, so `remove` takes one off again."""

    def __call__(self, interceptor: F) -> F:
        self.append(interceptor)
        return interceptor


def around(interceptors: Sequence[Interceptor], send: Handler[Any, Any]) -> Handler[Any, Any]:
    """``send`` with all of them around it."""
    for interceptor in reversed(interceptors):
        send = _around(interceptor, send)
    return send


def _around(interceptor: Interceptor, send: Handler[Any, Any]) -> Handler[Any, Any]:
    async def handle(request: Any) -> Any:
        opened: list[Any] = []

        async def call_next(request: Any) -> Any:
            response = await send(request)
            opened.append(response)
            return response

        answer: Any = None
        try:
            answer = await interceptor(request, call_next)
            if not hasattr(answer, "status_code"):
                name = getattr(interceptor, "__qualname__", interceptor)
                raise TypeError(f"the interceptor {name} gave {answer!r}, which is no response; is a return missing?")
            _complete(answer, request)
            return answer
        finally:
            for response in opened:
                if response is not answer and not response.is_closed:
                    await close(response)

    return handle


async def close(response: Any) -> None:
    with anyio.CancelScope(shield=True):  # a connection is given back, whoever leaves
        await response.aclose()


def _complete(answer: Any, request: Any) -> None:
    """Both libraries expect a response to know its request; one that an interceptor made itself need not."""
    try:
        _ = answer.request
    except RuntimeError:
        answer.request = request
