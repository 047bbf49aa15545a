"""The activity log: in memory, in a file, after kill -9, and on the command line."""

from __future__ import annotations

import gc
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from holdfast import ActivityLog
from holdfast.cli import main
from holdfast.events import Event, Retried
from holdfast.telemetry.activity import read_log
from holdfast.testing import Reply
from tests.scripting import URL, stage
from tests.support import FamilyModules

KEY = "http://api.test:80"


def event(number: int, call: str | None = None, key: str = KEY) -> Event:
    return Retried(at=float(number), key=key, call=call, number=number, reason="503", wait=0.1, source="backoff")


def numbers(path: Path, **which: Any) -> list[int]:
    return [record["number"] for _, record in read_log(path, **which)]


def until_kept(path: Path, number: int) -> None:
    """Wait until the file has that record, by a writer that is asked for nothing."""
    given_up = time.monotonic() + 60.0
    while time.monotonic() < given_up:
        with suppress(OSError, ValueError, sqlite3.OperationalError):  # it is being made
            if numbers(path)[-1:] >= [number]:
                return
        time.sleep(0.01)  # the writer is a thread, or another process, and tells nobody
    pytest.fail("it was not written")


@pytest.mark.anyio
async def test_memory_keeps_the_last_records_of_calls_and_keys(family: FamilyModules) -> None:
    log = ActivityLog(size=6)
    async with stage(family, [Reply()], listeners=[log], repeat_last=True) as on:
        for host in ("a", "b"):
            await on.client.get(f"http://{host}.test/")
    assert [type(one).__name__ for one in log.records()] == [
        "AttemptEnded",
        "CallEnded",
        "CallStarted",
        "AttemptStarted",
        "AttemptEnded",
        "CallEnded",
    ]
    last = log.records()[-1].call
    assert [type(one).__name__ for one in log.records(call=last)][::3] == ["CallStarted", "CallEnded"]
    assert log.records(key="http://b.test:80") == log.records(call=last)


