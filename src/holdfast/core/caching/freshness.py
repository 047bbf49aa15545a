"""How old is a response, and for how long is it fresh? (RFC 9111 4.2)

The wall clock is used once, to compare the Date field with the moment of arrival. From there on age grows
by the monotonic clock, so a wall clock that is set back revives nothing.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from holdfast.core.caching.dates import parse_date
from holdfast.core.caching.directives import ResponseDirectives
from holdfast.core.caching.entry import Entry, Exchange
from holdfast.core.caching.fields import Fields, delta_seconds
from holdfast.core.caching.policy import CachePolicy

HEURISTIC_STATUSES: Final = frozenset((200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501))
"""Status codes that may be fresh without saying so (RFC 9110 15.1)."""

Source: TypeAlias = Literal["s-maxage", "max-age", "expires", "heuristic", "none"]
"""What a lifetime comes from."""


def current_age(entry: Entry, now: float) -> float:
    """Seconds since the origin made or validated the response; ``now`` is monotonic (RFC 9111 4.2.3)."""
    return entry.initial_age + max(0.0, now - entry.response_time)


def is_fresh(entry: Entry, now: float) -> bool:
    """Whether the entry may be used as far as its own lifetime goes; ``now`` is monotonic."""
    return entry.lifetime > current_age(entry, now)


def initial_age(fields: Fields, exchange: Exchange) -> float:
    """Age in seconds when the response arrived: the most pessimistic of what it says and what we measured."""
    delay = max(0.0, exchange.response_time - exchange.request_time)
    apparent = exchange.wall - date_of(fields, exchange.wall)
    return max(0.0, apparent, received_age(fields.get(b"age")) + delay)


def received_age(value: bytes | None) -> int:
    """The Age field: the first of several values; 0 when that is not whole seconds (RFC 9111 5.1)."""
    if value is None:
        return 0
    return delta_seconds(value.partition(b",")[0].strip(b" \t")) or 0


def date_of(fields: Fields, received: float) -> float:
    """When the response was made; ``received``, also in wall seconds, if it does not say (RFC 9110 6.6.1)."""
    date = parse_date(fields.get(b"date"), received)
    return received if date is None else date


def freshness_lifetime(
    status: int, fields: Fields, directives: ResponseDirectives, wall: float, policy: CachePolicy
) -> float:
    """Seconds for which the response is fresh, from its making on (RFC 9111 4.2.1); 0 for never."""
    return lifetime_and_source(status, fields, directives, wall, policy)[0]


def lifetime_and_source(
    status: int, fields: Fields, directives: ResponseDirectives, wall: float, policy: CachePolicy
) -> tuple[float, Source]:
    """The lifetime, and what it comes from.

    A lifetime that cannot be read counts as 0, also when another field could have been read.
    """
    if policy.shared and directives.s_maxage is not None:
        return directives.s_maxage, "s-maxage"
    if directives.max_age is not None:
        return directives.max_age, "max-age"
    if (expires := fields.get(b"expires")) is not None and not directives.targeted:
        # Two Expires lines were joined to something that is no date, so they count as expired too.
        end = parse_date(expires, wall)
        return 0 if end is None else max(0.0, end - date_of(fields, wall)), "expires"
    if policy.heuristic and (status in HEURISTIC_STATUSES or directives.public):
        modified = parse_date(fields.get(b"last-modified"), wall)
        if modified is not None:
            unchanged = max(0.0, date_of(fields, wall) - modified)
            return min(unchanged * policy.heuristic_fraction, policy.heuristic_cap), "heuristic"
    return 0, "none"
