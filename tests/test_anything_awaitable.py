"""The same rules for a request and for a call of a function; and what only a function has.

`Side` is one far side in three forms: behind a client of either HTTP family, and as a plain coroutine function.
"""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from typing import Any, Final, Literal

import anyio
import pytest

import holdfast
from holdfast import CircuitBreaker, ConcurrencyLimit, Hedge, Pipeline, RateLimit, Retry, RetryBudget
from holdfast._deadline import in_force
from holdfast.events import Event
from holdfast.testing import Fails, Hangs, Reply, VirtualClock
from tests.conftest import modules_of
from tests.scripting import URL, Stage, stage
from tests.support import FAMILY_NAMES, spelled

pytestmark = pytest.mark.anyio
KEY: Final = "inventory"
ONE: Final = Retry(wait=lambda state: 1.0)
OTHERS_OFF: Final[dict[str, Any]] = {"breaker": None, "concurrency": None, "pacing": None}
ALONE: Final[dict[str, Any]] = {**OTHERS_OFF, "retry": None}
TWO: Final = CircuitBreaker(failures=2, failure_ratio=None, jitter=0.0, ramp_from=None)

Step = Literal["good", "bad", "hang", "wrong"]
"""Answered after a second; failed by the far side; no answer, ever; a mistake of our own."""


class Side:
    """A far side that answers step by step, the last step again and again; ``call`` tells how a call ended."""

    def __init__(self, on: Stage | None, clock: VirtualClock, pipeline: Pipeline, script: Sequence[Step]) -> None:
        self._on = on
        self.clock = clock
        self.pipeline = pipeline
        self._script = list(script)
        self._times: list[float] = []

    @property
    def times(self) -> list[float]:
        """When each attempt arrived."""
        return self._times if self._on is None else self._on.times

    async def call(self, *, idempotent: bool = True, **options: Any) -> str:
        """good, bad, wrong, or the name of what we raised."""
        try:
            if self._on is None:
                await self.pipeline.call(self._serve, key=KEY, idempotent=idempotent, options=options)
            else:
                extensions = {"holdfast": {**options, "key": KEY}}
                await self._on.client.request("GET" if idempotent else "POST", URL, extensions=extensions)
        except holdfast.Refused as error:
            return type(error).__name__ if error.key == KEY else f"refused by {error.key}"
        except TypeError:
            return "wrong"
        except Exception as error:
            if type(error).__name__ == "LocalProtocolError":
                return "wrong"
            timeout = isinstance(error, TimeoutError) or type(error).__name__ == "ReadTimeout"
            return "timeout" if timeout else "bad"
        return "good"

    async def _serve(self) -> str:
        self._times.append(round(self.clock.monotonic(), 6))
        step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if step == "hang":
            await self.clock.sleep(math.inf)
        if step == "bad":
            raise ConnectionResetError("scripted")
        if step == "wrong":
            raise TypeError("scripted")
        await self.clock.sleep(1.0)
        return step


ANSWERS: Final[dict[Step, Reply | Fails | Hangs]] = {
    "good": Reply(200, delay=1.0),
    "bad": Fails("ReadError"),
    "hang": Hangs(),
    "wrong": Fails("LocalProtocolError"),
}


@asynccontextmanager
async def far_side(form: str, script: Sequence[Step], **settings: Any) -> AsyncIterator[Side]:
    async with AsyncExitStack() as stack:
        if form == "function":
            clock = VirtualClock(jump=True)
            yield Side(None, clock, Pipeline(clock=clock, random=lambda: 0.5, **settings), script)
        else:
            answers = [ANSWERS[step] for step in script]
            on = await stack.enter_async_context(stage(modules_of(form), answers, repeat_last=True, **settings))
            yield Side(on, on.clock, on.pipeline, script)


