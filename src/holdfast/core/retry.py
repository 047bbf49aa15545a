"""Retry: may this request be sent again, and when? Decided from plain data.

Two questions, asked in this order. `judge`: was the attempt good, and if not, may it be repeated at all
(RFC 9110 9.2.2)? `plan`: are there attempts, tokens and time left for it, and how long is the wait?
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import field
from typing import Any, Final, Literal

from holdfast.core.fault import Fault
from holdfast.core.settings import Settings
from holdfast.core.value import Value

__all__ = ["Again", "GiveUp", "Retry", "Verdict", "check_methods", "judge", "plan"]

IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"})
"""RFC 9110 9.2.2, and QUERY, which is safe by its own specification."""
STATUSES = frozenset({408, 421, 425, 429, 500, 502, 503, 504})
"""Statuses that a later attempt may cure. Never 501 or 505, and no other 4xx."""
NOT_PROCESSED = frozenset({421, 425, 429})
"""Statuses by which the server says that it did not act on the request, so that any method may be repeated."""
THROTTLED = frozenset({409, 429, 503})
"""Statuses that ask for less, or for patience: without a Retry-After they wait by ``wait_throttled``."""
_KEEPS_WORKING = 409  # Idempotency-Key draft: the first request is still being worked on
_OTHER_BODY = 422  # the same draft: this key came with another body before


class Retry(Settings):
    """When to send again. ``attempts`` counts all of them: 3 is one and two more (as AWS's standard mode).

    ``wait`` and ``wait_throttled`` are tenacity strategies (or ours from `holdfast.core.jitter`); None means
    ``wait_random_exponential``, full jitter, from 0.1 s and, for 409, 429 and 503 without Retry-After, from 1 s
    (botocore's figures), doubling up to 20 s. ``stop`` is a tenacity ``stop_*``. ``retry`` is a tenacity
    ``retry_if_*`` that replaces ``statuses`` and the faults, and ``retry_if(response, attempt)`` tells of an
    answer that looks good that it is not; neither overrides the safety of the method. Whatever the server
    asks for beyond ``max_server_delay`` seconds is not waited for. ``min_attempt_time``: seconds that must be
    left after the wait for an attempt to be worth it.

    RFC 9110 9.2.2 says that a client should not repeat a failed automatic retry; three attempts are our
    bounded departure from it.

    >>> Retry(attempts=5).attempts
    5
    """

    attempts: int = 3
    wait: Callable[[Any], float] | None = None
    wait_throttled: Callable[[Any], float] | None = None
    stop: Callable[[Any], bool] | None = None
    retry: Callable[[Any], bool] | None = None
    retry_if: Callable[[Any, int], bool] | None = None
    statuses: frozenset[int] = field(default=STATUSES)
    methods: frozenset[str] = field(default=IDEMPOTENT_METHODS)
    max_server_delay: float = 120.0
    min_attempt_time: float = 0.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts counts the first one too, so it must be at least 1, got {self.attempts}")
        if not 0 <= self.max_server_delay < float("inf"):
            raise ValueError(f"max_server_delay must be at least 0 seconds, got {self.max_server_delay}")
        if not 0 <= self.min_attempt_time < float("inf"):
            raise ValueError(f"min_attempt_time must be at least 0 seconds, got {self.min_attempt_time}")
        check_methods(self.methods)
        bad = [status for status in self.statuses if not 400 <= status <= 599]
        if bad:
            raise ValueError(f"statuses are those of failures, 400 to 599, got {bad[0]}")
        for name in ("wait", "wait_throttled", "stop", "retry", "retry_if"):
            strategy = getattr(self, name)
            if strategy is not None and not callable(strategy):
                raise TypeError(f"{name} must be a tenacity strategy or a function, got {strategy!r}")
        base, cap = getattr(self.wait, "base", None), getattr(self.wait, "cap", None)
        if isinstance(base, float) and isinstance(cap, float) and base > cap:
            raise ValueError(f"wait begins above its own cap: base={base}, cap={cap}")


def check_methods(methods: Iterable[str]) -> None:
    """Raise ValueError for what is no name of a method; both libraries send them in capitals, so no other is found."""
    for method in methods:
        if not method or method != method.upper():
            raise ValueError(f"methods are names such as 'POST', got {method!r}")


class Verdict(enum.Enum):
    """What one attempt came to."""

    GOOD = "good"  # hand it to the caller
    FINAL = "final"  # bad, and sending again would not change it
    UNSAFE = "unsafe"  # bad, and the server may have acted on a request that must not act twice
    AGAIN = "again"  # bad, and may be sent again


def judge(
    settings: Retry,
    *,
    method: str,
    keyed: bool,
    idempotent: bool,
    status: int | None,
    fault: Fault | None,
    server_says: bool | None = None,
    predicate: bool | None = None,
) -> Verdict:
    """Judge an attempt by its ``status``, or by its ``fault`` if there was no whole response.

    ``keyed``: it carries an Idempotency-Key; ``idempotent``: the caller declared it so. ``server_says`` is
    ``x-should-retry``; ``predicate`` is what the user's own strategy said (True: send again; None: it was
    not asked). The user comes before the server, the server before our tables, and safety before all.
    """
    if keyed and status == _OTHER_BODY:
        return Verdict.FINAL
    wanted = _wanted(settings, status, fault, keyed)
    if server_says is not None and (status is None or status >= 400):
        wanted = server_says
    if predicate is not None:
        wanted = predicate
    if not wanted:
        return Verdict.GOOD if status is not None and status < 400 else Verdict.FINAL
    if keyed or idempotent or method in settings.methods or _untouched(status, fault):
        return Verdict.AGAIN
    return Verdict.UNSAFE


def _wanted(settings: Retry, status: int | None, fault: Fault | None, keyed: bool) -> bool:
    if fault is not None:
        return fault in (Fault.UNSENT, Fault.UNPROCESSED, Fault.INTERRUPTED)
    return status in settings.statuses or (keyed and status == _KEEPS_WORKING)


def _untouched(status: int | None, fault: Fault | None) -> bool:
    """True if the server cannot have acted on the request."""
    if fault is not None:
        return fault in (Fault.UNSENT, Fault.UNPROCESSED)
    return status in NOT_PROCESSED


class Again(Value):
    """Send again after ``wait`` seconds; ``source`` is "backoff", or "retry_after" where the server spoke."""

    def __init__(self, wait: float, source: Literal["backoff", "retry_after"]) -> None:
        self.wait: Final = wait
        self.source: Final = source


class GiveUp(Value):
    """Hand the outcome to the caller, and say why under ``reason``."""

    def __init__(self, reason: str) -> None:
        self.reason: Final = reason


def plan(
    settings: Retry,
    *,
    attempt: int,
    attempts: int,
    replayable: bool,
    server_delay: float | None,
    backoff: float,
    spread: float,
    left: float | None,
) -> Again | GiveUp:
    """Plan the next attempt after failed number ``attempt`` of ``attempts``.

    ``backoff`` is our own wait, ``spread`` a number in [0, 1) for the jitter above a server's delay, ``left``
    the seconds to the deadline (None: there is none). Never earlier than the server said: if that does not
    fit into what is left, waiting for it and sending earlier would both be wrong, so it gives up at once.
    """
    if attempt >= attempts:
        return GiveUp("attempts")
    if not replayable:
        return GiveUp("body_not_replayable")
    patience = float("inf") if left is None else left - settings.min_attempt_time
    if server_delay is None:
        return Again(backoff, "backoff") if backoff < patience else GiveUp("deadline")
    if server_delay > settings.max_server_delay or server_delay >= patience:
        return GiveUp("retry_after_exceeds_deadline")
    # A crowd that was told the same second shall not come back as one; our own backoff stays the floor.
    wait = max(server_delay * (1.0 + 0.1 * spread), backoff)
    if wait >= patience:  # what the server asked for fits, our addition to it does not
        wait = server_delay
    return Again(wait, "retry_after")
