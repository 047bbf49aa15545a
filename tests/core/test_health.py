"""The verdict over a snapshot, as a table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.core.health import SENTENCES, Condition, Health, condition_of, judge, together
from holdfast.errors import (
    CircuitOpen,
    Closed,
    ConcurrencyFull,
    DeadlineExceeded,
    Offline,
    RateLimited,
    Refused,
    Throttled,
)

NOW = 1000.0
CLOSED: dict[str, Any] = {"state": "closed", "for": None, "retry_after": None}
OPEN: dict[str, Any] = {"state": "open", "for": 60.0, "retry_after": 3.0}
DUE: dict[str, Any] = {"state": "open", "for": 9.0, "retry_after": 0.0}
FORCED: dict[str, Any] = {"state": "forced_open", "for": 60.0, "retry_after": 5.0}
PROBING: dict[str, Any] = {"state": "half_open", "for": 65.0, "retry_after": None}
RAMPING: dict[str, Any] = {"state": "ramping", "for": 66.0, "retry_after": None}
FREE: dict[str, Any] = {"state": "disabled", "for": 5.0, "retry_after": None}
BLOCKED: dict[str, Any] = {"blocked_for": 7.0, "remaining": None, "resets_in": None}
EMPTY: dict[str, Any] = {"blocked_for": 0.0, "remaining": 0.0, "resets_in": 30.0}
ROOM: dict[str, Any] = {"blocked_for": 0.0, "remaining": 12.0, "resets_in": 30.0}
FULL: dict[str, Any] = {"limit": 4, "in_use": 4, "waiting": 2}
BUSY: dict[str, Any] = {"limit": 4, "in_use": 4, "waiting": 0}


def snapshot(offline: dict[str, Any] | None = None, **origins: dict[str, Any]) -> dict[str, Any]:
    return {"origins": origins, "offline": offline}


@pytest.mark.parametrize(
    ("parts", "status", "code", "since", "retry_at"),
    [
        ({}, "ok", "ok", None, None),
        ({"circuit": CLOSED, "retries_left": 0.0}, "ok", "ok", None, None),
        ({"circuit": FREE}, "ok", "ok", None, None),
        ({"circuit": OPEN}, "down", "circuit_open", 940.0, 1003.0),
        ({"circuit": {**OPEN, "would_reject": 7}}, "ok", "ok", None, None),
        ({"circuit": DUE}, "down", "circuit_open", 991.0, 1000.0),
        ({"circuit": FORCED}, "down", "circuit_forced_open", 940.0, None),
        ({"circuit": PROBING}, "down", "circuit_half_open", 935.0, None),
        ({"circuit": RAMPING}, "limited", "circuit_ramping", 934.0, None),
        ({"circuit": CLOSED, "rate_limit": BLOCKED}, "limited", "rate_limited", None, 1007.0),
        ({"rate_limit": EMPTY}, "limited", "rate_limited", None, 1030.0),
        ({"rate_limit": ROOM}, "ok", "ok", None, None),
        ({"concurrency": FULL}, "limited", "concurrency_full", None, None),
        ({"concurrency": BUSY}, "ok", "ok", None, None),
        ({"throttle": {"requests": 9, "accepts": 9, "refuses": 0.0}}, "ok", "ok", None, None),
        ({"throttle": {"requests": 90, "accepts": 9, "refuses": 0.7}}, "limited", "throttled", None, None),
        ({"throttle": {"requests": 90, "accepts": 0, "refuses": 0.9}}, "down", "throttled", None, None),
        ({"throttle": {"requests": 90, "accepts": 0, "refuses": 0.9, "would_reject": 7}}, "ok", "ok", None, None),
        ({"circuit": OPEN, "rate_limit": BLOCKED, "concurrency": FULL}, "down", "circuit_open", 940.0, 1003.0),
    ],
    ids=str,
)
def test_each_state_of_a_key_has_its_verdict(
    parts: dict[str, Any], status: Any, code: str, since: float | None, retry_at: float | None
) -> None:
    health = judge(snapshot(api=parts), NOW)
    condition = Condition(status=status, code=code, since=since, retry_at=retry_at)
    assert health.keys == {"api": condition}
    assert (health.status, health.code, health.since, health.retry_at) == (status, code, since, retry_at)


@pytest.mark.parametrize(
    ("origins", "status", "code", "since"),
    [
        ({}, "ok", "ok", None),
        ({"a": OPEN, "b": {**OPEN, "for": 90.0}}, "down", "circuit_open", 910.0),
        ({"a": OPEN, "b": CLOSED}, "limited", "partial_outage", 940.0),
        ({"a": OPEN, "b": RAMPING}, "limited", "partial_outage", 940.0),
        ({"a": CLOSED, "b": RAMPING}, "limited", "circuit_ramping", 934.0),
    ],
    ids=str,
)
def test_all_down_is_down_and_some_down_is_limited(
    origins: dict[str, Any], status: str, code: str, since: float | None
) -> None:
    health = judge(snapshot(**{key: {"circuit": circuit} for key, circuit in origins.items()}), NOW)
    assert (health.status, health.code, health.since) == (status, code, since)


def test_a_key_that_is_offline_by_itself_says_so_whatever_else_it_has() -> None:
    away = {"offline": {"for": 30.0, "probe_in": 5.0}}
    health = judge(snapshot(api={**away, "circuit": RAMPING}, other={"circuit": CLOSED}), NOW)
    assert health.keys["api"] == Condition(status="down", code="offline", since=970.0, retry_at=1005.0)
    assert (health.status, health.code) == ("limited", "partial_outage")
    assert judge(snapshot(**{"api": away, "*": {"concurrency": BUSY}}), NOW).status == "down"
    assert judge({**snapshot(api=away), "cache": {}}, NOW).keys["api"].code == "offline_stored"


def test_what_is_known_to_last_longest_is_told_of_several() -> None:
    origins: dict[str, Any] = {
        "a": {"circuit": CLOSED, "rate_limit": BLOCKED},
        "b": {"circuit": RAMPING},
        "c": {"circuit": {**RAMPING, "for": 5.0}},
    }
    health = judge(snapshot(**origins), NOW)
    assert (health.status, health.code, health.since) == ("limited", "circuit_ramping", 934.0)


def test_keys_of_limits_alone_do_not_hide_that_every_circuit_is_open() -> None:
    origins: dict[str, Any] = {"api": {"circuit": OPEN}, "api tenant": {"rate_limit": ROOM}, "*": {"concurrency": BUSY}}
    assert judge(snapshot(**origins), NOW).status == "down"


@pytest.mark.parametrize(
    ("cache", "status", "code"), [({}, "down", "offline"), ({"cache": {"hits": 0}}, "limited", "offline_stored")]
)
@pytest.mark.parametrize("origins", [{}, {"api": {"circuit": CLOSED}}], ids=["unused", "used"])
def test_offline_is_down_unless_there_are_stored_answers(
    origins: dict[str, Any], cache: dict[str, Any], status: Any, code: str
) -> None:
    health = judge({**snapshot({"for": 20.0, "probe_in": 10.0}, **origins), **cache}, NOW)
    expected = Condition(status=status, code=code, since=980.0, retry_at=1010.0)
    assert health == Health(
        status=status, code=code, since=980.0, retry_at=1010.0, keys=dict.fromkeys(origins, expected)
    )


@pytest.mark.parametrize(
    ("parts", "status", "code"),
    [
        ({"a": snapshot(), "b": snapshot()}, "ok", "ok"),
        ({"a": snapshot(api={"circuit": OPEN}), "unused": snapshot()}, "down", "circuit_open"),
        ({"a": snapshot(api={"circuit": OPEN}), "b": snapshot(web={"circuit": CLOSED})}, "limited", "partial_outage"),
        ({"a": snapshot({"for": 1.0, "probe_in": None}), "unused": snapshot()}, "down", "offline"),
    ],
    ids=["unused", "one in use", "one of two", "offline"],
)
def test_several_pipelines_have_one_verdict(parts: dict[str, Any], status: str, code: str) -> None:
    health = together({name: judge(part, NOW) for name, part in parts.items()})
    assert (health.status, health.code) == (status, code)


def test_a_key_that_two_pipelines_know_is_told_twice() -> None:
    health = together(
        {"default": judge(snapshot(api={"circuit": CLOSED}), NOW), "v3": judge(snapshot(api={"circuit": OPEN}), NOW)}
    )
    assert {key: condition.status for key, condition in health.keys.items()} == {"api": "ok", "api (v3)": "down"}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (CircuitOpen("x", retry_after=5.0), "down", "circuit_open"),
        (RateLimited("x", retry_after=5.0), "limited", "rate_limited"),
        (Throttled("x", retry_after=5.0), "limited", "throttled"),
        (ConcurrencyFull("x", retry_after=5.0), "limited", "concurrency_full"),
        (DeadlineExceeded("x", retry_after=5.0), "limited", "deadline"),
        (Closed("x", retry_after=5.0), "down", "closed"),
        (Offline("x", retry_after=5.0), "down", "offline"),
        (Refused("x", policy="mine", retry_after=5.0), "limited", "refused"),
    ],
    ids=str,
)
def test_each_refusal_has_its_code(error: Refused, status: Any, code: str) -> None:
    assert condition_of(error, NOW) == Condition(status=status, code=code, retry_at=1005.0)


def test_a_refusal_without_an_end_names_none() -> None:
    assert condition_of(DeadlineExceeded("late"), NOW).retry_at is None


def test_json_names_keys_only_where_asked_to() -> None:
    health = judge(snapshot(**{"https://internal.example:443": {"circuit": OPEN}}), NOW)
    public = {
        "status": "down",
        "code": "circuit_open",
        "sentence": SENTENCES["circuit_open"],
        "since": 940.0,
        "retry_at": 1003.0,
    }
    assert json.loads(health.as_json()) == public
    assert json.loads(health.as_json(keys=True)) == {**public, "keys": {"https://internal.example:443": public}}
