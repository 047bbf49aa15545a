"""What does a cache do with an answer, and why?

For people who ask. Decides nothing: it asks the functions that a call goes through, about made-up moments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from holdfast.core.caching.entry import Blob, Entry, Exchange
from holdfast.core.caching.fields import Fields, Headers, combine, delta_seconds
from holdfast.core.caching.freshness import Source, lifetime_and_source
from holdfast.core.caching.groups import read_groups
from holdfast.core.caching.key import NOBODY, Identity, primary_key
from holdfast.core.caching.parts import PARTIAL, judge_part
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.ranges import read_content_range
from holdfast.core.caching.request import Ask
from holdfast.core.caching.reuse import Bypass, Complete, Fresh, Meanwhile, Miss, Unsatisfiable, Validate, Why, decide
from holdfast.core.caching.stale import if_error
from holdfast.core.caching.storing import Objection, Unstorable, connection_fields, judge
from holdfast.core.caching.targeted import effective_directives
from holdfast.core.caching.validation import conditions

Answer: TypeAlias = Literal["fresh", "stale", "meanwhile", "validate", "complete", "fetch", "bypass", "unsatisfiable"]
"""What `decide` says. A `Fresh` past its lifetime, which the request allowed, is ``"stale"``."""

Omission: TypeAlias = Literal["connection", "no-cache", "private", "set-cookie"]
"""Why a field is not stored."""

_ANYBODY: Final = Identity(bytes(32))


@dataclass(frozen=True, slots=True)
class Phase:
    """What the same request gets from ``start`` up to ``end`` seconds after the answer came; None: for ever."""

    start: float
    end: float | None
    answer: Answer
    why: Why | None  # the origin is asked; None where it is not
    stands_in: bool  # for an error of the origin (RFC 5861 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a stored answer is good for."""

    lifetime: float
    source: Source | Literal["settings"]  # those of the program that stored it: a rule's or a request's ttl, say
    age: float  # when it came
    phases: tuple[Phase, ...]
    conditions: tuple[str, ...]  # names of the fields that validate it
    no_cache: bool
    forbids_stale: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What becomes of an answer: it is kept out for an objection, or it has a standing."""

    objection: Objection | None
    standing: Standing | None
    whole: Phase | None = None  # what a request for all of it gets at first, if this is a part
    shared: bool
    credentials: tuple[str, ...]  # fields of the request, lower case: whoever sends the same ones gets the answer
    vary: tuple[str, ...] = ()
    omitted: tuple[tuple[str, Omission], ...] = ()
    groups: tuple[str, ...] = ()


def explain(ask: Ask, status: int, headers: Headers, *, url: str, wall: float, policy: CachePolicy) -> Explanation:
    """What becomes of the answer to ``ask`` that comes whole at ``wall``, in seconds since the epoch."""
    identity = Identity.of(policy, _ANYBODY.secret)
    partition = NOBODY if policy.shared else identity.partition(ask.fields)
    credentials = tuple(map(_text, identity.proofs(ask.fields))) if partition else ()
    key = primary_key(ask.method, url, partition)
    exchange = Exchange(request_time=0.0, response_time=0.0, wall=wall)
    if status == PARTIAL:
        judged = judge_part(ask, key, headers, exchange, policy, identity)
    else:
        judged = judge(ask, key, status, headers, exchange, policy, identity)
    if isinstance(judged, Unstorable):
        return Explanation(objection=judged.reason, standing=None, shared=policy.shared, credentials=credentials)
    fields = combine(headers)
    entry = judged.entry.with_body(Blob(_size(status, fields), ""))
    return Explanation(
        objection=None,
        standing=standing(ask, entry, policy, fields),
        whole=phase_at(_without_range(ask), entry, policy, now=0.0) if status == PARTIAL else None,
        shared=policy.shared,
        credentials=credentials,
        vary=tuple(map(_text, entry.vary)),
        omitted=tuple(_omitted(fields, entry, policy)),
        groups=read_groups(fields.get(b"cache-groups")),
    )


def standing(ask: Ask, entry: Entry, policy: CachePolicy, fields: Fields | None = None) -> Standing:
    """What ``entry`` is good for, if requests like ``ask`` select it; ``fields`` if not all of them were stored."""
    fields = entry.fields if fields is None else fields
    lifetime, source = lifetime_and_source(entry.status, fields, entry.directives, entry.wall, policy)
    return Standing(
        lifetime=entry.lifetime,
        # A Date that we stored ourselves is in whole seconds, the moment that the lifetime was counted from is not.
        source=source if abs(lifetime - entry.lifetime) <= 1.0 else "settings",
        age=entry.initial_age,
        phases=tuple(_merged(_phases(ask, entry, policy))),
        conditions=tuple(_text(name) for name, _ in conditions(entry)),
        no_cache=entry.directives.no_cache,
        forbids_stale=entry.directives.forbids_stale(shared=policy.shared),
    )


def phase_at(ask: Ask, entry: Entry, policy: CachePolicy, *, now: float) -> Phase:
    """What ``ask`` gets at one moment of the entry's monotonic clock; starts and ends then."""
    # Whether its variant is selected is not the question here, and the request that selected it is not known.
    entry = replace(entry, vary=(), variant=b"")
    at = now - entry.response_time
    reuse = decide(ask, entry.key, [entry], now=now, policy=policy, identity=_ANYBODY)
    match reuse:
        case Fresh(_, age):
            return Phase(at, at, "fresh" if entry.lifetime > age else "stale", None, stands_in=False)
        case Meanwhile():
            return Phase(at, at, "meanwhile", "stale", stands_in=False)
        case Validate(_, why):
            stands_in = if_error(ask, entry, entry.initial_age + max(0.0, at), policy)
            return Phase(at, at, "validate", why, stands_in)
        case Complete(_, _, why):
            return Phase(at, at, "complete", why, stands_in=False)
        case Miss(why):
            return Phase(at, at, "fetch", why, stands_in=False)
        case Bypass(why):
            return Phase(at, at, "bypass", why, stands_in=False)
        case Unsatisfiable():
            return Phase(at, at, "unsatisfiable", None, stands_in=False)


