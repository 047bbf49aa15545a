"""Network faults (N01 to N25) over real sockets: the call ends in time, by name, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import datetime
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import anyio
import pytest
import trustme

import holdfast
from holdfast.testing.faulty import (
    Answer,
    Behaviour,
    Close,
    ContinuationFlood,
    Drip,
    EachConnection,
    EarlyAnswer,
    FaultyServer,
    GoAway,
    HalfBody,
    HalfHead,
    HpackBomb,
    Interim,
    Never,
    Reset,
    Settings,
    StreamReset,
)
from tests.faults.wire import (
    HALF_READ,
    HTTP2,
    STALL,
    memory,
    named,
    outcome,
    retry,
    server_context,
    stopwatch,
    surviving,
    trusting,
)
from tests.support import FamilyModules

pytestmark = [pytest.mark.anyio, HALF_READ]
MIB = 1024 * 1024
LARGE = 300 * 1024  # more than is read inside the attempt
JSON = (("content-type", "application/json"),)


@pytest.fixture
def server2() -> Iterator[FaultyServer]:
    with FaultyServer(http2=True) as server:
        yield server


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def row(name: str, *values: Any) -> Any:
    return pytest.param(*values, id=name)


@dataclass(frozen=True, slots=True)
class Case:
    """What a client sends to ``/fault``, what it meets there in turn, and what must come of it."""

    meets: tuple[Behaviour, ...]
    ends: int | str  # a status, or the name of an exception
    requests: int
    _: KW_ONLY
    method: str = "GET"
    body: bytes = b""  # of the answer
    settings: dict[str, Any] = field(default_factory=dict)

    async def play(self, family: FamilyModules, server: FaultyServer, **transport: Any) -> None:
        server.on("/fault", *self.meets)
        async with surviving(family, server, transport=transport, **self.settings) as http:
            got = await outcome(http, self.method, f"{server.url}/fault")
            if isinstance(self.ends, str):
                assert type(got) is named(family, self.ends), repr(got)
                assert isinstance(got, family.http.HTTPError)
                # A connection that broke is dropped now, and not when the client is closed.
                await server.await_for(lambda server: server.connections_open == 0)
            else:
                assert not isinstance(got, Exception), repr(got)
                assert (got.status_code, got.content) == (self.ends, self.body)
            assert server.count("/fault") == self.requests


WHOLE = Answer(body=b"whole")
ONCE = {"retry": None}


@pytest.mark.parametrize(
    "case",
    [
        row("N04-close-before-headers", Case((Close(),), "RemoteProtocolError", 3)),
        row("N04-close-before-headers-POST", Case((Close(),), "RemoteProtocolError", 1, method="POST")),
        row("N04-reset-before-headers", Case((Reset(),), "ReadError", 3)),
        row("N04-close-then-answer", Case((Close(), WHOLE), 200, 2, body=b"whole")),
        row("N05-short-body", Case((HalfBody(100, 40),), "RemoteProtocolError", 3)),
        row("N05-short-large-body", Case((HalfBody(LARGE, 40),), "RemoteProtocolError", 1)),
        row("N05-cut-chunks", Case((HalfBody(100, 40, chunked=True),), "RemoteProtocolError", 1)),
        row(
            "N05-cut-chunks-json",
            Case((HalfBody(100, 40, chunked=True, headers=JSON),), "RemoteProtocolError", 3),
        ),
        row("N05-reset-in-body", Case((HalfBody(100, 40, reset=True),), "ReadError", 3)),
        row("N05-reset-in-large-body", Case((HalfBody(LARGE, 40, reset=True),), "ReadError", 1)),
        row("N05-half-head", Case((HalfHead(),), "RemoteProtocolError", 3)),
        row("N05-half-head-reset", Case((HalfHead(reset=True),), "ReadError", 3)),
        row("N05-empty-body-of-announced", Case((HalfBody(100, 0),), "RemoteProtocolError", 3)),
        row("N06-cut-once", Case((HalfBody(5, 2), WHOLE), 200, 2, body=b"whole")),
        row(
            "N06-cut-once-chunked",
            Case((HalfBody(5, 2, chunked=True, headers=JSON), WHOLE), 200, 2, body=b"whole"),
        ),
        row("N06-cut-once-reset", Case((HalfBody(5, 2, reset=True), WHOLE), 200, 2, body=b"whole")),
        row(
            "N06-cut-once-large-asked-for",
            Case((HalfBody(LARGE, 2), WHOLE), 200, 2, body=b"whole", settings={"buffer_body": True}),
        ),
        row("N06-cut-once-POST", Case((HalfBody(5, 2), WHOLE), "RemoteProtocolError", 1, method="POST")),
        row("N16-100-and-103", Case((Interim((100, 103), WHOLE),), 200, 1, body=b"whole")),
        row("N16-many-103", Case((Interim((103,) * 50, WHOLE),), 200, 1, body=b"whole")),
    ],
)
async def test_a_broken_answer_is_sent_again_or_named(case: Case, family: FamilyModules, server: FaultyServer) -> None:
    await case.play(family, server)


@pytest.mark.parametrize(
    "case",
    [row("N06-streamed", HalfBody(LARGE, 2)), row("N06-streamed-chunks", HalfBody(9, 2, chunked=True))],
)
async def test_a_cut_stream_raises_and_never_starts_again(
    case: Behaviour, family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/fault", case, WHOLE)
    async with surviving(family, server) as http:
        async with http.stream("GET", f"{server.url}/fault") as response:
            chunks = response.aiter_bytes()
            assert await anext(chunks) == b"xx"
            with pytest.raises(family.http.RemoteProtocolError):
                await anext(chunks)
        assert server.count("/fault") == 1


@pytest.mark.parametrize("attempts", [row("N01-refused", 2)])
async def test_a_refused_connection_is_named_within_its_time(
    attempts: int, family: FamilyModules, server: FaultyServer
) -> None:
    async with surviving(family, server, retry=holdfast.Retry(attempts=attempts)) as http:
        server.go_down()
        with stopwatch() as measured, pytest.raises(family.http.ConnectError) as caught:
            await http.post(f"{server.url}/fault")
        assert measured.seconds < 1.5 + STALL
        assert len(holdfast.history(caught.value).attempts) == attempts
        server.come_up()


@pytest.mark.parametrize(
    ("drip", "settings"),
    [
        row("N10-slow-head", Drip(b"late", every=1.0, head=True), {}),
        row("N10-slow-body", Drip(bytes(200), every=0.2), {}),
        row("N10-slow-chunks", Drip(bytes(200), every=0.2, headers=(("transfer-encoding", "chunked"),)), {}),
        row("N10-slow-download", Drip(bytes(LARGE)), {"deadline_covers_body": True}),
    ],
)
async def test_the_deadline_holds_against_a_server_that_drips(
    drip: Drip, settings: dict[str, Any], family: FamilyModules, server: FaultyServer
) -> None:
    deadline, grace = 0.8, family.holdfast.FAMILY.grace
    server.on("/fault", drip)
    async with surviving(family, server, **settings) as http:
        with stopwatch() as measured, pytest.raises(holdfast.DeadlineExceeded):
            await http.get(f"{server.url}/fault", extensions={"holdfast": {"deadline": deadline}})
        assert deadline - 0.01 <= measured.seconds < deadline + grace + 0.3 + STALL
        await server.await_for(lambda server: server.connections_open == 0)


@pytest.mark.parametrize("method", [row("N12-never", "GET"), row("N12-never-POST", "POST")])
async def test_a_silent_server_costs_no_more_than_all_attempts(
    method: str, family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/fault", Never())
    async with surviving(family, server, retry=retry(2), deadline=None, attempt_timeout=60.0) as http:
        await http.get(server.url)  # on a connection that is there, no stall makes it a timeout of connecting
        within = {"holdfast": {"attempt_timeout": 0.8}}
        with stopwatch() as measured, pytest.raises(family.http.TimeoutException) as caught:
            await http.request(method, f"{server.url}/fault", extensions=within)
        sent = 2 if method == "GET" else 1
        assert len(holdfast.history(caught.value).attempts) == sent
        assert measured.seconds < sent * (0.8 + family.holdfast.FAMILY.grace) + 0.3 + STALL


YESTERDAY = datetime.datetime.now(tz=datetime.UTC) - datetime.timedelta(days=1)


@pytest.mark.parametrize(
    "fault",
    [row("N13-untrusted", "untrusted"), row("N13-wrong-host", "wrong host"), row("N13-expired", "expired")],
)
async def test_a_bad_certificate_ends_the_call_before_anything_is_sent(
    fault: str, family: FamilyModules, authority: trustme.CA
) -> None:
    issuer = trustme.CA() if fault == "untrusted" else authority
    host = "elsewhere.test" if fault == "wrong host" else "127.0.0.1"
    certificate = issuer.issue_cert(host, not_after=YESTERDAY if fault == "expired" else None)
    with (
        FaultyServer(ssl_context=server_context(certificate)) as bad,
        FaultyServer(ssl_context=server_context(authority.issue_cert("127.0.0.1"))) as good,
    ):
        async with surviving(family, bad, good, transport={"verify": trusting(authority)}) as http:
            with pytest.raises(family.http.ConnectError):
                await http.get(f"{bad.url}/fault", headers={"authorization": "Bearer secret"})
            assert (bad.connections_opened, bad.count()) == (1, 0)


@pytest.mark.parametrize(
    ("client_tls", "error"),
    [
        row("N14-tls-to-a-plain-port", True, "ConnectError"),
        row("N14-plain-to-a-tls-port", False, "RemoteProtocolError"),
    ],
)
async def test_tls_on_one_side_alone_is_named(
    client_tls: bool, error: str, family: FamilyModules, server: FaultyServer, authority: trustme.CA
) -> None:
    with FaultyServer(ssl_context=server_context(authority.issue_cert("127.0.0.1"))) as secure:
        port, scheme = (server.port, "https") if client_tls else (secure.port, "http")
        async with surviving(family, secure, server, deadline=60.0, attempt_timeout=50.0) as http:
            with stopwatch() as measured, pytest.raises(family.http.TransportError) as caught:
                await http.get(f"{scheme}://127.0.0.1:{port}/fault")
            assert type(caught.value) is named(family, error)
            assert measured.seconds < 1.0 + STALL
            assert (secure.count(), server.count("/fault")) == (0, 0)


@pytest.mark.parametrize(
    ("method", "fault", "sent"),
    [
        row("N15-reset", "GET", Reset(), 3),
        row("N15-close", "GET", Close(), 3),
        row("N15-PUT", "PUT", Reset(), 3),
        row("N15-reset-POST", "POST", Reset(), 2),
        row("N15-close-POST", "POST", Close(), 2),
    ],
)
async def test_a_kept_connection_that_broke_is_replaced_where_that_is_safe(
    method: str, fault: Behaviour, sent: int, family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/fault", EachConnection(WHOLE, fault))
    async with surviving(family, server) as http:
        assert (await http.request(method, f"{server.url}/fault")).text == "whole"
        got = await outcome(http, method, f"{server.url}/fault")
        assert server.count("/fault") == sent
        if method == "POST":
            assert isinstance(got, (family.http.ReadError, family.http.RemoteProtocolError)), repr(got)
        else:
            assert (got.text, server.connections_opened) == ("whole", 2)


async def upload(size: int, sent: list[int]) -> AsyncIterator[bytes]:
    chunk = bytes(64 * 1024)
    for _ in range(size // len(chunk)):
        sent.append(len(chunk))
        yield chunk


@pytest.mark.parametrize("reset_after", [row("N17-413-during-an-upload", 0.1)])
async def test_an_upload_that_was_refused_stops_and_is_named(
    reset_after: float, family: FamilyModules, server: FaultyServer
) -> None:
    """Neither library looks for an answer while it sends: the 413 comes through where the reset left it readable."""
    server.on("/fault", EarlyAnswer(413, body=b"too large", reset_after=reset_after))
    sent: list[int] = []
    async with surviving(family, server, deadline=60.0, attempt_timeout=50.0) as http:
        with stopwatch() as measured:
            got = await outcome(http, "PUT", f"{server.url}/fault", content=upload(64 * MIB, sent))
        if isinstance(got, Exception):
            assert isinstance(got, (family.http.NetworkError, family.http.RemoteProtocolError)), repr(got)
        else:
            assert (got.status_code, got.text) == (413, "too large")
        assert sum(sent) < 64 * MIB
        assert server.count("/fault") == 1
        assert measured.seconds < 2.0 + STALL


@pytest.mark.parametrize("path", [row("N18-redirect-to-itself", "/fault")])
async def test_a_redirect_loop_ends_and_frees_its_connection(
    path: str, family: FamilyModules, server: FaultyServer
) -> None:
    server.on(path, Answer(302, headers={"location": path}, body=b"again"))
    async with surviving(family, server, client={"follow_redirects": True}) as http:
        with pytest.raises(family.http.TooManyRedirects):
            await http.get(server.url + path)
        assert server.count(path) <= 31
        assert server.connections_opened == 1


@pytest.mark.parametrize("dead", [row("N21-first-address-refuses", "refuses"), row("N21-first-address-hangs", "hangs")])
async def test_a_dead_first_address_costs_less_than_half_a_second(
    dead: str, family: FamilyModules, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo

    def two_addresses(host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
        if host not in ("two.test", b"two.test"):
            return list(look_up(host, port, *args, **options))
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port))) for address in ("127.0.0.2", "127.0.0.1")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)  # the one way to a name with two addresses
    with contextlib.ExitStack() as held:
        if dead == "hangs":
            held.enter_context(full_backlog("127.0.0.2", server.port))
        async with surviving(family, server, deadline=60.0, attempt_timeout=50.0) as http:
            with stopwatch() as measured:
                assert (await http.get(f"http://two.test:{server.port}/")).status_code == 200
            assert measured.seconds < 0.5 + STALL


@contextlib.contextmanager
def full_backlog(host: str, port: int) -> Iterator[None]:
    """A port whose queue is full, so that it answers no further attempt to connect."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        yield


