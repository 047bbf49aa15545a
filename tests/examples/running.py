"""The examples as a user runs them: a process for the far side, and one for each command."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
TIMEOUT: Final = 110.0  # seconds, against a run that hangs


def run(*arguments: object, environment: dict[str, str] | None = None, fails: bool = False) -> str:
    """What ``python -m ARGUMENTS`` prints. A warning is an error there, as it is here."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (done.returncode != 0) is fails, done.stderr
    return done.stderr if fails else done.stdout


def run_here(main: Callable[[], None], *arguments: object, environment: dict[str, str], fails: bool = False) -> str:
    """What ``run`` gives, without a process of its own: starting one takes most of a second of CPU."""
    printed, complaints = io.StringIO(), io.StringIO()
    failed = False
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(printed), redirect_stderr(complaints):
        patched.setattr(sys, "argv", ["program", *map(str, arguments)])
        for name, value in environment.items():
            patched.setenv(name, value)
        try:
            main()
        except SystemExit as ended:  # as the interpreter does it
            failed = ended.code not in (None, 0)
            complaints.write(f"{ended.code}\n")
    assert failed is fails, complaints.getvalue()
    return complaints.getvalue() if fails else printed.getvalue()


@contextmanager
def stand_in(*arguments: object) -> Iterator[str]:
    """The far side: the first line that it prints, while it runs."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()
