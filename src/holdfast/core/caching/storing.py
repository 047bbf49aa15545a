"""May this response be stored, and what of it? (RFC 9111 3)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from holdfast.core.caching.dates import format_date
from holdfast.core.caching.directives import ResponseDirectives, response_directives
from holdfast.core.caching.entry import Blob, Entry, Exchange, pack
from holdfast.core.caching.fields import LONGEST_LIST, Fields, Headers, combine, split_list
from holdfast.core.caching.freshness import HEURISTIC_STATUSES, freshness_lifetime, initial_age
from holdfast.core.caching.groups import joined, read_groups, tags_of
from holdfast.core.caching.key import Identity, is_nobodys, origin_of, split_key
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.request import NO_TERMS, Ask
from holdfast.core.caching.stale import of_use_when_stale
from holdfast.core.caching.targeted import effective_directives
from holdfast.core.caching.vary import ANYTHING, variant_of, vary_names

UNDERSTOOD_STATUSES: Final = frozenset(
    {*range(200, 207), *range(300, 309), *range(400, 418), 421, 422, 426, *range(500, 506)} - {304, 306}
)
"""Status codes of RFC 9110 whose caching is known here; of 206 see parts.py, and 304 is no answer of its own."""

_NOT_WHOLE: Final = frozenset((206, 304))
_VALIDATORS: Final = frozenset((b"etag", b"last-modified"))
# RFC 9111 3.1, RFC 9110 7.6.1. Age belongs to the copy that we received; an entry knows its own.
_NEVER_STORED: Final = frozenset(
    (
        b"age",
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)


Objection: TypeAlias = Literal[
    "method",
    "status",
    "range",
    "must-understand",
    "no-store",
    "no-store in the request",
    "private",
    "authorization",
    "malformed",
    "vary",
    "no lifetime and no validator",
]
"""Why an answer is not stored; in Cache-Status it is the detail."""


@dataclass(slots=True)  # made for every answer, as `Ask` is
class Storable:
    """The response may be stored: ``entry`` is whole but for its body (`Entry.with_body`)."""

    entry: Entry


@dataclass(slots=True)
class Unstorable:
    """The response may not be stored, or could never be used."""

    reason: Objection


def judge(
    ask: Ask,
    key: str,
    status: int,
    headers: Headers,
    exchange: Exchange,
    policy: CachePolicy,
    identity: Identity,
    said: Fields | None = None,
) -> Storable | Unstorable:
    """Whether the response to ``ask`` may be stored under ``key``; ``said``: its header block as `combine` reads it.

    Decided from that alone; that the body came whole and is not too long is for the caller.
    """
    said = combine(headers) if said is None else said
    reason = forbidden(ask, status, said, policy)
    if reason is not None:
        return Unstorable(reason)
    entry = entered(ask, key, status, headers, exchange, policy, identity, said)
    return Storable(entry) if isinstance(entry, Entry) else Unstorable(entry)


def forbidden(ask: Ask, status: int, said: Fields, policy: CachePolicy) -> Objection | None:
    """The first half of `judge`: why the response must not be stored, as most answers of an API, or None."""
    terms = ask.terms
    fields = said if terms is NO_TERMS else heeded(said, ask)
    targets, value = policy.targets, fields.get(b"cache-control")
    directives = effective_directives(fields, targets) if targets else response_directives(value)
    if ask.method != "GET":
        return "method"
    if status < 200 or status in _NOT_WHOLE:
        return "status"
    if status != 200 and b"range" in ask.fields:
        return "range"  # 416, and whatever else has to do with the range alone
    if reason := may_keep(ask, directives, status, policy):
        return reason
    if len(fields.get(b"connection", b"")) > LONGEST_LIST:
        return "malformed"
    if b"vary" in fields and vary_names(fields[b"vary"]) == ANYTHING:
        return "vary"
    if not _invited(status, fields, directives, policy) and terms.lifetime(status) is None:
        return "status"
    return None


def entered(
    ask: Ask,
    key: str,
    status: int,
    headers: Headers,
    exchange: Exchange,
    policy: CachePolicy,
    identity: Identity,
    said: Fields,
) -> Entry | Objection:
    """The second half of `judge`: the entry of a response that is not `forbidden`, if it could ever be used."""
    if _VALIDATORS.isdisjoint(said):  # then it may not be worth an entry: most answers of an API have no lifetime
        fields = said if ask.terms is NO_TERMS else heeded(said, ask)
        directives = effective_directives(fields, policy.targets)
        lifetime = _lifetime(ask, status, fields, directives, exchange, policy)
        if not lifetime and not of_use_when_stale(directives, policy):
            return "no lifetime and no validator"
    entry = make_entry(ask, key, status, headers, exchange, policy, identity, said)
    if entry is None:
        return "malformed"
    if not entry.lifetime and _VALIDATORS.isdisjoint(entry.fields) and not of_use_when_stale(entry.directives, policy):
        return "no lifetime and no validator"  # of the validators that came, none was to be heeded or stored
    return entry


def make_entry(
    ask: Ask,
    key: str,
    status: int,
    headers: Headers,
    exchange: Exchange,
    policy: CachePolicy,
    identity: Identity,
    said: Fields,
    body: bytes | Blob = b"",
    tags: tuple[str, ...] = (),
) -> Entry | None:
    """Entry of a response that may be stored; None when its header block cannot be kept faithfully.

    ``said`` is that block as `combine` reads it; ``tags`` are those of the entry whose place it takes with the same
    body.
    """
    terms = ask.terms
    fields = said if terms is NO_TERMS else heeded(said, ask)
    directives = effective_directives(fields, policy.targets)
    set_cookie = b"set-cookie" in said and b"set-cookie" not in terms.ignored and _keeps_cookies(key, policy)
    kept = stored_headers(headers, said, directives, policy, set_cookie=set_cookie)
    if b"date" not in said:  # RFC 9110 6.6.1
        kept.append((b"Date", format_date(exchange.wall)))
    head = pack(kept)
    if head is None:
        return None
    vary = vary_names(fields.get(b"vary"))
    lifetime = _lifetime(ask, status, fields, directives, exchange, policy)
    return Entry(
        key=key,
        status=status,
        head=head,
        body=body,
        vary=vary,
        variant=variant_of(vary, ask.fields, identity),
        directives=directives,
        lifetime=lifetime,
        initial_age=initial_age(fields, exchange),
        response_time=exchange.response_time,
        wall=exchange.wall,
        tags=_tags(ask, key, fields, tags),
    )


def renewed(ask: Ask, entry: Entry, date: bytes, exchange: Exchange, policy: CachePolicy) -> Entry | None:
    """The entry that `make_entry` would make of an entry's own fields, but with another Date.

    None where all of them would have to be read again: they were dropped or ignored in part, or are read otherwise
    by the settings of today.
    """
    stored = entry.fields
    if b"date" not in stored or b"set-cookie" in stored or b"\n" in date or ask.terms.rule.ignore:
        return None
    fields = {**stored, b"date": date}
    directives = effective_directives(fields, policy.targets)
    if directives is not entry.directives and directives != entry.directives:
        return None
    if directives.no_cache_fields or directives.private_fields or vary_names(fields.get(b"vary")) != entry.vary:
        return None
    head = entry.head
    if date != stored[b"date"]:
        lines = head.split(b"\n")
        if len(lines) != 2 * len(stored):  # some fields have several lines
            return None
        lines[2 * list(stored).index(b"date") + 1] = date
        head = b"\n".join(lines)
    return Entry(
        key=entry.key,
        status=entry.status,
        head=head,
        body=entry.body,
        vary=entry.vary,
        variant=entry.variant,
        directives=entry.directives,
        lifetime=_lifetime(ask, entry.status, fields, directives, exchange, policy),
        initial_age=initial_age(fields, exchange),
        response_time=exchange.response_time,
        wall=exchange.wall,
        tags=_tags(ask, entry.key, fields, entry.tags),
    )


def _tags(ask: Ask, key: str, fields: Fields, tags: tuple[str, ...]) -> tuple[str, ...]:
    """``tags``, and those that the response and the user give."""
    terms = ask.terms
    if terms is NO_TERMS and b"cache-groups" not in fields:
        return tags
    groups = (*read_groups(fields.get(b"cache-groups")), *terms.rule.groups, *terms.groups)
    if groups or terms.operation is not None or tags:
        return joined(tags_of(origin_of(split_key(key)[2]), groups, terms.operation), tags)
    return tags


def _keeps_cookies(key: str, policy: CachePolicy) -> bool:
    """Whether a Set-Cookie may be handed to all who find an entry under ``key``."""
    return policy.store_set_cookie or not (policy.shared or is_nobodys(split_key(key)[1]))


def _lifetime(
    ask: Ask, status: int, fields: Fields, directives: ResponseDirectives, exchange: Exchange, policy: CachePolicy
) -> float:
    """Seconds of freshness from the making of the response on: the user's word from its arrival on, or its own."""
    ttl = None if ask.terms is NO_TERMS else ask.terms.lifetime(status)
    if ttl is None:
        return freshness_lifetime(status, fields, directives, exchange.wall, policy)
    return initial_age(fields, exchange) + ttl if ttl else 0.0


