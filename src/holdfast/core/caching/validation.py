"""How is an entry validated, and what does the answer mean for it? (RFC 9111 4.3, 3.2)"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from holdfast.core.caching.dates import parse_date
from holdfast.core.caching.entry import Entry, Exchange
from holdfast.core.caching.fields import LONGEST_LIST, Fields, Headers, combine, delta_seconds
from holdfast.core.caching.freshness import date_of, is_fresh
from holdfast.core.caching.key import Identity
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.ranges import strong_validator
from holdfast.core.caching.request import Ask
from holdfast.core.caching.storing import connection_fields, make_entry, may_keep, renewed
from holdfast.core.caching.vary import ANYTHING


@dataclass(slots=True)  # made for every 304, and never written to; see `Ask`
class Updated:
    """The entry holds, with new header fields.

    A 304 is answered from ``entry``; a 200 to HEAD is its own answer. ``keep`` is false when the new fields
    forbid storing: then the entry answers this once and is removed.
    """

    entry: Entry
    keep: bool = True


@dataclass(frozen=True, slots=True)
class Superseded:
    """The answer takes the entry's place: pass it on, and store it if it may be stored.

    If it may not, remove the entry when ``remove`` is set. An entry that is still fresh stays: a no-store
    answer to a later request says nothing about it.
    """

    remove: bool


@dataclass(frozen=True, slots=True)
class Untouched:
    """The answer says nothing about the entry, or the origin is in trouble: pass it on, keep the entry."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A 304 for some other response: nothing can be made of it, so ask again without our conditions."""


Verdict: TypeAlias = Updated | Superseded | Untouched | Mismatch

_CALLERS_CONDITIONS: Final = frozenset((b"if-none-match", b"if-modified-since"))
_TAG: Final = re.compile(rb'(?:W/)?"[^"]*"|[^\s,]+')
# RFC 9110 15.4.5
_IN_A_304: Final = frozenset(
    (b"cache-control", b"content-location", b"date", b"etag", b"expires", b"vary", b"last-modified")
)
_GONE: Final = (404, 410)
_LATER: Final = (408, 425, 429)  # about this request's moment, not about the resource


def conditions(entry: Entry) -> list[tuple[bytes, bytes]]:
    """Fields that ask whether ``entry`` still holds: both validators, verbatim; none if it has neither."""
    fields = entry.fields
    added: list[tuple[bytes, bytes]] = []
    if etag := fields.get(b"etag"):
        added.append((b"If-None-Match", etag))
    modified = fields.get(b"last-modified")
    if modified is not None and parse_date(modified, entry.wall) is not None:
        added.append((b"If-Modified-Since", modified))
    return added


def with_conditions(headers: Headers, added: Headers) -> list[tuple[bytes, bytes]]:
    """Header block of the validating request.

    Ours replace the caller's own conditions; whether the caller has the answer already is then seen from
    the validated entry (`not_modified`). With none of ours the block stays as it is.
    """
    if not added:
        return list(headers)
    return [pair for pair in headers if pair[0].lower() not in _CALLERS_CONDITIONS] + list(added)


def judge_answer(
    ask: Ask,
    entry: Entry,
    *,
    conditional: bool,
    status: int,
    headers: Headers,
    exchange: Exchange,
    policy: CachePolicy,
    identity: Identity,
) -> Verdict:
    """What the origin's answer to a GET or HEAD means for the entry that the request selected.

    ``conditional`` says whether `conditions` were sent; a 304 to the caller's own conditions is for the
    caller and says nothing about the entry. ``exchange`` tells when the answer came.
    """
    if status >= 500 or status in _LATER or status == 416:
        return Untouched()
    if status in (206, 304) and not conditional:
        return Untouched()  # a part of what may well be this entry, or an answer to the caller's own conditions
    if status == 304 or (status == 200 and ask.method == "HEAD"):
        fields = combine(headers)
        if status == 304 and not same_representation(entry, fields):
            return Mismatch()
        if status == 304 or _head_agrees(entry, fields):
            return _update(ask, entry, headers, fields, exchange, policy, identity)
    if ask.method == "HEAD" and status != 200 and status not in _GONE:
        return Untouched()
    return Superseded(remove=ask.method == "HEAD" or not is_fresh(entry, exchange.response_time))


def unchanged(ask: Ask, entry: Entry, fields: Fields, exchange: Exchange, policy: CachePolicy) -> Updated | None:
    """What `judge_answer` says of a 304 to our conditions that tells nothing new but its Date, as most do.

    None for any other. ``fields`` are the 304's. The fields stay in the order in which they were stored.
    """
    date = fields.get(b"date")
    if entry.status == 206 or date is None or parse_date(date, exchange.wall) is None:
        return None
    if not same_representation(entry, fields):
        return None
    news = dict(fields.items() - entry.fields.items())
    news.pop(b"date", None)
    if news and not news.keys() <= _not_merged(fields):
        return None
    updated = renewed(ask, entry, date, exchange, policy)
    if updated is None:
        return None
    return Updated(updated, keep=may_keep(ask, updated.directives, updated.status, policy) is None)


