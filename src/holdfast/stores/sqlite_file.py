"""A SQLite file of ours: who may read it, whether it is ours, and connections to it.

Everything here runs in worker threads. A connection serves one thread at a time: it is taken from the idle ones,
or opened, and put back. One that saw an error is closed, and the next one looks at the file again.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

from holdfast.core.value import Value
from holdfast.stores.base import StoreDamaged, StoreError, StoreUnsafe

if sys.platform != "win32":  # where an open file cannot be renamed either
    import fcntl

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PAGE_BYTES: Final = 4096


class Schema(Value):
    """What a file holds: its tables, and the numbers by which it is known.

    ``precious``: what is in it is nowhere else. Then a commit is on the disk when it returns, what is deleted is
    overwritten, and a file that is damaged, or that others can read, is an error, and is left as it is.
    """

    def __init__(self, application: int, version: int, tables: tuple[str, ...], *, precious: bool = False) -> None:
        self.application = application
        self.version = version
        self.tables = tables
        self.precious = precious


_TABLES: Final = (
    # An index over both parts of the key serves a purge by URL and by prefix as well. ``who`` is what stands before
    # the URL in a key, ``variant`` a digest, ``id`` grows with each put, ``used`` is in seconds of wall time.
    """CREATE TABLE entries (
  id INTEGER PRIMARY KEY,
  url BLOB NOT NULL,
  who BLOB NOT NULL,
  variant BLOB NOT NULL,
  wall REAL NOT NULL,
  used INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  record BLOB NOT NULL,
  body BLOB,
  long INTEGER
)""",
    "CREATE UNIQUE INDEX entries_key ON entries (url, who, variant)",
    "CREATE INDEX entries_used ON entries (used)",
    "CREATE INDEX entries_long ON entries (long) WHERE long IS NOT NULL",
    "CREATE TABLE tags (tag BLOB NOT NULL, entry INTEGER NOT NULL, PRIMARY KEY (tag, entry)) WITHOUT ROWID",
    "CREATE INDEX tags_entry ON tags (entry)",
    # A piece's id is its body's, times 2^24, plus its number.
    "CREATE TABLE pieces (id INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, content BLOB NOT NULL)",
    # Long bodies that no entry may have: still being written, or left behind. They go as soon as nobody holds them.
    "CREATE TABLE loose (long INTEGER PRIMARY KEY, bytes INTEGER NOT NULL)",
    "CREATE TABLE holds (id INTEGER PRIMARY KEY, long INTEGER NOT NULL, until REAL NOT NULL)",
    """CREATE TABLE purges (
  kind TEXT NOT NULL,
  what BLOB NOT NULL,
  wall REAL NOT NULL,
  PRIMARY KEY (kind, what)
) WITHOUT ROWID""",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    """CREATE TRIGGER entry_gone AFTER DELETE ON entries BEGIN
  DELETE FROM tags WHERE entry = OLD.id;
  INSERT OR IGNORE INTO loose SELECT OLD.long, OLD.bytes WHERE OLD.long IS NOT NULL;
