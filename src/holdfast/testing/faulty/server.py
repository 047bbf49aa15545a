"""How does my client take it when the origin misbehaves? A real loopback server that does so on request.

Everything a test file needs is importable from here; the server itself is ``FaultyServer``.
"""

import ssl
from collections.abc import Callable
from importlib import import_module
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread

from holdfast.testing.faulty.choices import Gate
from holdfast.testing.faulty.exchange import Memory
from holdfast.testing.faulty.frames import Settings
from holdfast.testing.faulty.h1 import serve_http1
from holdfast.testing.faulty.ledger import Ledger, Received
from holdfast.testing.faulty.listener import Listener
from holdfast.testing.faulty.routes import Routes, Step
from holdfast.testing.faulty.wire import Wire

__all__ = ["FaultyServer"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 3.4


class FaultyServer:
    """A loopback origin for tests, with a behaviour for each path.

    >>> import urllib.request
    >>> from holdfast.testing.faulty import Answer
    >>> with FaultyServer() as server:
    ...     server.on("/flaky", Answer(body=b"fine"))
    ...     urllib.request.urlopen(server.url + "/flaky").read(), server.count("/flaky")
    (b'fine', 1)

    It speaks HTTP/1; with ``http2=True`` also HTTP/2, to clients that begin with its preface, and over TLS to
    those whose handshake chose it (``ssl_context`` must offer it by ALPN). ``http2=Settings(...)`` opens each
    HTTP/2 connection with those settings. A path without a behaviour answers 200 with its method and target.

    The server runs an event loop in a thread of its own, so it works for clients on asyncio, on trio and in
    threads, also while their loop is blocked. All attributes and methods may be used from any thread. Leaving
    the ``with`` drops all connections and joins the thread; under ``async with`` that happens off the loop,
    shielded from cancellation. A behaviour that raised is reported then, in an ``ExceptionGroup``.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        http2: "bool | Settings" = False,
        host: str = "127.0.0.1",
    ) -> None:
        if http2:
            import_module("holdfast.testing.faulty.h2")  # fails here, by name, where h2 is missing
        self._tls = ssl_context
        self._http2 = bool(http2)
        self._opening = http2 if isinstance(http2, Settings) else None
        self._host = host
        self._ledger = Ledger()
        self._routes = Routes()
        self._memory = Memory()
        self._listener: Listener | None = None

    def __repr__(self) -> str:
        state = self.url if self._listener else "stopped"
        return (
            f"<FaultyServer {state} requests={len(self._ledger.requests)} in_flight={self.in_flight}"
            f" connections={self.connections_open}>"
        )

    def __enter__(self) -> Self:
        if self._listener is not None:
            raise RuntimeError(f"{self!r} is running already")
        self._listener = Listener(self._speak, self._ledger, self._host, self._tls)
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running().stop()
        self._listener = None
        errors, self._ledger.errors = self._ledger.errors, []
        if error is None and errors:
            raise ExceptionGroup("behaviours of the faulty server raised", errors)

    async def __aenter__(self) -> Self:
        return self.__enter__()  # binds a socket and starts a thread: nothing that waits

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.__exit__, kind, error, trace)

    @property
    def port(self) -> int:
        """Chosen by the system when it starts; RuntimeError before."""
        return self._running().port

    @property
    def url(self) -> str:
        """Scheme, host and port, without a slash at the end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    def on(self, path: str, *steps: Step) -> None:
        """Give successive requests to ``path`` successive behaviours; the last repeats.

        The query of a request is ignored. A step may be a function of ``Received`` that returns a behaviour.
        Calling it again starts a new script. Raises ``ValueError`` without a step or for a query.
        """
        self._routes.on(path, steps)

    def default(self, step: Step) -> None:
        """Treat requests to all other paths so."""
        self._routes.default(step)

    def gate(self) -> Gate:
        """A new gate, shut, to hold requests with ``Held``."""
        return Gate(self._running().loop, self._ledger.touch)

    def go_down(self) -> None:
        """Drop all connections and refuse new ones (ECONNREFUSED) until ``come_up``; the port stays ours."""
        self._running().refuse()

    def come_up(self) -> None:
        """Accept connections again after ``go_down``."""
        self._running().accept()

    @property
    def requests(self) -> list[Received]:
        """A copy of what was received, in order."""
        with self._ledger.changed:
            return list(self._ledger.requests)

    def count(self, path: str | None = None) -> int:
        """How many requests were received, on one path or on all."""
        return sum(1 for request in self.requests if path in (None, request.path))

    @property
    def connections_opened(self) -> int:
        """TCP connections accepted, those whose TLS handshake failed included."""
        return self._ledger.connections_opened

    @property
    def connections_open(self) -> int:
        """TCP connections that neither side has closed."""
        return self._ledger.connections_open

    @property
    def in_flight(self) -> int:
        """Requests received and not yet answered, cut off, or left by their client."""
        return self._ledger.in_flight

    @property
    def peak_in_flight(self) -> int:
        """The most that were in flight at once, since the start or `reset_counts`."""
        return self._ledger.peak_in_flight

    def reset_counts(self) -> None:
        """Forget the requests and count anew; what is open or in flight stays counted, scripts go on."""
        self._ledger.reset()

    def wait_for(self, claim: "Callable[[FaultyServer], bool]", timeout: float = 30.0) -> None:
        """Block until ``claim(server)`` is true, asked after each change; TimeoutError after ``timeout`` s.

        The claim is asked with the server's lock held: it should look at the server's counts and no more.
        """
        if not self._ledger.wait(lambda: claim(self), timeout):
            raise TimeoutError(f"not so within {timeout} s: {self!r}")

    async def await_for(self, claim: "Callable[[FaultyServer], bool]", timeout: float = 30.0) -> None:
        """As ``wait_for``, without blocking the loop; the claim is asked in a worker thread."""
        given_up = False

        def holds() -> bool:
            return given_up or claim(self)

        try:
            # A limiter of its own, so that waiting tests take no worker from the code that they test.
            held = await anyio.to_thread.run_sync(
                self._ledger.wait, holds, timeout, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
            )
        finally:
            given_up = True
            self._ledger.touch()
        if not held:
            raise TimeoutError(f"not so within {timeout} s: {self!r}")

    def _running(self) -> Listener:
        if self._listener is None:
            raise RuntimeError("the faulty server is not running: use it in a with statement")
        return self._listener

    async def _speak(self, wire: Wire, number: int) -> None:
        try:
            if wire.alpn == "h2" or (self._http2 and await wire.begins_with(_PREFACE)):
                from holdfast.testing.faulty.h2 import serve_http2

                await serve_http2(wire, number, self._routes, self._ledger, self._memory, self._opening)
            else:
                await serve_http1(wire, number, self._routes, self._ledger, self._memory)
        except ConnectionError:
            return  # A behaviour closed it, or the client did.
        except Exception as error:  # a behaviour of the test's own: the test is told at the end
            self._ledger.failed(error)
            wire.reset()
        finally:
            wire.close()
