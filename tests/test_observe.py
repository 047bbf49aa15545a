"""Policies that only observe: they decide, count and report, and act on nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import holdfast
from holdfast import AdaptiveConcurrency, CircuitBreaker, ConcurrencyLimit, Pipeline, RateLimit, Throttle, Window
from holdfast.events import Event, Refusal
from holdfast.testing import Fails, Reply, VirtualClock
from holdfast.testing.scripted import Step
from tests.scripting import URL, stage
from tests.support import FamilyModules, examples

pytestmark = pytest.mark.anyio
KEY: Final = "http://api.test:80"
ALONE: Final[dict[str, Any]] = {"retry": None, "breaker": None, "concurrency": None, "pacing": None}
TWO: Final = CircuitBreaker(failures=2, failure_ratio=None, jitter=0.0, ramp_from=None, observe=True)


def refusals(told: list[Event]) -> list[tuple[str, str, bool]]:
    return [(event.policy, event.reason, event.observed) for event in told if isinstance(event, Refusal)]


async def test_a_circuit_that_observes_opens_and_lets_all_pass(family: FamilyModules) -> None:
    told: list[Event] = []
    script: list[Step] = [Fails("ReadError"), Fails("ReadError"), Reply(503), Reply(200), Reply(200)]
    async with stage(family, script, **{**ALONE, "breaker": TWO, "listeners": [told.append]}) as on:

        def circuit() -> tuple[str, int]:
            seen = on.pipeline.snapshot()["origins"][KEY]["circuit"]
            return seen["state"], seen["would_reject"]

        for _ in range(2):
            with pytest.raises(family.http.ReadError):
                await on.client.get(URL)
        assert circuit() == ("open", 0)
        assert [(await on.client.get(URL)).status_code for _ in range(2)] == [503, 200]
        assert circuit() == ("open", 2)  # an acting one would have sent neither, and learnt of neither
        await on.clock.sleep(5.0)
        assert (await on.client.get(URL)).status_code == 200
        assert circuit() == ("closed", 2)
    assert refusals(told) == [("circuit_breaker", "circuit_open", True)] * 2


async def test_a_throttle_that_observes_sends_all_and_counts_as_an_acting_one(family: FamilyModules) -> None:
    """The same traffic through both; random is 0.5, so a probability above that refuses."""
    told: list[Event] = []
    script: list[Step] = [*[Reply(503)] * 3, *[Reply(200)] * 6, Reply(201)]
    async with stage(family, script, **{**ALONE, "throttle": Throttle(observe=True), "listeners": [told.append]}) as on:
        statuses = [(await on.client.get(URL)).status_code for _ in range(9)]
        assert statuses == [503] * 3 + [200] * 6
        seen = on.pipeline.snapshot()["origins"][KEY]["throttle"]
        assert (seen["requests"], seen["accepts"], seen["would_reject"]) == (9, 0, 7)
        assert on.pipeline.health().status == "ok"
        assert refusals(told) == [("throttle", "throttled", True)] * 7
        on.pipeline.reconfigure(throttle=Throttle())
        with pytest.raises(holdfast.Throttled):
            await on.client.get(URL)
        on.pipeline.reconfigure(throttle=Throttle(window=60.0))  # what another window counted says nothing
        assert (await on.client.get(URL)).status_code == 201
    async with stage(family, script, **{**ALONE, "throttle": Throttle()}) as on:
        for _ in range(9):
            with suppress(holdfast.Throttled):
                await on.client.get(URL)
        acting = on.pipeline.snapshot()["origins"][KEY]["throttle"]
        assert acting == {name: seen[name] for name in acting}


@pytest.mark.parametrize(
    "limit",
    [ConcurrencyLimit(2, max_queue=1, observe=True), AdaptiveConcurrency(start=2, max_queue=1, observe=True)],
    ids=["fixed", "adaptive"],
)
async def test_a_concurrency_limit_that_observes_counts_who_would_wait(
    limit: ConcurrencyLimit | AdaptiveConcurrency, family: FamilyModules
) -> None:
    told: list[Event] = []
    script = [Reply(200, delay=1.0)]
    settings: dict[str, Any] = {**ALONE, "concurrency": limit, "listeners": [told.append]}
    async with stage(family, script, repeat_last=True, **settings) as on:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(on.client.get, URL)
        assert on.times == [0.0] * 5
        assert on.pipeline.snapshot()["origins"][KEY]["concurrency"] == {
            "limit": 2,
            "in_use": 0,
            "waiting": 0,
            "would_wait": 1,
            "would_reject": 2,
        }
    assert refusals(told) == [("concurrency", "concurrency_full", True)] * 2


async def test_a_rate_limit_that_observes_counts_who_would_wait_or_be_refused(family: FamilyModules) -> None:
    told: list[Event] = []
    settings: dict[str, Any] = {**ALONE, "rate_limit": RateLimit(1, burst=1, observe=True), "listeners": [told.append]}
    async with stage(family, [Reply(200)], repeat_last=True, deadline=1.5, **settings) as on:
        for _ in range(4):
            await on.client.get(URL)
        assert on.times == [0.0] * 4
        (seen,) = on.pipeline.snapshot()["origins"][KEY]["rate_limit_observed"]
        assert (seen["waiting"], seen["would_wait"], seen["would_reject"]) == (1, 1, 2)
    assert refusals(told) == [("rate_limit", "rate_limited", True)] * 2


async def test_limits_that_act_and_limits_that_observe_stand_side_by_side(family: FamilyModules) -> None:
    limits = [RateLimit(1, burst=1), RateLimit(1, per=60.0, burst=1, observe=True), Window(2, per=60.0, observe=True)]
    async with stage(family, [Reply(200)], repeat_last=True, **{**ALONE, "rate_limit": limits}) as on:
        for _ in range(3):
            await on.client.get(URL)
        assert on.times == [0.0, 1.0, 2.0]
        seen = on.pipeline.snapshot()["origins"][KEY]
        assert [each["would_reject"] for each in seen["rate_limit_observed"]] == [2, 1]
        assert [limit["per"] for limit in seen["rate_limit"]["limits"]] == [1.0]


async def test_nobody_is_broken_by_what_only_observes(family: FamilyModules) -> None:
    def fails(scope: object) -> str:
        raise KeyError("scripted")

    limits = [RateLimit(5, burst=1, key=fails, observe=True)]
    async with stage(family, [Reply(200)], **{**ALONE, "rate_limit": limits}) as on:
        options = {"holdfast": {"cost": 9.0}}  # more than it could ever let pass
        assert (await on.client.get(URL, extensions=options)).status_code == 200
        (seen,) = on.pipeline.snapshot()["origins"][KEY]["rate_limit_observed"]
        assert seen["would_reject"] == 1


ARRIVALS: Final = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.4, 1.0, 5.0]), st.sampled_from([1.0, 2.0])), max_size=25
)


LIMITS: Final[list[RateLimit | Window]] = [
    RateLimit(2, burst=3, max_wait=1.6),
    RateLimit(5, burst=2, max_wait=0.5),
    RateLimit(1, burst=2, max_queue=1),
    Window(4, per=2.0, max_wait=3.0),
]


@given(limit=st.sampled_from(LIMITS), arrivals=ARRIVALS)
@examples(0.3)
def test_it_counts_what_the_acting_limit_does(limit: RateLimit | Window, arrivals: list[tuple[float, float]]) -> None:
    """The same traffic through both: as many wait, and as many are refused."""

    async def traffic(observe: bool) -> tuple[int, int, Any]:
        clock = VirtualClock()
        made: Any = limit
        observing = type(made)(**{**vars(made), "observe": observe})
        pipeline = Pipeline(clock=clock, deadline=None, rate_limit=observing, **ALONE)
        waited = refused = 0

        async def call(cost: float) -> None:
            nonlocal waited, refused
            began = clock.monotonic()

            async def sent() -> None:
                nonlocal waited
                waited += clock.monotonic() > began

            try:
                await pipeline.call(sent, key=KEY, options={"cost": cost})
            except holdfast.RateLimited:
                refused += 1

        async with anyio.create_task_group() as tasks:
            for pause, cost in arrivals:
                await clock.advance(pause)
                # Of different costs a window foretells the wait only roughly, and an acting one finds out later.
                tasks.start_soon(call, 1.0 if isinstance(limit, Window) else cost)
                await clock.settle()
            await clock.advance(100.0)
        seen = pipeline.snapshot()["origins"].get(KEY, {}).get("rate_limit_observed")
        return waited, refused, seen

    waited, refused, _ = anyio.run(traffic, False)
    sent_late, turned_down, seen = anyio.run(traffic, True)
    assert (sent_late, turned_down) == (0, 0)
    counted = (0, 0) if seen is None else (seen[0]["would_wait"], seen[0]["would_reject"])
    assert counted == (waited, refused)
