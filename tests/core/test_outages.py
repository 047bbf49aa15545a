"""Which alerts there are, of what happens to the circuits of a few keys."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.outages import Alert, Outages


def told(steps: list[tuple[float, str]], *, after: float = 60.0, every: float = 3600.0) -> list[tuple[str, float, int]]:
    """The alerts of one key whose circuit opens (o) and closes (c), and is asked about (.), at these times."""
    outages, alerts = Outages(after=after, every=every), list[Alert]()
    for now, step in steps:
        alerts += outages.due(now)
        if step == "o":
            outages.began("api", "circuit", "circuit_open", now)
        elif step == "c" and (ended := outages.ended("api", "circuit", now)):
            alerts.append(ended)
    return [(alert.kind, alert.at, alert.untold) for alert in alerts]


@pytest.mark.parametrize(
    ("steps", "alerts"),
    [
        ([(0, "o"), (59, "."), (59.5, "c"), (70, ".")], []),
        ([(0, "o"), (59, "."), (60, "."), (61, "."), (900, "c")], [("outage", 60, 0), ("recovery", 900, 0)]),
        ([(0, "o"), (5, "o"), (40, "o"), (60, ".")], [("outage", 60, 0)]),  # opened again is the same outage
        ([(0, "o"), (300, "c")], [("outage", 300, 0), ("recovery", 300, 0)]),  # nothing happened in between
        ([(0, "c"), (9, "c")], []),
        ([(0, "o"), (60, "."), (4000, "."), (8000, "."), (9000, "c")], [("outage", 60, 0), ("recovery", 9000, 0)]),
        # Flapping: the second and the third are too soon after the first was told.
        (
            [(0, "o"), (60, "."), (70, "c"), (80, "o"), (200, "c"), (300, "o"), (900, "c"), (4000, "o"), (4060, ".")],
            [("outage", 60, 0), ("recovery", 70, 0), ("outage", 4060, 2)],
        ),
        # One that begins too soon, and lasts until it is time.
        (
            [(0, "o"), (60, "."), (70, "c"), (80, "o"), (3659, "."), (3660, "."), (3700, "c")],
            [("outage", 60, 0), ("recovery", 70, 0), ("outage", 3660, 0), ("recovery", 3700, 0)],
        ),
    ],
    ids=str,
)
def test_each_outage_that_lasts_is_told_once(
    steps: list[tuple[float, str]], alerts: list[tuple[str, float, int]]
) -> None:
    assert told(steps) == alerts


def test_an_outage_with_two_causes_is_over_when_both_are() -> None:
    outages = Outages(after=10.0, every=0.0)
    outages.began("api", "circuit", "circuit_open", 0.0)
    outages.began("api", "offline", "offline", 5.0)
    (alert,) = outages.due(10.0)
    assert (alert.code, alert.since) == ("circuit_open", 0.0)
    assert outages.ended("api", "circuit", 20.0) is None
    assert outages.ended("api", "offline", 30.0) == Alert(
        kind="recovery", key="api", code="circuit_open", since=0.0, at=30.0
    )


def test_keys_are_told_apart() -> None:
    outages = Outages(after=10.0, every=3600.0)
    outages.began("a", "circuit", "circuit_open", 0.0)
    outages.began("b", "circuit", "circuit_open", 5.0)
    times = (9.0, 10.0, 14.0, 15.0, 16.0)
    assert [[alert.key for alert in outages.due(now)] for now in times] == [[], ["a"], [], ["b"], []]
    outages.began("c", "circuit", "circuit_open", 9000.0)
    assert [alert.key for alert in outages.due(9010.0)] == ["c"]  # the others last still, and are told no more


@pytest.mark.parametrize("told", [True, False])
def test_what_is_remembered_of_many_keys_is_forgotten_in_time(told: bool) -> None:
    outages = Outages(after=0.0, every=60.0)
    for number in range(5000):
        key, now = f"api{number}", float(number)
        outages.began(key, "circuit", "circuit_open", now)
        if told:
            outages.due(now)
        outages.ended(key, "circuit", now)
    assert len(outages._last) <= 1025
    assert len(outages._untold) <= 1025


@given(
    st.lists(st.tuples(st.sampled_from([1.0, 20.0, 61.0, 700.0, 4000.0]), st.sampled_from("oc."))),
    st.sampled_from([0.0, 60.0]),
    st.sampled_from([0.0, 600.0, 3600.0]),
)
def test_alerts_take_turns_and_keep_their_distance(steps: Any, after: float, every: float) -> None:
    now, timed = 0.0, list[tuple[float, str]]()
    for pause, step in steps:
        now += pause
        timed.append((now, step))
    alerts = told(timed, after=after, every=every)
    kinds = [kind for kind, _, _ in alerts]
    assert kinds == [("outage", "recovery")[index % 2] for index in range(len(kinds))]
    times = [at for kind, at, _ in alerts if kind == "outage"]
    assert all(later - earlier >= every for earlier, later in pairwise(times))
