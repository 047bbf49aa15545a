"""The gradient against simulated servers: it finds how many they serve at once, and keeps their queues short."""

from __future__ import annotations

import heapq
import itertools
import random
import statistics
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from holdfast.core.gradient import AdaptiveConcurrency, Gradient

SERVICE = 0.05
LIKE_CLOCKWORK: Callable[[random.Random], float] = lambda _: 1.0  # noqa: E731
VARIED: Callable[[random.Random], float] = lambda dice: dice.uniform(0.5, 1.5)  # noqa: E731
RANDOM: Callable[[random.Random], float] = lambda dice: dice.expovariate(1.0)  # noqa: E731


class Server:
    """Serves ``capacity`` requests at once, the others stand in its queue; callers send as many as the limit allows."""

    def __init__(
        self,
        capacity: int,
        spread: Callable[[random.Random], float] = VARIED,
        *,
        demand: int = 1000,
        **settings: Any,
    ) -> None:
        self.capacity, self.service, self.demand = capacity, SERVICE, demand
        self.gradient = Gradient(AdaptiveConcurrency(**settings), now=0.0)
        self.now = 0.0
        self.served = 0
        self._spread = spread
        self._dice = random.Random(1)
        self._queue: deque[float] = deque()  # when each was sent
        self._busy: list[tuple[float, int, float]] = []  # (done at, order, sent at)
        self._order = itertools.count()

    def run(self, seconds: float) -> tuple[float, float]:
        """The limit and the length of the queue, on the average over ``seconds``."""
        seen: list[tuple[int, int]] = []
        until = self.now + seconds
        while self.now < until:
            while self.in_flight < min(self.gradient.limit, self.demand):
                self._queue.append(self.now)
                self._serve()
            self.now, _, sent_at = heapq.heappop(self._busy)
            self.gradient.answered(self.now - sent_at, self.in_flight + 1, self.now)
            self.served += 1
            self._serve()
            seen.append((self.gradient.limit, len(self._queue)))
        return statistics.fmean(limit for limit, _ in seen), statistics.fmean(queue for _, queue in seen)

    @property
    def in_flight(self) -> int:
        return len(self._busy) + len(self._queue)

    def _serve(self) -> None:
        while self._queue and len(self._busy) < self.capacity:
            done_at = self.now + self.service * self._spread(self._dice)
            heapq.heappush(self._busy, (done_at, next(self._order), self._queue.popleft()))


def about(capacity: int) -> Any:
    return pytest.approx(capacity, rel=0.2, abs=1.4)


@pytest.mark.parametrize("capacity", [3, 5, 10, 20, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("spread", [LIKE_CLOCKWORK, VARIED, RANDOM], ids=["clockwork", "varied", "random"])
def test_the_limit_comes_to_what_the_server_serves_at_once(
    capacity: int, spread: Callable[[random.Random], float]
) -> None:
    server = Server(capacity, spread)
    server.run(40.0)
    served = server.served
    limit, queue = server.run(30.0)
    assert limit == about(capacity)
    assert queue <= 1 + 0.2 * capacity
    assert server.served - served >= 0.85 * 30.0 * capacity / SERVICE  # one of three less is a third


@pytest.mark.parametrize(("before", "after"), [(20, 8), (8, 40)])
def test_it_follows_a_server_that_shrinks_or_grows(before: int, after: int) -> None:
    server = Server(before)
    server.run(30.0)
    server.capacity = after
    server.run(40.0)
    limit, queue = server.run(20.0)
    assert limit == about(after)
    assert queue <= 1 + 0.2 * after


@pytest.mark.parametrize("times", [3.0, 1 / 3])
def test_a_server_that_is_slower_is_not_taken_for_a_fuller_one(times: float) -> None:
    server = Server(20)
    server.run(30.0)
    server.service *= times
    server.run(60.0)
    assert server.run(20.0)[0] == about(20)


def test_it_does_not_grow_beyond_what_is_used() -> None:
    server = Server(1000, demand=8)
    assert server.run(60.0)[0] <= 20.0


@pytest.mark.parametrize(
    ("start", "demand", "grows"), [(20, 10, False), (20, 12, True), (10, 100, True), (30, 100, False)]
)
def test_it_grows_only_while_more_than_half_is_used(start: int, demand: int, grows: bool) -> None:
    server = Server(1000, LIKE_CLOCKWORK, demand=demand, start=start, max=30)
    server.run(2.6)  # a window, and one that looks at less load
    assert (server.gradient.limit > start) is grows


@pytest.mark.parametrize(
    ("drops", "limit"),
    [((1.0,), 14), ((1.0, 1.1, 1.2), 14), ((1.0, 3.0), 9), ((1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0), 2)],
    ids=str,
)
def test_a_drop_counts_once_for_each_window(drops: Iterable[float], limit: int) -> None:
    gradient = Gradient(AdaptiveConcurrency(start=20, min=2, window=1.0, window_max=1.5), now=0.0)
    for now in drops:
        gradient.answered(9.0, 1, now)  # the window is over, and nothing is known of it
        gradient.drop(now)
    assert gradient.limit == limit


def test_answers_to_requests_of_another_limit_do_not_count() -> None:
    gradient = Gradient(AdaptiveConcurrency(start=20, samples=10), now=0.0)
    for _ in range(10):
        gradient.answered(0.5, 20, 1.0)
    before = gradient.limit
    for _ in range(50):
        gradient.answered(9.0, 20, 1.9)  # sent before the window that runs now, all of them
    assert gradient.limit == before


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"min": 0}, "1 <= min"),
        ({"start": 300}, "1 <= min"),
        ({"min": 30}, "1 <= min"),
        ({"window": 0.0}, "window"),
        ({"window": 40.0}, "window"),
        ({"samples": 9}, "samples"),
        ({"quantile": 1.0}, "quantile"),
        ({"max_queue": -1}, "max_queue"),
    ],
    ids=str,
)
def test_a_bad_setting_is_refused_by_name(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=rf"^{named} "):
        AdaptiveConcurrency(**given)
