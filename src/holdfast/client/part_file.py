"""Where is a file while it grows? In ``NAME.part``, with what it is a part of in ``NAME.part.json``.

The file itself appears in one step, when all of it is there. Everything here blocks: it runs in threads.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from holdfast.core.transfer import Part

if sys.platform != "win32":  # which has no advisory locks; two downloads into one file are not told apart there
    import fcntl

__all__ = ["BLOCK", "PartFile"]

BLOCK: Final = 256 * 1024
"""Bytes that are written, or compared, in one step in a thread; a hop there costs as much as copying 100 KiB."""


class PartFile:
    """The part of a file and the note of what it is a part of; locked against other downloads. Not shared."""

    def __init__(self, target: Path, url: str) -> None:
        self.target = target
        self.size = 0
        self.part: Part | None = None
        self._url = url  # its fingerprint: a URL may hold secrets
        self._path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")
        self._file: IO[bytes] | None = None
        self._committed = False

    def open(self, resume: bool) -> None:
        """Raises OSError: BlockingIOError where another download writes it."""
        if self.target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a download goes into a file", str(self.target))
        self._file = self._locked()
        self.size = self._file.seek(0, os.SEEK_END)
        self.part = self._noted() if resume else None
        if self.part is None or (self.part.length is not None and self.size > self.part.length):
            self.restart(None)

    def restart(self, part: Part | None) -> None:
        """Begin again, as a part of this."""
        assert self._file is not None, "open"
        self._note.unlink(missing_ok=True)
        self._file.truncate(0)
        self.size, self.part = 0, part
        if part is not None:
            # Before the first byte: bytes are never there without what they are a part of.
            self._note.write_text(json.dumps({"url": self._url, **vars(part)}), "utf-8")

    def append(self, pieces: list[bytes]) -> None:
        assert self._file is not None, "open"
        self._file.writelines(pieces)
        self._file.flush()
        self.size += sum(map(len, pieces))

    def digest(self, algorithm: str, start: int, stop: int) -> bytes:
        assert self._file is not None, "open"
        made = hashlib.new(algorithm.replace("-", ""))
        for block in self._blocks(self._file, start, stop):
            made.update(block)
        return made.digest()

    def commit(self) -> None:
        """Have the whole file appear under its name."""
        assert self._file is not None, "open"
        os.fsync(self._file.fileno())
        if sys.platform == "win32":
            self._file.close()  # Windows renames no open file
        self._path.replace(self.target)  # still locked: nobody takes it for a part meanwhile
        self._committed = True
        self._note.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave a part that can be gone on with, and no other."""
        if self._file is None:
            return
        with self._file:
            if not self._committed and (self.part is None or self.size == 0):
                with suppress(OSError):
                    self._note.unlink(missing_ok=True)
                    if sys.platform != "win32":
                        self._path.unlink(missing_ok=True)

    def _locked(self) -> IO[bytes]:
        while True:
            file = open(self._path, "a+b", opener=_no_link)  # noqa: SIM115  # closed by `close`
            if sys.platform == "win32":
                return file
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Who held it before may have given this very file its final name, or removed it.
                if self._path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                    return file
            except FileNotFoundError:
                pass
            except BlockingIOError as error:
                file.close()
                raise BlockingIOError(error.errno, "another download writes this part", str(self._path)) from None
            file.close()

    def _noted(self) -> Part | None:
        try:
            noted: dict[str, Any] = json.loads(self._note.read_text("utf-8"))
            if noted.pop("url") != self._url or not isinstance(noted["validator"], str):
                return None
            return Part(**noted)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):  # none, or not ours: as if it were not there
            return None

    @staticmethod
    def _blocks(file: IO[bytes], start: int, stop: int) -> Iterator[bytes]:
        file.seek(start)
        while start < stop and (block := file.read(min(BLOCK, stop - start))):
            start += len(block)
            yield block


def _no_link(path: str, flags: int) -> int:
    """Whoever may write beside the target could have a link there, to a file that would be cut to nothing."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
