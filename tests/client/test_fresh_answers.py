"""A fresh answer of the cache is given before there is a request; and it is the answer that a request would get."""

from __future__ import annotations

import asyncio
import gc
import gzip
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import holdfast
from holdfast import Cache, CacheRule, MemoryStore, Pipeline, SQLiteStore, Tiered
from holdfast.auth import Bearer
from holdfast.client import Call, Resource, Service, accessor
from holdfast.errors import (
    Closed,
    DeadlineExceeded,
    DecodeError,
    DeprecatedOperation,
    InvalidInput,
    NotFound,
    WrongLoop,
)
from holdfast.testing import ScriptedTransport, VirtualClock
from holdfast.testing.scripted import Reply
from tests.client.api import BASE, User
from tests.conftest import modules_of
from tests.support import CHARACTERS, FAMILY_NAMES, FamilyModules, examples

MINUTE = {"Cache-Control": "max-age=60", "Content-Type": "application/json"}
ADA = Reply(200, headers=MINUTE, body=b'{"id": 1, "name": "Ada"}')


class Users(Resource, path="/users"):
    def get(self, id: int | str) -> Call[User]:
        return self.GET("/{id}", User, id=id)


class Shop(Service):
    users = accessor(Users)


@dataclass
class World:
    """A service over a script, and all that can be seen of it from outside."""

    shop: Shop
    pipeline: Pipeline
    clock: VirtualClock
    transport: Any
    told: list[Any] = field(default_factory=list[Any])

    def cache(self) -> dict[str, int]:
        counts: dict[str, int] = self.pipeline.snapshot()["cache"]
        return counts


def as_ann(request: Any) -> Any:
    """Auth of the libraries' kind, which takes a function for it."""
    request.headers["Authorization"] = "ann"
    return request


def world_of(
    family: FamilyModules,
    answer: Callable[[int, Any], Reply] | Reply = ADA,
    *,
    base_url: str = BASE,
    always_asked: bool = False,
    pipeline: Mapping[str, Any] | None = None,
    **service: Any,
) -> World:
    """``always_asked``: behind a transport of the user's own kind, which each call must come to."""
    clock, told = VirtualClock(jump=True), list[Any]()
    script = (lambda *_: answer) if isinstance(answer, Reply) else answer
    far_side: ScriptedTransport[Any, Any] = ScriptedTransport(family.holdfast.FAMILY, script, clock=clock)
    policies = {"cache": Cache(key=b"k" * 32), "retry": None, "listeners": [told.append], **(pipeline or {})}
    made = Pipeline(clock=clock, random=lambda: 0.5, **policies)
    kind = family.holdfast.ResilientTransport
    transport = (type("Detour", (kind,), {}) if always_asked else kind)(made, inner=far_side)
    return World(Shop(base_url, transport=transport, **service), made, clock, transport, told)


