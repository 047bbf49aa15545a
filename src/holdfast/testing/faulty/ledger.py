"""What has the faulty server seen so far? Counts that any thread may read and wait for.

No sockets and no HTTP here: the server's own thread writes, tests read.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came over the wire.

    ``target`` is the raw request target, query included. ``headers`` keeps order, case (HTTP/1) and bytes.
    ``body`` is empty where the behaviour answered before reading it. ``connection`` numbers the
    connections from 1; ``at`` is ``time.monotonic()`` in seconds.
    """

    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    connection: int
    at: float

    @property
    def path(self) -> str:
        """The target without its query, not decoded."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """All values of one header joined by ``, `` (latin-1), or None where it was not sent."""
        wanted = name.lower().encode("latin-1")
        values = [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]
        return ", ".join(values) if values else None


class Ledger:
    """The counts of one server: written by its thread, read by all, under one reentrant lock."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.requests: list[Received] = []
        self.errors: list[Exception] = []
        self.connections_opened = 0
        self.connections_open = 0
        self.in_flight = 0
        self.peak_in_flight = 0

    def connected(self) -> None:
        with self.changed:
            self.connections_opened += 1
            self.connections_open += 1
            self.changed.notify_all()

    def disconnected(self) -> None:
        with self.changed:
            self.connections_open -= 1
            self.changed.notify_all()

    def received(self, request: Received) -> None:
        with self.changed:
            self.requests.append(request)
            self.in_flight += 1
            self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
            self.changed.notify_all()

    def settled(self) -> None:
        with self.changed:
            self.in_flight -= 1
            self.changed.notify_all()

    def failed(self, error: Exception) -> None:
        with self.changed:
            self.errors.append(error)
            self.changed.notify_all()

    def touch(self) -> None:
        """Have the waiting ones look again."""
        with self.changed:
            self.changed.notify_all()

    def reset(self) -> None:
        with self.changed:
            self.requests.clear()
            self.connections_opened = 0
            self.peak_in_flight = self.in_flight
            self.changed.notify_all()

    def wait(self, holds: Callable[[], bool], timeout: float) -> bool:
        """Whether ``holds`` came true within ``timeout`` seconds; asked again after each change."""
        with self.changed:
            return self.changed.wait_for(holds, timeout)
