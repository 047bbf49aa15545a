"""What of a request can be signed? Its parts as they go on the wire: nothing decoded, nothing guessed.

Whoever signs other bytes than those sent gets an answer that says nothing but 401, so what could be spelled in two
ways is taken from the request's own target and never built again from its parts.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.core.value import Value
from holdfast.errors import HoldfastError

__all__ = ["Message", "Unsignable"]

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Unsignable(HoldfastError):
    """A request cannot be signed as asked: it lacks a part, or has one that two sides would read differently."""


class Message(Value):
    """A request, ready to be signed.

    ``authority``: host, and the port unless it is the scheme's own (RFC 9421 2.2.3). ``target``: path and query as
    sent. ``headers``: names and values in order. ``body``: the bytes sent, or None for a stream.
    """

    def __init__(
        self,
        *,
        method: str,
        scheme: str,
        authority: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | None = b"",
    ) -> None:
        self.method = method
        self.scheme = scheme.lower()
        self.authority = authority.lower().removesuffix(_DEFAULT_PORTS.get(self.scheme, ""))
        path, mark, query = target.partition("?")
        self.path = path or "/"
        self.query = query if mark else None
        self.headers = tuple((name.lower(), value) for name, value in headers)
        self.body = body

    @property
    def target(self) -> str:
        """Path and query, as in the request line."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    def values(self, name: str) -> list[str]:
        """The values of a header field, in order, each without the white space around it."""
        return [value.strip(" \t") for field, value in self.headers if field == name]

    def whole_body(self) -> bytes:
        """The body's bytes. Raises `Unsignable` for one that is read while it is sent: its digest comes too late."""
        if self.body is None:
            raise Unsignable(
                "the body of this request is a stream, so its digest is not known before it is sent:"
                " give it as bytes, or sign without the body"
            )
        return self.body
