"""Fallback: which failures are answered in another way, in which order, and how the answer says so."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
import tenacity

import holdfast
from holdfast import (
    Cache,
    CircuitBreaker,
    CircuitOpen,
    ConcurrencyLimit,
    Failure,
    Fallback,
    IdempotencyKeys,
    RateLimit,
    Retry,
    Substitute,
)
from holdfast.client import Call, Resource, Service, accessor
from holdfast.events import CallEnded, Event, FallbackFailed, FellBack
from holdfast.testing import Fails, Hangs, Reply, ScriptedTransport
from holdfast.testing.scripted import Answer, Step
from tests.cache_origin import answer
from tests.faults.wire import HALF_READ
from tests.scripting import URL, Stage, stage
from tests.support import FamilyModules, spelled

pytestmark = pytest.mark.anyio
A, B, C = "http://api.test", "https://b.test", "http://c.test:8080/mirror"
GIVEN: Mapping[str, int] = {"visits": 0}
ONCE: dict[str, Any] = {"retry": None}


def of(operation: str) -> dict[str, Any]:
    return {"extensions": {"holdfast": {"operation": operation}}}


def hosts(on: Stage) -> list[str]:
    return [dict(sent.headers).get(b"Host", b"").decode() for sent in on.script.sent]


# What is a failure


@pytest.mark.parametrize(
    ("came", "settings", "falls"),
    [
        (Reply(500), {}, True),
        (Reply(503), {}, True),
        (Reply(501), {}, False),
        (Reply(400), {}, False),
        (Reply(401), {}, False),
        (Reply(404), {}, False),
        (Reply(429), {}, False),
        (Reply(429), {"on": (429,)}, True),
        (Reply(503), {"on": (429,)}, False),
        (Reply(503), {"on": (503, CircuitOpen)}, True),
        (Fails("ConnectError"), {}, True),
        (Fails("ReadTimeout"), {}, True),
        (Fails("RemoteProtocolError"), {}, True),
        (Fails("PoolTimeout"), {}, True),
        (Fails("UnsupportedProtocol"), {}, False),
        (Fails("LocalProtocolError"), {}, False),
        (Fails("UnsupportedProtocol"), {"on": (Exception,)}, False),
        (Fails("ConnectError"), {"on": (503, CircuitOpen)}, False),
        (Fails("ConnectError"), {"on": (OSError,)}, False),
        (Hangs(), {}, True),
    ],
    ids=spelled,
)
async def test_failures_are_of_the_server_the_network_or_our_policies(
    family: FamilyModules, came: Answer, settings: dict[str, Any], falls: bool
) -> None:
    fallback = Fallback(values={"Stats.get": GIVEN}, **settings)
    async with stage(family, [came], **ONCE, fallback=fallback, deadline=5.0) as on:
        try:
            got = await on.client.get(URL, **of("Stats.get"))
        except family.http.HTTPError:
            assert not falls
        else:
            assert (got.json() == GIVEN if falls else got.status_code == getattr(came, "status", None)) is True
            assert (holdfast.history(got).source == "fallback") is falls


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"breaker": CircuitBreaker(failures=1)}, "circuit_open"),
        ({"rate_limit": RateLimit(0.001), "breaker": None}, "rate_limited"),
        ({"concurrency": ConcurrencyLimit(1, max_queue=0), "breaker": None}, "concurrency_full"),
    ],
)
async def test_refusals_of_ours_are_failures_too(family: FamilyModules, settings: dict[str, Any], reason: str) -> None:
    fallback = Fallback(default=GIVEN)
    script = [Reply(503, body=(b"x", b"y"))]
    async with stage(family, script, **ONCE, fallback=fallback, buffer_body=False, **settings) as on:
        async with on.client.stream("GET", URL, extensions={"holdfast": {"fallback": False}}):
            got = await on.client.get(URL)
        told = holdfast.history(got)
        assert (got.json(), told.source, told.fallback, told.reason) == (GIVEN, "fallback", "default", reason)
        assert len(on.script.sent) == 1


async def test_a_call_that_is_cancelled_gets_nothing_in_its_place(family: FamilyModules) -> None:
    asked: list[Failure] = []
    async with stage(family, [Hangs()], fallback=Fallback(default=asked.append)) as on:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(on.client.get, URL)
                await on.clock.sleep(1)
                scope.cancel()
        assert (asked, on.script.in_flight) == ([], 0)
        assert on.pipeline.snapshot()["fallback"] == dict.fromkeys(
            ("failover", "stale", "value", "default", "none", "raised"), 0
        )


async def test_a_mistake_in_our_own_code_is_not_hidden(family: FamilyModules) -> None:
    def hook(request: Any, attempt: int) -> None:
        raise ZeroDivisionError

    async with stage(family, [], fallback=Fallback(default=GIVEN), hooks=[hook]) as on:
        with pytest.raises(ZeroDivisionError):
            await on.client.get(URL)


@HALF_READ
async def test_an_answer_that_cannot_be_decoded_is_not_hidden(family: FamilyModules) -> None:
    broken = Reply(200, headers={"Content-Encoding": "gzip"}, body=b"no gzip")
    async with stage(family, [broken], fallback=Fallback(default=GIVEN)) as on:
        with pytest.raises(family.http.DecodingError):
            await on.client.get(URL)


async def test_a_transport_that_is_closed_says_so(family: FamilyModules) -> None:
    async with stage(family, [], fallback=Fallback(default=GIVEN)) as on:
        transport = family.holdfast.ResilientTransport(on.pipeline, inner=on.script)
        await transport.aclose()
        with pytest.raises(holdfast.Closed):
            await transport.handle_async_request(family.http.Request("GET", URL))


async def test_who_waits_while_the_transport_is_closed_is_told_so(family: FamilyModules) -> None:
    settings: dict[str, Any] = {"concurrency": ConcurrencyLimit(1), "fallback": Fallback(default=GIVEN)}
    came: list[BaseException] = []
    async with stage(family, [Hangs()], **settings) as on:

        async def ask() -> None:
            with pytest.raises(holdfast.HoldfastError) as caught:
                await on.client.get(URL)
            came.append(caught.value)

        async with anyio.create_task_group() as group:
            group.start_soon(on.client.get, URL)
            await on.clock.sleep(1)
            group.start_soon(ask)
            await on.clock.sleep(1)
            await on.client._transport.aclose()
            await on.clock.sleep(1)
            group.cancel_scope.cancel()
        assert [type(error).__name__ for error in came] == ["Closed"]


async def test_who_is_cancelled_while_a_value_is_made_leaves_nothing_open(family: FamilyModules) -> None:
    script = [Reply(503, body=(b"x" * 1000, b"y"), then=Hangs())]
    fallback = Fallback(default=_hangs, timeout=1000.0)
    async with stage(family, script, **ONCE, fallback=fallback, buffer_body=False) as on:
        async with anyio.create_task_group() as group:
            group.start_soon(on.client.get, URL)
            await on.clock.sleep(1)
            assert on.pipeline.snapshot()["origins"]["http://api.test:80"]["concurrency"]["in_use"] == 1
            group.cancel_scope.cancel()
        assert on.pipeline.snapshot()["origins"]["http://api.test:80"]["concurrency"]["in_use"] == 0


async def test_a_mistake_that_only_the_other_origin_meets_is_not_hidden_either(family: FamilyModules) -> None:
    def circuit(request: Any) -> str:
        return {"api.test": "a"}[request.url.host]

    settings: dict[str, Any] = {
        **ONCE,
        "breaker": CircuitBreaker(key=circuit),
        "fallback": Fallback(failover={A: (B,)}),
    }
    async with stage(family, [Reply(503)], **settings) as on:
        with pytest.raises(holdfast.InvalidOption):
            await on.client.get(URL)


async def test_all_retries_come_first_and_the_history_has_them(family: FamilyModules) -> None:
    retry = Retry(attempts=3, wait_throttled=tenacity.wait_fixed(1))
    async with stage(family, [Reply(503), Reply(503), Reply(503)], retry=retry, fallback=Fallback(default=GIVEN)) as on:
        got = await on.client.get(URL)
        told = holdfast.history(got)
        assert [one.status for one in told.attempts] == [503, 503, 503]
        assert (told.reason, told.fallback, on.times) == ("attempts", "default", [0.0, 1.0, 2.0])
        assert got.extensions["holdfast"]["fallback"] == "default"


async def test_one_request_may_do_without(family: FamilyModules) -> None:
    async with stage(family, [Reply(503)], **ONCE, fallback=Fallback(default=GIVEN)) as on:
        assert (await on.client.get(URL, extensions={"holdfast": {"fallback": False}})).status_code == 503


# Values


@pytest.mark.parametrize(
    ("given", "body", "kind"),
    [
        ({"a": [1, None, "ü"]}, '{"a":[1,null,"ü"]}'.encode(), "application/json"),
        ([], b"[]", "application/json"),
        (0, b"0", "application/json"),
        (False, b"false", "application/json"),
        ("", b'""', "application/json"),
        (Substitute(b"a,b", headers={"Content-Type": "text/csv"}), b"a,b", "text/csv"),
        (lambda failure: {"lost": failure.attempts}, b'{"lost":1}', "application/json"),
    ],
)
async def test_a_value_becomes_a_whole_response(family: FamilyModules, given: Any, body: bytes, kind: str) -> None:
    async with stage(family, [Reply(503)], repeat_last=True, **ONCE, fallback=Fallback(default=given)) as on:
        got = await on.client.get(URL)
        assert (got.status_code, got.content, got.headers["content-type"]) == (200, body, kind)
        assert (got.headers["content-length"], got.elapsed is not None) == (str(len(body)), True)
        head = await on.client.head(URL)
        assert (head.content, head.headers["content-length"]) == (b"", str(len(body)))
        async with on.client.stream("GET", URL) as streamed:
            assert b"".join([chunk async for chunk in streamed.aiter_bytes()]) == body
        assert on.pipeline.snapshot()["origins"]["http://api.test:80"]["concurrency"]["in_use"] == 0


async def test_a_function_sees_how_the_call_failed_and_may_wait(family: FamilyModules) -> None:
    seen: list[Failure] = []
    clock: list[Any] = []

    async def supply(failure: Failure) -> Substitute:
        seen.append(failure)
        await clock[0].sleep(0.5)
        return Substitute(b"x", status=203, age=90.0)

    async with stage(family, [Reply(503), Fails("ReadError")], **ONCE, fallback=Fallback(default=supply)) as on:
        clock.append(on.clock)
        got = await on.client.get(URL, **of("Stats.get"))
        await on.client.get(URL)
        assert (got.status_code, got.headers["age"], holdfast.history(got).age) == (203, "90", 90.0)
        first, second = seen
        assert (first.response is not None and first.response.status_code, first.error) == (503, None)
        assert (first.reason, first.attempts, first.operation) == ("status_503", 1, "Stats.get")
        assert (first.key, str(first.request.url)) == ("http://api.test:80", URL)
        assert (second.response, type(second.error), second.reason) == (None, family.http.ReadError, "ReadError")


@pytest.mark.parametrize(
    ("request_options", "name"),
    [
        (of("Users.get"), "Users.get"),
        ({"extensions": {"holdfast": {"template": "/users/{id}"}}}, "/users/{id}"),
        ({}, "/things"),
        ({"params": {"page": "2"}}, "/things"),
        (of("Other"), "/things"),
    ],
)
async def test_values_are_found_by_operation_or_template(
    family: FamilyModules, request_options: dict[str, Any], name: str
) -> None:
    values = {name: {"from": name} for name in ("Users.get", "/users/{id}", "/things", "/things/{id}")}
    async with stage(family, [Reply(503)], **ONCE, fallback=Fallback(values=values)) as on:
        got = await on.client.get(URL, **request_options)
        assert (got.json(), holdfast.history(got).fallback) == ({"from": name}, name)


@dataclass
class Visits:
    visits: int


class Stats(Resource, path="/stats"):
    def get(self) -> Call[Visits]:
        return self.GET("", Visits)


class Shop(Service):
    stats = accessor(Stats)


async def test_a_resource_finds_the_value_of_its_operation_and_says_what_it_is(family: FamilyModules) -> None:
    script: ScriptedTransport[Any, Any] = ScriptedTransport(family.holdfast.FAMILY, [Reply(503)])
    pipeline = holdfast.Pipeline(**ONCE, fallback=Fallback(values={"Stats.get": {"visits": 7}}))
    async with Shop(A, pipeline=pipeline, transport=script, family=family.name) as shop:  # type: ignore[arg-type]
        reply = await shop.stats.get().reply()
        assert (reply.value, reply.source, reply.status) == (Visits(7), "fallback", 200)


@pytest.mark.parametrize(
    ("method", "settings", "falls"),
    [
        ("GET", {"default": GIVEN}, True),
        ("HEAD", {"default": GIVEN}, True),
        ("OPTIONS", {"default": GIVEN}, True),
        ("POST", {"default": GIVEN}, False),  # nothing was done, and it would say that it was
        ("DELETE", {"default": GIVEN}, False),
        ("POST", {"values": {"/things": GIVEN}}, True),  # named by its user, who knows
    ],
)
async def test_a_default_never_passes_for_the_success_of_a_change(
    family: FamilyModules, method: str, settings: dict[str, Any], falls: bool
) -> None:
    async with stage(family, [Reply(503)], **ONCE, fallback=Fallback(**settings)) as on:
        got = await on.client.request(method, URL)
        assert got.status_code == (200 if falls else 503)


def _raises(failure: Failure) -> Any:
    raise ZeroDivisionError("secret")


async def _raises_later(failure: Failure) -> Any:
    raise ZeroDivisionError("secret")


async def _hangs(failure: Failure) -> Any:
    await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("supply", "error"),
    [
        (_raises, "ZeroDivisionError"),
        (_raises_later, "ZeroDivisionError"),
        (lambda failure: b"bytes are no JSON", "TypeError"),
        (lambda failure: {"a": float("nan")}, "TypeError"),
    ],
)
async def test_a_function_that_raises_leaves_it_to_the_next_way_and_is_reported(
    family: FamilyModules, supply: Callable[[Failure], Any], error: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Event] = []
    fallback = Fallback(values={"Stats.get": supply}, default=GIVEN)
    async with stage(family, [Reply(503)], repeat_last=True, **ONCE, fallback=fallback, listeners=[told.append]) as on:
        for _ in range(3):
            got = await on.client.get(URL, **of("Stats.get"))
            assert (got.json(), holdfast.history(got).fallback) == (GIVEN, "default")
        failed = [event for event in told if isinstance(event, FallbackFailed)]
        assert [(event.source, event.error, event.operation) for event in failed] == [
            ("Stats.get", error, "Stats.get")
        ] * 3
        assert on.pipeline.snapshot()["fallback"] | {"raised": 3, "default": 3} == on.pipeline.snapshot()["fallback"]
        assert len(caplog.records) == 1  # a flood of failures is not a flood of lines


async def test_a_function_that_takes_too_long_is_given_up(family: FamilyModules) -> None:
    clocks: list[Any] = []

    async def slow(failure: Failure) -> Any:
        await clocks[0].sleep(10)

    fallback = Fallback(values={"Stats.get": slow}, default=GIVEN, timeout=2.0)
    async with stage(family, [Reply(503)], **ONCE, fallback=fallback) as on:
        clocks.append(on.clock)
        assert (await on.client.get(URL, **of("Stats.get"))).json() == GIVEN
        assert (on.clock.monotonic(), on.pipeline.snapshot()["fallback"]["raised"]) == (2.0, 1)


@pytest.mark.parametrize("came", [Reply(503, body=b"sorry"), Fails("ReadError")])
async def test_where_no_way_gives_anything_the_caller_gets_the_failure(family: FamilyModules, came: Answer) -> None:
    fallback = Fallback(values={"Stats.get": lambda failure: None, "Other": GIVEN})
    async with stage(family, [came], **ONCE, fallback=fallback) as on:
        if isinstance(came, Reply):
            got = await on.client.get(URL, **of("Stats.get"))
            assert (got.status_code, got.content, holdfast.history(got).source) == (503, b"sorry", "origin")
        else:
            with pytest.raises(family.http.ReadError):
                await on.client.get(URL, **of("Stats.get"))
        assert on.pipeline.snapshot()["fallback"]["none"] == 1


async def test_the_answer_that_is_not_used_is_closed(family: FamilyModules) -> None:
    script = [Reply(503, body=(b"x" * 1000, b"y"), then=Hangs())]
    async with stage(family, script, **ONCE, fallback=Fallback(default=GIVEN), buffer_body=False) as on:
        assert (await on.client.get(URL)).json() == GIVEN
        assert on.pipeline.snapshot()["origins"]["http://api.test:80"]["concurrency"]["in_use"] == 0


async def test_a_deadline_that_is_over_still_leaves_values(family: FamilyModules) -> None:
    seen: list[Failure] = []

    def supply(failure: Failure) -> Any:
        seen.append(failure)
        return GIVEN

    fallback = Fallback(failover={A: (B,)}, default=supply)
    async with stage(family, [Fails("ReadTimeout", delay=3.0)], fallback=fallback, deadline=3.0) as on:
        got = await on.client.get(URL)
        assert (got.json(), holdfast.history(got).reason, on.clock.monotonic()) == (GIVEN, "deadline", 3.0)
        assert isinstance(seen[0].error, holdfast.DeadlineExceeded)
        assert len(on.script.sent) == 1  # no time for a failover


async def test_everybody_who_listens_is_told(family: FamilyModules) -> None:
    told: list[Event] = []
    fallback = Fallback(default=Substitute(b"", age=5.0))
    async with stage(family, [Fails("ReadError")], **ONCE, fallback=fallback, listeners=[told.append]) as on:
        await on.client.get(URL)
    (fell,) = (event for event in told if isinstance(event, FellBack))
    (ended,) = (event for event in told if isinstance(event, CallEnded))
    assert (fell.source, fell.reason, fell.age, fell.key) == ("default", "ReadError", 5.0, "http://api.test:80")
    assert (ended.outcome, ended.source, ended.reason, ended.status) == ("fallback", "fallback", "ReadError", 200)


# Stale


@pytest.mark.parametrize(
    ("stale", "said", "after", "given"),
    [
        (True, "max-age=60", 86_400, True),
        (3600.0, "max-age=60", 3600, True),
        (3600.0, "max-age=60", 3700, False),
        (0.5, "max-age=60", 60.4, True),
        (0.5, "max-age=60", 61, False),
        (True, "max-age=60, must-revalidate", 61, False),
        (True, "max-age=60, no-cache", 1, False),
        (True, "no-store", 1, False),
    ],
)
async def test_a_stored_answer_stands_in_unless_its_origin_forbids_it(
    family: FamilyModules, stale: bool | float, said: str, after: float, given: bool
) -> None:
    script: list[Step] = [answer(b"old", Cache_Control=said, ETag='"a"'), Fails("ConnectError")]
    settings: dict[str, Any] = {"cache": Cache(), "fallback": Fallback(stale=stale, default=GIVEN), **ONCE}
    async with stage(family, script, **settings) as on:
        await on.client.get(URL)
        await on.clock.sleep(after)
        got = await on.client.get(URL)
        told = holdfast.history(got)
        if given:
            assert (got.content, got.headers["age"]) == (b"old", str(int(after)))
            assert (told.source, told.fallback, told.cache, told.age) == ("fallback", "stale", "stale", after)
            assert 'detail="fallback"' in got.headers["cache-status"]
        else:
            assert told.fallback == "default"
        counts = on.pipeline.snapshot()
        assert (counts["fallback"]["stale"], counts["cache"]["instead_of_error"]) == (int(given), int(given))


async def test_one_users_stored_answer_is_not_anothers(family: FamilyModules) -> None:
    script: list[Step] = [answer(b"mine"), Reply(503), Reply(503)]
    settings: dict[str, Any] = {"cache": Cache(), "fallback": Fallback(stale=True), **ONCE}
    async with stage(family, script, **settings) as on:
        await on.client.get(URL, headers={"Authorization": "Bearer me"})
        await on.clock.sleep(61)
        assert (await on.client.get(URL, headers={"Authorization": "Bearer you"})).status_code == 503
        assert (await on.client.get(URL, headers={"Authorization": "Bearer me"})).content == b"mine"


async def test_who_wants_a_stored_answer_alone_is_told_that_there_is_none(family: FamilyModules) -> None:
    settings: dict[str, Any] = {"cache": Cache(), "fallback": Fallback(stale=True, default=GIVEN)}
    async with stage(family, [], **settings) as on:
        assert (await on.client.get(URL, extensions={"holdfast": {"cache": "only"}})).status_code == 504


# Failover


async def test_the_call_goes_to_the_other_base_urls_in_turn_with_what_is_left_of_its_time(
    family: FamilyModules,
) -> None:
    script: list[Step] = [Fails("ReadTimeout", delay=10.0), Fails("ConnectError"), Reply(200, body=b"here")]
    fallback = Fallback(failover={A: (B, C)})
    async with stage(family, script, **ONCE, fallback=fallback, deadline=15.0) as on:
        got = await on.client.get(URL, params={"q": "1"})
        told = holdfast.history(got)
        assert (got.content, told.source, told.fallback, told.reason) == (
            b"here",
            "fallback",
            "failover",
            "ReadTimeout",
        )
        assert [str(sent) for sent in on.script.sent] == [
            "GET /things?q=1",
            "GET /things?q=1",
            "GET /mirror/things?q=1",
        ]
        assert hosts(on) == ["api.test", "b.test", "c.test:8080"]
        assert on.times == [0.0, 10.0, 10.0]
        assert [(one.number, one.error) for one in told.attempts] == [
            (1, "ReadTimeout"),
            (2, "ConnectError"),
            (3, None),
        ]
        assert on.pipeline.snapshot()["fallback"]["failover"] == 1


async def test_the_second_server_gets_no_more_than_the_time_that_is_left(family: FamilyModules) -> None:
    script: list[Step] = [Fails("ReadTimeout", delay=10.0), Hangs()]
    async with stage(family, script, **ONCE, fallback=Fallback(failover={A: (B, C)}), deadline=15.0) as on:
        with pytest.raises(holdfast.DeadlineExceeded):
            await on.client.get(URL)
        assert on.times == [0.0, 10.0]  # C is not asked any more
        assert 15.0 <= on.clock.monotonic() < 15.5


async def test_the_other_server_has_retries_a_circuit_and_limits_of_its_own(family: FamilyModules) -> None:
    retry = Retry(attempts=2, wait_throttled=tenacity.wait_fixed(1))
    breaker = CircuitBreaker(failures=2)
    script = [Reply(503), Reply(503), Reply(503), Reply(200), Reply(200), Reply(200)]
    async with stage(family, script, retry=retry, breaker=breaker, fallback=Fallback(failover={A: (B,)})) as on:
        await on.client.get(URL)
        await on.client.get(URL, extensions={"holdfast": {"key": "named"}})  # the circuit of A is not of that key
        assert hosts(on) == ["api.test", "api.test", "b.test", "b.test", "api.test"]
        got = await on.client.get(URL)
        assert holdfast.history(got).reason == "circuit_open"
        assert hosts(on)[5:] == ["b.test"]
        origins = on.pipeline.snapshot()["origins"]
        assert origins["http://api.test:80"]["circuit"]["state"] == "open"
        assert origins["https://b.test:443"]["circuit"]["state"] == "closed"


SECRETS = {
    "Authorization": "Bearer a",
    "Cookie": "session=a",
    "X-Api-Key": "a",
    "X-Auth-Token": "a",
    "Accept": "text/plain",
    "X-Version": "3",
}


@pytest.mark.parametrize(
    ("keep", "carried", "query"),
    [
        ((), {"accept", "x-version"}, "/things?q=1"),
        (("authorization",), {"accept", "x-version", "authorization"}, "/things?q=1"),
        (("X-API-Key", "api_key"), {"accept", "x-version", "x-api-key"}, "/things?api_key=a&q=1"),
    ],
)
async def test_credentials_stay_with_the_origin_that_they_are_for(
    family: FamilyModules, keep: tuple[str, ...], carried: set[str], query: str
) -> None:
    fallback = Fallback(failover={A: (B,)}, keep=keep)
    async with stage(family, [Reply(503), Reply(200)], **ONCE, fallback=fallback) as on:
        url = "http://user:password@api.test/things"
        await on.client.get(url, params={"api_key": "a", "q": "1"}, headers=SECRETS)
        first, second = on.script.sent
        names = {name.lower() for name in SECRETS}
        assert {name.decode().lower() for name, _ in first.headers} >= names
        assert {name.decode().lower() for name, _ in second.headers} & names == carried
        assert (second.path, b"user" in b"".join(value for _, value in second.headers)) == (query, False)


async def test_the_name_that_a_certificate_must_have_is_of_one_origin(family: FamilyModules) -> None:
    sent: list[dict[str, Any]] = []

    def script(number: int, request: Any) -> Answer:
        sent.append(request.extensions)
        return Reply(503) if number == 1 else Reply(200)

    async with stage(family, script, **ONCE, fallback=Fallback(failover={A: (B,)})) as on:
        own = {"sni_hostname": "api.test", "target": b"/raw", "trace": None, "holdfast": {"operation": "Things.get"}}
        await on.client.get(URL, extensions=own)
        first, second = (set(extensions) for extensions in sent)
        assert first - second == {"sni_hostname", "target"}


@pytest.mark.parametrize(("keep", "stored"), [((), {}), (("set-cookie",), {"session": "b"})])
async def test_a_cookie_of_the_other_origin_does_not_become_one_of_the_first(
    family: FamilyModules, keep: tuple[str, ...], stored: dict[str, str]
) -> None:
    fallback = Fallback(failover={A: (B,)}, keep=keep)
    script = [Reply(503), Reply(200, headers={"Set-Cookie": "session=b"})]
    async with stage(family, script, **ONCE, fallback=fallback) as on:
        await on.client.get(URL)
        assert dict(on.client.cookies) == stored


@pytest.mark.parametrize("status", [401, 403, 407, 503])
async def test_an_answer_that_only_lacks_our_credentials_is_none(family: FamilyModules, status: int) -> None:
    async with stage(family, [Reply(502), Reply(status)], **ONCE, fallback=Fallback(failover={A: (B,)})) as on:
        got = await on.client.get(URL)
        assert (got.status_code, holdfast.history(got).source) == (502, "origin")


@pytest.mark.parametrize(
    ("method", "came", "options", "asked"),
    [
        ("POST", Reply(503), {}, False),
        ("POST", Fails("ReadTimeout"), {}, False),
        ("POST", Fails("ConnectError"), {}, True),
        ("POST", Reply(503), {"idempotent": True}, True),
        ("PUT", Reply(503), {}, True),
        ("GET", Reply(503), {}, True),
    ],
)
async def test_what_may_have_been_done_is_not_done_again_elsewhere(
    family: FamilyModules, method: str, came: Answer, options: dict[str, Any], asked: bool
) -> None:
    async with stage(family, [came, Reply(200)], **ONCE, fallback=Fallback(failover={A: (B,)})) as on:
        sending = on.client.request(method, URL, content=b"body", extensions={"holdfast": options})
        if isinstance(came, Fails) and not asked:
            with pytest.raises(family.http.ReadTimeout):
                await sending
        else:
            assert ((await sending).status_code == 200) is asked
        assert hosts(on) == (["api.test", "b.test"] if asked else ["api.test"])


async def test_a_key_goes_along_but_does_not_make_it_safe(family: FamilyModules) -> None:
    settings: dict[str, Any] = {**ONCE, "fallback": Fallback(failover={A: (B,)}), "idempotency": IdempotencyKeys()}
    async with stage(family, [Fails("ConnectError"), Reply(200), Reply(503)], **settings) as on:
        await on.client.post(URL)
        keys = [dict(sent.headers)[b"Idempotency-Key"] for sent in on.script.sent]
        assert keys[0] == keys[1]
        assert (await on.client.post(URL)).status_code == 503


async def test_a_body_that_nobody_has_read_goes_along(family: FamilyModules) -> None:
    async def chunks() -> Any:
        yield b"once"

    script: list[Step] = [Fails("ConnectError"), Reply(200)]
    async with stage(family, script, **ONCE, fallback=Fallback(failover={A: (B,)})) as on:
        assert (await on.client.put(URL, content=chunks())).status_code == 200
        assert hosts(on) == ["api.test", "b.test"]


@pytest.mark.parametrize(
    "fallback",
    [Fallback(default=GIVEN), Fallback(values={"Other": GIVEN}), Fallback(failover={A: (B,)})],
    ids=["a default", "nothing", "failover"],
)
async def test_no_way_leaves_a_reference_cycle(family: FamilyModules, fallback: Fallback) -> None:
    settings: dict[str, Any] = {**ONCE, "breaker": None, "fallback": fallback}
    async with stage(family, [Fails("ReadTimeout")], repeat_last=True, **settings) as on:
        transport = on.client._transport

        async def call() -> None:
            with contextlib.suppress(family.http.ReadTimeout):
                response = await transport.handle_async_request(family.http.Request("GET", URL))
                await response.aread()

        await call()  # what is made once is made now
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                await call()
            assert gc.collect() == 0
        finally:
            gc.enable()


async def test_a_call_without_another_base_url_fails_as_ever(family: FamilyModules) -> None:
    async with stage(family, [Reply(503)], **ONCE, fallback=Fallback(failover={"http://else.test": (B,)})) as on:
        assert (await on.client.get(URL)).status_code == 503


async def test_a_stored_answer_of_the_other_server_is_its_own(family: FamilyModules) -> None:
    script: list[Step] = [Reply(503), answer(b"of b"), Reply(503)]
    settings: dict[str, Any] = {**ONCE, "cache": Cache(), "fallback": Fallback(failover={A: (B,)})}
    async with stage(family, script, **settings) as on:
        await on.client.get(URL)
        await on.clock.sleep(5)
        got = await on.client.get(URL)
        told = holdfast.history(got)
        assert (got.content, told.fallback, told.cache, told.age) == (b"of b", "failover", "hit", 5.0)
        assert hosts(on) == ["api.test", "b.test", "api.test"]


async def test_each_way_has_its_turn(family: FamilyModules) -> None:
    fallback = Fallback(failover={A: (B,)}, stale=True, values={"Stats.get": GIVEN}, default={"any": True})
    script: list[Step] = [answer(b"old"), *(Reply(status) for status in (503, 200, 503, 503, 503, 503, 503, 503))]
    async with stage(family, script, **ONCE, cache=Cache(), fallback=fallback) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        ways = [holdfast.history(await on.client.get(URL)).fallback for _ in range(2)]
        ways += [holdfast.history(await on.client.get(f"{A}/x", **of("Stats.get"))).fallback]
        ways += [holdfast.history(await on.client.get(f"{A}/y")).fallback]
        assert ways == ["failover", "stale", "Stats.get", "default"]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({}, ValueError),
        ({"stale": -1.0}, ValueError),
        ({"stale": float("inf")}, ValueError),
        ({"values": {"": 1}}, ValueError),
        ({"values": {"a": b""}}, TypeError),
        ({"default": object()}, TypeError),
        ({"default": {1, 2}}, TypeError),
        ({"default": 1, "on": (401,)}, ValueError),
        ({"default": 1, "on": (200,)}, ValueError),
        ({"default": 1, "on": ("503",)}, TypeError),
        ({"default": 1, "on": (KeyboardInterrupt,)}, TypeError),
        ({"default": 1, "timeout": 0.0}, ValueError),
        ({"default": 1, "keep": "Authorization"}, TypeError),
        ({"failover": {A: B}}, TypeError),
        ({"failover": {"api.test": (B,)}}, ValueError),
        ({"failover": {A: ("https://user:pass@b.test",)}}, ValueError),
    ],
    ids=spelled,
)
def test_a_setting_that_cannot_be_is_refused(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Fallback(**settings)


def test_stale_answers_need_a_cache() -> None:
    with pytest.raises(ValueError, match="cache"):
        holdfast.Pipeline(fallback=Fallback(stale=True))


@pytest.mark.parametrize("settings", [{"status": 101}, {"status": 600}, {"age": -1.0}])
def test_a_substitute_is_an_answer(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Substitute(b"", **settings)
