"""What a `SQLiteStore` does to its tables. Runs in worker threads, each method with a connection of its own.

A body of at most 256 KiB stands in its entry's row; a longer one lies beside it, in pieces (`sqlite_pieces`).
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, Literal, TypeAlias
from zlib import crc32

from holdfast.clock import Clock
from holdfast.core.caching.entry import Blob, Entry
from holdfast.core.caching.key import split_key
from holdfast.stores.base import StoreError
from holdfast.stores.encoding import Metadata, Unreadable, decode, encode
from holdfast.stores.sqlite_file import PAGE_BYTES, give_back, number, transaction
from holdfast.stores.sqlite_pieces import Pieces, blob_of, new_long, number_of

Kind: TypeAlias = Literal["url", "prefix", "tag"]

INLINE_BYTES: Final = 256 * 1024

_REMEMBERED: Final = 600.0  # seconds for which a purge is
_STAMPED: Final = 60  # seconds; an entry is stamped as used no more often than that
_STAMPS: Final = 1000  # that wait to be written
_SLICE: Final = 500  # rows, or pages, that are removed in one transaction


class Tables:
    """Entries and long bodies, kept within ``max_bytes`` of the file. Shared by all threads of a store."""

    def __init__(self, *, clock: Clock, epoch: str, max_bytes: int, max_variants: int) -> None:
        self._clock = clock
        self._epoch = epoch
        self.max_bytes = max_bytes
        self._max_pages = max_bytes // PAGE_BYTES
        self._max_variants = max_variants
        self.pieces = Pieces(clock)
        # Of the next transaction that writes anyway. A dict and a set of CPython need no lock for single steps.
        self._used: dict[int, int] = {}
        self._spoiled: set[int] = set()
        self._stamped_at = clock.monotonic()
        self._pruned_at = clock.monotonic()

    def find(self, connection: sqlite3.Connection, key: str) -> tuple[Entry, ...]:
        """All variants of a key, the one put last first."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        found: list[Entry] = []
        for row, used, record, body, long in connection.execute(
            "SELECT id, used, record, body, long FROM entries WHERE url = ? AND who = ? ORDER BY id DESC", _columns(key)
        ).fetchall():
            entry = self._read(row, record, body, long, now=now, wall=wall)
            if entry is not None and entry.key == key:
                found.append(entry)
                if not 0 <= wall - used < _STAMPED:
                    self._used[row] = int(wall)
        if len(self._used) >= _STAMPS or (self._used and now - self._stamped_at >= _STAMPED):
            self._stamp_if_free(connection)
        return tuple(found)

    def listing(
        self, connection: sqlite3.Connection, after: int, url: str | None = None
    ) -> tuple[list[Entry], int | None]:
        """A few hundred entries without their bodies, and where to go on; None at the end."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        where, parameters = ("1", ()) if url is None else ("url = ?", (_bytes(url),))
        rows = connection.execute(
            f"SELECT id, record, long FROM entries WHERE id > ? AND {where} ORDER BY id LIMIT {_SLICE}",
            (after, *parameters),
        ).fetchall()
        read = (self._read(row, record, None, long, now=now, wall=wall) for row, record, long in rows)
        return [entry for entry in read if entry is not None], rows[-1][0] if len(rows) == _SLICE else None

    def store(self, connection: sqlite3.Connection, entry: Entry) -> Entry | None:
        """Store an entry, and make room for it; as `find` gives it, or None where it is not wanted."""
        with transaction(connection):
            self._stamp(connection)
            stored = self._place(connection, entry)
            self._make_room(connection)
        self.tidy(connection)
        return stored

    def purge(self, connection: sqlite3.Connection, kind: Kind, what: str) -> int:
        """Remove what a URL, a prefix or a tag names, and remember that for answers that are yet to be put."""
        written = _bytes(what)
        parameters: tuple[bytes, ...] = (written,)
        match kind:
            case "url":
                where = "url = ?"
            case "tag":
                where = "id IN (SELECT entry FROM tags WHERE tag = ?)"
            case "prefix" if not written:
                where, parameters = "1", ()
            case "prefix":
                where, parameters = "url >= ? AND url < ?", (written, _successor(written))
        with transaction(connection):
            self._remember_purge(connection, kind, written)
        return self._remove(connection, where, parameters)

    def delete(self, connection: sqlite3.Connection, key: str) -> None:
        self._remove(connection, "url = ? AND who = ?", _columns(key))

    def clear(self, connection: sqlite3.Connection) -> None:
        """Remove everything but the secret, and give the space back."""
        self.purge(connection, "prefix", "")
        while self.pieces.collect(connection):
            pass
        while number(connection, "freelist_count"):  # in steps, so that others get their turn
            give_back(connection, _SLICE)

    def secret(self, connection: sqlite3.Connection) -> bytes:
        query = "SELECT value FROM facts WHERE name = 'secret' AND length(value) = 32 AND typeof(value) = 'blob'"
        found = connection.execute(query).fetchone()
        if found is None:
            with transaction(connection):
                found = connection.execute(query).fetchone()  # somebody may have been faster
                if found is None:
                    found = (secrets.token_bytes(32),)
                    connection.execute("INSERT OR REPLACE INTO facts VALUES ('secret', ?)", found)
        secret: bytes = found[0]
        return secret

    def figures(self, connection: sqlite3.Connection) -> dict[str, int]:
        entries, urls, size, long = connection.execute(
            "SELECT count(*), count(DISTINCT url), coalesce(sum(bytes), 0), count(long) FROM entries"
        ).fetchone()
        loose, unowned = connection.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM loose").fetchone()
        return {
            "entries": entries,
            "urls": urls,
            "entry_bytes": size,
            "long_bodies": long,
            "loose_bodies": loose,
            "loose_bytes": unowned,
            "file_bytes": number(connection, "page_count") * PAGE_BYTES,
            "free_bytes": number(connection, "freelist_count") * PAGE_BYTES,
            "max_bytes": self.max_bytes,
        }

    # Long bodies

    def append(self, connection: sqlite3.Connection, long: int, size: int, content: bytes, hold: int) -> int:
        """Add pieces to a body of which ``size`` bytes are here; the hold on it, a new one in place of 0."""
        with transaction(connection):
            self._stamp(connection)
            if not hold:
                hold = self.pieces.begin(connection, long)
            elif not self.pieces.renew(connection, hold):
                raise StoreError("the body was given up, because nothing was added to it for too long")
            self.pieces.add(connection, long, size, content)
            self._make_room(connection)
        self.tidy(connection)
        return hold

    def finish(
        self, connection: sqlite3.Connection, entry: Entry, long: int, size: int, content: bytes, hold: int
    ) -> Entry | None:
        """Add the last pieces, and store ``entry`` with the body."""
        with transaction(connection):
            if not self.pieces.renew(connection, hold):
                raise StoreError("the body was given up, because nothing was added to it for too long")
            self.pieces.add(connection, long, size, content)
            self._stamp(connection)
            stored = self._place(connection, entry.with_body(blob_of(long, size + len(content))))
            self.pieces.release(connection, hold)
            self._make_room(connection)
        self.tidy(connection)
        return stored

    def hold(self, connection: sqlite3.Connection, long: int) -> int:
        """Keep a body from being removed."""
        with transaction(connection):
            if not self.pieces.has(connection, long):
                raise StoreError("the body is gone")
            return self.pieces.hold(connection, long)

    def renew(self, connection: sqlite3.Connection, hold: int) -> None:
        """Keep it for longer. Comes too late only for one that was left alone for minutes; then it may be gone."""
        with transaction(connection):
            self.pieces.renew(connection, hold)

    def release(self, connection: sqlite3.Connection, hold: int) -> None:
        with transaction(connection):
            self.pieces.release(connection, hold)
        self.tidy(connection)

    def tidy(self, connection: sqlite3.Connection) -> None:
        """One step of what can wait: a part of a body that nobody wants any more, some space given back."""
        self.pieces.collect(connection)
        pages, free = number(connection, "page_count"), number(connection, "freelist_count")
        surplus = max(pages - self._max_pages, free - max(_SLICE, pages // 5))
        if free and surplus > 0:
            give_back(connection, min(surplus, _SLICE))

    # In a transaction of the caller's

    def _read(self, row: int, record: object, body: object, long: object, *, now: float, wall: float) -> Entry | None:
        """The entry of a row, or None if it is damaged, of an unknown version, or from the future."""
        try:
            if not isinstance(record, bytes):
                raise Unreadable("no record")
            metadata = decode(record)
            content = _body(metadata, body, long)
        except Unreadable:
            self._spoiled.add(row)
            return None
        arrived = metadata.arrived(epoch=self._epoch, now=now, wall=wall)
        return None if arrived is None else metadata.entry(content, arrived)

    def _place(self, connection: sqlite3.Connection, entry: Entry) -> Entry | None:
        """Put an entry in the place of its variant, unless that is gone or has moved on since it was fetched."""
        now = self._clock.wall()
        url, who = _columns(entry.key)
        if self._purged_since(connection, entry, url, now):
            return None
        variant = _variant(entry)
        place = (url, who, variant)
        for row, wall in connection.execute(
            "SELECT id, wall FROM entries WHERE url = ? AND who = ? AND variant = ?", place
        ).fetchall():
            if entry.wall < wall <= now:
                return None  # a write that was late: an answer that came after this one is here
            connection.execute("DELETE FROM entries WHERE id = ?", (row,))
        body, checksum, long = entry.body, 0, None
        if isinstance(body, Blob):
            long = number_of(body)
            if long is None or not self.pieces.has(connection, long):
                return None
            connection.execute("DELETE FROM entries WHERE long = ?", (long,))
        elif len(body) > INLINE_BYTES:
            long = new_long()
        else:
            checksum = crc32(body)
        try:
            record = encode(entry, size=entry.size, checksum=checksum, epoch=self._epoch)
        except ValueError as error:
            raise StoreError(str(error)) from error
        size = len(record) + entry.size
        if size > self.max_bytes:
            return None
        if long is not None:
            if isinstance(body, bytes):
                self.pieces.add(connection, long, 0, body)
            body = blob_of(long, entry.size)
            connection.execute("DELETE FROM loose WHERE long = ?", (long,))
        row = connection.execute(
            "INSERT INTO entries (url, who, variant, wall, used, bytes, record, body, long) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*place, entry.wall, int(now), size, record, None if isinstance(body, Blob) else body, long),
        ).lastrowid
        connection.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?)", ((_bytes(tag), row) for tag in entry.tags))
        if variant:
            connection.execute(
                "DELETE FROM entries WHERE url = :url AND who = :who AND id NOT IN "
                "(SELECT id FROM entries WHERE url = :url AND who = :who ORDER BY id DESC LIMIT :most)",
                {"url": url, "who": who, "most": self._max_variants},
            )
        return entry if body is entry.body else entry.with_body(body)

    def _purged_since(self, connection: sqlite3.Connection, entry: Entry, url: bytes, now: float) -> bool:
        # A purge from the future is none: the wall clock was set back.
        purged = connection.execute(
            "SELECT 1 FROM purges WHERE kind = 'url' AND what = :url AND wall > :since AND wall <= :now UNION ALL "
            "SELECT 1 FROM purges WHERE kind = 'prefix' AND substr(:url, 1, length(what)) = what "
            "AND wall > :since AND wall <= :now LIMIT 1",
            {"url": url, "since": entry.wall, "now": now},
        ).fetchone()
        return purged is not None or any(
            connection.execute(
                "SELECT 1 FROM purges WHERE kind = 'tag' AND what = ? AND wall > ? AND wall <= ?",
                (_bytes(tag), entry.wall, now),
            ).fetchone()
            for tag in entry.tags
        )

    def _remember_purge(self, connection: sqlite3.Connection, kind: Kind, what: bytes) -> None:
        now, wall = self._clock.monotonic(), self._clock.wall()
        connection.execute("INSERT OR REPLACE INTO purges VALUES (?, ?, ?)", (kind, what, wall))
        if now - self._pruned_at >= _STAMPED:
            self._pruned_at = now
            connection.execute("DELETE FROM purges WHERE wall NOT BETWEEN ? AND ?", (wall - _REMEMBERED, wall))

    def _remove(self, connection: sqlite3.Connection, where: str, parameters: tuple[bytes, ...]) -> int:
        """Remove rows, not so many at once that others would have to wait; how many they were."""
        removed = 0
        while True:
            with transaction(connection):
                count = connection.execute(
                    f"DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE {where} LIMIT {_SLICE})", parameters
                ).rowcount
            removed += count
            if count < _SLICE:
                break
        self.tidy(connection)
        return removed

    def _make_room(self, connection: sqlite3.Connection) -> None:
        """Forget what was used longest ago until the rest fits, with a little room for what comes next."""
        if self._excess(connection, self._max_pages) <= 0:
            return
        while (excess := self._excess(connection, self._max_pages - self._max_pages // 64)) > 0:
            rows: list[tuple[int]] = []
            for row, size in connection.execute(f"SELECT id, bytes FROM entries ORDER BY used, id LIMIT {_SLICE}"):
                if excess <= 0:
                    break
                rows.append((row,))
                excess -= size
            if not rows:
                break  # what is left is held
            connection.executemany("DELETE FROM entries WHERE id = ?", rows)

    def _excess(self, connection: sqlite3.Connection, pages: int) -> int:
        """Bytes by which the content is more than ``pages``, without what will be collected anyway."""
        used = number(connection, "page_count") - number(connection, "freelist_count")
        if used <= pages:
            return 0
        return (used - pages) * PAGE_BYTES - self.pieces.unwanted_bytes(connection)

    def _stamp(self, connection: sqlite3.Connection) -> None:
        """Write down when entries were used, and remove those that could not be read."""
        self._stamped_at = self._clock.monotonic()
        if self._used:
            used, self._used = self._used, {}
            # Copied in one step: a reader that looked just before may still add to it.
            stamps = [(now, row) for row, now in list(used.items())]
            connection.executemany("UPDATE entries SET used = ? WHERE id = ?", stamps)
        if self._spoiled:
            spoiled, self._spoiled = self._spoiled, set()
            connection.executemany("DELETE FROM entries WHERE id = ?", [(row,) for row in list(spoiled)])

    def _stamp_if_free(self, connection: sqlite3.Connection) -> None:
        """As `_stamp`, in a transaction of its own; a reader does not wait for a writer."""
        self._stamped_at = self._clock.monotonic()
        waiting = number(connection, "busy_timeout")
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            with transaction(connection):
                self._stamp(connection)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            if len(self._used) > 10 * _STAMPS:
                self._used = {}
        finally:
            connection.execute(f"PRAGMA busy_timeout = {waiting}")


def _body(metadata: Metadata, body: object, long: object) -> bytes | Blob:
    """The body of a row, for its metadata; `Unreadable` if it is another, or damaged. None in a listing."""
    if isinstance(long, int):
        return blob_of(long, metadata.size)
    if body is None:
        return Blob(metadata.size, "")
    if not isinstance(body, bytes) or len(body) != metadata.size or crc32(body) != metadata.checksum:
        raise Unreadable("the body is damaged")
    return body


def _columns(key: str) -> tuple[bytes, bytes]:
    """Of a key, the URL and what stands before it."""
    _, _, url = split_key(key)
    return _bytes(url), _bytes(key[: len(key) - len(url)])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _successor(prefix: bytes) -> bytes:
    """What comes after all that begins with ``prefix``. No byte of UTF-8 is the largest one."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def _variant(entry: Entry) -> bytes:
    """A short stand-in for ``vary`` and ``variant``; empty for an answer that does not vary."""
    if not entry.vary and not entry.variant:
        return b""
    return _digest((*entry.vary, entry.variant))


def _digest(parts: Iterable[bytes]) -> bytes:
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(b"%d:%b" % (len(part), part))
    return digest.digest()
