"""``python -m holdfast login PROFILE``, ``logout`` and ``whoami``: a person's tokens, in a store."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import time
from typing import Any, Final

import anyio
from anyio import to_thread
from anyio.abc import SocketAttribute, SocketStream

from holdfast.auth.oauth.client import OAuthClient
from holdfast.auth.profiles import oauth_client, read_profiles, token_name
from holdfast.auth.stores.base import SecretStore
from holdfast.auth.token_source import of_a_login
from holdfast.cli.secret_stores import add_store_to, run_with_store
from holdfast.cli.words import printable
from holdfast.core.oauth.answers import TokenError
from holdfast.core.profiles import Profile
from holdfast.core.tokens import Token
from holdfast.errors import HoldfastError, InvalidInput

__all__ = ["add_to"]

_PATIENCE: Final = 300.0  # seconds for a person to log in
_LONGEST: Final = 16 * 1024
_PAGE: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    "<title>holdfast login</title><body style='font: 1.25rem system-ui; margin: 3rem'><p>{}"
)
_DONE: Final = "You are logged in, and can close this page."
_FAILED: Final = "The login failed; the terminal says why."


def add_to(commands: Any) -> None:
    """Add these commands to argparse's subparsers (whose class has no public name)."""
    for name, summary, work in (
        ("login", "log in as a person, and keep the tokens", _login),
        ("logout", "have the server forget the tokens, and forget them here", _logout),
        ("whoami", "what is kept of a profile, but for secrets", _whoami),
    ):
        parser: argparse.ArgumentParser = commands.add_parser(name, description=summary + ".")
        parser.add_argument("profile", metavar="PROFILE", help="a table of the file with the profiles")
        file = "the file with the profiles; default: profiles.toml"
        parser.add_argument("--profiles", type=Path, default=Path("profiles.toml"), metavar="TOML", help=file)
        add_store_to(parser)
        parser.set_defaults(run=partial(run_with_store, work))
        if name == "login":
            parser.add_argument("--device", action="store_true", help="with a code, in a browser on another device")


async def _login(store: SecretStore, arguments: argparse.Namespace) -> int:
    profile = _profile(arguments)
    name, scope = token_name(profile), profile.settings.get("scope")
    async with oauth_client(profile, await store.get(profile.secret)) as client:
        try:
            token = await (_by_device if arguments.device else _by_browser)(client, scope)
        except client.errors as error:
            raise HoldfastError(f"{client.issuer} gave no answer: {_reason(error)}") from None
    async with store.exclusive(name):  # a program that renews the old one would put its own in place of this
        await store.save(name, of_a_login(token))
    print(f"Logged in; the tokens are {store.place(name)}.")
    return 0


async def _logout(store: SecretStore, arguments: argparse.Namespace) -> int:
    profile = _profile(arguments)
    async with store.exclusive(token_name(profile)):
        token = await store.load(token_name(profile))
        await store.delete(token_name(profile))  # first: gone here, whatever the server says
    if token is None:
        print("Not logged in.")
        return 0
    async with oauth_client(profile, await store.get(profile.secret)) as client:
        try:
            await client.revoke(token)
        except Exception as error:  # of two libraries; who logs out is told, and is logged out
            print(
                f"The tokens are forgotten here; the server was not told: {printable(_reason(error))}", file=sys.stderr
            )
            return 1
    print("Logged out.")
    return 0


async def _whoami(store: SecretStore, arguments: argparse.Namespace) -> int:
    profile = read_profiles(arguments.profiles).get(arguments.profile)
    if profile is None:
        raise _unknown(arguments)
    print(printable(f"{profile.name}: {profile.kind}, for {' '.join(profile.origins)}"))
    for key, value in profile.settings.items():
        print(printable(f"  {key}: {value}"))
    if profile.kind != "login":
        found = await store.get(profile.secret)
        print(printable(f"  {store.place(profile.secret)} is {'set' if found else 'not set'}"))
        return 0 if found else 1
    token = await store.load(token_name(profile))
    if token is None:
        print("  not logged in")
        return 1
    over = token.expires_at is not None and token.expires_at <= time()
    print(*(printable(f"  {line}") for line in _told(token, over)), sep="\n")
    return 1 if over and token.refresh_token is None else 0


def _told(token: Token, over: bool) -> list[str]:
    when = "when the server says" if token.expires_at is None else _date(token.expires_at)
    lines = [f"the access token {'ended' if over else 'ends'} {when}"]
    if token.refresh_token is not None:
        lines.append("it is renewed by itself")
    else:
        lines.append("a new login is needed" if over else "then a new login is needed")
    return lines if token.scope is None else [*lines, f"scope: {token.scope}"]


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__  # some of the library's errors have no text


def _profile(arguments: argparse.Namespace) -> Profile:
    profile = read_profiles(arguments.profiles).get(arguments.profile)
    if profile is None:
        raise _unknown(arguments)
    if profile.kind != "login":
        raise InvalidInput(f"profile {profile.name} is a {profile.kind}: nobody logs in there", argument="profile")
    return profile


def _unknown(arguments: argparse.Namespace) -> InvalidInput:
    return InvalidInput(f"{arguments.profiles} has no profile {arguments.profile!r}", argument="profile")


async def _by_device(client: OAuthClient, scope: str | None) -> Token:
    code = await client.device_code(scope=scope)
    print(f"Open {printable(code.verification_uri)} and enter {printable(code.user_code)}", flush=True)
    return await client.device_token(code)


async def _by_browser(client: OAuthClient, scope: str | None) -> Token:
    """Authorization code with PKCE, and a redirect to a port of this machine (RFC 8252 7.3)."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener:
        port = listener.extra(SocketAttribute.local_port)
        begun = await client.authorization(redirect_uri=f"http://127.0.0.1:{port}/callback", scope=scope)
        tokens: list[Token] = []
        failures: list[Exception] = []

        async def answer(stream: SocketStream) -> None:
            async with stream:
                target = await _target(stream)
                if not target.startswith("/callback?"):
                    await _say(stream, 404, "There is nothing here.")
                    return
                try:
                    tokens.append(await client.authorized(begun, f"http://127.0.0.1:{port}{target}"))
                except TokenError as error:
                    # Any page can send a browser here: what does not know the state ends nothing.
                    if error.error == "invalid_state":
                        await _say(stream, 400, "This is no answer to the login that was begun.")
                        return
                    failures.append(error)
                except Exception as error:  # of two libraries; told below, outside the group
                    failures.append(error)
                await _say(stream, 200, _DONE if tokens else _FAILED)
                tasks.cancel_scope.cancel()

        print(f"Log in at {printable(begun.url)}", flush=True)
        with anyio.move_on_after(_PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_open, begun.url)  # beside: some browsers are waited for until they are closed
                await listener.serve(answer, task_group=tasks)
    if tokens:
        return tokens[0]
    raise failures[0] if failures else HoldfastError(f"nobody logged in within {_PATIENCE:.0f} s")


async def _open(url: str) -> None:
    await to_thread.run_sync(webbrowser.open, url, abandon_on_cancel=True)


async def _target(stream: SocketStream) -> str:
    """The target of a GET request; empty for anything else."""
    head = b""
    try:
        while b"\r\n\r\n" not in head and len(head) < _LONGEST:
            head += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return ""
    method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    return rest.partition(" ")[0] if method == "GET" else ""


async def _say(stream: SocketStream, status: int, text: str) -> None:
    body = _PAGE.format(text).encode()
    head = f"HTTP/1.1 {status} -\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    with suppress(anyio.BrokenResourceError):  # the browser left
        await stream.send(head.encode() + body)
