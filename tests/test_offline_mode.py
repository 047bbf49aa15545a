"""A key that goes offline by itself, and a switch that the next process finds as it was."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import anyio
import pytest
import tenacity

import holdfast
from holdfast import Cache, CircuitBreaker, Fallback, OfflineMode, Pipeline, RateLimit, Retry
from holdfast.errors import Offline
from holdfast.events import Event, WentOffline, WentOnline
from holdfast.policies.offline import Switch
from holdfast.testing import Fails, Hangs, Reply, VirtualClock
from holdfast.testing.scripted import Answer, Step
from tests.cache_origin import answer, told
from tests.scripting import URL, Stage, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
KEY, OTHER = "http://api.test:80", "http://other.test:80"
ALONE: dict[str, Any] = {"retry": None, "breaker": None}
PATIENT: dict[str, Any] = {**ALONE, "offline": OfflineMode(after=30.0, probe_every=10.0)}


async def calls(on: Stage, seconds: int, method: str = "GET", url: str = URL) -> list[str]:
    """One call a second; of each its status, or the class of its error."""
    came: list[str] = []
    for _ in range(seconds):
        try:
            response = await on.client.request(method, url)
            came.append("stored" if told(response)[1] == "offline" else str(response.status_code))
        except Exception as error:
            came.append(type(error).__name__)
        await on.clock.sleep(1)
    return came


@pytest.mark.parametrize("failure", [Fails("ConnectError"), Fails("ReadError"), Reply(503), Reply(500)], ids=str)
async def test_a_key_whose_calls_fail_for_so_long_goes_offline_and_a_probe_brings_it_back(
    family: FamilyModules, failure: Answer
) -> None:
    heard: list[Event] = []

    def script(number: int, request: Any) -> Answer:
        if number == 1:
            return answer(b"old", Cache_Control="max-age=1, stale-if-error=0", ETag='"a"')
        return failure if number <= 34 else answer(b"new")

    async with stage(family, script, **PATIENT, cache=Cache(), listeners=[heard.append]) as on:
        await calls(on, 2)  # the second is fresh, or fails already
        came = await calls(on, 60)
        offline_from = came.index("stored")
        assert "stored" not in came[:offline_from]
        assert on.times[-1] - on.times[1] == pytest.approx(60, abs=1)
        assert came[-1] == "200"
        assert not on.pipeline.is_offline(KEY)
        offline, online = (event for event in heard if isinstance(event, (WentOffline, WentOnline)))
        assert isinstance(offline, WentOffline)
        assert isinstance(online, WentOnline)
        assert (offline.key, offline.reason, online.key) == (KEY, "failing", KEY)


async def test_what_happens_second_by_second(family: FamilyModules) -> None:
    up = False

    def script(number: int, request: Any) -> Answer:
        return Reply(200) if up else Fails("ConnectError")

    async with stage(family, script, **PATIENT) as on:
        assert await calls(on, 31) == ["ConnectError"] * 31  # the last one, 30 s after the first, is the last straw
        assert on.pipeline.is_offline(KEY)
        assert not on.pipeline.is_offline()
        assert await calls(on, 19) == ["Offline"] * 19
        assert on.times[31:] == [40.0]  # one probe in ten seconds
        assert on.pipeline.snapshot()["offline"] is None
        assert on.pipeline.snapshot()["origins"][KEY]["offline"] == {"for": 20.0, "probe_in": 0.0}
        up = True
        assert await calls(on, 3) == ["200"] * 3
        assert not on.pipeline.is_offline(KEY)
        assert "offline" not in on.pipeline.snapshot()["origins"].get(KEY, {})


@pytest.mark.parametrize("between", [Reply(200), Reply(404), Reply(429)], ids=str)
async def test_one_answer_from_the_server_is_enough_to_stay(family: FamilyModules, between: Answer) -> None:
    def script(number: int, request: Any) -> Answer:
        return between if number % 30 == 29 else Fails("ConnectError")

    async with stage(family, script, **PATIENT, pacing=None) as on:
        assert "Offline" not in await calls(on, 100)
        assert not on.pipeline.is_offline(KEY)


@pytest.mark.parametrize(
    ("failure", "settings", "options"),
    [
        (Fails("PoolTimeout"), {}, {}),
        (Fails("UnsupportedProtocol"), {}, {}),
        (Hangs(), {}, {"deadline": 0.5}),
        (Reply(200), {"rate_limit": RateLimit(0.0001)}, {}),
    ],
    ids=["our pool is full", "a mistake", "less time than an answer takes", "a limit of ours"],
)
async def test_what_says_nothing_of_the_network_is_passed_over(
    family: FamilyModules, failure: Answer, settings: dict[str, Any], options: dict[str, float]
) -> None:
    async with stage(family, lambda number, request: failure, **PATIENT, **settings) as on:
        for _ in range(40):
            try:
                await on.client.get(URL, extensions={"holdfast": options})
            except family.http.HTTPError as error:
                assert not isinstance(error, Offline)  # noqa: PT017
            await on.clock.sleep(1)
        assert not on.pipeline.is_offline(KEY)


async def test_a_server_that_hangs_goes_offline(family: FamilyModules) -> None:
    async with stage(family, lambda number, request: Hangs(), **PATIENT, attempt_timeout=4.0) as on:
        assert (await calls(on, 10))[-1] == "Offline"


async def test_an_open_circuit_is_no_news_that_the_network_is_back(family: FamilyModules) -> None:
    settings: dict[str, Any] = {"retry": None, "breaker": CircuitBreaker(failures=3, open_for=20.0)}
    mode = OfflineMode(after=30.0, probe_every=10.0)
    async with stage(family, lambda number, request: Fails("ConnectError"), **settings, offline=mode) as on:
        came = await calls(on, 35)
        assert came[:5] == ["ConnectError", "ConnectError", "ConnectError", "CircuitOpen", "CircuitOpen"]
        assert came[-1] == "Offline"


async def test_a_circuit_that_is_opened_by_hand_says_nothing(family: FamilyModules) -> None:
    async with stage(family, [], retry=None, offline=OfflineMode(after=30.0)) as on:
        on.pipeline.circuits.force_open(KEY)
        assert set(await calls(on, 60)) == {"CircuitOpen"}
        assert not on.pipeline.is_offline(KEY)


async def test_only_that_key_is_offline(family: FamilyModules) -> None:
    def script(number: int, request: Any) -> Answer:
        return Fails("ConnectError") if request.url.host == "api.test" else Reply(200)

    async with stage(family, script, **{**PATIENT, "breaker": CircuitBreaker()}) as on:
        await calls(on, 31)
        assert (await calls(on, 1), await calls(on, 1, url="http://other.test/")) == (["Offline"], ["200"])
        assert (on.pipeline.is_offline(KEY), on.pipeline.is_offline(OTHER)) == (True, False)
        health = on.pipeline.health()
        assert (health.status, health.keys[KEY].code, health.keys[OTHER].code) == ("limited", "offline", "ok")


async def test_calls_that_only_ever_change_something_come_back_too(family: FamilyModules) -> None:
    def script(number: int, request: Any) -> Answer:
        return Reply(201) if number > 33 else Reply(503) if number == 33 else Fails("ConnectError")

    async with stage(family, script, **PATIENT) as on:
        came = await calls(on, 62, "POST")
        # The callers of probes get what came of them: it was sent, and perhaps done.
        assert came == [
            *["ConnectError"] * 31,
            *["Offline"] * 9,
            "ConnectError",
            *["Offline"] * 9,
            "503",
            *["Offline"] * 9,
            "201",
            "201",
        ]


async def test_what_is_not_http_goes_offline_too() -> None:
    clock = VirtualClock(jump=True)
    pipeline = Pipeline(clock=clock, **PATIENT)
    up = False

    async def ask() -> str:
        if not up:
            raise ConnectionError
        return "answer"

    async def call() -> str:
        await clock.sleep(1)
        try:
            return await pipeline.call(ask, key="database", idempotent=True)
        except (ConnectionError, Offline) as error:
            return type(error).__name__

    assert [await call() for _ in range(33)] == [*["ConnectionError"] * 31, *["Offline"] * 2]
    assert pipeline.is_offline("database")
    with pytest.raises(Offline) as caught:
        await pipeline.call(ask, key="database")
    assert str(caught.value) == "offline: the function guarded as database was not called"
    up = True
    assert [await call() for _ in range(9)] == [*["Offline"] * 7, *["answer"] * 2]
    assert not pipeline.is_offline("database")


async def test_a_hit_of_the_cache_says_nothing(family: FamilyModules) -> None:
    script: list[Step] = [answer(Cache_Control="max-age=1000"), *[Fails("ConnectError")] * 31]
    async with stage(family, script, **PATIENT, cache=Cache()) as on:
        await on.client.get(URL)
        for _ in range(31):
            await calls(on, 1, url=f"{URL}/other")
            await on.client.get(URL)
        assert on.pipeline.is_offline(KEY)
        assert told(await on.client.get(URL)) == ("cache", "offline")


async def test_retries_are_one_failure_and_a_cancelled_call_none(family: FamilyModules) -> None:
    retry = Retry(attempts=3, wait=tenacity.wait_fixed(20))
    script: list[Step] = [*[Fails("ConnectError")] * 3, Hangs()]
    async with stage(family, script, retry=retry, breaker=None, offline=OfflineMode(after=30.0), deadline=None) as on:
        with pytest.raises(family.http.ConnectError):
            await on.client.get(URL)
        assert on.times == [0.0, 20.0, 40.0]
        assert not on.pipeline.is_offline(KEY)
        async with anyio.create_task_group() as group:
            group.start_soon(on.client.get, URL)
            await on.clock.sleep(1)
            group.cancel_scope.cancel()
        assert not on.pipeline.is_offline(KEY)


async def test_an_answer_that_was_under_way_ends_it(family: FamilyModules) -> None:
    def script(number: int, request: Any) -> Answer:
        return Reply(200, delay=40.0) if request.url.path == "/slow" else Fails("ConnectError")

    async with stage(family, script, **PATIENT, deadline=60.0, attempt_timeout=60.0) as on:
        async with anyio.create_task_group() as group:
            group.start_soon(on.client.get, "http://api.test/slow")
            await calls(on, 35)
            assert on.pipeline.is_offline(KEY)
        assert not on.pipeline.is_offline(KEY)


async def test_pipelines_under_one_client_go_offline_each_for_itself(family: FamilyModules) -> None:
    def pipelines(clock: VirtualClock) -> Any:
        first, second = (Pipeline(clock=clock, **PATIENT) for _ in range(2))
        return Pipeline.by_origin({"http://api.test": first}, default=second)

    async with stage(family, lambda number, request: Fails("ConnectError"), pipeline=pipelines) as on:
        await calls(on, 31)
        assert [on.pipeline.is_offline(key) for key in (KEY, OTHER, None)] == [True, False, False]
        assert on.pipeline.snapshot()["origins"][KEY]["offline"] == {"for": 1.0, "probe_in": 9.0}
        on.pipeline.offline()
        assert on.pipeline.is_offline()
        on.pipeline.online()
        assert not on.pipeline.is_offline(KEY)


async def test_by_hand_goes_before_and_coming_back_by_hand_is_for_all(family: FamilyModules) -> None:
    heard: list[Event] = []
    script: list[Step] = [*[Fails("ConnectError")] * 31, Reply(200)]
    async with stage(family, script, **PATIENT, listeners=[heard.append]) as on:
        await calls(on, 31)
        on.pipeline.offline()
        assert (on.pipeline.is_offline(), on.pipeline.is_offline(OTHER)) == (True, True)
        on.pipeline.online()
        assert not on.pipeline.is_offline(KEY)
        assert (await on.client.get(URL)).status_code == 200
        keys = [event.key for event in heard if isinstance(event, WentOnline)]
        assert sorted(keys) == ["", KEY]


async def test_a_fallback_stands_before_it(family: FamilyModules) -> None:
    def script(number: int, request: Any) -> Answer:
        return Fails("ConnectError") if request.url.host == "api.test" else Reply(200, body=b"there")

    fallback = Fallback(failover={"http://api.test": ("http://other.test",)}, default=[])
    async with stage(family, script, **PATIENT, fallback=fallback) as on:
        assert set(await calls(on, 35)) == {"200"}
        got = await on.client.get(URL)
        assert (got.content, holdfast.history(got).reason) == (b"there", "offline")
        on.pipeline.offline()
        assert holdfast.history(await on.client.get(URL)).fallback == "default"


async def test_a_switch_by_hand_outlives_the_process(family: FamilyModules, tmp_path: Path) -> None:
    file = tmp_path / "offline"

    def next_process(clock: VirtualClock) -> Pipeline:
        return Pipeline(clock=clock, offline=OfflineMode(file=file))

    async with stage(family, [], pipeline=next_process) as on:
        assert not on.pipeline.is_offline()
        on.pipeline.offline(probe_every=5.0)
    async with stage(family, [Reply(200)], pipeline=next_process) as on:
        assert on.pipeline.is_offline()
        assert on.pipeline.snapshot()["offline"] == {"for": 0.0, "probe_in": 5.0}
        with pytest.raises(Offline):
            await on.client.get(URL)
        await on.clock.sleep(5)
        assert (await on.client.get(URL)).status_code == 200  # the probe
    async with stage(family, [Reply(200)], pipeline=next_process) as on:
        assert (await on.client.get(URL)).status_code == 200
        on.pipeline.offline()
        on.pipeline.online()
        assert os.listdir(tmp_path) == []


async def test_how_long_it_was_offline_is_counted_from_the_switch(family: FamilyModules, tmp_path: Path) -> None:
    file = tmp_path / "offline"
    file.write_text(json.dumps({"since": VirtualClock().wall() - 100.0, "probe_every": None}))
    heard: list[Event] = []

    def next_process(clock: VirtualClock) -> Pipeline:
        return Pipeline(clock=clock, offline=OfflineMode(file=file), listeners=[heard.append])

    async with stage(family, [], pipeline=next_process) as on:
        assert on.pipeline.snapshot()["offline"] == {"for": 100.0, "probe_in": None}
        on.pipeline.online()
    assert [type(event) for event in heard] == [WentOffline, WentOnline]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"since": "x", "probe_every": 1}', '{"since": 1, "probe_every": -1}']
)
async def test_a_file_that_nobody_can_read_says_offline_all_the_same(
    family: FamilyModules, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "offline"
    file.write_text(text)
    async with stage(family, [], pipeline=lambda clock: Pipeline(clock=clock, offline=OfflineMode(file=file))) as on:
        assert on.pipeline.snapshot()["offline"] == {"for": 0.0, "probe_in": 30.0}


async def test_a_switch_that_cannot_be_noted_is_turned_all_the_same(family: FamilyModules, tmp_path: Path) -> None:
    mode = OfflineMode(file=tmp_path / "nowhere" / "offline")
    async with stage(family, [], offline=mode) as on:
        with pytest.raises(FileNotFoundError):
            on.pipeline.offline()
        assert on.pipeline.is_offline()


async def test_what_goes_offline_by_itself_is_not_noted(family: FamilyModules, tmp_path: Path) -> None:
    mode = OfflineMode(after=1.0, file=tmp_path / "offline")
    async with stage(family, lambda number, request: Fails("ConnectError"), **ALONE, offline=mode) as on:
        await calls(on, 3)
        assert on.pipeline.is_offline(KEY)
        assert os.listdir(tmp_path) == []


async def test_what_is_kept_of_keys_is_bounded() -> None:
    clock = VirtualClock(jump=True)
    switch = Switch(clock=clock, stored=None, mode=OfflineMode(after=10.0))
    keys = [str(number) for number in range(1030)]
    for key in keys:
        switch.failed(key)
    await clock.sleep(10)
    for key in reversed(keys):
        switch.failed(key)
    # Those that failed first were forgotten by the time the last ones did.
    assert [key for key in keys if not switch.is_offline(key)] == keys[:6]
    for key in keys[:6]:
        switch.failed(key)
    await clock.sleep(10)
    switch.failed(keys[0])
    assert not switch.is_offline(keys[0])  # no more of them are offline at once
    switch.worked(keys[9])
    switch.failed(keys[0])
    assert switch.is_offline(keys[0])


@pytest.mark.parametrize(
    "settings", [{"after": 0.0}, {"after": float("inf")}, {"probe_every": 0.0}, {"probe_every": float("inf")}], ids=str
)
def test_times_that_are_none_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        OfflineMode(**settings)
