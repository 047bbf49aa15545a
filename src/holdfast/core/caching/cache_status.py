"""How does a response say what the cache did? (RFC 9211)"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from holdfast.core.caching.reuse import Why

Forwarded: TypeAlias = Why | Literal["miss", "partial"]

NAME: Final = b"Cache-Status"


def hit(ttl: float, *, detail: str | None = None) -> bytes:
    """Member for an answer without the origin; ``ttl`` is the lifetime left in seconds, negative if stale."""
    return b"holdfast; hit; ttl=%d%b" % (int(ttl // 1), _detail(detail))


def neither(detail: str) -> bytes:
    """Member for an answer of our own, made without the origin and without a stored answer."""
    return b"holdfast%b" % _detail(detail)


def forwarded(
    why: Forwarded,
    *,
    status: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    detail: str | None = None,
) -> bytes:
    """Member for an answer with the origin's part in it.

    ``status`` is the origin's own, given when the response has another; ``collapsed`` means that the answer
    to another caller's request was used.
    """
    text = b"holdfast; fwd=" + why.encode("ascii")
    if status is not None:
        text += b"; fwd-status=%d" % status
    if stored:
        text += b"; stored"
    if collapsed:
        text += b"; collapsed"
    return text + _detail(detail)


def _detail(detail: str | None) -> bytes:
    if detail is None:
        return b""
    # RFC 8941 3.3.3: printable ASCII, with quote and backslash escaped.
    printable = "".join(sign if " " <= sign <= "~" else "?" for sign in detail)
    return b'; detail="%b"' % printable.replace("\\", "\\\\").replace('"', '\\"').encode("ascii")
