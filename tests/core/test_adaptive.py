"""A rate that is found by being refused, without a clock: cuts, the curve, and whole afternoons of an origin."""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.adaptive import Adaptive


def cut_to(rate: float) -> Adaptive:
    """One that was refused while it sent so much that it goes at ``rate`` now, at 0."""
    adaptive = Adaptive()
    adaptive.sent(rate / 0.7, -0.0)
    assert adaptive.refused(-0.0, 0.0)
    assert adaptive.rate == pytest.approx(rate)
    return adaptive


def test_nobody_is_held_back_before_the_first_refusal() -> None:
    adaptive = Adaptive()
    for _ in range(1000):
        adaptive.take(1.0, 0.0)
        adaptive.sent(1.0, 0.0)
        assert not adaptive.accepted(1.0, 0.0)
        assert adaptive.wait(0.0, ahead=100.0) == 0.0
    assert (adaptive.rate, adaptive.idle(0.0)) == (None, True)


def test_the_first_refusal_cuts_to_a_part_of_what_was_sent() -> None:
    adaptive = cut_to(70.0)
    assert not adaptive.idle(0.0)
    adaptive.take(1.0, 10.0)
    assert adaptive.wait(10.0) == 0.0  # a late timer's worth may be made up
    for _ in range(4):
        adaptive.take(1.0, 10.0)
    late = 0.05 - 1 / 70
    assert adaptive.wait(10.0) == pytest.approx(5 / 70 - late)
    assert adaptive.wait(10.0, ahead=7.0) == pytest.approx(12 / 70 - late)


def test_however_many_are_refused_together_they_cut_once() -> None:
    adaptive = Adaptive()
    for _ in range(100):
        adaptive.sent(1.0, 0.0)
    assert [adaptive.refused(0.0, 0.1) for _ in range(100)].count(True) == 1
    assert adaptive.rate == pytest.approx(0.7 * 100 * math.exp(-0.1))
    assert not adaptive.refused(0.0, 5.0)  # sent before the cut, and answered long after
    assert not adaptive.refused(0.5, 1.0)  # the server's own window may still be full
    assert adaptive.refused(0.5, 1.2)


def test_far_above_a_quota_the_second_cut_goes_down_to_what_was_accepted() -> None:
    adaptive = cut_to(700.0)
    for tick in range(1, 31):
        adaptive.sent(70.0, tick / 10)
        adaptive.accepted(1.0, tick / 10)
    assert adaptive.refused(2.5, 3.0)
    assert adaptive.rate == pytest.approx(10.0, rel=0.05)


def test_the_rate_climbs_back_stays_a_while_and_goes_beyond() -> None:
    adaptive = cut_to(70.0)
    rates: dict[int, float] = {}
    for tick in range(1, 1001):
        adaptive.accepted(1.5, tick / 100)  # 150 a second, so that this holds nothing back
        assert adaptive.rate is not None
        rates[tick] = adaptive.rate
    climb = 100 * math.cbrt(30 / 0.4)  # 4.2 s
    assert rates[1] == pytest.approx(70.0, abs=1.0)
    assert rates[round(climb)] == pytest.approx(100.0, abs=0.1)
    assert rates[round(climb) + 100] - rates[round(climb) - 100] < 1.0  # flat
    assert rates[1000] > 150.0
    assert sorted(rates.values()) == list(rates.values())


@pytest.mark.parametrize(("began", "ends"), [(7.0, 20.0), (70.0, 70.0)])
def test_a_rate_that_is_not_used_rises_no_further_than_twice_what_is(began: float, ends: float) -> None:
    adaptive = cut_to(began)
    for tick in range(1, 601):
        adaptive.accepted(1.0, tick / 10)  # ten a second
    assert adaptive.rate == pytest.approx(ends, rel=0.1)


@pytest.mark.parametrize("latency", [0.01, 3.0])
def test_a_half_in_a_second_is_always_tried_and_found_the_way_back_from(latency: float) -> None:
    adaptive, now = cut_to(10.0), 0.0
    for _ in range(20):
        now += 2.0
        adaptive.sent(1.0, now)
        adaptive.refused(now, now + latency)
    assert adaptive.rate == 0.5
    for _ in range(20):
        now += adaptive.wait(now)
        adaptive.take(1.0, now)
        adaptive.accepted(1.0, now + latency)
    assert adaptive.rate > 1.0


