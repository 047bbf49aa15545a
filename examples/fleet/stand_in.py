"""Hundreds of WordPress sites on loopback, in one process: each a port, with data, ailments and a password of its own.

    python -m examples.fleet.stand_in --into DIRECTORY [--sites 500] [--down 20] [--slow 20] [--servers 25] [--well]

Writes ``sites.toml`` and ``credentials.toml`` into the directory, prints the address of its control port and serves
until it is stopped. The shapes are WordPress 6's; every title, name and figure is made up. On the control port,
``/ledger`` tells what was received, ``/heal`` makes all sites well and ``/fail`` makes those ill that were to be.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

WORDS = ("Amber", "Birch", "Cedar", "Delta", "Ember", "Fjord", "Grove", "Haven", "Indigo", "Juniper", "Kelp", "Linden")
TRADES = ("Bakery", "Cycles", "Dental", "Florist", "Gallery", "Law", "Pottery", "Vets", "Yoga")
TITLES = (
    "Spring opening hours",
    "We&#8217;re hiring",
    "A look back at <em>May</em>",
    "New on the menu",
    "Fees &#038; dates",
)
BEGAN = datetime(2026, 1, 1, 8, 0)  # noqa: DTZ001  # WordPress's date_gmt is UTC and does not say so
LATENCY = 0.01  # seconds


class Health(Enum):
    """What a site does with a request; in the order in which ailments are handed out."""

    RESET = "drops the connection"
    DATABASE = "500 with a page about its database"
    MAINTENANCE = "503 with Retry-After"
    SLOW = "answers in its own time"
    MOVED = "redirects to another site of the fleet"
    BLOCKED = "200 with a page of HTML in place of JSON"
    LOCKED = "does not know our password any more"
    WELL = "answers"


DOWN = (Health.RESET, Health.DATABASE, Health.MAINTENANCE)
ODD = (Health.MOVED, Health.BLOCKED, Health.LOCKED)


class Site:
    """One WordPress: its data follow from its number."""

    def __init__(self, number: int, server: str) -> None:
        chance = Random(number)
        self.name = f"{WORDS[number % len(WORDS)]} {TRADES[number // len(WORDS) % len(TRADES)]} {number:03}".lower()
        self.name = self.name.replace(" ", "-")
        self.server = server
        self.user = "fleet"
        self.password = " ".join("".join(chance.choices("abcdefghkmnpqrstuvwxyz23456789", k=4)) for _ in range(6))
        self.ailment = self.health = Health.WELL
        self.url = ""
        self.neighbour = ""
        self.posts, self.pages = chance.randint(3, 400), chance.randint(2, 40)
        self.held = chance.choice((0, 0, 0, 0, 1, 2, chance.randint(3, 60)))
        self.began = BEGAN + timedelta(days=chance.randint(0, 200), minutes=chance.randint(0, 600))
        self._chance = chance.random()

    @property
    def authorization(self) -> str:
        return f"Basic {b64encode(f'{self.user}:{self.password}'.encode()).decode()}"

    def items(self, kind: str) -> tuple[int, Any]:
        """How many there are, and a function that makes the one at an index."""
        title = TITLES[int(self._chance * len(TITLES))]

        def item(index: int) -> dict[str, Any]:
            made = (self.began - timedelta(days=index)).isoformat()
            common = {"id": 9000 - index, "date_gmt": made, "link": f"{self.url}/?p={9000 - index}"}
            match kind:
                case "posts":
                    return {**common, "status": "publish", "title": {"rendered": title}}
                case "pages":
                    return {**common, "status": "publish", "title": {"rendered": "About"}}
                case _:
                    return {
                        **common,
                        "status": "hold",
                        "author_name": "A reader",
                        "content": {"rendered": "<p>Hm.</p>"},
                    }

        return {"posts": self.posts, "pages": self.pages, "comments": self.held}[kind], item


class Ledger:
    """What all sites received."""

    def __init__(self) -> None:
        self.requests = 0
        self.statuses: Counter[int] = Counter()
        self.strangers: list[str] = []  # sites that were sent a credential that is not theirs
        self.unasked: list[str] = []  # sites that were sent theirs where none is needed
        self.running: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()  # by server

    def begin(self, site: Site, authorization: str | None, path: str) -> None:
        self.requests += 1
        if authorization not in (None, site.authorization):
            self.strangers.append(site.name)
        elif authorization is not None and not path.endswith("/comments"):
            self.unasked.append(site.name)
        self.running[site.server] += 1
        self.most_at_once[site.server] = max(self.most_at_once[site.server], self.running[site.server])

    def end(self, site: Site, status: int) -> None:
        self.statuses[status] += 1
        self.running[site.server] -= 1

    def told(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "statuses": dict(self.statuses),
            "strangers": self.strangers,
            "unasked": self.unasked,
            "most_at_once": dict(self.most_at_once),
        }


Answer = tuple[int, dict[str, str], bytes]


def answer(site: Site, target: str, fields: dict[str, str]) -> Answer:
    """What a site says to a GET."""
    match site.health:
        case Health.DATABASE:
            return page(500, "Error establishing a database connection")
        case Health.MAINTENANCE:
            return page(503, "Briefly unavailable for scheduled maintenance. Check back in a minute.", "600")
        case Health.BLOCKED:
            return page(200, "One moment, please: are you human?")
        case Health.MOVED:
            return 301, {"Location": site.neighbour + target}, b""
        case _:
            pass
    url = urlsplit(target)
    query = {name: values[-1] for name, values in parse_qs(url.query).items()}
    kind = url.path.removeprefix("/wp-json/wp/v2/")
    if kind not in ("posts", "pages", "comments"):
        return failure(404, "rest_no_route", "No route was found matching the URL and request method.")
    given = fields.get("authorization")
    if given is not None and (given != site.authorization or site.health is Health.LOCKED):
        return failure(401, "incorrect_password", "The provided password is an invalid application password.")
    if kind == "comments" and given is None:
        return failure(401, "rest_forbidden_param", "Query parameter not permitted: status")
    return listing(site, kind, query, fields, authenticated=given is not None)


def listing(site: Site, kind: str, query: dict[str, str], fields: dict[str, str], *, authenticated: bool) -> Answer:
    total, item = site.items(kind)
    size, number = int(query.get("per_page", "10")), int(query.get("page", "1"))
    last = -(-total // size)
    if number > max(last, 1):
        message = "The page number requested is larger than the number of pages available."
        return failure(400, f"rest_{kind.removesuffix('s')}_invalid_page_number", message)
    chosen = query["_fields"].split(",") if "_fields" in query else None
    found = [item(index) for index in range((number - 1) * size, min(number * size, total))]
    shown = [{name: one[name] for name in chosen or one if name in one} for one in found]
    body = json.dumps(shown).encode()
    head = {
        "Content-Type": "application/json; charset=UTF-8",
        "X-Robots-Tag": "noindex",
        "X-WP-Total": str(total),
        "X-WP-TotalPages": str(last),
        "Access-Control-Expose-Headers": "X-WP-Total, X-WP-TotalPages, Link",
        "Allow": "GET",
    }
    if number < last:
        head["Link"] = f'<{site.url}/wp-json/wp/v2/{kind}?page={number + 1}&per_page={size}>; rel="next"'
    if authenticated:  # as WordPress says to everyone who is logged in
        return 200, {**head, "Cache-Control": "no-cache, must-revalidate, max-age=0, no-store, private"}, body
    tag = f'"{hashlib.blake2b(body + str(total).encode(), digest_size=8).hexdigest()}"'  # as caching plugins do
    head["ETag"] = tag
    if fields.get("if-none-match") == tag:
        return 304, head, b""
    return 200, head, body


def page(status: int, text: str, retry_after: str | None = None) -> Answer:
    head = {"Content-Type": "text/html; charset=UTF-8"}
    if retry_after is not None:
        head["Retry-After"] = retry_after
    return status, head, f"<!DOCTYPE html><html><body><h1>{text}</h1></body></html>".encode()


def failure(status: int, code: str, message: str) -> Answer:
    body = json.dumps({"code": code, "message": message, "data": {"status": status}}).encode()
    return status, {"Content-Type": "application/json; charset=UTF-8"}, body


def wire(status: int, head: dict[str, str], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in head.items())]
    if status != 304:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Connection(asyncio.Protocol):
    """HTTP/1.1 as far as a GET goes. One object for a connection, nothing for an origin: 500 cost what one does."""

    def __init__(self, site: Site, ledger: Ledger, slow_for: float) -> None:
        self._site = site
        self._ledger = ledger
        self._slow_for = slow_for
        self._received = b""
        self._waiting: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._ledger.end(self._site, 499)  # nginx's word for a client that left

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._received += data
        head, ended, self._received = self._received.partition(b"\r\n\r\n")
        if not ended:
            self._received = head
            return
        request, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        target = request.split(" ")[1]
        site = self._site
        self._ledger.begin(site, fields.get("authorization"), target.partition("?")[0])
        if site.health is Health.RESET:
            self._ledger.end(site, 0)
            self._transport.abort()
            return
        after = self._slow_for if site.health is Health.SLOW else LATENCY
        self._waiting = asyncio.get_running_loop().call_later(after, self._answer, target, fields)

    def _answer(self, target: str, fields: dict[str, str]) -> None:
        assert self._transport is not None
        self._waiting = None
        status, head, body = answer(self._site, target, fields)
        self._ledger.end(self._site, status)
        self._transport.write(wire(status, head, body))


class Control(asyncio.Protocol):
    """The stand-in's own port."""

    def __init__(self, sites: Sequence[Site], ledger: Ledger) -> None:
        self._sites = sites
        self._ledger = ledger

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        match data.split(b" ")[1]:
            case b"/heal":
                for site in self._sites:
                    site.health = Health.WELL
            case b"/fail":
                for site in self._sites:
                    site.health = site.ailment
            case _:
                pass
        body = json.dumps(self._ledger.told()).encode()
        self._transport.write(wire(200, {"Content-Type": "application/json", "Connection": "close"}, body))
        self._transport.close()