def _phases(ask: Ask, entry: Entry, policy: CachePolicy) -> Iterator[Phase]:
    """One phase between any two moments at which a time that somebody named runs out."""
    said, wanted = entry.directives, ask.directives
    left = entry.lifetime - entry.initial_age
    past_lifetime = (
        0.0,
        said.stale_while_revalidate,
        said.stale_if_error,
        policy.stale_if_error,
        wanted.stale_if_error,
        wanted.max_stale,
        None if wanted.min_fresh is None else -wanted.min_fresh,
    )
    turns = {0.0, *(left + after for after in past_lifetime if after is not None)}
    if wanted.max_age is not None:
        turns.add(wanted.max_age - entry.initial_age)
    starts = sorted(turn for turn in turns if turn >= 0)
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        middle = start + 1.0 if end is None else (start + end) / 2
        yield replace(phase_at(ask, entry, policy, now=entry.response_time + middle), start=start, end=end)


def _merged(phases: Iterator[Phase]) -> Iterator[Phase]:
    current = next(phases)
    for phase in phases:
        if replace(phase, start=current.start, end=current.end) == current:
            current = replace(current, end=phase.end)
        else:
            yield current
            current = phase
    yield current


def _omitted(fields: Fields, entry: Entry, policy: CachePolicy) -> Iterator[tuple[str, Omission]]:
    directives = effective_directives(fields, policy.targets)
    for name in sorted(fields.keys() - entry.fields.keys()):
        if name in connection_fields(fields):
            yield _text(name), "connection"
        elif name in directives.no_cache_fields:
            yield _text(name), "no-cache"
        else:
            yield _text(name), "private" if name in directives.private_fields and policy.shared else "set-cookie"


def _without_range(ask: Ask) -> Ask:
    return replace(ask, fields={name: value for name, value in ask.fields.items() if name != b"range"})


def _size(status: int, fields: Fields) -> int:
    """Bytes of a body that comes whole."""
    if status == PARTIAL and (told := read_content_range(fields.get(b"content-range", b""))) is not None:
        return told[0].stop - told[0].start
    return delta_seconds(fields.get(b"content-length", b"").strip(b" \t")) or 0


def _text(name: bytes) -> str:
    return name.decode("latin-1")
