"""What a real registry says in a real scrape."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from holdfast import Cache, CircuitBreaker, ConcurrencyLimit, Pipeline, RateLimit, Retry
from holdfast.events import Refusal
from holdfast.telemetry.prometheus import PrometheusMetrics
from holdfast.testing import Hangs, Reply
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
KEY = "http://api.test:80"


def scrape(registry: CollectorRegistry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of a scrape, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


class Scraped:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._samples = scrape(registry)

    def __call__(self, name: str, **labels: str) -> float | None:
        return self._samples.get((name, frozenset(labels.items())))


def watched(metrics: PrometheusMetrics, **settings: Any) -> Callable[[Any], Pipeline]:
    return lambda clock: metrics.watch(Pipeline(clock=clock, listeners=[metrics], **settings))


async def test_calls_retries_and_circuits_are_counted_exactly(family: FamilyModules) -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    script = [Reply(503, delay=0.3), Reply(200, delay=0.3), *[Reply(500, delay=0.02)] * 2]
    settings: dict[str, Any] = {
        "retry": Retry(attempts=2, wait=lambda _: 1.0, wait_throttled=lambda _: 1.0),
        "breaker": CircuitBreaker(failures=2, jitter=0.0),
    }
    async with stage(family, script, pipeline=watched(metrics, **settings)) as on:
        await on.client.get(URL)
        await on.client.get(URL)
        with suppress(family.http.TransportError):
            await on.client.get(URL)
    told = Scraped(registry)
    good = {"key": KEY, "method": "GET", "outcome": "success"}
    assert told("holdfast_call_duration_seconds_count", **good) == 1
    assert told("holdfast_call_duration_seconds_sum", **good) == pytest.approx(1.6)
    assert told("holdfast_call_duration_seconds_bucket", **good, le="1.0") == 0
    assert told("holdfast_call_duration_seconds_bucket", **good, le="2.5") == 1
    assert told("holdfast_call_attempts_sum", **good) == 2
    assert told("holdfast_call_duration_seconds_count", **{**good, "outcome": "http_error"}) == 1
    assert told("holdfast_call_duration_seconds_count", **{**good, "outcome": "circuit_open"}) == 1
    assert told("holdfast_retries_total", key=KEY, reason="503", source="backoff") == 1
    assert told("holdfast_retries_total", key=KEY, reason="500", source="backoff") == 1
    assert told("holdfast_retry_exhausted_total", key=KEY, reason="attempts") == 1
    assert told("holdfast_breaker_transitions_total", key=KEY, state="open") == 1
    assert told("holdfast_breaker_rejected_total", key=KEY) == 1
    states = {state: told("holdfast_breaker_state", key=KEY, state=state) for state in ("closed", "open", "half_open")}
    assert states == {"closed": 0.0, "open": 1.0, "half_open": 0.0}
    assert told("holdfast_budget_balance", key=KEY) is not None
    assert told("holdfast_offline") == 0


async def test_lines_and_permits_are_read_when_somebody_asks(family: FamilyModules) -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    settings: dict[str, Any] = {"concurrency": ConcurrencyLimit(1, max_queue=1)}
    async with (
        stage(family, [Hangs()], jump=False, pipeline=watched(metrics, **settings)) as on,
        anyio.create_task_group() as group,
    ):
        for _ in range(2):
            group.start_soon(on.client.get, URL)
            await anyio.wait_all_tasks_blocked()
        with pytest.raises(family.http.TransportError):
            await on.client.get(URL)
        told = Scraped(registry)
        assert told("holdfast_concurrency_in_flight", key=KEY) == 1
        assert told("holdfast_concurrency_queue", key=KEY) == 1
        assert told("holdfast_concurrency_rejected_total", key=KEY) == 1
        group.cancel_scope.cancel()
    told = Scraped(registry)
    assert told("holdfast_concurrency_in_flight", key=KEY) == 0
    assert told("holdfast_concurrency_queue", key=KEY) == 0
    cancelled = {"key": KEY, "method": "GET", "outcome": "cancelled"}
    assert told("holdfast_call_duration_seconds_count", **cancelled) == 2


async def test_waits_and_refusals_of_the_rate_limit(family: FamilyModules) -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    settings: dict[str, Any] = {"rate_limit": RateLimit(1, per=2.0, burst=1, max_wait=3.0), "deadline": 3.0}
    async with stage(family, [Reply()], repeat_last=True, pipeline=watched(metrics, **settings)) as on:
        for _ in range(2):
            await on.client.get(URL)
        with pytest.raises(family.http.TransportError):
            await on.client.get(URL, extensions={"holdfast": {"deadline": 1.0}})
    told = Scraped(registry)
    assert told("holdfast_limiter_wait_seconds_sum", key=KEY, policy="rate_limit") == pytest.approx(2.0)
    assert told("holdfast_limiter_rejected_total", key=KEY) == 1
    assert told("holdfast_limiter_queue", key=KEY) == 0


async def test_what_the_cache_did(family: FamilyModules) -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    script = [Reply(200, headers={"Cache-Control": "max-age=60"})]
    async with stage(family, script, pipeline=watched(metrics, cache=Cache())) as on:
        for _ in range(3):
            await on.client.get(URL)
    told = Scraped(registry)
    assert told("holdfast_cache_answers_total", key=KEY, outcome="hit") == 2
    assert told("holdfast_cache_answers_total", key=KEY, outcome="miss") == 1


async def test_one_registry_for_several_pipelines_adds_up_what_can_be_counted(family: FamilyModules) -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    async with anyio.create_task_group() as group:
        stages = [stage(family, [Hangs()], jump=False, pipeline=watched(metrics)) for _ in range(2)]
        async with stages[0] as one, stages[1] as other:
            for on in (one, other):
                group.start_soon(on.client.get, URL)
            await anyio.wait_all_tasks_blocked()
            one.pipeline.circuits.force_open(KEY)
            one.pipeline.offline()
            told = Scraped(registry)
            group.cancel_scope.cancel()
    assert told("holdfast_concurrency_in_flight", key=KEY) == 2
    assert told("holdfast_breaker_state", key=KEY, state="forced_open") == 1
    assert told("holdfast_breaker_transitions_total", key=KEY, state="forced_open") == 1
    assert told("holdfast_offline") == 1


async def test_pipelines_by_origin_are_watched_as_one(family: FamilyModules) -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)

    def pipelines(clock: Any) -> Any:
        made = [Pipeline(clock=clock, listeners=[metrics]) for _ in range(2)]
        return metrics.watch(Pipeline.by_origin({"http://api.test": made[0]}, default=made[1]))

    async with stage(family, [Reply()], repeat_last=True, pipeline=pipelines) as on:
        for url in (URL, "http://else.test/"):
            await on.client.get(url)
        assert Scraped(registry)("holdfast_offline") == 0
        on.pipeline.offline()
    told = Scraped(registry)
    assert told("holdfast_breaker_state", key="http://else.test:80", state="closed") == 1
    assert told("holdfast_offline") == 1


async def test_labels_stay_few_whatever_keys_and_methods_callers_make_up(family: FamilyModules) -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry, keys=3)
    async with stage(family, [Reply()], repeat_last=True, pipeline=watched(metrics)) as on:
        for number in range(10):
            await on.client.request(f"M{number}", URL, extensions={"holdfast": {"key": f"k{number}"}})
    samples = [labels for name, labels in scrape(registry) if name == "holdfast_call_duration_seconds_count"]
    told = [dict(labels) for labels in samples]
    assert {labels["key"] for labels in told} == {"k0", "k1", "k2", "_OTHER"}
    assert {labels["method"] for labels in told} == {"_OTHER"}


async def test_figures_may_speak_of_operations(family: FamilyModules) -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry, keys=2, operations=True)
    async with stage(family, [Reply()], repeat_last=True, pipeline=watched(metrics)) as on:
        for options in ({}, {"operation": "Users.get"}, {"operation": "Users.get"}, {"operation": "Users.list"}):
            await on.client.get(URL, extensions={"holdfast": options})
    told = Scraped(registry)
    counts = {
        key: told("holdfast_call_attempts_count", key=key, method="GET", outcome="success")
        for key in (KEY, f"{KEY} Users.get", "_OTHER")
    }
    assert counts == {KEY: 1, f"{KEY} Users.get": 2, "_OTHER": 1}
    assert told("holdfast_budget_balance", key=KEY) is not None


@pytest.mark.heavy
async def test_a_scrape_from_another_thread_disturbs_nobody(family: FamilyModules) -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry, keys=10)
    scrapes, failed, over = 0, [], threading.Event()

    def scrape_on() -> None:
        nonlocal scrapes
        while not over.is_set():
            try:
                generate_latest(registry)
                scrapes += 1
            except Exception as error:
                failed.append(error)

    thread = threading.Thread(target=scrape_on)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        settings: dict[str, Any] = {"rate_limit": RateLimit(1000)}
        async with stage(family, [Reply()], repeat_last=True, pipeline=watched(metrics, **settings)) as on:
            thread.start()
            for number in range(400):
                response = await on.client.get(URL, extensions={"holdfast": {"key": f"k{number}"}})
                assert response.status_code == 200
            while not scrapes and not failed:  # on a busy machine the other thread may not have had its turn
                await on.client.get(URL)
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert failed == []
    assert scrapes > 0


def test_a_policy_that_only_observes_is_counted_apart() -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    for observed in (True, True, False):
        metrics(
            Refusal(at=0.0, key="k", policy="rate_limit", reason="rate_limited", retry_after=1.0, observed=observed)
        )
    told = Scraped(registry)
    assert told("holdfast_limiter_rejected_total", key="k") == 1
    assert told("holdfast_would_reject_total", key="k", policy="rate_limit", reason="rate_limited") == 2


def test_at_least_one_key_is_told() -> None:
    with pytest.raises(ValueError):
        PrometheusMetrics(CollectorRegistry(), keys=0)
