"""The circuit breaker as a layer: each attempt asks its circuit, and reports how it came out.

Decisions are `holdfast.core.breaker`'s. Here is what it must not know: the calls, the
queue in front of a half-open circuit, what the last failure looked like, and which circuits there are.
"""

from __future__ import annotations

import logging
import random as random_module
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal

from cachetools import LRUCache

from holdfast._body import Body
from holdfast._wire import Family, Handler, Q, R
from holdfast.call import CALL, Call
from holdfast.clock import Clock
from holdfast.core.breaker import Verdict, admit, at_once, closed, disabled, forced_open, holds, record, renew
from holdfast.core.breaker_settings import CircuitBreaker, Outcome, judge_fault, judge_status
from holdfast.core.circuit import (
    Answer,
    Closed,
    Disabled,
    ForcedOpen,
    HalfOpen,
    Open,
    Permit,
    Ramping,
    Refuse,
    State,
)
from holdfast.core.retry_after import server_delay
from holdfast.errors import CircuitOpen, HoldfastError, InvalidOption, Refused, ServerFault, StatusError
from holdfast.policies._circuit import Circuit, copier, describe

if TYPE_CHECKING:
    from holdfast._calls import Errors
    from holdfast.policies.emitter import Emitter

__all__ = ["Circuits", "TransitionListener"]

TransitionListener = Callable[[str, str, str, float], None]
"""Told (key, old state, new state, monotonic seconds). Called in line: it must not wait."""

_MAX_KEYS = 1024

_logger = logging.getLogger("holdfast.breaker")


