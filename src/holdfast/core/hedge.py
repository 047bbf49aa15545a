"""Hedging: when does a second request go out beside one that takes long, and which answer counts?

No I/O, no clock: callers pass ``now``. A request that is sent for a call is an *arm*; the first one is arm 1.
"""

from __future__ import annotations

import enum
import math
from dataclasses import field
from typing import Final, TypeAlias

from holdfast.core.fault import Fault
from holdfast.core.retry import Retry, Verdict, check_methods, judge
from holdfast.core.settings import Settings
from holdfast.core.value import Value

__all__ = ["End", "Ending", "Hedge", "Latencies", "Send", "Step", "Wait", "decide", "judge_arm"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})
"""RFC 9110 9.2.1, and QUERY. Two of a request at once are no matter where one has no effect."""

_SHORTEST = 0.001  # seconds
_GROWTH = 1.1
"""Each bucket is a tenth wider than the one before: a delay is off by that much at most."""
_BUCKETS = 128
"""Up to three minutes."""


class Hedge(Settings):
    """Send a request once more if its answer takes long, and take the answer that comes first. Off by default.

    The second request goes out after ``delay`` seconds; None: after the ``quantile`` of what answers of the key took
    in the last ``window`` seconds or up to twice that, but at least ``min_delay``. With fewer of them than it takes to
    know that quantile (20 for 0.95) nothing is hedged. At most ``arms`` requests are sent, the first one included.
    Hedged are ``methods``, and whatever carries an Idempotency-Key. A hedged request is not retried, unless
    ``retried``: then each attempt of the retry layer is hedged.

    >>> Hedge(delay=0.2).arms
    2
    """

    delay: float | None = None
    quantile: float = 0.95
    min_delay: float = 0.01
    arms: int = 2
    methods: frozenset[str] = field(default=SAFE_METHODS)
    window: float = 60.0
    retried: bool = False

    def __post_init__(self) -> None:
        if self.delay is not None and not 0 <= self.delay < math.inf:
            raise ValueError(f"delay must be at least 0 seconds, or None for the observed one, got {self.delay}")
        if not 0.5 <= self.quantile <= 0.999:
            raise ValueError(f"quantile must be between 0.5 and 0.999, got {self.quantile}")
        if not 0 <= self.min_delay < math.inf:
            raise ValueError(f"min_delay must be at least 0 seconds, got {self.min_delay}")
        if not 2 <= self.arms <= 5:  # gRPC's cap
            raise ValueError(f"arms counts the first request too, so it must be between 2 and 5, got {self.arms}")
        check_methods(self.methods)
        if not 0 < self.window < math.inf:
            raise ValueError(f"window must be seconds, more than 0, got {self.window}")


class Latencies:
    """What the answers of one key took, for one to two windows: a histogram whose older half is dropped at a time.

    >>> latencies = Latencies(Hedge(quantile=0.5))
    >>> for seconds in (0.1, 0.2, 9.0): latencies.record(seconds, now=0.0)
    >>> round(latencies.delay(now=1.0), 2)  # of a bucket's end
    0.21
    """

    __slots__ = ("_current", "_hedge", "_number", "_past")

    def __init__(self, hedge: Hedge) -> None:
        self._hedge = hedge
        self._number = 0  # of the window that runs
        self._current = [0] * _BUCKETS
        self._past = [0] * _BUCKETS

    def reconfigure(self, hedge: Hedge) -> None:
        """Other settings from now on; of a window of another length nothing is known yet."""
        if hedge.window != self._hedge.window:
            self._current, self._past = [0] * _BUCKETS, [0] * _BUCKETS
        self._hedge = hedge

    def record(self, seconds: float, now: float) -> None:
        number = int(now // self._hedge.window)
        if number != self._number:
            self._past = self._current if number == self._number + 1 else [0] * _BUCKETS
            self._current = [0] * _BUCKETS
            self._number = number
        self._current[_bucket(seconds)] += 1

    def delay(self, now: float) -> float | None:
        """Seconds after which a request is hedged; None if too few answers are known. Moves nothing."""
        counts = self._counts(now)
        samples, quantile = sum(counts), self._hedge.quantile
        if samples < round(1 / (1 - quantile)):
            return None
        longer = samples - math.ceil(quantile * samples)
        for bucket in range(_BUCKETS - 1, -1, -1):
            longer -= counts[bucket]
            if longer < 0:
                return max(self._hedge.min_delay, _SHORTEST * _GROWTH**bucket)
        raise AssertionError("all samples are in the buckets")

    def samples(self, now: float) -> int:
        return sum(self._counts(now))

    def _counts(self, now: float) -> list[int]:
        match int(now // self._hedge.window) - self._number:
            case 0:
                return [sum(pair) for pair in zip(self._current, self._past, strict=True)]
            case 1:
                return self._current
            case _:
                return [0] * _BUCKETS


def _bucket(seconds: float) -> int:
    """The first bucket that is not below ``seconds``."""
    if seconds <= _SHORTEST:
        return 0
    return min(_BUCKETS - 1, math.ceil(math.log(seconds / _SHORTEST, _GROWTH) - 1e-9))


class Ending(enum.Enum):
    """What became of an arm."""

    DECIDES = "decides"  # an answer, or a failure that another request would only repeat
    FAILED = "failed"  # another request may do better
    PUSHED_BACK = "pushed_back"  # the same, but the server asks to be left alone for a while


def judge_arm(
    retry: Retry,
    *,
    method: str,
    keyed: bool,
    status: int | None,
    fault: Fault | None,
    server_says: bool | None = None,
    server_delay: float | None = None,
    predicate: bool | None = None,
) -> Ending:
    """Judge an arm as the retry layer judges an attempt (`core.retry.judge`).

    ``server_delay``: seconds of its Retry-After, None without one.
    """
    verdict = judge(
        retry,
        method=method,
        keyed=keyed,
        idempotent=True,  # or it would not be hedged
        status=status,
        fault=fault,
        server_says=server_says,
        predicate=predicate,
    )
    if verdict is not Verdict.AGAIN:
        return Ending.DECIDES
    return Ending.PUSHED_BACK if server_delay else Ending.FAILED


class Send(Value):
    """Send another arm now."""


class Wait(Value):
    """Wait for an arm to end, but not beyond ``until`` (None: as long as it takes)."""

    def __init__(self, until: float | None) -> None:
        self.until: Final = until


class End(Value):
    """No arm is left, and there will be no other: the last failure stands."""


Step: TypeAlias = Send | Wait | End


def decide(*, arms_left: int, running: int, failed: bool, due: float, now: float) -> Step:
    """What comes next, while no arm has decided the call.

    ``arms_left``: how many may still be sent. ``failed``: an arm has failed since the last one was sent. ``due``: when
    the running ones have taken long enough.
    """
    if arms_left > 0 and (failed or now >= due):
        return Send()
    if not running:
        return End()
    return Wait(due if arms_left > 0 else None)