@pytest.mark.parametrize(
    "case",
    [
        row("N19-goaway-0", Case((GoAway(), WHOLE), 200, 2, body=b"whole")),
        row("N19-goaway-0-POST", Case((GoAway(), WHOLE), 200, 2, body=b"whole", method="POST")),
        row("N22-refused", Case((StreamReset(7), WHOLE), 200, 2, body=b"whole")),
        row("N22-refused-POST", Case((StreamReset(7), WHOLE), 200, 2, body=b"whole", method="POST")),
        row("N22-cancel", Case((StreamReset(8), WHOLE), 200, 2, body=b"whole")),
        row("N22-cancel-POST", Case((StreamReset(8), WHOLE), "RemoteProtocolError", 1, method="POST")),
    ],
)
async def test_http2_faults_are_sent_again_or_named(case: Case, family: FamilyModules, server2: FaultyServer) -> None:
    await case.play(family, server2, **HTTP2)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # what h2 makes of its bytes is the same on every loop
@pytest.mark.parametrize(
    "case",
    [
        # httpcore calls all that h2 raises local, also where the peer broke the protocol.
        row("N25-continuation-flood", Case((ContinuationFlood(),), "LocalProtocolError", 1, settings=ONCE)),
        row(
            "N25-continuation-flood-with-headers",
            Case((ContinuationFlood(size=16000),), "LocalProtocolError", 1, settings=ONCE),
        ),
        row("N25-hpack-bomb", Case((HpackBomb(),), "LocalProtocolError", 1, settings=ONCE)),
        row("N25-hpack-bomb-once", Case((HpackBomb(), WHOLE), 200, 2, body=b"whole")),
        row("N25-hpack-bomb-POST", Case((HpackBomb(), WHOLE), "LocalProtocolError", 1, method="POST")),
    ],
)
async def test_a_flood_of_http2_headers_is_named_and_never_held(
    case: Case, family: FamilyModules, server2: FaultyServer
) -> None:
    with memory() as measured:
        await case.play(family, server2, **HTTP2)
    assert measured.peak < 16 * MIB


