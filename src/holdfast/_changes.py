"""Which settings may be others while calls run? Those that neither add nor take away a layer, nor disown its state.

What is stored, counted and noted under the settings before must go on under those after; see `Pipeline.reconfigure`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypedDict

from holdfast._layers import Policies, limits_of
from holdfast.policies.concurrency import ConcurrencyLimit
from holdfast.policies.pacing import pacing_of

if TYPE_CHECKING:
    from holdfast.core.breaker import CircuitBreaker
    from holdfast.core.budget import RetryBudget
    from holdfast.core.buffering import Auto
    from holdfast.core.gradient import AdaptiveConcurrency
    from holdfast.core.hedge import Hedge
    from holdfast.core.idempotency import IdempotencyKeys
    from holdfast.core.offline import OfflineMode
    from holdfast.core.pacing import Mode, Pacing
    from holdfast.core.retry import Retry
    from holdfast.core.throttle import Throttle
    from holdfast.events import Listener
    from holdfast.policies._gates import Limit
    from holdfast.policies.attempt_hooks import AttemptHook
    from holdfast.policies.cache import Cache
    from holdfast.policies.fallback_settings import Fallback

__all__ = ["Changes", "changed", "check_same_layers"]

_FIXED: Final = {"clock": "the state is in its times", "random": "the layers have it"}


class Changes(TypedDict, total=False):
    """What `Pipeline.reconfigure` takes."""

    retry: Retry
    budget: RetryBudget
    breaker: CircuitBreaker
    hedge: Hedge
    throttle: Throttle
    idempotency: IdempotencyKeys
    rate_limit: Limit | Sequence[Limit]
    pacing: Pacing | Mode
    concurrency: ConcurrencyLimit | AdaptiveConcurrency
    cache: Cache
    fallback: Fallback
    offline: OfflineMode
    hooks: Sequence[AttemptHook]
    listeners: Sequence[Listener]
    deadline: float | None
    attempt_timeout: float | None
    buffer_body: Auto
    deadline_covers_body: Auto
    max_body_bytes: int | None


def changed(before: Policies, changes: Mapping[str, Any]) -> Policies:
    """``before`` with the changes. Raises ValueError for a setting that stays, TypeError for what is none."""
    for name in changes.keys() - before.keys():
        if name in _FIXED:
            raise ValueError(f"reconfigure keeps the {name}: {_FIXED[name]}")
        raise TypeError(f"a pipeline has no setting {name!r}")
    merged: Any = {**before, **changes}
    whole: Policies = merged
    return whole


def check_same_layers(before: Policies, after: Policies) -> None:
    """Raises ValueError for what would take other layers, or other state."""
    for name in (
        "retry",
        "budget",
        "hedge",
        "breaker",
        "throttle",
        "idempotency",
        "concurrency",
        "rate_limit",
        "pacing",
        "cache",
        "fallback",
        "offline",
    ):
        if (before[name] is None) != (after[name] is None):
            raise ValueError(f"reconfigure neither adds nor takes away a layer: {name}={after[name]}")
    functions = {"listeners": (before["listeners"], after["listeners"]), "hooks": (before["hooks"], after["hooks"])}
    for name, (earlier, later) in functions.items():
        if bool(earlier) != bool(later):
            raise ValueError(f"reconfigure takes other {name} for {name}, got {later!r}")
    _check_same_state(before, after)
    if before["pacing"] != after["pacing"]:
        adaptive = {pacing_of(each).adaptive for each in (before["pacing"], after["pacing"]) if each is not None}
        if len(adaptive) > 1:
            raise ValueError("reconfigure keeps whether pacing is adaptive")
    permits = (before["concurrency"], after["concurrency"])
    totals = [one.total is None for one in permits if isinstance(one, ConcurrencyLimit)]
    if type(permits[0]) is not type(permits[1]) or len(set(totals)) > 1:
        raise ValueError("reconfigure takes a concurrency limit for one of its kind, both with a total or without")
    if before["rate_limit"] != after["rate_limit"]:
        from holdfast.policies._gates import shape_of

        shapes = [
            [shape_of(limit) for limit in (*limits_of(each, observed=False), *limits_of(each, observed=True))]
            for each in (before, after)
        ]
        if shapes[0] != shapes[1]:
            raise ValueError("reconfigure keeps how many limits there are, of which kind, and their key and observe")


def _check_same_state(before: Policies, after: Policies) -> None:
    """Raises ValueError where what was stored or noted under the settings before would be lost, or somebody else's."""
    if before["cache"] is not None and after["cache"] is not None:
        from holdfast.policies.cache import told_apart

        kept = told_apart(before["cache"], after["cache"])
        if kept is not None:
            raise ValueError(f"reconfigure keeps the cache's {kept}: by it answers are found, purged, and told apart")
    if before["offline"] is not None and after["offline"] is not None:
        modes = (before["offline"], after["offline"])
        if len({mode.file for mode in modes}) > 1:
            raise ValueError("reconfigure keeps the file of the offline mode: what is noted in it would stay there")
        if len({mode.after is None for mode in modes}) > 1:
            raise ValueError("reconfigure neither adds nor takes away a layer: offline.after keeps being None, or not")
