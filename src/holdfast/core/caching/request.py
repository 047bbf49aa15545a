"""What does a request ask of the cache? Read once, used by every decision about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.core.caching.directives import RequestDirectives, request_directives
from holdfast.core.caching.fields import Fields, Headers, combine
from holdfast.core.caching.rules import CacheRule

NO_RULE: Final = CacheRule()


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the user wants done with an answer, whatever it says of itself: the request's word before the rule's."""

    ttl: float | None = None  # the request's own
    rule: CacheRule = NO_RULE
    groups: tuple[str, ...] = ()  # beside the rule's and the answer's own
    operation: str | None = None

    def lifetime(self, status: int) -> float | None:
        """Seconds from its arrival on for which an answer is fresh; None if that is for itself to say."""
        if self.ttl is not None and status < 400:
            return self.ttl
        by_status = self.rule.ttl_by_status
        if by_status is not None and status in by_status:
            return by_status[status]
        return self.rule.ttl if status < 400 else None

    @property
    def ignored(self) -> frozenset[bytes]:
        """Lower-case names of response fields that are not heeded."""
        return frozenset(name.lower().encode("ascii") for name in self.rule.ignore)


NO_TERMS: Final = Terms()


@dataclass(slots=True)  # made for every call, and never written to: frozen, it would cost half a microsecond more
class Ask:
    """A request as the cache sees it: method verbatim, fields for looking up, directives parsed."""

    method: str
    fields: Fields
    directives: RequestDirectives
    terms: Terms = NO_TERMS


def read_ask(method: str, headers: Headers) -> Ask:
    """Read a request's method and raw header fields."""
    return ask_of(method, combine(headers))


def ask_of(method: str, fields: Fields) -> Ask:
    """As `read_ask`, of header fields as `combine` reads them."""
    return Ask(method, fields, request_directives(fields.get(b"cache-control")))
