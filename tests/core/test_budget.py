"""The retry budget keeps its promise in every window, whatever is asked of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.budget import Budget, RetryBudget

STEPS = st.lists(
    st.tuples(st.sampled_from(["deposit", "withdraw", "refund"]), st.floats(0, 4)), min_size=1, max_size=200
)


@given(STEPS, st.floats(0, 1), st.integers(0, 5))
def test_retries_never_exceed_what_the_window_allows(
    steps: list[tuple[str, float]], ratio: float, reserve: int
) -> None:
    settings = RetryBudget(ratio=ratio, reserve=reserve)
    budget = Budget(settings)
    now, deposits, taken = 0.0, list[float](), list[float]()
    for step, pause in steps:
        now += pause
        if step == "deposit":
            budget.deposit(now)
            deposits.append(now)
        elif step == "withdraw":
            if not budget.withdraw(now):
                continue
            taken.append(now)
            # A slot is a tenth of the window: what is counted lies between nine and ten tenths of it.
            recent = [at for at in taken if at > now - 0.9 * settings.window]
            earned = sum(at > now - settings.window for at in deposits)
            assert len(recent) <= reserve + ratio * earned + 1e-6
        elif taken and now - taken[-1] < 0.9 * settings.window:
            budget.refund(now)
            taken.pop()


def test_a_full_window_earns_a_fifth_and_forgets_it() -> None:
    budget = Budget(RetryBudget())
    for _ in range(100):
        budget.deposit(0.0)
    assert [budget.balance(at) for at in (0.0, 9.9, 10.0, 1000.0)] == [30.0, 30.0, 10.0, 10.0]


@pytest.mark.parametrize("settings", [{"ratio": -0.1}, {"reserve": -1}, {"window": 0.0}, {"window": float("nan")}])
def test_a_bad_setting_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        RetryBudget(**settings)
