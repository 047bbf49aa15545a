"""Client throttling from outside: what a server in trouble gets, and what says nothing about it."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest

import holdfast
from holdfast import CircuitBreaker, Pipeline, RateLimit, Throttle, Throttled
from holdfast.events import Event, Refusal
from holdfast.testing import Fails, Hangs, Reply, VirtualClock
from holdfast.testing.scripted import Answer
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
ORIGIN = "http://api.test:80"
BARE: dict[str, Any] = {"retry": None, "breaker": None}


def told(pipeline: Pipeline) -> dict[str, Any]:
    described: dict[str, Any] = pipeline.snapshot()["origins"][ORIGIN]["throttle"]
    return described


@pytest.mark.parametrize(
    ("k", "capacity", "load"), [(1.1, 10, 11), (2.0, 10, 20), (3.0, 10, 30), (2.0, 50, 100), (2.0, 100, 100)]
)
async def test_a_server_gets_about_k_times_what_it_accepts(
    family: FamilyModules, k: float, capacity: int, load: int
) -> None:
    """100 calls a second want an origin that accepts ``capacity`` of them a second."""
    accepted: dict[int, int] = {}

    def pipeline(clock: VirtualClock) -> Pipeline:
        return Pipeline(throttle=Throttle(k=k, window=5.0), clock=clock, random=random.Random(7).random, **BARE)

    def origin(number: int, request: Any) -> Answer:
        second = int(on.clock.monotonic())
        accepted[second] = accepted.get(second, 0) + 1
        return Reply(200 if accepted[second] <= capacity else 503)

    async with stage(family, origin, pipeline=pipeline) as on:
        seconds, before = 10, 0
        for step in range(10 * seconds):
            if step == 50:  # the first window is over
                before = len(on.script.sent)
            for _ in range(10):
                with contextlib.suppress(Throttled):
                    await on.client.get(URL)
            await on.clock.advance(0.1)
        assert (len(on.script.sent) - before) / (seconds - 5) == pytest.approx(load, rel=0.2)


@pytest.mark.heavy
async def test_a_server_that_is_well_again_gets_all_of_it_within_the_window(family: FamilyModules) -> None:
    down = True
    made: dict[str, Any] = {"throttle": Throttle(window=5.0), **BARE}

    def pipeline(clock: VirtualClock) -> Pipeline:
        return Pipeline(clock=clock, random=random.Random(3).random, **made)

    async with stage(family, lambda *_: Reply(503 if down else 200), pipeline=pipeline) as on:

        async def sent_in(seconds: int) -> int:
            before = len(on.script.sent)
            for _ in range(10 * seconds):
                for _ in range(10):
                    with contextlib.suppress(Throttled):
                        await on.client.get(URL)
                await on.clock.advance(0.1)
            return len(on.script.sent) - before

        await sent_in(5)
        assert await sent_in(3) < 15
        down = False
        await sent_in(7)
        assert (await sent_in(1), told(on.pipeline)["refuses"]) == (100, 0.0)


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        (Reply(200), (1, 1)),
        (Reply(404), (1, 1)),
        (Reply(501), (1, 1)),
        (Reply(429), (1, 0)),
        (Reply(503), (1, 0)),
        (Fails("ConnectError"), (1, 0)),
        (Fails("ReadTimeout"), (1, 0)),
        (Fails("PoolTimeout"), (0, 0)),
        (Fails("LocalProtocolError"), (0, 0)),
    ],
    ids=str,
)
async def test_what_an_outcome_says_of_the_server(
    family: FamilyModules, answer: Answer, counts: tuple[int, int]
) -> None:
    async with stage(family, [answer], throttle=Throttle(), **BARE) as on:
        with contextlib.suppress(family.http.TransportError):
            await on.client.get(URL)
        assert (told(on.pipeline)["requests"], told(on.pipeline)["accepts"]) == counts


@pytest.mark.parametrize("ends", ["cancelled", "deadline", "attempt timeout"])
async def test_only_an_attempt_that_had_its_whole_time_counts(family: FamilyModules, ends: str) -> None:
    async with stage(family, [Hangs()], throttle=Throttle(), attempt_timeout=5.0, **BARE) as on:
        options = {"holdfast": {"deadline": 2.0}} if ends == "deadline" else {}
        patience = on.clock.timeout_at(1.0 if ends == "cancelled" else 100.0)
        with patience, pytest.raises(family.http.TimeoutException):
            await on.client.get(URL, extensions=options)
        assert told(on.pipeline)["requests"] == (1 if ends == "attempt timeout" else 0)


async def test_our_own_refusals_below_do_not_count(family: FamilyModules) -> None:
    limit = RateLimit(1, per=100.0, max_wait=0.0)
    async with stage(family, [Reply(200)], retry=None, throttle=Throttle(), rate_limit=limit) as on:
        await on.client.get(URL)
        with pytest.raises(holdfast.RateLimited):
            await on.client.get(URL)
        on.pipeline.circuits.force_open(ORIGIN)
        with pytest.raises(holdfast.CircuitOpen):
            await on.client.get(URL)
        assert told(on.pipeline) == {"requests": 1, "accepts": 1, "refuses": 0.0}


async def test_a_refusal_is_told_counted_and_ends_the_retries(family: FamilyModules) -> None:
    events: list[Event] = []
    settings: dict[str, Any] = {"throttle": Throttle(), "breaker": CircuitBreaker(failures=None)}
    async with stage(family, [Reply(503)], repeat_last=True, listeners=[events.append], **settings) as on:
        response = await on.client.get(URL)  # the first counts as 1 of 2: random is 0.5, the third is refused
        assert (response.status_code, holdfast.history(response).reason) == (503, "throttled")
        with pytest.raises(Throttled, match=r"^http://api\.test:80 turns down") as caught:
            await on.client.get(URL)
        error = caught.value
        assert isinstance(error, family.http.TransportError)
        assert (error.policy, error.key, error.retry_after) == ("throttle", ORIGIN, None)
        refusals = [(event.policy, event.reason) for event in events if isinstance(event, Refusal)]
        assert refusals == [("throttle", "throttled")] * 2


async def test_keys_do_not_share_their_fate(family: FamilyModules) -> None:
    async with stage(
        family, lambda _, request: Reply(503 if "bad" in str(request.url) else 200), throttle=Throttle(), **BARE
    ) as on:
        for _ in range(2):
            await on.client.get("http://bad.test/")
        with pytest.raises(Throttled):
            await on.client.get("http://bad.test/")
        assert (await on.client.get("http://good.test/")).status_code == 200
