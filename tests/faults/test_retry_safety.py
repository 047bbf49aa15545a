"""What is sent again, how often, and with which body and credentials (S03 to S16), over real sockets."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import anyio
import pytest

import holdfast
from holdfast import IdempotencyKeys, Pipeline
from holdfast.testing import VirtualClock
from holdfast.testing.faulty import Answer, Behaviour, Close, FaultyServer, HalfBody, Never, Received, Sometimes
from tests.faults.lifetime import life, of_row
from tests.faults.wire import TRUSTS_NOBODY, named, outcome, retry
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
ON_ONE_LOOP = pytest.mark.parametrize("anyio_backend", ["asyncio"])  # decided before any loop has a say
ALONE: dict[str, Any] = {"breaker": None, "budget": None}


@pytest.mark.parametrize("buffer_body", ["auto", False])
@pytest.mark.parametrize("attempts", [50, pytest.param(200, marks=pytest.mark.slow)])
async def test_failing_attempts_take_one_connection(
    family: FamilyModules, server: FaultyServer, attempts: int, buffer_body: Any
) -> None:
    server.on("/down", Answer(503, body=bytes(2000)))
    async with life(family, server, retry=retry(attempts), deadline=None, buffer_body=buffer_body, **ALONE) as on:
        response = await on.http.get(f"{server.url}/down")
        assert (response.status_code, response.content) == (503, bytes(2000))
        assert (server.count(), server.connections_opened) == (attempts, 1)


@ON_ONE_LOOP
@pytest.mark.parametrize(
    ("calls", "attempts", "most"),
    [pytest.param(200, 4, 300, id="S08"), pytest.param(1000, 3, 1210, id="S08-full", marks=pytest.mark.slow)],
)
async def test_a_total_outage_costs_no_more_than_the_budget(
    family: FamilyModules, server: FaultyServer, calls: int, attempts: int, most: int
) -> None:
    server.on("/down", Answer(503))
    clock = VirtualClock()  # stands still: all of it falls into one window of the budget
    async with life(family, server, limits=20, retry=retry(attempts), breaker=None, clock=clock) as on:

        async def caller() -> None:
            for _ in range(calls // 50):
                response = await on.http.get(f"{server.url}/down")
                assert response.status_code == 503
                assert holdfast.history(response).reason in ("attempts", "budget_exhausted")

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(caller)
        assert calls < server.count() <= most


@of_row("S03-503")
async def test_a_one_shot_body_that_was_read_is_not_sent_again(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/put", Answer(503, body=b"busy"), Answer(200))
    async with life(family, server) as on:
        response = await on.http.put(f"{server.url}/put", content=one_shot())
        assert (response.status_code, response.text) == (503, "busy")
        assert holdfast.history(response).reason == "body_not_replayable"
        assert [request.body for request in server.requests] == [b"one shot"]


@of_row("S03-refused")
async def test_a_one_shot_body_that_was_not_read_goes_out_whole(family: FamilyModules, server: FaultyServer) -> None:
    def repair(request: Any, attempt: int) -> None:
        if attempt == 2:
            server.come_up()

    server.go_down()
    async with life(family, server, hooks=[repair]) as on:
        response = await on.http.put(f"{server.url}/put", content=one_shot())
        assert response.status_code == 200
        assert len(holdfast.history(response).attempts) == 2
        assert [request.body for request in server.requests] == [b"one shot"]


async def one_shot() -> AsyncIterator[bytes]:
    yield b"one "
    yield b"shot"


@of_row("S07")
async def test_the_last_outcome_is_handed_back_when_attempts_run_out(
    family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/busy", Answer(503, body=b"first"), Answer(503, body=b"second"), Answer(502, body=b"third"))
    server.on("/gone", Close())
    async with life(family, server, **ALONE) as on:
        response = await on.http.get(f"{server.url}/busy")
        assert (response.status_code, response.text) == (502, "third")
        assert [attempt.status for attempt in holdfast.history(response).attempts] == [503, 503, 502]
        with pytest.raises(named(family, "RemoteProtocolError")) as caught:
            await on.http.get(f"{server.url}/gone")
        assert len(holdfast.history(caught.value).attempts) == 3


@ON_ONE_LOOP
@pytest.mark.parametrize(
    ("method", "status"),
    [
        *(pytest.param("GET", status, id=f"S09-{status}") for status in (400, 401, 403, 404, 409, 422, 501)),
        pytest.param("POST", 503, id="S09-POST-503"),
        pytest.param("PATCH", 500, id="S09-PATCH-500"),
    ],
)
async def test_what_would_not_help_or_not_be_safe_is_not_sent_again(
    family: FamilyModules, server: FaultyServer, method: str, status: int
) -> None:
    server.on("/no", Answer(status))
    async with life(family, server) as on:
        assert (await on.http.request(method, f"{server.url}/no")).status_code == status
        assert server.count() == 1


@pytest.mark.parametrize("method", [pytest.param(name, id=f"S09-{name}-read-timeout") for name in ("POST", "PATCH")])
async def test_a_read_timeout_of_an_unsafe_method_is_final(
    family: FamilyModules, server: FaultyServer, method: str
) -> None:
    server.on("/never", Never())
    async with life(family, server) as on:
        patience = family.http.Timeout(60.0, read=0.3)  # a stall is not to pass for another timeout
        error = await outcome(on.http, method, f"{server.url}/never", timeout=patience)
        assert isinstance(error, family.http.ReadTimeout)
        assert len(holdfast.history(error).attempts) == 1
        await server.await_for(lambda server: server.count() == 1)


@ON_ONE_LOOP
@of_row("S11")
async def test_a_callers_own_idempotency_key_stays_the_same(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/pay", Answer(503), Close(), Answer(201))
    async with life(family, server) as on:
        response = await on.http.post(f"{server.url}/pay", headers={"Idempotency-Key": "one-payment"})
        assert response.status_code == 201
        assert [request.header("idempotency-key") for request in server.requests] == ["one-payment"] * 3


@ON_ONE_LOOP
@of_row("S11-given")
async def test_each_call_has_one_key_for_all_its_tries(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/pay", Answer(503), Close(), Answer(201), Answer(409), Answer(200))
    async with life(family, server, idempotency=IdempotencyKeys()) as on:
        for status in (201, 200):
            assert (await on.http.post(f"{server.url}/pay", json={"amount": 5})).status_code == status
        keys = [request.header("idempotency-key") for request in server.requests]
        assert keys[0] == keys[1] == keys[2] != keys[3] == keys[4]
        assert None not in keys
        assert {request.body for request in server.requests} == {server.requests[0].body}


@of_row("S12-hooks")
async def test_each_try_is_signed_afresh(family: FamilyModules, server: FaultyServer) -> None:
    nonces = itertools.count(1)

    async def sign(request: Any, attempt: int) -> None:
        request.headers["X-Nonce"] = str(next(nonces))

    server.on("/signed", Answer(503), Answer(503), Answer(200))
    async with life(family, server, hooks=[sign]) as on:
        await on.http.get(f"{server.url}/signed", headers={"Idempotency-Key": "k"})
        assert [request.header("x-nonce") for request in server.requests] == ["1", "2", "3"]
        assert {request.header("idempotency-key") for request in server.requests} == {"k"}


@of_row("S12-refresh")
async def test_a_token_is_refreshed_once_after_a_401(family: FamilyModules, server: FaultyServer) -> None:
    class Refreshing(family.http.Auth):  # type: ignore[misc,name-defined]  # of whichever family is tested
        def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
            request.headers["Authorization"] = "old"
            response = yield request
            if response.status_code == 401:
                request.headers["Authorization"] = "new"
                yield request

    def guarded(request: Received) -> Behaviour:
        return Answer(200 if request.header("authorization") == "new" else 401)

    server.on("/mine", Answer(503), guarded, Answer(503), guarded)
    async with life(family, server) as on:
        assert (await on.http.get(f"{server.url}/mine", auth=Refreshing())).status_code == 200
        assert [request.header("authorization") for request in server.requests] == ["old", "old", "new", "new"]


@of_row("S13-two-of-ours")
async def test_a_retry_layer_over_another_does_not_multiply(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/down", Answer(503))
    inside = family.holdfast.ResilientTransport(Pipeline(retry=retry(), **ALONE), verify=TRUSTS_NOBODY)
    outside = family.holdfast.ResilientTransport(Pipeline(retry=retry(), **ALONE), inner=inside)
    async with family.http.AsyncClient(transport=outside) as http:
        assert (await http.get(f"{server.url}/down")).status_code == 503
    assert server.count() == 3


@ON_ONE_LOOP
@pytest.mark.parametrize(
    ("count", "sent"), [pytest.param("0", 3, id="S13-sdk-first"), pytest.param("1", 1, id="S13-sdk-retries")]
)
async def test_an_sdks_own_retry_is_seen_and_not_multiplied(
    family: FamilyModules, server: FaultyServer, count: str, sent: int
) -> None:
    server.on("/down", Answer(503))
    async with life(family, server, **ALONE) as on:
        response = await on.http.get(f"{server.url}/down", headers={"x-stainless-retry-count": count})
        assert server.count() == sent
        assert holdfast.history(response).reason == ("attempts" if sent == 3 else "nested_retry")


@ON_ONE_LOOP
@pytest.mark.parametrize(
    ("calls", "seed", "rate", "succeed", "per_call"),
    [
        pytest.param(400, 1, 0.1, 0.995, 1.2, id="S15-10%"),
        pytest.param(300, 2, 0.2, 0.95, 1.234, id="S15-20%"),  # 70 retries; without a budget it would be 1.25
        pytest.param(1000, 1, 0.1, 0.995, 1.2, id="S15-10%-full", marks=pytest.mark.slow),
        pytest.param(1000, 1, 0.2, 0.95, 1.22, id="S15-20%-full", marks=pytest.mark.slow),
    ],
)
async def test_random_failures_are_cured_within_the_budget(
    family: FamilyModules, server: FaultyServer, calls: int, seed: int, rate: float, succeed: float, per_call: float
) -> None:
    # At 20 %, about 4 % of the calls fail for want of budget; the seed makes it the same each time.
    server.on("/chance", Sometimes(rate, seed=seed))
    failed: list[Any] = []
    async with life(family, server, limits=20, clock=VirtualClock()) as on:

        async def caller() -> None:
            for _ in range(calls // 20):
                response = await on.http.get(f"{server.url}/chance")
                if response.status_code != 200:
                    failed.append(response)

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(caller)
        assert len(failed) <= (1 - succeed) * calls
        assert {holdfast.history(response).reason for response in failed} <= {"budget_exhausted", "attempts"}
        assert server.count() <= per_call * calls


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(HalfBody(300 * 1024, 1000), id="S16-large"),
        pytest.param(HalfBody(2000, 1000, chunked=True), id="S16-chunks"),
        pytest.param(HalfBody(300 * 1024, 1000, reset=True), id="S16-reset"),
    ],
)
@pytest.mark.parametrize("read", ["aiter_raw", "aiter_bytes", "aiter_lines"])
async def test_a_body_that_was_partly_delivered_is_never_restarted(
    family: FamilyModules, server: FaultyServer, cut: HalfBody, read: str
) -> None:
    server.on("/half", cut)
    async with life(family, server) as on:
        async with on.http.stream("GET", f"{server.url}/half") as response:
            iterate: Callable[[], AsyncIterator[Any]] = getattr(response, read)
            with pytest.raises(family.http.TransportError):
                async for _ in iterate():
                    pass
        assert server.count() == 1