@pytest.fixture(params=[*FAMILY_NAMES, "function"])
def form(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.mark.parametrize(
    ("script", "settings", "call", "ends", "times"),
    [
        (["bad", "bad", "good"], {"retry": ONE}, {}, "good", [0, 1, 2]),
        (["bad"], {"retry": ONE}, {}, "bad", [0, 1, 2]),
        (["bad"], {"retry": ONE}, {"attempts": 2}, "bad", [0, 1]),
        (["bad"], {"retry": ONE}, {"idempotent": False}, "bad", [0]),
        (["wrong"], {"retry": ONE}, {}, "wrong", [0]),
        (["bad"], {"retry": None}, {}, "bad", [0]),
        (["bad"], {"retry": ONE, "budget": RetryBudget(reserve=1)}, {}, "bad", [0, 1]),
        (["bad"], {"retry": ONE, "deadline": 1.5}, {}, "bad", [0, 1]),
        (["bad"], {"retry": ONE}, {"deadline": 1.5}, "bad", [0, 1]),
        (["bad"], {"retry": ONE, "breaker": TWO}, {}, "bad", [0, 1]),  # open after two
    ],
    ids=spelled,
)
async def test_what_failed_is_tried_again_by_the_same_rules(
    form: str, script: list[Step], settings: dict[str, Any], call: dict[str, Any], ends: str, times: list[float]
) -> None:
    async with far_side(form, script, **{**ALONE, **settings}) as side:
        assert await side.call(**call) == ends
        assert side.times == times


@pytest.mark.parametrize(
    ("settings", "options", "ends", "after", "sends"),
    [
        ({"attempt_timeout": 2.0}, {}, "timeout", 2.0, 1),
        ({}, {"attempt_timeout": 2.0}, "timeout", 2.0, 1),
        ({"attempt_timeout": 2.0, "retry": ONE}, {}, "timeout", 8.0, 3),
        ({"deadline": 3.0}, {}, "DeadlineExceeded", 3.0, 1),
        ({"attempt_timeout": 2.0, "retry": ONE, "deadline": 5.0}, {}, "DeadlineExceeded", 5.0, 2),
    ],
    ids=spelled,
)
async def test_no_answer_ends_by_the_same_times(
    form: str, settings: dict[str, Any], options: dict[str, Any], ends: str, after: float, sends: int
) -> None:
    async with far_side(form, ["hang"], **{**ALONE, **settings}) as side:
        assert await side.call(**options) == ends
        assert side.clock.monotonic() == pytest.approx(after, abs=0.8)  # httpx has a grace for each attempt
        assert len(side.times) == sends


async def test_a_circuit_opens_lets_one_probe_pass_and_closes(form: str) -> None:
    async with far_side(form, ["bad", "bad", "good"], **{**ALONE, "breaker": TWO}) as side:
        ends = [await side.call() for _ in range(4)]
        assert ends == ["bad", "bad", "CircuitOpen", "CircuitOpen"]
        assert side.pipeline.snapshot()["origins"][KEY]["circuit"]["state"] == "open"
        await side.clock.sleep(5.0)
        async with anyio.create_task_group() as tasks:  # who comes meanwhile waits for the verdict
            late: list[str] = []
            for _ in range(3):
                tasks.start_soon(lambda: append(late, side))
        assert late == ["good"] * 3
        assert side.times[2:] == [5.0, 6.0, 6.0]
        assert side.pipeline.snapshot()["origins"][KEY]["circuit"]["state"] == "closed"


async def append(ends: list[str], side: Side, **options: Any) -> None:
    ends.append(await side.call(**options))


async def test_mistakes_of_our_own_open_no_circuit(form: str) -> None:
    async with far_side(form, ["wrong"], **{**ALONE, "breaker": TWO}) as side:
        assert {await side.call() for _ in range(5)} == {"wrong"}
        assert side.pipeline.snapshot()["origins"][KEY]["circuit"]["state"] == "closed"


async def test_a_rate_limit_spaces_them_and_refuses_who_cannot_wait(form: str) -> None:
    settings = {**ALONE, "rate_limit": RateLimit(1, burst=1)}
    async with far_side(form, ["good"], **settings) as side:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(side.call)
            await side.clock.sleep(0.5)
            assert await side.call(deadline=1.5) == "RateLimited"
            assert side.clock.monotonic() == 0.5
        assert side.times == [0.0, 1.0, 2.0]


async def test_permits_bound_those_at_work_and_a_cancelled_one_gives_its_own_back(form: str) -> None:
    settings = {**ALONE, "concurrency": ConcurrencyLimit(2, max_queue=1), "attempt_timeout": None, "deadline": None}
    async with far_side(form, ["hang", "good"], **settings) as side:
        ends: list[str] = []
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as cancelled:
                    cancelled.start_soon(lambda: append([], side))
                    await anyio.wait_all_tasks_blocked()
                    for _ in range(3):
                        tasks.start_soon(lambda: append(ends, side))
                    await anyio.wait_all_tasks_blocked()
                    scope.cancel()
        assert sorted(ends) == ["ConcurrencyFull", "good", "good"]
        assert side.pipeline.snapshot()["origins"][KEY]["concurrency"] == {"limit": 2, "in_use": 0, "waiting": 0}


async def test_what_happens_is_told_in_the_same_records(form: str) -> None:
    told: list[Event] = []
    settings = {**ALONE, "retry": ONE, "breaker": TWO, "listeners": [told.append]}
    async with far_side(form, ["bad", "good"], **settings) as side:
        await side.call()
        side.pipeline.circuits.force_open(KEY)
        await side.call()
    assert [type(event).__name__ for event in told] == [
        *("CallStarted", "AttemptStarted", "AttemptEnded", "Retried", "AttemptStarted", "AttemptEnded", "CallEnded"),
        *("CircuitOpened", "CallStarted", "Refusal", "CallEnded"),
    ]
    assert {event.key for event in told} == {KEY}


@pytest.mark.parametrize(
    ("script", "call", "ends", "times", "after"),
    [
        (["hang", "good"], {}, "good", [0.0, 0.5], 1.5),
        (["bad", "good"], {}, "good", [0.0, 0.0], 1.0),
        (["bad"], {}, "bad", [0.0, 0.0], 0.0),
        (["wrong"], {}, "wrong", [0.0], 0.0),
        (["good"], {"hedge": False}, "good", [0.0], 1.0),
        (["good"], {"idempotent": False}, "good", [0.0], 1.0),
        (["hang"], {"deadline": 2.0}, "DeadlineExceeded", [0.0, 0.5], 2.0),
    ],
    ids=spelled,
)
async def test_what_takes_long_is_begun_once_more(
    form: str, script: list[Step], call: dict[str, Any], ends: str, times: list[float], after: float
) -> None:
    settings = {**ALONE, "retry": ONE, "hedge": Hedge(delay=0.5), "attempt_timeout": None}
    async with far_side(form, script, **settings) as side:
        assert await side.call(**call) == ends
        assert side.times == times
        assert side.clock.monotonic() == pytest.approx(after, abs=0.3)


# What only a function has


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline(clock=VirtualClock(jump=True), random=lambda: 0.5, retry=ONE, breaker=TWO)


async def test_arguments_and_results_pass_as_they_are(pipeline: Pipeline) -> None:
    async def show(first: int, /, *rest: int, key: str = "none", **named: int) -> tuple[Any, ...]:
        return first, rest, key, named

    assert await pipeline.call(show, 1, 2, key=KEY, other=3) == (1, (2,), "none", {"other": 3})
    assert await pipeline.guard(key=KEY)(show)(1, 2, key="mine", other=3) == (1, (2,), "mine", {"other": 3})


async def test_an_exception_is_the_functions_own_and_carries_the_history(pipeline: Pipeline) -> None:
    error = ConnectionRefusedError("scripted")

    async def fail() -> None:
        raise error

    with pytest.raises(ConnectionRefusedError) as caught:
        await pipeline.call(fail, key=KEY)
    assert caught.value is error
    history = holdfast.history(error)
    assert [attempt.error for attempt in history.attempts] == ["ConnectionRefusedError"]
    assert history.reason == "method_not_idempotent"


@pytest.mark.parametrize(
    ("error", "retry_on", "sends"),
    [
        (OSError, (OSError,), 3),
        (ConnectionResetError, (OSError,), 3),
        (TimeoutError, (), 3),
        (KeyError, (OSError,), 1),
        (KeyError, (KeyError,), 3),
        (KeyError, (OSError, LookupError), 3),
        (OSError, (LookupError,), 1),
        (ExceptionGroup, (Exception,), 3),
        (holdfast.HoldfastError, (Exception,), 1),
        (holdfast.RateLimited, (Exception,), 1),
    ],
)
async def test_the_caller_says_which_exceptions_blame_the_other_side(
    error: Callable[..., Exception], retry_on: tuple[type[Exception], ...], sends: int
) -> None:
    pipeline = Pipeline(clock=VirtualClock(jump=True), retry=ONE, breaker=None)
    calls = 0

    async def fail() -> None:
        nonlocal calls
        calls += 1
        raise error("scripted", [OSError()]) if error is ExceptionGroup else error("scripted")

    with pytest.raises(Exception, match="scripted"):
        await pipeline.call(fail, key=KEY, retry_on=retry_on, idempotent=True)
    assert calls == sends


async def test_a_result_may_be_a_failure_and_is_handed_back_if_no_better_one_comes(pipeline: Pipeline) -> None:
    results = iter([500, 500, 200, 500])

    async def status() -> int:
        return next(results)

    guarded = pipeline.guard(key=KEY, failed_if=lambda status: status >= 500, idempotent=True)(status)
    assert await guarded() == 500
    with pytest.raises(holdfast.CircuitOpen):
        await guarded()
    pipeline.circuits.reset(KEY)
    assert await guarded() == 200
    with pytest.raises(ZeroDivisionError):
        await pipeline.call(status, key=KEY, failed_if=lambda status: status // 0 > 0, idempotent=True)


async def test_a_function_that_returns_no_awaitable_is_told_of(pipeline: Pipeline) -> None:
    with pytest.raises(TypeError, match="to_thread"):
        await pipeline.call(len, "four", key=KEY)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"key": ""}, holdfast.InvalidOption, "key"),
        ({"key": KEY, "options": {"cost": -1}}, holdfast.InvalidOption, "cost"),
        ({"key": KEY, "options": {"costs": 1}}, holdfast.InvalidOption, "costs"),
        ({"key": KEY, "retry_on": (BaseException,)}, TypeError, "BaseException"),
        ({"key": KEY, "retry_on": ("OSError",)}, TypeError, "OSError"),
        ({"key": lambda: "", "options": {"deadline": 0}}, holdfast.InvalidOption, "deadline"),
    ],
    ids=spelled,
)
async def test_what_is_wrong_with_a_guard_is_told_where_it_is_made(
    pipeline: Pipeline, given: dict[str, Any], error: type[Exception], match: str
) -> None:
    async def never() -> None:
        raise AssertionError("not called")

    with pytest.raises(error, match=match):
        pipeline.guard(**given)
    if not callable(given["key"]):
        with pytest.raises(error, match=match):
            await pipeline.call(never, **given)


