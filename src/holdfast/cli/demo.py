"""``python -m holdfast demo``: one bad server, met by plain httpx and by holdfast, side by side.

Exit code 0: done, and holdfast kept its promises. 1: it broke one; a sentence on standard error says
which. 2: the arguments are wrong, or the family is not installed. 3: the demo itself failed. 130: Ctrl-C.

With ``--json`` standard output is one JSON object; keys are only ever added, times are seconds, a side is
"plain" or "holdfast", and null stands for "no call to measure"::

    schema        1
    family        "httpx" or "httpx2"
    versions      {"python": ..., "holdfast": ..., "httpx" or "httpx2": ...}
    settings      of holdfast, where they are not the defaults
    seed, seconds, calls (on each side), lateness (the longest for which the weather stood still, as the machine
                  did not bring a call in time; times of weathers and transitions leave it out)
    origins       {side: {"url", "requests", "accepted", "open_after_close", "peak_in_flight", "probes",
                  "probes_in_outage", "peak_probes"}}: the origin's own count
    weathers      [{"name", "starts", "ends", side: figures}], in their order
    total         {side: figures}
    transitions   [{"at", "origin", "from", "to", "weather"}], the weather of the request that changed it
    promises      [{"name", "kept", "text"}], names: amplification, probes, connections, tasks
    kept          whether all promises were

Figures are those of `holdfast.cli.demo_figures.Row`, with "wire_per_call".
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import importlib.util
import json
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast._version import __version__

if TYPE_CHECKING:
    from holdfast.cli.demo_promises import Promise

__all__ = ["Options", "add_to", "run", "verdict"]

_SHORTEST, _LONGEST = 1.0, 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    family: str = "httpx"
    as_json: bool = False
    seed: int = 7
    seconds: float = 15.0

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Options:
        return cls(family=arguments.family, as_json=arguments.as_json, seed=arguments.seed, seconds=arguments.seconds)


def add_to(commands: Any) -> None:
    """Add this command to argparse's subparsers (whose class has no public name)."""
    parser: argparse.ArgumentParser = commands.add_parser("demo", description=_DESCRIPTION)
    parser.set_defaults(run=_run)
    defaults = Options()
    parser.add_argument("--family", choices=["httpx", "httpx2"], default=defaults.family, help="default: httpx")
    parser.add_argument("--json", action="store_true", dest="as_json", help="data on standard output, not a table")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of the weather and the calls (default: 7)")
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=defaults.seconds,
        metavar="S",
        help=f"of weather in all, {_SHORTEST:g} to {_LONGEST:g} (default: {defaults.seconds:g})",
    )


_DESCRIPTION = """
Starts a server on a loopback port, in a process of its own, and sends it through fair weather, 20 % errors
and resets, slow answers, a total outage, and recovery. Plain httpx and holdfast (its rate limit and cache
on) make the same calls at the same times. Exits with 1 if holdfast broke one of its promises.
"""


def _run(arguments: argparse.Namespace) -> int:
    return run(Options.of(arguments))


def _seconds(text: str) -> float:
    seconds = float(text)
    if not _SHORTEST <= seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f"must be {_SHORTEST:g} to {_LONGEST:g} seconds, got {text}")
    return seconds


def run(options: Options) -> int:
    """Run the demo, write its report, and return the exit code."""
    if importlib.util.find_spec(options.family) is None:
        extra = "[httpx2]" if options.family == "httpx2" else ""
        _complain(f'{options.family} is not installed here; pip install "holdfast{extra}" brings it.')
        return 2
    # Not before it is known that there is a family to drive.
    from holdfast.cli.demo_document import document
    from holdfast.cli.demo_drive import Run, drive
    from holdfast.cli.demo_process import OriginGone
    from holdfast.cli.demo_table import Paint, Progress, report

    about, progress = Run(options.seed, options.seconds), Progress(sys.stderr, options.family)
    try:
        try:
            asyncio.run(drive(about, options.family, progress.show))
        finally:
            progress.clear()
    except OriginGone as error:
        _complain(f"{error}.")
        return 3
    versions = _versions(options.family)
    if options.as_json:
        print(json.dumps(document(about, options.family, versions), indent=2))
    else:
        width = shutil.get_terminal_size().columns
        print(report(about, options.family, versions, width, Paint.for_stream(sys.stdout)), end="")
    return verdict(about.promises)


def verdict(promises: Sequence[Promise]) -> int:
    """The exit code for these promises; complains of each that was broken."""
    broken = [promise for promise in promises if not promise.kept]
    for promise in broken:
        _complain(f"holdfast broke a promise: {promise.text}.")
    return 1 if broken else 0


def _complain(sentence: str) -> None:
    print(f"holdfast demo: {sentence}", file=sys.stderr)


def _versions(family: str) -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "holdfast": __version__,
        family: importlib.metadata.version(family),
    }
