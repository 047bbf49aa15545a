"""A typed client of GitHub's REST API: repositories and issues, by pages, with errors of GitHub's own kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from holdfast import Cache, Pipeline, RateLimit, SQLiteStore
from holdfast.auth import Bearer, Secret
from holdfast.client import Call, Pages, Query, Resource, Service, accessor, by_link
from holdfast.errors import Forbidden

__all__ = ["API", "Denied", "GitHub", "Issue", "Label", "Quota", "Quotas", "Repo", "User", "github"]

API = "https://api.github.com"


@dataclass(frozen=True, slots=True)
class User:
    login: str
    id: int


@dataclass(frozen=True, slots=True)
class Label:
    name: str


@dataclass(frozen=True, slots=True)
class Repo:
    id: int
    full_name: str
    private: bool
    description: str | None
    stargazers_count: int
    open_issues_count: int
    pushed_at: datetime | None
    archived: bool = False


@dataclass(frozen=True, slots=True)
class Issue:
    """An issue; or, as GitHub sees it, a pull request, which has ``pull_request`` then."""

    number: int
    title: str
    state: Literal["open", "closed"]
    user: User | None
    labels: Sequence[Label]
    comments: int
    created_at: datetime
    closed_at: datetime | None = None
    pull_request: Mapping[str, str | None] | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    limit: int
    remaining: int
    reset: int  # seconds since 1970


@dataclass(frozen=True, slots=True)
class Quotas:
    resources: Mapping[str, Quota]


class Denied(Forbidden):
    """Somebody else's, or too much: GitHub says 403 for a quota that is used up, as others do with a 429."""

    @property
    def quota_used_up(self) -> bool:
        return self.header("X-RateLimit-Remaining") == "0"


class Issues(Resource, path="/issues"):
    def all(
        self, *, state: Literal["open", "closed", "all"] = "open", labels: Sequence[str] = (), per_page: int = 100
    ) -> Pages[Issue]:
        """The newest first, pull requests among them."""
        query: Query = {"state": state, "labels": ",".join(labels) or None, "per_page": per_page}
        return self.GET("", list[Issue], query=query).pages(by_link())

    def get(self, number: int) -> Call[Issue]:
        return self.GET("/{number}", Issue, number=number)

    def create(self, title: str, *, body: str = "", labels: Sequence[str] = ()) -> Call[Issue]:
        """Not sent again where GitHub may have acted: it knows no idempotency keys."""
        return self.POST("", Issue, json={"title": title, "body": body, "labels": [*labels]})


class Repos(Resource, path="/repos/{owner}/{repo}"):
    issues = accessor(Issues)

    def __call__(self, owner: str, repo: str) -> Repos:
        return self.at(owner=owner, repo=repo)

    def get(self) -> Call[Repo]:
        return self.GET("", Repo)


class Orgs(Resource, path="/orgs/{org}"):
    def __call__(self, org: str) -> Orgs:
        return self.at(org=org)

    def repos(self, *, sort: Literal["created", "updated", "pushed", "full_name"] = "full_name") -> Pages[Repo]:
        return self.GET("/repos", list[Repo], query={"sort": sort}).pages(by_link())


class GitHub(Service):
    orgs = accessor(Orgs)
    repos = accessor(Repos)

    def quotas(self) -> Call[Quotas]:
        """What is left; asking costs nothing."""
        return self.GET("/rate_limit", Quotas)


def github(
    token: str | Secret | None = None, *, url: str = API, answers: SQLiteStore | None = None, deadline: float = 30.0
) -> GitHub:
    """The API, with a personal access token or without. ``answers`` keeps what has come, over restarts."""
    pipeline = Pipeline(
        # A 304 costs nothing of the quota, which is worth waiting for a disk.
        cache=Cache(store=answers, store_timeout=5.0),
        rate_limit=RateLimit(20, burst=20),  # GitHub's secondary limit is 900 points a minute
        deadline=deadline,
    )
    return GitHub(
        url,
        auth=None if token is None else Bearer(token),
        pipeline=pipeline,
        default_headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
        user_agent="holdfast-example/1.0",
        status_errors={403: Denied},
    )
