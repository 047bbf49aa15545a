"""Hedging from outside: when a second request goes out, which answer the caller gets, and what is left behind."""

from __future__ import annotations

import contextlib
import gc
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
import tenacity

import holdfast
from holdfast import CircuitBreaker, ConcurrencyLimit, Hedge, RateLimit, ResponseRejected, Retry, RetryBudget
from holdfast.events import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    Event,
    GaveUp,
    HedgeSent,
    HedgeWon,
    Refusal,
    Retried,
)
from holdfast.testing import Fails, Hangs, Reply
from holdfast.testing.scripted import Answer
from tests.scripting import URL, Stage, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
ORIGIN = "http://api.test:80"
FIXED = Hedge(delay=1.0)
LATE = Reply(200, body=b"late", delay=5.0)
SECOND = Reply(200, body=b"second", delay=0.5)
QUICK = Retry(wait=tenacity.wait_fixed(10), wait_throttled=tenacity.wait_fixed(10))


def of_origin(on: Stage, layer: str) -> Any:
    return on.pipeline.snapshot()["origins"][ORIGIN][layer]


def nothing_is_held(on: Stage) -> bool:
    return (of_origin(on, "concurrency")["in_use"], on.script.in_flight) == (0, 0)


@pytest.mark.parametrize(
    ("script", "text", "sent", "ended"),
    [
        ([Reply(200, body=b"first", delay=0.9)], "first", [0.0], 0.9),
        ([LATE, SECOND], "second", [0.0, 1.0], 1.5),
        ([Reply(200, body=b"first", delay=1.2), SECOND], "first", [0.0, 1.0], 1.2),
        ([Hangs(), SECOND], "second", [0.0, 1.0], 1.5),
        ([Reply(503), SECOND], "second", [0.0, 0.0], 0.5),
        ([Fails("ConnectError", delay=0.2), SECOND], "second", [0.0, 0.2], 0.7),
        ([LATE, Reply(503)], "late", [0.0, 1.0], 5.0),
        ([LATE, Fails("ReadError", delay=1.0)], "late", [0.0, 1.0], 5.0),
        ([LATE, Reply(404, body=b"fatal")], "fatal", [0.0, 1.0], 1.0),
        ([Reply(404, body=b"fatal")], "fatal", [0.0], 0.0),
        ([Reply(503), Reply(502, body=b"last")], "last", [0.0, 0.0], 0.0),
        ([Reply(503, headers={"retry-after": "9"}, body=b"no")], "no", [0.0], 0.0),
        ([Reply(503, headers={"retry-after": "0"}), SECOND], "second", [0.0, 0.0], 0.5),
        ([Reply(503, headers={"x-should-retry": "false"}, body=b"no")], "no", [0.0], 0.0),
    ],
    ids=str,
)
async def test_the_first_good_answer_wins(
    family: FamilyModules, script: list[Answer], text: str, sent: list[float], ended: float
) -> None:
    async with stage(family, script, hedge=FIXED, deadline=None, attempt_timeout=None) as on:
        response = await on.client.get(URL)
        assert (response.text, on.times, round(on.clock.monotonic(), 6)) == (text, sent, ended)


async def test_pushback_after_the_second_went_out_leaves_both_to_end(family: FamilyModules) -> None:
    first = Reply(503, headers={"retry-after": "9"}, delay=1.2)
    async with stage(family, [first, SECOND], hedge=Hedge(delay=1.0, arms=3)) as on:
        assert ((await on.client.get(URL)).text, on.times) == ("second", [0.0, 1.0])


async def test_more_arms_follow_each_other(family: FamilyModules) -> None:
    async with stage(family, [LATE, LATE, SECOND], hedge=Hedge(delay=1.0, arms=3)) as on:
        assert ((await on.client.get(URL)).text, on.times) == ("second", [0.0, 1.0, 2.0])


async def test_the_last_failure_is_the_callers(family: FamilyModules) -> None:
    async with stage(family, [Fails("ReadTimeout"), Fails("ConnectError")], hedge=FIXED) as on:
        with pytest.raises(family.http.ConnectError) as caught:
            await on.client.get(URL)
        told = holdfast.history(caught.value)
        assert ([attempt.error for attempt in told.attempts], told.reason) == (
            ["ReadTimeout", "ConnectError"],
            "attempts",
        )


