"""How are many calls made at once? A few at a time, each with an end of its own, in the order they were given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Literal, TypeVar

import anyio

from holdfast.client.call import Call
from holdfast.client.listing import Progress
from holdfast.client.reply import Failed, Outcome
from holdfast.errors import InvalidInput

__all__ = ["OnError", "gathered"]

K = TypeVar("K")
OnError = Literal["collect", "raise"]


async def gathered(
    calls: Iterable[tuple[K, Call[Any]]],
    total: int | None,
    limit: int,
    on_error: OnError,
    on_progress: Callable[[Progress], object] | None,
    on_end: Callable[[K, Outcome[Any]], None] | None = None,
) -> dict[K, Outcome[Any]]:
    """How each call ended, by its key, in the order given. See `Service.gather`.

    ``on_end`` gets each end as soon as it is there, before another call is drawn; nothing is returned then.
    """
    if limit < 1:
        raise InvalidInput(f"limit must be at least 1, got {limit}", argument="limit")
    if on_error not in ("collect", "raise"):
        raise InvalidInput(f'on_error is "collect" or "raise", got {on_error!r}', argument="on_error")
    waiting: Iterator[tuple[K, Call[Any]]] = iter(calls)
    if isinstance(calls, Collection):  # those that an error leaves unmade were not forgotten
        for _, call in calls:
            call._use()  # pyright: ignore[reportPrivateUsage]
    ends: dict[K, Outcome[Any] | None] = {}
    done = failed = 0
    first: Exception | None = None

    async def work() -> None:
        nonlocal done, failed, first
        try:
            for key, call in waiting:  # shared by all who work: each takes the next one
                if on_end is not None:
                    on_end(key, await call.outcome())
                    continue
                ends[key] = None  # its place in the order
                ends[key] = end = await call.outcome()
                done += 1
                failed += not end.ok
                if on_progress is not None:
                    on_progress(Progress(done, total, failed))
                if isinstance(end, Failed) and on_error == "raise":
                    raise end.error
        except Exception as error:
            # The error itself, not a group of it: who catches it shall not care how many were on the way.
            if first is None:
                first = error
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for _ in range(limit if total is None else min(limit, total)):
            tasks.start_soon(work)
    if first is not None:
        try:
            raise first
        finally:
            first = None  # which holds the frames that hold it
    return {key: end for key, end in ends.items() if end is not None}
