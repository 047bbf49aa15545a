"""The one place that starts tasks: for work that goes on when the call that caused it has its answer.

A task on asyncio, held until it is over, because the loop itself would let it be collected. On trio a system task,
not one of a nursery: a nursery has to be left in the reverse order of entering, and both families enter and leave
the transports of a client in the same order. Either way the end of the transport is the end of its work.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from contextvars import copy_context

import anyio
import sniffio

from holdfast import _deadline

__all__ = ["Background", "Work"]

Work = Callable[[], Awaitable[None]]

_PATIENCE = 5.0
"""Seconds that cancelled work may take to close what it holds."""

_logger = logging.getLogger("holdfast.background")


class _Job:
    __slots__ = ("began", "ended", "scope", "task", "work")

    def __init__(self, work: Work, ended: Callable[[bool], None]) -> None:
        self.work = work
        self.ended = ended
        self.scope = anyio.CancelScope()
        self.task: asyncio.Task[None] | None = None
        self.began = False


class Background:
    """The work of one transport. An exception of it is logged, once, and goes no further.

    One event loop at a time. Work sees the context variables of its starter as they were, but neither its cancel
    scopes nor its `holdfast.deadline`: others have its result too.
    """

    def __init__(self) -> None:
        self._jobs: dict[_Job, None] = {}
        self._idle: anyio.Event | None = None

    def __len__(self) -> int:
        return len(self._jobs)

    def start(self, work: Work, ended: Callable[[bool], None]) -> None:
        """Have ``work`` done. ``ended`` is called once when it is over; with False if it was cancelled unbegun."""
        job = _Job(work, ended)
        self._jobs[job] = None
        if sniffio.current_async_library() == "trio":
            spawn = sys.modules["trio"].lowlevel.spawn_system_task
            spawn(self._run_to_end, job, name="holdfast.background", context=copy_context())
            return
        job.task = asyncio.get_running_loop().create_task(self._run(job), name="holdfast.background")
        job.task.add_done_callback(lambda _: self._over(job))  # not in the task: one that is cancelled early never runs

    def cancel(self) -> None:
        """Cancel what is under way, and do not wait for its end."""
        self.give_up_lost()
        for job in tuple(self._jobs):
            job.scope.cancel()

    def give_up_lost(self) -> None:
        """Take work for over whose event loop was closed under it: it never runs again, and nobody else says so."""
        for job in tuple(self._jobs):
            if job.task is not None and job.task.get_loop().is_closed():
                self._over(job)

    async def aclose(self) -> None:
        """Cancel what is under way, and return when it is over, even if the caller is cancelled meanwhile."""
        self.cancel()
        if not self._jobs:
            return
        if self._idle is None or self._idle.is_set():
            self._idle = anyio.Event()
        with anyio.move_on_after(_PATIENCE, shield=True):
            await self._idle.wait()
        if self._jobs:
            _logger.error("%d tasks are not over %s s after they were cancelled", len(self._jobs), _PATIENCE)

    async def _run(self, job: _Job) -> None:
        job.began = True
        _deadline.outlive()
        try:
            with job.scope:
                await job.work()
        except Exception:  # nobody awaits this: the event loop is protected from it
            _logger.exception("work in the background failed")

    async def _run_to_end(self, job: _Job) -> None:
        try:
            await self._run(job)
        finally:
            self._over(job)

    def _over(self, job: _Job) -> None:
        if job not in self._jobs:
            return
        del self._jobs[job]
        job.ended(job.began)
        if not self._jobs and self._idle is not None:
            self._idle.set()
