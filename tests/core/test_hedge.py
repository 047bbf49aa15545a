"""Hedging as tables: what comes next, what an arm's end means, and after how long the next one goes out."""

from __future__ import annotations

import random
from typing import Any

import pytest

from holdfast.core.fault import Fault
from holdfast.core.hedge import End, Ending, Hedge, Latencies, Send, Step, Wait, decide, judge_arm
from holdfast.core.retry import Retry


@pytest.mark.parametrize(
    ("arms_left", "running", "failed", "now", "step"),
    [
        (1, 1, False, 0.0, Wait(5.0)),
        (1, 1, False, 4.9, Wait(5.0)),
        (1, 1, False, 5.0, Send()),
        (1, 1, True, 0.0, Send()),
        (1, 0, True, 0.0, Send()),
        (0, 1, False, 9.0, Wait(None)),
        (0, 1, True, 9.0, Wait(None)),
        (0, 2, False, 0.0, Wait(None)),
        (0, 0, True, 0.0, End()),
        (0, 0, False, 9.0, End()),
    ],
    ids=str,
)
def test_another_arm_goes_out_when_one_failed_or_takes_long(
    arms_left: int, running: int, failed: bool, now: float, step: Step
) -> None:
    assert decide(arms_left=arms_left, running=running, failed=failed, due=5.0, now=now) == step


@pytest.mark.parametrize(
    ("given", "ending"),
    [
        ({"status": 200}, Ending.DECIDES),
        ({"status": 304}, Ending.DECIDES),
        ({"status": 404}, Ending.DECIDES),
        ({"status": 501}, Ending.DECIDES),
        ({"status": 503}, Ending.FAILED),
        ({"status": 429}, Ending.FAILED),
        ({"status": 503, "server_delay": 0.0}, Ending.FAILED),
        ({"status": 503, "server_delay": 2.0}, Ending.PUSHED_BACK),
        ({"status": 429, "server_delay": 0.1}, Ending.PUSHED_BACK),
        ({"status": 200, "server_delay": 2.0}, Ending.DECIDES),
        ({"status": 503, "server_says": False}, Ending.DECIDES),
        ({"status": 400, "server_says": True}, Ending.FAILED),
        ({"status": 200, "predicate": True}, Ending.FAILED),
        ({"status": 409}, Ending.DECIDES),
        ({"status": 409, "keyed": True}, Ending.FAILED),
        ({"fault": Fault.UNSENT}, Ending.FAILED),
        ({"fault": Fault.UNPROCESSED}, Ending.FAILED),
        ({"fault": Fault.INTERRUPTED}, Ending.FAILED),
        ({"fault": Fault.SATURATED}, Ending.DECIDES),
        ({"fault": Fault.LOCAL}, Ending.DECIDES),
        ({"method": "POST", "keyed": True, "fault": Fault.INTERRUPTED}, Ending.FAILED),
    ],
    ids=str,
)
def test_an_arm_decides_unless_another_request_may_do_better(given: dict[str, Any], ending: Ending) -> None:
    arguments: dict[str, Any] = {"method": "GET", "keyed": False, "status": None, "fault": None, **given}
    assert judge_arm(Retry(), **arguments) is ending


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("mean", [0.004, 0.1, 3.0])
def test_the_delay_is_the_quantile_of_what_answers_took(quantile: float, mean: float) -> None:
    dice = random.Random(1)
    latencies, taken = (
        Latencies(Hedge(quantile=quantile, min_delay=0.0)),
        [dice.expovariate(1 / mean) for _ in range(4000)],
    )
    for seconds in taken:
        latencies.record(seconds, now=0.0)
    wanted = sorted(taken)[round(quantile * 4000) - 1]
    delay = latencies.delay(now=0.0)
    assert delay is not None
    assert wanted <= delay * 1.0001 <= 1.1001 * max(wanted, 0.001)


@pytest.mark.parametrize(("quantile", "needed"), [(0.5, 2), (0.9, 10), (0.95, 20), (0.99, 100)])
def test_too_few_answers_tell_nothing(quantile: float, needed: int) -> None:
    latencies = Latencies(Hedge(quantile=quantile))
    assert latencies.delay(0.0) is None
    for _ in range(needed - 1):
        latencies.record(0.1, 0.0)
    assert latencies.delay(0.0) is None
    latencies.record(0.1, 0.0)
    assert latencies.delay(0.0) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize(
    ("now", "samples"), [(0.0, 20), (59.9, 20), (60.0, 20), (119.9, 20), (120.0, 0), (600.0, 0), (60_000.0, 0)]
)
def test_what_is_two_windows_old_is_forgotten(now: float, samples: int) -> None:
    latencies = Latencies(Hedge(window=60.0))
    for _ in range(20):
        latencies.record(0.1, 30.0)
    assert latencies.samples(now) == samples
    assert (latencies.delay(now) is None) is (samples == 0)
    latencies.record(9.0, now)
    assert latencies.samples(now) == samples + 1


@pytest.mark.parametrize(
    ("seconds", "min_delay", "delay"), [(0.0, 0.01, 0.01), (0.002, 0.01, 0.01), (0.5, 0.01, 0.5), (1e9, 0.01, 180.0)]
)
def test_the_delay_has_a_floor_and_a_bound(seconds: float, min_delay: float, delay: float) -> None:
    latencies = Latencies(Hedge(min_delay=min_delay))
    for _ in range(20):
        latencies.record(seconds, 0.0)
    assert latencies.delay(0.0) == pytest.approx(delay, rel=0.1)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"delay": -1.0}, "delay"),
        ({"quantile": 1.0}, "quantile"),
        ({"quantile": 0.1}, "quantile"),
        ({"min_delay": -0.1}, "min_delay"),
        ({"arms": 1}, "arms"),
        ({"arms": 6}, "arms"),
        ({"window": 0.0}, "window"),
        ({"methods": frozenset({"get"})}, "methods"),
    ],
    ids=str,
)
def test_a_bad_setting_is_refused_by_name(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=rf"^{named} "):
        Hedge(**given)
