"""The line in front of the tokens of one key, and what happens where lines of different keys meet.

Nobody overtakes but by priority: who arrives while others wait stands behind them, whatever it costs and whatever is
free. The first in line lets time pass for all: it takes the tokens of those behind it whose time has come as well, and
sends away those whose own time is over. So there is one timer for each line, however long.

Limits with keys of their own (10 a second for an origin, 1,000 an hour for each tenant) make lines that meet at the
tokens they share. There, who came later may go first only if nobody at the head of another line gets its turn later
for it: a tenant that has used up its hour holds up nobody else, and is itself not starved. The order of turns is the
same everywhere, so two heads never wait for each other.
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush

import anyio

from holdfast._waiting import Queue, Waiter
from holdfast.core.adaptive import Adaptive
from holdfast.core.limits import Meter, Place
from holdfast.core.pacing import Pace, Pacing
from holdfast.core.priority import Turn, turn
from holdfast.policies._aio_bucket import AioBucket

__all__ = ["Caller", "Crossing", "Gate"]

_ROUNDING = 1e-9


class Caller(Waiter):
    """Waits for ``cost`` tokens until ``until`` (monotonic); in ``scope`` while it lets time pass for all.

    ``number`` counts arrivals over all gates.
    """

    __slots__ = ("number", "place", "scope", "until")

    def __init__(self, cost: float, until: float, number: int, owner: object, arrived: float, priority: int) -> None:
        super().__init__(owner, arrived=arrived, priority=priority, cost=cost)
        self.until = until
        self.number = number
        self.place: Place | None = None  # of its tokens, once it was served
        self.scope: anyio.CancelScope | None = None

    @property
    def turn(self) -> tuple[Turn, int]:
        """No two have the same."""
        return turn(self), self.number


class Crossing:
    """The tokens of one limit that several gates share, and those of them where somebody waits."""

    __slots__ = ("gates", "lines", "meter")

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.gates = 0
        self.lines: dict[Gate, None] = {}

    def wait(self, caller: Caller, gate: Gate, now: float) -> float:
        """Seconds until ``caller`` holds up nobody whose turn is earlier and who is first at another gate."""
        if not self.lines or (len(self.lines) == 1 and gate in self.lines):
            return 0.0
        older: list[tuple[float, float]] = []  # how long it waits anyway, and its cost
        for other in self.lines:
            first = other.line.first
            if other is not gate and first is not None and first.turn < caller.turn:
                older.append((other.own_wait(first.cost, now), first.cost))
        older.sort()
        ahead = wait = 0.0
        for patience, cost in older:
            ahead += cost
            then = self.meter.wait(ahead + caller.cost, now, queued=True)
            if then > max(patience, self.meter.wait(ahead, now, queued=True)) + _ROUNDING:
                wait = then  # its token would be gone: it goes first
        return wait

    def look_again(self) -> None:
        """Somebody left or must wait longer: others may go earlier than they thought."""
        for gate in self.lines:
            gate.look_again()


class Gate:
    """What is known of one key, or of one set of keys: its tokens, the line in front of them, the server's word.

    ``busy`` counts those in the line and those who were served but have not run since; above that, it is more than 0
    while the short way past the line is closed for other reasons (``detours``).

    ``ends`` has those in line whose time is limited, and some who have left, the most hasty first: a wait that was
    foretold can grow.
    """

    __slots__ = (
        "adaptive",
        "aio",
        "busy",
        "crossings",
        "detours",
        "ends",
        "key",
        "keys",
        "line",
        "look_in",
        "meter",
        "pace",
        "pacing",
        "smooth_release",
    )

    def __init__(
        self,
        keys: tuple[str, ...],
        meter: Meter,
        pacing: Pacing,
        *,
        crossings: tuple[Crossing, ...] = (),
        aio: AioBucket | None = None,
        smooth_release: bool = False,
    ) -> None:
        self.keys = keys
        self.key = " + ".join(dict.fromkeys(keys))
        self.meter = meter
        self.crossings = crossings
        self.aio = aio
        self.smooth_release = smooth_release  # after a block its tokens come at a rate by themselves
        self.pacing = pacing
        self.adaptive = Adaptive() if pacing.adaptive else None
        self.pace: Pace | None = None  # made when the server first has something to say
        self.line: Queue[Caller] = Queue()
        self.ends: list[tuple[float, int, Caller]] = []
        self.detours = 1 if crossings else 0
        self.busy = self.detours
        self.look_in: float = 0  # answers until one is looked at for what it says of limits
        for crossing in crossings:
            crossing.gates += 1

    @property
    def waiting(self) -> int:
        """Callers in line, and those who were served but have not run since."""
        return self.busy - self.detours

    @property
    def blocked_until(self) -> float:
        until = self.meter.blocked_until
        return until if self.pace is None else max(until, self.pace.blocked_until)

    def idle(self, now: float) -> bool:
        """True if nothing is lost with it."""
        if self.waiting or (self.pace is not None and not self.pace.idle(now)):
            return False
        if not self.crossings:
            return self.meter.idle(now)
        return all(crossing.gates > 1 or crossing.meter.idle(now) for crossing in self.crossings)

    def reconfigure(self, pacing: Pacing) -> None:
        """Another opinion of what the server says, from its next answer on."""
        self.pacing, self.look_in = pacing, 0
        if self.pace is not None:
            self.pace.reconfigure(pacing.mode, pacing.max_server_delay)

    def paced(self) -> Pace:
        """From now on the server has its say here."""
        if self.pace is None:
            self.pace = Pace(self.pacing.mode, self.pacing.max_server_delay, self.adaptive)
            self.detours += 1
            self.busy += 1
        return self.pace

    def own_wait(self, cost: float, now: float, *, ahead: float = 0.0) -> float:
        """Seconds until somebody in line, behind others who cost ``ahead``, finds its tokens if no other line does."""
        wait = self.meter.wait(ahead + cost, now, queued=True)
        return wait if self.pace is None else max(wait, self.pace.wait(cost, now, ahead=ahead))

    def wait(self, caller: Caller, now: float) -> float:
        """Seconds until ``caller``, who is first in line, may go."""
        wait = self.own_wait(caller.cost, now)
        for crossing in self.crossings:
            wait = max(wait, crossing.wait(caller, self, now))
        return wait

    def wait_to_join(self, cost: float, now: float, priority: int = 0) -> float:
        """Seconds that a caller would wait who joins now; unless somebody in front gives up, never too long."""
        ahead = self.line.cost_before(now, priority)
        wait = self.meter.wait(ahead + cost, now, queued=bool(self.line))
        return wait if self.pace is None else max(wait, self.pace.wait(cost, now, ahead=ahead))

    def take(self, caller: Caller, now: float, *, queued: bool) -> Place | None:
        """The tokens of a caller who is first in line, or who comes while there is none."""
        if self.pace is not None and self.pace.wait(caller.cost, now) > 0:
            return None
        for crossing in self.crossings:
            if crossing.wait(caller, self, now) > 0:
                return None
        place = self.meter.take(caller.cost, now, queued=queued)
        if place is not None and self.pace is not None:
            self.pace.take(caller.cost, now)
        return place

    def give_back(self, place: Place, cost: float, now: float) -> None:
        self.meter.give_back(place, cost, now)
        if self.pace is not None:
            self.pace.give_back(cost)
        self.look_again()
        for crossing in self.crossings:
            crossing.look_again()

    def block(self, until: float) -> None:
        """Nobody before ``until``; tokens that other gates use too are not theirs to lose."""
        if self.smooth_release:
            self.meter.block(until)
        else:
            self.paced().block(until)

    def look_again(self) -> None:
        """The first in line looks at its tokens anew."""
        if (first := self.line.first) is not None and first.scope is not None:
            first.scope.cancel()

    def join(self, caller: Caller) -> None:
        """Stand in line. Who is the first there from now on lets time pass in place of the one before."""
        before = self.line.first
        self.line.join(caller)
        for crossing in self.crossings:
            crossing.lines[self] = None
        if caller.until < math.inf:
            heappush(self.ends, (caller.until, caller.number, caller))
            self._prune()
        if self.line.first is not caller:
            if self.next_end() is caller:
                self.look_again()
        elif before is not None:
            if before.scope is not None:
                before.scope.cancel()
            for crossing in self.crossings:
                crossing.look_again()

    def leave(self, caller: Caller) -> bool:
        """Out of the line, wherever it stood; if it was first, the next one is. True if it stood there."""
        was_first = self.line.first is caller
        if not self.line.leave(caller):
            return False
        self._prune()
        if was_first:
            self._move_up()
        return True

    def dismiss(self, caller: Caller, error: Exception) -> None:
        if self.leave(caller):
            caller.settle(error)
            if caller.scope is not None:
                caller.scope.cancel()

    def serve(self, now: float) -> None:
        """Hand tokens to the front of the line as far as they are due, and have the next one take over."""
        while (first := self.line.first) is not None:
            first.place = self.take(first, now, queued=True)
            if first.place is None:
                break
            self.line.leave(first)
            first.settle(True)
        self._move_up()

    def next_end(self) -> Caller | None:
        """Of those in line, the one whose time is over first."""
        while self.ends:
            caller = self.ends[0][2]
            if caller in self.line:
                return caller
            heappop(self.ends)
        return None

    def _move_up(self) -> None:
        """Others may have become first, here and so at the tokens that are shared."""
        if (first := self.line.first) is not None:
            first.wake()
        for crossing in self.crossings:
            if first is None:
                crossing.lines.pop(self, None)
            crossing.look_again()

    def _prune(self) -> None:
        """Forget those who left before their time was over; a few times as many as stand here may be left."""
        if len(self.ends) > 2 * len(self.line) + 64:
            self.ends = [end for end in self.ends if end[2] in self.line]
            heapify(self.ends)