@pytest.fixture
def built(family: FamilyModules, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the library's objects that are made, in order."""
    return watched(family, monkeypatch)


def watched(family: FamilyModules, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    for name in ("Request", "URL", "Response"):
        plain: Any = getattr(family.http, name)

        def made(*args: Any, plain: Any = plain, name: str = name, **more: Any) -> Any:
            names.append(name)
            return plain(*args, **more)

        if name != "Response":  # it is a base class
            monkeypatch.setattr(family.http, name, made)
    return names


# What a call looks like from outside, the long way and the short


@dataclass(frozen=True)
class Asked:
    """A call of the resource, some seconds after the one before."""

    after: float
    method: str
    path: str
    headers: Mapping[str, str]
    options: Mapping[str, Any]
    into: Any
    offline: bool = False
    within: float | None = None

    def of(self, shop: Shop) -> Call[Any]:
        verb: Any = shop.GET if self.method == "GET" else shop.HEAD
        call: Call[Any] = verb("/users/{id}", self.into, id=self.path, headers=self.headers)
        return call.using(options=self.options)


async def seen(world: World, asked: Asked, built: list[str]) -> dict[str, Any]:
    """All that a caller, and whoever listens, can see of a call; with ``built``, what was made for its value."""
    await world.clock.advance(asked.after)
    if asked.offline:
        world.pipeline.offline(probe_every=None)
    else:
        world.pipeline.online()
    with ExitStack() as around:
        if asked.within is not None:
            around.enter_context(holdfast.deadline(asked.within, clock=world.clock))
            await world.clock.advance(asked.within / 2 if asked.within > 1 else asked.within)
        built.clear()
        before = world.cache()["hits"]
        value = await ended(asked.of(world.shop).value)
        needed, counts = [*built], world.cache()
        hit = counts["hits"] > before and not counts["fetching"]  # a refresh in the background takes a request
        await anyio.wait_all_tasks_blocked()  # what was begun in the background
        reply = await ended(asked.of(world.shop).reply)
        await anyio.wait_all_tasks_blocked()
    response = getattr(reply, "response", None)
    shown: dict[str, Any] = {"value": value, "needed": needed, "hit": hit, "counts": world.cache()}
    if response is not None:
        shown |= {
            "reply": (reply.value, reply.status, reply.source, reply.attempts, reply.elapsed, reply.url),
            "history": replace(reply.history, attempts=()),
            "headers": reply.headers.raw,
            "content": response.content,
            "response": (response.is_closed, response.http_version, response.encoding, response.num_bytes_downloaded),
            "options": response.request.extensions["holdfast"],
            "asked": (response.request.method, response.request.headers.raw),
        }
    else:
        shown["error"] = reply
    return shown


async def ended(make: Callable[[], Any]) -> Any:
    """What it gives, or all that its error tells."""
    try:
        return await make()
    except Exception as error:  # ours, or the library's
        record = vars(error).get("holdfast") or {}
        told = {name: record.get(name) for name in ("source", "cache", "cache_status", "age", "reason")}
        return type(error).__mro__[1].__name__, str(error), told


BODY = b'{"id": 1, "name": "Ada"}'
HEADS: st.SearchStrategy[dict[str, str]] = st.fixed_dictionaries(
    {
        "Cache-Control": st.sampled_from(
            ["max-age=60"] * 6
            + ["max-age=0", "no-store", "private, max-age=60", "public, max-age=60", "s-maxage=90, max-age=10"]
            + ["max-age=60, must-revalidate", "no-cache", "max-age=30, stale-while-revalidate=40", "max-age=x"]
        )
    },
    optional={
        "Vary": st.sampled_from(["Accept-Language", "*", "User-Agent, Accept", "Authorization", "Cookie", "Host"]),
        "ETag": st.just('"1"'),
        "Age": st.sampled_from(["5", "70"]),
        "Content-Type": st.sampled_from(["application/json", "text/plain; charset=latin-1", "text/html"]),
        "Cache-Status": st.just("far; hit"),
        "Set-Cookie": st.just("seen=1"),
        "Content-Encoding": st.sampled_from(["gzip", "identity", "deflate"]),
        "X-Name": st.just("\xe9"),
    },
)
CALLS = st.lists(
    st.builds(
        Asked,
        after=st.sampled_from([0.0] * 4 + [29.0, 31.0, 61.0]),
        method=st.sampled_from(["GET"] * 5 + ["HEAD"]),
        path=st.sampled_from(["1"] * 6 + ["a b/é", ".x"]),
        headers=st.one_of(
            st.just({}),
            st.just({}),
            st.fixed_dictionaries(
                {},
                optional={
                    "accept-language": st.sampled_from(["de", "DE", "fr"]),
                    "Authorization": st.sampled_from(["Bearer a", "Bearer b"]),
                    "Cookie": st.just("a=1"),
                    "Accept": st.just("text/csv"),
                    "Cache-Control": st.sampled_from(
                        ["no-cache", "max-age=10", "max-stale", "min-fresh=50", "only-if-cached", "no-store"]
                    ),
                    "If-None-Match": st.just('"1"'),
                    "Range": st.just("bytes=0-3"),
                    "Host": st.sampled_from(["api.test", "other.test"]),
                },
            ),
        ),
        options=st.one_of(
            st.just({}),
            st.just({}),
            st.fixed_dictionaries(
                {},
                optional={
                    "cache": st.sampled_from(["refresh", "bypass", "only", {"ttl": 5}]),
                    "identity": st.sampled_from(["ann", "bob"]),
                    "key": st.just("a tenant"),
                    "deadline": st.just(2.0),
                    "operation": st.just("Users.never"),
                },
            ),
        ),
        into=st.sampled_from([bytes] * 3 + [User, dict[str, Any], int]),
        offline=st.sampled_from([False] * 7 + [True]),
        within=st.sampled_from([None] * 6 + [0.5, 4.0]),
    ),
    min_size=2,
    max_size=5,
)
PIPELINES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "cache": st.sampled_from(
            [Cache(key=b"k" * 32)] * 3
            + [
                Cache(key=b"k" * 32, shared=True),
                Cache(key=b"k" * 32, identity_headers=("accept-language",)),
                Cache(key=b"k" * 32, rules={"Users.never": CacheRule(never=True), "/users/{id}": CacheRule(ttl=20.0)}),
                Cache(key=b"k" * 32, rules={"/users/{id}": CacheRule(key_headers=("Accept-Language",))}),
            ]
        )
    },
    optional={
        "hooks": st.just((lambda request, attempt: None,)),
        "max_body_bytes": st.sampled_from([10, 10_000]),
        "listeners": st.just(()),
    },
)
SERVICES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "auth": st.one_of(
            st.just(as_ann),
            st.just("ann").map(lambda name: Bearer(name, origins=BASE, allow_http=True, identity=name)),
        ),
        "default_headers": st.just({"Accept-Language": "fr", "X-Tenant": "t"}),
        "unwrap": st.just("name"),
    },
)


