"""A deadline for all that is done on somebody's behalf: nested, handed to tasks, read from a header, sent on."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

import holdfast
from holdfast.asgi import DeadlineMiddleware
from holdfast.testing import Hangs, Reply, VirtualClock
from tests.scripting import URL, Stage, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
ALONE: dict[str, Any] = {"breaker": None, "concurrency": None, "retry": None, "attempt_timeout": None}


async def seconds_until_it_gave_up(on: Stage, **options: Any) -> tuple[float, float]:
    """How long a call to a server that never answers took, and the deadline that it was told."""
    began = on.clock.monotonic()
    with pytest.raises(holdfast.DeadlineExceeded) as caught:
        await on.client.get(URL, extensions={"holdfast": options})
    assert caught.value.deadline is not None
    return round(on.clock.monotonic() - began, 3), caught.value.deadline


@pytest.mark.parametrize(
    ("around", "own", "ends_after"),
    [
        ([2.0], 30.0, 2.0),
        ([30.0], 2.0, 2.0),
        ([2.0], None, 2.0),
        ([2.0, 9.0], 30.0, 2.0),  # nested, it only shortens
        ([9.0, 2.0], 30.0, 2.0),
        ([9.0, 0.0], 30.0, 0.0),
    ],
    ids=str,
)
async def test_a_call_takes_the_shortest_deadline(
    family: FamilyModules, around: list[float], own: float | None, ends_after: float
) -> None:
    async with stage(family, [Hangs()], repeat_last=True, deadline=own, **ALONE) as on:
        outer, *inner = (holdfast.deadline(seconds, clock=on.clock) for seconds in around)
        with outer:
            for one in inner:
                one.__enter__()
            took, told = await seconds_until_it_gave_up(on)
            for one in reversed(inner):
                one.__exit__()
        assert took == pytest.approx(ends_after, abs=0.3)
        assert told == ends_after
        assert len(on.script.sent) == (ends_after > 0)


async def test_an_option_of_the_call_only_shortens_it(family: FamilyModules) -> None:
    async with stage(family, [Hangs()], repeat_last=True, **ALONE) as on:
        with holdfast.deadline(2.0, clock=on.clock):
            first, second = [await seconds_until_it_gave_up(on, deadline=seconds) for seconds in (1.0, 9.0)]
    assert first == pytest.approx((1.0, 1.0), abs=0.3)
    assert second == pytest.approx((1.0, 2.0), abs=0.3)  # of what the first has left it


async def test_time_that_others_take_counts_and_the_end_of_the_block_ends_it(family: FamilyModules) -> None:
    async with stage(family, [Reply(200), Reply(200)], **ALONE) as on:
        with holdfast.deadline(2.0, clock=on.clock) as deadline:
            await on.clock.sleep(1.5)
            assert deadline.left == 0.5
            await on.client.get(URL)
            await on.clock.sleep(1.0)
            with pytest.raises(holdfast.DeadlineExceeded):
                await on.client.get(URL)
        await on.client.get(URL)
        assert on.times == [1.5, 2.5]


async def test_tasks_that_are_started_under_it_have_it_and_their_neighbours_do_not(family: FamilyModules) -> None:
    async with (
        stage(family, [Reply(200, delay=3.0)], repeat_last=True, **ALONE) as on,
        anyio.create_task_group() as tasks,
    ):
        ended: list[str] = []

        async def call(name: str) -> None:
            try:
                await on.client.get(URL)
                ended.append(f"{name}: answered")
            except holdfast.DeadlineExceeded:
                ended.append(f"{name}: deadline")

        tasks.start_soon(call, "before")
        with holdfast.deadline(1.0, clock=on.clock):
            tasks.start_soon(call, "under")
            with holdfast.deadline(0.5, clock=on.clock):
                tasks.start_soon(call, "nested")
        tasks.start_soon(call, "after")
    assert sorted(ended) == ["after: answered", "before: answered", "nested: deadline", "under: deadline"]


async def test_a_deadline_by_another_clock_has_the_same_seconds_left(family: FamilyModules) -> None:
    async with stage(family, [Hangs()], **ALONE) as on:
        ahead = VirtualClock()
        await ahead.advance(5_000.0)
        with holdfast.deadline(2.0, clock=ahead):
            took, _ = await seconds_until_it_gave_up(on)
        assert took == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_a_deadline_is_a_time_to_come(seconds: float) -> None:
    with pytest.raises(ValueError, match="0 seconds or more"):
        holdfast.deadline(seconds)


def test_a_deadline_is_entered_once() -> None:
    once = holdfast.deadline(1.0)
    with once, pytest.raises(RuntimeError, match="once"):
        once.__enter__()


@pytest.mark.parametrize(
    ("headers", "settings", "left"),
    [
        ([(b"x-request-timeout-ms", b"1500")], {}, 1.5),
        ([(b"X-Request-Timeout-Ms", b" 1500 ")], {}, 1.5),
        ([(b"x-request-timeout-ms", b"1500"), (b"x-request-timeout-ms", b"700")], {}, 0.7),
        ([(b"x-request-timeout-ms", b"0")], {}, 0.0),
        ([(b"x-request-timeout-ms", b"999999999")], {}, 60.0),
        ([(b"x-request-timeout-ms", b"999999999")], {"longest": 5.0}, 5.0),
        ([], {}, None),
        ([], {"default": 9.0}, 9.0),
        ([(b"x-envoy-expected-rq-timeout-ms", b"250")], {"header": "X-Envoy-Expected-Rq-Timeout-Ms"}, 0.25),
        *(
            ([(b"x-request-timeout-ms", malformed)], {"default": 9.0}, 9.0)
            for malformed in (b"", b"-5", b"1.5", b"1_0", b"soon", b"\xb2", b"9" * 5000, "١٢".encode())
        ),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_an_asgi_app_runs_under_the_deadline_of_its_request(
    family: FamilyModules, headers: list[tuple[bytes, bytes]], settings: dict[str, Any], left: float | None
) -> None:
    assert await left_within(family, {"type": "http", "headers": headers}, **settings) == left


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_only_http_requests_have_a_deadline(family: FamilyModules, kind: str) -> None:
    headers = [(b"x-request-timeout-ms", b"1500")]
    assert await left_within(family, {"type": kind, "headers": headers}, default=1.0) is None


async def left_within(family: FamilyModules, scope: dict[str, Any], **settings: Any) -> float | None:
    """Seconds that a call of the app has left, as its own server is told; 0 where it is not even sent."""

    def pipeline(clock: VirtualClock) -> holdfast.Pipeline:
        hook = holdfast.SendDeadline("X-Left", clock=clock)
        return holdfast.Pipeline(clock=clock, deadline=None, hooks=[hook], **ALONE)

    async with stage(family, [Reply(200)], pipeline=pipeline) as on:
        late = False

        async def app(*_: Any) -> None:
            nonlocal late
            try:
                await on.client.get(URL)
            except holdfast.DeadlineExceeded:
                late = True

        async def never(*_: Any) -> Any:
            raise AssertionError("the app neither reads nor answers")

        await DeadlineMiddleware(app, clock=on.clock, **settings)(scope, never, never)
        if late:
            return 0.0
        milliseconds = dict(on.script.sent[0].headers).get(b"X-Left")
        return None if milliseconds is None else int(milliseconds) / 1000


@pytest.mark.parametrize("settings", [{"longest": 0.0}, {"default": -1.0}, {"longest": float("nan")}])
def test_bounds_of_the_middleware_are_times(settings: dict[str, Any]) -> None:
    async def app(*_: Any) -> None: ...

    with pytest.raises(ValueError, match="more than 0 seconds"):
        DeadlineMiddleware(app, **settings)


async def test_what_is_left_is_sent_with_each_attempt(family: FamilyModules) -> None:
    def pipeline(clock: VirtualClock) -> holdfast.Pipeline:
        return holdfast.Pipeline(
            clock=clock,
            deadline=10.0,
            retry=holdfast.Retry(wait=lambda state: 1.0),
            hooks=[holdfast.SendDeadline("X-Left", clock=clock)],
        )

    async with stage(family, [Reply(500, delay=2.0), Reply(200)], pipeline=pipeline) as on:
        request = on.client.build_request("GET", URL)
        await on.client.send(request)
        assert [dict(one.headers)[b"X-Left"] for one in on.script.sent] == [b"10000", b"7000"]
        assert "X-Left" not in request.headers


async def test_a_call_without_a_deadline_sends_none(family: FamilyModules) -> None:
    async with stage(family, [Reply(200)], deadline=None, hooks=[holdfast.SendDeadline()], **ALONE) as on:
        await on.client.get(URL)
        assert b"x-request-timeout-ms" not in {name.lower() for name, _ in on.script.sent[0].headers}
