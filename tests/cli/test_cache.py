"""``holdfast cache`` tells what is in a file, removes what it is told to, and leaves alone what it cannot use."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from holdfast import Encrypted, SQLiteStore
from holdfast.cli import main
from holdfast.core.caching.entry import Entry
from holdfast.core.caching.key import primary_key
from tests.core.caching.building import IDENTITY, exchange, stored

ORIGIN: Final = "https://api.example.com"
USER: Final = IDENTITY.partition({b"authorization": b"Bearer x"})
LONG: Final = 300 * 1024
"""Bytes of a body that the store keeps apart."""

Line = dict[str, Any]


def entry(
    path: str,
    answer: str = "Cache-Control: max-age=60",
    *,
    request: str = "",
    age: float = 0.0,
    partition: str = "",
    body: bytes = b"body",
    tags: tuple[str, ...] = (),
    origin: str = ORIGIN,
) -> Entry:
    when = exchange(time.monotonic() - age, wall=time.time() - age)
    made = stored(answer, request=request, key=primary_key("GET", f"{origin}{path}", partition), when=when, body=body)
    return replace(made, tags=tags)


ENTRIES: Final = (
    lambda: entry("/users/1", 'Cache-Control: max-age=600\nETag: "a"', age=30, tags=(
        "group:users", f"group@{ORIGIN} users", "operation:Users.get",
    )),
    lambda: entry(
        "/users/2", "Cache-Control: max-age=60, s-maxage=60, stale-while-revalidate=9000", age=100, partition=USER
    ),
    lambda: entry("/text", "Cache-Control: max-age=60\nVary: Accept-Language", request="Accept-Language: de"),
    lambda: entry("/text", "Cache-Control: max-age=60\nVary: Accept-Language", body=b"any"),
    lambda: entry("/long", "Cache-Control: max-age=60\nX-Evil: \x1b[2J", body=b"l" * LONG),
    lambda: entry("/users/1", origin="https://other.example.com", tags=("group:users",)),
)  # fmt: skip


def keep(store: Any, entries: Iterable[Callable[[], Entry]] = ENTRIES) -> None:
    async def put() -> None:
        for made in entries:
            await store.put(made())
        await store.aclose()

    anyio.run(put)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "answers.db"
    keep(SQLiteStore(path))
    return str(path)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Standard output of a command that is to succeed."""

    def run(*arguments: str) -> str:
        assert main(["cache", *arguments]) == 0
        return capsys.readouterr().out

    return run


def listed(said: Callable[..., str], *arguments: str) -> list[Line]:
    told: dict[str, Any] = json.loads(said("ls", *arguments, "--json"))
    assert told["schema"] == 1
    entries: list[Line] = told["entries"]
    return entries


def urls(lines: list[Line]) -> list[str]:
    return [line["url"].removeprefix(ORIGIN) for line in lines]


def test_ls_is_a_table_for_people(file: str, said: Callable[..., str]) -> None:
    heading, first, second, *others = said("ls", file).splitlines()
    assert heading.split() == ["status", "age", "fresh", "for", "size", "partition", "url"]
    assert len(others) == 4
    assert first.split()[:1] == ["200"]
    assert first.endswith(f"{ORIGIN}/users/1  [group users, operation Users.get]")
    assert USER[:8] in second
    assert USER not in second
    assert " -4" in second  # forty seconds and some past its lifetime
    columns = [heading.index(name) for name in ("age", "fresh", "size", "partition", "url")]
    assert all(line[at - 1] == " " != line[at] for line in (first, second, *others) for at in columns)


def test_ls_tells_numbers_as_data(file: str, said: Callable[..., str]) -> None:
    first, second = listed(said, file)[:2]
    assert 30 <= first.pop("age") < 90
    assert 510 < first.pop("fresh_for") <= 570
    assert abs(first.pop("stored_at") - time.time()) < 90
    assert first == {
        "url": f"{ORIGIN}/users/1", "method": "GET", "status": 200, "size": 4, "partition": None,
        "groups": ["users"], "operations": ["Users.get"],
    }  # fmt: skip
    assert second["partition"] == USER[:8]
    assert second["fresh_for"] < 0


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], ["/users/1", "/users/2", "/text", "/text", "/long", "https://other.example.com/users/1"]),
        (["--prefix", f"{ORIGIN}/users/"], ["/users/1", "/users/2"]),
        (["--prefix", "HTTPS://API.example.com:443/te"], ["/text", "/text"]),
        (["--prefix", "https://api.example.co"], []),
        (["--stale"], ["/users/2"]),
        (["--limit", "2"], ["/users/1", "/users/2"]),
        (["--limit", "0"], []),
        (["--stale", "--prefix", f"{ORIGIN}/text"], []),
    ],
)
def test_ls_filters(file: str, said: Callable[..., str], arguments: list[str], found: list[str]) -> None:
    assert urls(listed(said, file, *arguments)) == found


