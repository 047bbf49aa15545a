"""The circuit breaker's decisions: each arrow of the drawing, and what must hold whatever happens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from holdfast.core.breaker import Verdict, admit, closed, disabled, forced_open, holds, record, renew
from holdfast.core.breaker_settings import CircuitBreaker, Outcome, judge_fault, judge_status
from holdfast.core.circuit import Closed, ForcedOpen, HalfOpen, Open, Permit, Ramping, Refuse, State, Wait
from holdfast.core.fault import Fault

SUCCESS, HEAD, COMPLETED, CUT = Outcome.SUCCESS, Outcome.HEAD, Outcome.COMPLETED, Outcome.CUT
FAILURE, IGNORED = Outcome.FAILURE, Outcome.IGNORED
SETTINGS = CircuitBreaker(failures=3, failure_ratio=None, lease=10.0)


def after(
    state: State,
    outcomes: Iterable[Outcome],
    settings: CircuitBreaker = SETTINGS,
    now: float = 0.0,
    **more: Any,
) -> State:
    """The state after calls one by one, each with its own permit, as far as there are permits."""
    for outcome in outcomes:
        state, answer = admit(state, settings, now)
        if isinstance(answer, Permit):
            state = record(state, settings, answer, Verdict(outcome, now, **more), lambda: 0.5)
    return state


def half_open(settings: CircuitBreaker = SETTINGS) -> tuple[HalfOpen, Permit]:
    opened = after(closed(settings), [FAILURE] * 3, settings)
    state, probe = admit(opened, settings, 5.0)
    assert isinstance(state, HalfOpen)
    assert isinstance(probe, Permit)
    return state, probe


@pytest.mark.parametrize(
    ("settings", "outcomes", "opens"),
    [
        ({}, [FAILURE] * 3, True),
        ({}, [FAILURE] * 2, False),
        ({}, [FAILURE, FAILURE, SUCCESS, FAILURE, FAILURE], False),
        ({}, [FAILURE, FAILURE, IGNORED, FAILURE], True),  # ignored is not success
        ({}, [FAILURE, FAILURE, HEAD, FAILURE], True),  # a head alone is no success either
        ({}, [FAILURE, FAILURE, HEAD, COMPLETED, FAILURE], False),
        ({}, [HEAD, CUT] * 3, True),
        ({"failures": None}, [FAILURE] * 100, False),
        ({"failures": None, "failure_ratio": 0.5}, [SUCCESS, FAILURE] * 10, True),
        ({"failures": None, "failure_ratio": 0.5}, [SUCCESS, FAILURE] * 9 + [FAILURE], False),
        ({"failures": None, "failure_ratio": 0.5}, [SUCCESS, SUCCESS, FAILURE] * 20, False),
        ({"failures": None, "failure_ratio": 0.5}, [FAILURE] * 19 + [IGNORED] * 9, False),
        (
            {"failures": None, "failure_ratio": 0.2, "minimum_calls": 5},
            [FAILURE, *[SUCCESS] * 4, FAILURE],
            True,
        ),
    ],
    ids=str,
)
def test_failures_open_a_closed_circuit(settings: dict[str, Any], outcomes: list[Outcome], opens: bool) -> None:
    changed = replace(SETTINGS, **settings)
    assert isinstance(after(closed(changed), outcomes, changed), Open) is opens


def test_old_failures_fall_out_of_the_window() -> None:
    settings = replace(SETTINGS, failures=None, failure_ratio=0.5, minimum_calls=4)
    state = after(closed(settings), [FAILURE] * 3, settings, now=0.0)
    assert isinstance(after(state, [FAILURE], settings, now=31.0), Closed)


def test_slow_answers_open_a_circuit_where_slowness_is_judged() -> None:
    settings = replace(SETTINGS, slow_after=1.0, minimum_calls=4)
    state = after(closed(settings), [SUCCESS] * 2, settings)
    assert isinstance(after(state, [SUCCESS] * 2, settings, slow=True), Open)


@pytest.mark.parametrize(
    ("openings", "random", "delay", "seconds"),
    [
        (1, 0.5, 0.0, 5.0),
        (2, 0.5, 0.0, 10.0),
        (4, 0.5, 0.0, 40.0),
        (5, 0.5, 0.0, 60.0),
        (5000, 0.5, 0.0, 60.0),
        (1, 0.0, 0.0, 4.0),
        (1, 0.999999999, 0.0, 6.0),
        (1, 0.5, 3.0, 5.0),
        (1, 0.5, 30.0, 30.0),
        (1, 0.5, 86400.0, 60.0),
    ],
)
def test_the_open_time_doubles_with_failed_probes(openings: int, random: float, delay: float, seconds: float) -> None:
    probe = Permit(7, 0, 100.0, 110.0)
    before = HalfOpen(7, 0.0, openings - 1, (probe,), 1)
    opened = record(before, SETTINGS, probe, Verdict(FAILURE, 100.0, server_delay=delay), lambda: random)
    assert isinstance(opened, Open)
    assert opened.until - 100.0 == pytest.approx(seconds)
    assert (opened.generation, opened.openings, opened.opened_at) == (8, openings, 100.0)


def test_an_open_circuit_refuses_until_its_time_has_come() -> None:
    opened = after(closed(SETTINGS), [FAILURE] * 3)
    assert admit(opened, SETTINGS, 4.0) == (opened, Refuse(1.0))
    assert isinstance(admit(opened, SETTINGS, 5.0)[1], Permit)


def test_one_call_probes_and_the_others_wait() -> None:
    state, probe = half_open()
    assert admit(state, SETTINGS, 5.0) == (state, Wait(15.0))
    assert probe.expires == 15.0


@pytest.mark.parametrize(
    ("outcome", "slow", "kind"),
    [
        (SUCCESS, False, Ramping),
        (HEAD, False, Ramping),
        (FAILURE, False, Open),
        (CUT, False, Open),
        (IGNORED, False, HalfOpen),
        (SUCCESS, True, Open),
        (HEAD, True, Open),
        (IGNORED, True, HalfOpen),  # cancelled late, say: what its answer would have taken, nobody knows
    ],
)
def test_the_probe_decides(outcome: Outcome, slow: bool, kind: type[State]) -> None:
    state, probe = half_open()
    settled = record(state, SETTINGS, probe, Verdict(outcome, 6.0, slow=slow), lambda: 0.5)
    assert type(settled) is kind
    if isinstance(settled, HalfOpen):
        assert settled.probes == ()


def test_close_after_asks_for_more_than_one_good_probe() -> None:
    settings = replace(SETTINGS, close_after=2, ramp_from=None)
    state, probe = half_open(settings)
    once = record(state, settings, probe, Verdict(SUCCESS, 6.0), lambda: 0.5)
    assert isinstance(once, HalfOpen)
    assert isinstance(after(once, [SUCCESS], settings, now=6.0), Closed)


def test_a_lease_that_ran_out_gives_the_place_to_another() -> None:
    probing, late = half_open()
    state, answer = admit(probing, SETTINGS, 15.0)
    assert isinstance(answer, Permit)
    assert not holds(state, late)
    assert record(state, SETTINGS, late, Verdict(FAILURE, 15.0), lambda: 0.5) == state


def test_a_renewed_lease_begins_anew() -> None:
    state, probe = half_open()
    renewed = renew(state, probe, SETTINGS, 14.0)
    assert admit(renewed, SETTINGS, 20.0)[1] == Wait(24.0)
    assert holds(renewed, probe)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_an_outcome_of_an_older_generation_changes_nothing(outcome: Outcome) -> None:
    old = closed(SETTINGS)
    opened = after(old, [FAILURE] * 3)
    probing, _ = half_open()
    for state in (opened, probing, forced_open(opened, 1.0), disabled(opened)):
        assert record(state, SETTINGS, old.permit, Verdict(outcome, 2.0), lambda: 0.5) is state


def test_states_set_by_hand_stay() -> None:
    forced = forced_open(closed(SETTINGS), 3.0)
    assert forced == ForcedOpen(1, 3.0)
    assert admit(forced, SETTINGS, 1e9) == (forced, Refuse(5.0))
    free = disabled(forced)
    assert after(free, [FAILURE] * 50) is free


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *[(status, SUCCESS) for status in (101, 200, 204, 304, 400, 401, 404, 408, 425, 499)],
        *[(status, FAILURE) for status in (500, 502, 503, 504, 520, 524, 529)],
        *[(status, IGNORED) for status in (429, 501, 505)],
    ],
)
def test_statuses_are_judged(status: int, outcome: Outcome) -> None:
    assert judge_status(CircuitBreaker(), status) is outcome


def test_a_429_counts_where_it_is_asked_to() -> None:
    assert judge_status(CircuitBreaker(count_429=True), 429) is FAILURE


@pytest.mark.parametrize("fault", list(Fault))
def test_faults_are_judged(fault: Fault) -> None:
    ours = fault in (Fault.SATURATED, Fault.LOCAL)
    assert judge_fault(fault, cut_short=False) is (IGNORED if ours else FAILURE)
    assert judge_fault(fault, cut_short=True) is IGNORED


@pytest.mark.parametrize(
    "bad",
    [
        {"failures": 0},
        {"failure_ratio": 0.0},
        {"failure_ratio": 1.1},
        {"minimum_calls": 0},
        {"window": 0.0},
        {"slots": 0},
        {"slow_after": 0.0},
        {"open_for": float("nan")},
        {"open_for": 61.0},
        {"open_for_max": float("inf")},
        {"jitter": 1.0},
        {"half_open_max": 0},
        {"probe_wait": -1.0},
        {"queue": -1},
        {"lease": 0.0},
        {"close_after": 0},
        {"ramp_from": 0},
        {"ramp_for": -1.0},
        {"failure_statuses": frozenset({200})},
    ],
    ids=str,
)
def test_bad_settings_are_named(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        CircuitBreaker(**bad)


class CircuitMachine(RuleBasedStateMachine):
    """Any order of calls, outcomes, late outcomes, hanging calls and hands on the switch."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.permits: list[Permit] = []
        self.generation = 0

    @initialize(most=st.integers(1, 3), close_after=st.integers(1, 3), ramp_from=st.none() | st.integers(1, 4))
    def begin(self, most: int, close_after: int, ramp_from: int | None) -> None:
        self.settings = replace(
            SETTINGS, half_open_max=most, close_after=close_after, ramp_from=ramp_from, ramp_failures=3
        )
        self.state: State = closed(self.settings)

    @rule(seconds=st.sampled_from([0.0, 0.01, 1.0, 6.0, 11.0, 80.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        before = self.state
        self.state, answer = admit(self.state, self.settings, self.now)
        match answer:
            case Permit():
                assert holds(self.state, answer)
                self.permits.append(answer)
            case Wait(until):
                assert until > self.now
            case Refuse(retry_after):
                assert retry_after > 0
                assert self.state is before

    @rule(
        data=st.data(),
        outcome=st.sampled_from(Outcome),
        waiting=st.integers(0, 2),
        jitter=st.floats(0, 0.999),
    )
    def settle(self, data: st.DataObject, outcome: Outcome, waiting: int, jitter: float) -> None:
        if self.permits:
            permit = self.permits.pop(data.draw(st.integers(0, len(self.permits) - 1)))
            before, held = self.state, holds(self.state, permit)
            verdict = Verdict(outcome, self.now, waiting=waiting)
            self.state = record(self.state, self.settings, permit, verdict, lambda: jitter)
            if permit.generation != before.generation:
                assert self.state is before
            if held and not isinstance(self.state, Closed) and self.state.generation == before.generation:
                assert outcome is COMPLETED or not holds(self.state, permit) or self.state is before

    @rule()
    def reset(self) -> None:
        self.state = closed(self.settings, self.state.generation + 1)

    @invariant()
    def generations_only_grow(self) -> None:
        assert self.state.generation >= self.generation
        self.generation = self.state.generation

    @invariant()
    def no_more_probes_than_allowed(self) -> None:
        if isinstance(self.state, HalfOpen):
            assert len(self.state.probes) <= self.settings.half_open_max

    @invariant()
    def counts_are_never_negative(self) -> None:
        if isinstance(self.state, Closed):
            calls, bad = self.state.tally.window.sums(self.now)
            assert calls >= bad >= 0
            assert self.state.tally.run >= 0
        if isinstance(self.state, Ramping):
            ramp = self.state.ramp
            assert ramp.limit >= ramp.sure >= 1
            assert min(ramp.good, ramp.bad, ramp.run, ramp.calm) >= 0

    @invariant()
    def being_open_always_ends(self) -> None:
        if isinstance(self.state, Open):
            longest = self.settings.open_for_max * (1 + self.settings.jitter)
            assert self.state.until - self.state.opened_at <= longest
            assert isinstance(admit(self.state, self.settings, self.state.until)[1], Permit)

    @invariant()
    def nobody_hangs_for_ever(self) -> None:
        """Once all leases are over, the next call passes."""
        _, answer = admit(self.state, self.settings, self.now + 1000.0)
        assert isinstance(answer, Permit)


CircuitMachineTest = CircuitMachine.TestCase
