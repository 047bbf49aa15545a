"""The command line: one file for each command, and here the way to them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from holdfast._version import __version__

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` (default: the process's own arguments) names; returns its exit code.

    Raises SystemExit for ``--help``, ``--version`` and arguments that cannot be understood, as argparse does.
    """
    from holdfast.cli import demo  # here, so that demo_origin's process does not load what drives it

    parser = argparse.ArgumentParser(
        prog="python -m holdfast", description="Resilient async HTTP for httpx and httpx2."
    )
    parser.add_argument("--version", action="version", version=f"holdfast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo.add_to(commands)
    arguments = parser.parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except KeyboardInterrupt:
        print(f"holdfast {arguments.command}: interrupted.", file=sys.stderr)
        return 130
    return code
