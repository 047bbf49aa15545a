"""What is sent again, when, and what the caller gets: both families, both event loops, virtual time."""

from __future__ import annotations

import contextlib
import gc
import random
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
import tenacity

import holdfast
from holdfast import DecorrelatedJitter, EqualJitter, FullJitter, ProportionalJitter, Retry, RetryBudget
from holdfast.testing import Fails, Hangs, Reply, ScriptMismatch
from holdfast.testing.scripted import Step
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
QUICK = Retry(wait=tenacity.wait_fixed(1), wait_throttled=tenacity.wait_fixed(2))
ALONE: dict[str, Any] = {"breaker": None, "concurrency": None}


@pytest.mark.parametrize(
    ("method", "options", "headers", "answer", "sends"),
    [
        ("GET", {}, {}, Reply(503), 3),
        ("GET", {}, {}, Reply(500), 3),
        ("GET", {}, {}, Reply(429), 3),
        ("GET", {}, {}, Reply(408), 3),
        ("QUERY", {}, {}, Reply(502), 3),
        ("PUT", {}, {}, Fails("ReadTimeout"), 3),
        ("DELETE", {}, {}, Fails("RemoteProtocolError"), 3),
        ("GET", {}, {}, Reply(400), 1),
        ("GET", {}, {}, Reply(401), 1),
        ("GET", {}, {}, Reply(404), 1),
        ("GET", {}, {}, Reply(409), 1),
        ("GET", {}, {}, Reply(422), 1),
        ("GET", {}, {}, Reply(501), 1),
        ("GET", {}, {}, Reply(505), 1),
        ("GET", {}, {}, Fails("PoolTimeout"), 1),
        ("GET", {}, {}, Fails("LocalProtocolError"), 1),
        ("GET", {}, {}, Fails("UnsupportedProtocol"), 1),
        ("POST", {}, {}, Reply(503), 1),
        ("POST", {}, {}, Fails("ReadTimeout"), 1),
        ("PATCH", {}, {}, Fails("WriteError"), 1),
        ("POST", {}, {}, Reply(429), 3),
        ("POST", {}, {}, Reply(425), 3),
        ("POST", {}, {}, Reply(421), 3),
        ("POST", {}, {}, Fails("ConnectError"), 3),
        ("POST", {}, {}, Fails("ConnectTimeout"), 3),
        ("POST", {"idempotent": True}, {}, Reply(503), 3),
        ("POST", {}, {"Idempotency-Key": "k"}, Fails("ReadError"), 3),
        ("POST", {}, {"Idempotency-Key": "k"}, Reply(409), 3),
        ("GET", {"attempts": 1}, {}, Reply(503), 1),
        ("GET", {"attempts": 5}, {}, Reply(503), 5),
        ("GET", {}, {"x-stainless-retry-count": "0"}, Reply(503), 3),
        ("GET", {}, {"x-stainless-retry-count": "1"}, Reply(503), 1),
    ],
    ids=str,
)
async def test_only_what_may_be_sent_again_is(
    family: FamilyModules,
    method: str,
    options: dict[str, Any],
    headers: dict[str, str],
    answer: Any,
    sends: int,
) -> None:
    async with stage(family, [answer], repeat_last=True, retry=QUICK, **ALONE) as on:
        extensions = {"holdfast": options} if options else {}
        sending = on.client.request(method, URL, headers=headers, extensions=extensions)
        if isinstance(answer, Reply):
            assert (await sending).status_code == answer.status
        else:
            with pytest.raises(getattr(family.http, answer.error)):
                await sending
        assert len(on.script.sent) == sends


@pytest.mark.parametrize(
    ("said", "status", "method", "sends"),
    [
        ("true", 500, "GET", 3),
        ("true", 418, "GET", 3),
        ("true", 503, "POST", 1),  # never against the safety of the method
        ("false", 503, "GET", 1),
        ("perhaps", 503, "GET", 3),
        ("true", 200, "GET", 1),
    ],
)
async def test_the_servers_own_word_is_heeded(
    family: FamilyModules, said: str, status: int, method: str, sends: int
) -> None:
    reply = Reply(status, headers={"x-should-retry": said})
    async with stage(family, [reply], repeat_last=True, retry=QUICK, **ALONE) as on:
        await on.client.request(method, URL)
        assert len(on.script.sent) == sends