@pytest.mark.parametrize(
    ("method", "options", "headers", "hedged"),
    [
        ("GET", {}, {}, True),
        ("HEAD", {}, {}, True),
        ("QUERY", {}, {}, True),
        ("PUT", {}, {}, False),
        ("POST", {}, {}, False),
        ("POST", {"idempotent": True}, {}, False),
        ("POST", {}, {"Idempotency-Key": "k"}, True),
        ("GET", {"hedge": False}, {}, False),
        ("GET", {"attempts": 1}, {}, False),
        ("GET", {"attempts": 5}, {}, True),
        ("GET", {}, {"x-stainless-retry-count": "0"}, True),
        ("GET", {}, {"x-stainless-retry-count": "1"}, False),  # an SDK sends again by itself
    ],
    ids=str,
)
async def test_only_what_may_be_sent_twice_is_hedged(
    family: FamilyModules, method: str, options: dict[str, Any], headers: dict[str, str], hedged: bool
) -> None:
    async with stage(family, [LATE, SECOND], hedge=FIXED) as on:
        await on.client.request(method, URL, headers=headers, content=b"x", extensions={"holdfast": options})
        assert len(on.script.sent) == 1 + hedged


async def test_a_body_that_is_a_stream_is_never_sent_twice(family: FamilyModules) -> None:
    async def chunks() -> Any:
        yield b"x"

    async with stage(family, [LATE], hedge=FIXED) as on:
        response = await on.client.request("GET", URL, content=chunks(), extensions={"holdfast": {"replayable": True}})
        assert (response.text, len(on.script.sent)) == ("late", 1)


@pytest.mark.parametrize(
    ("hedge", "times"),
    [
        (FIXED, [0.0, 0.0]),
        (Hedge(delay=1.0, retried=True), [0.0, 0.0, 10.0, 10.0, 20.0, 20.0]),
        (Hedge(), [0.0, 10.0, 20.0]),
        (None, [0.0, 10.0, 20.0]),
    ],
    ids=["hedged", "hedged and retried", "not hedged: nothing is known", "retried"],
)
async def test_a_hedged_request_is_not_retried_unless_asked(
    family: FamilyModules, hedge: Hedge | None, times: list[float]
) -> None:
    async with stage(family, [Reply(500)], repeat_last=True, hedge=hedge, retry=QUICK, deadline=None) as on:
        response = await on.client.get(URL)
        assert (response.status_code, on.times, holdfast.history(response).reason) == (500, times, "attempts")


@pytest.mark.parametrize("retry", [QUICK, None], ids=["retries", "no retries"])
async def test_what_is_not_hedged_is_for_the_retry_layer(family: FamilyModules, retry: Retry | None) -> None:
    async with stage(family, [Reply(503)], repeat_last=True, hedge=FIXED, retry=retry, deadline=None) as on:
        assert (await on.client.put(URL)).status_code == 503
        assert len(on.script.sent) == (3 if retry else 1)


async def test_the_delay_is_learnt_of_the_key(family: FamilyModules) -> None:
    script = [*[Reply(200, delay=0.2)] * 20, LATE, SECOND, LATE]
    async with stage(family, script, hedge=Hedge()) as on:
        for _ in range(20):
            await on.client.get(URL)
        assert of_origin(on, "hedge") == {"delay": pytest.approx(0.2, rel=0.1), "samples": 20}
        assert (await on.client.get(URL)).text == "second"
        assert on.times[-1] - on.times[-2] == pytest.approx(0.2, rel=0.1)
        assert (await on.client.get("http://other.test/")).text == "late"  # nothing is known of this one


@pytest.mark.heavy
async def test_hedges_do_not_pull_the_quantile_down(family: FamilyModules) -> None:
    """If what was superseded were left out, the longest would never be known, and ever more calls would be hedged."""
    dice = random.Random(5)
    hedge = Hedge(quantile=0.9, window=10.0)
    settings: dict[str, Any] = {"hedge": hedge, "budget": RetryBudget(ratio=1.0)}
    async with stage(family, lambda *_: Reply(200, delay=dice.expovariate(10)), **settings) as on:
        for _ in range(200):
            await on.client.get(URL)
        sent = len(on.script.sent)
        for _ in range(400):
            await on.client.get(URL)
        assert (len(on.script.sent) - sent) / 400 == pytest.approx(1.1, abs=0.035)


