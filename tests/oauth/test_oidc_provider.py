"""OAuth 2.0 against oidc-provider over real sockets: what an authorization server of others takes, and turns down."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import combinations
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import httpx
import pytest

from holdfast import Pipeline
from holdfast.auth import (
    ClientCredentials,
    LoginRequired,
    MemorySecrets,
    OAuth2,
    OAuthClient,
    RefreshToken,
    Secret,
    SigningKey,
    SQLiteSecrets,
    Token,
    TokenError,
)
from holdfast.clock import SystemClock
from holdfast.core.value import replace
from tests.client.api import Shop
from tests.oauth.browser import visit
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

CALLBACK = "http://127.0.0.1/callback"
PERSON = {"login": "ada", "password": "any"}


class Hurried(SystemClock):
    """Sleeps a fiftieth of what it is told."""

    __slots__ = ()

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 50)


@asynccontextmanager
async def client_of(family: FamilyModules, issuer: str, client_id: str, secret: Any = None) -> AsyncIterator[Any]:
    async with OAuthClient(client_id, secret, server=issuer, family=family.name) as client:  # type: ignore[arg-type]
        yield client


async def counts(issuer: str) -> dict[str, int]:
    async with httpx.AsyncClient(trust_env=False) as http:
        found: dict[str, int] = (await http.get(f"{issuer}/counts")).json()
    return found


async def login(client: OAuthClient, **parameters: str) -> Token:
    """A person logs in and agrees."""
    whole = {"scope": "openid offline_access read", "parameters": {"prompt": "consent", **parameters}}
    flow = await client.authorization(redirect_uri=CALLBACK, **whole)  # type: ignore[arg-type]
    return await client.authorized(flow, await visit(flow.url, until=CALLBACK, **PERSON))


@pytest.mark.parametrize(
    ("client_id", "secret", "settings"),
    [
        ("worker:1", "p%ss &+:/", {}),  # what has to be encoded before it is put together
        ("poster", "secret-of-the-poster", {"authentication": "client_secret_post"}),
    ],
    ids=["basic", "post"],
)
async def test_client_credentials(
    client_id: str, secret: str, settings: dict[str, Any], family: FamilyModules, oidc_provider: str
) -> None:
    whole: dict[str, Any] = {"server": oidc_provider, "family": family.name, **settings}
    async with OAuthClient(client_id, secret, **whole) as client:
        token = await client.token({"grant_type": "client_credentials", "scope": "read"})
        assert (token.lifetime, token.token_type, token.scope, token.refresh_token) == (3.0, "Bearer", "read", None)
    async with OAuthClient(client_id, f"{secret}x", **whole) as client:
        with pytest.raises(TokenError) as caught:
            await client.token({"grant_type": "client_credentials"})
        assert (caught.value.error, caught.value.status_code) == ("invalid_client", 401)
        assert secret not in f"{caught.value} {vars(caught.value)}"


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_a_client_proves_itself_by_a_signature_that_is_good_once(
    algorithm: Any, family: FamilyModules, oidc_provider: str, signers: dict[str, Any]
) -> None:
    key = SigningKey(signers[algorithm], algorithm, key_id=algorithm)
    async with client_of(family, oidc_provider, algorithm, key) as client:
        for _ in range(2):  # an assertion that comes twice is turned down
            token = await client.token({"grant_type": "client_credentials"})
        async with Shop(oidc_provider + "/api", auth=OAuth2(client, ClientCredentials()), family=family.name) as shop:  # type: ignore[arg-type]
            assert (await shop.users.get(1)).name == algorithm
        assert token.lifetime == 3.0
    other = SigningKey(signers["RS256" if algorithm == "PS256" else "PS256"], "PS256", key_id=algorithm)
    async with client_of(family, oidc_provider, algorithm, other) as client:
        with pytest.raises(TokenError, match="invalid_client"):
            await client.token({"grant_type": "client_credentials"})


async def test_a_login_in_the_browser_and_what_is_turned_down(family: FamilyModules, oidc_provider: str) -> None:
    async with client_of(family, oidc_provider, "app") as client:
        flow = await client.authorization(
            redirect_uri=CALLBACK, scope="openid offline_access read", parameters={"prompt": "consent"}
        )
        answer = await visit(flow.url, until=CALLBACK, **PERSON)
        assert f"iss={oidc_provider.replace(':', '%3A').replace('/', '%2F')}" in answer
        for wrong, error in (
            (answer.replace("iss=", "iss=x"), "invalid_issuer"),
            (answer.replace("iss=", "was="), "invalid_issuer"),  # it has promised to name itself
            (answer.replace("state=", "state=x"), "invalid_state"),
        ):
            with pytest.raises(TokenError) as caught:
                await client.authorized(flow, wrong)
            assert caught.value.error == error
        token = await client.authorized(flow, answer)
        assert token.refresh_token is not None
        flow = await client.authorization(redirect_uri=CALLBACK, scope="openid", parameters={"prompt": "consent"})
        answer = await visit(flow.url, until=CALLBACK, **PERSON)
        with pytest.raises(TokenError, match="invalid_grant"):
            await client.authorized(replace(flow, verifier=Secret("x" * 43)), answer)


async def test_a_person_who_says_no(family: FamilyModules, oidc_provider: str) -> None:
    async with client_of(family, oidc_provider, "app") as client:
        flow = await client.authorization(redirect_uri=CALLBACK, scope="openid", parameters={"prompt": "none"})
        with pytest.raises(TokenError, match="login_required"):
            await client.authorized(flow, await visit(flow.url, until=CALLBACK))


async def test_a_device(family: FamilyModules, oidc_provider: str) -> None:
    lane = Pipeline(clock=Hurried())
    settings: dict[str, Any] = {"server": oidc_provider, "family": family.name, "pipeline": lane}
    async with OAuthClient("television", **settings) as client:
        code = await client.device_code(scope="openid offline_access")
        assert code.interval == 5.0  # nothing is said of it
        pending = "urn:ietf:params:oauth:grant-type:device_code authorization_pending"
        before = (await counts(oidc_provider)).get(pending, 0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.device_token, code)
            while (await counts(oidc_provider)).get(pending, 0) - before <= 2:  # noqa: ASYNC110
                await anyio.sleep(0.05)  # it is the server that counts, in a process of its own
            tasks.cancel_scope.cancel()
        complete = code.verification_uri_complete
        assert complete is not None
        tokens: list[Token] = []

        async def wait() -> None:
            tokens.append(await client.device_token(code))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await visit(complete, user_code=code.user_code, **PERSON)
        assert tokens[0].refresh_token is not None
        with pytest.raises(TokenError, match="invalid_grant"):
            await client.device_token(code)


async def test_a_refresh_token_is_rotated_and_its_reuse_ends_the_family(
    family: FamilyModules, oidc_provider: str
) -> None:
    async with client_of(family, oidc_provider, "app") as client:
        first = await login(client)
        second = await client.refresh(first)
        third = await client.refresh(second)
        assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
        with pytest.raises(TokenError, match="invalid_grant"):
            await client.refresh(first)
        with pytest.raises(TokenError, match="invalid_grant"):  # that is why there is one refresh at a time
            await client.refresh(third)
        auth = OAuth2(client, RefreshToken(), store=MemorySecrets(), name="ada")
        await auth.keep(replace(third, expires_at=0.0))
        for _ in range(3):
            with pytest.raises(LoginRequired):
                await auth.source.get()


async def test_what_was_revoked_is_not_active(family: FamilyModules, oidc_provider: str) -> None:
    async with OAuthClient(
        "poster",
        "secret-of-the-poster",
        server=oidc_provider,
        authentication="client_secret_post",
        family=family.name,  # type: ignore[arg-type]
    ) as client:
        token = await client.token({"grant_type": "client_credentials", "scope": "read"})
        said = await client.introspect(token)
        assert (said["active"], said["scope"], said["client_id"]) == (True, "read", "poster")
        await client.revoke(token)
        assert (await client.introspect(token))["active"] is False
        assert (await client.introspect(Secret("made-up")))["active"] is False


async def test_a_logout_ends_the_family(family: FamilyModules, oidc_provider: str, tmp_path: Path) -> None:
    async with client_of(family, oidc_provider, "app") as client, SQLiteSecrets(tmp_path / "t", key=None) as store:
        auth = OAuth2(client, RefreshToken(), store=store, name="ada")
        token = await login(client)
        await auth.keep(token)
        await auth.logout()
        with pytest.raises(TokenError, match="invalid_grant"):
            await client.refresh(token)
        with pytest.raises(LoginRequired):
            await auth.source.get()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("name", ["httpx2"])
async def test_thirty_workers_over_tokens_of_three_seconds_make_one_token_request_in_a_lifetime(
    name: Any, oidc_provider: str
) -> None:
    before = (await counts(oidc_provider)).get("client_credentials good", 0)
    calls, lasts = 0, 7.0
    failed: list[Exception] = []
    async with OAuthClient("worker:1", "p%ss &+:/", server=oidc_provider, family=name) as client:
        auth = OAuth2(client, ClientCredentials())
        async with Shop(oidc_provider + "/api", auth=auth, family=name) as shop:
            began = monotonic()

            async def work() -> None:
                nonlocal calls
                while monotonic() - began < lasts:
                    try:
                        assert (await shop.users.get(1)).name == "worker:1"
                        calls += 1
                    except Exception as error:
                        failed.append(error)
                    await anyio.sleep(0.1)  # the server's tokens last three real seconds; the calls need not be many

            async with anyio.create_task_group() as tasks:
                for _ in range(30):
                    tasks.start_soon(work)
            lasted = monotonic() - began
    asked = (await counts(oidc_provider))["client_credentials good"] - before
    assert failed == []
    assert calls > 100
    # Where the machine stalls over an answer, a token is older when it comes: not one for each of the thirty.
    assert 2 <= asked <= 2 * math.ceil(lasted / (3.0 - 0.3))


WORKER = """
import sys, time, anyio
from holdfast import Pipeline
from holdfast.auth import OAuth2, OAuthClient, RefreshToken, SQLiteSecrets, TokenUnavailable

