"""Fallback: a call that failed is answered in another way, and the answer says so.

The outermost layer, so that it sees how the call ended after all retries, waits and refusals.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Generic, Protocol

from holdfast._wire import Family, Fault, Handler, Q, R, RequestLike, ResponseLike
from holdfast.call import CALL, Call, refusal_reason
from holdfast.clock import Clock
from holdfast.core.caching.fields import DELTA_CAP
from holdfast.core.caching.invalidation import SAFE_METHODS
from holdfast.core.caching.key import target
from holdfast.core.fallback import FAILURES, Alternatives, Elsewhere, may_be_asked_elsewhere
from holdfast.core.proof import is_proof
from holdfast.core.templates import Templates
from holdfast.errors import Closed, HoldfastError, Refused, ResponseRejected
from holdfast.policies._aside import close, set_aside
from holdfast.policies.attempt import late
from holdfast.policies.fallback_settings import JSON, Failure, Fallback, Substitute, Supply, substitute

if TYPE_CHECKING:
    from holdfast.policies.emitter import Emitter

__all__ = ["Fallbacks"]

_logger = logging.getLogger("holdfast")

_OF_ONE_ORIGIN: Final = ("sni_hostname", "target")
"""Request extensions that name the first origin."""
_ABOUT_CREDENTIALS: Final = frozenset({401, 403, 407})
"""Answers of another origin that come of the credentials it was not sent."""


class Stored(Protocol):
    """Where stored answers are."""

    async def fallback(self, request: Q, family: Family[Q, R], past: float) -> R | None:
        """The stored answer, at most ``past`` seconds past its lifetime; None if there is none that may be given."""
        ...


class Fallbacks:
    """The fallback layer; its counts are shared by all transports of the pipeline.

    A call that is cancelled is not answered in another way, and whatever was open is closed.
    """

    def __init__(self, settings: Fallback, *, stored: Stored | None, clock: Clock, emitter: Emitter | None) -> None:
        self.ways = _Ways(settings)
        self.stored = stored
        self.clock = clock
        self.emitter = emitter
        self._counts = {"failover": 0, "stale": 0, "value": 0, "default": 0, "none": 0, "raised": 0}
        self._told_of: set[str] = set()

    def reconfigure(self, settings: Fallback) -> None:
        """For the calls that come in from now on; what was counted stays."""
        self.ways = _Ways(settings)

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        return _Chain(self, inner, family).handle

    def snapshot(self) -> dict[str, int]:
        """Calls by what they fell back on since the pipeline was made.

        ``none``: failed all the same; ``raised``: functions for values that raised or took too long.
        """
        return dict(self._counts)

    def count(self, way: str) -> None:
        self._counts[way] += 1

    def raised(self, name: str, error: Exception, call: Call) -> None:
        """A user's function failed: the call goes on to the next way, and somebody must learn of it."""
        self.count("raised")
        if self.emitter is not None:
            self.emitter.fallback_failed(call, name, error)
        if name not in self._told_of:  # once for each: an outage must not fill the log
            self._told_of.add(name)
            _logger.error("the fallback %r failed; further failures of it are only counted", name, exc_info=error)


class _Ways:
    """What calls fall back on, and from what."""

    __slots__ = ("alternatives", "errors", "kept", "settings", "statuses", "values")

    def __init__(self, settings: Fallback) -> None:
        self.settings = settings
        self.alternatives = Alternatives(settings.failover or {}, settings.keep) if settings.failover else None
        self.kept = frozenset(name.lower() for name in settings.keep)
        named = {name: (name, supply) for name, supply in (settings.values or {}).items()}
        self.values: Templates[tuple[str, Supply]] = Templates(named, "value")
        on = settings.on
        self.statuses = FAILURES if on is None else frozenset(one for one in on if isinstance(one, int))
        self.errors = (Exception,) if on is None else tuple(one for one in on if not isinstance(one, int))


