"""docs/policies/breaker.svg shows the states and arrows that the decisions of the breaker have, and no others.

The arrows are found by walking through `admit` and `record` with calls, outcomes and hands on the switch; the figures
are the defaults of the settings. ``python tests/test_breaker_picture.py --write`` draws the picture anew.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Final, get_args

from holdfast.core.breaker import Verdict, admit, closed, disabled, forced_open, record
from holdfast.core.breaker_settings import CircuitBreaker, Outcome
from holdfast.core.circuit import Permit, State
from holdfast.core.value import replace

PICTURE: Final = Path(__file__).parents[1] / "docs" / "policies" / "breaker.svg"
DEFAULT: Final = CircuitBreaker()
FEW: Final = CircuitBreaker(
    failures=3, minimum_calls=3, open_for=2.0, open_for_max=2.0, ramp_failures=3, ramp_for=20.0, slow_after=1.0
)
BY_HAND: Final = ("force_open", "force_closed", "reset")

Arrow = tuple[str, str, str]
"""State, what happens, and the next state."""


@cache
def arrows() -> frozenset[Arrow]:
    """Every change of state that happens on a long walk through each kind of settings."""
    return frozenset(
        step for settings in (FEW, replace(FEW, ramp_from=None), replace(FEW, close_after=2)) for step in walk(settings)
    )


def walk(settings: CircuitBreaker, steps: int = 6000) -> Iterator[Arrow]:
    dice = random.Random(4)
    state: State = closed(settings)
    now, permits = 0.0, list[Permit]()
    for _ in range(steps):
        now += dice.choice((0.01, 0.1, 3.0))
        before = state
        if permits and dice.random() < 0.5:
            permit = permits.pop(dice.randrange(len(permits)))
            outcome = dice.choice((*Outcome, Outcome.SUCCESS, Outcome.FAILURE))
            slow = outcome is Outcome.SUCCESS and dice.random() < 0.3
            verdict = Verdict(outcome, now, waiting=dice.randrange(2), slow=slow)
            state = record(state, settings, permit, verdict, dice.random)
            happened = meaning(outcome, slow)
        elif dice.random() < 0.97:
            state, answer = admit(state, settings, now)
            happened = "call"
            if isinstance(answer, Permit):
                permits.append(answer)
        else:
            happened = dice.choice(BY_HAND)
            state = by_hand(happened, state, settings, now)
        if type(state) is not type(before):
            yield before.name, happened, state.name


def meaning(outcome: Outcome, slow: bool) -> str:
    if slow:
        return "slow"
    if outcome in (Outcome.FAILURE, Outcome.CUT):
        return "bad"
    return "good" if outcome in (Outcome.SUCCESS, Outcome.HEAD) else "neither"


def by_hand(action: str, state: State, settings: CircuitBreaker, now: float) -> State:
    match action:
        case "force_open":
            return forced_open(state, now)
        case "force_closed":
            return disabled(state)
        case _:
            return closed(settings, state.generation + 1)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What leads from one state to another, and how it looks: from point to point, and lines of text at a third."""

    when: frozenset[str]
    line: tuple[int, int, int, int]
    at: tuple[int, int]
    anchor: str
    words: tuple[str, ...]
    dashed: bool = False


def on(*happened: str) -> frozenset[str]:
    return frozenset(happened)


def share(of: float | None) -> str:
    return f"{100 * (of or 0):.0f} %"


BOXES: Final[dict[str, tuple[int, int, str, str]]] = {  # centre, colours by what a caller notices, and what it is
    "closed": (270, 110, "#d9f2dd", "calls pass, and are counted"),
    "open": (790, 110, "#fadad7", "calls are refused"),
    "half_open": (790, 360, "#fadad7", f"{DEFAULT.half_open_max} call probes, others wait"),
    "ramping": (270, 360, "#fdf0cc", f"{DEFAULT.ramp_from} calls at once, then more"),
    "forced_open": (530, 505, "#e6e8eb", "refuses all calls"),
    "disabled": (530, 585, "#e6e8eb", "lets all calls pass, judges none"),
}
DRAWN: Final = {
    ("closed", "open"): Drawn(
        on("bad", "slow"),
        (395, 100, 665, 100),
        (530, 38),
        "middle",
        (
            f"{DEFAULT.failures} failures in a row, or",
            f"{share(DEFAULT.failure_ratio)} of at least {DEFAULT.minimum_calls} calls",
            f"within {DEFAULT.window:g} s",
        ),
    ),
    ("open", "half_open"): Drawn(
        on("call"),
        (830, 142, 830, 328),
        (842, 222),
        "start",
        (f"the first call after {DEFAULT.open_for:g} s", "(doubled each time,", f"up to {DEFAULT.open_for_max:g} s)"),
    ),
    ("half_open", "open"): Drawn(
        on("bad", "slow"),
        (770, 328, 770, 142),
        (760, 232),
        "end",
        ("the probe", "fails"),
    ),
    ("half_open", "ramping"): Drawn(
        on("good"),
        (665, 370, 395, 370),
        (530, 392),
        "middle",
        (f"{DEFAULT.close_after} good probe",),
    ),
    ("half_open", "closed"): Drawn(
        on("good"),
        (680, 328, 380, 142),
        (458, 152),
        "start",
        ("the same, with", "ramp_from=None"),
        dashed=True,
    ),
    ("ramping", "open"): Drawn(
        on("bad"),
        (380, 328, 680, 142),
        (450, 320),
        "start",
        (f"{DEFAULT.ramp_failures} failures in a row",),
    ),
    ("ramping", "closed"): Drawn(
        on("good", "slow"),
        (250, 328, 250, 142),
        (240, 222),
        "end",
        ("a good round,", "and nobody waits;", f"or {DEFAULT.ramp_for:g} s are over"),
    ),
}
HANDS: Final = {  # what leads from any state to another
    "forced_open": Drawn(on("force_open"), (215, 530, 405, 510), (310, 505), "middle", ("force_open(key)",)),
    "disabled": Drawn(on("force_closed"), (215, 560, 405, 580), (310, 592), "middle", ("force_closed(key)",)),
    "closed": Drawn(on("reset"), (655, 545, 865, 545), (760, 535), "middle", ("reset(key)",)),
}
COLOURS: Final = {"good": "#1a7f37", "bad": "#c62828", "call": "#30363d", "hand": "#57606a"}