class Circuits:
    """The circuits of a pipeline, one for each key (default: origin), shared by all its transports.

    A call that may not pass ends with `CircuitOpen`; it waits only while a probe is out or a circuit
    ramps up, within its deadline. Cancelling a call frees its place, and says nothing about the server. At
    most 1024 closed circuits are kept, the least recently used going first; the others all stay. State is
    loop-free while nobody waits; it belongs to one event loop at a time, and to one thread.

    ``attempt_timeout`` is the pipeline's, for the lease of a probe. A listener that raises is logged once and
    not called again.

    >>> from holdfast.clock import SystemClock
    >>> circuits = Circuits(CircuitBreaker(failures=5), clock=SystemClock())
    >>> circuits.force_open("https://api.example:443")
    >>> circuits.snapshot()["https://api.example:443"]["state"]
    'forced_open'
    """

    def __init__(
        self,
        settings: CircuitBreaker,
        *,
        clock: Clock,
        random: Callable[[], float] = random_module.random,
        attempt_timeout: float | None = None,
        on_transition: TransitionListener | None = None,
        emitter: Emitter | None = None,
        max_keys: int = _MAX_KEYS,
    ) -> None:
        if settings.lease is None and attempt_timeout is not None:
            settings = replace(settings, lease=2 * attempt_timeout)
        self.settings = settings
        self.clock = clock
        self._random = random
        self.on_transition = on_transition
        self._emitter = emitter
        # A circuit in any other state than closed is not in the bounded registry, so it is never evicted.
        self._idle: LRUCache[str, Circuit] = LRUCache(max_keys)
        self._busy: dict[str, Circuit] = {}
        self._recent: Circuit | None = None  # an LRU look-up costs more than all the rest of the closed path

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        layer = _Layer(self, family)
        if self.settings.observe:
            return self._observing(inner, family, layer)
        find, own_key, slow_after = self.find, self.settings.key, self.settings.slow_after
        monotonic, body_of = self.clock.monotonic, family.body

        async def handle(request: Q) -> R:
            call: Call = request.extensions[CALL]
            key = call.key if own_key is None else layer.key(own_key, call, request)
            circuit = self._recent
            if circuit is None or circuit.key != key:
                circuit = find(key)
            while True:
                state = circuit.state
                if type(state) is Closed:
                    permit = state.permit
                    call.recheck = circuit.recheck
                else:
                    permit = await layer.turn(circuit, call, request)
                    call.recheck = partial(self.recheck, circuit, permit)
                begun = None if slow_after is None else monotonic() - sum(call.waits.values())
                sends = call.sends
                try:
                    response = await inner(request)
                except BaseException as error:
                    unasked = call.sends == sends and not holds(circuit.state, permit)
                    layer.failed(circuit, permit, call, error, begun)
                    if unasked and isinstance(error, CircuitOpen):
                        continue  # the circuit changed while this call stood in a later queue: it asks anew
                    raise
                body = None if response.is_closed else body_of(response)
                if body is not None and body.in_memory:
                    body = None
                if type(state) is Closed and begun is None:
                    layer.passed(circuit, state, call, response, body, monotonic())
                else:
                    layer.answered(circuit, permit, call, response, body, begun)
                return response

        return handle

    def _observing(self, inner: Handler[Q, R], family: Family[Q, R], layer: _Layer[Q, R]) -> Handler[Q, R]:
        """What a circuit would refuse is counted, reported and sent; how that comes out moves no circuit."""
        own_key = self.settings.key

        async def handle(request: Q) -> R:
            call: Call = request.extensions[CALL]
            circuit = self.find(call.key if own_key is None else layer.key(own_key, call, request))
            begun = self.clock.monotonic()
            answer = self.admit(circuit, begun)
            begun -= sum(call.waits.values())
            if isinstance(answer, Refuse):
                circuit.would_reject += 1
                if self._emitter is not None:
                    self._emitter.refused(call, layer.refused(circuit, answer.retry_after), observed=True)
            if not isinstance(answer, Permit):
                return await inner(request)
            try:
                response = await inner(request)
            except BaseException as error:
                layer.failed(circuit, answer, call, error, begun)
                raise
            body = None if response.is_closed else family.body(response)
            layer.answered(circuit, answer, call, response, body, begun)
            return response

        return handle

    @asynccontextmanager
    async def guard(self, key: str, *, failures: Errors = (OSError,)) -> AsyncGenerator[None, None]:
        """Let what is done in the ``async with`` block pass the circuit of ``key``, and tell it how that came out.

        Raises `CircuitOpen` in place of entering; waits only as a call does, within the deadline of the context.
        An exception of ``failures``, or a timeout, counts against the other side; any other, and a cancellation,
        says nothing.
        """
        from holdfast._calls import NO_WORK, CallFamily, Result, Work, call_outside, check_errors

        check_errors(failures)
        layer: _Layer[Work, Result] = _Layer(self, CallFamily(failures))
        call, circuit = call_outside(key, self.clock), self.find(key)
        state = circuit.state
        permit = state.permit if type(state) is Closed else await layer.turn(circuit, call, NO_WORK)
        begun = self.clock.monotonic() - sum(call.waits.values())
        try:
            yield
        except BaseException as error:
            layer.failed(circuit, permit, call, error, begun)
            raise
        layer.answered(circuit, permit, call, Result(None), None, begun)

    def reconfigure(self, settings: CircuitBreaker, attempt_timeout: float | None) -> None:
        """Other settings from now on; every circuit stays in its state.

        A closed one keeps its run of failures, and its window if that is as long as before.
        """
        if settings.lease is None and attempt_timeout is not None:
            settings = replace(settings, lease=2 * attempt_timeout)
        before, self.settings = self.settings, settings
        counted = ((each.window, each.slots, each.slow_after is None) for each in (before, settings))
        if len(set(counted)) > 1:
            for circuit in (*self._idle.values(), *self._busy.values()):
                if isinstance(circuit.state, Closed):
                    fresh, tally = closed(settings).tally, circuit.state.tally
                    tally.window, tally.slow = fresh.window, fresh.slow

    def force_open(self, key: str) -> None:
        """Refuse all calls of ``key`` until `reset`."""
        circuit = self.find(key)
        self._by_hand(circuit, forced_open(circuit.state, self.clock.monotonic()))

    def force_closed(self, key: str) -> None:
        """Let all calls of ``key`` pass, whatever comes of them, until `reset`."""
        circuit = self.find(key)
        self._by_hand(circuit, disabled(circuit.state))

    def reset(self, key: str) -> None:
        """Close the circuit of ``key`` and forget what was counted; calls on their way count no more."""
        circuit = self.find(key)
        self._by_hand(circuit, closed(self.settings, circuit.state.generation + 1))
        circuit.failure = None

    def probe(self, key: str) -> None:
        """Let the next call of ``key`` be the probe of its circuit, if that is open, before it would be due."""
        circuit = self._busy.get(key)
        if circuit is not None and isinstance(circuit.state, Open):
            self._by_hand(circuit, at_once(circuit.state, self.clock.monotonic()))

    def dismiss(self, make_error: Callable[[], Exception], owner: object = None) -> None:
        """Send away all who wait, or those of one ``owner``: each raises an error of its own."""
        for circuit in (*self._busy.values(), *self._idle.values()):
            circuit.queue.dismiss(make_error, owner)

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """Each key's state as plain data; times are seconds from now. Inner keys are only ever added.

        ``for``: how long it has not been closed, through all of its states (None: it is).
        """
        now, idle = self.clock.monotonic(), self._idle
        # LRUCache.__getitem__ would take a look for a use; and the look may come from a thread that scrapes metrics.
        resting = [super(LRUCache, idle).__getitem__(key) for key in list(idle)]
        return {circuit.key: describe(circuit, self.settings, now) for circuit in (*resting, *self._busy.values())}

    def find(self, key: str) -> Circuit:
        """The circuit of ``key``; a new one is closed."""
        circuit = self._busy.get(key) or self._idle.get(key)
        if circuit is None:
            state = closed(self.settings)
            circuit = self._idle[key] = Circuit(key, state)
            circuit.recheck = partial(self.recheck, circuit, state.permit)
        self._recent = circuit
        return circuit

    def admit(self, circuit: Circuit, now: float) -> Answer:
        state, answer = admit(circuit.state, self.settings, now)
        self._move(circuit, state, now)
        return answer

    def recheck(self, circuit: Circuit, permit: Permit) -> None:
        """Asked after a wait in a later queue, just before the request is sent (R0.4).

        The CircuitOpen tells the layers between to give back what they hold. It comes up to `bind`'s handler,
        where the call asks anew: it is refused there, or waits for its turn, or is the probe.
        """
        state = circuit.state
        if not holds(state, permit):
            raise CircuitOpen(f"the circuit of {circuit.key} changed", key=circuit.key, state=state.name)
        circuit.state = renew(state, permit, self.settings, self.clock.monotonic())

    def settle(self, circuit: Circuit, permit: Permit, verdict: Verdict) -> None:
        state = circuit.state
        if permit.generation != state.generation:
            circuit.late += 1
            return
        self._move(circuit, record(state, self.settings, permit, verdict, self._random), verdict.now)
        circuit.queue.nudge()

    def _by_hand(self, circuit: Circuit, state: State) -> None:
        self._move(circuit, state, self.clock.monotonic())
        circuit.queue.nudge()

    def _move(self, circuit: Circuit, state: State, now: float) -> None:
        before, circuit.state = circuit.state, state
        if type(before) is type(state):
            if isinstance(state, Closed):
                circuit.recheck = partial(self.recheck, circuit, state.permit)
            return
        if isinstance(state, Closed):
            self._busy.pop(circuit.key, None)
            self._idle[circuit.key] = circuit
            circuit.recheck = partial(self.recheck, circuit, state.permit)
            self._recent = None  # making room may have evicted it
        elif isinstance(before, Closed):
            self._idle.pop(circuit.key, None)
            self._busy[circuit.key] = circuit
            circuit.left = now
        if self._emitter is not None:
            self._emitter.circuit_moved(circuit.key, before, state, self.settings, now)
        if self.on_transition is not None:
            try:
                self.on_transition(circuit.key, before.name, state.name, now)
            except Exception:  # protects the call, which has nothing to do with who listens
                self.on_transition = None
                _logger.exception("a circuit breaker's on_transition raised and is not called again")


