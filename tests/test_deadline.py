"""How long may a call take? Deadlines and attempt timeouts, in virtual time, for both families and both loops."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
import tenacity

import holdfast
from holdfast import Pipeline, Retry
from holdfast.testing import Fails, Hangs, Reply
from holdfast.testing.scripted import Answer
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
QUICK = Retry(wait=tenacity.wait_fixed(1), wait_throttled=tenacity.wait_fixed(1))
ALONE: dict[str, Any] = {"breaker": None, "concurrency": None}


async def test_an_attempt_that_takes_too_long_is_a_read_timeout_and_is_sent_again(family: FamilyModules) -> None:
    async with stage(family, [Hangs(), Reply(200)], retry=QUICK, attempt_timeout=2.0, **ALONE) as on:
        response = await on.client.get(URL)
        assert on.times == [0.0, pytest.approx(3.0, abs=0.3)]
        first, second = holdfast.history(response).attempts
        assert (first.error, first.status, second.status) == ("ReadTimeout", None, 200)
        assert second.wait == 1.0


@pytest.mark.parametrize(
    ("script", "deadline", "ends_at", "sends", "error"),
    [
        ([Hangs()], 1.0, 1.0, 1, "DeadlineExceeded"),
        ([Fails("ReadTimeout", delay=1.0)], 1.0, 1.0, 1, "DeadlineExceeded"),  # as a socket's own timeout would come
        ([Fails("ReadTimeout", delay=1.0)], 1.5, 1.0, 1, "ReadTimeout"),  # the wait does not fit any more
        ([Fails("ConnectError"), Hangs()], 3.0, 3.0, 2, "DeadlineExceeded"),
    ],
    ids=str,
)
async def test_the_deadline_is_a_total(
    family: FamilyModules, script: list[Any], deadline: float, ends_at: float, sends: int, error: str
) -> None:
    async with stage(family, script, repeat_last=True, retry=QUICK, deadline=deadline, **ALONE) as on:
        with pytest.raises(family.http.HTTPError) as caught:
            await on.client.get(URL)
        assert type(caught.value).__name__ == error
        assert isinstance(caught.value, family.http.TimeoutException)
        assert on.clock.monotonic() == pytest.approx(ends_at, abs=0.3)
        assert len(on.script.sent) == sends


async def test_a_deadline_that_passed_sends_nothing(family: FamilyModules) -> None:
    async with stage(family, [Reply(302, headers={"Location": "/next"}, delay=2.0)], deadline=1.0, **ALONE) as on:
        with pytest.raises(holdfast.DeadlineExceeded):
            await on.client.get(URL, follow_redirects=True)
        assert len(on.script.sent) == 1


async def test_redirects_and_auth_share_one_deadline(family: FamilyModules) -> None:
    class Once(family.http.Auth):  # type: ignore[misc, name-defined]
        def auth_flow(self, request: Any) -> Any:
            response = yield request
            if response.status_code == 401:
                yield request

    hops = [
        Reply(302, headers={"Location": "/a"}, delay=1.0),
        Reply(401, delay=1.0),
        Reply(302, headers={"Location": "/b"}, delay=1.0),
        Reply(200, delay=9.0),
    ]
    options = {"holdfast": {"deadline": 4.0}}
    async with stage(family, hops, **ALONE) as on:
        with pytest.raises(holdfast.DeadlineExceeded) as caught:
            await on.client.get(URL, follow_redirects=True, auth=Once(), extensions=options)
        assert on.clock.monotonic() == pytest.approx(4.0, abs=0.3)
        assert (len(on.script.sent), caught.value.deadline) == (4, 4.0)
    assert options == {"holdfast": {"deadline": 4.0}}


async def test_one_request_sent_twice_has_its_whole_time_twice(family: FamilyModules) -> None:
    script = [Reply(401, delay=3.0), Reply(200, delay=3.0), Reply(200, delay=3.0)]
    async with stage(family, script, deadline=4.0, **ALONE) as on:
        request = on.client.build_request("GET", URL)
        assert (await on.client.send(request)).status_code == 401
        await on.clock.sleep(10.0)  # nobody took the call further: the stamp of the 401 is stale
        assert (await on.client.send(request)).status_code == 200
        assert (await on.client.send(request)).status_code == 200
        assert "holdfast.deadline" not in request.extensions


async def test_one_request_object_may_be_on_its_way_twice(family: FamilyModules) -> None:
    async with stage(family, [Reply(200, delay=1.0)], repeat_last=True, **ALONE) as on:
        request = on.client.build_request("GET", URL)
        before = request.extensions
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(on.client.send, request)
            tasks.start_soon(on.client.send, request)
        assert request.extensions is before
        assert len(on.script.sent) == 2


@pytest.mark.parametrize(
    ("covers", "headers", "fails"),
    [
        ("auto", {}, True),
        (True, {}, True),
        (False, {}, False),
        ("auto", {"Content-Type": "text/event-stream"}, False),
        (True, {"Content-Type": "text/event-stream"}, True),
        ("auto", {"Content-Length": "1000000"}, False),
    ],
    ids=str,
)
async def test_the_deadline_covers_bodies_that_are_no_streams(
    family: FamilyModules, covers: Any, headers: dict[str, str], fails: bool
) -> None:
    dripping = Reply(200, headers=headers, body=(b"x",) * 8, every=1.0)
    async with stage(family, [dripping], deadline=3.5, deadline_covers_body=covers, **ALONE) as on:
        if fails:
            with pytest.raises(holdfast.DeadlineExceeded) as caught:
                await on.client.get(URL)
            assert isinstance(caught.value, family.http.TimeoutException)
            assert on.clock.monotonic() == pytest.approx(3.5, abs=0.3)
        else:
            assert (await on.client.get(URL)).content == b"x" * 8


@pytest.mark.parametrize(
    ("timeout", "settings", "seen"),
    [
        ((5.0, 5.0, 5.0, 5.0), {}, (5.0, 5.0, 5.0, 5.0)),
        ((None, None, None, None), {}, (10.0, 10.0, 10.0, 10.0)),
        ((1.0, 60.0, 2.0, None), {"attempt_timeout": 4.0}, (1.0, 4.0, 2.0, 4.0)),
        ((None, 60.0, None, 60.0), {"deadline": 3.0}, (3.0, 3.0, 3.0, 3.0)),
        ((None, 60.0, None, 1.0), {"deadline": None, "attempt_timeout": None}, (None, 60.0, None, 1.0)),
    ],
)
async def test_each_attempt_narrows_the_clients_timeouts(
    family: FamilyModules, timeout: tuple[float | None, ...], settings: dict[str, Any], seen: tuple[float | None, ...]
) -> None:
    carried: list[dict[str, float | None]] = []

    def far_side(number: int, request: Any) -> Reply:
        carried.append(request.extensions["timeout"])
        return Reply(200)

    connect, read, write, pool = timeout
    given = family.http.Timeout(connect=connect, read=read, write=write, pool=pool)
    async with stage(family, far_side, **settings, **ALONE) as on:
        await on.client.get(URL, timeout=given)
    assert tuple(carried[0][name] for name in ("connect", "read", "write", "pool")) == seen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"atempts": 2}, "'atempts'"),
        ({"attempts": 0}, "attempts"),
        ({"attempts": True}, "attempts"),
        ({"deadline": -1.0}, "deadline"),
        ({"deadline": float("nan")}, "deadline"),
        ({"cost": "1"}, "cost"),
        ({"priority": 4}, "priority"),
        ({"priority": 0.5}, "priority"),
        ({"priority": True}, "priority"),
        ({"cache": "never"}, "cache"),
        ({"buffer_body": "yes"}, "buffer_body"),
        ({"key": ""}, "key"),
        ({"key": "half of a pair: \ud800"}, "key"),
        ("refresh", "str"),
    ],
    ids=str,
)
async def test_a_bad_option_is_named_and_nothing_is_sent(family: FamilyModules, options: Any, message: str) -> None:
    async with stage(family, [], **ALONE) as on:
        with pytest.raises(holdfast.InvalidOption, match=message) as caught:
            await on.client.get(URL, extensions={"holdfast": options})
        assert isinstance(caught.value, (ValueError, family.http.TransportError))
        assert on.script.sent == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"deadline": 0.0}, "deadline"),
        ({"deadline": float("inf")}, "deadline"),
        ({"attempt_timeout": -1.0}, "attempt_timeout"),
        ({"deadline": 5.0, "attempt_timeout": 6.0}, "longer than deadline"),
        ({"attempt_timeout": 25.0, "breaker": holdfast.CircuitBreaker(window=31.0)}, "twice attempt_timeout"),
        ({"max_body_bytes": 0}, "max_body_bytes"),
        ({"buffer_body": "always"}, "buffer_body"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pipeline(**settings)


def test_defaults_give_way_to_what_is_given() -> None:
    Pipeline(deadline=2.0)
    Pipeline(attempt_timeout=25.0)


def test_permits_of_a_wider_scope_than_the_tokens_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="total=100"):
        Pipeline(rate_limit=holdfast.RateLimit(10), concurrency=holdfast.ConcurrencyLimit(100, total=100))


@pytest.mark.parametrize(
    ("headers", "given", "read"),
    [
        ({"Content-Type": "text/event-stream"}, {"timeout": 60.0}, 60.0),
        ({"Content-Length": "1000000"}, {"timeout": 60.0}, 60.0),
        ({}, {"timeout": 60.0}, 10.0),
        ({"Content-Length": "1000000"}, {"extensions": {"timeout": {"connect": 5.0}}}, None),
    ],
    ids=str,
)
async def test_a_stream_goes_on_under_the_timeouts_of_its_caller(
    family: FamilyModules, headers: dict[str, str], given: dict[str, Any], read: float | None
) -> None:
    carried: list[dict[str, float | None]] = []

    def far_side(number: int, request: Any) -> Reply:
        carried.append(request.extensions["timeout"])
        return Reply(200, headers=headers, body=(b"one", b"two"))

    async with stage(family, far_side, **ALONE) as on, on.client.stream("GET", URL, **given) as response:
        assert carried[0]["read"] == read
        await response.aread()


async def test_a_stream_of_a_second_attempt_goes_on_under_the_timeouts_of_its_caller(family: FamilyModules) -> None:
    carried: list[dict[str, float | None]] = []

    def far_side(number: int, request: Any) -> Answer:
        carried.append(request.extensions["timeout"])
        if len(carried) == 1:
            return Fails("ConnectError")
        return Reply(200, headers={"Content-Type": "text/event-stream"}, body=(b"one", b"two"))

    settings: dict[str, Any] = {**ALONE, "retry": holdfast.Retry()}
    async with stage(family, far_side, **settings) as on, on.client.stream("GET", URL, timeout=60.0) as response:
        assert [timeouts["read"] for timeouts in carried] == [10.0, 60.0]  # the first never had a stream
        await response.aread()
