"""Whose turn it is, without a line."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfast.core.priority import AHEAD, HIGHEST, LOWEST, Order


@dataclass(frozen=True, eq=False)
class Member:
    arrived: float
    priority: int = 0
    cost: float = 1.0

    @property
    def counts_from(self) -> float:
        return self.arrived - self.priority * AHEAD


@pytest.mark.parametrize(
    ("came", "goes"),
    [
        ([(0.0, 0), (1.0, 0), (2.0, 0)], [0, 1, 2]),
        ([(0.0, 0), (1.0, 1)], [1, 0]),
        ([(0.0, -1), (1.0, 0)], [1, 0]),
        ([(0.0, 0), (29.9, 1), (30.1, 1)], [1, 0, 2]),  # thirty seconds of waiting outweigh one level
        ([(0.0, 0), (30.0, 1)], [1, 0]),  # of the same rank: the higher
        ([(0.0, -1), (59.9, 1), (60.1, 1)], [1, 0, 2]),  # and sixty two of them
        ([(0.0, -3), (0.0, 0), (0.0, 3), (1.0, 3), (1.0, 0)], [2, 3, 1, 4, 0]),
    ],
    ids=str,
)
def test_a_level_of_priority_counts_as_thirty_seconds_of_waiting(
    came: list[tuple[float, int]], goes: list[int]
) -> None:
    members = [Member(*one) for one in came]
    order = Order[Member]()
    for member in members:
        order.add(member)
    assert [members.index(member) for member in order] == goes
    served = []
    while (first := order.first) is not None:
        assert order.discard(first)
        served.append(members.index(first))
    assert served == goes


@given(st.lists(st.tuples(st.floats(0.0, 40.0), st.integers(LOWEST, HIGHEST)), min_size=1, max_size=40))
def test_nobody_is_overtaken_by_those_who_come_much_later(arrivals: list[tuple[float, int]]) -> None:
    order, now = Order[Member](), 0.0
    for pause, priority in arrivals:
        now += pause
        order.add(Member(now, priority))
    in_turn = list(order)
    for place, member in enumerate(in_turn):
        latest = member.arrived + (HIGHEST - member.priority) * AHEAD
        assert all(earlier.arrived <= latest + 1e-6 for earlier in in_turn[:place])


class OrderMachine(RuleBasedStateMachine):
    """Comings and goings in any order, against a list that is sorted anew each time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.order = Order[Member]()
        self.here: list[Member] = []

    @rule(seconds=st.sampled_from([0.0, 0.5, 29.5, 30.0, 100.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(priority=st.integers(LOWEST, HIGHEST), cost=st.sampled_from([0.5, 1.0, 3.0]))
    def somebody_comes(self, priority: int, cost: float) -> None:
        ahead = self.order.cost_before(self.now, priority)
        newcomer = Member(self.now, priority, cost)
        self.order.add(newcomer)
        self.here.append(newcomer)
        self.here.sort(key=lambda member: (member.counts_from, -member.priority))
        assert ahead == sum(member.cost for member in self.here[: self.here.index(newcomer)])

    @rule(place=st.integers(0, 20))
    def somebody_leaves(self, place: int) -> None:
        if self.here:
            leaving = self.here.pop(place % len(self.here))
            assert self.order.discard(leaving)
            assert not self.order.discard(leaving)

    @invariant()
    def all_stand_in_order(self) -> None:
        assert list(self.order) == self.here
        assert self.order.first is (self.here[0] if self.here else None)
        assert len(self.order) == len(self.here)


TestOrder = OrderMachine.TestCase
