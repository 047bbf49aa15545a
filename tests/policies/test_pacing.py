"""What a server says of its limits, and who goes by it: all callers of a key, and nobody earlier than it asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from holdfast import Pacing, RateLimit, Window
from holdfast.errors import RateLimited
from holdfast.events import LimitBlocked
from holdfast.testing.scripted import Answer, Reply
from tests.scripting import URL, Stage, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

ALONE: dict[str, Any] = {"retry": None, "breaker": None, "deadline": None, "attempt_timeout": None}


def once(status: int, headers: dict[str, str]) -> Callable[[int, Any], Answer]:
    """A far side that says so in its first answer, and is content from then on."""
    return lambda number, _: Reply(status, headers=headers) if number == 1 else Reply()


async def all_at_once(on: Stage, callers: int, url: str = URL) -> list[Any]:
    outcomes: list[Any] = []

    async def caller() -> None:
        try:
            outcomes.append((await on.client.get(url)).status_code)
        except Exception as error:
            outcomes.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(callers):
            tasks.start_soon(caller)
    return outcomes


@pytest.mark.parametrize("status", [429, 503, 403])
async def test_one_answer_holds_back_everybody_and_they_do_not_come_back_as_a_herd(
    family: FamilyModules, status: int
) -> None:
    async with stage(family, once(status, {"Retry-After": "1"}), **ALONE) as on:
        await on.client.get(URL)
        assert await all_at_once(on, 19) == [200] * 19
        assert min(on.times[1:]) == 1.0
        within = [sum(at <= 1.0 + after for at in on.times[1:]) for after in (0.0, 0.1001, 0.2001, 0.3001)]
        assert within == [1, 2, 4, 8]


async def test_a_retry_waits_with_the_others(family: FamilyModules) -> None:
    settings = {**ALONE}
    settings.pop("retry")
    async with stage(family, once(429, {"Retry-After": "1"}), **settings) as on:
        assert await all_at_once(on, 1) == [200]
        assert await all_at_once(on, 1) == [200]
    assert on.times[0] == 0.0
    assert min(on.times[1:]) >= 1.0


async def test_other_keys_are_not_concerned(family: FamilyModules) -> None:
    async with stage(family, once(429, {"Retry-After": "60"}), **ALONE) as on:
        await on.client.get(URL)
        await on.client.get("http://other.test/")
        assert on.times == [0.0, 0.0]


async def test_who_cannot_wait_so_long_is_refused_at_once(family: FamilyModules) -> None:
    async with stage(family, once(429, {"Retry-After": "60"}), **{**ALONE, "deadline": 30.0}) as on:
        await on.client.get(URL)
        with pytest.raises(RateLimited) as caught:
            await on.client.get(URL)
        assert caught.value.retry_after == pytest.approx(60.0)
        assert isinstance(caught.value, family.http.TransportError)
        assert on.clock.monotonic() == 0.0


async def test_those_in_line_who_cannot_wait_so_long_any_more_are_refused_too(family: FamilyModules) -> None:
    script = once(429, {"Retry-After": "60"})
    async with stage(family, script, rate_limit=RateLimit(1), **{**ALONE, "deadline": 30.0}) as on:
        outcomes = await all_at_once(on, 5)
        refused = [outcome for outcome in outcomes if isinstance(outcome, RateLimited)]
        assert len(refused) == 4
        assert on.clock.monotonic() < 1.0


@pytest.mark.parametrize(
    ("limit", "times"),
    [
        (RateLimit(2, burst=2), [0.0, 5.0, 5.5, 6.0]),
        (Window(10), [0.0, 5.0, 5.1, 5.158496]),
        ([RateLimit(2, burst=2), Window(10)], [0.0, 5.0, 5.5, 6.0]),
    ],
    ids=["rate", "window", "both"],
)
async def test_after_a_silence_requests_come_at_the_rate(family: FamilyModules, limit: Any, times: list[float]) -> None:
    async with stage(family, once(429, {"Retry-After": "5"}), rate_limit=limit, **ALONE) as on:
        await on.client.get(URL)
        await all_at_once(on, 3)
        assert on.times == times


@pytest.mark.parametrize(
    ("pacing", "delay"),
    [
        ("guard", 120.0),
        ("off", 120.0),
        (Pacing(max_server_delay=7.0), 7.0),
        (None, 0.0),
    ],
    ids=str,
)
async def test_a_silence_is_as_long_as_the_user_allows(family: FamilyModules, pacing: Any, delay: float) -> None:
    async with stage(family, once(429, {"Retry-After": "99999"}), pacing=pacing, **ALONE) as on:
        await on.client.get(URL)
        await on.client.get(URL)
        assert on.times == [0.0, delay]


@pytest.mark.parametrize("status", [200, 500], ids=str)
async def test_retry_after_counts_only_where_it_asks_for_silence(family: FamilyModules, status: int) -> None:
    async with stage(family, once(status, {"Retry-After": "60"}), **ALONE) as on:
        await on.client.get(URL)
        await on.client.get(URL)
        assert on.times == [0.0, 0.0]


EMPTY = [
    {"RateLimit": '"burst";r=0;t=30'},
    {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30"},
    {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30s"},
]


@pytest.mark.parametrize("headers", EMPTY, ids=lambda headers: next(iter(headers)))
@pytest.mark.parametrize("mode", ["guard", "spread"])
async def test_at_nothing_left_everybody_stops_until_the_quota_begins_anew(
    family: FamilyModules, mode: Any, headers: dict[str, str]
) -> None:
    async with stage(family, once(200, headers), pacing=mode, **ALONE) as on:
        await on.client.get(URL)
        await on.client.get(URL)
        assert on.times == [0.0, 30.0]


async def test_the_word_off_means_that_quotas_are_not_looked_at(family: FamilyModules) -> None:
    async with stage(family, once(200, EMPTY[0]), pacing="off", **ALONE) as on:
        await on.client.get(URL)
        await on.client.get(URL)
        assert on.times == [0.0, 0.0]


async def test_what_is_left_is_shared_out_among_those_who_come_at_once(family: FamilyModules) -> None:
    async with stage(family, once(200, {"RateLimit": '"q";r=3;t=30'}), **ALONE) as on:
        await on.client.get(URL)
        await all_at_once(on, 5)
        assert on.times == [0.0, 0.0, 0.0, 0.0, 30.0, 30.1]


async def test_answers_that_overtake_each_other_never_raise_what_is_left(family: FamilyModules) -> None:
    def answer(number: int, _request: Any) -> Answer:
        left = {1: 5, 2: 1, 3: 4}.get(number, 0)
        return Reply(headers={"RateLimit": f'"q";r={left};t=30'})

    async with stage(family, answer, **ALONE) as on:
        for _ in range(4):
            await on.client.get(URL)
        assert on.times == [0.0, 0.0, 0.0, 30.0]


async def test_a_new_window_of_the_server_is_believed_at_once(family: FamilyModules) -> None:
    def answer(number: int, _request: Any) -> Answer:
        return Reply(headers={"RateLimit": f'"q";r={number % 2};t={5 + 5 * number}'})

    async with stage(family, answer, **ALONE) as on:
        for _ in range(3):
            await on.client.get(URL)
        assert on.times == [0.0, 0.0, 15.0]


async def test_spread_makes_the_last_fifth_of_a_quota_last(family: FamilyModules) -> None:
    def answer(number: int, _request: Any) -> Answer:
        left = 21 - number
        reset = 20 - on.clock.monotonic()
        return Reply(headers={"RateLimit": f'"q";r={left};t={reset:.3f}', "RateLimit-Policy": '"q";q=100;w=60'})

    async with stage(family, answer, pacing="spread", **ALONE) as on:
        for _ in range(20):
            await on.client.get(URL)
        gaps = [round(later - earlier, 2) for earlier, later in zip(on.times[1:], on.times[2:], strict=False)]
        assert gaps == pytest.approx([1.0] * 18, abs=0.01)


async def test_a_reset_can_be_what_a_provider_means_by_it(family: FamilyModules) -> None:
    # A server whose clock stands at 1,000 s after 1970, and which counts in milliseconds.
    headers = {
        "Date": "Thu, 01 Jan 1970 00:16:40 GMT",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "1060000",
    }
    async with stage(family, once(200, headers), pacing=Pacing(reset="epoch_ms"), **ALONE) as on:
        await on.client.get(URL)
        await on.client.get(URL)
        assert on.times == [0.0, 60.0]


async def test_a_server_that_begins_to_tell_of_its_limits_is_heard(family: FamilyModules) -> None:
    def answer(number: int, _request: Any) -> Answer:
        left = {151: 2}.get(number, 100)
        headers = {"RateLimit": f'"q";r={left};t=30'} if number > 70 else {}
        return Reply(headers=headers)

    async with stage(family, answer, **ALONE) as on:
        for _ in range(154):
            await on.client.get(URL)
        assert on.times == [0.0] * 153 + [30.0]


async def test_a_silence_is_told_to_listeners_and_seen_in_the_snapshot(family: FamilyModules) -> None:
    told: list[LimitBlocked] = []

    def listen(event: object) -> None:
        if isinstance(event, LimitBlocked):
            told.append(event)

    script = once(200, {"RateLimit": '"q";r=0;t=30'})
    async with stage(family, script, listeners=[listen], **ALONE) as on:
        assert "rate_limit" not in on.pipeline.snapshot()["origins"].get("http://api.test:80", {})
        await on.client.get(URL)
        assert [(event.key, round(event.seconds, 6), event.source) for event in told] == [
            ("http://api.test:80", 30.0, "ratelimit")
        ]
        seen = on.pipeline.snapshot()["origins"]["http://api.test:80"]["rate_limit"]
        assert (seen["remaining"], seen["resets_in"]) == (0.0, pytest.approx(30.0))


async def test_closing_the_client_sends_those_away_who_wait_for_the_end_of_a_silence(family: FamilyModules) -> None:
    async with stage(family, once(429, {"Retry-After": "60"}), jump=False, **ALONE) as on:
        await on.client.get(URL)
        async with anyio.create_task_group() as tasks:
            outcomes: list[Any] = []

            async def caller() -> None:
                try:
                    outcomes.append(await on.client.get(URL))
                except Exception as error:
                    outcomes.append(type(error).__name__)

            tasks.start_soon(caller)
            await on.clock.settle()
            await on.client.aclose()
        assert outcomes == ["Closed"]


async def test_nothing_is_left_where_nobody_speaks_of_limits(family: FamilyModules) -> None:
    async with stage(family, once(429, {}), **ALONE) as on:
        for _ in range(100):
            await on.client.get(URL)
        assert on.times == [0.0] * 100
        assert "rate_limit" not in on.pipeline.snapshot()["origins"]["http://api.test:80"]