async def test_a_guard_keeps_the_name_and_the_signature(pipeline: Pipeline) -> None:
    class Warehouse:
        @pipeline.guard(key=lambda self, item: f"stock {item}")
        async def stock(self, item: str) -> str:
            """How many are left."""
            return item

    assert (Warehouse.stock.__name__, Warehouse.stock.__doc__) == ("stock", "How many are left.")
    assert list(inspect.signature(Warehouse.stock).parameters) == ["self", "item"]
    assert inspect.iscoroutinefunction(Warehouse.stock)
    assert await Warehouse().stock("nuts") == "nuts"
    assert "stock nuts" in pipeline.snapshot()["origins"]


async def test_a_block_passes_the_circuit_and_tells_it_how_it_came_out(pipeline: Pipeline) -> None:
    circuits = pipeline.circuits
    for error in (OSError, KeyError, TimeoutError):
        with pytest.raises(error):
            async with circuits.guard(KEY):
                raise error
    with pytest.raises(holdfast.CircuitOpen):
        async with circuits.guard(KEY):
            raise AssertionError("not entered")
    circuits.reset(KEY)
    async with circuits.guard(KEY, failures=(KeyError,)):
        pass
    assert circuits.snapshot()[KEY]["calls"] == 1


async def test_a_block_that_is_cancelled_gives_its_probe_back(pipeline: Pipeline) -> None:
    circuits, clock = pipeline.circuits, VirtualClock()
    for _ in range(2):
        with pytest.raises(OSError, match="scripted"):
            async with circuits.guard(KEY):
                raise OSError("scripted")
    await circuits.clock.sleep(5.0)
    with anyio.CancelScope() as scope:
        async with circuits.guard(KEY):
            assert circuits.snapshot()[KEY]["in_flight"] == 1
            scope.cancel()
            await clock.sleep(1.0)
    assert circuits.snapshot()[KEY]["in_flight"] == 0
    async with circuits.guard(KEY):
        pass
    assert circuits.snapshot()[KEY]["state"] == "closed"


