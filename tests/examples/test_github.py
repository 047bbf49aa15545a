"""The GitHub example against its stand-in, over real sockets; once as a user runs it, as processes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import anyio
import httpx
import pytest

from examples.github.__main__ import main
from examples.github.client import Denied, github
from examples.github.stand_in import Hub
from holdfast.client import Failed, Ok
from holdfast.errors import NotFound, Unprocessable
from holdfast.testing.faulty import FaultyServer
from tests.examples.running import run, run_here, stand_in

TOKEN: Final = {"GITHUB_TOKEN": "test-token"}
NOBODY: Final = {"GITHUB_TOKEN": ""}


@contextmanager
def hub_of(quota: int) -> Iterator[str]:
    """The stand-in's address."""
    hub = Hub(quota, repos=45, issues=230)
    with FaultyServer() as server:
        hub.url = server.url
        server.default(hub.answer)
        yield server.url


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with hub_of(5000) as url:
        yield url


def test_an_organisation_is_listed_over_all_its_pages() -> None:
    with stand_in("examples.github.stand_in") as url:
        lines = run("examples.github", "repos", "aurora", "--url", url, environment=TOKEN).splitlines()
    assert [line.split()[0] for line in lines] == ["aurora/lantern", *(f"aurora/lantern-{n:02}" for n in range(1, 45))]


def test_issues_are_chosen_by_the_server_and_told_a_line_each(hub: str) -> None:
    arguments = ("issues", "aurora/lantern", "--state", "closed", "--limit", "2", "--url", hub)
    assert run_here(main, *arguments, environment=TOKEN).splitlines() == [
        "#228   closed issue The lantern flickers, part 228 [bug]",
        "#224   closed issue The lantern flickers, part 224 [bug]",
    ]


@pytest.mark.parametrize(
    ("state", "labels", "numbers"),
    [
        ("open", [], [n for n in range(230, 0, -1) if n % 4]),
        ("all", [], [*range(230, 0, -1)]),
        ("all", ["docs"], [n for n in range(230, 0, -1) if n % 4 == 1]),
        ("closed", ["docs"], []),
    ],
)
def test_a_listing_has_each_issue_once(
    hub: str, state: Literal["open", "closed", "all"], labels: list[str], numbers: list[int]
) -> None:
    async def use() -> None:
        async with github("test-token", url=hub) as api:
            found = api.repos("aurora", "lantern").issues.all(state=state, labels=labels)
            assert [issue.number async for issue in found] == numbers

    anyio.run(use)


def test_a_second_run_costs_nothing_of_the_quota(tmp_path: Path) -> None:
    with hub_of(60) as url:
        arguments = ("--url", url, "--answers", tmp_path / "answers.db")

        first = run_here(main, "repos", "aurora", *arguments, environment=NOBODY)
        again = run_here(main, "repos", "aurora", *arguments, environment=NOBODY)
        fresh = run_here(main, "repos", "aurora", "--fresh", *arguments, environment=NOBODY)
        assert first == again == fresh
        quotas = run_here(main, "quotas", "--url", url, environment=NOBODY)
        assert quotas.startswith("core: 58 of 60 left")  # the first needed two


def test_a_listing_that_the_quota_ended_goes_on_where_it_was() -> None:
    with hub_of(2) as url:
        arguments = ("issues", "aurora/lantern", "--state", "all", "--url", url)
        said = run_here(main, *arguments, environment=NOBODY, fails=True)
        assert "the quota is used up; it begins anew in" in said
        token = re.search(r"--resume '(.*)'", said)
        assert token is not None
        rest = run_here(main, *arguments, "--resume", token[1], environment=TOKEN)
    assert [int(found) for found in re.findall(r"^#(\d+)", rest, re.MULTILINE)] == [*range(30, 0, -1)]


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (("repos", "nobody"), TOKEN, "there is no such thing, or not for you"),
        (("repos", "aurora"), {"GITHUB_TOKEN": "wr0ng-t0ken"}, "GitHub does not know this token"),
    ],
)
def test_a_failure_is_told_in_one_line(
    hub: str, arguments: tuple[str, ...], environment: dict[str, str], says: str
) -> None:
    said = run_here(main, *arguments, "--url", hub, environment=environment, fails=True)
    assert said.startswith(says)
    assert said.count("\n") == 1
    assert "wr0ng" not in said


def test_the_client_in_a_program() -> None:
    async def use(url: str) -> None:
        async with github("test-token", url=url) as api:
            lantern = api.repos("aurora", "lantern")
            repo = await lantern.get()
            assert (repo.id, repo.description, repo.pushed_at) == (
                1001,
                "Light number 0",
                datetime(2026, 11, 1, 9, 0, tzinfo=UTC),
            )
            renamed = await api.repos("aurora", "lamp").get().reply()
            assert (renamed.value, renamed.url) == (repo, f"{url}/repositories/1001")
            pull = await lantern.issues.get(10)
            assert (pull.user, pull.pull_request is not None) == (None, True)
            match await lantern.issues.get(9999).outcome():
                case Ok():
                    pytest.fail("there is no such issue")
                case Failed(error):
                    assert isinstance(error, NotFound)
                    assert isinstance(error, httpx.HTTPStatusError)
            made = await lantern.issues.create("It is dark", labels=["bug"])
            assert (made.number, made.title) == (231, "It is dark")
            with pytest.raises(Unprocessable) as caught:
                await lantern.issues.create("")
            assert caught.value.request_id == "0A1B:2C3D"

    with hub_of(5000) as url:
        anyio.run(use, url)


def test_what_github_says_with_403_is_told_apart() -> None:
    async def use(url: str) -> None:
        async with github(url=url) as api:
            with pytest.raises(Denied) as caught:
                await api.orgs("aurora").repos().collect(limit=1)
            assert caught.value.quota_used_up

    with hub_of(0) as url:
        anyio.run(use, url)