def heeded(fields: Fields, ask: Ask) -> Fields:
    """The fields of a response but those that the user's rule has ignored."""
    if not ask.terms.rule.ignore:
        return fields
    ignored = ask.terms.ignored
    return {name: value for name, value in fields.items() if name not in ignored}


def stored_headers(
    headers: Headers,
    fields: Fields,
    directives: ResponseDirectives,
    policy: CachePolicy,
    *,
    set_cookie: bool,
) -> list[tuple[bytes, bytes]]:
    """The fields that are stored, as they came (RFC 9111 3.1).

    Fields that ``no-cache="..."`` or, in a shared cache, ``private="..."`` name are left out, which lets the
    rest be used without asking (RFC 9111 5.2.2.4, 5.2.2.7).
    """
    dropped = connection_fields(fields)
    if directives.no_cache_fields:
        dropped |= directives.no_cache_fields
    if policy.shared:
        dropped |= directives.private_fields
    if not set_cookie and b"set-cookie" in fields:
        dropped |= {b"set-cookie"}
    if dropped.isdisjoint(fields):
        return list(headers)
    return [(name, value) for name, value in headers if name.lower() not in dropped]


def connection_fields(fields: Fields) -> frozenset[bytes]:
    """Lower-case names of the fields that are about the connection, or about a copy, and not stored (RFC 9111 3.1)."""
    if b"connection" not in fields:
        return _NEVER_STORED
    return _NEVER_STORED | {name.lower() for name in split_list(fields[b"connection"])}


def may_keep(ask: Ask, directives: ResponseDirectives, status: int, policy: CachePolicy) -> Objection | None:
    """Why the parties forbid storing, or None; also asked of an entry that a 304 has changed."""
    if directives.must_understand:  # RFC 9111 5.2.2.3: no-store is then for caches that do not understand
        if status not in UNDERSTOOD_STATUSES:
            return "must-understand"
    elif directives.no_store:
        return "no-store"
    if ask.directives.no_store:
        return "no-store in the request"
    if policy.shared:
        if directives.private:
            return "private"
        # RFC 9111 3.5
        if b"authorization" in ask.fields and not (
            directives.must_revalidate or directives.public or directives.s_maxage is not None
        ):
            return "authorization"
    return None


def _invited(status: int, fields: Fields, directives: ResponseDirectives, policy: CachePolicy) -> bool:
    """Whether something says that storing is meant (the last list of RFC 9111 3)."""
    return (
        status in HEURISTIC_STATUSES
        or directives.public
        or directives.max_age is not None
        or (b"expires" in fields and not directives.targeted)
        or (directives.private and not policy.shared)
        or (directives.s_maxage is not None and policy.shared)
    )
