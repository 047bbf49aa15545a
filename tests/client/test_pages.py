"""A listing is read to its end and no further, whatever its pages look like; one by one or several at once."""

from __future__ import annotations

import gc
import json
import pickle
import tracemalloc
from collections.abc import AsyncIterable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import anyio
import anyio.lowlevel
import pytest

import holdfast
from holdfast import Fallback, RateLimit, RateLimited
from holdfast.client import Pages, Progress, by_cursor, by_link, by_offset, by_page, by_url, resume_token
from holdfast.client.pages import Changes
from holdfast.core.query import Query
from holdfast.errors import DecodeError, ForeignOrigin, InvalidInput, NotFound, PageLoop, ServerFault, TooManyPages
from holdfast.testing.scripted import Reply
from tests.client.api import BASE, Shop, Stage, document, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

PAGES = [[1, 2], [], [3], [4, 5]]
"""Of a server with a short page and an empty one in the middle."""


def number_of(request: Any, name: str = "page", default: int = 1) -> int:
    return int(request.url.params.get(name, default))


def linked(number: int, request: Any) -> Reply:
    page = number_of(request)
    nxt, last = f"<{BASE}/things?page={page + 1}>; rel=next", f'<?page={len(PAGES)}>; rel="last"'
    return document(PAGES[page - 1], link=f"{nxt}, {last}" if page < len(PAGES) else "")


def with_url(number: int, request: Any) -> Reply:
    page = number_of(request)
    following = f"/v1/things?page={page + 1}" if page < len(PAGES) else None
    return document({"items": PAGES[page - 1], "meta": {"next": following}})


def with_cursor(number: int, request: Any) -> Reply:
    page = number_of(request, "cursor")
    return document({"items": PAGES[page - 1], "next": page + 1 if page < len(PAGES) else None, "total": 5})


def with_offset(number: int, request: Any) -> Reply:
    """Gives two at most, whatever was asked for."""
    offset = number_of(request, "offset", 0)
    return document({"items": [1, 2, 3, 4, 5][offset : offset + 2], "total": 5})


def with_search(number: int, request: Any) -> Reply:
    """By POST, with a cursor of several parts in the body."""
    asked = json.loads(request.content)
    assert asked["filter"] == {"role": "admin", "a": 1}
    page = asked["page"].get("after", [1])[0]
    following = [page + 1, "x"] if page < len(PAGES) else None
    return document({"items": PAGES[page - 1], "next": following})


def with_number(number: int, request: Any) -> Reply:
    return document({"items": PAGES[number_of(request) - 1], "pages": len(PAGES)})


def until_empty(number: int, request: Any) -> Reply:
    return document({"items": [[1, 2], [3], [4, 5], []][number_of(request) - 1]})


Script = Callable[[int, Any], Reply]
KINDS = [
    (linked, by_link(), None),
    (with_url, by_url("meta.next"), "items"),
    (with_cursor, by_cursor("next"), "items"),
    (with_offset, by_offset(100, total="total"), "items"),
    (with_number, by_page(pages="pages"), "items"),
    (until_empty, by_page(until_empty=True), "items"),
]
KIND = pytest.mark.parametrize(("script", "rule", "unwrap"), KINDS, ids=[each[0].__name__ for each in KINDS])


def listing(s: Stage, rule: Any, unwrap: str | None = None, **settings: Any) -> Pages[int]:
    return s.shop.GET("/things", list[int], unwrap=unwrap).pages(rule, **settings)


async def read_into(found: list[int], items: AsyncIterable[int]) -> None:
    async for item in items:
        found.append(item)  # noqa: PERF401  # what came before an error counts


@KIND
async def test_a_listing_is_read_to_its_end(family: FamilyModules, script: Script, rule: Any, unwrap: str) -> None:
    async with stage(family, script) as s:
        pages = listing(s, rule, unwrap)
        assert s.urls == []
        assert [each async for each in pages] == [1, 2, 3, 4, 5]
        sent = [*s.urls]
        assert len(sent) == len(set(sent))
        for other in (pages, pages.using(prefetch=1), pages.parallel(limit=3)):
            assert await other.collect(limit=100) == [1, 2, 3, 4, 5]
        assert s.urls[len(sent) : 2 * len(sent)] == sent


