"""What listeners are told, in order, through a real client in virtual time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import anyio
import pytest

from holdfast import Cache, CircuitBreaker, ConcurrencyLimit, Hedge, MemoryStore, Pipeline, RateLimit, Retry
from holdfast.errors import Refused
from holdfast.events import (
    AttemptEnded,
    AttemptStarted,
    CacheAnswered,
    CallEnded,
    CallStarted,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitRamping,
    Event,
    GaveUp,
    Refusal,
    Retried,
    StoreDegraded,
    StoreRecovered,
    Waited,
    WentOffline,
    WentOnline,
)
from holdfast.testing import Fails, Hangs, Reply
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
KEY = "http://api.test:80"


class Told(list[Event]):
    """A listener that keeps what it is told."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    @property
    def names(self) -> list[str]:
        return [type(event).__name__ for event in self]

    def of(self, *kinds: type[Event]) -> list[Event]:
        return [event for event in self if isinstance(event, kinds)]


def about(seconds: float) -> Any:
    """The same but for the rounding of the clock."""
    return pytest.approx(seconds)


def plain(event: Event) -> Event:
    """Without what differs from run to run."""
    return replace(event, at=0.0, call=None)


async def test_a_call_with_a_retry_is_told_step_by_step(family: FamilyModules) -> None:
    told = Told()
    script: list[Any] = [Reply(503, delay=0.25), Fails("ReadTimeout", delay=1.0), Reply(200, delay=0.5)]
    async with stage(family, script, listeners=[told], retry=Retry(attempts=3)) as on:
        await on.client.get(URL, extensions={"holdfast": {"operation": "Things.list", "template": "/things"}})
    whose: dict[str, Any] = {"at": 0.0, "key": KEY, "operation": "Things.list"}
    waits = [event.wait for event in told if isinstance(event, Retried)]
    assert [plain(event) for event in told] == [
        CallStarted(**whose, method="GET", url="http://api.test/things", template="/things"),
        AttemptStarted(**whose, number=1, repeat=0, method="GET", url="http://api.test/things"),
        AttemptEnded(**whose, number=1, duration=about(0.25), status=503),
        Retried(**whose, number=1, reason="503", wait=waits[0], source="backoff"),
        AttemptStarted(**whose, number=2, repeat=1, method="GET", url="http://api.test/things"),
        AttemptEnded(**whose, number=2, duration=about(1.0), status=None, error="ReadTimeout"),
        Retried(**whose, number=2, reason="ReadTimeout", wait=waits[1], source="backoff"),
        AttemptStarted(**whose, number=3, repeat=2, method="GET", url="http://api.test/things"),
        AttemptEnded(**whose, number=3, duration=about(0.5), status=200),
        CallEnded(
            **whose,
            method="GET",
            outcome="success",
            duration=about(1.75 + sum(waits)),
            attempts=3,
            source="origin",
            status=200,
        ),
    ]
    assert len({event.call for event in told}) == 1
    assert told[0].call is not None


@pytest.mark.parametrize(
    ("script", "settings", "reason", "outcome"),
    [
        ([Reply(503)] * 2, {"retry": Retry(attempts=2)}, "attempts", "http_error"),
        ([Fails("ConnectError")] * 2, {"retry": Retry(attempts=2)}, "attempts", "exception"),
        ([Reply(503, headers={"Retry-After": "60"})], {}, "retry_after_exceeds_deadline", "http_error"),
        ([Reply(503)], {"deadline": 0.2, "retry": Retry(min_attempt_time=0.2)}, "deadline", "http_error"),
        ([Reply(503)] * 2, {"breaker": CircuitBreaker(failures=1)}, "circuit_open", "http_error"),
    ],
)
async def test_who_gives_up_says_why(
    family: FamilyModules, script: list[Any], settings: dict[str, Any], reason: str, outcome: str
) -> None:
    told = Told()
    async with stage(family, script, listeners=[told], **settings) as on:
        with suppress(family.http.ConnectError):
            await on.client.get(URL)
    (gave_up,) = told.of(GaveUp)
    assert isinstance(gave_up, GaveUp)
    assert gave_up.reason == reason
    assert isinstance(last := told[-1], CallEnded)
    assert (last.outcome, last.reason) == (outcome, reason)


