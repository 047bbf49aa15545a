"""May it be sent again, and when? The two questions of `core.retry`, as tables."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.fault import Fault
from holdfast.core.jitter import DecorrelatedJitter, EqualJitter, FullJitter, Jitter, ProportionalJitter
from holdfast.core.retry import IDEMPOTENT_METHODS, Again, GiveUp, Retry, Verdict, judge, plan

METHODS = [*sorted(IDEMPOTENT_METHODS), "POST", "PATCH", "CONNECT", "get"]


@given(
    st.sampled_from(METHODS),
    st.booleans(),
    st.booleans(),
    st.one_of(st.integers(200, 599), st.sampled_from(Fault)),
    st.sampled_from([None, True, False]),
    st.sampled_from([None, True, False]),
)
def test_an_unsafe_request_is_never_sent_twice_after_it_may_have_been_acted_on(
    method: str, keyed: bool, idempotent: bool, came: int | Fault, server_says: bool | None, predicate: bool | None
) -> None:
    status, fault = (None, came) if isinstance(came, Fault) else (came, None)
    verdict = judge(
        Retry(),
        method=method,
        keyed=keyed,
        idempotent=idempotent,
        status=status,
        fault=fault,
        server_says=server_says,
        predicate=predicate,
    )
    safe = method in IDEMPOTENT_METHODS or keyed or idempotent
    untouched = fault in (Fault.UNSENT, Fault.UNPROCESSED) or status in (421, 425, 429)
    if not safe and not untouched:
        assert verdict is not Verdict.AGAIN
    if predicate is False:
        assert verdict in (Verdict.GOOD, Verdict.FINAL)


PLAN: dict[str, Any] = {
    "attempt": 1, "attempts": 3, "replayable": True, "server_delay": None, "backoff": 2.0, "spread": 0.5, "left": 30.0
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({}, Again(2.0, "backoff")),
        ({"attempt": 3}, GiveUp("attempts")),
        ({"replayable": False}, GiveUp("body_not_replayable")),
        ({"left": 2.0}, GiveUp("deadline")),
        ({"left": None}, Again(2.0, "backoff")),
        ({"server_delay": 10.0}, Again(10.5, "retry_after")),
        ({"server_delay": 0.5}, Again(2.0, "retry_after")),
        ({"server_delay": 29.0}, Again(29.0, "retry_after")),  # our jitter would not fit, the server's word does
        ({"server_delay": 30.0}, GiveUp("retry_after_exceeds_deadline")),
        ({"server_delay": 121.0, "left": None}, GiveUp("retry_after_exceeds_deadline")),
    ],
    ids=str,
)
def test_a_plan_is_never_earlier_than_told_and_never_later_than_the_deadline(
    changes: dict[str, Any], answer: Again | GiveUp
) -> None:
    assert plan(Retry(), **{**PLAN, **changes}) == answer


@pytest.mark.parametrize("jitter", [FullJitter(), EqualJitter(), DecorrelatedJitter(), ProportionalJitter()], ids=str)
def test_jitter_stays_in_its_band(jitter: Jitter) -> None:
    previous = 0.0
    for attempt, drawn in itertools.product(range(1, 80), (0.0, 0.5, 0.999)):
        wait = jitter.seconds(attempt, previous, lambda drawn=drawn: drawn)  # type: ignore[misc]
        assert 0 <= wait <= 1.2 * jitter.cap
        previous = wait


@pytest.mark.parametrize(("base", "cap"), [(0.0, 1.0), (2.0, 1.0)])
def test_a_jitter_that_begins_above_its_cap_is_refused(base: float, cap: float) -> None:
    with pytest.raises(ValueError, match="base"):
        FullJitter(base=base, cap=cap)
