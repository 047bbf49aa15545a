"""The offline switch from plain data: who may probe, and what a probe finds out."""

from __future__ import annotations

import pytest

from holdfast.core.offline import Away, back, disconnect, probe

AWAY = disconnect(100.0, 30.0)
PROBING = Away(since=100.0, probe_every=30.0, next_probe=160.0)


@pytest.mark.parametrize(
    ("state", "now", "after"),
    [
        (AWAY, 100.0, None),
        (AWAY, 129.9, None),
        (AWAY, 130.0, PROBING),
        (AWAY, 150.0, Away(since=100.0, probe_every=30.0, next_probe=180.0)),
        (PROBING, 159.0, None),
        (PROBING, 160.0, Away(since=100.0, probe_every=30.0, next_probe=190.0)),
        (disconnect(100.0, None), 1e9, None),
    ],
)
def test_one_call_may_probe_in_each_interval(state: Away, now: float, after: Away | None) -> None:
    assert probe(state, now) == after


LATER = disconnect(150.0, 30.0)
NEXT = Away(since=100.0, probe_every=30.0, next_probe=190.0)


@pytest.mark.parametrize(
    ("state", "sent", "ok", "after"),
    [
        (PROBING, True, True, None),
        (PROBING, True, False, PROBING),
        (PROBING, False, False, Away(since=100.0, probe_every=30.0, next_probe=100.0)),
        (PROBING, False, True, Away(since=100.0, probe_every=30.0, next_probe=100.0)),
        (NEXT, True, True, None),
        (NEXT, False, False, NEXT),
        (LATER, True, True, LATER),
        (None, True, False, None),
    ],
    ids=[
        "good",
        "bad",
        "never sent",
        "answered without being sent",
        "good and late",
        "never sent, and another one since",
        "of an earlier time offline",
        "online meanwhile",
    ],
)
def test_what_a_probe_finds_out(state: Away | None, sent: bool, ok: bool, after: Away | None) -> None:
    assert back(state, PROBING, sent=sent, ok=ok) == after


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_an_interval_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="probe_every"):
        disconnect(0.0, seconds)
