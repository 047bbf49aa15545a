"""Places for secrets and tokens: one contract for all of them, and what becomes of each when it is mistreated."""

# ruff: noqa: ASYNC240  (a test may wait for the disk, and for its own processes)

from __future__ import annotations

import errno
import os
import secrets
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
import pytest
from keyring.backend import KeyringBackend

from holdfast.auth import (
    EncryptedFile,
    EnvironmentSecrets,
    KeyringSecrets,
    MemorySecrets,
    MissingSecret,
    Secret,
    SecretStore,
    SQLiteSecrets,
    Token,
)
from holdfast.errors import InvalidInput
from holdfast.stores.base import StoreDamaged, StoreError, StoreLocked, StoreReadOnly, StoreUnsafe
from holdfast.testing import VirtualClock

pytestmark = pytest.mark.anyio

KEY: Final = bytes(range(32))
SECRET: Final = "s3cr3t-value"
ROOT: Final = Path(__file__).parents[2]


class Ring(KeyringBackend):
    """A keyring in memory, as keyring's own documentation has one made."""

    priority = 5.0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


def keyring_at(path: Path, rings: dict[Path, Ring] = {}) -> SecretStore:  # noqa: B006  (the machine's one keyring)
    return KeyringSecrets(backend=rings.setdefault(path, Ring()), locks=path)


KINDS: Final[Mapping[str, Callable[[Path], SecretStore]]] = {
    "memory": lambda path: MemorySecrets(),
    "file": lambda path: EncryptedFile(path / "new" / "secrets", key=KEY),
    "sqlite": lambda path: SQLiteSecrets(path / "new" / "secrets.db", key=None),
    "sealed sqlite": lambda path: SQLiteSecrets(path / "new" / "secrets.db", key=KEY),
    "keyring": keyring_at,
}
LASTING: Final = [name for name in KINDS if name != "memory"]
ON_DISK: Final = ["file", "sqlite", "sealed sqlite"]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SecretStore:
    return KINDS[request.param](tmp_path)


async def test_what_was_put_is_given_back_as_it_was(store: SecretStore) -> None:
    async with store:
        texts = {"a": "plain", "b/c.d@e": "ü \n\r\t\0 \U0001f511", "lone": "\ud800", "Ä": "x" * 100_000}
        for name, text in texts.items():
            await store.put(name, Secret(text))
        assert {name: await store.get(name) for name in texts} == {name: Secret(text) for name, text in texts.items()}
        assert await store.names() == sorted(texts)
        assert await store.get("A") is None


async def test_the_last_one_counts_and_a_deleted_one_is_gone(store: SecretStore) -> None:
    async with store:
        await store.delete("a")
        await store.put("a", Secret("old"))
        await store.put("b", Secret("other"))
        await store.put("a", Secret("new"))
        assert await store.require("a") == Secret("new")
        await store.delete("a")
        assert await store.get("a") is None
        assert await store.names() == ["b"]
        with pytest.raises(MissingSecret, match="'a'"):
            await store.require("a")


@pytest.mark.parametrize(
    "token",
    [
        Token(Secret("t")),
        Token(
            Secret("t"),
            expires_at=1.7e9,
            lifetime=3600,
            refresh_token=Secret("r"),
            token_type="DPoP",
            scope="read write",
        ),
    ],
)
async def test_a_token_comes_back_with_all_that_it_had(store: SecretStore, token: Token) -> None:
    async with store:
        assert await store.load("github") is None
        await store.save("github", token)
        assert await store.load("github") == token


@pytest.mark.parametrize("text", ["no json", "[]", '{"kind": "holdfast-token/2"}', '{"kind": "holdfast-token/1"}'])
async def test_a_secret_that_is_no_token_is_not_taken_for_one(store: SecretStore, text: str) -> None:
    async with store:
        await store.put("a", Secret(text))
        with pytest.raises(StoreDamaged, match="'a' is no token"):
            await store.load("a")


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb", "\0"])
async def test_a_name_that_could_not_be_kept_everywhere_is_refused_everywhere(store: SecretStore, name: str) -> None:
    async with store:
        with pytest.raises(InvalidInput, match="name"):
            await store.put(name, Secret("s"))
        with pytest.raises(InvalidInput, match="name"):
            await store.get(name)
        with pytest.raises(InvalidInput, match="name"):
            async with store.exclusive(name):
                pass
        assert await store.names() == []


