"""``holdfast login``, ``whoami`` and ``logout`` against a real authorization server, a person's part done by script."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from holdfast.auth import Credentials, SQLiteSecrets, TokenBound
from holdfast.cli import main
from tests.oauth.browser import visit

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

ROOT = Path(__file__).parents[2]

BROWSER = """
import anyio, httpx, sys
from urllib.parse import parse_qs, urlsplit
from tests.oauth.browser import visit

async def main():
    callback = parse_qs(urlsplit(sys.argv[1]).query)["redirect_uri"][0]
    found = await visit(sys.argv[1], until=callback, login="ada", password="any")
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.get(callback.replace("/callback", "/favicon.ico"))
        forged = await client.get(callback, params={"code": "forged", "state": "forged"})
        assert forged.status_code == 400, forged.status_code
        assert "close this page" in (await client.get(found)).text

anyio.run(main)
"""


def told(directory: Path) -> list[str]:
    return ["--profiles", str(directory / "profiles.toml"), "--store", f"sqlite+clear:{directory / 'secrets.db'}"]


def command(directory: Path, *arguments: str, browser: Path | None = None) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    environ["BROWSER"] = f"{sys.executable} {browser} %s"
    return subprocess.Popen(
        [sys.executable, "-m", "holdfast", *arguments, *told(directory)],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def profile(directory: Path, issuer: str, client_id: str) -> None:
    (directory / "profiles.toml").write_text(
        f'[ada]\nkind = "login"\norigins = "https://api.test"\nserver = "{issuer}"\nclient_id = "{client_id}"\n'
        'scope = "openid offline_access"\n'
    )


async def said(process: subprocess.Popen[str]) -> tuple[int, str]:
    def wait() -> tuple[int, str]:
        out, _ = process.communicate(timeout=60)
        return process.returncode, out

    return await anyio.to_thread.run_sync(wait)


async def here(directory: Path, name: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """A command for ada without a process of its own, which would take longest."""
    code = await anyio.to_thread.run_sync(main, [name, "ada", *told(directory)])
    return code, capsys.readouterr().out


async def token_of(directory: Path) -> tuple[str, str]:
    """What a program gets of it: the token, and the refresh token behind it."""
    store = SQLiteSecrets(directory / "secrets.db", key=None)
    async with store, await Credentials.from_file(directory / "profiles.toml", store) as credentials:
        credential = credentials["ada"]
        assert isinstance(credential, TokenBound)
        token = await credential.source.get()
        assert token.refresh_token is not None
        return token.access_token.reveal(), token.refresh_token.reveal()


async def test_a_person_logs_in_with_a_browser_and_out_again(
    oidc_provider: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile(tmp_path, oidc_provider, "app")
    (tmp_path / "browser.py").write_text(BROWSER)
    assert "not logged in" in (await here(tmp_path, "whoami", capsys))[1]
    code, out = await said(command(tmp_path, "login", "ada", browser=tmp_path / "browser.py"))
    assert (code, "Logged in" in out) == (0, True), out
    secrets = await token_of(tmp_path)
    code, whoami = await here(tmp_path, "whoami", capsys)
    assert code == 0
    assert "renewed by itself" in whoami
    assert not any(secret in out + whoami for secret in secrets)
    assert await here(tmp_path, "logout", capsys) == (0, "Logged out.\n")
    assert "not logged in" in (await here(tmp_path, "whoami", capsys))[1]
    assert await here(tmp_path, "logout", capsys) == (0, "Not logged in.\n")


async def test_a_person_logs_in_on_another_device(oidc_provider: str, tmp_path: Path) -> None:
    profile(tmp_path, oidc_provider, "television")
    process = command(tmp_path, "login", "ada", "--device")
    assert process.stdout is not None
    found = re.fullmatch(r"Open (\S+) and enter (\S+)\n", await anyio.to_thread.run_sync(process.stdout.readline))
    assert found is not None
    await visit(found[1], user_code=found[2], login="ada", password="any")
    code, out = await said(process)
    assert (code, "Logged in" in out) == (0, True), out
    await token_of(tmp_path)
