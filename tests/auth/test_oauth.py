"""OAuth 2.0 as a credential and as a client, over a scripted authorization server in virtual time."""

from __future__ import annotations

import logging
import pickle
import traceback
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest

from holdfast import Cache, CircuitBreaker, MemoryStore, Pipeline, RateLimit
from holdfast.auth import (
    Bearer,
    ClientCredentials,
    JWTBearer,
    LoginRequired,
    MemorySecrets,
    OAuth2,
    OAuthClient,
    RefreshToken,
    Secret,
    ServerMetadata,
    Token,
    TokenError,
    TokenExchange,
    TokenUnavailable,
)
from holdfast.auth.token_source import of_a_login
from holdfast.core.oauth.authorization import challenge
from holdfast.errors import CircuitOpen, Closed, Forbidden, InvalidInput, Unauthorized
from holdfast.testing import VirtualClock
from holdfast.testing.scripted import Fails, Hangs, Reply
from tests.auth.authorization_server import ISSUER, METADATA, AuthorizationServer, client_of
from tests.client.api import ADA, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

HOME = "https://api.test"


async def access(auth: OAuth2) -> str:
    return (await auth.source.get()).access_token.reveal()


async def test_a_service_gets_its_token_by_itself_and_asks_once_in_a_lifetime(family: FamilyModules) -> None:
    server = AuthorizationServer(lifetime=300.0)
    async with client_of(family, server) as client:
        auth = OAuth2(client, ClientCredentials(scope="orders:read"))
        async with stage(family, auth=auth, base_url=HOME) as world:
            for _ in range(5):
                await world.shop.users.get(1)
            assert {request.headers["authorization"] for request in world.requests} == {"Bearer t1"}
    assert server.forms == [{"grant_type": "client_credentials", "scope": "orders:read"}]


NO_SCOPE = {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}


async def pieces() -> AsyncIterator[bytes]:
    yield b"{}"


@pytest.mark.parametrize("way", ["service", "hook"])
@pytest.mark.parametrize(
    ("answers", "content", "sent", "error"),
    [
        ([Reply(401), ADA], b"{}", ["Bearer t1", "Bearer t2"], None),
        ([Reply(401), Reply(401), ADA], b"{}", ["Bearer t1", "Bearer t2"], Unauthorized),
        ([Reply(401), ADA], pieces, ["Bearer t1"], Unauthorized),
        ([Reply(401, headers=NO_SCOPE), ADA], b"{}", ["Bearer t1"], Unauthorized),
        ([Reply(403, headers=NO_SCOPE), ADA], b"{}", ["Bearer t1"], Forbidden),
    ],
    ids=["renewed", "once", "a stream is sent once", "scope", "forbidden"],
)
async def test_a_token_that_the_api_turns_down_is_renewed_once(
    way: str, answers: list[Reply], content: Any, sent: list[str], error: type[Exception] | None, family: FamilyModules
) -> None:
    server = AuthorizationServer()
    clock = VirtualClock(jump=True)
    async with client_of(family, server, clock=clock) as client:
        oauth = OAuth2(client, ClientCredentials(), origins=HOME)
        await access(oauth)
        await clock.advance(10.0)
        auth, hooks = (oauth, []) if way == "service" else (None, [oauth.hook()])
        async with stage(family, answers, auth=auth, base_url=HOME, pipeline={"hooks": hooks}) as world:
            with nullcontext() if error is None else pytest.raises(error):
                await world.shop.POST("/x", bytes, content=content() if callable(content) else content)
            assert [request.headers["authorization"] for request in world.requests] == sent


