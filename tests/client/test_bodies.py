"""Bodies on both ways: checked arguments, gzip, decoding that is never sent again, and bombs."""

from __future__ import annotations

import gzip
import json
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import holdfast
from holdfast import BodyTooLarge, CircuitBreaker
from holdfast.client import Call, Service
from holdfast.core.failure import EXCERPT
from holdfast.errors import Conflict, DecodeError, InvalidInput, ServerFault, StatusError
from holdfast.testing.faulty import Answer, FaultyServer
from holdfast.testing.scripted import Reply
from tests.client.api import Shop, User, document, stage
from tests.faults.wire import HALF_READ
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

LONG = [{"name": "Ada", "note": "x" * 50}] * 100


async def test_a_wrong_argument_is_refused_before_anything_is_sent(family: FamilyModules) -> None:
    async with stage(family, validate="strict") as s:
        users: Any = s.shop.users
        with pytest.raises(InvalidInput, match=r"^Users\.get: id must be int \| str, got list$") as caught:
            users.get([1])
        assert caught.value.argument == "id"
        with pytest.raises(InvalidInput, match=r"^Orgs\.__call__: org must be str, got int$"):
            s.shop.orgs(7)  # type: ignore[arg-type]  # that is the point
        with pytest.raises(InvalidInput, match=r"^Repos\.get: name must be str, got None"):
            _ = s.shop.orgs("a").repos.get(None)  # type: ignore[arg-type]
        assert s.urls == []
        call = s.shop.users.get(1)
        assert call.operation == "Users.get"
        assert await call == User(1, "Ada")


async def test_the_methods_of_the_service_itself_are_checked_too(family: FamilyModules) -> None:
    class Direct(Service):
        def user(self, id: int) -> Call[Any]:
            return self.GET("/users/{id}", dict[str, Any], id=id)

    service: Any = Direct("http://api.test", validate="strict", family=_name(family))
    with pytest.raises(InvalidInput, match=r"user: id must be int, got str"):
        service.user("1")
    derived: Any = service.using(deadline=5.0)
    assert isinstance(derived, Direct), "a class of its own, with its name"
    unchecked: Any = derived
    with pytest.raises(InvalidInput):
        unchecked.user("1")
    assert service.user(1).as_curl().startswith("curl http://api.test/users/1 ")


async def test_checks_are_off_by_default(family: FamilyModules) -> None:
    async with stage(family) as s:
        assert await s.shop.users.create(5) == User(1, "Ada")  # type: ignore[arg-type]
        assert type(s.shop) is Shop
    with pytest.raises(InvalidInput, match="validate"):
        Shop("http://api.test", validate="maybe")  # type: ignore[arg-type]


# gzip on the way out


@pytest.mark.parametrize(
    ("settings", "call", "encoded"),
    [
        ({"compress": 1024}, lambda shop: shop.POST("/a", None, json=LONG), True),
        ({"compress": 1024}, lambda shop: shop.POST("/a", None, content=json.dumps(LONG, separators=(",", ":"))), True),
        ({"compress": 10**6}, lambda shop: shop.POST("/a", None, json=LONG), False),
        ({}, lambda shop: shop.POST("/a", None, json=LONG), False),
        ({}, lambda shop: shop.POST("/a", None, json=LONG).using(compress=0), True),
        ({"compress": 0}, lambda shop: shop.POST("/a", None, json=LONG).using(compress=None), False),
        ({"compress": 0}, lambda shop: shop.POST("/a", None, json=LONG).using(headers={"Content-Digest": "d"}), False),
    ],
)
async def test_a_long_body_is_sent_in_gzip(settings: Any, call: Any, encoded: bool, family: FamilyModules) -> None:
    bodies: list[tuple[str | None, bytes]] = []

    async with stage(family, [Reply(503), Reply(200)], pipeline={"retry": holdfast.Retry(attempts=2)}, **settings) as s:

        @s.shop.around_attempt
        async def keep(request: Any, call_next: Any) -> Any:
            bodies.append((request.headers.get("content-encoding"), await request.aread()))
            assert int(request.headers["content-length"]) == len(bodies[-1][1])
            return await call_next(request)

        await call(s.shop).using(idempotent=True)
    assert len(bodies) == 2
    assert bodies[0] == bodies[1], "the same bytes are sent again"
    encoding, sent = bodies[0]
    assert encoding == ("gzip" if encoded else None)
    assert json.loads(gzip.decompress(sent) if encoded else sent) == LONG


async def test_nobody_waits_while_a_long_body_is_compressed(family: FamilyModules) -> None:
    async with stage(family, compress=0) as s:
        turns: list[int] = []

        @s.shop.around_call
        async def keep(request: Any, call_next: Any) -> Any:
            turns.append(others)
            assert len(gzip.decompress(await request.aread())) > 2_000_000
            return await call_next(request)

        others = 0
        async with anyio.create_task_group() as tasks:

            async def other() -> None:
                nonlocal others
                while not turns:
                    await anyio.lowlevel.checkpoint()
                    others += 1

            tasks.start_soon(other)
            await anyio.lowlevel.checkpoint()
            others = 0
            await s.shop.POST("/a", None, json="Ada " * 500_000)
        assert turns[0] > 1