@pytest.mark.parametrize("name", FAMILY_NAMES)
@given(
    head=HEADS,
    status=st.sampled_from([200] * 6 + [203, 404, 301]),
    honest=st.booleans(),
    calls=CALLS,
    policies=PIPELINES,
    service=SERVICES,
)
@examples(0.2)
def test_the_short_way_answers_when_and_as_the_long_way_would_from_the_cache(
    name: str,
    head: dict[str, str],
    status: int,
    honest: bool,
    calls: Sequence[Asked],
    policies: dict[str, Any],
    service: dict[str, Any],
) -> None:
    family = modules_of(name)
    gzipped = head.get("Content-Encoding") == "gzip" and honest
    body = gzip.compress(BODY, mtime=0) if gzipped else BODY
    answer = Reply(status, headers={**head, "Content-Length": str(len(body))}, body=body)

    async def both(built: list[str]) -> None:
        short = world_of(family, answer, pipeline=policies, **service)
        long = world_of(family, answer, pipeline=policies, **service, always_asked=True)
        async with short.shop, long.shop:
            for world in (short, long, short, long):  # with the second the library is asked how it writes this address
                await ended(world.shop.GET("/first", None).value)
            for asked in calls:
                as_found, as_sent = [await seen(world, asked, built) for world in (short, long)]
                assert as_sent.pop("needed") != []
                needed = as_found.pop("needed")
                assert as_found == as_sent
                assert [told(event) for event in short.told] == [told(event) for event in long.told]
                whole = as_found["hit"] and not asked.offline and not asked.headers.keys() & {"If-None-Match", "Range"}
                failed = status >= 300 or isinstance(as_found["value"], tuple)
                signed = service.get("auth") is as_ann
                capped = "max_body_bytes" in policies and "Content-Encoding" in head
                assert (needed == []) == (whole and not failed and not signed and not capped)

    with pytest.MonkeyPatch.context() as patch:
        anyio.run(both, watched(family, patch))


def told(event: Any) -> Any:
    return replace(event, call=None)


# What takes a request, and what does not


@pytest.mark.anyio
async def test_a_fresh_answer_is_given_before_there_is_a_request_or_a_url(
    family: FamilyModules, built: list[str]
) -> None:
    world = world_of(family)
    async with world.shop as shop:
        await shop.users.get(1)
        await shop.users.get(1)
        asked = shop.users.get(1)
        world.told.clear()
        built.clear()
        assert await asked == User(1, "Ada")
        assert await asked.map(str).or_else(None, on=Closed) == str(User(1, "Ada"))
        assert (await asked.outcome()).ok
        assert built == []
        assert [type(event).__name__ for event in world.told] == ["CallStarted", "CacheAnswered", "CallEnded"] * 3
        assert len({event.call for event in world.told}) == 3
        assert {event.url for event in world.told if hasattr(event, "url")} == {f"{BASE}/users/1"}
        assert world.cache()["hits"] == 4
        assert (await asked.reply()).source == "cache"
        assert world.transport.pipeline.snapshot()["cache"]["misses"] == 1


