"""The sliding window, without a clock."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.core.bucket import Bucket
from holdfast.core.limits import Joint, Place
from holdfast.core.sliding import Log, Window

STEPS = st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(1, 4)), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 2.5}, "limit"),
        ({"limit": 1, "per": math.inf}, "per"),
        ({"limit": 1, "margin": -0.1}, "margin"),
        ({"limit": 1, "max_wait": math.nan}, "max_wait"),
        ({"limit": 1, "max_queue": -1}, "max_queue"),
        ({"limit": 1, "key": "host"}, "key"),
    ],
    ids=str,
)
def test_a_bad_setting_is_refused_by_name(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=rf"^{named} must be"):
        Window(**given)


@pytest.mark.parametrize(("per", "margin"), [(1.0, 0.01), (60.0, 0.5), (3600.0, 0.5)])
def test_a_request_counts_for_a_little_longer_than_the_window(per: float, margin: float) -> None:
    assert Window(10, per=per).margin_in_force == pytest.approx(margin)


def test_a_limit_may_be_written_as_a_float() -> None:
    log = Log(Window(1e1).limit, 60.0)  # type: ignore[arg-type]  # by whoever does not ask a type checker
    assert [log.take(10, 0.0), log.wait(1, 0.0)] == [0.0, 60.0]


def test_all_may_go_at_once_and_then_none_until_the_first_has_left_the_window() -> None:
    log = Log(3, 60.0)
    assert [log.take(1, at) for at in (0.0, 10.0, 20.0, 30.0)] == [0.0, 10.0, 20.0, None]
    assert [log.wait(cost, 30.0) for cost in (1, 2, 3, 4)] == [30.0, 40.0, 50.0, 90.0]
    assert log.take(2, 70.0) == 70.0
    assert log.take(1, 70.0) is None


@given(st.integers(1, 6), STEPS)
def test_the_wait_is_exact(limit: int, steps: list[tuple[float, int]]) -> None:
    log, now = Log(limit, 2.0), 0.0
    for pause, wanted in steps:
        now += pause
        cost = min(wanted, limit)
        wait = log.wait(cost, now)
        if wait > 1e-6:
            assert log.take(cost, now + wait - 1e-6) is None
        now += wait
        assert log.take(cost, now) == now


@given(st.integers(1, 6), st.lists(st.floats(0.0, 3.0), max_size=20), st.integers(1, 40))
def test_the_wait_at_the_end_of_a_line_is_that_of_those_who_stand_in_it(
    limit: int, before: list[float], line: int
) -> None:
    log, now = Log(limit, 2.0), 0.0
    for pause in before:
        now += pause
        log.take(1, now)
    foretold, at = now + log.wait(line, now), now
    for _ in range(line):
        at += log.wait(1, at)
        assert log.take(1, at) is not None
    assert at == pytest.approx(foretold)


def test_memory_is_bounded_by_the_limit() -> None:
    log = Log(5, 1.0)
    for tick in range(10_000):
        log.take(1, tick * 0.01)
    assert len(log._times) <= 5  # memory is not to be seen from outside


class LogMachine(RuleBasedStateMachine):
    """Takes, late sends, returns and time, in any order, against a plain list of what was sent."""

    LIMIT, HOLDS = 4, 10.0

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.log = Log(self.LIMIT, self.HOLDS)
        self.granted: list[int] = []  # costs of those in line who were served, and have not run since
        self.unused: list[tuple[Place, int]] = []
        self.sends: list[float] = []

    @rule(seconds=st.floats(0.0, 25.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(cost=st.integers(1, 4))
    def take_and_send(self, cost: int) -> None:
        expected = self.counting() + cost <= self.LIMIT
        assert (self.log.wait(cost, self.now) == 0.0) == expected
        assert (self.log.take(cost, self.now) is not None) == expected
        if expected:
            self.sends += [self.now] * cost

    @rule(cost=st.integers(1, 4))
    def serve_somebody_in_line(self, cost: int) -> None:
        if self.log.take(cost, self.now, queued=True) is not None:
            self.granted.append(cost)

    @precondition(lambda self: self.granted)
    @rule()
    def the_one_who_was_served_sends_however_late(self) -> None:
        cost = self.granted.pop(0)
        self.log.sent(math.inf, cost, self.now)
        self.sends += [self.now] * cost

    @precondition(lambda self: self.granted)
    @rule()
    def the_one_who_was_served_is_cancelled(self) -> None:
        self.log.give_back(math.inf, self.granted.pop(), self.now)

    @rule(cost=st.integers(1, 4))
    def take_and_send_nothing(self, cost: int) -> None:
        if (place := self.log.take(cost, self.now)) is not None:
            self.unused.append((place, cost))

    @precondition(lambda self: self.unused)
    @rule()
    def give_back(self) -> None:
        place, cost = self.unused.pop(0)
        self.log.give_back(place, cost, self.now)

    @invariant()
    def no_window_holds_more_than_was_promised(self) -> None:
        for place, end in enumerate(self.sends):
            assert sum(1 for at in self.sends[: place + 1] if at > end - self.HOLDS + 1e-6) <= self.LIMIT

    def counting(self) -> int:
        """What takes up the window now, by the book."""
        since = self.now - self.HOLDS + 1e-9
        held = sum(cost for place, cost in self.unused if isinstance(place, float) and place > since)
        return sum(at > since for at in self.sends) + sum(self.granted) + held


TestLog = LogMachine.TestCase


def test_of_several_limits_either_all_are_taken_or_none() -> None:
    bucket, log = Bucket(burst=2, interval=1.0), Log(3, 60.0)
    both = Joint([bucket, log])
    assert both.largest == 2
    assert both.take(2, 0.0) is not None
    assert both.take(1, 0.0) is None  # the bucket is empty
    assert log.available(0.0) == 1
    assert both.take(1, 1.0) is not None
    assert both.take(1, 10.0) is None  # the window is full
    assert bucket.available(10.0) == 2
    assert both.wait(1, 10.0) == pytest.approx(50.0)


def test_what_is_given_back_goes_to_each_limit() -> None:
    bucket, log = Bucket(burst=2, interval=1.0), Log(3, 60.0)
    both = Joint([bucket, log])
    place = both.take(2, 0.0)
    assert place is not None
    both.give_back(place, 2, 0.0)
    assert (bucket.available(0.0), log.available(0.0)) == (2, 3)
    assert both.idle(0.0)


class JointMachine(RuleBasedStateMachine):
    """A rate and a window as one: each keeps its promise, and of a refusal neither has noticed anything."""

    BURST, INTERVAL, LIMIT, HOLDS = 3, 1.0, 4, 10.0

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.bucket = Bucket(self.BURST, self.INTERVAL)
        self.log = Log(self.LIMIT, self.HOLDS)
        self.both = Joint([self.bucket, self.log])
        self.unused: list[tuple[Place, int]] = []
        self.sends: list[tuple[float, int]] = []

    @rule(seconds=st.floats(0.0, 8.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(cost=st.integers(1, 3), used=st.booleans())
    def take(self, cost: int, used: bool) -> None:
        before = self.bucket.available(self.now), self.log.available(self.now)
        wait = self.both.wait(cost, self.now)
        assert wait == max(self.bucket.wait(cost, self.now), self.log.wait(cost, self.now))
        place = self.both.take(cost, self.now)
        assert (place is None) == (wait > 0)
        after = self.bucket.available(self.now), self.log.available(self.now)
        if place is None:
            assert after == before
        else:
            assert after == pytest.approx((before[0] - cost, before[1] - cost))
            if used:
                self.sends.append((self.now, cost))
            else:
                self.unused.append((place, cost))

    @precondition(lambda self: self.unused)
    @rule(place=st.integers(0, 9))
    def give_back(self, place: int) -> None:
        taken, cost = self.unused.pop(place % len(self.unused))
        self.both.give_back(taken, cost, self.now)

    @invariant()
    def both_promises_are_kept(self) -> None:
        for first, (begin, _) in enumerate(self.sends):
            total = 0
            for end, cost in self.sends[first:]:
                total += cost
                assert total <= (end - begin) / self.INTERVAL + self.BURST + 1e-6
                assert total <= self.LIMIT or end >= begin + self.HOLDS - 1e-6


TestJoint = JointMachine.TestCase
