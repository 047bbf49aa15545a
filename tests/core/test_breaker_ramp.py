"""How load comes back after an outage."""

from __future__ import annotations

import pytest

from holdfast.core.breaker import Verdict, record
from holdfast.core.breaker_settings import CircuitBreaker, Outcome
from holdfast.core.circuit import Closed, Open, Permit, Ramping
from holdfast.core.ramp import Ramp, begin, fail, next_start, start, succeed
from holdfast.core.value import replace

FRESH = begin(2, 0.05, 0.0)


def good(ramp: Ramp, calls: int) -> Ramp:
    for _ in range(calls):
        ramp = succeed(ramp, 0.05, ramp.limit, ramp.number)
    return ramp


def test_each_good_round_doubles_the_limit() -> None:
    limits = [FRESH.limit]
    ramp = FRESH
    for _ in range(5):
        ramp = good(ramp, ramp.limit)
        limits.append(ramp.limit)
    assert limits == [2, 4, 8, 16, 32, 64]


@pytest.mark.parametrize(
    ("limit", "sure", "level", "lower"),
    [(16, 8, 16, 15), (16, 8, 9, 8), (16, 8, 3, 8), (2, 1, 2, 1)],
)
def test_a_failure_above_what_was_sure_goes_back(limit: int, sure: int, level: int, lower: int) -> None:
    ramp = replace(FRESH, limit=limit, sure=sure)
    for _ in range(limit // 10 + 1):  # one in ten may be a stray
        assert ramp.limit == limit
        ramp = fail(ramp, level, ramp.number)
    assert ramp.limit == lower


def test_a_failed_round_halves_the_limit() -> None:
    ramp = replace(FRESH, limit=8, sure=8)
    for _ in range(4):
        ramp = fail(ramp, 8, ramp.number)
    assert (ramp.limit, ramp.sure) == (4, 4)


def test_failures_of_an_overshoot_count_once() -> None:
    ramp = replace(FRESH, limit=8, sure=4)
    lower = fail(ramp, 6, ramp.number)
    assert fail(lower, 7, ramp.number) == lower


def test_a_limit_that_was_too_much_is_tried_again_later_and_in_small_steps() -> None:
    ramp = fail(replace(FRESH, limit=8, sure=4), 6, 0)
    calls = 0
    while ramp.limit == 5:
        ramp, calls = succeed(ramp, 0.05, ramp.limit, ramp.number), calls + 1
    assert ramp.limit == 6
    assert calls >= 80


def test_a_limit_that_callers_did_not_reach_is_not_known_to_hold() -> None:
    ramp = replace(FRESH, limit=8, sure=4, step=8)
    for _ in range(20):
        ramp = succeed(ramp, 0.05, 7, ramp.number)
    assert (ramp.limit, ramp.sure) == (8, 4)


def test_one_good_round_beyond_a_limit_that_was_found_does_not_make_it_sure() -> None:
    ramp = good(replace(FRESH, limit=9, sure=8, step=2), 9)
    assert (ramp.limit, ramp.sure) == (11, 8)


def test_failures_that_go_on_take_a_limit_down_that_was_held_to_be_sure() -> None:
    ramp, calls = replace(FRESH, limit=8, sure=8), 0
    while ramp.limit == 8:
        calls += 1
        ramp = fail(ramp, 8, ramp.number) if calls % 4 == 0 else succeed(ramp, 0.05, 8, ramp.number)
    assert (ramp.limit, ramp.sure, calls) == (6, 6, 16)


@pytest.mark.parametrize(("limit", "seconds", "gap"), [(2, 0.05, 0.0175), (8, 0.05, 0.004375), (2, 60.0, 0.025)])
def test_starts_are_spread_over_a_calls_time(limit: int, seconds: float, gap: float) -> None:
    ramp = start(replace(FRESH, limit=limit, seconds=seconds), 7.0)
    assert next_start(ramp) - 7.0 == pytest.approx(gap)


@pytest.mark.parametrize(
    ("waiting", "later", "closes"),
    [(0, 0.1, True), (1, 0.1, False), (1, 60.0, True)],
)
def test_the_ramp_ends_when_nobody_waits_or_its_time_is_over(waiting: int, later: float, closes: bool) -> None:
    settings = CircuitBreaker()
    permit = Permit(3, 0, 0.0, 10.0, 1, 0)
    state = Ramping(3, 0.0, 1, 0.0, succeed(FRESH, 0.05, 1, 0), (permit,), 1)
    verdict = Verdict(Outcome.SUCCESS, later, waiting=waiting)
    assert isinstance(record(state, settings, permit, verdict, lambda: 0.5), Closed) is closes


def test_a_run_of_failures_opens_again_for_as_long_as_before() -> None:
    settings = CircuitBreaker(ramp_failures=3)
    permit = Permit(3, 0, 0.0, 10.0, 1, 0)
    state = Ramping(3, 0.0, 2, 0.0, replace(FRESH, run=2), (permit,), 1)
    opened = record(state, settings, permit, Verdict(Outcome.FAILURE, 1.0), lambda: 0.5)
    assert opened == Open(4, 1.0, 11.0, 2)
