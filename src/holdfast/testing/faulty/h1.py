"""How does the faulty server speak HTTP/1? Just enough parsing to record a request and answer it.

Lenient on purpose: what a client sends is recorded as it is, for the test to judge.
"""

import http
import time
from dataclasses import dataclass

from holdfast.testing.faulty.exchange import Exchange, Memory, Pairs, has_body
from holdfast.testing.faulty.ledger import Ledger, Received
from holdfast.testing.faulty.routes import Routes
from holdfast.testing.faulty.wire import Wire

_LINE_LIMIT = 1024 * 1024
_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}


@dataclass(frozen=True, slots=True)
class _Head:
    method: str
    target: str
    version: bytes
    headers: Pairs

    def value(self, name: bytes) -> bytes:
        return b", ".join(value for key, value in self.headers if key.lower() == name).lower()


class Http1Exchange(Exchange):
    """An exchange on a connection that carries one at a time."""

    def __init__(
        self, wire: Wire, request: Received, nth: int, ledger: Ledger, memory: Memory, *, chunks: bool
    ) -> None:
        super().__init__(request, nth, ledger, memory)
        self._wire = wire
        self._chunks_known = chunks
        self._chunked = False
        self._body_allowed = True
        self._last = False

    async def interim(self, status: int, headers: Pairs = ()) -> None:
        await self._wire.write(_head(status, headers, None))

    async def start(
        self,
        status: int,
        headers: Pairs = (),
        *,
        length: int | None,
        reason: str | None = None,
        keep_alive: bool = True,
    ) -> None:
        self._body_allowed = has_body(self.request.method, status)
        framed = {name.lower() for name, _ in headers} & {b"content-length", b"transfer-encoding"}
        added: Pairs = ()
        if length is None and self._chunks_known and self._body_allowed:
            self._chunked = True
            added = ((b"transfer-encoding", b"chunked"),)
        elif length is None:
            self._last = True  # RFC 9112 6.3: without chunks the body ends with the connection
        elif status >= 200 and status not in (204, 304):
            added = ((b"content-length", str(length).encode()),)
        if framed:
            added = ()
        if not keep_alive:
            self._last = True
            added += ((b"connection", b"close"),)
        await self._wire.write(_head(status, headers + added, reason))

    async def send(self, data: bytes) -> None:
        if data and self._body_allowed:
            await self._wire.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def finish(self, trailers: Pairs = ()) -> None:
        self.settle()
        if self._chunked:
            await self._wire.write(b"0\r\n" + _lines(trailers) + b"\r\n")
        if self._last:
            self._wire.close()

    async def raw(self, data: bytes) -> None:
        await self._wire.write(data)

    def close(self) -> None:
        self._wire.close()

    def reset(self) -> None:
        self._wire.reset()


async def serve_http1(wire: Wire, connection: int, routes: Routes, ledger: Ledger, memory: Memory) -> None:
    """Answer one request after another until the connection ends, which cancels this."""
    nth = 0
    while not wire.closing:
        try:
            head = await _read_head(wire)
            early = routes.answers_early(head.target.partition("?")[0])
            body = b"" if early else await _read_body(wire, head)
        except ValueError as error:  # not HTTP/1: say so, as servers do, and count no request
            text = str(error).encode("latin-1", "replace")
            await wire.write(_head(400, ((b"content-length", b"%d" % len(text)),), None) + text)
            wire.close()
            return
        nth += 1
        request = Received(head.method, head.target, head.headers, body, connection, time.monotonic())
        exchange = Http1Exchange(wire, request, nth, ledger, memory, chunks=head.version != b"HTTP/1.0")
        try:
            await routes.take(request).play(exchange)
        finally:
            exchange.settle()
        # An unread body would be taken for the next request.
        unread = early and (head.value(b"content-length") or head.value(b"transfer-encoding"))
        if unread or head.value(b"connection") == b"close" or head.version == b"HTTP/1.0":
            wire.close()


async def _read_head(wire: Wire) -> _Head:
    if not 0x21 <= await wire.first() <= 0x7E:  # A TLS handshake, say, which need not have a line end.
        raise ValueError("not an HTTP/1 request")
    text = await wire.read_until(b"\r\n", _LINE_LIMIT)
    words = text.split()
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        raise ValueError(f"not an HTTP/1 request line: {text[:80]!r}")
    headers: list[tuple[bytes, bytes]] = []
    while (line := await wire.read_until(b"\r\n", _LINE_LIMIT)) != b"\r\n":
        name, _, value = line[:-2].partition(b":")
        headers.append((name, value.strip(b" \t")))
    return _Head(words[0].decode("latin-1"), words[1].decode("latin-1"), words[2], tuple(headers))


async def _read_body(wire: Wire, head: _Head) -> bytes:
    chunked = b"chunked" in head.value(b"transfer-encoding")
    length = int(head.value(b"content-length") or b"0")
    if length < 0:
        raise ValueError(f"content-length must not be negative, got {length}")
    if (chunked or length) and head.value(b"expect") == b"100-continue":
        await wire.write(_head(100, (), None))
    if not chunked:
        return await wire.read_exactly(length)
    body = bytearray()
    while size := int((await wire.read_until(b"\r\n", _LINE_LIMIT)).partition(b";")[0], 16):
        body += await wire.read_exactly(size)
        await wire.read_exactly(2)
    while await wire.read_until(b"\r\n", _LINE_LIMIT) != b"\r\n":  # trailers
        pass
    return bytes(body)


def _head(status: int, headers: Pairs, reason: str | None) -> bytes:
    phrase = _PHRASES.get(status, "") if reason is None else reason
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, phrase.encode("latin-1"), _lines(headers))


def _lines(headers: Pairs) -> bytes:
    return b"".join(name + b": " + value + b"\r\n" for name, value in headers)
