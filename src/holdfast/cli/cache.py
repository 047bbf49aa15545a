"""``python -m holdfast cache ls|show|purge|stats FILE``: what a SQLite store of the cache holds.

A file that is not there, not ours, or damaged is left as it is. Programs that use it need not be stopped. Exit code
0: done, even if nothing was found. 1: ``show`` found nothing. 2: the arguments are wrong, or the file cannot be used,
or it is encrypted and the question needs the key.

With ``--json`` standard output is one JSON object; keys are only ever added, times are seconds, sizes bytes::

    schema        1
    file          its path
    entries       of ls and show, [{"url", "method", "status", "age", "fresh_for" (negative: stale), "size",
                  "partition" (null: answers to requests without a credential), "groups", "operations",
                  "stored_at" (since the epoch)}]; show adds {"vary", "headers": [[name, value]], "now", "standing"
                  (both as in explain-cache), "text": [[label, sentence]]}, and "body" (base64) with ``--body``
    removed       of purge, the number of answers
    figures       of stats, those of `SQLiteStore.stats` but its limit, with "fresh", "stale", "partitions"
    encrypted     of stats, whether the answers are; then there are no "fresh", "stale" and "partitions"
"""

from __future__ import annotations

import argparse
import json
import shutil
import stat
import sys
from base64 import b64encode
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import anyio

from holdfast.cli.words import columns, lasting, line_of, of_phase, of_standing, printable
from holdfast.clock import SystemClock
from holdfast.core.caching.entry import Entry
from holdfast.core.caching.explain import phase_at, standing
from holdfast.core.caching.freshness import current_age
from holdfast.core.caching.groups import group_tag_within
from holdfast.core.caching.key import CREDENTIAL_FIELDS, origin_of, spelled, split_key
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.reach import EVERYTHING, Reach, reach_of
from holdfast.core.caching.request import read_ask
from holdfast.stores.base import StoreError
from holdfast.stores.encrypted import is_sealed
from holdfast.stores.sqlite import SQLiteStore

__all__ = ["add_to"]

_PATIENCE: Final = 10.0  # seconds; who works by hand waits longer for another process's write than a call would
_PLAIN: Final = read_ask("GET", [])
_SHORT: Final = 8  # digits of a partition, enough to tell users apart
_HEADING: Final = f"{'status':<8}{'age':<13}{'fresh for':<14}{'size':<11}{'partition':<11}url"


class _Unusable(Exception):
    """The question cannot be answered for this file; the text is for the user."""


def add_to(commands: Any) -> None:
    """Add this command to argparse's subparsers (whose class has no public name)."""
    parser: argparse.ArgumentParser = commands.add_parser("cache", description=_DESCRIPTION)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, summary: str, run: Any) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        added.set_defaults(run=_run, action_run=run)
        added.add_argument("file", type=Path, metavar="FILE", help="that SQLiteStore(FILE) keeps")
        added.add_argument("--json", action="store_true", dest="as_json", help="data on standard output")
        return added

    ls = action("ls", "list the stored answers, the last put last", _ls)
    ls.add_argument("--prefix", type=_url, help="only URLs that begin so, character by character")
    ls.add_argument("--stale", action="store_true", help="only those past their lifetime")
    ls.add_argument("--limit", type=_count, metavar="N", help="at most so many")
    show = action("show", "show the answers of one URL with their fields, and what a request gets now", _show)
    show.add_argument("url", type=_url, metavar="URL")
    show.add_argument("--shared", action="store_true", help="judge as Cache(shared=True) does")
    show.add_argument(
        "--body", action="store_true", help="only the body of the one put last, as it came (still content-encoded)"
    )
    purge = action("purge", "remove answers, and tell how many they were", _purge)
    reach = purge.add_mutually_exclusive_group(required=True)
    reach.add_argument("--url", type=_url, help="all answers of one URL")
    reach.add_argument("--prefix", type=_url, help="of all URLs that begin so, character by character")
    reach.add_argument("--group", nargs=2, metavar=("ORIGIN", "NAME"), help="of a cache group within an origin")
    reach.add_argument("--operation", metavar="ID", help="of an operation, such as Users.get")
    reach.add_argument("--all", action="store_true", dest="everything", help="all")
    action("stats", "tell how much is in there", _stats)


_DESCRIPTION = """
Looks into the file of a SQLiteStore, and purges it. A file that is missing, damaged or not ours is left as it is.
"""