def test_show_tells_every_variant_and_why_it_is_fresh(file: str, said: Callable[..., str]) -> None:
    told = json.loads(said("show", file, f"{ORIGIN}/text", "--json"))["entries"]
    assert [line["vary"] for line in told] == [{"accept-language": "de"}, {"accept-language": None}]
    assert told[0]["headers"][:2] == [["Cache-Control", "max-age=60"], ["Vary", "Accept-Language"]]
    assert [(line["now"]["answer"], line["standing"]["source"]) for line in told] == 2 * [("fresh", "max-age")]
    text = said("show", file, f"{ORIGIN}/text")
    assert text.count(f"GET {ORIGIN}/text\n") == 2
    assert "accept-language: de" in text
    assert "no accept-language" in text


@pytest.mark.parametrize(
    ("path", "arguments", "answer", "sentence"),
    [
        ("/users/1", [], "fresh", "fresh for another 9 min"),
        ("/users/2", [], "meanwhile", "while the origin is asked in the background (RFC 5861 3)"),
        ("/users/2", ["--shared"], "validate", "no stale answer may stand in (RFC 9111 4.2.4)"),
    ],
)
def test_show_tells_what_a_request_gets_now(
    file: str, said: Callable[..., str], path: str, arguments: list[str], answer: str, sentence: str
) -> None:
    (told,) = json.loads(said("show", file, f"{ORIGIN}{path}", "--json", *arguments))["entries"]
    assert told["now"]["answer"] == answer
    assert sentence in dict(told["text"])["now"]


def test_what_a_server_sent_does_not_steer_the_terminal(file: str, said: Callable[..., str]) -> None:
    text = said("show", file, f"{ORIGIN}/long")
    assert "\x1b" not in text
    assert r"X-Evil: \x1b[2J" in text


@pytest.mark.parametrize(
    ("path", "body"), [("/users/1", b"body"), ("/text", b"any"), ("/long", b"l" * LONG)], ids=["short", "last", "long"]
)
def test_the_body_comes_as_it_is_stored(
    file: str, capfdbinary: pytest.CaptureFixture[bytes], path: str, body: bytes
) -> None:
    assert main(["cache", "show", file, f"{ORIGIN}{path}", "--body"]) == 0
    assert capfdbinary.readouterr().out == body
    assert main(["cache", "show", file, f"{ORIGIN}{path}", "--body", "--json"]) == 0
    told = json.loads(capfdbinary.readouterr().out)["entries"]
    assert base64.b64decode(told[-1]["body"]) == body


def test_what_is_not_stored_cannot_be_shown(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "show", file, f"{ORIGIN}/users"]) == 1
    assert capsys.readouterr().err == f"holdfast cache: nothing is stored of {ORIGIN}/users\n"


