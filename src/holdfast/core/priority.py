"""Who goes first? The one who came first, where those of a higher priority count as having come earlier.

No I/O, no clock, no lock: whoever stands in an `Order` brings the time of its arrival.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from heapq import merge
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

__all__ = ["AHEAD", "HIGHEST", "LOWEST", "Order", "Ranked", "Turn"]

HIGHEST: Final = 3
LOWEST: Final = -3

AHEAD: Final = 30.0
"""Seconds of waiting that one level of priority is worth.

As long as the default deadline: with it, a level goes before all of those below, since nobody waits for longer. Without
a deadline nobody starves, because each second of waiting counts, and after six such times it outweighs all levels.
"""

Turn: TypeAlias = tuple[float, int]
"""The earlier goes first: of the same rank, the higher priority."""


class Ranked(Protocol):
    """Somebody in line. None of this changes while it stands there.

    ``arrived`` is in monotonic seconds; ``cost`` is what it takes of whatever all wait for.
    """

    @property
    def arrived(self) -> float: ...

    @property
    def priority(self) -> int: ...

    @property
    def cost(self) -> float: ...


T = TypeVar("T", bound=Ranked)


class Order(Generic[T]):
    """Those who wait, in the order of their turns: first in, first out for each priority.

    There is a lane for each priority that somebody has, so nobody is compared with those of its own. Everything
    takes the same time however many there are, but for `cost_before` where others are overtaken.
    """

    __slots__ = ("_lanes",)

    def __init__(self) -> None:
        self._lanes: dict[int, _Lane[T]] = {}

    def __len__(self) -> int:
        return sum([len(lane.members) for lane in self._lanes.values()])

    def __bool__(self) -> bool:
        return bool(self._lanes)  # one that is empty goes

    def __iter__(self) -> Iterator[T]:
        """Everybody who stands here now, in order; safe against changes on the way."""
        return iter(list(merge(*[lane.members for lane in self._lanes.values()], key=turn)))

    def __contains__(self, member: T) -> bool:
        lane = self._lanes.get(member.priority)
        return lane is not None and member in lane.members

    @property
    def first(self) -> T | None:
        lanes = self._lanes.values()
        if len(lanes) == 1:
            for lane in lanes:
                return next(iter(lane.members))
        return min((next(iter(lane.members)) for lane in lanes), key=turn, default=None)

    def add(self, member: T) -> None:
        lane = self._lanes.get(member.priority)
        if lane is None:
            lane = self._lanes[member.priority] = _Lane()
        lane.members[member] = None
        lane.cost += member.cost

    def discard(self, member: T) -> bool:
        """True if it stood here."""
        lane = self._lanes.get(member.priority)
        if lane is None or member not in lane.members:
            return False
        del lane.members[member]
        lane.cost -= member.cost
        if not lane.members:
            del self._lanes[member.priority]
        return True

    def clear(self) -> None:
        self._lanes.clear()

    def cost_before(self, arrived: float, priority: int) -> float:
        """What those take who go before somebody who arrives now, after all who stand here."""
        cost = 0.0
        for level, lane in self._lanes.items():
            if level >= priority:
                cost += lane.cost
                continue
            latest = arrived - (priority - level) * AHEAD
            for member in lane.members:
                if member.arrived >= latest:
                    break
                cost += member.cost
        return cost


class _Lane(Generic[T]):
    """Those of one priority, in the order in which they came; never empty but for a moment."""

    __slots__ = ("cost", "members")

    def __init__(self) -> None:
        self.members: OrderedDict[T, None] = OrderedDict()
        self.cost = 0.0  # of all of them


def turn(member: Ranked) -> Turn:
    """What decides between members of different priority."""
    return member.arrived - member.priority * AHEAD, -member.priority