@pytest.mark.anyio
async def test_each_caller_gets_a_value_that_is_its_own_to_change(family: FamilyModules) -> None:
    async with world_of(family).shop as shop:
        call = shop.GET("/users/1", dict[str, Any])
        await call
        mine = await call
        mine["name"] = "somebody else"
        assert (await call)["name"] == "Ada"


async def _passing(request: Any, call_next: Any) -> Any:
    return await call_next(request)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "base_url", [BASE, "http://API.test:80/v1/", "http://b\xfccher.test", "http://[::1]:8080/a%20b"]
)
async def test_a_short_way_writes_addresses_as_the_library_does(
    family: FamilyModules, built: list[str], base_url: str
) -> None:
    short, long = world_of(family, base_url=base_url), world_of(family, base_url=base_url, always_asked=True)
    for world in (short, long):
        async with world.shop as shop:
            for _ in range(3):
                built.clear()
                await shop.GET("", dict[str, Any], query={"q": "a b/\xe9?&'", "ids": [1, 2]})
                needed = [*built]
                await shop.users.get("a b\xe9'%/(~)")
            assert (needed == []) == (world is short)
            assert (await shop.users.get("a b\xe9'%/(~)").reply()).source == "cache"
    assert short.cache() == long.cache()
    assert [told(event) for event in short.told] == [told(event) for event in long.told]


@pytest.mark.parametrize("name", FAMILY_NAMES)
@given(
    values=st.tuples(*[st.text(CHARACTERS, min_size=1, max_size=8)] * 2),
    query=st.dictionaries(
        st.text(CHARACTERS, min_size=1, max_size=5),
        st.one_of(
            st.text(CHARACTERS, max_size=8), st.booleans(), st.lists(st.text(CHARACTERS, max_size=4), max_size=2)
        ),
        max_size=3,
    ),
    lists=st.sampled_from(["repeat", "comma", "brackets"]),
)
def test_the_library_sends_what_a_call_makes_of_its_values_as_it_is(
    name: str, values: tuple[str, str], query: dict[str, Any], lists: Any
) -> None:
    shop = Shop("http://api.test/v1", lists=lists)
    try:
        call = shop.GET("/a.~!$&'()*+,;=:@%2F/{x}/x-{y}", bytes, query=query, x=values[0], y=values[1])
    except InvalidInput:
        return
    assert str(modules_of(name).http.URL(call.url)) == call.url


LONG: dict[str, tuple[dict[str, Any], Callable[[Call[User]], Call[Any]]]] = {
    "an interceptor of the service": ({"around_call": _passing}, lambda call: call),
    "an interceptor of the call": ({}, lambda call: call.using(around_call=[_passing])),
    "auth of the library's kind": ({}, lambda call: call.using(auth=as_ann)),  # type: ignore[arg-type]  # what the libraries take, too
    "cache=refresh": ({}, lambda call: call.using(cache="refresh")),
    "cache=bypass": ({}, lambda call: call.using(cache="bypass")),
    "a link": ({}, lambda call: call.following(f"{BASE}/users/1")),
    "another user": ({}, lambda call: call.using(identity="bob")),
}


@pytest.mark.anyio
@pytest.mark.parametrize("why", LONG)
async def test_what_needs_a_request_gets_one(family: FamilyModules, built: list[str], why: str) -> None:
    given, asked = LONG[why]
    async with world_of(family).shop as shop:
        if "around_call" in given:
            shop.around_call(given["around_call"])
        for _ in range(2):
            await shop.users.get(1)
        built.clear()
        assert await asked(shop.users.get(1)) == User(1, "Ada")
        assert built != []


