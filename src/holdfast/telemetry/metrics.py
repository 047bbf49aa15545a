"""Which figures come of the records, and of a snapshot? One table, for every system that keeps figures.

Labels are few and bounded: ``key``, ``policy``, ``method``, ``outcome``, ``reason``, and ``source`` and ``state``
where a figure is of no use without. Never a URL. Names are OpenTelemetry's; those of Prometheus follow by rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, Protocol

from holdfast.events import (
    CacheAnswered,
    CallEnded,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitRamping,
    Event,
    FellBack,
    GaveUp,
    HedgeSent,
    HedgeWon,
    Refusal,
    Retried,
    StoreDegraded,
    Waited,
)

__all__ = ["DURATIONS", "EVENT_METRICS", "GAUGES", "METHODS", "Keys", "Metric", "Sample", "Watched", "measure", "read"]

DURATIONS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Bounds of histograms in seconds: those that the semantic conventions advise for http.client.request.duration."""
ATTEMPTS: Final = (1.0, 2.0, 3.0, 4.0, 5.0, 10.0)

METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
"""Any other method is told as ``_OTHER``: a label has few values, whatever a caller makes up."""

STATES: Final = ("closed", "open", "half_open", "ramping", "forced_open", "disabled")


class Metric(NamedTuple):
    """A figure: its name, what is done with it, its unit (UCUM), its labels, and what it says."""

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    unit: str
    labels: tuple[str, ...]
    text: str
    bounds: tuple[float, ...] = ()

    @property
    def prometheus(self) -> str:
        """The name by which Prometheus knows it."""
        seconds = "_seconds" if self.unit == "s" else ""
        return self.name.replace(".", "_") + seconds + ("_total" if self.kind == "counter" else "")


class Sample(NamedTuple):
    """One value of a figure; ``labels`` are in the order of the metric's."""

    metric: Metric
    value: float
    labels: tuple[str, ...]


class Watched(Protocol):
    """A pipeline, or several by origin."""

    def snapshot(self) -> dict[str, Any]: ...


CALL_DURATION: Final = Metric(
    "holdfast.call.duration", "histogram", "s", ("key", "method", "outcome"), "Time a call took, all told", DURATIONS
)
CALL_ATTEMPTS: Final = Metric(
    "holdfast.call.attempts",
    "histogram",
    "{attempt}",
    ("key", "method", "outcome"),
    "Requests sent for a call",
    ATTEMPTS,
)
RETRIES: Final = Metric(
    "holdfast.retries",
    "counter",
    "{retry}",
    ("key", "reason", "source"),
    "Retries, by what failed and who set the wait",
)
EXHAUSTED: Final = Metric(
    "holdfast.retry.exhausted", "counter", "{call}", ("key", "reason"), "Failures that were not retried, and why"
)
TRANSITIONS: Final = Metric(
    "holdfast.breaker.transitions", "counter", "{transition}", ("key", "state"), "Circuits that came into a state"
)
BREAKER_REJECTED: Final = Metric(
    "holdfast.breaker.rejected", "counter", "{request}", ("key",), "Requests that a circuit refused"
)
WAIT: Final = Metric(
    "holdfast.limiter.wait", "histogram", "s", ("key", "policy"), "Time that a request stood in a line", DURATIONS
)
LIMITER_REJECTED: Final = Metric(
    "holdfast.limiter.rejected", "counter", "{request}", ("key",), "Requests that a rate limit refused"
)
CONCURRENCY_REJECTED: Final = Metric(
    "holdfast.concurrency.rejected", "counter", "{request}", ("key",), "Requests that a concurrency limit refused"
)
REJECTED: Final = Metric(
    "holdfast.rejected", "counter", "{request}", ("key", "policy", "reason"), "Requests that any other policy refused"
)
WOULD_REJECT: Final = Metric(
    "holdfast.would_reject",
    "counter",
    "{request}",
    ("key", "policy", "reason"),
    "Requests that a policy would have refused if it did not only observe",
)
HEDGE_SENT: Final = Metric("holdfast.hedge.sent", "counter", "{request}", ("key",), "Hedges that were sent")
HEDGE_WON: Final = Metric("holdfast.hedge.won", "counter", "{request}", ("key",), "Hedges that were answered first")
CACHE_ANSWERS: Final = Metric(
    "holdfast.cache.answers", "counter", "{call}", ("key", "outcome"), "Calls, by what the cache did"
)
FALLBACKS: Final = Metric(
    "holdfast.fallbacks", "counter", "{call}", ("key", "outcome", "reason"), "Calls that were answered in another way"
)
STORE_DEGRADED: Final = Metric(
    "holdfast.store.degraded", "counter", "{time}", ("reason",), "Times that a store was given up for a while"
)