@KIND
async def test_each_page_says_where_to_go_on(family: FamilyModules, script: Script, rule: Any, unwrap: str) -> None:
    async with stage(family, script) as s:
        pages = listing(s, rule, unwrap)
        read = [page async for page in pages.pages()]
        assert [page.token is None for page in read] == [page.next is None for page in read]
        assert read[-1].token is None
        for place, page in enumerate(read[:-1]):
            assert isinstance(json.loads(page.token or ""), dict)
            rest = [item for later in read[place + 1 :] for item in later.items]
            assert [item async for item in pages.resume(page.token)] == rest
            assert page.next == read[place + 1].reply.url
        assert [item async for item in pages.resume(None)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("limit", range(7))
async def test_a_limit_is_of_items_and_its_token_is_behind_the_last(family: FamilyModules, limit: int) -> None:
    async with stage(family, linked) as s:
        pages = listing(s, by_link())
        token: str | None = None
        found: list[int] = []
        async for page in pages.limit(limit).pages():
            found += page.items
            token = page.token
        assert found == [1, 2, 3, 4, 5][:limit] == await pages.limit(limit) == await pages.collect(limit=limit)
        assert found == [item async for item in pages.limit(9).limit(limit).parallel(limit=4)]
        if 0 < limit < 5:
            assert found + [item async for item in pages.resume(token)] == [1, 2, 3, 4, 5]
        sent = len(s.urls)
        await pages.limit(limit).using(prefetch=1)
        assert len(s.urls) - sent == [0, 1, 1, 3, 4, 4, 4][limit]


async def test_a_cursor_goes_into_the_body_of_a_search(family: FamilyModules) -> None:
    def bodies() -> list[Any]:
        return [json.loads(request.content) for request in s.requests]

    async with stage(family, with_search) as s:
        body = {"filter": {"role": "admin"}, "page": {"size": 2}}
        call = s.shop.POST("/things", list[int], json=body, unwrap="items", idempotent=True)
        pages = call.pages(by_cursor("next", parameter="page.after", sent_in="body")).using(json={"filter": {"a": 1}})
        read = [page async for page in pages.pages()]
        assert [item for page in read for item in page.items] == [1, 2, 3, 4, 5]
        assert [each["page"] for each in bodies()] == [
            {"size": 2},
            *({"size": 2, "after": [number, "x"]} for number in (2, 3, 4)),
        ]
        assert [page.next for page in read] == [f"{BASE}/things"] * 3 + [None]
        assert [item async for item in pages.resume(read[1].token)] == [3, 4, 5]
        assert await pages.using(prefetch=1).collect(limit=4) == [1, 2, 3, 4]
        with pytest.raises(InvalidInput):  # another search
            _ = pages.using(json={"filter": {"role": "user"}}).resume(read[1].token)


@pytest.mark.parametrize(
    "rule", [by_cursor("next", sent_in="form"), by_page(pages="pages", parameter="cursor", sent_in="form")]
)
async def test_a_cursor_goes_into_the_form_of_a_search(family: FamilyModules, rule: Any) -> None:
    def with_form(number: int, request: Any) -> Reply:
        page = int(parse_qs(request.content.decode()).get("cursor", ["1"])[0])
        following = page + 1 if page < len(PAGES) else None
        return document({"items": PAGES[page - 1], "next": following, "pages": len(PAGES)})

    async with stage(family, with_form) as s:
        form: Query = {"q": "a&b", "tag": ["x", "y"], "cursor": 1}
        call = s.shop.POST("/things", list[int], form=form, unwrap="items", idempotent=True)
        pages = call.pages(rule).using(form={"q": "ö c"})
        read = [page async for page in pages.pages()]
        assert [item for page in read for item in page.items] == [1, 2, 3, 4, 5]
        assert [request.content.decode() for request in s.requests] == [
            f"q=%C3%B6%20c&tag=x&tag=y&cursor={number}" for number in (1, 2, 3, 4)
        ]
        assert {request.headers["content-type"] for request in s.requests} == {"application/x-www-form-urlencoded"}
        assert [item async for item in pages.resume(read[1].token)] == [3, 4, 5]
        assert await pages.using(prefetch=1).collect(limit=4) == [1, 2, 3, 4]
        with pytest.raises(InvalidInput):  # another search
            _ = pages.using(form={"q": "d"}).resume(read[1].token)


async def test_a_search_that_gives_its_cursor_again_is_a_loop(family: FamilyModules) -> None:
    async with stage(family, [document({"items": [1], "next": {"id": 1}})]) as s:
        call = s.shop.POST("/things", list[int], json={}, unwrap="items")
        with pytest.raises(PageLoop) as loop:
            await call.pages(by_cursor("next", sent_in="body")).collect(limit=100)
        assert (loop.value.pages, len(s.urls)) == (2, 2)
    async with stage(family, [document({"items": [1], "next": 1})]) as s:
        call = s.shop.POST("/things", list[int], unwrap="items")
        with pytest.raises(PageLoop):
            await call.pages(by_cursor("next", sent_in="form")).collect(limit=100)
        assert len(s.urls) == 2


async def test_a_listing_without_a_limit_is_no_list(family: FamilyModules) -> None:
    async with stage(family, linked) as s:
        with pytest.raises(InvalidInput, match="limit"):
            await listing(s, by_link())
        assert s.urls == []


async def test_leaving_the_loop_ends_the_requests(family: FamilyModules) -> None:
    async with stage(family, linked) as s:
        async for item in listing(s, by_link()):
            if item == 2:
                break
        assert len(s.urls) == 1


async def test_a_page_may_be_asked_for_before_its_turn(family: FamilyModules) -> None:
    async with stage(family, linked) as s:
        async with aclosing(listing(s, by_link(), prefetch=1).pages()) as reader:
            assert (await reader.__anext__()).items == [1, 2]
            await s.clock.sleep(1)
            assert len(s.urls) == 2
            await s.clock.sleep(1)
            assert len(s.urls) == 2  # one, and no more
        assert len(reader._background or ()) == 0


@pytest.mark.parametrize("leave", ["aclose", "drop", "cancel"])
async def test_nothing_is_left_running(family: FamilyModules, leave: str) -> None:
    """Whoever leaves a listing whose pages are under way takes them along."""

    def slow(number: int, request: Any) -> Reply:
        return replace(linked(number, request), delay=100.0)

    ended: list[BaseException] = []
    async with stage(family, lambda number, request: (linked if number == 1 else slow)(number, request)) as s:

        @s.shop.around_call
        async def watch(request: Any, call_next: Any) -> Any:
            try:
                return await call_next(request)
            except BaseException as error:
                ended.append(error)
                raise

        reader = listing(s, by_link()).parallel(limit=3).pages()
        await reader.__anext__()
        background = reader._background
        assert background is not None
        assert len(background) == 3
        await anyio.wait_all_tasks_blocked()
        match leave:
            case "aclose":
                await reader.aclose()
            case "cancel":
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(reader.__anext__)
                        await anyio.lowlevel.checkpoint()
                        scope.cancel()
            case _:
                del reader
                gc.collect()
                await anyio.lowlevel.checkpoint()
                await anyio.wait_all_tasks_blocked()
        assert len(background) == 0
        assert len(ended) == 3
        assert s.clock.monotonic() < 100


async def test_pages_at_once_come_in_order_and_no_more_than_allowed(family: FamilyModules) -> None:
    waits = {1: 0.0, 2: 3.0, 3: 1.0, 4: 2.0, 5: 0.5, 6: 4.0}
    under_way, most = 0, 0

    def answer(number: int, request: Any) -> Reply:
        page = number_of(request)
        return replace(document({"items": [page * 10, page * 10 + 1], "pages": 6}), delay=waits[page])

    async with stage(family, answer) as s:

        @s.shop.around_call
        async def count(request: Any, call_next: Any) -> Any:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            try:
                return await call_next(request)
            finally:
                under_way -= 1

        found = await listing(s, by_page(pages="pages"), "items").parallel(limit=3).collect(limit=100)
        assert found == [page * 10 + item for page in range(1, 7) for item in (0, 1)]
        assert most == 3
        assert s.clock.monotonic() < sum(waits.values())
        sent = len(s.urls)
        assert await listing(s, by_page(pages="pages"), "items").parallel(limit=5).collect(limit=3) == [10, 11, 20]
        assert len(s.urls) - sent == 2  # no more than are wanted


async def test_a_listing_that_gets_shorter_meanwhile_ends_where_it_says(family: FamilyModules) -> None:
    def shrinking(number: int, request: Any) -> Reply:
        page = number_of(request)
        if page > 2:
            return document({"error": "no such page"}, 404)
        return document({"items": [page], "pages": 9 if page == 1 else 2})

    async with stage(family, shrinking) as s:
        assert await listing(s, by_page(pages="pages"), "items").parallel(limit=3).collect(limit=100) == [1, 2]


async def test_a_listing_that_grows_meanwhile_is_read_to_its_end(family: FamilyModules) -> None:
    def growing(number: int, request: Any) -> Reply:
        return document({"items": [number_of(request)], "pages": 2 if number == 1 else 4})

    async with stage(family, growing) as s:
        assert await listing(s, by_page(pages="pages"), "items").parallel(limit=3).collect(limit=100) == [1, 2, 3, 4]


@pytest.mark.parametrize("prefetch", [0, 1])
async def test_a_page_that_was_read_before_is_a_loop(family: FamilyModules, prefetch: int) -> None:
    answers = [
        document([1], link="<?page=2>; rel=next"),
        document([2], link="<?page=3>; rel=next"),
        document([3], link="<?page=2>; rel=next"),
    ]
    async with stage(family, answers) as s:
        read: list[int] = []
        with pytest.raises(PageLoop) as loop:
            await read_into(read, listing(s, by_link(), prefetch=prefetch))
        assert (read, loop.value.pages, len(s.urls)) == ([1, 2, 3], 3, 3)
        assert isinstance(loop.value, family.http.HTTPError)
        assert pickle.loads(pickle.dumps(loop.value)).pages == 3


async def test_a_cursor_that_comes_back_is_a_loop(family: FamilyModules) -> None:
    async with stage(family, [document({"items": [1], "next": "a"})]) as s:
        with pytest.raises(PageLoop) as loop:
            await listing(s, by_cursor("next"), "items").collect(limit=100)
        assert (loop.value.pages, len(s.urls)) == (2, 2)


async def test_more_pages_than_allowed_are_an_error_and_no_end(family: FamilyModules) -> None:
    async with stage(family, linked) as s:
        read: list[int] = []
        with pytest.raises(TooManyPages) as many:
            await read_into(read, listing(s, by_link(), max_pages=2, prefetch=1))
        assert (read, many.value.max_pages, len(s.urls)) == ([1, 2], 2, 2)
        assert isinstance(many.value, family.http.HTTPError)
        token = resume_token(many.value)
        assert [item async for item in listing(s, by_link()).resume(token)] == [3, 4, 5]
        assert await listing(s, by_link(), max_pages=4).parallel(limit=9).collect(limit=100) == [1, 2, 3, 4, 5]
        with pytest.raises(TooManyPages):
            await listing(s, by_link()).using(max_pages=3).parallel(limit=9).collect(limit=100)


async def test_a_next_page_elsewhere_is_not_asked_for(family: FamilyModules) -> None:
    away = document([1], link="<https://away.test/things?page=2>; rel=next")
    async with stage(family, [away]) as s:
        read: list[int] = []
        with pytest.raises(ForeignOrigin) as foreign:
            await read_into(read, listing(s, by_link(), prefetch=1))
        assert (read, foreign.value.origin, len(s.urls)) == ([1], "https://away.test", 1)
        assert isinstance(foreign.value, family.http.HTTPError)


async def test_a_next_page_at_an_allowed_origin_gets_no_credentials(family: FamilyModules) -> None:
    answers = [document([1], link="<https://away.test/things?page=2>; rel=next"), document([2])]
    settings: dict[str, Any] = {
        "allow_origins": ["https://away.test"],
        "auth": ("user", "hunter2"),
        "base_url": "https://api.test/v1",
        "default_headers": {"X-Api-Key": "hunter2"},
    }
    async with stage(family, answers, **settings) as s:
        call = s.shop.GET("/things", list[int], headers={"X-Signature": "hunter2", "Accept-Language": "fr"})
        assert await call.pages(by_link()).collect(limit=9) == [1, 2]
        home, away = s.requests
        assert {"authorization", "x-api-key", "x-signature"} <= {*home.headers}
        assert "hunter2" not in str(dict(away.headers))
        assert away.headers["accept-language"] == "fr"
        assert not {"authorization", "x-api-key", "x-signature"} & {*away.headers}


@pytest.mark.parametrize(
    ("answer", "path"),
    [
        (document({"items": [1], "next": ["a"]}), "$.next"),
        (document({"items": [1], "next": "ftp://away.test/"}), "$"),
        (document({"items": [1], "next": "http://user:pw@api.test/"}), "$"),
    ],
)
async def test_a_page_that_says_nonsense_of_the_next_one_ends_no_listing(
    family: FamilyModules, answer: Reply, path: str
) -> None:
    async with stage(family, [answer]) as s:
        with pytest.raises(DecodeError) as wrong:
            await listing(s, by_url("next"), "items").collect(limit=9)
        assert wrong.value.path == path
        assert isinstance(wrong.value, family.http.HTTPError)


async def test_a_refusal_in_the_middle_says_where_to_go_on(family: FamilyModules) -> None:
    async with stage(family, with_cursor, pipeline={"rate_limit": RateLimit(2, per=60.0, burst=2, max_wait=0.0)}) as s:
        pages = listing(s, by_cursor("next"), "items")
        found: list[int] = []
        with pytest.raises(RateLimited) as refused:
            await read_into(found, pages)
        assert found == [1, 2]
        token = resume_token(pickle.loads(pickle.dumps(refused.value)))
        assert token == resume_token(refused.value) is not None
        await s.clock.sleep(120)
        found += await pages.resume(token).collect(limit=1)
        assert found == [1, 2, 3]
    assert resume_token(ValueError()) is None


@pytest.mark.parametrize("ahead", ["one by one", "prefetch", "parallel"])
async def test_after_an_error_the_same_page_is_asked_for_again(family: FamilyModules, ahead: str) -> None:
    failed: list[int] = []

    def flaky(number: int, request: Any) -> Reply:
        page = number_of(request)
        if page in (1, 3) and page not in failed:
            failed.append(page)
            return Reply(503)
        return linked(number, request)

    async with stage(family, flaky, pipeline={"retry": None}) as s:
        pages = listing(s, by_link(), prefetch=int(ahead == "prefetch"))
        items = aiter(pages.parallel(limit=3) if ahead == "parallel" else pages)
        found: list[int] = []
        for _ in range(2):
            with pytest.raises(ServerFault):
                await read_into(found, items)
        found += [item async for item in items]
        assert (found, failed) == ([1, 2, 3, 4, 5], [1, 3])


async def test_a_cancelled_step_is_taken_again(family: FamilyModules) -> None:
    def slow(number: int, request: Any) -> Reply:
        return replace(linked(number, request), delay=1.0)

    async with stage(family, slow) as s:
        items = aiter(listing(s, by_link(), prefetch=1))
        found = [await anext(items), await anext(items)]
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(items)
        found += [item async for item in items]
        assert found == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("prefetch", [0, 1])
async def test_a_reader_is_for_one_task(family: FamilyModules, prefetch: int) -> None:
    """As an async generator: two would get an item twice, or none."""

    asked = anyio.Event()

    def slow(number: int, request: Any) -> Reply:
        asked.set()
        return replace(linked(number, request), delay=1.0)

    async with stage(family, slow) as s:
        items = aiter(listing(s, by_link(), prefetch=prefetch))
        found: list[int] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_into, found, items)
            await asked.wait()
            with pytest.raises(RuntimeError, match="two tasks read one listing at once"):
                await anext(items)
        assert found == [1, 2, 3, 4, 5]


