"""Did holdfast keep what it promises? Judged from what the origin counted, on plain data.

No I/O and no clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.cli.demo_origin import Counts, Send
from holdfast.core.budget import RetryBudget

__all__ = ["Promise", "judge"]

_SLOTS = 10  # the budget moves in tenths of its window, and so forgets first attempts up to a tenth late
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise, whether it was kept, and the figures in a sentence."""

    name: str
    kept: bool
    text: str


def judge(counts: Counts, budget: RetryBudget, *, longest_call: float, tasks: Sequence[str]) -> list[Promise]:
    """Judge the origin's counts, taken after the client was closed.

    ``longest_call``: seconds that the longest call took. ``tasks``: names of those that still ran then.
    """
    return [
        _amplification(counts.sends, budget, longest_call),
        _probes(counts),
        _connections(counts),
        _tasks(tasks),
    ]


def _amplification(sends: Sequence[Send], budget: RetryBudget, longest_call: float) -> Promise:
    """In no window more retries than reserve + ratio * first attempts.

    The budget counts a first attempt when it is answered, and a retry when it is decided: both are up to
    one call's length away from when the origin sees the request. First attempts are therefore counted from so
    much earlier, or an honest run might be accused.
    """
    early = longest_call + budget.window / _SLOTS
    firsts = sorted(send.at for send in sends if send.attempt == 1)
    retries = sorted(send.at for send in sends if send.attempt > 1)

    worst = (0.0, 0, float(budget.reserve))
    for end in retries:  # it can only be broken by a retry, so windows that end with one are enough
        again = _within(retries, end - budget.window, end)
        allowed = budget.reserve + budget.ratio * _within(firsts, end - budget.window - early, end)
        used = again / allowed if allowed else float("inf")
        worst = max(worst, (used, again, allowed))
    used, again, allowed = worst
    text = f"retries in budget: {again} in the worst {budget.window:g} s, {int(allowed)} allowed"
    return Promise("amplification", used <= 1 + _ROUNDING, text)


def _within(ordered: Sequence[float], after: float, until: float) -> int:
    return bisect_right(ordered, until) - bisect_right(ordered, after)


def _probes(counts: Counts) -> Promise:
    probes = sum(send.circuit == "half_open" for send in counts.sends)
    text = f"one probe at a time: {probes} sent, at most {counts.peak_probes} at once"
    return Promise("probes", counts.peak_probes <= 1, text)


def _connections(counts: Counts) -> Promise:
    text = f"no connection left: {counts.accepted} opened, {counts.open} still open after aclose()"
    return Promise("connections", counts.open == 0, text)


def _tasks(tasks: Sequence[str]) -> Promise:
    text = f"no task left: {len(tasks)} running after aclose()" + (f" ({', '.join(tasks)})" if tasks else "")
    return Promise("tasks", not tasks, text)
