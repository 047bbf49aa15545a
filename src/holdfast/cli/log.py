"""``python -m holdfast log FILE``: what an activity log holds, as text or as JSON lines."""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import time
from datetime import UTC, datetime
from typing import Any

from holdfast.telemetry.activity import read_log
from holdfast.telemetry.logging import plain

__all__ = ["add_to"]

_POLL = 0.5  # seconds between two looks with --follow


def add_to(commands: Any) -> None:
    """Add this command to argparse's subparsers (whose class has no public name)."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "log",
        description="Show what ActivityLog(path) has written, oldest first. The file may be in use.",
    )
    parser.add_argument("file", help="the path given to ActivityLog")
    parser.add_argument("--json", action="store_true", help="one JSON object for each record")
    parser.add_argument("--call", metavar="ID", help="only the records of this call")
    parser.add_argument("--key", help="only the records of this key, such as https://api.example.com:443")
    parser.add_argument("--follow", action="store_true", help="go on as records come, until interrupted")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the records; 2 if there is no such log, or it cannot be read."""
    seen = 0
    show = _as_json if arguments.json else _as_text
    try:
        while True:
            for number, record in read_log(arguments.file, call=arguments.call, key=arguments.key, after=seen):
                print(show(record))
                seen = number
            if not arguments.follow:
                return 0
            sys.stdout.flush()
            time.sleep(_POLL)
    except (FileNotFoundError, IsADirectoryError, ValueError, sqlite3.Error) as error:
        print(f"holdfast log: {error}", file=sys.stderr)
        return 2


def _as_json(record: dict[str, Any]) -> str:
    return json.dumps(record)


def _as_text(record: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(record.pop("at"), UTC).isoformat(timespec="milliseconds")
    event, key = record.pop("event"), record.pop("key")
    call = record.pop("call", "-")
    return " ".join([at, str(call), event, plain(key), *(f"{name}={plain(value)}" for name, value in record.items())])
