"""The demo's report as data, for ``--json``. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from holdfast.cli.demo_drive import Run, Side
from holdfast.cli.demo_figures import Row, row, rows
from holdfast.cli.demo_weather import WEATHERS

__all__ = ["document"]


def document(about: Run, family: str, versions: Mapping[str, str]) -> dict[str, Any]:
    """The data of ``--json``; its keys are described in `holdfast.cli.demo`."""
    by_weather = {side.name: rows(side) for side in about.sides}
    return {
        "schema": 1,
        "family": family,
        "versions": dict(versions),
        "seed": about.seed,
        "seconds": about.seconds,
        "settings": about.settings,
        "calls": about.calls,
        "lateness": about.lateness,
        "origins": {side.name: _origin(side) for side in about.sides},
        "weathers": [
            {
                "name": name,
                "starts": index * about.length,
                "ends": (index + 1) * about.length,
                **{side: _figures(figures[index]) for side, figures in by_weather.items()},
            }
            for index, name in enumerate(WEATHERS)
        ],
        "total": {side.name: _figures(row(side.outcomes, side.counts.sends)) for side in about.sides},
        "transitions": [
            {
                "at": move.at,
                "origin": move.origin,
                "from": move.old,
                "to": move.new,
                "weather": WEATHERS[move.weather],
            }
            for move in about.transitions
        ],
        "promises": [asdict(promise) for promise in about.promises],
        "kept": all(promise.kept for promise in about.promises),
    }


def _origin(side: Side) -> dict[str, Any]:
    counts = side.counts
    probes = [send for send in counts.sends if send.circuit == "half_open"]
    return {
        "url": side.url,
        "requests": len(counts.sends),
        "accepted": counts.accepted,
        "open_after_close": counts.open,
        "peak_in_flight": counts.peak_in_flight,
        "probes": len(probes),
        "probes_in_outage": sum(WEATHERS[send.weather] == "outage" for send in probes),
        "peak_probes": counts.peak_probes,
    }


def _figures(figures: Row) -> dict[str, Any]:
    return {**asdict(figures), "wire_per_call": figures.wire_per_call}
