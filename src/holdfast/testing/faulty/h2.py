"""How does the faulty server speak HTTP/2? The ``h2`` package for what is proper, bytes by hand for the rest.

Imported only when HTTP/2 is asked for: the package is not one that holdfast needs.
"""

import asyncio
import time
from dataclasses import dataclass, field

try:
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import (
        DataReceived,
        Event,
        RemoteSettingsChanged,
        RequestReceived,
        StreamEnded,
        StreamReset,
        WindowUpdated,
    )
    from h2.exceptions import ProtocolError
except ImportError as error:
    raise ImportError("FaultyServer over HTTP/2 needs the h2 package: pip install h2") from error

from holdfast.testing.faulty.exchange import Exchange, Memory, Pairs, has_body
from holdfast.testing.faulty.frames import Settings
from holdfast.testing.faulty.ledger import Ledger, Received
from holdfast.testing.faulty.routes import Routes
from holdfast.testing.faulty.wire import Wire


@dataclass(slots=True)
class _Coming:
    """A request whose head is here and whose body may still be on its way."""

    method: str
    target: str
    headers: Pairs
    body: bytearray = field(default_factory=bytearray)


class Http2Exchange(Exchange):
    """An exchange on one stream of a connection that carries many."""

    def __init__(self, session: "_Session", stream: int, request: Received, nth: int) -> None:
        super().__init__(request, nth, session.ledger, session.memory)
        self._session = session
        self._stream = stream
        self._body_allowed = True

    @property
    def stream(self) -> int:
        return self._stream

    async def interim(self, status: int, headers: Pairs = ()) -> None:
        await self._headers(((b":status", b"%d" % status), *headers), end=False)

    async def start(
        self,
        status: int,
        headers: Pairs = (),
        *,
        length: int | None,
        reason: str | None = None,
        keep_alive: bool = True,
    ) -> None:
        """As promised, but for what HTTP/2 has not: reason phrase, ``keep_alive`` and ``Connection``."""
        self._body_allowed = has_body(self.request.method, status)
        lower = tuple((name.lower(), value) for name, value in headers if name.lower() != b"connection")
        counted = b"content-length" in dict(lower) or status in (204, 304)
        if length is not None and not counted:
            lower += ((b"content-length", b"%d" % length),)
        await self._headers(((b":status", b"%d" % status), *lower), end=False)

    async def send(self, data: bytes) -> None:
        session = self._session
        left = data if self._body_allowed else b""
        while left:
            room = session.state.local_flow_control_window(self._stream)
            piece = left[: min(room, session.state.max_outbound_frame_size)]
            if piece:
                session.state.send_data(self._stream, piece)
                await session.flush()
                left = left[len(piece) :]
            else:
                await session.window_moved()

    async def finish(self, trailers: Pairs = ()) -> None:
        self.settle()
        if trailers:
            await self._headers(trailers, end=True)
        else:
            self._session.state.end_stream(self._stream)
            await self._session.flush()

    async def raw(self, data: bytes) -> None:
        await self._session.wire.write(data)

    def close(self) -> None:
        self._session.wire.close()

    def reset(self) -> None:
        self._session.wire.reset()

    async def _headers(self, headers: Pairs, *, end: bool) -> None:
        self._session.state.send_headers(self._stream, list(headers), end_stream=end)
        await self._session.flush()


class _Session:
    """One HTTP/2 connection: its streams, each with a task that plays its behaviour."""

    def __init__(self, wire: Wire, number: int, routes: Routes, ledger: Ledger, memory: Memory) -> None:
        self.wire = wire
        self.ledger = ledger
        self.memory = memory
        # Nothing that goes out is checked or tidied: bad headers are what tests ask for.
        self.state = H2Connection(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._number = number
        self._routes = routes
        self._nth = 0
        self._coming: dict[int, _Coming] = {}
        self._playing: dict[int, asyncio.Task[None]] = {}
        self._moved = asyncio.Event()

    async def flush(self) -> None:
        if data := self.state.data_to_send():
            await self.wire.write(data)

    async def window_moved(self) -> None:
        await self._moved.wait()

    async def run(self, opening: Settings | None) -> None:
        self.state.initiate_connection()
        await self.flush()
        if opening is not None:
            # By hand: what the library has sent it enforces, and it would end a client that does not obey.
            await self.wire.write(opening.frame())
        try:
            while True:
                data = await self.wire.read()
                try:
                    events = self.state.receive_data(data)
                except ProtocolError:
                    await self.flush()  # the library's GOAWAY that says why
                    return
                for event in events:
                    self._on(event)
                await self.flush()
        finally:
            tasks = list(self._playing.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _on(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=int() as stream):
                self._coming[stream] = self._request(event)
                if self._routes.answers_early(self._coming[stream].target.partition("?")[0]):
                    self._play(stream)
            case DataReceived(stream_id=int() as stream) if stream in self._coming:
                self._coming[stream].body += event.data or b""
                # Early answers leave the rest unread: no acknowledgement, so the client's window runs out.
                self.state.acknowledge_received_data(event.flow_controlled_length or 0, stream)
            case StreamEnded(stream_id=int() as stream) if stream in self._coming:
                self._play(stream)
            case StreamReset(stream_id=int() as stream):
                self._coming.pop(stream, None)
                if task := self._playing.get(stream):
                    task.cancel()
            case WindowUpdated() | RemoteSettingsChanged():
                moved, self._moved = self._moved, asyncio.Event()
                moved.set()
            case _:
                pass

    def _request(self, event: RequestReceived) -> _Coming:
        received = [(bytes(name), bytes(value)) for name, value in event.headers or ()]
        pseudo = {name: value for name, value in received if name.startswith(b":")}
        plain = [(name, value) for name, value in received if not name.startswith(b":")]
        if authority := pseudo.get(b":authority"):
            plain.insert(0, (b"host", authority))
        method, target = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
        return _Coming(method.decode("latin-1"), target.decode("latin-1"), tuple(plain))

    def _play(self, stream: int) -> None:
        came = self._coming.pop(stream)
        self._nth += 1
        body = bytes(came.body)
        request = Received(came.method, came.target, came.headers, body, self._number, time.monotonic())
        exchange = Http2Exchange(self, stream, request, self._nth)
        task = asyncio.get_running_loop().create_task(self._answer(exchange))
        self._playing[stream] = task

        def over(_: asyncio.Task[None]) -> None:
            exchange.settle()
            del self._playing[stream]

        # Not a finally clause, which a task that is cancelled before its first step never reaches.
        task.add_done_callback(over)

    async def _answer(self, exchange: Http2Exchange) -> None:
        try:
            await self._routes.take(exchange.request).play(exchange)
        except (ConnectionError, ProtocolError):
            return  # The stream or the connection ended under it, by the client or by another behaviour.
        except Exception as error:  # a behaviour of the test's own: the test is told at the end
            self.ledger.failed(error)
            self.wire.reset()


async def serve_http2(
    wire: Wire, number: int, routes: Routes, ledger: Ledger, memory: Memory, opening: Settings | None
) -> None:
    """Answer the streams of one connection until it ends, which cancels this."""
    await _Session(wire, number, routes, ledger, memory).run(opening)
