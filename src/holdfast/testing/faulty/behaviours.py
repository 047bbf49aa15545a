"""What can go wrong on the wire? One frozen record for each way, for HTTP/1 and, where it exists, HTTP/2.

Each says what is sent and how it ends; what chooses between them is in ``choices``, and what only
HTTP/2 can do in ``frames``. Times are seconds of the server's own real time.
"""

import asyncio
import json
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from typing import TypeAlias

from holdfast.testing.faulty.exchange import Behaviour, Exchange, Headers, pairs

_Send: TypeAlias = Callable[[bytes], Awaitable[None]]
_BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer(Behaviour):
    """Answers properly, ``delay`` seconds after the request; trailers go with a chunked body."""

    status: int = 200
    _: KW_ONLY
    body: bytes = b""
    headers: Headers = ()
    delay: float = 0.0
    reason: str | None = None
    chunked: bool = False
    keep_alive: bool = True
    trailers: Headers = ()

    @classmethod
    def json(cls, value: object, *, status: int = 200, headers: Headers = (), delay: float = 0.0) -> "Answer":
        """An answer whose body is ``value`` as JSON."""
        typed = ((b"content-type", b"application/json"), *pairs(headers))
        return cls(status, body=json.dumps(value).encode(), headers=typed, delay=delay)

    async def play(self, exchange: Exchange) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        exchange.settle()
        await exchange.start(
            self.status,
            pairs(self.headers),
            length=None if self.chunked or self.trailers else len(self.body),
            reason=self.reason,
            keep_alive=self.keep_alive,
        )
        await exchange.send(self.body)
        await exchange.finish(pairs(self.trailers))


@dataclass(frozen=True, slots=True)
class Close(Behaviour):
    """Closes the connection before any byte of an answer."""

    async def play(self, exchange: Exchange) -> None:
        exchange.settle()
        exchange.close()


@dataclass(frozen=True, slots=True)
class Reset(Behaviour):
    """Drops the connection with a TCP RST before any byte of an answer."""

    async def play(self, exchange: Exchange) -> None:
        exchange.settle()
        exchange.reset()


@dataclass(frozen=True, slots=True)
class Never(Behaviour):
    """Never answers; ends when the client goes or the server stops."""

    async def play(self, exchange: Exchange) -> None:
        await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class Pause(Behaviour):
    """Does nothing for so many seconds: a step of ``InTurn``."""

    seconds: float

    async def play(self, exchange: Exchange) -> None:
        await asyncio.sleep(self.seconds)


@dataclass(frozen=True, slots=True)
class HalfBody(Behaviour):
    """Announces ``declared`` bytes (or chunks), sends ``sent`` of them, and drops the connection."""

    declared: int
    sent: int
    _: KW_ONLY
    reset: bool = False
    chunked: bool = False
    headers: Headers = ()

    async def play(self, exchange: Exchange) -> None:
        await exchange.start(200, pairs(self.headers), length=None if self.chunked else self.declared)
        exchange.settle()
        await exchange.send(b"x" * self.sent)
        if self.reset:
            exchange.reset()
        else:
            exchange.close()


@dataclass(frozen=True, slots=True)
class HalfHead(Behaviour):
    """Sends the beginning of a head and drops the connection (HTTP/1)."""

    data: bytes = b"HTTP/1.1 200 OK\r\ncontent-le"
    _: KW_ONLY
    reset: bool = False

    async def play(self, exchange: Exchange) -> None:
        exchange.settle()
        await exchange.raw(self.data)
        if self.reset:
            exchange.reset()
        else:
            exchange.close()


@dataclass(frozen=True, slots=True)
class Drip(Behaviour):
    """Sends its body one byte every ``every`` seconds, or with ``head`` the head so (HTTP/1)."""

    body: bytes
    every: float = 0.05
    _: KW_ONLY
    head: bool = False
    headers: Headers = ()

    async def play(self, exchange: Exchange) -> None:
        if self.head:
            lines = [(b"content-length", str(len(self.body)).encode()), *pairs(self.headers)]
            head = b"HTTP/1.1 200 OK\r\n" + b"".join(name + b": " + value + b"\r\n" for name, value in lines)
            await self._drip(head + b"\r\n", exchange.raw)
            exchange.settle()
            await exchange.raw(self.body)
            return
        await exchange.start(200, pairs(self.headers), length=len(self.body))
        await self._drip(self.body[:-1], exchange.send)
        exchange.settle()
        await exchange.send(self.body[-1:])
        await exchange.finish()

    async def _drip(self, data: bytes, send: _Send) -> None:
        for at in range(len(data)):
            await send(data[at : at + 1])
            await asyncio.sleep(self.every)


