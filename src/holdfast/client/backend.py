"""Who sends for a service? One HTTP client, of one family, on one event loop; its own, or one that it was lent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import anyio

from holdfast._waiting import Line, running_loop
from holdfast.clock import Clock, SystemClock
from holdfast.errors import Closed, InvalidInput, WrongLoop

if TYPE_CHECKING:
    from holdfast._wire import ClientFamily, ClientLike, Inner, ShortWay, Site
    from holdfast.by_origin import Pipelines
    from holdfast.pipeline import Pipeline

__all__ = ["Backend", "Connections", "FamilyName"]

FamilyName = Literal["httpx", "httpx2"]


class Connections:
    """A client, its transport where that is ours, and how many are sending by it: from a request to its answer's head.

    They are waited for before the transport refuses calls, because an auth flow may send more than one request.
    """

    __slots__ = ("_last", "client", "sending", "transport")

    def __init__(self, client: ClientLike[Any, Any], transport: Any) -> None:
        self.client = client
        self.transport = transport
        self.sending = 0
        self._last = Line()  # who waits for the last of them

    def sent(self) -> None:
        self.sending -= 1
        if self.sending == 0:
            self._last.admit(len(self._last))

    async def aclose(self, drain: float) -> None:
        """Have those who are sending end, and those who read; cut them off after ``drain`` seconds, or if cancelled."""
        clock = SystemClock()
        until = clock.monotonic() + drain
        try:
            if self.sending and drain > 0:
                await self._last.wait(clock, until, lambda: None)
            await self.transport.aclose(max(0.0, until - clock.monotonic()))
        finally:
            with anyio.CancelScope(shield=True):
                await self.transport.aclose()
                await self.client.aclose()


class Backend:
    """Makes the client when it is first needed, which is when the library is imported, and closes what it made.

    Shared by a service and all that `Service.using` derives from it. It belongs to the event loop on which it was
    first used: its connections do.
    """

    def __init__(
        self,
        family: FamilyName | None,
        pipeline: Pipeline | Pipelines | None,
        transport: Inner[Any, Any] | None,
        client: ClientLike[Any, Any] | None,
    ) -> None:
        self.owned = client is None
        if client is not None and (pipeline is not None or transport is not None):
            given = "pipeline" if pipeline is not None else "transport"
            raise InvalidInput(
                f"{given}= and client= are one too many: a lent client brings its transport; put a pipeline around it"
                " with wrap() of holdfast.httpx or holdfast.httpx2",
                argument=given,
            )
        lent = client if client is not None else transport
        found = None if lent is None else _family_of(lent)
        if found is not None and family not in (None, found):
            raise InvalidInput(f"family={family!r} does not fit: this is of {found}", argument="family")
        if client is not None and found is None:
            raise InvalidInput("client= takes an AsyncClient of httpx or httpx2", argument="client")
        self.family_name: FamilyName = found or family or "httpx"
        brought: Pipeline | Pipelines | None = getattr(transport, "pipeline", None)  # it is a ResilientTransport
        if brought is not None and pipeline is not None:
            raise InvalidInput("this transport has a pipeline already", argument="pipeline")
        self._pipeline = pipeline if brought is None else brought
        if self._pipeline is None and client is None:
            from holdfast.pipeline import Pipeline

            self._pipeline = Pipeline()
        self.clock: Clock = SystemClock() if self._pipeline is None else self._pipeline.clock
        self.resilient = True  # until a lent client shows that it is not
        self.told: set[str] = set()  # operations of which it was said that they will go
        self._transport = transport
        self._lent = client
        self._connections: Connections | None = None
        self._family: ClientFamily[Any, Any] | None = None
        self._short_way: ShortWay | None = None
        self.site: Site | None = None  # asked for with the first call that a cache could answer
        self._loop: object = None
        self._closed = False
        self.missing: set[str] = set()  # batch endpoints that the server does not have

    def __deepcopy__(self, memo: object) -> Backend:
        return self  # connections and an event loop have no second copy

    def __reduce__(self) -> NoReturn:
        raise TypeError("a service, and what is made of it, does not leave its process: pickle what it is made from")

    @property
    def pipeline(self) -> Pipeline | Pipelines | None:
        """Ours, or that of a lent client, which may be wrapped at any time."""
        return self._pipeline if self._lent is None else self.family.pipeline_of(self._lent)

    @property
    def family(self) -> ClientFamily[Any, Any]:
        """The family's one object; imports the library."""
        if self._family is None:
            self._family = _import(self.family_name)
        return self._family

    @property
    def client(self) -> ClientLike[Any, Any]:
        """The client, made now if it is not there yet."""
        return self.open().client

    @property
    def short_way(self) -> ShortWay | None:
        """Answers from the store without a request, for a call on the running loop; None if there is no such way now.

        There is one past the transport of a client of our own, once that was made.
        """
        return self._short_way if self._loop is running_loop() and not self._closed else None

    def enter(self, request: Any) -> ClientLike[Any, Any]:
        """The client, for a call on the running loop. Raises `WrongLoop`, or `Closed` in the family's form."""
        here = running_loop()
        if self._loop is not here:
            if self._loop is not None:
                raise _wrong_loop(self._loop)
            self._loop = here
        client = self.client
        if self._closed or client.is_closed:
            raise self.family.refusal(Closed("the service is closed; no call may begin", policy="transport"), request)
        return client

    async def aclose(self, drain: float) -> None:
        """Close what was made here; a lent client stays as it is."""
        if not self.owned or self._closed:
            return
        if drain < 0:
            raise InvalidInput(f"drain must be at least 0 seconds, got {drain}", argument="drain")
        self._closed = True
        if self._connections is not None:
            await self._connections.aclose(drain)

    async def reconnect(self, drain: float) -> None:
        """See `Service.reconnect`."""
        if self._lent is not None or self._transport is not None:
            raise InvalidInput("a transport or client that was given has its own connections", argument="reconnect")
        if drain < 0:
            raise InvalidInput(f"drain must be at least 0 seconds, got {drain}", argument="drain")
        old = self._connections
        if old is None or self._closed:
            return
        if self._loop is not None and self._loop is not running_loop():
            raise _wrong_loop(self._loop)
        self._connections = self._short_way = self.site = None  # the next call makes new ones
        await old.aclose(drain)

    def open(self) -> Connections:
        """Make the client, if it is not there yet; from then on `resilient` is known."""
        if self._connections is not None:
            return self._connections
        family, transport = self.family, self._transport
        if self._lent is not None:
            client = self._lent
            self.resilient = family.is_resilient(client)
        else:
            if transport is None or not family.is_resilient(transport):
                transport = family.transport(transport, self.pipeline)
            client = family.client(transport)
            self._short_way = family.short_way(transport)
        self._connections = Connections(client, transport)
        return self._connections


def _import(name: FamilyName) -> ClientFamily[Any, Any]:
    if name == "httpx":
        from holdfast.httpx import FAMILY as family

        return family
    from holdfast.httpx2 import FAMILY as family2

    return family2


def _family_of(lent: object) -> FamilyName | None:
    for base in type(lent).__mro__:
        library = base.__module__.partition(".")[0]
        if library in ("httpx", "httpx2"):
            return "httpx" if library == "httpx" else "httpx2"
    return None


def _wrong_loop(first: object) -> WrongLoop:
    over = isinstance(first, asyncio.AbstractEventLoop) and first.is_closed()
    return WrongLoop(
        "this service was first used on an event loop that is closed now"
        if over
        else "this service is in use on another event loop",
    )