async def test_a_token_fits_its_own_listing_alone(family: FamilyModules) -> None:
    async with stage(family, linked) as s:
        pages = listing(s, by_link())
        page = await anext(aiter(pages.pages()))
        others = [
            pages.where(role="admin"),
            s.shop.GET("/others", list[int]).pages(by_link()),
            listing(s, by_cursor("a")),
        ]
        for other in others:
            with pytest.raises(InvalidInput):
                _ = other.resume(page.token)


async def test_a_value_that_stands_in_for_a_page_ends_no_listing(family: FamilyModules) -> None:
    """A whole listing it may stand in for."""
    down: set[int] = set()

    def some(number: int, request: Any) -> Reply:
        return Reply(503) if number_of(request) in down else linked(number, request)

    settings = {"retry": None, "fallback": Fallback(values={"/things": [7]})}
    async with stage(family, some, pipeline=settings) as s:
        down.add(3)
        found: list[int] = []
        with pytest.raises(ServerFault):
            await read_into(found, aiter(listing(s, by_link())))
        assert found == [1, 2]
        down.add(1)
        assert await listing(s, by_link()).collect(limit=9) == [7]
        assert await listing(s, by_cursor("next")).collect(limit=9) == [7]


async def test_progress_is_told_after_each_page(family: FamilyModules) -> None:
    async with stage(family, with_offset) as s:
        told: list[Progress] = []
        await listing(s, by_offset(2, total="total"), "items", on_progress=told.append).collect(limit=100)
        assert told == [Progress(2, 5), Progress(4, 5), Progress(5, 5)]
        told.clear()
        await listing(s, by_offset(2, more="m"), "items").using(on_progress=told.append).collect(limit=100)
        assert told == [Progress(2, None)]