@pytest.mark.parametrize(
    ("settings", "header", "form"),
    [
        ({}, "w%C3%B6rker%3A1:h+%26%2Bx%25", {}),
        ({"authentication": "client_secret_post"}, None, {"client_id": "wörker:1", "client_secret": "h &+x%"}),
        ({"secret": None}, None, {"client_id": "wörker:1"}),
        (
            {"server": ServerMetadata(token_endpoint=METADATA.token_endpoint, authentication=("client_secret_post",))},
            None,
            {"client_id": "wörker:1", "client_secret": "h &+x%"},
        ),
    ],
    ids=["basic", "post", "public", "post by metadata"],
)
async def test_how_a_client_says_who_it_is(
    settings: dict[str, Any], header: str | None, form: dict[str, str], family: FamilyModules
) -> None:
    server = AuthorizationServer()
    async with client_of(family, server) as made:
        lane: dict[str, Any] = {
            "family": family.name,
            "transport": made._lane._transport,
            "pipeline": made._lane.pipeline,
        }
        whole = {"secret": "h &+x%", "server": METADATA, **lane, **settings}
        await OAuthClient("wörker:1", **whole).token({"grant_type": "client_credentials"})
    sent = server.requests[0].headers.get("authorization")
    assert (None if sent is None else b64decode(sent.removeprefix("Basic ")).decode()) == header
    assert server.forms == [{"grant_type": "client_credentials", **form}]
    assert server.requests[0].headers["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("grant", "form"),
    [
        (
            lambda: ClientCredentials(scope="a b", audience="api", parameters={"tenant": "7"}),
            {"grant_type": "client_credentials", "scope": "a b", "audience": "api", "tenant": "7"},
        ),
        (
            lambda: JWTBearer(lambda: Secret("signed"), scope="a"),
            {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "signed", "scope": "a"},
        ),
        (
            lambda: TokenExchange("theirs", actor="mine", audience="api"),
            {
                "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                "subject_token": "theirs",
                "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "actor_token": "mine",
                "actor_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "audience": "api",
            },
        ),
        (lambda: RefreshToken("r0"), {"grant_type": "refresh_token", "refresh_token": "r0"}),
    ],
    ids=["client credentials", "jwt bearer", "token exchange", "refresh token"],
)
async def test_what_each_grant_asks_with(grant: Callable[[], Any], form: dict[str, str], family: FamilyModules) -> None:
    server = AuthorizationServer()
    async with client_of(family, server) as client:
        assert await access(OAuth2(client, grant())) == "t1"
    assert server.forms == [form]


async def test_several_resources_are_several_parameters(family: FamilyModules) -> None:
    server = AuthorizationServer()
    async with client_of(family, server) as client:
        await access(OAuth2(client, ClientCredentials(resource=["https://a.test", "https://b.test"])))
    assert parse_qs(server.requests[0].content.decode())["resource"] == ["https://a.test", "https://b.test"]


async def test_each_refresh_spends_the_last_refresh_token(family: FamilyModules) -> None:
    server = AuthorizationServer(lifetime=300.0)
    clock = VirtualClock(jump=True)
    async with client_of(family, server, clock=clock) as client:
        auth = OAuth2(client, RefreshToken("r0"))
        for _ in range(4):
            await access(auth)
            await clock.advance(301.0)
    assert [form["refresh_token"] for form in server.forms] == ["r0", "r1", "r2", "r3"]


async def test_a_refresh_token_that_comes_with_client_credentials_is_not_used(family: FamilyModules) -> None:
    server = AuthorizationServer()
    clock = VirtualClock(jump=True)
    server.answers = [Reply.json({"access_token": "t1", "expires_in": 60, "refresh_token": "r1"})]
    async with client_of(family, server, clock=clock) as client:
        auth = OAuth2(client, ClientCredentials())
        await access(auth)
        await clock.advance(61.0)
        await access(auth)
    assert [form["grant_type"] for form in server.forms] == ["client_credentials"] * 2


async def test_a_dead_refresh_token_is_asked_with_once_and_a_login_goes_on(family: FamilyModules) -> None:
    server = AuthorizationServer()
    clock = VirtualClock(jump=True)
    async with client_of(family, server, clock=clock) as client:
        auth = OAuth2(client, RefreshToken("dead"), store=MemorySecrets(), name="ada")
        for _ in range(5):
            with pytest.raises(LoginRequired) as caught:
                await access(auth)
            assert caught.value.retry_after is not None
            await clock.advance(100.0)
        assert len(server.forms) == 1
        await auth.keep(Token(Secret("t"), refresh_token=Secret("r0"), expires_at=clock.wall() + 60, lifetime=60.0))
        assert await access(auth) == "t"
        await clock.advance(61.0)
        assert await access(auth) == "t2"


