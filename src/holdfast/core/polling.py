"""How far is an operation that a server has accepted? Read from an answer about it; when to ask again.

No I/O, no clock. A rule is a function of an answer's JSON, so that an API may have any words it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias, cast

from holdfast.core.value import Value

__all__ = ["LONGEST_PAUSE", "Ended", "Progressing", "Rule", "by_state", "next_pause", "read_answer"]


class Progressing(Value):
    """It is not over. ``state`` is the server's word for it, where it has one."""

    def __init__(self, state: str | None = None) -> None:
        self.state: Final = state


class Ended(Value):
    """It is over; ``ok`` says how. ``result`` is where its value is in the answer, by its name ("" : the answer)."""

    def __init__(self, ok: bool, state: str | None = None, result: str | None = None) -> None:
        self.ok: Final = ok
        self.state: Final = state
        self.result: Final = result


Rule: TypeAlias = Callable[[Any], "Progressing | Ended | None"]
"""What an answer's JSON says of the operation; None: nothing, and the status of the answer decides."""

LONGEST_PAUSE: Final = 30.0
_SHORTEST: Final = 0.1
"""Seconds between two questions of those that follow the first; "Retry-After: 0" may be said without a thought."""
_DONE: Final = ("succeeded", "success", "successful", "completed", "complete", "done", "finished", "ready")
_FAILED: Final = ("failed", "failure", "error", "canceled", "cancelled", "aborted", "expired", "rejected")


def by_state(
    path: str = "status",
    *,
    done: Iterable[str] = _DONE,
    failed: Iterable[str] = _FAILED,
    result: str | None = None,
) -> Rule:
    """A rule for answers with the state in a member: ``path`` to it ("status", "data.state").

    Words compare without case, and without what is between their parts. A boolean is read as done or not. Every other
    word means that it goes on. ``result``: path to the value in the answer that says done; without it the value is
    where the server said (see `Call.until_done`).

    >>> by_state("state", result="output")({"state": "DONE", "output": 7})
    Ended(ok=True, state='DONE', result='output')
    """
    well, badly = frozenset(map(_plain, done)), frozenset(map(_plain, failed))

    def rule(answer: Any) -> Progressing | Ended | None:
        state = _at(answer, path)
        if isinstance(state, bool):
            return Ended(True, str(state).lower(), result) if state else Progressing(str(state).lower())
        if not isinstance(state, str):
            return None
        if _plain(state) in well:
            return Ended(True, state, result)
        return Ended(False, state) if _plain(state) in badly else Progressing(state)

    return rule


def read_answer(status: int, answer: Any, rule: Rule | None) -> Progressing | Ended:
    """What an answer below 300 says: the rule, where it knows; else 202 goes on, and all others are the result."""
    said = None if rule is None else rule(answer)
    if said is not None:
        return said
    return Progressing() if status == 202 else Ended(True, result="")


def next_pause(asked: float | None, before: float | None, every: float) -> float:
    """Seconds until the next question: what the server wants; else ``every``, half as long again each time."""
    if asked is not None:
        return asked if before is None else max(asked, _SHORTEST)
    return every if before is None else max(every, min(LONGEST_PAUSE, before * 1.5))


def _plain(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "").replace(" ", "")


def _at(answer: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(answer, Mapping):
            return None
        answer = cast("Mapping[str, Any]", answer).get(name)
    return answer
