"""What a call tells afterwards, and what a layer of one's own looks like to a type checker."""

from __future__ import annotations

from typing import assert_type

import httpx

import holdfast
from holdfast import Attempt, History, Pipeline
from holdfast._wire import Family, Handler, Q, R


async def a_history_is_typed(client: httpx.AsyncClient) -> None:
    told = holdfast.history(await client.get("/"))
    assert_type(told, History)
    assert_type(told.attempts, tuple[Attempt, ...])
    assert_type(told.attempts[0].status, int | None)
    assert_type(told.reason, str | None)


def refusals_tell_what_they_know(error: Exception) -> None:
    if isinstance(error, holdfast.Refused):
        assert_type(error.retry_after, float | None)
        assert_type(error.key, str | None)
    if isinstance(error, holdfast.CircuitOpen):
        assert_type(error.opened_at, float | None)


class Counting:
    """A layer of the user's own."""

    def __init__(self) -> None:
        self.calls = 0

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        async def handle(request: Q) -> R:
            self.calls += 1
            return await inner(request)

        return handle


def a_layer_of_ones_own_fits() -> None:
    assert_type(Pipeline.of(Counting()), Pipeline)
    Pipeline.of(Counting)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
