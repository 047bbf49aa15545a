"""What every token store promises, and what the file promises to several processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import anyio
import anyio.lowlevel
import pytest

from holdfast.auth import MemoryTokens, Secret, SQLiteTokens, Token, TokenStore
from holdfast.stores.base import StoreError

pytestmark = pytest.mark.anyio

STORES: dict[str, Callable[[Path], TokenStore]] = {
    "memory": lambda path: MemoryTokens(),
    "sqlite": lambda path: SQLiteTokens(path / "deep" / "tokens"),
}
TOKENS = [
    Token(Secret("t")),
    Token(
        Secret("a\u00e9-\U0001f511"),
        expires_at=1234.5,
        lifetime=60.0,
        refresh_token=Secret("r"),
        token_type="DPoP",
        scope="read write",
    ),
]


@pytest.fixture(params=[*STORES.values()], ids=[*STORES])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TokenStore:
    made: TokenStore = request.param(tmp_path)
    return made


def files(directory: Path) -> list[Path]:
    return [*directory.iterdir()]


@pytest.mark.parametrize("token", TOKENS, ids=["bare", "whole"])
async def test_what_is_saved_is_loaded_until_it_is_deleted(store: TokenStore, token: Token) -> None:
    assert await store.load("ada") is None
    await store.delete("ada")
    await store.save("ada", Token(Secret("older")))
    await store.save("ada", token)
    await store.save("bob", Token(Secret("another")))
    assert await store.load("ada") == token
    await store.delete("ada")
    assert await store.load("ada") is None
    assert await store.load("bob") == Token(Secret("another"))


async def test_one_at_a_time_under_one_name_and_a_cancelled_one_leaves_no_trace(store: TokenStore) -> None:
    inside, most = 0, 0

    async def enter() -> None:
        nonlocal inside, most
        async with store.exclusive("ada"):
            inside += 1
            most = max(most, inside)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            inside -= 1

    async def give_up() -> None:
        with anyio.move_on_after(0.05):
            async with store.exclusive("ada"):
                pytest.fail("somebody else is in there")

    async with anyio.create_task_group() as tasks, store.exclusive("ada"):
        for _ in range(5):
            tasks.start_soon(enter)
        async with anyio.create_task_group() as impatient:
            impatient.start_soon(give_up)
        async with store.exclusive("bob"):  # under another name there is nobody
            assert inside == 0
        await anyio.wait_all_tasks_blocked()
    assert most == 1


async def test_a_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    store = SQLiteTokens(path)
    await store.save("ada", Token(Secret("t")))
    async with store.exclusive("ada"):
        assert {stat.S_IMODE(os.stat(file).st_mode) for file in files(tmp_path)} == {0o600}
    assert await store.names() == ["ada"]
    path.chmod(0o644)
    with pytest.raises(StoreError, match="others may use it"):
        await store.load("ada")


@pytest.mark.parametrize("damage", ["torn", "another program's", "no token", "unreadable"])
async def test_a_file_that_cannot_be_used_is_named_and_left_as_it_is(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    store = SQLiteTokens(path)
    if damage == "another program's":
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE tokens (mine TEXT)")
        connection.close()
        path.chmod(0o600)
    elif damage == "unreadable":
        path.mkdir(mode=0o700)
    else:
        await store.save("ada", Token(Secret("s3cr3t")))
        if damage == "torn":
            path.write_bytes(b"s3cr3t" + path.read_bytes()[6:1000])
        else:
            connection = sqlite3.connect(path)
            with connection:
                connection.execute("UPDATE tokens SET token = ?", (b'{"access_token": "s3cr3t", "odd": 1}',))
            connection.close()
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError, match="tokens") as caught:
        await store.load("ada")
    assert "s3cr3t" not in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert [file.name for file in files(tmp_path) if ".lock" not in file.name] == ["tokens"]


HOLDER = """
import sys, anyio
from holdfast.auth import SQLiteTokens, Secret, Token

async def main(path):
    store = SQLiteTokens(path)
    async with store.exclusive("ada"):
        print("inside", flush=True)
        await anyio.sleep(60)

anyio.run(main, sys.argv[1])
"""


async def test_who_is_killed_while_it_holds_the_lock_gives_it_back_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    store = SQLiteTokens(path)
    await store.save("ada", TOKENS[1])
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert holder.stdout is not None
    assert await anyio.to_thread.run_sync(holder.stdout.readline) == "inside\n"
    with anyio.move_on_after(0.1):
        async with store.exclusive("ada"):
            pytest.fail("another process is in there")
    assert await store.load("ada") == TOKENS[1]  # reading waits for nobody
    holder.send_signal(signal.SIGKILL)
    began = monotonic()
    async with store.exclusive("ada"):
        assert monotonic() - began < 5.0
    holder.communicate()
