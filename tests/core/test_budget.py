"""The retry budget keeps its promise in every window, whatever is asked of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

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


def test_a_refund_is_of_the_retry_that_was_taken_last() -> None:
    budget = Budget(RetryBudget(reserve=2))
    assert [budget.withdraw(0.0), budget.withdraw(5.0), budget.withdraw(6.0)] == [True, True, False]
    budget.refund(6.0)
    assert [budget.balance(at) for at in (9.9, 10.0)] == [1.0, 2.0]


@pytest.mark.parametrize("settings", [{"ratio": -0.1}, {"reserve": -1}, {"window": 0.0}, {"window": float("nan")}])
def test_a_bad_setting_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        RetryBudget(**settings)


class BudgetMachine(RuleBasedStateMachine):
    """Calls, retries and refunds in any order and time, beside a ledger that remembers each of them by its slot."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.first: list[int] = []
        self.retries: list[int] = []

    @initialize(
        ratio=st.sampled_from([0.0, 0.2, 0.5, 1.0]), reserve=st.integers(0, 3), window=st.sampled_from([1.0, 10.0])
    )
    def begin(self, ratio: float, reserve: int, window: float) -> None:
        self.settings = RetryBudget(ratio=ratio, reserve=reserve, window=window)
        self.budget = Budget(self.settings)

    @property
    def slot(self) -> int:
        return int(self.now // (self.settings.window / 10))

    @property
    def expected(self) -> float:
        first, retries = (sum(slot > self.slot - 10 for slot in slots) for slots in (self.first, self.retries))
        return self.settings.reserve + self.settings.ratio * first - retries

    @rule(share=st.sampled_from([0.0, 0.01, 0.1, 0.55, 0.99, 1.0, 1.7, 30.0]))
    def time_passes(self, share: float) -> None:
        self.now += share * self.settings.window

    @rule()
    def a_call_is_sent(self) -> None:
        self.budget.deposit(self.now)
        self.first.append(self.slot)

    @rule()
    def a_retry_is_asked_for(self) -> None:
        allowed = self.expected >= 1
        assert self.budget.withdraw(self.now) is allowed
        if allowed:
            self.retries.append(self.slot)

    @precondition(lambda self: self.retries and self.retries[-1] > self.slot - 10)
    @rule()
    def a_retry_was_not_sent(self) -> None:
        self.budget.refund(self.now)
        self.retries.pop()

    @precondition(lambda self: not self.retries or self.retries[-1] <= self.slot - 10)
    @rule()
    def what_is_long_over_earns_nothing_back(self) -> None:
        self.budget.refund(self.now)

    @invariant()
    def the_balance_is_the_ledgers(self) -> None:
        assert self.budget.balance(self.now) == pytest.approx(self.expected)
        assert self.budget.balance(self.now + 2 * self.settings.window) == self.settings.reserve


TestBudget = BudgetMachine.TestCase
