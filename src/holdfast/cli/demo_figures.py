"""From outcomes and counts to the figures that are shown. No I/O."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.cli.demo_drive import Outcome, Side
from holdfast.cli.demo_origin import Send
from holdfast.cli.demo_weather import WEATHERS

__all__ = ["Row", "better_without", "percentile", "row", "rows"]

_NOTICEABLE = 0.002
"""Seconds by which a time must be shorter to be called so, and at least by a tenth: machines are noisy."""


@dataclass(frozen=True, slots=True)
class Row:
    """One side in one weather, or in all of them. Times are seconds.

    A call belongs to the weather in which it was due, a wire request to that in which it was sent.
    """

    calls: int
    succeeded: int
    wire: int  # requests that the origin saw
    retries: int  # of them, sent again
    cache_hits: int  # calls answered without a request of their own
    revalidated: int  # 304s
    throttled: int  # 429s
    refused: int  # calls that ended with a refusal of our own, such as CircuitOpen
    p50: float | None  # of the calls that succeeded
    p99: float | None
    worst: float  # the longest wait for an answer or an error
    errors: dict[str, int]  # by status or class of exception

    @property
    def wire_per_call(self) -> float:
        return self.wire / self.calls if self.calls else 0.0


def rows(side: Side) -> list[Row]:
    """A row for each of `WEATHERS`."""
    return [
        row(
            [outcome for outcome in side.outcomes if outcome.weather == weather],
            [send for send in side.counts.sends if send.weather == weather],
        )
        for weather in range(len(WEATHERS))
    ]


def row(outcomes: Sequence[Outcome], sends: Sequence[Send]) -> Row:
    good = sorted(outcome.seconds for outcome in outcomes if outcome.error is None)
    return Row(
        calls=len(outcomes),
        succeeded=len(good),
        wire=len(sends),
        retries=sum(send.attempt > 1 for send in sends),
        cache_hits=sum(outcome.cache_hit for outcome in outcomes),
        revalidated=sum(send.status == 304 for send in sends),
        throttled=sum(send.status == 429 for send in sends),
        refused=sum(outcome.refused for outcome in outcomes),
        p50=percentile(good, 0.50),
        p99=percentile(good, 0.99),
        worst=max((outcome.seconds for outcome in outcomes), default=0.0),
        errors=dict(Counter(outcome.error for outcome in outcomes if outcome.error is not None).most_common()),
    )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The nearest rank of sorted values; None of none."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None


def better_without(plain: Row, holdfast: Row) -> list[str]:
    """The figures in which plain httpx did better."""
    found = ["succeeded"] if plain.succeeded > holdfast.succeeded else []
    times = (
        ("p50", plain.p50, holdfast.p50),
        ("p99", plain.p99, holdfast.p99),
        ("worst", plain.worst, holdfast.worst),
    )
    for name, without, with_it in times:
        if without is not None and with_it is not None and with_it - without > max(_NOTICEABLE, 0.1 * with_it):
            found.append(name)
    return found
