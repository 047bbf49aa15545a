"""What does a server tell of its limits? The ``RateLimit`` fields of the IETF, their older shapes, ``X-RateLimit-*``.

Values come from the other side, so nothing here raises: what is malformed is as if it were not there, whole (the
draft's MUST). Every field is read once from front to back, and not at all beyond 2,048 characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple, TypeAlias

from holdfast.core.caching.dates import parse_date

__all__ = ["Hint", "Reset", "hints_of", "seconds_until"]

Header: TypeAlias = Callable[[str], str | None]
Reset: TypeAlias = Literal["auto", "delta", "epoch", "epoch_ms", "date"]
"""What a provider means by reset: seconds from now, seconds or milliseconds since 1970, or a date."""

_LONGEST: Final = 2048
_FAR: Final = 31 * 86400.0
"""A quota that begins anew in more than a month is no quota but a mistake, of a unit or of a clock."""
_EPOCH: Final = 1e9
_EPOCH_MS: Final = 1e12
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,6})?")
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|h|m|s)")
# RFC 9651, as far as these fields use it. No pattern can match the same text in two ways, so none goes back.
_STRING: Final = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
_TOKEN: Final = r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*"
_BARE: Final = rf"-?[0-9]{{1,15}}(?:\.[0-9]{{1,3}})?|{_STRING}|{_TOKEN}|\?[01]|:[A-Za-z0-9+/=]*:"
_ITEM: Final = re.compile(rf"()({_BARE})")
_PARAMETER: Final = re.compile(rf"; *([a-z*][a-z0-9_.*-]*)(?:=({_BARE}))?")
_MEMBER: Final = re.compile(rf"([a-z*][a-z0-9_.*-]*)=({_BARE})")
_COMMA: Final = re.compile(r"[ \t]*,[ \t]*")

# Names of remaining, reset and limit; OpenAI's and Anthropic's beside those that all others use.
_FAMILIES: Final = (
    ("ratelimit-remaining", "ratelimit-reset", "ratelimit-limit"),
    ("x-ratelimit-remaining", "x-ratelimit-reset", "x-ratelimit-limit"),
    ("x-rate-limit-remaining", "x-rate-limit-reset", "x-rate-limit-limit"),
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "x-ratelimit-limit-requests"),
    (
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
        "anthropic-ratelimit-requests-limit",
    ),
)


class Hint(NamedTuple):
    """One quota, as the server sees it: ``left`` requests until it begins anew in ``resets_in`` seconds.

    ``name`` tells several quotas of one server apart; ``size`` is what there is of it in all, if that was said.
    """

    name: str
    left: float
    resets_in: float
    size: float | None
    source: str


def hints_of(header: Header, wall: float, *, reset: Reset = "auto") -> tuple[Hint, ...]:
    """All quotas that a response tells of, none if it tells of none that we understand.

    ``RateLimit`` goes before the other fields. Moments count from the response's own ``Date``, else from ``wall``
    (seconds since 1970). ``reset`` says what the ``X-`` fields mean by theirs; "auto" goes by the size.
    """
    field = header("ratelimit")
    found = () if field is None else _draft(field, header("ratelimit-policy"))
    return tuple(hint for hint in found or _counted(header, wall, reset) if hint.resets_in <= _FAR)


def seconds_until(text: str, now: float, *, reset: Reset = "auto") -> float | None:
    """Seconds until a reset, at least 0: "30", "1700000000", "1700000000000", "6m0s", an ISO or an HTTP date."""
    text = text.strip(" \t")
    if len(text) > 64:
        return None
    if reset != "date" and (number := _number(text)) is not None:
        if reset == "epoch_ms" or (reset == "auto" and number > _EPOCH_MS):
            return max(0.0, number / 1000 - now)
        if reset == "epoch" or (reset == "auto" and number > _EPOCH):
            return max(0.0, number - now)
        return number
    if reset in ("auto", "delta") and (seconds := _duration(text)) is not None:
        return seconds
    if reset not in ("auto", "date"):
        return None
    moment = _moment(text, now)
    return None if moment is None else max(0.0, moment - now)


def _counted(header: Header, wall: float, reset: Reset) -> tuple[Hint, ...]:
    """Three header fields for each quota."""
    hints: list[Hint] = []
    for names in _FAMILIES:
        left = _number(header(names[0]))
        if left is None:
            continue
        text = header(names[1])
        resets_in = None if text is None else seconds_until(text, _now(header, wall), reset=reset)
        if resets_in is not None:
            source = "ratelimit" if names[0].startswith("r") else "x_ratelimit"
            hints.append(Hint(names[0], left, resets_in, _number(header(names[2])), source))
    return tuple(hints)


def _draft(field: str, policy: str | None) -> tuple[Hint, ...]:
    """``"burst";r=50;t=30`` with its policies, or the older ``limit=100, remaining=50, reset=30``."""
    items = _items(field)
    if items is None:
        return _older(field)
    policies = dict(_items(policy or "") or ())
    hints: list[Hint] = []
    for name, said in items:
        rules = policies.get(name, {})
        if rules.get("qu", '"requests"').strip('"') != "requests":
            continue  # bytes, or whatever else nobody here counts
        left = _number(said.get("r"))
        resets_in = _number(said.get("t", rules.get("w")))
        if left is not None and resets_in is not None:
            hints.append(Hint(name, left, resets_in, _number(rules.get("q")), "ratelimit"))
    return tuple(hints)


def _older(field: str) -> tuple[Hint, ...]:
    members = {name: value for name, value, _ in _members(field, _MEMBER) or ()}
    left, resets_in = _number(members.get("remaining")), _number(members.get("reset"))
    if left is None or resets_in is None:
        return ()
    return (Hint("", left, resets_in, _number(members.get("limit")), "ratelimit"),)


def _items(field: str) -> list[tuple[str, dict[str, str]]] | None:
    members = _members(field, _ITEM)
    return None if members is None else [(item.strip('"'), parameters) for _, item, parameters in members]


def _members(field: str, pattern: re.Pattern[str]) -> list[tuple[str, str, dict[str, str]]] | None:
    """Members of a List or Dictionary: name, value, parameters. None if it is none: all of it, or nothing."""
    if len(field) > _LONGEST:
        return None
    field, position = field.strip(" \t"), 0
    members: list[tuple[str, str, dict[str, str]]] = []
    while found := pattern.match(field, position):
        position = found.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(field, position):
            parameters[parameter[1]] = parameter[2] or "?1"
            position = parameter.end()
        members.append((found[1] or "", found[2], parameters))
        if position == len(field):
            return members
        comma = _COMMA.match(field, position)
        if comma is None:
            return None
        position = comma.end()
    return None


def _number(text: str | None) -> float | None:
    text = "" if text is None else text.strip(" \t")
    return float(text) if _NUMBER.fullmatch(text) else None


def _duration(text: str) -> float | None:
    """Go's form, which OpenAI uses: 6m0s, 1.5s, 120ms."""
    seconds, position = 0.0, 0
    while found := _DURATION.match(text, position):
        seconds += float(found[1]) * _UNITS[found[2]]
        position = found.end()
    return seconds if position and position == len(text) else None


def _moment(text: str, now: float) -> float | None:
    if not text.isascii():
        return None
    moment = parse_date(text.encode("ascii"), now)
    if moment is not None:
        return moment
    try:
        parsed = datetime.fromisoformat(text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _now(header: Header, wall: float) -> float:
    """The server's own clock, if it says what that is."""
    text = header("date")
    sent = None if text is None else parse_date(text.encode("latin-1", "replace"), wall)
    return wall if sent is None else sent
