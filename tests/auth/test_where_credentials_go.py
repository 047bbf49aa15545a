"""Every kind of credential over real sockets, led astray in every way: what reached each far side, byte for byte.

One home, and four places that are none: another host, a host below it, and both in clear. Each keeps what came.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import pytest
import trustme

from holdfast import Pipeline
from holdfast.auth import Bearer, InsecureOrigin
from holdfast.client import Service, by_link
from holdfast.errors import ForeignOrigin, InvalidInput, Unsupported
from holdfast.testing import VirtualClock
from holdfast.testing.faulty import Answer, Close, FaultyServer, Received
from tests.auth.kinds import KINDS, SPELLINGS, Make, seen_by_a_tracker, traces
from tests.faults.wire import server_context, trusting
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

PROOF = re.compile(rf"{'|'.join(SPELLINGS)}|signature|hmac-sha256|eyJ[\w-]+\.", re.IGNORECASE)
"""The secret in any spelling, or what was made with it: a signature, a JSON Web Token."""

CLEAR = ("clear", "astray")


class World:
    """The far sides by name, and their addresses."""

    def __init__(self, servers: Mapping[str, FaultyServer], trust: ssl.SSLContext) -> None:
        hosts = {"home": "api.test", "away": "other.test", "below": "sub.api.test"}
        hosts |= {"clear": "api.test", "astray": "other.test"}  # without TLS
        self.servers = servers
        self.trust = trust
        self.url = {
            name: f"{'http' if name in CLEAR else 'https'}://{hosts[name]}:{server.port}"
            for name, server in servers.items()
        }

    def seen(self, name: str) -> list[str]:
        """All that came to one of them, as text."""
        return [
            f"{request.method} {request.target} {request.headers!r} {request.body!r}"
            for request in self.servers[name].requests
        ]


@pytest.fixture(scope="module")
def far_sides() -> Iterator[World]:
    authority = trustme.CA()
    secure = server_context(authority.issue_cert("api.test", "sub.api.test", "other.test"))
    servers = {name: FaultyServer(ssl_context=secure) for name in ("home", "away", "below")}
    servers |= {name: FaultyServer() for name in CLEAR}
    for server in servers.values():
        server.__enter__()
        server.default(Answer.json([1]))
    world = World(servers, trusting(authority))
    for name, url in world.url.items():
        # As servers do, they copy the query into where they lead, and with it a key.
        servers["home"].on(f"/to/{name}", _leading(f"{url}/there", redirect=True))
        servers["home"].on(f"/list/{name}", _leading(f"{url}/there", redirect=False))
    servers["home"].on("/down", Close())
    yield world
    for server in servers.values():
        server.__exit__(None, None, None)


def _leading(url: str, *, redirect: bool) -> Callable[[Received], Answer]:
    def answer(request: Received) -> Answer:
        there = f"{url}?{request.target.partition('?')[2]}"
        if redirect:
            return Answer(302, headers=((b"location", there.encode()),))
        return Answer.json([1], headers=((b"link", f'<{there}>; rel="next"'.encode()),))

    return answer


@pytest.fixture
def world(far_sides: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Every name of ``.test`` is this machine."""
    resolve = socket.getaddrinfo

    def here(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return resolve("127.0.0.1" if str(name).endswith(".test") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    for server in far_sides.servers.values():
        server.reset_counts()
    return far_sides


def way(path: str, *, to: str, ends: type[Exception] | None = None) -> Any:
    """A call to ``path`` of home, or of ``to`` itself, that leads to ``to`` if nothing ends it before."""
    return path, to, ends


PLAIN = [
    way("{home}/to/away?page=2", to="away"),
    way("{home}/to/below", to="below"),
    way("{home}/to/clear", to="clear", ends=InsecureOrigin),
    way("{home}/to/astray", to="astray"),
    way("{away}/there", to="away"),
    way("{below}/there", to="below"),
    way("{clear}/there", to="clear", ends=InsecureOrigin),
]
"""Ways of a client that follows redirects, with the credential as a hook."""

SERVED = [
    way("{home}/to/away?page=2", to="away"),
    way("{home}/to/below", to="below", ends=ForeignOrigin),
    way("{home}/to/clear", to="clear", ends=ForeignOrigin),
    way("{away}/there", to="away"),
    way("{below}/there", to="below", ends=ForeignOrigin),
    way("{clear}/there", to="clear", ends=ForeignOrigin),
    way("{home}/list/away?page=2", to="away"),
    way("{home}/list/below", to="below", ends=ForeignOrigin),
    way("{home}/list/clear", to="clear", ends=ForeignOrigin),
]
"""Ways of a service that allows one other origin; the links of its pages are among them."""


async def lead_astray(world: World, ways: list[Any], go: Callable[[str], Awaitable[object]], caught: Any) -> None:
    """Go all the ways: each time what arrived elsewhere is without the secret, and what is refused has not arrived."""
    for path, to, ends in ways:
        for server in world.servers.values():
            server.reset_counts()
        url = path.format(**world.url)
        if ends is None:
            await go(url)
            assert len(world.seen(to)) == 1, path
        else:
            with pytest.raises(ends) as refused:
                await go(url)
            assert isinstance(refused.value, caught) or not path.startswith("{home}"), path
            assert world.seen(to) == [], path
        assert [text for name in world.url if name != "home" for text in world.seen(name) if PROOF.search(text)] == []
        if path.startswith("{home}"):
            assert all(PROOF.search(text) for text in world.seen("home")), path
            assert world.seen("home"), path


@pytest.mark.parametrize("wrapped", [False, True], ids=["transports", "wrapped"])
@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
async def test_a_client_takes_it_home_and_nowhere_else(
    make: Make, wrapped: bool, family: FamilyModules, world: World
) -> None:
    pipeline = Pipeline(retry=None, hooks=[make(origins=world.url["home"]).hook()])

    def transport() -> Any:
        if wrapped:
            return family.http.AsyncHTTPTransport(verify=world.trust)
        return family.holdfast.ResilientTransport(pipeline, verify=world.trust)

    mounts = {"all://other.test": transport()}
    client = family.http.AsyncClient(transport=transport(), mounts=mounts, follow_redirects=True)
    async with family.holdfast.wrap(client, pipeline) if wrapped else client:
        await lead_astray(world, PLAIN[::2] if wrapped else PLAIN, client.get, family.http.TransportError)


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
async def test_a_service_takes_it_home_and_nowhere_else(
    make: Make, family: FamilyModules, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    service = Service(
        world.url["home"],
        auth=make(),
        transport=family.holdfast.ResilientTransport(Pipeline(retry=None), verify=world.trust),
        allow_origins=[world.url["away"]],
    )

    async def go(url: str) -> object:
        call = service.GET(url, list[int])
        return await (call.pages(by_link()).collect(limit=9) if "/list/" in url else call)

    async with service:
        await lead_astray(world, SERVED, go, family.http.TransportError)
        with pytest.raises(family.http.RemoteProtocolError) as caught:
            await service.GET("/down", None)
    assert [text for text in seen_by_a_tracker(caught.value) if traces(text)] == []
    # httpcore writes down what a server said, a key that it has copied included.
    ours = [line for line in caplog.text.splitlines() if "receive_response_headers" not in line]
    assert len(ours) > 50
    assert [line for line in ours if traces(line)] == []


IN_AUTHORIZATION = {"basic", "key as name", "jwt", "oauth", *(kind for kind in KINDS if kind.startswith("bearer"))}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_without_our_transport_takes_it_home_and_nowhere_else(
    kind: str, family: FamilyModules, world: World
) -> None:
    credential = KINDS[kind](origins=world.url["home"])
    if kind not in IN_AUTHORIZATION:
        with pytest.raises(Unsupported, match="hook"):
            family.holdfast.as_auth(credential)
        return
    auth = family.holdfast.as_auth(credential)
    async with family.http.AsyncClient(auth=auth, verify=world.trust, follow_redirects=True) as client:
        for path, to in (("{home}/to/away", "away"), ("{home}/to/clear", "clear"), ("{below}/there", "below")):
            await lead_astray(world, [way(path, to=to)], client.get, family.http.TransportError)
        await lead_astray(world, [PLAIN[-1]], client.get, family.http.TransportError)
    with pytest.raises(RuntimeError, match="AsyncClient"):
        next(auth.sync_auth_flow(family.http.Request("GET", world.url["home"])))


async def test_a_client_without_our_transport_renews_a_token_once(family: FamilyModules) -> None:
    tokens = iter(["old", "new", "newer"])
    sent: list[tuple[str, bytes]] = []

    def answer(request: Any) -> Any:
        sent.append((request.headers["authorization"], request.content))
        return family.http.Response(200 if sent[-1][0] == "Bearer new" else 401)

    clock = VirtualClock()
    bearer = Bearer(lambda: next(tokens), origins="https://api.test", clock=clock)
    await clock.advance(5.0)
    auth = family.holdfast.as_auth(bearer)
    async with family.http.AsyncClient(auth=auth, transport=family.http.MockTransport(answer)) as client:
        await bearer.source.get()
        await clock.advance(5.0)  # within a second, a newer one would be no better
        response = await client.post("https://api.test/", content=b"body")
    assert (response.status_code, sent) == (200, [("Bearer old", b"body"), ("Bearer new", b"body")])
    with pytest.raises(InvalidInput, match="origins"):
        family.holdfast.as_auth(Bearer("t"))