@pytest.mark.parametrize(
    ("header", "value", "gap"),
    [
        ("Retry-After", "7", 7.35),
        ("Retry-After", "0", 1.0),  # may retry now, but our backoff stays the floor
        ("retry-after-ms", "3500", 3.675),
        ("Retry-After", "Fri, 15 Jan 2027 08:00:04 GMT", 4.2),
        ("Retry-After", "Friday, 15-Jan-27 08:00:04 GMT", 4.2),
        ("Retry-After", "Fri Jan 15 08:00:04 2027", 4.2),
        ("Retry-After", "Fri, 15 Jan 2021 08:00:04 GMT", 1.0),  # past
        *[
            ("Retry-After", value, 2.0)
            for value in (
                "soon",
                "-5",
                "1e309",
                "nan",
                "\u0663",
                "9" * 400,
                "Fri, 15 Jan 99999 08:00:04 GMT",
                "",
            )
        ],
    ],
)
async def test_retry_after_is_never_undercut(family: FamilyModules, header: str, value: str, gap: float) -> None:
    def far_side(number: int, request: Any) -> Reply:
        return Reply(503, headers={header: value}) if number == 1 else Reply(200)

    async with stage(family, far_side, retry=QUICK, **ALONE) as on:
        assert (await on.client.get(URL)).status_code == 200
        assert on.times == [0.0, pytest.approx(gap)]


async def test_a_date_counts_from_the_servers_own_clock(family: FamilyModules) -> None:
    headers = {"Date": "Mon, 01 Jan 2024 00:00:00 GMT", "Retry-After": "Mon, 01 Jan 2024 00:00:06 GMT"}
    async with stage(family, [Reply(429, headers=headers), Reply(200)], retry=QUICK, **ALONE) as on:
        await on.client.get(URL)
        assert on.times == [0.0, pytest.approx(6.3)]


@pytest.mark.parametrize(
    ("value", "deadline"),
    [("86400", 30.0), ("121", 600.0), ("5", 4.0), ("Sat, 16 Jan 2027 08:00:00 GMT", 1.0)],
)
async def test_a_server_delay_that_cannot_fit_ends_the_call_at_once(
    family: FamilyModules, value: str, deadline: float
) -> None:
    reply = Reply(503, headers={"Retry-After": value}, body=b"later")
    async with stage(family, [reply], retry=QUICK, deadline=deadline, **ALONE) as on:
        response = await on.client.get(URL)
        assert (response.status_code, response.content, on.clock.monotonic()) == (503, b"later", 0.0)
        assert holdfast.history(response).reason == "retry_after_exceeds_deadline"


async def test_the_last_response_is_handed_back_open_and_readable(family: FamilyModules) -> None:
    async with stage(family, [Reply(503, body=b"a"), Reply(503, body=b"b"), Reply(500, body=b"c")], **ALONE) as on:
        async with on.client.stream("GET", URL) as response:
            assert not response.is_closed
            assert await response.aread() == b"c"
        with pytest.raises(family.http.HTTPStatusError):
            response.raise_for_status()
        told = holdfast.history(response)
        assert [attempt.status for attempt in told.attempts] == [503, 503, 500]
        assert told.reason == "attempts"


async def test_the_last_exception_is_handed_back_as_it_is(family: FamilyModules) -> None:
    script: list[Step] = [Reply(503), Fails("ConnectError"), Fails("ReadTimeout", message="the third")]
    async with stage(family, script, retry=QUICK, **ALONE) as on:
        with pytest.raises(family.http.ReadTimeout, match="the third") as caught:
            await on.client.get(URL)
        assert caught.value.request.url == URL
        told = holdfast.history(caught.value)
        assert [(attempt.status, attempt.error) for attempt in told.attempts] == [
            (503, None), (None, "ConnectError"), (None, "ReadTimeout"),
        ]  # fmt: skip
        assert told.waits == {"backoff": 3.0}
        assert caught.value.__notes__ == ["holdfast: 3 attempts in 3.00 s, gave up: attempts"]