async def test_a_limit_may_be_asked_by_hand() -> None:
    clock = VirtualClock(jump=True)
    limiter = Pipeline(clock=clock, rate_limit=RateLimit(1, burst=2)).limiter
    assert [limiter.try_acquire(KEY), limiter.try_acquire(KEY, 2.0), limiter.try_acquire(KEY)] == [True, False, True]
    assert limiter.wait_time(KEY) == 1.0
    await limiter.acquire(KEY)
    assert clock.monotonic() == 1.0
    (await limiter.acquire(KEY)).give_back()
    assert limiter.try_acquire(KEY)
    with holdfast.deadline(0.5, clock=clock), pytest.raises(holdfast.RateLimited) as caught:
        await limiter.acquire(KEY)
    assert caught.value.retry_after == 1.0


@pytest.mark.parametrize("door", ["limiter", "circuits"])
def test_what_is_not_there_has_no_door(door: str) -> None:
    with pytest.raises(ValueError, match="this pipeline has no"):
        getattr(Pipeline(breaker=None, pacing=None), door)


async def test_a_deadline_around_it_holds(pipeline: Pipeline) -> None:
    clock = pipeline.circuits.clock
    with holdfast.deadline(2.0, clock=clock):
        with pytest.raises(holdfast.DeadlineExceeded):
            await pipeline.call(clock.sleep, math.inf, key=KEY)
        assert clock.monotonic() == 2.0
        pipeline.circuits.force_open(KEY)
        with pytest.raises(holdfast.DeadlineExceeded):
            await pipeline.call(clock.sleep, math.inf, key=KEY)


