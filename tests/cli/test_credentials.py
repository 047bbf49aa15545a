"""``holdfast credentials``: secrets go in by a pipe, a prompt or a file, and never come out."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from argparse import Namespace
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import anyio
import anyio.lowlevel
import pytest

from holdfast.auth import EncryptedFile, MemorySecrets, OAuth2, OAuthClient, RefreshToken, Secret, Token
from holdfast.auth.profiles import read_profiles, token_name
from holdfast.cli import login, main
from holdfast.core.profiles import Profile
from holdfast.testing import Reply, VirtualClock
from tests.auth.authorization_server import client_of
from tests.policies.loop_time import JumpingLoop, LoopClock
from tests.support import FamilyModules

KEY = bytes(range(32))
SECRET = "s3cr3t-value"

Run = Callable[..., tuple[int, str, str]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command with a line on standard input: its exit code, its output and its complaints."""
    monkeypatch.setenv("HOLDFAST_STORE", f"file:{tmp_path / 'secrets'}")
    monkeypatch.setenv("HOLDFAST_STORE_KEY", b64encode(KEY).decode())

    def run(*arguments: str, typed: str = "", terminal: bool = False) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", Terminal() if terminal else io.StringIO(typed))
        code = main(arguments)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def kept(path: Path) -> dict[str, str]:
    async def read() -> dict[str, str]:
        store = EncryptedFile(path / "secrets", key=KEY)
        return {name: (await store.require(name)).reveal() for name in await store.names()}

    return anyio.run(read)


def test_a_secret_is_set_rotated_listed_and_removed(run: Run, tmp_path: Path) -> None:
    assert run("credentials", "set", "github", typed=f"{SECRET}\n") == (0, "github is kept.\n", "")
    assert kept(tmp_path) == {"github": SECRET}
    code, out, complaint = run("credentials", "set", "github", typed="other\n")
    assert (code, out) == (2, "")
    assert "is there already" in complaint
    assert run("credentials", "rotate", "github", typed=f"{SECRET}-2\n") == (0, "github is replaced.\n", "")
    assert kept(tmp_path) == {"github": f"{SECRET}-2"}
    assert run("credentials", "ls") == (0, "github\n", "")
    lines = "-----BEGIN KEY-----\nMC4CAQ\n-----END KEY-----"
    assert run("credentials", "set", "pem", typed=f"{lines}\n")[0] == 0
    assert kept(tmp_path)["pem"] == lines
    run("credentials", "rm", "pem")
    assert json.loads(run("credentials", "ls", "--json")[1])["names"] == ["github"]
    assert run("credentials", "rm", "github") == (0, "", "")
    assert run("credentials", "ls") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "typed", "told"),
    [
        (("set", "a"), "\n", "nothing was given"),
        (("set", "a"), "\udcff", "no text in UTF-8"),
        (("rotate", "a"), "x\n", "'a'"),
        (("rm", "a"), "", "'a'"),
        (("ls", "--store", "nowhere"), "", "'nowhere' is no store"),
        (("ls", "--store", "file:"), "", "is no store"),
    ],
)
def test_what_cannot_be_done_is_told_with_code_2(arguments: tuple[str, ...], typed: str, told: str, run: Run) -> None:
    code, out, complaint = run("credentials", *arguments, typed=typed)
    assert (code, out) == (2, "")
    assert told in complaint


