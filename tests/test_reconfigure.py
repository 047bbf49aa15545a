"""Other settings between calls, and the settings in force as data."""

from __future__ import annotations

import json
import ssl
from typing import Any, Final

import anyio
import pytest

import holdfast
from holdfast import (
    AdaptiveConcurrency,
    Cache,
    CacheRule,
    CircuitBreaker,
    ConcurrencyLimit,
    Fallback,
    Hedge,
    IdempotencyKeys,
    MemoryStore,
    OfflineMode,
    Pacing,
    Pipeline,
    RateLimit,
    Retry,
    Throttle,
    Window,
)
from holdfast.events import Event
from holdfast.testing import Fails, Hangs, Reply, VirtualClock
from holdfast.testing.scripted import Step
from tests.scripting import URL, stage
from tests.support import FamilyModules, spelled

pytestmark = pytest.mark.anyio
KEY: Final = "http://api.test:80"
ALONE: Final[dict[str, Any]] = {"budget": None, "pacing": None}
ONE: Final = Retry(wait=lambda state: 1.0)
TWO: Final = CircuitBreaker(failures=2, failure_ratio=None, jitter=0.0)


async def test_calls_that_come_in_go_by_the_new_settings(family: FamilyModules) -> None:
    async with stage(family, [Fails("ReadError")], repeat_last=True, retry=ONE, breaker=None, **ALONE) as on:
        for attempts, sent in ((3, 3), (2, 5), (1, 6)):
            on.pipeline.reconfigure(retry=Retry(attempts=attempts, wait=lambda state: 1.0))
            with pytest.raises(family.http.ReadError):
                await on.client.get(URL)
            assert len(on.script.sent) == sent


