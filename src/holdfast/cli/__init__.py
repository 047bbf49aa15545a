"""The command line: one file for each command, and here the way to them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from holdfast._version import __version__

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` (default: the process's own arguments) names; returns its exit code.

    Raises SystemExit for ``--help``, ``--version`` and arguments that cannot be understood, as argparse does.
    """
    # Here, so that demo_origin's process does not load what drives it.
    from holdfast.cli import cache, credentials, demo, explain_cache, log, login

    parser = argparse.ArgumentParser(
        prog="python -m holdfast", description="Resilient async HTTP for httpx and httpx2."
    )
    parser.add_argument("--version", action="version", version=f"holdfast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    cache.add_to(commands)
    credentials.add_to(commands)
    demo.add_to(commands)
    explain_cache.add_to(commands)
    log.add_to(commands)
    login.add_to(commands)
    arguments, strangers = parser.parse_known_args(argv)
    if strangers:
        told = credentials.NO_ARGUMENT if arguments.command == "credentials" else " ".join(strangers)
        parser.error(f"unrecognized arguments: {told}")
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit's own flush complains
        return 0
    except KeyboardInterrupt:
        print(f"holdfast {arguments.command}: interrupted.", file=sys.stderr)
        return 130
    return code
