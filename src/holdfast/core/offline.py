"""Is the network to be used? When it is given up, and the probes that find out when it may be used again.

No I/O, no clock, no lock: callers pass ``now`` (monotonic seconds) and keep the returned state. None stands for
online. One state is one scope: a pipeline that was switched by hand, or a key that went offline by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from holdfast.core.fault import Fault
from holdfast.core.settings import Settings

__all__ = ["Away", "OfflineMode", "Verdict", "at_once", "back", "disconnect", "gives_up", "probe", "read_attempt"]

Verdict = bool | None
"""What a call says of the network to its server: it works, it does not, or (None) nothing."""


class OfflineMode(Settings):
    """When a key goes offline by itself, and what is kept of a switch that is turned by hand.

    A key whose calls have failed for ``after`` seconds in a row goes offline: no answer, or none but 5xx (None: only by
    hand). Then every ``probe_every`` seconds one call is sent, once, until one is answered below 500. ``file``: where
    `Pipeline.offline` is noted, so that the next process begins offline too; written by no more than one process.
    Raises ValueError for times that are none.

    >>> OfflineMode(after=60.0).probe_every
    30.0
    """

    after: float | None = 30.0
    probe_every: float = 30.0
    file: str | Path | None = None

    def __post_init__(self) -> None:
        if self.after is not None and not 0 < self.after < float("inf"):
            raise ValueError(f"after must be more than 0 seconds, or None for only by hand, got {self.after}")
        disconnect(0.0, self.probe_every)


@dataclass(frozen=True, slots=True, kw_only=True)
class Away:
    """Offline ``since``; from ``next_probe`` on one call may try (None: none ever), and ``probe_every`` later one more.

    All in seconds, the points in time monotonic.
    """

    since: float
    probe_every: float | None
    next_probe: float | None


def read_attempt(*, status: int | None, fault: Fault | None, whole: bool) -> Verdict:
    """What the last outcome of a call says; ``whole``: it had all the time that its attempts may take."""
    if status is not None:
        return status < 500
    if fault in (Fault.UNSENT, Fault.UNPROCESSED):
        return False
    return False if fault is Fault.INTERRUPTED and whole else None


def gives_up(since: float, now: float, after: float) -> bool:
    """Whether a call that fails ``now`` ends the patience with a key whose calls have failed ``since`` then."""
    return now - since >= after


def disconnect(now: float, probe_every: float | None) -> Away:
    """The state of one who goes offline now. Raises ValueError for a ``probe_every`` that is no time."""
    if probe_every is None:
        return Away(since=now, probe_every=None, next_probe=None)
    if not 0 < probe_every < float("inf"):
        raise ValueError(f"probe_every must be more than 0 seconds, or None for no probes, got {probe_every}")
    return Away(since=now, probe_every=probe_every, next_probe=now + probe_every)


def probe(state: Away, now: float) -> Away | None:
    """The state after letting a call through that asks now; None if it must not pass."""
    if state.probe_every is None or state.next_probe is None or now < state.next_probe:
        return None
    return replace(state, next_probe=now + state.probe_every)


def at_once(state: Away, now: float) -> Away:
    """The same, with its probe due now, unless there is to be none."""
    return state if state.probe_every is None else replace(state, next_probe=now)


def back(state: Away | None, probing: Away, *, sent: bool, ok: bool) -> Away | None:
    """The state after the probe that ``probing`` let through; one of an earlier time offline says nothing.

    A probe that was never sent frees its place for the next call.
    """
    if state is None or state.since != probing.since:
        return state
    if not sent:
        return replace(state, next_probe=state.since) if state == probing and state.probe_every is not None else state
    return None if ok else state