async def test_a_call_that_runs_ends_as_it_began(family: FamilyModules) -> None:
    async with stage(family, [Fails("ReadError", delay=1.0)], repeat_last=True, retry=ONE, breaker=None, **ALONE) as on:
        ended: list[tuple[float, int]] = []

        async def call() -> None:
            with pytest.raises(family.http.TransportError) as caught:
                await on.client.get(URL)
            ended.append((on.clock.monotonic(), len(holdfast.history(caught.value).attempts)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await on.clock.sleep(0.5)
            on.pipeline.reconfigure(retry=Retry(attempts=1), deadline=2.0)
            await call()
        (_, later), (at, earlier) = ended
        assert (later, earlier, at) == (1, 3, 5.0)


async def test_an_open_circuit_stays_open_and_its_settings_change(family: FamilyModules) -> None:
    async with stage(family, [Fails("ReadError")], repeat_last=True, retry=None, breaker=TWO, **ALONE) as on:
        for _ in range(2):
            with pytest.raises(family.http.ReadError):
                await on.client.get(URL)
        on.pipeline.reconfigure(breaker=CircuitBreaker(failures=5, window=60.0))
        with pytest.raises(holdfast.CircuitOpen):
            await on.client.get(URL)
        on.pipeline.circuits.reset(KEY)
        for _ in range(5):
            with pytest.raises(family.http.ReadError):
                await on.client.get(URL)
        with pytest.raises(holdfast.CircuitOpen):
            await on.client.get(URL)


async def test_a_run_of_failures_goes_on(family: FamilyModules) -> None:
    async with stage(family, [Fails("ReadError")], repeat_last=True, retry=None, breaker=TWO, **ALONE) as on:
        with pytest.raises(family.http.ReadError):
            await on.client.get(URL)
        on.pipeline.reconfigure(breaker=CircuitBreaker(failures=2, window=90.0, slow_after=5.0))
        with pytest.raises(family.http.ReadError):
            await on.client.get(URL)
        assert on.pipeline.snapshot()["origins"][KEY]["circuit"]["state"] == "open"


async def test_who_waits_for_a_probe_gets_through_under_the_new_settings(family: FamilyModules) -> None:
    """Nobody but those who stand in line lets time pass here: a scripted far side needs no other sleeper."""
    one = CircuitBreaker(failures=1, open_for=5.0, jitter=0.0)
    script: list[Step] = [Fails("ReadError"), Reply(200, delay=0.5), Reply(200, delay=0.1)]
    async with stage(family, script, repeat_last=True, retry=None, breaker=one, **ALONE) as on:
        with pytest.raises(family.http.ReadError):
            await on.client.get(URL)
        await on.clock.sleep(5.0)
        with anyio.fail_after(60.0):
            async with anyio.create_task_group() as tasks:
                for _ in range(6):
                    tasks.start_soon(on.client.get, URL)
                await on.clock.sleep(0.2)
                on.pipeline.reconfigure(breaker=CircuitBreaker(failures=3, window=60.0))
        assert len(on.script.sent) == 7
        assert on.times[:2] == [0.0, 5.0]
        assert 5.5 <= on.times[2] <= on.times[6] < 6.0


async def test_a_policy_that_observed_begins_to_act(family: FamilyModules) -> None:
    observing = CircuitBreaker(failures=1, observe=True)
    async with stage(family, [Fails("ReadError")], repeat_last=True, retry=None, breaker=observing, **ALONE) as on:
        for _ in range(3):
            with pytest.raises(family.http.ReadError):
                await on.client.get(URL)
        on.pipeline.reconfigure(breaker=CircuitBreaker(failures=1))
        with pytest.raises(holdfast.CircuitOpen):
            await on.client.get(URL)
        assert len(on.script.sent) == 3


@pytest.mark.parametrize(
    ("before", "after", "times"),
    [
        (RateLimit(1, burst=1), RateLimit(4, burst=1), [0.0, 1.0, 1.625, 1.875]),
        (RateLimit(4, burst=1), RateLimit(1, burst=1), [0.0, 0.25, 0.5, 0.75]),
    ],
    ids=["faster", "as fast"],
)
async def test_who_waits_for_a_token_comes_under_the_new_rate(
    family: FamilyModules, before: RateLimit, after: RateLimit, times: list[float]
) -> None:
    async with stage(family, [Reply(200)], repeat_last=True, rate_limit=before, **ALONE) as on:
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(on.client.get, URL)
            await on.clock.sleep(1.5)
            on.pipeline.reconfigure(rate_limit=after)
        assert on.times == times


async def test_used_tokens_stay_used(family: FamilyModules) -> None:
    limits = [RateLimit(1, burst=4), Window(10, per=100.0)]
    async with stage(family, [Reply(200)], repeat_last=True, rate_limit=limits, deadline=None, **ALONE) as on:
        for _ in range(3):
            await on.client.get(URL)
        on.pipeline.reconfigure(rate_limit=[RateLimit(1, burst=8), Window(3, per=10.0, margin=0.0)])
        assert on.pipeline.snapshot()["origins"][KEY]["rate_limit"]["tokens"] == 0.0
        await on.client.get(URL)
        assert on.times == [0.0, 0.0, 0.0, 10.0]


async def test_permits_that_are_out_stay_out(family: FamilyModules) -> None:
    settings: dict[str, Any] = {**ALONE, "concurrency": ConcurrencyLimit(3)}
    async with stage(family, [Reply(200, delay=1.0)], repeat_last=True, **settings) as on:
        async with anyio.create_task_group() as tasks:
            for _ in range(7):
                tasks.start_soon(on.client.get, URL)
            await on.clock.sleep(0.5)
            on.pipeline.reconfigure(concurrency=ConcurrencyLimit(1))
            await on.clock.sleep(1.0)
            on.pipeline.reconfigure(concurrency=ConcurrencyLimit(2))
        assert on.times == [0.0, 0.0, 0.0, 1.0, 1.5, 2.0, 2.5]


async def test_an_answer_is_fetched_in_the_background_within_the_new_deadline(family: FamilyModules) -> None:
    soon = {"Cache-Control": "max-age=1, stale-while-revalidate=600"}
    script: list[Step] = [Reply(200, headers=soon), Hangs()]
    async with stage(family, script, cache=Cache(), retry=None, breaker=None, attempt_timeout=None, **ALONE) as on:
        await on.client.get(URL)
        on.pipeline.reconfigure(deadline=3.0)
        await on.clock.sleep(2.0)
        await on.client.get(URL)
        await on.clock.sleep(4.0)
        assert on.pipeline.snapshot()["cache"]["failed_refreshes"] == 1


async def test_what_is_not_changed_stays_as_it_was(family: FamilyModules) -> None:
    told: list[Event] = []
    settings: dict[str, Any] = {
        "hedge": Hedge(delay=0.5),
        "throttle": Throttle(),
        "concurrency": AdaptiveConcurrency(),
        "cache": Cache(),
        "fallback": Fallback(default={"made": "up"}),
        "offline": OfflineMode(),
        "idempotency": IdempotencyKeys(),
        "hooks": [lambda request, attempt: request.headers.update({"x-attempt": str(attempt)})],
        "listeners": [told.append],
    }
    async with stage(family, [Reply(200, delay=1.0)], repeat_last=True, **settings) as on:
        before = on.pipeline.describe()
        on.pipeline.offline(probe_every=None)
        on.pipeline.reconfigure(deadline=20.0, breaker=CircuitBreaker(failures=3))
        changed = {name: told for name, told in on.pipeline.describe().items() if told != before[name]}
        assert changed.keys() == {"deadline", "breaker"}
        assert (await on.client.get(URL)).json() == {"made": "up"}
        assert on.script.sent == []
        on.pipeline.online()
        told.clear()
        await on.client.post(URL)
        assert [type(event).__name__ for event in told].count("HedgeSent") == 1  # it has a key
        for sent in on.script.sent:
            assert {b"x-attempt", b"idempotency-key"} <= {name.lower() for name, _ in sent.headers}


async def test_a_hedge_waits_as_long_as_it_is_told_and_keeps_what_it_has_measured(family: FamilyModules) -> None:
    settings: dict[str, Any] = {**ALONE, "breaker": None, "retry": ONE, "hedge": Hedge(quantile=0.5)}
    script: list[Step] = [*[Reply(200, delay=0.1)] * 4, *[Reply(200, delay=5.0), Reply(200)] * 2]
    async with stage(family, script, **settings) as on:
        for _ in range(4):
            await on.client.get(URL)
        on.pipeline.reconfigure(hedge=Hedge(quantile=0.5, min_delay=2.0))
        assert on.pipeline.snapshot()["origins"][KEY]["hedge"] == {"delay": 2.0, "samples": 4}
        began = on.clock.monotonic()
        await on.client.get(URL)
        on.pipeline.reconfigure(hedge=Hedge(delay=0.5))
        await on.client.get(URL)
        assert [round(at - began, 6) for at in on.times[4:]] == [0.0, 2.0, 2.0, 2.5]


async def test_a_limit_that_is_found_goes_on_from_where_it_is_within_other_bounds(family: FamilyModules) -> None:
    settings: dict[str, Any] = {**ALONE, "breaker": None, "retry": None, "concurrency": AdaptiveConcurrency(start=20)}
    async with stage(family, [Reply(429), Reply(200)], repeat_last=True, **settings) as on:
        limits: list[int] = []
        for changed in (
            AdaptiveConcurrency(start=20),
            AdaptiveConcurrency(start=5, max=9),
            AdaptiveConcurrency(max=50),
        ):
            await on.client.get(URL)
            on.pipeline.reconfigure(concurrency=changed)
            limits.append(on.pipeline.snapshot()["origins"][KEY]["concurrency"]["limit"])
        assert limits == [14, 9, 9]


async def test_idempotency_keys_are_written_as_told_from_the_next_call_on(family: FamilyModules) -> None:
    async with stage(family, [Reply(201)], repeat_last=True, idempotency=IdempotencyKeys()) as on:
        for settings in (IdempotencyKeys(header="X-Request-Key"), IdempotencyKeys(methods=frozenset())):
            await on.client.post(URL)
            on.pipeline.reconfigure(idempotency=settings)
        await on.client.post(URL)
        names = [{name.lower() for name, _ in sent.headers} for sent in on.script.sent]
        keys = {b"idempotency-key", b"x-request-key"}
        assert [each & keys for each in names] == [{b"idempotency-key"}, {b"x-request-key"}, set()]


@pytest.mark.parametrize("limits", [{}, {"rate_limit": RateLimit(100)}], ids=["listening", "limited"])
async def test_what_a_server_says_counts_for_what_it_counts_now(family: FamilyModules, limits: dict[str, Any]) -> None:
    nothing_left = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "50"}
    script = [Reply(200, headers=nothing_left)] * 2 + [Reply(200)]
    settings: dict[str, Any] = {"budget": None, "deadline": None, **limits}
    async with stage(family, script, repeat_last=True, pacing="off", **settings) as on:
        await on.client.get(URL)
        on.pipeline.reconfigure(pacing=Pacing("guard", max_server_delay=20.0))
        await on.client.get(URL)
        await on.client.get(URL)
        assert on.times == pytest.approx([0.0, 0.01, 20.01], abs=0.02)


async def test_a_quota_that_is_no_longer_kept_lets_those_in_line_go(family: FamilyModules) -> None:
    script = [Reply(200, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "50"}), Reply(200)]
    async with stage(family, script, repeat_last=True, budget=None, deadline=None) as on:
        await on.client.get(URL)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(on.client.get, URL)
            await on.clock.sleep(5.0)
            on.pipeline.reconfigure(pacing="off")
        assert on.times == [0.0, 5.0]


