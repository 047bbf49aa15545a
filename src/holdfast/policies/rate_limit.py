"""Rate limits: each request takes a token of every limit that it comes under, and waits until it can.

`core.bucket`, `core.sliding` and `core.limits` decide; `_gates` knows whose tokens they are, `_gate` has the line. Here
is what they must not know: the calls, their deadlines, and what an answer says of the server's own limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio
import sniffio

from holdfast._wire import Family, Handler, Q, R, ResponseLike
from holdfast.call import CALL, Call, Options
from holdfast.clock import Clock
from holdfast.core.bucket import RateLimit
from holdfast.core.limits import Place, Scope
from holdfast.core.pacing import Pacing
from holdfast.core.retry_after import ASKING, LOOK_EVERY, server_delay, tells
from holdfast.core.sliding import Window
from holdfast.errors import InvalidOption, RateLimited, Refused
from holdfast.policies._gate import Caller, Gate
from holdfast.policies._gates import Gates, Limit

if TYPE_CHECKING:
    from holdfast.core.adaptive import Adaptive
    from holdfast.core.hints import Hint
    from holdfast.policies.emitter import Emitter

__all__ = ["RateLimiter", "Tokens", "described", "scope_of"]


class Tokens:
    """What `RateLimiter.acquire` took. `give_back` it if nothing was sent; once, and harmless after that."""

    __slots__ = ("_give_back",)

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def give_back(self) -> None:
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


class RateLimiter:
    """Holds back each request until all limits have a token for it; a cost of more than one takes that many.

    ``pipeline.limiter`` is one, for what is sent past the pipeline's transports and takes of the same tokens.

    Tokens of several limits are taken in one step, or none. Shared by all transports that are given it, through
    their pipeline; the state of a key is plain numbers while nobody waits, so it survives the end of an event loop.
    A second loop whose callers must wait while those of the first still do gets a RuntimeError.

    Raises the family's `RateLimited` at once, without joining the line, if the wait is longer than what
    the deadline or ``max_wait`` leaves, or if the line is full; ``retry_after`` is the wait. Raises
    `InvalidOption` (a ValueError) if the cost is above what one limit can ever hold. A caller that is cancelled
    leaves the line as if it had never stood there; a token that was not used for a send goes back.

    ``pacing`` says what is made of the server's own word on its limits (None: nothing). It may be all there is: without
    a limit, nobody is held back before a server asks for it.

    >>> from holdfast.clock import SystemClock
    >>> limiter = RateLimiter(RateLimit(2, per=60.0, burst=1), clock=SystemClock())
    >>> limiter.try_acquire("https://api.example:443"), limiter.try_acquire("https://api.example:443")
    (True, False)
    """

    def __init__(
        self,
        limits: Limit | Sequence[Limit],
        *,
        clock: Clock,
        pacing: Pacing | None = None,
        emitter: Emitter | None = None,
    ) -> None:
        self.limits: tuple[Limit, ...] = (limits,) if isinstance(limits, RateLimit | Window) else tuple(limits)
        self._hears = pacing is not None
        self._pacing = pacing or Pacing("off")
        self._clock = clock
        self._emitter = emitter
        self._gates = Gates(self.limits, self._pacing, clock)
        self._max_wait, self._max_queue = _bounds(self.limits)
        self._arrivals = count()

    def reconfigure(self, limits: Sequence[Limit], pacing: Pacing | None) -> None:
        """Other figures from now on, also for those who wait; `shape_of` is as before. Tokens stay, as do lines.

        So does a silence that a server asked for; a quota that it told of is forgotten if ``pacing`` is now "off".
        """
        self.limits, self._pacing = tuple(limits), pacing or Pacing("off")
        self._max_wait, self._max_queue = _bounds(self.limits)
        self._gates.reconfigure(self.limits, self._pacing)
        for gate in self._gates.all():
            self._review(gate)
            gate.look_again()

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        monotonic, gates, hears = self._clock.monotonic, self._gates, self._hears
        plain = gates.plain

        async def handle(request: Q) -> R:
            call: Call = request.extensions[CALL]
            gate = gates.recent
            if not plain or gate is None or gate.key != call.key:
                try:
                    gate = gates.find(scope_of(call))
                except InvalidOption as error:
                    raise family.refusal(error, request) from error.__cause__
            cost = call.options.cost
            place = None if gate.busy else gate.meter.take(cost, monotonic())
            if place is None:
                try:
                    place = await self._pass(gate, call, cost)
                except (Refused, InvalidOption) as error:
                    raise family.refusal(error, request) from None
            sends, pace, adaptive = call.sends, gate.pace, gate.adaptive
            sent_at = 0.0
            if adaptive is not None:
                sent_at = monotonic()
                adaptive.sent(cost, sent_at)
            if pace is not None:
                pace.in_flight += cost
            try:
                response = await inner(request)
            finally:
                if pace is not None:
                    pace.in_flight -= cost
                if call.sends == sends:
                    gate.give_back(place, cost, monotonic())
            if hears:
                told = False
                if gate.look_in and response.status_code not in ASKING:
                    gate.look_in -= 1
                else:
                    told = self._hear(gate, response)
                if adaptive is not None and not (told and response.status_code == 429):
                    self._adapt(gate, adaptive, cost, sent_at, refused=response.status_code == 429)
            return response

        return handle

    async def acquire(
        self, key: str | Scope, cost: float = 1.0, *, max_wait: float | None = None, priority: int = 0
    ) -> Tokens:
        """Wait in line for tokens, for anything that is about to be sent under ``key``.

        ``key`` may be a `Scope`, for limits with keys of their own. ``max_wait``: seconds (None: as long as the limits'
        own and the deadline of the context allow); 0 takes what is there or raises. Raises `RateLimited` and
        `InvalidOption` as a request does. Cancelled, it leaves no trace.
        """
        if max_wait is not None and not max_wait >= 0:  # nan is neither
            raise InvalidOption(f"max_wait must be 0 seconds or more, got {max_wait}")
        from holdfast._calls import call_outside

        started = self._clock.monotonic()
        options = Options(cost=cost, priority=priority)
        scope = _scoped(key)
        call = call_outside(scope.key, self._clock, options, max_wait)
        gate = self._gates.find(scope)
        place = None if gate.busy else gate.meter.take(cost, started)
        if place is None:
            place = await self._pass(gate, call, cost)
        return Tokens(lambda: gate.give_back(place, cost, self._clock.monotonic()))

    def try_acquire(self, key: str | Scope, cost: float = 1.0) -> bool:
        """Take tokens if they are there and nobody waits for them; there is no giving back."""
        gate = self._gates.find(_scoped(key))
        self._check_cost(gate, cost)
        if gate.waiting:
            return False
        now = self._clock.monotonic()
        return gate.take(Caller(cost, now, next(self._arrivals), None, now, 0), now, queued=False) is not None

    def wait_time(self, key: str | Scope, cost: float = 1.0, *, priority: int = 0) -> float:
        """Seconds that a request would wait which arrives now; 0 if it would not. Takes nothing.

        Never too long unless somebody in front gives up, and exact for one `RateLimit` with callers of one priority.
        """
        gate = self._gates.find(_scoped(key))
        self._check_cost(gate, cost)
        return gate.wait_to_join(cost, self._clock.monotonic(), priority)

    def block(self, key: str | Scope, until: float) -> None:
        """No request of ``key`` before ``until`` (monotonic seconds), waiting ones included; then at the rate.

        Those who cannot wait that long are refused now. A block is never shortened.
        """
        gate = self._gates.find(_scoped(key))
        gate.block(until)
        self._review(gate)

    def hear(self, call: Call, response: ResponseLike) -> None:
        """Go by what the answer to ``call`` says of the server's own limits, as all callers of its keys do then."""
        self._hear(self._gates.find(scope_of(call)), response)

    def _hear(self, gate: Gate, response: ResponseLike) -> bool:
        """True if the answer said anything of limits."""
        pacing, header = self._pacing, response.headers.get
        now, wall = self._clock.monotonic(), self._clock.wall()
        silence, source = 0.0, "retry_after"
        hints: tuple[Hint, ...] = ()
        delay = server_delay(header, wall) if response.status_code in ASKING else None
        if delay is not None:  # goes before what the same answer says of quotas
            silence = min(delay, pacing.max_server_delay)
            gate.block(now + silence)
        elif pacing.mode == "off":
            gate.look_in = math.inf
        elif hints := self._hints(response, wall):
            gate.look_in = 0
            silence, source = gate.paced().learn(hints, now), hints[0].source
            gate.look_again()
        elif not gate.look_in:
            gate.look_in = LOOK_EVERY - 1
        if silence > 0:
            self._review(gate)
            if self._emitter is not None:
                from holdfast.events import LimitBlocked

                self._emitter.emit(LimitBlocked(**self._emitter.at(gate.key), seconds=silence, source=source))
        return delay is not None or bool(hints)

    def _adapt(self, gate: Gate, adaptive: Adaptive, cost: float, sent_at: float, *, refused: bool) -> None:
        now = self._clock.monotonic()
        if not (adaptive.refused(sent_at, now) if refused else adaptive.accepted(cost, now)):
            return
        gate.paced()
        gate.look_again()
        if refused:
            self._review(gate)
        if self._emitter is not None:
            from holdfast.events import LimitAdapted

            assert adaptive.rate is not None, "it has moved"
            self._emitter.emit(LimitAdapted(**self._emitter.at(gate.key), limit=adaptive.rate, policy="rate_limit"))

    def _hints(self, response: ResponseLike, wall: float) -> tuple[Hint, ...]:
        if not tells(response.status_code, response.headers.raw):
            return ()
        from holdfast.core.hints import hints_of  # its patterns take a while to compile

        return hints_of(response.headers.get, wall, reset=self._pacing.reset)

    def dismiss(self, make_error: Callable[[], Exception], owner: object = None) -> None:
        """Send away all who wait, or those of one ``owner``: each raises an error of its own."""
        for gate in self._gates.all():
            for caller in gate.line:
                if owner is None or caller.owner is owner:
                    gate.dismiss(caller, make_error())

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """By key: settings, tokens there (below 0 during a block), callers waiting, seconds still blocked.

        ``limit``, ``per`` and ``burst`` are the first limit's; ``limits`` has them all. ``remaining`` and ``resets_in``
        are the server's word, None if it said nothing; ``adapted_rate`` is what it seems to stand, None if not known.
        """
        now = self._clock.monotonic()
        settings = [described(limit) for limit in self.limits]
        first = settings[0] if settings else {}
        said: dict[str, dict[str, Any]] = {}
        for gate in self._gates.all():
            remaining, resets_in = (None, None) if gate.pace is None else gate.pace.snapshot(now)
            said[gate.key] = {
                **first,
                "limits": settings,
                "engine": "leaky" if self._gates.leaky else "smooth",
                "tokens": gate.meter.available(now),
                "waiting": len(gate.line),
                "blocked_for": max(0.0, gate.blocked_until - now),
                "remaining": remaining,
                "resets_in": resets_in,
                "adapted_rate": None if gate.adaptive is None else gate.adaptive.rate,
            }
        return said

    async def _pass(self, gate: Gate, call: Call, cost: float) -> Place:
        """Off the short way: at once if nobody waits and the tokens are there, else through the line."""
        started = self._clock.monotonic()
        self._check_cost(gate, cost)
        gate.line.settle_loop()
        caller = self._caller(call, cost, started)
        if not gate.waiting and (place := gate.take(caller, started, queued=False)) is not None:
            return place
        if call.arm > 1:  # a hedge waits for nothing
            raise self._too_long(gate, gate.wait_to_join(cost, started, call.options.priority))
        self._check_wait(gate, caller, started)
        gate.busy += 1
        try:
            await self._stand(gate, caller)
            now = self._clock.monotonic()
        except BaseException:
            if not gate.leave(caller) and caller.place is not None:
                gate.give_back(caller.place, cost, self._clock.monotonic())
            raise
        finally:
            gate.busy -= 1
        caller.raise_if_dismissed()
        assert caller.place is not None, "either sent away or served"
        call.waited("rate_limit", now - started)
        return gate.meter.sent(caller.place, cost, now)

    def _caller(self, call: Call, cost: float, now: float) -> Caller:
        until = math.inf if self._max_wait == math.inf else now + self._max_wait
        if call.deadline is not None and call.deadline < until:
            until = call.deadline
        return Caller(cost, until, next(self._arrivals), call.owner, now, call.options.priority)

    async def _stand(self, gate: Gate, caller: Caller) -> None:
        """Return once the caller was served or sent away."""
        gate.join(caller)
        if gate.line.first is caller and gate.waiting > 1:
            await self._clock.sleep(0.0)  # those who were served a moment ago run first
        while caller.outcome is None:
            if gate.line.first is caller:
                await self._keep_time(gate, caller)
            else:
                await caller
                gate.line.renew(caller)  # it may be overtaken, and wait again

    async def _keep_time(self, gate: Gate, first: Caller) -> None:
        """Serve those whose tokens are there, send away whose time is over; if there is nobody, let time pass."""
        now = self._clock.monotonic()
        wait = gate.wait(first, now)
        if wait <= 0:
            gate.serve(now)
            return
        hasty = gate.next_end()
        if hasty is not None and hasty.until <= now:
            gate.leave(hasty)
            hasty.settle(self._too_long(gate, gate.wait_to_join(hasty.cost, now, hasty.priority)))
            return
        with anyio.CancelScope() as first.scope:
            if hasty is not None and hasty.until < now + wait:
                await self._clock.sleep(hasty.until - now)
            else:
                await self._pass_time(gate, first.cost, now, wait)
        first.scope = None

    async def _pass_time(self, gate: Gate, cost: float, now: float, wait: float) -> None:
        """Return about when the head's tokens are due; the meter has the last word."""
        if gate.aio is None or gate.pace is not None or sniffio.current_async_library() != "asyncio":
            await self._clock.sleep(wait)
        elif (surplus := gate.aio.surplus(now)) > 0:
            await self._clock.sleep(surplus)
        elif not await gate.aio.stand(cost, now):
            await self._clock.sleep(wait)

    def _review(self, gate: Gate) -> None:
        """The wait has grown: refuse now those who cannot wait that long."""
        now, ahead = self._clock.monotonic(), 0.0
        for caller in gate.line:
            wait = gate.own_wait(caller.cost, now, ahead=ahead)
            if now + wait > caller.until:
                gate.dismiss(caller, self._too_long(gate, wait))
            else:
                ahead += caller.cost
        for crossing in gate.crossings:
            crossing.look_again()

    def _check_wait(self, gate: Gate, caller: Caller, now: float) -> None:
        """May this caller join? Raises what it is told if not."""
        wait = gate.wait_to_join(caller.cost, now, caller.priority)
        if now + wait > caller.until:
            raise self._too_long(gate, wait)
        if len(gate.line) >= self._max_queue:
            raise RateLimited(
                f"{len(gate.line)} requests already wait for a token of {gate.key}, which is max_queue",
                policy="rate_limit",
                key=gate.key,
                retry_after=wait,
            )

    def _check_cost(self, gate: Gate, cost: float) -> None:
        if not cost > 0:
            raise InvalidOption(f"cost must be more than 0 tokens, got {cost}")
        if cost > gate.meter.largest:
            largest = f"{gate.meter.largest:g}"
            raise InvalidOption(f"cost={cost:g} can never pass a rate limit whose burst is {largest}")

    def _too_long(self, gate: Gate, wait: float) -> RateLimited:
        return RateLimited(
            f"a token of {gate.key} would be there in {wait:.3f} s, which is longer than this call can wait",
            policy="rate_limit",
            key=gate.key,
            retry_after=wait,
        )


def _bounds(limits: Sequence[Limit]) -> tuple[float, int]:
    """The shortest ``max_wait`` and ``max_queue`` of them all."""
    max_wait = min((limit.max_wait for limit in limits if limit.max_wait is not None), default=math.inf)
    return max_wait, min((limit.max_queue for limit in limits), default=10_000)


def _scoped(key: str | Scope) -> Scope:
    return key if isinstance(key, Scope) else Scope(key)


def scope_of(call: Call) -> Scope:
    return Scope(call.key, call.options.operation, call.options.identity)


def described(limit: Limit) -> dict[str, float | str]:
    burst = limit.capacity if isinstance(limit, RateLimit) else limit.limit
    kind = "rate" if isinstance(limit, RateLimit) else "window"
    return {"kind": kind, "limit": limit.limit, "per": limit.per, "burst": burst}