async def test_a_wait_that_the_server_asked_for_is_told_as_such(family: FamilyModules) -> None:
    told = Told()
    async with stage(family, [Reply(429, headers={"Retry-After": "3"}), Reply()], listeners=[told]) as on:
        await on.client.get(URL)
    (retried,) = told.of(Retried)
    assert isinstance(retried, Retried)
    assert (retried.source, retried.wait >= 3.0) == ("retry_after", True)


ENDS: list[tuple[str, list[Any], dict[str, Any], int]] = [
    ("success", [Reply(200)], {}, 1),
    ("http_error", [Reply(404)], {}, 1),
    ("exception", [Fails("UnsupportedProtocol")], {}, 1),
    ("deadline", [Hangs()], {"deadline": 1.0, "retry": None}, 1),
    ("rate_limited", [], {"rate_limit": RateLimit(1, per=3600.0, burst=1)}, 0),
    ("circuit_open", [], {}, 0),
]


@pytest.mark.parametrize(("outcome", "script", "settings", "attempts"), ENDS, ids=[end[0] for end in ENDS])
async def test_each_end_has_its_word(
    family: FamilyModules, outcome: str, script: list[Any], settings: dict[str, Any], attempts: int
) -> None:
    told = Told()
    async with stage(family, [Reply(200), *script], listeners=[told], **settings) as on:
        await on.client.get(URL)
        told.clear()
        if outcome == "circuit_open":
            on.pipeline.circuits.force_open(KEY)
            told.clear()
        raised: list[str | None] = [None]
        try:
            await on.client.get(URL)
        except family.http.TransportError as error:
            raised = [type(error).__name__]
    assert isinstance(last := told[-1], CallEnded)
    assert (last.outcome, last.attempts, last.error) == (outcome, attempts, raised[0])
    assert len(told.of(AttemptStarted)) == len(told.of(AttemptEnded)) == attempts
    refusals = [event for event in told if isinstance(event, Refusal)]
    assert [event.reason for event in refusals] == ([outcome] if outcome in ("rate_limited", "circuit_open") else [])


async def test_a_hop_of_a_redirect_is_a_call_of_its_own_and_a_repeat(family: FamilyModules) -> None:
    told = Told()
    script = [Reply(503), Reply(302, headers={"Location": "/b?x=1"}), Reply(200), Reply(200)]
    async with stage(family, script, listeners=[told], client={"follow_redirects": True}) as on:
        await on.client.get(URL)
        await on.client.get(URL)
    attempts = [(event.url, event.number, event.repeat) for event in told if isinstance(event, AttemptStarted)]
    assert attempts == [(URL, 1, 0), (URL, 2, 1), ("http://api.test/b", 1, 2), (URL, 1, 0)]
    assert len({event.call for event in told}) == 3


@pytest.mark.parametrize("when", ["attempt", "backoff", "queue"])
async def test_a_cancelled_call_is_told_to_its_end(family: FamilyModules, when: str) -> None:
    told = Told()
    settings: dict[str, Any] = {}
    script: list[Any] = [Hangs()]
    if when == "backoff":
        script = [Reply(503, headers={"Retry-After": "20"})]
    if when == "queue":
        settings = {"concurrency": ConcurrencyLimit(1)}
    async with (
        stage(family, script, listeners=[told], jump=False, **settings) as on,
        anyio.create_task_group() as group,
    ):
        for _ in range(2 if when == "queue" else 1):
            group.start_soon(on.client.get, URL)
            await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    expected = {
        "attempt": ["CallStarted", "AttemptStarted", "AttemptEnded", "CallEnded"],
        "backoff": ["CallStarted", "AttemptStarted", "AttemptEnded", "Retried", "CallEnded"],
        "queue": ["CallStarted", "CallEnded"],
    }
    last_call = told.of(CallStarted)[-1].call
    mine = [event for event in told if event.call == last_call]
    assert [type(event).__name__ for event in mine] == expected[when]
    assert isinstance(end := mine[-1], CallEnded)
    assert end.outcome == "cancelled"
    assert len(told.of(CallStarted)) == len(told.of(CallEnded))


