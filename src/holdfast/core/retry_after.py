"""How long does the server ask us to wait? ``Retry-After`` (RFC 9110 10.2.3) and what is used beside it.

Values come from the other side, so nothing here raises: what is malformed is as if it were not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["ASKING", "LOOK_EVERY", "server_delay", "should_retry", "tells"]

ASKING = frozenset({403, 429, 503})
"""Statuses with which a server asks for silence: RFC 9110 10.2.3, RFC 6585 4, and GitHub's secondary limits."""

LOOK_EVERY = 64
"""A server that tells of its limits does so with every answer, so one in so many is looked at until one does."""

_MAX_DIGITS = 10  # 10 digits of seconds are 300 years; more is noise, not a request to wait


def server_delay(header: Callable[[str], str | None], wall: float) -> float | None:
    """Seconds to wait, at least 0; None if the server said nothing that we understand.

    ``retry-after-ms`` (OpenAI, Azure) is looked at first, being finer. A date counts from the response's own
    ``Date``, the server's clock, if it has one, else from ``wall`` (seconds since 1970). A past date is 0.
    """
    milliseconds = _digits(header("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000.0
    value = header("retry-after")
    if value is None:
        return None
    seconds = _digits(value)
    if seconds is not None:
        return float(seconds)
    from holdfast.core.caching.dates import parse_date  # few servers answer with a date

    moment = parse_date(_bytes(value), wall)
    if moment is None:
        return None
    sent = parse_date(_bytes(header("date")), wall)
    return max(0.0, moment - (wall if sent is None else sent))


def should_retry(header: Callable[[str], str | None]) -> bool | None:
    """The server's own word on it, ``x-should-retry: true | false``; None if it said nothing."""
    value = header("x-should-retry")
    return None if value is None else {"true": True, "false": False}.get(value.strip().lower())


def tells(status: int, raw: Iterable[tuple[bytes, bytes]]) -> bool:
    """May an answer say anything of limits? Not what: that is `core.hints`, which few need to import."""
    names = b"\n".join([name for name, _ in raw]).lower()
    if b"ratelimit-" in names or b"rate-limit-" in names or b"ratelimit\n" in names or names.endswith(b"ratelimit"):
        return True
    return status in ASKING and b"retry-after" in names


def _digits(text: str | None) -> int | None:
    if text is None:
        return None
    text = text.strip(" \t")
    # str.isdigit() alone also takes other scripts' digits, which are no delay-seconds.
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        return None
    return int(text)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("latin-1", "replace")