async def test_a_cut_body_is_a_failed_attempt_when_it_is_small(family: FamilyModules) -> None:
    cut = Reply(200, headers={"Content-Length": "6"}, body=b"abc", then=Fails("RemoteProtocolError"))
    async with stage(family, [cut, Reply(200, headers={"Content-Length": "6"}, body=b"abcdef")], **ALONE) as on:
        response = await on.client.get(URL)
        assert (response.content, len(on.script.sent)) == (b"abcdef", 2)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/event-stream"},
        {"Content-Type": "application/x-ndjson"},
        {"Content-Length": "300000"},
        {},
    ],
    ids=str,
)
async def test_a_stream_that_breaks_is_never_restarted(family: FamilyModules, headers: dict[str, str]) -> None:
    cut = Reply(200, headers=headers, body=(b"one", b"two"), then=Fails("ReadError"))
    async with stage(family, [cut], **ALONE) as on:
        async with on.client.stream("GET", URL) as response:
            received: list[bytes] = []

            async def read() -> None:
                async for chunk in response.aiter_raw():
                    received.append(chunk)  # noqa: PERF401 - what came before the break counts

            with pytest.raises(family.http.ReadError):
                await read()
        assert (received, len(on.script.sent)) == ([b"one", b"two"], 1)


@pytest.mark.parametrize("size", [256 * 1024, 256 * 1024 + 1])
async def test_json_of_unknown_length_passes_through_where_it_grows_too_long(family: FamilyModules, size: int) -> None:
    reply = Reply(200, headers={"Content-Type": "application/json"}, body=(b"x" * 1000, b"y" * (size - 1000)))
    async with stage(family, [reply], **ALONE) as on:
        assert (await on.client.get(URL)).content == b"x" * 1000 + b"y" * (size - 1000)


@pytest.mark.parametrize("body", [b"", b"x" * 2000, b"x" * 70_000])
async def test_a_failed_answer_is_drained_before_the_wait_and_still_readable(
    family: FamilyModules, body: bytes
) -> None:
    pieces = tuple(body[start : start + 10_000] for start in range(0, len(body), 10_000))
    script = [Reply(503, body=pieces), Reply(200)]
    async with stage(family, script, buffer_body=False, rate_limit=holdfast.RateLimit(1, per=0.5), **ALONE) as on:
        response = await on.client.get(URL)
        assert response.status_code == 200


async def test_a_refusal_between_attempts_hands_back_the_last_real_answer(family: FamilyModules) -> None:
    script = [Reply(503, body=(b"first", b"answer"))]
    async with stage(
        family,
        script,
        retry=QUICK,
        breaker=holdfast.CircuitBreaker(failures=1),
        concurrency=None,
        buffer_body=False,
    ) as on:
        response = await on.client.get(URL)
        assert (response.status_code, response.content) == (503, b"firstanswer")
        assert holdfast.history(response).reason == "circuit_open"


async def test_a_body_too_long_to_drain_is_named_if_it_is_wanted_after_all(family: FamilyModules) -> None:
    script = [Reply(503, body=(b"x" * 40_000,) * 2, then=Hangs())]
    async with (
        stage(family, script, retry=QUICK, breaker=holdfast.CircuitBreaker(failures=1), concurrency=None) as on,
        on.client.stream("GET", URL) as response,
    ):
        assert response.status_code == 503
        with pytest.raises(holdfast.BodyDropped) as caught:
            await response.aread()
        assert isinstance(caught.value, family.http.HTTPError)


async def chunks() -> AsyncIterator[bytes]:
    yield b"one"
    yield b"shot"