@pytest.mark.parametrize(
    ("method", "late"),
    [
        row("N23-goaway-after-the-answers", "GET", True),
        row("N23-goaway-after-the-answers-POST", "POST", True),
        row("N23-goaway-before-the-answers", "GET", False),
        row("N23-goaway-before-the-answers-POST", "POST", False),
    ],
)
async def test_streams_above_a_goaway_are_sent_again(
    method: str, late: bool, family: FamilyModules, server2: FaultyServer
) -> None:
    """Where GOAWAY comes first, the h2 package takes no more answers: those requests fail, and go again where safe."""
    processed = 25
    server2.on("/fault", *[GoAway(2 * processed + 1, after=50, late=late, then=WHOLE)] * 50, WHOLE)
    outcomes: list[Any] = []
    unlimited: dict[str, Any] = {"concurrency": None, "breaker": None, "budget": None}
    async with surviving(family, server2, transport=HTTP2, **unlimited) as http:

        async def call(number: int) -> None:
            outcomes.append(await outcome(http, method, f"{server2.url}/fault?{number}"))

        assert (await http.get(f"{server2.url}/first")).status_code == 200  # stream 1, and the server's settings
        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(call, number)
        sent = Counter(request.target for request in server2.requests if request.path == "/fault")
        first = [request.target for request in server2.requests if request.path == "/fault"][:processed]
    failed = [end for end in outcomes if isinstance(end, Exception)]
    assert all(end.text == "whole" for end in outcomes if end not in failed)
    assert max(sent.values()) <= 2
    if method == "GET":
        assert failed == []
    else:
        assert all(isinstance(end, family.http.TransportError) for end in failed)
        assert all(sent[target] == 1 for target in first)
    if late and family.name == "httpx2":  # httpx 0.28.1 loses some of the answers that came before
        assert (sent.total(), failed) == (75, [])


