"""The project that docs/testing.md shows, run by its own pytest: it passes on both loops, and fails where it should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import holdfast.testing.faulty
from tests.test_docs import FENCE

SOURCE: Final = Path(holdfast.testing.faulty.__file__).resolve().parents[3]
PAGE: Final = (Path(__file__).parents[2] / "docs" / "testing.md").read_text("utf-8")
FILES: Final = {
    found["info"].split()[-1]: found["code"] for found in FENCE.finditer(PAGE) if found["info"].endswith(".py")
}
TESTS: Final = {
    "test_we_wait_as_long_as_the_server_asks",
    "test_a_report_is_sent_once_if_the_answer_is_lost",
    "test_an_outage_of_a_minute_costs_few_requests",
    "test_real_connections_that_break",
    "test_a_quota_of_the_server",
}


def run(project: Path, files: dict[str, str], *which: str) -> str:
    """What pytest says of a project of these files, in a process and a directory of its own."""
    for name, text in files.items():
        (project / name).write_text(text, "utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "anyio",
        "-p",
        "no:cacheprovider",
        "-W",
        "error",
        f"--rootdir={project}",
    ]
    done = subprocess.run(
        [*command, *which, str(project)],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_shown_tests_pass_on_both_loops(tmp_path: Path) -> None:
    said = run(tmp_path, FILES)
    passed = set(re.findall(r"::(\w+(?:\[\w+\])?) PASSED", said))
    expected = {f"{name}[{loop}]" for name in TESTS for loop in ("asyncio", "trio")} | {"test_nothing_answers"}
    assert passed == expected, said
    assert "failed" not in said


def test_changes_that_break_the_code_are_seen(tmp_path: Path) -> None:
    broken = FILES["weather.py"].replace('"/today"', '"/now"').replace('"sky": sky}', '"sky": "fine"}')
    assert broken != FILES["weather.py"]
    said = run(tmp_path, {**FILES, "weather.py": broken}, "-k", "(asks or report) and asyncio")
    assert "2 failed" in said, said
    shown = ["- GET /today?city=Oslo", "+ GET /now?city=Oslo", '-   "sky": "rain"', '+   "sky": "fine"']
    assert [line for line in shown if line not in said] == []


def test_every_behaviour_is_on_the_page() -> None:
    _, _, table = PAGE.partition("| behaviour | what the server does |")
    named = set(re.findall(r"`(\w+)`", table))
    assert set(holdfast.testing.faulty.__all__) - named == {"FaultyServer"}