async def test_the_ambient_deadline_holds_for_pages_before_their_turn(family: FamilyModules) -> None:
    def slow(number: int, request: Any) -> Reply:
        return replace(linked(number, request), delay=10.0 * (number - 1))

    async with stage(family, slow) as s:
        with pytest.raises(holdfast.DeadlineExceeded), holdfast.deadline(2.0, clock=s.clock):
            await listing(s, by_link(), prefetch=1).collect(limit=100)
        assert s.clock.monotonic() < 10.0


async def test_a_listing_behind_a_fallback_value_is_refused() -> None:
    call = Shop(BASE).GET("/things", list[int])
    with pytest.raises(InvalidInput, match="or_else"):
        _ = call.or_else([], on=NotFound).pages(by_link())
    with pytest.raises(InvalidInput, match="Idempotency-Key"):  # of which the server would give the first again
        _ = Shop(BASE).POST("/things", list[int], idempotent="key").pages(by_link())
    for rule in (by_cursor("next"), by_page(more="more"), by_offset(2, more="more")):
        with pytest.raises(InvalidInput, match="link"):
            _ = Shop(BASE).GET(f"{BASE}/things?a=1", list[int]).pages(rule)
    for wrong in ({"max_pages": 0}, {"prefetch": 2}):
        with pytest.raises(InvalidInput):
            _ = call.pages(by_link(), **wrong)  # type: ignore[arg-type]
    for limit in (0, -1):
        with pytest.raises(InvalidInput):
            _ = call.pages(by_link()).parallel(limit=limit)
    with pytest.raises(InvalidInput):
        _ = call.pages(by_link()).limit(-1)


