"""Which behaviour, when, and for whom? Behaviours that hold, count, choose and combine others.

What they remember is kept by the server for each object: the same object given to two paths shares its count,
two equal ones do not.
"""

import asyncio
import math
import random
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

from holdfast.testing.faulty.behaviours import Answer
from holdfast.testing.faulty.exchange import Behaviour, Exchange, Headers, pairs


class Gate:
    """Holds requests in front of it until the test lets them through; made by ``server.gate()``.

    Shut at first. ``open``, ``shut`` and ``admit`` may be called from any thread or loop, also after the
    server has stopped. ``waiting`` is how many are held now.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, changed: Callable[[], None]) -> None:
        self._loop = loop
        self._changed = changed
        self._open = False
        self._held: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """Requests held now."""
        return len(self._held)

    def open(self) -> None:
        """Let all held ones and all later ones through."""
        self._open = True
        self._soon(None)

    def shut(self) -> None:
        """Hold those that come from now on."""
        self._open = False

    def admit(self, count: int = 1) -> None:
        """Let the ``count`` longest held go through, and shut again behind them."""
        self._soon(count)

    async def passed(self) -> None:
        """Wait in the server's loop until let through, first come first served."""
        if self._open:
            return
        turn: asyncio.Future[None] = self._loop.create_future()
        self._held.append(turn)
        self._changed()
        try:
            await turn
        finally:
            if turn in self._held:  # the client went
                self._held.remove(turn)
            self._changed()

    def _soon(self, count: int | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._release, count)
        except RuntimeError:  # The loop is closed: the server has stopped, and nothing is held any more.
            return

    def _release(self, count: int | None) -> None:
        for _ in range(len(self._held) if count is None else min(count, len(self._held))):
            turn = self._held.popleft()
            if not turn.done():
                turn.set_result(None)
        self._changed()


@dataclass(frozen=True, slots=True)
class Held(Behaviour):
    """Waits at the gate, then does what ``then`` does."""

    gate: Gate
    then: Behaviour = Answer()

    @property
    def early(self) -> bool:
        return self.then.early

    async def play(self, exchange: Exchange) -> None:
        await self.gate.passed()
        await self.then.play(exchange)


@dataclass(frozen=True, slots=True)
class OnHead(Behaviour):
    """Does what ``then`` does as soon as the head is there, and never reads the request body."""

    then: Behaviour

    @property
    def early(self) -> bool:
        return True

    async def play(self, exchange: Exchange) -> None:
        await self.then.play(exchange)


@dataclass(frozen=True, slots=True, init=False)
class InTurn(Behaviour):
    """Plays several behaviours one after another on one request, say an answer and then an unasked one."""

    steps: tuple[Behaviour, ...]

    def __init__(self, *steps: Behaviour) -> None:
        object.__setattr__(self, "steps", _some(steps))

    @property
    def early(self) -> bool:
        return self.steps[0].early

    async def play(self, exchange: Exchange) -> None:
        for step in self.steps:
            await step.play(exchange)


@dataclass(frozen=True, slots=True, init=False)
class EachConnection(Behaviour):
    """Starts its steps anew on every connection: its first request gets the first; the last repeats."""

    steps: tuple[Behaviour, ...]

    def __init__(self, *steps: Behaviour) -> None:
        object.__setattr__(self, "steps", _some(steps))

    async def play(self, exchange: Exchange) -> None:
        await self.steps[min(exchange.nth, len(self.steps)) - 1].play(exchange)


@dataclass(frozen=True, slots=True, init=False)
class ByConnection(Behaviour):
    """Gives all requests of the first connection it sees its first step, and so on; the last repeats."""

    steps: tuple[Behaviour, ...]

    def __init__(self, *steps: Behaviour) -> None:
        object.__setattr__(self, "steps", _some(steps))

    async def play(self, exchange: Exchange) -> None:
        seen = exchange.recall(self, dict[int, int])
        at = seen.setdefault(exchange.request.connection, len(seen))
        await self.steps[min(at, len(self.steps) - 1)].play(exchange)