async def test_a_grant_that_can_begin_anew_does_so_when_its_refresh_token_is_dead(family: FamilyModules) -> None:
    server = AuthorizationServer(lifetime=60.0)
    clock = VirtualClock(jump=True)
    async with client_of(family, server, clock=clock) as client:
        auth = OAuth2(client, JWTBearer("signed"))
        await access(auth)
        server.good = None
        await clock.advance(61.0)
        assert await access(auth) == "t3"
    assert [form["grant_type"].rpartition(":")[2] for form in server.forms] == [
        "jwt-bearer",
        "refresh_token",
        "jwt-bearer",
    ]


async def test_a_refresh_that_was_sent_is_read_and_saved_though_everybody_left(family: FamilyModules) -> None:
    server = AuthorizationServer(takes=2.0)
    clock = VirtualClock(jump=True)
    store = MemorySecrets()
    async with client_of(family, server, clock=clock) as client:
        auth = OAuth2(client, RefreshToken("r0"), store=store, name="ada")
        with clock.timeout_at(clock.monotonic() + 1.0):
            await access(auth)
    saved = await store.load("ada")  # the client is closed, in the middle of it
    assert saved is not None
    assert (saved.access_token, saved.refresh_token) == (Secret("t1"), Secret("r1"))
    assert server.good == "r1"


async def test_a_token_that_could_not_be_saved_is_not_lost(family: FamilyModules) -> None:
    class Full(MemorySecrets):
        full = True

        async def save(self, name: str, token: Token) -> None:
            if self.full:
                raise OSError("no space left on device")
            await super().save(name, token)

    server, store, clock = AuthorizationServer(), Full(), VirtualClock(jump=True)
    async with client_of(family, server, clock=clock) as client:
        auth = OAuth2(client, RefreshToken("r0"), store=store, name="ada")
        with pytest.raises(TokenUnavailable, match="OSError"):
            await access(auth)
        store.full = False
        await clock.advance(5.0)
        assert await access(auth) == "t1"
    assert len(server.forms) == 1


async def test_two_sources_of_one_store_make_one_refresh(family: FamilyModules) -> None:
    server, store, clock = AuthorizationServer(takes=0.5), MemorySecrets(), VirtualClock(jump=True)
    async with client_of(family, server, clock=clock) as one, client_of(family, server, clock=clock) as two:
        sources = [OAuth2(client, RefreshToken("r0"), store=store, name="ada") for client in (one, two)]
        got: list[str] = []

        async def call(auth: OAuth2) -> None:
            got.append(await access(auth))

        async with anyio.create_task_group() as tasks:
            for auth in sources * 25:
                tasks.start_soon(call, auth)
        assert got == ["t1"] * 50
    assert len(server.forms) == 1


async def test_tokens_that_end_before_they_come_are_not_asked_for_in_a_loop(family: FamilyModules) -> None:
    server = AuthorizationServer(lifetime=1.0, takes=2.0)
    async with client_of(family, server) as client:
        auth = OAuth2(client, ClientCredentials())
        for _ in range(3):
            with pytest.raises(TokenUnavailable, match="ended already") as caught:
                await access(auth)
            assert caught.value.retry_after == pytest.approx(5.0)
    assert len(server.forms) == 1


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (Reply.json({"error": "invalid_client"}, status=401), TokenError),
        (Reply(302, headers={"Location": "https://evil.test/"}), TokenError),
        (Fails("ConnectError"), Exception),
        (Hangs(), Exception),
    ],
    ids=["turned down", "redirected", "unreachable", "silent"],
)
async def test_a_token_endpoint_in_trouble_is_left_alone_for_a_while(
    answer: Any, cause: type[Exception], family: FamilyModules
) -> None:
    server = AuthorizationServer()
    server.answers = [answer] * 9
    clock = VirtualClock(jump=True)
    async with client_of(family, server, clock=clock) as client:
        auth = OAuth2(client, ClientCredentials())
        began = clock.monotonic()
        with pytest.raises(TokenUnavailable) as caught:
            await access(auth)
        assert isinstance(caught.value.__cause__, cause)
        assert clock.monotonic() - began <= 10.5
        sent = len(server.requests)
        for _ in range(10):
            with pytest.raises(TokenUnavailable):
                await access(auth)
        assert len(server.requests) == sent
        assert {urlsplit(str(request.url)).hostname for request in server.requests} == {"id.test"}
        server.answers.clear()
        await clock.advance(60.0)
        assert await access(auth)


