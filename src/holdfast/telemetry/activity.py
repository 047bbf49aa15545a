"""What happened lately? The last records in memory, and if asked in a file that outlives the process.

Callers pay for an append. A thread writes what is there into SQLite, a batch each time; a process that is killed
loses what was told in its last moments (`LINGER` seconds, and the batch being written), and nothing before.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from holdfast.events import Event
from holdfast.telemetry.logging import details

__all__ = ["LINGER", "ActivityLog", "read_log"]

LINGER: Final = 0.05
"""Seconds for which records gather before they are written."""

_APPLICATION: Final = 0x68666163  # "hfac", for files that say whose they are
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS activity (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL,
    call TEXT,
    record TEXT NOT NULL
)
"""
_logger = logging.getLogger("holdfast.activity")


class ActivityLog:
    """A listener that keeps the last ``size`` records (1,000), and with ``path`` the last ``keep`` (10,000) in a file.

    Records hold no secret to begin with (`holdfast.events`), so neither does the log. One of these may listen to any
    number of pipelines; several processes may write one file. The file is SQLite in WAL mode, readable by its owner
    alone, and stays readable after kill -9: what was told more than a tenth of a second before is in it. It is read
    by `read_log`, or ``python -m holdfast log FILE``.

    A disk that fails or is full is logged once, and so is a record that no file can hold; what does not fit into the
    queue of ``keep`` meanwhile is counted in `lost`. `close` writes what is left; the end of the interpreter does so
    too. Raises ValueError for a file of another kind, OSError or sqlite3.Error for one that cannot be opened.

    >>> from holdfast import ActivityLog, Pipeline
    >>> log = ActivityLog(size=100)
    >>> pipeline = Pipeline(listeners=[log])
    >>> log.records()
    []
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, size: int = 1000, keep: int = 10_000) -> None:
        for name, number in (("size", size), ("keep", keep)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        self._ring: deque[Event] = deque(maxlen=size)
        self._writer = None if path is None else _Writer(Path(path), keep)
        if self._writer is not None:
            weakref.finalize(self, self._writer.close)

    def __call__(self, event: Event, /) -> None:
        self._ring.append(event)
        if self._writer is not None:
            self._writer.add(event)

    def records(self, *, call: str | None = None, key: str | None = None) -> list[Event]:
        """The records in memory, oldest first: all of them, or those of a call or a key."""
        return [
            event
            for event in tuple(self._ring)
            if (call is None or event.call == call) and (key is None or event.key == key)
        ]

    @property
    def lost(self) -> int:
        """Records that came faster than the disk took them, or that it did not take."""
        return 0 if self._writer is None else self._writer.lost

    def close(self) -> None:
        """Write what is left, and close the file. Blocks for as long as that takes; again: nothing happens."""
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Writer:
    """A queue, and the thread that empties it into the file. Knows nothing of its log, so that one can be collected."""

    def __init__(self, path: Path, keep: int) -> None:
        self._keep = keep
        self._queue: deque[Event] = deque(maxlen=keep)
        self._added = 0
        self._taken = 0
        self._failed = 0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._complained = False
        self._file = _opened(path)
        self._thread = threading.Thread(target=self._run, name="holdfast-activity", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        return self._failed + max(0, self._added - self._taken - len(self._queue))

    def add(self, event: Event) -> None:
        if self._closing.is_set():
            return
        self._added += 1
        self._queue.append(event)
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        self._closing.set()
        self._wake.set()
        if threading.current_thread() is not self._thread:  # where the collector may have found the log
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(LINGER)
            self._wake.clear()
            self._write()
        self._write()  # what came while it was closed
        self._file.close()

    def _write(self) -> None:
        # A full queue drops its oldest by itself, so it is emptied one by one and never copied.
        batch: list[Event] = []
        while self._queue:
            batch.append(self._queue.popleft())
        if not batch:
            return
        self._taken += len(batch)
        try:
            rows = [(event.key, event.call, json.dumps(details(event), default=str)) for event in batch]
            with self._file:
                self._file.executemany("INSERT INTO activity (key, call, record) VALUES (?, ?, ?)", rows)
                self._file.execute("DELETE FROM activity WHERE id <= (SELECT MAX(id) FROM activity) - ?", (self._keep,))
        except Exception as error:  # protects the records that are still to come, whatever is in these
            self._failed += len(batch)
            if not self._complained:
                self._complained = True
                _logger.warning("the activity log cannot be written, its records are only counted: %s", error)


def read_log(
    path: str | os.PathLike[str], *, call: str | None = None, key: str | None = None, after: int = 0
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records of a file, oldest first, with their numbers; those after number ``after``, of a call or a key.

    May be called while others write. Raises OSError where there is no such file, ValueError for one of another kind,
    and sqlite3.Error for one that cannot be read.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(f"{os.fspath(path)} is a directory, and no activity log")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no activity log at {os.fspath(path)}")
    file = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
    try:
        _check(file, os.fspath(path))
        rows = file.execute(
            "SELECT id, record FROM activity WHERE id > ? AND (? IS NULL OR call = ?) AND (? IS NULL OR key = ?)"
            " ORDER BY id",
            (after, call, call, key, key),
        )
        for number, record in rows:
            yield number, json.loads(record)
    finally:
        file.close()


def _opened(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    file = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
    try:
        if path.stat().st_size:
            _check(file, os.fspath(path))
        else:  # before anything else, or a process that is killed here leaves a file that is nobody's
            file.execute(f"PRAGMA application_id = {_APPLICATION}")
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing by it, a lost machine a moment
        with file:
            file.execute(_SCHEMA)
    except BaseException:
        file.close()
        raise
    return file


def _check(file: sqlite3.Connection, name: str) -> None:
    try:
        (found,) = file.execute("PRAGMA application_id").fetchone()
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{name} is no activity log: {error}") from None
    if found != _APPLICATION:
        raise ValueError(f"{name} is no activity log")
