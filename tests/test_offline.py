"""The offline switch: what is given, what is refused, and how a pipeline comes back by itself."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

import holdfast
from holdfast import Cache, Pipeline, Retry
from holdfast.errors import Offline
from holdfast.testing import Fails, Hangs, Reply, ScriptedTransport
from holdfast.testing.scripted import Answer, Step
from tests.cache_origin import answer, status_of, told
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
CACHED: dict[str, Any] = {"cache": Cache()}


async def test_what_is_stored_is_given_however_old_and_marked(family: FamilyModules) -> None:
    async with stage(family, [answer(b"old")], **CACHED) as on:
        await on.client.get(URL)
        on.pipeline.offline(probe_every=None)
        fresh = await on.client.get(URL)
        await on.clock.sleep(86_400)
        stale = await on.client.get(URL, headers={"Cache-Control": "no-cache, max-age=0, min-fresh=5"})
        assert (fresh.content, stale.content) == (b"old", b"old")
        assert told(fresh) == told(stale) == ("cache", "offline")
        assert (holdfast.history(stale).age, stale.headers["age"]) == (86_400.0, "86400")
        assert status_of(fresh) == 'holdfast; hit; ttl=60; detail="offline"'
        assert status_of(stale) == 'holdfast; hit; ttl=-86340; detail="offline"'
        assert (len(on.script.sent), on.pipeline.snapshot()["cache"]["offline"]) == (1, 2)


@pytest.mark.parametrize(
    ("method", "url", "headers"),
    [
        ("GET", "http://api.test/other", {}),
        ("GET", URL, {"Accept-Language": "fr"}),
        ("GET", URL, {"Authorization": "Bearer other"}),
        ("GET", URL, {"Cache-Control": "no-store"}),
        ("OPTIONS", URL, {}),
        ("POST", URL, {}),
        ("DELETE", URL, {}),
    ],
)
async def test_anything_else_is_refused_and_nothing_is_sent(
    family: FamilyModules, method: str, url: str, headers: dict[str, str]
) -> None:
    async with stage(family, [answer(Vary="Accept-Language")], **CACHED) as on:
        await on.client.get(URL)
        on.pipeline.offline()
        with pytest.raises(Offline) as caught:
            await on.client.request(method, url, headers=headers)
        refused = caught.value
        assert isinstance(refused, Offline)
        assert isinstance(refused, family.http.TransportError)
        assert (refused.policy, refused.key, refused.retry_after) == ("offline", "http://api.test:80", 30.0)
        assert holdfast.history(refused).reason == "offline"
        assert len(on.script.sent) == 1


@pytest.mark.parametrize(
    ("said", "settings", "after", "given"),
    [
        ("max-age=60, must-revalidate", {}, 59, True),
        ("max-age=60, must-revalidate", {}, 61, False),
        ("max-age=60, no-cache", {}, 1, False),
        ("max-age=60, proxy-revalidate", {}, 61, True),
        ("max-age=60, proxy-revalidate", {"shared": True}, 61, False),
        ("s-maxage=60", {"shared": True}, 61, False),
    ],
)
async def test_what_the_origin_forbids_to_use_unasked_is_not_given(
    family: FamilyModules, said: str, settings: dict[str, Any], after: float, given: bool
) -> None:
    async with stage(family, [answer(Cache_Control=said, ETag='"a"')], cache=Cache(**settings)) as on:
        await on.client.get(URL)
        on.pipeline.offline(probe_every=None)
        await on.clock.sleep(after)
        if given:
            assert told(await on.client.get(URL)) == ("cache", "offline")
        else:
            with pytest.raises(Offline):
                await on.client.get(URL)


async def test_one_call_in_each_interval_probes_and_a_good_answer_ends_it(family: FamilyModules) -> None:
    script: list[Step] = [
        answer(b"old"),
        Fails("ConnectError"),
        answer(status=503, Cache_Control=""),
        answer(b"new"),
        answer(b"other"),
    ]
    async with stage(family, script, retry=Retry(attempts=3), **CACHED) as on:
        await on.client.get(URL)
        on.pipeline.offline(probe_every=10.0)
        for _ in range(28):  # fresh all the while: a probe asks the origin nevertheless
            await on.clock.sleep(1)
            assert told(await on.client.get(URL)) == ("cache", "offline")
        assert on.times == [0.0, 10.0, 20.0]
        assert on.pipeline.snapshot()["offline"] == {"for": 28.0, "probe_in": 2.0}
        await on.clock.sleep(2)
        assert (await on.client.get(URL)).content == b"new"
        assert on.pipeline.snapshot()["offline"] is None
        assert (await on.client.get("http://api.test/other")).content == b"other"


@pytest.mark.parametrize(
    ("probe", "cause"),
    [(Fails("ConnectError"), "ConnectError"), (Hangs(), "ReadTimeout"), (answer(status=502), "NoneType")],
)
async def test_a_probe_that_fails_with_nothing_stored_is_refused_like_the_others(
    family: FamilyModules, probe: Answer, cause: str
) -> None:
    async with stage(family, [probe], deadline=5.0) as on:
        on.pipeline.offline(probe_every=10.0)
        await on.clock.sleep(10)
        with pytest.raises(Offline) as caught:
            await on.client.get(URL)
        assert type(caught.value.__cause__).__name__ == cause
        assert len(holdfast.history(caught.value).attempts) == 1
        with pytest.raises(Offline):
            await on.client.get(URL)
        assert (len(on.script.sent), on.script.in_flight) == (1, 0)
        assert on.pipeline.snapshot()["origins"]["http://api.test:80"]["concurrency"]["in_use"] == 0


async def test_a_pipeline_without_a_cache_refuses_all_and_comes_back_too(family: FamilyModules) -> None:
    async with stage(family, [answer(status=404)], repeat_last=True) as on:
        on.pipeline.offline(probe_every=10.0)
        with pytest.raises(Offline):
            await on.client.get(URL)
        await on.clock.sleep(10)
        with pytest.raises(Offline):
            await on.client.post(URL)  # never a probe: it would be known only afterwards whether it was done
        assert (await on.client.get(URL)).status_code == 404
        assert (await on.client.post(URL)).status_code == 404


async def test_a_crowd_sends_one_probe_and_one_that_is_cancelled_counts(family: FamilyModules) -> None:
    async with stage(family, [answer(), Hangs(), answer(b"new")], **CACHED) as on:
        await on.client.get(URL)
        on.pipeline.offline(probe_every=10.0)
        await on.clock.sleep(10)
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(on.client.get, URL)
            await on.clock.sleep(1)
            group.cancel_scope.cancel()
        assert on.times == [0.0, 10.0]
        assert told(await on.client.get(URL)) == ("cache", "offline")
        await on.clock.sleep(9)
        assert (await on.client.get(URL)).content == b"new"


async def test_a_probe_that_a_policy_of_ours_stopped_leaves_its_place_to_the_next(family: FamilyModules) -> None:
    async with stage(family, [answer(b"old"), answer(b"new")], **CACHED) as on:
        await on.client.get(URL)
        on.pipeline.offline(probe_every=10.0)
        on.pipeline.circuits.force_open("http://api.test:80")
        await on.clock.sleep(10)
        assert told(await on.client.get(URL)) == ("cache", "offline")
        on.pipeline.circuits.reset("http://api.test:80")
        assert (await on.client.get(URL)).content == b"new"


@pytest.mark.parametrize(
    "request_options",
    [{"extensions": {"holdfast": {"cache": "only"}}}, {"headers": {"Cache-Control": "only-if-cached"}}],
)
async def test_who_wants_a_stored_answer_alone_is_no_probe(
    family: FamilyModules, request_options: dict[str, Any]
) -> None:
    async with stage(family, [answer(b"old"), answer(b"new")], **CACHED) as on:
        await on.client.get(URL)
        on.pipeline.offline(probe_every=10.0)
        await on.clock.sleep(10)
        assert told(await on.client.get(URL, **request_options)) == ("cache", "offline")
        assert (await on.client.get(URL)).content == b"new"


async def test_it_is_switched_by_hand_as_often_as_one_likes(family: FamilyModules) -> None:
    async with stage(family, [answer(b"one"), answer(b"two"), answer(b"three")], **CACHED) as on:
        on.pipeline.online()
        await on.client.get(URL)
        on.pipeline.offline(probe_every=10.0)
        await on.clock.sleep(9)
        on.pipeline.offline(probe_every=10.0)
        await on.clock.sleep(9)
        assert told(await on.client.get(URL)) == ("cache", "offline")
        on.pipeline.online()
        assert (await on.client.get(URL, extensions={"holdfast": {"cache": "refresh"}})).content == b"two"
        for seconds in (0, -1, float("inf")):
            with pytest.raises(ValueError, match="probe_every"):
                on.pipeline.offline(probe_every=seconds)
        assert on.pipeline.snapshot()["offline"] is None


async def test_a_call_under_way_is_left_alone(family: FamilyModules) -> None:
    async with stage(family, [Reply(200, body=b"late", delay=5.0)], **CACHED) as on:
        came: list[bytes] = []

        async def ask() -> None:
            came.append((await on.client.get(URL)).content)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await on.clock.sleep(1)
            on.pipeline.offline()
        assert came == [b"late"]


async def test_several_pipelines_go_together_and_each_comes_back_by_itself(family: FamilyModules) -> None:
    def pipelines(clock: Any) -> Any:
        a, b = (Pipeline(clock=clock, cache=Cache()) for _ in range(2))
        return Pipeline.by_origin({"http://api.test": a}, default=b)

    async with stage(family, [answer()], repeat_last=True, pipeline=pipelines) as on:
        on.pipeline.offline(probe_every=10.0)
        for url in (URL, "http://else.test/"):
            with pytest.raises(Offline):
                await on.client.get(url)
        assert set(on.pipeline.snapshot()["offline"]) == {"http://api.test", "default"}
        await on.clock.sleep(10)
        await on.client.get(URL)
        assert on.pipeline.snapshot()["offline"] == {"http://api.test": None, "default": {"for": 10.0, "probe_in": 0.0}}
        on.pipeline.online()
        assert (await on.client.get("http://else.test/")).status_code == 200


async def test_both_families_on_one_pipeline_are_offline_together(family: FamilyModules) -> None:
    async with stage(family, [answer(b"old")], **CACHED) as on:
        await on.client.get(URL)
        on.pipeline.offline()
        far_side: ScriptedTransport[Any, Any] = ScriptedTransport(family.holdfast.FAMILY, [], clock=on.clock)
        transport = family.holdfast.ResilientTransport(on.pipeline, inner=far_side)
        async with family.http.AsyncClient(transport=transport) as other:
            assert (await other.get(URL)).content == b"old"
