"""The demo ends, tells the truth in both forms, judges promises, and leaves no process."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import pytest

from holdfast.cli import main
from holdfast.cli.demo import verdict
from holdfast.cli.demo_drive import Outcome, Run, Side, Transition
from holdfast.cli.demo_figures import Row, better_without, percentile, row
from holdfast.cli.demo_origin import TAG, TIME, Counts, Send
from holdfast.cli.demo_process import OriginProcess
from holdfast.cli.demo_promises import Promise, judge
from holdfast.cli.demo_table import Paint, Progress, report
from holdfast.cli.demo_weather import (
    QUOTA_BURST,
    WEATHERS,
    Ending,
    Quota,
    Weather,
    plan,
    represent,
    weather_at,
)
from holdfast.core.budget import RetryBudget
from tests.conftest import modules_of
from tests.support import FAMILY_NAMES

BUDGET: Final = RetryBudget()
PATIENCE: Final = 100  # seconds; machines stall
PROMISES: Final = ["amplification", "probes", "connections", "tasks"]
OUTAGE: Final = WEATHERS.index("outage")


# The promises, on doctored counts.


def sends(firsts: int, retries: int, *, over: float = 9.0) -> list[Send]:
    """So many first attempts and then retries, evenly spread over some seconds."""
    count = firsts + retries
    return [Send(over * n / count, 0, 200, 1 if n < firsts else 2, "closed") for n in range(count)]


@pytest.mark.parametrize(
    ("requests", "kept"),
    [
        (sends(0, 0), True),
        (sends(100, 30), True),  # 10 + 0.2 * 100
        (sends(100, 31), False),
        (sends(0, 10), True),
        (sends(0, 11), False),
        (sends(400, 90) + [replace(send, at=send.at + 30) for send in sends(400, 90)], True),
        # The first attempts of long ago pay for no retry of now.
        (sends(400, 0) + [replace(send, at=send.at + 30) for send in sends(0, 90)], False),
    ],
    ids=[
        "no traffic", "all that is allowed", "one too many", "the reserve", "above the reserve",
        "two windows", "paid long ago",
    ],
)  # fmt: skip
def test_more_retries_in_a_window_than_the_budget_allows_break_a_promise(requests: list[Send], kept: bool) -> None:
    assert broken(Counts(sends=requests)) == ([] if kept else ["amplification"])


def test_first_attempts_that_were_still_unanswered_pay_for_retries_after_them() -> None:
    late = [*sends(100, 0, over=0.1), *(Send(12.0 + n / 100, 2, 200, 2, "closed") for n in range(30))]
    assert broken(Counts(sends=late), longest_call=2.0) == []
    assert broken(Counts(sends=late), longest_call=0.1) == ["amplification"]


@pytest.mark.parametrize(
    ("counts", "tasks", "names"),
    [
        (Counts(peak_probes=1, accepted=9), (), []),
        (Counts(peak_probes=2), (), ["probes"]),
        (Counts(accepted=9, open=1), (), ["connections"]),
        (Counts(), ("refresh",), ["tasks"]),
        (Counts(open=1, peak_probes=2, sends=sends(0, 11)), ("refresh",), PROMISES),
    ],
)  # fmt: skip
def test_each_promise_is_judged(counts: Counts, tasks: Sequence[str], names: list[str]) -> None:
    assert broken(counts, tasks=tasks) == names


def broken(counts: Counts, *, longest_call: float = 0.1, tasks: Sequence[str] = ()) -> list[str]:
    promises = judge(counts, BUDGET, longest_call=longest_call, tasks=tasks)
    assert [promise.name for promise in promises] == PROMISES
    return [promise.name for promise in promises if not promise.kept]


def test_the_help_says_percent_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    assert "20 % errors" in " ".join(capsys.readouterr().out.split())


def test_a_broken_promise_is_a_sentence_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    kept = Promise("tasks", True, "no task left")
    assert verdict([kept]) == 0
    assert capsys.readouterr().err == ""
    assert verdict([kept, Promise("probes", False, "one probe at a time: 2 at once")]) == 1
    assert capsys.readouterr().err.count("one probe at a time: 2 at once") == 1


# The weather.


def test_both_sides_meet_the_same_weather_and_another_seed_another_one() -> None:
    def fates(seed: int) -> list[object]:
        weather = Weather(seed, length=1.0)
        return [weather.fate(n / 100) for n in range(600)]

    assert fates(3) == fates(3)
    assert fates(3) != fates(4)
    assert plan(3, 1.0) == plan(3, 1.0)
    assert plan(3, 1.0) != plan(4, 1.0)


def test_a_fate_depends_on_how_many_came_before_in_its_weather_alone() -> None:
    busy, idle = Weather(3, length=1.0), Weather(3, length=1.0)
    for _ in range(50):
        busy.fate(0.5)
    assert [busy.fate(1.5) for _ in range(50)] == [idle.fate(1.5) for _ in range(50)]


def test_each_weather_is_what_its_name_says() -> None:
    weather = Weather(3, length=1.0)
    fates = {name: [weather.fate(index + 0.5) for _ in range(2000)] for index, name in enumerate(WEATHERS)}
    bad = {
        name: sum(fate.status != 200 or fate.ending is not Ending.WHOLE for fate in drawn) / len(drawn)
        for name, drawn in fates.items()
    }
    assert (bad["fair"], bad["slow"], bad["outage"], bad["recovery"]) == (0, 0, 1, 0)
    assert 0.17 < bad["errors"] < 0.23
    assert {fate.ending for fate in fates["errors"]} == set(Ending)
    assert min(fate.delay for fate in fates["slow"]) >= 0.2 > max(fate.delay for fate in fates["fair"])


@pytest.mark.parametrize(
    ("elapsed", "name"),
    [(-0.1, "fair"), (0.0, "fair"), (2.0, "errors"), (7.9, "outage"), (8.0, "recovery"), (99.0, "recovery")],
)
def test_the_last_weather_stays(elapsed: float, name: str) -> None:
    assert WEATHERS[weather_at(elapsed, 2.0)] == name


def test_the_weather_waits_for_a_call_that_is_overdue() -> None:
    run = Run(seed=3, seconds=5.0)
    assert (run.elapsed, WEATHERS[run.weather]) == (0.0, "fair")
    run.started, run.due = -1e9, 3.5  # long ago
    assert (run.elapsed, WEATHERS[run.weather]) == (3.5, "outage")


def test_calls_come_in_time_order_within_the_run_and_ask_for_what_exists() -> None:
    planned = plan(3, 1.0)
    assert [call.at for call in planned] == sorted(call.at for call in planned)
    assert 0 <= planned[0].at <= planned[-1].at < 5
    assert all(represent(call.path, call.at) is not None for call in planned)


@pytest.mark.parametrize("path", ["/", "/prices", "/prices/0", "/prices/7", "/prices/x", "/gossip/1"])
def test_other_resources_do_not_exist(path: str) -> None:
    assert represent(path, 1.0) is None


def test_the_quota_grants_its_burst_and_then_its_rate() -> None:
    quota = Quota()
    assert [quota.take(10.0) for _ in range(int(QUOTA_BURST) + 1)] == [True] * int(QUOTA_BURST) + [False]
    assert [quota.take(10.026), quota.take(10.027)] == [True, False]  # 40 a second


# The figures and how they are shown.


@pytest.mark.parametrize(
    ("ordered", "share", "value"),
    [([], 0.5, None), ([1.0], 0.99, 1.0), ([1.0, 2.0], 0.5, 1.0), (range(1, 101), 0.99, 99)],
)
def test_percentiles_are_nearest_ranks(ordered: Sequence[float], share: float, value: float | None) -> None:
    assert percentile(ordered, share) == value


def test_times_are_those_of_good_calls_and_the_worst_wait_is_anyones() -> None:
    outcomes = [
        Outcome(0, 0.1, None),
        Outcome(0, 0.3, None, cache_hit=True),
        Outcome(0, 9.0, "CircuitOpen", refused=True),
    ]
    figures = row(outcomes, [Send(0.1, 0, 304, 1, ""), Send(0.1, 0, 429, 2, "")])
    assert figures == Row(
        calls=3, succeeded=2, wire=2, retries=1, cache_hits=1, revalidated=1, throttled=1, refused=1,
        p50=0.1, p99=0.3, worst=9.0, errors={"CircuitOpen": 1},
    )  # fmt: skip
    assert figures.wire_per_call == pytest.approx(2 / 3)


def test_it_says_where_plain_httpx_did_better() -> None:
    plain = row([Outcome(0, 0.010, None)], [])
    assert better_without(plain, plain) == []
    assert better_without(plain, replace(plain, p50=0.011, p99=0.030, worst=0.030)) == ["p99", "worst"]
    assert better_without(plain, replace(plain, succeeded=0, p50=None, p99=None)) == ["succeeded"]
    assert better_without(replace(plain, p50=None), plain) == []


def finished(outcomes: Sequence[Outcome] = ()) -> Run:
    class Nobody:
        """The client of a run that is over."""

        async def get(self, url: str, *, extensions: dict[str, Any]) -> Any:
            raise AssertionError("the run is over")

        async def aclose(self) -> None: ...

    run = Run(seed=3, seconds=5.0, calls=len(outcomes))
    run.sides = [
        Side(name, "http://127.0.0.1:65535", Nobody(), outcomes=list(outcomes)) for name in ("plain", "holdfast")
    ]
    run.transitions = [Transition(3.21, OUTAGE, "http://127.0.0.1:65535", "half_open", "ramping")]
    run.promises = judge(Counts(accepted=12345, sends=sends(900, 1000)), BUDGET, longest_call=0, tasks=["refresh"])
    return run


@pytest.mark.parametrize(("width", "family"), [(80, "httpx2"), (120, "httpx")])
def test_the_report_fits_the_terminal(width: int, family: str) -> None:
    crowd = [Outcome(weather, 98.7, None, cache_hit=True) for weather in range(len(WEATHERS))] * 9999
    text = report(finished(crowd), family, {family: "10.20.30", "holdfast": "10.20.30"}, width, Paint(False))
    table = text.split("\n\n")[1]
    assert max(map(len, text.splitlines())) <= width
    assert ("retries" in table) == (width == 120)
    assert "   3.21 s  outage    http://127.0.0.1:65535  half-open -> ramping" in text
    assert text.count("BROKEN") == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "on"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(stream: io.StringIO, environment: dict[str, str], on: bool) -> None:
    paint = Paint.for_stream(stream, environment)
    assert paint("red", "x") == ("\x1b[31mx\x1b[0m" if on else "x")


def test_progress_is_one_line_on_a_terminal_and_a_line_per_weather_elsewhere() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        progress = Progress(stream, "httpx", {"NO_COLOR": "1"})
        for _ in range(3):
            progress.show(finished([Outcome(0, 0.1, None)]))
        progress.clear()
    assert "\n" not in terminal.getvalue()
    assert terminal.getvalue().count("1/1 ok") == 6
    assert file.getvalue().count("\n") == 1


# The origin, in its own process.


async def exchange(port: int, *tags: str, sent: float = 0.0) -> None:
    """Send a request with each of these tags, all at once, and await the answers or the ends."""

    async def one(tag: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /orders/1 HTTP/1.1\r\nHost: x\r\n{TAG}: {tag}\r\n{TIME}: {sent}\r\n\r\n".encode())
        with suppress(asyncio.IncompleteReadError, ConnectionResetError):
            await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*map(one, tags))


def test_the_origin_counts_what_a_client_would_hide() -> None:
    async def count() -> tuple[Counts, Counts]:
        async with OriginProcess(seed=3, length=1000.0) as origin:
            await origin.start_weather()
            await exchange(origin.ports[0], "1;1;half_open", "2;1;half_open")
            await exchange(origin.ports[0], "2;1;closed", "3;2;closed")
            await exchange(origin.ports[0], "3;2;closed")  # sent again, and not told
            await exchange(origin.ports[0], "4;1;closed", sent=3500.0)  # whatever the origin's clock says
            _, writer = await asyncio.open_connection("127.0.0.1", origin.ports[1])
            counts = await origin.counts()
            while not counts[1].open:  # the kernel has accepted it, and the origin will
                counts = await origin.counts()
            writer.close()
            await writer.wait_closed()
            return counts[0], counts[1]

    tagged, held = asyncio.run(count())
    assert (tagged.accepted, tagged.peak_probes) == (6, 2)
    *early, again, bad = tagged.sends
    assert sorted(send.attempt for send in early) == [1, 1, 1, 2]
    assert again.attempt == 3
    assert {(WEATHERS[send.weather], send.status) for send in (*early, again)} == {("fair", 200)}
    assert WEATHERS[bad.weather] == "outage"
    assert bad.status in (0, 502)
    assert (held.accepted, held.open, held.sends) == (1, 1, [])


# All of it, as a user runs it.


def start(*arguments: str, columns: int = 80) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "holdfast", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": str(columns)},
    )


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it wrote. The origin has the same standard error, so this returns only once that is gone too."""
    try:
        return process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


