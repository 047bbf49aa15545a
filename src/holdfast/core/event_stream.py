"""Which events does a ``text/event-stream`` tell of? The algorithm of the HTML standard, 9.2.6, and nothing beside it.

Bytes in, events out, however the stream is cut into chunks; no I/O and no clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from holdfast.core.lines import Lines
from holdfast.core.value import Value
from holdfast.errors import LineTooLong

__all__ = ["EventStream", "RawEvent"]

_BOM: Final = b"\xef\xbb\xbf"
_RETRY: Final = r"[0-9]{1,10}"  # 10 digits of milliseconds are 115 days; more is noise
_FIELDS: Final = frozenset({"data", "event", "id", "retry"})


class RawEvent(Value):
    """One event: its ``type`` ("message" unless the server named another), its ``data``, and the last ``id`` so far."""

    def __init__(self, type: str, data: str, id: str) -> None:
        self.type: Final = type
        self.data: Final = data
        self.id: Final = id


class EventStream:
    """Reads one connection's stream. ``last_id`` goes on from the connection before it. Not shared.

    ``last_id`` and ``retry`` (seconds; None: the server did not say) are as the stream has set them up to now. A line
    or an event of more than ``longest`` bytes raises `LineTooLong`. An event that the stream breaks off in is none.
    """

    def __init__(self, longest: int, last_id: str = "") -> None:
        self.last_id = last_id
        self.retry: float | None = None
        self._longest = longest
        self._lines = Lines(longest, lone_cr=True)
        self._id = last_id  # counts when its event is dispatched
        self._type = ""
        self._data: list[str] = []
        self._size = 0
        self._head: bytes | None = b""  # until it is known whether the stream begins with a byte order mark

    def feed(self, chunk: bytes) -> Iterator[RawEvent]:
        """The events that are complete with this chunk. Take all of them before the next chunk is fed."""
        if self._head is not None:
            self._head += chunk
            if len(self._head) < len(_BOM) and _BOM.startswith(self._head):
                return
            chunk, self._head = self._head.removeprefix(_BOM), None
        for line in self._lines.feed(chunk):
            event = self._read(line)
            if event is not None:
                yield event

    def _read(self, line: bytes) -> RawEvent | None:
        if not line:
            return self._dispatch()
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if not name or name not in _FIELDS:  # a comment, or a field of another time
            return None
        if colon:
            value = value.removeprefix(" ")
        match name:
            case "data":
                self._size += len(line)
                if self._size > self._longest:
                    raise LineTooLong(f"an event is longer than {self._longest:,} bytes", limit=self._longest)
                self._data.append(value)
            case "event":
                self._type = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if re.fullmatch(_RETRY, value):
                self.retry = int(value) / 1000
            case _:
                pass
        return None

    def _dispatch(self) -> RawEvent | None:
        self.last_id = self._id
        event = RawEvent(self._type or "message", "\n".join(self._data), self.last_id) if self._data else None
        self._type = ""
        self._data.clear()
        self._size = 0
        return event
