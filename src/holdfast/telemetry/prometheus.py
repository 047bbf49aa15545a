"""Metrics for Prometheus, through ``prometheus_client`` (extra: ``prometheus``)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TypeVar

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from holdfast.events import Event
from holdfast.telemetry.metrics import EVENT_METRICS, GAUGES, Keys, Metric, Watched, measure, read

__all__ = ["PrometheusMetrics"]

W = TypeVar("W", bound=Watched)


class PrometheusMetrics(Collector):
    """A listener that counts into ``registry`` (default: the process's own), and a collector of gauges.

    Gauges are read from the snapshot of each watched pipeline when Prometheus scrapes. One of these serves any
    number of pipelines; a registry takes only one. At most ``keys`` keys (1,000) are told by name, the others
    together as ``_OTHER``. ``operations``: what is counted by calls is told for each operation, its name behind the
    key (``http://api.example.com:80 Users.get``). Scrapes may come from another thread.

    >>> from holdfast import Pipeline
    >>> metrics = PrometheusMetrics(CollectorRegistry())
    >>> pipeline = metrics.watch(Pipeline(listeners=[metrics]))
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY, *, keys: int = 1000, operations: bool = False) -> None:
        self._keys = Keys(keys, operations=operations)
        self._watched: list[Watched] = []
        self._kept: dict[Metric, Counter | Histogram] = {metric: _kept(metric, registry) for metric in EVENT_METRICS}
        registry.register(self)

    def __call__(self, event: Event, /) -> None:
        for metric, value, labels in measure(event, self._keys):
            kept = self._kept[metric]
            if isinstance(kept, Counter):
                kept.labels(*labels).inc(value)
            else:
                kept.labels(*labels).observe(value)

    def watch(self, pipeline: W) -> W:
        """Have the gauges of ``pipeline`` in each scrape from now on; gives it back."""
        self._watched.append(pipeline)
        return pipeline

    def collect(self) -> Iterable[GaugeMetricFamily]:
        families = {
            metric: GaugeMetricFamily(metric.prometheus, metric.text, labels=metric.labels) for metric in GAUGES
        }
        for metric, value, labels in read(self._watched, self._keys, time.time()):
            families[metric].add_metric(labels, value)
        return families.values()


def _kept(metric: Metric, registry: CollectorRegistry) -> Counter | Histogram:
    if metric.kind == "counter":
        return Counter(metric.prometheus, metric.text, metric.labels, registry=registry)
    return Histogram(metric.prometheus, metric.text, metric.labels, registry=registry, buckets=metric.bounds)
