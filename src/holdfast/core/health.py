"""How is it going? A verdict over a pipeline's snapshot, for status pages, health checks and end users.

Decided from plain data, each time anew: nothing is kept, so nothing has to be reset after an outage. Callers pass the
wall time. No sentence and no code tells a host, a key or what a server said.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

from holdfast.errors import Refused

__all__ = ["SENTENCES", "Condition", "Health", "Status", "condition_of", "judge", "together"]

Status: TypeAlias = Literal["ok", "limited", "down"]
"""ok: calls pass. limited: some wait, are refused, or get stored answers. down: none passes, but for a probe."""

SENTENCES: Final[Mapping[str, str]] = {
    "ok": "Everything works.",
    "circuit_open": "The service does not answer at the moment, and is tried again soon.",
    "circuit_forced_open": "The service is switched off at the moment.",
    "circuit_half_open": "The service did not answer, and is being tried again.",
    "circuit_ramping": "The service answers again; for a moment some requests have to wait.",
    "rate_limited": "There are too many requests at the moment; some have to wait.",
    "throttled": "The service is overloaded at the moment; some requests are not sent.",
    "concurrency_full": "The service is busy at the moment; some requests have to wait.",
    "deadline": "The service took too long to answer.",
    "offline": "There is no connection at the moment.",
    "offline_stored": "There is no connection at the moment; what is shown may be old.",
    "closed": "The service is shutting down.",
    "refused": "The request cannot be sent at the moment.",
    "partial_outage": "A part of the services does not answer at the moment.",
}
"""By code, one sentence for end users. Codes are stable; they are added, and never change their meaning."""

_ORDER: Final[tuple[Status, ...]] = ("ok", "limited", "down")
_CIRCUITS: Final[Mapping[str, tuple[Status, str]]] = {
    "open": ("down", "circuit_open"),
    "forced_open": ("down", "circuit_forced_open"),
    "half_open": ("down", "circuit_half_open"),  # until the probe is answered, all that is known is the failure
    "ramping": ("limited", "circuit_ramping"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How one key is, or a refused call was. Times are wall time, in seconds since the epoch.

    >>> Condition(status="down", code="circuit_open", retry_at=1_800_000_005.0).sentence
    'The service does not answer at the moment, and is tried again soon.'
    """

    status: Status = "ok"
    code: str = "ok"
    """Why, as one of `SENTENCES`."""

    since: float | None = None
    """Since when; None where it is ok, or nobody noted it."""

    retry_at: float | None = None
    """When a call may pass: the next probe of an open circuit, the end of a server's silence. None: not known."""

    @property
    def sentence(self) -> str:
        """One sentence for end users, in English."""
        return SENTENCES[self.code]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health(Condition):
    """How a pipeline is, overall and by key.

    Overall it is down if every key with a circuit or a throttle is down, and limited if any key is not ok; the code is
    then the worst key's, or ``partial_outage`` if some are down and some are not.
    """

    keys: Mapping[str, Condition] = field(default_factory=dict[str, Condition])

    def as_json(self, *, keys: bool = False) -> str:
        """One object of ``status``, ``code``, ``sentence``, ``since`` and ``retry_at``.

        With ``keys`` also those of each key, by name. Names are hosts, so this is not for the public.
        """
        told = _told(self)
        if keys:
            told["keys"] = {key: _told(condition) for key, condition in self.keys.items()}
        return json.dumps(told)


def judge(snapshot: Mapping[str, Any], now: float) -> Health:
    """The verdict over `Pipeline.snapshot`, taken at wall time ``now``."""
    offline = snapshot.get("offline")
    if offline is not None:
        return _offline(snapshot, offline, now)
    keys: dict[str, Condition] = {}
    judged: list[Condition] = []  # those of keys whose server is judged: a limit says nothing of it
    for key, parts in snapshot["origins"].items():
        conditions = (_of_circuit(parts, now), _of_throttle(parts), _of_rate(parts, now), _of_concurrency(parts))
        away = parts.get("offline")  # while a key is offline, nothing else of it matters
        keys[key] = condition = _worst(conditions) if away is None else _away(snapshot, away, now)
        if away is not None or "circuit" in parts or "throttle" in parts:
            judged.append(condition)
    return _overall(keys, judged or [*keys.values()])


