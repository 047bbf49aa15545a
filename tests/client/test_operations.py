"""A call that the server has only accepted: asked about until it is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast import DeadlineExceeded
from holdfast.client import Poll, by_state
from holdfast.errors import DecodeError, ForeignOrigin, InvalidInput, NotFound, OperationFailed
from holdfast.testing.faulty import Answer as Whole
from holdfast.testing.faulty import FaultyServer
from holdfast.testing.scripted import Answer, Reply
from tests.client.api import ADA, BASE, Shop, User, document, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

ORIGIN = "http://api.test"


def accepted(status: int = 202, **headers: str) -> Reply:
    return Reply(status, headers={name.replace("_", "-"): value for name, value in headers.items()})


def running(**more: Any) -> Reply:
    return document({"status": "Running"}, **more)


Make = Callable[[Shop], Any]


def post(shop: Shop) -> Any:
    return shop.users.create("Ada")


def put(shop: Shop) -> Any:
    return shop.PUT("/users/{id}", User, id=1, json={}, idempotent="key", headers={"X-Team": "a", "If-Match": '"v"'})


def get(shop: Shop) -> Any:
    return shop.users.get(1)


@pytest.mark.parametrize(
    ("make", "script", "rule", "asked"),
    [
        (post, [ADA], None, []),
        (post, [accepted(Location="/jobs/1"), accepted(), ADA], None, ["/jobs/1", "/jobs/1"]),
        (
            post,
            [accepted(Location="jobs/1"), accepted(303, Location="/v1/users/7"), ADA],
            None,
            ["/v1/jobs/1", "/v1/users/7"],
        ),
        (post, [accepted(Location="/jobs/1"), accepted(Location="/jobs/1b"), ADA], None, ["/jobs/1", "/jobs/1b"]),
        (get, [accepted(), accepted(), ADA], None, ["/v1/users/1", "/v1/users/1"]),
        # The operation has a resource of its own.
        (
            put,
            [accepted(201, Operation_Location="/ops/1"), running(), document({"status": "Succeeded"}), ADA],
            None,
            ["/ops/1", "/ops/1", "/v1/users/1"],
        ),
        (
            post,
            [accepted(Operation_Location="/ops/1", Location="/users/7"), document({"status": "succeeded"}), ADA],
            None,
            ["/ops/1", "/users/7"],
        ),
        (
            post,
            [
                accepted(Azure_AsyncOperation="/ops/1"),
                document({"status": "Succeeded", "resourceLocation": f"{ORIGIN}/users/9"}),
                ADA,
            ],
            None,
            ["/ops/1", "/users/9"],
        ),
        (
            post,
            [
                accepted(Operation_Location="/ops/1"),
                document({"status": "succeeded", "resourceLocation": "9/result"}),
                ADA,
            ],
            None,
            ["/ops/1", "/ops/9/result"],
        ),
        (
            post,
            [
                accepted(Operation_Location="/ops/1"),
                document({"status": "succeeded", "result": {"id": 1, "name": "Ada"}}),
            ],
            by_state(result="result"),
            ["/ops/1"],
        ),
        # A job in words of its own, where Location is all that there is.
        (
            post,
            [
                accepted(Location="/jobs/1"),
                document({"done": False}),
                document({"done": True, "response": {"id": 1, "name": "Ada"}}),
            ],
            by_state("done", result="response"),
            ["/jobs/1", "/jobs/1"],
        ),
        (post, [document({"status": "done", "out": {"id": 1, "name": "Ada"}})], by_state(result="out"), []),
    ],
    ids=[
        "at once",
        "location",
        "see other",
        "moved",
        "here",
        "put",
        "monitor and location",
        "resourceLocation",
        "relative resourceLocation",
        "result in the monitor",
        "words of its own",
        "done at once",
    ],
)
async def test_the_result_is_found_where_the_server_says(
    family: FamilyModules, make: Make, script: list[Answer], rule: Any, asked: list[str]
) -> None:
    async with stage(family, script) as s:
        assert await make(s.shop).until_done(rule=rule) == User(1, "Ada")
        assert s.urls[1:] == [f"{ORIGIN}{path}" for path in asked]
        for request in s.requests[1:]:
            assert request.method == "GET"
            assert request.extensions["holdfast"]["operation"] == s.requests[0].extensions["holdfast"]["operation"]
            assert not {"idempotency-key", "if-match", "content-type", "content-length"} & {*request.headers}
            assert request.headers.get("x-team") == s.requests[0].headers.get("x-team")


async def test_it_is_asked_when_the_server_says_and_else_less_and_less(family: FamilyModules) -> None:
    script = [accepted(Location="/jobs/1", Retry_After="20"), accepted(), accepted(), accepted(Retry_After="1"), ADA]
    polls: list[Poll] = []
    async with stage(family, script) as s:
        assert await s.shop.users.create("Ada").until_done(every=4.0, on_poll=polls.append) == User(1, "Ada")
        assert [round(sent.at - s.script.sent[0].at, 3) for sent in s.script.sent] == [0, 20, 50, 80, 81]
    assert [poll.after for poll in polls] == [0, 20, 50, 80, 81]
    assert {poll.url for poll in polls} == {f"{ORIGIN}/jobs/1"}


async def test_the_deadline_is_for_all_of_it(family: FamilyModules) -> None:
    async with stage(family, [accepted(Location="/jobs/1")], pipeline={"deadline": 3.0}) as s:
        started = s.clock.monotonic()
        with pytest.raises(DeadlineExceeded) as raised:
            await s.shop.users.create("Ada").until_done(deadline=60.0, every=10.0)
        assert isinstance(raised.value, family.http.TimeoutException)
        assert raised.value.deadline == 60.0
        assert len(s.requests) == 4  # after 10, 15 and 22.5 seconds; 30 more would be too late
        assert s.clock.monotonic() - started == pytest.approx(47.5)
        await s.shop.GET("/jobs/1", User).using(cache="bypass").outcome()


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ([accepted(Operation_Location="/ops/1"), document({"status": "Failed", "error": {}})], OperationFailed),
        ([accepted()], OperationFailed),
        ([accepted(Location="https://elsewhere.example/jobs/1")], ForeignOrigin),
        ([accepted(Operation_Location="//elsewhere.example/ops/1")], ForeignOrigin),
        (
            [
                accepted(Operation_Location="/ops/1"),
                document({"status": "Succeeded", "resourceLocation": "https://elsewhere.example/users/9"}),
            ],
            ForeignOrigin,
        ),
        ([accepted(Location="/jobs/1"), Reply(404)], NotFound),
        ([accepted(Location="/jobs/1"), document({"id": "x"})], DecodeError),
        ([Reply(404)], NotFound),
    ],
    ids=[
        "failed",
        "no address",
        "elsewhere",
        "monitor elsewhere",
        "result elsewhere",
        "lost",
        "another shape",
        "never accepted",
    ],
)
async def test_what_does_not_end_well_is_raised(
    family: FamilyModules, script: list[Answer], error: type[Exception]
) -> None:
    async with stage(family, script) as s:
        with pytest.raises(error) as raised:
            await s.shop.users.create("Ada").until_done()
        assert isinstance(raised.value, family.http.HTTPError)
        assert all(url.startswith(BASE.removesuffix("/v1")) for url in s.urls)
        if isinstance(raised.value, OperationFailed):
            assert raised.value.operation == "Users.create"
            assert (raised.value.state, raised.value.body[:10]) in [("Failed", b'{"status":'), (None, b"")]


async def test_a_setting_that_cannot_be_is_refused(family: FamilyModules) -> None:
    async with stage(family) as s:
        with pytest.raises(InvalidInput):
            await s.shop.users.create("Ada").until_done(every=0)
        with pytest.raises(InvalidInput):
            await s.shop.users.create("Ada").map(str).until_done()
        assert s.requests == []


async def test_another_origin_that_is_allowed_is_asked_without_credentials(family: FamilyModules) -> None:
    async with FaultyServer() as home, FaultyServer() as away:
        home.default(Whole(202, headers={"location": f"{away.url}/jobs/1", "retry-after": "0"}))
        away.on("/jobs/1", Whole(202, headers={"retry-after": "0"}), Whole.json({"id": 1, "name": "Ada"}))
        shop = Shop(
            home.url,
            family=family.name,  # type: ignore[arg-type]
            auth=("user", "hunter2"),
            default_headers={"X-Api-Key": "hunter2"},
            allow_origins=[away.url],
        )
        async with shop:
            assert await shop.users.create("Ada").until_done() == User(1, "Ada")
        assert away.count() == 2
        assert all(
            name.lower() not in (b"authorization", b"x-api-key") for sent in away.requests for name, _ in sent.headers
        )
