"""One alert for an outage and one for its end, through a real client in virtual time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from holdfast import Alert, CircuitBreaker, Notify
from holdfast.errors import CircuitOpen
from holdfast.events import CircuitOpened, Event
from holdfast.testing import Reply
from tests.scripting import URL, Stage, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
KEY = "http://api.test:80"
BREAKER = CircuitBreaker(failures=2, jitter=0.0)


class Origin:
    """A far side that is up or down."""

    def __init__(self) -> None:
        self.up = True

    def __call__(self, number: int, request: Any) -> Reply:
        return Reply(200 if self.up else 503)


class Inbox(list[Alert]):
    """An async sink."""

    async def __call__(self, alert: Alert) -> None:
        self.append(alert)

    @property
    def kinds(self) -> list[str]:
        return [alert.kind for alert in self]


async def calls(on: Stage, seconds: int) -> int:
    """A call each second, as a service makes them; how many were refused."""
    refused = 0
    for _ in range(seconds):
        await on.clock.advance(1.0)
        try:
            await on.client.get(URL)
        except CircuitOpen:
            refused += 1
    await on.clock.settle()
    return refused


@pytest.mark.heavy
async def test_an_outage_is_one_alert_and_its_end_another(family: FamilyModules) -> None:
    inbox, origin = Inbox(), Origin()
    settings: dict[str, Any] = {"breaker": BREAKER, "retry": None, "listeners": [Notify(inbox, after=60.0)]}
    async with stage(family, origin, **settings) as on:
        await calls(on, 5)
        origin.up = False
        began = on.clock.wall() + 2.0
        assert await calls(on, 61) > 50
        assert inbox == []
        assert await calls(on, 120) > 100
        assert inbox == [Alert(kind="outage", key=KEY, code="circuit_open", since=began, at=began + 60.0)]
        origin.up = True
        await calls(on, 100)
        assert inbox.kinds == ["outage", "recovery"]
        assert (inbox[1].key, inbox[1].since, inbox[1].at <= on.clock.wall()) == (KEY, began, True)
        assert on.pipeline.health().status == "ok"


@pytest.mark.heavy
async def test_a_short_outage_is_nobodys_business(family: FamilyModules) -> None:
    inbox, origin = Inbox(), Origin()
    async with stage(family, origin, breaker=BREAKER, retry=None, listeners=[Notify(inbox, after=60.0)]) as on:
        for _ in range(5):
            origin.up = False
            await calls(on, 20)
            origin.up = True
            await calls(on, 60)
        assert on.pipeline.health().status == "ok"
    assert inbox == []


async def test_no_call_no_alert_until_somebody_asks(family: FamilyModules) -> None:
    inbox = Inbox()
    notify = Notify(inbox)
    async with stage(family, [Reply(503)] * 2, breaker=BREAKER, retry=None, listeners=[notify]) as on:
        await calls(on, 2)
        await on.clock.advance(3000.0)
        assert inbox == []
        notify.check(on.clock.wall())
        await notify.aclose()
        assert inbox.kinds == ["outage"]


async def test_a_circuit_opened_by_hand_and_offline_are_outages_too(family: FamilyModules) -> None:
    inbox = Inbox()
    async with stage(family, [], listeners=[Notify(inbox, after=10.0, every=0.0)], jump=False) as on:
        on.pipeline.circuits.force_open(KEY)
        on.pipeline.offline(probe_every=None)
        await on.clock.advance(10.0)
        with pytest.raises(family.http.TransportError):
            await on.client.get(URL)
        on.pipeline.circuits.reset(KEY)
        on.pipeline.online()
        await on.clock.settle()
    assert [(alert.kind, alert.key, alert.code) for alert in inbox] == [
        ("outage", KEY, "circuit_forced_open"),
        ("outage", "", "offline"),
        ("recovery", KEY, "circuit_forced_open"),
        ("recovery", "", "offline"),
    ]


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["async", "sync", "sync that gives an awaitable"])
async def test_a_sink_is_any_callable_and_a_raising_one_breaks_nothing(family: FamilyModules, kind: str) -> None:
    seen = list[Alert]()
    threads = set[int]()

    def take(alert: Alert) -> None:
        threads.add(threading.get_ident())
        seen.append(alert)
        raise RuntimeError("no mail today")

    async def take_later(alert: Alert) -> None:
        take(alert)

    async def nothing() -> None: ...

    def take_and_wait(alert: Alert) -> Any:
        with pytest.raises(RuntimeError):
            take(alert)
        return nothing()

    sink: Callable[[Alert], Any] = {"async": take_later, "sync": take}.get(kind, take_and_wait)
    notify, origin = Notify(sink, after=5.0), Origin()
    async with stage(family, origin, breaker=BREAKER, retry=None, listeners=[notify]) as on:
        origin.up = False
        await calls(on, 20)
        origin.up = True
        await calls(on, 100)
        await notify.aclose()
        assert on.pipeline.health().status == "ok"
    assert [alert.kind for alert in seen] == ["outage", "recovery"]
    assert (threading.get_ident() in threads) is (kind == "async")  # one that may block is kept off the loop


async def test_a_slow_sink_holds_up_no_call_and_keeps_the_order(family: FamilyModules) -> None:
    inbox, gate = Inbox(), anyio.Event()

    async def slow(alert: Alert) -> None:
        await gate.wait()
        await inbox(alert)

    notify, origin = Notify(slow, after=5.0), Origin()
    async with stage(family, origin, breaker=BREAKER, retry=None, listeners=[notify]) as on:
        origin.up = False
        await calls(on, 20)
        origin.up = True
        await calls(on, 100)
        assert (on.pipeline.health().status, inbox) == ("ok", [])
        gate.set()
        await notify.aclose()
    assert inbox.kinds == ["outage", "recovery"]


async def test_what_the_call_has_around_it_is_not_the_sinks(family: FamilyModules) -> None:
    around: ContextVar[str] = ContextVar("around", default="nothing")
    found = list[str]()

    async def sink(alert: Alert) -> None:
        await anyio.lowlevel.checkpoint()
        found.append(around.get())

    async with stage(
        family, [Reply(503)], breaker=BREAKER, retry=None, listeners=[Notify(sink, after=0.0)], repeat_last=True
    ) as on:
        around.set("a trace, a deadline")
        with anyio.CancelScope() as scope:
            await calls(on, 3)
            scope.cancel()  # of the call that happened to come
        await on.clock.settle()
    assert found == ["nothing"]


def test_where_no_loop_runs_an_alert_waits() -> None:
    inbox = Inbox()
    notify = Notify(inbox, after=0.0)
    event: Event = CircuitOpened(at=5.0, key=KEY, open_for=5.0, reason="rate")
    notify(event)
    notify(event)
    assert inbox == []
    anyio.run(notify.aclose)
    assert inbox.kinds == ["outage"]


def test_one_that_cannot_be_delivered_does_not_take_the_next_with_it() -> None:
    told = list[str]()

    async def moody(alert: Alert) -> None:
        told.append(alert.key)
        if alert.key == "a":
            raise OSError("no network")

    notify = Notify(moody, after=0.0)
    for key in ("a", "b"):
        notify(CircuitOpened(at=5.0, key=key, open_for=5.0, reason="rate"))
    notify.check(6.0)
    anyio.run(notify.aclose)
    assert told == ["a", "b"]


@pytest.mark.parametrize("wrong", [{"after": -1.0}, {"every": float("nan")}, {"every": float("inf")}])
def test_times_that_cannot_be_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Notify(print, **wrong)
