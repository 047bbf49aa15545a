"""The cache's decisions in sentences, the same for the terminal and for docs/caching-explained.md."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from holdfast.core.caching.explain import Explanation, Omission, Phase, Standing
from holdfast.core.caching.storing import Objection

__all__ = ["columns", "lasting", "line_of", "of_explanation", "of_phase", "of_standing", "printable", "until"]

OBJECTIONS: Final[Mapping[Objection, str]] = {
    "method": "only answers to GET are (RFC 9111 3)",
    "status": "nothing says that an answer of this status may be kept; max-age, Expires or public would (RFC 9111 3)",
    "range": "it is not plain which bytes of the whole these are (RFC 9111 3.3)",
    "must-understand": "must-understand, and of this status nothing is understood (RFC 9111 5.2.2.3)",
    "no-store": "no-store (RFC 9111 5.2.2.5)",
    "no-store in the request": "the request says no-store (RFC 9111 5.2.1.5)",
    "private": "private, and this cache is shared (RFC 9111 5.2.2.7)",
    "authorization": "the request has Authorization, and the answer has neither public, s-maxage nor must-revalidate "
    "(RFC 9111 3.5)",
    "malformed": "its fields cannot be kept as they are (RFC 9110 5.5)",
    "vary": "Vary: * fits no other request (RFC 9111 4.1)",
    "no lifetime and no validator": "it is stale at once, and has neither ETag nor Last-Modified to be validated by: "
    "it could never be used",
}

_SOURCES: Final = {
    "s-maxage": "by s-maxage (RFC 9111 5.2.2.10)",
    "max-age": "by max-age (RFC 9111 5.2.2.1)",
    "expires": "by Expires (RFC 9111 5.3)",
    "heuristic": "a tenth of the time since Last-Modified, at most a day, for it does not say (RFC 9111 4.2.2)",
    "none": "for it does not say how long (RFC 9111 4.2.1)",
    "settings": "by the settings of the program that stored it",
}

_OMISSIONS: Final[Mapping[Omission, str]] = {
    "connection": "about the message, not the answer (RFC 9111 3.1)",
    "no-cache": "no-cache names it, so the rest may be used without asking (RFC 9111 5.2.2.4)",
    "private": "private names it, and this cache is shared (RFC 9111 5.2.2.7)",
    "set-cookie": "one caller's session is not for the next",
}

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def of_explanation(explained: Explanation) -> Iterator[tuple[str, str]]:
    """Labels and sentences, in the order in which one would ask."""
    if explained.objection is not None:
        yield "stored", f"no: {OBJECTIONS[explained.objection]}"
        return
    assert explained.standing is not None, "what meets no objection is stored"
    yield "stored", "yes: nothing forbids it (RFC 9111 3)"
    yield "for", _whose(explained)
    yield from of_standing(explained.standing)
    if explained.whole is not None:
        yield "without Range", of_phase(explained.whole, explained.standing)
    for name, why in explained.omitted:
        yield "left out", f"{_names((name,))}: {_OMISSIONS[why]}"
    if explained.groups:
        yield "groups", f"{', '.join(map(printable, explained.groups))} (RFC 9875)"


def of_standing(standing: Standing) -> Iterator[tuple[str, str]]:
    """How long it is fresh and why, then what happens when."""
    if not standing.lifetime:
        yield "fresh", f"never, {_SOURCES[standing.source]}"
    else:
        # Less is the time that the answer took; to say so each time tells nobody anything.
        gone = f"; it was {lasting(standing.age)} old when it came (RFC 9111 4.2.3)" if standing.age >= 1 else ""
        yield "fresh", f"for {lasting(standing.lifetime)}, {_SOURCES[standing.source]}{gone}"
    for phase in standing.phases:
        yield until(phase), of_phase(phase, standing)


def until(phase: Phase) -> str:
    if phase.end is not None:
        return f"until {lasting(phase.end)}"
    return f"after {lasting(phase.start)}" if phase.start else "always"


def of_phase(phase: Phase, standing: Standing) -> str:
    """What happens to a request then."""
    match phase.answer:
        case "fresh":
            return "answered from the store, without the origin (RFC 9111 4.2)"
        case "stale":
            return "answered from the store though stale, which the request allows by max-stale (RFC 9111 5.2.1.2)"
        case "meanwhile":
            return "answered from the store at once, while the origin is asked in the background (RFC 5861 3)"
        case "validate":
            return _validated(phase, standing)
        case "complete":
            return "the origin is asked for the bytes that are missing (RFC 9111 3.3)"
        case "fetch":
            return "the origin is asked anew: nothing stored answers this request"
        case "bypass":
            return "the cache has no part in such a request"
        case "unsatisfiable":
            return "504: the request says only-if-cached (RFC 9111 5.2.1.7)"


def columns(told: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    """Labels and sentences side by side, in lines of at most ``width`` signs; the labels always fit."""
    indent = max(len(label) for label, _ in told) + 2
    wrap = textwrap.TextWrapper(max(width - indent, 40), break_long_words=False, break_on_hyphens=False).wrap
    for label, sentence in told:
        first, *others = wrap(sentence) or [""]
        yield f"{label:<{indent}}{first}"
        yield from (" " * indent + line for line in others)


def lasting(seconds: float) -> str:
    """A time in seconds up to two minutes, then in the two largest units that it has.

    >>> [lasting(seconds) for seconds in (0, 0.25, 90, 590, 3600, 86_460, 31_536_000)]
    ['0 s', '0.2 s', '90 s', '9 min 50 s', '1 h', '1 d 1 min', '365 d']
    """
    if seconds <= 120:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    told, left = list[str](), int(seconds)
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count:
            told.append(f"{count} {unit}")
    return " ".join(told[:2])


def line_of(name: bytes, value: bytes) -> str:
    """A header field for the terminal."""
    return printable(f"{name.decode('latin-1')}: {value.decode('latin-1')}")


def printable(text: str) -> str:
    r"""Text from the network, without what could steer a terminal.

    >>> printable("caf\xe9\x1b[2J")
    'café\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)


def _whose(explained: Explanation) -> str:
    if explained.shared:
        whom = "everybody who asks: the cache is shared"
    elif explained.credentials:
        whom = f"requests with the same {_names(explained.credentials)}, and no others"
    else:
        whom = "requests without a credential"
    return f"{whom}; by Vary, with the same {_names(explained.vary)} (RFC 9111 4.1)" if explained.vary else whom


def _validated(phase: Phase, standing: Standing) -> str:
    if phase.why == "request":
        reason = "the request wants it checked: "
    elif standing.no_cache:
        reason = "no-cache (RFC 9111 5.2.2.4): "
    else:
        reason = ""
    if standing.conditions:
        asked = f"the origin is asked whether it still holds, by {_and(standing.conditions)} (RFC 9111 4.3)"
    else:
        asked = "the origin is asked anew"
    if phase.stands_in:
        return f"{reason}{asked}; where it fails, the stored answer stands in (RFC 5861 4)"
    if standing.forbids_stale:
        return f"{reason}{asked}; where it fails, so does the call: no stale answer may stand in (RFC 9111 4.2.4)"
    return f"{reason}{asked}; where it fails, so does the call"


def _names(names: Sequence[str]) -> str:
    return _and(["-".join(map(str.capitalize, printable(name).split("-"))) for name in names])


def _and(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