def test_who_types_nothing_but_the_end_of_input_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def getpass(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("holdfast.cli.credentials.getpass", getpass)
    code, _, complaint = run("credentials", "set", "a", terminal=True)
    assert (code, "nothing was given" in complaint) == (2, True)


def test_a_secret_that_was_given_as_an_argument_is_not_told_again(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("credentials", "set", "github", SECRET)
    assert caught.value.code == 2
    complaint = capsys.readouterr().err
    assert "no secret is an argument" in complaint
    assert SECRET not in complaint


def test_the_same_secret_is_no_rotation(run: Run) -> None:
    run("credentials", "set", "a", typed=SECRET)
    code, _, complaint = run("credentials", "rotate", "a", typed=SECRET)
    assert code == 2
    assert SECRET not in complaint


@pytest.mark.parametrize("kind", ["file", "sqlite"])
def test_without_a_key_the_variable_is_named_and_nothing_is_kept(
    kind: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOLDFAST_STORE_KEY")
    code, out, complaint = run("credentials", "set", "a", "--store", f"{kind}:{tmp_path / 's'}", typed=SECRET)
    assert (code, out) == (2, "")
    assert "HOLDFAST_STORE_KEY is not set" in complaint
    assert list(tmp_path.iterdir()) == []


def test_a_tampered_store_is_named(run: Run, tmp_path: Path) -> None:
    run("credentials", "set", "a", typed=SECRET)
    (tmp_path / "secrets").write_bytes((tmp_path / "secrets").read_bytes()[:-1])
    code, _, complaint = run("credentials", "ls")
    assert code == 2
    assert "secrets: it was cut off or tampered with" in complaint


CSV = f"""\ufeffname,secret,kind,origins,username,header

github,{SECRET}-1,bearer,https://api.github.com https://uploads.github.com,,
"my ""shop",{SECRET}-2,basic,https://shop.test,ada,
search,{SECRET}-3,api_key,https://search.test,,X-Token
lone,{SECRET}-4,,,,
"""


def test_many_profiles_come_from_a_csv_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(CSV)
    code, out, complaint = run("credentials", "import", str(tmp_path / "in.csv"), "--profiles", str(tmp_path / "p"))
    assert (code, out, complaint) == (0, "4 secrets kept.\n", "")
    names = ["github", 'my "shop', "search", "lone"]
    assert kept(tmp_path) == {name: f"{SECRET}-{number}" for number, name in enumerate(names, 1)}
    assert SECRET not in (tmp_path / "p").read_text()
    origins = ("https://api.github.com", "https://uploads.github.com")
    assert read_profiles(tmp_path / "p") == {
        "github": Profile("github", "bearer", origins, "github", {}),
        'my "shop': Profile('my "shop', "basic", ("https://shop.test",), 'my "shop', {"username": "ada"}),
        "search": Profile("search", "api_key", ("https://search.test",), "search", {"header": "X-Token"}),
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the columns are"),
        ("name,password\na,x\n", "the columns are"),
        ("name,secret\na,x\nb,\n", "line 3"),
        ("name,secret\na,x\na,y\n", "line 3"),
        (f"name,secret\na,x,{SECRET}\n", "line 2"),
        (f"name,secret\na,{SECRET}\0\n\udcff", "no CSV in UTF-8"),
        (f"name,secret,kind,origins\na,{SECRET},magic,https://a.test\n", "profile a"),
        (f"name,secret,kind\na,{SECRET},basic\n", "profile a needs origins"),
        (f"secret,name\na,{SECRET}{'x' * 128}\n", "line 2"),  # in each other's place
        (f"name;secret\na;{SECRET}\n", "the columns are"),
        (f"name,secret,secret\na,x,{SECRET}\n", "the columns are"),
        (f"name,secret,origins\na,{SECRET},ftp://a.test\n", "profile a: "),
        (
            f"name,secret,kind,origins,server,client_id\na,{SECRET},login,https://a.test,id.test,app\n",
            "profile a: issuer",
        ),
    ],
)
def test_a_csv_file_with_a_fault_is_not_imported_at_all(text: str, told: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(text, errors="surrogateescape")
    code, out, complaint = run("credentials", "import", str(tmp_path / "in.csv"))
    assert (code, out) == (2, "")
    assert told in complaint
    assert SECRET not in complaint
    assert not (tmp_path / "secrets").exists()


def test_an_import_that_cannot_be_kept_leaves_no_profiles(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(CSV)
    told = ("--store", f"sqlite:{tmp_path}", "--replace", "--profiles", str(tmp_path / "p"))  # no file, but a directory
    assert run("credentials", "import", str(tmp_path / "in.csv"), *told)[0] == 2
    assert not (tmp_path / "p").exists()


def test_an_import_replaces_only_when_told_to(run: Run, tmp_path: Path) -> None:
    run("credentials", "set", "lone", typed="old")
    (tmp_path / "in.csv").write_text(CSV)
    assert run("credentials", "import", str(tmp_path / "in.csv"))[0] == 2
    assert kept(tmp_path) == {"lone": "old"}
    assert run("credentials", "import", "--replace", str(tmp_path / "in.csv"))[0] == 0
    assert kept(tmp_path)["lone"] == f"{SECRET}-4"


@pytest.mark.skipif(sys.platform == "win32", reason="no os.openpty on Windows, to stand for a terminal")
def test_what_is_typed_at_a_terminal_is_not_shown(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    environ = {
        **os.environ,
        "HOLDFAST_STORE": f"file:{tmp_path / 'secrets'}",
        "HOLDFAST_STORE_KEY": b64encode(KEY).decode(),
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "holdfast", "credentials", "set", "github"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = b""
        while b"Secret for github: " not in shown:
            shown += os.read(ours, 1024)
        os.write(ours, f"{SECRET}\n".encode())
        while b"kept" not in shown:
            shown += os.read(ours, 1024)
        assert process.wait(30) == 0
    os.close(ours)
    assert SECRET.encode() not in shown
    assert kept(tmp_path) == {"github": SECRET}


def test_whoami_tells_all_but_secrets(run: Run, tmp_path: Path) -> None:
    (tmp_path / "profiles.toml").write_text("[github]\norigins = 'https://api.github.com'\n")
    profiles = ("--profiles", str(tmp_path / "profiles.toml"))
    code, out, _ = run("whoami", "github", *profiles)
    assert code == 1
    assert "is not set" in out
    run("credentials", "set", "github", typed=SECRET)
    code, out, _ = run("whoami", "github", *profiles)
    assert code == 0
    assert "github: bearer, for https://api.github.com" in out
    assert SECRET not in out
    assert "no profile 'nobody'" in run("whoami", "nobody", *profiles)[2]
    assert "nobody logs in there" in run("login", "github", *profiles)[2]


def logged_in(path: Path, **fields: Any) -> None:
    profile = read_profiles(path / "profiles.toml")["ada"]

    async def save() -> None:
        await EncryptedFile(path / "secrets", key=KEY).save(token_name(profile), Token(Secret(SECRET), **fields))

    anyio.run(save)


def a_login(path: Path, server: str) -> tuple[str, ...]:
    (path / "profiles.toml").write_text(
        f"[ada]\nkind = 'login'\norigins = 'https://api.test'\nserver = '{server}'\nclient_id = 'app'\n"
    )
    return ("ada", "--profiles", str(path / "profiles.toml"))


@pytest.mark.parametrize(
    ("fields", "code", "told"),
    [
        ({}, 0, "the access token ends when the server says"),
        ({"expires_at": 4e9}, 0, "the access token ends 2096-10-02"),
        ({"expires_at": 1e9}, 1, "the access token ended 2001-09-09"),
        ({"expires_at": 1e9, "refresh_token": Secret(SECRET)}, 0, "the access token ended 2001-09-09"),
    ],
)
def test_whoami_tells_whether_the_login_still_holds(
    fields: dict[str, Any], code: int, told: str, run: Run, tmp_path: Path
) -> None:
    profile = a_login(tmp_path, "https://id.test")
    logged_in(tmp_path, **fields)
    found, out, _ = run("whoami", *profile)
    assert (found, told in out) == (code, True), out


def test_no_other_server_gets_the_tokens_of_a_login(run: Run, tmp_path: Path) -> None:
    profile = a_login(tmp_path, "https://id.test")
    logged_in(tmp_path, refresh_token=Secret(SECRET))
    assert run("whoami", *profile)[0] == 0
    assert "not logged in" in run("whoami", *a_login(tmp_path, "https://evil.test"))[1]


def device_server(
    number: int, request: Any, *, asked: list[dict[str, str]], pending: int = 0, interval: int = 1
) -> Reply:
    """Renews a token in three seconds, and lets a device in when it has asked more than ``pending`` times."""
    form = dict(parse_qsl(request.content.decode()))
    asked.append(form)
    match request.url.path, form.get("grant_type"):
        case "/device", _:
            shown = {"device_code": "d", "user_code": "ABCD", "verification_uri": "https://id.test/go"}
            return Reply.json({**shown, "expires_in": 600, "interval": interval})
        case "/token", "refresh_token":
            return Reply.json({"access_token": "renewed", "refresh_token": "r2", "expires_in": 3600}, delay=3.0)
        case "/token", _ if len(asked) > pending + 1:
            return Reply.json({"access_token": "of-the-login", "refresh_token": "r1"})
        case "/token", _:
            return Reply.json({"error": "authorization_pending"}, status=400)
    return Reply(200)


class Person:
    """What the commands of ada need, with a server that is scripted: her profile, her store, her arguments."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, client: OAuthClient) -> None:
        _, _, file = a_login(path, "https://id.test")
        self.arguments = Namespace(profile="ada", profiles=Path(file), device=True)
        self.name = token_name(read_profiles(file)["ada"])
        self.store = MemorySecrets()
        monkeypatch.setattr(login, "oauth_client", lambda *_: client)


@pytest.mark.anyio
@pytest.mark.parametrize("command", ["_login", "_logout"])
async def test_a_refresh_that_is_under_way_undoes_neither_login_nor_logout(
    command: str, family: FamilyModules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, asked = VirtualClock(jump=True), list[dict[str, str]]()
    far_side = partial(device_server, asked=asked)
    async with client_of(family, far_side, clock=clock) as program, client_of(family, far_side, clock=clock) as client:
        ada = Person(tmp_path, monkeypatch, client)
        await ada.store.save(ada.name, Token(Secret("old"), refresh_token=Secret("r0"), expires_at=1.0))
        source = OAuth2(program, RefreshToken(), store=ada.store, name=ada.name).source
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.get)
            while not asked:
                await anyio.lowlevel.checkpoint()
            assert await getattr(login, command)(ada.store, ada.arguments) == 0
        kept = await ada.store.load(ada.name)
    if command == "_login":
        assert kept is not None
        assert kept.access_token.reveal() == "of-the-login"
    else:
        assert kept is None
        assert [form["token"] for form in asked if "token" in form] == ["r2", "renewed"]


def test_a_login_on_a_device_waits_as_long_as_its_code_is_good(
    family: FamilyModules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late() -> tuple[str, float]:
        far_side = partial(device_server, asked=[], pending=4, interval=100)
        async with client_of(family, far_side, clock=LoopClock()) as client:
            ada = Person(tmp_path, monkeypatch, client)
            assert await login._login(ada.store, ada.arguments) == 0
            token = await ada.store.load(ada.name)
        assert token is not None
        return token.access_token.reveal(), asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        token, took = runner.run(late())
    assert (token, 500 <= took < 510) == ("of-the-login", True), took


def test_a_server_that_is_not_there_is_told_in_a_line(run: Run, tmp_path: Path) -> None:
    profile = a_login(tmp_path, "http://127.0.0.1:9")
    code, out, complaint = run("login", *profile)
    assert (code, out) == (2, "")
    assert "http://127.0.0.1:9" in complaint
    assert complaint.count("\n") == 1
    logged_in(tmp_path)
    code, out, complaint = run("logout", *profile)
    assert (code, out) == (1, "")
    assert "forgotten here" in complaint
    assert kept(tmp_path) == {}