async def test_one_task_at_a_time_is_let_in_and_another_name_is_another_door(store: SecretStore) -> None:
    inside, most, seen = 0, 0, list[int]()

    async def enter(number: int) -> None:
        nonlocal inside, most
        async with store.exclusive("a"):
            inside += 1
            most = max(most, inside)
            await anyio.lowlevel.checkpoint()
            seen.append(number)
            inside -= 1

    async with store:
        with anyio.fail_after(60):
            async with store.exclusive("b"), anyio.create_task_group() as tasks:
                for number in range(4):
                    tasks.start_soon(enter, number)
        assert (most, sorted(seen)) == (1, [0, 1, 2, 3])


@pytest.mark.skipif(sys.platform == "win32", reason="no fcntl.flock on Windows, whose answer this is about")
async def test_a_file_system_without_locks_is_told_of_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(StoreError, match=r"\.lock: No locks available"):
        async with EncryptedFile(tmp_path / "secrets", key=KEY).exclusive("a"):
            raise AssertionError("it is not held")


async def test_who_gives_up_waiting_or_fails_inside_leaves_the_door_open(store: SecretStore) -> None:
    async with store:
        with anyio.fail_after(60):
            async with store.exclusive("a"):
                with anyio.move_on_after(0.01) as gone:
                    async with store.exclusive("a"):
                        raise AssertionError("two are inside")
                assert gone.cancelled_caught
            with pytest.raises(OSError, match="as it was raised"):
                async with store.exclusive("a"):
                    raise OSError("as it was raised")
            async with store.exclusive("a"):
                pass


async def test_nothing_shows_a_secret(store: SecretStore, tmp_path: Path) -> None:
    async with store:
        await store.put("a", Secret(SECRET))
        with pytest.raises(StoreDamaged) as caught:
            await store.load("a")
        assert SECRET not in f"{store!r} {caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    if "sqlite" in repr(store).lower() and "clear" in repr(store):
        return
    assert not any(SECRET.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


@pytest.mark.parametrize("kind", LASTING)
async def test_it_is_there_for_the_next_process(kind: str, tmp_path: Path) -> None:
    async with KINDS[kind](tmp_path) as store:
        await store.put("a", Secret(SECRET))
    async with KINDS[kind](tmp_path) as store:
        assert await store.get("a") == Secret(SECRET)
        assert await store.names() == ["a"]


# What lies on a disk.


@pytest.mark.parametrize("kind", ON_DISK)
async def test_only_its_owner_can_read_it(kind: str, tmp_path: Path) -> None:
    async with KINDS[kind](tmp_path) as store:
        await store.put("a", Secret(SECRET))
        async with store.exclusive("a"):
            modes = {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "new").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def main_file(path: Path) -> Path:
    return next(file for file in (path / "new").iterdir() if file.name in ("secrets", "secrets.db"))


@pytest.mark.parametrize("kind", ON_DISK)
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
async def test_a_file_that_others_can_reach_is_named_and_not_used(kind: str, mode: int, tmp_path: Path) -> None:
    async with KINDS[kind](tmp_path) as store:
        await store.put("a", Secret(SECRET))
    path = main_file(tmp_path)
    path.chmod(mode)
    async with KINDS[kind](tmp_path) as store:
        with pytest.raises(StoreUnsafe, match=f"{path.name}.*{mode:o}.*600"):
            await store.get("a")
        with pytest.raises(StoreUnsafe, match=f"{path.name}.*{mode:o}.*600"):
            await store.put("a", Secret("new"))


@pytest.mark.parametrize("keep", [0, 1, 19, 35, 40, -1])
async def test_a_file_that_was_cut_off_is_named_and_left_as_it_is(keep: int, tmp_path: Path) -> None:
    store = KINDS["file"](tmp_path)
    await store.put("a", Secret(SECRET))
    path = main_file(tmp_path)
    path.write_bytes(torn := path.read_bytes()[:keep])
    for work in (lambda: store.get("a"), lambda: store.put("b", Secret("new")), store.names):
        with pytest.raises(StoreDamaged, match=path.name):
            await work()
    assert path.read_bytes() == torn


async def test_a_change_of_any_byte_is_found(tmp_path: Path) -> None:
    store = KINDS["file"](tmp_path)
    await store.put("a", Secret(SECRET))
    path = main_file(tmp_path)
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes((content[place] ^ 1,)) + content[place + 1 :])
        with pytest.raises(StoreDamaged):
            await store.get("a")


