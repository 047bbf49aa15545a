"""The layers in their order, and the state that they share.

Outermost first: call record and deadline > cache with single flight > retry with budget > circuit breaker >
concurrency limit > rate limit > attempt (timeout and body buffer) > attempt hooks > inner transport. The reasons
for this order are in ``docs/architecture.md``.
"""

from __future__ import annotations

import random as global_random
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from holdfast._wire import Family, Handler, Middleware, Q, R, ResponseLike
from holdfast.by_origin import Pipelines, origin_of
from holdfast.call import (
    CALL,
    DEADLINE,
    DEFAULT_OPTIONS,
    OPTIONS,
    Call,
    Options,
    Owner,
    Stamp,
    closed_error,
    read_options,
)
from holdfast.clock import Clock, SystemClock
from holdfast.core.breaker import CircuitBreaker
from holdfast.core.budget import RetryBudget
from holdfast.core.buffering import Auto
from holdfast.core.retry import Retry
from holdfast.errors import InvalidOption, Refused
from holdfast.policies.attempt import TIMER_SLACK, Attempts, deadline_exceeded
from holdfast.policies.breaker import Circuits
from holdfast.policies.concurrency import Concurrency, ConcurrencyLimit
from holdfast.policies.pacing import Listening, pacing_of
from holdfast.policies.retry import Retries

if TYPE_CHECKING:
    from holdfast.core.pacing import Mode, Pacing
    from holdfast.events import Listener
    from holdfast.policies.attempt_hooks import AttemptHook, AttemptHooks
    from holdfast.policies.cache import Cache, Caching
    from holdfast.policies.emitter import Emitter
    from holdfast.policies.offline import Switch
    from holdfast.policies.rate_limit import Limit, RateLimiter
    from holdfast.policies.telemetry import CallTelemetry

__all__ = ["Pipeline"]

_ATTEMPT_TIMEOUT = 10.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_AUTH_CHALLENGES = frozenset({401, 407})


