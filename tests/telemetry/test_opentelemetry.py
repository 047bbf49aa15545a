"""Spans and metrics as the SDK's in-memory exporters get them, alone and beside the contrib instrumentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import anyio
import opentelemetry.instrumentation.httpx as contrib
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from holdfast import CircuitBreaker, Pipeline, Retry
from holdfast.telemetry.opentelemetry import Metrics, Tracing, mark_resend, propagate_context
from holdfast.testing import Fails, FaultyServer, Hangs, Reply
from holdfast.testing.faulty import Answer
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
KEY = "http://api.test:80"


class Traced:
    """A tracer provider of the test's own, and what came out of it."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def of(self, kind: SpanKind) -> list[ReadableSpan]:
        return [span for span in self.spans if span.kind is kind]


@pytest.fixture
def traced() -> Traced:
    return Traced()


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_client_span_for_each_attempt_below_one_of_the_call(family: FamilyModules, traced: Traced) -> None:
    script: list[Any] = [Reply(503, delay=0.25), Fails("ReadTimeout", delay=1.0), Reply(200)]
    tracer = traced.provider.get_tracer("user")
    async with stage(family, script, listeners=[Tracing(traced.provider)], retry=Retry(attempts=3)) as on:
        with tracer.start_as_current_span("user's"):
            await on.client.get(
                "http://me:pw@api.test:8080/things/1?token=s",
                extensions={"holdfast": {"operation": "Things.get", "template": "/things/{id}"}},
            )
        assert not trace.get_current_span().get_span_context().is_valid
    *attempts, call, users = traced.spans
    assert (call.name, call.kind) == ("holdfast Things.get", SpanKind.INTERNAL)
    assert call.parent == users.context
    assert told(call) == {
        "holdfast.key": "http://api.test:8080",
        "holdfast.operation": "Things.get",
        "http.request.method": "GET",
        "url.template": "/things/{id}",
        "holdfast.outcome": "success",
        "holdfast.attempts": 3,
        "holdfast.source": "origin",
    }
    assert [event.name for event in call.events] == ["holdfast.Retried"] * 2
    assert dict(call.events[0].attributes or {})["holdfast.reason"] == "503"
    every = {
        "http.request.method": "GET",
        "server.address": "api.test",
        "server.port": 8080,
        "url.full": "http://api.test:8080/things/1",
        "url.template": "/things/{id}",
    }
    assert [told(span) for span in attempts] == [
        {**every, "http.response.status_code": 503, "error.type": "503"},
        {**every, "http.request.resend_count": 1, "error.type": "ReadTimeout"},
        {**every, "http.request.resend_count": 2, "http.response.status_code": 200},
    ]
    assert {(span.name, span.kind) for span in attempts} == {("GET /things/{id}", SpanKind.CLIENT)}
    assert [span.parent for span in attempts] == [call.context] * 3
    codes = [span.status.status_code for span in (*attempts, call)]
    assert codes == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET, StatusCode.UNSET]
    assert attempts[1].start_time is not None
    assert attempts[1].end_time is not None
    assert (attempts[1].end_time - attempts[1].start_time) / 1e9 == pytest.approx(1.0)


async def test_a_refused_call_says_so(family: FamilyModules, traced: Traced) -> None:
    async with stage(family, [], listeners=[Tracing(traced.provider)]) as on:
        on.pipeline.circuits.force_open(KEY)
        with pytest.raises(family.http.TransportError):
            await on.client.request("MAKE-IT", URL)
    (call,) = traced.spans
    assert told(call)["error.type"] == "CircuitOpen"
    assert told(call)["holdfast.outcome"] == "circuit_open"
    assert (told(call)["http.request.method"], call.name) == ("_OTHER", "holdfast HTTP")
    assert call.status.status_code is StatusCode.ERROR
    assert [event.name for event in call.events] == ["holdfast.Refusal"]


async def test_a_cancelled_call_ends_its_spans_and_leaves_the_context_as_it_was(
    family: FamilyModules, traced: Traced
) -> None:
    async with stage(family, [Hangs()], jump=False, listeners=[Tracing(traced.provider)]) as on:

        async def call() -> None:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                await on.client.get(URL)
            left.append(trace.get_current_span().get_span_context().is_valid)

        scopes: list[anyio.CancelScope] = []
        left: list[bool] = []
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            scopes[0].cancel()
    assert left == [False]
    assert [span.kind for span in traced.spans] == [SpanKind.CLIENT, SpanKind.INTERNAL]
    assert told(traced.spans[1])["holdfast.outcome"] == "cancelled"


async def test_attempts_or_calls_alone(family: FamilyModules, traced: Traced) -> None:
    for wanted in ({"calls": False}, {"attempts": False}):
        async with stage(family, [Reply(503), Reply()], listeners=[Tracing(traced.provider, **wanted)]) as on:
            await on.client.get(URL)
    assert [span.kind for span in traced.spans] == [SpanKind.CLIENT, SpanKind.CLIENT, SpanKind.INTERNAL]


@pytest.mark.parametrize("asked", [True, False])
async def test_the_context_is_sent_on_only_if_asked(family: FamilyModules, traced: Traced, asked: bool) -> None:
    settings: dict[str, Any] = {"hooks": [propagate_context] if asked else []}
    async with stage(family, [Reply(503), Reply()], listeners=[Tracing(traced.provider)], **settings) as on:
        await on.client.get(URL)
    sent = [dict(sent.headers).get(b"traceparent") for sent in on.script.sent]
    ids = [f"{span.context.span_id:016x}".encode() for span in traced.of(SpanKind.CLIENT) if span.context]
    assert [None if header is None else header.split(b"-")[2] for header in sent] == (ids if asked else [None, None])