async def test_other_listeners_are_told_from_now_on(family: FamilyModules) -> None:
    first: list[Event] = []
    second: list[Event] = []
    async with stage(family, [Reply(200)], repeat_last=True, listeners=[first.append], **ALONE) as on:
        await on.client.get(URL)
        on.pipeline.reconfigure(listeners=[second.append])
        await on.client.get(URL)
        on.pipeline.reconfigure(deadline=20.0)
        await on.client.get(URL)
    assert len(second) == 2 * len(first) > 0


async def test_stored_answers_stay_and_those_that_come_are_judged_by_the_new_cache(family: FamilyModules) -> None:
    cached = {"Cache-Control": "max-age=60"}
    settings: dict[str, Any] = {**ALONE, "cache": Cache(), "retry": None}
    async with stage(family, [Reply(200, body=b"12345", headers=cached)], repeat_last=True, **settings) as on:
        for path, cache in (
            ("one", Cache(max_entry_bytes=4)),
            ("two", Cache(rules={"/three": CacheRule(never=True)})),
            ("three", Cache(stale_if_error=60.0)),
        ):
            await on.client.get(f"http://api.test/{path}")
            on.pipeline.reconfigure(cache=cache)
        answers = [await on.client.get(f"http://api.test/{path}") for path in ("one", "two", "three")]
    assert [holdfast.history(answer).cache for answer in answers] == ["hit", "miss", "miss"]


