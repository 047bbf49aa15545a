"""The examples as a user runs them: a process for the far side, and one for each command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

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
