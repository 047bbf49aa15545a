"""The entry: makes each call's record, stamps its deadline, caps its body, and hands the record back.

The outermost layer. All others find the `Call` in the request's extensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from holdfast._deadline import in_force
from holdfast._wire import Family, Handler, Middleware, Q, R, ResponseLike, ShortWay, Site
from holdfast.by_origin import origin_of
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
from holdfast.clock import Clock
from holdfast.errors import InvalidOption
from holdfast.policies.attempt import deadline_exceeded, late

if TYPE_CHECKING:
    from holdfast.core.caching.request import Ask
    from holdfast.policies.cache_layer import CacheLayer
    from holdfast.policies.cache_state import Found
    from holdfast.policies.offline import Switch
    from holdfast.policies.telemetry import CallTelemetry

__all__ = ["Entry"]

_OURS = frozenset({OPTIONS, CALL, DEADLINE})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_AUTH_CHALLENGES = frozenset({401, 407})


class Entry:
    """The outermost layer of a pipeline; see above. Holds no state of its calls."""

    def __init__(
        self,
        clock: Clock,
        deadline: float | None,
        max_body_bytes: int | None,
        *,
        sends_again: bool,
        telemetry: CallTelemetry | None,
        fallback: Middleware | None = None,
        switch: Switch | None = None,
    ) -> None:
        self._fallback = fallback
        self._telemetry = telemetry
        self._clock = clock
        self._deadline = deadline
        self._max_body_bytes = max_body_bytes
        self._sends_again = sends_again
        self.switch = switch  # made when the pipeline first goes offline, if not before

    def reconfigure(self, deadline: float | None, max_body_bytes: int | None, *, sends_again: bool) -> None:
        """For the calls that come in once their transport was bound anew."""
        self._deadline = deadline
        self._max_body_bytes = max_body_bytes
        self._sends_again = sends_again

    def bind(
        self, inner: Handler[Q, R], family: Family[Q, R], owner: Owner
    ) -> tuple[Handler[Q, R], Callable[[Handler[Q, R]], None]]:
        """The handler of a transport, and a function that binds it anew: it then sends by what it is given."""
        monotonic, limit, body_of = self._clock.monotonic, self._max_body_bytes, family.body
        sends_again, leave, telemetry, total = self._sends_again, owner.leave, self._telemetry, self._deadline
        guarded = self._guarded(inner, family)
        plain = self._fallback is None or not family.http

        async def handle(request: Q) -> R:
            if owner.closing:
                raise family.refusal(closed_error(), request)
            given, now = request.extensions, monotonic()
            if in_force() is None and _OURS.isdisjoint(given):
                deadline = None if total is None else now + total
                call = Call(DEFAULT_OPTIONS, now, deadline, total, origin_of(request.url), owner, given)
            else:
                running: Call | None = given.get(CALL)
                if running is not None and running.owner is owner:
                    # The same Request object is on its way already, from another task: this call takes a copy of it.
                    given, running, request = running.given, None, family.fresh_attempt(request)
                call = self._call(request, given, running, now, family, owner)
            call.sends_again = sends_again
            request.extensions = {**given, CALL: call}
            owner.running += 1
            if telemetry is not None:
                telemetry.started(call, request.method, request.url)
            try:
                away = self.switch
                if plain and (away is None or not away.away) and (call.deadline is None or call.deadline > now):
                    response = await inner(request)
                else:
                    response = await guarded(request)
                if limit is not None and not response.is_closed:
                    response = await _capped(response, limit, request, family)
            except BaseException as error:
                leave(None, False)
                request.extensions = _unstamped(given)
                instead = self._failed(error, call, request, family)
                if instead is None:
                    raise
                raise instead from error
            if response.is_closed:
                leave(None, True)
            else:
                body_of(response).watch(leave)
            if response.status_code >= 300 and _goes_on(response):
                request.extensions = {**given, DEADLINE: call.stamp(monotonic())}
            else:
                request.extensions = given if DEADLINE not in given else _unstamped(given)
            response.extensions[OPTIONS] = call.record()
            if telemetry is not None:
                telemetry.ended(call, request.method, monotonic() - now, response.status_code, None)
            return response

        def rebind(beneath: Handler[Q, R]) -> None:
            nonlocal inner, guarded, limit, sends_again, total
            inner, guarded = beneath, self._guarded(beneath, family)
            limit, sends_again, total = self._max_body_bytes, self._sends_again, self._deadline

        return handle, rebind

    def short_way(self, cache: CacheLayer[Q, R], owner: Owner) -> tuple[ShortWay, Callable[[CacheLayer[Q, R]], None]]:
        """What a transport's handler would answer a call with, where that is in the store and needs no request.

        And, as `bind` gives it, a function that binds it anew.
        """
        from holdfast.core.caching.key import target

        monotonic, limit, telemetry = self._clock.monotonic, self._max_body_bytes, self._telemetry

        def answer(ask: Ask, url: str, site: Site, options: Options, signed: bool) -> Found[Q, R] | None:
            around = in_force()
            if owner.closing or (self.switch is not None and self.switch.away):
                return None
            if around is not None and around.left <= 0:
                return None
            now = monotonic()
            url = target(url)
            found = cache.find(ask, url, options, limit, signed=signed)
            if found is None:
                return None
            call = Call(options, now, None, None, options.key or site.key, owner)
            if telemetry is not None:
                telemetry.started(call, ask.method, site.at(url))
            cache.give(found, call)
            if telemetry is not None:
                telemetry.ended(call, ask.method, monotonic() - now, found.status_code, None)
            return found

        def rebind(stored: CacheLayer[Q, R]) -> None:
            nonlocal cache, limit
            cache, limit = stored, self._max_body_bytes

        return answer, rebind

    def _failed(self, error: BaseException, call: Call, request: Q, family: Family[Q, R]) -> Exception | None:
        """Hand the record back, unless the call was cancelled; the error that its caller gets instead, if another."""
        now, instead = self._clock.monotonic(), None
        if isinstance(error, Exception):
            instead = late(error, call, now, family, request)
            _attach(instead or error, call, now - call.started)
        if self._telemetry is not None:
            self._telemetry.ended(call, request.method, now - call.started, None, instead or error)
        return instead

    def _guarded(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        """``inner`` behind what keeps all of a call from being sent: its deadline is over, or it is offline.

        Before that stands the fallback, if there is one.
        """
        monotonic = self._clock.monotonic

        async def handle(request: Q) -> R:
            call: Call = request.extensions[CALL]
            if call.deadline is not None and call.deadline <= monotonic():
                raise family.refusal(deadline_exceeded(call), request)
            if self.switch is None or not self.switch.away:
                return await inner(request)
            return await self.switch.handle(request, inner, family)

        return handle if self._fallback is None or not family.http else self._fallback.bind(handle, family)

    def _call(
        self, request: Q, given: dict[str, Any], outer: Call | None, now: float, family: Family[Q, R], owner: Owner
    ) -> Call:
        options = DEFAULT_OPTIONS if OPTIONS not in given else _options(given, request, family)
        total = options.deadline if options.deadline is not None else self._deadline
        deadline, sent_before, key = None if total is None else now + total, 0, None
        if DEADLINE in given:
            stamp: Stamp = given[DEADLINE]
            if not stamp.stale(now):
                sent_before = stamp.sends
                key = stamp.idempotency_key
                if stamp.deadline is not None and (deadline is None or stamp.deadline < deadline):
                    deadline, total = stamp.deadline, stamp.total
        if outer is not None and outer.deadline is not None and (deadline is None or outer.deadline < deadline):
            deadline, total = outer.deadline, outer.total
        around = in_force()
        if around is not None and (deadline is None or now + around.left < deadline):
            deadline, total = now + around.left, around.seconds
        call = Call(options, now, deadline, total, options.key or origin_of(request.url), owner, given)
        call.sent_before = sent_before
        if key is not None:
            call.idempotency_key = key
        if outer is not None:
            call.single = outer.sends_again or outer.single
        return call


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
        attempts = "1 attempt" if len(call.attempts) == 1 else f"{len(call.attempts)} attempts"
        error.add_note(f"holdfast: {attempts} in {seconds:.2f} s{reason}")
