"""When may an answer be used although it is stale? (RFC 9111 4.2.4, RFC 5861)

Only where somebody allowed it: the origin, the request, or the user's settings. That the origin cannot be reached
is no permission by itself, though RFC 9111 4.2.4 would take it for one: old answers come to those who chose them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.core.caching.directives import ResponseDirectives
from holdfast.core.caching.entry import Entry
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.request import Ask

ERRORS: Final = frozenset((500, 502, 503, 504))
"""Status codes in whose place a stale answer may stand (RFC 5861 4)."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the origin gave no good answer.

    ``reason`` is for the record of the call. ``error`` names what there was in place of a status; it is None where
    there was one. ``sent`` is false if a policy of ours let nothing through to the origin.
    """

    reason: str
    status: int | None = None
    error: str | None = None
    sent: bool = True


def while_validating(ask: Ask, entry: Entry, age: float, policy: CachePolicy) -> bool:
    """Whether ``entry`` may answer now and be validated meanwhile (RFC 5861 3); not if the request wants it fresher."""
    said, wanted = entry.directives, ask.directives
    if said.stale_while_revalidate is None or said.forbids_stale(shared=policy.shared):
        return False
    if wanted.no_cache or wanted.max_age is not None or wanted.min_fresh is not None:
        return False
    return age - entry.lifetime <= said.stale_while_revalidate


def if_error(ask: Ask, entry: Entry, age: float, policy: CachePolicy) -> bool:
    """Whether ``entry`` may answer because the origin cannot (RFC 5861 4).

    What the request says goes before what the answer and the settings say; of these two the longer time counts,
    since one permission is enough.
    """
    said, wanted = entry.directives, ask.directives
    if entry.status >= 500 or wanted.no_cache or said.forbids_stale(shared=policy.shared):
        return False
    allowed: float | None = wanted.stale_if_error
    if allowed is None:
        allowed = max(_seconds(said.stale_if_error), _seconds(policy.stale_if_error))
    return allowed > 0 and age - entry.lifetime <= allowed


def of_use_when_stale(directives: ResponseDirectives, policy: CachePolicy) -> bool:
    """Whether an answer may be used after its time even if it cannot be validated, so that storing it makes sense."""
    if directives.forbids_stale(shared=policy.shared):
        return False
    return any((directives.stale_while_revalidate, directives.stale_if_error, policy.stale_if_error))


def _seconds(given: float | None) -> float:
    return 0.0 if given is None else given
