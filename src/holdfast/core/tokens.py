"""When is a token to be renewed, and when may it be tried again? Decided from its times alone.

Source of the two windows: what happens at the end of a token's life is known before it ends. A caller who finds it in
the first window gets the old one, which still holds, while one refresh goes on; in the second, callers wait for it.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from holdfast.core.secret import Secret
from holdfast.core.value import Value

__all__ = ["ADVISORY_BACKOFF", "Freshness", "Refresh", "Token", "freshness", "skew"]

MOST_SKEW: Final = 60.0
SKEW_SHARE: Final = 0.1
"""A tenth of a short life, a minute of a long one: five minutes, as some SDKs have it, renew a five-minute token on
every call."""

ADVISORY_BACKOFF: Final = 5.0
"""Seconds after a failed refresh before the next one, for all who wait; doubled each time, up to `MOST_BACKOFF`."""
MOST_BACKOFF: Final = 60.0
MOST_ASKED: Final = 3600.0  # whatever a server asks for: a failure is not kept for ever


class Token(Value):
    """An access token and what came with it.

    ``expires_at``: seconds since 1970, or None if nobody said; ``lifetime``: seconds it had when it was issued.
    ``login``: tells one login by hand from every other; what a token is renewed to has the same.
    """

    def __init__(
        self,
        access_token: Secret,
        *,
        expires_at: float | None = None,
        lifetime: float | None = None,
        refresh_token: Secret | None = None,
        token_type: str = "Bearer",
        scope: str | None = None,
        login: str | None = None,
    ) -> None:
        self.access_token = access_token
        self.expires_at = expires_at
        self.lifetime = lifetime
        self.refresh_token = refresh_token
        self.token_type = token_type
        self.scope = scope
        self.login = login


class Freshness(Enum):
    """What a token is good for now."""

    FRESH = auto()
    AGEING = auto()  # good, and to be renewed beside
    OVER = auto()  # not to be sent any more


def skew(lifetime: float) -> float:
    """Seconds before its end from which on a token is renewed.

    >>> skew(3600), skew(30)
    (60.0, 3.0)
    """
    return min(MOST_SKEW, SKEW_SHARE * lifetime)


def freshness(left: float | None, lifetime: float | None) -> Freshness:
    """What a token with ``left`` seconds to its end is good for. None: nobody said when it ends, so a 401 will tell.

    The last third of the skew is for the clocks of both sides and for the way there.
    """
    if left is None:
        return Freshness.FRESH
    early = MOST_SKEW if lifetime is None else skew(lifetime)
    if left > early:
        return Freshness.FRESH
    return Freshness.AGEING if left > early / 3 else Freshness.OVER


class Refresh(Value):
    """How the last refreshes went: ``failures`` in a row, and when the next may be tried (monotonic seconds)."""

    def __init__(self, failures: int = 0, not_before: float = float("-inf")) -> None:
        self.failures = failures
        self.not_before = not_before

    def failed(self, now: float, retry_after: float | None = None) -> Refresh:
        """One more. The server's own word counts, if it asks for more time than we would give it, up to an hour."""
        ours = min(MOST_BACKOFF, ADVISORY_BACKOFF * 2.0**self.failures)
        return Refresh(self.failures + 1, now + max(ours, min(retry_after or 0.0, MOST_ASKED)))
