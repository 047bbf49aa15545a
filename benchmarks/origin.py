"""A fast origin for benchmarks: canned answers over loopback, from a process of its own.

It must never be what is measured, so it parses no more than the first line of a request: it answers GETs
without a body, one answer for each blank line. ``/`` is 1 KiB, ``/bytes/<n>`` is n bytes.

    with Origin() as url: ...
    python -m benchmarks.origin        # prints the URL and serves until its stdin is closed
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

DEFAULT_BYTES = 1024
MOST_BYTES = 64 * 1024 * 1024


class Origin:
    """Runs the origin; ``with`` gives its URL. Leaving it ends the process."""

    def __enter__(self) -> str:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.origin"],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        url = self._process.stdout.readline().strip()
        if not url:
            raise RuntimeError("the benchmark's origin did not start")
        return url

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:  # closes its stdin, which tells it to end, and waits
            pass


def answer(target: bytes) -> bytes:
    """The whole response to a GET of ``target``."""
    size = DEFAULT_BYTES
    if target.startswith(b"/bytes/"):
        size = min(int(target.removeprefix(b"/bytes/").partition(b"?")[0]), MOST_BYTES)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % size
    return head + b"x" * size


class _Connection(asyncio.Protocol):
    _canned: dict[bytes, bytes] = {}  # noqa: RUF012 - one for all connections, on purpose

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._unfinished = b""

    def data_received(self, data: bytes) -> None:
        heads = (self._unfinished + data).split(b"\r\n\r\n")
        self._unfinished = heads.pop()
        for head in heads:
            target = head.split(b" ", 2)[1]
            reply = self._canned.get(target)
            if reply is None:
                reply = answer(target)
                if len(self._canned) < 64:
                    self._canned[target] = reply
            self._transport.write(reply)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    over = asyncio.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    await over.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
