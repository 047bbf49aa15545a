"""``python -m holdfast credentials``: put secrets into a store, list their names, and take them out.

No secret is an argument, where every process of the machine could read it: it is typed unseen, or comes through a
pipe or from a file. None is ever printed.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from functools import partial
from getpass import getpass
from pathlib import Path
from typing import Any

from holdfast.auth.stores.base import MissingSecret, SecretStore, checked, is_name
from holdfast.cli.secret_stores import add_store_to, run_with_store
from holdfast.cli.words import printable
from holdfast.core.profiles import KINDS, profile_of
from holdfast.core.secret import Secret
from holdfast.errors import InvalidInput

__all__ = ["add_to"]

_COLUMNS = {"name", "secret", "kind", "origins", *frozenset[str]().union(*KINDS.values())}


def add_to(commands: Any) -> None:
    """Add this command to argparse's subparsers (whose class has no public name)."""
    summary = "put secrets into a store, list their names, take them out"
    parser: argparse.ArgumentParser = commands.add_parser("credentials", description=summary + ".")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, summary: str, work: Any) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=summary + ".")
        added.set_defaults(run=partial(run_with_store, work))
        add_store_to(added)
        return added

    for name, summary, work in (
        ("set", "keep a secret under a name that has none", _set),
        ("rotate", "replace the secret of a name; running programs have it after their next 401", _rotate),
    ):
        added = action(name, summary, work)
        added.description = f"{summary}. It is typed unseen, or is the whole of standard input."
        added.add_argument("name", metavar="NAME", help="most often a profile's")
    action("ls", "list the names", _ls).add_argument("--json", action="store_true", dest="as_json", help="as data")
    action("rm", "forget secrets", _rm).add_argument("names", nargs="+", metavar="NAME")
    added = action("import", "keep the secrets of a CSV file: all of its lines, or none", _import)
    added.add_argument("file", type=Path, metavar="CSV", help="its first line has the columns: name, secret, and more")
    added.add_argument("--profiles", type=Path, metavar="TOML", help="a new file, for what the other columns say")
    added.add_argument("--replace", action="store_true", help="also names that have a secret")


async def _set(store: SecretStore, arguments: argparse.Namespace) -> int:
    name = checked(arguments.name)
    if await store.get(name) is not None:
        raise InvalidInput(f"{store.place(name)} is there already; use rotate", argument="name")
    await store.put(name, _asked(name))
    print(f"{printable(name)} is kept.")
    return 0


async def _rotate(store: SecretStore, arguments: argparse.Namespace) -> int:
    old = await store.require(arguments.name)
    new = _asked(arguments.name)
    if new == old:
        raise InvalidInput("that is the secret which is kept now", argument="secret")
    await store.put(arguments.name, new)
    print(f"{printable(arguments.name)} is replaced.")
    return 0


async def _ls(store: SecretStore, arguments: argparse.Namespace) -> int:
    names = await store.names()
    if arguments.as_json:
        print(json.dumps({"schema": 1, "store": repr(store), "names": names}))
    else:
        print(*map(printable, names), sep="\n", end="\n" if names else "")
    return 0


async def _rm(store: SecretStore, arguments: argparse.Namespace) -> int:
    missing = [name for name in arguments.names if await store.get(name) is None]
    for name in arguments.names:
        await store.delete(name)
    if missing:
        raise MissingSecret(f"{store.place(missing[0])} was not there", name=missing[0], where=store.place(missing[0]))
    return 0


async def _import(store: SecretStore, arguments: argparse.Namespace) -> int:
    rows = _rows(arguments.file)
    taken = [] if arguments.replace else [name for name in rows if await store.get(name) is not None]
    if taken:
        raise InvalidInput(f"{store.place(taken[0])} is there already; --replace replaces it", argument="name")
    tables = {name: table for name, (_, table) in rows.items() if table}
    for name, table in tables.items():
        profile_of(name, table)
    told = "\n".join(_toml(name, table) for name, table in tables.items())
    if arguments.profiles is not None:
        with open(arguments.profiles, "x", encoding="utf-8") as file:  # noqa: ASYNC230  (nobody else runs)
            file.write(told)
    try:
        for name, (secret, _) in rows.items():
            await store.put(name, secret)
    except BaseException:
        if arguments.profiles is not None:
            arguments.profiles.unlink()
        raise
    print(f"{len(rows)} secret{'' if len(rows) == 1 else 's'} kept.")
    return 0


def _asked(name: str) -> Secret:
    try:
        text = getpass(f"Secret for {printable(name)}: ") if sys.stdin.isatty() else sys.stdin.read().rstrip("\r\n")
        text.encode()  # a locale's decoder may have made halves of surrogate pairs of what it does not know
    except EOFError:  # Ctrl-D
        text = ""
    except UnicodeError:
        raise InvalidInput("what was given is no text in UTF-8", argument="secret") from None
    if not text:
        raise InvalidInput("nothing was given", argument="secret")
    return Secret(text)


def _rows(path: Path) -> dict[str, tuple[Secret, dict[str, Any]]]:
    """Secret and profile by name. What is wrong is told with its line, and never with what stands there."""
    rows: dict[str, tuple[Secret, dict[str, Any]]] = {}
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            columns = [*(reader.fieldnames or ())]
            if not {"name", "secret"} <= set(columns) <= _COLUMNS or len(set(columns)) < len(columns):
                raise InvalidInput(f"{path}: the columns are name, secret and some of {_listed()}", argument="columns")
            for row in reader:
                name, text = row.pop("name"), row.pop("secret")
                if None in row or not is_name(name or "") or not text or name in rows:
                    raise InvalidInput(
                        f"{path}, line {reader.line_num}: a name of its own, a secret and no more fields than columns",
                        argument="line",
                    )
                table: dict[str, Any] = {key: value for key, value in row.items() if value}
                if "origins" in table:
                    table["origins"] = table["origins"].split()
                rows[name] = (Secret(text), table)
        except (csv.Error, UnicodeDecodeError):
            raise InvalidInput(f"{path}: it is no CSV in UTF-8", argument="file") from None
    return rows


def _listed() -> str:
    return ", ".join(sorted(_COLUMNS - {"name", "secret"}))


def _toml(name: str, table: dict[str, Any]) -> str:
    lines = [f"[{_quoted(name)}]"]
    for key, value in table.items():
        text = f"[{', '.join(map(_quoted, value))}]" if key == "origins" else _quoted(value)
        lines.append(f"{key} = {text}")
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    if not text.isprintable():
        raise InvalidInput("a profile has a character that cannot be printed", argument="profiles")
    return json.dumps(text, ensure_ascii=False)  # of printable characters, both languages write the same
