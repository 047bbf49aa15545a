"""The dashboard, the alert rules and the tables of the page name what there is, and nothing else."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from holdfast import Cache, CircuitBreaker, ConcurrencyLimit, MemoryStore, Pipeline, RateLimit, Retry, events
from holdfast.telemetry.logging import PLACES
from holdfast.telemetry.metrics import EVENT_METRICS, GAUGES
from holdfast.telemetry.prometheus import PrometheusMetrics
from holdfast.testing import Hangs, Reply
from tests.scripting import URL, stage
from tests.support import FamilyModules

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGE: Final = (DOCS / "observability.md").read_text("utf-8")
DASHBOARD: Final = (DOCS / "grafana-dashboard.json").read_text("utf-8")
ALERTS: Final = (DOCS / "prometheus-alerts.yml").read_text("utf-8")
NOT_LABELS: Final = frozenset({"le"})  # Prometheus's own


def expressions() -> Iterator[str]:
    for panel in json.loads(DASHBOARD)["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for group in yaml.safe_load(ALERTS)["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"\bholdfast_\w+", text))


def labels_in(text: str) -> set[str]:
    grouped = {name.strip() for group in re.findall(r"\bby \(([^)]*)\)", text) for name in group.split(",")}
    return (grouped | set(re.findall(r"[{,]\s*(\w+)(?:=~|!~|!=|=)\"", text))) - NOT_LABELS


class Broken(MemoryStore):
    """A store that fails."""

    lookup: Any = None

    async def get(self, key: str) -> Any:
        raise OSError


async def a_bad_day(family: FamilyModules, metrics: PrometheusMetrics) -> None:
    """Retries, waits, refusals of each kind, a circuit that opens, a cache that hits and one whose store fails."""

    def watched(**settings: Any) -> Any:
        return lambda clock: metrics.watch(Pipeline(clock=clock, listeners=[metrics], **settings))

    fresh = Reply(200, headers={"Cache-Control": "max-age=60"})
    settings: dict[str, Any] = {"cache": Cache(), "rate_limit": RateLimit(1, per=1.0, burst=1, max_wait=2.0)}
    settings |= {"breaker": CircuitBreaker(failures=2), "retry": Retry(attempts=2)}
    async with stage(family, [fresh, Reply(500)], repeat_last=True, pipeline=watched(**settings)) as on:
        for path in ("/a", "/a", "/b", "/c"):
            with suppress(family.http.TransportError):
                await on.client.get(f"http://api.test{path}")
        on.pipeline.circuits.reset("http://api.test:80")
        with suppress(family.http.TransportError):
            for _ in range(3):
                await on.client.get(URL, extensions={"holdfast": {"deadline": 0.1}})
    async with stage(family, [Reply()], repeat_last=True, pipeline=watched(cache=Cache(store=Broken()))) as on:
        for _ in range(3):
            await on.client.get(URL)
    crowded = watched(concurrency=ConcurrencyLimit(1, max_queue=1))
    async with stage(family, [Hangs()], jump=False, pipeline=crowded) as on, anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(on.client.get, URL)
            await anyio.wait_all_tasks_blocked()
        with suppress(family.http.TransportError):
            await on.client.get(URL)
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_every_metric_and_label_of_dashboard_and_alerts_is_in_a_real_scrape(family: FamilyModules) -> None:
    registry = CollectorRegistry()
    await a_bad_day(family, PrometheusMetrics(registry))
    scraped: dict[str, set[str]] = {}
    for metric in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in metric.samples:
            scraped.setdefault(sample.name, set()).update(sample.labels)
    assert metrics_in(DASHBOARD + ALERTS) - scraped.keys() == set()
    for expression in expressions():
        known = set().union(*(scraped[name] for name in metrics_in(expression)))
        assert labels_in(expression) - known == set(), expression
    # Every name follows from the table by rule.
    suffixes = re.compile(r"_(bucket|count|sum|created|total)$")
    assert {suffixes.sub("", name) for name in scraped} <= {
        one.prometheus.removesuffix("_total") for one in (*EVENT_METRICS, *GAUGES)
    }


def test_the_reader_of_expressions_sees_metrics_and_labels() -> None:
    text = 'sum by (key, le) (rate(holdfast_a_total{outcome!~"x|y", state="z"}[5m])) / holdfast_b'
    assert metrics_in(text) == {"holdfast_a_total", "holdfast_b"}
    assert labels_in(text) == {"key", "outcome", "state"}


def test_each_alert_says_what_is_wrong_and_how_bad() -> None:
    rules = [rule for group in yaml.safe_load(ALERTS)["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the page, without its head."""
    _, _, rest = PAGE.partition(f"\n## {heading}\n")
    lines = [line for line in rest.partition("\n##")[0].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_page_has_every_record_with_its_logger_and_level() -> None:
    told = {cells[0].strip("`"): (cells[2].strip("`"), cells[3]) for cells in rows("Records")}
    assert told == {kind.__name__: (place.logger, logging.getLevelName(place.level)) for kind, place in PLACES.items()}
    assert told.keys() == set(events.__all__) - {"Event", "Listener", "Outcome"}


def test_the_page_has_every_metric_with_its_kind_and_labels() -> None:
    told = {tuple(cell.replace("`", "") for cell in cells[:4]) for cells in rows("Metrics")}
    assert told == {
        (one.name, one.prometheus, f"{one.kind}, {one.unit}", ", ".join(one.labels) or "none")
        for one in (*EVENT_METRICS, *GAUGES)
    }
