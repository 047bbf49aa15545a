"""Where does a SQLite file wait? In worker threads: each operation goes there once, and comes back."""

from __future__ import annotations

from collections.abc import Callable
from sqlite3 import Connection
from typing import Final, TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from holdfast.stores.base import StoreError
from holdfast.stores.sqlite_file import File

__all__ = ["Threads"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_READERS: Final = 4
_MOST: Final = 64
"""Operations that are in their threads at once: those that nobody waits for any more are among them."""


class Threads:
    """Takes work to a thread, where it gets a connection. One writes at a time; the others wait here, not there.

    A thread is left behind where its caller's time is over, and a file that hangs keeps it. Too many of them are a
    `StoreError` for who comes next.
    """

    def __init__(self, file: File, most: int = _MOST) -> None:
        self._file = file
        self._most = most
        self._at_work: set[object] = set()  # a set of CPython needs no lock for single steps
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
        if len(self._at_work) >= self._most:
            raise StoreError(f"{self._file.path}: {self._most} operations before this one have not ended")
        # A caller whose time is over does not wait for a busy file. The thread gives its connection back by itself.
        return await to_thread.run_sync(self._work, work, *arguments, abandon_on_cancel=True, limiter=limiter)

    def _work(self, work: Callable[[Connection, *Ts], T], *arguments: *Ts) -> T:
        """In the thread. Of asyncio's limiter its place is free as soon as the caller has gone."""
        own = object()
        self._at_work.add(own)
        try:
            return self._file.run(work, *arguments)
        finally:
            self._at_work.discard(own)