@pytest.mark.anyio
async def test_a_response_a_stream_and_a_failure_need_a_request(family: FamilyModules, built: list[str]) -> None:
    world = world_of(family, Reply(404, headers=MINUTE, body=b"{}"))
    async with world.shop as shop:
        for _ in range(3):
            built.clear()
            assert await shop.users.get(1).or_else(None, on=NotFound) is None
            assert built != []
        assert world.cache()["hits"] == 2
    async with world_of(family).shop as shop:
        for _ in range(3):
            built.clear()
            assert (await shop.GET("/users/1", family.http.Response)).json() == {"id": 1, "name": "Ada"}
            async with shop.users.get(1).stream() as response:
                assert b"".join([chunk async for chunk in response.aiter_bytes()]) == ADA.body
            assert built.count("Request") >= 2


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["lent client", "pipelines by origin", "a store that waits"])
async def test_what_is_between_a_call_and_the_cache_is_not_passed_by(
    family: FamilyModules, built: list[str], how: str, tmp_path: Any
) -> None:
    clock, far_side = VirtualClock(jump=True), None
    store = SQLiteStore(tmp_path / "cache.db") if how == "a store that waits" else None
    pipeline: Any = Pipeline(clock=clock, cache=Cache(store=store))
    if how == "pipelines by origin":
        pipeline = Pipeline.by_origin({BASE: pipeline})
    far_side = ScriptedTransport(family.holdfast.FAMILY, lambda *_: ADA, clock=clock)
    transport = family.holdfast.ResilientTransport(pipeline, inner=far_side)
    client = family.http.AsyncClient(transport=transport, headers={"X-Mine": "1"})
    async with client:
        shop = Shop(BASE, client=client) if how == "lent client" else Shop(BASE, transport=transport)
        for _ in range(3):
            built.clear()
            assert await shop.users.get(1) == User(1, "Ada")
            assert built != []
        assert (await shop.users.get(1).reply()).source == "cache"
    if store is not None:
        await store.aclose()


@pytest.mark.anyio
async def test_the_first_tier_answers_without_a_request(family: FamilyModules, built: list[str]) -> None:
    second = MemoryStore()
    world = world_of(family, pipeline={"cache": Cache(key=b"k" * 32, store=Tiered(MemoryStore(), second))})
    async with world.shop as shop:
        for _ in range(3):
            built.clear()
            await shop.users.get(1)
        assert built == []


@pytest.mark.anyio
async def test_another_tenant_of_a_service_has_answers_of_its_own(family: FamilyModules, built: list[str]) -> None:
    def name(number: int, request: Any) -> Reply:
        return replace(ADA, body=b'{"id": %d, "name": "%b"}' % (number, request.headers["authorization"].encode()))

    async with world_of(family, name, auth=bearer("ann")).shop as shop:
        other = shop.using(auth=bearer("bob"))
        first = [await shop.users.get(1), await other.users.get(1)]
        assert [user.name for user in first] == ["Bearer ann", "Bearer bob"]
        await shop.users.get(1)
        built.clear()
        assert [await shop.users.get(1), await other.users.get(1)] == first
        assert built == []


def bearer(name: str) -> Bearer:
    return Bearer(name, origins=BASE, allow_http=True, identity=name)


@pytest.mark.anyio
async def test_who_gets_the_answer_to_another_service_hears_that_it_will_go(
    family: FamilyModules, built: list[str]
) -> None:
    def answer(number: int, request: Any) -> Reply:
        return (
            ADA if request.url.path.endswith("/2") else replace(ADA, headers={**MINUTE, "Deprecation": "@1700000000"})
        )

    world = world_of(family, answer)
    other = Shop(BASE, transport=world.transport)
    for _ in range(2):
        await other.users.get(2)
    with pytest.warns(DeprecatedOperation):
        await world.shop.users.get(1)
    with pytest.warns(DeprecatedOperation):
        await other.users.get(1)
    built.clear()
    await other.users.get(1)
    assert built == []
    assert [type(event).__name__ for event in world.told].count("OperationDeprecated") == 2
    await world.transport.aclose()


