"""How is a lot sent to an endpoint that takes several at once? In chunks; and again, what the server did not take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from random import random
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from holdfast.client.call import Call
from holdfast.client.gather import gathered
from holdfast.client.listing import Progress
from holdfast.client.reply import Failed, Ok, Outcome
from holdfast.core.failure import kind_of, phrase_of
from holdfast.core.jitter import FullJitter
from holdfast.core.retry import IDEMPOTENT_METHODS, NOT_PROCESSED, STATUSES
from holdfast.core.value import Value
from holdfast.errors import DecodeError, InvalidInput, Problem, StatusError

if TYPE_CHECKING:
    from holdfast.client.channel import Channel

__all__ = ["Again", "BatchSettings", "batched", "outcome_of"]

Item = TypeVar("Item")
T = TypeVar("T")
Again: TypeAlias = Callable[[Exception], bool]

_NOT_THERE: Final = frozenset({404, 405, 501})
"""Statuses of a batch endpoint that a server does not have. Nothing was done then."""
_MOST: Final = 1024
"""Missing endpoints that are remembered: a path may have as many values as there are tenants."""
_BACKOFF: Final = FullJitter(base=1.0, cap=20.0)
"""Seconds before what failed is sent again, where the server named none."""


def outcome_of(status: int, value: T, *, detail: str | None = None, retry_after: float | None = None) -> Outcome[T]:
    """How one item of a batch ended, from what the server says of it: `Ok`, or `Failed` with the error of its status.

    ``detail`` is kept in the error's ``problem``; ``retry_after``, in seconds, is waited before it is sent again.
    """
    if status < 300:
        return Ok(value)
    problem = None if detail is None else Problem(status=status, detail=detail)
    message = f"an item of a batch: {phrase_of(status)}"
    return Failed(kind_of(status)(message, status_code=status, problem=problem, retry_after=retry_after))


class BatchSettings(Value):
    """See `Service.batch`."""

    def __init__(
        self,
        size: int,
        limit: int,
        attempts: int,
        again: Again | None,
        max_wait: float,
        on_progress: Callable[[Progress], object] | None,
    ) -> None:
        for name, number in (("size", size), ("limit", limit), ("attempts", attempts)):
            if number < 1:
                raise InvalidInput(f"{name} must be at least 1, got {number}", argument=name)
        self.size: Final = size
        self.limit: Final = limit
        self.attempts: Final = attempts
        self.again: Final = again
        self.max_wait: Final = max_wait
        self.on_progress: Final = on_progress


async def batched(
    channel: Channel,
    items: Sequence[Item],
    send: Callable[[Sequence[Item]], Call[Sequence[Outcome[T]]]],
    single: Callable[[Item], Call[T]] | None,
    settings: BatchSettings,
) -> list[Outcome[T]]:
    """How each item ended, in the order given. See `Service.batch` and `Service.batch_or_singles`."""
    batch = _Batch(channel, items, send, single, settings)
    await batch.send_all()
    return [end for end in batch.ends if end is not None]


class _Batch(Generic[Item, T]):
    def __init__(
        self,
        channel: Channel,
        items: Sequence[Item],
        send: Callable[[Sequence[Item]], Call[Sequence[Outcome[T]]]],
        single: Callable[[Item], Call[T]] | None,
        settings: BatchSettings,
    ) -> None:
        self.ends: list[Outcome[T] | None] = [None] * len(items)
        self._items = items
        self._missing = channel.backend.missing
        self._sleep = channel.clock.sleep
        self._send = send
        self._single = single
        self._settings = settings
        self._again: dict[int, float] = {}  # what is to be sent once more, and the seconds that it shall wait
        self._alone: list[int] = []  # what is to be sent without the batch endpoint
        self._done = self._failed = 0

    async def send_all(self) -> None:
        places: Sequence[int] = range(len(self._items))
        for attempt in range(1, self._settings.attempts + 1):
            await self._round(places)
            places = sorted(self._again)
            wait = max(self._again.values(), default=0.0) or _BACKOFF.seconds(attempt, 0.0, random)
            if not places or attempt == self._settings.attempts or wait > self._settings.max_wait:
                return
            await self._sleep(wait)

    async def _round(self, places: Sequence[int]) -> None:
        self._again, self._alone = {}, []
        size, limit = self._settings.size, self._settings.limit
        chunks = (tuple(places[start : start + size]) for start in range(0, len(places), size))
        await gathered(self._calls(chunks), None, limit, "collect", None, self._chunk_ended)
        if self._single is not None and self._alone:
            single, alone = self._single, sorted(self._alone)
            calls = (((place,), single(self._items[place])) for place in alone)
            await gathered(calls, None, limit, "collect", None, self._single_ended)

    def _calls(self, chunks: Iterable[tuple[int, ...]]) -> Iterator[tuple[_Chunk, Call[Sequence[Outcome[T]]]]]:
        """One for each chunk, made when it is its turn: until then the endpoint may turn out to be missing."""
        for places in chunks:
            call = self._send([self._items[place] for place in places])
            chunk = _Chunk(places, f"{call.operation} {call.url}", _statuses_sent_again(call))
            if self._single is not None and chunk.endpoint in self._missing:
                self._alone.extend(places)
            else:
                yield chunk, call

    def _chunk_ended(self, chunk: _Chunk, end: Outcome[Sequence[Outcome[T]]]) -> None:
        match end:
            case Failed(error) if self._single is not None and _status_of(error) in _NOT_THERE:
                if len(self._missing) < _MOST:
                    self._missing.add(chunk.endpoint)
                self._alone.extend(chunk.places)
            case Failed():  # the pipeline has sent it as often as it may
                self._ended(dict.fromkeys(chunk.places, end))
            case Ok(parts) if len(parts) != len(chunk.places):
                wanted = f"the ends of {len(chunk.places)} items"
                message = f"{chunk.endpoint.partition(' ')[0]}: expected {wanted}, got {len(parts)}"
                error = DecodeError(message, expected=wanted, got=str(len(parts)))
                self._ended(dict.fromkeys(chunk.places, Failed(error)))
            case Ok(parts):
                ends = dict(zip(chunk.places, parts, strict=True))
                for place, part in ends.items():
                    if isinstance(part, Failed) and self._worth_again(part.error, chunk):
                        self._again[place] = getattr(part.error, "retry_after", None) or 0.0
                self._ended(ends)

    def _single_ended(self, places: tuple[int], end: Outcome[T]) -> None:
        self._ended({places[0]: end})

    def _worth_again(self, error: Exception, chunk: _Chunk) -> bool:
        if self._settings.again is not None:
            return self._settings.again(error)
        return _status_of(error) in chunk.statuses

    def _ended(self, ends: Mapping[int, Outcome[T]]) -> None:
        for place, end in ends.items():
            before = self.ends[place]
            self._done += before is None
            self._failed += (not end.ok) - (before is not None and not before.ok)
            self.ends[place] = end
        if self._settings.on_progress is not None:
            self._settings.on_progress(Progress(self._done, len(self.ends), self._failed))


class _Chunk(Value):
    def __init__(self, places: tuple[int, ...], endpoint: str, statuses: frozenset[int]) -> None:
        self.places: Final = places
        self.endpoint: Final = endpoint
        self.statuses: Final = statuses


def _statuses_sent_again(call: Call[Any]) -> frozenset[int]:
    """As for requests: where the server may have acted on an item, only what may be done twice is sent again.

    A key covers one request, and an item that is sent again comes in another one.
    """
    plan = call._plan  # pyright: ignore[reportPrivateUsage]
    keyed = "idempotency-key" in plan.headers
    safe = plan.method in IDEMPOTENT_METHODS or (plan.options.get("idempotent") is True and not keyed)
    return STATUSES if safe else NOT_PROCESSED


def _status_of(error: BaseException | None) -> int | None:
    """Also of what a service's ``status_errors`` made of it."""
    if isinstance(error, StatusError):
        return error.status_code
    return None if error is None else _status_of(error.__cause__)
