"""Services: whose client they use, where their calls may go, and what runs around them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import holdfast
from holdfast import Cache, CircuitBreaker, CircuitOpen, Pipeline, RateLimit, Retry
from holdfast.auth import Basic, Bearer
from holdfast.client import Resource, Service, accessor
from holdfast.errors import (
    Closed,
    DecodeError,
    ForeignOrigin,
    InvalidInput,
    NotFound,
    ServerFault,
    StatusError,
    Unauthorized,
    Unsupported,
    WrongLoop,
)
from holdfast.testing.scripted import Hangs, Reply
from tests.client.api import ADA, BASE, Shop, User, document, stage
from tests.support import FamilyModules, spelled

pytestmark = pytest.mark.anyio

SAFE = BASE.replace("http:", "https:")
"""Where a name and a password may go."""


def test_an_accessor_gives_one_resource_for_each_service() -> None:
    shop, other = Shop(BASE), Shop(BASE)
    assert shop.users is shop.users
    assert shop.users is not other.users
    assert isinstance(Shop.users, accessor)


async def test_a_nested_resource_is_under_its_parents_path(family: FamilyModules) -> None:
    async with stage(family, [Reply(200, body=b"x")]) as s:
        assert await s.shop.orgs("a").repos.get("b/c") == b"x"
        assert await s.shop.orgs("../z").repos.get("d") == b"x"
        assert s.urls == [f"{BASE}/orgs/a/repos/b%2Fc", f"{BASE}/orgs/..%2Fz/repos/d"]
        assert s.last.extensions["holdfast"] == {"operation": "Repos.get", "template": "/orgs/{org}/repos/{name}"}
        with pytest.raises(InvalidInput, match="missing: org"):
            _ = s.shop.orgs.repos.get("b")
        with pytest.raises(InvalidInput):
            s.shop.orgs("..")
        with pytest.raises(InvalidInput):
            s.shop.orgs.at(name="a")


@pytest.mark.parametrize("path", ["users", "//evil.test", "/users?x=1", "https://evil.test/x", "/../x"])
def test_the_path_of_a_class_is_checked_when_it_is_defined(path: str) -> None:
    with pytest.raises(InvalidInput):
        type("Broken", (Resource,), {}, path=path)


async def test_an_operation_has_the_name_of_its_method(family: FamilyModules) -> None:
    class Base(Resource):
        def get(self, id: int) -> Any:
            return self.GET("/{id}", bytes, id=id)

        def several(self) -> list[Any]:
            return [self.GET("/{id}", bytes, id=id) for id in (1, 2)]

        def each(self) -> list[Any]:
            return [*(self.GET("/{id}", bytes, id=id) for id in (1, 2))]

        def later(self) -> Any:
            return [lambda id: self.GET("/{id}", bytes, id=id)][0](1)

        @property
        def mine(self) -> Any:
            return self.GET("/mine", bytes)

    class Things(Base, path="/things"):
        def get(self, id: int) -> Any:
            return super().get(id)

        def named(self) -> Any:
            return self.GET("", bytes, operation="Things.special")

    class Api(Service):
        things = accessor(Things)

    api = Api(BASE)
    calls = [api.things.get(1), api.things.named(), api.GET("/things/{id}", bytes, id=2)]
    assert [call.operation for call in calls] == ["Things.get", "Things.special", "GET /things/{id}"]
    inner = [*api.things.several(), *api.things.each(), api.things.later(), api.things.mine]
    assert [call.operation for call in inner] == [
        *["Things.several"] * 2,
        *["Things.each"] * 2,
        "Things.later",
        "Things.mine",
    ]
    assert [call.template for call in calls[:3]] == ["/things/{id}", "/things", "/things/{id}"]
    for call in [*calls, *inner]:
        call.as_curl()


async def test_rules_and_purges_speak_of_operations(family: FamilyModules) -> None:
    rules = {"Users.get": holdfast.CacheRule(ttl=60.0)}
    pipeline = {"cache": Cache(rules=rules), "breaker": CircuitBreaker(failures=1, key="operation"), "retry": None}

    def answer(number: int, request: Any) -> Reply:
        return Reply(503) if request.method == "DELETE" else ADA

    async with stage(family, answer, pipeline=pipeline) as s:
        with pytest.raises(ServerFault):
            await s.shop.users.remove(1)
        with pytest.raises(CircuitOpen) as refused:
            await s.shop.users.remove(2)
        assert refused.value.key == s.shop.explain(s.shop.users.remove(2))["breaker"]["key"]
        assert refused.value.key == "http://api.test:80 Users.remove"
        await s.shop.users.get(1)
        assert (await s.shop.users.get(1).reply()).source == "cache"
        assert s.shop.pipeline is not None
        assert await s.shop.pipeline.purge(operation="Users.get") == 1
        assert (await s.shop.users.get(1).reply()).source == "origin"
        assert (await s.shop.users.get(1).reply()).attempts == 0


# Whose client


async def test_a_service_closes_its_own_client_and_no_other(family: FamilyModules) -> None:
    async with stage(family) as s:
        assert await s.shop.users.get(1) == User(1, "Ada")
    assert s.script.closed
    with pytest.raises(Closed) as refused:
        await s.shop.users.get(1)
    assert isinstance(refused.value, family.http.TransportError)

    async with family.http.AsyncClient(transport=family.http.MockTransport(answer_of(family))) as client:
        async with Shop(BASE, client=client) as shop:
            assert await shop.users.get(1) == User(1, "Ada")
        assert not client.is_closed
        assert await shop.users.get(1) == User(1, "Ada")


def answer_of(family: FamilyModules) -> Any:
    return lambda request: family.http.Response(200, json={"id": 1, "name": "Ada"})


async def test_a_transport_of_the_library_is_the_far_side_and_says_which_family(family: FamilyModules) -> None:
    mock = family.http.MockTransport(answer_of(family))
    async with Shop(BASE, transport=mock) as shop:
        response = await shop.GET("/x", family.http.Response)
        assert isinstance(response, family.http.Response)
        assert holdfast.history(response).source == "origin"
    ours = family.holdfast.ResilientTransport(inner=mock)
    async with Shop(BASE, transport=ours) as shop:
        assert shop.pipeline is ours.pipeline
        assert (await shop.users.get(1).reply()).attempts == 1


async def test_a_lent_client_keeps_what_is_its_own(family: FamilyModules) -> None:
    sent: list[Any] = []

    def answer(request: Any) -> Any:
        sent.append(request)
        return family.http.Response(200, json={"id": 1, "name": "Ada"})

    client = family.http.AsyncClient(
        transport=family.http.MockTransport(answer),
        headers={"X-Team": "a", "X-Both": "client"},
        cookies={"c": "1"},
        auth=("u", "p"),
        params={"api_key": "K"},
        timeout=3.0,
        follow_redirects=True,
    )
    async with client:
        shop = Shop(BASE, client=client, default_headers={"x-both": "service"})
        await shop.users.get(1)
        await shop.users.get(1).using(auth=None)
        await shop.users.get(1).following("/v1/users?page=2")
    assert [str(request.url) for request in sent] == [
        f"{BASE}/users/1?api_key=K",
        f"{BASE}/users/1?api_key=K",
        f"{BASE.removesuffix('/v1')}/v1/users?page=2",  # as it is: never merged with a client's params
    ]
    first = sent[0].headers
    assert (first["x-team"], first.get_list("x-both"), first["cookie"]) == ("a", ["service"], "c=1")
    assert ["authorization" in request.headers for request in sent] == [True, False, True]
    assert sent[0].extensions["timeout"]["read"] == 3.0


async def test_what_a_lent_client_has_of_its_own_stays_at_home(family: FamilyModules) -> None:
    sent: list[Any] = []

    def answer(request: Any) -> Any:
        sent.append(request)
        if request.url.path == "/v1/moved":
            return family.http.Response(302, headers={"location": "https://files.test/x"})
        return family.http.Response(200)

    secret = {"X-Api-Key": "hunter2", "X-Team": "hunter2"}
    client = family.http.AsyncClient(
        transport=family.http.MockTransport(answer),
        headers=secret,
        cookies={"session": "hunter2"},
        auth=("u", "hunter2"),
        params={"api_key": "hunter2"},
    )
    async with client:
        shop = Shop(BASE, client=client, allow_origins=["https://files.test"])
        await shop.GET("/x", bytes).following("https://files.test/x")
        await shop.GET("https://files.test/x", bytes)
        await shop.GET("/moved", bytes)
    away = [request for request in sent if request.url.host == "files.test"]
    assert len(away) == 3
    assert not {"authorization", "cookie", *map(str.lower, secret)} & {name for each in away for name in each.headers}
    assert [str(request.url) for request in away] == ["https://files.test/x"] * 3


@pytest.mark.parametrize(
    "settings", [{"pipeline": Pipeline()}, {"transport": object()}, {"family": "other"}], ids=spelled
)
async def test_a_lent_client_brings_its_own_transport(family: FamilyModules, settings: dict[str, Any]) -> None:
    async with family.http.AsyncClient() as client:
        with pytest.raises(InvalidInput):
            Shop(BASE, client=client, **settings)


async def test_a_plain_client_takes_no_option_that_it_would_ignore(family: FamilyModules) -> None:
    async with family.http.AsyncClient(transport=family.http.MockTransport(answer_of(family))) as client:
        shop = Shop(BASE, client=client)
        with pytest.raises(Unsupported, match="deadline"):
            await shop.users.get(1).using(deadline=1)
        family.holdfast.wrap(client, Pipeline())
        shop = Shop(BASE, client=client)
        assert await shop.users.get(1).using(deadline=1) == User(1, "Ada")


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": "api.test"},
        {"base_url": "https://u:p@api.test"},
        {"base_url": "https://api.test?x=1"},
        {"base_url": BASE, "default_headers": {"X-A": "a\nb"}},
        {"base_url": BASE, "deadline": -1},
        {"base_url": BASE, "client": object()},
    ],
    ids=spelled,
)
def test_settings_that_cannot_be_are_refused_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Shop(**settings)


def test_a_second_event_loop_is_refused_by_name(family: FamilyModules) -> None:
    shop = Shop(BASE, transport=family.http.MockTransport(answer_of(family)))

    async def use() -> User:
        return await shop.users.get(1)

    assert asyncio.run(use()) == User(1, "Ada")
    with pytest.raises(WrongLoop, match="closed"):
        asyncio.run(use())


async def test_two_services_share_nothing(family: FamilyModules) -> None:
    one, other = Shop(BASE), Shop(BASE)
    assert one.pipeline is not other.pipeline
    one.around_call(lambda request, call_next: call_next(request))
    assert list(other.around_call) == []


async def test_a_service_keeps_no_cookies(family: FamilyModules) -> None:
    given = document({"id": 1, "name": "Ada"}, Set_Cookie="session=1; Path=/")
    moved = Reply(302, headers={"Location": "/v1/users/3", "Set-Cookie": "session=2; Path=/"})
    async with stage(family, [given, ADA, moved, ADA]) as s:
        reply = await s.shop.users.get(1).reply()
        assert reply.headers.get_list("set-cookie") == ["session=1; Path=/"]
        await s.shop.users.get(2)
        await s.shop.users.get(2)  # a redirect is where the libraries put them on again
        assert [request.url.path for request in s.requests[2:]] == ["/v1/users/2", "/v1/users/3"]
        assert not any("cookie" in request.headers for request in s.requests)


async def test_a_derived_service_shares_pipeline_and_pool_and_nothing_else(family: FamilyModules) -> None:
    async with stage(family, base_url=SAFE, auth=("a", "1"), default_headers={"X-A": "1", "X-B": "1"}) as s:
        changes: dict[str, Any] = {"auth": ("b", "2"), "headers": {"x-a": "2"}, "options": {"identity": "b"}}
        async with s.shop.using(**changes, deadline=3.0) as other:
            assert type(other) is Shop
            assert other.pipeline is s.shop.pipeline
            assert other.users is not s.shop.users
            await other.users.get(1)
        assert s.last.headers["x-a"] == "2"
        assert s.last.headers["x-b"] == "1"
        assert s.last.extensions["holdfast"]["deadline"] == 3.0
        assert s.last.extensions["holdfast"]["identity"] == "b"
        theirs = s.last.headers["authorization"]
        await s.shop.users.get(1)  # still open
        assert s.last.headers["x-a"] == "1"
        assert s.last.headers["authorization"] != theirs


# Where calls may go


async def test_no_link_leaves_the_origin(family: FamilyModules) -> None:
    async with stage(family) as s:
        for link in ("https://evil.test/", "//evil.test/x", "http://api.test:81/v1", "https://api.test/v1"):
            with pytest.raises(ForeignOrigin):
                _ = s.shop.GET(link, bytes)
            with pytest.raises(ForeignOrigin):
                _ = s.shop.users.get(1).following(link)
        assert await s.shop.GET("http://api.test/v2/users/1?a=%2F", User) == User(1, "Ada")
        assert await s.shop.users.get(1).following("?page=2") == User(1, "Ada")
        assert s.urls == ["http://api.test/v2/users/1?a=%2F", f"{BASE}/users/1?page=2"]
        with pytest.raises(InvalidInput):
            _ = s.shop.GET("http://api.test/x", bytes, query={"a": 1})
        with pytest.raises(InvalidInput):
            _ = s.shop.users.get(1).following("?page=2").using(query={"a": 1})


class Key:
    """A credential that signs with a name, and counts."""

    identity = "ada"

    def __init__(self) -> None:
        self.signed = 0

    async def sign(self, request: Any) -> None:
        self.signed += 1
        request.headers["X-Signature"] = f"s{self.signed}"


@pytest.mark.parametrize("auth", [("user", "hunter2"), Key()], ids=["basic", "credential"])
async def test_another_origin_gets_no_credentials(family: FamilyModules, auth: Any) -> None:
    secret = {"X-Api-Key": "hunter2"}
    settings: dict[str, Any] = {"default_headers": secret, "allow_origins": ["https://files.test"]}
    async with stage(family, base_url=SAFE, auth=auth, **settings) as s:
        await s.shop.GET("https://files.test/x", bytes)
        assert {*s.last.headers} & {"authorization", "x-api-key", "x-signature", "cookie"} == set()
        await s.shop.GET("/x", bytes)
        assert {*s.last.headers} & {"authorization", "x-signature"}
        assert s.last.headers["x-api-key"] == "hunter2"


@pytest.mark.parametrize("auth", [("user", "hunter2"), Key()], ids=["basic", "credential"])
async def test_a_redirect_carries_no_credentials_away(family: FamilyModules, auth: Any) -> None:
    there = Reply(302, headers={"location": "https://files.test/x"})
    secret = {"X-Api-Key": "hunter2"}
    settings: dict[str, Any] = {"base_url": SAFE, "auth": auth, "default_headers": secret}
    async with stage(family, [there, ADA], **settings, allow_origins=["https://files.test"]) as s:
        reply = await s.shop.users.get(1).reply()
        assert (reply.value, reply.attempts, reply.url) == (User(1, "Ada"), 2, "https://files.test/x")
        assert {*s.last.headers} & {"authorization", "x-api-key", "x-signature", "cookie"} == set()
    async with stage(family, [there, ADA], **settings) as s:
        with pytest.raises(ForeignOrigin) as refused:
            await s.shop.users.get(1)
        assert isinstance(refused.value, family.http.TransportError)
        assert len(s.urls) == 1


@pytest.mark.parametrize(
    ("method", "status", "then"),
    [("GET", 301, "GET"), ("GET", 308, "GET"), ("POST", 307, "POST"), ("POST", 303, "GET"), ("POST", 302, None)],
)
async def test_a_redirect_makes_no_other_request_of_one(
    family: FamilyModules, method: str, status: int, then: str | None
) -> None:
    there = Reply(status, headers={"location": "/v1/users/2"})
    async with stage(family, [there, ADA], base_url=SAFE, auth=("user", "hunter2")) as s:
        call = s.shop.GET("/x", User) if method == "GET" else s.shop.POST("/x", User, json=1)
        if then is None:
            with pytest.raises(StatusError):
                await call
        else:
            assert await call == User(1, "Ada")
            assert (s.last.method, "authorization" in s.last.headers) == (then, True)


async def test_a_loop_of_redirects_ends(family: FamilyModules) -> None:
    async with stage(family, [Reply(302, headers={"location": "/v1/x"})]) as s:
        with pytest.raises(StatusError) as failed:
            await s.shop.GET("/x", bytes)
        assert failed.value.status_code == 302
        assert len(s.urls) == 11


# What runs around them


async def test_interceptors_are_an_onion_in_two_places(family: FamilyModules) -> None:
    told: list[str] = []

    def teller(name: str) -> Any:
        async def tell(request: Any, call_next: Any) -> Any:
            told.append(f"{name} >")
            response = await call_next(request)
            told.append(f"{name} <")
            return response

        return tell

    async with stage(family, [Reply(503), ADA]) as s:
        for place in ("1", "2"):
            s.shop.around_call(teller(f"call {place}"))
            s.shop.around_attempt(teller(f"attempt {place}"))
        await s.shop.users.get(1).using(around_call=[teller("own")], around_attempt=[teller("own attempt")])
        attempt = ["attempt 1 >", "attempt 2 >", "own attempt >", "own attempt <", "attempt 2 <", "attempt 1 <"]
        assert told == ["call 1 >", "call 2 >", "own >", *attempt, *attempt, "own <", "call 2 <", "call 1 <"]
        told.clear()
        for interceptor in [*s.shop.around_call]:
            s.shop.around_call.remove(interceptor)
        s.shop.around_attempt.clear()
        await s.shop.users.get(1)
        assert told == []


async def test_an_interceptor_answers_reads_and_changes(family: FamilyModules) -> None:
    async with stage(family, [Reply(503), ADA]) as s:

        @s.shop.around_attempt
        async def number(request: Any, call_next: Any) -> Any:
            request.headers["X-Attempt"] = request.headers.get("X-Attempt", "") + "1"
            return await call_next(request)

        @s.shop.around_call
        async def read(request: Any, call_next: Any) -> Any:
            response = await call_next(request)
            assert b"Ada" in await response.aread()
            return response

        assert await s.shop.users.get(1) == User(1, "Ada")
        assert [request.headers["x-attempt"] for request in s.requests] == ["1", "1"]  # gone with each attempt

        @s.shop.around_call
        async def answer(request: Any, call_next: Any) -> Any:
            return family.http.Response(404)

        s.shop.around_call.remove(read)
        with pytest.raises(NotFound) as failed:
            await s.shop.users.get(1)
        assert failed.value.url == f"{BASE}/users/1"
        assert len(s.urls) == 2


@pytest.mark.parametrize("place", ["around_call", "around_attempt"])
async def test_what_an_interceptor_gives_is_a_response(family: FamilyModules, place: str) -> None:
    async def forgets(request: Any, call_next: Any) -> Any:
        await call_next(request)

    async def odd(request: Any, call_next: Any) -> Any:
        return family.http.Response(200, json={"id": "one"})

    wrapped: dict[str, Any]
    async with stage(family) as s:
        wrapped = {place: [forgets]}
        with pytest.raises(TypeError, match=r"forgets.* gave None"):
            await s.shop.users.get(1).using(**wrapped)
        wrapped = {place: [odd]}
        with pytest.raises(DecodeError) as wrong:
            await s.shop.users.get(1).using(**wrapped)
        assert isinstance(wrong.value, family.http.HTTPError)


@pytest.mark.parametrize("place", ["around_call", "around_attempt"])
async def test_a_response_that_an_interceptor_drops_is_closed(family: FamilyModules, place: str) -> None:
    opened: list[Any] = []
    wrapped: dict[str, Any]
    async with stage(family, [Reply(200, body=(b"a", b"b"))], pipeline={"buffer_body": False}) as s:

        async def drops(request: Any, call_next: Any) -> Any:
            opened.append(await call_next(request))
            raise ZeroDivisionError

        wrapped = {place: [drops]}
        with pytest.raises(ZeroDivisionError):
            await s.shop.GET("/x", bytes).using(**wrapped)
        assert [response.is_closed for response in opened] == [True]

        async def twice(request: Any, call_next: Any) -> Any:
            opened.append(await call_next(request))
            return await call_next(request)

        wrapped = {place: [twice]}
        assert await s.shop.GET("/x", bytes).using(**wrapped) == b"ab"
        assert [response.is_closed for response in opened] == [True, True]


async def test_a_credential_signs_each_attempt_and_keeps_users_apart(family: FamilyModules) -> None:
    cached = document({"id": 1, "name": "Ada"}, Cache_Control="max-age=60")
    async with stage(family, [Reply(503), cached], auth=Key(), pipeline={"cache": Cache()}) as s:
        await s.shop.users.get(1)
        assert [request.headers["x-signature"] for request in s.requests] == ["s1", "s2"]
        assert (await s.shop.users.get(1).reply()).source == "cache"

        class Other(Key):
            identity = "bob"

        assert (await s.shop.using(auth=Other()).users.get(1).reply()).source == "origin"


async def test_a_deadline_covers_the_whole_call(family: FamilyModules) -> None:
    async with stage(family, [Hangs()], deadline=2.0) as s:
        with pytest.raises(holdfast.DeadlineExceeded):
            await s.shop.users.get(1)
        assert s.clock.monotonic() == pytest.approx(2.0, abs=0.3)


async def test_a_token_that_is_turned_down_is_replaced_once(family: FamilyModules) -> None:
    class Renewed:
        identity = "ada"

        def __init__(self) -> None:
            self.number = 1
            self.told: list[tuple[object, str | None]] = []

        async def sign(self, request: Any) -> object:
            request.headers["Authorization"] = f"Bearer {self.number}"
            return self.number

        async def rejected(self, proof: object, challenge: str | None) -> bool:
            self.told.append((proof, challenge))
            self.number += 1
            return self.number < 4

    def answer(number: int, request: Any) -> Reply:
        good = request.headers["authorization"] == "Bearer 2"
        return ADA if good else Reply(401, headers={"www-authenticate": "Bearer"})

    token = Renewed()
    async with stage(family, answer, auth=token) as s:
        assert await s.shop.users.get(1) == User(1, "Ada")
        assert token.told == [(1, "Bearer")]
        token.number = 3
        with pytest.raises(Unauthorized):
            await s.shop.users.get(1)
        assert len(s.urls) == 3


async def test_a_credential_of_ours_is_bound_to_the_services_origin(family: FamilyModules) -> None:
    async with stage(family, base_url="https://api.test/v1", auth=Bearer("hunter2")) as s:
        await s.shop.users.get(1)
        assert s.last.headers["authorization"] == "Bearer hunter2"
        assert "hunter2" not in s.shop.users.get(1).as_curl()
        with pytest.raises(InvalidInput):
            _ = s.shop.users.get(1).using(auth=Bearer("x", origins="https://other.test"))
    with pytest.raises(InvalidInput):
        Shop("https://api.test", auth=Bearer("x", origins="https://other.test"))


async def test_arguments_are_checked_where_that_is_asked_for(family: FamilyModules) -> None:
    wrong: Any = None
    async with stage(family, validate="strict") as s:
        with pytest.raises(InvalidInput) as refused:
            _ = s.shop.users.get(wrong)
        assert refused.value.argument == "id"
        with pytest.raises(InvalidInput):
            s.shop.orgs(wrong)
        call = s.shop.users.get(1)
        assert call.operation == "Users.get"
        assert await call == User(1, "Ada")
        assert s.shop.users is s.shop.users
        assert isinstance(s.shop, Shop)


async def test_a_call_is_explained_without_being_made(family: FamilyModules) -> None:
    def by_host(request: Any) -> str:
        return f"circuit of {request.url.host}"

    pipeline = {
        "retry": Retry(attempts=4),
        "breaker": CircuitBreaker(key=by_host),
        "rate_limit": [RateLimit(5, key="operation"), RateLimit(9)],
        "cache": Cache(rules={"Users.get": holdfast.CacheRule(ttl=5.0)}),
    }
    async with stage(family, pipeline=pipeline, auth=Basic("user", "hunter2", allow_http=True), deadline=7.0) as s:
        told = s.shop.explain(s.shop.users.get(1).using(query={"token": "hunter2"}, identity="ada"))
        assert "hunter2" not in str(told)
        origin = "http://api.test:80"
        assert told["url"] == f"{BASE}/users/1?token=***"
        assert (told["operation"], told["template"], told["key"]) == ("Users.get", "/users/{id}", origin)
        assert (told["deadline"], told["attempts"], told["sent_again"]) == (7.0, 4, True)
        assert told["breaker"] == {"key": "circuit of api.test"}
        assert [limit["key"] for limit in told["rate_limit"]] == [f"{origin} Users.get", origin]
        assert told["cache"]["identity"] == "ada"
        assert "ttl=5.0" in told["cache"]["rule"]
        assert not s.shop.explain(s.shop.users.create("Ada"))["sent_again"]
        assert s.shop.explain(s.shop.users.order("Ada"))["sent_again"]
        assert s.shop.explain(s.shop.users.get(1).using(retry=None))["attempts"] == 1
        made: Any = s.shop.pipeline
        made.reconfigure(retry=Retry(attempts=2))
        assert s.shop.explain(s.shop.users.get(1))["attempts"] == 2
        assert s.urls == []

        # and it is what happens
        await s.shop.users.get(1)
        assert s.shop.pipeline is not None
        assert {"circuit of api.test", f"{origin} Users.get + {origin}"} <= s.shop.pipeline.snapshot()["origins"].keys()