async def test_the_server_says_when_to_come_again(family: FamilyModules) -> None:
    server, clock = AuthorizationServer(), VirtualClock(jump=True)
    slow = Reply.json({"error": "temporarily_unavailable"}, status=503, headers={"Retry-After": "120"})
    server.answers = [slow]
    async with client_of(family, server, clock=clock) as client:
        auth = OAuth2(client, ClientCredentials())
        with pytest.raises(TokenUnavailable) as caught:
            await access(auth)
        assert caught.value.retry_after == pytest.approx(120.0)
        await clock.advance(121.0)
        assert await access(auth) == "t2"


async def test_a_refresh_token_is_sent_once_where_the_server_may_have_acted(family: FamilyModules) -> None:
    server = AuthorizationServer()
    async with client_of(family, server) as client:
        for answer, expected in ((Fails("ReadError"), family.http.ReadError), (Reply(503), TokenError)):
            server.answers, server.requests = [answer] * 9, []
            with pytest.raises(expected):
                await client.refresh(Secret("r0"))
            assert len(server.requests) == 1
            with pytest.raises(expected):
                await client.token({"grant_type": "client_credentials"}, again=True)
            assert len(server.requests) > 2


async def test_the_lane_has_a_circuit_of_its_own(family: FamilyModules) -> None:
    server = AuthorizationServer()
    async with client_of(family, server) as client:
        client._lane.pipeline.circuits.force_open(f"{ISSUER}:443")
        with pytest.raises(CircuitOpen):
            await client.token({"grant_type": "client_credentials"})
        auth = OAuth2(client, ClientCredentials())
        await auth.keep(Token(Secret("t0")))
        async with stage(family, auth=auth, base_url=HOME) as world:
            await world.shop.users.get(1)
    assert not server.requests


@pytest.mark.parametrize("way", ["service", "hook"])
@pytest.mark.parametrize("trouble", ["slow", "down"])
async def test_what_a_token_costs_is_not_held_against_the_api(way: str, trouble: str, family: FamilyModules) -> None:
    async def token() -> str:
        await world.clock.sleep(5.0)
        if trouble == "down":
            raise OSError
        return "t1"

    bearer = Bearer(token, origins=HOME)
    auth, hooks = (bearer, []) if way == "service" else (None, [bearer.hook()])
    settings = {
        "attempt_timeout": 2.0,
        "retry": None,
        "hooks": hooks,
        "rate_limit": RateLimit(1, per=1e6, burst=5),
        "breaker": CircuitBreaker(failures=1),
    }
    async with stage(family, auth=auth, base_url=HOME, pipeline=settings) as world:
        for _ in range(2):
            with pytest.raises(family.http.ReadTimeout, match="waited for its credential"):
                await world.shop.users.get(1)
        with pytest.raises(TokenUnavailable) if trouble == "down" else nullcontext():
            await world.shop.users.get(1)
        pipeline = world.shop.pipeline
        assert isinstance(pipeline, Pipeline)
        (told,) = pipeline.snapshot()["origins"].values()
        assert told["circuit"]["calls"] == len(world.requests) == (trouble == "slow")
        assert round(told["rate_limit"]["tokens"], 3) == 5 - len(world.requests)
    await bearer.aclose()


async def test_a_login_in_the_browser(family: FamilyModules) -> None:
    server = AuthorizationServer()
    async with client_of(family, server, secret=None) as client:
        login = await client.authorization(redirect_uri="http://127.0.0.1:7/cb", scope="openid")
        query = parse_qs(urlsplit(login.url).query)
        answer = f"http://127.0.0.1:7/cb?code=c0de&state={query['state'][0]}&iss={ISSUER}"
        for wrong, error in (
            (f"{answer}x", "invalid_issuer"),
            (answer.replace("&state=", "&state=x"), "invalid_state"),
        ):
            with pytest.raises(TokenError) as caught:
                await client.authorized(login, wrong)
            assert caught.value.error == error
        assert not server.requests
        token = await client.authorized(login, answer)
        assert token.refresh_token == Secret("r1")
    (form,) = server.forms
    assert challenge(Secret(form.pop("code_verifier"))) == query["code_challenge"][0]
    assert form == {
        "grant_type": "authorization_code",
        "code": "c0de",
        "redirect_uri": "http://127.0.0.1:7/cb",
        "client_id": "worker",
    }


