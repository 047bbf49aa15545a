"""The layers in their order, and the state that they share.

Outermost first: call record and deadline > cache with single flight > idempotency key > retry with budget > circuit
breaker > concurrency limit > rate limit > attempt (timeout and body buffer) > attempt hooks > inner transport. The
reasons for this order are in ``docs/architecture.md``.
"""

from __future__ import annotations

import random as global_random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack
from weakref import WeakKeyDictionary

from holdfast._entry import Entry
from holdfast._layers import ATTEMPT_TIMEOUT, Layers, Policies, checked
from holdfast._wire import Family, Handler, Middleware, Q, R, ShortWay
from holdfast.by_origin import Pipelines
from holdfast.call import Owner
from holdfast.clock import Clock, SystemClock
from holdfast.core.breaker import CircuitBreaker
from holdfast.core.budget import RetryBudget
from holdfast.core.buffering import Auto
from holdfast.core.retry import Retry
from holdfast.policies.breaker import Circuits
from holdfast.policies.concurrency import ConcurrencyLimit
from holdfast.policies.pacing import Listening

if TYPE_CHECKING:
    from holdfast._calls import Calls, Errors, Guard
    from holdfast._changes import Changes
    from holdfast.core.gradient import AdaptiveConcurrency
    from holdfast.core.health import Health
    from holdfast.core.hedge import Hedge
    from holdfast.core.idempotency import IdempotencyKeys
    from holdfast.core.offline import OfflineMode
    from holdfast.core.pacing import Mode, Pacing
    from holdfast.core.throttle import Throttle
    from holdfast.events import Event, Listener
    from holdfast.policies._gates import Limit
    from holdfast.policies.attempt_hooks import AttemptHook
    from holdfast.policies.cache import Cache
    from holdfast.policies.fallback_settings import Fallback
    from holdfast.policies.rate_limit import RateLimiter

__all__ = ["Pipeline"]

T = TypeVar("T")