class Pipeline:
    """Retry, circuit breaker, limits and cache around a transport, and the state that they share.

    Two transports (also one for httpx and one for httpx2) that are given one pipeline share its circuits,
    limits, budget and cache. Settings are frozen; None turns a layer off. One event loop at a time: state is
    free of loops while nobody waits, so ``asyncio.run`` twice in a row is fine.

    ``deadline``: seconds for a whole call, queues, redirects and auth flows included (30, None: none).
    ``attempt_timeout``: seconds for each attempt (10; a shorter deadline shortens the default).
    ``rate_limit``: one limit, or several of which all must pass. ``pacing``: what is made of a server's own word on its
    limits ("guard", "spread", "off", a `Pacing`; None: nothing).
    ``buffer_body``: read small bodies inside the attempt. ``deadline_covers_body``: whether a body that is still
    on the wire must end within the deadline too ("auto": all but event streams, upgrades and downloads of
    declared size over 256 KiB). ``max_body_bytes``: cap on a decoded body (None: none).
    ``hooks``: functions of (request, attempt) run on each attempt. ``listeners``: functions of one record, told at
    once what happens (`holdfast.events`). Raises ValueError for settings that cannot work together.

    >>> from holdfast import RateLimit
    >>> pipeline = Pipeline(retry=Retry(attempts=4), rate_limit=RateLimit(100, per=60.0, burst=10))
    >>> pipeline.circuits.force_open("https://api.example.com:443")
    >>> pipeline.snapshot()["origins"]["https://api.example.com:443"]["circuit"]["state"]
    'forced_open'
    """

    def __init__(
        self,
        *,
        retry: Retry | None = Retry(),
        budget: RetryBudget | None = RetryBudget(),
        breaker: CircuitBreaker | None = CircuitBreaker(),
        rate_limit: Limit | Sequence[Limit] | None = None,
        pacing: Pacing | Mode | None = "guard",
        concurrency: ConcurrencyLimit | None = ConcurrencyLimit(100),
        cache: Cache | None = None,
        hooks: Sequence[AttemptHook] = (),
        listeners: Sequence[Listener] = (),
        deadline: float | None = 30.0,
        attempt_timeout: float | None = _ATTEMPT_TIMEOUT,
        buffer_body: Auto = "auto",
        deadline_covers_body: Auto = "auto",
        max_body_bytes: int | None = None,
        clock: Clock = SystemClock(),
        random: Callable[[], float] = global_random.random,
    ) -> None:
        attempt_timeout = _checked_times(deadline, attempt_timeout)
        if max_body_bytes is not None and max_body_bytes < 1:
            raise ValueError(f"max_body_bytes must be at least 1, got {max_body_bytes}")
        for name, setting in (("buffer_body", buffer_body), ("deadline_covers_body", deadline_covers_body)):
            if setting not in (True, False, "auto"):
                raise ValueError(f'{name} must be True, False or "auto", got {setting!r}')
        if rate_limit is not None and concurrency is not None and concurrency.total is not None:
            warnings.warn(
                f"ConcurrencyLimit(total={concurrency.total}) spans all keys, RateLimit is for each: callers who wait"
                " for tokens of one key hold permits that those of another need; use a limit for each key instead",
                UserWarning,
                stacklevel=2,
            )
        self._emitter = emitter = _emitter(listeners, clock) if listeners else None
        self._retries = None if retry is None else Retries(retry, budget, clock=clock, random=random, emitter=emitter)
        self._circuits = (
            None
            if breaker is None
            else Circuits(
                _checked_window(breaker, attempt_timeout),
                clock=clock,
                random=random,
                attempt_timeout=attempt_timeout,
                emitter=emitter,
            )
        )
        self._concurrency = None if concurrency is None else Concurrency(concurrency, clock=clock)
        self._limiter = _limiter(rate_limit, pacing, clock, emitter)
        self._caching = None if cache is None else _caching(cache, clock, deadline, signed=bool(hooks), emitter=emitter)
        layers: list[Middleware | None] = [
            self._caching,
            self._retries,
            None if emitter is None else _refusal_telemetry(emitter),
            self._circuits,
            self._concurrency,
            self._limiter,
            Attempts(
                attempt_timeout,
                clock=clock,
                covers_body=deadline_covers_body,
                buffer=buffer_body,
                cap=max_body_bytes,
                emitter=emitter,
            ),
            _attempt_hooks(hooks) if hooks else None,
        ]
        self._layers: tuple[Middleware, ...] = tuple(layer for layer in layers if layer is not None)
        self._clock = clock
        self._entry = _Entry(
            clock,
            deadline,
            max_body_bytes,
            sends_again=retry is not None and retry.attempts > 1,
            telemetry=None if emitter is None else _call_telemetry(emitter),
        )

    @classmethod
    def of(
        cls,
        *middleware: Middleware,
        listeners: Sequence[Listener] = (),
        deadline: float | None = 30.0,
        clock: Clock = SystemClock(),
    ) -> Pipeline:
        """A pipeline of these layers in this order, outermost first, and of nothing else."""
        pipeline = cls(
            retry=None,
            breaker=None,
            concurrency=None,
            listeners=listeners,
            pacing=None,
            deadline=deadline,
            attempt_timeout=None,
            clock=clock,
        )
        pipeline._layers = middleware
        return pipeline

    @staticmethod
    def by_origin(by_prefix: Mapping[str, Pipeline], *, default: Pipeline | None = None) -> Pipelines:
        """Give each API its own pipeline under one client; the longest matching URL prefix wins.

        Raises ValueError for a prefix that is no absolute http or https URL.
        """
        return Pipelines(by_prefix, default if default is not None else Pipeline())

    @property
    def circuits(self) -> Circuits:
        """The circuits, to ``force_open(key)``, ``force_closed(key)`` or ``reset(key)`` them by hand."""
        if self._circuits is None:
            raise ValueError("this pipeline has no circuit breaker (breaker=None)")
        return self._circuits

    @property
    def has_cache(self) -> bool:
        """Whether there is anything to `purge`."""
        return self._caching is not None

    async def purge(
        self,
        *,
        url: str | None = None,
        prefix: str | None = None,
        group: str | None = None,
        operation: str | None = None,
    ) -> int:
        """Remove stored answers, of every user and variant; how many there were. Takes one of:

        ``url``: those of one URL. ``prefix``: of all that begin like this one, character by character.
        ``group``: of a cache group (RFC 9875), whichever origin's. ``operation``: fetched under that operation id.

        An answer that is on its way through this pipeline is not stored either. Raises ValueError for none or several
        of them, without a cache, or for a URL that is not absolute. A store in trouble raises nothing: what could
        not be removed, in a minute or before a cancellation, is not believed until it is.
        """
        from holdfast.core.caching.reach import reach_of

        if self._caching is None:
            raise ValueError("this pipeline has no cache (cache=None)")
        return await self._caching.purge(reach_of(url=url, prefix=prefix, group=group, operation=operation))

    def offline(self, *, probe_every: float | None = 30.0) -> None:
        """From now on send nothing: what is stored answers, however old, and where nothing is, `Offline` is raised.

        Stored answers are marked (``cache`` is ``"offline"``, ``age`` in seconds). Not given are those that their
        origin forbids to use so: no-cache, and must-revalidate after their time. Unsafe methods are refused.

        Every ``probe_every`` seconds (30: the default deadline, so that one is over before the next; None: never) one
        call of a safe method is sent all the same, once. If its answer is below 500 the pipeline is online again;
        else that call is answered like the others. Calls under way are left alone; called again, it starts anew.
        """
        if self._entry.switch is None:
            from holdfast.policies.offline import Switch

            self._entry.switch = Switch(clock=self._clock, stored=self._caching, emitter=self._emitter)
        self._entry.switch.turn_on(probe_every)

    def online(self) -> None:
        """Use the network again; nothing happens where it is used."""
        if self._entry.switch is not None:
            self._entry.switch.turn_off()

    def bind(self, inner: Handler[Q, R], family: Family[Q, R], owner: Owner) -> Handler[Q, R]:
        """All layers around ``inner``. ``owner`` stands for the transport, whose waiting calls `dismiss` names."""
        for layer in reversed(self._layers):
            inner = layer.bind(inner, family)
        return self._entry.bind(inner, family, owner)

    def snapshot(self) -> dict[str, Any]:
        """What the state is now, for health checks: plain data; keys are only ever added.

        ``{"origins": {key: {"circuit": ..., "retries_left": ..., "concurrency": ..., "rate_limit": ...}}}``, and
        ``"offline"``: None, or ``{"for": seconds, "probe_in": seconds}``.
        """
        parts: list[tuple[str, Mapping[str, Any]]] = []
        if self._circuits is not None:
            parts.append(("circuit", self._circuits.snapshot()))
        if self._retries is not None:
            parts.append(("retries_left", self._retries.snapshot()))
        if self._concurrency is not None:
            parts.append(("concurrency", self._concurrency.snapshot()))
        if self._limiter is not None:
            parts.append(("rate_limit", self._limiter.snapshot()))
        origins: dict[str, dict[str, Any]] = {}
        for name, by_key in parts:
            for key, value in by_key.items():
                origins.setdefault(key, {})[name] = value
        switch = self._entry.switch
        whole = {"origins": origins, "offline": None if switch is None else switch.snapshot()}
        return whole if self._caching is None else {**whole, "cache": self._caching.snapshot()}

    def dismiss(self, make_error: Callable[[], Exception], owner: Owner) -> None:
        """End the waits of one transport's calls: those in a queue raise an error of their own, those in a backoff
        hand back their last real outcome.
        """
        for queue in (self._caching, self._retries, self._concurrency, self._limiter, self._circuits):
            if queue is not None:
                queue.dismiss(make_error, owner)


