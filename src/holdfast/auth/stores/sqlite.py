"""Secrets in a SQLite file that several processes share, with a lease for a refresh in flight."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Final

import anyio

from holdfast.auth.stores.base import SecretStore, checked
from holdfast.background import Background
from holdfast.clock import Clock, SystemClock
from holdfast.core.secret import Secret
from holdfast.stores.base import StoreDamaged, StoreError
from holdfast.stores.sealing import Key, Seal
from holdfast.stores.sqlite_file import File, Schema, transaction
from holdfast.stores.sqlite_threads import Threads

__all__ = ["SQLiteSecrets"]

LEASE: Final = 6.0
"""Seconds for which the holder of a name has it, renewed every two: so long others wait for one that was killed."""

_POLL: Final = 0.1
_PATIENCE: Final = 5.0  # seconds to wait for another process that writes
_LOG_PAGES: Final = 100

_SCHEMA: Final = Schema(
    0x484F4C53,  # "HOLS"
    1,
    (
        "CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
        "CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID",
    ),
    precious=True,
)


class SQLiteSecrets(SecretStore):
    """Keeps secrets in the file ``path``, which only its owner can read; made when it is first used.

    ``key``: as `EncryptedFile` has it, and each value is sealed (names are not); or None, said aloud: then values
    lie in clear behind the file's mode, 0600. A file with another mode is `StoreUnsafe`; a damaged one, or one that
    was sealed with another key, `StoreDamaged`.

    >>> SQLiteSecrets("secrets.db", key=None)
    SQLiteSecrets('secrets.db', in clear)

    Shared by tasks, event loops, threads and processes of one machine. What is put is on the disk when `put`
    returns, and survives ``kill -9`` a moment later. `exclusive` is a lease in the file, renewed while it is held:
    who is killed is waited for six seconds.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, key: Key | Sequence[Key] | None, clock: Clock | None = None
    ) -> None:
        self.path: Final = Path(path)
        self._seal = None if key is None else Seal(key)
        self._clock: Clock = SystemClock() if clock is None else clock
        self._threads = Threads(File(self.path, log_pages=_LOG_PAGES, busy_timeout=_PATIENCE, schema=_SCHEMA))

    def __repr__(self) -> str:
        return f"SQLiteSecrets({str(self.path)!r}, {'in clear' if self._seal is None else 'sealed'})"

    async def get(self, name: str) -> Secret | None:
        value = await self._threads.read(_find, checked(name))
        return None if value is None else self._opened(name, value)

    async def put(self, name: str, secret: Secret) -> None:
        text = secret.reveal().encode("utf-8", "surrogatepass")
        value = text if self._seal is None else self._seal.close(text, _bound(name))
        await self._threads.write(_store, checked(name), value)

    async def delete(self, name: str) -> None:
        await self._threads.write(_delete, checked(name))

    async def names(self) -> list[str]:
        return await self._threads.read(_names)

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncGenerator[None]:
        holder = secrets.token_hex(16)
        while not await self._seized(checked(name), holder):
            await self._clock.sleep(_POLL)
        heart = Background()
        heart.start(partial(self._renew, name, holder), _nothing_follows)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await heart.aclose()
                await self._give_back(name, holder)

    async def aclose(self) -> None:
        """Close the file; operations that are still at work close it when they are done."""
        await self._threads.close()

    def place(self, name: str) -> str:
        return f"the secret {name!r} of {self.path}"

    async def _seized(self, name: str, holder: str) -> bool:
        """Whether the lease is ours now. The thread of a caller who was cancelled takes none, or loses it again."""
        gone = threading.Event()
        try:
            return await self._threads.write(_seize, name, holder, self._clock.wall, gone.is_set)
        except anyio.get_cancelled_exc_class():
            gone.set()
            with anyio.CancelScope(shield=True):
                await self._give_back(name, holder)
            raise

    async def _give_back(self, name: str, holder: str) -> None:
        with suppress(StoreError):  # then the lease is over in six seconds, and nothing was lost
            await self._threads.write(_release, name, holder)

    async def _renew(self, name: str, holder: str) -> None:
        while True:
            await self._clock.sleep(LEASE / 3)
            with suppress(StoreError):  # the next one may succeed, and there is nobody here to tell
                await self._threads.write(_prolong, name, holder, self._clock.wall)

    def _opened(self, name: str, value: bytes) -> Secret:
        try:
            content = value if self._seal is None else self._seal.open(value, _bound(name))
            return Secret(content.decode("utf-8", "surrogatepass"))
        except StoreDamaged as error:
            raise StoreDamaged(f"{self.place(name)}: {error}") from None
        except ValueError:
            raise StoreDamaged(f"{self.place(name)}: it is no text, and was perhaps sealed with a key") from None


def _find(connection: Connection, name: str) -> bytes | None:
    found = connection.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
    return None if found is None else bytes(found[0])


def _store(connection: Connection, name: str, value: bytes) -> None:
    connection.execute("INSERT OR REPLACE INTO secrets VALUES (?, ?)", (name, value))


def _delete(connection: Connection, name: str) -> None:
    connection.execute("DELETE FROM secrets WHERE name = ?", (name,))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # or it would lie in the log until that is full


def _names(connection: Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM secrets ORDER BY name")]


def _seize(connection: Connection, name: str, holder: str, wall: Callable[[], float], gone: Callable[[], bool]) -> bool:
    """Take the lease if nobody has it. One that ends later than any could was made before the clock was set back."""
    with transaction(connection):
        if gone():  # asked behind the wait for the file: who goes later finds the lease, and gives it back
            return False
        now = wall()  # in here: before, it may have waited, and a lease would seem to end too late
        found = connection.execute("SELECT until FROM leases WHERE name = ?", (name,)).fetchone()
        if found is not None and now < found[0] < now + 2 * LEASE:
            return False
        connection.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", (name, holder, now + LEASE))
    return True


def _prolong(connection: Connection, name: str, holder: str, wall: Callable[[], float]) -> None:
    with transaction(connection):
        connection.execute("UPDATE leases SET until = ? WHERE name = ? AND holder = ?", (wall() + LEASE, name, holder))


def _release(connection: Connection, name: str, holder: str) -> None:
    connection.execute("DELETE FROM leases WHERE name = ? AND holder = ?", (name, holder))


def _bound(name: str) -> bytes:
    return b"holdfast-secret/1 " + name.encode()


def _nothing_follows(began: bool) -> None:
    """Nobody waits for the renewing of a lease to end."""
