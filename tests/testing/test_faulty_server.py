"""Does the faulty server do what each behaviour says, seen by raw sockets and by both HTTP families?"""

import contextlib
import doctest
import gc
import gzip
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import anyio
import anyio.lowlevel
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import httpx
import httpx2
import pytest
import trustme

from holdfast.testing.faulty import (
    Answer,
    AtMost,
    Behaviour,
    Bomb,
    ByConnection,
    Close,
    ContinuationFlood,
    Drip,
    EachConnection,
    EarlyAnswer,
    Echo,
    ETag,
    Exchange,
    FaultyServer,
    Gate,
    GoAway,
    HalfBody,
    HalfHead,
    Held,
    HpackBomb,
    Interim,
    InTurn,
    Never,
    OnHead,
    Pause,
    Quota,
    Raw,
    Reset,
    Settings,
    Sometimes,
    Stream,
    StreamReset,
    Upgrade,
)
from holdfast.testing.faulty import server as server_module

Client: TypeAlias = httpx.AsyncClient | httpx2.AsyncClient
_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loads no certificates, which would cost more than the tests
_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        yield server


def httpx_client(*, http2: bool = False) -> Client:
    return httpx.AsyncClient(verify=_PLAIN, trust_env=False, http1=not http2, http2=http2, timeout=30.0)


def httpx2_client(*, http2: bool = False) -> Client:
    return httpx2.AsyncClient(verify=_PLAIN, trust_env=False, http1=not http2, http2=http2, timeout=30.0)


families = pytest.mark.parametrize("make", [httpx_client, httpx2_client], ids=["httpx", "httpx2"])


