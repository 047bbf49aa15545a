"""What can a behaviour do with one request? The door between behaviours and the wire.

Behaviours say what happens; an exchange knows how HTTP/1 or HTTP/2 puts it on the wire. No socket here.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeAlias, TypeVar, cast

from holdfast.testing.faulty.ledger import Ledger, Received

T = TypeVar("T")
Headers: TypeAlias = Mapping[str, str] | Sequence[tuple[str | bytes, str | bytes]]
Pairs: TypeAlias = tuple[tuple[bytes, bytes], ...]


class Behaviour(ABC):
    """How the server treats one request.

    Write your own as a frozen dataclass with ``play``. It runs in the server's asyncio loop, may sleep there
    with ``asyncio.sleep``, and is cancelled when the client goes or the server stops; what it must not do is
    block. One object may serve many requests at once, so what it remembers goes through ``exchange.recall``.
    """

    __slots__ = ()

    @property
    def early(self) -> bool:
        """Whether it is played on the head, with the request body left unread."""
        return False

    @abstractmethod
    async def play(self, exchange: "Exchange") -> None:
        """Answer the exchange, or fail to, in the way that this behaviour is for."""


class Exchange(ABC):
    """One request and the means to answer it, well or badly.

    ``request`` is what came; ``nth`` is its number on its connection, from 1. Every sending method raises
    ``ConnectionError`` once the connection is closed by ``close`` or ``reset``.
    """

    def __init__(self, request: Received, nth: int, ledger: Ledger, memory: "Memory") -> None:
        self.request = request
        self.nth = nth
        self._ledger = ledger
        self._memory = memory
        self._when_settled: list[Callable[[], None]] = []
        self._settled = False
        ledger.received(request)

    def settle(self) -> None:
        """Count the request as answered; only the first call does anything.

        Called before the last byte goes out: whoever has the answer must not be counted in flight still.
        """
        if not self._settled:
            self._settled = True
            for callback in self._when_settled:
                callback()
            self._ledger.settled()

    def when_settled(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when the request is answered, cut off, or its client is gone."""
        self._when_settled.append(callback)

    def recall(self, owner: object, make: Callable[[], T], key: Hashable = None) -> T:
        """What ``owner`` remembers on this server under ``key``; made by ``make`` the first time."""
        return self._memory.recall(owner, make, key)

    @property
    def stream(self) -> int:
        """The HTTP/2 stream of the request.

        Raises ``TypeError`` on HTTP/1, which has none.
        """
        raise TypeError("this behaviour needs HTTP/2: FaultyServer(http2=True) and a client that speaks it")

    @abstractmethod
    async def interim(self, status: int, headers: Pairs = ()) -> None:
        """Send an interim answer (1xx), after which the final one still has to come."""

    @abstractmethod
    async def start(
        self,
        status: int,
        headers: Pairs = (),
        *,
        length: int | None,
        reason: str | None = None,
        keep_alive: bool = True,
    ) -> None:
        """Send the head; ``length`` becomes Content-Length, None means chunks or frames without one.

        A Content-Length or Transfer-Encoding among ``headers`` is sent instead of ours.
        """

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Send a piece of the body, or nothing where the answer must have none (HEAD, 204, 304)."""

    @abstractmethod
    async def finish(self, trailers: Pairs = ()) -> None:
        """End the answer; settles the request."""

    @abstractmethod
    async def raw(self, data: bytes) -> None:
        """Put bytes on the connection as they are: on HTTP/2 they should be frames."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection when what was sent has left."""

    @abstractmethod
    def reset(self) -> None:
        """Drop the connection with a TCP RST; what has not left yet is lost."""


class Memory:
    """What behaviours remember on one server, by their identity: they are values, this is state."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, Hashable], tuple[object, object]] = {}

    def recall(self, owner: object, make: Callable[[], T], key: Hashable = None) -> T:
        # The owner is kept beside its state: while it lives, nothing else can have its id.
        kept = self._kept.setdefault((id(owner), key), (owner, None))
        if kept[1] is None:
            kept = self._kept[(id(owner), key)] = (owner, make())
        return cast("T", kept[1])  # made by the same owner's own ``make``


def pairs(headers: Headers) -> Pairs:
    """Headers as bytes; text is latin-1, bytes stay as they are."""
    items = headers.items() if isinstance(headers, Mapping) else headers
    return tuple((_octets(name), _octets(value)) for name, value in items)


def has_body(method: str, status: int) -> bool:
    """RFC 9112 6.3: answers to HEAD, and 1xx, 204 and 304, carry none."""
    return method != "HEAD" and status >= 200 and status not in (204, 304)


def _octets(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text
