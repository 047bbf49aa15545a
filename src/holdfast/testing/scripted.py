"""What does my client send, and how does it take what comes back? A transport that plays a script.

No socket and, with a `VirtualClock`, no waiting: the far side of a test as a list of expectations and replies.
"""

from __future__ import annotations

import difflib
import json
import math
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, Final, Generic, TypeAlias

from holdfast._wire import Family, Q, R, RequestLike
from holdfast.clock import Clock, SystemClock

__all__ = ["Expect", "Fails", "Hangs", "Reply", "ScriptMismatch", "ScriptedTransport", "Sent"]

_NEVER_SENT: Final = ("Connect", "Pool", "Proxy")
"""How the names of those errors begin that come before a byte of the request is on the wire."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A response, ``delay`` seconds after the request. ``body`` in several chunks comes as a stream.

    ``every``: seconds before each chunk. ``then``: how a body ends that does not end well.

    >>> Reply.json({"name": "Ada"}, status=201).body
    b'{"name": "Ada"}'
    """

    status: int = 200
    _: KW_ONLY
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | tuple[bytes, ...] = b""
    delay: float = 0.0
    every: float = 0.0
    then: Fails | Hangs | None = None

    @classmethod
    def json(
        cls, value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None, delay: float = 0.0
    ) -> Reply:
        """A response whose body is ``value`` as JSON."""
        typed = {"Content-Type": "application/json", **(headers or {})}
        return cls(status, headers=typed, body=json.dumps(value).encode(), delay=delay)


@dataclass(frozen=True, slots=True)
class Fails:
    """An exception of the family, by its name (``"ReadTimeout"``), ``delay`` seconds after the request."""

    error: str
    _: KW_ONLY
    delay: float = 0.0
    message: str = "scripted"


@dataclass(frozen=True, slots=True)
class Hangs:
    """No answer, ever: until a timeout or a cancellation."""


Answer: TypeAlias = Reply | Fails | Hangs


@dataclass(frozen=True, slots=True)
class Expect:
    """The request that must come next, and its answer. ``path`` is compared with the path and query.

    ``headers`` must be there with these values; others may be too. ``body`` is compared byte by byte, ``json`` as a
    value, whatever its spaces and the order of its keys; what is not given is not compared.
    """

    method: str
    path: str
    answer: Answer
    _: KW_ONLY
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | None = None
    json: Any = ...  # null is a value too


