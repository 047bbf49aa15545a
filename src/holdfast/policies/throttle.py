"""Client throttling as a layer: each attempt may be refused at random, the more so the more the server turns down.

`core.throttle` has the rule. Here is what it must not know: the calls, and what an outcome says of the server.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from holdfast._wire import Family, Fault, Handler, Q, R
from holdfast.call import CALL, Call
from holdfast.clock import Clock
from holdfast.core.throttle import Tally, Throttle
from holdfast.errors import Refused, Throttled

if TYPE_CHECKING:
    from holdfast.policies.emitter import Emitter

__all__ = ["Throttling"]

_KEYS = 1024
_SILENT = (Fault.SATURATED, Fault.LOCAL)
"""What says nothing about the server."""


class Throttling:
    """Refuses attempts at random (`Throttled`) as far as their server turns them down; shared by all transports.

    An attempt counts from its start. Cancelled, refused by another policy of ours, cut short by its caller's deadline
    or failed on our side, it counts as if it had never been. 1,024 keys at most, least recently used out first; state
    is free of event loops.
    """

    def __init__(
        self, settings: Throttle, *, clock: Clock, random: Callable[[], float], emitter: Emitter | None = None
    ) -> None:
        self.settings = settings
        self._emitter = emitter
        self._clock = clock
        self._random = random
        self._tallies: LRUCache[str, Tally] = LRUCache(_KEYS)

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        monotonic, random, statuses = self._clock.monotonic, self._random, self.settings.statuses
        tally_of, observe = self._tally, self.settings.observe

        async def handle(request: Q) -> R:
            call: Call = request.extensions[CALL]
            tally, now = tally_of(call.key), monotonic()
            probability = tally.refuses(now)
            slot = tally.begin(now)
            if probability and random() < probability:
                if not observe:
                    raise family.refusal(_throttled(call.key, probability), request)
                self._would_reject(tally, call, probability)
                return await inner(request)  # what comes of it an acting one would not have learnt
            try:
                response = await inner(request)
            except family.transport_error as error:
                (tally.reject if self._blames(error, family.fault(error), call) else tally.forget)(slot)
                raise
            except BaseException:
                tally.forget(slot)
                raise
            (tally.reject if response.status_code in statuses else tally.accept)(slot)
            return response

        return handle

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """By key: what was counted in the window, and with what probability a request is refused now."""
        now, tallies = self._clock.monotonic(), self._tallies
        found: dict[str, dict[str, Any]] = {}
        for key in list(tallies):
            tally = super(LRUCache, tallies).__getitem__(key)  # a look is no use of it
            requests, accepts, _ = tally.sums(now)
            found[key] = {"requests": requests, "accepts": accepts, "refuses": tally.refuses(now)}
            if self.settings.observe:
                found[key]["would_reject"] = tally.would_reject
        return found

    def reconfigure(self, settings: Throttle) -> None:
        """Other settings from now on; what was counted is kept, if the window is as long as before."""
        self.settings = settings
        for tally in self._tallies.values():
            tally.reconfigure(settings)

    def _tally(self, key: str) -> Tally:
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = Tally(self.settings)
        return tally

    def _would_reject(self, tally: Tally, call: Call, probability: float) -> None:
        tally.would_reject += 1
        if self._emitter is not None:
            self._emitter.refused(call, _throttled(call.key, probability), observed=True)

    def _blames(self, error: Exception, fault: Fault, call: Call) -> bool:
        """Whether a failure is the server's."""
        if isinstance(error, Refused) or fault in _SILENT:  # to the library our refusals are transport errors
            return False
        return not call.cut_short(self._clock.monotonic())


def _throttled(key: str, probability: float) -> Throttled:
    return Throttled(
        f"{key} turns down so many requests that {probability:.0%} of them are refused here",
        policy="throttle",
        key=key,
    )
