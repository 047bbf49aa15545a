"""A server that says no more than 429: the rate that it stands is found, and kept by all callers of its key."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from holdfast import Pacing, Pipeline, RateLimit
from holdfast.errors import RateLimited
from holdfast.events import Event, LimitAdapted
from holdfast.testing.clock import VirtualClock
from holdfast.testing.scripted import Answer, Reply
from tests.scripting import URL, Stage, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

KEY = "http://api.test:80"
ALONE: dict[str, Any] = {"retry": None, "breaker": None, "deadline": None, "attempt_timeout": None}
ADAPTIVE: dict[str, Any] = {**ALONE, "pacing": Pacing(adaptive=True)}


def rate_of(on: Stage) -> float | None:
    rate: float | None = on.pipeline.snapshot()["origins"][KEY]["rate_limit"]["adapted_rate"]
    return rate


class Origin:
    """Serves ``quota`` requests a second, with a burst of as many, and says no more than 429 to the others."""

    def __init__(self, quota: float) -> None:
        self.quota = quota
        self.tokens = quota
        self.at = 0.0
        self.clock: VirtualClock | None = None
        self.answers: list[tuple[float, int]] = []

    def __call__(self, _number: int, _request: Any) -> Answer:
        assert self.clock is not None
        now = self.clock.monotonic()
        self.tokens = min(self.quota, self.tokens + (now - self.at) * self.quota)
        self.at = now
        status = 429 if self.tokens < 1 else 200
        self.tokens -= status == 200
        self.answers.append((now, status))
        return Reply(status)


@pytest.mark.heavy
async def test_twenty_callers_find_the_quota_together_and_are_seldom_refused(family: FamilyModules) -> None:
    origin = Origin(20)
    async with stage(family, origin, **ADAPTIVE) as on:
        origin.clock = on.clock
        end = 40.0

        async def caller() -> None:
            while on.clock.monotonic() < end:
                await on.client.get(URL)
                await on.clock.sleep(0.1)  # all of them together want 200 a second

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(caller)
    settled = [status for at, status in origin.answers if 20.0 <= at < end]
    assert settled.count(200) >= 0.85 * 20 * 20
    assert settled.count(429) <= 0.05 * len(settled)


async def test_one_refusal_holds_back_everybody_and_is_told_and_shown(family: FamilyModules) -> None:
    told: list[Event] = []
    answers = [Reply()] * 9 + [Reply(429)]
    async with stage(family, [*answers, Reply()], repeat_last=True, listeners=[told.append], **ADAPTIVE) as on:
        for _ in range(10):
            await on.client.get(URL)
        assert rate_of(on) == pytest.approx(7.0)
        started = on.clock.monotonic()
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(on.client.get, URL)
        gaps = [later - earlier for earlier, later in zip(on.times[10:], on.times[11:], strict=False)]
        assert on.times[10] == started
        assert gaps == pytest.approx([1 / 7] * 3, rel=0.1)  # it climbs meanwhile
    cut, *rises = [record for record in told if isinstance(record, LimitAdapted)]
    assert (cut.key, cut.policy) == (KEY, "rate_limit")
    assert cut.limit == pytest.approx(7.0)
    assert all(rise.limit > 1.1 * cut.limit for rise in rises)


async def test_those_who_cannot_wait_so_long_any_more_are_refused(family: FamilyModules) -> None:
    async with stage(family, [Reply(429), Reply()], repeat_last=True, **{**ADAPTIVE, "deadline": 3.0}) as on:
        await on.client.get(URL)
        assert rate_of(on) == pytest.approx(0.7)
        served: list[int] = []
        refused: list[float | None] = []

        async def caller() -> None:
            try:
                served.append((await on.client.get(URL)).status_code)
            except RateLimited as error:
                refused.append(error.retry_after)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(caller)
        assert served == [200] * 3
        assert refused == [pytest.approx(3 / 0.7)]


@pytest.mark.parametrize(
    ("answer", "settings"),
    [
        (Reply(429, headers={"Retry-After": "1"}), {}),
        (Reply(429, headers={"RateLimit": '"a";r=0;t=1'}), {}),
        (Reply(503), {}),
        (Reply(500), {}),
        (Reply(429), {"pacing": "guard"}),
        (Reply(429), {"pacing": None}),
    ],
    ids=["retry-after", "quota", "503", "500", "not asked for", "deaf"],
)
async def test_what_says_when_or_is_no_429_cuts_nothing(
    family: FamilyModules, answer: Reply, settings: dict[str, Any]
) -> None:
    async with stage(family, [answer, Reply()], repeat_last=True, **{**ADAPTIVE, **settings}) as on:
        await on.client.get(URL)
        for _ in range(5):
            await on.client.get(URL)
        limiters = [origin.get("rate_limit", {}) for origin in on.pipeline.snapshot()["origins"].values()]
        assert all(limiter.get("adapted_rate") is None for limiter in limiters)


async def test_beside_a_limit_of_ones_own_the_lower_holds(family: FamilyModules) -> None:
    settings = {**ADAPTIVE, "rate_limit": RateLimit(10, burst=10)}
    async with stage(family, [Reply()] * 4 + [Reply(429), Reply()], repeat_last=True, **settings) as on:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(on.client.get, URL)
        assert rate_of(on) == pytest.approx(3.5)
        for _ in range(3):
            await on.client.get(URL)
        assert on.clock.monotonic() == pytest.approx(2 / 3.5, rel=0.05)


async def test_costs_are_counted_and_a_large_one_goes_all_the_same(family: FamilyModules) -> None:
    async with stage(family, [Reply()] * 4 + [Reply(429), Reply()], repeat_last=True, **ADAPTIVE) as on:
        large = {"extensions": {"holdfast": {"cost": 4.0}}}
        for _ in range(5):
            await on.client.get(URL, **large)
        assert rate_of(on) == pytest.approx(14.0)
        for _ in range(3):
            await on.client.get(URL, **large)
        assert on.clock.monotonic() == pytest.approx(2 * 4 / 14, rel=0.05)


async def test_two_clients_of_one_pipeline_go_by_it_together(family: FamilyModules) -> None:
    clock = VirtualClock(jump=True)
    pipeline = Pipeline(clock=clock, **ADAPTIVE)
    script = [Reply()] * 9 + [Reply(429)]
    async with (
        stage(family, script, pipeline=lambda _: pipeline) as refused,
        stage(family, [Reply()], repeat_last=True, pipeline=lambda _: pipeline) as other,
    ):
        for _ in range(10):
            await refused.client.get(URL)
        for _ in range(3):
            await other.client.get(URL)
        assert clock.monotonic() == pytest.approx(2 / 7, rel=0.05)