async def test_two_logins_have_nothing_in_common(family: FamilyModules) -> None:
    async with client_of(family, AuthorizationServer()) as client:
        one, two = [await client.authorization(redirect_uri="http://127.0.0.1/") for _ in range(2)]
    assert one.state != two.state
    assert one.verifier != two.verifier
    assert len(one.verifier.reveal()) >= 43  # RFC 7636 4.1


def device(**changes: Any) -> Reply:
    answer = {"device_code": "d", "user_code": "ABCD-EFGH", "verification_uri": f"{ISSUER}/device", "expires_in": 600}
    return Reply.json({**answer, **changes})


def pending(error: str = "authorization_pending") -> Reply:
    return Reply.json({"error": error}, status=400)


@pytest.mark.parametrize(
    ("start", "answers", "times", "outcome"),
    [
        (device(), [pending(), pending()], [5, 10, 15], "t4"),
        (device(interval=2), [pending(), pending("slow_down"), pending()], [2, 4, 11, 18], "t5"),
        (device(interval=2), [Reply(503, headers={"Retry-After": "30"})], [2, 32], "t3"),
        (device(), [Fails("ReadTimeout"), pending()], [5, 15, 25], "t4"),
        (device(), [pending("access_denied")], [5], "access_denied"),
        (device(), [pending("expired_token")], [5], "expired_token"),
        (device(expires_in=12), [pending(), pending(), pending()], [5, 10], "expired_token"),
    ],
    ids=["pending", "slow down", "retry after", "no answer", "denied", "expired", "nobody came"],
)
async def test_a_device_asks_at_the_pace_of_the_server(
    start: Reply, answers: list[Any], times: list[float], outcome: str, family: FamilyModules
) -> None:
    server, clock = AuthorizationServer(), VirtualClock(jump=True)
    server.answers = [start, *answers]
    at: list[float] = []

    def answer(number: int, request: Any) -> Any:
        at.append(clock.monotonic())
        return server(number, request)

    async with client_of(family, answer, secret=None, clock=clock) as client:
        code = await client.device_code(scope="openid")
        assert (code.user_code, code.verification_uri) == ("ABCD-EFGH", f"{ISSUER}/device")
        try:
            got = (await client.device_token(code)).access_token.reveal()
        except TokenError as error:
            got = error.error
    assert got == outcome
    assert [round(moment - at[0]) for moment in at[1:]] == times
    assert server.forms[0] == {"client_id": "worker", "scope": "openid"}


async def test_a_device_asks_no_more_once_its_client_is_closed(family: FamilyModules) -> None:
    server, clock = AuthorizationServer(), VirtualClock(jump=True)
    server.answers = [device()]
    async with client_of(family, server, secret=None, clock=clock) as client:
        code = await client.device_code()
        await client.aclose()
        with pytest.raises(Closed):
            await client.device_token(code)
        assert len(server.forms) == 1


async def test_who_logs_in_under_a_name_finds_none_of_the_answers_of_who_did_before(family: FamilyModules) -> None:
    """Each turn of the loop is a process that starts again, over the same stores."""
    clock, tokens, answers = VirtualClock(jump=True), MemorySecrets(), MemoryStore()
    ends, asked = clock.wall() + 9_000, list[str]()

    def greet(number: int, request: Any) -> Reply:
        asked.append(request.headers["authorization"].removeprefix("Bearer "))
        return Reply(headers={"Cache-Control": "max-age=60"}, body=b'{"id": 1, "name": "Ada"}')

    def login(name: str) -> Token:
        return Token(Secret(name), expires_at=ends, lifetime=9_000.0)

    await tokens.save("work", login("early"))  # by a version of ours that knew of no logins
    async with client_of(family, AuthorizationServer(), clock=clock) as client:
        for who, by in (
            ("early", None),
            ("early", None),
            ("ada", "keep"),
            ("ada", None),
            ("bob", "command"),
            ("bob", None),
        ):
            auth = OAuth2(client, RefreshToken(), store=tokens, name="work")
            if by == "keep":
                await auth.keep(login(who))
            elif by == "command":
                await tokens.save("work", of_a_login(login(who)))
            cache = Cache(key=b"k" * 32, store=answers)
            settings: dict[str, Any] = {"auth": auth, "base_url": HOME, "pipeline": {"cache": cache}}
            async with stage(family, greet, **settings) as world, anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(world.shop.users.get(1).value)
        assert asked == ["early", "ada", "bob"]
        assert OAuth2(client, RefreshToken(), store=tokens, name="work").identity != auth.identity  # nobody's yet
        await auth.source.forget()
        assert auth.identity not in {OAuth2(client, RefreshToken(), name="work").identity, ""}


