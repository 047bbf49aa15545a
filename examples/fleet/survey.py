"""How is each site? All of them are asked at once, each within its server's limit, and the view is closed on time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import IntEnum
from html import unescape
from pathlib import Path
from re import sub
from time import monotonic

import anyio
import httpx
from tenacity import retry_if_exception_type

from examples.fleet.sites import Fleet, Site
from examples.fleet.wordpress import WordPress, total
from holdfast import Cache, CacheRule, ConcurrencyLimit, DeadlineExceeded, Pipeline, Refused, Retry
from holdfast.auth import Basic, Secret
from holdfast.client.decode import decoder_for
from holdfast.errors import DecodeError, Forbidden, ForeignOrigin, HoldfastError, NotFound, StatusError, Unauthorized
from holdfast.httpx import ResilientTransport

__all__ = ["Good", "Row", "Survey", "Verdict", "View", "last_good", "write_last_good"]

RULES = {
    # WordPress forbids keeping what it says to those who are logged in; for a glance, a minute is near enough.
    "Comments.held": CacheRule(ttl=60.0, ignore=("Cache-Control",)),
    # Kept to be validated: a site with a caching plugin answers the next view with 304.
    "Posts.newest": CacheRule(ttl=0.0),
}


@dataclass(frozen=True, slots=True)
class Good:
    """What a site said when it last answered properly, at ``synced``."""

    posts: int
    held: int
    title: str
    link: str
    published: datetime | None
    synced: datetime


class Verdict(IntEnum):
    """In the order in which somebody should look."""

    DOWN = 0
    BLOCKED = 1  # it is there, and does not let us in
    SLOW = 2
    WELL = 3


@dataclass(frozen=True, slots=True)
class Row:
    """One site: how it is now, why, and its last good figures, which are ``stale`` if they are of an earlier view."""

    site: Site
    verdict: Verdict
    reason: str | None
    good: Good | None

    @property
    def stale(self) -> bool:
        return self.verdict is not Verdict.WELL and self.good is not None

    def trouble(self) -> tuple[int, float, int, str]:
        """The worst first: the verdict, then those without figures or with the oldest, then those with work waiting."""
        synced = 0.0 if self.good is None else self.good.synced.timestamp()
        held = 0 if self.good is None else -self.good.held
        return self.verdict, 0.0 if self.verdict is Verdict.WELL else synced, held, self.site.name


@dataclass(frozen=True, slots=True)
class View:
    """All sites, the worst first. ``answers`` counts where the answers of this view came from."""

    taken: datetime
    seconds: float
    rows: tuple[Row, ...]
    answers: Mapping[str, int]  # "origin", "revalidated", "cache", "failed"

    def count(self, verdict: Verdict) -> int:
        return sum(row.verdict is verdict for row in self.rows)

    def totals(self) -> dict[str, int]:
        """Over all sites that were ever seen."""
        known = [row.good for row in self.rows if row.good is not None]
        return {name: sum(getattr(good, name) for good in known) for name in ("posts", "held")}


class Survey:
    """A client for each site, made once; all over one HTTP client, so a view costs what has changed since the last.

    ``seen`` is what earlier views saw, by name of a site; each view brings it up to date. Leaving the block closes the
    connections.
    """

    def __init__(self, fleet: Fleet, seen: dict[str, Good], *, answer_within: float = 1.5) -> None:
        self.seen = seen
        self._answer_within = answer_within
        self._client = httpx.AsyncClient(transport=transport(fleet, answer_within))
        self._sites = {site: self._service(site, fleet.passwords[site.name]) for site in fleet.sites}

    async def __aenter__(self) -> Survey:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def view(self, within: float) -> View:
        """Ask each site for its figures, and be done in ``within`` seconds.

        A site that is down or slow holds up nobody: it takes one of its own server's permits, for ``answer_within``
        seconds. One that has not answered when the view is closed has a row like any other.
        """
        began, rows, sources = monotonic(), dict[Site, Row](), Counter[str]()

        async def ask(site: Site, service: WordPress) -> None:
            try:
                good = self.seen[site.name] = await figures(service, sources)
                rows[site] = Row(site, Verdict.WELL, None, good)
            except (HoldfastError, httpx.HTTPError) as error:
                sources["failed"] += 1
                rows[site] = Row(site, *self._diagnosis(error), self.seen.get(site.name))

        with anyio.move_on_after(within):
            async with anyio.create_task_group() as group:
                for site, service in self._sites.items():
                    group.start_soon(ask, site, service)
        missing = [site for site in self._sites if site not in rows]
        for site in missing:
            late = "had not answered when the view was closed"
            rows[site] = Row(site, Verdict.SLOW, late, self.seen.get(site.name))
        # The next view begins with them, so that on a machine that is too slow for all each has its turn.
        self._sites = {site: self._sites[site] for site in dict.fromkeys([*missing, *self._sites])}
        ordered = sorted(rows.values(), key=Row.trouble)
        return View(datetime.now(UTC), monotonic() - began, tuple(ordered), sources)

    def _service(self, site: Site, password: Secret) -> WordPress:
        # The credential is for this site's origin, wherever a link or a redirect may lead.
        auth = Basic(site.user, password)
        return WordPress(f"{site.url}/wp-json", auth=auth, client=self._client, user_agent="fleet/1.0")

    def _diagnosis(self, error: Exception) -> tuple[Verdict, str]:
        if isinstance(error, (DeadlineExceeded, httpx.TimeoutException)):
            return Verdict.SLOW, f"no answer within {self._answer_within:g} s"
        return diagnosis(error)


def transport(fleet: Fleet, answer_within: float) -> ResilientTransport:
    """Circuits and retries for each site, a limit for each server, one cache."""
    cache, connection_failed = Cache(rules=RULES), (httpx.NetworkError, httpx.RemoteProtocolError)
    by_server = {
        server.name: Pipeline(
            # A slow site is not asked again: it would hold its permit twice as long.
            retry=Retry(attempts=2, retry=retry_if_exception_type(connection_failed)),
            concurrency=ConcurrencyLimit(1, total=server.at_once),  # one for a site: it leaves the others theirs
            cache=cache,
            attempt_timeout=answer_within,  # from when it has its permit: a line is not the site's fault
        )
        for server in fleet.servers.values()
    }
    connections = len(fleet.sites)  # the next view finds each site's open
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=90.0)
    pipelines = Pipeline.by_origin({site.url: by_server[site.server] for site in fleet.sites})
    return ResilientTransport(pipelines, limits=limits)


async def figures(site: WordPress, sources: Counter[str]) -> Good:
    """A site's figures. The first answer decides whether it is asked for the others."""
    posts = await site.posts.newest().reply()
    held = await site.comments.held().using(options={"priority": 1}).reply()  # who has begun is to be done
    sources.update((posts.source, held.source))
    newest = posts.value[0] if posts.value else None
    return Good(
        posts=total(posts),
        held=total(held),
        title="" if newest is None else plain(newest.title.rendered),
        link="" if newest is None else newest.link,
        published=None if newest is None else newest.date_gmt.replace(tzinfo=UTC),
        synced=datetime.now(UTC),
    )


