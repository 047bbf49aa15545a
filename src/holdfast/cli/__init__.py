"""The command line: one file for each command, and here the way to them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

from holdfast._version import __version__

__all__ = ["main"]

_COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "cache": ("cache", "what a SQLite store of the cache holds, and purging it"),
    "credentials": ("credentials", "put secrets into a store, list their names, take them out"),
    "demo": ("demo", "plain httpx and holdfast against one bad server, side by side"),
    "explain-cache": ("explain_cache", "what the cache does with an answer, and why"),
    "log": ("log", "show an activity log"),
    "login": ("login", "log in as a person, and keep the tokens"),
    "logout": ("login", "have the server forget the tokens, and forget them here"),
    "whoami": ("login", "what is kept of a profile, but for secrets"),
}
"""The commands: in which file each is, and what it is for."""
_NO_ARGUMENT: Final = (
    "what is too much is not shown, for no secret is an argument: it is typed, or comes through a pipe"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` (default: the process's own arguments) names; returns its exit code.

    Raises SystemExit for ``--help``, ``--version`` and arguments that cannot be understood, as argparse does.
    """
    parser = argparse.ArgumentParser(
        prog="python -m holdfast", description="Resilient async HTTP for httpx and httpx2."
    )
    parser.add_argument("--version", action="version", version=f"holdfast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # One file is imported, where all of them would take several times as long as most commands do.
    asked = next((word for word in (sys.argv[1:] if argv is None else argv) if not word.startswith("-")), "")
    file, _ = _COMMANDS.get(asked, ("", ""))
    for name, (elsewhere, summary) in _COMMANDS.items():
        if elsewhere != file:
            commands.add_parser(name, help=summary)
    if file:
        import_module(f"holdfast.cli.{file}").add_to(commands)
    arguments, strangers = parser.parse_known_args(argv)
    if strangers:
        told = _NO_ARGUMENT if arguments.command == "credentials" else " ".join(strangers)
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
