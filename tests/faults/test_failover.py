"""Failover over real sockets: the first origin is down, breaks off or hangs, and another answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import holdfast
from holdfast import Fallback
from holdfast.testing.faulty import Answer, Close, FaultyServer, HalfBody, Never, Reset
from holdfast.testing.faulty.exchange import Behaviour
from tests.faults.lifetime import life
from tests.faults.wire import HALF_READ
from tests.support import FamilyModules

pytestmark = [pytest.mark.anyio, HALF_READ]


@pytest.fixture
def other() -> Iterator[FaultyServer]:
    """A second origin."""
    with FaultyServer() as server:
        yield server


@pytest.mark.parametrize(
    "failure",
    [Close(), Reset(), Answer(503, body=b"x" * 300_000), HalfBody(8, 4), Never()],
    ids=["closes", "resets", "503 of some length", "half a body", "never answers"],
)
async def test_the_other_origin_answers_and_nothing_stays_open(
    family: FamilyModules, server: FaultyServer, other: FaultyServer, failure: Behaviour
) -> None:
    server.on("/things", failure)
    other.on("/mirror/things", Answer(body=b"here"))
    fallback = Fallback(failover={server.url: (f"{other.url}/mirror",)})
    patience: dict[str, Any] = {"attempt_timeout": 0.3} if isinstance(failure, Never) else {}
    async with life(family, server, other, limits=1, retry=None, fallback=fallback, **patience) as on:
        response = await on.http.put(
            f"{server.url}/things?token=t", content=b"body", headers={"Authorization": "secret"}
        )
        told = holdfast.history(response)
        assert (response.content, told.source, told.fallback) == (b"here", "fallback", "failover")
        (came,) = other.requests
        assert (came.body, came.header("authorization"), came.target) == (b"body", None, "/mirror/things")
        assert came.header("host") == other.url.removeprefix("http://")
        assert (await on.http.get(f"{server.url}/else")).status_code == 200  # the one connection is there again


async def test_an_origin_that_is_down_and_one_that_is_not(
    family: FamilyModules, server: FaultyServer, other: FaultyServer
) -> None:
    other.on("/things", Answer(body=b"here"))
    server.go_down()
    async with life(family, server, other, fallback=Fallback(failover={server.url: (other.url,)})) as on:
        for _ in range(5):
            assert (await on.http.post(f"{server.url}/things", content=b"body")).content == b"here"
        reasons = [holdfast.history(await on.http.get(f"{server.url}/things")).reason for _ in range(5)]
        assert reasons[-1] == "circuit_open"
        server.come_up()
        on.pipeline.circuits.reset(server.url)
        assert holdfast.history(await on.http.get(f"{server.url}/things")).source == "origin"


async def test_a_body_that_was_read_is_not_sent_in_half(
    family: FamilyModules, server: FaultyServer, other: FaultyServer
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"once"

    server.on("/things", Answer(503))
    async with life(family, server, other, fallback=Fallback(failover={server.url: (other.url,)})) as on:
        response = await on.http.put(f"{server.url}/things", content=chunks())
        assert (response.status_code, holdfast.history(response).source) == (503, "origin")
        assert other.requests == []


async def test_the_attempts_of_both_origins_are_one_history(
    family: FamilyModules, server: FaultyServer, other: FaultyServer
) -> None:
    server.on("/things", Answer(503))
    other.on("/things", Answer(503), Answer(body=b"second"))
    async with life(family, server, other, fallback=Fallback(failover={server.url: (other.url,)})) as on:
        response = await on.http.get(f"{server.url}/things")
        attempts = holdfast.history(response).attempts
        assert response.content == b"second"
        assert [(one.number, one.status) for one in attempts] == [
            *((number, 503) for number in range(1, len(attempts))),
            (len(attempts), 200),
        ]
        assert server.count("/things") + other.count("/things") == len(attempts)
