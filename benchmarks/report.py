"""How figures are taken side by side, and how they are shown."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

__all__ = ["Figure", "Rounds", "Section", "interleaved", "median_difference", "median_ratio", "show", "table"]

Rounds = dict[str, list[float]]
"""What was measured by subject: one figure for each round, all taken in turn."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a report. ``bar`` is what it has to keep to, in words, and ``kept`` whether it is."""

    name: str
    value: str
    bar: str = ""
    kept: bool | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """One benchmark's answer; ``data`` is all of it as plain data, for ``--json``."""

    title: str
    figures: Sequence[Figure]
    data: Mapping[str, Any]


async def interleaved(subjects: Mapping[str, Callable[[], Awaitable[float]]], rounds: int) -> Rounds:
    """Measure all subjects in each round, each round beginning with another one.

    Rates on a shared machine drift; whoever is compared must have had the same weather.
    """
    taken: Rounds = {name: [] for name in subjects}
    order = list(subjects.items())
    for number in range(rounds):
        turn = number % len(order)
        for name, measure in order[turn:] + order[:turn]:
            taken[name].append(await measure())
    return taken


def median_ratio(rounds: Rounds, name: str, other: str) -> float:
    """How many times as much as the other one, taken within each round."""
    return statistics.median(one / another for one, another in zip(rounds[name], rounds[other], strict=True))


def median_difference(rounds: Rounds, name: str, other: str) -> float:
    """How much more than the other one, taken within each round."""
    return statistics.median(one - another for one, another in zip(rounds[name], rounds[other], strict=True))


def table(rows: Iterable[Sequence[str]]) -> str:
    """Rows as columns: the first one left, the others right."""
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    )


def show(sections: Iterable[Section], *, as_json: bool) -> str:
    """A report for people, or the same as data."""
    sections = list(sections)
    if as_json:
        return json.dumps([asdict(section) for section in sections], indent=2)
    return "\n\n".join(f"{section.title}\n{_indented(section)}" for section in sections)


def _indented(section: Section) -> str:
    verdicts = {True: "kept", False: "NOT KEPT", None: ""}
    values = _lined_up([figure.value for figure in section.figures])
    rows = [
        (figure.name, value, figure.bar, verdicts[figure.kept])
        for figure, value in zip(section.figures, values, strict=True)
    ]
    return "\n".join(f"  {line}" for line in table(rows).splitlines())


def _lined_up(values: Iterable[str]) -> list[str]:
    """Values whose parts stand under each other; what separates parts is three spaces."""
    rows = [re.split(" {3,}", value) for value in values]
    columns = [[part.rjust(max(map(len, parts))) for part in parts] for parts in zip_longest(*rows, fillvalue="")]
    return ["   ".join(parts) for parts in zip(*columns, strict=True)]