async def test_a_fallback_is_another_for_calls_that_come_in(family: FamilyModules) -> None:
    other = {"http://api.test": ("http://other.test",)}
    settings: dict[str, Any] = {**ALONE, "retry": None, "breaker": None, "fallback": Fallback(default=1)}

    async def body() -> Any:
        yield b"once"

    async with stage(family, [Reply(503, delay=1.0)], repeat_last=True, **settings) as on:
        assert (await on.client.get(URL)).json() == 1
        async with anyio.create_task_group() as tasks:

            async def put() -> None:
                options = {"holdfast": {"idempotent": True}}
                assert (await on.client.put(URL, content=body(), extensions=options)).status_code == 503

            tasks.start_soon(put)
            await on.clock.sleep(0.5)
            on.pipeline.reconfigure(fallback=Fallback(default=2, failover=other))
        assert [sent.header("host") for sent in on.script.sent] == [
            "api.test"
        ] * 2  # whose body is gone goes nowhere else
        assert (await on.client.get(URL)).json() == 2
        assert [sent.header("host") for sent in on.script.sent[2:]] == ["api.test", "other.test"]
        assert on.pipeline.snapshot()["fallback"]["default"] == 2


async def test_what_is_offline_stays_so_and_what_fails_now_goes_by_the_new_mode(family: FamilyModules) -> None:
    mode = OfflineMode(after=10.0, probe_every=50.0)
    settings: dict[str, Any] = {**ALONE, "retry": None, "breaker": None, "offline": mode}
    async with stage(family, [Fails("ConnectError", delay=1.0)], repeat_last=True, **settings) as on:
        on.pipeline.reconfigure(offline=OfflineMode(after=1.0, probe_every=5.0))
        for sent in (1, 2, 2):
            with pytest.raises(family.http.TransportError):
                await on.client.get(URL)
            assert len(on.script.sent) == sent
        assert on.pipeline.snapshot()["origins"][KEY]["offline"]["probe_in"] == 5.0
        on.pipeline.reconfigure(offline=mode)
        assert on.pipeline.is_offline(KEY)