async def main(issuer, path):
    tokens = set()
    lane = Pipeline(deadline=60.0, attempt_timeout=60.0)  # an answer that a slow machine misses is a token that is lost
    async with OAuthClient("app", server=issuer, pipeline=lane) as client, SQLiteSecrets(path, key=None) as store:
        auth = OAuth2(client, RefreshToken(), store=store, name="ada")
        print("ready", flush=True)
        sys.stdin.readline()  # all begin at once
        began = time.monotonic()
        while len(tokens) < 4 and time.monotonic() - began < 60.0:
            try:
                tokens.add((await auth.source.get()).access_token.fingerprint(b"test"))
            except TokenUnavailable as error:
                if "had ended already" not in str(error):  # of a second's life, on a machine that stalls
                    raise
            await anyio.sleep(0.005)  # until the server's token of one real second is over
    print(*sorted(tokens))

anyio.run(main, *sys.argv[1:])
"""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_three_processes_that_share_a_rotating_refresh_token_never_lose_the_family(
    oidc_provider: str, tmp_path: Path
) -> None:
    path = tmp_path / "tokens"
    async with OAuthClient("app", server=oidc_provider) as client, SQLiteSecrets(path, key=None) as store:
        auth = OAuth2(client, RefreshToken(), store=store, name="ada")
        await auth.keep(await login(client, resource="https://quick.test"))  # one second each
        before = await counts(oidc_provider)
        command = [sys.executable, "-c", WORKER, oidc_provider, str(path)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        workers: list[Any] = [subprocess.Popen(command, **pipes) for _ in range(3)]  # noqa: ASYNC220
        for worker in workers:
            await anyio.to_thread.run_sync(worker.stdout.readline)
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        got = [await anyio.to_thread.run_sync(worker.communicate) for worker in workers]
        after = await counts(oidc_provider)
        assert [worker.returncode for worker in workers] == [0, 0, 0]
        refreshes = after["refresh_token good"] - before.get("refresh_token good", 0)
        seen = [set(tokens.split()) for tokens, _ in got]
        assert refreshes >= 2
        assert len(set().union(*seen)) <= refreshes + 1
        assert any(one & other for one, other in combinations(seen, 2))  # they shared them, and did not take turns
        for bad in ("refresh_token invalid_grant", "family revoked"):
            assert after.get(bad, 0) == before.get(bad, 0)
        await auth.source.get()
