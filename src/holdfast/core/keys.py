"""Which of several keys is to be used now, and what does an answer say of the one that it came to?

A key's verdicts are counted by window: what was sent before the key was last put aside says nothing new of it, so a
hundred calls that fail at once are one failure. Nothing waits here: callers pass ``now`` and keep what is returned.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum, auto
from typing import Final, TypeAlias

from holdfast.core.value import Value, replace

__all__ = [
    "Accepted",
    "Aside",
    "Forbidden",
    "Key",
    "Keys",
    "Limited",
    "Rejected",
    "Ticket",
    "Verdict",
    "revive",
    "settle",
    "take",
]

MOST_REST: Final = 3600.0
"""Seconds that a key is put aside at most, unless the server itself asked for more."""


class Accepted(Value):
    """The key is good."""


class Limited(Value):
    """It has no quota left: for ``delay`` seconds, or nobody said."""

    def __init__(self, delay: float | None = None) -> None:
        self.delay = delay


class Rejected(Value):
    """The server does not know it, or no more."""


class Forbidden(Value):
    """Either the key or the request is not allowed; another key has to tell."""


Verdict: TypeAlias = Accepted | Limited | Rejected | Forbidden | None
"""None: the answer, or its failure, says nothing of the key."""


class Aside(Enum):
    """Why a key is put aside."""

    LIMITED = auto()
    REJECTED = auto()


class Key(Value):
    """One key: its weight and credit in the rotation, and since when and until when it is put aside.

    ``failures`` counts windows in a row. ``trial``: one call has it, to find out whether it was revived.
    """

    def __init__(
        self,
        weight: float = 1.0,
        credit: float = 0.0,
        aside: Aside | None = None,
        until: float = float("-inf"),
        failures: int = 0,
        window: int = 0,
        *,
        trial: bool = False,
    ) -> None:
        self.weight = weight
        self.credit = credit
        self.aside = aside
        self.until = until
        self.failures = failures
        self.window = window
        self.trial = trial

    def usable(self, now: float) -> bool:
        """Whether a call may have it."""
        return now >= self.until and not self.trial


Keys: TypeAlias = Mapping[str, Key]
"""By id, which is no secret."""


class Ticket(Value):
    """Which key a call has, and in which window it got it."""

    def __init__(self, id: str, window: int) -> None:
        self.id = id
        self.window = window


def take(keys: Keys, now: float, without: Collection[str] = ()) -> tuple[Keys, Ticket | None]:
    """The key whose turn it is, by weight; None if none of them can be used now.

    A smooth rotation, as nginx has it: with weights 2 and 1 it gives a b a a b a, never a a b b.
    """
    usable = [id for id, key in keys.items() if key.usable(now) and id not in without]
    if not usable:
        return keys, None
    total = sum(keys[id].weight for id in usable)
    after = {**keys}
    for id in usable:
        after[id] = replace(keys[id], credit=keys[id].credit + keys[id].weight)
    chosen = max(usable, key=lambda id: after[id].credit)  # the first of equals
    key = after[chosen]
    after[chosen] = replace(key, credit=key.credit - total, trial=key.aside is Aside.REJECTED)
    return after, Ticket(chosen, key.window)


def settle(keys: Keys, ticket: Ticket, verdict: Verdict, now: float, *, cool_down: float, revive_after: float) -> Keys:
    """What an answer changes. ``cool_down``, ``revive_after``: seconds after the first of several failures in a row."""
    key = keys.get(ticket.id)
    if key is None:
        return keys  # taken away meanwhile
    if ticket.window != key.window:
        if isinstance(verdict, Limited) and verdict.delay is not None and key.aside is Aside.LIMITED:
            return {**keys, ticket.id: replace(key, until=max(key.until, now + verdict.delay))}
        return keys
    match verdict:
        case None | Forbidden():
            after = replace(key, trial=False)
        case Accepted():
            after = replace(key, aside=None, failures=0, trial=False)
        case Limited(delay=delay):
            after = _put_aside(key, Aside.LIMITED, now + (_longer(cool_down, key) if delay is None else delay))
        case Rejected():
            after = _put_aside(key, Aside.REJECTED, now + _longer(revive_after, key))
    return {**keys, ticket.id: after}


def revive(keys: Keys, id: str) -> Keys:
    """Somebody knows that it is good again."""
    key = keys[id]
    return {**keys, id: Key(key.weight, key.credit, window=key.window + 1)}


def _put_aside(key: Key, why: Aside, until: float) -> Key:
    return replace(key, aside=why, until=until, failures=key.failures + 1, window=key.window + 1, trial=False)


def _longer(seconds: float, key: Key) -> float:
    return max(seconds, min(MOST_REST, seconds * 2.0 ** min(key.failures, 32)))
