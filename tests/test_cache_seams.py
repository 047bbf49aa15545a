"""What the parts of the cache do to each other: ranges, stores, secrets, removals and users, two at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, nullcontext
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from holdfast import Cache, MemoryStore, Pipeline, Tiered
from holdfast.auth import APIKey, Basic, Bearer, HMACSignature, KeyPool, LoginToken
from holdfast.client import Service
from holdfast.core.caching.entry import Entry
from holdfast.errors import Offline
from holdfast.stores.base import Store, StoreError
from holdfast.testing import Reply
from holdfast.testing.faulty import Answer, FaultyServer
from tests.cache_origin import answer, told
from tests.cache_stores import Remote
from tests.directory_store import DirectoryStore
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
ANN = {"Authorization": "Bearer ann"}
TEN = b"0123456789"


def cached(**settings: Any) -> Any:
    """A pipeline of nothing but a cache, for `stage`."""

    def pipeline(clock: Any) -> Pipeline:
        made = {name: value(clock) if callable(value) else value for name, value in settings.items()}
        return Pipeline(clock=clock, cache=Cache(**made), retry=None, breaker=None)

    return pipeline


# One store, two kinds of cache


async def test_what_is_private_is_not_given_by_a_shared_cache_with_the_same_store(family: FamilyModules) -> None:
    store = MemoryStore()
    mine = answer(b"for this address alone", Cache_Control="private, max-age=60")
    async with stage(family, [mine], pipeline=cached(store=store)) as alone:
        await alone.client.get(URL)
        assert told(await alone.client.get(URL))[1] == "hit"
        async with stage(family, [answer(b"for all")], pipeline=cached(store=store, shared=True)) as together:
            assert (await together.client.get(URL)).content == b"for all"
            assert told(await together.client.get(URL))[1] == "hit"
            assert (await alone.client.get(URL)).content == b"for this address alone"
            assert await together.pipeline.purge(url=URL) == 2


# Whose answer it is, where what proves that is put on each attempt, below the cache


def proven(name: str) -> Any:
    async def prove(request: Any, call_next: Any) -> Any:
        request.headers["X-Proof"] = name
        return await call_next(request)

    return prove


USERS: dict[str, Callable[[str], tuple[Any, tuple[Any, ...]]]] = {
    "bearer": lambda name: (Bearer(name), ()),
    "what a function gives": lambda name: (Bearer(lambda: name), ()),
    "basic": lambda name: (Basic(name, "same"), ()),
    "query key": lambda name: (APIKey(name, query="key"), ()),
    "cookie": lambda name: (APIKey(name, cookie="session"), ()),
    "signature": lambda name: (HMACSignature(name, "same"), ()),
    "pool": lambda name: (KeyPool({"one": APIKey(name)}), ()),
    "interceptor": lambda name: (None, (proven(name),)),
}


@pytest.mark.parametrize("shared", [False, True], ids=["private", "shared"])
@pytest.mark.parametrize("kind", USERS)
async def test_what_is_put_on_an_attempt_tells_users_apart(family: FamilyModules, kind: str, shared: bool) -> None:
    def whose(number: int, request: Any) -> Reply:
        return answer(b"%d" % number, Content_Type="text/plain")

    kept = not shared and kind != "interceptor"
    async with stage(family, whose, pipeline=cached(shared=shared)) as on:
        transport = family.holdfast.ResilientTransport(on.pipeline, inner=on.script)
        async with Service("http://localhost", transport=transport) as service:
            users = [service.using()]
            for name in ("ada", "bob"):
                auth, interceptors = USERS[kind](name)
                users.append(service.using(auth=auth))
                users[-1].around_attempt.extend(interceptors)
            first, second = [[await user.GET("/me", str) for user in users] for _ in range(2)]
            assert len({*first}) == 3
            assert (second[0], second == first) == (first[0], kept)
            assert len({*first[1:], *second[1:]}) == (2 if kept else 4)
            on.pipeline.offline(probe_every=None)
            for user, mine in zip(users, second, strict=True):
                with nullcontext() if kept or user is users[0] else pytest.raises(Offline):
                    assert await user.GET("/me", str) == mine


@pytest.mark.parametrize("identity", [None, "family"])
async def test_who_logs_in_after_a_logout_gets_none_of_the_last_one_s_answers(
    family: FamilyModules, identity: str | None
) -> None:
    people = ["ada", "bob"]

    async def login() -> dict[str, str]:
        return {"accessToken": people.pop(0)}

    def whose(number: int, request: Any) -> Reply:
        return answer(request.headers["authorization"].encode(), Content_Type="text/plain")

    auth = LoginToken(login=login, identity=identity)
    async with stage(family, whose, pipeline=cached()) as on:
        service = Service("http://localhost", client=on.client, auth=auth)
        ada = [await service.GET("/me", str) for _ in range(2)]
        await auth.logout()
        bob = [await service.GET("/me", str) for _ in range(2)]
        assert ada == ["Bearer ada", "Bearer ada"]
        assert bob == (["Bearer bob", "Bearer bob"] if identity is None else ada)
        assert len(on.script.sent) == (2 if identity is None else 1)


@pytest.mark.parametrize(("options", "kept"), [({}, True), ({"identity": "ada"}, False)], ids=str)
async def test_a_401_is_about_a_token_and_not_about_who_has_one(
    family: FamilyModules, options: dict[str, str], kept: bool
) -> None:
    def far_side(number: int, request: Any) -> Reply:
        return answer(status=401 if request.headers["authorization"] == "old" else 200)

    async with stage(family, far_side, pipeline=cached()) as on:
        for token, status in (("old", 401), ("old", 401), ("new", 200)):
            more = {"headers": {"Authorization": token}, "extensions": {"holdfast": options}}
            assert (await on.client.get(URL, **more)).status_code == status
        assert len(on.script.sent) == (2 if kept else 3)


@pytest.mark.filterwarnings("ignore:.cert=.* is deprecated:DeprecationWarning")
@pytest.mark.parametrize("plain", [False, True], ids=["service", "client"])
@pytest.mark.parametrize("shared", [False, True], ids=["private", "shared"])
async def test_a_client_certificate_tells_users_apart(
    family: FamilyModules, tmp_path: Path, shared: bool, plain: bool
) -> None:
    authority = trustme.CA()
    files = [str(tmp_path / name) for name in ("ada.pem", "bob.pem")]
    for file in files:
        authority.issue_cert("client.test").private_key_and_cert_chain_pem.write_to_path(file)
    async with FaultyServer() as server:
        server.default(lambda request: Answer.json(server.count(), headers=(("Cache-Control", "max-age=60"),)))
        pipeline = Pipeline(cache=Cache(shared=shared))

        async def get(cert: str | None) -> tuple[int, str]:
            transport = family.holdfast.ResilientTransport(pipeline, cert=cert, verify=False)
            if plain:
                async with family.http.AsyncClient(transport=transport) as client:
                    response = await client.get(f"{server.url}/me")
                    return response.json(), response.extensions["holdfast"]["source"]
            async with Service(server.url, transport=transport) as service:
                reply = await service.GET("/me", int).reply()
                return reply.value, str(reply.source)

        given = [await get(cert) for cert in (None, *files)]
        assert len({value for value, _ in given}) == 3
        for cert, (value, _) in zip((None, *files), given, strict=True):
            again = await get(cert)
            assert again == (value, "cache") if cert is None or not shared else again[1] == "origin"


# Ranges and validation


async def test_a_part_that_comes_beside_the_whole_leaves_it_a_whole(family: FamilyModules) -> None:
    def far_side(number: int, request: Any) -> Reply:
        if "range" not in request.headers:
            return answer(TEN, ETag='"1"', Content_MD5="whole")
        return answer(TEN[:3], 206, ETag='"1"', Content_Range="bytes 0-2/10", Content_MD5="part")

    async with stage(family, far_side, pipeline=cached()) as on:
        await on.client.get(URL)
        anew = {"Range": "bytes=0-2", "Cache-Control": "no-cache"}
        assert (await on.client.get(URL, headers=anew)).status_code == 206
        whole = await on.client.get(URL)
        assert (whole.status_code, whole.content, told(whole)[1]) == (200, TEN, "hit")
        assert "content-range" not in whole.headers
        assert (whole.headers["content-length"], whole.headers["content-md5"]) == ("10", "whole")


async def test_a_304_that_makes_a_range_unanswerable_has_the_origin_asked_again(family: FamilyModules) -> None:
    def far_side(number: int, request: Any) -> Reply:
        if "if-none-match" in request.headers:  # which makes the weak tag a strong one, so that the If-Range holds
            return Reply(304, headers={"ETag": '"1"', "Cache-Control": "max-age=60"})
        return answer(TEN, ETag='W/"1"', Cache_Control="max-age=1")

    async with stage(family, far_side, pipeline=cached()) as on:
        await on.client.get(URL)
        await on.clock.sleep(2)
        response = await on.client.get(URL, headers={"Range": "bytes=0-0,5-6", "If-Range": '"1"'})
        assert (response.status_code, response.content, len(on.script.sent)) == (200, TEN, 3)


# Leaving


async def test_a_cancelled_call_lets_go_of_the_first_piece_while_it_waits_for_the_second(
    family: FamilyModules, tmp_path: Path
) -> None:
    def far_side(number: int, request: Any) -> Reply:
        wanted = request.headers["range"].removeprefix("bytes=").partition("-")
        start, stop = int(wanted[0]), int(wanted[2]) + 1
        return answer(TEN[start:stop], 206, ETag='"1"', Content_Range=f"bytes {start}-{stop - 1}/10")

    stores: list[Apart] = []

    def apart(clock: Any) -> Apart:
        stores.append(Apart(tmp_path, clock))
        return stores[0]

    async with stage(family, far_side, pipeline=cached(store=apart)) as on:
        for wanted in ("0-2", "7-9"):
            assert (await on.client.get(URL, headers={"Range": f"bytes={wanted}"})).status_code == 206
        (store,) = stores
        store.opened = 0
        store.hangs_at = 2
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(on.client.get, URL)
            await anyio.wait_all_tasks_blocked()
            assert store.reading == 2
            tasks.cancel_scope.cancel()
        assert store.reading == 0


class Apart(DirectoryStore):
    """Keeps every body apart, and may hang when the ``hangs_at``-th one since is opened."""

    opened = 0
    hangs_at = 0

    async def put(self, entry: Entry) -> None:
        if not isinstance(entry.body, bytes):
            return await super().put(entry)
        writer = await self.writer()
        await writer.write(entry.body)
        await writer.finish(entry)

    async def read(self, entry: Entry, start: int = 0) -> AsyncGenerator[bytes, None]:
        self.opened += 1
        if self.opened == self.hangs_at:
            self.reading += 1
            try:
                await anyio.sleep_forever()
            finally:
                self.reading -= 1
        async with aclosing(super().read(entry, start)) as pieces:
            async for piece in pieces:
                yield piece


async def test_an_answer_whose_writing_was_cancelled_does_not_survive_a_purge(family: FamilyModules) -> None:
    stores: list[Late] = []

    def late(clock: Any) -> Late:
        stores.append(Late(clock))
        return stores[0]

    async with stage(family, [answer(b"old"), answer(b"new")], pipeline=cached(store=late)) as on:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(on.client.get, URL)
            await anyio.wait_all_tasks_blocked()
            await on.pipeline.purge(url=URL)
            tasks.cancel_scope.cancel()
        stores[0].held = False
        assert (await on.client.get(URL)).content == b"new"


class Late(Remote):
    """A store whose first put is held up; cancelled, it has happened all the same."""

    held = True

    async def put(self, entry: Entry) -> None:
        if self.held:
            try:
                await anyio.sleep_forever()
            finally:
                await self._memory.put(entry)
        await super().put(entry)


# Opening


class Kept(Remote):
    """A store that keeps a secret, and takes its time or fails when it is first used."""

    secret_error: Exception | None = None

    async def secret(self) -> bytes:
        await self._trip()
        if self.secret_error is not None:
            raise self.secret_error
        return bytes(32)


@pytest.mark.parametrize("shared", [False, True])
async def test_a_store_that_is_slow_to_open_is_in_no_trouble(family: FamilyModules, shared: bool) -> None:
    stores: list[Kept] = []

    def opening(clock: Any) -> Kept:
        stores.append(Kept(clock))
        stores[0].delay = 0.4
        return stores[0]

    async with stage(family, lambda n, r: answer(), pipeline=cached(store=opening, shared=shared)) as on:
        for number in range(20):
            began = on.clock.monotonic()
            await on.client.get(f"{URL}/{number}")
            assert on.clock.monotonic() - began <= 0.05 + 1e-6  # K23, for all it is asked together
        stores[0].delay = 0.001  # it is open
        await on.clock.sleep(0.25)
        for cache in ("miss", "hit"):
            assert told(await on.client.get(URL))[1] == cache
        assert on.pipeline.snapshot()["cache"]["store_faults"] == 0


async def test_a_store_that_never_opens_is_in_trouble(family: FamilyModules) -> None:
    stores: list[Kept] = []

    def stuck(clock: Any) -> Kept:
        stores.append(Kept(clock))
        stores[0].delay = 1e9
        return stores[0]

    async with stage(family, lambda n, r: answer(), pipeline=cached(store=stuck)) as on:
        for _ in range(27):
            await on.client.get(URL)
            await on.clock.sleep(0.25)
        asked, began = stores[0].asked, on.clock.monotonic()
        for _ in range(10):
            await on.client.get(URL)
        assert (stores[0].asked, on.clock.monotonic()) == (asked, began)  # it is left alone
        assert on.pipeline.snapshot()["cache"]["store_faults"] >= 3


async def test_calls_that_come_while_a_store_opens_do_not_cost_its_secret(family: FamilyModules) -> None:
    """What they store would be found by nobody."""
    stores: list[Kept] = []

    def opening(clock: Any) -> Kept:
        stores.append(Kept(clock))
        stores[0].delay = 0.4
        return stores[0]

    async with stage(family, lambda n, r: answer(delay=1.0), pipeline=cached(store=opening)) as on:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: on.client.get(URL, headers=ANN))
            await on.clock.sleep(0.5)
            stores[0].delay = 0.001
        (store,) = stores
        assert told(await on.client.get(URL, headers=ANN))[1] == "miss"
        assert told(await on.client.get(URL, headers=ANN))[1] == "hit"
        assert await store.purge(URL) == 1  # and nothing beside it


async def test_the_first_of_two_tiers_goes_on_for_long_while_the_second_cannot_tell_its_secret(
    family: FamilyModules,
) -> None:
    def tiers(clock: Any) -> Store:
        below = Kept(clock)
        below.error = StoreError("down")
        return Tiered(MemoryStore(), below, clock=clock)

    async with stage(family, lambda n, r: answer(), pipeline=cached(store=tiers)) as on:
        for number in range(10):
            for cache in ("miss", "hit"):
                assert told(await on.client.get(f"{URL}/{number}"))[1] == cache
            await on.clock.sleep(0.3)
        await on.clock.sleep(60)
        for cache in ("miss", "hit"):  # nobody knows what became of the old answer below
            assert told(await on.client.get(f"{URL}/1"))[1] == cache