AT_ITS_PACE: Final = [pytest.param((name, 5.0), marks=pytest.mark.slow) for name in FAMILY_NAMES]


def spelled(run: tuple[str, float]) -> str:
    family, seconds = run
    return f"{family}-{seconds:.0f} s"


@pytest.fixture(scope="module", params=[("httpx2", 1.0), *AT_ITS_PACE], ids=spelled)  # people, below, see the other one
def data(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The JSON of one run."""
    name, seconds = request.param
    family = modules_of(name).name
    process = start("--family", family, "--json", "--seconds", str(seconds), "--seed", "11")
    out, err = end(process)
    assert process.returncode == 0, err
    document: dict[str, Any] = json.loads(out)
    assert (document["family"], document["seconds"]) == (family, seconds)
    return document


FIGURES: Final = {
    "calls", "succeeded", "wire", "retries", "cache_hits", "revalidated", "throttled", "refused",
    "p50", "p99", "worst", "errors", "wire_per_call",
}  # fmt: skip


def test_the_data_has_its_documented_keys(data: dict[str, Any]) -> None:
    assert set(data) >= {
        "schema", "family", "versions", "settings", "seed", "seconds", "calls", "lateness", "origins",
        "weathers", "total", "transitions", "promises", "kept",
    }  # fmt: skip
    assert data["schema"] == 1
    assert data["seed"] == 11
    assert [weather["name"] for weather in data["weathers"]] == list(WEATHERS)
    for weather in [*data["weathers"], data["total"]]:
        assert set(weather["plain"]) >= FIGURES
        assert set(weather["holdfast"]) >= FIGURES
    for side in ("plain", "holdfast"):
        assert set(data["origins"][side]) >= {
            "url", "requests", "accepted", "open_after_close", "peak_in_flight", "probes", "probes_in_outage",
            "peak_probes",
        }  # fmt: skip
    assert all(set(move) >= {"at", "origin", "from", "to", "weather"} for move in data["transitions"])
    assert [promise["name"] for promise in data["promises"]] == PROMISES


def test_both_sides_make_the_same_calls_and_the_figures_add_up(data: dict[str, Any]) -> None:
    for side in ("plain", "holdfast"):
        figures = [weather[side] for weather in data["weathers"]]
        assert sum(figure["calls"] for figure in figures) == data["calls"] == data["total"][side]["calls"]
        assert sum(figure["wire"] for figure in figures) == data["origins"][side]["requests"]
        for figure in figures:
            assert figure["succeeded"] + sum(figure["errors"].values()) == figure["calls"]
    assert [w["plain"]["calls"] for w in data["weathers"]] == [w["holdfast"]["calls"] for w in data["weathers"]]


def test_plain_sends_each_call_once_and_holdfast_keeps_its_promises(data: dict[str, Any]) -> None:
    assert data["origins"]["plain"]["requests"] == data["calls"]
    assert data["kept"] is True
    assert data["origins"]["holdfast"]["open_after_close"] == 0
    assert data["total"]["holdfast"]["cache_hits"] > 0
    total = data["total"]["holdfast"]
    assert total["wire"] - total["retries"] <= data["calls"] - total["cache_hits"]


@pytest.mark.parametrize("data", AT_ITS_PACE, ids=spelled, indirect=True)
def test_the_circuit_opens_in_the_outage(data: dict[str, Any]) -> None:
    first = data["transitions"][0]
    assert (first["from"], first["to"], first["weather"]) == ("closed", "open", "outage")
    assert first["origin"] == data["origins"]["holdfast"]["url"]
    assert data["weathers"][OUTAGE]["holdfast"]["refused"] > 0


def test_people_get_a_table_without_escapes_where_there_is_no_terminal() -> None:
    process = start("--seconds", "1")
    out, err = end(process)
    assert process.returncode == 0, err
    assert "\x1b" not in out + err
    assert max(map(len, out.splitlines())) <= 80
    assert [line.split()[0] for line in out.splitlines() if re.match(r"\w+ +httpx +\d", line)] == [
        *WEATHERS,
        "all",
    ]
    assert out.count("  kept  ") == 4


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to one process")
def test_an_interrupt_ends_it_cleanly() -> None:
    process = start("--seconds", "20")
    assert process.stderr is not None
    process.stderr.readline()  # it has begun
    process.send_signal(signal.SIGINT)
    out, err = end(process)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "holdfast demo: interrupted."
    assert "Traceback" not in err


def test_the_origin_does_not_outlive_a_demo_that_is_killed() -> None:
    process = start("--seconds", "20")
    assert process.stderr is not None
    process.stderr.readline()
    process.kill()
    end(process)  # would not return


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_family_that_is_not_installed_is_named(family: str) -> None:
    script = f"import sys; sys.modules[{family!r}] = None; from holdfast.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, "demo", "--family", family],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{family} is not installed" in done.stderr


@pytest.mark.parametrize(
    "line", ["", "demo --seconds 0", "demo --seconds 21", "demo --seconds x", "demo --family curl"]
)
def test_arguments_that_make_no_sense_end_with_2(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err