@pytest.mark.parametrize(
    ("answer", "sends", "reason"),
    [(Reply(503), 1, "body_not_replayable"), (Fails("ConnectError"), 3, "attempts")],
    ids=str,
)
async def test_a_one_shot_body_is_sent_again_only_if_nothing_of_it_was_read(
    family: FamilyModules, answer: Any, sends: int, reason: str
) -> None:
    read: list[bytes] = []

    async def far_side(request: Any) -> Any:
        if isinstance(answer, Fails):
            raise family.http.ConnectError("refused")
        read.extend([chunk async for chunk in request.stream])
        return family.http.Response(503, stream=family.http.ByteStream(b"busy"))

    calls: list[int] = []

    class Inner:
        async def handle_async_request(self, request: Any) -> Any:
            calls.append(1)
            return await far_side(request)

        async def aclose(self) -> None:
            pass

    pipeline = holdfast.Pipeline(retry=Retry(wait=tenacity.wait_none(), wait_throttled=tenacity.wait_none()))
    transport = family.holdfast.ResilientTransport(pipeline, inner=Inner())
    async with family.http.AsyncClient(transport=transport) as client:
        try:
            outcome: Any = await client.put(URL, content=chunks())
            assert outcome.status_code == 503
        except family.http.ConnectError as error:
            outcome = error
    assert len(calls) == sends
    assert holdfast.history(outcome).reason == reason


@pytest.mark.parametrize("replayable", [False, True])
async def test_multipart_is_replayed_only_if_declared(family: FamilyModules, replayable: bool) -> None:
    extensions = {"holdfast": {"replayable": replayable}}

    def far_side(number: int, request: Any) -> Any:
        return Fails("ReadError") if number == 1 else Reply(200)

    async with stage(family, far_side, retry=QUICK, **ALONE) as on:
        upload = on.client.put(URL, files={"file": b"data"}, extensions=extensions)
        if replayable:
            assert (await upload).status_code == 200
        else:
            with pytest.raises(family.http.ReadError) as caught:
                await upload
            assert holdfast.history(caught.value).reason == "body_not_replayable"
        assert [b"data" in sent.body for sent in on.script.sent] == [True] * (1 + replayable)


async def test_retry_if_turns_down_answers_that_look_good(family: FamilyModules) -> None:
    retry = Retry(
        retry_if=lambda response, attempt: response.headers.get("x-state") == "pending", wait=tenacity.wait_fixed(1)
    )
    pending, done = Reply(200, headers={"x-state": "pending"}), Reply(200, headers={"x-state": "done"})
    async with stage(family, [pending, pending, done], retry=retry, **ALONE) as on:
        assert (await on.client.get(URL)).headers["x-state"] == "done"
    async with stage(family, [pending], repeat_last=True, retry=retry, **ALONE) as on:
        with pytest.raises(holdfast.ResponseRejected) as caught:
            await on.client.get(URL)
        assert isinstance(caught.value, family.http.TransportError)
        assert (caught.value.status_code, len(on.script.sent)) == (200, 3)
    async with stage(family, [pending], repeat_last=True, retry=retry, **ALONE) as on:
        with pytest.raises(holdfast.ResponseRejected):
            await on.client.post(URL)
        assert len(on.script.sent) == 1


@pytest.mark.parametrize(
    ("retry", "times"),
    [
        (Retry(attempts=4, wait=tenacity.wait_fixed(2) + tenacity.wait_fixed(1)), [0.0, 3.0, 6.0, 9.0]),
        (Retry(attempts=4, wait=tenacity.wait_exponential(multiplier=1)), [0.0, 1.0, 3.0, 7.0]),
        (Retry(attempts=9, wait=tenacity.wait_fixed(2), stop=tenacity.stop_after_attempt(2)), [0.0, 2.0]),
        (Retry(attempts=9, wait=tenacity.wait_fixed(2), stop=tenacity.stop_after_delay(4)), [0.0, 2.0, 4.0]),
        (Retry(attempts=9, wait=tenacity.wait_fixed(2), stop=tenacity.stop_before_delay(4)), [0.0, 2.0]),
        (Retry(wait=tenacity.wait_chain(tenacity.wait_fixed(1), tenacity.wait_fixed(5))), [0.0, 1.0, 6.0]),
        (Retry(attempts=4, wait=FullJitter(base=1.0)), [0.0, 0.5, 1.5, 3.5]),
        (Retry(attempts=4, wait=EqualJitter(base=1.0)), [0.0, 0.75, 2.25, 5.25]),
        (Retry(attempts=4, wait=ProportionalJitter(base=1.0, cap=3.0)), [0.0, 1.0, 3.0, 6.0]),
        (Retry(attempts=4, wait=DecorrelatedJitter(base=1.0, cap=4.0)), [0.0, 2.0, 5.5, 9.5]),
    ],
)
async def test_waits_and_stops_are_tenacitys_and_ours(family: FamilyModules, retry: Retry, times: list[float]) -> None:
    async with stage(family, [Reply(502)], repeat_last=True, retry=retry, **ALONE) as on:
        await on.client.get(URL)
        assert on.times == [pytest.approx(at) for at in times]