async def test_branches_of_one_base_know_nothing_of_each_other(family: FamilyModules) -> None:
    async with stage(family, [document([])]) as s:
        base = s.shop.GET("/things", list[int], query={"a": 1}).pages(by_link())
        one = base.where(role="admin", tag=["x", "y"], gone=None).sort("name", "-created")
        other = base.where({"filter[role]": "user"}).sort()
        for pages in (one, other, base):
            assert await pages.limit(50) == []
        assert s.urls == [
            f"{BASE}/things?a=1&role=admin&tag=x&tag=y&sort=name%2C-created",
            f"{BASE}/things?a=1&filter%5Brole%5D=user",
            f"{BASE}/things?a=1",
        ]


async def test_what_is_changed_goes_with_every_page(family: FamilyModules) -> None:
    async with stage(family, linked) as s:
        await listing(s, by_link()).using(headers={"X-Trace": "1"}, deadline=3.0).collect(limit=100)
        assert [request.headers["x-trace"] for request in s.requests] == ["1"] * 4
        told = [request.extensions["holdfast"] for request in s.requests]
        assert told == [{"operation": "GET /things", "template": "/things", "deadline": 3.0}] * 4


def test_a_listing_changes_what_a_call_does() -> None:
    import inspect

    from holdfast.client import Call

    assert [*Changes.__annotations__] == [*inspect.signature(Call.using).parameters][1:]


@pytest.mark.parametrize("prefetch", [0, 1])
@pytest.mark.parametrize("count", [30, pytest.param(100, marks=pytest.mark.slow)])
async def test_a_long_listing_is_read_at_constant_memory(family: FamilyModules, count: int, prefetch: int) -> None:
    """30,000 items of 100 bytes, or 100,000, 10 MB of them: the peak of each tenth is that of the first."""
    size = 1000
    body = json.dumps(["x" * 100] * size).encode()

    def answer(number: int, request: Any) -> Reply:
        page = number_of(request)
        s.requests.clear()
        s.script.sent.clear()
        return Reply(200, body=body, headers={"link": f"<?page={page + 1}>; rel=next"} if page < count else {})

    async with stage(family, answer) as s:
        peaks: list[int] = []
        read = 0
        gc.collect()
        tracemalloc.start()
        try:
            async for _ in s.shop.GET("/things", list[str]).pages(by_link(), prefetch=prefetch):
                read += 1
                if read % (count // 10 * size) == 0:
                    peaks.append(tracemalloc.get_traced_memory()[1])
                    tracemalloc.reset_peak()
        finally:
            tracemalloc.stop()
        assert read == size * count
        assert max(peaks[1:]) < peaks[0] + 500_000, peaks