@dataclass(frozen=True, slots=True)
class Raw(Behaviour):
    """Sends bytes as they are: ``data``, then ``repeat`` so many ``times`` (None: for ever), then ``tail``.

    The repeated part is never built as a whole, so a head of 200,000 lines costs no memory here. With
    ``close=False`` the connection goes on to the next request.
    """

    data: bytes
    _: KW_ONLY
    repeat: bytes = b""
    times: int | None = 0
    tail: bytes = b""
    close: bool = True

    async def play(self, exchange: Exchange) -> None:
        if self.repeat and self.times != 0:
            await exchange.raw(self.data)
            await _repeat(self.repeat, self.times, exchange.raw)
            exchange.settle()
            await exchange.raw(self.tail)
        else:
            exchange.settle()
            await exchange.raw(self.data + self.tail)
        if self.close:
            exchange.close()


@dataclass(frozen=True, slots=True)
class Interim(Behaviour):
    """Sends interim answers (100, 103, ...) ahead of the real one."""

    statuses: tuple[int, ...]
    then: Behaviour = Answer()
    _: KW_ONLY
    headers: Headers = ()

    @property
    def early(self) -> bool:
        return self.then.early

    async def play(self, exchange: Exchange) -> None:
        for status in self.statuses:
            await exchange.interim(status, pairs(self.headers))
        await self.then.play(exchange)


@dataclass(frozen=True, slots=True)
class Stream(Behaviour):
    """Sends a body of ``chunk`` after ``chunk``, so many ``times`` or, with None, for ever."""

    chunk: bytes
    _: KW_ONLY
    times: int | None = None
    every: float = 0.0
    headers: Headers = ()

    async def play(self, exchange: Exchange) -> None:
        await exchange.start(200, pairs(self.headers), length=None)
        if self.every:
            sent = 0
            while self.times is None or sent < self.times:
                await exchange.send(self.chunk)
                await asyncio.sleep(self.every)
                sent += 1
        else:
            await _repeat(self.chunk, self.times, exchange.send)
        await exchange.finish()


@dataclass(frozen=True, slots=True)
class Bomb(Behaviour):
    """Sends a gzip body, packed ``layers`` times, of ``size`` zero bytes; takes constant memory here."""

    size: int
    _: KW_ONLY
    layers: int = 1
    headers: Headers = ()

    async def play(self, exchange: Exchange) -> None:
        coding = (b"content-encoding", b", ".join([b"gzip"] * self.layers))
        await exchange.start(200, (coding, *pairs(self.headers)), length=None)
        packers = [zlib.compressobj(9, zlib.DEFLATED, 31) for _ in range(self.layers)]
        zeros = bytes(1024 * 1024)
        for start in range(0, self.size, len(zeros)):
            data = zeros[: self.size - start]
            for packer in packers:
                data = packer.compress(data)
            await exchange.send(data)
            await asyncio.sleep(0)
        data = b""
        for packer in packers:
            data = packer.compress(data) + packer.flush()
        await exchange.send(data)
        await exchange.finish()


@dataclass(frozen=True, slots=True)
class EarlyAnswer(Behaviour):
    """Answers on the head, reads none of the body, and resets the connection ``reset_after`` s later."""

    status: int = 413
    _: KW_ONLY
    body: bytes = b""
    headers: Headers = ()
    reset_after: float = 0.5

    @property
    def early(self) -> bool:
        return True

    async def play(self, exchange: Exchange) -> None:
        # Said, but not done: closing now, with unread bytes in the socket, would be the reset at once.
        headers = ((b"connection", b"close"), *pairs(self.headers))
        await Answer(self.status, body=self.body, headers=headers).play(exchange)
        await asyncio.sleep(self.reset_after)
        exchange.reset()


@dataclass(frozen=True, slots=True)
class Upgrade(Behaviour):
    """Answers 101 for ``protocol``, sends ``data``, and holds on until the client goes (HTTP/1)."""

    protocol: str
    _: KW_ONLY
    data: bytes = b""
    headers: Headers = ()

    async def play(self, exchange: Exchange) -> None:
        switched = ((b"connection", b"upgrade"), (b"upgrade", self.protocol.encode("latin-1")))
        exchange.settle()
        await exchange.interim(101, (*switched, *pairs(self.headers)))
        await exchange.raw(self.data)
        await Never().play(exchange)


@dataclass(frozen=True, slots=True)
class Echo(Behaviour):
    """Answers with the request as JSON: method, target, headers (pairs, latin-1) and body (UTF-8)."""

    status: int = 200

    async def play(self, exchange: Exchange) -> None:
        request = exchange.request
        seen = {
            "method": request.method,
            "target": request.target,
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers],
            "body": request.body.decode(errors="backslashreplace"),
        }
        await Answer.json(seen, status=self.status).play(exchange)


async def _repeat(piece: bytes, times: int | None, send: _Send) -> None:
    """Send a piece again and again, several at a time where it is small."""
    together = max(1, _BLOCK // len(piece))
    block = piece * together
    left = times
    while left is None or left >= together:
        await send(block)
        await asyncio.sleep(0)  # a fast reader never makes us wait: the other connections want a turn
        left = None if left is None else left - together
    if left:
        await send(piece * left)
