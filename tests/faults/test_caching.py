"""Cache safety over real sockets (K01 to K13, and what P11, P14, P20 and P25 mean for a cache): never a wrong answer.

Here is what depends on the wire; tests/test_cache_safety.py has the rest in virtual time.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from holdfast import Cache
from holdfast.testing.faulty import Answer, Behaviour, Echo, FaultyServer, HalfBody, Raw, Received
from tests.conformance.clocks import HandClock
from tests.faults.wire import HALF_READ, outcome, surviving
from tests.support import FamilyModules

pytestmark = [pytest.mark.anyio, HALF_READ]
ONE_LOOP = pytest.mark.parametrize("anyio_backend", ["asyncio"])
MINUTE = ("cache-control", "max-age=60")
ALONE: dict[str, Any] = {"retry": None, "breaker": None}


def row(id: str, *values: Any) -> Any:
    return pytest.param(*values, id=id)


@pytest.mark.parametrize("shared", [row("K02-private", False), row("K01-shared", True)])
async def test_an_answer_and_its_cookie_stay_with_the_caller(
    shared: bool, family: FamilyModules, server: FaultyServer
) -> None:
    def whose(request: Received) -> Behaviour:
        who = request.header("authorization") or "nobody"
        return Answer(headers=(MINUTE, ("set-cookie", f"for={who}")), body=who.encode())

    server.on("/mine", whose)
    async with surviving(family, server, cache=Cache(shared=shared)) as http:
        for _ in range(2):
            for who in ("ann", "bob"):
                response = await http.get(f"{server.url}/mine", headers={"Authorization": who})
                assert (response.text, response.headers.get("set-cookie", f"for={who}")) == (who, f"for={who}")
                http.cookies.clear()
        assert server.count("/mine") == (4 if shared else 2)


@ONE_LOOP
async def test_the_raw_target_and_the_host_are_the_key(family: FamilyModules, server: FaultyServer) -> None:
    """K05."""

    def told(request: Received) -> Behaviour:
        return Answer(headers=(MINUTE,), body=f"{request.header('host')}{request.target}".encode())

    server.default(told)
    targets = ["/", "/a", "/A", "/a/", "/a%2Fb", "/a%2fb", "/a/b", "/a;b", "/a?", "/a?b=1&c=2", "/a?c=2&b=1", "/a%20b"]
    hosts = [f"127.0.0.1:{server.port}", f"localhost:{server.port}"]
    async with surviving(family, cache=Cache()) as http:
        for _ in range(2):
            for host in hosts:
                for target in targets:
                    response = await http.get(f"http://{host}{target}")
                    assert response.text == f"{host}{response.request.url.raw_path.decode()}"
    # Whether `/a?` is sent with its question mark is the library's affair.
    assert server.count() in (len(targets) * 2, len(targets) * 2 - 2)


@pytest.mark.parametrize(
    "half",
    [
        row("K06-short", HalfBody(100, 50, headers=(MINUTE,))),
        row("K06-reset", HalfBody(100, 50, headers=(MINUTE,), reset=True)),
        row("K06-chunked", HalfBody(100, 50, headers=(MINUTE,), chunked=True)),
    ],
)
async def test_half_a_body_is_not_stored(half: Behaviour, family: FamilyModules, server: FaultyServer) -> None:
    server.on("/fault", half, Answer(headers=(MINUTE,), body=b"whole"))
    async with surviving(family, server, cache=Cache(), **ALONE) as http:
        error = await outcome(http, "GET", f"{server.url}/fault")
        assert isinstance(error, family.http.TransportError)
        assert [(await http.get(f"{server.url}/fault")).text for _ in range(2)] == ["whole", "whole"]
        assert server.count("/fault") == 2


async def test_a_304_that_names_another_answer_has_it_asked_for(family: FamilyModules, server: FaultyServer) -> None:
    """K08."""
    server.on(
        "/fault",
        Answer(headers=(MINUTE, ("etag", '"1"')), body=b"one"),
        Answer(304, headers=(("etag", '"2"'),)),
        Answer(headers=(MINUTE, ("etag", '"2"')), body=b"two"),
    )
    clock = HandClock()
    async with surviving(family, server, cache=Cache(), clock=clock) as http:
        await http.get(f"{server.url}/fault")
        clock.advance(61)
        assert [(await http.get(f"{server.url}/fault")).text for _ in range(2)] == ["two", "two"]
        asked = [request.header("if-none-match") for request in server.requests if request.path == "/fault"]
        assert asked == [None, '"1"', None]


@pytest.mark.parametrize("method", [row(f"K09-{method}", method) for method in ("PUT", "POST", "DELETE", "PATCH")])
async def test_what_was_changed_is_asked_for_again(method: str, family: FamilyModules, server: FaultyServer) -> None:
    server.on("/thing", lambda request: Answer(headers=(MINUTE,), body=request.method.encode()))
    async with surviving(family, server, cache=Cache()) as http:
        for _ in range(2):
            await http.get(f"{server.url}/thing")
        await http.request(method, f"{server.url}/thing")
        await http.get(f"{server.url}/thing")
        assert [request.method for request in server.requests if request.path == "/thing"] == ["GET", method, "GET"]


@pytest.mark.parametrize("number", [row("K11", 100)])
async def test_a_crowd_makes_one_fetch_when_cold_and_one_at_expiry(
    number: int, family: FamilyModules, server: FaultyServer
) -> None:
    def tagged(request: Received) -> Behaviour:
        known = request.header("if-none-match") is not None
        return Answer(304 if known else 200, headers=(MINUTE, ("etag", '"1"')), body=b"crowd", delay=0.2)

    server.on("/hot", tagged)
    clock = HandClock()
    async with surviving(family, server, cache=Cache(), clock=clock) as http:
        texts: list[str] = []

        async def ask() -> None:
            texts.append((await http.get(f"{server.url}/hot")).text)

        for _ in range(2):
            async with anyio.create_task_group() as group:
                for _ in range(number):
                    group.start_soon(ask)
            clock.advance(61)
        assert texts == ["crowd"] * (2 * number)
        assert server.count("/hot") == 2


async def test_odd_bytes_are_stored_and_validated_as_they_came(family: FamilyModules, server: FaultyServer) -> None:
    """P11."""
    odd = [
        (b"X-Odd", b"caf\xe9 \xff"),
        (b"x-oDD", b"\x80"),
        (b"ETag", b'"\xe9\xff"'),
        (b"cache-control", b"max-age=60"),
    ]
    server.on("/fault", Answer(999, headers=tuple(odd), body=b"\xff\x00"), Answer(304))
    clock = HandClock()
    async with surviving(family, server, cache=Cache(), clock=clock) as http:
        for after in (0, 0, 61):
            clock.advance(after)
            response = await http.get(f"{server.url}/fault")
            assert (response.status_code, response.content) == (999, b"\xff\x00")
            assert [pair for pair in response.headers.raw if pair in odd] == odd
        conditions = [dict(request.headers).get(b"If-None-Match") for request in server.requests[:2]]
        assert conditions == [None, b'"\xe9\xff"']


@pytest.mark.parametrize(
    "surplus",
    [
        row("P14-another-answer", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncache-control: max-age=60\r\n\r\nevil"),
        row("P14-more-bytes", b"evil"),
    ],
)
async def test_surplus_bytes_reach_neither_the_store_nor_the_next_caller(
    surplus: bytes, family: FamilyModules, server: FaultyServer
) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncache-control: max-age=60\r\n\r\n"
    server.on("/fault", Raw(head + b"good" + surplus, close=False))
    async with surviving(family, server, cache=Cache()) as http:
        for _ in range(2):
            assert (await http.get(f"{server.url}/fault")).text == "good"
            assert (await http.get(f"{server.url}/next")).text == "GET /next"
        assert server.count("/fault") == 1


BAD_DATE = "Mon, 31 Feb 2050 00:00:00 GMT"
LATER = ("expires", "Thu, 18 Aug 2050 02:01:18 GMT")


@ONE_LOOP
@pytest.mark.parametrize(
    ("headers", "asked"),
    [
        row("P20-expires-0", [("expires", "0")], 2),
        row("P20-expires-never", [("expires", "never")], 2),
        row("P20-expires-no-such-day", [("expires", BAD_DATE)], 2),
        row("P20-age-10^24", [MINUTE, ("age", "1" + "0" * 24)], 2),
        row("P20-age-negative", [MINUTE, ("age", "-1")], 1),  # no number: as if it were not there (RFC 9111 5.1)
        row("P20-age-words", [MINUTE, ("age", "abc")], 1),
        row("P20-max-age-negative", [("cache-control", "max-age=-10"), LATER], 2),
        row("P20-max-age-words", [("cache-control", "max-age=abc"), LATER], 2),
        row("P20-max-age-without", [("cache-control", "max-age"), LATER], 2),
        row("P20-max-age-400-digits", [("cache-control", "max-age=" + "9" * 400)], 1),
        row("P20-directives-of-signs", [("cache-control", '=,;"='), ("expires", "0")], 2),
        row("P20-etag-unquoted", [("etag", "no quotes")], 2),
        row("P20-etag-half-quoted", [("etag", '"')], 2),
        row("P20-vary-commas", [MINUTE, ("vary", ",,")], 1),
        row("P20-vary-no-name", [MINUTE, ("vary", "\xff")], 1),
        row("P20-vary-star-among", [MINUTE, ("vary", "accept, *")], 2),
        row("P20-date-no-such-day", [("date", BAD_DATE), ("expires", "0")], 2),
        row("P20-last-modified-words", [("last-modified", "yesterday")], 2),
        row("P20-last-modified-ahead", [("last-modified", LATER[1])], 2),
    ],
)
async def test_malformed_caching_fields_make_nothing_fresh(
    headers: list[tuple[str, str]], asked: int, family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/fault", Answer(headers=tuple(headers), body=b"good"))
    async with surviving(family, server, cache=Cache()) as http:
        for _ in range(2):
            response = await http.get(f"{server.url}/fault")
            assert response.text == "good"
            assert {(name, response.headers[name]) for name, _ in headers if name != "age"} == {
                (name, value) for name, value in headers if name != "age"
            }
        assert server.count("/fault") == asked


@pytest.mark.parametrize(
    "known", [row("P25-cold", None), row("P25-no-validator", Answer(headers=(MINUTE,), body=b"old"))]
)
async def test_a_304_that_nobody_asked_for_is_delivered_and_not_kept(
    known: Behaviour | None, family: FamilyModules, server: FaultyServer
) -> None:
    unasked = Answer(304, headers=(MINUTE, ("etag", '"unknown"')))
    server.on("/fault", *([known] if known else []), unasked, Answer(headers=(MINUTE,), body=b"new"))
    clock = HandClock()
    async with surviving(family, server, cache=Cache(), clock=clock) as http:
        if known:
            await http.get(f"{server.url}/fault")
            clock.advance(61)
        response = await http.get(f"{server.url}/fault")
        assert (response.status_code, response.content) == (304, b"")
        assert [(await http.get(f"{server.url}/fault")).text for _ in range(2)] == ["new", "new"]


async def test_the_callers_fields_reach_the_origin_with_a_validation(
    family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/fault", Answer(headers=(MINUTE, ("etag", '"1"')), body=b"old"), Echo())
    clock = HandClock()
    async with surviving(family, server, cache=Cache(), clock=clock) as http:
        await http.get(f"{server.url}/fault")
        clock.advance(61)
        seen = (await http.get(f"{server.url}/fault", headers={"X-Mine": "caf\xe9".encode("latin-1")})).json()
        assert [pair for pair in seen["headers"] if pair[0] in ("X-Mine", "If-None-Match")] == [
            ["X-Mine", "caf\xe9"],
            ["If-None-Match", '"1"'],
        ]
