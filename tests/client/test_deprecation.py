"""An operation that will go is told of once; a version goes with each call."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from holdfast import Pipeline
from holdfast.errors import DeprecatedOperation, InvalidInput, NotFound
from holdfast.events import Event, OperationDeprecated
from holdfast.testing.faulty import Answer, FaultyServer
from tests.client.api import Shop, document, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

GOING = {"Deprecation": "@1688169599", "Sunset": "Sun, 11 Nov 2018 23:59:59 GMT", "Link": '</v2>; rel="deprecation"'}


async def test_each_operation_is_told_of_once(family: FamilyModules) -> None:
    told: list[Event] = []
    reply = document({"id": 1, "name": "Ada"}, **GOING)  # type: ignore[arg-type]
    async with stage(family, [reply], pipeline={"listeners": [told.append]}) as s:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            await s.shop.users.get(1)
            await s.shop.users.get(2)
            await s.shop.using(deadline=5.0).users.get(3)
            await s.shop.users.create("Ada")
        text = (
            "{} has been deprecated since Fri, 30 Jun 2023 23:59:59 GMT and is to be gone since Sun, 11 Nov 2018"
            " 23:59:59 GMT, its server says (see http://api.test/v2)"
        )
        assert [str(warning.message) for warning in warned] == [
            text.format("Users.get"),
            text.format("Users.create"),
        ]
        assert {(warning.category, warning.filename) for warning in warned} == {(DeprecatedOperation, __file__)}
        events = [event for event in told if isinstance(event, OperationDeprecated)]
        assert [(event.operation, event.template) for event in events] == [
            ("Users.get", "/users/{id}"),
            ("Users.create", "/users"),
        ]
        assert (events[0].deprecated_at, events[0].sunset_at) == (1688169599.0, 1541980799.0)
        assert (events[0].link, events[0].key) == ("http://api.test/v2", "http://api.test:80")


async def test_a_failing_answer_and_a_stream_tell_it_too(family: FamilyModules) -> None:
    async with stage(family, [document({}, 404, Deprecation="true")]) as s:
        with pytest.warns(DeprecatedOperation, match=r"^Users.get is deprecated, its server says$"):
            await s.shop.users.get(1).outcome()
        with pytest.warns(DeprecatedOperation, match="Shop.ping"), pytest.raises(NotFound):
            await s.shop.ping().stream().__aenter__()


async def test_where_warnings_are_errors_the_connection_is_given_back(family: FamilyModules) -> None:
    body = b'{"id": 1, "name": "' + b"x" * 300_000 + b'"}'
    async with FaultyServer() as server, Shop(server.url, family=family.name) as shop:  # type: ignore[arg-type]
        server.default(Answer(200, body=body, headers={**GOING, "content-type": "application/json"}))
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecatedOperation)
            with pytest.raises(DeprecatedOperation):
                await shop.users.get(1)
        assert len((await shop.users.get(1)).name) == 300_000
        await server.await_for(lambda server: server.connections_open <= 1)


async def test_pipelines_by_origin_tell_the_right_listeners(family: FamilyModules) -> None:
    told: list[Event] = []
    async with FaultyServer() as server:
        server.default(Answer.json({"id": 1, "name": "Ada"}, headers=GOING))
        pipelines = Pipeline.by_origin({server.url: Pipeline(listeners=[told.append])})
        async with Shop(server.url, pipeline=pipelines, family=family.name) as shop:  # type: ignore[arg-type]
            with pytest.warns(DeprecatedOperation):
                await shop.users.get(1)
    assert [type(event) for event in told].count(OperationDeprecated) == 1


@pytest.mark.parametrize(
    ("settings", "url", "header"),
    [
        ({"api_version": "v2"}, "http://api.test/v1/v2/users/1", None),
        ({"api_version": "a/b"}, "http://api.test/v1/a%2Fb/users/1", None),
        ({"api_version": "2022-11-28", "version_header": "X-Api-Version"}, "http://api.test/v1/users/1", "2022-11-28"),
    ],
    ids=["prefix", "one segment", "header"],
)
async def test_a_version_goes_with_each_call(
    family: FamilyModules, settings: dict[str, Any], url: str, header: str | None
) -> None:
    async with stage(family, **settings) as s:
        await s.shop.users.get(1)
        assert s.urls == [url]
        assert s.last.headers.get("x-api-version") == header


@pytest.mark.parametrize("settings", [{"version_header": "X-V"}, {"api_version": ".."}, {"api_version": ""}], ids=str)
def test_a_version_that_cannot_be_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Shop("http://api.test", **settings)
