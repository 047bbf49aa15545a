"""Where does one line of a byte stream end? Found however the stream is cut into chunks, in bounded memory.

Bytes in, whole lines out; no I/O. What a line means is for others to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from holdfast.errors import LineTooLong

__all__ = ["Lines", "check_longest"]

_ANY_END: Final = rb"\r\n|\n|\r"


class Lines:
    """Cuts chunks into lines, without their ends. One stream's; not shared.

    ``lone_cr``: a carriage return alone ends a line too, as in event streams; else only LF does, and a CR before it
    is taken off. A line of more than ``longest`` bytes raises `LineTooLong`, before more than that of it is kept.
    """

    def __init__(self, longest: int, *, lone_cr: bool = False) -> None:
        self._longest = longest
        self._lone_cr = lone_cr
        self._rest = bytearray()  # of a line whose end has not come
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that end in this chunk. Take all of them before the next chunk is fed."""
        if self._after_cr and chunk[:1] == b"\n":  # the CR before it has ended the line already
            chunk = chunk[1:]
            self._after_cr = False
        if not chunk:
            return
        self._after_cr = self._lone_cr and chunk[-1:] == b"\r"
        *ended, rest = re.split(_ANY_END, chunk) if self._lone_cr else chunk.split(b"\n")
        for line in ended:
            yield self._whole(line)
        self._keep(rest)

    def end(self) -> bytes:
        """What came after the last end of a line."""
        return self._whole(b"")

    def _whole(self, tail: bytes) -> bytes:
        self._keep(tail)
        line = bytes(self._rest)
        self._rest.clear()
        return line if self._lone_cr else line.removesuffix(b"\r")

    def _keep(self, part: bytes) -> None:
        if len(self._rest) + len(part) > self._longest:
            raise LineTooLong(f"a line is longer than {self._longest:,} bytes", limit=self._longest)
        self._rest += part


def check_longest(longest: int) -> int:
    """A number of bytes, at least 1. Raises ValueError."""
    if longest < 1:
        raise ValueError(f"longest must be at least 1 byte, got {longest}")
    return longest
