"""Many callers, one URL: how many fetches are made, who waits for whom, and for how long."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import anyio
import pytest

from holdfast import Cache, Closed, DeadlineExceeded
from holdfast.testing import Fails, Hangs, Reply
from tests.cache_origin import MINUTE, Resource, answer, status_of, stream, told
from tests.scripting import URL, Stage, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
CACHED: dict[str, Any] = {"cache": Cache(), "breaker": None}


async def ask_together(
    on: Stage, count: int, *, headers: Any = None, after: float = 0.0, deadline: float | None = None
) -> list[Any]:
    """Responses or exceptions of ``count`` GETs at once, in the order of the callers."""
    outcomes: list[Any] = [None] * count
    extensions = {} if deadline is None else {"holdfast": {"deadline": deadline}}

    async def one(number: int) -> None:
        await on.clock.sleep(after)
        own = headers(number) if callable(headers) else headers
        try:
            outcomes[number] = await on.client.get(URL, headers=own, extensions=extensions)
        except Exception as error:
            outcomes[number] = error

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(one, number)
    return outcomes


@pytest.mark.parametrize(
    "reply", [answer(b"hello", delay=0.2), stream(b"hel", b"lo", delay=0.2, every=0.7)], ids=["buffered", "streamed"]
)
async def test_cold_callers_make_one_fetch(family: FamilyModules, reply: Reply) -> None:
    async with stage(family, [reply], **CACHED) as on:
        responses = await ask_together(on, 50)
        assert {response.content for response in responses} == {b"hello"}
        leader, *followers = sorted(responses, key=lambda response: told(response) != ("origin", "miss"))
        assert {told(response) for response in followers} == {("cache", "collapsed")}
        assert {status_of(response) for response in followers} == {"holdfast; fwd=uri-miss; collapsed"}
        assert all(response.extensions["holdfast"]["waits"]["cache"] >= 0.2 for response in followers)
        assert told(leader) == ("origin", "miss")
        assert (len(on.script.sent), on.pipeline.snapshot()["cache"]["fetching"]) == (1, 0)


async def test_callers_at_expiry_make_one_validation(family: FamilyModules) -> None:
    resource = Resource(delay=0.2)
    async with stage(family, resource, **CACHED) as on:
        await on.client.get(URL)
        responses = await ask_together(on, 100, after=61.0)
        assert {response.content for response in responses} == {b"version 1"}
        assert resource.statuses == [200, 304]
        assert {status_of(response) for response in responses if told(response)[1] == "collapsed"} == {
            "holdfast; fwd=stale; collapsed"
        }


@pytest.mark.parametrize(
    ("reply", "sends"),
    [
        (answer(Cache_Control="no-store", delay=1.0), 20),
        (answer(Cache_Control="no-cache", delay=1.0, ETag='"a"'), 20),
        (answer(status=500, Cache_Control="", delay=1.0), 20),
        (Fails("ReadError", delay=1.0), 20),
        (stream(b"x", delay=1.0, then=Fails("ReadError")), 20),
        (stream(*[b"x" * 50] * 3, delay=1.0), 20),
        (Reply(200, headers={**MINUTE, "Content-Length": "150"}, body=b"x" * 150, delay=1.0), 20),
    ],
    ids=["no-store", "no-cache", "500", "failed", "cut off", "too long", "too long by its word"],
)
async def test_when_the_answer_cannot_be_shared_the_others_go_in_parallel(
    family: FamilyModules, reply: Reply | Fails, sends: int
) -> None:
    async with stage(
        family, [reply], repeat_last=True, retry=None, cache=Cache(max_entry_bytes=100), breaker=None
    ) as on:
        await ask_together(on, 20)
        assert len(on.script.sent) == sends
        assert sorted({round(at) for at in on.times}) == [0, 1]
        assert on.pipeline.snapshot()["cache"]["fetching"] == 0


async def test_followers_of_another_variant_fetch_their_own(family: FamilyModules) -> None:
    def far_side(number: int, request: Any) -> Reply:
        return answer(request.headers["accept-language"].encode(), delay=1.0, Vary="Accept-Language")

    async with stage(family, far_side, **CACHED) as on:
        responses = await ask_together(on, 8, headers=lambda number: {"Accept-Language": "de" if number % 2 else "fr"})
        assert [response.content for response in responses] == [b"de" if number % 2 else b"fr" for number in range(8)]
        assert len(on.script.sent) == 5  # the first, and four of the other tongue, of whom nobody waits for another
        assert max(on.times) == 1.0
        assert {(await on.client.get(URL, headers={"Accept-Language": tongue})).text for tongue in ("de", "fr")} == {
            "de",
            "fr",
        }
        assert len(on.script.sent) == 5


async def test_a_cancelled_leader_hands_the_fetch_to_one_of_the_others(family: FamilyModules) -> None:
    async with stage(family, [Hangs(), answer(b"hello", delay=0.2)], **CACHED) as on:
        responses: list[Any] = []
        async with anyio.create_task_group() as group:
            leader = anyio.CancelScope()

            async def lead() -> None:
                with leader:
                    await on.client.get(URL)

            async def follow() -> None:
                responses.extend(await ask_together(on, 20))

            group.start_soon(lead)
            await on.clock.sleep(0.1)
            group.start_soon(follow)
            await on.clock.sleep(0.1)
            leader.cancel()
        assert {response.content for response in responses} == {b"hello"}
        assert [told(response)[1] for response in responses].count("miss") == 1
        assert (len(on.script.sent), on.pipeline.snapshot()["cache"]["fetching"]) == (2, 0)


async def test_a_leader_out_of_time_hands_over_and_followers_keep_their_own_deadlines(family: FamilyModules) -> None:
    async with stage(family, [Hangs(), answer(b"hello", delay=1.0)], **CACHED) as on:
        outcomes: dict[str, Any] = {}

        async def ask(name: str, deadline: float, after: float) -> None:
            await on.clock.sleep(after)
            try:
                extensions = {"holdfast": {"deadline": deadline}}
                outcomes[name] = (await on.client.get(URL, extensions=extensions)).content
            except DeadlineExceeded:
                outcomes[name] = "deadline", round(on.clock.monotonic(), 1)

        async with anyio.create_task_group() as group:
            group.start_soon(ask, "leader", 2.0, 0.0)
            group.start_soon(ask, "short", 1.0, 0.1)
            group.start_soon(ask, "long", 20.0, 0.2)
            group.start_soon(ask, "longer", 20.0, 0.3)
        assert outcomes["short"] == ("deadline", 1.1)
        assert outcomes["leader"][0] == "deadline"
        assert (outcomes["long"], outcomes["longer"]) == (b"hello", b"hello")
        assert len(on.script.sent) == 2


async def test_a_cancelled_follower_leaves_without_a_trace(family: FamilyModules) -> None:
    async with stage(family, [answer(b"hello", delay=1.0)], **CACHED) as on:
        async with anyio.create_task_group() as group:
            group.start_soon(on.client.get, URL)
            await on.clock.sleep(0.1)
            with on.clock.timeout_at(0.5):
                await on.client.get(URL)
        assert (await on.client.get(URL)).content == b"hello"
        assert (len(on.script.sent), on.pipeline.snapshot()["cache"]["fetching"]) == (1, 0)


async def test_late_comers_wait_for_a_stream_only_while_it_moves(family: FamilyModules) -> None:
    moving = stream(*[b"x"] * 10, every=0.5)
    async with stage(family, [moving], **CACHED) as on:
        follower: list[Any] = []
        async with anyio.create_task_group() as group:

            async def follow() -> None:
                follower.append(await on.client.get(URL))

            async with on.client.stream("GET", URL) as response:
                group.start_soon(follow)
                assert await response.aread() == b"x" * 10
        assert (follower[0].content, told(follower[0])) == (b"x" * 10, ("cache", "collapsed"))
        assert len(on.script.sent) == 1


# On trio httpx 0.28.1 leaves its own generator to the collector when a stream is not read to its end.
@pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")
@pytest.mark.parametrize("ends", ["stalls", "is abandoned", "fails"])
async def test_late_comers_go_on_their_own_when_a_stream_comes_to_nothing(family: FamilyModules, ends: str) -> None:
    first = stream(b"x", b"y", then=Fails("ReadError", delay=0.4) if ends == "fails" else Hangs())
    async with stage(family, [first, answer(b"own")], **CACHED) as on:
        when: list[float] = []
        async with anyio.create_task_group() as group:

            async def follow() -> None:
                assert (await on.client.get(URL)).content == b"own"
                when.append(on.clock.monotonic())

            async with on.client.stream("GET", URL) as response, aclosing(response.aiter_raw()) as chunks:
                await anext(chunks)
                group.start_soon(follow)
                await on.clock.sleep(0.1)
                if ends == "fails":
                    with pytest.raises(family.http.ReadError):
                        [chunk async for chunk in chunks]
                elif ends == "stalls":
                    await on.clock.sleep(5.0)
        assert when == [pytest.approx({"stalls": 1.0, "is abandoned": 0.1, "fails": 0.5}[ends])]
        assert told(await on.client.get(URL)) == ("cache", "hit")


async def test_whoever_holds_a_stream_open_does_not_wait_for_itself(family: FamilyModules) -> None:
    async with (
        stage(family, [stream(b"x", b"y"), answer(b"own")], **CACHED) as on,
        on.client.stream("GET", URL) as response,
    ):
        assert (await on.client.get(URL)).content == b"own"
        assert on.clock.monotonic() == 0.0
        assert await response.aread() == b"xy"


async def test_a_stream_of_events_is_not_held_back_for_followers(family: FamilyModules) -> None:
    events = Reply(
        200, headers={**MINUTE, "Content-Type": "text/event-stream"}, body=(b"a", b"b"), every=10.0, delay=1.0
    )
    async with stage(family, [events], repeat_last=True, **CACHED) as on:
        heads: list[float] = []

        async def listen() -> None:
            async with on.client.stream("GET", URL):
                heads.append(on.clock.monotonic())

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            group.start_soon(listen)
        assert heads == [1.0, 2.0]


async def test_a_request_that_wants_no_stored_answer_waits_for_nobody(family: FamilyModules) -> None:
    async with stage(family, [answer(delay=1.0)], repeat_last=True, **CACHED) as on:
        await ask_together(on, 3, headers={"Cache-Control": "no-cache"})
        assert on.times == [0.0, 0.0, 0.0]


async def test_an_answer_that_grew_old_on_its_way_is_still_shared(family: FamilyModules) -> None:
    slow = Reply(200, headers={"Cache-Control": "max-age=1"}, body=(b"a", b"b"), every=2.0, delay=0.5)
    async with stage(family, [slow], **CACHED) as on:
        responses = await ask_together(on, 5)
        assert {response.content for response in responses} == {b"ab"}
        assert len(on.script.sent) == 1


async def test_closing_the_transport_sends_the_waiting_away(family: FamilyModules) -> None:
    async with stage(family, [Hangs()], **CACHED) as on:
        async with anyio.create_task_group() as group:
            leader = anyio.CancelScope()

            async def lead() -> None:
                with leader:
                    await on.client.get(URL)

            async def follow() -> None:
                with pytest.raises(Closed):
                    await on.client.get(URL)
                leader.cancel()

            group.start_soon(lead)
            await on.clock.sleep(0.1)
            group.start_soon(follow)
            await on.clock.sleep(0.1)
            await on.client.aclose()
        assert on.pipeline.snapshot()["cache"]["fetching"] == 0
