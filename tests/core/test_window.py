"""The sums of the sliding window are those of a naive log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.window import OutcomeWindow

STEPS = st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=80)  # (quarter seconds later, bad)


@given(STEPS, st.integers(1, 12))
def test_sums_are_those_of_a_log_of_whole_slots(steps: list[tuple[int, bool]], slots: int) -> None:
    window = OutcomeWindow(2.0 * slots, slots=slots)
    log: list[tuple[int, bool]] = []  # (slot of 2 s, bad)
    now = 0.0
    for later, bad in steps:
        now += later * 0.25
        window.count(now, bad=bad)
        log.append((int(now // 2.0), bad))
        kept = [was_bad for slot, was_bad in log if slot > int(now // 2.0) - slots]
        assert window.sums(now) == (len(kept), sum(kept))
        for ahead in (2.0, 5.0, 2.0 * slots):  # who looks ahead changes nothing
            still = [was_bad for slot, was_bad in log if slot > int((now + ahead) // 2.0) - slots]
            assert window.sums(now + ahead) == (len(still), sum(still))


@pytest.mark.parametrize(("at", "sums"), [(0.0, (2, 1)), (29.9, (2, 1)), (30.0, (0, 0)), (1e9, (0, 0))])
def test_outcomes_fall_out_a_slot_at_a_time(at: float, sums: tuple[int, int]) -> None:
    window = OutcomeWindow(30.0, slots=10)
    window.count(0.0, bad=True)
    window.count(2.9, bad=False)
    assert window.sums(at) == sums