async def test_an_attempt_that_our_own_timeout_ends_is_no_cancellation(family: FamilyModules) -> None:
    told = Told()
    async with stage(family, [Hangs()], listeners=[told], attempt_timeout=2.0, retry=None) as on:
        with pytest.raises(family.http.ReadTimeout):
            await on.client.get(URL)
    (ended,) = told.of(AttemptEnded)
    assert isinstance(ended, AttemptEnded)
    assert (ended.error, ended.status) == ("ReadTimeout", None)


async def test_a_circuit_is_told_through_all_its_states(family: FamilyModules) -> None:
    told = Told()
    script = [Reply(500), Reply(500), Reply(200), Reply(200), Reply(200)]
    breaker = CircuitBreaker(failures=2, open_for=5.0, jitter=0.0)
    async with stage(family, script, listeners=[told], retry=None, breaker=breaker, repeat_last=True) as on:
        for _ in range(2):
            await on.client.get(URL)
        await on.clock.sleep(6.0)
        for _ in range(4):
            await on.client.get(URL)
        on.pipeline.circuits.force_open(KEY)
        await on.clock.sleep(2.0)
        on.pipeline.circuits.force_closed(KEY)
    kinds = (CircuitOpened, CircuitHalfOpened, CircuitRamping, CircuitClosed)
    assert [plain(event) for event in told.of(*kinds)] == [
        CircuitOpened(at=0.0, key=KEY, open_for=5.0, reason="consecutive"),
        CircuitHalfOpened(at=0.0, key=KEY),
        CircuitRamping(at=0.0, key=KEY),
        CircuitClosed(at=0.0, key=KEY, open_for=about(6.0)),
        CircuitOpened(at=0.0, key=KEY, open_for=None, reason="forced"),
        CircuitClosed(at=0.0, key=KEY, open_for=about(2.0), forced=True),
    ]


@pytest.mark.parametrize(
    ("script", "settings", "reason"),
    [
        ([Reply(500)], {"minimum_calls": 4, "failures": None}, "rate"),
        ([Reply(200, delay=3.0)], {"minimum_calls": 4, "slow_after": 1.0}, "slow"),
    ],
)
async def test_what_opened_a_circuit_is_said(
    family: FamilyModules, script: list[Any], settings: dict[str, Any], reason: str
) -> None:
    told = Told()
    breaker = CircuitBreaker(**settings)
    async with stage(family, script, listeners=[told], retry=None, breaker=breaker, repeat_last=True) as on:
        for _ in range(4):
            await on.client.get(URL)
    (opened,) = told.of(CircuitOpened)
    assert isinstance(opened, CircuitOpened)
    assert opened.reason == reason


async def test_waits_in_line_are_told_when_they_are_over(family: FamilyModules) -> None:
    told = Told()
    async with stage(
        family, [Reply()], listeners=[told], rate_limit=RateLimit(1, per=2.0, burst=1), repeat_last=True
    ) as on:
        for _ in range(2):
            await on.client.get(URL)
    (waited,) = told.of(Waited)
    assert isinstance(waited, Waited)
    assert (waited.place, waited.seconds) == ("rate_limit", about(2.0))
    assert told.names[-4:] == ["Waited", "AttemptStarted", "AttemptEnded", "CallEnded"]


async def test_what_the_cache_did_is_told_with_the_answer(family: FamilyModules) -> None:
    told = Told()
    script = [Reply(200, headers={"Cache-Control": "max-age=60"}, body=b"x")]
    async with stage(family, script, listeners=[told], cache=Cache()) as on:
        await on.client.get(URL)
        await on.client.get(URL)
    results = [(event.result, event.age is None) for event in told if isinstance(event, CacheAnswered)]
    assert results == [("miss", True), ("hit", False)]
    ends = [(event.outcome, event.source, event.attempts) for event in told if isinstance(event, CallEnded)]
    assert ends == [("success", "origin", 1), ("cache_hit", "cache", 0)]


STALE_SOON = {"Cache-Control": "max-age=1, stale-while-revalidate=600"}


