"""Is the network to be used? A switch, and the probes that find out when it may be turned back.

No I/O, no clock, no lock: callers pass ``now`` (monotonic seconds) and keep the returned state. None stands for
online. One state is one scope, of whatever width: today a pipeline, by key if each key is to go offline by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["Away", "back", "disconnect", "probe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Away:
    """Offline ``since``; from ``next_probe`` on one call may try (None: none ever), and ``probe_every`` later one more.

    All in seconds, the points in time monotonic.
    """

    since: float
    probe_every: float | None
    next_probe: float | None


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


def back(state: Away | None, probing: Away, *, sent: bool, ok: bool) -> Away | None:
    """The state after the probe that ``probing`` let through; one of an earlier time offline says nothing.

    A probe that was never sent frees its place for the next call.
    """
    if state is None or state.since != probing.since:
        return state
    if not sent:
        return replace(state, next_probe=state.since) if state == probing and state.probe_every is not None else state
    return None if ok else state
