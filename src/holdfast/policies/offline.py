"""Offline: what is stored answers, however old it is; nothing is sent but a probe now and then.

Outside the cache and all other layers, and only in the way of calls while it is switched on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from holdfast._wire import Family, Handler, Q, R, RequestLike
from holdfast.call import CALL, Call
from holdfast.clock import Clock
from holdfast.core.caching.invalidation import SAFE_METHODS
from holdfast.core.offline import Away, back, disconnect, probe
from holdfast.errors import Closed, Offline, Refused

if TYPE_CHECKING:
    from holdfast.policies.emitter import Emitter

__all__ = ["Switch"]


class Stored(Protocol):
    """Where stored answers are, if there is such a place."""

    async def stored(self, request: Q, family: Family[Q, R]) -> R | None:
        """The stored answer to a request, of whatever age; None if there is none that may be given."""
        ...


class Switch:
    """The offline switch of a pipeline, shared by all its transports; off when it is made.

    A call that is under way when it is switched stays as it is. While it is on, a call gets what is stored, or
    raises the family's `Offline`. Of the safe methods one call every ``probe_every`` seconds is sent, once and
    without asking the cache; any answer below 500 switches it off, and else that call fares like the others, its
    `Offline` chained to what happened. A probe that is cancelled counts as sent, if it was.
    """

    def __init__(self, *, clock: Clock, stored: Stored | None, emitter: Emitter | None = None) -> None:
        self._clock = clock
        self._stored = stored
        self._emitter = emitter
        self.state: Away | None = None

    def turn_on(self, probe_every: float | None) -> None:
        before, self.state = self.state, disconnect(self._clock.monotonic(), probe_every)
        if before is None and self._emitter is not None:
            self._emitter.went_offline("by_hand")

    def turn_off(self) -> None:
        self._come_back(None)

    def _come_back(self, state: Away | None) -> None:
        """Take over ``state``; None: online."""
        before, self.state = self.state, state
        if before is not None and state is None and self._emitter is not None:
            self._emitter.went_online(self._clock.monotonic() - before.since)

    def snapshot(self) -> dict[str, Any] | None:
        """None while online; else for how long it is on, and the seconds until a call may probe (None: never)."""
        if self.state is None:
            return None
        now = self._clock.monotonic()
        upcoming = self.state.next_probe
        return {"for": now - self.state.since, "probe_in": None if upcoming is None else max(0.0, upcoming - now)}

    async def handle(self, request: Q, inner: Handler[Q, R], family: Family[Q, R]) -> R:
        """A call while offline."""
        call: Call = request.extensions[CALL]
        failure: Exception | None = None
        try:
            probing = self._admit(request, call)
            if probing is not None:
                try:
                    response = await self._probe(request, call, probing, inner)
                except (Refused, family.transport_error) as error:
                    if isinstance(error, Closed):
                        raise
                    failure = error
                else:
                    if response is not None:
                        return response
            stored = None
            if self._stored is not None and request.method in SAFE_METHODS:
                stored = await self._stored.stored(request, family)
            if stored is None:
                refusal = self._refusal(request, call)
                if self._emitter is not None:
                    self._emitter.refused(call, refusal)
                raise family.refusal(refusal, request) from failure
            return stored
        finally:
            del failure  # its traceback holds this frame

    def _admit(self, request: RequestLike, call: Call) -> Away | None:
        """The state that lets this call through as a probe, if it does."""
        # What is not safe to send is not sent to find something out; and who wants a stored answer alone is no probe.
        if self.state is None or request.method not in SAFE_METHODS or call.options.cache == "only":
            return None
        probing = probe(self.state, self._clock.monotonic())
        if probing is not None:
            self.state = probing
        return probing

    async def _probe(self, request: Q, call: Call, probing: Away, inner: Handler[Q, R]) -> R | None:
        """The answer if there is a network again, None for one that is no better than none."""
        option = call.options.cache
        call.options = call.options.replace(attempts=1, cache="bypass" if option == "bypass" else "refresh")
        ok = False
        try:
            response = await inner(request)
            ok = response.status_code < 500
        finally:
            self._come_back(back(self.state, probing, sent=call.sends > 0, ok=ok))
        if ok and call.sends:
            return response
        await response.aclose()
        return None

    def _refusal(self, request: RequestLike, call: Call) -> Offline:
        call.reason = "offline"
        upcoming = None if self.state is None else self.state.next_probe
        what = "nothing that is stored answers it" if request.method in SAFE_METHODS else "it would change something"
        return Offline(
            f"offline: {request.method} to {call.key} was not sent, and {what}",
            policy="offline",
            key=call.key,
            retry_after=None if upcoming is None else max(0.0, upcoming - self._clock.monotonic()),
        )
