"""One token for many callers: how often it is fetched, and what each of them gets, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import holdfast
from holdfast._deadline import in_force
from holdfast.auth import MemorySecrets, Secret, Token, TokenSource, TokenUnavailable
from holdfast.core.tokens import Freshness, Refresh, freshness
from holdfast.errors import Closed
from holdfast.testing import VirtualClock

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("left", "lifetime", "state"),
    [
        (None, None, Freshness.FRESH),
        (3600.0, 3600.0, Freshness.FRESH),
        (61.0, 3600.0, Freshness.FRESH),
        (60.0, 3600.0, Freshness.AGEING),
        (21.0, 3600.0, Freshness.AGEING),
        (20.0, 3600.0, Freshness.OVER),
        (31.0, 300.0, Freshness.FRESH),  # a skew of five minutes would renew this one on every call
        (30.0, 300.0, Freshness.AGEING),
        (0.31, 3.0, Freshness.FRESH),
        (0.1, 3.0, Freshness.OVER),
        (-5.0, 3.0, Freshness.OVER),
        (59.0, None, Freshness.AGEING),
    ],
)
def test_a_token_is_renewed_in_the_last_tenth_of_its_life(
    left: float | None, lifetime: float | None, state: Freshness
) -> None:
    assert freshness(left, lifetime) is state


def test_failures_are_further_and_further_apart_up_to_a_minute() -> None:
    refresh, waits = Refresh(), list[float]()
    for _ in range(6):
        refresh = refresh.failed(100.0)
        waits.append(refresh.not_before - 100.0)
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    assert Refresh().failed(100.0, retry_after=300.0).not_before == 400.0
    assert Refresh().failed(100.0, retry_after=9999999999.0).not_before == 3700.0  # no server ends a program's life


async def test_two_who_close_a_source_at_once_both_return() -> None:
    leaving = anyio.Event()

    async def fetch(previous: Token | None) -> Token:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await leaving.wait()
        raise AssertionError("an endless sleep ended")

    source = TokenSource(fetch, timeout=3600.0)
    returned = list[None]()

    async def close() -> None:
        await source.aclose()
        returned.append(None)

    async with anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(source.get)
            await anyio.wait_all_tasks_blocked()
            waiting.cancel_scope.cancel()
        for _ in range(2):
            tasks.start_soon(close)
        await anyio.wait_all_tasks_blocked()
        leaving.set()
        for _ in range(50):  # the end of the work is told in steps
            await anyio.lowlevel.checkpoint()
        assert len(returned) == 2


class Issuer:
    """Gives numbered tokens of ``lifetime`` seconds, each after ``takes`` seconds, or fails."""

    def __init__(self, clock: VirtualClock, lifetime: float | None = 3600.0, takes: float = 1.0) -> None:
        self.clock = clock
        self.lifetime = lifetime
        self.takes = takes
        self.asked: list[tuple[float, str | None]] = []
        self.failure: Exception | None = None

    async def __call__(self, previous: Token | None) -> Token:
        self.asked.append((self.clock.monotonic(), None if previous is None else previous.access_token.reveal()))
        number = len(self.asked)
        await self.clock.sleep(self.takes)
        if self.failure is not None:
            raise self.failure
        ends = None if self.lifetime is None else self.clock.wall() + self.lifetime
        return Token(Secret(f"t{number}"), expires_at=ends, lifetime=self.lifetime)


@asynccontextmanager
async def source_of(issuer: Issuer, **settings: Any) -> AsyncIterator[TokenSource]:
    source = TokenSource(issuer, clock=issuer.clock, **settings)
    try:
        yield source
    finally:
        await source.aclose()


async def crowd(source: TokenSource, callers: int, clock: VirtualClock, seconds: float) -> list[str]:
    """What so many callers at once have got after ``seconds``; errors by their names."""
    got: list[str] = []

    async def call() -> None:
        try:
            got.append((await source.get()).access_token.reveal())
        except Exception as error:
            got.append(type(error).__name__)

    async with anyio.create_task_group() as tasks:
        for _ in range(callers):
            tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        await clock.advance(seconds)
    return got


async def test_fifty_callers_without_a_token_make_one_request() -> None:
    issuer = Issuer(VirtualClock())
    async with source_of(issuer) as source:
        assert await crowd(source, 50, issuer.clock, 1.0) == ["t1"] * 50
        assert await crowd(source, 50, issuer.clock, 0.0) == ["t1"] * 50
    assert len(issuer.asked) == 1


async def test_fifty_callers_with_an_expired_token_make_one_request_though_the_first_is_cancelled() -> None:
    issuer = Issuer(VirtualClock(), lifetime=30.0)
    clock = issuer.clock
    async with source_of(issuer) as source:
        await crowd(source, 1, clock, 1.0)
        await clock.advance(40.0)
        got: list[str] = []

        async def call(scope: anyio.CancelScope) -> None:
            with scope:
                got.append((await source.get()).access_token.reveal())

        async with anyio.create_task_group() as tasks:
            scopes = [anyio.CancelScope() for _ in range(50)]
            for scope in scopes:
                tasks.start_soon(call, scope)
            await anyio.wait_all_tasks_blocked()
            await clock.advance(0.5)
            scopes[0].cancel()
            await anyio.wait_all_tasks_blocked()
            await clock.advance(0.5)
        assert got == ["t2"] * 49
    assert [previous for _, previous in issuer.asked] == [None, "t1"]


async def test_an_ageing_token_is_given_out_while_one_refresh_goes_on_beside() -> None:
    issuer = Issuer(VirtualClock(), lifetime=300.0)
    clock = issuer.clock
    async with source_of(issuer) as source:
        await crowd(source, 1, clock, 1.0)
        await clock.advance(271.0)
        assert await crowd(source, 20, clock, 0.0) == ["t1"] * 20
        await clock.advance(1.0)
        assert await crowd(source, 20, clock, 0.0) == ["t2"] * 20
    assert len(issuer.asked) == 2


async def test_an_ageing_token_outlives_a_token_endpoint_that_is_down_for_a_moment() -> None:
    issuer = Issuer(VirtualClock(), lifetime=300.0, takes=0.0)
    clock = issuer.clock
    async with source_of(issuer) as source:
        await crowd(source, 1, clock, 0.1)
        issuer.failure = OSError("down")
        await clock.advance(271.0)
        for _ in range(100):  # ten seconds: two more tries, not a hundred
            assert await crowd(source, 1, clock, 0.1) == ["t1"]
        assert len(issuer.asked) == 3
        issuer.failure = None
        await clock.advance(10.0)
        await crowd(source, 1, clock, 0.1)
        assert await crowd(source, 1, clock, 0.1) == ["t4"]


async def test_a_failure_is_told_to_all_who_wait_and_not_kept_for_ever() -> None:
    issuer = Issuer(VirtualClock())
    issuer.failure = OSError("down")
    clock = issuer.clock
    async with source_of(issuer) as source:
        assert await crowd(source, 30, clock, 1.0) == ["TokenUnavailable"] * 30
        with pytest.raises(TokenUnavailable, match="OSError") as caught:
            await source.get()
        assert caught.value.retry_after == pytest.approx(5.0)
        assert isinstance(caught.value.__cause__, OSError)
        assert len(issuer.asked) == 1
        issuer.failure = None
        await clock.advance(5.0)
        assert await crowd(source, 30, clock, 1.0) == ["t2"] * 30
    assert len(issuer.asked) == 2


async def test_a_fetch_that_hangs_ends() -> None:
    issuer = Issuer(VirtualClock(), takes=1e9)
    async with source_of(issuer, timeout=20.0) as source:
        assert await crowd(source, 3, issuer.clock, 20.0) == ["TokenUnavailable"] * 3


async def test_closing_ends_a_refresh_and_tells_who_waits() -> None:
    issuer = Issuer(VirtualClock())
    source = TokenSource(issuer, clock=issuer.clock)
    raised: list[Exception] = []

    async def call() -> None:
        try:
            await source.get()
        except Closed as error:
            raised.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        await source.aclose()
    assert len(raised) == 1


@pytest.mark.heavy
async def test_tokens_of_three_seconds_are_asked_for_once_in_a_lifetime() -> None:
    issuer = Issuer(VirtualClock(), lifetime=3.0, takes=0.05)
    clock = issuer.clock
    async with source_of(issuer) as source:
        await crowd(source, 30, clock, 0.05)
        for _ in range(140):
            assert "TokenUnavailable" not in await crowd(source, 30, clock, 0.05)
    assert len(issuer.asked) == 3  # ceil(7 / 2.7)


async def test_no_deadline_of_a_caller_cuts_a_refresh_short() -> None:
    seen: list[float | None] = []

    async def fetch(previous: Token | None) -> Token:
        context = in_force()
        seen.append(None if context is None else context.left)
        return Token(Secret("t"))

    source = TokenSource(fetch)
    with holdfast.deadline(0.5):
        await source.get()
    await source.aclose()
    assert seen == [None]


async def test_a_token_that_was_handed_in_is_not_replaced_by_a_refresh_that_began_before() -> None:
    issuer = Issuer(VirtualClock())
    clock = issuer.clock
    async with source_of(issuer) as source:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.get)
            await anyio.wait_all_tasks_blocked()
            await source.keep(Token(Secret("login"), expires_at=clock.wall() + 60.0, lifetime=60.0))
            assert (await source.get()).access_token == Secret("login")
            await clock.advance(1.0)
        assert (await source.get()).access_token == Secret("login")


async def test_a_token_that_was_forgotten_does_not_come_back_with_a_refresh_that_began_before() -> None:
    issuer = Issuer(VirtualClock(), lifetime=300.0)
    clock = issuer.clock
    async with source_of(issuer) as source:
        await crowd(source, 1, clock, 1.0)
        await clock.advance(271.0)
        await source.get()  # begins one beside
        await anyio.wait_all_tasks_blocked()
        forgotten = await source.forget()
        assert forgotten is not None
        assert forgotten.access_token == Secret("t1")
        await clock.advance(1.0)
        assert await crowd(source, 3, clock, 1.0) == ["t3"] * 3
        assert [previous for _, previous in issuer.asked] == [None, "t1", None]


async def test_a_token_of_which_only_the_end_is_told_is_not_renewed_on_every_call() -> None:
    clock = VirtualClock()
    fetched: list[Token] = []

    async def fetch(previous: Token | None) -> Token:
        fetched.append(Token(Secret(f"t{len(fetched)}"), expires_at=clock.wall() + 50.0))
        return fetched[-1]

    source = TokenSource(fetch, clock=clock)
    for _ in range(44):
        await source.get()
        await clock.advance(1.0)
    await source.aclose()
    assert len(fetched) == 1


@pytest.mark.parametrize(
    ("wall", "monotonic", "got"),
    [(7200.0, 0.0, "t2"), (-7200.0, 0.0, "t1"), (-7200.0, 3600.0, "t2")],
    ids=["the machine slept", "the clock was set back", "set back, and over"],
)
async def test_the_end_comes_by_whichever_clock_is_there_first(wall: float, monotonic: float, got: str) -> None:
    issuer = Issuer(VirtualClock(jump=True), lifetime=3600.0, takes=0.0)
    async with source_of(issuer) as source:
        await source.get()
        issuer.clock.set_wall(issuer.clock.wall() + wall)
        await issuer.clock.advance(monotonic)
        assert (await source.get()).access_token == Secret(got)


async def test_a_stored_token_that_is_turned_down_at_once_is_renewed() -> None:
    issuer = Issuer(VirtualClock(), takes=0.0)
    store = MemorySecrets()
    await store.save("token", Token(Secret("of yesterday")))
    async with source_of(issuer, store=store) as source:
        stored = await source.get()
        assert stored.access_token == Secret("of yesterday")
        assert source.invalidate(stored)
        fetched = await source.get()
        assert fetched.access_token == Secret("t1")
        assert not source.invalidate(fetched)  # it was asked for a moment ago


async def test_a_token_is_turned_down_by_what_it_says_and_not_by_which_object_it_is() -> None:
    issuer = Issuer(VirtualClock(), takes=0.0)
    async with source_of(issuer) as source:
        await source.get()
        await issuer.clock.advance(2.0)
        assert source.invalidate(Token(Secret("t1")))
        assert (await source.get()).access_token == Secret("t2")


def test_a_refresh_whose_event_loop_was_closed_does_not_keep_the_next_loop_waiting() -> None:
    begun = asyncio.Event()

    async def fetch(previous: Token | None) -> Token:
        begun.set()
        if previous is not None or asyncio.get_running_loop() is first:
            await anyio.sleep_forever()
        return Token(Secret("t"))

    async def give_up() -> None:
        asking = asyncio.create_task(source.get())
        await begun.wait()
        asking.cancel()
        await asyncio.wait([asking])

    source = TokenSource(fetch)
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    first.run_until_complete(give_up())
    first.close()
    try:
        token = second.run_until_complete(asyncio.wait_for(source.get(), 5.0))
    finally:
        second.close()
    assert token.access_token == Secret("t")


class SlowDoor(MemorySecrets):
    """Lets the next one in some time before the last one has gone on, as a lock between processes may."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.clock = clock

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncGenerator[None]:
        async with super().exclusive(name):
            yield
        await self.clock.sleep(1.0)

    async def delete(self, name: str) -> None:
        await self.clock.sleep(1.0)
        await super().delete(name)


async def test_a_refresh_that_waits_for_a_logout_does_not_undo_it() -> None:
    issuer = Issuer(VirtualClock(), lifetime=300.0, takes=0.0)
    clock, store = issuer.clock, SlowDoor(issuer.clock)
    async with source_of(issuer, store=store) as source:
        await crowd(source, 1, clock, 2.0)
        await clock.advance(270.0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.forget)
            await anyio.wait_all_tasks_blocked()
            await source.get()  # begins one beside, which waits at the door
            await anyio.wait_all_tasks_blocked()
            await clock.advance(3.0)
        assert len(issuer.asked) == 1
        assert await store.load("token") is None