async def test_a_hedged_function_sees_the_context_and_its_deadline_and_the_one_too_late_is_cancelled() -> None:
    clock, gone, begun = VirtualClock(jump=True), [], iter([math.inf, 1.0])
    pipeline = Pipeline(clock=clock, hedge=Hedge(delay=0.5), retry=Retry(retry_if=lambda *_: True), **OTHERS_OFF)
    who: ContextVar[str] = ContextVar("who")

    @pipeline.guard(key=KEY, idempotent=True, failed_if=lambda found: not found[0])
    async def ask(word: str) -> tuple[str, str, float]:
        try:
            await clock.sleep(next(begun))
        except BaseException:
            gone.append(word)
            raise
        around = in_force()
        assert around is not None
        return word, who.get(), around.left

    who.set("me")
    with holdfast.deadline(10.0, clock=clock):
        assert await ask("found") == ("found", "me", 8.5)
    await clock.settle()
    assert gone == ["found"]
    begun = iter([0.0, 0.0])
    with holdfast.deadline(10.0, clock=clock):
        assert (await ask(""))[0] == ""


async def test_requests_and_calls_share_what_they_know_of_a_key() -> None:
    family = modules_of("httpx2")
    async with stage(family, [Fails("ReadError")], repeat_last=True, retry=None, breaker=TWO) as on:

        async def fail() -> None:
            raise OSError("scripted")

        with pytest.raises(OSError, match="scripted"):
            await on.pipeline.call(fail, key="http://api.test:80")
        with pytest.raises(family.http.ReadError):
            await on.client.get(URL)
        with pytest.raises(holdfast.CircuitOpen) as caught:
            await on.client.get(URL)
        assert isinstance(caught.value, family.http.TransportError)
        with pytest.raises(holdfast.CircuitOpen) as caught:
            await on.pipeline.call(fail, key="http://api.test:80")
        assert not isinstance(caught.value, family.http.TransportError)


async def test_what_needs_http_stays_out_of_it() -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("not asked")

    async def answer(number: int) -> int:
        if not number:
            raise OSError("scripted")
        return number

    settings: dict[str, Any] = {
        "retry": Retry(retry_if=never, retry=never),
        "hooks": [never],
        "cache": holdfast.Cache(),
        "fallback": holdfast.Fallback(default=never),
    }
    pipeline = Pipeline(clock=VirtualClock(), **settings)
    assert await pipeline.call(answer, 42, key=KEY) == 42
    with pytest.raises(OSError, match="scripted"):
        await pipeline.call(answer, 0, key=KEY)
    assert pipeline.snapshot()["cache"]["entries"] == 0


WITHOUT_HTTP: Final = """
import asyncio, sys
import holdfast

async def main():
    pipeline = holdfast.Pipeline(rate_limit=holdfast.RateLimit(100), listeners=[lambda event: None])

    @pipeline.guard(key="db", idempotent=True)
    async def fail():
        raise OSError

    try:
        await fail()
    except OSError:
        pass
    pipeline.circuits.force_open("db")
    try:
        await fail()
    except holdfast.CircuitOpen as error:
        assert type(error) is holdfast.CircuitOpen

asyncio.run(main())
print(sorted({"httpx", "httpx2", "httpcore", "httpcore2", "h11"} & sys.modules.keys()))
"""


def test_no_http_library_is_needed() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_HTTP], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
