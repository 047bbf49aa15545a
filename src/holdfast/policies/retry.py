"""Sends again what may be sent again, within the attempts, the budget and the deadline of its call.

The first attempt is a plain ``await``. Only after a failure is tenacity imported, and its strategies are then
asked with a state of this call's own: one shared controller gives wrong results under concurrency.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic

import anyio
from cachetools import LRUCache

from holdfast._wire import Family, Handler, Q, R, RequestLike
from holdfast.call import CALL, Call, Owner, refusal_reason
from holdfast.clock import Clock
from holdfast.core.budget import Budget, RetryBudget
from holdfast.core.fault import Fault
from holdfast.core.retry import THROTTLED, Again, GiveUp, Retry, Verdict, judge, plan
from holdfast.core.retry_after import server_delay, should_retry
from holdfast.errors import Refused, ResponseRejected
from holdfast.policies._aside import set_aside

if TYPE_CHECKING:
    from tenacity import BaseRetrying, RetryCallState

    from holdfast.policies.emitter import Emitter

__all__ = ["Retries", "is_nested", "no_header"]

_KEYS = 1024
_SDK_RETRY = "x-stainless-retry-count"
"""Sent by the SDKs that Stainless generates (openai, anthropic): above 0, the SDK itself is sending again."""


class _Outcome(Generic[R]):
    """What an attempt left behind: a response, or the error in its place."""

    __slots__ = ("error", "fault", "predicate", "response")

    def __init__(
        self, response: R | None = None, *, error: Exception | None = None, fault: Fault | None = None
    ) -> None:
        self.response = response
        self.error = error
        self.fault = fault
        self.predicate: bool | None = None


class Retries:
    """The retry layer and its budgets, one for each key (1,024 at most, least recently used out first).

    Cancellation during a backoff ends the call at once; the kept response is closed and the drawn retry
    given back. The caller gets the last real response, open and readable, or the last exception.
    """

    def __init__(
        self,
        settings: Retry,
        budget: RetryBudget | None,
        *,
        clock: Clock,
        random: Callable[[], float],
        emitter: Emitter | None = None,
    ) -> None:
        self.emitter = emitter
        self.settings = settings
        self.clock = clock
        self.random = random
        self._budget_settings = budget
        self._budgets: LRUCache[str, Budget] = LRUCache(maxsize=_KEYS)
        self._pauses: dict[anyio.CancelScope, object] = {}
        self._recent: tuple[str, Budget] | None = None  # an LRU look-up costs more than a deposit

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        # Strategies that look at an answer look at one of HTTP.
        settings = self.settings if family.http else replace(self.settings, retry_if=None, retry=None)
        retrying = _Retrying(self, settings, inner, family)
        transport_error = family.transport_error
        inspects = settings.retry_if is not None or settings.retry is not None
        budgeted, monotonic, budget_of = self._budget_settings is not None, self.clock.monotonic, self.budget
        replayable = family.replayable

        async def handle(request: Q) -> R:
            call: Call = request.extensions[CALL]
            began: Callable[[], bool] | None = None
            if not call.options.replayable and not replayable(request):
                began = family.track(request)
            try:
                response = await inner(request)
            except transport_error as error:
                if isinstance(error, Refused):
                    raise
                outcome: _Outcome[R] = _Outcome(error=error, fault=family.fault(error))
            else:
                if budgeted:
                    budget_of(call.key).deposit(monotonic())
                if response.status_code < 400 and not inspects:
                    return response
                outcome = _Outcome(response=response)
            try:
                return await retrying.after(outcome, request, call, began)
            finally:
                del outcome  # it may hold an error whose traceback holds this frame

        return handle

    def reconfigure(self, settings: Retry, budget: RetryBudget | None) -> None:
        """For the calls that come in from now on; what budgets hold, they keep."""
        self.settings, self._budget_settings = settings, budget
        for one in self._budgets.values():
            one.reconfigure(budget or RetryBudget())

    def budget(self, key: str) -> Budget:
        """The budget of a key, made on first use."""
        if self._recent is not None and self._recent[0] == key:
            return self._recent[1]
        budget = self._budgets.get(key)
        if budget is None:
            budget = self._budgets[key] = Budget(self._budget_settings or RetryBudget())
        self._recent = (key, budget)
        return budget

    def snapshot(self) -> dict[str, float]:
        """How many retries each key has left now."""
        now, budgets = self.clock.monotonic(), self._budgets
        # A look is no use of it.
        looked_at = [(key, super(LRUCache, budgets).__getitem__(key)) for key in list(budgets)]
        return {key: budget.balance(now) for key, budget in looked_at}

    async def pause(self, seconds: float, owner: Owner | None) -> bool:
        """Sleep through a backoff; False if the transport was closed before or meanwhile."""
        if owner is not None and owner.closed:
            return False
        with anyio.CancelScope() as scope:
            self._pauses[scope] = owner
            try:
                await self.clock.sleep(seconds)
                return True
            finally:
                del self._pauses[scope]
        return False

    def dismiss(self, make_error: Callable[[], Exception], owner: object = None) -> None:
        """End the backoffs of ``owner``'s calls: each hands back its last real outcome, for that is what it has."""
        for scope in [scope for scope, waiting in self._pauses.items() if owner is None or waiting is owner]:
            scope.cancel()

    def withdraw(self, key: str) -> bool:
        return self._budget_settings is None or self.budget(key).withdraw(self.clock.monotonic())

    def refund(self, key: str) -> None:
        if self._budget_settings is not None:
            self.budget(key).refund(self.clock.monotonic())

    def deposit(self, key: str) -> None:
        if self._budget_settings is not None:
            self.budget(key).deposit(self.clock.monotonic())