@pytest.mark.parametrize(
    ("later", "outcome", "status", "error", "attempts"),
    [
        (Reply(200, headers=STALE_SOON, body=b"y", delay=1.0), "success", 200, None, 2),
        (Reply(404, delay=1.0), "http_error", 404, None, 2),
        (Reply(503, delay=0.1), "http_error", 503, None, 2),
        (Fails("ReadError"), "exception", None, "ReadError", 2),
        (Hangs(), "deadline", None, "DeadlineExceeded", 2),
    ],
    ids=["answered", "not found", "failed", "broken off", "too late"],
)
async def test_what_is_fetched_in_the_background_is_a_call_of_its_own_told_to_its_end(
    family: FamilyModules, later: Any, outcome: str, status: int | None, error: str | None, attempts: int
) -> None:
    told = Told()
    script = [Reply(200, headers=STALE_SOON, body=b"x"), later]
    settings: dict[str, Any] = {"cache": Cache(), "hedge": Hedge(delay=0.5), "budget": None}
    async with stage(family, script, repeat_last=True, listeners=[told], deadline=8.0, **settings) as on:
        await on.client.get(URL)
        await on.clock.sleep(2.0)
        told.clear()
        await on.client.get(URL)
        await on.clock.sleep(20.0)
    calls = list(dict.fromkeys(event.call for event in told))
    given, fetched = ([event for event in told if event.call == call] for call in calls)
    assert [type(event) for event in given] == [CallStarted, CacheAnswered, CallEnded]
    assert isinstance(fetched[0], CallStarted)
    assert fetched[0].background
    (end,) = [event for event in fetched if isinstance(event, CallEnded)]
    assert (end.outcome, end.status, end.error, end.attempts) == (outcome, status, error, attempts)
    assert end.background
    names = [type(event).__name__ for event in fetched]
    assert names.count("AttemptStarted") == names.count("AttemptEnded") == attempts
    assert [event for event in fetched[fetched.index(end) + 1 :] if not isinstance(event, AttemptEnded)] == []


class Flaky(MemoryStore):
    """A store whose reads fail while it is told so, and whose errors quote a password."""

    broken = True
    lookup: Any = None

    async def get(self, key: str) -> Any:
        if self.broken:
            raise OSError("redis://:hunter2@store/0 is gone")
        return ()


async def test_a_store_in_trouble_is_told_once_both_ways_and_without_its_words(family: FamilyModules) -> None:
    told = Told()
    store = Flaky()
    async with stage(family, [Reply()], listeners=[told], cache=Cache(store=store), repeat_last=True) as on:
        for _ in range(5):
            await on.client.get(URL)
        store.broken = False
        await on.clock.sleep(10.0)
        for _ in range(2):
            await on.client.get(URL)
    assert [plain(event) for event in told.of(StoreDegraded, StoreRecovered)] == [
        StoreDegraded(at=0.0, key="", store="Flaky", problem="OSError"),
        StoreRecovered(at=0.0, key="", store="Flaky"),
    ]


async def test_going_offline_and_coming_back_are_told(family: FamilyModules) -> None:
    told = Told()
    async with stage(family, [Reply()], listeners=[told], repeat_last=True) as on:
        on.pipeline.online()
        on.pipeline.offline(probe_every=10.0)
        on.pipeline.offline(probe_every=10.0)
        with pytest.raises(family.http.TransportError):
            await on.client.get(URL)
        await on.clock.sleep(10.0)
        await on.client.get(URL)
        on.pipeline.offline()
        await on.clock.sleep(1.0)
        on.pipeline.online()
    assert [plain(event) for event in told.of(WentOffline, WentOnline, Refusal)] == [
        WentOffline(at=0.0, key="", reason="by_hand"),
        Refusal(at=0.0, key=KEY, policy="offline", reason="offline", retry_after=about(10.0)),
        WentOnline(at=0.0, key="", offline_for=about(10.0)),
        WentOffline(at=0.0, key="", reason="by_hand"),
        WentOnline(at=0.0, key="", offline_for=about(1.0)),
    ]
    ends = [event.outcome for event in told if isinstance(event, CallEnded)]
    assert ends == ["offline", "success"]


