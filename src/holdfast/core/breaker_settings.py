"""What does a user set about circuits, and which outcomes count against a server?"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import field
from typing import Literal

from holdfast.core.fault import Fault
from holdfast.core.settings import Settings

__all__ = ["FAILURE_STATUSES", "CircuitBreaker", "Outcome", "judge_fault", "judge_status"]

FAILURE_STATUSES = frozenset({500, 502, 503, 504, *range(520, 530)})
"""Statuses by which the server, or the proxy in front of it, says that it is not well."""
_DEFAULT_LEASE = 30.0


class CircuitBreaker(Settings):
    """When a circuit opens, how long it stays open, and how it comes back. Times are seconds.

    It opens after ``failures`` in a row, or when ``failure_ratio`` of at least ``minimum_calls`` in the
    last ``window`` failed (either may be None: off). With ``slow_after`` a call whose answer takes longer
    is slow, and a share of ``slow_ratio`` opens it too. It stays open for ``open_for``, doubled by each
    failed probe up to ``open_for_max``, give or take the share ``jitter``; a 503 with Retry-After may
    lengthen it up to ``open_for_max``. Then ``half_open_max`` calls probe, while at most ``queue`` others
    wait for the verdict for up to ``probe_wait`` each. A probe that does not report within ``lease`` (None:
    twice the attempt timeout, or 30 s) loses its place. After ``close_after`` good probes ``ramp_from``
    calls may be on the wire at once (None: all of them), and more with each good round; ``ramp_failures``
    in a row open it again, and after ``ramp_for`` it closes whatever the load, so that failures that come
    from elsewhere cannot hold an origin back for ever. ``count_429`` makes 429 a failure. ``key(request)``
    names the circuit of a request in place of its origin; if it raises, the call ends with `InvalidOption`,
    and no circuit changes. ``key="operation"``: each operation at an origin has a circuit of its own. ``observe``:
    circuits open and close, and report what they would refuse, and refuse nothing.

    >>> CircuitBreaker(failures=5).open_for
    5.0
    """

    failures: int | None = 10
    failure_ratio: float | None = 0.5
    minimum_calls: int = 20
    window: float = 30.0
    slots: int = 10  # steps in which the window moves
    slow_after: float | None = None
    slow_ratio: float = 0.5
    open_for: float = 5.0
    open_for_max: float = 60.0
    jitter: float = 0.2
    half_open_max: int = 1
    probe_wait: float = 1.0
    queue: int = 1000
    lease: float | None = None
    close_after: int = 1
    ramp_from: int | None = 2
    ramp_failures: int = 5
    ramp_for: float = 60.0
    count_429: bool = False
    failure_statuses: frozenset[int] = field(default=FAILURE_STATUSES)
    key: Literal["operation"] | Callable[..., str] | None = None  # takes the request
    observe: bool = False

    def __post_init__(self) -> None:
        for name in (
            "failures",
            "minimum_calls",
            "slots",
            "half_open_max",
            "close_after",
            "ramp_from",
            "ramp_failures",
        ):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        for name in ("window", "slow_after", "open_for", "open_for_max", "lease", "ramp_for"):
            seconds = getattr(self, name)
            if seconds is not None and not 0 < seconds < math.inf:
                raise ValueError(f"{name} must be seconds, more than 0, got {seconds}")
        for name in ("failure_ratio", "slow_ratio"):
            share = getattr(self, name)
            if share is not None and not 0 < share <= 1:
                raise ValueError(f"{name} is a share, more than 0 and at most 1, got {share}")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter is a share, at least 0 and less than 1, got {self.jitter}")
        if not 0 <= self.probe_wait < math.inf:
            raise ValueError(f"probe_wait must be at least 0 seconds, got {self.probe_wait}")
        if self.queue < 0:
            raise ValueError(f"queue must be at least 0 callers, got {self.queue}")
        if self.open_for > self.open_for_max:
            raise ValueError(f"open_for={self.open_for} is longer than open_for_max={self.open_for_max}")
        if self.key is not None and self.key != "operation" and not callable(self.key):
            raise ValueError(f'key must be "operation" or a function of the request, got {self.key!r}')
        bad = [status for status in self.failure_statuses if not 400 <= status <= 599]
        if bad:
            raise ValueError(f"failure_statuses are those of failures, 400 to 599, got {bad[0]}")

    @property
    def lease_or_default(self) -> float:
        return _DEFAULT_LEASE if self.lease is None else self.lease


class Outcome(enum.Enum):
    """What one call, or one part of it, tells about the server."""

    SUCCESS = "success"
    HEAD = "head"  # a good head, whose body is still on the wire: COMPLETED or CUT may follow
    COMPLETED = "completed"  # that body ended well
    CUT = "cut"  # that body failed
    FAILURE = "failure"
    IGNORED = "ignored"  # neither: cancelled, refused by ourselves, or our own mistake


def judge_status(settings: CircuitBreaker, status: int) -> Outcome:
    """A 429 comes from a server that is alive, and 501 or 505 from one that does not like the request."""
    if status in settings.failure_statuses:
        return Outcome.FAILURE
    if status == 429:
        return Outcome.FAILURE if settings.count_429 else Outcome.IGNORED
    return Outcome.SUCCESS if status < 500 else Outcome.IGNORED


def judge_fault(fault: Fault, *, cut_short: bool) -> Outcome:
    """``cut_short``: the attempt ended because its caller's deadline came, before its own timeout."""
    if cut_short or fault in (Fault.SATURATED, Fault.LOCAL):
        return Outcome.IGNORED
    return Outcome.FAILURE