def connected(server: FaultyServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def request(path: str, *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: x", *lines]
    if body:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def until_closed(link: socket.socket) -> tuple[bytes, bool]:
    """All bytes until the end, and whether the end was a reset."""
    seen = bytearray()
    try:
        while data := link.recv(1 << 16):
            seen += data
    except ConnectionResetError:
        return bytes(seen), True
    return bytes(seen), False


def talk(server: FaultyServer, sent: bytes) -> tuple[bytes, bool]:
    with connected(server) as link:
        link.sendall(sent)
        return until_closed(link)


def one_answer(link: socket.socket) -> bytes:
    """The next answer, which has a Content-Length, on a connection that stays open."""
    seen = bytearray()
    while b"\r\n\r\n" not in seen:
        seen += link.recv(1000)
    head, _, body = seen.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += link.recv(1000)
    return bytes(head + b"\r\n\r\n" + body)


def ask(server: FaultyServer, path: str, *lines: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one proper exchange on a connection of its own."""
    text, _ = talk(server, request(path, "Connection: close", *lines, method=method))
    head, _, body = text.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    return int(first.split(" ")[1]), dict(line.split(": ", 1) for line in rest), body


# --- the server


def test_an_unknown_path_answers_with_method_and_target(server: FaultyServer) -> None:
    assert ask(server, "/a?b=c", method="PUT") == (
        200,
        {
            "content-type": "text/plain",
            "content-length": "10",
        },
        b"PUT /a?b=c",
    )


def test_successive_requests_get_successive_behaviours_and_the_last_repeats(server: FaultyServer) -> None:
    server.on("/x", Answer(503), lambda seen: Answer(len(server.requests) + 200), Answer(204))
    assert [ask(server, "/x?n=1")[0] for _ in range(4)] == [503, 202, 204, 204]
    assert ask(server, "/y")[0] == 200
    server.on("/x", Answer(418))
    server.default(Answer(404))
    assert [ask(server, path)[0] for path in ("/x", "/y")] == [418, 404]


@pytest.mark.parametrize(("path", "steps"), [("x", [Answer()]), ("/x?y", [Answer()]), ("/x", [])])
def test_a_script_that_cannot_work_is_refused(server: FaultyServer, path: str, steps: list[Answer]) -> None:
    with pytest.raises(ValueError):
        server.on(path, *steps)


def test_requests_are_recorded_byte_for_byte(server: FaultyServer) -> None:
    before = time.monotonic()
    with connected(server) as link:
        link.sendall(b"POST /a%2Fb?c HTTP/1.1\r\nX-One: 1\r\nx-ONE:\xe9\xff \r\nContent-Length: 3\r\n\r\nabc")
        one_answer(link)
        link.sendall(b"PUT /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nt: v\r\n\r\n")
        one_answer(link)
    first, second = server.requests
    assert first.headers == ((b"X-One", b"1"), (b"x-ONE", b"\xe9\xff"), (b"Content-Length", b"3"))
    assert (first.method, first.target, first.path, first.body) == ("POST", "/a%2Fb?c", "/a%2Fb", b"abc")
    assert first.header("x-one") == "1, \xe9\xff"
    assert first.header("absent") is None
    assert (second.method, second.body, second.connection) == ("PUT", b"abc", 1)
    assert before <= first.at <= second.at <= time.monotonic()
    assert (server.count(), server.count("/d"), server.count("/none")) == (2, 1, 0)
    server.reset_counts()
    assert (server.requests, server.count(), server.connections_opened) == ([], 0, 0)


def test_a_body_does_not_wait_for_the_acknowledgement_of_its_head(server: FaultyServer) -> None:
    took: list[float] = []
    with connected(server) as link:
        for _ in range(30):
            before = time.monotonic()
            link.sendall(request("/x"))
            one_answer(link)
            took.append(time.monotonic() - before)
    # Each of them would wait for 0.04 s, but the first few, which a kernel acknowledges at once.
    assert min(took[20:]) < 0.03


def test_expect_100_is_answered_before_the_body_is_read(server: FaultyServer) -> None:
    with connected(server) as link:
        link.sendall(b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert link.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        link.sendall(b"ab")
        assert link.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01",  # the beginning of a TLS handshake
        b"GET /x\r\n\r\n",
        b"POST /x HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /x HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_is_answered_400_and_not_counted(server: FaultyServer, garbage: bytes) -> None:
    assert talk(server, garbage)[0].startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert (server.count(), server.connections_opened) == (0, 1)


@pytest.mark.parametrize("http2", [False, True])
def test_a_client_that_vanishes_is_not_in_flight(http2: bool) -> None:
    with FaultyServer(http2=http2) as server:
        server.on("/x", Never())
        link = H2(server) if http2 else connected(server)
        with contextlib.closing(link):
            link.sendall(request("/x")) if isinstance(link, socket.socket) else link.get("/x")
            server.wait_for(lambda server: server.in_flight == 1)
            assert (server.connections_open, server.peak_in_flight) == (1, 1)
        server.wait_for(lambda server: server.connections_open == 0)
        server.wait_for(lambda server: server.in_flight == 0)
        assert (server.connections_opened, server.peak_in_flight, server.count()) == (1, 1, 1)


def test_a_client_that_vanishes_in_its_upload_uses_up_no_behaviour(server: FaultyServer) -> None:
    server.on("/x", Answer(503), Answer(200))
    with connected(server) as link:
        link.sendall(b"POST /x HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc")
        server.wait_for(lambda server: server.connections_open == 1)
    server.wait_for(lambda server: server.connections_open == 0)
    assert (ask(server, "/x")[0], server.count()) == (503, 1)


def test_while_down_connecting_is_refused_and_afterwards_works_on_the_same_port(server: FaultyServer) -> None:
    port = server.port
    with connected(server) as link:
        server.wait_for(lambda server: server.connections_open == 1)
        server.go_down()
        assert until_closed(link)[0] == b""
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            connected(server)
    server.come_up()
    assert (ask(server, "/x")[0], server.port) == (200, port)


def test_a_claim_that_stays_false_times_out(server: FaultyServer) -> None:
    with pytest.raises(TimeoutError, match=str(server.port)):
        server.wait_for(lambda server: server.count() > 0, timeout=0.01)


class Broken(Behaviour):
    async def play(self, exchange: Exchange) -> None:
        raise LookupError("of the test's own")


@pytest.mark.parametrize("http2", [False, True])
def test_a_behaviour_that_raises_is_reported_at_the_end(http2: bool) -> None:
    with pytest.raises(ExceptionGroup) as caught, FaultyServer(http2=http2) as server:  # noqa: PT012
        server.on("/x", Broken())
        if http2:
            with contextlib.closing(H2(server)) as link:
                link.get("/x")
                link.drain()
        else:
            assert talk(server, request("/x")) == (b"", True)
        server.wait_for(lambda server: server.in_flight == 0)
    assert [type(error) for error in caught.value.exceptions] == [LookupError]


def test_a_failing_test_is_not_hidden_by_a_broken_behaviour() -> None:
    with pytest.raises(KeyError), FaultyServer() as server:  # noqa: PT012
        server.on("/x", Broken())
        talk(server, request("/x"))
        raise KeyError("the test's own")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no /dev/fd, where open descriptors are counted")
def test_nothing_stays_behind() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    threads, descriptors = threading.active_count(), len(os.listdir("/dev/fd"))
    for context in (None, tls):
        with FaultyServer(ssl_context=context) as server:
            server.on("/x", Never())
            with connected(server) as idle, connected(server) as busy:
                busy.sendall(request("/x") if context is None else b"\x16")
                server.wait_for(lambda server: server.connections_open == 2)
                if context is None:
                    server.wait_for(lambda server: server.in_flight == 1)
                server.__exit__(None, None, None)
                assert server.connections_open == server.in_flight == 0
                assert until_closed(idle)[0] == until_closed(busy)[0] == b""
                server.__enter__()
    gc.collect()  # a transport or socket left open warns now, and the suite makes that an error
    assert threading.active_count() <= threads  # one of an earlier test may have ended meanwhile
    assert len(os.listdir("/dev/fd")) <= descriptors


def test_a_server_that_is_not_running_says_so() -> None:
    server = FaultyServer()
    for use in (lambda: server.url, lambda: server.gate(), server.go_down):
        with pytest.raises(RuntimeError, match="not running"):
            use()
    with server, pytest.raises(RuntimeError, match="running already"):
        server.__enter__()


def test_without_h2_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "holdfast.testing.faulty.h2", raising=False)
    monkeypatch.setitem(sys.modules, "h2.config", None)
    with pytest.raises(ImportError, match="pip install h2"):
        FaultyServer(http2=True)


def test_the_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(server_module).failed == 0


@pytest.mark.anyio
async def test_it_serves_a_loop_that_is_blocked_and_waits_without_blocking() -> None:
    async with FaultyServer() as server:
        gate = server.gate()
        server.on("/x", Held(gate))
        with urllib.request.urlopen(server.url) as answer:  # noqa: ASYNC210 - blocking is what is tested
            assert answer.read() == b"GET /"
        async with httpx_client() as client, anyio.create_task_group() as tasks:
            tasks.start_soon(client.get, server.url + "/x")
            await server.await_for(lambda server: gate.waiting == 1)
            gate.open()
            await server.await_for(lambda server: server.in_flight == 0)
        with pytest.raises(TimeoutError):
            await server.await_for(lambda server: server.count() > 9, timeout=0.01)
        with anyio.move_on_after(0.01) as scope:
            await server.await_for(lambda server: server.count() > 9)
        assert scope.cancelled_caught


@pytest.mark.anyio
async def test_it_stops_when_its_test_is_cancelled() -> None:
    server = FaultyServer()
    with anyio.CancelScope() as scope:
        async with server:
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.port


# --- HTTP/1 behaviours, seen by a raw socket


def head(first: str, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {first}", *lines, "", ""]).encode("latin-1")


CHUNKED = head("200 OK", "transfer-encoding: chunked")
RAW_ROWS: list[tuple[Behaviour, bytes, bool]] = [
    (
        Answer(299, body=b"ab", reason="Fine", headers=[("x", "y"), (b"z", b"\xff")], keep_alive=False),
        head("299 Fine", "x: y", "z: \xff", "content-length: 2", "connection: close") + b"ab",
        False,
    ),
    (
        Answer(body=b"ab", chunked=True, trailers={"t": "v"}, keep_alive=False),
        head("200 OK", "transfer-encoding: chunked", "connection: close") + b"2\r\nab\r\n0\r\nt: v\r\n\r\n",
        False,
    ),
    (
        Answer(999, body=b"abc", headers={"content-length": "1"}, keep_alive=False),
        head("999 ", "content-length: 1", "connection: close") + b"abc",
        False,
    ),
    (Answer(204, body=b"no", keep_alive=False), head("204 No Content", "connection: close"), False),
    (Close(), b"", False),
    (Reset(), b"", True),
    (HalfBody(9, 3), head("200 OK", "content-length: 9") + b"xxx", False),
    (HalfBody(9, 0, chunked=True), CHUNKED, False),
    (HalfBody(9, 3, chunked=True), CHUNKED + b"3\r\nxxx\r\n", False),
    (HalfBody(9, 3, reset=True), head("200 OK", "content-length: 9") + b"xxx", True),
    (HalfHead(), b"HTTP/1.1 200 OK\r\ncontent-le", False),
    (HalfHead(b"HT", reset=True), b"HT", True),
    (Raw(b"not HTTP"), b"not HTTP", False),
    (Raw(b"<", repeat=b"ab", times=3, tail=b">"), b"<ababab>", False),
    (
        Interim((100, 103), Raw(_OK), headers={"link": "x"}),
        head("100 Continue", "link: x") + head("103 Early Hints", "link: x") + _OK,
        False,
    ),
    (InTurn(Raw(_OK, close=False), Pause(0.01), Raw(_OK)), _OK + _OK, False),
]


@pytest.mark.parametrize(("behaviour", "seen", "reset"), RAW_ROWS, ids=lambda value: str(value)[:40])
def test_each_behaviour_sends_what_it_says(
    server: FaultyServer, behaviour: Behaviour, seen: bytes, reset: bool
) -> None:
    server.on("/x", behaviour)
    with connected(server) as link:
        link.sendall(request("/x"))
        got = bytearray()
        while len(got) < len(seen):
            got += link.recv(1 << 16)
        assert got == seen
        assert until_closed(link) == (b"", reset)
    assert server.in_flight == 0


def test_an_upgrade_holds_the_connection_until_the_client_goes(server: FaultyServer) -> None:
    server.on("/x", Upgrade("websocket", data=b"hi", headers={"x": "y"}))
    wanted = head("101 Switching Protocols", "connection: upgrade", "upgrade: websocket", "x: y") + b"hi"
    with connected(server) as link:
        link.sendall(request("/x"))
        got = b""
        while len(got) < len(wanted):
            got += link.recv(1000)
        assert got == wanted
        assert (server.connections_open, server.in_flight) == (1, 0)
    server.wait_for(lambda server: server.connections_open == 0)


def test_head_gets_the_head_alone(server: FaultyServer) -> None:
    server.on("/x", Answer(body=b"abc"))
    assert ask(server, "/x", method="HEAD") == (200, {"content-length": "3"}, b"")


def test_an_old_client_gets_no_chunks(server: FaultyServer) -> None:
    server.on("/x", Stream(b"ab", times=2))
    assert talk(server, b"GET /x HTTP/1.0\r\n\r\n")[0] == b"HTTP/1.1 200 OK\r\n\r\nabab"


@pytest.mark.parametrize(("lines", "size"), [(200_000, 1_200_000), (3, 18)])
def test_a_head_of_many_lines_is_streamed(server: FaultyServer, lines: int, size: int) -> None:
    server.on("/x", Raw(b"HTTP/1.1 200 OK\r\n", repeat=b"a: b\r\n", times=lines, tail=b"\r\n"))
    assert len(talk(server, request("/x"))[0]) == size + 19


@pytest.mark.parametrize(
    "behaviour", [Stream(b"data: x"), Stream(b"x" * 99, every=1e-6), Raw(b"", repeat=b"x", times=None)]
)
def test_endless_ones_go_on_until_the_client_goes_and_leave_others_alone(
    server: FaultyServer, behaviour: Behaviour
) -> None:
    server.on("/x", behaviour)
    with connected(server) as link:
        link.sendall(request("/x"))
        left = 2_000_000 if not getattr(behaviour, "every", 0) else 2_000
        while left > 0:
            left -= len(link.recv(1 << 16))
        assert ask(server, "/other")[0] == 200
        assert server.in_flight == 1
    server.wait_for(lambda server: server.in_flight == 0)


@pytest.mark.parametrize("layers", [1, 3])
def test_a_bomb_unpacks_to_its_size(server: FaultyServer, layers: int) -> None:
    size = 3 * 1024 * 1024 + 5
    server.on("/x", Bomb(size, layers=layers))
    with urllib.request.urlopen(server.url + "/x") as answer:
        data = answer.read()
        assert answer.headers["content-encoding"] == ", ".join(["gzip"] * layers)
    assert len(data) < 20_000
    for _ in range(layers):
        data = gzip.decompress(data)
    assert (len(data), data.count(0)) == (size, size)


@pytest.mark.parametrize(("head", "shortest"), [(False, 0.04), (True, 0.3)])
def test_a_drip_takes_its_time(server: FaultyServer, head: bool, shortest: float) -> None:
    server.on("/x", Drip(b"abcde", every=0.01, head=head))
    before = time.monotonic()
    assert ask(server, "/x")[2] == b"abcde"
    assert shortest <= time.monotonic() - before < 20


def test_a_delay_is_kept(server: FaultyServer) -> None:
    server.on("/x", Answer(delay=0.05))
    before = time.monotonic()
    assert ask(server, "/x")[0] == 200
    assert 0.05 <= time.monotonic() - before < 20


def test_an_early_answer_comes_on_the_head_stops_reading_and_resets(server: FaultyServer) -> None:
    server.on("/x", EarlyAnswer(413, body=b"too much", reset_after=0.1))
    with connected(server) as link:
        link.sendall(b"POST /x HTTP/1.1\r\nContent-Length: 67108864\r\n\r\n")
        assert link.recv(1000).startswith(b"HTTP/1.1 413 ")
        sent = 0
        with pytest.raises(OSError):  # noqa: PT012 - a reset, or a broken pipe where it came earlier
            while True:
                sent += link.send(b"x" * 65536)
    assert sent < 64 * 1024 * 1024, "the server went on reading"
    assert [seen.body for seen in server.requests] == [b""]


def test_on_head_plays_any_behaviour_without_the_body(server: FaultyServer) -> None:
    server.on("/x", OnHead(Answer(401)))
    with connected(server) as link:
        link.sendall(b"POST /x HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
        assert until_closed(link)[0].startswith(b"HTTP/1.1 401 ")


def test_an_echo_tells_what_came(server: FaultyServer) -> None:
    server.on("/x", Echo(201))
    with connected(server) as link:
        link.sendall(request("/x?q", "X-A: \xe9", method="POST", body=b"\xc3\xa9\xff"))
        status, _, text = one_answer(link).partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 201 ")
    assert json.loads(text) == {
        "method": "POST",
        "target": "/x?q",
        "headers": [["Host", "x"], ["X-A", "\xe9"], ["Content-Length", "3"]],
        "body": "\xe9\\xff",
    }


# --- behaviours that hold, count and choose


def held(gate: Gate, count: int, _: FaultyServer) -> bool:
    return gate.waiting == count


def test_a_gate_holds_in_order_until_opened(server: FaultyServer) -> None:
    gate = server.gate()
    server.on("/x", Held(gate, Echo()))
    with contextlib.ExitStack() as stack:
        links = [stack.enter_context(connected(server)) for _ in range(4)]
        for number, link in enumerate(links):
            link.sendall(request(f"/x?{number}"))
            server.wait_for(partial(held, gate, number + 1))
        links[1].close()  # one that gives up leaves the queue
        server.wait_for(lambda _: gate.waiting == 3)
        gate.admit(2)
        for number in (0, 2):
            assert f"/x?{number}".encode() in one_answer(links[number])
        server.wait_for(lambda server: server.in_flight == 1)
        gate.open()
        assert b"/x?3" in one_answer(links[3])
        links[0].sendall(request("/x?4"))
        assert b"/x?4" in one_answer(links[0])
        gate.shut()
        links[0].sendall(request("/x?5"))
        server.wait_for(lambda _: gate.waiting == 1)
    server.wait_for(lambda _: gate.waiting == 0)
    server.__exit__(None, None, None)
    gate.open()  # harmless after the end
    server.__enter__()


def test_a_fragile_origin_takes_so_many_at_once(server: FaultyServer) -> None:
    gate = server.gate()
    server.on("/x", AtMost(2, then=Held(gate)))
    with connected(server) as one, connected(server) as two:
        for link in (one, two):
            link.sendall(request("/x"))
        server.wait_for(lambda _: gate.waiting == 2)
        assert ask(server, "/x")[0] == 503
        one.close()  # a place is free again when its client goes
        server.wait_for(lambda _: gate.waiting == 1)
        gate.open()
        assert one_answer(two).startswith(b"HTTP/1.1 200 ")
    assert [ask(server, "/x")[0] for _ in range(3)] == [200, 200, 200]
    assert server.peak_in_flight == 3


def test_a_quota_counts_each_key_apart_and_says_when_to_come_back(server: FaultyServer) -> None:
    server.on("/x", quota := Quota(2, 60.0, key="authorization", retry_after="86400"))
    server.on("/y", quota)
    server.on("/z", Quota(1, 30.5, retry_after=None), Answer(404))
    for who in ("a", "b"):
        answers = [ask(server, path, f"Authorization: {who}") for path in ("/x", "/y", "/x")]
        assert [status for status, _, _ in answers] == [200, 200, 429]
        assert answers[2][1]["retry-after"] == "86400"
    server.on("/z", Quota(1, 30.5, retry_after=None))
    assert [ask(server, "/z")[1].get("retry-after") for _ in range(2)] == [None, "31"]


def test_a_quota_passes_again_after_its_time(server: FaultyServer) -> None:
    server.on("/x", Quota(1, 0.2))
    server.on("/later", Answer(delay=0.21))
    assert [ask(server, path)[0] for path in ("/x", "/x", "/later", "/x")] == [200, 429, 200, 200]


def test_sometimes_is_its_share_and_its_seed(server: FaultyServer) -> None:
    server.on("/x", Sometimes(0.3, seed=7))
    server.on("/y", Sometimes(0.3, seed=7))
    drawn = [ask(server, "/x")[0] for _ in range(100)]
    assert 15 <= drawn.count(503) <= 45
    assert drawn[:20] == [ask(server, "/y")[0] for _ in range(20)]


def test_connections_can_be_treated_each_alike_or_one_after_another(server: FaultyServer) -> None:
    server.on("/each", EachConnection(Answer(201), Answer(202)))
    server.on("/by", ByConnection(Answer(201), Answer(202)))
    seen: list[bytes] = []
    for path in ("/each", "/by"):
        for _ in range(2):
            with connected(server) as link:
                for _ in range(2):
                    link.sendall(request(path))
                    seen.append(one_answer(link)[9:12])
    assert seen == [b"201", b"202", b"201", b"202", b"201", b"201", b"202", b"202"]


@pytest.mark.parametrize("kind", [InTurn, EachConnection, ByConnection])
def test_a_combination_of_nothing_is_refused(kind: Callable[[], Behaviour]) -> None:
    with pytest.raises(ValueError):
        kind()


@pytest.mark.parametrize(
    ("value", "method", "condition", "status"),
    [
        ('"1"', "GET", 'If-None-Match: "1"', 304),
        ('"1"', "GET", 'If-None-Match: "0", W/"1"', 304),
        ('W/"1"', "HEAD", 'If-None-Match: "1"', 304),
        ('"1"', "GET", "If-None-Match: *", 304),
        ('"1"', "GET", 'If-None-Match: "2"', 200),
        ("bare", "GET", "If-None-Match: bare", 304),
        (b'"\xe9\xff"', "GET", 'If-None-Match: "\xe9\xff"', 304),
        ('"1"', "PUT", 'If-None-Match: "1"', 412),
        ('"1"', "PUT", 'If-Match: "1"', 200),
        ('"1"', "PUT", 'If-Match: "2"', 412),
        ('W/"1"', "PUT", 'If-Match: W/"1"', 412),
        ('"1"', "GET", "X: y", 200),
    ],
)
def test_conditional_requests_are_judged_by_the_tag(
    server: FaultyServer, value: str | bytes, method: str, condition: str, status: int
) -> None:
    server.on("/x", ETag(value, b"body", max_age=5))
    got, headers, body = ask(server, "/x", condition, method=method)
    assert (got, body) == (status, b"body" if status == 200 else b"")
    if status != 412:
        tag = value.decode("latin-1") if isinstance(value, bytes) else value
        assert (headers["etag"], headers["cache-control"]) == (tag, "max-age=5")


# --- as HTTP clients see it


CLIENT_ROWS: list[tuple[Behaviour, int | str]] = [
    (Answer(200, body=b"x"), 200),
    (Answer.json({"a": 1}, status=201), 201),
    (Interim((100, 103), then=Answer(203)), 203),
    (EarlyAnswer(413), 413),
    (Close(), "RemoteProtocolError"),
    (Reset(), "ReadError"),
    (Never(), "ReadTimeout"),
    (HalfBody(9, 3), "RemoteProtocolError"),
    (HalfBody(9, 3, chunked=True), "RemoteProtocolError"),
    (HalfBody(9, 3, reset=True), "ReadError"),
    (HalfHead(), "RemoteProtocolError"),
    (Raw(b"not HTTP at all\r\n\r\n"), "RemoteProtocolError"),
    (Raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), "RemoteProtocolError"),
    (Raw(b"HTTP/1.1 200 OK\r\na: ", repeat=b"a" * 4096, times=2048, tail=b"\r\n\r\n"), "RemoteProtocolError"),
]


@families
@pytest.mark.anyio
@pytest.mark.parametrize(("behaviour", "outcome"), CLIENT_ROWS, ids=lambda value: str(value)[:40])
async def test_a_client_meets_the_fault_and_works_on(
    make: Callable[[], Client], server: FaultyServer, behaviour: Behaviour, outcome: int | str
) -> None:
    server.on("/x", behaviour)
    async with make() as client:
        # A stall is not to pass for a connection that takes too long.
        read = 0.1 if isinstance(behaviour, Never) else 30.0
        extensions = {"timeout": httpx.Timeout(30.0, read=read).as_dict()}
        try:
            got: int | str = (await client.post(server.url + "/x", content=b"abc", extensions=extensions)).status_code
        except (httpx.HTTPError, httpx2.HTTPError) as error:
            got = type(error).__name__
        assert got == outcome
        assert (await client.get(server.url + "/other")).text == "GET /other"
    await server.await_for(lambda server: server.in_flight == server.connections_open == 0)


@families
@pytest.mark.anyio
async def test_a_kept_connection_that_drops_its_second_request(
    make: Callable[[], Client], server: FaultyServer
) -> None:
    server.default(EachConnection(Answer(), Reset()))
    async with make() as client:
        assert (await client.get(server.url)).status_code == 200
        with pytest.raises((httpx.ReadError, httpx2.ReadError)):
            await client.get(server.url)
        assert (await client.get(server.url)).status_code == 200
    assert [seen.connection for seen in server.requests] == [1, 1, 2]


@families
@pytest.mark.anyio
async def test_two_servers_of_one_run_keep_their_counts_apart(make: Callable[[], Client]) -> None:
    async with FaultyServer() as one, FaultyServer(host="localhost") as two, make() as client:
        async with anyio.create_task_group() as tasks:
            for server in (one, two, two):
                tasks.start_soon(client.get, server.url)
        assert (one.count(), two.count()) == (1, 2)


# --- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_contexts(authority: trustme.CA, *protocols: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    authority.configure_trust(theirs)
    if protocols:
        ours.set_alpn_protocols(list(protocols))
    return ours, theirs


@pytest.mark.anyio
@pytest.mark.parametrize(("protocols", "version"), [((), "HTTP/1.1"), (("h2", "http/1.1"), "HTTP/2")])
async def test_tls_speaks_what_the_handshake_chose(
    authority: trustme.CA, protocols: tuple[str, ...], version: str
) -> None:
    ours, theirs = tls_contexts(authority, *protocols)
    async with FaultyServer(ssl_context=ours, http2=True) as server:
        server.on("/reset", Reset())
        async with httpx2.AsyncClient(verify=theirs, trust_env=False, http2=True) as client:
            answer = await client.get(server.url + "/x")
            assert (answer.http_version, answer.text) == (version, "GET /x")
            with pytest.raises(httpx2.ReadError):
                await client.get(server.url + "/reset")
        assert server.url.startswith("https://127.0.0.1:")


@families
@pytest.mark.anyio
async def test_a_refused_certificate_is_a_connection_and_no_request(
    make: Callable[[], Client], authority: trustme.CA
) -> None:
    async with FaultyServer(ssl_context=tls_contexts(authority)[0]) as server, make() as client:
        for _ in range(2):
            with pytest.raises((httpx.ConnectError, httpx2.ConnectError)):
                await client.get(server.url, headers={"authorization": "secret"})
        await server.await_for(lambda server: server.connections_open == 0)
        assert (server.connections_opened, server.requests) == (2, [])


@families
@pytest.mark.anyio
async def test_tls_to_a_plain_port_ends_at_once(make: Callable[[], Client], server: FaultyServer) -> None:
    async with make() as client:
        with pytest.raises((httpx.ConnectError, httpx2.ConnectError)):
            await client.get(server.url.replace("http:", "https:"))
    assert server.requests == []


# --- HTTP/2


def frames(link: socket.socket) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of each frame until the end, which no library has judged."""
    with link.makefile("rb") as stream:
        while head := stream.read(9):
            size, kind, flags, number = struct.unpack(">IBBI", b"\0" + head)
            yield kind, flags, number, stream.read(size)


class H2:
    """A blocking HTTP/2 client that keeps every event."""

    def __init__(self, server: FaultyServer) -> None:
        self.link = connected(server)
        self.state = h2.connection.H2Connection()
        self.state.initiate_connection()
        self.events: list[h2.events.Event] = []
        self.closed = False
        self.flush()

    def flush(self) -> None:
        self.link.sendall(self.state.data_to_send())

    def get(self, path: str, *, method: str = "GET", end: bool = True) -> int:
        stream = self.state.get_next_available_stream_id()
        head = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "x")]
        self.state.send_headers(stream, head, end_stream=end)
        self.flush()
        return stream

    def read(self) -> None:
        try:
            data = self.link.recv(1 << 16)
            self.events += self.state.receive_data(data)
            self.flush()
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        self.closed = not data

    def until(self, kind: type[h2.events.Event], count: int = 1) -> None:
        while sum(isinstance(event, kind) for event in self.events) < count:
            self.read()
            assert not self.closed, self.events

    def drain(self) -> None:
        while not self.closed:
            self.read()

    def ended(self) -> list[int | None]:
        return [event.stream_id for event in self.events if isinstance(event, h2.events.StreamEnded)]

    def bodies(self) -> bytes:
        return b"".join(event.data or b"" for event in self.events if isinstance(event, h2.events.DataReceived))

    def close(self) -> None:
        self.link.close()


@pytest.fixture
def server2() -> Iterator[FaultyServer]:
    with FaultyServer(http2=True) as server:
        yield server


@families
@pytest.mark.anyio
async def test_http2_by_prior_knowledge(make: Callable[..., Client], server2: FaultyServer) -> None:
    server2.on("/echo", Echo())
    server2.on("/big", Stream(b"x" * 1000, times=300))
    server2.on("/drip", Drip(b"abc", every=0.01))
    server2.on("/quota", Quota(1, 60.0))
    server2.on("/half", HalfBody(9, 3))
    async with make(http2=True) as client:
        assert (await client.get(server2.url + "/x")).text == "GET /x"
        echo = (await client.post(server2.url + "/echo", content=b"a" * 200_000)).json()
        assert (echo["method"], echo["body"], echo["headers"][0][0]) == ("POST", "a" * 200_000, "host")
        assert len((await client.get(server2.url + "/big")).content) == 300_000
        assert (await client.get(server2.url + "/drip")).text == "abc"
        assert [(await client.get(server2.url + "/quota")).status_code for _ in range(2)] == [200, 429]
        assert server2.connections_opened == 1
        with pytest.raises((httpx.RemoteProtocolError, httpx2.RemoteProtocolError)):
            await client.get(server2.url + "/half")
    async with make() as client:
        assert (await client.get(server2.url + "/x")).http_version == "HTTP/1.1"


def test_http2_carries_interim_answers_trailers_and_heads(server2: FaultyServer) -> None:
    server2.on("/x", Interim((103,), Answer(body=b"ab", headers={"X-Up": "1"}, trailers={"t": "v"}, delay=0.001)))
    with contextlib.closing(H2(server2)) as link:
        link.get("/x")
        link.until(h2.events.StreamEnded)
        link.get("/x", method="HEAD")
        link.until(h2.events.StreamEnded, 2)
        kinds = [type(event).__name__ for event in link.events]
        assert kinds.count("InformationalResponseReceived") == kinds.count("TrailersReceived") == 2
        assert link.bodies() == b"ab"
    assert server2.in_flight == 0


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("behaviour", "answered", "last"),
    [
        (GoAway(), [], 0),
        (GoAway(5, after=50), [1, 3, 5], 5),
        (GoAway(99, after=50, answer_up_to=3), [1, 3], 99),
        (GoAway(99, after=50, code=11), list(range(1, 101, 2)), 99),
    ],
)
def test_goaway_answers_up_to_its_stream_and_the_next_connection_works(
    server2: FaultyServer, behaviour: GoAway, answered: list[int], last: int, late: bool
) -> None:
    server2.on("/x", ByConnection(replace(behaviour, late=late), Answer()))
    with contextlib.closing(H2(server2)) as link:
        for _ in range(behaviour.after):
            link.get("/x")
        seen = list(frames(link.link))
        goaway = [at for at, (kind, _, _, _) in enumerate(seen) if kind == 7]
        ended = [at for at, (kind, flags, _, _) in enumerate(seen) if kind in (0, 1) and flags & 1]
        assert [seen[at][3] for at in goaway] == [struct.pack(">II", last, behaviour.code)]
        assert sorted(seen[at][2] for at in ended) == answered
        assert all((at < goaway[0]) == late for at in ended)
    server2.wait_for(lambda server: server.in_flight == 0)
    with contextlib.closing(H2(server2)) as link:
        link.get("/x")
        link.until(h2.events.StreamEnded)


