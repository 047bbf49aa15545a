"""What health says, what a refusal tells, and what may take an alert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, assert_type

from holdfast import Alert, Condition, Health, Notify, Pipeline, Refused, condition_of


def verdicts(pipeline: Pipeline, refused: Refused) -> None:
    assert_type(pipeline.health(), Health)
    assert_type(pipeline.health().status, Literal["ok", "limited", "down"])
    assert_type(pipeline.health().keys, Mapping[str, Condition])
    assert_type(Pipeline.by_origin({}).health(), Health)
    assert_type(condition_of(refused, 0.0), Condition)
    pipeline.health().status = "ok"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


async def page(alert: Alert) -> int:
    return len(alert.key)


def log(alert: Alert) -> None: ...


def wrong(alert: str) -> None: ...


kept: list[Alert] = []
sinks = [Notify(page), Notify(log), Notify(kept.append), Notify(print)]
not_a_sink = Notify(wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