class _Layer(Generic[Q, R]):
    """One bind of `Circuits`: what is done for a call off the fast path. Holds no state of its own."""

    __slots__ = ("_circuits", "_clock", "_failure_from", "_family", "_settings")

    def __init__(self, circuits: Circuits, family: Family[Q, R]) -> None:
        self._circuits = circuits
        self._settings = circuits.settings
        self._clock = circuits.clock
        self._failure_from = min(429, *circuits.settings.failure_statuses)
        self._family = family

    def key(self, own_key: Literal["operation"] | Callable[..., str], call: Call, request: Q) -> str:
        if own_key == "operation":
            from holdfast.core.limits import Scope, key_for  # for those who ask for it

            return key_for("operation", Scope(call.key, call.options.operation))
        if call.options.key is not None:
            return call.options.key
        try:
            key = own_key(request)
        except Exception as error:  # the user's function; what it broke on is chained
            problem = InvalidOption(f"the circuit breaker's key function raised {type(error).__name__}: {error}")
            raise self._family.refusal(problem, request) from error
        if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]  (it is the user's)
            problem = InvalidOption(f"the circuit breaker's key function returned {key!r}, which is no string")
            raise self._family.refusal(problem, request)
        return key

    async def turn(self, circuit: Circuit, call: Call, request: Q) -> Permit:
        """A permit, at once or after a wait; raises CircuitOpen. What happens to it is up to the caller."""
        circuits, queue = self._circuits, circuit.queue
        asked = self._clock.monotonic()
        if call.arm > 1 and not isinstance(circuit.state, Disabled):  # neither a probe nor a load is to be doubled
            raise self.refusal(circuit, self._estimate(circuit), request)
        if not queue or not isinstance(circuit.state, HalfOpen | Ramping):
            answer = circuits.admit(circuit, asked)
            if isinstance(answer, Permit):
                return answer
            if isinstance(answer, Refuse):
                raise self.refusal(circuit, answer.retry_after, request)
        if len(queue) >= self._settings.queue:
            raise self.refusal(circuit, self._estimate(circuit), request)
        permit: Permit | None = None

        def ask(head: bool) -> float | None:
            nonlocal permit
            now, until = self._clock.monotonic(), float("inf")
            if head:
                answer = circuits.admit(circuit, now)
                if isinstance(answer, Permit):
                    permit = answer
                    return None
                if isinstance(answer, Refuse):
                    raise self.refusal(circuit, answer.retry_after, request)
                until = answer.until
            patience = self._patience(circuit, call, asked)
            if now >= patience:
                raise self.refusal(circuit, self._estimate(circuit), request)
            return min(until, patience)

        try:
            await queue.wait(self._clock, ask, call.owner)
        except Refused as error:
            if isinstance(error, self._family.transport_error):
                raise
            raise self._family.refusal(error, request) from None  # sent away: the transport is closed
        finally:
            call.waited("circuit", self._clock.monotonic() - asked)
        assert permit is not None, "the queue lets nobody pass without one"
        return permit

    def passed(self, circuit: Circuit, state: Closed, call: Call, response: R, body: Body | None, now: float) -> None:
        """As `answered`, for a call that a closed circuit let pass."""
        if state is not circuit.state or response.status_code >= self._failure_from:
            self.answered(circuit, state.permit, call, response, body, None)
            return
        # What `core.breaker.record` would do, written out: its calls cost more than all this path may.
        tally = state.tally
        window = tally.window
        if now >= window.ends_at:
            window.roll(now)
        window.calls += 1
        if body is None:
            tally.run = 0
        else:
            body.watch(partial(self.ended, circuit, state.permit, call))

    def answered(
        self, circuit: Circuit, permit: Permit, call: Call, response: R, body: Body | None, begun: float | None
    ) -> None:
        """``body``: what is still on the wire."""
        status = response.status_code
        outcome, delay = judge_status(self._settings, status), 0.0
        if call.superseded:
            outcome = Outcome.IGNORED
        if outcome is Outcome.SUCCESS and body is not None:
            outcome = Outcome.HEAD
        if outcome is Outcome.FAILURE:
            kind = ServerFault if status >= 500 else StatusError
            message = f"the last failure of {circuit.key} was a response with status {status}"
            self._remember(circuit, permit, partial(kind, message, status_code=status))
            if status in (429, 503):
                delay = server_delay(response.headers.get, self._clock.wall()) or 0.0
        self._settle(circuit, permit, outcome, call, begun, delay)
        if outcome is Outcome.HEAD and body is not None:
            body.watch(partial(self.ended, circuit, permit, call))

    def ended(self, circuit: Circuit, permit: Permit, call: Call, error: BaseException | None, complete: bool) -> None:
        """The body of a good head ended. A caller that closed it early was served well enough."""
        if error is None:
            state = circuit.state
            if type(state) is Closed and state.permit is permit:
                state.tally.run = 0  # all that `core.breaker.record` would do
            else:
                self._settle(circuit, permit, Outcome.COMPLETED)
        elif isinstance(error, Exception) and self._judge(error, call) is Outcome.FAILURE:
            self._remember(circuit, permit, copier(error))
            self._settle(circuit, permit, Outcome.CUT)

    def failed(self, circuit: Circuit, permit: Permit, call: Call, error: BaseException, begun: float | None) -> None:
        outcome = Outcome.IGNORED
        if isinstance(error, Exception) and not call.superseded:  # anything else is a cancellation
            outcome = self._judge(error, call)
            if outcome is Outcome.FAILURE:
                self._remember(circuit, permit, copier(error))
        self._settle(circuit, permit, outcome, call, begun)

    def refusal(self, circuit: Circuit, retry_after: float, request: Q) -> Exception:
        """A fresh CircuitOpen, with a fresh copy of the last failure as its cause (R4.12)."""
        error = self._family.refusal(self.refused(circuit, retry_after), request)
        error.__cause__ = None if circuit.failure is None else circuit.failure()
        return error

    def refused(self, circuit: Circuit, retry_after: float) -> CircuitOpen:
        state = circuit.state
        retry_after = max(0.0, retry_after)
        return CircuitOpen(
            f"the circuit of {circuit.key} is {state.name}; ask again in {retry_after:.3g} s",
            key=circuit.key,
            retry_after=retry_after,
            state=state.name,
            opened_at=None if isinstance(state, Closed | Disabled) else state.opened_at,
        )

    def _settle(
        self,
        circuit: Circuit,
        permit: Permit,
        outcome: Outcome,
        call: Call | None = None,
        begun: float | None = None,
        delay: float = 0.0,
    ) -> None:
        now, slow_after = self._clock.monotonic(), self._settings.slow_after
        slow = False
        if call is not None and begun is not None and slow_after is not None:
            slow = now - sum(call.waits.values()) - begun > slow_after
        verdict = Verdict(outcome, now, waiting=len(circuit.queue), server_delay=delay, slow=slow)
        self._circuits.settle(circuit, permit, verdict)

    def _judge(self, error: Exception, call: Call) -> Outcome:
        # Our own refusals come first: to the family they are TransportErrors.
        if isinstance(error, HoldfastError):
            return Outcome.IGNORED
        return judge_fault(self._family.fault(error), cut_short=call.cut_short(self._clock.monotonic()))

    def _remember(self, circuit: Circuit, permit: Permit, failure: Callable[[], Exception]) -> None:
        if permit.generation == circuit.state.generation:
            circuit.failure = failure

    def _patience(self, circuit: Circuit, call: Call, asked: float) -> float:
        """Until when a caller waits: for a probe's verdict only shortly, on the ramp as long as it may."""
        deadline = float("inf") if call.deadline is None else call.deadline
        if isinstance(circuit.state, HalfOpen):
            return min(deadline, asked + self._settings.probe_wait)
        return deadline

    def _estimate(self, circuit: Circuit) -> float:
        """Seconds after which a caller that is sent away now may find a place."""
        match circuit.state:
            case Open(until=until):
                return until - self._clock.monotonic()
            case HalfOpen():
                return self._settings.probe_wait
            case Ramping(ramp=ramp):
                return (len(circuit.queue) + 1) * ramp.seconds / ramp.limit
            case ForcedOpen():
                return self._settings.open_for
            case Closed() | Disabled():
                return 0.0
