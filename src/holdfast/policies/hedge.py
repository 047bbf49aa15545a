"""Sends a request once more while its answer takes long, hands the first good answer on, and clears the rest away.

`core.hedge` decides. Arms run as background work of the transport, for on httpx 0.28.1 the one that came too late must
be let end (encode/httpcore#1093), which may be long after its call has its answer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic

import anyio
from cachetools import LRUCache

from holdfast._wire import Family, Handler, Q, R
from holdfast.call import CALL, Call, closed_error, refusal_reason
from holdfast.clock import Clock
from holdfast.core.fault import Fault
from holdfast.core.hedge import End, Ending, Hedge, Latencies, Send, Wait, decide, judge_arm
from holdfast.core.retry_after import server_delay, should_retry
from holdfast.errors import Refused, ResponseRejected
from holdfast.policies.retry import Retries, is_nested, no_header

if TYPE_CHECKING:
    from holdfast.policies.emitter import Emitter

__all__ = ["Hedging"]

_KEYS = 1024


class Hedging:
    """Stands in the place of the retry layer, and hedges what it may; all else is for ``retries``.

    Each arm is an attempt like any other, with a permit, a token and a verdict of the circuit; but only the first
    one waits for them. Others take what is free, and one retry of the budget, or are not sent. The arm that came too
    late is cancelled, or let end and closed where the family's pool does not survive a cancellation; what becomes of
    it counts for no circuit. It belongs to the transport, whose `aclose` waits for it. Of functions (`Pipeline.guard`)
    those are hedged that may be called twice; each arm is a task of its own.

    Cancelling the call cancels all arms, and returns when they have ended.

    What answers took is shared by all transports: 1,024 keys at most, least recently used out first. An arm that came
    too late counts with the time it had taken by then: without it the quantile would sink under its own effect.
    """

    def __init__(
        self, settings: Hedge, retries: Retries, *, retries_others: bool, clock: Clock, emitter: Emitter | None = None
    ) -> None:
        self.settings = settings
        self.retries = retries
        self.clock = clock
        self.emitter = emitter
        self._retries_others = retries_others
        self._latencies: LRUCache[str, Latencies] = LRUCache(_KEYS)

    @property
    def pays(self) -> bool:
        """Whether a call pays into the budget here; else the retry layer above does, and has the last word."""
        return not (self._retries_others and self.settings.retried)

    def reconfigure(self, settings: Hedge) -> None:
        """Other settings for the calls that begin from now on; what answers took is remembered, in a window as long."""
        self.settings = settings
        for key in list(self._latencies):
            super(LRUCache, self._latencies).__getitem__(key).reconfigure(settings)

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        if not self._retries_others:
            return self._around(inner, inner, family)
        if self.settings.retried:
            return self.retries.bind(self._around(inner, inner, family), family)
        return self._around(inner, self.retries.bind(inner, family), family)

    def _around(self, inner: Handler[Q, R], otherwise: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        """Arms go to ``inner``, requests that are not hedged go ``otherwise``."""

        async def handle(request: Q) -> R:
            call: Call = request.extensions[CALL]
            if call.owner is None or call.owner.closing or not self._may_hedge(request, call, family):
                return await otherwise(request)
            delay = self.delay(call.key)
            if delay is None:
                return await self._observed(otherwise, request, call)
            return await _Race(self, inner, family, request, call, delay).run()

        return handle

    def delay(self, key: str) -> float | None:
        """Seconds after which a request is hedged now; None: not at all."""
        if self.settings.delay is not None:
            return self.settings.delay
        latencies = self._latencies.get(key)
        return None if latencies is None else latencies.delay(self.clock.monotonic())

    def took(self, key: str, seconds: float) -> None:
        """An answer took so long, or at least so long."""
        if self.settings.delay is not None:
            return
        latencies = self._latencies.get(key)
        if latencies is None:
            latencies = self._latencies[key] = Latencies(self.settings)
        latencies.record(seconds, self.clock.monotonic())

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """By key: the delay that is in force, None while too few answers are known, and how many are."""
        now, known = self.clock.monotonic(), self._latencies
        looked_at = [(key, super(LRUCache, known).__getitem__(key)) for key in list(known)]  # a look is no use of it
        return {key: {"delay": each.delay(now), "samples": each.samples(now)} for key, each in looked_at}

    def _may_hedge(self, request: Q, call: Call, family: Family[Q, R]) -> bool:
        options = call.options
        if is_nested(call, request) or options.hedge is False or options.attempts == 1:
            return False
        if not family.http:
            return call.options.idempotent
        safe = request.method in self.settings.methods or call.keyed(request.headers)
        return safe and family.replayable(request)

    async def _observed(self, handler: Handler[Q, R], request: Q, call: Call) -> R:
        """Not hedged, but it tells what an answer takes."""
        began, sends = self.clock.monotonic() - sum(call.waits.values()), call.sends
        response = await handler(request)
        if call.sends == sends + 1 and response.status_code not in self.retries.settings.statuses:
            self.took(call.key, self.clock.monotonic() - sum(call.waits.values()) - began)
        return response


class _Arm(Generic[Q, R]):
    """One request of a hedged call, with a record of its own, for arms stand in queues and take tokens each alone."""

    __slots__ = (
        "began",
        "call",
        "came_out",
        "ended",
        "error",
        "number",
        "request",
        "response",
        "saturated",
        "scope",
        "sends",
        "turned_down",
    )

    def __init__(self, number: int, call: Call, request: Q, family: Family[Q, R], now: float) -> None:
        self.number = number
        self.began = now
        self.call = own = copy.copy(call)
        own.attempts, own.waits, own.queued, own.recheck = [], {}, False, None
        own.arm = number
        self.sends = own.sends = call.sends + number - 1
        self.request = family.fresh_attempt(request)
        self.request.extensions[CALL] = own
        self.scope = anyio.CancelScope()
        self.ended = False
        self.came_out = False  # ended by an answer or an error of its own, before anybody called it off
        self.response: R | None = None
        self.error: Exception | None = None
        self.turned_down = False  # by the user's predicate
        self.saturated = False  # the pool had no connection for it, so it never left

    @property
    def sent(self) -> bool:
        return self.call.sends > self.sends

    @property
    def sent_at(self) -> float:
        return self.began + sum(self.call.waits.values())


class _Race(Generic[Q, R]):
    """The arms of one call."""

    def __init__(
        self, layer: Hedging, inner: Handler[Q, R], family: Family[Q, R], request: Q, call: Call, delay: float
    ) -> None:
        self._layer = layer
        self._retries = layer.retries
        self._clock = layer.clock
        self._inner = inner
        self._family = family
        self._request = request
        self._call = call
        self._delay = delay
        self._arms: list[_Arm[Q, R]] = []
        self._running: list[_Arm[Q, R]] = []
        self._arms_left = min(layer.settings.arms, call.options.attempts or layer.settings.arms)
        self._last: _Arm[Q, R] | None = None  # that failed
        self._reason: str | None = None  # why no further arm was sent
        self._over = False
        self._changed = anyio.Event()

    async def run(self) -> R:
        try:
            decisive = await self._decisive()
            self._over = True
            await self._leave_behind(decisive)
        except BaseException:
            self._over = True
            await self._call_off()
            raise
        finally:
            self._account()
        try:
            return self._deliver(decisive)
        finally:
            del decisive  # it may have held an error whose traceback holds this frame

    async def _decisive(self) -> _Arm[Q, R]:
        """The arm whose end is the call's: the first that is good or final, else the last that failed."""
        self._send()
        failed = False
        while True:
            for arm in [arm for arm in self._running if arm.ended]:
                self._running.remove(arm)
                match self._judge(arm):
                    case Ending.DECIDES:
                        return arm
                    case Ending.FAILED:
                        failed = True
                    case Ending.PUSHED_BACK:
                        self._stop("pushback")
                    case None:  # there was nothing to spare for it
                        continue
                self._last = arm
            now, due = self._clock.monotonic(), self._due()
            match decide(arms_left=self._arms_left, running=len(self._running), failed=failed, due=due, now=now):
                case Send():
                    failed = False
                    if self._retries.withdraw(self._call.key):
                        self._send()
                    else:
                        self._stop("budget_exhausted")
                case Wait(until=until):
                    await self._change(until)
                case End():
                    return self._gave_up()

    def _due(self) -> float:
        """When the newest arm has taken too long; while it stands in a queue of ours, not before another delay."""
        newest = self._arms[-1]
        return self._delay + (newest.sent_at if newest.sent else self._clock.monotonic())

    def _send(self) -> None:
        arm = _Arm(len(self._arms) + 1, self._call, self._request, self._family, self._clock.monotonic())
        arm.call.hedged_after = arm.began - self._arms[0].began if self._arms else 0.0
        self._arms_left -= 1
        owner = self._call.owner
        assert owner is not None, "asked before"
        self._arms.append(arm)
        self._running.append(arm)
        if not owner.start(partial(self._run, arm), partial(self._end, arm)):
            assert arm.number > 1, "asked before"
            self._stop("closed")  # the transport is closing, and lets end what runs
            arm.ended = True
            self._running.remove(arm)

    async def _run(self, arm: _Arm[Q, R]) -> None:
        try:
            with arm.scope:
                if not self._over:
                    arm.response = await self._inner(arm.request)
                    arm.came_out = True
        except Exception as error:  # the caller gets it, if it decides
            arm.error, arm.came_out = error, True
        finally:
            self._end(arm)
        if self._over and arm.response is not None:
            await arm.response.aclose()

    def _end(self, arm: _Arm[Q, R]) -> None:
        arm.ended = True
        self._changed.set()

    async def _change(self, until: float | None) -> None:
        """Return when an arm has ended, or at ``until``."""
        self._changed = anyio.Event()
        if until is None:
            await self._changed.wait()
        else:
            with self._clock.timeout_at(until):
                await self._changed.wait()

    def _judge(self, arm: _Arm[Q, R]) -> Ending | None:
        """What an arm's end means; None: it was not sent, since it was not to wait."""
        response, error, family = arm.response, arm.error, self._family
        if response is None and error is None:  # somebody else cancelled it: the transport is closed
            arm.error = family.refusal(closed_error(), self._request)
            return Ending.DECIDES
        fault = None
        if error is not None:
            if not isinstance(error, family.transport_error):
                return Ending.DECIDES
            if isinstance(error, Refused):
                if arm.number > 1 or self._running:
                    self._stop(refusal_reason(error))
                    return None if arm.number > 1 else Ending.FAILED
                return Ending.DECIDES
            fault = family.fault(error)
            arm.saturated = fault is Fault.SATURATED
            if arm.number > 1 and arm.saturated:
                self._stop("pool")
                self._retries.refund(self._call.key)
                return None
        header: Callable[[str], str | None] = response.headers.get if response is not None else no_header
        arm.turned_down = self._turns_down(response, arm.number)
        ending = judge_arm(
            self._retries.settings,
            method=self._request.method,
            keyed=self._call.keyed(self._request.headers),
            status=None if response is None else response.status_code,
            fault=fault,
            server_says=should_retry(header),
            server_delay=server_delay(header, self._clock.wall()),
            predicate=arm.turned_down or None,
        )
        if ending is Ending.DECIDES and response is not None:
            self._layer.took(self._call.key, self._clock.monotonic() - arm.sent_at)
        return ending

    def _turns_down(self, response: R | None, number: int) -> bool:
        retry_if = self._retries.settings.retry_if
        if retry_if is None or response is None or not self._family.http:
            return False
        return bool(retry_if(self._family.preview(response, self._request), number))

    def _stop(self, reason: str) -> None:
        """No further arm."""
        self._arms_left, self._reason = 0, reason

    def _gave_up(self) -> _Arm[Q, R]:
        call, emitter = self._call, self._layer.emitter
        call.reason = self._reason or "attempts"
        if emitter is not None:
            emitter.gave_up(call, len(self._arms), call.reason)
        return self._last or self._arms[0]

    async def _leave_behind(self, decisive: _Arm[Q, R]) -> None:
        """End all arms but ``decisive``, or see to it that they end by themselves."""
        call, now = self._call, self._clock.monotonic()
        for arm in self._running:
            if arm.ended:
                continue
            arm.call.superseded = True
            if arm.sent:
                self._layer.took(call.key, now - arm.sent_at)
                call.attempts.append((arm.call.sends, arm.sent_at, now, None, "Superseded", 0.0))
            if self._family.cancellable or not arm.sent:
                arm.scope.cancel()
        for arm in self._arms:
            if arm is not decisive:
                arm.error = None  # its traceback holds the frames that hold it
                if arm.response is not None:
                    await arm.response.aclose()
        for place, seconds in decisive.call.waits.items():
            call.waits[place] = call.waits.get(place, 0.0) + seconds

    async def _call_off(self) -> None:
        """The caller has gone: end all arms, and whatever they have."""
        with anyio.CancelScope(shield=True):
            for arm in self._arms:
                arm.scope.cancel()
            while not all(arm.ended for arm in self._arms):
                await self._change(None)
            for arm in self._arms:
                arm.error = None
                if arm.response is not None:
                    await arm.response.aclose()

    def _account(self) -> None:
        """What was sent is the call's: in its history, and in the budget that first attempts pay for."""
        call = self._call
        for arm in self._arms:
            if arm.ended and not arm.call.superseded:
                call.attempts += arm.call.attempts
            if arm.number > 1 and not arm.sent:
                self._retries.refund(call.key)
        call.attempts.sort(key=itemgetter(0))
        call.sends += sum(arm.sent for arm in self._arms)
        if self._layer.pays and any(arm.sent and arm.came_out and not arm.saturated for arm in self._arms):
            self._retries.deposit(call.key)

    def _deliver(self, arm: _Arm[Q, R]) -> R:
        if arm.error is not None:
            error, arm.error = arm.error, None
            try:
                raise error
            finally:
                del error
        response = arm.response
        assert response is not None, "an arm that decides has a response or an error"
        if arm.turned_down and self._layer.pays and response.status_code < 400:
            message = f"Retry(retry_if=...) turned down the answer ({response.status_code}) of {self._call.key}"
            raise self._family.refusal(ResponseRejected(message, status_code=response.status_code), self._request)
        emitter = self._layer.emitter
        if arm.number > 1 and emitter is not None and response.status_code < 400:
            emitter.hedge_won(self._call, arm.number)
        return response
