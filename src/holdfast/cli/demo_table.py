"""The demo's report for people: a table, the circuit's way, the promises; and one line while it runs."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from holdfast.cli.demo_drive import Outcome, Run
from holdfast.cli.demo_figures import Row, better_without, row, rows
from holdfast.cli.demo_weather import QUOTA, QUOTA_BURST, WEATHERS

__all__ = ["Paint", "Progress", "report"]

_WIDE = 110  # columns, from which on there is room for the further figures
_READABLE = 100  # columns, beyond which a sentence is hard to follow
_LEGEND = (
    "ok: got what it asked for, whole. cache: answered without a request of its own.",
    "p50, p99: of the calls that were ok. worst: longest wait, for answer or error.",
)
_LATE = 0.25  # seconds
_ERASE = "\r\x1b[K"


@dataclass(frozen=True, slots=True)
class Paint:
    """Colours by ANSI escapes, or none."""

    on: bool

    @classmethod
    def for_stream(cls, stream: TextIO, environment: Mapping[str, str] = os.environ) -> Paint:
        """On for a terminal that can show colours, unless NO_COLOR is set (no-color.org)."""
        plain = environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
        return cls(stream.isatty() and not plain)

    def __call__(self, code: str, text: str) -> str:
        return f"\x1b[{_CODES[code]}m{text}\x1b[0m" if self.on and code else text


_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33}


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    width: int
    wide: bool = False  # shown only where there is room


_COLUMNS = (
    _Column("calls", 5), _Column("ok", 5), _Column("ok %", 5, wide=True), _Column("wire/call", 9),
    _Column("cache", 5), _Column("304", 4, wide=True), _Column("429", 4, wide=True),
    _Column("retries", 7, wide=True), _Column("refused", 7, wide=True),
    _Column("p50", 7), _Column("p99", 7), _Column("worst", 7),
)  # fmt: skip
_LABELS = 20  # columns of the weather and the client in front


def report(run: Run, family: str, versions: Mapping[str, str], width: int, paint: Paint) -> str:
    """The whole report, for a terminal of ``width`` columns (80 are enough)."""
    plain, holdfast = (rows(side) for side in run.sides)
    parts = [
        _title(run, family, versions, width, paint),
        _table(run, family, plain, holdfast, width >= _WIDE, paint),
        _notes(run, family, plain, holdfast, width, paint),
        _circuit(run, paint),
        _promises(run, width, paint),
    ]
    return "\n\n".join(parts) + "\n"


def _title(run: Run, family: str, versions: Mapping[str, str], width: int, paint: Paint) -> str:
    title = f"{family} {versions[family]}, plain and with holdfast {versions['holdfast']}, against a bad server"
    lines = [
        paint("bold", title),
        f"The same {run.calls} calls on both sides within {run.seconds:g} s, seed {run.seed}.",
        f"Above {QUOTA:g} requests a second ({QUOTA_BURST:g} at once) the server answers 429.",
        *_wrapped(f"holdfast has {run.settings}; all else as by default.", width),
    ]
    return "\n".join(lines)


def _table(run: Run, family: str, plain: Sequence[Row], holdfast: Sequence[Row], wide: bool, paint: Paint) -> str:
    columns = [column for column in _COLUMNS if wide or not column.wide]
    titles = "".join(f"  {column.title:>{column.width}}" for column in columns)
    lines = [paint("dim", f"{'weather':<10}{'client':<10}{titles}".rstrip())]
    totals = [row(side.outcomes, side.counts.sends) for side in run.sides]
    names = [*WEATHERS, "all"]
    for name, without, with_it in zip(names, [*plain, totals[0]], [*holdfast, totals[1]], strict=True):
        if name == "all":
            lines.append(paint("dim", "-" * (_LABELS + len(titles))))
        lines.append(paint("bold", f"{name:<10}") + f"{family:<10}" + _cells(without, columns, paint, cache=False))
        lines.append(f"{'':<10}{'holdfast':<10}" + _cells(with_it, columns, paint, cache=True))
    return "\n".join(lines)


def _cells(figures: Row, columns: Sequence[_Column], paint: Paint, *, cache: bool) -> str:
    share = figures.succeeded / figures.calls if figures.calls else 0.0
    mood = "green" if share >= 0.99 else "yellow" if share >= 0.7 else "red"
    ours = {"cache": figures.cache_hits, "retries": figures.retries, "refused": figures.refused}
    texts = {
        "calls": str(figures.calls),
        "ok": str(figures.succeeded),
        "ok %": f"{100 * share:.0f} %",
        "wire/call": f"{figures.wire_per_call:.2f}",
        "304": str(figures.revalidated),
        "429": str(figures.throttled),
        "p50": _time(figures.p50),
        "p99": _time(figures.p99),
        "worst": _time(figures.worst),
        **{name: str(value) if cache else "-" for name, value in ours.items()},
    }
    cells = (f"  {texts[column.title]:>{column.width}}" for column in columns)
    return "".join(
        paint(mood if column.title in ("ok", "ok %") else "", cell) for column, cell in zip(columns, cells, strict=True)
    )


def _notes(run: Run, family: str, plain: Sequence[Row], holdfast: Sequence[Row], width: int, paint: Paint) -> str:
    better = [
        f"{name} ({', '.join(found)})"
        for name, without, with_it in zip(WEATHERS, plain, holdfast, strict=True)
        if (found := better_without(without, with_it))
    ]
    where = f"Plain {family} did better in: {', '.join(better) if better else 'nothing'}."
    lines = [paint("dim", line) for line in _LEGEND] + _wrapped(where, width)
    if run.lateness > _LATE:
        still = _time(run.lateness)
        busy = f"This machine was busy: the weather stood still for up to {still}, and calls took longer for it."
        lines += [paint("yellow", line) for line in _wrapped(busy, width)]
    return "\n".join(lines)


def _circuit(run: Run, paint: Paint) -> str:
    lines = [
        f"  {move.at:6.2f} s  {WEATHERS[move.weather]:<9} {move.origin}  {_state(move.old)} -> {_state(move.new)}"
        for move in run.transitions
    ]
    return "\n".join([paint("bold", "Circuit"), *(lines or ["  closed all the time"])])


def _promises(run: Run, width: int, paint: Paint) -> str:
    lines = [paint("bold", "Promises, by the server's own count")]
    for promise in run.promises:
        first, *others = _wrapped(promise.text, width - 10)
        word = paint("green", "kept  ") if promise.kept else paint("red", "BROKEN")
        lines += [f"  {word}  {first}", *(f"{'':<10}{line}" for line in others)]
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, min(width, _READABLE))


def _state(name: str) -> str:
    return name.replace("_", "-")


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{1000 * seconds:.0f} ms" if seconds < 0.9995 else f"{seconds:.2f} s"


class Progress:
    """One line, written over while the demo runs; for a stream that is no terminal, one for each weather."""

    def __init__(self, stream: TextIO, family: str, environment: Mapping[str, str] = os.environ) -> None:
        self._stream = stream
        self._family = family
        self._alive = stream.isatty() and environment.get("TERM") != "dumb"
        self._paint = Paint.for_stream(stream, environment)
        self._told: str | None = None

    def show(self, run: Run) -> None:
        name = WEATHERS[run.weather]
        if self._alive:
            state = _state(run.transitions[-1].new) if run.transitions else "closed"
            sides = "   ".join(
                f"{title} {_so_far(side.outcomes)}"
                for title, side in zip((self._family, "holdfast"), run.sides, strict=True)
            )
            bold = self._paint("bold", f"{name:<9}")
            self._write(f"{_ERASE}{bold} {run.elapsed:4.1f}/{run.seconds:g} s   {sides}   {state}")
        elif name != self._told:
            self._write(f"{run.elapsed:4.1f} s  {name}\n")
        self._told = name

    def clear(self) -> None:
        if self._alive and self._told is not None:
            self._write(_ERASE)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _so_far(outcomes: Sequence[Outcome]) -> str:
    return f"{sum(outcome.error is None for outcome in outcomes)}/{len(outcomes)} ok"