class _Entry:
    """The outermost layer: makes the call's record, stamps its deadline, and hands the record back."""

    def __init__(
        self,
        clock: Clock,
        deadline: float | None,
        max_body_bytes: int | None,
        *,
        sends_again: bool,
        telemetry: CallTelemetry | None,
    ) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._deadline = deadline
        self._max_body_bytes = max_body_bytes
        self._sends_again = sends_again
        self.switch: Switch | None = None  # made when the pipeline first goes offline

    def bind(self, inner: Handler[Q, R], family: Family[Q, R], owner: Owner) -> Handler[Q, R]:
        monotonic, limit, body_of = self._clock.monotonic, self._max_body_bytes, family.body
        sends_again, leave, telemetry = self._sends_again, owner.leave, self._telemetry

        async def handle(request: Q) -> R:
            if owner.closing:
                raise family.refusal(closed_error(), request)
            given = request.extensions
            running: Call | None = given.get(CALL)
            if running is not None and running.owner is owner:
                # The same Request object is on its way already, from another task: this call takes a copy of it.
                given, running, request = running.given, None, family.fresh_attempt(request)
            now = monotonic()
            call = self._call(request, given, running, now, family, owner)
            call.sends_again = sends_again
            request.extensions = {**given, CALL: call}
            owner.running += 1
            if telemetry is not None:
                telemetry.started(call, request)
            try:
                if call.deadline is not None and call.deadline <= now:
                    raise family.refusal(deadline_exceeded(call), request)
                away = self.switch
                if away is None or away.state is None:
                    response = await inner(request)
                else:
                    response = await away.handle(request, inner, family)
                if limit is not None and not response.is_closed:
                    response = await _capped(response, limit, request, family)
            except BaseException as error:
                leave(None, False)
                request.extensions = _unstamped(given)
                if not isinstance(error, Exception):
                    if telemetry is not None:
                        telemetry.ended(call, request.method, monotonic() - now, None, error)
                    raise
                late = _late(error, call, monotonic(), family, request)
                _attach(late or error, call, monotonic() - now)
                if telemetry is not None:
                    telemetry.ended(call, request.method, monotonic() - now, None, late or error)
                if late is None:
                    raise
                raise late from error
            if response.is_closed:
                leave(None, True)
            else:
                body_of(response).watch(leave)
            if response.status_code >= 300 and call.deadline is not None and _goes_on(response):
                stamp = Stamp(call.deadline, call.total, monotonic(), call.sent_before + call.sends)
                request.extensions = {**given, DEADLINE: stamp}
            else:
                request.extensions = given if DEADLINE not in given else _unstamped(given)
            response.extensions[OPTIONS] = call.record()
            if telemetry is not None:
                telemetry.ended(call, request.method, monotonic() - now, response, None)
            return response

        return handle

    def _call(
        self, request: Q, given: dict[str, Any], outer: Call | None, now: float, family: Family[Q, R], owner: Owner
    ) -> Call:
        options = DEFAULT_OPTIONS if OPTIONS not in given else _options(given, request, family)
        total = options.deadline if options.deadline is not None else self._deadline
        deadline, sent_before = None if total is None else now + total, 0
        if DEADLINE in given:
            stamp: Stamp = given[DEADLINE]
            if not stamp.stale(now):
                sent_before = stamp.sends
                if deadline is None or stamp.deadline < deadline:
                    deadline, total = stamp.deadline, stamp.total
        if outer is not None and outer.deadline is not None and (deadline is None or outer.deadline < deadline):
            deadline, total = outer.deadline, outer.total
        call = Call(options, now, deadline, total, options.key or origin_of(request.url), owner, given)
        call.sent_before = sent_before
        if outer is not None:
            call.single = outer.sends_again or outer.single
        return call


