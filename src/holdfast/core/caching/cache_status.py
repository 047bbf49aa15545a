"""How does a response say what the cache did? (RFC 9211)

As data, with the parameters' own names, for whoever asks the response; and as a member of the header field.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal, TypeAlias

from holdfast.core.caching.reuse import Why

Forwarded: TypeAlias = Why | Literal["miss", "partial"]

Told: TypeAlias = dict[str, bool | int | str]
"""Parameters of a member: ``hit`` or ``fwd`` (none of them: an answer of our own), then the others that hold."""

NAME: Final = b"Cache-Status"


def hit(ttl: float, *, detail: str | None = None) -> Told:
    """An answer without the origin; ``ttl`` is the lifetime left in seconds, negative if stale."""
    told: Told = {"hit": True, "ttl": int(ttl // 1)}
    return told if detail is None else {**told, "detail": detail}


def neither(detail: str) -> Told:
    """An answer of our own, made without the origin and without a stored answer."""
    return {"detail": detail}


def forwarded(
    why: Forwarded,
    *,
    status: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    ttl: float | None = None,
    detail: str | None = None,
) -> Told:
    """An answer with the origin's part in it.

    ``status`` is the origin's own, given when the response has another; ``collapsed`` means that the answer
    to another caller's request was used; ``ttl`` is the lifetime left of one that was stored; ``detail`` says why
    nothing was looked up, why nothing is stored, or why a stale answer is given.
    """
    told: Told = {"fwd": why}
    if status is not None:
        told["fwd-status"] = status
    if stored:
        told["stored"] = True
    if collapsed:
        told["collapsed"] = True
    if ttl is not None:
        told["ttl"] = int(ttl // 1)
    if detail is not None:
        told["detail"] = detail
    return told


def member(told: Told) -> bytes:
    """The header field's member."""
    if len(told) == 2 and "hit" in told:
        return f"holdfast; hit; ttl={told['ttl']}".encode("ascii")  # most of them
    return _spelled(*told.items())


@lru_cache(maxsize=256)
def _spelled(*told: tuple[str, bool | int | str]) -> bytes:
    text = "holdfast"
    for name, value in told:
        if name == "detail":
            text += f"; detail={_quoted(str(value))}"
        else:
            text += f"; {name}" if value is True else f"; {name}={value}"
    return text.encode("ascii")


def _quoted(detail: str) -> str:
    # RFC 9651 4.1.6: printable ASCII, with quote and backslash escaped.
    printable = "".join(sign if " " <= sign <= "~" else "?" for sign in detail)
    return '"' + printable.replace("\\", "\\\\").replace('"', '\\"') + '"'
