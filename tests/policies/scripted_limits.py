"""A limit of either family around a scripted origin, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from holdfast._wire import Family, Handler
from holdfast.call import CALL, Call, Options
from holdfast.clock import Clock
from tests.support import FamilyModules

KEY = "http://api.test:80"

Serve = Callable[[Any], Awaitable[Any]]


class Layer(Protocol):
    def bind(self, inner: Handler[Any, Any], family: Family[Any, Any]) -> Handler[Any, Any]: ...


class Desk:
    """One bound layer. Each send is noted with the time and the caller's name; ``serve`` may be changed.

    ``sign`` stands for a layer between the limit and the wire; it is awaited before the request is sent.
    """

    def __init__(self, family: FamilyModules, layer: Layer, clock: Clock) -> None:
        self.family = family
        self.clock = clock
        self.sends: list[tuple[float, object]] = []
        self.serve: Serve = self.good
        self.sign: Callable[[], Awaitable[None]] | None = None
        self._handle = layer.bind(self._inner, family.holdfast.FAMILY)

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.sends]

    @property
    def names(self) -> list[object]:
        return [name for _, name in self.sends]

    async def good(self, _request: Any) -> Any:
        return self.family.http.Response(200, content=b"")

    async def stream(self, _request: Any) -> Any:
        """A good head, and a body of two chunks still on the wire."""
        return self.family.http.Response(200, stream=two_chunks(self.family))

    async def refuse(self, _request: Any) -> Any:
        """What an inner layer does that ends the call before anything was sent."""
        raise self.family.http.ConnectError("scripted")

    def call(
        self,
        *,
        key: str = KEY,
        deadline: float | None = None,
        cost: float = 1.0,
        priority: int = 0,
        owner: Any = None,
    ) -> Call:
        now = self.clock.monotonic()
        until = None if deadline is None else now + deadline
        return Call(Options(cost=cost, priority=priority), now, until, deadline, key, owner=owner)

    async def send(self, name: object = None, *, call: Call | None = None, **given: Any) -> Any:
        call = call or self.call(**given)
        extensions = {CALL: call, "name": name}
        return await self._handle(self.family.http.Request("GET", "http://api.test/", extensions=extensions))

    async def visit(self, name: object = None, **given: Any) -> None:
        """Send, and close the response at once."""
        await (await self.send(name, **given)).aclose()

    async def _inner(self, request: Any) -> Any:
        if self.sign is not None:
            await self.sign()
        if self.serve != self.refuse:
            request.extensions[CALL].sends += 1
            self.sends.append((self.clock.monotonic(), request.extensions["name"]))
        return await self.serve(request)


def two_chunks(family: FamilyModules) -> Any:
    class Chunks(family.http.AsyncByteStream):  # type: ignore[misc,name-defined]  # one of two modules
        def __init__(self) -> None:
            self.chunks = iter([b"one", b"two"])

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            for chunk in self.chunks:
                return chunk
            raise StopAsyncIteration

    return Chunks()
