"""The arithmetic of the rate limit, without a clock."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.bucket import Bucket, RateLimit

BURSTS = st.integers(1, 12)
INTERVALS = st.sampled_from([0.001, 0.01, 0.1, 1.0, 7.0])
COINS = st.booleans()
STEPS = st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(1, 4)), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("settings", "capacity", "interval"),
    [
        (RateLimit(100), 1.0, 0.01),
        (RateLimit(100, per=60.0, burst=10), 10, 0.6),
        (RateLimit(5000), 50.0, 0.0002),
        (RateLimit(0.5), 1.0, 2.0),  # less than one a second
    ],
    ids=str,
)
def test_a_setting_says_how_much_fits_in_and_how_often_one_is_added(
    settings: RateLimit, capacity: float, interval: float
) -> None:
    assert settings.capacity == capacity
    assert settings.interval == pytest.approx(interval)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": math.inf}, "limit"),
        ({"limit": math.nan}, "limit"),
        ({"limit": 1, "per": 0.0}, "per"),
        ({"limit": 1, "burst": 0.5}, "burst"),
        ({"limit": 1, "engine": "fast"}, "engine"),
        ({"limit": 1, "max_wait": -1.0}, "max_wait"),
        ({"limit": 1, "max_wait": math.nan}, "max_wait"),
        ({"limit": 1, "max_queue": -1}, "max_queue"),
    ],
    ids=str,
)
def test_a_bad_setting_is_refused_by_name(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=rf"^{named} must be"):
        RateLimit(**given)


def test_the_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    bucket = Bucket(burst=3, interval=0.5)
    assert [bucket.take(1, 10.0) is not None for _ in range(4)] == [True, True, True, False]
    assert bucket.wait(1, 10.0) == pytest.approx(0.5)
    assert bucket.wait(2, 10.0) == pytest.approx(1.0)
    assert bucket.take(1, 10.5) is not None
    assert bucket.take(1, 10.5) is None


@given(BURSTS, INTERVALS, STEPS)
def test_no_stretch_of_time_holds_more_than_was_promised(
    burst: int, interval: float, steps: list[tuple[float, int]]
) -> None:
    bucket, now, sent = Bucket(burst, interval), 0.0, list[tuple[float, int]]()
    for pause, cost in steps:
        now += pause * interval
        if bucket.take(cost, now) is not None:
            sent.append((now, cost))
    assert_kept(sent, burst, interval)


@given(BURSTS, INTERVALS, STEPS)
def test_the_wait_is_exact(burst: int, interval: float, steps: list[tuple[float, int]]) -> None:
    bucket, now = Bucket(burst, interval), 0.0
    for pause, wanted in steps:
        now += pause * interval
        cost = min(wanted, burst)
        wait = bucket.wait(cost, now)
        if wait > 1e-6:
            assert bucket.take(cost, now + wait - 1e-6) is None
        assert bucket.take(cost, now + wait) is not None


@given(BURSTS, INTERVALS, STEPS, st.randoms(use_true_random=False))
def test_tokens_given_back_at_once_were_never_taken(
    burst: int, interval: float, steps: list[tuple[float, int]], random: Any
) -> None:
    bucket, twin, now = Bucket(burst, interval), Bucket(burst, interval), 0.0
    for pause, cost in steps:
        now += pause * interval
        unused = []
        while (place := bucket.take(cost, now)) is not None:
            unused.append(place)
        random.shuffle(unused)
        for place in unused:
            bucket.give_back(place, cost, now)
        assert bucket.wait(1, now) == pytest.approx(twin.wait(1, now), abs=1e-6)
        assert (bucket.take(1, now) is None) == (twin.take(1, now) is None)


@given(BURSTS, INTERVALS, STEPS, st.data())
def test_whatever_is_given_back_and_when_the_promise_is_kept(
    burst: int, interval: float, steps: list[tuple[float, int]], data: Any
) -> None:
    bucket, now = Bucket(burst, interval), 0.0
    held: list[tuple[float, float, int]] = []
    sent: list[tuple[float, int]] = []
    for pause, cost in steps:
        now += pause * interval
        if held and data.draw(COINS):
            place, _, unused = held.pop(data.draw(st.integers(0, len(held) - 1)))
            bucket.give_back(place, unused, now)
        elif (taken := bucket.take(cost, now)) is not None:
            if data.draw(COINS):
                held.append((taken, now, cost))
            else:
                sent.append((now, cost))
    assert_kept(sent, burst, interval)


@pytest.mark.parametrize("oldest_first", [True, False], ids=["oldest first", "youngest first"])
def test_a_whole_burst_comes_back_whole_in_any_order(oldest_first: bool) -> None:
    bucket = Bucket(burst=10, interval=1.0)
    places = [bucket.take(1, 0.0) for _ in range(10)]
    for place in places if oldest_first else reversed(places):
        assert place is not None
        bucket.give_back(place, 1, 0.0)
    assert bucket.available(0.0) == pytest.approx(10)


def test_a_token_that_has_run_out_meanwhile_is_not_given_back() -> None:
    bucket = Bucket(burst=2, interval=1.0)
    old = bucket.take(1, 0.0)
    assert old is not None
    assert bucket.take(2, 5.0) is not None
    bucket.give_back(old, 1, 5.0)
    assert bucket.take(1, 5.0) is None


def test_many_returns_are_remembered_in_bounded_space_and_never_give_too_much() -> None:
    bucket = Bucket(burst=1000, interval=1.0)
    places = [bucket.take(1, 0.0) for _ in range(1000)]
    for place in reversed(places):
        assert place is not None
        bucket.give_back(place, 1, 0.0)
    assert len(bucket._returns) <= 64  # memory is not to be seen from outside
    assert 64 <= bucket.available(0.0) <= 1000


def test_after_a_block_tokens_come_at_the_rate_not_as_a_herd() -> None:
    bucket = Bucket(burst=5, interval=0.5)
    bucket.block(10.0)
    assert bucket.take(1, 9.9) is None
    assert bucket.take(1, 10.0) is not None
    assert bucket.take(1, 10.0) is None
    assert bucket.wait(1, 10.0) == pytest.approx(0.5)


def test_a_block_is_never_shortened_by_another_nor_by_a_return() -> None:
    bucket = Bucket(burst=1, interval=1.0)
    unused = bucket.take(1, 0.0)
    assert unused is not None
    bucket.block(60.0)
    bucket.block(30.0)
    bucket.give_back(unused, 1, 0.0)
    assert bucket.wait(1, 0.0) == pytest.approx(60.0)
    assert bucket.blocked_until == 60.0


@pytest.mark.parametrize(
    ("burst", "interval", "late", "at_once"),
    [
        (1, 0.001, 0.020, 21),  # held up for 20 intervals: all of them are made up
        (1, 0.001, 5.0, 50),  # but no more than 50 ms of them
        (100, 0.001, 5.0, 100),  # or the burst, which is more here
        (1, 0.1, 5.0, 1),
    ],
)
def test_what_late_timers_cost_is_made_up_within_bounds(burst: int, interval: float, late: float, at_once: int) -> None:
    bucket = Bucket(burst, interval)
    while bucket.take(1, 0.0) is not None:
        pass
    due = bucket.wait(1, 0.0)
    granted = itertools.takewhile(
        lambda place: place is not None, (bucket.take(1, due + late, queued=True) for _ in itertools.count())
    )
    assert sum(1 for _ in granted) == at_once


@pytest.mark.parametrize("rate", [10, 1000, 5000])
def test_a_timer_that_is_always_late_does_not_lower_the_rate(rate: int) -> None:
    bucket, now, granted = Bucket(1, 1 / rate), 0.0, 0
    while now < 20.0:
        while bucket.take(1, now, queued=True) is not None:
            granted += 1
        now += bucket.wait(1, now, queued=True) + 0.0011
    assert granted == pytest.approx(20 * rate, rel=0.005)


def assert_kept(sent: list[tuple[float, int]], burst: int, interval: float) -> None:
    """No window from one send to another holds more than ``window / interval + burst`` tokens."""
    for first, (begin, _) in enumerate(sent):
        total = 0
        for end, cost in sent[first:]:
            total += cost
            assert total <= (end - begin) / interval + burst + 1e-6


@pytest.mark.parametrize(
    ("taken", "burst", "interval", "there"),
    [
        (0, 8.0, 1.0, 4.0),  # a larger burst fills at the rate
        (3, 8.0, 1.0, 1.0),
        (0, 2.0, 1.0, 2.0),  # a smaller one holds no more
        (3, 2.0, 1.0, 1.0),
        (4, 2.0, 0.5, 0.0),
        (4, 2.0, 10.0, 0.0),
    ],
)
def test_another_size_keeps_the_tokens_that_are_there(taken: int, burst: float, interval: float, there: float) -> None:
    bucket = Bucket(4.0, 1.0)
    places = [bucket.take(1.0, 100.0) for _ in range(taken)]
    bucket.resize(burst, interval, 100.0)
    assert bucket.available(100.0) == pytest.approx(there)
    for place in places:  # tokens of before are not taken back
        assert place is not None
        bucket.give_back(place, 1.0, 100.0)
    assert bucket.available(100.0) == pytest.approx(there)
    assert bucket.wait(there + 1.0, 100.0) == pytest.approx(interval)


def test_another_size_does_not_end_a_block() -> None:
    bucket = Bucket(4.0, 1.0)
    bucket.block(110.0)
    bucket.resize(8.0, 0.5, 100.0)
    assert bucket.wait(1.0, 100.0) == pytest.approx(10.0)
    assert bucket.available(110.0) == pytest.approx(1.0)
