"""Where tokens are kept: in this process, or in a file that several processes share."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import anyio
from anyio import to_thread

from holdfast.clock import Clock, SystemClock
from holdfast.core.secret import Secret
from holdfast.core.tokens import Token
from holdfast.stores.base import StoreError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["MemoryTokens", "SQLiteTokens"]

_APPLICATION: Final = 0x484F4C54  # "HOLT"
_TABLE: Final = "CREATE TABLE tokens (name TEXT PRIMARY KEY, token BLOB NOT NULL) WITHOUT ROWID"
_BUSY: Final = 10.0
_LOOK_EVERY: Final = 0.02
"""Seconds between two looks at a lock. A refresh takes longer than that, and is rare."""


class MemoryTokens:
    """Tokens for as long as the process lives; shared by the sources of one event loop at a time."""

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}
        self._locks: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)

    async def load(self, name: str) -> Token | None:
        return self._tokens.get(name)

    async def save(self, name: str, token: Token) -> None:
        self._tokens[name] = token

    async def delete(self, name: str) -> None:
        self._tokens.pop(name, None)

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncGenerator[None]:
        async with self._locks[name]:
            yield


class SQLiteTokens:
    """Tokens in a file of SQLite that several processes share, each of which may be killed at any time.

    The tokens lie open in it, and its mode is 0600. One refresh at a time is a lock of the operating system on a file
    beside it, which is given back by whoever dies. ``path`` and its directory are made when they are first needed.

    Raises `StoreError` for a file that others may read, that is another program's, or that is damaged: it is never
    set aside, because a token that is gone means a new login.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Clock | None = None) -> None:
        self.path: Final = Path(path)
        self._clock: Clock = SystemClock() if clock is None else clock

    async def load(self, name: str) -> Token | None:
        rows = await self._run("SELECT token FROM tokens WHERE name = ?", name)
        return _decoded(rows[0][0], self.path) if rows else None

    async def save(self, name: str, token: Token) -> None:
        await self._run("INSERT OR REPLACE INTO tokens VALUES (?, ?)", name, _encoded(token))

    async def delete(self, name: str) -> None:
        await self._run("DELETE FROM tokens WHERE name = ?", name)

    async def names(self) -> list[str]:
        """The names under which there is something."""
        return [name for (name,) in await self._run("SELECT name FROM tokens ORDER BY name")]

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncGenerator[None]:
        beside = f"{self.path}.{blake2b(name.encode(), digest_size=8).hexdigest()}.lock"
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # It stays when it was used: one that takes it away would leave another holding a lock that nobody sees.
            handle = os.open(beside, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(f"{beside}: {type(error).__name__}: {error}") from error
        try:
            while not _locks(handle):
                await self._clock.sleep(_LOOK_EVERY)
            yield
        finally:
            os.close(handle)  # gives the lock back

    async def _run(self, statement: str, *values: str | bytes) -> list[Any]:
        return await to_thread.run_sync(self._run_here, statement, values)

    def _run_here(self, statement: str, values: tuple[str | bytes, ...]) -> list[Any]:
        try:
            with closing(self._connection()) as connection:
                return connection.execute(statement, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self.path}: {type(error).__name__}: {error}") from error

    def _connection(self) -> sqlite3.Connection:
        """One for each use, because uses are rare; made and closed in the same thread."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite would make it readable to all. One that is there is not opened: closing it would take away the locks
        # that other threads have on it.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        if os.name == "posix" and (mode := os.stat(self.path).st_mode & 0o077):
            raise StoreError(f"{self.path}: others may use it (mode {mode:03o} for them): chmod 600, and new tokens")
        connection = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            if _pragma(connection, "application_id") != _APPLICATION:
                _begin(connection, self.path)
        except BaseException:
            connection.close()
            raise
        return connection


def _begin(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")  # another process may be beginning it
    if _pragma(connection, "application_id") != _APPLICATION:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreError(f"{path}: it is another program's")
        connection.execute(_TABLE)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _locks(handle: int) -> bool:
    """Whether we hold the lock of this open file now."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _encoded(token: Token) -> bytes:
    members = vars(token).items()
    return json.dumps({name: one.reveal() if isinstance(one, Secret) else one for name, one in members}).encode()


def _decoded(record: bytes, path: Path) -> Token:
    try:
        members = json.loads(record)
        refresh_token = members.pop("refresh_token")
        return Token(
            Secret(members.pop("access_token")),
            refresh_token=None if refresh_token is None else Secret(refresh_token),
            **members,
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        raise StoreError(f"{path}: what is stored under this name is no token") from None
