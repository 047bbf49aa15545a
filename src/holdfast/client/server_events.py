"""What does a server tell of as it happens? Server-sent events, typed, over as many connections as it takes."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from holdfast.client.fields import headers_of
from holdfast.client.incoming import LONGEST_ASKED, Incoming, check_idle, passes, pause
from holdfast.client.plan import changed
from holdfast.core.document import media_type
from holdfast.core.event_stream import EventStream, RawEvent
from holdfast.core.lines import check_longest
from holdfast.core.value import Value
from holdfast.errors import DecodeError, LineTooLong, StatusError

if TYPE_CHECKING:
    from typing import Self

    from holdfast.client.channel import Channel, Reading
    from holdfast.client.plan import Plan

__all__ = ["ServerEvent", "ServerEvents"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_STREAM: Final = b"text/event-stream"
_WAIT: Final = 1.0
"""Seconds before a connection is made anew, where the server names no other; the standard says "a few"."""
_IN_A_ROW: Final = 5


class ServerEvent(Value, Generic[T_co]):
    """One event: its decoded data as ``value``, its ``type`` ("message" if the server named none), the last ``id``."""

    def __init__(self, value: T_co, type: str, id: str) -> None:
        self.value: Final = value
        self.type: Final = type
        self.id: Final = id


class ServerEvents(Generic[T]):
    """The events of a server: ``async with call.events() as events``, then ``async for event in events``.

    Made by `Call.events`. Entering connects, leaving closes the connection, however far it was read. Belongs to one
    task. An event whose data does not fit its type raises `DecodeError` where it stands; iterating goes on behind it.
    """

    def __init__(
        self,
        channel: Channel,
        plan: Plan,
        reading: Reading,
        *,
        reconnects: int | None,
        until: str | None,
        last_id: str,
        idle: float | None,
        longest: int,
    ) -> None:
        if reconnects is not None and reconnects < 0:
            raise ValueError(f"reconnects must be at least 0, got {reconnects}")
        self._channel: Final = channel
        self._plan: Final = plan
        self._decoder: Final = channel.decoder(reading)
        self._reconnects: Final = reconnects if reconnects is not None else _IN_A_ROW if plan.method == "GET" else 0
        self._until: Final = until
        self._idle: Final = check_idle(idle)
        self._longest: Final = check_longest(longest)
        self._last_id = last_id
        self._wait = _WAIT
        self._in_vain = 0  # connections in a row that brought no event
        self._ready: deque[RawEvent] = deque()
        self._stream: EventStream | None = None
        self._failure: Exception | None = None  # raised when the events before it were read
        self._lost: Exception | None = None  # why there is no connection now, while another is to be had
        self._incoming: Incoming | None = None
        self._entered = False

    async def __aenter__(self) -> Self:
        self._entered = True
        await self._connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._ready.clear()
        self._lost = None
        await self._disconnect()

    @property
    def last_id(self) -> str:
        """Id to go on from: of the last event that was handed out."""
        return self._last_id

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServerEvent[T]:
        if not self._entered:
            raise RuntimeError("events are read inside `async with call.events() as events`")
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            if self._incoming is not None:
                await self._read(self._incoming)
            elif self._lost is not None:  # who read before was cancelled while it connected anew
                await self._reconnect()
            else:
                raise StopAsyncIteration
        raw = self._ready.popleft()
        if raw.data == self._until:
            self._ready.clear()
            await self._disconnect()
            raise StopAsyncIteration
        self._last_id = raw.id
        return ServerEvent(self._value(raw), raw.type, raw.id)

    async def _read(self, incoming: Incoming) -> None:
        """Take in one piece of the stream, or connect anew; nothing may have come of it."""
        assert self._stream is not None, "connected"
        family = self._channel.backend.family
        piece, lost = None, None
        try:
            piece = await incoming.next()
        except family.transport_error as error:
            lost = error
        if piece is None:
            await self._go_on(lost)
            return
        try:
            for event in self._stream.feed(piece):
                self._ready.append(event)
                self._in_vain = 0
        except LineTooLong as error:
            self._failure = family.refusal(error, incoming.response.request)
            await self._disconnect()

    async def _go_on(self, lost: Exception | None) -> None:
        """Connect anew after a stream has ended (``lost``: with this error), if that may be; else it is over."""
        stream, incoming, family = self._stream, self._incoming, self._channel.backend.family
        assert stream is not None, "connected"
        assert incoming is not None, "connected"
        self._last_id = stream.last_id
        if stream.retry is not None:
            self._wait = min(stream.retry, LONGEST_ASKED)
        await self._disconnect()
        if self._reconnects == 0 and lost is None:
            return
        self._lost = lost or family.read_error("the stream ended before it told of an event", incoming.response.request)
        await self._reconnect()

    async def _reconnect(self) -> None:
        family, lost = self._channel.backend.family, self._lost
        assert lost is not None, "there is no connection"
        while self._in_vain < self._reconnects and passes(lost, family):
            await self._channel.clock.sleep(pause(self._wait, self._in_vain, lost))
            self._in_vain += 1
            try:
                await self._connect()
            except (StatusError, family.transport_error) as error:
                self._lost = lost = error
            else:
                self._lost = None
                return
        self._lost = None
        raise lost

    async def _connect(self) -> None:
        plan, channel = self._plan, self._channel
        if self._last_id and min(self._last_id) >= " " and "\x7f" not in self._last_id:  # what a field can hold
            plan = changed(plan, headers={**plan.headers, **headers_of({"Last-Event-ID": self._last_id})})
        response = await channel.open(plan, _STREAM, deadline_covers_body=False, cache="bypass")
        self._incoming = incoming = Incoming(response, channel, idle=self._idle)
        if response.status_code == 204:  # the server wants no more of it
            await self._disconnect()
            return
        kind = media_type(response.headers.get("content-type"))
        if kind != _STREAM.decode():
            await self._disconnect()
            error = DecodeError(
                f"{plan.operation}: expected a stream of events, got another type of content",
                expected=_STREAM.decode(),
                got=kind[:80],
                content_type=response.headers.get("content-type"),
                operation=plan.operation,
                status_code=response.status_code,
            )
            raise channel.backend.family.refusal(error, incoming.response.request)
        self._stream = EventStream(self._longest, self._last_id)

    async def _disconnect(self) -> None:
        if self._incoming is not None:
            incoming, self._incoming = self._incoming, None
            await incoming.aclose()

    def _value(self, raw: RawEvent) -> T:
        try:
            value: T = self._decoder.decode(raw.data.encode(), "application/json", operation=self._plan.operation)
            return value
        except DecodeError as error:
            request: Any = self._channel.request(self._plan, _STREAM)
            raise self._channel.backend.family.refusal(error, request) from error.__cause__