class _Lost(Generic[Q, R]):
    """A call that failed, and what it takes to answer it in another way."""

    __slots__ = ("call", "failure", "replayable", "request", "response")

    def __init__(
        self, request: Q, call: Call, replayable: Callable[[], bool], failure: Failure, response: R | None = None
    ) -> None:
        self.request = request
        self.call = call
        self.replayable = replayable
        self.failure = failure
        self.response = response


class _Chain(Generic[Q, R]):
    """The ways of one transport, in their order. No state of its own."""

    def __init__(self, shared: Fallbacks, inner: Handler[Q, R], family: Family[Q, R]) -> None:
        self._shared = shared
        self._ways = shared.ways  # a call ends by those that it began with
        self._inner = inner
        self._family = family
        self._monotonic = shared.clock.monotonic

    async def handle(self, request: Q) -> R:
        call: Call = request.extensions[CALL]
        if not call.options.fallback:
            return await self._inner(request)
        replayable = self._replayable(request, call)
        try:
            response = await self._inner(request)
        except (Refused, self._family.transport_error) as error:
            failure = self._failed(error, request, call)
            try:
                answer = None if failure is None else await self._answer(_Lost(request, call, replayable, failure))
            finally:
                del failure  # it holds an error whose traceback holds this frame
            if answer is None:
                raise
            return answer
        # Who wants nothing but a stored answer got what there is.
        if response.status_code not in self._ways.statuses or call.cache == "unsatisfiable":
            return response
        try:
            failure = _failure(request, call, f"status_{response.status_code}", response=response)
            answer = await self._answer(_Lost(request, call, replayable, failure, response))
        except BaseException:
            await close(response)
            raise
        if answer is None:
            return response
        await close(response)
        return answer

    def _replayable(self, request: Q, call: Call) -> Callable[[], bool]:
        """Asked after a failure: whether the body can be sent elsewhere."""
        if self._ways.alternatives is None or call.options.replayable or self._family.replayable(request):
            return _always
        began = self._family.track(request)
        return lambda: not began()

    def _failed(self, error: Exception, request: Q, call: Call) -> Failure | None:
        """What failed, if it is something to fall back from."""
        error = late(error, call, self._monotonic(), self._family, request) or error
        if isinstance(error, Closed) or not isinstance(error, self._ways.errors):
            return None
        if isinstance(error, Refused):
            return _failure(request, call, refusal_reason(error), error=error)
        if not isinstance(error, ResponseRejected) and self._family.fault(error) is Fault.LOCAL:
            return None
        return _failure(request, call, type(error).__name__, error=error)

    async def _answer(self, lost: _Lost[Q, R]) -> R | None:
        """The first way that gives an answer, marked; None if none does."""
        shared, call, request = self._shared, lost.call, lost.request
        way = name = "failover"
        answer = await self._failover(lost)
        if answer is None:
            way = name = "stale"
            answer = await self._stale(request)
        if answer is None and (named := self._named(request, call)) is not None:
            way, (name, supply) = "value", named
            answer = await self._supplied(name, supply, lost)
        if answer is None and request.method in SAFE_METHODS:
            way = name = "default"
            answer = await self._supplied(name, self._ways.settings.default, lost)
        if answer is None:
            shared.count("none")
            return None
        shared.count(way)
        call.source, call.fallback, call.reason = "fallback", name, lost.failure.reason
        if shared.emitter is not None:
            shared.emitter.fell_back(call, name, lost.failure.reason)
        return answer

    async def _stale(self, request: Q) -> R | None:
        stale, stored = self._ways.settings.stale, self._shared.stored
        if not stale or stored is None:
            return None
        return await stored.fallback(request, self._family, DELTA_CAP if stale is True else stale)

    def _named(self, request: Q, call: Call) -> tuple[str, Supply] | None:
        options = call.options
        return self._ways.values.find(target(str(request.url)), options.operation, options.template)

    async def _supplied(self, name: str, supply: Supply, lost: _Lost[Q, R]) -> R | None:
        """The response that a value makes; None if there is none, or its function fails."""
        shared = self._shared
        try:
            given = await self._called(supply, lost.failure) if callable(supply) else supply
            if given is None:
                return None
            stand_in = substitute(given, name)
        except Exception as error:  # the user's function: the caller is protected from it, and gets the next way
            shared.raised(name, error, lost.call)
            return None
        lost.call.age = stand_in.age
        return _response(self._family, lost.request, stand_in)

    async def _called(
        self, supply: Callable[[Failure], JSON | Substitute | Awaitable[JSON | Substitute]], failure: Failure
    ) -> JSON | Substitute:
        clock, seconds = self._shared.clock, self._ways.settings.timeout
        given = supply(failure)
        if not inspect.isawaitable(given):
            return given
        with clock.timeout_at(clock.monotonic() + seconds):
            return await given
        raise TimeoutError(f"no value within {seconds} s")

    async def _failover(self, lost: _Lost[Q, R]) -> R | None:
        """The answer of the first of the other base URLs that has a good one, in the time that is left."""
        if self._ways.alternatives is None or not self._may_go_elsewhere(lost):
            return None
        others = self._ways.alternatives.of(target(str(lost.request.url)))
        if others and lost.response is not None:  # there may be no second connection
            await set_aside(lost.response, lost.request, self._family, self._shared.clock)
        deadline = lost.call.deadline
        for elsewhere in others:
            if not lost.replayable() or (deadline is not None and deadline <= self._monotonic()):
                return None
            answer = await self._ask(elsewhere, lost.request, lost.call)
            if answer is not None:
                return answer
        return None

    def _may_go_elsewhere(self, lost: _Lost[Q, R]) -> bool:
        call, error, request = lost.call, lost.failure.error, lost.request
        return may_be_asked_elsewhere(
            request.method,
            idempotent=call.options.idempotent,
            keyed=call.keyed(request.headers),
            sends=call.sends,
            status=None if lost.response is None else lost.response.status_code,
            fault=None if error is None else self._family.fault(error),
        )

    async def _ask(self, elsewhere: Elsewhere, request: Q, call: Call) -> R | None:
        there = call.elsewhere(elsewhere.key)
        kept = self._ways.kept
        sent = self._family.readdressed(request, elsewhere.url, lambda header: header not in kept and is_proof(header))
        passed_on = {name: value for name, value in request.extensions.items() if name not in _OF_ONE_ORIGIN}
        sent.extensions = {**passed_on, CALL: there}
        try:
            response = await self._inner(sent)
        except (Refused, self._family.transport_error) as error:
            if isinstance(error, HoldfastError) and not isinstance(error, (Refused, ResponseRejected)):
                raise  # a mistake, for whoever made it to see
            return None
        finally:
            call.sends = there.sends
        if response.status_code in self._ways.statuses or response.status_code in _ABOUT_CREDENTIALS:
            await close(response)
            return None
        if "set-cookie" in response.headers and "set-cookie" not in kept:
            del response.headers["set-cookie"]  # the client would take it for one of the first origin's
        call.age, call.cache, call.cache_status = there.age, there.cache, there.cache_status
        return response


def _always() -> bool:
    return True


def _failure(
    request: RequestLike,
    call: Call,
    reason: str,
    *,
    response: ResponseLike | None = None,
    error: Exception | None = None,
) -> Failure:
    return Failure(
        request,
        response=response,
        error=error,
        reason=call.reason or reason,
        attempts=call.sends,
        key=call.key,
        operation=call.options.operation,
    )


def _response(family: Family[Q, R], request: Q, given: Substitute) -> R:
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in (given.headers or {}).items()]
    headers.append((b"Content-Length", b"%d" % len(given.body)))
    if given.age is not None:
        headers.append((b"Age", b"%d" % given.age))
    return family.response(request, given.status, headers, b"" if request.method == "HEAD" else given.body)