EVENT_METRICS: Final = (
    CALL_DURATION,
    CALL_ATTEMPTS,
    RETRIES,
    EXHAUSTED,
    TRANSITIONS,
    BREAKER_REJECTED,
    WAIT,
    LIMITER_REJECTED,
    CONCURRENCY_REJECTED,
    REJECTED,
    WOULD_REJECT,
    HEDGE_SENT,
    HEDGE_WON,
    CACHE_ANSWERS,
    FALLBACKS,
    STORE_DEGRADED,
)
"""Figures that come of records, one by one."""

BREAKER_STATE: Final = Metric(
    "holdfast.breaker.state", "gauge", "1", ("key", "state"), "1 for the state that a circuit is in, 0 for the others"
)
BALANCE: Final = Metric("holdfast.budget.balance", "gauge", "{retry}", ("key",), "Retries that the budget has left")
IN_FLIGHT: Final = Metric(
    "holdfast.concurrency.in_flight", "gauge", "{request}", ("key",), "Requests that hold a permit"
)
CONCURRENCY_QUEUE: Final = Metric(
    "holdfast.concurrency.queue", "gauge", "{request}", ("key",), "Requests in line for a permit"
)
LIMITER_QUEUE: Final = Metric("holdfast.limiter.queue", "gauge", "{request}", ("key",), "Requests in line for a token")
BLOCKED_UNTIL: Final = Metric(
    "holdfast.limiter.blocked_until",
    "gauge",
    "s",
    ("key",),
    "Until when a server asked for silence, since the epoch; 0 if none does",
)
OFFLINE: Final = Metric(
    "holdfast.offline", "gauge", "1", (), "1 while only stored answers are given, by all or for a key"
)

GAUGES: Final = (BREAKER_STATE, BALANCE, IN_FLIGHT, CONCURRENCY_QUEUE, LIMITER_QUEUE, BLOCKED_UNTIL, OFFLINE)
"""Figures that are read from a snapshot when somebody asks."""

_REJECTED_BY: Final = {
    "circuit_breaker": BREAKER_REJECTED,
    "rate_limit": LIMITER_REJECTED,
    "concurrency": CONCURRENCY_REJECTED,
}
_ENTERED: Final[Mapping[type[Event], str]] = {
    CircuitOpened: "open",
    CircuitHalfOpened: "half_open",
    CircuitRamping: "ramping",
    CircuitClosed: "closed",
}
_LOOKS: Final = 20
_HIGHEST: Final = frozenset({BREAKER_STATE, BLOCKED_UNTIL, OFFLINE})


class Keys:
    """The first ``limit`` keys by name, all others as ``_OTHER``: keys of the user's own may be without end.

    With ``operations`` what was done stands behind the key of a record, where that is known.
    """

    __slots__ = ("_known", "_limit", "_operations")

    def __init__(self, limit: int, *, operations: bool = False) -> None:
        if limit < 1:
            raise ValueError(f"keys must be at least 1, got {limit}")
        self._limit = limit
        self._operations = operations
        self._known: set[str] = set()

    def of(self, event: Event) -> str:
        named = self._operations and event.operation is not None
        return self.fold(f"{event.key} {event.operation}" if named else event.key)

    def fold(self, key: str) -> str:
        if key in self._known:
            return key
        if len(self._known) >= self._limit:
            return "_OTHER"
        self._known.add(key)
        return key