class _Retrying(Generic[Q, R]):
    """What happens after a first attempt that was not plainly good. No state of its own."""

    def __init__(self, shared: Retries, settings: Retry, inner: Handler[Q, R], family: Family[Q, R]) -> None:
        self._shared = shared
        self._settings = settings
        self._inner = inner
        self._family = family
        self._asks = any((settings.retry_if, settings.retry, settings.stop))

    async def after(self, outcome: _Outcome[R], request: Q, call: Call, began: Callable[[], bool] | None) -> R:
        shared = self._shared
        if outcome.fault is not None and outcome.fault is not Fault.SATURATED:
            shared.deposit(call.key)  # a good first attempt has paid already; one that was never sent does not
        number = 1
        following: _Outcome[R] | None = None
        try:
            while True:
                answer = self._decide(outcome, request, call, number, began)
                if not isinstance(answer, Again):
                    call.reason = answer
                    if answer is not None and shared.emitter is not None:
                        shared.emitter.gave_up(call, number, answer)
                    return self._deliver(outcome, request, call)
                if shared.emitter is not None:
                    shared.emitter.retried(call, number, _failure(outcome), answer)
                if outcome.response is not None:
                    await set_aside(outcome.response, request, self._family, shared.clock)
                following = await self._again(answer.wait, request, call)
                if following is None:  # we stopped ourselves: the last real outcome stands
                    if shared.emitter is not None:
                        shared.emitter.gave_up(call, number, call.reason or "refused")
                    return self._deliver(outcome, request, call)
                if outcome.response is not None:
                    await outcome.response.aclose()
                outcome = following
                number += 1
        except BaseException as error:
            if outcome.response is not None and error is not outcome.error:
                await outcome.response.aclose()
            raise
        finally:
            del outcome, following  # one may hold an error whose traceback holds this frame

    async def _again(self, wait: float, request: Q, call: Call) -> _Outcome[R] | None:
        """Wait, and send again; None, with the reason in ``call``, if a policy of ours refused to."""
        sends = call.sends
        call.retry_wait = wait
        call.waited("backoff", wait)
        try:
            if not await self._shared.pause(wait, call.owner):
                call.reason = "closed"
                return None
            return _Outcome(response=await self._inner(request))
        except self._family.transport_error as error:
            if not isinstance(error, Refused):
                return _Outcome(error=error, fault=self._family.fault(error))
            call.reason = refusal_reason(error)
            return None
        finally:
            if call.sends == sends:
                self._shared.refund(call.key)

    def _decide(
        self, outcome: _Outcome[R], request: Q, call: Call, number: int, began: Callable[[], bool] | None
    ) -> Again | str | None:
        """The next attempt; or why there is none; None if the outcome is simply what the caller gets."""
        settings, response, random = self._settings, outcome.response, self._shared.random
        status = response.status_code if response is not None else None
        if status is not None and status < 200:
            return None
        shown = None if response is None or not self._asks else self._family.preview(response, request)
        state = self._state(shown, outcome.error, call, number) if settings.stop or settings.retry else None
        outcome.predicate = self._predicate(shown, number, state)
        header: Callable[[str], str | None] = response.headers.get if response is not None else no_header
        verdict = judge(
            settings,
            method=request.method,
            keyed=call.keyed(request.headers),
            idempotent=call.options.idempotent,
            status=status,
            fault=outcome.fault,
            server_says=should_retry(header),
            predicate=outcome.predicate,
        )
        if verdict is Verdict.UNSAFE:
            return "method_not_idempotent"
        if verdict is not Verdict.AGAIN:
            return None
        if is_nested(call, request):
            return "nested_retry"
        delay = server_delay(header, self._shared.clock.wall())
        now = self._shared.clock.monotonic()
        wait = self._backoff(outcome, call, number, throttled=status in THROTTLED and delay is None)
        answer = plan(
            settings,
            attempt=number,
            attempts=call.options.attempts or settings.attempts,
            replayable=began is None or not began(),
            server_delay=delay,
            backoff=wait,
            spread=random(),
            left=None if call.deadline is None else call.deadline - now,
        )
        if isinstance(answer, GiveUp):
            return answer.reason
        if state is not None and settings.stop is not None:
            state.upcoming_sleep = answer.wait
            if _plain(settings.stop(state)):
                return "stop"
        return answer if self._shared.withdraw(call.key) else "budget_exhausted"

    def _backoff(self, outcome: _Outcome[R], call: Call, number: int, *, throttled: bool) -> float:
        from holdfast.core.jitter import Jitter  # only after a failure, as tenacity is

        wait = self._settings.wait_throttled if throttled else self._settings.wait
        if wait is None:
            wait = _default_wait(throttled)
        if isinstance(wait, Jitter):
            return wait.seconds(number, call.retry_wait, self._shared.random)
        return max(0.0, float(_plain(wait(self._state(outcome.response, outcome.error, call, number)))))

    def _state(self, response: R | None, error: Exception | None, call: Call, number: int) -> RetryCallState:
        """What a tenacity strategy looks at, fresh for this call."""
        import tenacity

        state = tenacity.RetryCallState(_controller(), None, (), {})
        state.attempt_number = number
        state.idle_for = call.waits.get("backoff", 0.0)
        if error is not None:
            state.set_exception((type(error), error, error.__traceback__))
        else:
            state.set_result(response)
        state.start_time = call.started
        state.outcome_timestamp = self._shared.clock.monotonic()
        return state

    def _predicate(self, response: R | None, number: int, state: RetryCallState | None) -> bool | None:
        settings = self._settings
        if settings.retry is not None and state is not None:
            return bool(_plain(settings.retry(state)))
        if settings.retry_if is not None and response is not None and settings.retry_if(response, number):
            return True
        return None

    def _deliver(self, outcome: _Outcome[R], request: Q, call: Call) -> R:
        if outcome.error is not None:
            try:
                raise outcome.error
            finally:
                del outcome
        assert outcome.response is not None, "an outcome is a response or an error"
        if outcome.predicate and outcome.response.status_code < 400:
            status = outcome.response.status_code
            message = f"Retry(retry_if=...) turned down the answer ({status}) of {call.key}, {call.reason}"
            raise self._family.refusal(ResponseRejected(message, status_code=status), request)
        return outcome.response


def is_nested(call: Call, request: RequestLike) -> bool:
    """Whether somebody above sends this request again already: another pipeline, or an SDK that says so."""
    return call.single or request.headers.get(_SDK_RETRY) not in (None, "0")


def _failure(outcome: _Outcome[R]) -> str:
    """An outcome in a word, of low cardinality."""
    if outcome.error is not None:
        return type(outcome.error).__name__
    assert outcome.response is not None, "an outcome is a response or an error"
    return str(outcome.response.status_code)


@functools.cache
def _default_wait(throttled: bool) -> Callable[[RetryCallState], float]:
    from tenacity import wait_random_exponential

    return wait_random_exponential(multiplier=1.0 if throttled else 0.1, max=20.0)


@functools.cache
def _controller() -> BaseRetrying:
    """What a RetryCallState wants to belong to. It is never run, so one serves all."""
    from tenacity import Retrying

    return Retrying()


def _plain(value: Any) -> Any:
    if inspect.isawaitable(value):
        raise TypeError("Retry takes tenacity's plain strategies; an async one cannot be asked here")
    return value


def no_header(name: str) -> None:
    """The header fields of an attempt that brought no response."""
    return None