async def test_the_default_wait_is_full_jitter_and_longer_when_throttled(family: FamilyModules) -> None:
    gaps: dict[int, list[float]] = {502: [], 503: []}
    random.seed(7)
    for status in (502, 503):
        for _ in range(40):
            async with stage(family, [Reply(status)], repeat_last=True, budget=None, **ALONE) as on:
                await on.client.get(URL)
                gaps[status].append(on.times[1])
    for status, base in ((502, 0.1), (503, 1.0)):
        assert 0 <= min(gaps[status]) < 0.2 * base
        assert 0.8 * base < max(gaps[status]) <= base
        assert sum(gaps[status]) / 40 == pytest.approx(base / 2, rel=0.3)


async def test_a_tenacity_retry_strategy_chooses_what_to_send_again(family: FamilyModules) -> None:
    retry = Retry(
        retry=tenacity.retry_if_result(lambda response: response.status_code == 418),
        wait=tenacity.wait_fixed(1),
    )
    async with stage(family, [Reply(418), Reply(503)], retry=retry, **ALONE) as on:
        assert (await on.client.get(URL)).status_code == 503
        assert len(on.script.sent) == 2


async def test_twenty_callers_do_not_mix_their_attempts(family: FamilyModules) -> None:
    seen: dict[str, int] = {}

    def far_side(number: int, request: Any) -> Reply:
        path = request.url.path
        seen[path] = seen.get(path, 0) + 1
        return Reply(503, delay=0.1) if seen[path] < 3 else Reply(200, body=path.encode(), delay=0.1)

    async with stage(family, far_side, retry=QUICK, budget=None, **ALONE) as on:
        results: dict[int, bytes] = {}

        async def call(number: int) -> None:
            response = await on.client.get(f"http://api.test/{number}")
            results[number] = response.content
            assert len(holdfast.history(response).attempts) == 3

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(call, number)
        assert results == {number: f"/{number}".encode() for number in range(20)}


@pytest.mark.parametrize(
    ("budget", "calls", "most"),
    [(RetryBudget(), 1000, 1210), (RetryBudget(ratio=0.0, reserve=5), 100, 105), (None, 100, 300)],
    ids=str,
)
async def test_a_total_outage_costs_no_more_than_the_budget(
    family: FamilyModules, budget: RetryBudget | None, calls: int, most: int
) -> None:
    retry = Retry(wait=tenacity.wait_fixed(0.01), wait_throttled=tenacity.wait_fixed(0.01))
    async with stage(family, [Reply(503)], repeat_last=True, retry=retry, budget=budget, **ALONE) as on:
        reasons = []
        async with anyio.create_task_group() as tasks:

            async def call() -> None:
                reasons.append(holdfast.history(await on.client.get(URL)).reason)

            for _ in range(calls):
                tasks.start_soon(call)
        assert on.clock.monotonic() < 10.0
        assert calls < len(on.script.sent) <= most
        assert set(reasons) <= {"attempts", "budget_exhausted"}


async def test_the_budget_slides_and_is_kept_by_origin(family: FamilyModules) -> None:
    budget = RetryBudget(ratio=0.0, reserve=1, window=10.0)
    async with stage(family, [Reply(502)], repeat_last=True, retry=QUICK, budget=budget, **ALONE) as on:
        sends = []
        for wait, url in [(0, URL), (0, URL), (0, "http://other.test/"), (7, URL), (10, URL)]:
            await on.clock.sleep(wait)
            before = len(on.script.sent)
            await on.client.get(url)
            sends.append(len(on.script.sent) - before)
        assert sends == [2, 1, 2, 1, 2]