class Pipeline:
    """Retry, circuit breaker, limits and cache around a transport, and the state that they share.

    Two transports (also one for httpx and one for httpx2) that are given one pipeline share its circuits,
    limits, budget and cache. Settings are frozen; None turns a layer off. One event loop at a time: state is
    free of loops while nobody waits, so ``asyncio.run`` twice in a row is fine.

    ``deadline``: seconds for a whole call, queues, redirects and auth flows included (30, None: none).
    ``attempt_timeout``: seconds for each attempt (10; a shorter deadline shortens the default).
    ``hedge``: send a request that takes long once more, and take the answer that comes first.
    ``throttle``: refuse a share of what a server turns down, in place of the breaker.
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
        hedge: Hedge | None = None,
        throttle: Throttle | None = None,
        rate_limit: Limit | Sequence[Limit] | None = None,
        pacing: Pacing | Mode | None = "guard",
        concurrency: ConcurrencyLimit | AdaptiveConcurrency | None = ConcurrencyLimit(100),
        cache: Cache | None = None,
        fallback: Fallback | None = None,
        offline: OfflineMode | None = None,
        idempotency: IdempotencyKeys | None = None,
        hooks: Sequence[AttemptHook] = (),
        listeners: Sequence[Listener] = (),
        deadline: float | None = 30.0,
        attempt_timeout: float | None = ATTEMPT_TIMEOUT,
        buffer_body: Auto = "auto",
        deadline_covers_body: Auto = "auto",
        max_body_bytes: int | None = None,
        clock: Clock = SystemClock(),
        random: Callable[[], float] = global_random.random,
    ) -> None:
        policies: Policies = {
            "retry": retry,
            "budget": budget,
            "breaker": breaker,
            "hedge": hedge,
            "throttle": throttle,
            "rate_limit": rate_limit,
            "pacing": pacing,
            "concurrency": concurrency,
            "cache": cache,
            "fallback": fallback,
            "offline": offline,
            "idempotency": idempotency,
            "hooks": hooks,
            "listeners": listeners,
            "deadline": deadline,
            "attempt_timeout": attempt_timeout,
            "buffer_body": buffer_body,
            "deadline_covers_body": deadline_covers_body,
            "max_body_bytes": max_body_bytes,
        }
        self._given = policies
        self._bound: WeakKeyDictionary[Any, Callable[[], None]] = WeakKeyDictionary()  # by handler, binds it anew
        self._clock = clock
        self._layers = layers = Layers(checked(policies), clock=clock, random=random)
        self._in_order, self._for_calls = layers.in_order, layers.for_calls
        self._calls: Calls | None = None  # made with the first function to be called
        self._entry = _entry(policies, layers, clock)

    def __repr__(self) -> str:
        layers = self._layers.names
        if self._in_order is not self._layers.in_order:
            layers = [getattr(one, "__qualname__", type(one).__qualname__) for one in self._in_order]
        times = {"deadline": self._layers.policies["deadline"], "attempt": self._layers.policies["attempt_timeout"]}
        told = [f"{name} {seconds} s" for name, seconds in times.items() if seconds is not None]
        return f"<{type(self).__name__} {', '.join([' > '.join(layers) or 'without layers', *told])}>"

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
        pipeline._in_order = pipeline._for_calls = middleware
        return pipeline

    @staticmethod
    def by_origin(by_prefix: Mapping[str, Pipeline], *, default: Pipeline | None = None) -> Pipelines:
        """Give each API its own pipeline under one client; the longest matching URL prefix wins.

        Raises ValueError for a prefix that is no absolute http or https URL.
        """
        return Pipelines(by_prefix, default if default is not None else Pipeline())

    @property
    def clock(self) -> Clock:
        """What it takes its times from."""
        return self._clock

    @property
    def settings(self) -> Mapping[str, Any]:
        """What is in force, by the names of its arguments."""
        return MappingProxyType({**self._layers.policies})

    @property
    def circuits(self) -> Circuits:
        """The circuits, to ``guard(key)``, or to ``force_open(key)``, ``force_closed(key)``, ``reset(key)`` by hand.

        Keys are as `snapshot` shows them: an origin always has its port, ``"https://api.example.com:443"``.
        """
        if self._layers.circuits is None:
            raise ValueError("this pipeline has no circuit breaker (breaker=None)")
        return self._layers.circuits

    @property
    def limiter(self) -> RateLimiter:
        """The rate limits, to take tokens for what is not sent through this pipeline: ``await acquire(key)``.

        Without a ``rate_limit`` of its own it knows what servers asked for (``pacing``).
        """
        limiter = self._layers.limiter
        if limiter is None:
            raise ValueError("this pipeline has no rate limit (rate_limit=None, pacing=None)")
        return limiter.limiter if isinstance(limiter, Listening) else limiter

    async def call(
        self,
        function: Callable[..., Awaitable[T]],
        /,
        *args: Any,
        key: str,
        retry_on: Errors = (OSError,),
        failed_if: Callable[[T], bool] | None = None,
        idempotent: bool = False,
        options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> T:
        """What ``function(*args, **kwargs)`` comes to, guarded as a request is; for what is not HTTP through us.

        ``key`` stands in place of the origin, for circuit, limits and budget. ``retry_on``: the exceptions that blame
        the other side (and any timeout does). ``failed_if(result)`` tells of a result that it is a failure; if no
        other follows, the caller gets it all the same. Failures count, and are tried again if ``idempotent`` says
        that calling twice does no harm. ``options`` are those of a request (`cost`, `deadline`, `attempts`, ...).
        The cache, hooks and all else that needs HTTP stay out of it.

        Raises what the function does, or `CircuitOpen`, `RateLimited` and their like. A cancellation, or the end of
        the attempt's time, cancels the function where it waits; it is called anew for each attempt.
        """
        whole = {**(options or {}), "key": key, "idempotent": idempotent}
        return await self._called().run(lambda: function(*args, **kwargs), whole, retry_on, failed_if)

    def guard(
        self,
        *,
        key: str | Callable[..., str],
        retry_on: Errors = (OSError,),
        failed_if: Callable[[Any], bool] | None = None,
        idempotent: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> Guard:
        """`call` as a decorator, which keeps the signature. ``key`` may be a function of the arguments.

        >>> pipeline = Pipeline()
        >>> @pipeline.guard(key="inventory", idempotent=True)
        ... async def stock(item: str) -> int: ...
        """
        from holdfast._calls import Guard

        return Guard(self._called(), key, {**(options or {}), "idempotent": idempotent}, retry_on, failed_if)

    def _called(self) -> Calls:
        if self._calls is None:
            from holdfast._calls import Calls

            self._calls = Calls(self.bind)
        return self._calls

    @property
    def has_cache(self) -> bool:
        """Whether there is anything to `purge`."""
        return self._layers.caching is not None

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

        if self._layers.caching is None:
            raise ValueError("this pipeline has no cache (cache=None)")
        return await self._layers.caching.purge(reach_of(url=url, prefix=prefix, group=group, operation=operation))

    def offline(self, *, probe_every: float | None = 30.0) -> None:
        """From now on send nothing: what is stored answers, however old, and where nothing is, `Offline` is raised.

        Stored answers are marked (``cache`` is ``"offline"``, ``age`` in seconds). Not given are those that their
        origin forbids to use so: no-cache, and must-revalidate after their time. Unsafe methods are refused.

        Every ``probe_every`` seconds (30: the default deadline, so that one is over before the next; None: never) one
        call of a safe method is sent all the same, once. If its answer is below 500 the pipeline is online again;
        else that call is answered like the others. Calls under way are left alone; called again, it starts anew.

        With ``OfflineMode(file=...)`` it is noted there for the next process; raises OSError if that fails, and is
        offline all the same.
        """
        if self._entry.switch is None:
            self._entry.switch = self._layers.offline_switch(None, self._clock)
        self._entry.switch.turn_on(probe_every)

    def online(self) -> None:
        """Use the network again, also for keys that went offline by themselves; nothing happens where it is used."""
        if self._entry.switch is not None:
            self._entry.switch.turn_off()

    def is_offline(self, key: str | None = None) -> bool:
        """Whether calls to ``key`` are not sent now, because all is offline or that key is; None: whether all is."""
        return self._entry.switch is not None and self._entry.switch.is_offline(key)

    def probe(self, key: str, *, circuit: str | None = None) -> None:
        """Let the next call of ``key`` find out whether it is back, if its circuit is open or it is offline.

        ``circuit``: the key that its circuit counts by, where that is another. What was switched off by hand, without
        probes, stays so.
        """
        if self._layers.circuits is not None:
            self._layers.circuits.probe(key if circuit is None else circuit)
        if self._entry.switch is not None:
            self._entry.switch.probe(key)

    def bind(self, inner: Handler[Q, R], family: Family[Q, R], owner: Owner) -> Handler[Q, R]:
        """All layers around ``inner``. ``owner`` stands for the transport, whose waiting calls `dismiss` names."""

        def beneath() -> Handler[Q, R]:
            handler = inner
            for layer in reversed(self._in_order if family.http else self._for_calls):
                handler = layer.bind(handler, family)
            return handler

        handler, rebind = self._entry.bind(beneath(), family, owner)
        self._bound[handler] = lambda: rebind(beneath())
        return handler

    def short_way(self, family: Family[Q, R], owner: Owner) -> ShortWay | None:
        """For a transport that `bind` was called for: fresh answers without a request, if there is a cache on top."""
        caching = self._layers.caching
        if caching is None or self._in_order is not self._layers.in_order or owner.certificate is not None:
            return None
        answer, rebind = self._entry.short_way(caching.layer(family), owner)
        self._bound[answer] = lambda: rebind(caching.layer(family))
        return answer

    def reconfigure(self, **changes: Unpack[Changes]) -> None:
        """Give the layers other settings, in one step between calls. Circuits, tokens, budgets and lines are kept.

        What calls share (limits, permits, circuits) is under the new settings at once, also for those who wait. What is
        a call's own (its number of attempts, its waits, its deadline) ends as it began; ``attempt_timeout`` holds from
        the next attempt on. What is stored stays, and is given under the new cache.

        Raises ValueError, and changes nothing, for what cannot work together, and for what would add a layer or take
        one away. ``clock`` and ``random`` stay, of a cache its ``store``, ``key``, ``shared``, ``identity_headers``
        and what rules make of keys, of an offline mode its ``file``: the state stands on them. Of `Pipeline.of` only
        the deadline can be another.
        """
        from holdfast._changes import changed, check_same_layers

        if self._in_order is not self._layers.in_order and changes.keys() - {"deadline"}:
            raise ValueError("a pipeline of layers of one's own has no setting but its deadline")
        given = changed(self._given, changes)
        policies = checked(given)
        check_same_layers(self._layers.policies, policies)
        self._layers.reconfigure(policies)
        self._given = given
        self._entry.reconfigure(given["deadline"], given["max_body_bytes"], sends_again=_sends_again(given))
        for rebind in [*self._bound.values()]:
            rebind()

    def describe(self) -> dict[str, Any]:
        """The policy in force, as plain data: settings with the defaults that gave way; functions and stores by name.

        No secret is in it: of a store, a key or a listener there is the name of its class.
        """
        from holdfast._describe import described

        return {name: described(setting) for name, setting in self._layers.policies.items()}

    def snapshot(self) -> dict[str, Any]:
        """What the state is now, for health checks: plain data; keys are only ever added.

        ``{"origins": {key: {"circuit": ..., "retries_left": ..., "concurrency": ..., "rate_limit": ...}}}``, and
        ``"offline"``: None, or ``{"for": seconds, "probe_in": seconds}``; the same under a key that went offline by
        itself. ``"cache"`` and ``"fallback"``, with the
        counts of those layers, only where they are.
        """
        switch = self._entry.switch
        origins = self._layers.snapshot()
        if switch is not None:
            for key, told in switch.by_key().items():
                origins.setdefault(key, {})["offline"] = told
        whole = {"origins": origins, "offline": None if switch is None else switch.snapshot()}
        counting = {"cache": self._layers.caching, "fallback": self._layers.fallbacks}
        return whole | {name: layer.snapshot() for name, layer in counting.items() if layer is not None}

    def health(self) -> Health:
        """The verdict over `snapshot`: ok, limited or down, since when, and when to try again; overall and by key.

        Nothing is kept and nothing is asked: it is what the calls of this pipeline have seen so far, so an outage ends
        with the call that probes.
        """
        from holdfast.core.health import judge

        return judge(self.snapshot(), self._clock.wall())

    def tell(self, event: Event) -> None:
        """Hand a record to the listeners, as the policies do; for what stands above the transport."""
        if self._layers.emitter is not None:
            self._layers.emitter.emit(event)

    def dismiss(self, make_error: Callable[[], Exception], owner: Owner) -> None:
        """End the waits of one transport's calls: those in a queue raise an error of their own, those in a backoff
        hand back their last real outcome.
        """
        for queue in self._layers.queues:
            queue.dismiss(make_error, owner)


def _sends_again(policies: Policies) -> bool:
    retry = policies["retry"]
    return policies["hedge"] is not None or (retry is not None and retry.attempts > 1)


def _entry(policies: Policies, layers: Layers, clock: Clock) -> Entry:
    """The outermost layer, which asks those that stand before all others."""
    telemetry = None
    if layers.emitter is not None:
        from holdfast.policies.telemetry import CallTelemetry

        telemetry = CallTelemetry(layers.emitter)
    return Entry(
        clock,
        policies["deadline"],
        policies["max_body_bytes"],
        sends_again=_sends_again(policies),
        telemetry=telemetry,
        fallback=layers.fallbacks,
        switch=layers.switch,
    )
