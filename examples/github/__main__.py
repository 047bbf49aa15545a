"""Read GitHub from a terminal.

    python -m examples.github repos ORG
    python -m examples.github issues OWNER/REPO [--state open] [--label bug] [--limit 50] [--resume TOKEN]
    python -m examples.github quotas

The token is in ``GITHUB_TOKEN``, if there is one; ``--url`` is for an Enterprise server, or the stand-in. With
``--answers FILE`` what came is kept there, and ``--fresh`` asks GitHub whether it still holds: a 304 costs nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import anyio
import httpx

from examples.github.client import API, Denied, Issue, Repo, github
from holdfast import RateLimited, SQLiteStore
from holdfast.client import Pages, resume_token
from holdfast.errors import HoldfastError, NotFound, Unauthorized

T = TypeVar("T")


async def run(options: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        answers = None if options.answers is None else await stack.enter_async_context(SQLiteStore(options.answers))
        token = os.environ.get("GITHUB_TOKEN") or None
        api = await stack.enter_async_context(github(token, url=options.url, answers=answers))
        match options.what:
            case "repos":
                await show(asked(api.orgs(options.name).repos(), options), line_of_repo)
            case "issues":
                owner, _, repo = options.name.partition("/")
                listing = api.repos(owner, repo).issues.all(state=options.state, labels=options.label)
                await show(asked(listing, options), line_of_issue)
            case _:
                for name, quota in (await api.quotas()).resources.items():
                    again = datetime.fromtimestamp(quota.reset, UTC)
                    print(f"{name}: {quota.remaining} of {quota.limit} left, anew at {again:%H:%M} UTC")


def asked(listing: Pages[T], options: argparse.Namespace) -> Pages[T]:
    if options.fresh:
        listing = listing.using(cache="refresh")
    return listing.limit(options.limit).resume(options.resume)


async def show(listing: Pages[T], line: Callable[[T], str]) -> None:
    """Page by page, and then where the answers came from."""
    sources = Counter[str]()
    async for page in listing.pages():
        sources[page.reply.source] += 1
        for item in page.items:
            print(line(item))
    told = ", ".join(f"{count} {source}" for source, count in sorted(sources.items()))
    print(f"pages: {told}", file=sys.stderr)


def line_of_repo(repo: Repo) -> str:
    counts = f"{repo.stargazers_count:6} stars {repo.open_issues_count:5} open"
    return f"{repo.full_name:32} {counts}  {repo.description or ''}"


def line_of_issue(issue: Issue) -> str:
    labels = "".join(f" [{label.name}]" for label in issue.labels)
    kind = "pull" if issue.pull_request is not None else "issue"
    return f"#{issue.number:<5} {issue.state:6} {kind:5} {issue.title}{labels}"


def told(error: Exception) -> str:
    """What went wrong, in the words of somebody at a terminal."""
    match error:
        case Unauthorized():
            return "GitHub does not know this token (GITHUB_TOKEN)"
        case NotFound():
            return "there is no such thing, or not for you"
        case RateLimited(retry_after=float(seconds)):
            return f"the quota is used up; it begins anew in {seconds:.0f} s{going_on(error)}"
        case Denied(quota_used_up=True):
            return f"the quota is used up{going_on(error)}"
        case _:
            return str(error)


def going_on(error: Exception) -> str:
    place = resume_token(error)
    return "" if place is None else f"\ngo on with --resume '{place}'"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["repos", "issues", "quotas"])
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--state", choices=["open", "closed", "all"], default="open")
    parser.add_argument("--label", action="append", default=[])
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--resume", metavar="TOKEN", help="where an earlier run ended")
    parser.add_argument("--answers", type=Path, metavar="FILE")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--url", default=API)
    try:
        anyio.run(run, parser.parse_args())
    except (HoldfastError, httpx.HTTPError) as error:
        sys.exit(told(error))


if __name__ == "__main__":
    main()
