"""Circuit breaker: may this call pass, and what does its outcome change? Decided from plain data.

::

    Closed --too many failures--> Open --first call after `until`--> HalfOpen --good probes--> Ramping
      ^                            ^ ^                                  |                      |  |
      |                            | +---- failed probe, longer open ---+                      |  |
      |                            +------ a run of failures ----------------------------------+  |
      +----------------------------------- a good round, and nobody waits ------------------------+

    ForcedOpen and Disabled are entered and left by hand.

No I/O, no clock, no lock: callers pass ``now`` (monotonic seconds) and keep the returned state. Each change
of state begins a new generation, and an outcome that belongs to an older one changes nothing (R4.6).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from holdfast.core.breaker_settings import CircuitBreaker, Outcome
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
    Tally,
    Wait,
)
from holdfast.core.ramp import begin, fail, next_start, start, succeed
from holdfast.core.value import Value, replace
from holdfast.core.window import OutcomeWindow

__all__ = [
    "CircuitBreaker",
    "Verdict",
    "admit",
    "at_once",
    "cause",
    "closed",
    "disabled",
    "forced_open",
    "holds",
    "record",
    "renew",
]


def closed(settings: CircuitBreaker, generation: int = 0) -> Closed:
    return Closed(Permit(generation, 0), Tally(settings))


def forced_open(state: State, now: float) -> ForcedOpen:
    return ForcedOpen(state.generation + 1, now)


def disabled(state: State) -> Disabled:
    return Disabled(Permit(state.generation + 1, 0))


def admit(state: State, settings: CircuitBreaker, now: float) -> tuple[State, Answer]:
    """May one more call be sent? The returned state has it on the wire if the answer is a `Permit`."""
    match state:
        case Closed(permit=permit) | Disabled(permit=permit):
            return state, permit
        case ForcedOpen():
            return state, Refuse(settings.open_for)
        case Open() if now < state.until:
            return state, Refuse(state.until - now)
        case Open():
            return _probe(HalfOpen(state.generation + 1, state.opened_at, state.openings), settings, now)
        case HalfOpen():
            return _probe(state, settings, now)
        case Ramping():
            return _climb(state, settings, now)


def at_once(state: Open, now: float) -> Open:
    """The same, with its probe due now: somebody asks on purpose."""
    return replace(state, until=min(state.until, now))


def _probe(state: HalfOpen, settings: CircuitBreaker, now: float) -> tuple[State, Answer]:
    probes = _alive(state.probes, now)
    if len(probes) >= settings.half_open_max:
        return state, Wait(_first_expiry(probes))
    permit = Permit(state.generation, state.issued, now, now + settings.lease_or_default, len(probes) + 1)
    return replace(state, probes=(*probes, permit), issued=state.issued + 1), permit


def _climb(state: Ramping, settings: CircuitBreaker, now: float) -> tuple[State, Answer]:
    permits = _alive(state.permits, now)
    if len(permits) >= state.ramp.limit:
        return state, Wait(_first_expiry(permits))
    if now < (at := next_start(state.ramp)):
        return state, Wait(at)
    lease, ramp = settings.lease_or_default, state.ramp
    permit = Permit(state.generation, state.issued, now, now + lease, len(permits) + 1, ramp.number)
    return replace(state, permits=(*permits, permit), issued=state.issued + 1, ramp=start(ramp, now)), permit


def holds(state: State, permit: Permit) -> bool:
    """True if ``permit`` is still good for a call that has not been sent yet."""
    match state:
        case Closed(permit=current) | Disabled(permit=current):
            return permit == current
        case HalfOpen(probes=permits) | Ramping(permits=permits):
            return permit in permits
        case Open() | ForcedOpen():
            return False


def renew(state: State, permit: Permit, settings: CircuitBreaker, now: float) -> State:
    """Let the lease of a held ``permit`` begin now: what it stood in our queues does not count."""
    fresh = replace(permit, started=now, expires=now + settings.lease_or_default)
    match state:
        case HalfOpen():
            return replace(state, probes=_replaced(state.probes, fresh))
        case Ramping():
            return replace(state, permits=_replaced(state.permits, fresh))
        case _:
            return state


class Verdict(Value):
    """An outcome, and what came with it.

    ``waiting``: callers in the queue. ``server_delay``: seconds that the server asked for (Retry-After).
    ``slow``: the answer took longer than ``slow_after``.
    """

    def __init__(
        self, outcome: Outcome, now: float, waiting: int = 0, server_delay: float = 0.0, slow: bool = False
    ) -> None:
        self.outcome: Final = outcome
        self.now: Final = now
        self.waiting: Final = waiting
        self.server_delay: Final = server_delay
        self.slow: Final = slow


def record(
    state: State, settings: CircuitBreaker, permit: Permit, verdict: Verdict, random: Callable[[], float]
) -> State:
    """The state after the call that held ``permit`` came out so.

    ``random()``, in [0, 1), is asked when the circuit opens, for the jitter of its open time.
    """
    if permit.generation != state.generation:
        return state
    match state:
        case Closed():
            if _count(state.tally, settings, verdict):
                return _opened(state, 1, settings, verdict, random)
            return state
        case HalfOpen():
            return _after_probe(state, settings, permit, verdict, random)
        case Ramping():
            return _after_step(state, settings, permit, verdict, random)
        case Open() | ForcedOpen() | Disabled():
            return state


def cause(before: State, settings: CircuitBreaker, now: float) -> str:
    """What opened a circuit that was in the state ``before``: consecutive, rate, slow, probe, ramp or forced."""
    match before:
        case HalfOpen():
            return "probe"
        case Ramping():
            return "ramp"
        case Closed(tally=tally):
            if settings.failures is not None and tally.run >= settings.failures:
                return "consecutive"
            slow = tally.slow is not None and _too_many(tally.slow, settings.slow_ratio, settings, now)
            return "slow" if slow else "rate"
        case Open() | ForcedOpen() | Disabled():
            return "forced"


def _opened(
    state: State, openings: int, settings: CircuitBreaker, verdict: Verdict, random: Callable[[], float]
) -> Open:
    doubled = settings.open_for * 2.0 ** min(openings - 1, 63)
    seconds = min(doubled, settings.open_for_max) * (1.0 + settings.jitter * (2.0 * random() - 1.0))
    seconds = max(seconds, min(verdict.server_delay, settings.open_for_max))
    return Open(state.generation + 1, verdict.now, verdict.now + seconds, openings)


def _count(tally: Tally, settings: CircuitBreaker, verdict: Verdict) -> bool:
    """Count an outcome of a closed circuit; True if it opens."""
    now, failed = verdict.now, False
    match verdict.outcome:
        case Outcome.SUCCESS:
            tally.success(now)
        case Outcome.HEAD:  # A server that cuts each body off has good heads, and shall not hide behind them.
            tally.window.count(now, bad=False)
        case Outcome.COMPLETED:
            tally.run = 0
        case Outcome.FAILURE | Outcome.CUT:
            failed = True
            tally.run += 1
            tally.window.count(now, bad=True)
        case Outcome.IGNORED:
            return False
    if tally.slow is not None and verdict.outcome in (Outcome.SUCCESS, Outcome.HEAD, Outcome.FAILURE):
        tally.slow.count(now, bad=verdict.slow)
        if verdict.slow and _too_many(tally.slow, settings.slow_ratio, settings, now):
            return True
    if not failed:
        return False
    in_a_row = settings.failures is not None and tally.run >= settings.failures
    return in_a_row or _too_many(tally.window, settings.failure_ratio, settings, now)


def _too_many(window: OutcomeWindow, share: float | None, settings: CircuitBreaker, now: float) -> bool:
    calls, bad = window.sums(now)
    return share is not None and calls >= settings.minimum_calls and bad >= share * calls


def _after_probe(
    state: HalfOpen, settings: CircuitBreaker, permit: Permit, verdict: Verdict, random: Callable[[], float]
) -> State:
    outcome, now = verdict.outcome, verdict.now
    held = permit in state.probes  # not held: its lease ran out, and another call probes in its place
    rest = tuple(probe for probe in state.probes if probe != permit)
    answered = outcome in (Outcome.SUCCESS, Outcome.HEAD)
    if outcome is Outcome.CUT or (held and (outcome is Outcome.FAILURE or (answered and verdict.slow))):
        return _opened(state, state.openings + 1, settings, verdict, random)
    if not held or not answered:
        return replace(state, probes=rest)
    if state.successes + 1 < settings.close_after:
        return replace(state, probes=rest, successes=state.successes + 1)
    if settings.ramp_from is None:
        return closed(settings, state.generation + 1)
    ramp = begin(settings.ramp_from, now - permit.started, now)
    return Ramping(state.generation + 1, state.opened_at, state.openings, now, ramp)


def _after_step(
    state: Ramping, settings: CircuitBreaker, permit: Permit, verdict: Verdict, random: Callable[[], float]
) -> State:
    outcome, now, ramp = verdict.outcome, verdict.now, state.ramp
    rest = tuple(other for other in state.permits if other != permit)
    match outcome:
        case Outcome.FAILURE | Outcome.CUT:
            ramp = fail(ramp, permit.level, permit.round)
            if ramp.run >= settings.ramp_failures:
                return _opened(state, state.openings, settings, verdict, random)
        case Outcome.SUCCESS | Outcome.HEAD:
            ramp = succeed(ramp, now - permit.started, permit.level, permit.round)
            good_round = ramp.number > state.ramp.number and ramp.calm == 0
            if (good_round and verdict.waiting == 0) or now - state.began >= settings.ramp_for:
                return closed(settings, state.generation + 1)
        case Outcome.COMPLETED | Outcome.IGNORED:
            pass
    return replace(state, permits=rest, ramp=ramp)


def _alive(permits: tuple[Permit, ...], now: float) -> tuple[Permit, ...]:
    for permit in permits:
        if now >= permit.expires:
            return tuple(permit for permit in permits if now < permit.expires)
    return permits


def _first_expiry(permits: tuple[Permit, ...]) -> float:
    return min(permit.expires for permit in permits)


def _replaced(permits: tuple[Permit, ...], fresh: Permit) -> tuple[Permit, ...]:
    return tuple(fresh if permit == fresh else permit for permit in permits)
