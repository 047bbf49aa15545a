"""The traps of two HTTP families, and what httpx does by itself: both must be the same with a pipeline inside."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
import tenacity
import trustme

from holdfast import CircuitBreaker, ConcurrencyLimit, Pipeline, RateLimit, Retry, errors
from holdfast.testing import Fails, Hangs, Reply
from holdfast.testing.faulty import Answer, Echo, FaultyServer, Held, Interim, InTurn, Stream, Upgrade
from holdfast.testing.scripted import Step
from tests.faults.wire import HALF_READ, HTTP2, retry, server_context, surviving, trusting
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = [pytest.mark.anyio, HALF_READ]
NOW = Retry(wait=tenacity.wait_none(), wait_throttled=tenacity.wait_none())
TRIPS = CircuitBreaker(failures=2, open_for=5.0)


# Trap 1: after the transport, both clients assert that the stream is one of their own.
@pytest.mark.parametrize(
    ("answers", "settings"),
    [
        ([Reply(body=b"whole")], {}),
        ([Reply(body=(b"wh", b"ole"))], {"buffer_body": False}),
        ([Reply(body=(b"wh", b"ole"))], {"buffer_body": True}),
        ([Reply(body=b"whole")], {"max_body_bytes": 100}),
        ([Reply(503), Reply(body=b"whole")], {"retry": NOW}),
        ([Reply(503, body=(b"wh", b"ole"))] * 3, {"retry": NOW, "buffer_body": False}),
        ([Reply(body=b"whole")], {"hooks": (lambda request, attempt: None,)}),
    ],
    ids=["plain", "stream", "buffered", "capped", "retried", "last answer", "hooked"],
)
async def test_every_response_carries_a_stream_of_its_own_family(
    answers: list[Reply], settings: dict[str, Any], family: FamilyModules
) -> None:
    async with stage(family, answers, **settings) as act:
        async with act.client.stream("GET", URL) as response:
            assert isinstance(response, family.http.Response)
            assert isinstance(response.stream, family.http.AsyncByteStream)
            assert await response.aread() == b"whole"
        assert response.elapsed.total_seconds() >= 0  # Trap 2: what we build is open, so it has an elapsed


# Trap 2: a response made with content= is closed already, and never closed again.
@pytest.mark.parametrize("made", ["content", "stream"])
async def test_permits_come_back_from_a_response_that_was_never_open(made: str, family: FamilyModules) -> None:
    def answer(request: Any) -> Any:
        return family.http.Response(200, **({"content": b"whole"} if made == "content" else {"stream": Chunks()}))

    class Chunks(family.http.AsyncByteStream):  # type: ignore[misc, name-defined]  # a base known at run time only
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"whole"

    pipeline = Pipeline(concurrency=ConcurrencyLimit(1), deadline=2.0)
    transport = family.holdfast.ResilientTransport(pipeline, inner=family.http.MockTransport(answer))
    async with family.http.AsyncClient(transport=transport) as client:
        for _ in range(3):
            assert (await client.get(URL)).text == "whole"
    (origin,) = pipeline.snapshot()["origins"].values()
    assert origin["concurrency"]["in_use"] == 0


# Trap 3: a refusal is ours and the family's; no policy takes it for a fault of the server.
async def test_a_refusal_is_neither_sent_again_nor_blamed_on_the_server(family: FamilyModules) -> None:
    limit = RateLimit(1, per=100.0)
    async with stage(
        family, [Reply()], repeat_last=True, retry=NOW, breaker=TRIPS, rate_limit=limit, deadline=5.0
    ) as act:
        assert (await act.client.get(URL)).status_code == 200
        for _ in range(10):
            with pytest.raises(family.http.HTTPError) as caught:
                await act.client.get(URL)
            assert isinstance(caught.value, errors.RateLimited)
        assert act.times == [0.0]
        (origin,) = act.pipeline.snapshot()["origins"].values()
        assert origin["circuit"]["state"] == "closed"


async def test_an_open_circuit_ends_the_call_and_is_caught_as_an_http_error(family: FamilyModules) -> None:
    async with stage(
        family,
        [Fails("ConnectError")],
        repeat_last=True,
        retry=Retry(attempts=6, wait=tenacity.wait_none()),
        breaker=TRIPS,
    ) as act:
        with pytest.raises(family.http.ConnectError):
            await act.client.get(URL)
        with pytest.raises(family.http.TransportError) as caught:
            await act.client.get(URL)
        assert isinstance(caught.value, errors.CircuitOpen)
        assert len(act.script.sent) == 2


# Trap 4: httpx.Auth runs above the transport, so what must differ for each attempt is made by a hook.
async def test_a_nonce_of_an_auth_is_repeated_and_one_of_a_hook_is_not(family: FamilyModules) -> None:
    made: list[int] = []

    class Nonce(family.http.Auth):  # type: ignore[misc, name-defined]  # a base known at run time only
        def auth_flow(self, request: Any) -> Any:
            made.append(1)
            request.headers["x-auth"] = str(len(made))
            yield request

    def sign(request: Any, attempt: int) -> None:
        request.headers["x-hook"] = str(attempt)

    async with stage(family, [Reply(503), Reply(503), Reply()], retry=NOW, hooks=(sign,)) as act:
        response = await act.client.get(URL, auth=Nonce())
        sent = [dict(request.headers) for request in act.script.sent]
        names = [{name.lower(): value for name, value in headers.items()} for headers in sent]
        assert [headers[b"x-auth"] for headers in names] == [b"1", b"1", b"1"]
        assert [headers[b"x-hook"] for headers in names] == [b"1", b"2", b"3"]
        assert "x-hook" not in response.request.headers


# Trap 5: the options are the user's own dict; the deadline is one time over redirects and auth flows (R0.9).
async def test_the_options_dict_serves_two_calls_and_is_never_written(family: FamilyModules) -> None:
    options = {"deadline": 5.0}
    extensions: dict[str, Any] = {"holdfast": options}
    async with stage(family, [Reply(delay=3.0)], repeat_last=True, attempt_timeout=None) as act:
        for _ in range(2):
            assert (await act.client.get(URL, extensions=extensions)).status_code == 200
        assert options == {"deadline": 5.0}
        assert list(extensions) == ["holdfast"]


@pytest.mark.parametrize("then", ["redirects", "auth"])
async def test_one_deadline_covers_all_hops_of_a_call(then: str, family: FamilyModules) -> None:
    class Stubborn(family.http.Auth):  # type: ignore[misc, name-defined]  # a base known at run time only
        def auth_flow(self, request: Any) -> Any:
            while (yield request).status_code == 401:
                pass

    hop = Reply(302, headers={"location": URL}, delay=2.0) if then == "redirects" else Reply(401, delay=2.0)
    asked: dict[str, Any] = {"follow_redirects": True} if then == "redirects" else {"auth": Stubborn()}
    async with stage(family, [hop], repeat_last=True, deadline=5.0, attempt_timeout=None) as act:
        with pytest.raises(errors.DeadlineExceeded) as caught:
            await act.client.get(URL, **asked)
        assert act.times == [0.0, 2.0, 4.0]
        assert 5.0 <= act.clock.monotonic() < 5.5
        assert caught.value.deadline == 5.0


async def test_one_401_and_the_call_goes_on_in_the_time_that_is_left(family: FamilyModules) -> None:
    async with stage(family, [Reply(401, delay=2.0), Reply(delay=2.0)], deadline=5.0, attempt_timeout=None) as act:
        auth = family.http.DigestAuth("user", "secret")
        assert (await act.client.get(URL, auth=auth)).status_code == 401  # no challenge, so no second request
        request = act.client.build_request("GET", URL)
        assert (await act.client.send(request)).status_code == 200
        assert "holdfast.deadline" not in request.extensions


@pytest.mark.parametrize(
    "answers",
    [
        [Reply(delay=3.0)] * 2,
        [Fails("ReadError", delay=3.0)] * 2,
        [Reply(302, headers={"location": URL}, delay=3.0), Reply(delay=3.0)],
    ],
    ids=["answered", "failed", "redirected later"],
)
async def test_one_request_sent_twice_has_its_whole_time_twice(answers: list[Any], family: FamilyModules) -> None:
    async with stage(family, answers, retry=None, deadline=5.0, attempt_timeout=None) as act:
        request = act.client.build_request("GET", URL)
        for _ in answers:
            try:
                await act.client.send(request)
            except family.http.ReadError:
                continue
            await act.clock.advance(6.0)  # nobody took the redirect further
        assert len(act.times) == 2
        assert "holdfast.call" not in request.extensions


# Trap 6
async def test_a_cancelled_probe_gives_its_place_back(family: FamilyModules) -> None:
    answers: list[Step] = [Reply(500), Reply(500), Hangs(), Reply(body=b"healed")]
    async with stage(family, answers, jump=False, retry=None, breaker=TRIPS, deadline=None) as act:
        for _ in range(2):
            await act.client.get(URL)
        await act.clock.advance(100.0)
        async with anyio.create_task_group() as group:
            group.start_soon(act.client.get, URL)
            await act.clock.settle()
            assert len(act.script.sent) == 3
            group.cancel_scope.cancel()
        assert (await act.client.get(URL)).text == "healed"


# Trap 7: httpx 0.28.1's own pool does not survive this (encode/httpcore#1093).
async def test_cancelled_calls_cost_no_connection(family: FamilyModules, server: FaultyServer) -> None:
    limits = family.http.Limits(max_connections=5)
    gate = server.gate()
    server.on("/slow", Held(gate))
    async with surviving(family, server, transport={"limits": limits}, deadline=60.0) as http:
        for _ in range(5):
            async with anyio.create_task_group() as group:
                for _ in range(15):
                    group.start_soon(http.get, f"{server.url}/slow")
                await server.await_for(lambda _: gate.waiting == 5)
                group.cancel_scope.cancel()
            await server.await_for(lambda _: gate.waiting == 0)
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(http.get, f"{server.url}/fine")
        assert server.count("/fine") == 5


# R9.3: what httpx does by itself stays as it is.
async def test_a_stream_arrives_as_it_is_sent(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/stream", Stream(b"tick"))
    async with surviving(family, server) as http, http.stream("GET", f"{server.url}/stream") as response:
        assert (await anext(response.aiter_raw())).startswith(b"tick")
        assert not response.is_closed


async def test_extensions_of_a_response_pass_through(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/fine", Interim((103,), Answer(201, reason="Made It", trailers={"x-end": "1"}, body=b"fine")))
    async with surviving(family, server) as http:
        response = await http.put(f"{server.url}/fine", content=b"x")
        assert response.http_version == "HTTP/1.1"
        assert response.reason_phrase == "Made It"
        assert response.extensions["network_stream"].get_extra_info("server_addr") == ("127.0.0.1", server.port)
        assert (response.text, response.request.method, str(response.url)) == ("fine", "PUT", f"{server.url}/fine")
        assert response.is_closed


async def test_an_upgrade_is_handed_over_and_never_sent_again(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/up", Upgrade("echo", data=b"hello"))
    headers = {"connection": "upgrade", "upgrade": "echo"}
    async with surviving(family, server) as http:
        async with http.stream("GET", f"{server.url}/up", headers=headers) as response:
            assert (response.status_code, response.headers["upgrade"]) == (101, "echo")
            assert await response.extensions["network_stream"].read(100, timeout=30.0) == b"hello"
        assert server.count("/up") == 1


async def test_redirects_cookies_and_history_are_the_clients(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/old", Answer(302, headers={"location": "/new", "set-cookie": "a=1; Path=/"}))
    server.on("/new", Echo())
    async with surviving(family, server, client={"follow_redirects": True, "base_url": server.url}) as http:
        response = await http.get("/old")
        assert [hop.status_code for hop in response.history] == [302]
        assert ["cookie", "a=1"] in [[name.lower(), value] for name, value in response.json()["headers"]]


async def test_event_hooks_see_each_hop_once_and_may_raise(family: FamilyModules, server: FaultyServer) -> None:
    server.on("/old", Answer(302, headers={"location": "/new"}))
    server.on("/new", Answer(503), Answer(404, body=b"gone"), Answer())
    seen: list[str] = []

    async def asked(request: Any) -> None:
        seen.append(request.url.path)

    async def answered(response: Any) -> None:
        seen.append(str(response.status_code))
        if response.status_code == 404:
            response.raise_for_status()

    hooks = {"request": [asked], "response": [answered]}
    async with surviving(family, server, client={"follow_redirects": True, "event_hooks": hooks}) as http:
        with pytest.raises(family.http.HTTPStatusError):
            await http.get(f"{server.url}/old")
        assert seen == ["/old", "302", "/new", "404"]  # the 503 was ours to deal with
        assert server.connections_opened == 1


async def test_an_asgi_application_may_be_the_inner_transport(family: FamilyModules) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-path", scope["path"].encode())]})
        await send({"type": "http.response.body", "body": (await receive())["body"]})

    inner = family.http.ASGITransport(application)
    transport = family.holdfast.ResilientTransport(Pipeline(retry=retry()), inner=inner)
    async with family.http.AsyncClient(transport=transport) as client:
        response = await client.post("http://app.test/path", content=b"body")
        assert (response.text, response.headers["x-path"]) == ("body", "/path")


async def test_http2_is_spoken_where_tls_agrees_on_it(family: FamilyModules) -> None:
    authority = trustme.CA()
    context = server_context(authority.issue_cert("127.0.0.1"), "h2", "http/1.1")
    with FaultyServer(ssl_context=context, http2=True) as server:
        server.on("/fine", Answer(body=b"fine"))
        settings = {"http2": True, "verify": trusting(authority)}
        async with surviving(family, server, transport=settings) as http:
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(http.get, f"{server.url}/fine")
            response = await http.get(f"{server.url}/fine")
            assert (response.http_version, response.text) == ("HTTP/2", "fine")
            assert server.connections_opened == 1


async def test_http2_bodies_stream_both_ways(family: FamilyModules) -> None:
    async def upload() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield bytes(50_000)

    with FaultyServer(http2=True) as server:
        server.on("/up", lambda request: Answer(body=str(len(request.body)).encode()))
        server.on("/down", Answer(body=bytes(300_000), trailers={"x-end": "1"}))
        async with surviving(family, server, transport=HTTP2) as http:
            assert (await http.post(f"{server.url}/up", content=upload())).text == "200000"
            assert len((await http.get(f"{server.url}/down")).content) == 300_000


# wrap(): a client that someone else made
async def test_wrap_keeps_everything_that_a_client_was_made_with(family: FamilyModules, server: FaultyServer) -> None:
    server.default(InTurn(Answer(200, body=b"by proxy")))
    seen: list[str] = []

    async def asked(request: Any) -> None:
        seen.append(request.url.host)

    def mounted(request: Any) -> Any:
        return family.http.Response(200, text="by mount")

    client = family.http.AsyncClient(
        proxy=server.url,
        mounts={"http://mounted.test": family.http.MockTransport(mounted), "http://127.0.0.1": None},
        cookies={"a": "1"},
        base_url="http://origin.test/base/",
        event_hooks={"request": [asked]},
        headers={"x-own": "1"},
        trust_env=False,
    )
    pipeline = Pipeline()
    async with family.holdfast.wrap(client, pipeline) as wrapped:
        assert wrapped is client
        assert (await wrapped.get("things")).text == "by proxy"
        assert (await wrapped.get("http://mounted.test/")).text == "by mount"
        assert (await wrapped.get(f"{server.url}/direct")).text == "by proxy"
    proxied, direct = server.requests
    assert (proxied.target, direct.target) == ("http://origin.test/base/things", "/direct")
    assert (proxied.header("cookie"), proxied.header("x-own")) == ("a=1", "1")
    assert seen == ["origin.test", "mounted.test", "127.0.0.1"]
    assert set(pipeline.snapshot()["origins"]) == {"http://origin.test:80", "http://mounted.test:80", server.url}
    await server.await_for(lambda server: server.connections_open == 0)


async def test_a_proxy_may_be_given_to_the_transport(family: FamilyModules, server: FaultyServer) -> None:
    server.default(lambda request: Answer(body=request.target.encode()))
    async with surviving(family, server, transport={"proxy": server.url}) as http:
        for host in ("one.test", "one.test", "two.test"):
            assert (await http.get(f"http://{host}/x")).text == f"http://{host}/x"
        assert server.connections_opened == 2  # httpcore keeps a connection to a proxy for one origin
        server.default(lambda request: Answer(body=b"GET /after"))


@pytest.mark.parametrize("how", ["enter", "send"])
def test_a_sync_client_is_told_that_it_needs_an_async_one(how: str, family: FamilyModules) -> None:
    client = family.http.Client(transport=family.holdfast.ResilientTransport())
    with pytest.raises(errors.Unsupported, match="AsyncClient"):
        client.__enter__() if how == "enter" else client.get("http://127.0.0.1:9/")


# Errors
KINDS: list[Callable[[], errors.HoldfastError]] = [
    lambda: errors.Refused("m", policy="p", key="k", retry_after=1.0),
    lambda: errors.CircuitOpen("m", key="k", retry_after=1.0, opened_at=2.0),
    lambda: errors.RateLimited("m", policy="rate_limit", key="k", retry_after=1.0),
    lambda: errors.Throttled("m", policy="throttle", key="k"),
    lambda: errors.ConcurrencyFull("m", policy="concurrency", key="k"),
    lambda: errors.DeadlineExceeded("m", key="k", deadline=1.0),
    lambda: errors.Closed("m", policy="transport"),
    lambda: errors.Offline("m", policy="cache"),
    lambda: errors.BodyTooLarge("m", limit=1),
    lambda: errors.BodyDropped("m"),
    lambda: errors.ResponseRejected("m", status_code=200),
    lambda: errors.InvalidOption("m"),
]


@pytest.mark.parametrize("make", KINDS, ids=lambda make: type(make()).__name__)
def test_errors_survive_pickle_and_copy(make: Callable[[], errors.HoldfastError], family: FamilyModules) -> None:
    request = family.http.Request("GET", URL)
    error = family.holdfast.FAMILY.refusal(make(), request)
    assert error.request is request
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is type(error)
        assert isinstance(other, family.http.HTTPError)
        assert isinstance(other, type(make()))
        assert str(other) == str(error) == "m"
        assert {**vars(other), "_request": None} == {**vars(error), "_request": None}


async def test_each_refusal_is_a_fresh_error_with_a_short_traceback(family: FamilyModules) -> None:
    async with stage(family, [Fails("ConnectError")] * 2, retry=None, breaker=TRIPS) as act:
        caught: list[Exception] = []
        for _ in range(20):
            try:
                await act.client.get(URL)
            except family.http.TransportError as error:
                caught.append(error)
        depths = [len(traceback.extract_tb(error.__traceback__)) for error in caught[2:]]
        assert len({id(error) for error in caught}) == 20
        assert len(set(depths)) == 1