@pytest.mark.anyio
async def test_a_language_of_the_call_goes_before_that_of_the_service(family: FamilyModules) -> None:
    def greet(number: int, request: Any) -> Reply:
        return Reply(
            200, headers={**MINUTE, "Vary": "Accept-Language"}, body=request.headers["accept-language"].encode()
        )

    async with world_of(family, greet, default_headers={"Accept-Language": "fr"}).shop as shop:
        call = shop.GET("/hello", bytes)
        asked = [
            call,
            call.using(headers={"accept-language": "de"}),
            call,
            call.using(headers={"ACCEPT-LANGUAGE": "DE"}),
        ]
        assert [await each for each in asked] == [b"fr", b"de", b"fr", b"de"]


@pytest.mark.anyio
@pytest.mark.parametrize("who", ["service", "transport"])
async def test_what_is_closed_gives_nothing_that_is_stored(family: FamilyModules, who: str) -> None:
    world = world_of(family)
    for _ in range(3):
        await world.shop.users.get(1)
    await (world.shop if who == "service" else world.transport).aclose()
    with pytest.raises(Closed):
        await world.shop.users.get(1)


@pytest.mark.anyio
async def test_a_fresh_answer_is_given_by_the_settings_in_force(family: FamilyModules) -> None:
    world = world_of(family)
    async with world.shop as shop:
        for number, rules in enumerate((None, {"/users/{id}": CacheRule(never=True)}, None)):
            world.pipeline.reconfigure(cache=Cache(key=b"k" * 32, rules=rules))
            await shop.users.get(1)
            await shop.users.get(1)
            assert (world.cache()["hits"], world.cache()["bypassed"]) == [(1, 0), (1, 2), (3, 2)][number]


@pytest.mark.anyio
async def test_what_goes_offline_or_out_of_time_is_told_so_and_comes_back(family: FamilyModules) -> None:
    world = world_of(family)
    async with world.shop as shop:
        for _ in range(2):
            await shop.users.get(1)
        world.pipeline.offline(probe_every=None)
        reply = await shop.users.get(1).reply()
        assert (reply.history.cache, reply.history.reason) == ("offline", "offline")
        world.pipeline.online()
        assert (await shop.users.get(1).reply()).history.cache == "hit"
        with holdfast.deadline(1.0, clock=world.clock):
            assert await shop.users.get(1) == User(1, "Ada")
            await world.clock.advance(1.0)
            with pytest.raises(DeadlineExceeded):
                await shop.users.get(1)
        world.pipeline.reconfigure(deadline=5.0)
        assert await shop.users.get(1) == User(1, "Ada")


def test_a_fresh_answer_belongs_to_the_loop_of_its_service(family: FamilyModules) -> None:
    shop = world_of(family).shop

    async def ask() -> None:
        await shop.users.get(1)
        await shop.users.get(1)

    asyncio.run(ask())
    with pytest.raises(WrongLoop):
        asyncio.run(ask())


def test_a_fresh_answer_starts_no_task_waits_for_nothing_and_leaves_no_cycle(family: FamilyModules) -> None:
    shop = world_of(family, pipeline={"listeners": ()}).shop

    async def step_through() -> list[str]:
        for _ in range(3):
            await shop.users.get(1)
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            running = shop.users.get(1).value()
            with pytest.raises(StopIteration) as done:
                running.send(None)
            assert done.value.value == User(1, "Ada")
            assert asyncio.all_tasks() == {asyncio.current_task()}
            del done, running
            await shop.users.get(1)
            gc.collect()
            return [f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    assert [name for name in asyncio.run(step_through()) if name.startswith("holdfast")] == []


@pytest.mark.anyio
async def test_an_answer_of_another_shape_tells_where_it_came_from(family: FamilyModules) -> None:
    async with world_of(family, replace(ADA, body=b"[]")).shop as shop:
        errors = []
        for _ in range(2):
            with pytest.raises(DecodeError) as caught:
                await shop.users.get(1)
            errors.append(caught.value)
        assert [str(error) for error in errors] == [str(errors[0])] * 2
        assert isinstance(errors[1], family.http.DecodingError)
        assert holdfast.history(errors[1]).cache == "hit"
        assert str(errors[1].request.url) == f"{BASE}/users/1"
