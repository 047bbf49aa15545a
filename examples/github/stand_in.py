"""GitHub's REST API on loopback, in the shapes that it answers with; every name and figure is made up.

    python -m examples.github.stand_in [--quota 60] [--repos 45] [--issues 230]

Prints its address and serves until it is stopped. There is one organisation, ``aurora``, with ``aurora/lantern`` among
its repositories, which was ``aurora/lamp`` before. ``test-token`` is a token.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from holdfast.testing.faulty import Answer, FaultyServer, Received

TOKEN = "test-token"
BEGAN = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
LABELS = ("bug", "docs", "help wanted", "idea")

Shape = tuple[int, dict[str, str], bytes]
"""Status, header fields and body."""


class Hub:
    """What GitHub knows, and what each caller has left of its quota."""

    def __init__(self, quota: int, repos: int, issues: int) -> None:
        self.quota = quota
        self.used: dict[str, int] = {}
        self.reset = int(time.time()) + 3600
        self.repos = [self._repo(number) for number in range(repos)]
        self.issues = [self._issue(number) for number in range(issues, 0, -1)]
        self.url = ""

    def answer(self, request: Received) -> Answer:
        given = request.header("authorization")
        if given not in (None, f"Bearer {TOKEN}"):
            return said(*failure(401, "Bad credentials"))
        who = given or "nobody"
        if request.path == "/rate_limit":
            core = {
                "limit": self.quota,
                "remaining": self.left(who),
                "used": self.used.get(who, 0),
                "reset": self.reset,
            }
            return Answer.json({"resources": {"core": core}, "rate": core})
        if self.left(who) == 0:
            status, head, body = failure(403, "API rate limit exceeded")
            return said(status, {**head, **self._limits(who)}, body)
        status, head, body = self._routed(request)
        if status != 304:  # as GitHub counts
            self.used[who] = self.used.get(who, 0) + 1
        return said(status, {**head, **self._limits(who)}, body)

    def left(self, who: str) -> int:
        return max(0, self.quota - self.used.get(who, 0))

    def _routed(self, request: Received) -> Shape:
        match [part for part in request.path.split("/") if part]:
            case ["orgs", "aurora", "repos"] | ["organizations", "7", "repos"]:
                return self._page(request, self.repos, f"{self.url}/organizations/7/repos")
            case ["repos", "aurora", "lamp", *rest]:
                moved = "/".join([f"{self.url}/repositories/1001", *rest])
                return 301, {"location": moved}, b""
            case ["repos", "aurora", "lantern"] | ["repositories", "1001"]:
                return self._body(request, self.repos[0], {})
            case ["repos", "aurora", "lantern", "issues"] | ["repositories", "1001", "issues"]:
                if request.method == "POST":
                    return self._create(request)
                return self._page(request, self._chosen(request), f"{self.url}/repositories/1001/issues")
            case ["repos", "aurora", "lantern", "issues", number] if number.isdecimal():
                found = [issue for issue in self.issues if issue["number"] == int(number)]
                return self._body(request, found[0], {}) if found else failure(404, "Not Found")
            case _:
                return failure(404, "Not Found")

    def _chosen(self, request: Received) -> list[dict[str, Any]]:
        query = parse_qs(urlsplit(request.target).query)
        state, labels = query.get("state", ["open"])[0], set(query.get("labels", [""])[0].split(",")) - {""}
        return [
            issue
            for issue in self.issues
            if state in ("all", issue["state"]) and labels <= {label["name"] for label in issue["labels"]}
        ]

    def _create(self, request: Received) -> Shape:
        given = json.loads(request.body)
        if not given.get("title"):
            return failure(422, "Validation Failed")
        number = self.issues[0]["number"] + 1
        made = {**self._issue(number), "title": given["title"], "labels": [{"name": name} for name in given["labels"]]}
        self.issues.insert(0, made)
        return 201, {"content-type": "application/json; charset=utf-8"}, json.dumps(made).encode()

    def _page(self, request: Received, items: list[dict[str, Any]], url: str) -> Shape:
        query = {name: values[-1] for name, values in parse_qs(urlsplit(request.target).query).items()}
        number, size = int(query.get("page", "1")), min(100, int(query.get("per_page", "30")))
        last = max(1, -(-len(items) // size))

        def link(page: int, rel: str) -> str:
            return f'<{url}?{urlencode({**query, "page": page})}>; rel="{rel}"'

        links = [link(number - 1, "prev")] if number > 1 else []
        links += [link(number + 1, "next"), link(last, "last")] if number < last else []
        links += [link(1, "first")] if number > 1 else []
        head = {"link": ", ".join(links)} if links else {}
        return self._body(request, items[(number - 1) * size : number * size], head)

    def _body(self, request: Received, value: object, head: dict[str, str]) -> Shape:
        body = json.dumps(value).encode()
        tag = f'W/"{hashlib.sha256(body).hexdigest()}"'
        kept = {
            "etag": tag,
            "cache-control": "private, max-age=60, s-maxage=60",
            "vary": "Accept, Authorization, Cookie",
        }
        if request.header("if-none-match") == tag:
            return 304, {**kept, **head}, b""
        media = {"content-type": "application/json; charset=utf-8", "x-github-media-type": "github.v3; format=json"}
        return 200, {**media, **kept, **head}, body

    def _limits(self, who: str) -> dict[str, str]:
        told = {f"x-ratelimit-{name}": str(value) for name, value in self._quota_of(who).items()}
        return {**told, "x-ratelimit-resource": "core"}

    def _quota_of(self, who: str) -> dict[str, int]:
        used = self.used.get(who, 0)
        return {"limit": self.quota, "remaining": self.left(who), "used": used, "reset": self.reset}

    def _repo(self, number: int) -> dict[str, Any]:
        name = "lantern" if number == 0 else f"lantern-{number:02}"
        return {
            "id": 1001 + number,
            "name": name,
            "full_name": f"aurora/{name}",
            "owner": {"login": "aurora", "id": 7, "type": "Organization"},
            "private": False,
            "description": None if number % 3 else f"Light number {number}",
            "stargazers_count": 3 * number,
            "open_issues_count": number % 7,
            "archived": number % 11 == 10,
            "pushed_at": None if number % 13 == 12 else _time(number),
        }

    def _issue(self, number: int) -> dict[str, Any]:
        closed = number % 4 == 0
        issue: dict[str, Any] = {
            "number": number,
            "title": f"The lantern flickers, part {number}",
            "state": "closed" if closed else "open",
            "user": None if number % 10 == 0 else {"login": f"reader-{number % 5}", "id": number % 5},
            "labels": [{"id": number % 4, "name": LABELS[number % 4], "color": "ededed"}],
            "comments": number % 6,
            "created_at": _time(number),
            "closed_at": _time(number + 1) if closed else None,
        }
        if number % 5 == 0:
            url = f"https://api.github.com/repos/aurora/lantern/pulls/{number}"
            issue["pull_request"] = {"url": url, "merged_at": None}
        return issue


def failure(status: int, message: str) -> Shape:
    told = {"message": message, "documentation_url": "https://docs.github.com/rest", "status": str(status)}
    head = {"content-type": "application/json; charset=utf-8", "x-github-request-id": "0A1B:2C3D"}
    return status, head, json.dumps(told).encode()


def said(status: int, head: dict[str, str], body: bytes) -> Answer:
    return Answer(status, headers=tuple(head.items()), body=body)


def _time(hours: int) -> str:
    return f"{BEGAN + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quota", type=int, default=60)
    parser.add_argument("--repos", type=int, default=45)
    parser.add_argument("--issues", type=int, default=230)
    options = parser.parse_args()
    hub = Hub(options.quota, options.repos, options.issues)
    with FaultyServer() as server:
        hub.url = server.url
        server.default(hub.answer)
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