async def test_time_in_our_own_queue_is_no_reason_to_hedge(family: FamilyModules) -> None:
    """Ten callers and one permit: nobody sends twice, since each answer comes soon after its request."""
    async with stage(
        family, [Reply(200, delay=0.5)], repeat_last=True, hedge=FIXED, concurrency=ConcurrencyLimit(1)
    ) as on:
        async with anyio.create_task_group() as calls:
            for _ in range(10):
                calls.start_soon(on.client.get, URL)
        assert on.times == [0.5 * number for number in range(10)]


FAILS = Reply(503, delay=0.5, body=b"failed")
NO_TOKEN: dict[str, Any] = {"rate_limit": RateLimit(1, per=100.0, burst=1)}
NO_BUDGET: dict[str, Any] = {"budget": RetryBudget(ratio=0, reserve=0)}


@pytest.mark.parametrize(
    ("first", "settings", "reason"),
    [
        (LATE, {"concurrency": ConcurrencyLimit(1)}, None),
        (LATE, {"concurrency": ConcurrencyLimit(5, total=1)}, None),
        (LATE, NO_TOKEN, None),
        (LATE, NO_BUDGET, None),
        (FAILS, NO_TOKEN, "rate_limited"),
        (FAILS, NO_BUDGET, "budget_exhausted"),
    ],
    ids=str,
)
async def test_without_something_to_spare_there_is_no_second(
    family: FamilyModules, first: Reply, settings: dict[str, Any], reason: str | None
) -> None:
    events: list[Event] = []
    async with stage(family, [first], hedge=FIXED, listeners=[events.append], **settings) as on:
        response = await on.client.get(URL)
        assert (response.content, len(on.script.sent)) == (first.body, 1)
        assert holdfast.history(response).reason == reason
        assert [event for event in events if isinstance(event, (HedgeSent, Refusal))] == []
        if settings is not NO_BUDGET:
            assert of_origin(on, "retries_left") == pytest.approx(10.2), "the retry was given back"


async def test_hedges_draw_on_the_budget(family: FamilyModules) -> None:
    """Twenty calls at once, and an origin that answers none in time: the reserve is all there is."""
    async with stage(family, [LATE], repeat_last=True, hedge=FIXED, budget=RetryBudget(reserve=3, ratio=0)) as on:
        async with anyio.create_task_group() as calls:
            for _ in range(20):
                calls.start_soon(on.client.get, URL)
        assert len(on.script.sent) == 23


@pytest.mark.parametrize("retry", [Retry(), None], ids=["beside retries", "alone"])
async def test_a_request_that_got_no_connection_pays_nothing_into_the_budget(
    family: FamilyModules, retry: Retry | None
) -> None:
    async with stage(family, [Reply(), Fails("PoolTimeout")], hedge=FIXED, retry=retry) as on:
        await on.client.get(URL)
        with pytest.raises(family.http.PoolTimeout):
            await on.client.get(URL)
        assert of_origin(on, "retries_left") == pytest.approx(10.2), "by the first call"


@pytest.mark.parametrize(("by_hand", "sent"), [(False, 1), (True, 2)], ids=["half open", "forced closed"])
async def test_a_probe_is_not_doubled(family: FamilyModules, by_hand: bool, sent: int) -> None:
    breaker = CircuitBreaker(failures=1, open_for=1.0, jitter=0.0)
    settings: dict[str, Any] = {"hedge": FIXED, "breaker": breaker, "retry": None}
    async with stage(family, [Reply(500), LATE, LATE], **settings) as on:
        await on.client.get(URL, extensions={"holdfast": {"hedge": False}})
        if by_hand:
            on.pipeline.circuits.force_closed(ORIGIN)
        await on.clock.sleep(2.0)
        assert (await on.client.get(URL)).text == "late"
        assert len(on.script.sent) == 1 + sent


async def test_the_one_that_comes_too_late_counts_for_no_circuit(family: FamilyModules) -> None:
    """It is cancelled on httpx2, and let end on httpx 0.28.1, where it fails in the end."""
    script = [Reply(500, delay=3.0), SECOND]
    async with stage(family, script, hedge=FIXED) as on:
        assert (await on.client.get(URL)).text == "second"
        let_end = not family.holdfast.FAMILY.cancellable
        await on.clock.sleep(0.5)
        assert on.script.in_flight == let_end
        await on.clock.sleep(10.0)
        circuit = of_origin(on, "circuit")
        assert (circuit["calls"], circuit["failures"]) == (1, 0)
        assert nothing_is_held(on)


