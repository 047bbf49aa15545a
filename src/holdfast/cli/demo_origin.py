"""The demo's origin: a small HTTP/1.1 server on loopback, run in a process of its own.

``python -m holdfast.cli.demo_origin SEED LENGTH`` opens a port for each side of the demo and prints both as
one line of JSON. It obeys lines on its standard input: ``start`` lets its clock begin, ``there?`` prints
``"here"``, ``count`` prints what it has counted. It ends when that input does, so it never outlives whoever
started it.

A request tells in which weather it was sent: it meets that one, however late a busy machine brings it here.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial

from holdfast.cli.demo_weather import Ending, Fate, Quota, Representation, Weather, represent, weather_at

__all__ = ["TAG", "TIME", "Counts", "Send"]

TAG = "x-demo"
"""Request field by which an attempt tells about itself: ``number;attempt;circuit``."""

TIME = "x-demo-time"
"""Request field with the time at which it was sent, in seconds of the weather; the start where it is missing."""

_HEAD_LIMIT = 16 * 1024
_NO_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)  # a close then sends RST
_REASONS = {200: "OK", 304: "Not Modified", 404: "Not Found", 429: "Too Many Requests"}


@dataclass(frozen=True, slots=True)
class Send:
    """A request as the origin saw it. ``status`` is 0 where it answered with a reset.

    ``attempt`` and ``circuit`` are what the request's tag said; a tag that came before is a resend that
    nobody told of, and its attempt counts as one more. Without a tag: 1 and "".
    """

    at: float  # seconds since the start, by the origin's clock
    weather: int  # in which it was sent
    status: int
    attempt: int
    circuit: str


@dataclass(slots=True)
class Counts:
    """What one side did, by the origin's own count."""

    accepted: int = 0
    open: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0
    probes_in_flight: int = 0
    peak_probes: int = 0
    sends: list[Send] = field(default_factory=list[Send])


class _Side:
    """One port: its counts, its quota, and its own copy of the weather."""

    def __init__(self, seed: int, length: float) -> None:
        self.counts = Counts()
        self.quota = Quota()
        self._seed, self._length = seed, length
        self._started = time.perf_counter()
        self._weather = Weather(seed, length)
        self._tags: set[str] = set()

    def start(self) -> None:
        self._started = time.perf_counter()
        self.quota = Quota()

    def judge(self, path: str, fields: dict[str, str]) -> tuple[Fate, Representation | None, str]:
        """Decide what happens to a request, and write it down; the circuit's state comes back too."""
        now, sent = time.perf_counter() - self._started, float(fields.get(TIME, 0.0))
        fate = self._weather.fate(sent)
        resource = represent(path, sent)
        if fate.status == 200 and fate.ending is not Ending.RESET:
            # A server that is down counts no quota; one that answers does.
            if not self.quota.take(now):
                fate = Fate(0.001, 429)
            elif resource is None:
                fate = Fate(fate.delay, 404)
            elif (
                fate.ending is Ending.WHOLE
                and resource.etag is not None
                and fields.get("if-none-match") == resource.etag
            ):
                fate = Fate(fate.delay, 304)
        attempt, circuit = self._told(fields.get(TAG))
        status = 0 if fate.ending is Ending.RESET else fate.status
        self.counts.sends.append(Send(now, weather_at(sent, self._length), status, attempt, circuit))
        return fate, resource, circuit

    def _told(self, tag: str | None) -> tuple[int, str]:
        if tag is None:
            return 1, ""
        _, attempt, circuit = tag.split(";")
        again = tag in self._tags
        self._tags.add(tag)
        return int(attempt) + again, circuit


class _Connection(asyncio.Protocol):
    """One accepted connection. Each request comes after the answer to the last, so one is kept at most."""

    def __init__(self, side: _Side) -> None:
        self._side = side
        self._read = b""
        self._later: asyncio.TimerHandle | None = None
        self._probing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a stream server makes stream transports"
        self._transport = transport
        self._side.counts.accepted += 1
        self._side.counts.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._side.counts.open -= 1
        if self._later is not None:
            self._later.cancel()
            self._ended()

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, end, rest = self._read.partition(b"\r\n\r\n")
        if not end:
            if len(self._read) > _HEAD_LIMIT:
                self._transport.abort()
            return
        self._read = rest
        target, fields = _parsed(head)
        fate, resource, circuit = self._side.judge(target, fields)
        counts = self._side.counts
        counts.in_flight += 1
        counts.peak_in_flight = max(counts.peak_in_flight, counts.in_flight)
        self._probing = circuit == "half_open"
        counts.probes_in_flight += self._probing
        counts.peak_probes = max(counts.peak_probes, counts.probes_in_flight)
        loop = asyncio.get_running_loop()
        self._later = loop.call_later(fate.delay, self._answer, fate, resource)

    def _answer(self, fate: Fate, resource: Representation | None) -> None:
        self._ended()
        if fate.ending is Ending.RESET:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._transport.abort()
            return
        answer = _rendered(fate.status, resource)
        if fate.ending is Ending.CUT and resource is not None:
            self._transport.write(answer[: -len(resource.body) // 2])
            self._transport.close()
            return
        self._transport.write(answer)

    def _ended(self) -> None:
        self._later = None
        self._side.counts.in_flight -= 1
        self._side.counts.probes_in_flight -= self._probing
        self._probing = False


def _parsed(head: bytes) -> tuple[str, dict[str, str]]:
    request, *lines = head.decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines)
    return request.split(" ")[1], {name.lower(): value.strip() for name, _, value in fields}


def _rendered(status: int, resource: Representation | None) -> bytes:
    body = b""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Failing')}"]
    if resource is not None and status in (200, 304):
        lines.append(f"Cache-Control: {resource.cache_control}")
        if resource.etag is not None:
            lines.append(f"ETag: {resource.etag}")
        if status == 200:
            body = resource.body
            lines.append("Content-Type: application/json")
    if status == 429:
        lines.append("Retry-After: 1")
    if status != 304:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _serve(seed: int, length: float) -> None:
    loop = asyncio.get_running_loop()
    sides = [_Side(seed, length), _Side(seed, length)]
    servers = [await loop.create_server(partial(_Connection, side), "127.0.0.1", 0, backlog=512) for side in sides]
    _say([server.sockets[0].getsockname()[1] for server in servers])
    ended = asyncio.Event()

    def obey(line: str) -> None:
        if line == "start":
            for side in sides:
                side.start()
            _say("started")
        elif line == "there?":
            _say("here")
        elif line == "count":
            _say([asdict(side.counts) for side in sides])
        else:  # the end of our input
            ended.set()

    threading.Thread(target=_listen, args=(loop, obey), daemon=True).start()
    await ended.wait()
    for server in servers:
        server.close()


def _listen(loop: asyncio.AbstractEventLoop, obey: Callable[[str], None]) -> None:
    """Pass on each line of standard input, and its end as "". In a thread, as pipes differ by platform."""
    read = b""
    while chunk := os.read(0, 4096):
        *lines, read = (read + chunk).split(b"\n")
        for line in lines:
            loop.call_soon_threadsafe(obey, line.decode())
    loop.call_soon_threadsafe(obey, "")


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