@pytest.mark.parametrize(
    ("reach", "gone"),
    [
        (["--url", f"{ORIGIN}/text"], ["/text", "/text"]),
        (["--prefix", f"{ORIGIN}/users/"], ["/users/1", "/users/2"]),
        (["--group", f"{ORIGIN}/", "users"], ["/users/1"]),
        (["--group", ORIGIN, "user"], []),
        (["--operation", "Users.get"], ["/users/1"]),
        (["--all"], ["/users/1", "/users/2", "/text", "/text", "/long", "https://other.example.com/users/1"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_purge_removes_what_it_is_told_to(
    file: str, said: Callable[..., str], reach: list[str], gone: list[str]
) -> None:
    before = urls(listed(said, file))
    assert json.loads(said("purge", file, *reach, "--json"))["removed"] == len(gone)
    assert sorted(urls(listed(said, file)) + gone) == sorted(before)
    assert said("purge", file, *reach) == "0 answers removed\n"


def test_a_file_may_be_used_meanwhile(file: str, said: Callable[..., str]) -> None:
    store = SQLiteStore(file)
    added = entry("/added")
    anyio.run(store.put, added)  # and the file stays open
    assert urls(listed(said, file))[-1] == "/added"
    assert said("purge", file, "--url", f"{ORIGIN}/added") == "1 answer removed\n"
    assert anyio.run(store.get, added.key) == ()
    anyio.run(store.put, added)  # came before the purge, so it stays out
    assert anyio.run(store.get, added.key) == ()
    anyio.run(store.aclose)


def test_a_part_says_what_is_missing(tmp_path: Path, said: Callable[..., str]) -> None:
    path = tmp_path / "answers.db"
    answer = 'Cache-Control: max-age=60\nETag: "a"\nContent-Range: bytes 0-3/100'
    keep(SQLiteStore(path), [lambda: replace(entry("/part", answer), status=206)])
    assert listed(said, str(path))[0]["status"] == 206
    (told,) = json.loads(said("show", str(path), f"{ORIGIN}/part", "--json"))["entries"]
    assert told["now"]["answer"] == "complete"


def test_stats_count(file: str, said: Callable[..., str]) -> None:
    told = json.loads(said("stats", file, "--json"))
    assert told["encrypted"] is False
    figures = told["figures"]
    assert {name: figures[name] for name in ("entries", "urls", "fresh", "stale", "partitions", "long_bodies")} == {
        "entries": 6, "urls": 5, "fresh": 5, "stale": 1, "partitions": 2, "long_bodies": 1,
    }  # fmt: skip
    assert figures["entry_bytes"] > LONG
    text = dict(line.split(maxsplit=1) for line in said("stats", file).splitlines() if "bytes" not in line)
    assert (text["entries"], text["stale"], text["encrypted"]) == ("6", "1", "no")


# Files that cannot be used


def nothing(path: Path) -> None:
    """No file at all."""


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("a shopping list\n" * 1000, "utf-8")


def of_another_program(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE list (thing)")
    connection.close()


def of_another_version(path: Path) -> None:
    keep(SQLiteStore(path))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def damaged(path: Path) -> None:
    keep(SQLiteStore(path))
    content = bytearray(path.read_bytes())
    content[4096 : 40 * 4096] = bytes(39 * 4096)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (nothing, "no such file"),
        (Path.mkdir, "is a directory"),
        (os.mkfifo, "no regular file"),
        (empty, "it is empty"),
        (text, "not a database"),
        (of_another_program, "another program's"),
        (of_another_version, "another version"),
        (damaged, "malformed"),
    ],
)
@pytest.mark.parametrize(
    "command", [["ls"], ["stats", "--json"], ["show", f"{ORIGIN}/text"], ["purge", "--all"]], ids=lambda value: value[0]
)
def test_a_file_that_cannot_be_used_is_left_as_it_is(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], None],
    complaint: str,
    command: list[str],
) -> None:
    path = tmp_path / "answers.db"
    make(path)
    before = {found.name: found.is_file() and found.read_bytes() for found in tmp_path.iterdir()}
    assert main(["cache", command[0], str(path), *command[1:]]) == 2
    assert {found.name: found.is_file() and found.read_bytes() for found in tmp_path.iterdir()} == before
    told = capsys.readouterr().err
    assert told.startswith("holdfast cache: ")
    assert complaint in told
    assert "Traceback" not in told


def test_encrypted_answers_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "answers.db"
    keep(Encrypted(SQLiteStore(path), key=bytes(32)))
    for command in (["ls"], ["show", f"{ORIGIN}/text"], ["purge", "--url", f"{ORIGIN}/text"]):
        assert main(["cache", command[0], str(path), *command[1:]]) == 2
        assert "encrypted" in capsys.readouterr().err
    assert main(["cache", "stats", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["encrypted"], told["figures"]["entries"], "fresh" in told["figures"]) == (True, 6, False)
    assert main(["cache", "purge", str(path), "--all"]) == 0
    assert capsys.readouterr().out == "6 answers removed\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "FILE", "/users/1"],
        ["ls", "FILE", "--prefix", "users"],
        ["ls", "FILE", "--limit", "-1"],
        ["purge", "FILE"],
        ["purge", "FILE", "--all", "--url", ORIGIN],
    ],
    ids=" ".join,
)
def test_arguments_that_make_no_sense_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["cache", *arguments])
    assert ended.value.code == 2
    assert "usage: " in capsys.readouterr().err


def test_whoever_reads_only_the_first_lines_gets_no_complaint(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    keep(SQLiteStore(path), (lambda number=number: entry(f"/{'x' * 2000}/{number}") for number in range(100)))  # type: ignore[misc]
    command = [sys.executable, "-m", "holdfast", "cache", "ls", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline().startswith("status")
        running.stdout.close()
        assert running.stderr.read() == ""
        assert running.wait(60) == 0
