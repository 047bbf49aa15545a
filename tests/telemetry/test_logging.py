"""Log lines: where, at which level, how many at most; the standard library's logging and structlog."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from holdfast import CircuitBreaker, Retry, events
from holdfast.events import Event, Retried
from holdfast.telemetry.logging import PLACES, LogListener
from holdfast.telemetry.structlog import StructuredLogListener
from holdfast.testing import Fails, Reply
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
KEY = "http://api.test:80"


@pytest.fixture
def lines() -> Iterator[list[logging.LogRecord]]:
    """What is logged below "holdfast", of every level."""
    kept: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record)

    logger, keeper = logging.getLogger("holdfast"), Keeper()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(keeper)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield kept
    logger.removeHandler(keeper)
    logger.setLevel(level)
    logger.propagate = propagate


def retried(at: float, key: str = KEY) -> Event:
    return Retried(at=at, key=key, number=1, reason="503", wait=0.1, source="backoff")


async def test_each_record_has_its_logger_and_level(family: FamilyModules, lines: list[logging.LogRecord]) -> None:
    script: list[Any] = [Reply(503), Reply(503)]
    settings: dict[str, Any] = {"retry": Retry(attempts=2), "breaker": CircuitBreaker(failures=2)}
    async with stage(family, script, listeners=[LogListener()], **settings) as on:
        await on.client.get(URL, extensions={"holdfast": {"operation": "Things.list"}})
        with suppress(family.http.TransportError):
            await on.client.get(URL)
    told = [(line.name, line.levelname, vars(line)["holdfast.event"]) for line in lines]
    assert told == [
        ("holdfast.call", "DEBUG", "CallStarted"),
        ("holdfast.attempt", "DEBUG", "AttemptStarted"),
        ("holdfast.attempt", "DEBUG", "AttemptEnded"),
        ("holdfast.retry", "INFO", "Retried"),
        ("holdfast.attempt", "DEBUG", "AttemptStarted"),
        ("holdfast.attempt", "DEBUG", "AttemptEnded"),
        ("holdfast.breaker", "WARNING", "CircuitOpened"),
        ("holdfast.retry", "WARNING", "GaveUp"),
        ("holdfast.call", "DEBUG", "CallEnded"),
        ("holdfast.call", "DEBUG", "CallStarted"),
        ("holdfast.limiter", "INFO", "Refusal"),
        ("holdfast.call", "DEBUG", "CallEnded"),
    ]
    values = vars(lines[3])
    assert {name: values[name] for name in values if name.startswith("holdfast.")} == {
        "holdfast.event": "Retried",
        "holdfast.at": values["holdfast.at"],
        "holdfast.key": KEY,
        "holdfast.call": values["holdfast.call"],
        "holdfast.operation": "Things.list",
        "holdfast.number": 1,
        "holdfast.reason": "503",
        "holdfast.wait": values["holdfast.wait"],
        "holdfast.source": "backoff",
    }


def test_every_kind_of_record_has_a_place() -> None:
    kinds = {kind for name in events.__all__ if isinstance(kind := getattr(events, name), type)}
    assert set(PLACES) == {kind for kind in kinds if issubclass(kind, Event)} - {Event}


async def test_no_line_holds_a_secret(family: FamilyModules, lines: list[logging.LogRecord]) -> None:
    script: list[Any] = [
        Fails("ConnectError", message="hunter2"),
        Reply(401, headers={"Set-Cookie": "hunter2"}, body=b"hunter2"),
    ]
    async with stage(family, script, listeners=[LogListener(paths=False)]) as on:
        await on.client.put(
            "http://me:hunter2@api.test/hunter2?token=hunter2",
            headers={"Authorization": "hunter2", "Cookie": "hunter2"},
            content=b"hunter2",
        )
    assert lines
    assert not [line for line in lines if "hunter2" in line.getMessage() or "hunter2" in repr(vars(line))]


def test_ten_thousand_failures_a_minute_are_a_few_lines_and_an_exact_count(
    lines: list[logging.LogRecord],
) -> None:
    listener = LogListener(burst=10, per=60.0)
    for number in range(10_000):
        listener(retried(at=number * 60.0 / 10_000))
        listener(retried(at=number * 60.0 / 10_000, key=f"http://api{number % 3}.test:80"))
    assert len(lines) == 40
    listener(retried(at=61.0))
    assert sum(vars(line).get("holdfast.suppressed", 1) for line in lines) == 20_001
    assert len(lines) == 40 + 4 + 1


@pytest.mark.parametrize("by", ["flush", "more keys than are kept", "a clock that was set back"])
def test_what_was_suppressed_is_told_in_the_end(lines: list[logging.LogRecord], by: str) -> None:
    listener, told = LogListener(burst=1), 25
    for _ in range(told):
        listener(retried(at=1000.0))
    assert len(lines) == 1
    match by:
        case "flush":
            listener.flush()
            listener.flush()
        case "more keys than are kept":
            for number in range(1024):
                listener(retried(at=1000.0, key=str(number)))
        case _:
            listener(retried(at=10.0))
    mine = [line for line in lines if vars(line)["holdfast.key"] == KEY and vars(line).get("holdfast.suppressed")]
    assert [vars(line)["holdfast.suppressed"] for line in mine] == [told - 1]


def test_what_is_not_logged_is_not_counted_either(lines: list[logging.LogRecord]) -> None:
    listener = LogListener(burst=1)
    logging.getLogger("holdfast").setLevel(logging.WARNING)
    for _ in range(5):
        listener(retried(at=0.0))
    listener.flush()
    assert lines == []


def test_a_key_does_not_forge_a_line(lines: list[logging.LogRecord]) -> None:
    LogListener()(retried(at=0.0, key="a\nINFO forged"))
    assert "\n" not in lines[0].getMessage()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebooted(Event):
    """A record of a user's own, as `Pipeline.tell` takes them."""