async def test_other_hooks_run_on_attempts_of_calls_that_come_in(family: FamilyModules) -> None:
    hooks = [lambda request, attempt, name=name: request.headers.update({name: "1"}) for name in ("x-old", "x-new")]
    async with stage(family, [Reply(200)], repeat_last=True, hooks=hooks[:1], **ALONE) as on:
        await on.client.get(URL)
        on.pipeline.reconfigure(hooks=hooks[1:])
        await on.client.get(URL)
        names = [{name.lower() for name, _ in sent.headers} & {b"x-old", b"x-new"} for sent in on.script.sent]
    assert names == [{b"x-old"}, {b"x-new"}]


async def test_bodies_are_read_and_bounded_as_told(family: FamilyModules) -> None:
    settings: dict[str, Any] = {**ALONE, "cache": Cache()}
    long = Reply(200, body=b"x" * 2_000, headers={"Cache-Control": "max-age=60"})
    async with stage(family, [long], repeat_last=True, **settings) as on:
        await on.client.get(URL)
        on.pipeline.reconfigure(max_body_bytes=1_000, buffer_body=False)
        with pytest.raises(holdfast.BodyTooLarge):
            await on.client.get(URL)
        on.pipeline.reconfigure(max_body_bytes=None)
        assert (await on.client.get(URL)).content == long.body


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"pacing": None}, "pacing"),
        ({"pacing": Pacing(adaptive=True)}, "adaptive"),
        ({"pacing": "fast"}, "pacing"),
        ({"listeners": [print]}, "listeners"),
        ({"deadline": -1.0}, "deadline"),
        ({"attempt_timeout": 60.0}, "longer than deadline"),
        ({"breaker": None}, "breaker"),
        ({"retry": ONE, "rate_limit": None}, "rate_limit"),
        ({"retry": ONE, "rate_limit": [RateLimit(1), RateLimit(2)]}, "how many"),
        ({"retry": ONE, "rate_limit": Window(1)}, "of which kind"),
        ({"concurrency": ConcurrencyLimit(5, total=9)}, "total"),
        ({"concurrency": AdaptiveConcurrency()}, "of its kind"),
        ({"hedge": Hedge()}, "hedge"),
        ({"idempotency": IdempotencyKeys()}, "idempotency"),
        ({"cache": None}, "cache=None"),
        ({"cache": Cache(store=MemoryStore())}, "cache's store"),
        ({"cache": Cache(key=b"k" * 32)}, "cache's key"),
        ({"cache": Cache(shared=True)}, "cache's shared"),
        ({"cache": Cache(identity_headers=("X-User",))}, "cache's identity_headers"),
        ({"cache": Cache(rules={"/users": CacheRule(ignore_query=("page",))})}, "cache's rules"),
        ({"fallback": Fallback(default=1)}, "fallback"),
        ({"offline": None}, "offline"),
        ({"offline": OfflineMode(file="switch.json")}, "file"),
        ({"offline": OfflineMode(after=None)}, "after"),
        ({"hooks": [print]}, "hooks"),
        ({"max_body_bytes": 0}, "max_body_bytes"),
        ({"buffer_body": "never"}, "buffer_body"),
        ({"clock": VirtualClock()}, "clock"),
        ({"random": lambda: 0.5}, "random"),
        ({"attempts": 5}, "no setting 'attempts'"),
    ],
    ids=spelled,
)
@pytest.mark.filterwarnings("ignore:ConcurrencyLimit")
def test_what_cannot_be_changes_nothing(changes: dict[str, Any], match: str) -> None:
    pipeline = Pipeline(rate_limit=RateLimit(7), cache=Cache(), offline=OfflineMode())
    before = pipeline.describe()
    with pytest.raises((ValueError, TypeError), match=match):
        pipeline.reconfigure(**changes)
    assert pipeline.describe() == before