def _url(text: str) -> str:
    try:
        return spelled(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return count


def _run(arguments: argparse.Namespace) -> int:
    try:
        _check(arguments.file)
        code: int = anyio.run(_opened, arguments)
    except (_Unusable, StoreError) as error:
        print(f"holdfast cache: {error}", file=sys.stderr)
        return 2
    return code


def _check(path: Path) -> None:
    try:
        kind = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise _Unusable(f"{path}: no such file") from None
    except OSError as error:  # in a directory that is closed to us
        raise _Unusable(str(error)) from error
    if stat.S_ISDIR(kind):
        raise _Unusable(f"{path} is a directory: name the file in it that SQLiteStore keeps")
    if not stat.S_ISREG(kind):
        raise _Unusable(f"{path} is no regular file")


async def _opened(arguments: argparse.Namespace) -> int:
    async with SQLiteStore(arguments.file, create=False, busy_timeout=_PATIENCE) as store:
        code: int = await arguments.action_run(store, arguments)
    return code


async def _ls(store: SQLiteStore, arguments: argparse.Namespace) -> int:
    count = 0
    if arguments.as_json:  # by hand, since a file may hold a million
        print(f'{{"schema": 1, "file": {json.dumps(str(arguments.file))}, "entries": [', end="")
    async with aclosing(_selected(store, arguments)) as selected:
        async for entry, now in selected:
            if arguments.as_json:
                print(",\n" if count else "\n", json.dumps(_row(entry, now)), end="", sep="")
            else:
                if not count:
                    print(_HEADING)
                print(_line(entry, now))
            count += 1
    if arguments.as_json:
        print("\n]}")
    elif not count:
        print("No such answer is stored.", file=sys.stderr)
    return 0


async def _selected(store: SQLiteStore, arguments: argparse.Namespace) -> AsyncGenerator[tuple[Entry, float], None]:
    """The entries to list, and the moment of the monotonic clock to judge them by."""
    clock, left = SystemClock(), arguments.limit
    async with aclosing(store.entries()) as entries:
        async for entry in entries:
            now = clock.monotonic()
            if is_sealed(entry):
                raise _sealed(arguments)
            if arguments.prefix is not None and not entry.url.startswith(arguments.prefix):
                continue
            if arguments.stale and _fresh_for(entry, now) > 0:
                continue
            if left is not None:
                if not left:
                    return
                left -= 1
            yield entry, now


async def _show(store: SQLiteStore, arguments: argparse.Namespace) -> int:
    await _refuse_sealed(store, arguments)
    async with aclosing(store.entries(arguments.url)) as entries:
        found = [entry async for entry in entries]
    now, policy = SystemClock().monotonic(), CachePolicy(shared=arguments.shared)
    if arguments.as_json:
        shown = [_shown(entry, now, policy) for entry in found]
        if arguments.body:
            for told, entry in zip(shown, found, strict=True):
                told["body"] = b64encode(b"".join([piece async for piece in _body(store, entry)])).decode("ascii")
        print(json.dumps({"schema": 1, "file": str(arguments.file), "entries": shown}, indent=2))
    elif found and arguments.body:
        async for piece in _body(store, found[-1]):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    else:
        for number, entry in enumerate(found):
            if number:
                print()
            print(printable(f"{entry.method} {entry.url}"))
            print(*columns(list(_told(entry, now, policy)), shutil.get_terminal_size().columns), sep="\n")
            for name, value in entry.headers:
                print(f"  {line_of(name, value)}")
    if not found:
        print(f"holdfast cache: nothing is stored of {printable(arguments.url)}", file=sys.stderr)
    return 0 if found else 1


async def _body(store: SQLiteStore, entry: Entry) -> AsyncGenerator[bytes, None]:
    """The body of an entry that was listed, which may not have it."""
    for whole in await store.get(entry.key):
        if (whole.vary, whole.variant) == (entry.vary, entry.variant):
            async with aclosing(store.read(whole)) as pieces:
                async for piece in pieces:
                    yield piece
            return
    raise _Unusable("the answer was removed meanwhile")


async def _purge(store: SQLiteStore, arguments: argparse.Namespace) -> int:
    reach = EVERYTHING if arguments.everything else _reach(arguments)
    if reach != EVERYTHING:
        await _refuse_sealed(store, arguments)
    match reach.kind:
        case "url":
            removed = await store.purge(reach.text)
        case "prefix":
            removed = await store.purge_prefix(reach.text)
        case "tag":
            removed = await store.purge_tag(reach.text)
    if reach == EVERYTHING:
        await store.clear()  # gives the space back
    if arguments.as_json:
        print(json.dumps({"schema": 1, "file": str(arguments.file), "removed": removed}))
    else:
        print(f"{removed} answer{'s' if removed != 1 else ''} removed")
    return 0


def _reach(arguments: argparse.Namespace) -> Reach:
    if arguments.group is not None:
        origin, name = arguments.group
        try:
            return Reach("tag", group_tag_within(origin_of(spelled(origin)), name))
        except ValueError as error:
            raise _Unusable(str(error)) from None
    return reach_of(url=arguments.url, prefix=arguments.prefix, operation=arguments.operation)


async def _stats(store: SQLiteStore, arguments: argparse.Namespace) -> int:
    figures = await store.stats()
    del figures["max_bytes"]  # of this store, not of those of the programs that use the file
    sealed, fresh, partitions = False, 0, set[str]()
    now = SystemClock().monotonic()
    async with aclosing(store.entries()) as entries:
        async for entry in entries:
            if is_sealed(entry):
                sealed = True
                break
            fresh += _fresh_for(entry, now) > 0
            partitions.add(split_key(entry.key)[1])
    if not sealed:
        figures |= {"fresh": fresh, "stale": figures["entries"] - fresh, "partitions": len(partitions)}
    if arguments.as_json:
        print(json.dumps({"schema": 1, "file": str(arguments.file), "encrypted": sealed, "figures": figures}, indent=2))
        return 0
    told = [
        (name.replace("_", " "), _sized(figure) if name.endswith("_bytes") else str(figure))
        for name, figure in figures.items()
    ]
    print(*columns([*told, ("encrypted", "yes" if sealed else "no")], 80), sep="\n")
    return 0


async def _refuse_sealed(store: SQLiteStore, arguments: argparse.Namespace) -> None:
    async with aclosing(store.entries()) as entries:
        async for entry in entries:
            if is_sealed(entry):
                raise _sealed(arguments)
            return


def _sealed(arguments: argparse.Namespace) -> _Unusable:
    return _Unusable(f"{arguments.file}: the answers are encrypted; `stats` and `purge --all` work without the key")


def _fresh_for(entry: Entry, now: float) -> float:
    return entry.lifetime - current_age(entry, now)


def _row(entry: Entry, now: float) -> dict[str, Any]:
    tags = [tag.partition(":") for tag in entry.tags]
    return {
        "url": entry.url,
        "method": entry.method,
        "status": entry.status,
        "age": round(current_age(entry, now), 3),
        "fresh_for": round(_fresh_for(entry, now), 3),
        "size": entry.size,
        "partition": split_key(entry.key)[1][:_SHORT] or None,
        "groups": [name for kind, _, name in tags if kind == "group"],
        "operations": [name for kind, _, name in tags if kind == "operation"],
        "stored_at": entry.wall,
    }


def _line(entry: Entry, now: float) -> str:
    row = _row(entry, now)
    left = row["fresh_for"]
    tags = [*(f"group {name}" for name in row["groups"]), *(f"operation {name}" for name in row["operations"])]
    told = f"  [{', '.join(tags)}]" if tags else ""
    until = f"-{lasting(-left)}" if left < 0 else lasting(left)
    return printable(
        f"{row['status']:<8}{lasting(row['age']):<13}{until:<14}"
        f"{_sized(row['size']):<11}{row['partition'] or '-':<11}{row['url']}{told}"
    )


def _shown(entry: Entry, now: float, policy: CachePolicy) -> dict[str, Any]:
    return {
        **_row(entry, now),
        "vary": dict(_selecting(entry)),
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in entry.headers],
        "now": asdict(phase_at(_PLAIN, entry, policy, now=now)),
        "standing": asdict(standing(_PLAIN, entry, policy)),
        "text": [list(pair) for pair in _told(entry, now, policy)],
    }


