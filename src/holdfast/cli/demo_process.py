"""Starts the demo's origin in a process of its own, talks to it, and sees to it that it ends."""

from __future__ import annotations

import asyncio
import json
import sys
from types import TracebackType
from typing import Any

from holdfast.cli.demo_origin import Counts, Send

__all__ = ["OriginGone", "OriginProcess"]

_LINE = 16 * 1024 * 1024  # bytes; a count lists each request
_PATIENCE = 30.0  # seconds for an answer, on a machine that is busy with other things
_GRACE = 2.0  # seconds to end by itself


class OriginGone(Exception):
    """The origin's process ended, or fell silent, before its time."""


class OriginProcess:
    """One process with a port for each side; ``async with`` starts it, and leaves none behind.

    Cancellation inside the block ends the process too. Should this process be killed, its end of
    the pipe closes, and the origin ends by itself.
    """

    def __init__(self, seed: int, length: float) -> None:
        self._arguments = (str(seed), str(length))
        self.ports: list[int] = []

    async def __aenter__(self) -> OriginProcess:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "holdfast.cli.demo_origin",
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE,
            start_new_session=True,  # a Ctrl-C in the terminal is ours to handle
        )
        try:
            self.ports = await self._read()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def start_weather(self) -> None:
        """Let the weather begin, on both ports at once."""
        await self._ask("start")

    async def is_there(self) -> None:
        """Wait until it has turned to this question: longer than a moment only if it, or the machine, stalls."""
        await self._ask("there?")

    async def counts(self) -> list[Counts]:
        """What the origin has counted so far, for each port."""
        return [_counts(**side) for side in await self._ask("count")]

    async def _ask(self, command: str) -> Any:
        assert self._process.stdin is not None, "it was started with a pipe"
        try:
            self._process.stdin.write(command.encode() + b"\n")
            await self._process.stdin.drain()
        except OSError as error:
            raise OriginGone("the demo's origin ended before its time") from error
        return await self._read()

    async def _read(self) -> Any:
        assert self._process.stdout is not None, "it was started with a pipe"
        try:
            async with asyncio.timeout(_PATIENCE):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise OriginGone(f"the demo's origin did not answer within {_PATIENCE:g} s") from None
        if not line:
            raise OriginGone("the demo's origin ended before its time")
        return json.loads(line)

    async def _end(self) -> None:
        process = self._process
        assert process.stdin is not None, "it was started with a pipe"
        process.stdin.close()
        try:
            async with asyncio.timeout(_GRACE):
                await process.wait()
        except BaseException as error:
            process.kill()
            await process.wait()
            if not isinstance(error, TimeoutError):
                raise


def _counts(sends: list[dict[str, Any]], **figures: int) -> Counts:
    return Counts(**figures, sends=[Send(**send) for send in sends])