async def test_pipelines_under_one_client_are_told_and_changed_each_for_itself(family: FamilyModules) -> None:
    made: list[Pipeline] = []

    def pipelines(clock: VirtualClock) -> Any:
        made.extend(Pipeline(clock=clock, breaker=None, retry=Retry(wait=lambda state: 0.0)) for _ in range(2))
        return Pipeline.by_origin({"http://api.test/a": made[0], "http://api.test/b": made[1]}, default=made[1])

    async with stage(family, [Fails("ReadError")], repeat_last=True, pipeline=pipelines) as on:
        made[0].reconfigure(retry=Retry(attempts=1))
        told = on.pipeline.describe()
        assert {name: each["retry"]["attempts"] for name, each in told.items()} == {
            "http://api.test/a": 1,
            "http://api.test/b": 3,
        }
        for path, sent in (("a", 1), ("b", 4), ("else", 7)):
            with pytest.raises(family.http.ReadError):
                await on.client.get(f"http://api.test/{path}")
            assert len(on.script.sent) == sent


def test_layers_of_ones_own_have_a_deadline_alone() -> None:
    pipeline = Pipeline.of(deadline=5.0)
    pipeline.reconfigure(deadline=3.0)
    assert pipeline.describe()["deadline"] == 3.0
    with pytest.raises(ValueError, match="deadline"):
        pipeline.reconfigure(attempt_timeout=1.0)


def test_the_policy_in_force_is_told_as_data_without_secrets() -> None:
    fallback = holdfast.Fallback(failover={"https://one.test": ["https://two.test"]}, values={"Stats.get": "s3cret"})
    cache = Cache(key=b"s3cret" * 6)
    pipeline = Pipeline(
        deadline=5.0, retry=ONE, fallback=fallback, cache=cache, listeners=[print], rate_limit=[Window(9)]
    )
    told = pipeline.describe()
    text = json.dumps(told)
    assert "s3cret" not in text
    assert told["attempt_timeout"] == 5.0  # the default gave way
    assert told["retry"]["kind"] == "Retry"
    assert told["retry"]["attempts"] == 3
    assert told["rate_limit"][0]["limit"] == 9
    assert told["listeners"] == ["print"]
    assert told["fallback"]["failover"] == {"https://one.test": ["https://two.test"]}
    pipeline.reconfigure(deadline=20.0)
    assert pipeline.describe()["attempt_timeout"] == 10.0


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "retry > breaker > concurrency > pacing, deadline 30.0 s, attempt 10.0 s"),
        (
            {
                "fallback": Fallback(values={"Stats.get": "s3cret"}, failover={"https://b.test": ["https://c.test"]}),
                "cache": Cache(key=b"s3cret" * 6),
                "breaker": CircuitBreaker(observe=True),
                "rate_limit": [Window(9, observe=True), RateLimit(1)],
                "hooks": [lambda request, attempt: None],
                "deadline": None,
            },
            "fallback > cache > retry > breaker (observes) > concurrency > rate_limit > pacing > hooks, attempt 10.0 s",
        ),
        (
            {"retry": None, "breaker": None, "concurrency": None, "pacing": None, "deadline": 5.0},
            "without layers, deadline 5.0 s, attempt 5.0 s",
        ),
    ],
    ids=spelled,
)
def test_a_pipeline_tells_its_layers_in_a_line(settings: dict[str, Any], told: str) -> None:
    assert repr(Pipeline(**settings)) == f"<Pipeline {told}>"


async def test_a_transport_tells_what_it_is_made_of_and_no_secret(family: FamilyModules) -> None:
    class Plain:
        def bind(self, inner: Any, family: Any) -> Any:
            return inner

    one, default = Pipeline(retry=None), Pipeline.of(Plain())
    pipelines = Pipeline.by_origin({"https://me:s3cret@one.test/v1": one}, default=default)
    assert repr(pipelines) == f"<Pipelines https://one.test:443/v1: {one!r}, default: {default!r}>"
    assert repr(default).endswith("Plain, deadline 30.0 s>")
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    transport = family.holdfast.ResilientTransport(pipelines, verify=trust, proxy="http://me:s3cret@proxy.test")
    assert repr(transport) == f"<{family.holdfast.__name__}.ResilientTransport over Pools, {pipelines!r}>"
    await transport.aclose()
    assert repr(transport).startswith("<closed ")