@pytest.mark.parametrize(
    ("settings", "errors", "left"),
    [
        row("N24-window-0", Settings(initial_window=0), ("ReadTimeout", "WriteTimeout", "DeadlineExceeded"), 0),
        # Nothing was sent, so nothing has to be reset; httpcore says so at once, by the name that it has for it.
        row("N24-no-streams", Settings(max_streams=0), ("LocalProtocolError",), 1),
    ],
)
async def test_an_http2_server_that_lets_nothing_through_meets_the_deadline(
    settings: Settings, errors: tuple[str, ...], left: int, family: FamilyModules, server2: FaultyServer
) -> None:
    grace = family.holdfast.FAMILY.grace
    with FaultyServer(http2=settings) as closed:
        async with surviving(family, closed, server2, transport=HTTP2) as http:
            assert (await http.get(f"{closed.url}/first")).status_code == 200  # brings its settings
            within = {"holdfast": {"deadline": 1.2}}
            with stopwatch() as measured, pytest.raises(family.http.TransportError) as caught:
                await http.post(f"{closed.url}/fault", content=b"stuck", extensions=within)
            assert type(caught.value) in [named(family, error) for error in errors]
            assert measured.seconds < 1.2 + grace + 0.3 + STALL
            await closed.await_for(lambda server: server.connections_open == left)
