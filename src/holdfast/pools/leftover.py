"""May the connection under a finished body carry another request? httpcore has no public answer.

A server that sends a second response unasked would have it taken for the answer to the next request.
Bytes that come later make the socket readable, and httpcore then drops the connection by itself; bytes that
came with the first response sit in its parser, or in the TLS layer above the socket, and are looked for
here. The way to them is the same in httpcore 1.0 and httpcore2 2.x.
"""

from __future__ import annotations

import functools
import ssl
import warnings
from typing import Any

__all__ = ["connection_is_clean", "holds_records"]


def connection_is_clean(stream: Any, secure: bool) -> bool:
    """True if the connection of a closed HTTP/1.1 body is idle and nothing unread came over it.

    ``stream`` is the body's stream as ``AsyncHTTPTransport`` made it, ``secure`` whether it came over TLS.
    Warns once (RuntimeWarning), and says True, where the installed version keeps its connection elsewhere.
    A body that a test tool (respx, pytest-httpx) put there has no connection: True.
    """
    if not _came_over_httpcore(stream):
        return True
    try:
        connection = stream._httpcore_stream._stream._connection
        unread: bytes = connection._h11_state.trailing_data[0]
        idle: bool = connection.is_idle()
        tls: Any = connection._network_stream.get_extra_info("ssl_object") if secure else None
    except AttributeError:
        _warn_once(type(stream).__module__)
        return True
    return idle and not unread and (tls is None or not holds_records(tls))


def _came_over_httpcore(stream: Any) -> bool:
    # AsyncHTTPTransport wraps whatever httpcore's pool, or who stands in for it, gave it.
    module = type(getattr(stream, "_httpcore_stream", stream)).__module__
    return module.startswith("httpcore") or "._transports." in module


@functools.cache
def _warn_once(module: str) -> None:
    warnings.warn(
        f"{module} keeps its connections where holdfast does not know them: a response that nobody asked for"
        " may be taken for the answer to the next request",
        RuntimeWarning,
        stacklevel=2,
    )


def holds_records(tls: ssl.SSLObject) -> bool:
    """True if a record was received with the last one of the body, which the socket no longer shows."""
    try:
        tls.read(1)
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        return True  # the peer said good-bye, or broke the session
    return True  # the byte is lost, and so is the connection