def fleet(count: int, servers: int, ailments: list[Health]) -> list[Site]:
    """Sites, with their ailments spread over the list and over the servers."""
    sites = [Site(number, f"web-{number % servers + 1:02}") for number in range(count)]
    Random(5).shuffle(ailments)
    for number, ailment in enumerate(ailments):
        ill = sites[number * count // len(ailments)]
        ill.ailment = ill.health = ailment
    return sites


def write(sites: Sequence[Site], into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for server in sorted({site.server for site in sites}):
        lines += [f"[servers.{server}]", "at_once = 4", ""]
    for site in sites:
        lines += ["[[sites]]", *(f'{key} = "{getattr(site, key)}"' for key in ("name", "url", "server", "user")), ""]
    (into / "sites.toml").write_text("\n".join(lines), "utf-8")
    secret = into / "credentials.toml"
    secret.touch(0o600)
    secret.write_text("".join(f'{site.name} = "{site.password}"\n' for site in sites), "utf-8")


def allow_files(count: int) -> None:
    """A listener and some connections for each site are more files than many systems begin with."""
    if os.name == "posix":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 4 * count + 64
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


async def serve(options: argparse.Namespace) -> None:
    ailments = [] if options.well else [*islice(cycle(DOWN), options.down), *[Health.SLOW] * options.slow, *ODD]
    sites = fleet(options.sites, options.servers, ailments)
    allow_files(len(sites))
    ledger, loop = Ledger(), asyncio.get_running_loop()
    for site in sites:
        connection = partial(Connection, site, ledger, options.slow_for)
        listening = await loop.create_server(connection, "127.0.0.1", 0)
        site.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    for site, after in zip(sites, [*sites[1:], sites[0]], strict=True):
        site.neighbour = after.url
    control = await loop.create_server(lambda: Control(sites, ledger), "127.0.0.1", 0)
    write(sites, options.into)
    print(f"http://127.0.0.1:{control.sockets[0].getsockname()[1]}", flush=True)
    await control.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--sites", type=int, default=500)
    parser.add_argument("--down", type=int, default=20)
    parser.add_argument("--slow", type=int, default=20)
    parser.add_argument("--slow-for", type=float, default=30.0, help="seconds")
    parser.add_argument("--servers", type=int, default=25)
    parser.add_argument("--well", action="store_true", help="no site is ill")
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
