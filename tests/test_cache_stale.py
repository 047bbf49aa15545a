"""Answers after their time: while the origin is asked, and in place of its errors."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sniffio

import holdfast
from holdfast import Cache, CircuitBreaker, ConcurrencyLimit, RateLimit, Retry
from holdfast.testing import Fails, Hangs, Reply, ScriptedTransport, ScriptMismatch
from holdfast.testing.scripted import Answer, Step
from tests.cache_origin import Resource, answer, status_of, stream, told
from tests.faults.wire import running_tasks
from tests.scripting import URL, Stage, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
WHILE = "max-age=60, stale-while-revalidate=30"
IF_ERROR = "max-age=60, stale-if-error=300"
CACHED: dict[str, Any] = {"cache": Cache(), "breaker": None}
ONCE: dict[str, Any] = {**CACHED, "retry": None}


def resource(said: str = WHILE, **more: Any) -> Resource:
    return Resource(headers={"Cache-Control": said}, **more)


async def ask_at_once(on: Stage, count: int, headers: Callable[[int], dict[str, str]] = lambda number: {}) -> list[Any]:
    outcomes: list[Any] = [None] * count

    async def one(number: int) -> None:
        try:
            outcomes[number] = await on.client.get(URL, headers=headers(number))
        except Exception as error:
            outcomes[number] = error

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(one, number)
    return outcomes


def other_transport(family: FamilyModules, on: Stage, script: list[Step]) -> tuple[ScriptedTransport[Any, Any], Any]:
    """A second transport on the pipeline, and its own far side."""
    far_side: ScriptedTransport[Any, Any] = ScriptedTransport(family.holdfast.FAMILY, script, clock=on.clock)
    return far_side, family.holdfast.ResilientTransport(on.pipeline, inner=far_side)


# While the origin is asked


async def test_a_stale_answer_comes_at_once_and_the_next_is_fresh(family: FamilyModules) -> None:
    origin = resource(delay=2.0)
    async with stage(family, origin, **CACHED) as on:
        await on.client.get(URL)
        origin.version = 2
        await on.clock.sleep(70)
        asked = on.clock.monotonic()
        stale = await on.client.get(URL)
        assert (stale.content, on.clock.monotonic()) == (b"version 1", asked)
        assert (told(stale), stale.headers["age"]) == (("cache", "stale"), "72")  # it took two seconds to come
        assert status_of(stale) == 'holdfast; hit; ttl=-12; detail="stale-while-revalidate"'
        assert (holdfast.history(stale).age, holdfast.history(stale).attempts) == (72.0, ())
        await on.clock.sleep(3)
        fresh = await on.client.get(URL)
        assert (fresh.content, told(fresh)) == (b"version 2", ("cache", "hit"))
        assert origin.statuses == [200, 200]
        assert on.pipeline.snapshot()["cache"]["stale"] == 1


async def test_a_crowd_makes_one_fetch_in_the_background_and_whoever_cannot_wait_for_less_joins_it(
    family: FamilyModules,
) -> None:
    origin = resource(delay=2.0)
    async with stage(family, origin, **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        insists = {"Cache-Control": "max-age=10"}
        responses = await ask_at_once(on, 100, lambda number: insists if number in (50, 99) else {})
        assert origin.statuses == [200, 304]
        kinds = [told(response)[1] for response in responses]
        assert (kinds.count("stale"), kinds.count("collapsed")) == (98, 2)
        assert on.clock.monotonic() == 65.0


async def test_only_within_its_time_and_only_for_those_who_want_no_fresher_one(family: FamilyModules) -> None:
    async with stage(family, resource(), **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(91)
        assert told(await on.client.get(URL))[1] == "revalidated"
        await on.clock.sleep(61)
        assert told(await on.client.get(URL, headers={"Cache-Control": "max-age=61"}))[1] == "revalidated"
        await on.clock.sleep(61)
        assert (await on.client.get(URL, headers={"Cache-Control": "only-if-cached"})).status_code == 504


async def test_the_fetch_is_a_call_of_its_own_with_the_deadline_of_the_pipeline(family: FamilyModules) -> None:
    script: list[Step] = [answer(Cache_Control=WHILE), Hangs(), Fails("ReadError"), answer(b"new")]
    async with stage(family, script, cache=Cache(), breaker=None, attempt_timeout=5.0, deadline=20.0) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        await on.client.get(URL, extensions={"holdfast": {"deadline": 0.1}})
        await on.clock.sleep(12)
        assert len(on.script.sent) == 4
        assert (await on.client.get(URL)).content == b"new"


@pytest.mark.parametrize(
    "trouble",
    [answer(status=503, Cache_Control=""), Fails("ConnectError"), stream(b"x", then=Fails("ReadError")), Hangs()],
    ids=["503", "no connection", "cut body", "hangs"],
)
async def test_a_failed_fetch_leaves_what_is_stored_and_the_next_caller_tries_again(
    family: FamilyModules, trouble: Answer
) -> None:
    script: list[Step] = [answer(b"old", Cache_Control=WHILE), trouble, answer(b"new")]
    async with stage(family, script, deadline=5.0, **ONCE) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        for _ in range(2):
            assert (await on.client.get(URL)).content == b"old"
            await on.clock.sleep(7)
        assert (await on.client.get(URL)).content == b"new"
        cache = on.pipeline.snapshot()["cache"]
        assert (cache["fetching"], cache["stored"]) == (0, 2)
        assert cache["failed_refreshes"] == 1


async def test_an_open_circuit_keeps_the_background_quiet(family: FamilyModules) -> None:
    async with stage(family, [answer(Cache_Control=WHILE)], cache=Cache(), breaker=CircuitBreaker()) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        on.pipeline.circuits.force_open("http://api.test:80")
        for _ in range(20):
            assert told(await on.client.get(URL)) == ("cache", "stale")
            await on.clock.sleep(0.1)
        assert (len(on.script.sent), on.pipeline.snapshot()["cache"]["failed_refreshes"]) == (1, 2)


async def test_the_background_asks_for_the_whole_answer_whatever_its_caller_had(family: FamilyModules) -> None:
    script: list[Step] = [answer(b"old", Cache_Control=WHILE), answer(b"new", Cache_Control=WHILE)]
    async with stage(family, script, **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        mine = {"If-None-Match": '"mine"', "If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT", "X-Other": "1"}
        request = on.client.build_request("HEAD", URL, headers=mine)
        response = await on.client.send(request)
        assert (response.status_code, told(response), response.content) == (200, ("cache", "stale"), b"")
        await on.clock.sleep(0.1)
        sent = on.script.sent[-1]
        names = {name.lower() for name, _ in sent.headers}
        assert (sent.method, names & {b"if-none-match", b"if-modified-since"}) == ("GET", set())
        assert b"x-other" in names
        assert (request.method, request.headers["if-none-match"]) == ("HEAD", '"mine"')
        assert (await on.client.get(URL)).content == b"new"


@pytest.mark.parametrize("body", [stream(b"a", b"b", every=1.0), stream(*[b"x" * 60] * 10, every=1.0)])
async def test_a_body_is_read_in_the_background_if_it_will_be_stored(family: FamilyModules, body: Reply) -> None:
    script: list[Step] = [answer(b"old", Cache_Control=WHILE), body]
    async with stage(family, script, cache=Cache(max_entry_bytes=100), breaker=None) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        await on.client.get(URL)
        await on.clock.sleep(4)
        origin = on.pipeline.snapshot()["origins"]["http://api.test:80"]
        assert origin["concurrency"]["in_use"] == 0
        assert on.pipeline.snapshot()["cache"]["fetching"] == 0


async def test_what_was_changed_meanwhile_is_not_brought_back(family: FamilyModules) -> None:
    origin = resource(delay=2.0)
    async with stage(family, origin, **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        await on.client.get(URL)
        await on.client.post(URL)
        await on.clock.sleep(5)
        assert (await on.client.get(URL)).content == b"version 2"


@pytest.mark.parametrize("drain", [0.0, 0.2])
async def test_closing_ends_the_background_and_frees_what_it_holds(family: FamilyModules, drain: float) -> None:
    before = running_tasks()
    async with stage(family, [answer(Cache_Control=WHILE)], **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        far_side, transport = other_transport(family, on, [Hangs()])
        async with family.http.AsyncClient(transport=transport) as other:
            await other.get(URL)
            await on.clock.sleep(0.1)
            assert (far_side.in_flight, on.pipeline.snapshot()["cache"]["fetching"]) == (1, 1)
            await transport.aclose(drain=drain)
            assert (far_side.in_flight, running_tasks()) == (0, before)
        state = on.pipeline.snapshot()
        assert state["cache"]["fetching"] == state["origins"]["http://api.test:80"]["concurrency"]["in_use"] == 0


async def test_closing_in_the_same_step_leaves_nobody_waiting(family: FamilyModules) -> None:
    before = running_tasks()
    origin = resource(delay=1.0)
    async with stage(family, origin, **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        await on.client.get(URL)
        await on.client.aclose()
        assert (running_tasks(), on.pipeline.snapshot()["cache"]["fetching"]) == (before, 0)


async def test_one_who_waits_for_the_background_of_a_closed_transport_goes_on_alone(family: FamilyModules) -> None:
    async with stage(family, [answer(Cache_Control=WHILE), answer(b"mine")], **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        _, transport = other_transport(family, on, [Hangs()])
        joined: list[Any] = []

        async def join() -> None:
            joined.append(await on.client.get(URL, headers={"Cache-Control": "max-age=1"}))

        async with family.http.AsyncClient(transport=transport) as other, anyio.create_task_group() as group:
            await other.get(URL)
            await on.clock.sleep(0.1)
            group.start_soon(join)
            await on.clock.sleep(0.1)
            assert len(on.script.sent) == 1
            await other.aclose()
        assert joined[0].content == b"mine"


async def test_a_fault_of_ours_in_the_background_is_reported_once_and_harms_nobody(
    family: FamilyModules, caplog: pytest.LogCaptureFixture
) -> None:
    unheard: list[Any] = []
    if sniffio.current_async_library() == "asyncio":
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: unheard.append(context))
    async with stage(family, [answer(Cache_Control=WHILE)], **CACHED) as on:  # a second request breaks the script
        await on.client.get(URL)
        await on.clock.sleep(61)
        assert told(await on.client.get(URL)) == ("cache", "stale")
        await on.clock.sleep(1)
        assert on.pipeline.snapshot()["cache"]["fetching"] == 0
        assert told(await on.client.get(URL)) == ("cache", "stale")
    reports = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [type(record.exc_info and record.exc_info[1]) for record in reports] == [ScriptMismatch] * 2
    gc.collect()
    assert unheard == []


async def test_what_is_begun_by_a_call_that_is_cancelled_goes_on(family: FamilyModules) -> None:
    origin = resource(delay=2.0)
    async with stage(family, origin, **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        with anyio.CancelScope() as scope:
            await on.client.get(URL)
            scope.cancel()
            await anyio.lowlevel.checkpoint()
        await on.clock.sleep(3)
        assert told(await on.client.get(URL)) == ("cache", "hit")


# In place of errors

FAILURES: dict[str, tuple[Answer, str]] = {
    "500": (answer(status=500, Cache_Control=""), 'fwd=stale; fwd-status=500; ttl=-10; detail="stale-if-error"'),
    "502": (answer(status=502, Cache_Control=""), 'fwd=stale; fwd-status=502; ttl=-10; detail="stale-if-error"'),
    "503 of unknown length": (
        Reply(503, body=(b"x", b"y")),
        'fwd=stale; fwd-status=503; ttl=-10; detail="stale-if-error"',
    ),
    "504": (answer(status=504, Cache_Control=""), 'fwd=stale; fwd-status=504; ttl=-10; detail="stale-if-error"'),
    "closed": (Fails("RemoteProtocolError"), 'fwd=stale; ttl=-10; detail="stale-if-error, RemoteProtocolError"'),
    "no connection": (Fails("ConnectError"), 'fwd=stale; ttl=-10; detail="stale-if-error, ConnectError"'),
    "reset": (Fails("ReadError"), 'fwd=stale; ttl=-10; detail="stale-if-error, ReadError"'),
    "timeout": (Fails("ReadTimeout"), 'fwd=stale; ttl=-10; detail="stale-if-error, ReadTimeout"'),
    "no free connection": (Fails("PoolTimeout"), 'fwd=stale; ttl=-10; detail="stale-if-error, PoolTimeout"'),
    "body cut inside the attempt": (
        Reply(200, headers={"Content-Length": "4"}, body=(b"x",), then=Fails("ReadError")),
        'fwd=stale; ttl=-10; detail="stale-if-error, ReadError"',
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_stale_answer_stands_in_for_an_error(family: FamilyModules, failure: str) -> None:
    reply, said = FAILURES[failure]
    async with stage(family, [answer(b"old", Cache_Control=IF_ERROR), reply], **ONCE) as on:
        await on.client.get(URL)
        await on.clock.sleep(70)
        response = await on.client.get(URL)
        assert (response.status_code, response.content, told(response)) == (200, b"old", ("cache", "stale"))
        assert (status_of(response), response.headers["age"]) == (f"holdfast; {said}", "70")
        record = holdfast.history(response)
        assert (record.age, len(record.attempts)) == (70.0, 1)
        assert record.reason is not None
        state = on.pipeline.snapshot()
        assert state["origins"]["http://api.test:80"]["concurrency"]["in_use"] == 0
        assert (state["cache"]["fetching"], on.script.in_flight) == (0, 0)


@pytest.mark.parametrize(
    ("said", "asked", "settings", "serves"),
    [
        ("max-age=60, stale-if-error=9", "", {}, False),
        ("max-age=60", "", {}, False),
        ("max-age=60", "stale-if-error=20", {}, True),
        ("max-age=60", "", {"stale_if_error": 20.0}, True),
        ("", "", {"stale_if_error": 100.0}, True),
        ("max-age=60, must-revalidate, stale-if-error=99", "stale-if-error=99", {"stale_if_error": 99.0}, False),
        ("no-cache, stale-if-error=99", "", {"stale_if_error": 99.0}, False),
        ("max-age=60, proxy-revalidate, stale-if-error=99", "", {"shared": True}, False),
        ("max-age=60, stale-if-error=99", "no-cache", {}, False),
    ],
)
async def test_who_allows_it(
    family: FamilyModules, said: str, asked: str, settings: dict[str, Any], serves: bool
) -> None:
    script: list[Step] = [answer(b"old", Cache_Control=said, ETag='"a"'), Fails("ConnectError")]
    async with stage(family, script, retry=None, breaker=None, cache=Cache(**settings)) as on:
        await on.client.get(URL)
        await on.clock.sleep(70)
        headers = {"Cache-Control": asked} if asked else {}
        if serves:
            assert (await on.client.get(URL, headers=headers)).content == b"old"
        else:
            with pytest.raises(family.http.ConnectError):
                await on.client.get(URL, headers=headers)


@pytest.mark.parametrize(
    ("reply", "status"),
    [(answer(status=429, Cache_Control=""), 429), (answer(status=404, Cache_Control=""), 404)],
)
async def test_what_the_origin_says_of_the_request_is_not_hidden(
    family: FamilyModules, reply: Reply, status: int
) -> None:
    async with stage(family, [answer(Cache_Control=IF_ERROR), reply], **ONCE) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        assert (await on.client.get(URL)).status_code == status


@pytest.mark.parametrize("error", ["LocalProtocolError", "UnsupportedProtocol"])
async def test_a_mistake_of_the_callers_is_not_hidden(family: FamilyModules, error: str) -> None:
    async with stage(family, [answer(Cache_Control=IF_ERROR), Fails(error)], **ONCE) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        with pytest.raises(getattr(family.http, error)):
            await on.client.get(URL)


async def test_it_is_the_last_outcome_of_the_retries_that_counts(family: FamilyModules) -> None:
    script: list[Step] = [answer(Cache_Control=IF_ERROR), *[answer(status=503, Cache_Control="")] * 3, answer(b"new")]
    async with stage(family, script, breaker=None, cache=Cache(), retry=Retry(attempts=3)) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        record = holdfast.history(await on.client.get(URL))
        assert ([attempt.status for attempt in record.attempts], record.reason) == ([503] * 3, "attempts")
        assert (await on.client.get(URL)).content == b"new"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"breaker": CircuitBreaker()}, "circuit_open"),
        ({"rate_limit": RateLimit(1, per=1000.0, burst=2, max_wait=1.0)}, "rate_limited"),
        ({"concurrency": ConcurrencyLimit(1, max_queue=0)}, "concurrency_full"),
    ],
    ids=["circuit", "rate", "concurrency"],
)
async def test_also_when_a_policy_of_ours_refuses(family: FamilyModules, settings: dict[str, Any], reason: str) -> None:
    script: list[Step] = [answer(b"old", Cache_Control=IF_ERROR), stream(b"x", b"y")]
    async with stage(family, script, **{**CACHED, **settings}) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        async with on.client.stream("GET", URL + "/other") as held:
            if reason == "circuit_open":
                on.pipeline.circuits.force_open("http://api.test:80")
            response = await on.client.get(URL)
            assert (response.content, told(response)) == (b"old", ("cache", "stale"))
            assert response.extensions["holdfast"]["reason"] == reason
            assert status_of(response) == f'holdfast; hit; ttl=-1; detail="stale-if-error, {reason}"'
            await held.aread()
        assert len(on.script.sent) == 2


async def test_also_when_the_callers_time_is_over(family: FamilyModules) -> None:
    async with stage(family, [answer(b"old", Cache_Control=IF_ERROR), Hangs()], deadline=2.0, **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        response = await on.client.get(URL)
        assert (response.content, told(response)) == (b"old", ("cache", "stale"))
        assert on.clock.monotonic() == pytest.approx(63.0, abs=0.5)


async def test_cancellation_is_never_taken_for_an_error(family: FamilyModules) -> None:
    async with stage(family, [answer(Cache_Control=IF_ERROR), Hangs()], **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        answers: list[Any] = []
        with on.clock.timeout_at(62.0):
            answers.append(await on.client.get(URL))
        assert answers == []
        assert on.pipeline.snapshot()["cache"]["fetching"] == 0


async def test_a_closed_transport_is_no_error_of_the_origin(family: FamilyModules) -> None:
    async with stage(family, [answer(Cache_Control=IF_ERROR), Hangs()], **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        outcomes: list[Any] = []

        async def follow() -> None:
            outcomes.extend(await ask_at_once(on, 1))
            leader.cancel()

        async with anyio.create_task_group() as group:
            leader = anyio.CancelScope()

            async def lead() -> None:
                with leader:
                    await on.client.get(URL)

            group.start_soon(lead)
            await on.clock.sleep(0.1)
            group.start_soon(follow)
            await on.clock.sleep(0.1)
            await on.client.aclose()
        assert isinstance(outcomes[0], holdfast.Closed)


async def test_those_who_waited_for_the_one_that_failed_do_not_ask_again(family: FamilyModules) -> None:
    script: list[Step] = [answer(b"old", Cache_Control=IF_ERROR), answer(status=503, Cache_Control="", delay=1.0)]
    async with stage(family, script, **ONCE) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        responses = await ask_at_once(on, 100)
        assert {response.content for response in responses} == {b"old"}
        assert {told(response) for response in responses} == {("cache", "stale")}
        said = 'holdfast; fwd=stale; fwd-status=503; collapsed; ttl=-2; detail="stale-if-error"'
        assert [status_of(response) for response in responses].count(said) == 99
        assert len(on.script.sent) == 2


async def test_an_answer_that_was_removed_meanwhile_is_not_given(family: FamilyModules) -> None:
    script: list[Step] = [answer(Cache_Control=IF_ERROR), Fails("ConnectError", delay=2.0), Reply(204)]
    async with stage(family, script, **ONCE) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        outcomes: list[Any] = []

        async def ask() -> None:
            outcomes.extend(await ask_at_once(on, 1))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await on.clock.sleep(0.1)
            await on.client.delete(URL)
        assert isinstance(outcomes[0], family.http.ConnectError)


async def test_the_callers_condition_and_head_are_answered_from_the_stale_one_too(family: FamilyModules) -> None:
    script: list[Step] = [answer(b"old", Cache_Control=IF_ERROR, ETag='"a"'), Fails("ConnectError")]
    async with stage(family, script, repeat_last=True, **ONCE) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        assert (await on.client.get(URL, headers={"If-None-Match": '"a"'})).status_code == 304
        head = await on.client.head(URL)
        assert (head.status_code, head.content, told(head)) == (200, b"", ("cache", "stale"))
