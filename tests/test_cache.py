"""What is answered from the store, what is asked again, and what a caller sees of it."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import Any

import pytest

from holdfast import Cache, CircuitOpen, DeadlineExceeded, MemoryStore, Pipeline, RateLimit
from holdfast.testing import Fails, Hangs, Reply
from holdfast.testing.scripted import Step
from tests.cache_origin import MINUTE, Resource, answer, status_of, stream, told
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
CACHED: dict[str, Any] = {"cache": Cache()}


def asking(option: Any) -> dict[str, Any]:
    return {"holdfast": {"cache": option}}


# Freshness and age


@pytest.mark.parametrize("reply", [answer(b"hello"), stream(b"hel", b"lo")], ids=["buffered", "streamed"])
async def test_a_fresh_answer_is_given_again_with_its_age(family: FamilyModules, reply: Reply) -> None:
    async with stage(family, [reply], **CACHED) as on:
        first = await on.client.get(URL)
        await on.clock.sleep(7.5)
        second = await on.client.get(URL)
        assert (first.content, second.content) == (b"hello", b"hello")
        assert (second.headers["age"], status_of(second)) == ("7", "holdfast; hit; ttl=52")
        assert (told(first), told(second)) == (("origin", "miss"), ("cache", "hit"))
        assert second.extensions["holdfast"]["attempts"] == []
        assert "age" not in first.headers


async def test_an_answer_is_asked_again_once_it_is_too_old(family: FamilyModules) -> None:
    async with stage(family, [answer(b"one"), answer(b"two")], **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(60)
        again = await on.client.get(URL)
        assert (again.content, status_of(again)) == (b"two", "holdfast; fwd=stale; stored")


async def test_age_counts_what_other_caches_said_but_not_our_queues_and_failures(family: FamilyModules) -> None:
    script: list[Step] = [Fails("ConnectError", delay=5.0), answer(delay=2.0, Age="10")]
    async with stage(family, script, breaker=None, **CACHED) as on:
        await on.client.get(URL)
        assert (await on.client.get(URL)).headers["age"] == "12"


@pytest.mark.parametrize(
    ("asked", "after", "status", "cache"),
    [
        ("", 30, 200, "hit"),
        ("max-age=20", 30, 200, "miss"),
        ("max-age=40", 30, 200, "hit"),
        ("min-fresh=20", 50, 200, "miss"),
        ("max-stale=20", 70, 200, "stale"),
        ("max-stale=20", 90, 200, "miss"),
        ("no-cache", 1, 200, "miss"),
        ("no-store", 1, 200, "bypass"),
        ("only-if-cached", 1, 200, "hit"),
        ("only-if-cached", 61, 504, "unsatisfiable"),
    ],
)
async def test_what_the_request_asks_is_heeded(
    family: FamilyModules, asked: str, after: float, status: int, cache: str
) -> None:
    async with stage(family, [answer(), answer()], **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(after)
        response = await on.client.get(URL, headers={"Cache-Control": asked} if asked else {})
        assert (response.status_code, told(response)[1]) == (status, cache)


@pytest.mark.parametrize(
    "reply",
    [
        answer(Cache_Control="no-store"),
        answer(Cache_Control="max-age=0"),
        answer(status=500, Cache_Control=""),
        answer(status=206),
        answer(Vary="*"),
        stream(b"x", then=Fails("ReadError")),
        Reply(200, headers={**MINUTE, "Content-Length": "9"}, body=(b"short",)),
    ],
    ids=["no-store", "nothing to reuse", "500", "206", "vary", "cut off", "shorter than declared"],
)
async def test_what_may_not_be_reused_is_fetched_each_time(family: FamilyModules, reply: Reply) -> None:
    async with stage(family, [reply], repeat_last=True, retry=None, **CACHED) as on:
        for _ in range(2):
            try:
                response = await on.client.get(URL)
                assert "stored" not in status_of(response)
            except family.http.ReadError:
                assert reply.then is not None
        assert len(on.script.sent) == 2
        assert on.pipeline.snapshot()["cache"]["stored"] == 0


async def test_heuristic_freshness_is_a_choice(family: FamilyModules) -> None:
    reply = answer(Cache_Control="", Last_Modified="Thu, 14 Jan 2027 08:00:00 GMT")  # a day before the clock's start
    for heuristic, sends in ((False, 2), (True, 1)):
        async with stage(family, [reply, reply], cache=Cache(heuristic=heuristic)) as on:
            await on.client.get(URL)
            await on.clock.sleep(3600)
            await on.client.get(URL)
            assert len(on.script.sent) == sends


async def test_the_wire_bytes_and_the_fields_are_kept_as_they_came(family: FamilyModules) -> None:
    body = gzip.compress(b"text " * 50)
    headers = {"Content-Encoding": "gzip", "X-Odd-CASE": "caf\xe9", "Connection": "X-Hop", "X-Hop": "1"}
    reply = Reply(200, headers={**MINUTE, **headers, "Content-Length": str(len(body))}, body=body)
    async with stage(family, [reply], **CACHED) as on:
        await on.client.get(URL)
        again = await on.client.get(URL)
        async with on.client.stream("GET", URL) as raw:
            assert b"".join([chunk async for chunk in raw.aiter_raw()]) == body
        assert again.text == "text " * 50
        names = [name for name, _ in again.headers.raw]
        assert b"X-Odd-CASE" in names
        assert {b"X-Hop", b"Connection"}.isdisjoint(names)
        assert dict(again.headers.raw)[b"X-Odd-CASE"].decode() == "caf\xe9"


async def test_the_word_of_an_earlier_cache_stays_before_ours(family: FamilyModules) -> None:
    async with stage(family, [answer(Cache_Status="edge; hit")], **CACHED) as on:
        first, second = await on.client.get(URL), await on.client.get(URL)
        assert status_of(first) == "edge; hit, holdfast; fwd=uri-miss; stored"
        assert status_of(second) == "edge; hit, holdfast; hit; ttl=60"


async def test_a_stored_answer_is_open_and_can_be_streamed(family: FamilyModules) -> None:
    async with stage(family, [answer(b"hello")], **CACHED) as on:
        await on.client.get(URL)
        async with on.client.stream("GET", URL) as response:
            assert not response.is_closed
            assert [chunk async for chunk in response.aiter_bytes()] == [b"hello"]
        assert response.is_closed
        assert response.elapsed.total_seconds() >= 0


async def test_a_mock_transports_answer_is_stored_too(family: FamilyModules) -> None:
    sent: list[Any] = []

    def far_side(request: Any) -> Any:
        sent.append(request)
        return family.http.Response(200, headers=MINUTE, content=b"hello")

    transport = family.holdfast.ResilientTransport(Pipeline(**CACHED), inner=family.http.MockTransport(far_side))
    async with family.http.AsyncClient(transport=transport) as client:
        assert [(await client.get(URL)).content for _ in range(2)] == [b"hello", b"hello"]
    assert len(sent) == 1


# Validation


async def test_a_stale_answer_is_validated_and_freshened(family: FamilyModules) -> None:
    resource = Resource()
    async with stage(family, resource, **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        second = await on.client.get(URL)
        third = await on.client.get(URL)
        assert (second.status_code, second.content) == (200, b"version 1")
        assert status_of(second) == "holdfast; fwd=stale; fwd-status=304; stored"
        assert (told(second), told(third)) == (("revalidated", "revalidated"), ("cache", "hit"))
        # Age would say that the origin was not asked (RFC 9111 5.1), and a Date is owed (RFC 9110 6.6.1).
        assert ("age" in second.headers, third.headers["age"]) == (False, "0")
        assert third.headers["date"] == "Fri, 15 Jan 2027 08:01:01 GMT"
        assert resource.statuses == [200, 304]
        assert on.script.in_flight == 0


async def test_both_validators_are_sent_as_they_came_and_the_callers_request_stays(family: FamilyModules) -> None:
    modified = "Thu, 14 Jan 2027 08:00:00 GMT"
    first = answer(ETag='W/"\xe9"', Last_Modified=modified)
    async with stage(family, [first, Reply(304)], **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        request = on.client.build_request("GET", URL, headers={"If-None-Match": '"mine"'})
        before, extensions = list(request.headers.raw), dict(request.extensions)
        response = await on.client.send(request)
        sent = [pair for pair in on.script.sent[1].headers if pair[0].lower().startswith(b"if-")]
        assert sent == [(b"If-None-Match", 'W/"\xe9"'.encode()), (b"If-Modified-Since", modified.encode())]
        assert (response.status_code, response.content) == (200, b"body")
        assert (request.headers.raw, request.extensions) == (before, extensions)


async def test_a_304_changes_every_stored_field_but_the_length(family: FamilyModules) -> None:
    first = answer(ETag='"a"', X_Old="1", X_Both="1")
    fresher = Reply(304, headers={"Cache-Control": "max-age=100", "X-Both": "2", "Content-Length": "0"})
    async with stage(family, [first, fresher], **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        await on.client.get(URL)
        await on.clock.sleep(90)
        response = await on.client.get(URL)
        assert (response.content, response.headers["content-length"]) == (b"body", "4")
        assert (response.headers["x-old"], response.headers["x-both"], response.headers["age"]) == ("1", "2", "90")


async def test_another_answer_takes_the_place_of_the_stale_one(family: FamilyModules) -> None:
    resource = Resource()
    async with stage(family, resource, **CACHED) as on:
        await on.client.get(URL)
        resource.version = 2
        await on.clock.sleep(61)
        assert [(await on.client.get(URL)).content for _ in range(2)] == [b"version 2", b"version 2"]
        assert resource.statuses == [200, 200]


@pytest.mark.parametrize("trouble", [Reply(500), Reply(503), Reply(429)], ids=str)
async def test_trouble_at_a_validation_is_passed_on_and_the_entry_stays(family: FamilyModules, trouble: Reply) -> None:
    script = [answer(ETag='"a"'), trouble, Reply(304, headers=MINUTE)]
    async with stage(family, script, retry=None, **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        assert (await on.client.get(URL)).status_code == trouble.status
        again = await on.client.get(URL)
        assert (again.content, told(again)) == (b"body", ("revalidated", "revalidated"))


async def test_a_304_that_forbids_storing_answers_once(family: FamilyModules) -> None:
    script = [answer(ETag='"a"'), Reply(304, headers={"Cache-Control": "no-store"}), answer(b"new")]
    async with stage(family, script, **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        assert [(await on.client.get(URL)).content for _ in range(2)] == [b"body", b"new"]


async def test_an_entry_that_is_gone_is_forgotten(family: FamilyModules) -> None:
    script = [answer(ETag='"a"'), Reply(404), answer(b"new")]
    async with stage(family, script, **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        await on.client.get(URL)
        await on.client.get(URL)
        assert all(name.lower() != b"if-none-match" for name, _ in on.script.sent[2].headers)


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"If-None-Match": '"1"'}, 304),
        ({"If-None-Match": '"0", W/"1"'}, 304),
        ({"If-None-Match": '"0"'}, 200),
        ({"If-Modified-Since": "Sat, 16 Jan 2027 08:00:00 GMT"}, 304),
        ({"If-Modified-Since": "Wed, 01 Jan 2025 08:00:00 GMT"}, 200),
    ],
    ids=str,
)
async def test_a_callers_own_condition_is_answered_from_a_fresh_entry(
    family: FamilyModules, condition: dict[str, str], status: int
) -> None:
    async with stage(family, Resource(), **CACHED) as on:
        await on.client.get(URL)
        response = await on.client.get(URL, headers=condition)
        assert (response.status_code, response.content) == (status, b"" if status == 304 else b"version 1")
        assert (response.headers["etag"], response.headers["age"], len(on.script.sent)) == ('"1"', "0", 1)


async def test_a_callers_own_condition_on_a_miss_is_the_origins_to_answer(family: FamilyModules) -> None:
    async with stage(family, Resource(), **CACHED) as on:
        response = await on.client.get(URL, headers={"If-None-Match": '"1"'})
        assert (response.status_code, told(response)) == (304, ("origin", "miss"))
        assert (await on.client.get(URL)).content == b"version 1"


# HEAD


async def test_a_stored_get_answers_a_head_without_a_body(family: FamilyModules) -> None:
    async with stage(family, Resource(), **CACHED) as on:
        await on.client.get(URL)
        response = await on.client.head(URL)
        assert (response.content, response.headers["content-length"], len(on.script.sent)) == (b"", "9", 1)


async def test_a_head_never_answers_a_get_and_freshens_or_drops_it(family: FamilyModules) -> None:
    resource = Resource()
    async with stage(family, resource, **CACHED) as on:
        await on.client.head(URL)
        assert (await on.client.get(URL)).content == b"version 1"
        await on.clock.sleep(61)
        assert (await on.client.head(URL)).status_code == 200
        assert told(await on.client.get(URL)) == ("cache", "hit")
        resource.version = 2
        await on.clock.sleep(61)
        await on.client.head(URL)
        last = await on.client.get(URL)
        assert (last.content, status_of(last)) == (b"version 2", "holdfast; fwd=uri-miss; stored")


# Per request


async def test_one_request_may_refresh_pass_by_or_want_the_stored_one_alone(family: FamilyModules) -> None:
    resource = Resource()
    async with stage(family, resource, **CACHED) as on:
        assert (await on.client.get(URL, extensions=asking("only"))).status_code == 504
        await on.client.get(URL)
        resource.version = 2
        passed = await on.client.get(URL, extensions=asking("bypass"))
        assert (passed.content, told(passed), status_of(passed)) == (
            b"version 2",
            ("origin", "bypass"),
            "holdfast; fwd=bypass",
        )
        assert (await on.client.get(URL, extensions=asking("only"))).content == b"version 1"
        refreshed = await on.client.get(URL, extensions=asking("refresh"))
        assert (refreshed.content, status_of(refreshed)) == (b"version 2", "holdfast; fwd=request; stored")
        same = await on.client.get(URL, extensions=asking("refresh"))
        assert (same.content, told(same)) == (b"version 2", ("revalidated", "revalidated"))
        assert (await on.client.get(URL)).content == b"version 2"
        assert resource.statuses == [200, 200, 200, 304]


@pytest.mark.parametrize(
    ("reply", "sends"),
    [
        (answer(Cache_Control=""), 1),
        (answer(Cache_Control="max-age=0"), 1),
        (answer(Cache_Control="max-age=5", Age="1000"), 1),
        (answer(Cache_Control="no-store"), 2),
        (answer(status=404, Cache_Control=""), 2),
    ],
    ids=["no lifetime", "none left", "old already", "no-store", "404"],
)
async def test_one_request_may_say_for_how_long_its_answer_is_good(
    family: FamilyModules, reply: Reply, sends: int
) -> None:
    async with stage(family, [reply, reply, reply], **CACHED) as on:
        await on.client.get(URL, extensions=asking({"ttl": 60}))
        await on.clock.sleep(59)
        await on.client.get(URL)
        assert len(on.script.sent) == sends
        await on.clock.sleep(2)
        await on.client.get(URL)
        assert len(on.script.sent) == sends + 1


# Layers below


async def test_a_fresh_hit_works_while_the_circuit_is_open_and_costs_nothing_below(family: FamilyModules) -> None:
    settings: dict[str, Any] = {"rate_limit": RateLimit(10, per=60.0), **CACHED}
    async with stage(family, [answer()], **settings) as on:
        await on.client.get(URL)
        (key,) = on.pipeline.snapshot()["origins"]
        on.pipeline.circuits.force_open(key)
        before = on.pipeline.snapshot()["origins"]
        response = await on.client.get(URL)
        assert (response.content, told(response)) == (b"body", ("cache", "hit"))
        assert on.pipeline.snapshot()["origins"] == before
        with pytest.raises(CircuitOpen):
            await on.client.get(f"{URL}/other")


async def test_a_validation_is_an_ordinary_call_below(family: FamilyModules) -> None:
    script: list[Step] = [answer(ETag='"a"'), Fails("ConnectError"), Reply(304, headers=MINUTE)]
    async with stage(family, script, **CACHED) as on:
        await on.client.get(URL)
        await on.clock.sleep(61)
        response = await on.client.get(URL)
        assert told(response) == ("revalidated", "revalidated")
        assert [attempt["status"] for attempt in response.extensions["holdfast"]["attempts"]] == [None, 304]


async def test_pipelines_may_share_a_store_and_both_families_one_pipeline(family: FamilyModules) -> None:
    store, key = MemoryStore(), b"k" * 32
    extensions = {"holdfast": {"identity": "ann"}}
    async with stage(family, [answer(b"one")], cache=Cache(store=store, key=key)) as on:
        await on.client.get(URL, extensions=extensions)
    async with stage(family, [answer(b"two")], cache=Cache(store=store, key=key)) as on:
        assert (await on.client.get(URL, extensions=extensions)).content == b"one"
    async with stage(family, [answer(b"three")], cache=Cache(store=store)) as on:
        assert (await on.client.get(URL, extensions=extensions)).content == b"three"


# Settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": b"short"},
        {"store_timeout": 0},
        {"max_entry_bytes": -1},
        {"heuristic_fraction": 0.0},
        {"identity_headers": ("",)},
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Cache(**wrong)


def test_the_secret_is_not_shown_and_settings_can_be_derived() -> None:
    settings = replace(Cache(key=b"0123456789abcdef"), shared=True)
    assert settings.shared
    assert "0123456789abcdef" not in repr(settings)


async def test_a_pipeline_without_a_cache_says_nothing_of_one(family: FamilyModules) -> None:
    async with stage(family, [answer()]) as on:
        response = await on.client.get(URL)
        assert "cache-status" not in response.headers
        assert "cache" not in on.pipeline.snapshot()
        with pytest.raises(ValueError, match="no cache"):
            await on.pipeline.purge(url=URL)


async def test_a_body_that_never_ends_costs_the_deadline_and_is_not_stored(family: FamilyModules) -> None:
    async with stage(family, [stream(b"x", then=Hangs()), answer(b"whole")], deadline=5.0, **CACHED) as on:
        with pytest.raises(DeadlineExceeded):
            await on.client.get(URL)
        assert (await on.client.get(URL)).content == b"whole"