# A layer that is off by default is imported by those who want it: together they are half of all there is to import.


def _limiter(
    limits: Limit | Sequence[Limit] | None, pacing: Pacing | Mode | None, clock: Clock, emitter: Emitter | None
) -> RateLimiter | Listening | None:
    if pacing not in (None, "guard"):
        pacing = pacing_of(pacing)
    if limits is None:
        return None if pacing is None else Listening(pacing, clock=clock, emitter=emitter)
    from holdfast.policies.rate_limit import RateLimiter

    return RateLimiter(limits, clock=clock, pacing=None if pacing is None else pacing_of(pacing), emitter=emitter)


def _emitter(listeners: Sequence[Listener], clock: Clock) -> Emitter:
    from holdfast.policies.emitter import Emitter

    return Emitter(listeners, clock)


def _call_telemetry(emitter: Emitter) -> CallTelemetry:
    from holdfast.policies.telemetry import CallTelemetry

    return CallTelemetry(emitter)


def _refusal_telemetry(emitter: Emitter) -> Middleware:
    from holdfast.policies.telemetry import RefusalTelemetry

    return RefusalTelemetry(emitter)


def _attempt_hooks(hooks: Sequence[AttemptHook]) -> AttemptHooks:
    from holdfast.policies.attempt_hooks import AttemptHooks

    return AttemptHooks(hooks)


