"""How does a body too long for its entry's row lie in a SQLite file? In pieces, which are found by its number.

Its life does not hang on a transaction, since nobody should hold one open for as long as somebody else reads a
gigabyte: it goes when no entry has it *and* nobody holds it. A hold ends by itself, so that the dead keep nothing.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from typing import Final
from zlib import crc32

from holdfast.clock import Clock
from holdfast.core.caching.entry import Blob
from holdfast.stores.base import StoreError
from holdfast.stores.sqlite_file import transaction

PIECE_BYTES: Final = 60 * 1024  # fills 15 pages and an eighth; 64 KiB would take 17
BATCH: Final = 16  # pieces that are read or written at once
BATCH_BYTES: Final = BATCH * PIECE_BYTES

LEASE: Final = 600.0  # seconds for which a hold lasts, unless it is renewed
_HELD: Final = "SELECT 1 FROM holds WHERE holds.long = loose.long AND until BETWEEN :now AND :until"


class Pieces:
    """The long bodies of a file, each under its number. Shared by all threads of a store.

    A body is loose until an entry has it, and again after that. All but `collect` is done in a transaction of the
    caller's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def begin(self, connection: sqlite3.Connection, long: int) -> int:
        """A new body, without pieces yet, and a hold on it."""
        connection.execute("INSERT INTO loose VALUES (?, 0)", (long,))
        return self.hold(connection, long)

    def add(self, connection: sqlite3.Connection, long: int, size: int, content: bytes) -> None:
        """Pieces of ``content``, behind ``size`` bytes, which are a whole number of pieces."""
        first, odd = divmod(size, PIECE_BYTES)
        assert not odd, "only the last piece is a short one"
        connection.executemany(
            "INSERT INTO pieces VALUES (?, ?, ?)",
            ((_piece(long, index), crc32(piece), piece) for index, piece in enumerate(_cut(content), first)),
        )
        connection.execute("UPDATE loose SET bytes = ? WHERE long = ?", (size + len(content), long))

    def read(self, connection: sqlite3.Connection, long: int, first: int) -> list[bytes]:
        """Up to `BATCH` pieces, from one of them on; each is whole and in its place, or it is a `StoreError`."""
        begin = _piece(long, first)
        rows = connection.execute(
            "SELECT id, checksum, content FROM pieces WHERE id >= ? AND id < ? ORDER BY id",
            (begin, begin + BATCH),
        ).fetchall()
        for expected, (found, checksum, content) in enumerate(rows, begin):
            if found != expected or not isinstance(content, bytes) or crc32(content) != checksum:
                raise StoreError("the body is damaged, or gone")
        return [content for _, _, content in rows]

    def has(self, connection: sqlite3.Connection, long: int) -> bool:
        """Whether a body is whole: one that is being removed loses its first piece first."""
        return connection.execute("SELECT 1 FROM pieces WHERE id = ?", (_piece(long, 0),)).fetchone() is not None

    def hold(self, connection: sqlite3.Connection, long: int) -> int:
        """Keep a body from being removed: the hold's own number."""
        until = self._clock.wall() + LEASE
        hold = connection.execute("INSERT INTO holds (long, until) VALUES (?, ?)", (long, until)).lastrowid
        assert hold is not None, "it was inserted"
        return hold

    def renew(self, connection: sqlite3.Connection, hold: int) -> bool:
        """Keep it for longer; False if the hold is over, and the body may be gone."""
        until = self._clock.wall() + LEASE
        return connection.execute("UPDATE holds SET until = ? WHERE id = ?", (until, hold)).rowcount == 1

    def release(self, connection: sqlite3.Connection, hold: int) -> None:
        connection.execute("DELETE FROM holds WHERE id = ?", (hold,))

    def unwanted_bytes(self, connection: sqlite3.Connection) -> int:
        """Of the bodies that will be collected."""
        found: int = connection.execute(
            f"SELECT coalesce(sum(bytes), 0) FROM loose WHERE NOT EXISTS ({_HELD})", self._lease()
        ).fetchone()[0]
        return found

    def collect(self, connection: sqlite3.Connection) -> bool:
        """Remove some pieces of a body that no entry has and nobody holds; False if there is none."""
        lease = self._lease()
        found = connection.execute(f"SELECT long FROM loose WHERE NOT EXISTS ({_HELD}) LIMIT 1", lease).fetchone()
        if found is None:
            return False
        with transaction(connection):
            connection.execute("DELETE FROM holds WHERE until NOT BETWEEN :now AND :until", lease)
            held = "SELECT 1 FROM holds WHERE holds.long = loose.long"  # those that are over are gone now
            if connection.execute(f"SELECT 1 FROM loose WHERE long = ? AND NOT EXISTS ({held})", found).fetchone():
                _shrink(connection, found[0])
        return True

    def _lease(self) -> dict[str, float]:
        now = self._clock.wall()
        return {"now": now, "until": now + LEASE}  # one that ends later was made before the clock was set back


def new_long() -> int:
    """A number for a body, which is no other's: neither now, nor in a file that took this one's place."""
    return secrets.randbits(38) + 1


def blob_of(long: int, size: int) -> Blob:
    """What stands for a body in its entry."""
    return Blob(size, f"{long:x}")


def number_of(blob: Blob) -> int | None:
    """The number in a body's name; None for a name that is not of our making."""
    try:
        long = int(blob.name, 16)
    except ValueError:
        return None
    return long if 0 < long <= 1 << 38 else None


def _piece(long: int, index: int) -> int:
    assert index < 1 << 24, "a body has at most 960 GiB"
    return (long << 24) + index


def _cut(content: bytes) -> Iterator[bytes]:
    return (content[start : start + PIECE_BYTES] for start in range(0, len(content), PIECE_BYTES))


def _shrink(connection: sqlite3.Connection, long: int) -> None:
    removed = 0
    if not connection.execute("SELECT 1 FROM entries WHERE long = ?", (long,)).fetchone():
        removed = connection.execute(
            "DELETE FROM pieces WHERE id IN (SELECT id FROM pieces WHERE id >= ? AND id < ? ORDER BY id LIMIT ?)",
            (_piece(long, 0), _piece(long + 1, 0), 2 * BATCH),
        ).rowcount
    if removed == 2 * BATCH:
        connection.execute("UPDATE loose SET bytes = max(0, bytes - ?) WHERE long = ?", (2 * BATCH_BYTES, long))
    else:
        connection.execute("DELETE FROM loose WHERE long = ?", (long,))
