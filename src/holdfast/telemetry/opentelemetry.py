"""Traces and metrics for OpenTelemetry, through its API alone (extra: ``otel``).

Names are those of the stable semantic conventions for HTTP clients; our own begin with ``holdfast.``. Which of these
to use beside opentelemetry-instrumentation-httpx is on the page about observability.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import Token
from dataclasses import fields
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import urlsplit

from opentelemetry import context, propagate, trace
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, MeterProvider, Observation, get_meter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider

from holdfast._version import __version__
from holdfast.events import AttemptEnded, AttemptStarted, CallEnded, CallStarted, Event
from holdfast.telemetry.metrics import (
    DURATIONS,
    EVENT_METRICS,
    GAUGES,
    METHODS,
    Keys,
    Metric,
    Watched,
    measure,
    read,
)

__all__ = ["Metrics", "Tracing", "mark_resend", "propagate_context"]

W = TypeVar("W", bound=Watched)

_PORTS: Final = {"http": 80, "https": 443}
# The API has no public name for "no further HTTP spans below here"; opentelemetry-instrumentation itself reads this
# one. Where a version lacks it, nothing is held back.
_NO_HTTP_BELOW: Final[str | None] = getattr(context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", None)
_OF_EVERY_RECORD: Final = frozenset(field.name for field in fields(Event))

_Current: TypeAlias = "tuple[Span, Token[context.Context], int]"
"""A span that is current, what undoes that, and when it began (nanoseconds since the epoch)."""


class Tracing:
    """A listener that makes a span of each attempt (CLIENT), below one of each call (INTERNAL).

    An attempt's span is current while the inner transport runs, so that whatever is traced below it is its child; it is
    told ``http.request.resend_count`` if it is a repeat. What else happens to a call are events of its span.
    While an attempt's span is current, other instrumentations make no HTTP spans of their own: the attempt has one.

    ``attempts=False`` leaves the attempts to opentelemetry-instrumentation-httpx (then give it `mark_resend`);
    ``calls=False`` makes spans of attempts alone. No header is sent on: `propagate_context` is the hook for that.
    """

    def __init__(
        self, tracer_provider: TracerProvider | None = None, *, calls: bool = True, attempts: bool = True
    ) -> None:
        self._tracer = trace.get_tracer("holdfast", __version__, tracer_provider)
        self._wants_calls = calls
        self._wants_attempts = attempts
        self._calls: dict[str | None, _Current] = {}
        self._attempts: dict[tuple[str | None, int], _Current] = {}
        self._templates: dict[str | None, str] = {}

    def __call__(self, event: Event, /) -> None:
        match event:
            case CallStarted():
                self._call_started(event)
            case AttemptStarted():
                self._attempt_started(event)
            case AttemptEnded():
                self._attempt_ended(event)
            case CallEnded():
                self._call_ended(event)
            case _:
                self._happened(event)

    def _call_started(self, event: CallStarted) -> None:
        if event.template is not None:
            self._templates[event.call] = event.template
        if not self._wants_calls:
            return
        told: dict[str, str | bool] = {"holdfast.key": event.key, **_method(event.method)}
        if event.background:
            told["holdfast.background"] = True
        if event.operation is not None:
            told["holdfast.operation"] = event.operation
        if event.template is not None:
            told["url.template"] = event.template
        name = event.operation or _span_name(event.method, event.template)
        self._calls[event.call] = self._begin(f"holdfast {name}", SpanKind.INTERNAL, event.at, told)

    def _attempt_started(self, event: AttemptStarted) -> None:
        if not self._wants_attempts:
            return
        told: dict[str, str | int] = {**_method(event.method), **_server(event.url), "url.full": event.url}
        template = self._templates.get(event.call)
        if template is not None:
            told["url.template"] = template
        if event.repeat:
            told["http.request.resend_count"] = event.repeat
        self._attempts[event.call, event.number] = self._begin(
            _span_name(event.method, template), SpanKind.CLIENT, event.at, told, alone=True
        )

    def _attempt_ended(self, event: AttemptEnded) -> None:
        current = self._attempts.pop((event.call, event.number), None)
        if current is None:
            return
        span, _, _ = current
        if event.status is not None:
            span.set_attribute("http.response.status_code", event.status)
        if event.protocol is not None:
            span.set_attribute("network.protocol.version", event.protocol)
        _end(current, event.duration, _error_type(event.status, event.error))

    def _call_ended(self, event: CallEnded) -> None:
        self._templates.pop(event.call, None)
        current = self._calls.pop(event.call, None)
        if current is None:
            return
        span, _, _ = current
        span.set_attribute("holdfast.outcome", event.outcome)
        span.set_attribute("holdfast.attempts", event.attempts)
        for name, value in (("holdfast.source", event.source), ("holdfast.reason", event.reason)):
            if value is not None:
                span.set_attribute(name, value)
        _end(current, event.duration, None if event.outcome == "fallback" else _error_type(event.status, event.error))

    def _happened(self, event: Event) -> None:
        """An event of the call's span; of the current one, if it belongs to no call (a circuit that opened)."""
        current = self._calls.get(event.call)
        if current is None and (event.call is not None or not self._wants_calls):
            return
        span = trace.get_current_span() if current is None else current[0]
        told = {
            f"holdfast.{field.name}": value
            for field in fields(event)
            if field.name not in _OF_EVERY_RECORD and (value := getattr(event, field.name)) is not None
        }
        span.add_event(f"holdfast.{type(event).__name__}", told, _nanoseconds(event.at))

    def _begin(
        self, name: str, kind: SpanKind, at: float, told: Mapping[str, str | int | bool], *, alone: bool = False
    ) -> _Current:
        began = _nanoseconds(at)
        span = self._tracer.start_span(name, kind=kind, attributes=told, start_time=began)
        below = trace.set_span_in_context(span)
        if alone and _NO_HTTP_BELOW is not None:
            below = context.set_value(_NO_HTTP_BELOW, True, below)
        return span, context.attach(below), began


