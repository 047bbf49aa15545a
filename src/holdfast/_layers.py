"""From settings to layers: which settings fit together, what is made of each, and in which order do they stand?

A new layer is a setting in `Policies`, a constructor here, and one line in `Layers`. A layer that is off by default is
imported by those who want it: together they are half of all there is to import.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol, TypedDict

from holdfast._wire import Middleware
from holdfast.call import Owner
from holdfast.clock import Clock
from holdfast.core.breaker import CircuitBreaker
from holdfast.core.budget import RetryBudget
from holdfast.core.buffering import Auto
from holdfast.core.retry import Retry
from holdfast.policies.attempt import Attempts
from holdfast.policies.breaker import Circuits
from holdfast.policies.concurrency import Concurrency, ConcurrencyLimit
from holdfast.policies.pacing import Listening, pacing_of
from holdfast.policies.retry import Retries

if TYPE_CHECKING:
    from holdfast.core.gradient import AdaptiveConcurrency
    from holdfast.core.hedge import Hedge
    from holdfast.core.idempotency import IdempotencyKeys
    from holdfast.core.offline import OfflineMode
    from holdfast.core.pacing import Mode, Pacing
    from holdfast.core.throttle import Throttle
    from holdfast.events import Listener
    from holdfast.policies._gates import Limit
    from holdfast.policies.attempt_hooks import AttemptHook, AttemptHooks
    from holdfast.policies.cache import Cache, Caching
    from holdfast.policies.emitter import Emitter
    from holdfast.policies.fallback import Fallbacks
    from holdfast.policies.fallback_settings import Fallback
    from holdfast.policies.hedge import Hedging
    from holdfast.policies.idempotency import Keying
    from holdfast.policies.observed_limits import ObservedLimits
    from holdfast.policies.offline import Switch
    from holdfast.policies.rate_limit import RateLimiter
    from holdfast.policies.throttle import Throttling

__all__ = ["ATTEMPT_TIMEOUT", "Layers", "Policies", "checked", "limits_of"]

ATTEMPT_TIMEOUT = 10.0
_OUTERMOST_FIRST: Final = (
    "fallback",
    "offline",
    "cache",
    "idempotency",
    "hedge",
    "retry",
    "throttle",
    "breaker",
    "concurrency",
    "rate_limit",
    "pacing",
    "hooks",
)


class Policies(TypedDict):
    """What a pipeline is made of; see `Pipeline` for what each means."""

    retry: Retry | None
    budget: RetryBudget | None
    hedge: Hedge | None
    breaker: CircuitBreaker | None
    throttle: Throttle | None
    rate_limit: Limit | Sequence[Limit] | None
    pacing: Pacing | Mode | None
    concurrency: ConcurrencyLimit | AdaptiveConcurrency | None
    cache: Cache | None
    fallback: Fallback | None
    offline: OfflineMode | None
    idempotency: IdempotencyKeys | None
    hooks: Sequence[AttemptHook]
    listeners: Sequence[Listener]
    deadline: float | None
    attempt_timeout: float | None
    buffer_body: Auto
    deadline_covers_body: Auto
    max_body_bytes: int | None


class _Queue(Protocol):
    def dismiss(self, make_error: Callable[[], Exception], owner: Owner) -> None:
        """End the waits of the calls of ``owner``."""
        ...


class Layers:
    """The layers of one pipeline, each by its name and all in their order, outermost first.

    Fallback and the offline switch are not among those: they stand before the cache, and the entry asks them.

    The reasons for the order are in ``docs/architecture.md``.
    """

    def __init__(self, policies: Policies, *, clock: Clock, random: Callable[[], float]) -> None:
        self.emitter = emitter = _emitter(policies["listeners"], clock) if policies["listeners"] else None
        self.caching = _caching(policies, clock, emitter)
        self.switch = None if policies["offline"] is None else self.offline_switch(policies["offline"], clock)
        self.fallbacks = _fallbacks(policies, clock, self.caching, emitter)
        self.retries = _retries(policies, clock, random, emitter)
        self.hedging = _hedging(policies, self.retries, clock, emitter)
        self.keying = None if policies["idempotency"] is None else _keying(policies["idempotency"])
        self.throttling = _throttling(policies, clock, random, emitter)
        self.circuits = _circuits(policies, clock, random, emitter)
        self.concurrency = _concurrency(policies, clock, emitter)
        self.observed_limits = _observed_limits(policies, clock, emitter)
        self.limiter = _limiter(policies, clock, emitter)
        refusals = None if emitter is None else _refusal_telemetry(emitter)
        self.policies = policies
        self.attempts = _attempts(policies, clock, emitter)
        self.hooks = _attempt_hooks(policies["hooks"]) if policies["hooks"] else None
        watch = None if self.switch is None else self.switch.watch
        # What needs neither methods, header fields nor bodies: all there is for what is not HTTP (`_calls`).
        any_call = (
            self.hedging or self.retries,
            refusals,
            self.throttling,
            self.circuits,
            self.concurrency,
            self.observed_limits,
            self.limiter,
            self.attempts,
        )
        self.for_calls = _present(watch, *any_call)
        self.in_order = _present(self.caching, watch, self.keying, *any_call, self.hooks)

    def offline_switch(self, mode: OfflineMode | None, clock: Clock) -> Switch:
        from holdfast.policies.offline import Switch

        return Switch(clock=clock, stored=self.caching, emitter=self.emitter, mode=mode)

    def reconfigure(self, policies: Policies) -> None:
        """Give the layers other settings, of which `_changes.check_same_layers` has nothing to say."""
        limits, observed = limits_of(policies, observed=False), limits_of(policies, observed=True)
        retry, breaker, permits = policies["retry"], policies["breaker"], policies["concurrency"]
        throttle = policies["throttle"]
        if self.retries is not None and retry is not None:
            self.retries.reconfigure(retry, policies["budget"])
        if self.circuits is not None and breaker is not None:
            self.circuits.reconfigure(breaker, policies["attempt_timeout"])
        if self.throttling is not None and throttle is not None:
            self.throttling.reconfigure(throttle)
        if self.hedging is not None and policies["hedge"] is not None:
            self.hedging.reconfigure(policies["hedge"])
        if self.keying is not None and policies["idempotency"] is not None:
            self.keying.reconfigure(policies["idempotency"])
        if self.concurrency is not None and permits is not None:
            self.concurrency.reconfigure(permits)
        if self.limiter is not None:
            self.limiter.reconfigure(limits, None if policies["pacing"] is None else pacing_of(policies["pacing"]))
        if self.observed_limits is not None and observed != list(self.observed_limits.limits):
            self.observed_limits.reconfigure(observed)
        if self.caching is not None and policies["cache"] is not None:
            self.caching.reconfigure(policies["cache"], policies["deadline"])
        if self.fallbacks is not None and policies["fallback"] is not None:
            self.fallbacks.reconfigure(policies["fallback"])
        if self.switch is not None and policies["offline"] is not None:
            self.switch.reconfigure(policies["offline"])
        if self.hooks is not None:
            self.hooks.reconfigure(policies["hooks"])
        self.attempts.reconfigure(
            policies["attempt_timeout"],
            covers_body=policies["deadline_covers_body"],
            buffer=policies["buffer_body"],
            cap=policies["max_body_bytes"],
        )
        if self.emitter is not None and policies["listeners"] is not self.policies["listeners"]:  # some may be dropped
            self.emitter.reconfigure(policies["listeners"])
        self.policies = policies

    @property
    def names(self) -> list[str]:
        """The settings that have a layer, outermost first; one that only observes says so."""
        told: dict[str, object] = {name: self.policies[name] for name in _OUTERMOST_FIRST}
        observing = {name for name, setting in told.items() if getattr(setting, "observe", False)}
        if not limits_of(self.policies, observed=False):
            observing.add("rate_limit")
        return [f"{name} (observes)" if name in observing else name for name, setting in told.items() if setting]

    @property
    def queues(self) -> Iterable[_Queue]:
        """Where calls wait."""
        waiting = (self.caching, self.retries, self.concurrency, self.limiter, self.circuits)
        return [queue for queue in waiting if queue is not None]

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """What each layer tells of each key."""
        parts: list[tuple[str, Mapping[str, Any]]] = []
        if self.circuits is not None:
            parts.append(("circuit", self.circuits.snapshot()))
        if self.throttling is not None:
            parts.append(("throttle", self.throttling.snapshot()))
        if self.retries is not None:
            parts.append(("retries_left", self.retries.snapshot()))
        if self.hedging is not None:
            parts.append(("hedge", self.hedging.snapshot()))
        if self.concurrency is not None:
            parts.append(("concurrency", self.concurrency.snapshot()))
        if self.observed_limits is not None:
            parts.append(("rate_limit_observed", self.observed_limits.snapshot()))
        if self.limiter is not None:
            parts.append(("rate_limit", self.limiter.snapshot()))
        origins: dict[str, dict[str, Any]] = {}
        for name, by_key in parts:
            for key, value in by_key.items():
                origins.setdefault(key, {})[name] = value
        return origins


def checked(policies: Policies, *, stacklevel: int = 3) -> Policies:
    """``policies`` with defaults that gave way to others; raises ValueError for what cannot work together, and
    TypeError for a hook that is no function.

    ``stacklevel`` is that of a warning.
    """
    attempt_timeout = _checked_times(policies["deadline"], policies["attempt_timeout"])
    cap = policies["max_body_bytes"]
    if cap is not None and cap < 1:
        raise ValueError(f"max_body_bytes must be at least 1, got {cap}")
    switches = {"buffer_body": policies["buffer_body"], "deadline_covers_body": policies["deadline_covers_body"]}
    for name, setting in switches.items():
        if setting not in (True, False, "auto"):
            raise ValueError(f'{name} must be True, False or "auto", got {setting!r}')
    if policies["fallback"] is not None and policies["fallback"].stale and policies["cache"] is None:
        raise ValueError("Fallback(stale=...) needs a cache: Pipeline(cache=Cache(), ...)")
    for hook in policies["hooks"]:
        if not callable(hook):
            raise TypeError(f"a hook is a function of (request, attempt), got {hook!r}")
    concurrency, breaker = policies["concurrency"], policies["breaker"]
    total = concurrency.total if isinstance(concurrency, ConcurrencyLimit) else None
    if policies["rate_limit"] is not None and total is not None:
        warnings.warn(
            f"ConcurrencyLimit(total={total}) spans all keys, RateLimit is for each: callers who wait"
            " for tokens of one key hold permits that those of another need; use a limit for each key instead",
            UserWarning,
            stacklevel=stacklevel,
        )
    if breaker is not None:
        breaker = _checked_window(breaker, attempt_timeout)
    return {**policies, "attempt_timeout": attempt_timeout, "breaker": breaker}


def _checked_times(deadline: float | None, attempt_timeout: float | None) -> float | None:
    for name, seconds in (("deadline", deadline), ("attempt_timeout", attempt_timeout)):
        if seconds is not None and not 0 < seconds < float("inf"):
            raise ValueError(f"{name} must be more than 0 seconds, or None for no limit, got {seconds}")
    if deadline is None or attempt_timeout is None or attempt_timeout <= deadline:
        return attempt_timeout
    if attempt_timeout == ATTEMPT_TIMEOUT:
        return deadline  # the default gives way
    raise ValueError(f"attempt_timeout={attempt_timeout} s is longer than deadline={deadline} s")


def _checked_window(breaker: CircuitBreaker, attempt_timeout: float | None) -> CircuitBreaker:
    if attempt_timeout is None or breaker.window >= 2 * attempt_timeout:
        return breaker
    if breaker.window == CircuitBreaker().window:
        return replace(breaker, window=2 * attempt_timeout)  # the default gives way
    raise ValueError(
        f"CircuitBreaker(window={breaker.window}) must be at least twice attempt_timeout={attempt_timeout} s, or it"
        " forgets attempts before they can fail"
    )


def _present(*layers: Middleware | None) -> tuple[Middleware, ...]:
    return tuple(layer for layer in layers if layer is not None)


def _emitter(listeners: Sequence[Listener], clock: Clock) -> Emitter:
    from holdfast.policies.emitter import Emitter

    return Emitter(listeners, clock)


def _caching(policies: Policies, clock: Clock, emitter: Emitter | None) -> Caching | None:
    cache = policies["cache"]
    if cache is None:
        return None
    from holdfast.policies.cache import Caching
    from holdfast.stores.memory import MemoryStore

    store = MemoryStore() if cache.store is None else cache.store
    signed = bool(policies["hooks"])
    return Caching(cache, store, clock=clock, deadline=policies["deadline"], signed=signed, emitter=emitter)


def _fallbacks(policies: Policies, clock: Clock, caching: Caching | None, emitter: Emitter | None) -> Fallbacks | None:
    fallback = policies["fallback"]
    if fallback is None:
        return None
    from holdfast.policies.fallback import Fallbacks

    return Fallbacks(fallback, stored=caching, clock=clock, emitter=emitter)


def _keying(settings: IdempotencyKeys) -> Keying:
    from holdfast.policies.idempotency import Keying

    return Keying(settings)


def _retries(policies: Policies, clock: Clock, random: Callable[[], float], emitter: Emitter | None) -> Retries | None:
    retry = policies["retry"]
    if retry is None:
        if policies["hedge"] is None:
            return None
        retry = Retry(attempts=1)  # hedges go by its tables, and draw on its budget
    return Retries(retry, policies["budget"], clock=clock, random=random, emitter=emitter)


def _hedging(policies: Policies, retries: Retries | None, clock: Clock, emitter: Emitter | None) -> Hedging | None:
    hedge = policies["hedge"]
    if hedge is None:
        return None
    from holdfast.policies.hedge import Hedging

    assert retries is not None, "made for it where there is no retry"
    return Hedging(hedge, retries, retries_others=policies["retry"] is not None, clock=clock, emitter=emitter)


def _throttling(
    policies: Policies, clock: Clock, random: Callable[[], float], emitter: Emitter | None
) -> Throttling | None:
    throttle = policies["throttle"]
    if throttle is None:
        return None
    from holdfast.policies.throttle import Throttling

    return Throttling(throttle, clock=clock, random=random, emitter=emitter)


def _circuits(
    policies: Policies, clock: Clock, random: Callable[[], float], emitter: Emitter | None
) -> Circuits | None:
    breaker = policies["breaker"]
    if breaker is None:
        return None
    return Circuits(breaker, clock=clock, random=random, attempt_timeout=policies["attempt_timeout"], emitter=emitter)


def _concurrency(policies: Policies, clock: Clock, emitter: Emitter | None) -> Concurrency | None:
    settings = policies["concurrency"]
    if settings is None or isinstance(settings, ConcurrencyLimit):
        return None if settings is None else Concurrency(settings, clock=clock, emitter=emitter)
    from holdfast.policies.adaptive import AdaptiveLimits

    return AdaptiveLimits(settings, clock=clock, emitter=emitter)


def limits_of(policies: Policies, *, observed: bool) -> list[Limit]:
    given = policies["rate_limit"]
    limits = [] if given is None else given if isinstance(given, Sequence) else [given]
    return [limit for limit in limits if limit.observe is observed]


def _observed_limits(policies: Policies, clock: Clock, emitter: Emitter | None) -> ObservedLimits | None:
    limits = limits_of(policies, observed=True)
    if not limits:
        return None
    from holdfast.policies.observed_limits import ObservedLimits

    return ObservedLimits(limits, clock=clock, emitter=emitter)


def _limiter(policies: Policies, clock: Clock, emitter: Emitter | None) -> RateLimiter | Listening | None:
    limits, pacing = limits_of(policies, observed=False), policies["pacing"]
    if pacing not in (None, "guard"):
        pacing = pacing_of(pacing)
    if not limits and (pacing is None or pacing == "guard" or not pacing_of(pacing).adaptive):
        return None if pacing is None else Listening(pacing, clock=clock, emitter=emitter)
    from holdfast.policies.rate_limit import RateLimiter

    pacing = None if pacing is None else pacing_of(pacing)
    return RateLimiter(limits, clock=clock, pacing=pacing, emitter=emitter)


def _refusal_telemetry(emitter: Emitter) -> Middleware:
    from holdfast.policies.telemetry import RefusalTelemetry

    return RefusalTelemetry(emitter)


def _attempts(policies: Policies, clock: Clock, emitter: Emitter | None) -> Attempts:
    return Attempts(
        policies["attempt_timeout"],
        clock=clock,
        covers_body=policies["deadline_covers_body"],
        buffer=policies["buffer_body"],
        cap=policies["max_body_bytes"],
        emitter=emitter,
    )


def _attempt_hooks(hooks: Sequence[AttemptHook]) -> AttemptHooks:
    from holdfast.policies.attempt_hooks import AttemptHooks

    return AttemptHooks(hooks)