def same_representation(entry: Entry, fields: Fields) -> bool:
    """Whether a 304's validators, if it names any, are the entry's (RFC 9111 4.3.4).

    Compared weakly: one server says ``"a"`` with the body and ``W/"a"`` with the 304. But what is not a strong
    validator on both sides may be shared by several codings of one resource, as nginx and Apache do, so then
    the 304 must not name another coding than the stored bytes have.
    """
    stored = entry.fields
    etag, known = fields.get(b"etag"), stored.get(b"etag", b"")
    if etag is not None:
        if etag == known and not known.startswith(b"W/"):
            return True
        if _opaque(etag) != _opaque(known):
            return False
    elif not _same_moment(fields.get(b"last-modified"), stored.get(b"last-modified"), entry.wall):
        return False
    coding = fields.get(b"content-encoding")
    return coding is None or coding.lower() == stored.get(b"content-encoding", b"").lower()


def is_conditional(ask: Ask) -> bool:
    """Whether the caller has an answer already, and asks for another only if that is out of date."""
    return not _CALLERS_CONDITIONS.isdisjoint(ask.fields)


def not_modified(ask: Ask, entry: Entry) -> bool:
    """Whether the caller's own condition is met by ``entry``, so that a 304 answers it (RFC 9111 4.3.2)."""
    if entry.status not in (200, 206) or not is_conditional(ask):
        return False
    if (asked := ask.fields.get(b"if-none-match")) is not None:
        return _names_entry(asked, entry.fields.get(b"etag"))
    since = parse_date(ask.fields[b"if-modified-since"], entry.wall)
    if since is None:
        return False
    fields = entry.fields
    modified = parse_date(fields.get(b"last-modified"), entry.wall)
    return since >= (date_of(fields, entry.wall) if modified is None else modified)


def not_modified_headers(entry: Entry) -> list[tuple[bytes, bytes]]:
    """The entry's fields that belong into a 304; Age is for the caller to add."""
    return [pair for pair in entry.headers if pair[0].lower() in _IN_A_304]


def merged(stored: Headers, received: Headers, said: Fields | None = None) -> list[tuple[bytes, bytes]]:
    """The received fields in place of the stored ones of their names, but for Content-Length (RFC 9111 3.2).

    ``said``: the received ones as `combine` reads them.
    """
    fields = combine(received) if said is None else said
    left_out = _not_merged(fields)
    added = [pair for pair in received if pair[0].lower() not in left_out]
    replaced = fields.keys() - left_out
    # Without a Date of its own, a 304 was made now. The old Date would have the entry stale for ever.
    replaced.add(b"date")
    return [pair for pair in stored if pair[0].lower() not in replaced] + added


def _not_merged(fields: Fields) -> frozenset[bytes]:
    """Names of a 304's fields that are not for the stored answer; Age is, since it tells how old the 304 was."""
    return (connection_fields(fields) - {b"age"}) | {b"content-length"}


def _update(
    ask: Ask,
    entry: Entry,
    headers: Headers,
    fields: Fields,
    exchange: Exchange,
    policy: CachePolicy,
    identity: Identity,
) -> Verdict:
    if entry.status == 206:  # where its pieces lie is not for a 304 to say
        headers = [pair for pair in headers if pair[0].lower() != b"content-range"]
        fields = combine(headers)
    block = merged(entry.headers, headers, fields)
    updated = make_entry(
        ask,
        entry.key,
        entry.status,
        block,
        exchange,
        policy,
        identity,
        combine(block),
        entry.body,
        entry.tags,
    )
    if updated is None:  # fields with line breaks: none of them can be believed
        return Mismatch()
    if entry.status == 206 and not _same_bytes(entry, updated):
        return Mismatch()  # it holds, but the next part need not fit to it
    forbidden = may_keep(ask, updated.directives, updated.status, policy)
    return Updated(updated, keep=forbidden is None and updated.vary != ANYTHING)


def _same_bytes(entry: Entry, updated: Entry) -> bool:
    return strong_validator(entry.fields, entry.wall) == strong_validator(updated.fields, updated.wall)


def _head_agrees(entry: Entry, fields: Fields) -> bool:
    """Whether a HEAD answer is about the stored body (RFC 9111 4.3.5)."""
    length = fields.get(b"content-length")
    if length is not None and delta_seconds(length.strip(b" \t")) != entry.size:
        return False
    return entry.status == 200 and same_representation(entry, fields)


def _same_moment(said: bytes | None, known: bytes | None, wall: float) -> bool:
    """Whether two Last-Modified fields agree; one that is missing says nothing."""
    if said is None or known is None or said == known:
        return True
    moment = parse_date(said, wall)
    return moment is not None and moment == parse_date(known, wall)


def _names_entry(asked: bytes, etag: bytes | None) -> bool:
    """Whether an If-None-Match field lists ``etag``, by weak comparison (RFC 9110 13.1.2)."""
    if asked.strip(b" \t") == b"*":
        return True
    if asked == etag:
        return True
    if etag is None or len(asked) > LONGEST_LIST:
        return False
    wanted = _opaque(etag)
    return any(_opaque(tag[0]) == wanted for tag in _TAG.finditer(asked))


def _opaque(tag: bytes) -> bytes:
    return tag.strip(b" \t").removeprefix(b"W/")