async def test_a_sealed_value_passes_for_no_other(tmp_path: Path) -> None:
    async with KINDS["sealed sqlite"](tmp_path) as store:
        await store.put("a", Secret("of a"))
        await store.put("b", Secret("of b"))
    with closing(sqlite3.connect(main_file(tmp_path))) as file, file:
        file.execute("UPDATE secrets SET value = (SELECT value FROM secrets WHERE name = 'b') WHERE name = 'a'")
    async with KINDS["sealed sqlite"](tmp_path) as store:
        with pytest.raises(StoreDamaged, match="'a'"):
            await store.get("a")
        assert await store.get("b") == Secret("of b")


@pytest.mark.parametrize("content", [b"no database at all" * 400, None], ids=["another file", "torn"])
async def test_a_damaged_database_is_named_and_no_new_one_is_begun(content: bytes | None, tmp_path: Path) -> None:
    async with KINDS["sqlite"](tmp_path) as store:
        await store.put("a", Secret(SECRET * 1000))
    path = main_file(tmp_path)
    path.write_bytes(damaged := path.read_bytes()[:5000] if content is None else content)
    async with KINDS["sqlite"](tmp_path) as store:
        with pytest.raises(StoreDamaged, match=path.name):
            await store.get("a")
    assert path.read_bytes() == damaged
    assert [file.name for file in path.parent.iterdir() if "aside" in file.name or "foreign" in file.name] == []


async def test_who_gives_up_while_a_lease_is_being_taken_leaves_none(tmp_path: Path) -> None:
    async with SQLiteSecrets(tmp_path / "s.db", key=None) as store:
        await store.put("a", Secret(SECRET))
        with closing(sqlite3.connect(tmp_path / "s.db", isolation_level=None)) as other:
            async with anyio.create_task_group() as tasks:
                other.execute("BEGIN IMMEDIATE")
                tasks.start_soon(store.exclusive("b").__aenter__)
                await anyio.wait_all_tasks_blocked()  # in its thread, behind the other's transaction
                tasks.cancel_scope.cancel()
                other.execute("ROLLBACK")
            await store.put("a", Secret("behind whatever was under way"))
            assert other.execute("SELECT name FROM leases").fetchall() == []


async def test_a_deleted_secret_is_nowhere_in_the_file(tmp_path: Path) -> None:
    async with KINDS["sqlite"](tmp_path) as store:
        await store.put("a", Secret(SECRET))
        assert any(SECRET.encode() in file.read_bytes() for file in (tmp_path / "new").iterdir())
        await store.delete("a")
        assert not any(SECRET.encode() in file.read_bytes() for file in (tmp_path / "new").iterdir())


# Keys.


@pytest.mark.parametrize("make", [EncryptedFile, SQLiteSecrets])
async def test_another_key_opens_nothing_and_overwrites_nothing(
    make: Callable[..., SecretStore], tmp_path: Path
) -> None:
    async with make(tmp_path / "s", key=KEY) as store:
        await store.put("a", Secret(SECRET))
    async with make(tmp_path / "s", key=bytes(32)) as store:
        with pytest.raises(StoreDamaged, match="another key"):
            await store.get("a")
    async with make(tmp_path / "s", key=Secret(b64encode(KEY).decode())) as store:
        assert await store.get("a") == Secret(SECRET)


@pytest.mark.parametrize("make", [EncryptedFile, SQLiteSecrets])
async def test_a_key_is_rotated_by_putting_another_in_front(make: Callable[..., SecretStore], tmp_path: Path) -> None:
    async with make(tmp_path / "s", key=KEY) as store:
        await store.put("a", Secret(SECRET))
    async with make(tmp_path / "s", key=[bytes(32), KEY]) as store:
        await store.put("a", Secret(f"{SECRET} again"))
    async with make(tmp_path / "s", key=bytes(32)) as store:
        assert await store.get("a") == Secret(f"{SECRET} again")