@pytest.mark.parametrize(("code", "sent"), [(7, b""), (8, b""), (8, b"part")])
def test_a_stream_reset_carries_its_code_and_spares_the_connection(
    server2: FaultyServer, code: int, sent: bytes
) -> None:
    server2.on("/x", StreamReset(code, sent=sent), Answer())
    with contextlib.closing(H2(server2)) as link:
        link.get("/x")
        link.until(h2.events.StreamReset)
        (reset,) = [event for event in link.events if isinstance(event, h2.events.StreamReset)]
        assert (reset.error_code, link.bodies()) == (code, sent)
        link.get("/x")
        link.until(h2.events.StreamEnded)
    assert server2.connections_opened == 1


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(("settings", "values"), [
    (Settings(initial_window=0), (0, 100)),
    (Settings(max_streams=0), (65535, 0)),
])  # fmt: skip
def test_settings_close_the_window_or_the_door(settings: Settings, values: tuple[int, int], at_once: bool) -> None:
    with FaultyServer(http2=settings if at_once else True) as server, contextlib.closing(H2(server)) as link:
        server.on("/x", settings)
        if not at_once:
            link.get("/x", method="POST", end=False)
            link.until(h2.events.ResponseReceived)
        link.until(h2.events.RemoteSettingsChanged, 2)
        theirs = link.state.remote_settings
        assert (theirs.initial_window_size, theirs.max_concurrent_streams) == values