def _caching(cache: Cache, clock: Clock, deadline: float | None, *, signed: bool, emitter: Emitter | None) -> Caching:
    from holdfast.policies.cache import Caching
    from holdfast.stores.memory import MemoryStore

    store = MemoryStore() if cache.store is None else cache.store
    return Caching(cache, store, clock=clock, deadline=deadline, signed=signed, emitter=emitter)


def _options(given: Mapping[str, Any], request: Q, family: Family[Q, R]) -> Options:
    try:
        return read_options(given)
    except InvalidOption as error:
        raise family.refusal(error, request) from None


async def _capped(response: R, limit: int, request: Q, family: Family[Q, R]) -> R:
    try:
        return family.capped(response, limit, request)
    except BaseException:
        await response.aclose()
        raise


def _late(error: Exception, call: Call, now: float, family: Family[Q, R], request: Q) -> Exception | None:
    """`DeadlineExceeded` in place of a timeout that only came because the deadline left the attempt no more time.

    Whether the timeout of the socket fires first or our scope behind it, the caller gets one and the same error.
    """
    if call.deadline is None or now < call.deadline - TIMER_SLACK or not isinstance(error, family.timeout_error):
        return None
    return None if isinstance(error, Refused) else family.refusal(deadline_exceeded(call), request)


def _goes_on(response: ResponseLike) -> bool:
    """True if the client may come back with the next hop of the same call."""
    status = response.status_code
    return status in _AUTH_CHALLENGES or (status in _REDIRECTS and "location" in response.headers)


def _unstamped(given: dict[str, Any]) -> dict[str, Any]:
    if DEADLINE not in given:
        return given
    return {name: value for name, value in given.items() if name != DEADLINE}


def _attach(error: Exception, call: Call, seconds: float) -> None:
    """Hang the history on the exception, for `holdfast.history`, and a line of it for whoever reads the traceback."""
    call.source = None
    vars(error)[OPTIONS] = call.record()  # the typed way to it is holdfast.history
    if len(call.attempts) > 1 or call.reason is not None:
        reason = f", gave up: {call.reason}" if call.reason else ""
        error.add_note(f"holdfast: {len(call.attempts)} attempts in {seconds:.2f} s{reason}")


def _checked_times(deadline: float | None, attempt_timeout: float | None) -> float | None:
    for name, seconds in (("deadline", deadline), ("attempt_timeout", attempt_timeout)):
        if seconds is not None and not 0 < seconds < float("inf"):
            raise ValueError(f"{name} must be more than 0 seconds, or None for no limit, got {seconds}")
    if deadline is None or attempt_timeout is None or attempt_timeout <= deadline:
        return attempt_timeout
    if attempt_timeout == _ATTEMPT_TIMEOUT:
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