async def test_a_renewed_token_is_of_the_same_login(family: FamilyModules) -> None:
    clock = VirtualClock(jump=True)
    async with client_of(family, AuthorizationServer(), clock=clock) as client:
        auth = OAuth2(client, RefreshToken(), store=MemorySecrets(), name="ada", origins=HOME)
        await auth.keep(Token(Secret("t"), refresh_token=Secret("r0"), expires_at=clock.wall() + 60, lifetime=60.0))
        before = auth.identity
        await clock.advance(61.0)
        assert await access(auth) != "t"
        assert auth.identity == before


@pytest.mark.parametrize("trouble", ["it hangs", "it fails"])
async def test_a_store_that_cannot_say_whose_token_it_has_holds_no_call_up_for_long(
    family: FamilyModules, trouble: str
) -> None:
    class Troubled(MemorySecrets):
        async def load(self, name: str) -> Token | None:
            if trouble == "it fails":
                raise OSError("locked")
            await anyio.sleep_forever()
            return None

    clock = VirtualClock(jump=True)
    async with client_of(family, AuthorizationServer(), clock=clock) as client:
        auth = OAuth2(client, RefreshToken(), store=Troubled(), name="ada")
        unknown = auth.identity
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(auth.recall)
            await anyio.wait_all_tasks_blocked()
            await clock.advance(1.0)
        assert auth.identity == unknown


async def test_a_logout_tells_the_server_and_forgets(family: FamilyModules) -> None:
    server, store = AuthorizationServer(), MemorySecrets()
    async with client_of(family, server) as client:
        auth = OAuth2(client, RefreshToken("r0"), store=store, name="ada")
        await access(auth)
        await auth.logout()
        assert server.revoked == ["r1", "t1"]
        assert await store.load("ada") is None
        with pytest.raises(LoginRequired):
            await access(auth)
        await auth.logout()
    assert len(server.revoked) == 2


async def test_what_the_server_says_of_a_token(family: FamilyModules) -> None:
    server = AuthorizationServer()
    async with client_of(family, server) as client:
        token = await client.token({"grant_type": "client_credentials"})
        assert (await client.introspect(token))["active"] is True
        await client.revoke(token)
        assert (await client.introspect(token.access_token))["active"] is False
        server.answers = [Reply.json({"scope": "read"})]
        with pytest.raises(TokenError, match="active"):
            await client.introspect(token)
        server.answers = [Reply.json({"error": "unsupported_token_type"}, status=400)]
        with pytest.raises(TokenError, match="unsupported_token_type"):
            await client.revoke(token)


@pytest.mark.parametrize(
    "nothing",
    [
        Reply(403),
        Reply(200, body=b"<!doctype html><p>Log in"),
        Reply.json({"error": "not_found"}),
        Reply.json([ISSUER]),
        Reply.json({"issuer": None}),
        Reply(204),
    ],
    ids=["as gateways say it", "a page", "an error", "a list", "nobody's", "no content"],
)
async def test_endpoints_are_found_by_the_issuer_and_asked_for_once(nothing: Reply, family: FamilyModules) -> None:
    server = AuthorizationServer()
    asked: list[str] = []

    def answer(number: int, request: Any) -> Any:
        asked.append(request.url.path)
        if request.url.path == "/acme/.well-known/openid-configuration":
            return Reply.json({"issuer": f"{ISSUER}/acme", "token_endpoint": f"{ISSUER}/token"})
        if request.url.path == "/.well-known/openid-configuration/acme":
            return nothing
        return server(number, request)

    async with client_of(family, answer, server=f"{ISSUER}/acme") as client:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(client.token, {"grant_type": "client_credentials"})
        with pytest.raises(InvalidInput, match="authorization_endpoint"):
            await client.authorization(redirect_uri="http://127.0.0.1/")
    assert asked == [
        "/.well-known/oauth-authorization-server/acme",
        "/.well-known/openid-configuration/acme",
        "/acme/.well-known/openid-configuration",
        "/token",
        "/token",
    ]


