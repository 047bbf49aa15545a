"""What a stored answer is given in place of: which failures count as the origin's, and how the answer says so."""

from __future__ import annotations

from holdfast._wire import Family, Fault, Q, R
from holdfast.call import Call, refusal_reason
from holdfast.core.caching import cache_status
from holdfast.core.caching.stale import Trouble
from holdfast.errors import Closed, Offline, Refused, ResponseRejected

__all__ = ["in_place_of", "trouble_of"]


def trouble_of(error: Exception, call: Call, family: Family[Q, R]) -> Trouble | None:
    """What a failed fetch says of the origin or of our limits; None if the caller must learn of it in any case.

    That are mistakes of ours or the caller's, an answer that cannot be trusted (a certificate), and the end of the
    transport.
    """
    if isinstance(error, (Closed, Offline)):
        return None
    if isinstance(error, Refused):
        reason = refusal_reason(error)
        return Trouble(call.reason or reason, error=reason, sent=call.sends > 0)
    if not isinstance(error, ResponseRejected) and family.fault(error) is Fault.LOCAL:
        return None
    name = type(error).__name__
    return Trouble(call.reason or name, error=name)


def in_place_of(trouble: Trouble, left: float, *, collapsed: bool) -> cache_status.Member:
    """How a stored answer with ``left`` seconds to live is told of that stands in for ``trouble``.

    ``collapsed`` means that another call met with it.
    """
    detail = "stale-if-error" if trouble.error is None else f"stale-if-error, {trouble.error}"
    if not trouble.sent:
        return cache_status.hit(left, detail=detail)
    return cache_status.forwarded("stale", detail, status=trouble.status, collapsed=collapsed, ttl=int(left // 1))