async def test_no_record_holds_a_secret(family: FamilyModules) -> None:
    told = Told()
    secret = "hunter2"
    async with stage(
        family,
        [Fails("ConnectError", message=secret), Reply(200, headers={"Set-Cookie": secret}, body=secret.encode())],
        listeners=[told],
    ) as on:
        await on.client.request(
            "PUT",
            f"http://user:{secret}@api.test/a?token={secret}#{secret}",
            headers={"Authorization": secret, "X-Api-Key": secret, "Cookie": secret},
            content=secret.encode(),
        )
    assert len(told) > 5
    assert secret not in repr(list(told))
    assert all(fields(event) for event in told)


async def test_a_listener_that_raises_is_dropped_and_breaks_nothing(family: FamilyModules) -> None:
    before, after, calls = Told(), Told(), 0

    def breaks(event: Event) -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("no")

    async with stage(family, [Reply()], listeners=[before, breaks, after], repeat_last=True) as on:
        for _ in range(3):
            assert (await on.client.get(URL)).status_code == 200
    assert calls == 1
    assert before == after
    assert len(after.of(CallEnded)) == 3


async def test_every_call_that_starts_ends_under_a_crowd_that_is_cancelled_anywhere(family: FamilyModules) -> None:
    told = Told()

    def answer(number: int, _: Any) -> Any:
        return (Reply(200, delay=1.0), Reply(503, delay=0.5), Fails("ConnectError"), Hangs())[number % 4]

    settings: dict[str, Any] = {"concurrency": ConcurrencyLimit(3), "rate_limit": RateLimit(5, per=1.0, burst=2)}
    async with stage(family, answer, listeners=[told], **settings) as on:

        async def one(number: int) -> None:
            until = on.clock.monotonic() + 0.37 * (number % 11)
            with on.clock.timeout_at(until), suppress(Refused, family.http.TransportError):
                await on.client.get(URL)

        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(one, number)
    by_call: dict[str | None, list[Event]] = {}
    for event in told:
        by_call.setdefault(event.call, []).append(event)
    by_call.pop(None, None)
    assert len(by_call) == 40
    for events in by_call.values():
        names = [type(event).__name__ for event in events]
        assert (names[0], names[-1]) == ("CallStarted", "CallEnded")
        assert (names.count("CallStarted"), names.count("CallEnded")) == (1, 1)
        open_attempts = 0
        for name in names:
            open_attempts += {"AttemptStarted": 1, "AttemptEnded": -1}.get(name, 0)
            assert open_attempts in (0, 1)
        assert open_attempts == 0


async def test_a_pipeline_of_ones_own_layers_has_listeners_too(family: FamilyModules) -> None:
    told = Told()
    pipeline: Callable[[Any], Pipeline] = lambda clock: Pipeline.of(listeners=[told], clock=clock)  # noqa: E731
    async with stage(family, [Reply()], pipeline=pipeline) as on:
        await on.client.get(URL)
    assert told.names == ["CallStarted", "CallEnded"]


UNHEARD = """
import asyncio, sys
import httpx
from holdfast.httpx import ResilientTransport

async def main():
    inner = httpx.MockTransport(lambda _: httpx.Response(503))
    async with httpx.AsyncClient(transport=ResilientTransport(inner=inner)) as client:
        await client.get("http://api.test/", extensions={"holdfast": {"deadline": 0.5}})

asyncio.run(main())
ours = ("holdfast.events", "holdfast.policies.emitter", "holdfast.policies.telemetry")
print([name for name in ours if name in sys.modules])
"""


def test_where_nobody_listens_nothing_of_it_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", UNHEARD], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_an_attempt_whose_hook_fails_was_not_sent_and_its_token_is_there_again(family: FamilyModules) -> None:
    told: list[Event] = []

    def fails(request: Any, attempt: int) -> None:
        raise KeyError("no secret")

    settings: dict[str, Any] = {"hooks": [fails], "rate_limit": RateLimit(1, burst=2), "listeners": [told.append]}
    async with stage(family, [], **settings) as on:
        for _ in range(5):
            with pytest.raises(KeyError):
                await on.client.get(URL)
        now = on.pipeline.snapshot()["origins"]["http://api.test:80"]
        assert (now["rate_limit"]["tokens"], now["concurrency"]["in_use"], now["circuit"]["calls"]) == (2, 0, 0)
    assert [event.attempts for event in told if isinstance(event, CallEnded)] == [0] * 5
