"""Items sent several at once: in order, in chunks, only what failed again, alone where no endpoint takes several."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from holdfast.client import Call, Failed, Ok, Outcome, Progress, outcome_of
from holdfast.errors import Conflict, DecodeError, Forbidden, InvalidInput, NotFound, TooManyRequests, Unavailable
from holdfast.testing.scripted import Reply
from tests.client.api import Stage, document, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio


def body_of(request: Any) -> list[int]:
    numbers: list[int] = json.loads(request.stream.__dict__["_stream"])
    return numbers


@dataclass
class Server:
    """Doubles numbers, several at once; some of them only when they come again, some never."""

    busy: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    batches: list[list[int]] = field(default_factory=list[list[int]])
    singles: list[int] = field(default_factory=list[int])
    whole: dict[int, Reply] = field(default_factory=dict[int, Reply])
    delay: float = 0.0

    def __call__(self, number: int, request: Any) -> Reply:
        sent = body_of(request)
        if request.url.path.endswith("/single"):
            self.singles += sent
            return document(sent[0] * 2)
        self.batches.append(sent)
        for item, reply in self.whole.items():
            if item in sent:
                return reply
        lines = [{"status": self.status_of(item), "value": item * 2} for item in sent]
        return replace(document(lines), delay=self.delay)

    def status_of(self, item: int) -> int:
        statuses = self.busy.get(item)
        return statuses.pop(0) if statuses else 200


def doubled(s: Stage, **settings: Any) -> Callable[[Sequence[int]], Call[list[Outcome[int]]]]:
    def send(items: Sequence[int]) -> Call[list[Outcome[int]]]:
        call = s.shop.POST("/doubled", list[dict[str, int]], json=[*items], **settings)
        return call.map(lambda lines: [outcome_of(line["status"], line["value"]) for line in lines])

    return send


def single(s: Stage) -> Callable[[int], Call[int]]:
    return lambda item: s.shop.POST("/single", int, json=[item])


def values(ends: Sequence[Outcome[int]]) -> list[int | type[Exception]]:
    return [end.value if end.ok else type(end.error) for end in ends]


async def test_items_go_in_chunks_and_their_ends_come_in_order(family: FamilyModules) -> None:
    server = Server(delay=1.0)
    async with stage(family, server) as s:
        told: list[Progress] = []
        ends = await s.shop.batch(range(10), doubled(s), size=3, limit=2, on_progress=told.append)
        assert values(ends) == [item * 2 for item in range(10)]
        assert sorted(server.batches) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
        assert s.clock.monotonic() == 2.0
        assert [each.done for each in told][-1] == 10
        assert await s.shop.batch([], doubled(s)) == []


@pytest.mark.parametrize(
    ("settings", "status", "again"),
    [
        ({}, 429, True),
        ({}, 503, False),  # it may have acted
        ({}, 409, False),
        ({"idempotent": True}, 503, True),
        ({"idempotent": True}, 409, False),
        ({"idempotent": "key"}, 503, False),  # the key was for another request
    ],
)
async def test_only_items_that_failed_and_may_be_sent_again_are(
    family: FamilyModules, settings: dict[str, Any], status: int, again: bool
) -> None:
    server = Server(busy={1: [status], 5: [status]})
    async with stage(family, server) as s:
        ends = await s.shop.batch(range(6), doubled(s, **settings), size=3)
        assert sorted(server.batches[:2]) == [[0, 1, 2], [3, 4, 5]]
        assert server.batches[2:] == ([[1, 5]] if again else [])
        assert [end.ok for end in ends] == [True, again, True, True, True, again]


async def test_it_is_given_up_after_so_many_attempts(family: FamilyModules) -> None:
    server = Server(busy={1: [429] * 9})
    async with stage(family, server) as s:
        told: list[Progress] = []
        ends = await s.shop.batch(range(3), doubled(s), attempts=4, on_progress=told.append)
        assert server.batches == [[0, 1, 2], [1], [1], [1]]
        (failed,) = [end for end in ends if isinstance(end, Failed)]
        assert isinstance(failed.error, TooManyRequests)
        assert told[-1] == Progress(3, 3, 1)


@pytest.mark.parametrize(("after", "batches"), [(7.0, 2), (31.0, 1)])
async def test_a_server_is_given_the_time_that_it_asks_for(family: FamilyModules, after: float, batches: int) -> None:
    server = Server(busy={1: [429]})
    async with stage(family, server) as s:

        def send(items: Sequence[int]) -> Call[list[Outcome[int]]]:
            call = s.shop.POST("/doubled", list[dict[str, int]], json=[*items])
            return call.map(lambda lines: [outcome_of(x["status"], x["value"], retry_after=after) for x in lines])

        await s.shop.batch(range(3), send, max_wait=30.0)
        assert len(server.batches) == batches
        assert s.clock.monotonic() == (after if batches == 2 else 0.0)


async def test_a_function_may_say_what_is_sent_again(family: FamilyModules) -> None:
    server = Server(busy={0: [409], 1: [429]})
    async with stage(family, server) as s:
        ends = await s.shop.batch(range(2), doubled(s), again=lambda error: isinstance(error, Conflict))
        assert server.batches == [[0, 1], [0]]
        assert values(ends) == [0, TooManyRequests]


async def test_a_chunk_whose_call_fails_fails_alone(family: FamilyModules) -> None:
    server = Server(whole={1: Reply(403)})
    async with stage(family, server) as s:
        ends = await s.shop.batch(range(4), doubled(s), size=2)
        assert [end.ok for end in ends] == [False, False, True, True]
        assert all(isinstance(end.error, Forbidden) for end in ends if isinstance(end, Failed))
        assert len(server.batches) == 2


async def test_ends_that_do_not_fit_their_items_are_nobodys(family: FamilyModules) -> None:
    async with stage(family, [document([{"status": 200, "value": 1}])]) as s:
        ends = await s.shop.batch(range(3), doubled(s))
        assert values(ends) == [DecodeError] * 3


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_without_a_batch_endpoint_each_item_goes_alone_and_that_is_remembered(
    family: FamilyModules, status: int
) -> None:
    server = Server(whole=dict.fromkeys(range(5), Reply(status)))
    async with stage(family, server, pipeline={"retry": None}) as s:
        for _ in range(2):
            ends = await s.shop.batch_or_singles(range(5), doubled(s), single(s), size=2, limit=1)
            assert values(ends) == [0, 2, 4, 6, 8]
        assert server.batches == [[0, 1]]
        assert server.singles == [0, 1, 2, 3, 4] * 2
        tenant = s.shop.using(headers={"X-Tenant": "acme"})
        assert values(await tenant.batch_or_singles([3], doubled(s), single(s))) == [6]
        assert len(server.batches) == 1
        assert not (await s.shop.batch([1], doubled(s)))[0].ok


@pytest.mark.parametrize(("status", "error"), [(503, Unavailable), (403, Forbidden)])
async def test_another_failure_says_nothing_of_the_endpoint(
    family: FamilyModules, status: int, error: type[Exception]
) -> None:
    server = Server(whole={1: Reply(status)})
    async with stage(family, server, pipeline={"retry": None}) as s:
        ends = await s.shop.batch_or_singles(range(3), doubled(s), single(s), size=2)
        assert [end.ok for end in ends] == [False, False, True]
        assert all(isinstance(end.error, error) for end in ends if isinstance(end, Failed))
        assert server.singles == []


async def test_a_404_of_one_item_is_its_own(family: FamilyModules) -> None:
    server = Server(busy={1: [404]})
    async with stage(family, server) as s:
        ends = await s.shop.batch_or_singles(range(3), doubled(s), single(s))
        assert values(ends) == [0, NotFound, 4]
        assert server.singles == []


async def test_status_errors_of_ones_own_do_not_hide_a_missing_endpoint(family: FamilyModules) -> None:
    server = Server(whole={1: Reply(404)})
    async with stage(family, server, status_errors={404: lambda error: LookupError()}) as s:
        assert values(await s.shop.batch_or_singles(range(2), doubled(s), single(s))) == [0, 2]


async def test_a_cancelled_batch_sends_nothing_more(family: FamilyModules) -> None:
    server = Server(delay=1000.0)
    async with stage(family, server) as s:
        async with anyio.create_task_group() as tasks:

            async def send() -> None:
                await s.shop.batch(range(100), doubled(s), size=1, limit=3)

            tasks.start_soon(send)
            while len(server.batches) < 3:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert len(server.batches) == 3


@pytest.mark.parametrize("wrong", [{"size": 0}, {"limit": 0}, {"attempts": 0}], ids=str)
async def test_settings_that_cannot_be_are_refused(family: FamilyModules, wrong: dict[str, Any]) -> None:
    async with stage(family, Server()) as s:
        with pytest.raises(InvalidInput):
            await s.shop.batch([1], doubled(s), **wrong)


def test_an_outcome_is_made_of_a_status() -> None:
    assert outcome_of(201, 7) == Ok(7)
    failed = outcome_of(409, None, detail="taken", retry_after=3.0)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, Conflict)
    assert (failed.error.problem and failed.error.problem.detail, failed.error.retry_after) == ("taken", 3.0)
    assert "taken" not in str(failed.error)