def test_a_window_closed_from_the_start_takes_no_upload() -> None:
    with FaultyServer(http2=Settings(initial_window=0)) as server, contextlib.closing(H2(server)) as link:
        link.until(h2.events.RemoteSettingsChanged, 2)
        stream = link.get("/x", method="POST", end=False)
        assert link.state.local_flow_control_window(stream) == 0
        link.get("/other")
        link.until(h2.events.StreamEnded)
        assert [seen.path for seen in server.requests] == ["/other"]


@pytest.mark.parametrize(
    ("behaviour", "length"), [(ContinuationFlood(100_000), 100_000), (ContinuationFlood(7, size=300), 7)]
)
def test_a_flood_is_as_long_as_it_says(server2: FaultyServer, behaviour: Behaviour, length: int) -> None:
    server2.on("/x", behaviour)
    with contextlib.closing(H2(server2)) as link:
        link.get("/x")
        kinds: dict[int, int] = {}
        for kind, flags, _, payload in frames(link.link):
            kinds[kind] = kinds.get(kind, 0) + 1
            assert kind not in (1, 9) or (flags & 4 == 0 and len(payload) <= 300)
            if kinds.get(9) == length:
                break
        assert (kinds[1], kinds[9]) == (1, length)


@pytest.mark.parametrize("behaviour", [ContinuationFlood(), HpackBomb()])
def test_an_http2_client_refuses_floods_and_bombs(server2: FaultyServer, behaviour: Behaviour) -> None:
    server2.on("/x", behaviour)
    with contextlib.closing(H2(server2)) as link:
        link.get("/x")
        with pytest.raises(h2.exceptions.ProtocolError):
            link.drain()
    server2.wait_for(lambda server: server.in_flight == 0)


def test_a_bomb_has_to_fit_its_frame() -> None:
    with pytest.raises(ValueError):
        HpackBomb(20_000)


def test_a_cancelled_stream_is_not_in_flight_while_its_connection_goes_on(server2: FaultyServer) -> None:
    server2.on("/x", Never())
    with contextlib.closing(H2(server2)) as link:
        stream = link.get("/x")
        server2.wait_for(lambda server: server.in_flight == 1)
        link.state.reset_stream(stream, 8)
        link.flush()
        server2.wait_for(lambda server: server.in_flight == 0)
        link.get("/other")
        link.until(h2.events.StreamEnded)
        assert (link.bodies(), server2.connections_open) == (b"GET /other", 1)


def test_http2_behaviours_on_http1_say_what_is_missing(server: FaultyServer) -> None:
    server.on("/x", StreamReset())
    assert talk(server, request("/x")) == (b"", True)
    with pytest.raises(ExceptionGroup) as caught:
        server.__exit__(None, None, None)
    assert isinstance(caught.value.exceptions[0], TypeError)
    server.__enter__()