@dataclass(frozen=True, slots=True)
class AtMost(Behaviour):
    """A fragile origin: does ``then`` for up to ``limit`` requests at once, ``otherwise`` for those above."""

    limit: int
    _: KW_ONLY
    then: Behaviour = Answer()
    otherwise: Behaviour = Answer(503)

    async def play(self, exchange: Exchange) -> None:
        inside = exchange.recall(self, set[Exchange])
        if len(inside) >= self.limit:
            await self.otherwise.play(exchange)
            return
        inside.add(exchange)
        exchange.when_settled(lambda: inside.discard(exchange))
        await self.then.play(exchange)


@dataclass(frozen=True, slots=True)
class Quota(Behaviour):
    """Does ``then`` for ``limit`` requests in any ``per`` seconds; 429 with Retry-After for the rest.

    ``key`` names a request header whose values are counted apart. Refused requests do not count.
    ``retry_after=None`` says when the next one will pass, in whole seconds.
    """

    limit: int
    per: float
    _: KW_ONLY
    retry_after: float | str | None = 1
    key: str | None = None
    then: Behaviour = Answer()

    async def play(self, exchange: Exchange) -> None:
        who = exchange.request.header(self.key) if self.key else None
        passed = exchange.recall(self, deque[float], key=who)
        now = time.monotonic()
        while passed and passed[0] <= now - self.per:
            passed.popleft()
        if len(passed) < self.limit:
            passed.append(now)
            await self.then.play(exchange)
            return
        wait = self.retry_after
        if wait is None:
            wait = math.ceil(passed[0] + self.per - now) if passed else math.ceil(self.per)
        await Answer(429, headers=(("retry-after", str(wait)),)).play(exchange)


@dataclass(frozen=True, slots=True)
class Sometimes(Behaviour):
    """Does ``then`` for a share of ``rate`` (0 to 1) of requests, by ``seed``; else ``otherwise``."""

    rate: float
    then: Behaviour = Answer(503)
    _: KW_ONLY
    otherwise: Behaviour = Answer()
    seed: int = 0

    async def play(self, exchange: Exchange) -> None:
        dice = exchange.recall(self, lambda: random.Random(self.seed))
        await (self.then if dice.random() < self.rate else self.otherwise).play(exchange)


@dataclass(frozen=True, slots=True)
class ETag(Behaviour):
    """Serves one version: 304 where If-None-Match names it, 412 where If-Match does not, else the body.

    ``value`` is sent as it is, quotes and ``W/`` included. RFC 9110 13.1.1 (If-Match compares strongly)
    and 13.1.2 (If-None-Match weakly).
    """

    value: str | bytes
    body: bytes = b""
    _: KW_ONLY
    max_age: int | None = None
    headers: Headers = ()

    async def play(self, exchange: Exchange) -> None:
        value = self.value if isinstance(self.value, str) else self.value.decode("latin-1")
        headers = ((b"etag", value.encode("latin-1")), *pairs(self.headers))
        if self.max_age is not None:
            headers = ((b"cache-control", b"max-age=%d" % self.max_age), *headers)
        needed = exchange.request.header("if-match")
        known = exchange.request.header("if-none-match")
        if needed is not None and not _names(needed, value, weakly=False):
            await Answer(412).play(exchange)
        elif known is not None and _names(known, value, weakly=True):
            status = 304 if exchange.request.method in ("GET", "HEAD") else 412
            await Answer(status, headers=headers).play(exchange)
        else:
            await Answer(body=self.body, headers=headers).play(exchange)


def _names(field: str, value: str, *, weakly: bool) -> bool:
    """Whether a list of entity tags names this one; a malformed tag must be repeated byte for byte."""
    if field.strip() == "*":
        return True
    if weakly:
        tags = re.findall(r'"[^"]*"', field)
        return field.strip() == value or value.removeprefix("W/") in tags
    return not value.startswith("W/") and value in re.findall(r'(?:W/)?"[^"]*"', field)


def _some(steps: tuple[Behaviour, ...]) -> tuple[Behaviour, ...]:
    if not steps:
        raise ValueError("at least one behaviour is needed")
    return steps
