"""Client throttling: with what probability is a request turned down here, before an overloaded server does it?

The rule of the SRE book ("Handling Overload"): once a server accepts less than one request in ``k``, what is beyond
``k`` times its acceptances is refused by the client itself. No I/O, no clock, no randomness: callers pass ``now``.
"""

from __future__ import annotations

from collections import deque
from dataclasses import field

from holdfast.core.breaker_settings import FAILURE_STATUSES
from holdfast.core.settings import Settings

__all__ = ["Tally", "Throttle", "refuse_probability"]

_SLOTS = 20
"""Steps in which the window moves."""


class Throttle(Settings):
    """Refuse a share of the requests to a server that turns many down. An alternative to the circuit breaker.

    In the last ``window`` seconds, with so many ``requests`` of a key and ``accepts`` of them accepted by the server,
    a request is refused with the probability ``max(0, (requests - k * accepts) / (requests + 1))``. Refused requests
    count among ``requests``, so a server in trouble gets about ``k`` times what it accepts, whatever the demand. A
    lower ``k`` spares it more, and finds out later that it is well again. ``statuses`` are those that turn a request
    down; a connection or an answer that fails does so too. ``observe``: count and report whom it would refuse, and
    refuse nobody.

    >>> Throttle(k=1.5).window
    120.0
    """

    k: float = 2.0
    window: float = 120.0
    statuses: frozenset[int] = field(default=FAILURE_STATUSES | {429})
    observe: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.k < float("inf"):
            raise ValueError(f"k must be at least 1 request for each that is accepted, got {self.k}")
        if not 0 < self.window < float("inf"):
            raise ValueError(f"window must be seconds, more than 0, got {self.window}")
        bad = [status for status in self.statuses if not 400 <= status <= 599]
        if bad:
            raise ValueError(f"statuses are those of failures, 400 to 599, got {bad[0]}")


def refuse_probability(requests: int, accepts: int, k: float) -> float:
    """How likely the next request is refused.

    >>> refuse_probability(requests=100, accepts=50, k=2.0), refuse_probability(requests=99, accepts=0, k=2.0)
    (0.0, 0.99)
    """
    return max(0.0, (requests - k * accepts) / (requests + 1))


class _Slot:
    """What began, and how it ended, in one step of the window."""

    __slots__ = ("accepts", "number", "rejects", "requests")

    def __init__(self, number: int) -> None:
        self.number = number
        self.requests = self.accepts = self.rejects = 0


class Tally:
    """The requests of one key. A request counts from its start, and its end counts in the same step of the window.

    >>> tally = Tally(Throttle(window=100.0))
    >>> slot = tally.begin(0.0); tally.reject(slot)
    >>> tally.refuses(1.0)
    0.5
    """

    __slots__ = ("_k", "_slots", "_width", "would_reject")

    def __init__(self, settings: Throttle) -> None:
        self.would_reject = 0  # requests that were only observed
        self._k = settings.k
        self._width = settings.window / _SLOTS
        self._slots: deque[_Slot] = deque(maxlen=_SLOTS)

    def reconfigure(self, settings: Throttle) -> None:
        """What was counted is kept, if the window is as long as before."""
        self._k = settings.k
        if self._width != settings.window / _SLOTS:
            self._width = settings.window / _SLOTS
            self._slots.clear()

    def begin(self, now: float) -> _Slot:
        """A caller wants to send. Its request counts, whether it is refused or not."""
        number = int(now // self._width)
        if not self._slots or self._slots[-1].number != number:
            self._slots.append(_Slot(number))
        slot = self._slots[-1]
        slot.requests += 1
        return slot

    def accept(self, slot: _Slot) -> None:
        slot.accepts += 1

    def reject(self, slot: _Slot) -> None:
        slot.rejects += 1

    def forget(self, slot: _Slot) -> None:
        """It was not sent, or nobody knows what became of it: as if it had never been."""
        slot.requests -= 1

    def refuses(self, now: float) -> float:
        """The probability with which a request is refused. Moves nothing, so another thread may ask."""
        requests, accepts, rejects = self.sums(now)
        # What is still on its way was not turned down: the first burst of all to a server that is well would be.
        return refuse_probability(requests, accepts, self._k) if rejects else 0.0

    def sums(self, now: float) -> tuple[int, int, int]:
        """(requests, accepted, turned down) of the window."""
        oldest = int(now // self._width) - _SLOTS
        kept = [slot for slot in tuple(self._slots) if slot.number > oldest]
        return (
            sum(slot.requests for slot in kept),
            sum(slot.accepts for slot in kept),
            sum(slot.rejects for slot in kept),
        )
