"""Several keys behind one service: which one is on the wire, and what each answer does to it, in virtual time."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from holdfast.auth import APIKey, Bearer, KeyPool
from holdfast.client import Service
from holdfast.errors import Forbidden, InvalidInput, NoUsableKey, TooManyRequests, Unauthorized
from holdfast.testing import Reply, VirtualClock
from tests import scripting
from tests.client.api import ADA, Shop, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

HOME = "https://api.test/v1"
VALUES = {"a": "s3cr3t-of-a", "b": "s3cr3t-of-b", "c": "s3cr3t-of-c"}
IDS = {value: id for id, value in VALUES.items()}

FarSide = Mapping[str, list[Reply]]
"""What each key is answered in turn; the last answer repeats."""


class World:
    def __init__(self, shop: Shop, pool: KeyPool, clock: VirtualClock, seen: list[str]) -> None:
        self.shop = shop
        self.pool = pool
        self.clock = clock
        self.seen = seen

    @property
    def keys(self) -> str:
        """The keys that arrived since this was last asked."""
        told = "".join(self.seen)
        self.seen.clear()
        return told


@asynccontextmanager
async def pooled(family: FamilyModules, far_side: FarSide, **settings: Any) -> AsyncIterator[World]:
    seen: list[str] = []
    counts: Counter[str] = Counter()

    def answer(number: int, request: Any) -> Reply:
        id = IDS[request.headers["x-api-key"]]
        seen.append(id)
        answers = far_side[id]
        counts[id] += 1
        return answers[min(counts[id], len(answers)) - 1]

    async with stage(family, answer, base_url=HOME, pipeline={"retry": None, "pacing": None}) as world:
        pool = KeyPool({id: APIKey(VALUES[id]) for id in far_side}, clock=world.clock, **settings)
        yield World(world.shop.using(auth=pool), pool, world.clock, seen)


def limited(**headers: str) -> Reply:
    return Reply(429, headers={name.replace("_", "-"): value for name, value in headers.items()})


async def test_calls_go_round_by_weight(family: FamilyModules) -> None:
    async with pooled(family, {"a": [ADA], "b": [ADA]}, weights={"a": 2}) as world:
        for _ in range(6):
            await world.shop.users.get(1)
        assert world.keys == "abaaba"


async def test_429_moves_traffic_to_the_next_key_until_the_servers_own_reset(family: FamilyModules) -> None:
    async with pooled(family, {"a": [limited(retry_after="12"), ADA], "b": [ADA]}) as world:
        begun = world.clock.monotonic()
        for _ in range(4):
            assert (await world.shop.users.get(1)).name == "Ada"
        assert world.clock.monotonic() == begun  # nobody waited
        assert world.keys == "abbbb"
        assert world.pool.health() == {"a": "limited, for 12.0 s", "b": "usable"}
        await world.clock.advance(12.0)
        for _ in range(4):
            await world.shop.users.get(1)
        assert Counter(world.keys) == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (limited(retry_after="90"), 90.0),
        (limited(ratelimit='"default";r=0;t=45'), 45.0),
        (limited(x_ratelimit_remaining="0", x_ratelimit_reset="20"), 20.0),
        (limited(x_ratelimit_remaining="5", x_ratelimit_reset="20"), 30.0),
        (limited(), 30.0),
        (Reply(403, headers={"retry-after": "60"}), 60.0),
        (Reply(403, headers={"x-ratelimit-remaining": "0", "x-ratelimit-reset": "50"}), 50.0),
    ],
)
async def test_how_long_a_key_rests(answer: Reply, seconds: float, family: FamilyModules) -> None:
    async with pooled(family, {"a": [answer], "b": [ADA]}) as world:
        await world.shop.users.get(1)
        assert world.pool.health()["a"] == f"limited, for {seconds:.1f} s"


async def test_a_key_that_is_turned_down_is_tried_by_one_call_when_its_time_is_over(family: FamilyModules) -> None:
    async with pooled(family, {"a": [Reply(401), Reply(401), ADA], "b": [ADA]}) as world:
        await world.shop.users.get(1)
        await world.shop.users.get(1)
        assert world.keys == "abb"
        await world.clock.advance(300.0)
        await world.shop.users.get(1)
        await world.shop.users.get(1)
        assert Counter(world.keys) == {"a": 1, "b": 2}
        assert world.pool.health()["a"] == "turned down, for 600.0 s"
        await world.clock.advance(600.0)
        for _ in range(4):
            await world.shop.users.get(1)
        assert Counter(world.keys) == {"a": 2, "b": 2}
        assert world.pool.health() == {"a": "usable", "b": "usable"}


async def test_a_key_is_revived_by_hand(family: FamilyModules) -> None:
    async with pooled(family, {"a": [Reply(401), ADA], "b": [ADA]}) as world:
        await world.shop.users.get(1)
        world.pool.revive("a")
        assert world.pool.health() == {"a": "usable", "b": "usable"}


async def test_a_request_that_no_key_may_make_kills_no_key(family: FamilyModules) -> None:
    async with pooled(family, {"a": [Reply(403)], "b": [Reply(403)], "c": [ADA]}) as world:
        with pytest.raises(Forbidden):
            await world.shop.users.get(1)
        assert world.keys == "ab"  # a third would be told the same
        assert set(world.pool.health().values()) == {"usable"}


async def test_a_key_that_alone_is_forbidden_is_put_aside(family: FamilyModules) -> None:
    async with pooled(family, {"a": [Reply(403)], "b": [ADA]}) as world:
        assert (await world.shop.users.get(1)).name == "Ada"
        assert world.keys == "ab"
        assert world.pool.health() == {"a": "turned down, for 300.0 s", "b": "usable"}


@pytest.mark.parametrize("status", [404, 500, 503])
async def test_what_is_not_about_the_key_is_the_callers(status: int, family: FamilyModules) -> None:
    async with pooled(family, {"a": [Reply(status)], "b": [ADA]}) as world:
        outcome = await world.shop.users.get(1).outcome()
        assert not outcome.ok
        assert world.keys == "a"
        assert set(world.pool.health().values()) == {"usable"}


async def test_the_last_keys_answer_is_the_callers_and_then_none_is_left(family: FamilyModules) -> None:
    far_side = {"a": [limited(retry_after="12")], "b": [Reply(401)], "c": [limited(retry_after="40")]}
    async with pooled(family, far_side) as world:
        with pytest.raises(TooManyRequests):
            await world.shop.users.get(1)
        assert world.keys == "abc"
        with pytest.raises(NoUsableKey) as caught:
            await world.shop.users.get(1)
        assert world.keys == ""
        assert isinstance(caught.value, family.http.TransportError)
        assert caught.value.keys == {
            "a": "limited, for 12.0 s",
            "b": "turned down, for 300.0 s",
            "c": "limited, for 40.0 s",
        }
        assert caught.value.retry_after == pytest.approx(12.0)
        assert "a (limited, for 12.0 s), b (turned down" in str(caught.value)
        await world.clock.advance(12.0)
        with pytest.raises(TooManyRequests):
            await world.shop.users.get(1)
        assert world.keys == "a"


async def test_a_key_that_others_lose_while_an_answer_is_closed_leaves_the_last_answer(family: FamilyModules) -> None:
    closing, go_on = anyio.Event(), anyio.Event()

    class Slow(family.http.AsyncByteStream):  # type: ignore[name-defined,misc]  # of one of two libraries
        async def aclose(self) -> None:
            closing.set()
            await go_on.wait()

    pool = KeyPool({"a": APIKey(VALUES["a"]), "b": APIKey(VALUES["b"])}, origins=HOME, clock=VirtualClock())
    sent: list[str] = []

    async def send(request: Any) -> Any:
        sent.append(IDS[request.headers["x-api-key"]])
        return family.http.Response(429, stream=Slow()) if len(sent) == 1 else family.http.Response(429)

    statuses: list[int] = []

    async def call() -> None:
        request = family.http.Request("GET", HOME)
        statuses.append((await pool.exchange(request, send, lambda request: request)).status_code)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await closing.wait()
        await call()
        go_on.set()
    assert statuses == [429, 429]
    assert sent == ["a", "b", "b"]


async def test_a_hundred_failures_at_once_are_one(family: FamilyModules) -> None:
    async with pooled(family, {"a": [limited()], "b": [ADA]}) as world:
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(world.shop.users.get(1).value)
        assert world.pool.health()["a"] == "limited, for 30.0 s"  # and not for an hour
        assert Counter(world.keys)["b"] == 100


async def test_a_body_that_cannot_be_sent_again_is_not(family: FamilyModules) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"once"

    async with pooled(family, {"a": [limited(retry_after="9")], "b": [ADA]}) as world:
        with pytest.raises(TooManyRequests):
            await world.shop.POST("/upload", bytes, content=pieces())
        await world.shop.users.get(1)
        assert world.keys == "ab"


async def test_a_body_is_sent_again_whole_with_the_other_key(family: FamilyModules) -> None:
    bodies: list[bytes] = []

    def answer(number: int, request: Any) -> Reply:
        bodies.append(request.content)
        return limited() if len(bodies) == 1 else ADA

    async with stage(family, answer, base_url=HOME) as world:
        pool = KeyPool({id: APIKey(value) for id, value in VALUES.items()}, clock=world.clock)
        await world.shop.using(auth=pool).users.create("Ada")
    assert bodies == [b'{"name":"Ada"}'] * 2


async def test_a_key_that_has_a_newer_value_is_not_put_aside(family: FamilyModules) -> None:
    values = iter(["old", "new"])

    def answer(number: int, request: Any) -> Reply:
        return Reply(401) if request.headers["authorization"] == "Bearer old" else ADA

    async with stage(family, answer, base_url=HOME) as world:
        await world.clock.advance(5.0)
        member = Bearer(lambda: next(values), clock=world.clock)
        pool = KeyPool({"a": member}, clock=world.clock)
        await world.clock.advance(5.0)
        with pytest.raises(Unauthorized):  # within a second of being issued, a newer one would be no better
            await world.shop.using(auth=pool).users.get(1)
        pool.revive("a")
        await world.clock.advance(5.0)
        assert (await world.shop.using(auth=pool).users.get(1)).name == "Ada"
        assert pool.health() == {"a": "usable"}


async def test_no_other_origin_gets_a_key_and_nothing_shows_one(
    family: FamilyModules, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    requests: list[Any] = []

    def answer(number: int, request: Any) -> Reply:
        requests.append(request)
        if request.url.host == "api.test":
            return Reply(307, headers={"location": "https://other.test/x"})
        return Reply(401)

    pool = KeyPool({id: APIKey(value) for id, value in VALUES.items()}, origins="https://api.test")
    async with scripting.stage(family, answer, hooks=[pool.hook()]) as world:
        await world.client.get("https://api.test/x", follow_redirects=True)
    assert [request.url.host for request in requests] == ["api.test", "other.test"]
    assert requests[0].headers["x-api-key"] == VALUES["a"]
    assert "x-api-key" not in requests[1].headers
    shown = f"{pool!r} {pool.identity} {pool.health()} {caplog.text}"
    assert not any(value in shown for value in VALUES.values())


async def test_as_a_hook_the_next_attempt_has_another_key(family: FamilyModules) -> None:
    seen: list[str] = []

    def answer(number: int, request: Any) -> Reply:
        seen.append(IDS[request.headers["x-api-key"]])
        return Reply(401) if seen[-1] == "a" else Reply()

    clock = VirtualClock(jump=True)
    pool = KeyPool({id: APIKey(value) for id, value in VALUES.items()}, origins="https://api.test", clock=clock)
    async with scripting.stage(family, answer, hooks=[pool.hook()]) as world:
        statuses = [(await world.client.get("https://api.test/x")).status_code for _ in range(4)]
    assert (statuses, "".join(seen)) == ([401, 200, 200, 200], "abcb")


def test_a_pool_that_is_bound_to_another_origin_is_refused() -> None:
    pool = KeyPool({"a": APIKey("k")}, origins="https://other.test")
    with pytest.raises(InvalidInput, match=r"other\.test"):
        Service(HOME, auth=pool)


@pytest.mark.parametrize(
    "make",
    [
        lambda: KeyPool({}),
        lambda: KeyPool({"a": "k"}),  # type: ignore[dict-item]
        lambda: KeyPool([APIKey("k")]),  # type: ignore[arg-type]
        lambda: KeyPool({"a": KeyPool({"b": APIKey("k")})}),
        lambda: KeyPool({"a": APIKey("k")}, weights={"b": 1}),
        lambda: KeyPool({"a": APIKey("k")}, weights={"a": 0}),
        lambda: KeyPool({"a": APIKey("k")}, cool_down=0),
        lambda: KeyPool({"a": APIKey("k")}, revive_after=float("inf")),
    ],
)
def test_a_pool_that_cannot_be_is_refused_when_it_is_made(make: Callable[[], KeyPool]) -> None:
    with pytest.raises(InvalidInput):
        make()
