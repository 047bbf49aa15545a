"""What happened in a call, frozen and typed, read from the plain data that its response or exception carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from holdfast.call import OPTIONS

__all__ = ["Attempt", "History", "history"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request on the wire: when it began (seconds after the call), how long, and how it ended.

    ``wait`` is the backoff in seconds before it. ``status`` is None if there was no response; ``error`` is
    then the name of the exception's class. A body that failed after the head has both.
    """

    number: int
    started: float
    duration: float
    status: int | None
    error: str | None = None
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class History:
    """What happened in one call. ``source``: "origin", "cache", "revalidated" or "fallback"; None if it failed.

    ``reason`` says why it was not sent again (``attempts``, ``deadline``, ``budget_exhausted``,
    ``body_not_replayable``, ``retry_after_exceeds_deadline``, ``circuit_open``, ...), None where the answer
    was good. ``cache_status`` has the parameters of our Cache-Status member (RFC 9211) as data, None without a
    cache. ``waits`` are seconds by place: ``backoff``, ``circuit``, ``concurrency``, ``rate_limit``, ``pool``.
    """

    attempts: tuple[Attempt, ...]
    source: str | None
    cache: str | None
    waits: Mapping[str, float]
    reason: str | None
    fallback: str | None = None
    cache_status: Mapping[str, bool | int | str] | None = None
    age: float | None = None  # seconds, of an answer from the cache
    idempotency_key: str | None = None  # to send the same again later


_ATTEMPT_FIELDS = frozenset(item.name for item in fields(Attempt))


def history(outcome: Any) -> History:
    """The history of a call, from its response or from the exception that it raised.

    Raises ValueError if it did not pass through holdfast. For a response that was redirected or came from an
    auth flow it tells of the last hop; the earlier ones are in ``response.history``.
    """
    carried: dict[str, Any] = getattr(outcome, "extensions", None) or getattr(outcome, "__dict__", {})
    record: dict[str, Any] | None = carried.get(OPTIONS)
    if record is None or "attempts" not in record:
        raise ValueError(f"this {type(outcome).__name__} has not been through a holdfast transport")
    attempts = tuple(
        Attempt(**{name: value for name, value in item.items() if name in _ATTEMPT_FIELDS})
        for item in record["attempts"]
    )
    return History(
        attempts=attempts,
        source=record["source"],
        cache=record["cache"],
        waits=dict(record["waits"]),
        reason=record["reason"],
        fallback=record["fallback"],
        cache_status=record["cache_status"],
        age=record.get("age"),
        idempotency_key=record.get("idempotency_key"),
    )
