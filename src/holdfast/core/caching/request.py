"""What does a request ask of the cache? Read once, used by every decision about it."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.core.caching.directives import RequestDirectives, request_directives
from holdfast.core.caching.fields import Fields, Headers, combine


@dataclass(slots=True)  # made for every call, and never written to: frozen, it would cost half a microsecond more
class Ask:
    """A request as the cache sees it: method verbatim, fields for looking up, directives parsed."""

    method: str
    fields: Fields
    directives: RequestDirectives
    ttl: float | None = None  # seconds for which the answer counts as fresh, whatever it says of itself


def read_ask(method: str, headers: Headers) -> Ask:
    """Read a request's method and raw header fields."""
    fields = combine(headers)
    return Ask(method, fields, request_directives(fields.get(b"cache-control")))
