"""How does a response say what the cache did? (RFC 9211)

As data, with the parameters' own names, for whoever asks the response; and as a member of the header field.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

from holdfast.core.caching.reuse import Why

Forwarded: TypeAlias = Why | Literal["miss", "partial"]

NAME: Final = b"Cache-Status"
_REMEMBERED: Final = 256  # what is said of answers is said of many


class Member(NamedTuple):
    """What we say of one answer. Shared between answers, so ``parameters`` are copied for whoever may change them."""

    parameters: dict[str, bool | int | str]
    """``hit`` or ``fwd`` (none of them: an answer of our own), then the others that hold."""
    text: bytes
    """The same as a member of the header field."""


def hit(ttl: float, *, detail: str | None = None) -> Member:
    """An answer without the origin; ``ttl`` is the lifetime left in seconds, negative if stale."""
    return _hit(int(ttl // 1), detail)


@lru_cache(maxsize=_REMEMBERED)
def _hit(ttl: int, detail: str | None) -> Member:
    return _member({"hit": True, "ttl": ttl} if detail is None else {"hit": True, "ttl": ttl, "detail": detail})


def neither(detail: str) -> Member:
    """An answer of our own, made without the origin and without a stored answer."""
    return _member({"detail": detail})


@lru_cache(maxsize=_REMEMBERED)
def forwarded(
    why: Forwarded,
    detail: str | None = None,
    *,
    status: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    ttl: int | None = None,
) -> Member:
    """An answer with the origin's part in it.

    ``detail`` says why nothing was looked up, why nothing is stored, or why a stale answer is given; ``status`` is the
    origin's own, given when the response has another; ``collapsed`` means that the answer to another caller's request
    was used; ``ttl`` is the lifetime left of one that was stored.
    """
    parameters: dict[str, bool | int | str] = {"fwd": why}
    if status is not None:
        parameters["fwd-status"] = status
    if stored:
        parameters["stored"] = True
    if collapsed:
        parameters["collapsed"] = True
    if ttl is not None:
        parameters["ttl"] = ttl
    if detail is not None:
        parameters["detail"] = detail
    return _member(parameters)


def _member(parameters: dict[str, bool | int | str]) -> Member:
    text = "holdfast"
    for name, value in parameters.items():
        if name == "detail":
            text += f"; detail={_quoted(str(value))}"
        else:
            text += f"; {name}" if value is True else f"; {name}={value}"
    return Member(parameters, text.encode("ascii"))


def _quoted(detail: str) -> str:
    # RFC 9651 4.1.6: printable ASCII, with quote and backslash escaped.
    printable = "".join(sign if " " <= sign <= "~" else "?" for sign in detail)
    return '"' + printable.replace("\\", "\\\\").replace('"', '\\"') + '"'
