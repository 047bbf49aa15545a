"""Many callers want the same answer at once: who fetches it, and who waits for whom?

One caller leads and fetches; the others wait for its answer, never in a line behind each other. What may be
done with the answer is decided elsewhere: a follower is only told that it is there, or that there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from holdfast._waiting import Line, running_task
from holdfast.call import Call
from holdfast.clock import Clock
from holdfast.core.caching.entry import Entry
from holdfast.core.caching.stale import Trouble
from holdfast.policies.attempt import deadline_exceeded

__all__ = ["Flight", "Flights"]

_STALL: Final = 1.0
"""Seconds without a chunk after which nobody waits any longer for somebody else's stream."""


class Flight:
    """One fetch under way. Belongs to its leader; followers stand in ``line``, made when the first one comes.

    ``mark`` is when it began, in the store's count of purges. ``entry`` is its answer, once it is over and if
    it may be shared; ``trouble`` is what there was in place of one. ``moved`` is when the last chunk came to a
    leader that streams (monotonic seconds).
    """

    # Of the class until they change: most fetches are followed by nobody.
    line: Line | None = None
    entry: Entry | None = None
    trouble: Trouble | None = None
    moved: float | None = None
    over = False
    vacant = False  # the leader left, and the follower that was woken is to lead
    _reader: object = None

    def __init__(self, mark: int) -> None:
        self.mark = mark

    @property
    def followed(self) -> bool:
        """Whether anybody waits."""
        return self.line is not None and len(self.line) > 0

    @property
    def read_here(self) -> bool:
        """Whether the stream is held open by the very task that asks: it must not wait for itself."""
        return self._reader is not None and self._reader is running_task()

    def stream(self, now: float) -> None:
        """From now on the leader's caller reads the body, at its own pace."""
        self.moved = now
        self._reader = running_task()

    def end(self) -> None:
        """Nobody reads for it any more, and nobody waits."""
        self._reader = None
        if self.line is not None:
            self.line.admit(len(self.line))


class Flights:
    """The fetches under way, by key. One event loop at a time; between awaits nobody sees a half-done step."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_key: dict[str, Flight] = {}
        self.find: Callable[[str], Flight | None] = self._by_key.get

    def __len__(self) -> int:
        return len(self._by_key)

    def lead(self, key: str, mark: int) -> Flight:
        """A new fetch, to be joined by whoever comes from now on; one that is under way is joined no more."""
        flight = self._by_key[key] = Flight(mark)
        return flight

    def land(self, key: str, flight: Flight | None, entry: Entry | None = None) -> None:
        """The fetch is over: followers get ``entry``, or go their own way, all at once. Again: nothing happens."""
        if flight is None or flight.over:
            return
        if self.find(key) is flight:
            del self._by_key[key]
        if entry is not None:
            flight.entry = entry
        flight.over = True
        if flight.line is not None or flight.moved is not None:
            flight.end()

    def leave(self, key: str, flight: Flight) -> None:
        """The leader is gone, and nothing is known about the answer: one follower leads, the others wait on."""
        if flight.over:
            return
        if flight.line is not None and flight.line.admit(1):
            flight.vacant = True
        else:
            self.land(key, flight)

    async def wait(self, key: str, flight: Flight, call: Call) -> bool:
        """True if the caller is to lead now; False if the flight is over, or its body has stalled.

        Raises `DeadlineExceeded` at the caller's deadline. A caller that is cancelled leaves no trace; if it was
        to lead in that moment, the next one is.
        """
        clock, began = self._clock, self._clock.monotonic()
        line = flight.line
        if line is None:
            line = flight.line = Line()

        def lost() -> None:
            if flight.vacant:
                flight.vacant = False
                self.leave(key, flight)

        try:
            while not flight.over:
                until = _until(flight, call.deadline)
                if until is not None and until <= clock.monotonic():
                    break
                if await line.wait(clock, until, lost, call.owner):
                    leads, flight.vacant = flight.vacant, False
                    return leads
        finally:
            call.waited("cache", clock.monotonic() - began)
        if call.deadline is not None and call.deadline <= clock.monotonic():
            raise deadline_exceeded(call)
        return False

    def dismiss(self, make_error: Callable[[], Exception], owner: object = None) -> None:
        """Send away all who wait, or those of one ``owner``: each raises an error of its own."""
        for flight in list(self._by_key.values()):
            if flight.line is not None:
                flight.line.dismiss(make_error, owner)


def _until(flight: Flight, deadline: float | None) -> float | None:
    if flight.moved is None:
        return deadline
    stalled = flight.moved + _STALL
    return stalled if deadline is None else min(stalled, deadline)