@pytest.mark.anyio
async def test_a_file_has_what_calls_did_and_no_secret(family: FamilyModules, tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    with ActivityLog(path) as log:
        async with stage(family, [Reply(503), Reply(body=b"hunter2")], listeners=[log]) as on:
            await on.client.get(f"{URL}?token=hunter2", headers={"Authorization": "hunter2"})
        told = log.records()
    kept = [record for _, record in read_log(path)]
    assert [record["event"] for record in kept] == [type(one).__name__ for one in told]
    assert {record["call"] for record in kept} == {told[0].call}
    assert b"hunter2" not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0


def test_a_file_keeps_so_many_and_is_read_by_call_by_key_and_on(tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    with ActivityLog(path, keep=100, size=1) as log:
        for number in range(250):
            log(event(number, call=str(number % 2), key="a" if number < 200 else "b"))
            if number % 50 == 49:
                until_kept(path, number)  # the queue is as long as the file: the disk's turn
    assert log.lost == 0
    assert numbers(path) == list(range(150, 250))
    assert numbers(path, call="1") == list(range(151, 250, 2))
    assert numbers(path, key="b") == list(range(200, 250))
    (half, _) = list(read_log(path))[50]
    assert numbers(path, after=half) == list(range(201, 250))
    with ActivityLog(path, keep=100) as log:
        log(event(250))
    assert numbers(path) == list(range(151, 251))


def test_what_the_disk_does_not_take_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    log = ActivityLog(path, keep=1000)
    other = sqlite3.connect(path)
    other.execute("DROP TABLE activity")
    other.commit()
    for number in range(5):
        log(event(number))
    log.close()
    assert log.lost == 5
    log.close()
    log(event(6))
    assert len(log.records()) == 6
    other.close()


def test_a_record_that_no_file_can_hold_is_counted_and_those_after_it_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    with ActivityLog(path) as log:
        log(event(1, key="half of a pair: \ud800"))
        log.close()
    assert log.lost == 1
    with ActivityLog(path) as log:
        log(event(2))
    assert numbers(path) == [2]


def test_a_log_is_closed_in_its_own_thread_too(tmp_path: Path) -> None:
    class Closing:
        """Closes the log while it is being written, as the collector may."""

        def __str__(self) -> str:
            log.close()
            return "closed"

    path = tmp_path / "activity.db"
    log = ActivityLog(path)
    odd: Any = Closing()
    log(Retried(at=1.0, key=KEY, number=1, reason=odd, wait=0.1, source="backoff"))
    log.close()
    assert log.lost == 0
    assert [record["reason"] for _, record in read_log(path)] == ["closed"]


def test_a_log_that_is_dropped_writes_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    log = ActivityLog(path)
    log(event(1))
    del log
    gc.collect()
    assert numbers(path) == [1]


KILLED = """
import sys, time
from holdfast import ActivityLog
from holdfast.events import Retried
log = ActivityLog(sys.argv[1])
for number in range(3000):
    log(Retried(at=1.0, key="k", number=number, reason="503", wait=0.1, source="backoff"))
sys.stdin.readline()
for number in range(3000, 10_000_000):
    log(Retried(at=1.0, key="k", number=number, reason="503", wait=0.1, source="backoff"))
    time.sleep(0.0001)  # the disk keeps up, whatever disk it is: what is lost must be the kill's doing
"""


def test_after_kill_9_all_but_the_last_moments_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        try:
            until_kept(path, 2999)
            process.stdin.write(b"go on\n")
            process.stdin.flush()
            until_kept(path, 3100)
        finally:
            process.send_signal(signal.SIGKILL)
    kept = numbers(path)
    assert kept == list(range(len(kept)))  # without a hole


def test_the_end_of_the_interpreter_writes_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    source = KILLED.partition("sys.stdin")[0]
    subprocess.run([sys.executable, "-c", source, str(path)], check=True)
    assert numbers(path) == list(range(3000))


def test_a_log_that_cannot_be_read_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "activity.db"
    ActivityLog(path).close()
    with closing(sqlite3.connect(path)) as file:
        file.execute("DROP TABLE activity")
    assert main(["log", str(path)]) == 2
    assert "holdfast log: " in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"some text that is no database" * 40, None])
def test_a_file_of_another_kind_is_left_alone(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other"
    if content is None:
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE a (b)")
        other.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="no activity log"):
        ActivityLog(path)
    assert main(["log", str(path)]) == 2
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("make", "complaint"), [(Path.mkdir, "is a directory"), (Path.exists, "there is no activity log")]
)
def test_what_is_no_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], object], complaint: str
) -> None:
    path = tmp_path / "activity.db"
    make(path)
    assert main(["log", str(path)]) == 2
    told = capsys.readouterr()
    assert (told.out, complaint in told.err, str(path) in told.err) == ("", True, True)


@pytest.mark.parametrize("settings", [{"size": 0}, {"keep": 0}])
def test_bounds_are_checked(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ActivityLog(**settings)


def test_the_command_shows_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "activity.db"
    with ActivityLog(path) as log:
        log(event(1, call="a"))
        log(event(2, call="b", key="x\x1b[31m"))
    assert main(["log", str(path), "--json"]) == 0
    assert [json.loads(line)["number"] for line in capsys.readouterr().out.splitlines()] == [1, 2]
    assert main(["log", str(path), "--call", "a"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line == f"1970-01-01T00:00:01.000+00:00 a Retried {KEY} number=1 reason=503 wait=0.1 source=backoff"
    assert main(["log", str(path)]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert main(["log", str(path), "--key", "nobody's"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["log", str(tmp_path / "nothing")]) == 2


def test_the_command_follows_a_log(tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    with ActivityLog(path) as log:
        log(event(1))
        command = [sys.executable, "-m", "holdfast", "log", str(path), "--json", "--follow"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["number"] == 1
            log(event(2))
            assert json.loads(process.stdout.readline())["number"] == 2
            process.send_signal(signal.SIGINT)
        assert process.returncode == 130
