"""What is to be done with a request, given what is stored? (RFC 9111 4)

The answers are small types to match on. A new way to answer (a part of an entry, a stale entry while it is
validated) is a new type here and a new case where they are carried out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from holdfast.core.caching.directives import NO_REQUEST_DIRECTIVES
from holdfast.core.caching.entry import Entry
from holdfast.core.caching.freshness import current_age
from holdfast.core.caching.key import Identity
from holdfast.core.caching.parts import PARTIAL, missing, portion
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.ranges import Span, strong_validator
from holdfast.core.caching.request import Ask
from holdfast.core.caching.stale import while_validating
from holdfast.core.caching.validation import is_conditional
from holdfast.core.caching.vary import select

Why: TypeAlias = Literal["bypass", "method", "uri-miss", "vary-miss", "request", "stale", "partial"]
"""Why a request goes to the origin, in the words of RFC 9211 2.2."""


@dataclass(slots=True)  # made for every hit, as `Ask` is
class Fresh:
    """Answer from ``entry``, now ``age`` seconds old; past its lifetime only if the request allows that."""

    entry: Entry
    age: float


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """Answer from ``entry``, now ``age`` seconds old and stale, and ask the origin about it meanwhile."""

    entry: Entry
    age: float


@dataclass(slots=True)  # as `Fresh`
class Validate:
    """Ask the origin whether ``entry`` still holds."""

    entry: Entry
    why: Why


@dataclass(frozen=True, slots=True)
class Miss:
    """Nothing stored fits; send the request as it is, and store the answer if it may be."""

    why: Why


@dataclass(frozen=True, slots=True)
class Complete:
    """Ask the origin for the bytes of ``gap``, which are what ``entry`` lacks to be the answer."""

    entry: Entry
    gap: Span
    why: Why


@dataclass(frozen=True, slots=True)
class Bypass:
    """The cache has no part in this request; nothing stored answers it."""

    why: Why


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """The request wants nothing but a stored answer, and there is none: 504 (RFC 9111 5.2.1.7)."""


Reuse: TypeAlias = Fresh | Meanwhile | Validate | Miss | Complete | Bypass | Unsatisfiable

_CACHED_METHODS: Final = ("GET", "HEAD")
# The first two are for the origin to judge (RFC 9111 4.3.2). The others tell of content, which no key holds: servers
# do answer a GET by its content.
_FOR_THE_ORIGIN: Final = frozenset((b"if-match", b"if-unmodified-since", b"content-length", b"transfer-encoding"))
_SPECIAL: Final = _FOR_THE_ORIGIN | {b"range"}
HEEDED: Final = _SPECIAL | {b"cache-control", b"if-none-match", b"if-modified-since"}
"""Request fields that have a say in what is done with it here; without any, only the URL and Vary tell."""


_VARY_MISS: Final = Miss("vary-miss")
_URI_MISS: Final = Miss("uri-miss")


def decide(
    ask: Ask, key: str, entries: Sequence[Entry], *, now: float, policy: CachePolicy, identity: Identity
) -> Reuse:
    """What to do with a request for ``key``, of which ``entries`` are stored; ``now`` is monotonic."""
    directives = ask.directives
    if ask.method not in _CACHED_METHODS:
        return Bypass("method")
    if directives.no_store:
        return Unsatisfiable() if directives.only_if_cached else Bypass("request")
    special = not _SPECIAL.isdisjoint(ask.fields)
    if special and not _FOR_THE_ORIGIN.isdisjoint(ask.fields):
        return Unsatisfiable() if directives.only_if_cached else Bypass("bypass")
    entry = select(key, entries, ask.fields, identity)
    if entry is None:
        if directives.only_if_cached:
            return Unsatisfiable()
        return _VARY_MISS if entries else _URI_MISS
    age = current_age(entry, now)
    if (special or entry.status == PARTIAL) and (lack := _lack(ask, entry)) is not None:
        return Unsatisfiable() if directives.only_if_cached else lack
    obstacle = _obstacle(ask, entry, age, policy)
    if obstacle is None:
        return Fresh(entry, age)
    if directives.only_if_cached:
        return Unsatisfiable()
    if entry.status == PARTIAL and strong_validator(entry.fields, entry.wall) is None:
        return Miss(obstacle)  # after a weak validation it could be a part of other bytes than the next one
    if obstacle == "stale" and entry.status != PARTIAL and while_validating(ask, entry, age, policy):
        return Meanwhile(entry, age)
    return Validate(entry, obstacle)


def _lack(ask: Ask, entry: Entry) -> Miss | Complete | None:
    """What to do if a request for a part, or a stored part, leaves something wanting; None if nothing."""
    if portion(ask, entry) is not None:
        return None
    if entry.status != PARTIAL:
        return Miss("bypass")
    gap = missing(entry) if ask.method == "GET" and b"range" not in ask.fields and not is_conditional(ask) else None
    return Miss("partial") if gap is None else Complete(entry, gap, "partial")


def _obstacle(ask: Ask, entry: Entry, age: float, policy: CachePolicy) -> Why | None:
    """Why the entry may not answer unvalidated, or None."""
    wanted = ask.directives
    said = entry.directives
    if said.no_cache:
        return "stale"
    if wanted is NO_REQUEST_DIRECTIVES:
        return None if entry.lifetime > age else "stale"
    if wanted.no_cache or (wanted.max_age is not None and age > wanted.max_age):
        return "request"
    left = entry.lifetime - age
    if left > 0:
        return "request" if wanted.min_fresh is not None and left < wanted.min_fresh else None
    if wanted.max_stale is None or wanted.min_fresh or said.forbids_stale(shared=policy.shared):
        return "stale"
    return None if -left <= wanted.max_stale else "stale"