def measure(event: Event, keys: Keys) -> tuple[Sample, ...]:
    """What a record adds to the figures."""
    match event:
        case CallEnded(background=True):
            return ()  # nobody waited for it
        case CallEnded():
            labels = (keys.of(event), event.method if event.method in METHODS else "_OTHER", event.outcome)
            return Sample(CALL_DURATION, event.duration, labels), Sample(CALL_ATTEMPTS, event.attempts, labels)
        case Retried():
            return (Sample(RETRIES, 1, (keys.of(event), event.reason, event.source)),)
        case GaveUp():
            return (Sample(EXHAUSTED, 1, (keys.of(event), event.reason)),)
        case CircuitOpened() | CircuitHalfOpened() | CircuitRamping() | CircuitClosed():
            return (Sample(TRANSITIONS, 1, (keys.of(event), _entered(event))),)
        case Waited():
            return (Sample(WAIT, event.seconds, (keys.of(event), event.place)),)
        case Refusal(observed=True):
            return (Sample(WOULD_REJECT, 1, (keys.of(event), event.policy, event.reason)),)
        # The deadline may pass in the line of any policy; that is not the policy's refusal.
        case Refusal() if event.policy in _REJECTED_BY and event.reason != "deadline":
            return (Sample(_REJECTED_BY[event.policy], 1, (keys.of(event),)),)
        case Refusal():
            return (Sample(REJECTED, 1, (keys.of(event), event.policy, event.reason)),)
        case HedgeSent():
            return (Sample(HEDGE_SENT, 1, (keys.of(event),)),)
        case HedgeWon():
            return (Sample(HEDGE_WON, 1, (keys.of(event),)),)
        case CacheAnswered():
            return (Sample(CACHE_ANSWERS, 1, (keys.of(event), event.result)),)
        case FellBack():
            return (Sample(FALLBACKS, 1, (keys.of(event), event.source, event.reason)),)
        case StoreDegraded():
            return (Sample(STORE_DEGRADED, 1, (event.problem,)),)
        case _:
            return ()


def read(pipelines: list[Watched], keys: Keys, now: float) -> list[Sample]:
    """The gauges of all of them together; ``now`` is wall time, in seconds since the epoch.

    Of a key that several pipelines have, what can be counted is added up, and of all else the highest is taken.
    """
    found: dict[tuple[Metric, tuple[str, ...]], float] = {}
    for pipeline in pipelines:
        for metric, value, labels in _gauges(_snapshot(pipeline), keys, now):
            place = (metric, labels)
            if place not in found:
                found[place] = value
            elif metric in _HIGHEST:
                found[place] = max(found[place], value)
            else:
                found[place] += value
    return [Sample(metric, value, labels) for (metric, labels), value in found.items()]


def _snapshot(pipeline: Watched) -> dict[str, Any]:
    # Scrapes come from a thread of their own, and a pipeline's state belongs to its event loop: a key that comes or
    # goes while it is read is an error, of the reader alone. The next look finds it whole.
    for _ in range(_LOOKS):
        try:
            return pipeline.snapshot()
        except (RuntimeError, KeyError):
            continue
    return pipeline.snapshot()


def _gauges(snapshot: dict[str, Any], keys: Keys, now: float) -> Iterator[Sample]:
    origins: dict[str, dict[str, Any]] = snapshot["origins"]
    for key, told in origins.items():
        label = (keys.fold(key),)
        if "circuit" in told:
            for state in STATES:
                yield Sample(BREAKER_STATE, float(told["circuit"]["state"] == state), (*label, state))
        if "retries_left" in told:
            yield Sample(BALANCE, told["retries_left"], label)
        if "concurrency" in told:
            yield Sample(IN_FLIGHT, told["concurrency"]["in_use"], label)
            yield Sample(CONCURRENCY_QUEUE, told["concurrency"]["waiting"], label)
        if "rate_limit" in told:
            blocked = told["rate_limit"]["blocked_for"]
            yield Sample(LIMITER_QUEUE, told["rate_limit"]["waiting"], label)
            yield Sample(BLOCKED_UNTIL, now + blocked if blocked > 0 else 0.0, label)
    offline: dict[str, Any] | None = snapshot.get("offline")
    # With several pipelines by origin it is a dict of theirs.
    away = offline is not None and ("for" in offline or any(offline.values()))
    away = away or any("offline" in told for told in origins.values())
    yield Sample(OFFLINE, float(away), ())


def _entered(event: Event) -> str:
    match event:
        case CircuitOpened(reason="forced"):
            return "forced_open"
        case CircuitClosed(forced=True):
            return "disabled"
        case _:
            return _ENTERED[type(event)]
