"""How do bytes reach one client and come back? A TCP or TLS connection under asyncio.

Knows nothing of HTTP. When the client goes, the task that serves it is cancelled, wherever it waits.
"""

import asyncio
import socket
import struct
from collections.abc import Callable

_HIGH_WATER = 64 * 1024  # read ahead of what is asked for; beyond it the client is left to wait


class Wire(asyncio.Protocol):
    """One accepted connection; ``serve`` makes the task that speaks on it.

    An end of file counts as the client having gone: HTTP clients do not half-close.
    """

    def __init__(self, serve: "Callable[[Wire], asyncio.Task[None]]") -> None:
        self._serve = serve
        self._buffer = bytearray()
        self._wanted = 0
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a stream socket has a stream transport"
        self._transport = transport
        self._task = self._serve(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._arrived.set()
        if len(self._buffer) > max(_HIGH_WATER, self._wanted):
            self._transport.pause_reading()

    def eof_received(self) -> None:
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self._writable.set()
        self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    @property
    def closing(self) -> bool:
        return self._transport.is_closing()

    @property
    def alpn(self) -> str | None:
        """The protocol that the TLS handshake agreed on."""
        tls = self._transport.get_extra_info("ssl_object")
        return None if tls is None else tls.selected_alpn_protocol()

    async def begins_with(self, mark: bytes) -> bool:
        """Whether the unread bytes begin so; waits until they do or can no more."""
        while not self._buffer.startswith(mark):
            if not mark.startswith(self._buffer):
                return False
            await self._more(len(self._buffer) + 1)
        return True

    async def first(self) -> int:
        """The first byte, left unread."""
        await self._more(1)
        return self._buffer[0]

    async def read(self) -> bytes:
        """All that has come and at least one byte."""
        await self._more(1)
        return self._take(len(self._buffer))

    async def read_exactly(self, count: int) -> bytes:
        await self._more(count)
        return self._take(count)

    async def read_until(self, mark: bytes, limit: int) -> bytes:
        """Up to and with ``mark``; raises ``ValueError`` when it is not among the first ``limit`` bytes."""
        seen = 0
        while (at := self._buffer.find(mark, max(0, seen - len(mark)))) < 0:
            seen = len(self._buffer)
            if seen > limit:
                raise ValueError(f"no {mark!r} within {limit} bytes")
            await self._more(seen + 1)
        return self._take(at + len(mark))

    async def write(self, data: bytes) -> None:
        """Hand over bytes; waits while the client does not take them.

        Raises ``ConnectionResetError`` once the connection is closing.
        """
        if self.closing:
            raise ConnectionResetError("the connection is closed")
        self._transport.write(data)
        await self._writable.wait()

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def reset(self) -> None:
        """Close with a RST: SO_LINGER on with zero seconds."""
        if not self.closing:
            linger = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()

    async def _more(self, count: int) -> None:
        while len(self._buffer) < count:
            self._wanted = count
            self._arrived.clear()
            if not self.closing:
                self._transport.resume_reading()
            await self._arrived.wait()
        self._wanted = 0

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data