@pytest.mark.parametrize("key", [None, []])
async def test_without_a_key_there_is_an_error_and_no_file(key: list[bytes] | None, tmp_path: Path) -> None:
    with pytest.raises(StoreLocked, match="no key"):
        EncryptedFile(tmp_path / "s", key=key)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", [b"default-key", bytes(31), Secret("correct horse battery staple"), Secret("AAAA")])
async def test_what_is_no_key_is_not_made_one(key: bytes | Secret, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="32 random bytes") as caught:
        EncryptedFile(tmp_path / "s", key=key)
    assert "horse" not in str(caught.value)


# Processes that die, and several at once. They do not import this file: that takes longer than what they do.

STORE: Final = """
import anyio, sys
from pathlib import Path
from holdfast.auth import EncryptedFile, Secret, SQLiteSecrets

def opened(kind, directory):
    if kind == "file":
        return EncryptedFile(directory / "new" / "secrets", key=bytes(range(32)))
    return SQLiteSecrets(directory / "new" / "secrets.db", key=None)
"""

DIES: Final = f"""{STORE}
async def main():
    store, number = opened(sys.argv[1], Path(sys.argv[2])), 0
    async with store.exclusive("a"):
        while True:
            number += 1
            await store.put("a", Secret(f"{{number}} " * 5000))
            print(number, flush=True)

anyio.run(main)
"""


def started(script: str, *arguments: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True, env=environ, cwd=ROOT
    )


