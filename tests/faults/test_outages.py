"""A real server goes down and comes back: what the pipeline says of it, and whom it tells."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import Alert, CircuitBreaker, CircuitOpen, Notify
from holdfast.testing.faulty import FaultyServer
from tests.faults.lifetime import AheadClock, life
from tests.faults.wire import outcome
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio


async def test_an_outage_is_down_and_told_once_and_its_end_is_ok_and_told_once(
    family: FamilyModules, server: FaultyServer
) -> None:
    alerts, clock = list[Alert](), AheadClock()
    notify = Notify(alerts.append, after=60.0)  # called in a thread

    def later(seconds: float) -> None:
        clock.ahead += seconds
        clock.wall_ahead += seconds

    settings: dict[str, Any] = {
        "retry": None,
        "breaker": CircuitBreaker(failures=3, open_for=20.0),
        "listeners": [notify],
        "clock": clock,
    }
    async with life(family, server, **settings) as on:
        assert (await on.http.get(server.url)).status_code == 200
        assert on.pipeline.health().status == "ok"

        server.go_down()
        failed = [await outcome(on.http, "GET", server.url) for _ in range(50)]
        assert [type(error) is family.http.ConnectError for error in failed].count(True) == 3
        assert [isinstance(error, CircuitOpen) for error in failed].count(True) == 47
        began = on.pipeline.health().since
        for _ in range(6):
            later(20.0)
            await outcome(on.http, "GET", server.url)
            health = on.pipeline.health()
            assert health.status == "down"
            assert health.since == pytest.approx(began, rel=0.0, abs=10.0)

        server.come_up()
        later(100.0)  # longer than any circuit stays open
        for _ in range(10):
            await on.http.get(server.url)
        assert on.pipeline.health().status == "ok"
        await notify.aclose()
    assert [(alert.kind, alert.key, alert.code) for alert in alerts] == [
        ("outage", server.url, "circuit_open"),
        ("recovery", server.url, "circuit_open"),
    ]
    assert alerts[0].at - alerts[0].since >= 60.0
