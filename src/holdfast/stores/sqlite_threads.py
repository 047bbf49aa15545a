"""Where does a SQLite file wait? In worker threads: each operation goes there once, and comes back."""

from __future__ import annotations

from collections.abc import Callable
from sqlite3 import Connection
from typing import Final, TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from holdfast.stores.sqlite_file import File

__all__ = ["Threads"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_READERS: Final = 4


class Threads:
    """Takes work to a thread, where it gets a connection. One writes at a time; the others wait here, not there."""

    def __init__(self, file: File) -> None:
        self._file = file
        # Of each event loop: a limiter cannot be shared by two.
        self._readers: RunVar[CapacityLimiter] = RunVar("readers")
        self._writers: RunVar[CapacityLimiter] = RunVar("writers")

    async def read(self, work: Callable[[Connection, *Ts], T], *arguments: *Ts) -> T:
        return await self._run(self._readers, _READERS, work, *arguments)

    async def write(self, work: Callable[[Connection, *Ts], T], *arguments: *Ts) -> T:
        return await self._run(self._writers, 1, work, *arguments)

    async def close(self) -> None:
        await to_thread.run_sync(self._file.close)

    async def _run(
        self,
        gate: RunVar[CapacityLimiter],
        width: int,
        work: Callable[[Connection, *Ts], T],
        *arguments: *Ts,
    ) -> T:
        limiter = gate.get(None)
        if limiter is None:
            limiter = CapacityLimiter(width)
            gate.set(limiter)
        # A caller whose time is over does not wait for a busy file. The thread gives its connection back by itself.
        return await to_thread.run_sync(self._file.run, work, *arguments, abandon_on_cancel=True, limiter=limiter)