Step: TypeAlias = Answer | Expect


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that arrived: ``at`` is in the clock's monotonic seconds, ``path`` has the query.

    ``body`` is what was read of it: nothing for an answer that fails before it is sent (a ``ConnectError``).
    """

    method: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    at: float
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """All values of one header joined by ``, `` (latin-1), or None where it was not sent."""
        wanted = name.lower().encode("latin-1")
        values = [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]
        return ", ".join(values) if values else None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class ScriptMismatch(AssertionError):
    """A request came that the script does not have here. The message shows the difference."""


class ScriptedTransport(Generic[Q, R]):
    """An inner transport that answers step by step; the last step may be repeated with ``repeat_last``.

    ``family`` is ``holdfast.httpx.FAMILY`` or ``holdfast.httpx2.FAMILY``. A step is an answer to whatever
    comes, or an `Expect`; a function of (number of the request from 1, request) may stand for the whole script.
    A mismatch raises `ScriptMismatch` with the difference, which no retry swallows; `assert_done` tells of steps that
    never came. One event loop at a time; a cancelled request counts as sent.

    >>> from holdfast.httpx import FAMILY
    >>> script = ScriptedTransport(FAMILY, [Expect("GET", "/users/1", Reply(503)), Reply(200, body=b"{}")])
    >>> script.sent
    []
    """

    def __init__(
        self,
        family: Family[Q, R],
        script: Iterable[Step] | Callable[[int, Q], Answer],
        *,
        clock: Clock | None = None,
        repeat_last: bool = False,
    ) -> None:
        self._family = family
        self._clock = SystemClock() if clock is None else clock
        self._choose = script if callable(script) else None
        self._steps: list[Step] = [] if callable(script) else list(script)
        self._repeat_last = repeat_last
        self.sent: list[Sent] = []
        self.in_flight = 0
        self.peak_in_flight = 0
        self.closed = False

    async def handle_async_request(self, request: Q) -> R:
        """Answer as the script says; called by the layer or the client above."""
        sent = Sent(request.method, request.url.raw_path.decode(), tuple(request.headers.raw), self._clock.monotonic())
        self.sent.append(sent)
        number = len(self.sent)
        step = self._step(number, sent, request)
        answer = step.answer if isinstance(step, Expect) else step
        if _has_body(request) and not (isinstance(answer, Fails) and answer.error.startswith(_NEVER_SENT)):
            self.sent[number - 1] = sent = replace(sent, body=await _read(request))
        if isinstance(step, Expect):
            _compare(step, sent, number)
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        try:
            return await self._play(answer, request)
        finally:
            self.in_flight -= 1

    async def aclose(self) -> None:
        """Note it in ``closed``; nothing is held, so it may be used on."""
        self.closed = True

    def assert_done(self) -> None:
        """Raise `ScriptMismatch` if steps of the script were never asked for."""
        left = self._steps[len(self.sent) :]
        if left:
            steps = [f"{step.method} {step.path}" if isinstance(step, Expect) else repr(step) for step in left]
            raise ScriptMismatch("\n  ".join(["the script goes on, and nothing more came:", *steps]))

    def _step(self, number: int, sent: Sent, request: Q) -> Step:
        if self._choose is not None:
            return self._choose(number, request)
        if number > len(self._steps) and not (self._repeat_last and self._steps):
            played = "".join(f"\n  {earlier}" for earlier in self.sent[:-1])
            raise ScriptMismatch(f"request {number} is one more than the script has: {sent}; before it came:{played}")
        return self._steps[min(number, len(self._steps)) - 1]

    async def _play(self, answer: Answer, request: Q) -> R:
        if isinstance(answer, Hangs):
            await self._clock.sleep(math.inf)
            raise AssertionError("an endless sleep ended")
        if answer.delay:
            await self._clock.sleep(answer.delay)
        if isinstance(answer, Fails):
            raise _error(self._family, answer, request)
        chunks = (answer.body,) if isinstance(answer.body, bytes) else answer.body
        headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        response = self._family.response(request, answer.status, headers, b"")
        self._family.rebody(response, (), rest=_ScriptedBody(self._family, answer, chunks, self._clock, request))
        return response


class _ScriptedBody(Generic[Q, R]):
    def __init__(self, family: Family[Q, R], reply: Reply, chunks: tuple[bytes, ...], clock: Clock, request: Q) -> None:
        self._family = family
        self._reply = reply
        self._chunks = iter(chunks)
        self._clock = clock
        self._request = request

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for chunk in self._chunks:
            if self._reply.every:
                await self._clock.sleep(self._reply.every)
            return chunk
        if isinstance(self._reply.then, Fails):
            if self._reply.then.delay:
                await self._clock.sleep(self._reply.then.delay)
            raise _error(self._family, self._reply.then, self._request)
        if isinstance(self._reply.then, Hangs):
            await self._clock.sleep(math.inf)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._chunks = iter(())


def _error(family: Family[Any, Any], fails: Fails, request: object) -> Exception:
    kind: type[Exception] = getattr(sys.modules[family.name], fails.error)
    error = kind(fails.message)
    vars(error)["_request"] = request  # as the client's own errors carry it
    return error


def _has_body(request: RequestLike) -> bool:
    return "content-length" in request.headers or "transfer-encoding" in request.headers


async def _read(request: Any) -> bytes:
    """What the far side reads. The stream is the family's, and may be one that can be read once."""
    return b"".join([chunk async for chunk in request.stream])


def _compare(step: Expect, sent: Sent, number: int) -> None:
    names = sorted(name.lower() for name in step.headers)
    headers = {name.lower(): value for name, value in step.headers.items()}
    wanted = [f"{step.method} {step.path}", *(f"{name}: {headers[name]}" for name in names)]
    came = [str(sent), *(f"{name}: {value}" for name in names if (value := sent.header(name)) is not None)]
    if step.body is not None:
        wanted.append(repr(step.body))
        came.append(repr(sent.body))
    if step.json is not ...:
        wanted += _lines(step.json)
        came += _json_lines(sent.body)
    if wanted != came:
        difference = "\n".join(line.rstrip("\n") for line in difflib.ndiff(wanted, came))
        raise ScriptMismatch(f"request {number} is not what the script has (- expected, + came):\n{difference}")


def _lines(value: Any) -> list[str]:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).splitlines()


def _json_lines(body: bytes) -> list[str]:
    try:
        return _lines(json.loads(body))
    except ValueError:
        return [repr(body)]