@pytest.mark.parametrize("at", [0.5, 1.0, 1.2, 4.9])
async def test_a_caller_that_goes_takes_all_arms_along(family: FamilyModules, at: float) -> None:
    async with stage(family, [LATE, LATE], hedge=FIXED) as on:
        with on.clock.timeout_at(at):
            await on.client.get(URL)
        assert on.clock.monotonic() == at
        assert nothing_is_held(on)
        # What never came out pays nothing in; the second took one out.
        assert on.pipeline.snapshot()["origins"][ORIGIN].get("retries_left", 10) == 10 - (at > 1.0)


async def test_the_deadline_ends_all_arms(family: FamilyModules) -> None:
    async with stage(family, [Hangs(), Hangs()], hedge=FIXED, deadline=3.0) as on:
        with pytest.raises(holdfast.DeadlineExceeded):
            await on.client.get(URL)
        assert on.clock.monotonic() == pytest.approx(3.0, abs=0.3)
        await on.clock.sleep(1.0)
        assert nothing_is_held(on)


async def test_an_open_body_of_an_arm_that_lost_is_closed(family: FamilyModules) -> None:
    """The first is a failure with a long body on the wire, kept in case nothing better comes."""
    long = Reply(503, body=(b"x" * 70_000,) * 5, headers={"content-length": "350000"})
    async with stage(family, [long, SECOND], hedge=FIXED) as on:
        assert (await on.client.get(URL)).text == "second"
        assert nothing_is_held(on)


async def test_the_last_failure_is_readable_to_its_end(family: FamilyModules) -> None:
    long = Reply(503, body=(b"x" * 70_000,) * 5, headers={"content-length": "350000"})
    async with stage(family, [long, long], hedge=FIXED) as on:
        assert len((await on.client.get(URL)).content) == 350_000
        assert nothing_is_held(on)


async def test_a_stream_is_handed_on_as_it_comes(family: FamilyModules) -> None:
    events = Reply(200, headers={"content-type": "text/event-stream"}, body=(b"a", b"b", b"c"), every=2.0, delay=0.1)
    async with (
        stage(family, [LATE, events], hedge=FIXED) as on,
        on.client.stream("GET", URL) as response,
    ):
        came = [(chunk, round(on.clock.monotonic(), 3)) async for chunk in response.aiter_raw()]
        assert came == [(b"a", 3.1), (b"b", 5.1), (b"c", 7.1)]


async def test_what_happened_is_told_in_order(family: FamilyModules) -> None:
    events: list[Event] = []
    async with stage(family, [LATE, SECOND], hedge=FIXED, listeners=[events.append]) as on:
        response = await on.client.get(URL)
        told = [event for event in events if not isinstance(event, (Retried, GaveUp))]
        kinds = [type(event) for event in told if not (isinstance(event, AttemptEnded) and event.number == 1)]
        assert kinds[1:] == [AttemptStarted, HedgeSent, AttemptStarted, AttemptEnded, HedgeWon, CallEnded]
        assert len({event.call for event in events}) == 1
        sent = next(event for event in events if isinstance(event, HedgeSent))
        assert (sent.arm, sent.delay) == (2, 1.0)
        first, second = holdfast.history(response).attempts
        assert (first.number, first.started, first.duration, first.status, first.error) == (
            1,
            0.0,
            1.5,
            None,
            "Superseded",
        )
        assert (second.number, second.started, second.duration, second.status) == (2, 1.0, 0.5, 200)


async def test_the_users_predicate_is_asked_of_each(family: FamilyModules) -> None:
    retry = Retry(retry_if=lambda response, _: response.content == b"no")
    no = Reply(200, body=b"no", headers={"content-length": "2"})
    yes = Reply(200, body=b"yes", headers={"content-length": "3"})
    async with stage(family, [no, yes, no, no], hedge=FIXED, retry=retry) as on:
        assert (await on.client.get(URL)).text == "yes"
        with pytest.raises(ResponseRejected):
            await on.client.get(URL)


@pytest.mark.parametrize("at", [0.5, 1.2])
async def test_closing_the_transport_ends_the_call_by_name(family: FamilyModules, at: float) -> None:
    async with stage(family, [LATE, LATE], hedge=FIXED) as on:
        ended: list[float] = []

        async def call() -> None:
            with pytest.raises(holdfast.Closed):
                await on.client.get(URL)
            ended.append(on.clock.monotonic())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await on.clock.sleep(at)
            await on.client.aclose()
        assert (ended, on.script.in_flight, on.script.closed) == ([at], 0, True)


