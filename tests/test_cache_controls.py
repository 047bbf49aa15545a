"""What users decide about the cache, by rule, by request and by hand, and what it tells them."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from holdfast import Cache, CacheRule, MemoryStore, Pipeline, history
from holdfast.core.caching.entry import Entry
from holdfast.stores.base import StoreError
from holdfast.testing import Fails, Reply
from holdfast.testing.scripted import Step
from tests.cache_origin import Resource, answer, status_of, stream, told
from tests.cache_stores import Remote
from tests.scripting import URL, Stage, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
API = "http://api.test"
CACHED: dict[str, Any] = {"cache": Cache()}


def with_rules(**more: Any) -> dict[str, Any]:
    """Settings with one rule for `URL`."""
    return {"cache": Cache(rules={"/things": CacheRule(**more)})}


def options(**given: Any) -> dict[str, Any]:
    return {"holdfast": given}


async def caches(on: Stage, url: str = URL, **request: Any) -> list[str | None]:
    """What the cache said of two requests in a row."""
    return [told(await on.client.get(url, **request))[1] for _ in range(2)]


# Rules


@pytest.mark.parametrize(
    ("rule", "reply", "fresh_for"),
    [
        ({"ttl": 100.0}, answer(Cache_Control=""), 100),
        ({"ttl": 100.0}, answer(Cache_Control="max-age=5"), 100),
        ({"ttl": 5.0}, answer(Cache_Control="max-age=100"), 5),
        ({"ttl": 100.0}, answer(Cache_Control="max-age=5", Age="1000"), 100),
        ({"ttl": 100.0}, answer(Cache_Control="", Expires="0"), 100),
        ({"ttl": 100.0}, answer(Cache_Control="", status=302, Location="/x"), 100),
        ({"ttl": 0.0}, answer(Cache_Control="max-age=100", Age="10"), 0),
        ({"ttl": 100.0}, answer(Cache_Control="no-store"), 0),
        ({"ttl": 100.0}, answer(Cache_Control="no-cache"), 0),
        ({"ttl": 100.0}, answer(Cache_Control="", Vary="*"), 0),
        ({"ttl": 100.0}, answer(Cache_Control="", status=404), 0),
        ({"ttl": 100.0}, answer(Cache_Control="max-age=7", status=404), 7),
        ({"ttl_by_status": {404: 10.0}}, answer(Cache_Control="", status=404), 10),
        ({"ttl_by_status": {404: 10.0}}, answer(Cache_Control="", status=410), 0),
        ({"ttl_by_status": {404: 10.0}}, answer(Cache_Control="max-age=100"), 100),
        ({"ttl_by_status": {503: 10.0}}, answer(Cache_Control="", status=503), 10),
        ({"ttl": 100.0, "ttl_by_status": {301: 10.0}}, answer(Cache_Control="", status=301), 10),
        ({"ttl": 100.0, "ignore": ("cache-control",)}, answer(Cache_Control="private, no-store, no-cache"), 100),
        ({"ignore": ("Cache-Control",)}, answer(Expires="Fri, 15 Jan 2027 08:00:09 GMT"), 9),
        ({"ignore": ("Expires",)}, answer(Cache_Control="", Expires="Fri, 15 Jan 2027 08:00:09 GMT"), 0),
        ({"ignore": ("Age",)}, answer(Cache_Control="max-age=20", Age="10"), 20),
        ({"ignore": ("Date",)}, answer(Cache_Control="max-age=20", Date="Fri, 15 Jan 2027 07:00:00 GMT"), 20),
        ({"ttl": 100.0, "ignore": ("Vary",)}, answer(Cache_Control="", Vary="*"), 100),
        ({"never": True}, answer(), 0),
    ],
    ids=str,
)
async def test_a_rule_knows_better_than_the_answer(
    family: FamilyModules, rule: dict[str, Any], reply: Reply, fresh_for: int
) -> None:
    async with stage(family, [reply], repeat_last=True, retry=None, **with_rules(**rule)) as on:
        await on.client.get(URL)
        for seconds, sends in ((max(fresh_for - 1, 0), 1 if fresh_for else 2), (1, 2 if fresh_for else 3)):
            await on.clock.sleep(seconds)
            again = await on.client.get(URL)
            assert (again.status_code, len(on.script.sent)) == (reply.status, sends)


@pytest.mark.parametrize(
    ("rule", "requests", "sends"),
    [
        ({"ignore": ("Vary",)}, [{"Accept-Language": "de"}, {"Accept-Language": "fr"}], 1),
        ({"key_headers": ("X-Tenant",)}, [{"X-Tenant": "a"}, {"x-tenant": "b"}, {}, {"X-Tenant": "a"}, {}], 3),
        ({"key_headers": ("X-A", "X-B")}, [{"X-A": "1"}, {"X-B": "1"}, {"X-A": "1", "X-B": "1"}], 3),
        ({"ignore": ("Vary",), "key_headers": ("Accept-Language",)}, [{"Accept-Language": a} for a in "abab"], 2),
    ],
    ids=str,
)
async def test_a_rule_says_which_fields_make_another_answer(
    family: FamilyModules, rule: dict[str, Any], requests: list[dict[str, str]], sends: int
) -> None:
    async with stage(family, [answer(Vary="Accept-Language")], repeat_last=True, **with_rules(**rule)) as on:
        for headers in requests:
            await on.client.get(URL, headers={"Accept-Language": "*"} | headers)
        assert len(on.script.sent) == sends
        assert await on.pipeline.purge(url=URL) == sends


async def test_key_headers_divide_what_is_nobodys_and_what_is_somebodys_alike(family: FamilyModules) -> None:
    cookie = answer(b"x", Set_Cookie="session=1")
    async with stage(family, [cookie], repeat_last=True, **with_rules(key_headers=("X-Tenant",))) as on:
        for headers, kept in (({}, False), ({"Authorization": "Bearer ann"}, True)):
            asked = {"X-Tenant": "a", **headers}
            await on.client.get(URL, headers=asked)
            on.client.cookies.clear()  # a cookie that the client sends would be a credential
            again = await on.client.get(URL, headers=asked)
            on.client.cookies.clear()
            # Many callers without a credential share an entry, and none is given another's session.
            assert (told(again)[1], "set-cookie" in again.headers) == ("hit", kept)
        other = await on.client.get(URL, headers={"X-Tenant": "a", "Authorization": "Bearer bob"})
        assert told(other)[1] == "miss"


async def test_the_value_of_a_key_header_is_not_written_down(family: FamilyModules) -> None:
    written: list[str] = []

    class Noting(MemoryStore):
        async def put(self, entry: Entry) -> None:
            written.append(repr(entry))
            await super().put(entry)

    rules = {"/things": CacheRule(key_headers=("X-Token",))}
    async with stage(family, [answer()], cache=Cache(store=Noting(), rules=rules)) as on:
        assert await caches(on, headers={"X-Token": "s3cret"}) == ["miss", "hit"]
        assert len(written) == 1
        assert "s3cret" not in written[0]


async def test_an_ignored_set_cookie_is_not_given_again(family: FamilyModules) -> None:
    ann = {"Authorization": "Bearer ann"}
    async with stage(family, [answer(Set_Cookie="a=1")], **with_rules(ignore=("Set-Cookie",))) as on:
        assert "set-cookie" in (await on.client.get(URL, headers=ann)).headers
        on.client.cookies.clear()
        again = await on.client.get(URL, headers=ann)
        assert (told(again)[1], "set-cookie" in again.headers) == ("hit", False)


async def test_what_is_ignored_is_still_shown(family: FamilyModules) -> None:
    rule = {"ttl": 60.0, "ignore": ("Cache-Control", "Expires")}
    async with stage(family, [answer(Cache_Control="no-store", Expires="0")], **with_rules(**rule)) as on:
        await on.client.get(URL)
        again = await on.client.get(URL)
        assert (again.headers["cache-control"], again.headers["expires"]) == ("no-store", "0")


async def test_query_parameters_that_mean_nothing_make_no_other_entry_and_are_purged_with_it(
    family: FamilyModules,
) -> None:
    resource = Resource()
    async with stage(family, resource, **with_rules(ignore_query=("utm_source", "ref"))) as on:
        for query in ("?utm_source=a&page=1", "?page=1&ref=b", "?page=1"):
            assert (await on.client.get(f"{URL}{query}")).content == b"version 1"
        assert str(on.script.sent[0]) == "GET /things?utm_source=a&page=1"  # what is sent stays as it is
        assert len(on.script.sent) == 1
        await on.client.get(f"{URL}?page=2")
        assert await on.pipeline.purge(url=f"{URL}?ref=c&page=1") == 1
        await on.client.get(f"{URL}?page=1")
        await on.client.put(f"{URL}?page=1&utm_source=d")
        assert told(await on.client.get(f"{URL}?page=1"))[1] == "miss"
        assert told(await on.client.get(f"{URL}?page=2"))[1] == "hit"


async def test_a_rule_is_found_by_operation_by_template_and_by_url_and_by_nothing_else(family: FamilyModules) -> None:
    rules = {"Users.get": CacheRule(ttl=5.0), "/users/{id}": CacheRule(ttl=50.0)}
    lifetimes: list[int] = []
    async with stage(family, lambda number, request: answer(Cache_Control=""), cache=Cache(rules=rules)) as on:
        for path, given in (
            ("/users/1", {}),
            ("/users/2", {"operation": "Users.get", "template": "/users/{id}"}),
            ("/users/3", {"operation": "Users.getAll"}),
            ("/v1/users/4", {"template": "/users/{id}"}),
            ("/superusers/5", {}),
            ("/users/6/posts", {}),
            ("/users", {}),
        ):
            await on.client.get(API + path, extensions=options(**given))
            again = await on.client.get(API + path)
            lifetimes.append(again.extensions["holdfast"]["cache_status"].get("ttl", 0))
    assert lifetimes == [50, 5, 50, 50, 0, 0, 0]


@pytest.mark.parametrize(
    ("rule", "option", "fresh_for"),
    [
        (CacheRule(ttl=50.0), {"ttl": 5}, 5),
        (CacheRule(ttl=5.0), {"ttl": 50}, 50),
        (CacheRule(ttl_by_status={200: 5.0}), {"ttl": 50.0}, 50),
        (CacheRule(ttl=50.0), {"ttl": 0}, 0),
        (CacheRule(ignore=("Cache-Control",)), {"ttl": 50}, 50),
        (CacheRule(never=True), {"ttl": 50}, 0),
        (CacheRule(ttl=50.0), "bypass", 0),
        (CacheRule(ttl=50.0), "refresh", 50),
        (None, {"ttl": 50}, 0),
    ],
    ids=str,
)
async def test_the_request_goes_before_the_rule_and_that_before_the_answer(
    family: FamilyModules, rule: CacheRule | None, option: Any, fresh_for: int
) -> None:
    rules = None if rule is None else {"/things": rule}
    reply = answer(Cache_Control="max-age=20" if rule is not None and not rule.ignore else "no-store", Age="3")
    async with stage(family, [reply, reply], cache=Cache(rules=rules)) as on:
        await on.client.get(URL, extensions=options(cache=option))
        again = (await on.client.get(URL, extensions=options(cache="only"))).extensions["holdfast"]["cache_status"]
        assert again.get("ttl", 0) == fresh_for


@pytest.mark.parametrize("option", [{"ttl": 404.0}, "refresh"])
async def test_a_negative_answer_is_not_prolonged_by_the_request(family: FamilyModules, option: Any) -> None:
    reply = answer(Cache_Control="", status=404)
    async with stage(family, [reply], **with_rules(ttl_by_status={404: 10.0})) as on:
        await on.client.get(URL, extensions=options(cache=option))
        assert (await on.client.get(URL)).extensions["holdfast"]["cache_status"]["ttl"] == 10


async def test_never_sends_nothing_where_only_the_stored_is_wanted(family: FamilyModules) -> None:
    async with stage(family, [], **with_rules(never=True)) as on:
        assert (await on.client.get(URL, extensions=options(cache="only"))).status_code == 504
        assert (await on.client.get(URL, headers={"Cache-Control": "only-if-cached"})).status_code == 504
        assert (await on.client.post(URL, extensions=options(cache="only"))).status_code == 504


@pytest.mark.parametrize(
    "wrong",
    [
        {"operation": ""},
        {"template": 1},
        {"cache_groups": "users"},
        {"invalidates": ("",)},
        {"cache": {"ttl": -1}},
        {"cache": {"ttl": float("inf")}},
        {"cache": {"ttl": float("nan")}},
        {"cache": {"ttl": True}},
        {"cache": {}},
        {"cache": "never"},
    ],
    ids=str,
)
async def test_an_option_that_is_none_is_refused(family: FamilyModules, wrong: dict[str, Any]) -> None:
    from holdfast import InvalidOption

    async with stage(family, [], **CACHED) as on:
        with pytest.raises(InvalidOption, match=next(iter(wrong))):
            await on.client.get(URL, extensions=options(**wrong))


# Groups. RFC 9875

OTHER = "http://other.test/users"


def grouped(number: int, request: Any) -> Reply:
    """A GET is in two groups by its field; a change says what its query says."""
    if request.method == "GET":
        return answer(b"%d" % number, Cache_Groups='"users", "all";x=1')
    said = dict(request.url.params)
    headers = {"Cache-Group-Invalidation": said["says"]} if "says" in said else {}
    return Reply(int(said.get("status", 204)), headers=headers)


@pytest.mark.parametrize(
    ("method", "query", "given", "gone"),
    [
        ("POST", '?says="users"', {}, True),
        ("POST", '?says="x", "all"', {}, True),
        ("DELETE", '?says="users"&status=302', {}, True),
        ("POST", '?says="Users"', {}, False),
        ("POST", "?says=users", {}, False),
        ("POST", '?says="users"&status=409', {}, True),
        ("POST", '?says="x"&status=409', {"invalidates": ("users",)}, False),
        ("OPTIONS", '?says="users"', {}, False),
        ("POST", "", {"invalidates": ("users",)}, True),
        ("POST", "", {"invalidates": ["all", "x"]}, True),
        ("POST", "?status=409", {"invalidates": ("users",)}, False),
        ("POST", "", {"cache_groups": ("users",)}, False),
        ("POST", "", {}, False),
    ],
)
async def test_a_change_invalidates_the_groups_of_its_own_origin(
    family: FamilyModules, method: str, query: str, given: dict[str, Any], gone: bool
) -> None:
    async with stage(family, grouped, retry=None, **CACHED) as on:
        for url in (f"{API}/users", f"{API}/users/1", OTHER):
            await on.client.get(url)
        await on.client.request(method, f"{API}/elsewhere{query}", extensions=options(**given))
        left = [told(await on.client.get(url))[1] == "hit" for url in (f"{API}/users", f"{API}/users/1", OTHER)]
        assert left == [not gone, not gone, True]


@pytest.mark.parametrize("by", ["option", "rule", "operation rule"])
async def test_an_accessor_says_the_groups_where_the_origin_does_not(family: FamilyModules, by: str) -> None:
    rules = {
        "option": {},
        "rule": {
            "/users": CacheRule(groups=("users",), invalidates=("users",)),
            "/users/{id}": CacheRule(groups=("users",)),
        },
        "operation rule": {
            "Users.list": CacheRule(groups=("users",)),
            "Users.get": CacheRule(groups=("users",)),
            "Users.create": CacheRule(invalidates=("users",)),
        },
    }[by]
    read = {"cache_groups": ("users",)} if by == "option" else {}
    change = {"invalidates": ("users",)} if by == "option" else {}
    async with stage(family, Resource(), cache=Cache(rules=rules)) as on:

        async def get(path: str, operation: str) -> Any:
            return await on.client.get(API + path, extensions=options(operation=operation, **read))

        for path, operation in (("/users?page=2", "Users.list"), ("/users/1", "Users.get"), ("/groups", "Groups.list")):
            await on.client.get(API + path) if operation == "Groups.list" else await get(path, operation)
        await on.client.post(f"{API}/users", extensions=options(operation="Users.create", **change))
        assert (await get("/users?page=2", "Users.list")).content == b"version 2"
        assert (await get("/users/1", "Users.get")).content == b"version 2"
        assert told(await on.client.get(f"{API}/groups"))[1] == "hit"


async def test_a_change_of_which_nobody_knows_whether_it_happened_invalidates_too(family: FamilyModules) -> None:
    steps: list[Step] = [answer(b"old"), Fails("ReadError"), answer(b"new")]
    async with stage(family, steps, retry=None, **CACHED) as on:
        await on.client.get(URL, extensions=options(cache_groups=("things",)))
        with pytest.raises(family.http.ReadError):
            await on.client.post(f"{API}/elsewhere", extensions=options(invalidates=("things",)))
        assert (await on.client.get(URL)).content == b"new"


async def test_a_validated_answer_stays_in_its_groups(family: FamilyModules) -> None:
    async with stage(family, Resource(headers={"Cache-Control": "max-age=1"}), **CACHED) as on:
        await on.client.get(URL, extensions=options(cache_groups=("things",), operation="Things.get"))
        await on.clock.sleep(2)
        assert told(await on.client.get(URL))[1] == "revalidated"
        assert await on.pipeline.purge(group="things") == 1


# Purges

PURGES: list[dict[str, str]] = [
    {"url": URL},
    {"prefix": f"{API}/thi"},
    {"group": "things"},
    {"operation": "Things.get"},
]
TAGGED = options(cache_groups=("things",), operation="Things.get")


@pytest.mark.parametrize("what", PURGES, ids=str)
async def test_a_purge_removes_what_it_names_for_everybody(family: FamilyModules, what: dict[str, str]) -> None:
    resource = Resource()
    async with stage(family, resource, **CACHED) as on:
        for who in ({}, {"Authorization": "Bearer ann"}, {"Authorization": "Bearer bob"}):
            await on.client.get(URL, headers=who, extensions=TAGGED)
        other = {"cache_groups": ("other",), "operation": "Things.getAll"}
        await on.client.get(f"{API}/other", extensions=options(**other))
        assert await on.pipeline.purge(**what) == 3
        assert await on.pipeline.purge(**what) == 0
        assert await caches(on, extensions=TAGGED) == ["miss", "hit"]
        assert told(await on.client.get(f"{API}/other"))[1] == "hit"


async def test_a_purge_by_hand_reaches_a_group_in_all_origins(family: FamilyModules) -> None:
    async with stage(family, grouped, **CACHED) as on:
        await on.client.get(f"{API}/users")
        await on.client.get(OTHER)
        assert await on.pipeline.purge(group="users") == 2


@pytest.mark.parametrize("reply", [answer(delay=1.0), stream(b"on", b"e", every=0.5)], ids=["buffered", "streamed"])
@pytest.mark.parametrize("what", PURGES, ids=str)
async def test_what_is_under_way_while_it_is_purged_is_neither_stored_nor_shared(
    family: FamilyModules, what: dict[str, str], reply: Reply
) -> None:
    async with stage(family, [reply, reply, answer(), answer(), answer()], **CACHED) as on:
        late: list[Any] = []

        async def come_late() -> None:
            await on.clock.sleep(0.6)
            late.append(await on.client.get(URL, extensions=TAGGED))

        async with anyio.create_task_group() as group:
            group.start_soon(lambda: on.client.get(URL, extensions=TAGGED))
            await on.clock.sleep(0.3)
            assert await on.pipeline.purge(**what) == 0
            group.start_soon(come_late)
        # Who came after the purge was not given what was asked for before it.
        assert told(late[0]) == ("origin", "miss")
        await on.pipeline.purge(url=URL)
        assert await caches(on, extensions=TAGGED) == ["miss", "hit"]


@pytest.mark.parametrize("what", [{"prefix": f"{API}/other"}, {"group": "other"}, {"operation": "Other.get"}], ids=str)
async def test_what_is_under_way_outside_a_purge_is_stored(family: FamilyModules, what: dict[str, str]) -> None:
    async with stage(family, [answer(delay=1.0)], **CACHED) as on:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: on.client.get(URL, extensions=TAGGED))
            await on.clock.sleep(0.5)
            await on.pipeline.purge(**what)
        assert told(await on.client.get(URL))[1] == "hit"


async def test_what_is_purged_besides_is_not_remembered_for_ever_nor_forgotten_wrongly(family: FamilyModules) -> None:
    async with stage(family, [answer(delay=1.0), answer()], **CACHED) as on:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: on.client.get(URL, extensions=TAGGED))
            await on.clock.sleep(0.5)
            for number in range(2000):
                what = {"url": f"{API}/{number}"}, {"prefix": f"{API}/{number}/"}, {"group": str(number)}
                await on.pipeline.purge(**what[number % 3])
        # More than is remembered, so this one may have been among them: it is fetched again, once.
        assert await caches(on) == ["miss", "hit"]


class Near(MemoryStore):
    """Answers at once, and removes nothing while there is an ``error``."""

    error: Exception | None = None

    def __init__(self, clock: object) -> None:
        super().__init__()

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error

    async def purge(self, url: str) -> int:
        self._fail()
        return await super().purge(url)

    async def purge_prefix(self, prefix: str) -> int:
        self._fail()
        return await super().purge_prefix(prefix)

    async def purge_tag(self, tag: str) -> int:
        self._fail()
        return await super().purge_tag(tag)


@pytest.mark.parametrize("make", [Remote, Near])
@pytest.mark.parametrize("what", PURGES, ids=str)
async def test_a_purge_that_the_store_failed_is_made_up_for_before_anything_is_believed(
    family: FamilyModules, what: dict[str, str], make: type[Remote | Near]
) -> None:
    stores: list[Remote | Near] = []

    def pipeline(clock: Any) -> Pipeline:
        stores.append(make(clock))
        return Pipeline(clock=clock, cache=Cache(store=stores[0]))

    async with stage(family, Resource(), pipeline=pipeline) as on:
        (store,) = stores
        await on.client.get(URL, extensions=TAGGED)
        store.error = StoreError("down")
        assert await on.pipeline.purge(**what) == 0
        store.error = None
        assert await caches(on) == ["miss", "hit"]


async def test_a_purge_that_is_owed_is_tried_again_though_nobody_asks_for_what_it_removes(
    family: FamilyModules,
) -> None:
    class Full(Remote):
        """Reads, and removes nothing while its disk is full."""

        full = False

        async def purge(self, url: str) -> int:
            tried.append(on.clock.monotonic())
            if self.full:
                raise StoreError("database or disk is full")
            return await super().purge(url)

    stores: list[Full] = []
    tried: list[float] = []

    def pipeline(clock: Any) -> Pipeline:
        stores.append(Full(clock))
        return Pipeline(clock=clock, cache=Cache(store=stores[0]))

    async with stage(family, Resource(), pipeline=pipeline) as on:
        (store,) = stores
        await on.client.get(URL)
        await on.client.get(f"{API}/else")
        store.full = True
        for url in (URL, f"{API}/more"):
            await on.pipeline.purge(url=url)
        began, tried = on.clock.monotonic(), []
        for second in range(0, 54, 6):
            store.full = second < 40
            await on.clock.sleep(began + second - on.clock.monotonic())
            assert (await caches(on, url=f"{API}/else"))[1] == "hit"
        assert [round(at - began) for at in tried] == [0, 6, 12, 18, 30, 48, 48]
        assert await caches(on) == ["miss", "hit"]
        assert len(tried) == 7


async def test_a_purge_that_is_cancelled_is_made_up_for(family: FamilyModules) -> None:
    stores: list[Remote] = []

    def pipeline(clock: Any) -> Pipeline:
        stores.append(Remote(clock))
        return Pipeline(clock=clock, cache=Cache(store=stores[0]))

    async with stage(family, Resource(), pipeline=pipeline) as on:
        (store,) = stores
        await on.client.get(URL, extensions=TAGGED)
        store.delay = 0.5  # a purge of many answers may take longer than a look-up
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: on.pipeline.purge(group="things"))
                await on.clock.sleep(0.1)
                scope.cancel()
        assert await on.pipeline.purge(prefix=f"{API}/else") == 0
        store.delay = 0.001
        assert await caches(on) == ["miss", "hit"]


async def test_a_purge_takes_one_of_its_arguments_and_a_cache(family: FamilyModules) -> None:
    async with stage(family, [], **CACHED) as on:
        with pytest.raises(ValueError, match="one of url, prefix, group and operation, got none"):
            await on.pipeline.purge()
        with pytest.raises(ValueError, match="got url, group"):
            await on.pipeline.purge(url=URL, group="things")
        with pytest.raises(ValueError, match="absolute"):
            await on.pipeline.purge(prefix="/things")
    with pytest.raises(ValueError, match="no cache"):
        await Pipeline().purge(url=URL)
    with pytest.raises(ValueError, match="none of these"):
        await Pipeline.by_origin({API: Pipeline()}).purge(url=URL)


@pytest.mark.parametrize("what", PURGES, ids=str)
async def test_pipelines_are_purged_together_and_tell_of_their_caches_apart(
    family: FamilyModules, what: dict[str, str]
) -> None:
    def pipelines(clock: Any) -> Any:
        def made(**settings: Any) -> Pipeline:
            return Pipeline(clock=clock, **settings)

        return Pipeline.by_origin(
            {API: made(cache=Cache()), f"{API}/v2": made(cache=Cache()), "http://plain.test": made()},
            default=made(cache=Cache()),
        )

    async with stage(family, Resource(), pipeline=pipelines) as on:
        for url in (URL, f"{API}/v2/things", "http://else.test/things", "http://plain.test/things"):
            await on.client.get(url, extensions=TAGGED)
        expected = 1 if {"url", "prefix"} & what.keys() else 3
        assert await on.pipeline.purge(**what) == expected
        told_of = on.pipeline.snapshot()["cache"]
        assert {name: counts["misses"] for name, counts in told_of.items()} == {API: 1, f"{API}/v2": 1, "default": 1}
        assert sum(counts["entries"] for counts in told_of.values()) == 3 - expected


# What is told


async def test_the_counts_add_up(family: FamilyModules) -> None:
    async with stage(family, Resource(delay=0.1), **CACHED) as on:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(lambda: on.client.get(URL))
        for option in (None, "bypass", "refresh", "only"):
            await on.client.get(URL, extensions=options(cache=option))
        await on.clock.sleep(61)
        await on.client.get(URL, headers={"Cache-Control": "max-stale"})
        await on.client.get(URL, extensions=options(cache="only"))
        await on.client.get(f"{API}/other", extensions=options(cache="only"))
        await on.client.get(URL)
        await on.client.put(f"{API}/other")
        counts = on.pipeline.snapshot()["cache"]
        assert counts.pop("bytes") == pytest.approx(600, abs=300)
        assert counts == {
            "hits": 3,
            "stale": 1,
            "instead_of_error": 0,
            "offline": 0,
            "misses": 1,
            "revalidated": 2,
            "collapsed": 2,
            "bypassed": 2,
            "unsatisfied": 2,
            "stored": 3,
            "failed_refreshes": 0,
            "store_faults": 0,
            "fetching": 0,
            "entries": 1,
        }


async def test_a_store_that_would_have_to_be_asked_is_not_counted(family: FamilyModules) -> None:
    clocks: list[Any] = []

    def pipeline(clock: Any) -> Pipeline:
        clocks.append(clock)
        return Pipeline(clock=clock, cache=Cache(store=Remote(clock)))

    async with stage(family, Resource(), pipeline=pipeline) as on:
        await on.client.get(URL)
        assert {"entries", "bytes"}.isdisjoint(on.pipeline.snapshot()["cache"])


@pytest.mark.parametrize(
    ("first", "after", "method", "request_", "member"),
    [
        (None, 0, "GET", {}, "fwd=uri-miss; stored"),
        (answer(), 0, "GET", {}, "hit; ttl=60"),
        (answer(), 7, "HEAD", {}, "hit; ttl=53"),
        (answer(), 70, "GET", {"headers": {"Cache-Control": "max-stale"}}, "hit; ttl=-10"),
        (answer(), 70, "GET", {}, "fwd=stale; stored"),
        (answer(ETag='"1"'), 70, "GET", {}, "fwd=stale; fwd-status=304; stored"),
        (answer(ETag='"1"'), 0, "GET", {"extensions": options(cache="refresh")}, "fwd=request; fwd-status=304; stored"),
        (answer(), 0, "GET", {"headers": {"Cache-Control": "no-cache"}}, "fwd=request; stored"),
        (answer(Vary="Accept"), 0, "GET", {"headers": {"Accept": "x"}}, "fwd=vary-miss; stored"),
        (answer(), 0, "GET", {"headers": {"Cache-Control": "no-store"}}, "fwd=request"),
        (answer(), 0, "GET", {"extensions": options(cache="bypass")}, "fwd=bypass"),
        (answer(), 0, "GET", {"headers": {"Host": "other.test"}}, 'fwd=bypass; detail="host"'),
        (answer(), 0, "GET", {"extensions": {"target": b"/x"}}, 'fwd=bypass; detail="target"'),
        (answer(), 0, "POST", {}, "fwd=method"),
        (answer(), 0, "OPTIONS", {}, "fwd=method"),
        (None, 0, "GET", {"extensions": options(cache="only")}, 'detail="only-if-cached"'),
    ],
    ids=str,
)
async def test_every_response_says_what_the_cache_did(
    family: FamilyModules, first: Reply | None, after: float, method: str, request_: dict[str, Any], member: str
) -> None:
    def far_side(number: int, request: Any) -> Reply:
        if "if-none-match" in request.headers:
            return Reply(304, headers={"ETag": request.headers["if-none-match"]})
        return first or answer()

    async with stage(family, far_side, **CACHED) as on:
        if first is not None:
            await on.client.get(URL)
        await on.clock.sleep(after)
        response = await on.client.request(method, URL, **request_)
        assert status_of(response) == f"holdfast; {member}"
        # The same as data, and typed.
        record = response.extensions["holdfast"]["cache_status"]
        assert ["=".join(part) for part in ((k, str(v)) if v is not True else (k,) for k, v in record.items())] == [
            part.replace('"', "") for part in member.split("; ")
        ]
        assert history(response).cache_status == record


@pytest.mark.parametrize(
    ("reply", "settings", "detail"),
    [
        (answer(Cache_Control="no-store"), {}, "no-store"),
        (answer(Vary="*"), {}, "vary"),
        (answer(Cache_Control="private"), {"shared": True}, "private"),
        (answer(status=500, Cache_Control=""), {}, "status"),
        (answer(Cache_Control="max-age=0"), {}, "no lifetime and no validator"),
        (answer(b"x" * 100), {"max_entry_bytes": 99}, "too long"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_answer_that_is_not_stored_says_why(
    family: FamilyModules, reply: Reply, settings: dict[str, Any], detail: str
) -> None:
    async with stage(family, [reply], retry=None, cache=Cache(**settings)) as on:
        response = await on.client.get(URL)
        assert status_of(response) == f'holdfast; fwd=uri-miss; detail="{detail}"'


async def test_a_rule_and_a_signer_keep_the_cache_out_and_say_so(family: FamilyModules) -> None:
    async with stage(family, [answer()], **with_rules(never=True)) as on:
        assert status_of(await on.client.get(URL)) == 'holdfast; fwd=bypass; detail="rule"'
    async with stage(family, [answer()], hooks=[lambda request, attempt: None], **CACHED) as on:
        assert status_of(await on.client.get(URL)) == 'holdfast; fwd=bypass; detail="signed by a hook"'


async def test_without_a_cache_nothing_is_said_of_one(family: FamilyModules) -> None:
    async with stage(family, [answer()]) as on:
        response = await on.client.get(URL)
        assert "cache-status" not in response.headers
        assert history(response).cache_status is None


# Rows 29 to 31 of the patterns


@pytest.mark.parametrize("rule", [{}, {"ttl": 600.0, "ignore": ("Cache-Control", "Vary")}], ids=["plain", "rule"])
async def test_a_user_never_sees_the_answer_of_another(family: FamilyModules, rule: dict[str, Any]) -> None:
    def mine(number: int, request: Any) -> Reply:
        return answer(request.headers["authorization"].encode(), Cache_Control="max-age=60")

    async with stage(family, mine, **with_rules(**rule)) as on:
        for _ in range(2):
            for who in ("ann", "bob"):
                response = await on.client.get(URL, headers={"Authorization": who})
                assert response.content == who.encode()
        assert len(on.script.sent) == 2


@pytest.mark.parametrize("body", [b"", b"0", b"[]", b"null", b"false", b'""'])
async def test_an_answer_that_looks_like_nothing_is_an_answer(family: FamilyModules, body: bytes) -> None:
    async with stage(family, [answer(body)], **CACHED) as on:
        assert await caches(on) == ["miss", "hit"]
        assert (await on.client.get(URL)).content == body


async def test_fifty_callers_of_an_operation_make_one_request_in_each_lifetime(family: FamilyModules) -> None:
    async with stage(family, [answer(Cache_Control="", delay=0.2)] * 2, **with_rules(ttl=10.0)) as on:
        for _ in range(2):
            async with anyio.create_task_group() as group:
                for _ in range(50):
                    group.start_soon(lambda: on.client.get(URL))
            await on.clock.sleep(11)
        assert len(on.script.sent) == 2


async def test_a_304_for_what_was_evicted_meanwhile_still_brings_the_body(family: FamilyModules) -> None:
    store = MemoryStore()
    async with stage(family, Resource(delay=1.0), cache=Cache(store=store)) as on:
        await on.client.get(URL)
        await on.clock.sleep(60)
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await on.client.get(URL))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await on.clock.sleep(0.5)
            await store.clear()
        assert (answers[0].status_code, answers[0].content) == (200, b"version 1")
        await store.clear()
        # And with nothing stored there is nothing to validate: no condition is sent, and the body comes.
        assert (await on.client.get(URL)).content == b"version 1"


async def test_a_conditional_change_goes_to_the_origin_as_it_is_and_a_412_removes_nothing(
    family: FamilyModules,
) -> None:
    weak = answer(b"one", ETag='W/"1"')
    async with stage(family, [weak, Reply(412), Reply(204), weak], **CACHED) as on:
        await on.client.get(URL)
        refused = await on.client.put(URL, headers={"If-Match": 'W/"1"'})
        assert (refused.status_code, told(await on.client.get(URL))[1]) == (412, "hit")
        await on.client.put(URL)
        # A validator of ours, weak or strong, is never put into a change.
        assert b"if-match" not in {name.lower() for name, _ in on.script.sent[-1].headers}
        asked = await on.client.get(URL, headers={"If-Match": 'W/"1"'})
        assert (told(asked)[1], dict(on.script.sent[-1].headers)[b"If-Match"]) == ("bypass", b'W/"1"')
