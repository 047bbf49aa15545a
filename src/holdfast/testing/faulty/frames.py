"""What can go wrong only on HTTP/2? Behaviours that write their frames by hand (RFC 9113 and 7541).

By hand because a correct HTTP/2 library refuses to send them; this module needs none.
"""

import asyncio
import struct
from dataclasses import KW_ONLY, dataclass, field

from holdfast.testing.faulty.behaviours import Answer, Never
from holdfast.testing.faulty.exchange import Behaviour, Exchange

_HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY, _CONTINUATION = 0x1, 0x3, 0x4, 0x7, 0x9
_END_STREAM, _END_HEADERS = 0x1, 0x4
_STATUS_200 = b"\x88"  # RFC 7541, appendix A: entry 8 of the static table


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame of RFC 9113 4.1."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


@dataclass(slots=True)
class _Group:
    """The requests of one connection that wait for its GOAWAY, and those that are still to be answered."""

    open: set[int] = field(default_factory=set[int])
    left: set[int] = field(default_factory=set[int])
    begun: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class GoAway(Behaviour):
    """Sends GOAWAY once ``after`` requests are open, answers the lower streams, closes the connection.

    Streams above ``last_stream_id`` are declared unprocessed. Those up to ``answer_up_to`` (by default the
    same number) do ``then``; when the last of them is done, or there is none, the connection closes.
    ``late`` sends those answers first and GOAWAY after them: clients on the ``h2`` package cannot take an
    answer that comes after GOAWAY.
    """

    last_stream_id: int = 0
    _: KW_ONLY
    answer_up_to: int | None = None
    after: int = 1
    code: int = 0
    late: bool = False
    then: Behaviour = Answer()

    async def play(self, exchange: Exchange) -> None:
        last = self.last_stream_id if self.answer_up_to is None else self.answer_up_to
        group = exchange.recall(self, _Group, key=exchange.request.connection)
        group.open.add(exchange.stream)
        goaway = frame(_GOAWAY, 0, 0, struct.pack(">II", self.last_stream_id, self.code))
        if len(group.open) >= self.after and not group.begun.is_set():
            group.left = {stream for stream in group.open if stream <= last}
            group.begun.set()
            if not self.late:
                await exchange.raw(goaway)
        await group.begun.wait()
        if exchange.stream <= last:
            try:
                await self.then.play(exchange)
            finally:
                group.left.discard(exchange.stream)
        if group.left:
            await Never().play(exchange)
        if self.late:
            await exchange.raw(goaway)
        exchange.close()


@dataclass(frozen=True, slots=True)
class StreamReset(Behaviour):
    """Resets the stream, with 7 (REFUSED_STREAM) or 8 (CANCEL) say, after ``sent`` bytes of a body."""

    code: int = 8
    _: KW_ONLY
    sent: bytes = b""

    async def play(self, exchange: Exchange) -> None:
        if self.sent:
            await exchange.start(200, length=None)
            await exchange.send(self.sent)
        exchange.settle()
        await exchange.raw(frame(_RST_STREAM, 0, exchange.stream, struct.pack(">I", self.code)))


@dataclass(frozen=True, slots=True)
class Settings(Behaviour):
    """Sends SETTINGS on the head of a request, then does ``then``; or opens every connection with them.

    ``FaultyServer(http2=Settings(max_streams=0))`` is the second use: those settings hold from the start,
    and ``then`` does not matter. ``initial_window`` limits what the client may upload on each stream.
    """

    _: KW_ONLY
    initial_window: int | None = None
    max_streams: int | None = None
    then: Behaviour = Answer()

    @property
    def early(self) -> bool:
        return True

    def frame(self) -> bytes:
        """The SETTINGS frame (RFC 9113 6.5.2)."""
        values = ((0x3, self.max_streams), (0x4, self.initial_window))
        payload = b"".join(struct.pack(">HI", key, value) for key, value in values if value is not None)
        return frame(_SETTINGS, 0, 0, payload)

    async def play(self, exchange: Exchange) -> None:
        if exchange.stream:
            await exchange.raw(self.frame())
        await self.then.play(exchange)


@dataclass(frozen=True, slots=True)
class ContinuationFlood(Behaviour):
    """Sends a header block of so many CONTINUATION frames, of ``size`` bytes each, that never ends."""

    frames: int = 100_000
    _: KW_ONLY
    size: int = 0

    async def play(self, exchange: Exchange) -> None:
        await exchange.raw(frame(_HEADERS, 0, exchange.stream, _STATUS_200))
        piece = frame(_CONTINUATION, 0, exchange.stream, _header_field(self.size))
        together = max(1, 64 * 1024 // len(piece))
        for sent in range(0, self.frames, together):
            await exchange.raw(piece * min(together, self.frames - sent))
            await asyncio.sleep(0)  # give the other connections a turn
        # The header block is open: any other frame would end the flood as a protocol error of our own.
        await Never().play(exchange)


@dataclass(frozen=True, slots=True)
class HpackBomb(Behaviour):
    """Sends one frame of headers in which ``references`` single bytes each stand for a 4,000 byte header."""

    references: int = 12_000
    _: KW_ONLY

    def __post_init__(self) -> None:
        if not 0 < self.references <= 12_000:
            raise ValueError(f"references must be 1 to 12000 to fit one frame, got {self.references}")

    async def play(self, exchange: Exchange) -> None:
        # RFC 7541 6.2.1: a literal that becomes entry 62, the first of the dynamic table; 6.1: it again.
        value = b"a" * 4000
        entry = b"\x40\x01x" + _integer(len(value), 7) + value
        block = _STATUS_200 + entry + b"\xbe" * self.references
        await exchange.raw(frame(_HEADERS, _END_STREAM | _END_HEADERS, exchange.stream, block))
        await Never().play(exchange)


def _header_field(size: int) -> bytes:
    """A literal header of about ``size`` bytes that enters no table (RFC 7541 6.2.2), or nothing for 0."""
    if size == 0:
        return b""
    value = b"a" * max(0, size - 6)
    return b"\x00\x01x" + _integer(len(value), 7) + value


def _integer(value: int, prefix: int) -> bytes:
    """RFC 7541 5.1, with the bits above the prefix zero."""
    full = (1 << prefix) - 1
    if value < full:
        return bytes([value])
    rest = value - full
    octets = bytearray([full])
    while rest >= 128:
        octets.append(rest % 128 + 128)
        rest //= 128
    octets.append(rest)
    return bytes(octets)