def together(parts: Mapping[str, Health]) -> Health:
    """The verdict over several pipelines by name. A key that two of them know carries the later name behind it."""
    keys: dict[str, Condition] = {}
    for name, health in parts.items():
        for key, condition in health.keys.items():
            keys[key if key not in keys else f"{key} ({name})"] = condition
    used = [health for health in parts.values() if health.keys or health.status != "ok"]
    return _overall(keys, used)


def condition_of(error: Refused, now: float) -> Condition:
    """What to tell the end user whose call was refused at about wall time ``now``.

    >>> from holdfast.errors import RateLimited
    >>> condition_of(RateLimited("no token for api.example in time", retry_after=7.0), now=1_800_000_000.0)
    Condition(status='limited', code='rate_limited', since=None, retry_at=1800000007.0)
    """
    retry_at = None if error.retry_after is None else now + error.retry_after
    status: Status = "down" if error.code in ("circuit_open", "offline", "closed") else "limited"
    return Condition(status=status, code=error.code, retry_at=retry_at)


def _of_circuit(parts: Mapping[str, Any], now: float) -> Condition:
    circuit: Mapping[str, Any] = parts.get("circuit", {})
    status, code = _CIRCUITS.get(circuit.get("state", "closed"), ("ok", "ok"))
    if status == "ok" or "would_reject" in circuit:  # one that only observes holds back nobody
        return Condition()
    wait = circuit["retry_after"] if code == "circuit_open" else None
    return Condition(
        status=status, code=code, since=now - circuit["for"], retry_at=None if wait is None else now + wait
    )


def _of_throttle(parts: Mapping[str, Any]) -> Condition:
    tally: Mapping[str, Any] | None = parts.get("throttle")
    if tally is None or tally["refuses"] <= 0 or "would_reject" in tally:
        return Condition()
    return Condition(status="limited" if tally["accepts"] else "down", code="throttled")


def _of_rate(parts: Mapping[str, Any], now: float) -> Condition:
    limit: Mapping[str, Any] = parts.get("rate_limit", {})
    wait: float = limit.get("blocked_for", 0.0)
    if limit.get("remaining") is not None and limit["remaining"] < 1:
        wait = max(wait, limit["resets_in"])
    return Condition(status="limited", code="rate_limited", retry_at=now + wait) if wait > 0 else Condition()


def _of_concurrency(parts: Mapping[str, Any]) -> Condition:
    permits: Mapping[str, Any] | None = parts.get("concurrency")
    if permits is None or permits["in_use"] < permits["limit"] or not permits["waiting"]:
        return Condition()
    return Condition(status="limited", code="concurrency_full")


def _away(snapshot: Mapping[str, Any], offline: Mapping[str, Any], now: float) -> Condition:
    stored = "cache" in snapshot
    return Condition(
        status="limited" if stored else "down",
        code="offline_stored" if stored else "offline",
        since=now - offline["for"],
        retry_at=None if offline["probe_in"] is None else now + offline["probe_in"],
    )


def _offline(snapshot: Mapping[str, Any], offline: Mapping[str, Any], now: float) -> Health:
    condition = _away(snapshot, offline, now)
    return Health(**asdict(condition), keys=dict.fromkeys(snapshot["origins"], condition))


def _overall(keys: Mapping[str, Condition], decisive: Iterable[Condition]) -> Health:
    worst, said = _worst(keys.values()), [*decisive]
    if worst.status == "ok":
        worst = _worst(said)  # an offline pipeline of which no key is known yet
    code, status = worst.code, worst.status
    if status == "down" and any(condition.status != "down" for condition in said):
        code, status = "partial_outage", "limited"
    return Health(status=status, code=code, since=worst.since, retry_at=worst.retry_at, keys=keys)


def _worst(conditions: Iterable[Condition]) -> Condition:
    """The worst of them, of several such the one that has lasted longest."""

    def badness(condition: Condition) -> tuple[int, float]:
        return _ORDER.index(condition.status), -math.inf if condition.since is None else -condition.since

    return max(conditions, key=badness, default=Condition())


def _told(condition: Condition) -> dict[str, Any]:
    return {
        "status": condition.status,
        "code": condition.code,
        "sentence": condition.sentence,
        "since": condition.since,
        "retry_at": condition.retry_at,
    }