def test_what_was_not_sent_goes_back() -> None:
    adaptive = cut_to(7.0)
    adaptive.take(5.0, 0.0)
    assert adaptive.wait(0.0) == pytest.approx(5 / 7)
    adaptive.give_back(5.0)
    assert adaptive.wait(0.0) == 0.0


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.sampled_from(["sent", "accepted", "refused"])), max_size=100))
def test_the_rate_is_bounded_whatever_comes(steps: list[tuple[float, str]]) -> None:
    adaptive, now, accepted = Adaptive(), 0.0, list[float]()
    for pause, step in steps:
        now += pause
        before = adaptive.rate
        if step == "sent":
            adaptive.sent(1.0, now)
        elif step == "refused":
            adaptive.refused(now, now)
        else:
            accepted.append(now)
            adaptive.accepted(1.0, now)
            assert adaptive.rate is None or before is None or adaptive.rate <= max(before, 2.0 * len(accepted))
        assert adaptive.rate is None or 0.5 <= adaptive.rate < math.inf
        assert 0.0 <= adaptive.wait(now, ahead=3.0) < 1000.0


# --- an origin with a quota that it does not tell of ---


@dataclass
class TokenBucket:
    quota: float
    burst: float
    at: float = 0.0

    def __post_init__(self) -> None:
        self.tokens = self.burst

    def serves(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.quota)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass
class WindowOfASecond:
    quota: float
    window: int = -1
    served: int = 0

    def serves(self, now: float) -> bool:
        if int(now) != self.window:
            self.window, self.served = int(now), 0
        self.served += 1
        return self.served <= self.quota


def an_afternoon(
    origin: TokenBucket | WindowOfASecond, *, latency: float, demand: float, seconds: float = 90.0
) -> tuple[float, float]:
    """What came of more than the origin serves: requests served each second, and the part of all that was refused.

    Without the first third, in which the rate is found.
    """
    adaptive, dice = Adaptive(), random.Random(7)
    now, waiting, comes, number = 0.0, 0, 0.0, 0
    under_way: list[tuple[float, int, float, bool]] = []
    answers: list[bool] = []
    while now < seconds:
        next_send = now + adaptive.wait(now) if waiting else math.inf
        now = max(now, min(comes, next_send, under_way[0][0] if under_way else math.inf))
        if under_way and under_way[0][0] <= now:
            _, _, sent_at, served = heapq.heappop(under_way)
            if served:
                adaptive.accepted(1.0, now)
            else:
                adaptive.refused(sent_at, now)
            if now > seconds / 3:
                answers.append(served)
        elif comes <= now:
            waiting = min(waiting + 1, 200)
            comes += dice.expovariate(demand)
        elif waiting and adaptive.wait(now) == 0.0:
            waiting -= 1
            number += 1
            adaptive.take(1.0, now)
            adaptive.sent(1.0, now)
            served = origin.serves(now + latency / 2)
            heapq.heappush(under_way, (now + latency * dice.uniform(0.8, 1.2), number, now, served))
    return sum(answers) / (seconds * 2 / 3), answers.count(False) / len(answers)


@pytest.mark.parametrize("latency", [0.05, 0.3], ids=str)
@pytest.mark.parametrize(
    "origin",
    [TokenBucket(10, 10), TokenBucket(50, 5), TokenBucket(200, 20), WindowOfASecond(10), WindowOfASecond(100)],
    ids=str,
)
def test_a_hidden_quota_is_found_and_used_with_few_refusals(
    origin: TokenBucket | WindowOfASecond, latency: float
) -> None:
    served, refused = an_afternoon(replace(origin), latency=latency, demand=3 * origin.quota)
    assert served >= 0.85 * origin.quota
    assert refused <= 0.06


def test_without_it_two_of_three_would_be_refused() -> None:
    # What the bar above is worth: the same demand, and nobody adapts.
    origin = TokenBucket(50, 5)
    answers = [origin.serves(number / 150) for number in range(150 * 60)]
    assert answers.count(False) / len(answers) == pytest.approx(2 / 3, abs=0.01)
