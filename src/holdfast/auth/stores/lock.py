"""One holder at a time, of all processes of this machine; one that dies gives it back at once."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final

from holdfast.clock import Clock
from holdfast.stores.base import StoreError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["file_lock", "lock_beside"]

_HELD: Final = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
"""What the systems say of a lock that somebody else holds; anything else would be waited for without end."""
_POLL: Final = 0.05
"""Seconds between two tries. Waiting in the system's call would take a thread that no cancellation can end."""


def lock_beside(path: Path, name: str) -> Path:
    """The file that is locked for one name of a store: empty, and never removed, since others may be waiting for it."""
    return path.with_name(f"{path.name}.{blake2b(name.encode(), digest_size=6).hexdigest()}.lock")


@asynccontextmanager
async def file_lock(path: Path, clock: Clock) -> AsyncGenerator[None]:
    """Hold an advisory lock on ``path``, made if it is not there, with mode 0600. Other tasks are kept out as well.

    Raises `StoreError`, also where the file system has no locks.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        while not _take(handle, path):
            await clock.sleep(_POLL)
        yield
    finally:
        os.close(handle)


def _take(handle: int, path: Path) -> bool:
    """Whether we hold the lock of this open file now."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise _unusable(path, error) from error
    return True


def _unusable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"{path}: {error.strerror}")
