"""Logins outside OAuth through a real service: JSON and cookies, renewed for all, in virtual time."""

from __future__ import annotations

import json
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from holdfast.auth import LoginFailed, LoginToken, MemorySecrets, Secret, TokenUnavailable
from holdfast.client import Service
from holdfast.errors import InvalidInput
from holdfast.testing import Fails, Reply, VirtualClock
from tests.client.api import ADA, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

HOME = "https://api.test/v1"
PASSWORD = "s3cr3t-password"


class Site:
    """An API with a login: sessions end after ``lifetime``, and refresh tokens are good once."""

    def __init__(self, clock: VirtualClock, lifetime: float = 900.0) -> None:
        self.clock = clock
        self.lifetime = lifetime
        self.sessions: dict[str, float] = {}
        self.refresh = ""
        self.asked: list[str] = []
        self.failing: Reply | Fails | None = None

    def __call__(self, number: int, request: Any) -> Reply | Fails:
        path = request.url.path.removeprefix("/v1")
        if path == "/users/1":
            shown = request.headers.get("authorization", "").removeprefix("Bearer ")
            shown = shown or request.headers.get("cookie", "").rpartition("sid=")[2]
            return ADA if self.sessions.get(shown, 0.0) > self.clock.monotonic() else Reply(401)
        self.asked.append(path)
        if self.failing is not None:
            return self.failing
        sent = json.loads(request.content)
        if path == "/refresh" and sent["token"] != self.refresh:
            return Reply(401)
        if path == "/login" and sent["password"] != PASSWORD:
            return Reply(403, body=PASSWORD.encode())
        name, self.refresh = f"t{len(self.asked)}", f"r{len(self.asked)}"
        self.sessions[name] = self.clock.monotonic() + self.lifetime
        document = {"data": {"jwt": name, "renew": self.refresh, "ttl": self.lifetime}}
        return Reply(
            200,
            body=json.dumps(document).encode(),
            headers={
                "content-type": "application/json",
                "set-cookie": f"sid={name}; HttpOnly; Max-Age={self.lifetime:.0f}",
            },
        )


class World:
    def __init__(self, shop: Any, site: Site, auth: LoginToken, clock: VirtualClock) -> None:
        self.shop = shop
        self.site = site
        self.auth = auth
        self.clock = clock

    async def name(self) -> str:
        return str((await self.shop.users.get(1)).name)


@asynccontextmanager
async def site(
    family: FamilyModules, *, kind: str = "document", password: str = PASSWORD, **settings: Any
) -> AsyncIterator[World]:
    holder: list[Site] = []
    async with stage(family, lambda number, request: holder[0](number, request), base_url=HOME) as world:
        holder.append(Site(world.clock))
        into: Any = family.http.Response if kind == "response" else dict[str, Any]
        client = family.http.AsyncClient(transport=world.script)

        async def ask(path: str, **sent: str) -> Any:
            if kind == "plain client":
                return (await client.post(f"{HOME}{path}", json=sent)).raise_for_status()
            return await world.shop.POST(path, into, json=sent)

        def login() -> Any:
            return ask("/login", password=password)

        def refresh(token: Secret) -> Any:
            return ask("/refresh", token=token.reveal())

        made: dict[str, Any] = {"token": "/data/jwt", "refresh_token": "/data/renew", "expires": "/data/ttl"}
        if "cookie" in settings:
            made = {}
        elif settings.pop("renewing", True):
            made["refresh"] = refresh
        auth = LoginToken(login=login, clock=world.clock, **{**made, **settings})
        yield World(world.shop.using(auth=auth), holder[0], auth, world.clock)
        await auth.aclose()


@pytest.mark.parametrize("kind", ["document", "response", "plain client"])
async def test_it_logs_in_once_for_all_and_renews_before_the_end(kind: str, family: FamilyModules) -> None:
    async with site(family, kind=kind) as world:
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(world.name)
        assert world.site.asked == ["/login"]
        await world.clock.advance(800.0)
        assert await world.name() == "Ada"
        assert world.site.asked == ["/login"]
        await world.clock.advance(95.0)  # the skew of 900 seconds is a minute
        assert await world.name() == "Ada"
        assert world.site.asked == ["/login", "/refresh"]


async def test_a_session_that_ended_early_is_renewed_once_and_the_call_sent_again(family: FamilyModules) -> None:
    async with site(family) as world:
        await world.name()
        await world.clock.advance(5.0)
        world.site.sessions.clear()
        assert await world.name() == "Ada"
        assert world.site.asked == ["/login", "/refresh"]