@pytest.mark.parametrize("kind", ["file", "sqlite"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_who_is_killed_leaves_a_whole_secret_and_the_door_to_others(kind: str, tmp_path: Path) -> None:
    with started(DIES, kind, str(tmp_path)) as process:
        assert process.stdout is not None
        for _ in range(12):
            written = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    clock = VirtualClock(wall=time.time(), jump=True)
    store = KINDS[kind](tmp_path)
    vars(store)["_clock"] = clock
    async with store:
        found = await store.require("a")
        number = int(found.reveal().split()[0])
        assert number >= written  # what was put and told of is there
        assert found == Secret(f"{number} " * 5000)
        began = clock.monotonic()
        with anyio.fail_after(60):
            async with store.exclusive("a"):
                waited = clock.monotonic() - began
        assert waited <= (9.0 if "sqlite" in kind else 2.0)


SHARES: Final = f"""{STORE}
import secrets
from holdfast.auth import Token, TokenSource

directory = Path(sys.argv[2])

async def fetch(previous):  # a server that rotates: a refresh token that was used before ends the family
    with open(directory / "asked", "a") as asked:
        asked.write("x")
    shown = "first" if previous is None else previous.refresh_token.reveal()
    if (directory / "current").read_text() != shown:
        (directory / "lost").write_text(shown)
        raise ValueError("invalid_grant")
    await anyio.sleep(0.01)  # the way to the server: time for another process to come in between
    fresh = secrets.token_hex(8)
    (directory / "current").write_text(fresh)
    return Token(Secret(secrets.token_hex(8)), refresh_token=Secret(fresh))

async def main():
    async with opened(sys.argv[1], directory) as store:
        seen = set()
        while len(seen) < 5:
            source = TokenSource(fetch, store=store, name="shared")
            token = await source.get()
            source._issued = 0.0  # as if it were older than a second
            seen.add(token.access_token.reveal())
            source.invalidate(token)
            seen.add((await source.get()).access_token.reveal())
            await source.aclose()
    print(len(seen))

anyio.run(main)
"""


@pytest.mark.parametrize("kind", ["file", "sqlite"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_three_processes_share_a_rotating_refresh_token_and_never_lose_it(kind: str, tmp_path: Path) -> None:
    (tmp_path / "current").write_text("first")
    processes = [started(SHARES, kind, str(tmp_path)) for _ in range(3)]
    try:
        outputs = [process.communicate(timeout=100)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert all(int(output) >= 5 for output in outputs)
    assert not (tmp_path / "lost").exists()


# The environment.


async def test_the_environment_is_read_by_name_or_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "mounted").write_text(f"{SECRET}\n")
    environ = {
        "HOLDFAST_GITHUB": "g",
        "HOLDFAST_MY_SHOP_FILE": str(tmp_path / "mounted"),
        "HOLDFAST_EMPTY": "",
        "STRIPE_KEY": "s",
        "PATH": "/bin",
    }
    store = EnvironmentSecrets(variables={"stripe": "STRIPE_KEY"}, environ=environ)
    found = {name: await store.get(name) for name in ("github", "GitHub", "my-shop", "stripe", "empty", "path")}
    assert {name: value and value.reveal() for name, value in found.items()} == {
        "github": "g",
        "GitHub": "g",
        "my-shop": SECRET,
        "stripe": "s",
        "empty": None,
        "path": None,
    }
    assert await store.names() == ["github", "my_shop", "stripe"]
    environ["HOLDFAST_GITHUB"] = "rotated"
    assert await store.get("github") == Secret("rotated")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (f"{SECRET}\r\n".encode(), SECRET),
        (b"-----BEGIN KEY-----\r\nMC4\r\n", "-----BEGIN KEY-----\r\nMC4"),
        (b"two lines at its end\n\n", "two lines at its end\n"),
        (b"k" * (1024 * 1024 + 1), None),
        (b"\xff\xfe", None),
    ],
    ids=["a line", "lines", "empty line", "too long", "no text"],
)
async def test_a_file_is_given_back_whole_or_named(content: bytes, found: str | None, tmp_path: Path) -> None:
    (tmp_path / "mounted").write_bytes(content)
    store = EnvironmentSecrets(environ={"HOLDFAST_A_FILE": str(tmp_path / "mounted")})
    if found is not None:
        assert await store.get("a") == Secret(found)
        return
    with pytest.raises(StoreError, match="HOLDFAST_A_FILE names a file that cannot be read"):
        await store.get("a")


async def test_a_missing_variable_is_named_and_no_value_is() -> None:
    store = EnvironmentSecrets(environ={"HOLDFAST_OTHER": SECRET, "HOLDFAST_GONE_FILE": "/nowhere/at/all"})
    with pytest.raises(MissingSecret, match="environment variable HOLDFAST_MY_SHOP ") as caught:
        await store.require("my-shop")
    assert caught.value.where == "the environment variable HOLDFAST_MY_SHOP"
    with pytest.raises(StoreError, match=r"HOLDFAST_GONE_FILE .* No such file"):
        await store.require("gone")


async def test_the_environment_takes_nothing() -> None:
    store = EnvironmentSecrets(environ={})
    with pytest.raises(StoreReadOnly, match="HOLDFAST_A "):
        await store.put("a", Secret("s"))
    with pytest.raises(StoreReadOnly):
        await store.delete("a")
    with pytest.raises(StoreReadOnly):
        await store.save("a", Token(Secret("s")))
    with pytest.raises(StoreReadOnly):
        async with store.exclusive("a"):
            pass


# The keyring.


@pytest.mark.parametrize(("priority", "error"), [(0.5, StoreUnsafe), (0.0, StoreLocked), (-1.0, StoreLocked)])
async def test_a_keyring_that_protects_nothing_gets_nothing(
    priority: float, error: type[StoreError], tmp_path: Path
) -> None:
    ring = Ring()
    ring.priority = priority
    store = KeyringSecrets(backend=ring, locks=tmp_path)
    with pytest.raises(error, match="use EncryptedFile or SQLiteSecrets"):
        await store.put("a", Secret(SECRET))
    assert ring.kept == {}


async def test_two_services_of_one_keyring_do_not_see_each_other(tmp_path: Path) -> None:
    ring = Ring()
    one, other = (KeyringSecrets(service, backend=ring, locks=tmp_path) for service in ("one", "other"))
    await one.put("a", Secret("1"))
    await other.put("b", Secret("2"))
    assert (await one.names(), await other.names(), await other.get("a")) == (["a"], ["b"], None)


async def test_thirty_secrets_put_at_once_are_all_there(tmp_path: Path) -> None:
    store = EncryptedFile(tmp_path / "s", key=secrets.token_bytes(32))
    async with anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(store.put, f"n{number}", Secret(f"{number}"))
    assert len(await store.names()) == 30
