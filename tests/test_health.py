"""What a pipeline says of its health while an origin goes down and comes back, through a real client."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import anyio
import pytest

import holdfast
from holdfast import Cache, CircuitBreaker, ConcurrencyLimit, Pipeline, Retry
from holdfast.core.health import SENTENCES
from holdfast.errors import Refused
from holdfast.testing import Fails, Reply
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
KEY = "http://api.test:80"
BREAKER = CircuitBreaker(failures=2, jitter=0.0)


def about(wall: float) -> Any:
    """The same but for rounding: a relative error would be half an hour."""
    return pytest.approx(wall, rel=0.0, abs=0.001)


def seen(on: Any) -> tuple[str, str]:
    health: holdfast.Health = on.pipeline.health()
    assert (health.status, health.code) == (health.keys[KEY].status, health.keys[KEY].code)
    return health.status, health.code


async def test_an_outage_is_down_and_its_end_is_ok_without_a_hand_on_anything(family: FamilyModules) -> None:
    script: list[Any] = [Reply(200), Fails("ConnectError"), Reply(503), Reply(503), *[Reply(200, delay=0.1)] * 20]
    async with stage(family, script, breaker=BREAKER, retry=None, jump=False) as on:

        async def call() -> None:
            async with anyio.create_task_group() as calls:
                calls.start_soon(on.client.get, URL)
                await on.clock.advance(1.0)

        await call()
        assert seen(on) == ("ok", "ok")
        with suppress(Exception):
            await on.client.get(URL)
        await on.client.get(URL)
        began = on.clock.wall()
        assert seen(on) == ("down", "circuit_open")
        health = on.pipeline.health()
        assert health.since == began
        assert health.retry_at == about(began + 5.0)

        await on.clock.advance(7.0)  # the probe is due, and nobody calls
        assert on.pipeline.health().retry_at == on.clock.wall()
        await on.client.get(URL)  # it fails
        health = on.pipeline.health()
        assert (health.status, health.since) == ("down", began)  # the same outage
        assert health.retry_at == about(on.clock.wall() + 10.0)

        await on.clock.advance(10.0)
        async with anyio.create_task_group() as calls:
            calls.start_soon(on.client.get, URL)
            await on.clock.settle()
            assert seen(on) == ("down", "circuit_half_open")
            await on.clock.advance(0.1)
            assert seen(on) == ("limited", "circuit_ramping")
        for _ in range(4):
            await call()
        assert seen(on) == ("ok", "ok")
        assert on.pipeline.health().since is None


async def test_a_circuit_that_was_opened_by_hand_is_down_until_it_is_reset(family: FamilyModules) -> None:
    async with stage(family, [Reply(200)]) as on:
        on.pipeline.circuits.force_open(KEY)
        assert seen(on) == ("down", "circuit_forced_open")
        assert on.pipeline.health().retry_at is None
        on.pipeline.circuits.reset(KEY)
        assert seen(on) == ("ok", "ok")


async def test_a_circuit_that_only_observes_is_no_part_of_the_verdict(family: FamilyModules) -> None:
    async with stage(family, [Reply(503)] * 5, breaker=CircuitBreaker(failures=2, observe=True), retry=None) as on:
        for _ in range(5):
            assert (await on.client.get(URL)).status_code == 503
        assert on.pipeline.snapshot()["origins"][KEY]["circuit"]["state"] == "open"
        assert seen(on) == ("ok", "ok")


async def test_a_server_that_asks_for_silence_limits_its_callers(family: FamilyModules) -> None:
    async with stage(family, [Reply(429, headers={"Retry-After": "20"})], retry=None) as on:
        await on.client.get(URL)
        assert seen(on) == ("limited", "rate_limited")
        assert on.pipeline.health().retry_at == about(on.clock.wall() + 20.0)
        await on.clock.advance(21.0)
        assert seen(on) == ("ok", "ok")


async def test_callers_in_line_for_a_permit_are_a_limit(family: FamilyModules) -> None:
    async with stage(family, [Reply(200, delay=1.0)] * 2, concurrency=ConcurrencyLimit(1), jump=False) as on:
        async with anyio.create_task_group() as calls:
            calls.start_soon(on.client.get, URL)
            calls.start_soon(on.client.get, URL)
            await on.clock.settle()
            assert seen(on) == ("limited", "concurrency_full")
            await on.clock.advance(2.0)
        assert seen(on) == ("ok", "ok")


@pytest.mark.parametrize(("cache", "code"), [(None, "offline"), (Cache(), "offline_stored")])
async def test_offline_ends_with_a_good_probe(family: FamilyModules, cache: Cache | None, code: str) -> None:
    async with stage(family, [Reply(200)], cache=cache, jump=False) as on:
        on.pipeline.offline(probe_every=10.0)
        health = on.pipeline.health()
        assert (health.code, health.since, health.retry_at) == (code, on.clock.wall(), on.clock.wall() + 10.0)
        await on.clock.advance(10.0)
        await on.client.get(URL)
        assert seen(on) == ("ok", "ok")


async def test_pipelines_by_origin_have_one_verdict(family: FamilyModules) -> None:
    api, other = Pipeline(breaker=BREAKER), Pipeline()
    both = Pipeline.by_origin({"http://api.test/v1": api}, default=other)
    api.circuits.force_open(KEY)
    assert both.health().status == "down"
    other.circuits.reset(KEY)
    assert (both.health().status, both.health().code) == ("limited", "partial_outage")
    assert {key: part.status for key, part in both.health().keys.items()} == {
        KEY: "ok",
        f"{KEY} (http://api.test/v1)": "down",
    }


async def test_a_refusal_says_what_to_tell_the_end_user(family: FamilyModules) -> None:
    async with stage(family, [Reply(503)] * 2, breaker=BREAKER, retry=Retry(attempts=2)) as on:
        await on.client.get(URL)
        with pytest.raises(family.http.TransportError) as caught:
            await on.client.get(URL)
        assert isinstance(caught.value, Refused)
        condition = holdfast.condition_of(caught.value, on.clock.wall())
        assert (condition.status, condition.code) == ("down", "circuit_open")
        assert condition.retry_at == about(on.clock.wall() + 5.0)
        told = json.loads(on.pipeline.health().as_json())
        assert {condition.sentence, told["sentence"]} == {SENTENCES["circuit_open"]}
        assert "api.test" not in json.dumps(told)