@pytest.mark.parametrize("compress", [-1, 1.5, True, "1k"])
async def test_a_bad_threshold_is_refused(compress: Any) -> None:
    with pytest.raises(InvalidInput, match="compress"):
        Shop("http://api.test", compress=compress)
    with pytest.raises(InvalidInput, match="compress"):
        await Shop("http://api.test").users.get(1).using(compress=compress)


# What cannot be decoded


async def test_what_cannot_be_decoded_is_not_sent_again_and_opens_no_circuit(family: FamilyModules) -> None:
    breaker = CircuitBreaker(failures=2, open_for=60.0)
    async with stage(family, [document({"id": "x"})], pipeline={"breaker": breaker}) as s:
        for _ in range(5):
            with pytest.raises(DecodeError) as caught:
                await s.shop.users.get(1)
        assert len(s.urls) == 5
        assert isinstance(caught.value, family.http.HTTPError)
        assert caught.value.operation == "Users.get"
        assert str(caught.value) == "Users.get: $.id: expected an integer, got a string"
        assert [attempt.status for attempt in holdfast.history(caught.value).attempts] == [200]


async def test_an_empty_answer_is_none_or_an_error(family: FamilyModules) -> None:
    async with stage(family, [Reply(204)]) as s:
        assert await s.shop.GET("/a", User | None) is None
        await s.shop.GET("/a", None)
        with pytest.raises(DecodeError, match="an empty body"):
            await s.shop.GET("/a", User)


async def test_unknown_members_and_wrapping_are_settings_of_the_service(family: FamilyModules) -> None:
    async with stage(family, [document({"data": {"id": 1, "name": "Ada", "age": 5}})], unwrap="data") as s:
        assert await s.shop.users.get(1) == User(1, "Ada")
    async with stage(family, [document({"id": 1, "name": "Ada", "age": 5})], unknown="error") as s:
        with pytest.raises(DecodeError, match=r"\$\.age"):
            await s.shop.users.get(1)


async def test_what_is_taken_as_it_is_is_in_no_wrapping(family: FamilyModules) -> None:
    """A file is no JSON in a service whose JSON is wrapped; of what was deleted nobody looks at the body."""
    said = document({"data": "x"})
    async with stage(family, [said], unwrap="data") as s:
        await s.shop.users.remove(1)
        assert await s.shop.GET("/a", bytes) == said.body
        assert await s.shop.GET("/a", str | None) == '{"data": "x"}'
        assert {request.headers["accept"] for request in s.requests} == {"*/*"}
        assert await s.shop.GET("/a", str, unwrap="data") == "x"
        assert s.last.headers["accept"] == "application/json"


# Failures


async def test_a_failing_answer_is_an_error_by_meaning_with_its_history(family: FamilyModules) -> None:
    reply = document({"title": "down"}, 503, content_type="application/problem+json", retry_after="2")
    async with stage(family, [reply], pipeline={"retry": holdfast.Retry(attempts=3)}) as s:
        with pytest.raises(ServerFault) as caught:
            await s.shop.users.get("a b")
        error = caught.value
        assert str(error) == "Users.get: 503 Service Unavailable (GET /users/{id})"
        assert (error.attempts, error.retry_after) == (3, 2.0)
        assert error.retry_at == pytest.approx(s.clock.wall() + 2.0)
        assert error.problem is not None
        assert error.problem.title == "down"
        assert isinstance(error, family.http.HTTPStatusError)
        assert len(holdfast.history(error).attempts) == 3


async def test_a_service_raises_its_own_errors(family: FamilyModules) -> None:
    class Taken(Conflict):
        pass

    async with stage(family, [Reply(409)], status_errors={409: Taken}) as s:
        with pytest.raises(Taken) as caught:
            await s.shop.users.create("Ada")
        assert isinstance(caught.value, family.http.HTTPStatusError)
    with pytest.raises(ValueError, match="status_errors"):
        Shop("http://api.test", status_errors={200: Taken})


# On the wire


@HALF_READ
async def test_a_page_of_errors_is_not_kept_and_its_connection_is(family: FamilyModules) -> None:
    """5 MB of HTML: only the beginning is read."""
    async with FaultyServer() as origin:
        origin.on("/long", Answer(502, body=b"<p>" * 1_700_000))
        async with Shop(origin.url, family=_name(family), pipeline=holdfast.Pipeline(retry=None)) as shop:
            with pytest.raises(StatusError) as caught:
                await shop.GET("/long", User)
    assert len(caught.value.body) == EXCERPT


@pytest.mark.heavy
async def test_a_bomb_ends_at_the_cap(family: FamilyModules) -> None:
    bomb = gzip.compress(b'{"id": 1, "name": "' + b"0" * 10_000_000 + b'"}')
    headers = [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")]
    async with FaultyServer() as origin:
        origin.on("/users/1", Answer(200, headers=headers, body=bomb))
        pipeline = holdfast.Pipeline(max_body_bytes=1_000_000)
        async with Shop(origin.url, family=_name(family), pipeline=pipeline) as shop:
            with pytest.raises(BodyTooLarge):
                await shop.users.get(1)


def _name(family: FamilyModules) -> Any:
    return family.name