async def test_concurrent_calls_keep_their_spans_apart(family: FamilyModules, traced: Traced) -> None:
    def answer(number: int, _: Any) -> Any:
        return Reply(503 if number <= 10 else 200, delay=0.1 * (number % 7))

    settings: dict[str, Any] = {"listeners": [Tracing(traced.provider)], "breaker": None}
    async with stage(family, answer, **settings) as on, anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(on.client.get, URL)
    calls = {span.context.span_id: span for span in traced.of(SpanKind.INTERNAL) if span.context}
    attempts = traced.of(SpanKind.CLIENT)
    assert (len(calls), len({span.context.trace_id for span in calls.values() if span.context})) == (10, 10)
    assert len(attempts) == 20
    for span in attempts:
        assert span.parent is not None
        assert span.context is not None
        assert span.context.trace_id == span.parent.trace_id
        assert span.parent.span_id in calls


@pytest.fixture
def instrumented(family: FamilyModules, traced: Traced) -> Iterator[None]:
    """The contrib instrumentation, switched on for the process as its page says."""
    name = f"{family.name.upper()}ClientInstrumentor"
    if not hasattr(contrib, name):
        pytest.skip(f"this opentelemetry-instrumentation-httpx has no {name}; a newer one has")
    instrumentor = getattr(contrib, name)()
    instrumentor.instrument(tracer_provider=traced.provider, async_request_hook=mark_resend)
    yield
    instrumentor.uninstrument()


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("ours", [True, False])
async def test_beside_the_instrumentation_each_attempt_has_one_client_span(
    family: FamilyModules, traced: Traced, ours: bool
) -> None:
    tracing = Tracing(traced.provider, attempts=ours)
    async with FaultyServer() as server:
        server.on("/", Answer(503), Answer(200))
        transport = family.holdfast.ResilientTransport(
            Pipeline(listeners=[tracing], retry=Retry(wait_throttled=lambda _: 0.0))
        )
        async with family.http.AsyncClient(transport=transport) as client:
            assert (await client.get(f"{server.url}/")).status_code == 200
    attempts, (call,) = traced.of(SpanKind.CLIENT), traced.of(SpanKind.INTERNAL)
    assert [span.parent for span in attempts] == [call.context] * 2
    assert [told(span).get("http.request.resend_count") for span in attempts] == [None, 1]
    scopes = {span.instrumentation_scope.name for span in attempts if span.instrumentation_scope}
    assert scopes == ({"holdfast"} if ours else {"opentelemetry.instrumentation.httpx"})


def points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    data = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


async def test_metrics_of_attempts_calls_and_circuits(family: FamilyModules) -> None:
    reader = InMemoryMetricReader()
    metrics = Metrics(MeterProvider([reader]))
    script: list[Any] = [Reply(503, delay=0.3), Reply(200, delay=0.04), Fails("ConnectError")]
    settings: dict[str, Any] = {"retry": Retry(attempts=2), "breaker": CircuitBreaker(failures=1, ramp_from=None)}

    def pipeline(clock: Any) -> Pipeline:
        return metrics.watch(Pipeline(clock=clock, listeners=[metrics], random=lambda: 0.5, **settings))

    async with stage(family, script, pipeline=pipeline) as on:
        await on.client.get(URL)
        await on.clock.sleep(10.0)
        await on.client.get(URL)
        with suppress(family.http.TransportError):
            await on.client.get(URL)
    found = points(reader)
    durations = {
        (point.attributes.get("http.response.status_code"), point.attributes.get("error.type")): point
        for point in found["http.client.request.duration"]
    }
    assert set(durations) == {(503, "503"), (200, None), (None, "ConnectError")}
    assert durations[503, "503"].sum == pytest.approx(0.3)
    assert durations[200, None].explicit_bounds == (
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
    )  # fmt: skip
    assert dict(durations[200, None].attributes) == {
        "http.request.method": "GET",
        "server.address": "api.test",
        "server.port": 80,
        "http.response.status_code": 200,
    }
    outcomes = {point.attributes["outcome"]: point.count for point in found["holdfast.call.duration"]}
    assert outcomes == {"http_error": 1, "success": 1, "exception": 1}
    transitions = {point.attributes["state"]: point.value for point in found["holdfast.breaker.transitions"]}
    assert transitions == {"open": 2, "half_open": 1, "closed": 1}
    states = {point.attributes["state"]: point.value for point in found["holdfast.breaker.state"]}
    assert (states["open"], states["closed"]) == (1, 0)
    assert {"holdfast.budget.balance", "holdfast.concurrency.in_flight", "holdfast.offline"} <= set(found)


async def test_metrics_without_attempts_leave_them_to_others(family: FamilyModules) -> None:
    reader = InMemoryMetricReader()
    metrics = Metrics(MeterProvider([reader]), attempts=False)
    async with stage(family, [Reply()], listeners=[metrics]) as on:
        await on.client.get(URL)
    found = points(reader)
    assert "http.client.request.duration" not in found
    assert "holdfast.call.duration" in found
