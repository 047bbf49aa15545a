"""How does the faulty server come up, go down and leave nothing behind? Its thread, its loop, its sockets.

Knows no HTTP: each accepted connection becomes a ``Wire``, and a coroutine that is given it speaks on it.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TypeAlias

from holdfast.testing.faulty.ledger import Ledger
from holdfast.testing.faulty.wire import Wire

Speak: TypeAlias = Callable[[Wire, int], Coroutine[None, None, None]]
_BACKLOG = 1024


class Listener:
    """A listening socket and an event loop in a daemon thread, from ``start`` to ``stop``."""

    def __init__(self, speak: Speak, ledger: Ledger, host: str, tls: ssl.SSLContext | None) -> None:
        self._speak = speak
        self._ledger = ledger
        self._host = host
        self._tls = tls
        self._numbers = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._wires: set[Wire] = set()
        # Bound now, so that the address is known; clients wait in the backlog until the loop accepts them.
        self._socket = self._bind(0)
        self._socket.listen(_BACKLOG)
        self.port: int = self._socket.getsockname()[1]
        self.loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"faulty-server-{self.port}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Drop all connections, close all sockets and join the thread; blocks for some milliseconds."""
        self.loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def refuse(self) -> None:
        """Drop all connections and refuse new ones, the port kept; blocks until it is so."""
        asyncio.run_coroutine_threadsafe(self._refuse(), self.loop).result()

    def accept(self) -> None:
        """Take connections again on the same port; blocks until it is so."""
        asyncio.run_coroutine_threadsafe(self._accept(), self.loop).result()

    def _bind(self, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setblocking(False)
            bound.bind((self._host, port))
        except OSError:
            bound.close()
            raise
        return bound

    def _run(self) -> None:
        try:
            self.loop.run_until_complete(self._main())
        finally:
            self._socket.close()
            self.loop.close()

    async def _main(self) -> None:
        await self._accept()
        await self._stopping.wait()
        await self._drop()

    async def _accept(self) -> None:
        self._socket.listen(_BACKLOG)
        self._accepting = self._spawn(self._accept_all())

    async def _refuse(self) -> None:
        await self._drop()
        self._socket.close()
        # Bound and not listening: connecting fails at once, and nobody else is given the port.
        self._socket = self._bind(self.port)

    async def _drop(self) -> None:
        wires = list(self._wires)
        tasks = list(self._tasks)
        for wire in wires:
            wire.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for wire in wires:
            await wire.lost.wait()
        await asyncio.sleep(0)  # a handshake cut off closes its socket in the loop's next round

    async def _accept_all(self) -> None:
        while True:
            try:
                accepted, _ = await self.loop.sock_accept(self._socket)
            except OSError:  # The client went while it queued, or no descriptor is free just now.
                await asyncio.sleep(0.01)
                continue
            self._numbers += 1
            task = self._spawn(self._connection(accepted, self._numbers))
            # Closed already, unless the server stopped before the task took its first step.
            task.add_done_callback(partial(_close, accepted))

    async def _connection(self, accepted: socket.socket, number: int) -> None:
        wire = Wire(lambda wire: self._spawn(self._speak(wire, number)))
        self._ledger.connected()
        try:
            # asyncio sets it only on sockets made with a protocol number; without it a body that follows its
            # head waits 40 ms for the client's delayed acknowledgement.
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self.loop.connect_accepted_socket(lambda: wire, accepted, ssl=self._tls)
            self._wires.add(wire)
            await wire.lost.wait()
        except OSError:  # The handshake failed (ssl.SSLError is an OSError): counted, and that is all.
            pass
        finally:
            self._wires.discard(wire)
            self._ledger.disconnected()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _close(accepted: socket.socket, _: asyncio.Task[None]) -> None:
    accepted.close()