@pytest.mark.parametrize("kind", ["document", "plain client"])
async def test_a_refresh_token_that_is_turned_down_leads_to_a_login(kind: str, family: FamilyModules) -> None:
    async with site(family, kind=kind) as world:
        await world.name()
        world.site.refresh = "another one's"
        await world.clock.advance(1000.0)
        assert await world.name() == "Ada"
        assert world.site.asked == ["/login", "/refresh", "/login"]


async def test_without_refresh_there_is_a_login_each_time(family: FamilyModules) -> None:
    async with site(family, renewing=False) as world:
        for _ in range(3):
            assert await world.name() == "Ada"
            await world.clock.advance(1000.0)
        assert world.site.asked == ["/login"] * 3


async def test_a_session_is_a_cookie(family: FamilyModules) -> None:
    async with site(family, kind="response", cookie="sid") as world:
        assert await world.name() == "Ada"
        await world.clock.advance(1000.0)
        assert await world.name() == "Ada"
        assert world.site.asked == ["/login"] * 2


async def test_the_next_process_goes_on_with_what_was_stored(family: FamilyModules) -> None:
    store = MemorySecrets()
    async with site(family, store=store, name="ada") as world:
        await world.name()
        sessions = world.site.sessions
    async with site(family, store=store, name="ada") as world:
        world.site.sessions.update(sessions)
        assert await world.name() == "Ada"
        assert world.site.asked == []
        await world.auth.logout()
        assert await store.load("ada") is None
        assert await world.name() == "Ada"
        assert world.site.asked == ["/login"]


@pytest.mark.parametrize(
    ("failing", "told"),
    [
        (Reply(500), "answered 500"),
        (Reply(200, body=b"{}", headers={"content-type": "application/json"}), "/data/jwt"),
        (
            Reply(200, body=b'{"data": {"jwt": "a\\nb"}}', headers={"content-type": "application/json"}),
            "no header field",
        ),
        (Fails("ConnectError"), "no answer"),
    ],
    ids=["trouble", "no token", "no field", "no answer"],
)
async def test_a_failure_is_told_to_all_and_not_repeated_at_once(
    failing: Reply | Fails, told: str, family: FamilyModules
) -> None:
    async with site(family, renewing=False) as world:
        world.site.failing = failing
        outcomes = list[BaseException]()

        async def call() -> None:
            try:
                await world.name()
            except TokenUnavailable as error:
                outcomes.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(call)
        await call()
        attempts = len(world.site.asked)
        assert len(outcomes) == 21
        causes = [error.__cause__ for error in outcomes]
        assert {(type(cause), told in str(cause)) for cause in causes} == {(LoginFailed, True)}
        await call()
        assert len(world.site.asked) == attempts
        world.site.failing = None
        await world.clock.advance(60.0)
        assert await world.name() == "Ada"


@pytest.mark.parametrize("kind", ["document", "plain client"])
async def test_the_next_login_is_not_before_the_time_that_the_server_asked_for(
    kind: str, family: FamilyModules
) -> None:
    async with site(family, kind=kind) as world:
        world.site.failing = Reply(503, headers={"Retry-After": "1000"})
        with pytest.raises(TokenUnavailable) as caught:
            await world.name()
        assert caught.value.retry_after == pytest.approx(1000.0)
        cause = caught.value.__cause__
        assert isinstance(cause, LoginFailed)
        assert cause.status == 503
        assert cause.retry_after == pytest.approx(1000.0)


@pytest.mark.parametrize("kind", ["document", "plain client"])
async def test_a_wrong_password_shows_nowhere(kind: str, family: FamilyModules) -> None:
    async with site(family, kind=kind, password=f"wrong {PASSWORD}") as world:
        with pytest.raises(TokenUnavailable) as caught:
            await world.name()
        told = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=False).format())
        assert "answered 403" in told
        assert PASSWORD not in told + repr(world.auth) + repr(vars(world.auth))


@pytest.mark.parametrize(
    "settings",
    [
        {"token": "accessToken"},
        {"refresh_token": ""},
        {"expires": "expiresIn"},
        {"expires": 0},
        {"header": "X Token"},
        {"cookie": "a b"},
        {"prefix": "Bearer\r\n"},
        {"cookie": "sid", "expires": "/ttl"},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    async def login() -> Any:
        return {}

    with pytest.raises(InvalidInput):
        LoginToken(login=login, **settings)


def test_it_belongs_to_its_origins() -> None:
    async def login() -> Any:
        return {}

    make: Callable[[], Service] = lambda: Service("https://other.test", auth=LoginToken(login=login, origins=HOME))  # noqa: E731
    with pytest.raises(InvalidInput, match=r"other\.test"):
        make()