FIRST, SECOND = (f"{ISSUER}/.well-known/{name}" for name in ("oauth-authorization-server", "openid-configuration"))


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (Reply(404), "invalid_response", f"no metadata: {FIRST} answered 404; {SECOND} answered 404"),
        (
            Reply(200, body=b"<p>Log in"),
            "invalid_response",
            f"no metadata: {FIRST} answered 200, with no metadata; {SECOND} answered 200, with no metadata",
        ),
        (Reply(503, headers={"Retry-After": "30"}), "invalid_response", f"no metadata: {FIRST} answered 503"),
        (Reply.json({"issuer": f"{ISSUER}/"}), "invalid_issuer", f"that of '{ISSUER}/', and not of '{ISSUER}'"),
    ],
    ids=["none", "a page", "in trouble", "another issuer's"],
)
async def test_an_issuer_without_metadata_of_its_own_is_told_by_name(
    answer: Reply, error: str, told: str, family: FamilyModules
) -> None:
    async with client_of(family, lambda number, request: answer, server=ISSUER) as client:
        with pytest.raises(TokenError) as caught:
            await client.metadata()
    assert (caught.value.error, str(caught.value).endswith(told)) == (error, True), caught.value


SECRETS = ("hunter2", "r0-secret", "t1-secret", "r1-secret")


@pytest.mark.parametrize(
    "answer",
    [
        Reply.json({"error": "invalid_client", "error_description": "hunter2 and r0-secret are wrong"}, status=401),
        Reply.json({"access_token": ""}),
        Fails("ConnectError"),
        Fails("ReadError"),
        Hangs(),
        None,
    ],
    ids=["quoted back", "no token", "unreachable", "broken off", "silent", "good"],
)
async def test_no_secret_is_told(answer: Any, family: FamilyModules, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    good = Reply.json({"access_token": "t1-secret", "refresh_token": "r1-secret", "expires_in": 60})
    server, store = AuthorizationServer(), MemorySecrets()
    server.answers = [good if answer is None else answer] * 9
    shown: list[str] = []
    async with client_of(family, server) as client:
        auth = OAuth2(client, RefreshToken("r0-secret"), store=store, name="ada")
        try:
            token = await auth.source.get()
            shown += [repr(token), str(token), repr(vars(token)), repr(store.__dict__)]
        except TokenUnavailable as error:
            shown += [*traceback.format_exception(error), repr(pickle.loads(pickle.dumps(error)))]
            for one in filter(None, (error, error.__cause__)):
                frames = traceback.TracebackException.from_exception(one, capture_locals=True).stack
                ours = [frame for frame in frames if "/src/holdfast/" in frame.filename]
                shown += [str(frame.locals) for frame in ours if "/testing/" not in frame.filename]
                shown += [repr(vars(one))]
            cause = error.__cause__
            if isinstance(cause, family.http.HTTPError):
                shown += [repr(cause), repr(cause.request.headers.raw), cause.request.content.decode()]
        shown += [repr(auth), repr(client), repr(vars(auth)), repr(vars(client)), auth.identity]
        shown += [repr(client._lane.pipeline.snapshot()), repr(auth._grant), repr(vars(auth._grant))]
    text = "\n".join([*shown, caplog.text])
    assert not [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"server": "http://id.test"}, "issuer"),
        ({"server": "id.test"}, "issuer"),
        ({"secret": None, "authentication": "client_secret_post"}, "authentication"),
    ],
    ids=["clear text", "no url", "post without a secret"],
)
def test_settings_that_cannot_be(settings: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        OAuthClient("worker", **{"secret": "s", "server": METADATA, **settings})
    assert caught.value.argument == argument


async def test_users_of_one_cache_are_told_apart_by_what_their_tokens_are_for(family: FamilyModules) -> None:
    async with client_of(family, AuthorizationServer()) as client:
        same = [OAuth2(client, ClientCredentials(scope="read")).identity for _ in range(2)]
        others = [
            OAuth2(client, ClientCredentials(scope="write")).identity,
            OAuth2(client, RefreshToken(), name="ada").identity,
            OAuth2(client, RefreshToken(), name="bob").identity,
            OAuth2(client, RefreshToken()).identity,
            OAuth2(client, RefreshToken()).identity,
        ]
    assert same[0] == same[1]
    assert len({same[0], *others}) == 6
