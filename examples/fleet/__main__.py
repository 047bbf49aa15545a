"""The fleet at a glance, as a page or as data.

    python -m examples.fleet sites.toml [--html fleet.html] [--json] [--views 1] [--every 60] [--within 4]

Each site's last good figures are kept beside ``sites.toml``: they stand in, marked, for those of a site in trouble.
``--views 0`` goes on until it is stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

import anyio

from examples.fleet.page import as_html, as_json
from examples.fleet.sites import Fleet, read
from examples.fleet.survey import Survey, View, last_good, write_last_good


async def watch(fleet: Fleet, options: argparse.Namespace) -> None:
    file = options.sites.with_name("last-good.json")
    async with Survey(fleet, last_good(file), answer_within=options.answer_within) as survey:
        for number in count(1):
            view = await survey.view(options.within)
            write_last_good(file, survey.seen)
            show(view, options)
            if number == options.views:
                return
            await anyio.sleep(options.every)


def show(view: View, options: argparse.Namespace) -> None:
    if options.html is not None:
        options.html.write_text(as_html(view), "utf-8")
        print(f"{options.html}: {len(view.rows)} sites", file=sys.stderr)
    if options.json:
        print(json.dumps(as_json(view)), flush=True)
    elif options.html is None:
        for row in view.rows:
            print(f"{row.verdict.name.lower():8}{row.site.name:32}{row.reason or ''}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sites", type=Path)
    parser.add_argument("--html", type=Path, help="where to write the page")
    parser.add_argument("--json", action="store_true", help="print each view as a line of JSON")
    parser.add_argument("--views", type=int, default=1, help="how many; 0: until it is stopped")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between two views")
    parser.add_argument("--within", type=float, default=4.0, help="seconds that a view may take")
    parser.add_argument("--answer-within", type=float, default=1.5, help="seconds that a site may take")
    options = parser.parse_args()
    try:
        fleet = read(options.sites)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    with suppress(KeyboardInterrupt):
        anyio.run(watch, fleet, options)


if __name__ == "__main__":
    main()
