"""What does a stream of JSON texts say, one on each line (NDJSON, JSON Lines)? A value at a time."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from holdfast.client.incoming import Incoming, check_idle
from holdfast.core.lines import Lines, check_longest
from holdfast.errors import DecodeError, LineTooLong

if TYPE_CHECKING:
    from typing import Self

    from holdfast.client.channel import Channel, Reading
    from holdfast.client.plan import Plan

__all__ = ["Rows"]

T = TypeVar("T")

_ACCEPT: Final = b"application/x-ndjson, application/jsonl, application/json;q=0.5"


class Rows(Generic[T]):
    """The values of a stream of lines: ``async with call.rows() as rows``, then ``async for row in rows``.

    Made by `Call.rows`. Entering sends the call, leaving closes the connection, however far it was read. Belongs to
    one task. A line that does not fit its type raises `DecodeError` where it stands; iterating goes on behind it.
    """

    def __init__(self, channel: Channel, plan: Plan, reading: Reading, *, idle: float | None, longest: int) -> None:
        self._channel: Final = channel
        self._plan: Final = plan
        self._decoder: Final = channel.decoder(reading)
        self._idle: Final = check_idle(idle)
        self._lines: Final = Lines(check_longest(longest))
        self._ready: deque[bytes] = deque()
        self._failure: Exception | None = None  # raised when the rows before it were read
        self._incoming: Incoming | None = None

    async def __aenter__(self) -> Self:
        response = await self._channel.open(self._plan, _ACCEPT, deadline_covers_body=False)
        self._incoming = Incoming(response, self._channel, idle=self._idle)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        if self._incoming is not None:
            incoming, self._incoming = self._incoming, None
            await incoming.aclose()

    @property
    def response(self) -> Any:
        """The HTTP library's response, whose body is being read here. Raises RuntimeError outside of ``async with``."""
        return self._open().response

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        incoming = self._open()
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            piece = await incoming.next()
            try:
                # A last line needs no end; what is cut off with its connection was raised as an error before.
                self._ready.extend(filter(None, [self._lines.end()] if piece is None else self._lines.feed(piece)))
            except LineTooLong as error:
                self._failure = self._channel.backend.family.refusal(error, incoming.response.request)
                await incoming.aclose()
                continue
            if piece is None and not self._ready:
                raise StopAsyncIteration
        return self._value(self._ready.popleft(), incoming.response)

    def _open(self) -> Incoming:
        if self._incoming is None:
            raise RuntimeError("rows are read inside `async with call.rows() as rows`")
        return self._incoming

    def _value(self, line: bytes, response: Any) -> T:
        try:
            value: T = self._decoder.decode(
                line, "application/json", operation=self._plan.operation, status_code=response.status_code
            )
            return value
        except DecodeError as error:
            raise self._channel.backend.family.refusal(error, response.request) from error.__cause__