class Metrics:
    """A listener that records the figures of holdfast, and http.client.request.duration of each attempt.

    Gauges are read from the snapshot of each watched pipeline when a reader collects. At most ``keys`` keys (1,000)
    are told by name, the others together as ``_OTHER``; with ``operations`` the name of what was done stands behind
    the key, where a call is counted. With opentelemetry-instrumentation-httpx, which measures
    requests too, give ``attempts=False``.
    """

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        *,
        attempts: bool = True,
        keys: int = 1000,
        operations: bool = False,
    ) -> None:
        meter = get_meter("holdfast", __version__, meter_provider)
        self._keys = Keys(keys, operations=operations)
        self._watched: list[Watched] = []
        self._kept: dict[Metric, Counter | Histogram] = {}
        for metric in EVENT_METRICS:
            if metric.kind == "counter":
                self._kept[metric] = meter.create_counter(metric.name, metric.unit, metric.text)
            else:
                self._kept[metric] = meter.create_histogram(
                    metric.name, metric.unit, metric.text, explicit_bucket_boundaries_advisory=metric.bounds
                )
        for metric in GAUGES:
            meter.create_observable_gauge(metric.name, [self._reader(metric)], metric.unit, metric.text)
        self._durations: Histogram | None = None
        if attempts:
            self._durations = meter.create_histogram(
                "http.client.request.duration",
                "s",
                "Duration of HTTP client requests",
                explicit_bucket_boundaries_advisory=DURATIONS,
            )
        self._under_way: dict[tuple[str | None, int], AttemptStarted] = {}

    def __call__(self, event: Event, /) -> None:
        match event:
            case AttemptStarted() if self._durations is not None:
                self._under_way[event.call, event.number] = event
            case AttemptEnded() if self._durations is not None:
                began = self._under_way.pop((event.call, event.number), None)
                if began is not None:
                    self._durations.record(event.duration, _of_attempt(began, event))
            case _:
                for metric, value, labels in measure(event, self._keys):
                    kept, told = self._kept[metric], dict(zip(metric.labels, labels, strict=True))
                    if isinstance(kept, Counter):
                        kept.add(value, told)
                    else:
                        kept.record(value, told)

    def watch(self, pipeline: W) -> W:
        """Have the gauges of ``pipeline`` in each collection from now on; gives it back."""
        self._watched.append(pipeline)
        return pipeline

    def _reader(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for sample in read(self._watched, self._keys, time.time()):
                if sample.metric is metric:
                    yield Observation(sample.value, dict(zip(metric.labels, sample.labels, strict=True)))

        return observe


def propagate_context(request: Any, attempt: int) -> None:
    """An attempt hook that sends the context on (``traceparent`` and what else the propagators write).

    Give it to ``Pipeline(hooks=[...])`` where the far side is yours: the headers tell anybody else about your traces.
    """
    propagate.inject(request.headers)


async def mark_resend(span: Span, request: Any) -> None:
    """A request hook for opentelemetry-instrumentation-httpx, whose spans do not say that they are repeats.

    ``HTTPXClientInstrumentor().instrument(async_request_hook=mark_resend)``, together with
    ``Tracing(attempts=False)``.
    """
    call = request.extensions.get("holdfast.call")
    if call is not None and (repeat := call.sent_before + call.sends - 1):
        span.set_attribute("http.request.resend_count", repeat)


def _end(current: _Current, seconds: float, error: str | None) -> None:
    span, token, began = current
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
    span.end(began + _nanoseconds(seconds))
    context.detach(token)


def _of_attempt(began: AttemptStarted, ended: AttemptEnded) -> dict[str, str | int]:
    told: dict[str, str | int] = {**_method(began.method), **_server(began.url)}
    told.pop("http.request.method_original", None)
    if ended.status is not None:
        told["http.response.status_code"] = ended.status
    if ended.protocol is not None:
        told["network.protocol.version"] = ended.protocol
    if (error := _error_type(ended.status, ended.error)) is not None:
        told["error.type"] = error
    return told


def _error_type(status: int | None, error: str | None) -> str | None:
    if error is not None:
        return error
    return str(status) if status is not None and status >= 400 else None


def _method(method: str) -> dict[str, str]:
    if method in METHODS:
        return {"http.request.method": method}
    return {"http.request.method": "_OTHER", "http.request.method_original": method}


def _span_name(method: str, template: str | None) -> str:
    known = method if method in METHODS else "HTTP"
    return known if template is None else f"{known} {template}"


def _server(url: str) -> dict[str, str | int]:
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme)
    told: dict[str, str | int] = {"server.address": parts.hostname or ""}
    return told if port is None else {**told, "server.port": port}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