async def test_closing_waits_for_what_was_left_behind(family: FamilyModules) -> None:
    async with stage(family, [LATE, SECOND], hedge=FIXED) as on:
        await on.client.get(URL)
        await on.client._transport.aclose(drain=10.0)
        assert (on.script.in_flight, on.script.closed) == (0, True)
        assert nothing_is_held(on)


async def test_a_transport_that_is_closing_lets_the_first_end_and_sends_no_second(family: FamilyModules) -> None:
    async with stage(family, [LATE], hedge=FIXED) as on, anyio.create_task_group() as tasks:
        tasks.start_soon(get_text, on, "late")
        await on.clock.sleep(0.5)
        with anyio.move_on_after(5.0):
            tasks.start_soon(partial(on.client._transport.aclose, drain=30.0))
            await on.clock.sleep(10.0)
        assert len(on.script.sent) == 1
        assert of_origin(on, "retries_left") == pytest.approx(10.2)


async def get_text(on: Stage, text: str) -> None:
    assert (await on.client.get(URL)).text == text


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_nothing_is_held_and_the_budget_keeps(family: FamilyModules, seed: int) -> None:
    """Calls side by side, with all that an origin, a deadline and a caller without patience can do."""
    dice = random.Random(seed)

    def serve(_: int, request: Any) -> Answer:
        delay = dice.choice((0.0, 0.1, 0.99, 1.0, 1.5, 3.0))
        long = {"content-length": "300000"}
        answers: list[Answer] = [
            Reply(200, delay=delay, body=b"x"),
            Reply(200, delay=delay, body=(b"x" * 100_000,) * 3, headers=long, every=0.1),
            Reply(503, delay=delay),
            Reply(503, delay=delay, headers={"retry-after": "1"}),
            Fails("ReadError", delay=delay),
            Fails("PoolTimeout", delay=delay),
            Hangs(),
        ]
        return dice.choice(answers)

    hedge = Hedge(delay=1.0, arms=dice.choice((2, 3)), retried=seed == 1)
    settings: dict[str, Any] = {"hedge": hedge, "attempt_timeout": 4.0, "concurrency": ConcurrencyLimit(12)}
    settings |= {"rate_limit": RateLimit(20, burst=20), "budget": RetryBudget(reserve=10, ratio=0.2, window=1000.0)}
    calls = 60
    async with stage(family, serve, breaker=CircuitBreaker(failures=8, open_for=1.0), **settings) as on:

        async def caller() -> None:
            await on.clock.sleep(dice.uniform(0.0, 10.0))
            options = {"holdfast": {"deadline": dice.uniform(0.5, 8.0)}}
            patience = on.clock.timeout_at(on.clock.monotonic() + dice.choice((0.5, 1.0, 1.2, 100.0)))
            with patience, contextlib.suppress(family.http.TransportError):
                await on.client.get(URL, extensions=options)

        async with anyio.create_task_group() as callers:
            for _ in range(calls):
                callers.start_soon(caller)
        await on.clock.sleep(60.0)
        assert nothing_is_held(on)
        assert (of_origin(on, "concurrency")["waiting"], of_origin(on, "rate_limit")["waiting"]) == (0, 0)
        assert of_origin(on, "retries_left") >= 0
        assert len(on.script.sent) <= calls + 10 + 0.2 * calls


async def test_the_request_object_may_be_sent_again_at_once(family: FamilyModules) -> None:
    """On httpx 0.28.1 the arm that lost is still under way then."""
    async with stage(family, [LATE, SECOND, SECOND], hedge=FIXED) as on:
        request = on.client.build_request("GET", URL)
        before = dict(request.extensions)
        for _ in range(2):
            assert (await on.client.send(request)).text == "second"
            assert request.extensions == before


@pytest.mark.parametrize(
    "script",
    [lambda: [LATE, SECOND], lambda: [Fails("ReadError"), Fails("ReadError")], lambda: [Fails("ReadError"), SECOND]],
    ids=["won", "failed", "one failed"],
)
async def test_a_hedged_call_leaves_no_reference_cycle(
    family: FamilyModules, script: Callable[[], list[Answer]]
) -> None:
    async with stage(family, script(), hedge=Hedge(delay=1.0)) as on:
        gc.collect()
        gc.disable()
        try:
            with contextlib.suppress(family.http.ReadError):
                await on.client.get(URL)
            await on.clock.sleep(20.0)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            ours = [thing for thing in gc.garbage if type(thing).__module__.startswith("holdfast.policies.hedge")]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert ours == []