def _told(entry: Entry, now: float, policy: CachePolicy) -> Iterator[tuple[str, str]]:
    left, stands = _fresh_for(entry, now), standing(_PLAIN, entry, policy)
    yield "status", str(entry.status)
    yield "stored", f"{datetime.fromtimestamp(entry.wall, UTC):%Y-%m-%d %H:%M:%S} UTC, {_sized(entry.size)}"
    yield "partition", split_key(entry.key)[1][:_SHORT] or "-"
    for name, value in _selecting(entry):
        yield "vary", printable(f"{name}: {value}") if value is not None else f"no {printable(name)}"
    for tag in entry.tags:
        kind, _, name = tag.partition(":")
        if kind in ("group", "operation"):
            yield kind, printable(name)
    state = f"fresh for another {lasting(left)}" if left > 0 else f"stale for {lasting(-left)}"
    yield "now", f"{state}: {of_phase(phase_at(_PLAIN, entry, policy, now=now), stands)}"
    yield from of_standing(stands)


def _selecting(entry: Entry) -> Iterator[tuple[str, str | None]]:
    """What a request has to say in the fields of Vary to select the entry; None: nothing."""
    rest = entry.variant
    for name in entry.vary:
        if rest.startswith(b"-"):
            said, rest = None, rest[1:]
        else:
            size, _, rest = rest.partition(b":")
            value, rest = rest[: int(size)], rest[int(size) :]
            text = value.decode("latin-1")
            # A credential is there as bytes of a digest; which fields are credentials is for the settings to say.
            said = text if name not in CREDENTIAL_FIELDS and text.isprintable() else f"({value.hex()[:_SHORT]})"
        yield name.decode("latin-1"), said


def _sized(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.1f}".removesuffix(".0") + f" {unit}"