END""",
)

ANSWERS: Final = Schema(0x484F4C44, 1, _TABLES)  # "HOLD"; a record has a version of its own

_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_logger = logging.getLogger("holdfast.stores")

_inherited: list[sqlite3.Connection] = []
"""Connections of the process that we were forked from. Closing them here would take its locks away."""


@dataclass(frozen=True, slots=True)
class _Link:
    connection: sqlite3.Connection
    file: tuple[int, int]  # device and inode
    era: int  # grows when the file is closed


class _NotOurs(Exception):
    """The file cannot be used as it is."""

    def __init__(self, reason: str, *, foreign: bool) -> None:
        super().__init__(reason)
        self.foreign = foreign


class File:
    """One file, with as many connections as threads use it at once. May be used by any thread."""

    def __init__(
        self, path: Path, *, log_pages: int, busy_timeout: float, create: bool = True, schema: Schema = ANSWERS
    ) -> None:
        self.path = path
        self._schema = schema
        self._create = create
        self._log_pages = log_pages
        self._busy_timeout = busy_timeout
        self._idle: deque[_Link] = deque()
        self._era = 0
        self._process = os.getpid()
        self._opening = threading.Lock()

    def run(self, work: Callable[[sqlite3.Connection, *Ts], T], *arguments: *Ts) -> T:
        """What ``work`` returns. A file that proves to be damaged is set aside, and the work done on a new one.

        Raises `StoreError`, also for a file that would have to be made or set aside if that is not wanted. A
        transaction that ``work`` leaves by an exception is rolled back.
        """
        try:
            try:
                return self._attempt(work, *arguments)
            except _NotOurs:
                return self._attempt(work, *arguments)
        except _NotOurs as reason:
            kind = StoreDamaged if self._schema.precious else StoreError
            raise kind(f"{self.path}: {reason}") from reason
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self.path}: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Close the idle connections now, and the others when their work is done. Using the file opens it again."""
        self._era += 1
        while self._idle:
            with suppress(IndexError, sqlite3.Error):
                self._idle.pop().connection.close()

    def _attempt(self, work: Callable[[sqlite3.Connection, *Ts], T], *arguments: *Ts) -> T:
        link = self._take()
        try:
            result = work(link.connection, *arguments)
        except BaseException as error:
            with suppress(sqlite3.Error):
                link.connection.close()  # rolls back
            if isinstance(error, sqlite3.DatabaseError) and _damaged(error):
                reason = _NotOurs(str(error), foreign=False)
                with self._opening, locked(self.path.parent):
                    self._set_aside(reason, link.file)
                raise reason from error
            raise
        if link.era == self._era:
            self._idle.append(link)
        else:
            link.connection.close()
        return result

    def _take(self) -> _Link:
        if self._process != os.getpid():
            self._process = os.getpid()
            _inherited.extend(link.connection for link in self._idle)
            self._idle.clear()
        file = _identity(self.path)
        while self._idle:
            try:
                link = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if link.file == file:
                return link
            link.connection.close()  # somebody removed or replaced the file
        with self._opening:
            return self._open()

    def _open(self) -> _Link:
        if self._create:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.path.parent):
            try:
                return self._connect()
            except _NotOurs as reason:
                self._set_aside(reason, _identity(self.path))
            return self._connect()

    def _connect(self) -> _Link:
        """A connection to a file with our tables, made if it is new. The directory is locked."""
        if self._create:
            # SQLite would make it readable to all. The files beside it get its mode.
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        # Never opened and closed by ourselves from here on: that would take away the locks of every connection.
        mode = os.stat(self.path).st_mode
        if mode & 0o077 and self._schema.precious:
            raise StoreUnsafe(f"{self.path}: others can read it (mode {mode & 0o777:o}); it has to be 600")
        if mode & 0o077 and self._create:
            with suppress(PermissionError):
                os.chmod(self.path, 0o600)
        file = _identity(self.path)
        assert file is not None, "it was there a moment ago, and the directory is locked"
        # One thread at a time uses it, which is all that SQLite asks for.
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=self._busy_timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._prepare(connection)
        except sqlite3.DatabaseError as error:
            connection.close()
            if _damaged(error):
                foreign = error.sqlite_errorcode == sqlite3.SQLITE_NOTADB
                raise _NotOurs(str(error), foreign=foreign) from error
            raise
        except BaseException:
            connection.close()
            raise
        return _Link(connection, file, self._era)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        run, schema = connection.execute, self._schema
        # NORMAL: what was put just before a power failure may be gone, and is whole if not.
        run(f"PRAGMA synchronous = {'FULL' if schema.precious else 'NORMAL'}")
        if schema.precious:
            run("PRAGMA secure_delete = ON")
        run("PRAGMA trusted_schema = OFF")
        run("PRAGMA cell_size_check = ON")
        tables = {sql for (sql,) in run("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
        application, version = number(connection, "application_id"), number(connection, "user_version")
        if not tables and not application and not version:
            if not self._create:
                raise _NotOurs("it is empty", foreign=True)
            run(f"PRAGMA page_size = {PAGE_BYTES}")
            run("PRAGMA auto_vacuum = INCREMENTAL")
            with transaction(connection):  # killed in here, it leaves an empty file
                for table in schema.tables:
                    run(table)
                run(f"PRAGMA application_id = {schema.application}")
                run(f"PRAGMA user_version = {schema.version}")
        elif application != schema.application:
            raise _NotOurs("it is another program's", foreign=True)
        elif version != schema.version or tables != set(schema.tables):
            # Other tables with our version: a trigger that somebody planted would run on our behalf.
            raise _NotOurs("another version wrote it", foreign=False)
        run("PRAGMA journal_mode = WAL")
        run(f"PRAGMA wal_autocheckpoint = {self._log_pages}")
        run(f"PRAGMA journal_size_limit = {self._log_pages * PAGE_BYTES}")

    def _set_aside(self, reason: _NotOurs, file: tuple[int, int] | None) -> None:
        """Rename the file and what belongs to it, unless another process was faster, or nothing is to be renamed."""
        if self._schema.precious or not self._create or file is None or _identity(self.path) != file:
            return
        target = Path(f"{self.path}.aside")
        if reason.foreign:  # nothing that is not ours is ever overwritten
            target, count = Path(f"{self.path}.foreign"), 1
            while target.exists():
                count += 1
                target = Path(f"{self.path}.foreign-{count}")
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                os.replace(f"{self.path}{suffix}", f"{target}{suffix}")
        _logger.warning("%s was set aside as %s, and a new cache begun: %s", self.path, target.name, reason)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """A transaction that may write. Waits for those of others; nobody sees a part of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def number(connection: sqlite3.Connection, pragma: str) -> int:
    """The value of a pragma."""
    value: int = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
    return value


def give_back(connection: sqlite3.Connection, pages: int) -> None:
    """Shorten the file by up to ``pages`` that are free. Not in a transaction, which it would commit."""
    # As a script: on Python 3.11 `execute` takes this statement one step far, which is one page.
    connection.executescript(f"PRAGMA incremental_vacuum({pages})")


def _damaged(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)  # missing where Python itself raised it
    return code is not None and code & 0xFF in _DAMAGE


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def locked(directory: Path) -> Generator[None]:
    """One process at a time makes a new file, or sets one aside. No file of its own is needed for that."""
    if sys.platform == "win32":
        yield
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: then SQLite's own have to do
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