def diagnosis(error: Exception) -> tuple[Verdict, str]:
    """What is the matter, in the operator's words. No value of an answer is in them."""
    match error:
        case Refused():
            return Verdict.DOWN, "failed again and again; left alone for a while"
        case Unauthorized() | Forbidden():
            return Verdict.BLOCKED, f"does not take our password ({error.status_code})"
        case ForeignOrigin():
            return Verdict.BLOCKED, f"redirects to {error.origin}, which is not followed"
        case DecodeError():
            return Verdict.BLOCKED, f"the answer is not WordPress's: expected {error.expected}, got {error.got}"
        case NotFound():
            return Verdict.BLOCKED, "has no REST API"
        case StatusError(retry_after=float(seconds)):
            return Verdict.DOWN, f"answers {error.status_code}; wants to be left alone for {seconds / 60:.0f} min"
        case StatusError():
            return Verdict.DOWN, f"answers {error.status_code}"
        case httpx.ConnectError():
            return Verdict.DOWN, "cannot be reached"
        case _:
            return Verdict.DOWN, "drops the connection without an answer"


def plain(rendered: str) -> str:
    """The text of a title that is HTML."""
    return unescape(sub(r"<[^>]*>", "", rendered)).strip()


def last_good(file: Path) -> dict[str, Good]:
    """By name of a site, what earlier views have seen."""
    return decoder_for(dict[str, Good]).decode(file.read_bytes()) if file.exists() else {}


def write_last_good(file: Path, seen: Mapping[str, Good]) -> None:
    told = {name: asdict(good) for name, good in seen.items()}
    new = file.with_suffix(".new")
    new.write_text(json.dumps(told, default=datetime.isoformat), "utf-8")
    new.replace(file)  # at once: a view that is stopped half-way leaves the file as it was
