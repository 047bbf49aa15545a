"""A circuit breaker of either family around a scripted origin, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from holdfast.call import CALL, DEFAULT_OPTIONS, Call, Options
from holdfast.core.breaker_settings import CircuitBreaker
from holdfast.policies.breaker import Circuits
from holdfast.testing import VirtualClock
from tests.support import FamilyModules

KEY = "http://api.test:80"

Transition = tuple[str, str, str, float]
Serve = Callable[[], Awaitable[Any]]


class Desk:
    """One bound circuit breaker. ``serve`` is the origin, and may be changed; it returns the response.

    ``queue`` stands for the layers between the breaker and the wire: when it is set, each call waits in
    it, and then looks at the circuit again, as `Attempts` does.
    """

    def __init__(
        self,
        family: FamilyModules,
        settings: CircuitBreaker,
        *,
        clock: VirtualClock | None = None,
        random: Callable[[], float] = lambda: 0.5,
        on_transition: Callable[[str, str, str, float], None] | None = None,
        **options: Any,
    ) -> None:
        self.family = family
        self.clock = clock or VirtualClock()
        self.transitions: list[Transition] = []
        self.circuits = Circuits(
            settings,
            clock=self.clock,
            random=random,
            on_transition=on_transition or (lambda *change: self.transitions.append(change)),
            **options,
        )
        self.serve: Serve = self.good
        self.queue: Serve | None = None
        self.sent = 0
        self.on_wire = 0
        self.peak = 0
        self._handle = self.circuits.bind(self._inner, family.holdfast.FAMILY)

    async def good(self) -> Any:
        return self.reply(200)

    async def bad(self) -> Any:
        return self.reply(503)

    def reply(self, status: int, headers: dict[str, str] | None = None) -> Any:
        return self.family.http.Response(status, headers=headers, content=b"")

    def error(self, name: str) -> Exception:
        error: Exception = getattr(self.family.http, name)("scripted")
        return error

    def raising(self, error: Callable[[], BaseException]) -> Serve:
        async def serve() -> Any:
            raise error()

        return serve

    def streaming(self, error: Callable[[], BaseException] | None = None) -> Serve:
        """A good head, whose body has one chunk and then ends, or fails."""
        stream = self.family.http.AsyncByteStream

        class Chunks(stream):  # type: ignore[misc,valid-type]  # of one of two modules
            async def __aiter__(self) -> AsyncIterator[bytes]:
                yield b"chunk"
                if error is not None:
                    raise error()

        async def serve() -> Any:
            return self.family.http.Response(200, stream=Chunks())

        return serve

    def call(self, *, key: str = KEY, deadline: float | None = None, options: Options = DEFAULT_OPTIONS) -> Call:
        now = self.clock.monotonic()
        until = None if deadline is None else now + deadline
        return Call(options=options, started=now, deadline=until, total=deadline, key=key)

    async def send(self, call: Call | None = None, **given: Any) -> Any:
        call = call or self.call(**given)
        return await self._handle(self.family.http.Request("GET", "http://api.test/", extensions={CALL: call}))

    async def fails(self, times: int) -> None:
        before, self.serve = self.serve, self.bad
        for _ in range(times):
            await self.send()
        self.serve = before

    @property
    def state(self) -> str:
        state: str = self.circuits.snapshot()[KEY]["state"]
        return state

    async def _inner(self, request: Any) -> Any:
        call: Call = request.extensions[CALL]
        if self.queue is not None:
            await self.queue()
            assert call.recheck is not None
            call.recheck()
        call.sends += 1
        self.sent += 1
        self.on_wire += 1
        self.peak = max(self.peak, self.on_wire)
        try:
            return await self.serve()
        finally:
            self.on_wire -= 1


class Origin:
    """Serves ``capacity`` calls at once in ``seconds`` each; refuses more with a 503 after ``refusal`` s."""

    def __init__(self, desk: Desk, capacity: int, seconds: float, refusal: float = 0.0) -> None:
        self._desk = desk
        self._capacity = capacity
        self._seconds = seconds
        self._refusal = refusal
        self._serving = 0
        self.good_at: list[float] = []
        self.refused = 0

    async def __call__(self) -> Any:
        clock = self._desk.clock
        if self._serving >= self._capacity:
            await clock.sleep(self._refusal)
            self.refused += 1
            return self._desk.reply(503)
        self._serving += 1
        try:
            await clock.sleep(self._seconds)
        finally:
            self._serving -= 1
        self.good_at.append(clock.monotonic())
        return self._desk.reply(200)
