"""The circuit breaker around real requests and responses: both families, both event loops, virtual time."""

from __future__ import annotations

import asyncio
import gc
import pickle
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from holdfast import Retry
from holdfast.call import Options
from holdfast.core.breaker_settings import CircuitBreaker
from holdfast.errors import CircuitOpen, InvalidOption, RateLimited, ServerFault
from holdfast.testing import Reply
from tests.policies.scripted_breaker import KEY, Desk, Origin
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
TWO = CircuitBreaker(failures=2, failure_ratio=None)


class Tally:
    """How many calls ended how."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.good: list[float] = []
        self.bad: list[Exception | int] = []

    async def one(self, **given: Any) -> None:
        try:
            response = await self._desk.send(**given)
        except Exception as error:
            self.bad.append(error)
        else:
            good = response.status_code == 200
            self.good.append(self._desk.clock.monotonic()) if good else self.bad.append(response.status_code)


async def test_it_opens_at_its_threshold_and_then_sends_nothing(family: FamilyModules) -> None:
    desk = Desk(family, TWO)
    await desk.fails(2)  # the failure that trips it surfaces as itself
    for _ in range(3):
        with pytest.raises(CircuitOpen) as caught:
            await desk.send()
    assert desk.sent == 2
    error = caught.value
    assert isinstance(error, family.http.TransportError)
    assert (error.key, error.state, error.opened_at, error.retry_after) == (KEY, "open", 0.0, 5.0)
    assert isinstance(error.__cause__, ServerFault)
    assert error.__cause__.status_code == 503
    assert pickle.loads(pickle.dumps(error)).retry_after == 5.0


async def test_attempts_of_one_call_open_it_and_an_open_circuit_ends_the_call(family: FamilyModules) -> None:
    settings: dict[str, Any] = {"retry": Retry(attempts=6), "breaker": TWO, "concurrency": None}
    async with stage(family, [Reply(503)], repeat_last=True, **settings) as on:
        assert (await on.client.get(URL)).status_code == 503  # the last real outcome
        assert len(on.script.sent) == 2
        with pytest.raises(CircuitOpen):
            await on.client.get(URL)
        assert len(on.script.sent) == 2


async def test_retry_after_of_a_503_lengthens_the_open_time(family: FamilyModules) -> None:
    desk = Desk(family, CircuitBreaker(failures=1))

    async def serve() -> Any:
        return desk.reply(503, {"Retry-After": "20"})

    desk.serve = serve
    await desk.send()
    assert desk.circuits.snapshot()[KEY]["retry_after"] == 20.0


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("ConnectError", True),
        ("ConnectTimeout", True),
        ("ReadError", True),
        ("ReadTimeout", True),
        ("WriteError", True),
        ("RemoteProtocolError", True),
        ("PoolTimeout", False),
        ("LocalProtocolError", False),
        ("UnsupportedProtocol", False),
    ],
)
async def test_errors_count_by_whose_fault_they_are(family: FamilyModules, name: str, counts: bool) -> None:
    desk = Desk(family, TWO)
    desk.serve = desk.raising(lambda: desk.error(name))
    for _ in range(2):
        with pytest.raises(getattr(family.http, name)):
            await desk.send()
    assert desk.state == ("open" if counts else "closed")
    if counts:
        with pytest.raises(CircuitOpen) as caught:
            await desk.send()
        assert type(caught.value.__cause__) is getattr(family.http, name)
        assert str(caught.value.__cause__) == "scripted"


async def test_refusals_of_ours_do_not_count(family: FamilyModules) -> None:
    desk = Desk(family, TWO)
    request = family.http.Request("GET", "http://api.test/")
    desk.serve = desk.raising(lambda: family.holdfast.FAMILY.refusal(RateLimited("scripted"), request))
    for _ in range(5):
        with pytest.raises(RateLimited):
            await desk.send()
    assert desk.state == "closed"


async def test_a_timeout_that_the_callers_deadline_cut_short_does_not_count(family: FamilyModules) -> None:
    desk = Desk(family, CircuitBreaker(failures=1))
    desk.serve = desk.raising(lambda: desk.error("ReadTimeout"))
    call = desk.call(deadline=0.004)
    call.full_attempt = False
    with pytest.raises(family.http.ReadTimeout):
        await desk.send(call)
    assert desk.state == "closed"
    call = desk.call(deadline=10.0)
    call.full_attempt = False  # shorter than it could be, but it was not the deadline that ended it
    with pytest.raises(family.http.ReadTimeout):
        await desk.send(call)
    assert desk.state == "open"


async def test_cancelled_calls_never_count(family: FamilyModules) -> None:
    desk = Desk(family, CircuitBreaker(failures=1))
    desk.serve = anyio.sleep_forever
    for _ in range(3):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.send)
            await desk.clock.settle()
            tasks.cancel_scope.cancel()
    assert (desk.sent, desk.state) == (3, "closed")
    assert desk.circuits.snapshot()[KEY]["failures_in_a_row"] == 0


async def test_bodies_that_are_cut_off_count(family: FamilyModules) -> None:
    desk = Desk(family, TWO)
    desk.serve = desk.streaming(lambda: desk.error("ReadError"))
    for _ in range(2):
        response = await desk.send()
        with pytest.raises(family.http.ReadError):
            await response.aread()
    assert desk.state == "open"


async def test_a_body_that_ends_well_breaks_the_run(family: FamilyModules) -> None:
    desk = Desk(family, TWO)
    await desk.fails(1)
    desk.serve = desk.streaming()
    response = await desk.send()
    await response.aread()
    await response.aclose()
    await desk.fails(1)
    assert desk.state == "closed"


async def test_each_refusal_is_a_fresh_exception_whose_traceback_does_not_grow(family: FamilyModules) -> None:
    desk = Desk(family, CircuitBreaker(failures=1))
    desk.serve = desk.raising(lambda: desk.error("ConnectError"))
    with pytest.raises(family.http.ConnectError):
        await desk.send()

    async def refused() -> tuple[int, int, bool]:
        try:
            await desk.send()
        except CircuitOpen as error:
            cause = error.__cause__
            assert cause is not None
            return id(error), depth(error), cause.__traceback__ is None
        raise AssertionError("it was let through")

    def depth(error: BaseException) -> int:
        frames, trace = 0, error.__traceback__
        while trace is not None:
            frames, trace = frames + 1, trace.tb_next
        return frames

    seen = [await refused() for _ in range(500)]
    assert {frames for _, frames, _ in seen} == {seen[0][1]}
    assert all(bare for _, _, bare in seen)


async def test_the_wall_clock_is_of_no_account(family: FamilyModules) -> None:
    desk = Desk(family, TWO)
    await desk.fails(2)
    desk.clock.set_wall(0.0)
    await desk.clock.advance(5.0)
    assert (await desk.send()).status_code == 200


async def test_outcomes_that_come_late_change_nothing(family: FamilyModules) -> None:
    desk = Desk(family, TWO)
    outcome = {"status": 503}

    async def slowly() -> Any:
        await desk.clock.sleep(1.0)
        return desk.reply(outcome["status"])

    async with anyio.create_task_group() as tasks:
        desk.serve = slowly
        for _ in range(4):
            tasks.start_soon(desk.send)
        await desk.clock.settle()
        await desk.fails(2)
        until = desk.circuits.snapshot()[KEY]["retry_after"]
        await desk.clock.advance(1.0)
        assert desk.circuits.snapshot()[KEY]["retry_after"] == until - 1.0
    assert desk.circuits.snapshot()[KEY]["late"] == 4
    await desk.clock.advance(0.5)
    desk.circuits.force_open(KEY)
    assert desk.state == "forced_open"


async def test_a_late_success_does_not_close(family: FamilyModules) -> None:
    desk = Desk(family, TWO)
    async with anyio.create_task_group() as tasks:
        desk.serve = Origin(desk, 1, 1.0)
        tasks.start_soon(desk.send)
        await desk.clock.settle()
        await desk.fails(2)
        await desk.clock.advance(1.0)
    assert desk.state == "open"


async def half_open(family: FamilyModules, **settings: Any) -> Desk:
    desk = Desk(family, CircuitBreaker(failures=2, failure_ratio=None, **settings))
    await desk.fails(2)
    await desk.clock.advance(5.0)
    desk.sent = 0
    return desk


@pytest.mark.heavy
async def test_one_request_is_on_the_wire_until_the_probes_verdict(family: FamilyModules) -> None:
    desk = await half_open(family)
    desk.serve = Origin(desk, 1000, 0.5)
    tally = Tally(desk)
    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(tally.one)
        await desk.clock.advance(0.499)
        assert (desk.sent, desk.on_wire) == (1, 1)
        await desk.clock.advance(60.0)
        for _ in range(100):  # the last round needs its verdicts too
            tasks.start_soon(tally.one)
        await desk.clock.advance(60.0)
    assert (len(tally.good), tally.bad) == (200, [])
    names = [(old, new) for _, old, new, _ in desk.transitions]
    assert names == [
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "ramping"),
        ("ramping", "closed"),
    ]


async def test_a_failed_probe_refuses_all_who_wait_and_opens_for_longer(family: FamilyModules) -> None:
    desk = await half_open(family)
    desk.serve = Origin(desk, 0, 0.5, refusal=0.5)
    tally = Tally(desk)
    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(tally.one)
        await desk.clock.advance(0.5)
    assert desk.sent == 1
    refused = [error for error in tally.bad if isinstance(error, CircuitOpen)]
    assert (len(refused), len(set(map(id, refused)))) == (99, 99)
    assert {error.retry_after for error in refused} == {10.0}


async def test_who_waits_longer_than_probe_wait_is_refused(family: FamilyModules) -> None:
    desk = await half_open(family)
    desk.serve = anyio.sleep_forever
    tally = Tally(desk)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.send)
        await desk.clock.settle()
        tasks.start_soon(tally.one)
        tasks.start_soon(lambda: tally.one(deadline=0.5))
        await desk.clock.advance(0.5)
        assert len(tally.bad) == 1  # a deadline comes before it
        await desk.clock.advance(0.5)
        assert len(tally.bad) == 2
        tasks.cancel_scope.cancel()
    assert all(isinstance(error, CircuitOpen) and error.state == "half_open" for error in tally.bad)
    assert all(isinstance(error, CircuitOpen) and (error.retry_after or 0) >= 0 for error in tally.bad)


@pytest.mark.parametrize("settings", [{"probe_wait": 0.0}, {"queue": 0}], ids=str)
async def test_nobody_waits_where_nobody_may(family: FamilyModules, settings: dict[str, Any]) -> None:
    desk = await half_open(family, **settings)
    desk.serve = anyio.sleep_forever
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.send)
        await desk.clock.settle()
        with pytest.raises(CircuitOpen):
            await desk.send()
        tasks.cancel_scope.cancel()


async def test_a_cancelled_probe_hands_on_to_the_next_caller_at_once(family: FamilyModules) -> None:
    desk = await half_open(family)
    desk.serve = anyio.sleep_forever
    tally = Tally(desk)
    async with anyio.create_task_group() as tasks:
        scopes = [anyio.CancelScope() for _ in range(5)]

        async def probe(scope: anyio.CancelScope) -> None:
            with scope:
                await desk.send()

        for scope in scopes:
            tasks.start_soon(probe, scope)
            await desk.clock.settle()
        for number, scope in enumerate(scopes, 1):
            assert (desk.sent, desk.on_wire) == (number, 1)
            if number == 5:
                desk.serve = desk.good
            scope.cancel()
            await desk.clock.settle()
        await tally.one()
    assert len(tally.good) == 1
    assert desk.peak == 1


async def test_a_probe_that_hangs_past_its_lease_loses_its_place(family: FamilyModules) -> None:
    desk = await half_open(family, lease=3.0, probe_wait=10.0)
    desk.serve = anyio.sleep_forever
    tally = Tally(desk)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.send)
        await desk.clock.settle()
        desk.serve = desk.good
        for _ in range(100):
            tasks.start_soon(tally.one)
        await desk.clock.advance(2.9)
        assert desk.sent == 1
        for _ in range(14):  # the clock settles once each time, and a queue of 100 takes more than one
            await desk.clock.advance(0.5)
        assert (len(tally.good), tally.bad) == (100, [])
        tasks.cancel_scope.cancel()


async def test_a_probe_that_ends_ignored_lets_the_next_caller_probe(family: FamilyModules) -> None:
    desk = await half_open(family)
    desk.serve = desk.raising(lambda: desk.error("PoolTimeout"))
    for number in (1, 2, 3):
        with pytest.raises(family.http.PoolTimeout):
            await desk.send()
        assert (desk.sent, desk.state) == (number, "half_open")


async def test_a_caller_that_leaves_the_queue_leaves_no_gap(family: FamilyModules) -> None:
    desk = await half_open(family)
    desk.serve = Origin(desk, 1000, 0.5)
    tally = Tally(desk)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tally.one)
        await desk.clock.settle()
        async with anyio.create_task_group() as leaving:
            for _ in range(10):
                leaving.start_soon(desk.send)
            await desk.clock.settle()
            tasks.start_soon(tally.one)
            await desk.clock.settle()
            leaving.cancel_scope.cancel()
        assert desk.circuits.snapshot()[KEY]["waiting"] == 1
        await desk.clock.advance(2.0)
    assert len(tally.good) == 2


@pytest.mark.parametrize("capacity", [3, 5, 8, 9])
@pytest.mark.parametrize("refusal", [0.0, 0.002])
async def test_a_fragile_origin_gets_its_load_back_without_breaking_again(
    family: FamilyModules, capacity: int, refusal: float
) -> None:
    waiting, seconds = 100, 0.05
    desk = await half_open(family)
    origin = Origin(desk, capacity, seconds, refusal)
    desk.serve = origin
    tally, began = Tally(desk), desk.clock.monotonic()
    async with anyio.create_task_group() as tasks:
        for _ in range(waiting):
            tasks.start_soon(tally.one)
        await desk.clock.advance(5.0)
    assert len(tally.bad) < 0.05 * waiting
    assert sorted(tally.good)[94] - began <= 0.2 + waiting * seconds / capacity
    assert desk.state in ("ramping", "closed")


@pytest.mark.heavy
async def test_goodput_on_the_ramp_is_that_of_no_breaker(family: FamilyModules) -> None:
    """50 callers who come back at once, an origin that serves 8: it could do 160 a second."""
    desk = await half_open(family)
    origin = Origin(desk, 8, 0.05, 0.001)
    desk.serve = origin
    tally = Tally(desk)

    async def caller() -> None:
        while True:
            await tally.one()
            await desk.clock.sleep(0.001)

    began = desk.clock.monotonic()
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(caller)
        await desk.clock.advance(5.0)
        tasks.cancel_scope.cancel()
    assert len(origin.good_at) >= 0.95 * 160 * (desk.clock.monotonic() - began)
    assert len(tally.bad) < 0.05 * (len(tally.good) + len(tally.bad))


async def test_the_queue_of_the_ramp_is_first_in_first_out(family: FamilyModules) -> None:
    desk = await half_open(family)
    desk.serve = Origin(desk, 1000, 0.5)
    served: list[int] = []

    async def caller(number: int) -> None:
        await desk.send()
        served.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(caller, number)
            await desk.clock.settle()
        await desk.clock.advance(20.0)
    assert served == list(range(20))


async def test_a_call_that_stood_in_a_later_queue_asks_again(family: FamilyModules) -> None:
    desk = Desk(family, TWO)
    tally = Tally(desk)
    released = anyio.Event()
    async with anyio.create_task_group() as tasks:
        desk.queue = released.wait
        for _ in range(3):
            tasks.start_soon(tally.one)
        await desk.clock.settle()
        desk.queue = None
        await desk.fails(2)
        released.set()
    assert (desk.sent, len(tally.bad)) == (2, 3)
    assert all(isinstance(error, family.http.TransportError) for error in tally.bad)


async def test_of_calls_from_a_later_queue_one_is_the_probe(family: FamilyModules) -> None:
    desk = Desk(family, TWO)
    tally = Tally(desk)
    released = anyio.Event()
    async with anyio.create_task_group() as tasks:
        desk.queue = released.wait
        for _ in range(3):
            tasks.start_soon(tally.one)
        await desk.clock.settle()
        desk.queue = None
        await desk.fails(2)
        await desk.clock.advance(5.0)
        desk.sent = 0
        desk.serve = Origin(desk, 1000, 0.5)
        released.set()
        await desk.clock.advance(0.4)
        assert desk.sent == 1
        await desk.clock.advance(5.0)
    assert (len(tally.good), tally.bad) == (3, [])


async def test_a_waiting_call_tells_how_long_it_waited(family: FamilyModules) -> None:
    desk = await half_open(family)
    desk.serve = Origin(desk, 1000, 0.5)
    call = desk.call()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.send)
        await desk.clock.settle()
        tasks.start_soon(desk.send, call)
        await desk.clock.advance(3.0)
    assert call.waits["circuit"] == pytest.approx(0.525)


async def test_those_who_wait_can_be_dismissed(family: FamilyModules) -> None:
    desk = await half_open(family)
    desk.serve = anyio.sleep_forever
    tally = Tally(desk)
    mine, other = desk.call(), desk.call()
    owner: Any = desk
    mine.owner = owner
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.send)
        await desk.clock.settle()
        tasks.start_soon(lambda: tally.one(call=mine))
        tasks.start_soon(lambda: tally.one(call=other))
        await desk.clock.settle()
        desk.circuits.dismiss(lambda: RateLimited("closing"), desk)
        await desk.clock.settle()
        assert [isinstance(error, RateLimited) for error in tally.bad] == [True]
        assert desk.circuits.snapshot()[KEY]["waiting"] == 1
        tasks.cancel_scope.cancel()


async def test_circuits_are_set_by_hand(family: FamilyModules) -> None:
    desk = Desk(family, TWO)
    desk.circuits.force_open(KEY)
    with pytest.raises(CircuitOpen) as caught:
        await desk.send()
    assert (caught.value.state, caught.value.retry_after) == ("forced_open", 5.0)
    desk.circuits.force_closed(KEY)
    await desk.fails(20)
    assert desk.state == "disabled"
    desk.circuits.reset(KEY)
    await desk.fails(2)
    assert desk.state == "open"


async def test_keys_have_circuits_of_their_own(family: FamilyModules) -> None:
    desk = Desk(family, TWO)
    await desk.fails(2)
    assert (await desk.send(key="http://other.test:80")).status_code == 200


async def test_at_most_so_many_closed_circuits_are_kept_and_every_other(family: FamilyModules) -> None:
    desk = Desk(family, TWO, max_keys=10)
    for number in range(3):
        desk.circuits.force_open(f"open {number}")
    for number in range(100):
        await desk.send(key=f"closed {number}")
    kept = desk.circuits.snapshot()
    assert set(kept) == {f"open {n}" for n in range(3)} | {f"closed {n}" for n in range(90, 100)}


async def test_a_key_of_the_users_own(family: FamilyModules) -> None:
    desk = Desk(family, CircuitBreaker(key=lambda request: request.url.path))
    await desk.send()
    await desk.send(options=Options(key="tenant 7"), key="tenant 7")
    assert set(desk.circuits.snapshot()) == {"/", "tenant 7"}


async def test_each_operation_may_have_a_circuit_of_its_own(family: FamilyModules) -> None:
    desk = Desk(family, CircuitBreaker(key="operation"))
    await desk.send()
    await desk.send(options=Options(operation="Users.get"))
    await desk.send(options=Options(key="tenant 7", operation="Users.get"), key="tenant 7")
    assert set(desk.circuits.snapshot()) == {KEY, f"{KEY} Users.get", "tenant 7 Users.get"}
    with pytest.raises(ValueError, match="key"):
        CircuitBreaker(key="identity")  # type: ignore[arg-type]


def _raises(request: Any) -> str:
    raise LookupError("no tenant")


def _number(request: Any) -> str:
    return 7  # type: ignore[return-value]  # what a user may get wrong


@pytest.mark.parametrize("key", [_raises, _number])
async def test_a_key_function_that_fails_is_named(family: FamilyModules, key: Callable[[Any], str]) -> None:
    desk = Desk(family, CircuitBreaker(key=key))
    with pytest.raises(InvalidOption):
        await desk.send()
    assert (desk.sent, desk.circuits.snapshot()) == (0, {})


async def test_a_listener_that_raises_is_dropped_and_the_circuit_works(family: FamilyModules) -> None:
    told: list[str] = []

    def listener(key: str, old: str, new: str, now: float) -> None:
        told.append(new)
        raise RuntimeError("listener")

    desk = Desk(family, TWO, on_transition=listener)
    await desk.fails(2)
    await desk.clock.advance(5.0)
    assert (await desk.send()).status_code == 200
    assert (told, desk.state) == (["open"], "ramping")


async def test_slow_calls_open_it_but_time_in_our_queues_does_not(family: FamilyModules) -> None:
    desk = Desk(family, CircuitBreaker(slow_after=1.0, minimum_calls=1))
    call = desk.call()

    async def queue() -> None:
        await desk.clock.sleep(2.0)
        call.waited("rate_limit", 2.0)

    async with anyio.create_task_group() as tasks:
        desk.queue = queue
        tasks.start_soon(desk.send, call)
        await desk.clock.advance(2.0)
    assert desk.state == "closed"
    async with anyio.create_task_group() as tasks:
        desk.queue, desk.serve = None, Origin(desk, 1, 2.0)
        tasks.start_soon(desk.send)
        await desk.clock.advance(2.0)
    assert desk.state == "open"


async def test_a_call_makes_no_reference_cycle(family: FamilyModules) -> None:
    desk = Desk(family, TWO)
    await desk.send()
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            await desk.send()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_it_serves_one_event_loop_after_another(family: FamilyModules, anyio_backend: str) -> None:
    desk = Desk(family, TWO)

    async def wait_for_ever() -> None:
        await desk.fails(2)
        await desk.clock.advance(5.0)
        desk.serve = anyio.sleep_forever
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(desk.send)
            await desk.clock.settle()
            tasks.cancel_scope.cancel()

    async def again() -> int:
        desk.serve = desk.good
        return int((await desk.send()).status_code)

    anyio.run(wait_for_ever, backend=anyio_backend)
    assert anyio.run(again, backend=anyio_backend) == 200


def test_callers_of_a_loop_that_was_closed_under_them_are_dropped(family: FamilyModules) -> None:
    desk = Desk(family, TWO)

    async def leave_waiting() -> list[asyncio.Task[Any]]:
        await desk.fails(2)
        await desk.clock.advance(5.0)
        desk.serve = anyio.sleep_forever
        tasks = [asyncio.create_task(desk.send()) for _ in range(3)]
        await desk.clock.settle()
        return tasks

    loop = asyncio.new_event_loop()
    tasks = loop.run_until_complete(leave_waiting())
    loop.close()
    desk.serve = desk.good
    desk.circuits.reset(KEY)
    response = asyncio.run(desk.send())
    assert response.status_code == 200
    for task in tasks:  # nobody will end them; this is what asyncio would complain of
        task._log_destroy_pending = False  # type: ignore[attr-defined]
