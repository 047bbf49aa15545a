"""How much of a response's body belongs to the attempt, and is the rest a stream?

A transport returns on the head, so a body that is cut off fails in the caller's hands, where no retry and no
circuit sees it. Small bodies are therefore read inside the attempt; streams pass through untouched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from holdfast.core.value import Value

__all__ = ["Auto", "BodyHead", "buffer_limit", "chained_encodings", "is_stream", "read_head"]

Auto: TypeAlias = bool | Literal["auto"]
BUFFER_LIMIT = 256 * 1024
"""Bytes on the wire. API answers are smaller, downloads are larger; a thousand concurrent calls stay under 256 MiB."""
MAX_ENCODINGS = 5
"""Chained content encodings that anybody needs; urllib3 and httpx2 draw the same line."""
_STREAMS = (b"text/event-stream", b"application/x-ndjson", b"application/jsonl", b"multipart/x-mixed-replace")
_EMPTY_STATUSES = frozenset({204, 205, 304})


class BodyHead(Value):
    """The header fields that describe a body, as they came; read further only when asked, for most never are."""

    def __init__(self, content_length: bytes = b"", content_type: bytes = b"", encodings: int = 0) -> None:
        self.content_length: Final = content_length
        self.content_type: Final = content_type
        self.encodings: Final = encodings  # content encodings that are chained

    @property
    def length(self) -> int | None:
        """None if it is not declared, or declared badly."""
        value = self.content_length
        return int(value) if value.isdigit() and len(value) < 20 else None

    @property
    def media_type(self) -> bytes:
        return self.content_type.partition(b";")[0].strip().lower()


def read_head(fields: Mapping[bytes, bytes]) -> BodyHead:
    """Read the fields of a response: names in small letters, repeated lines joined by commas."""
    return BodyHead(fields.get(b"content-length", b""), fields.get(b"content-type", b""), chained_encodings(fields))


def chained_encodings(fields: Mapping[bytes, bytes]) -> int:
    """How many content encodings were applied one after the other."""
    return fields[b"content-encoding"].count(b",") + 1 if b"content-encoding" in fields else 0


def buffer_limit(setting: Auto, head: BodyHead, method: str, status: int) -> int | None:
    """How many bytes to read inside the attempt; None: the whole body, 0: none of it.

    More than the limit passes through from where it stands. "auto" reads a declared length of at most 256
    KiB, JSON up to that size, and the nothing that follows a HEAD or a 204.
    """
    if status == 101 or setting is False:
        return 0
    if setting is True:
        return None
    if status in _EMPTY_STATUSES or method == "HEAD":
        return BUFFER_LIMIT
    media_type, length = head.media_type, head.length
    if media_type in _STREAMS:
        return 0
    if length is not None:
        return BUFFER_LIMIT if length <= BUFFER_LIMIT else 0
    return BUFFER_LIMIT if media_type == b"application/json" or media_type.endswith(b"+json") else 0


def is_stream(head: BodyHead, status: int) -> bool:
    """True for a body that is meant to take its time: events, lines, an upgrade, a download of declared size."""
    return status == 101 or head.media_type in _STREAMS or (head.length or 0) > BUFFER_LIMIT