def test_a_record_of_a_users_own_is_written_too(lines: list[logging.LogRecord]) -> None:
    with structlog.testing.capture_logs() as kept:
        listeners: list[Any] = [LogListener(burst=1), StructuredLogListener(structlog.get_logger(), burst=1)]
        for listener in listeners:
            listener(Rebooted(at=0.0, key=KEY))
            listener(Rebooted(at=0.0, key=KEY))
            listener.flush()
    assert [line.name for line in lines] == ["holdfast.event"] * 2
    assert [line["event"] for line in kept] == ["holdfast.event"] * 2


@pytest.mark.parametrize(("burst", "per"), [(0, 60.0), (1, 0.0)])
def test_a_limit_that_cannot_work_is_an_error(burst: int, per: float) -> None:
    with pytest.raises(ValueError):
        LogListener(burst=burst, per=per)


async def test_structlog_gets_values_by_name(family: FamilyModules) -> None:
    with structlog.testing.capture_logs() as kept:
        listener = StructuredLogListener(structlog.get_logger(), burst=1)
        script = [Reply(503), Reply(503), Reply(200)]
        async with stage(family, script, listeners=[listener]) as on:
            await on.client.get(URL)
        listener.flush()
    assert [(line["event"], line["kind"], line["log_level"]) for line in kept] == [
        ("holdfast.call", "CallStarted", "debug"),
        ("holdfast.attempt", "AttemptStarted", "debug"),
        ("holdfast.attempt", "AttemptEnded", "debug"),
        ("holdfast.retry", "Retried", "info"),
        ("holdfast.call", "CallEnded", "debug"),
        ("holdfast.attempt", "AttemptStarted", "debug"),
        ("holdfast.attempt", "AttemptEnded", "debug"),
        ("holdfast.retry", "Retried", "info"),
    ]
    assert (kept[3]["reason"], kept[3]["key"]) == ("503", KEY)
    assert [line["suppressed"] for line in kept[5:]] == [2, 2, 1]