def picture() -> str:
    """The drawing, of the arrows that were found."""
    found = arrows()
    automatic = sorted({(before, after) for before, happened, after in found if happened not in BY_HAND})
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1040 640" font-size="14"',
        ' font-family="DejaVu Sans, Verdana, sans-serif">',
        "<title>States of a circuit</title>",
        '<rect width="1040" height="640" rx="12" fill="#ffffff"/>',
        "<defs>",
        *(
            f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
            f'<path d="M0 0 L10 5 L0 10 z" fill="{colour}"/></marker>'
            for name, colour in COLOURS.items()
        ),
        "</defs>",
        *(drawn_arrow(DRAWN[arrow]) for arrow in automatic),
        '<line x1="40" y1="450" x2="1000" y2="450" stroke="#d0d7de"/>',
        *(drawn_arrow(drawn) for drawn in HANDS.values()),
        *(box(name, *BOXES[name]) for name in sorted({name for arrow in found for name in (arrow[0], arrow[2])})),
        box("any state", 130, 545, "#ffffff", "by hand", width=170),
        box("closed", 930, 545, "#d9f2dd", "", width=130),
        "</svg>",
        "",
    ]
    return "\n".join(parts)


def drawn_arrow(drawn: Drawn) -> str:
    kind = next((kind for kind in ("good", "bad", "call") if kind in drawn.when), "hand")
    x1, y1, x2, y2 = drawn.line
    dashes = ' stroke-dasharray="6 4"' if drawn.dashed else ""
    line = (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{COLOURS[kind]}" stroke-width="1.8"'
        f' marker-end="url(#{kind})"{dashes}/>'
    )
    x, y = drawn.at
    lines = "".join(
        f'<tspan x="{x}" dy="{18 if number else 0}">{escape(words)}</tspan>' for number, words in enumerate(drawn.words)
    )
    return f'{line}\n<text x="{x}" y="{y}" text-anchor="{drawn.anchor}" fill="{COLOURS[kind]}">{lines}</text>'


def box(name: str, x: int, y: int, colour: str, what: str, *, width: int = 250) -> str:
    shape = (
        f'<rect x="{x - width // 2}" y="{y - 32}" width="{width}" height="64" rx="10"'
        f' fill="{colour}" stroke="#57606a"/>'
    )
    title = f'<text x="{x}" y="{y - (6 if what else -5)}" text-anchor="middle" font-weight="bold">{escape(name)}</text>'
    text = f'<text x="{x}" y="{y + 16}" text-anchor="middle" fill="#30363d">{escape(what)}</text>' if what else ""
    return "\n".join(filter(None, (shape, title, text)))


def test_every_arrow_that_happens_is_drawn_and_no_other() -> None:
    names = {kind.name for kind in get_args(State)}
    automatic = {arrow for arrow in arrows() if arrow[1] not in BY_HAND}
    assert automatic == {(before, each, after) for (before, after), drawn in DRAWN.items() for each in drawn.when}
    hands = {
        (name, action, after)
        for after, drawn in HANDS.items()
        for action in drawn.when
        for name in names
        if name != after
    }
    assert {arrow for arrow in arrows() if arrow[1] in BY_HAND} == hands
    assert names == BOXES.keys()


def test_the_picture_is_up_to_date() -> None:
    assert PICTURE.read_text("utf-8") == picture()


def test_the_drawing_in_the_docstring_has_the_same_arrows() -> None:
    drawing = sys.modules[admit.__module__].__doc__ or ""
    shown = set(re.findall(r"\b(Closed|Open|HalfOpen|Ramping|ForcedOpen|Disabled)\b", drawing))
    assert shown == {kind.__name__ for kind in get_args(State)}


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PICTURE.write_text(picture(), "utf-8")
    else:
        print(__doc__)
