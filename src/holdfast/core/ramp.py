"""After an outage: how many calls may be on the wire at once, and when may the next one start?

A circuit that closes at once sends every waiting caller to an origin that has just come back, and breaks it
again. So the limit starts small and doubles with each round of successes, as TCP's slow start does; too many
failures in a round put it back, and from there it feels its way in small steps. Starts are spread over the
time that a call takes: an origin that refuses at once is then heard after one call too many, not after
twice what it can bear. No I/O, no clock, no randomness.
"""

from __future__ import annotations

from typing import Final

from holdfast.core.value import Value, replace

__all__ = ["Ramp", "begin", "fail", "next_start", "start", "succeed"]

_TOLERANCE = 0.1
"""Share of a round that may fail before the limit is held to be too high: origins have stray failures too."""
_CALM = 80
"""Successes at a limit that was found to hold before the next step beyond it: such a step costs about one
failure, so this keeps them near 1 %."""
_SPREAD = 0.7
"""Part of a call's time over which a round's starts are spread. Less serves sooner, more hears earlier."""
_LONGEST_PACE = 0.025
"""Seconds between two starts at most: enough to hear a refusal, and little to wait where calls take long."""


class Ramp(Value):
    """Where the ramp stands. A round is as many verdicts as its limit; ``number`` counts them.

    ``limit``: calls on the wire at once. ``sure``: the last limit that is known to hold. ``step``: by how
    much the limit grows after a good round. ``calm``: successes still to see before it grows. ``good`` and
    ``bad``: verdicts of this round. ``most``: how many of its good calls were on the wire at once. ``doubts``: bad
    rounds in a row. ``run``: failures in a row. ``seconds``: how long a good call takes (smoothed). ``started``:
    when the last call started.
    """

    def __init__(
        self,
        limit: int,
        sure: int,
        step: int,
        seconds: float,
        started: float,
        number: int = 0,
        calm: int = 0,
        good: int = 0,
        bad: int = 0,
        most: int = 0,
        doubts: int = 0,
        run: int = 0,
    ) -> None:
        self.limit: Final = limit
        self.sure: Final = sure
        self.step: Final = step
        self.seconds: Final = seconds
        self.started: Final = started
        self.number: Final = number
        self.calm: Final = calm
        self.good: Final = good
        self.bad: Final = bad
        self.most: Final = most
        self.doubts: Final = doubts
        self.run: Final = run


def begin(limit: int, seconds: float, now: float) -> Ramp:
    """The ramp after a good probe that took ``seconds``."""
    return Ramp(limit=limit, sure=1, step=limit, seconds=seconds, started=now)


def next_start(ramp: Ramp) -> float:
    """When the next call may start, if the limit leaves it a place."""
    return ramp.started + min(_SPREAD * ramp.seconds / ramp.limit, _LONGEST_PACE)


def start(ramp: Ramp, now: float) -> Ramp:
    return replace(ramp, started=now)


def succeed(ramp: Ramp, seconds: float, level: int, number: int) -> Ramp:
    """A call went well that took ``seconds`` and started in round ``number``, as one of ``level`` on the wire."""
    most = max(ramp.most, level) if number == ramp.number else ramp.most
    calm = max(0, ramp.calm - 1)
    seconds = (ramp.seconds + seconds) / 2
    return _judge_round(replace(ramp, good=ramp.good + 1, run=0, calm=calm, most=most, seconds=seconds))


def fail(ramp: Ramp, level: int, number: int) -> Ramp:
    """A call failed that started in round ``number``, as one of ``level`` on the wire."""
    if number != ramp.number:  # part of an overshoot that was answered already
        return ramp
    after = replace(ramp, bad=ramp.bad + 1, run=ramp.run + 1)
    if after.bad <= _TOLERANCE * after.limit:
        return _judge_round(after)
    if after.limit > after.sure:
        # One more than the origin can bear was on the wire when this call started.
        return _next_round(after, limit=max(after.sure, min(level, after.limit) - 1), step=1, calm=_CALM)
    if after.bad * 2 >= after.limit:
        half = max(1, after.limit // 2)
        return _next_round(after, limit=half, sure=half, step=1, calm=_CALM)
    return _judge_round(after)


def _judge_round(ramp: Ramp) -> Ramp:
    if ramp.good + ramp.bad < ramp.limit:
        return ramp
    if ramp.bad > _TOLERANCE * ramp.limit:  # not so bad as to go down at once, and not good enough to go up
        if ramp.doubts == 0:
            return _next_round(ramp, limit=ramp.limit, calm=_CALM, doubts=1)
        lower = ramp.limit - max(1, ramp.limit // 4)
        return _next_round(ramp, limit=max(1, lower), sure=max(1, lower), step=1, calm=_CALM)
    if ramp.calm > 0 or ramp.most < ramp.limit:  # a limit that callers did not reach is not known to hold
        return _next_round(ramp, limit=ramp.limit)
    # Beyond a limit that was found by failures one good round may be luck: the step of 1 has `_CALM` behind it, the
    # later ones have not.
    lucky = 1 < ramp.step < ramp.limit
    grown = ramp.limit + ramp.step
    return _next_round(ramp, limit=grown, sure=ramp.sure if lucky else ramp.limit, step=min(2 * ramp.step, grown))


def _next_round(
    ramp: Ramp,
    *,
    limit: int,
    sure: int | None = None,
    step: int | None = None,
    calm: int | None = None,
    doubts: int = 0,
) -> Ramp:
    return replace(
        ramp,
        limit=limit,
        sure=ramp.sure if sure is None else sure,
        step=ramp.step if step is None else step,
        calm=ramp.calm if calm is None else calm,
        number=ramp.number + 1,
        good=0,
        bad=0,
        most=0,
        doubts=doubts,
    )
