"""Keys as plain data: whose turn it is, what an answer says of one, and a machine that tries to break that."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.core.keys import (
    Accepted,
    Aside,
    Forbidden,
    Key,
    Keys,
    Limited,
    Rejected,
    Ticket,
    Verdict,
    revive,
    settle,
    take,
)


def order(keys: Keys, count: int, now: float = 0.0) -> str:
    taken = []
    for _ in range(count):
        keys, ticket = take(keys, now)
        taken.append("-" if ticket is None else ticket.id)
    return "".join(taken)


def settled(keys: Keys, ticket: Ticket, verdict: Verdict, now: float = 0.0) -> Keys:
    return settle(keys, ticket, verdict, now, cool_down=30.0, revive_after=300.0)


@pytest.mark.parametrize(
    ("weights", "turns"),
    [
        ({"a": 1}, "aaaa"),
        ({"a": 1, "b": 1}, "abab"),
        ({"a": 2, "b": 1}, "abaaba"),
        ({"a": 5, "b": 1, "c": 1}, "aabacaaaabacaa"),
        ({"a": 0.5, "b": 0.25}, "abaaba"),
    ],
    ids=str,
)
def test_turns_go_by_weight_and_are_spread(weights: dict[str, float], turns: str) -> None:
    assert order({id: Key(weight) for id, weight in weights.items()}, len(turns)) == turns


A, B = Ticket("a", 0), Ticket("b", 0)


@pytest.mark.parametrize(
    ("verdicts", "until", "aside"),
    [
        ([Accepted()], float("-inf"), None),
        ([None], float("-inf"), None),
        ([Forbidden()], float("-inf"), None),
        ([Limited(12.0)], 112.0, Aside.LIMITED),
        ([Limited()], 130.0, Aside.LIMITED),
        ([Limited(7200.0)], 7300.0, Aside.LIMITED),
        ([Rejected()], 400.0, Aside.REJECTED),
        ([Limited(12.0)] * 100, 112.0, Aside.LIMITED),
        ([Limited()] * 100, 130.0, Aside.LIMITED),
        ([Rejected()] * 100, 400.0, Aside.REJECTED),
        ([Limited(12.0), Limited(30.0)], 130.0, Aside.LIMITED),  # the server's word counts whenever it comes
        ([Limited(30.0), Limited(12.0)], 130.0, Aside.LIMITED),
        ([Rejected(), Accepted()], 400.0, Aside.REJECTED),  # that one was sent before
        ([Limited(12.0), Rejected()], 112.0, Aside.LIMITED),
    ],
    ids=str,
)
def test_what_was_sent_together_counts_once(verdicts: list[Verdict], until: float, aside: Aside | None) -> None:
    keys: Keys = {"a": Key()}
    for verdict in verdicts:
        keys = settled(keys, A, verdict, 100.0)
    assert (keys["a"].until, keys["a"].aside, keys["a"].failures) == (until, aside, 0 if aside is None else 1)


def test_failures_one_after_the_other_are_longer_and_longer_up_to_an_hour_and_a_good_answer_ends_them() -> None:
    keys: Keys = {"a": Key()}
    now, waits = 0.0, list[float]()
    for _ in range(7):
        keys, ticket = take(keys, now)
        assert ticket is not None
        keys = settled(keys, ticket, Rejected(), now)
        waits.append(keys["a"].until - now)
        now = keys["a"].until
    assert waits == [300.0, 600.0, 1200.0, 2400.0, 3600.0, 3600.0, 3600.0]
    keys, ticket = take(keys, now)
    assert ticket is not None
    keys = settled(keys, ticket, Accepted(), now)
    assert (keys["a"].failures, keys["a"].aside) == (0, None)


def test_one_call_tries_a_key_that_was_turned_down_and_the_next_comes_when_that_one_knows_nothing() -> None:
    keys = settled({"a": Key()}, A, Rejected(), 0.0)
    assert order(keys, 2, 299.9) == "--"
    assert order(keys, 2, 300.0) == "a-"
    keys, ticket = take(keys, 300.0)
    assert ticket is not None
    assert order(settled(keys, ticket, None, 300.0), 2, 300.0) == "a-"
    assert order(settled(keys, ticket, Accepted(), 300.0), 2, 300.0) == "aa"


def test_a_key_that_was_limited_is_everybodys_again_at_the_reset() -> None:
    keys = settled({"a": Key(), "b": Key()}, A, Limited(12.0), 0.0)
    assert order(keys, 3, 11.9) == "bbb"
    assert sorted(order(keys, 4, 12.0)) == ["a", "a", "b", "b"]


def test_a_late_failure_of_a_key_that_is_gone_changes_nothing() -> None:
    keys: Keys = {"b": Key()}
    assert settled(keys, A, Rejected(), 0.0) == keys


def test_a_key_is_revived_by_hand_and_old_failures_do_not_put_it_aside_again() -> None:
    keys = revive(settled({"a": Key()}, A, Rejected(), 0.0), "a")
    assert order(settled(keys, A, Rejected(), 0.0), 2) == "aa"


class Pool(RuleBasedStateMachine):
    """Calls that overlap, in any order: the keys against a model that knows which windows failed."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: Keys = {"a": Key(3.0), "b": Key(), "c": Key(0.5)}
        self.now = 0.0
        self.out: list[tuple[Ticket, float]] = []
        self.aside: dict[str, float] = {}
        self.failed: Counter[tuple[str, int]] = Counter()

    @rule()
    def call(self) -> None:
        self.keys, ticket = take(self.keys, self.now)
        if ticket is None:
            assert all(not key.usable(self.now) for key in self.keys.values())
            return
        assert self.now >= self.aside.get(ticket.id, 0.0)
        self.out.append((ticket, self.now))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), verdict=st.sampled_from([Accepted(), Limited(7.0), Limited(), Rejected(), Forbidden(), None]))
    def answer(self, data: st.DataObject, verdict: Verdict) -> None:
        ticket, _ = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        before = self.keys[ticket.id]
        self.keys = settled(self.keys, ticket, verdict, self.now)
        after = self.keys[ticket.id]
        assert after.until >= before.until or after.aside is None
        if after.failures > before.failures:
            self.failed[ticket.id, ticket.window] += 1
        if isinstance(verdict, Accepted) and ticket.window == before.window:
            self.aside.pop(ticket.id, None)
        elif after.until > self.now:
            self.aside[ticket.id] = after.until

    @rule(seconds=st.sampled_from([0.5, 7.0, 30.0, 300.0, 3600.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(id=st.sampled_from("abc"))
    def by_hand(self, id: str) -> None:
        self.keys = revive(self.keys, id)
        self.aside.pop(id, None)

    @invariant()
    def a_window_fails_once(self) -> None:
        assert all(count == 1 for count in self.failed.values())

    @invariant()
    def one_call_tries_a_key(self) -> None:
        trials = Counter(ticket.id for ticket, _ in self.out if ticket.window == self.keys[ticket.id].window)
        assert all(trials[id] <= 1 or not key.trial for id, key in self.keys.items())
        assert all(trials[id] == 1 for id, key in self.keys.items() if key.trial)

    @invariant()
    def none_is_lost_for_ever(self) -> None:
        assert all(key.until <= self.now + 3600.0 for key in self.keys.values())


TestPool = Pool.TestCase
TestPool.settings = settings(stateful_step_count=30)
