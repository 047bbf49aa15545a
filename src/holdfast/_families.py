"""What differs between httpx and httpx2, and what both need of the exceptions below them. Imports neither."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Final, Protocol, TypeAlias

__all__ = [
    "append_field",
    "bounded_decoders",
    "fields_of",
    "grace",
    "hush_hpack",
    "is_certificate_error",
    "is_encoded",
    "leaks_when_cancelled",
    "peer_broke_http2",
    "raw_of",
    "refuse_inner_retries",
    "unprocessed",
]

_REFUSED_STREAM = 7  # RFC 9113 7
_LAST_LEAKY = (0, 28, 1)
_BOUNDED = {"gzip", "x-gzip", "deflate"}


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())


def leaks_when_cancelled(name: str, version: str) -> bool:
    """True if the family's pool loses slots when a request is cancelled (encode/httpcore#1093)."""
    return name == "httpx" and _version(version) <= _LAST_LEAKY


def grace(name: str, version: str) -> float:
    """Seconds that a cancel scope waits behind the timeouts in the extensions.

    httpx's pool loses slots when a request is cancelled (encode/httpcore#1093), so its timeouts get a quarter of a
    second to end the attempt first. httpx2 has that cured; there a blink lets the more telling timeout win.
    """
    return 0.25 if leaks_when_cancelled(name, version) else 0.02


def hush_hpack() -> None:
    """Have the library under HTTP/2 not log header fields, keys among them, where only the root logger is at DEBUG.

    It masks ``Authorization`` alone. Whoever wants to see them sets the level of the logger ``hpack``.
    """
    logger = logging.getLogger("hpack")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)


def is_certificate_error(error: BaseException) -> bool:
    """True if a connection failed because the server's certificate is not trusted: trying again will not help."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            return False
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def unprocessed(error: BaseException) -> bool:
    """True if an HTTP/2 peer said that it did not act on the request (RFC 9113 8.7).

    That is RST_STREAM with REFUSED_STREAM, or a GOAWAY that names no stream at all. Streams above the last one
    that a GOAWAY names are sent again by httpcore itself. The event of h2 is the argument of httpcore's exception.
    """
    cause = error.__cause__
    event = cause.args[0] if cause is not None and cause.args else None
    if getattr(event, "stream_id", None) is not None:
        return getattr(event, "error_code", None) == _REFUSED_STREAM
    return getattr(event, "last_stream_id", None) == 0


def peer_broke_http2(error: BaseException) -> bool:
    """True if a LocalProtocolError is not about our request, but about what the HTTP/2 peer sent.

    httpcore gives that name to all that h2 raises: an oversized header block, a flood of CONTINUATION frames, an
    answer after GOAWAY. h2 raised it while it was given the peer's bytes, and its traceback tells.
    """
    cause = error.__cause__
    raised = cause.args[0] if cause is not None and cause.args else None
    frame = raised.__traceback__ if isinstance(raised, Exception) else None
    while frame is not None:
        if frame.tb_frame.f_code.co_name == "receive_data":  # h2.connection.H2Connection's public method
            return True
        frame = frame.tb_next
    return False


def bounded_decoders(name: str, version: str, encodings: Sequence[str]) -> int | None:
    """In pieces of how many bytes may these content encodings be fed to the client's decoders? None: in no size.

    httpx 0.28.1 inflates each piece whole before anyone can count: 4 KiB of gzip make 4 MiB at most, brotli, zstd and
    a chain of two have no such bound. httpx2 hands out 1 MiB at a time, whatever goes in.
    """
    if name != "httpx" or _version(version) > _LAST_LEAKY:
        return 64 * 1024
    compressing = [coding for coding in encodings if coding.strip().lower() != "identity"]
    if len(compressing) > 1 or any(coding.strip().lower() not in _BOUNDED for coding in compressing):
        return None
    return 4096


def refuse_inner_retries(inner: object) -> None:
    """Raise ValueError if an inner transport retries on its own: its attempts would multiply with ours.

    There is no public way to ask; a transport that does not keep its pool where both families do is let through.
    """
    retries = getattr(getattr(inner, "_pool", None), "_retries", 0)
    if isinstance(retries, int) and retries > 0:
        raise ValueError(
            f"the inner transport has retries={retries}, which would multiply with the pipeline's attempts; give it"
            " retries=0 (the pipeline retries failed connections too)"
        )


_Lines: TypeAlias = list[tuple[bytes, bytes, bytes]]
_NAME_AND_VALUE: Final = itemgetter(1, 2)
_AS_IT_CAME: Final = itemgetter(0, 2)


class _Headers(Protocol):
    @property
    def raw(self) -> list[tuple[bytes, bytes]]: ...
    def __setitem__(self, key: str, value: str) -> None: ...


def _lines(headers: _Headers) -> _Lines | None:
    """Name as it came, in small letters, and value of each field: the very list in which both families keep them.

    What is public makes a new list at each look, which took a seventh of all that a call costs. None if a family has
    another way to keep them: then that is how it is asked.
    """
    lines: _Lines | None = getattr(headers, "_list", None)
    return lines


def fields_of(headers: _Headers) -> dict[bytes, bytes]:
    """Header fields for looking up: names in small letters, repeated lines joined by commas (RFC 9110 5.2)."""
    lines: _Lines | None = getattr(headers, "_list", None)  # as `_lines`; this is asked twice for each call
    if lines is None:
        lines = [(name, name.lower(), value) for name, value in headers.raw]
    fields = dict(map(_NAME_AND_VALUE, lines))
    if len(fields) < len(lines):
        repeated: dict[bytes, list[bytes]] = {}
        for _, name, value in lines:
            repeated.setdefault(name, []).append(value)
        fields = {name: b", ".join(values) for name, values in repeated.items()}
    return fields


def raw_of(headers: _Headers) -> list[tuple[bytes, bytes]]:
    """Header fields as they came, in a new list."""
    lines: _Lines | None = getattr(headers, "_list", None)
    return headers.raw if lines is None else list(map(_AS_IT_CAME, lines))


def is_encoded(headers: _Headers) -> bool:
    """Whether there is a Content-Encoding. A value that is that very word is taken for it first, and looked at then."""
    lines = _lines(headers)
    if lines is not None and b"content-encoding" not in chain.from_iterable(lines):
        return False
    return b"content-encoding" in fields_of(headers)


def append_field(headers: _Headers, name: bytes, value: bytes) -> None:
    """Put a field behind the others, of which none has its name."""
    lines: _Lines | None = getattr(headers, "_list", None)
    if lines is None:
        headers[name.decode("ascii")] = value.decode("ascii")
    else:
        lines.append((name, name.lower(), value))