async def test_a_cancelled_backoff_gives_its_retry_back_and_sends_nothing_later(
    family: FamilyModules,
) -> None:
    budget = RetryBudget(ratio=0.0, reserve=1)
    async with stage(family, [Reply(502)], repeat_last=True, retry=QUICK, budget=budget, jump=False, **ALONE) as on:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(on.client.get, URL)
            await on.clock.advance(0.5)
            assert on.pipeline.snapshot()["origins"]["http://api.test:80"]["retries_left"] == 0
            tasks.cancel_scope.cancel()
        await on.clock.advance(60)
        assert len(on.script.sent) == 1
        assert on.pipeline.snapshot()["origins"]["http://api.test:80"]["retries_left"] == 1


async def test_a_layer_over_a_layer_does_not_multiply(family: FamilyModules) -> None:
    async with stage(family, [Reply(502)], repeat_last=True, retry=QUICK, **ALONE) as inner:
        transport = family.holdfast.ResilientTransport(
            holdfast.Pipeline(retry=QUICK, clock=inner.clock, **ALONE), inner=inner.client._transport
        )
        async with family.http.AsyncClient(transport=transport) as client:
            await client.get(URL)
        assert len(inner.script.sent) == 3


async def test_hooks_sign_each_attempt_afresh(family: FamilyModules) -> None:
    async def sign(request: Any, attempt: int) -> None:
        request.headers["x-nonce"] = f"n{attempt}"

    def trace(request: Any, attempt: int) -> None:
        request.headers["x-trace"] = "t"

    async with stage(family, [Reply(503)], repeat_last=True, retry=QUICK, hooks=(sign, trace), **ALONE) as on:
        response = await on.client.get(URL, headers={"Idempotency-Key": "same"})
        carried = [dict(sent.headers) for sent in on.script.sent]
        assert [headers[b"x-nonce"] for headers in carried] == [b"n1", b"n2", b"n3"]
        assert {headers[b"Idempotency-Key"] for headers in carried} == {b"same"}
        assert "x-nonce" not in response.request.headers


async def test_a_script_mismatch_is_no_transport_error(family: FamilyModules) -> None:
    async with stage(family, [], **ALONE) as on:
        with pytest.raises(ScriptMismatch, match="GET /things"):
            await on.client.get(URL)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attempts": 0}, "at least 1, got 0"),
        ({"methods": frozenset({"post"})}, "names such as .POST., got .post."),
        ({"max_server_delay": -1.0}, "got -1.0"),
        ({"statuses": frozenset({200})}, "got 200"),
        ({"min_attempt_time": float("inf")}, "got inf"),
    ],
)
def test_settings_are_checked_where_they_are_made(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Retry(**settings)


async def test_closing_ends_a_backoff_with_the_last_real_answer(family: FamilyModules) -> None:
    waiting = Retry(wait_throttled=tenacity.wait_fixed(20))
    async with stage(family, [Reply(503, body=b"busy")], retry=waiting, jump=False, **ALONE) as on:
        answers: list[Any] = []

        async def call() -> None:
            answers.append(await on.client.get(URL))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await on.clock.advance(5.0)
            await on.client._transport.aclose()
        assert (answers[0].content, holdfast.history(answers[0]).reason) == (b"busy", "closed")
        assert on.clock.monotonic() == 5.0


async def test_a_predicate_may_read_a_small_body_and_the_caller_still_reads_it(family: FamilyModules) -> None:
    retry = Retry(retry_if=lambda response, attempt: response.json()["state"] != "done", wait=tenacity.wait_fixed(1))
    json = {"Content-Type": "application/json"}
    script = [Reply(headers=json, body=b'{"state": "pending"}'), Reply(headers=json, body=b'{"state": "done"}')]
    async with stage(family, script, retry=retry, **ALONE) as on:
        async with on.client.stream("GET", URL) as response:
            assert await response.aread() == b'{"state": "done"}'
        assert response.elapsed.total_seconds() >= 0


async def test_a_call_that_fails_for_good_leaves_no_reference_cycle(family: FamilyModules) -> None:
    async with stage(family, [Fails("ReadTimeout")], repeat_last=True, retry=QUICK, **ALONE) as on:
        transport = on.client._transport

        async def call() -> None:
            request = family.http.Request("GET", URL)
            with contextlib.suppress(family.http.ReadTimeout):
                await transport.handle_async_request(request)

        await call()  # what is made once is made now
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                await call()
            assert gc.collect() == 0
        finally:
            gc.enable()
