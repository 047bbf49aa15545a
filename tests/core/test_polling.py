"""What an answer about an operation says, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.core.polling import Ended, Progressing, Rule, by_state, next_pause, read_answer


@pytest.mark.parametrize(
    ("status", "answer", "rule", "said"),
    [
        (202, None, None, Progressing()),
        (202, {"status": "done"}, None, Progressing()),  # without a rule only the status counts
        (200, {"status": "pending"}, None, Ended(True, result="")),
        (204, None, None, Ended(True, result="")),
        (200, {"status": "Running"}, by_state(), Progressing("Running")),
        (202, {"status": "Succeeded"}, by_state(), Ended(True, "Succeeded")),
        (200, {"status": "CANCELLED"}, by_state(), Ended(False, "CANCELLED")),
        (200, {"status": "in_progress"}, by_state(done=["In Progress"]), Ended(True, "in_progress")),
        (200, {"status": "odd"}, by_state(), Progressing("odd")),
        (202, {"status": 3}, by_state(), Progressing()),
        (200, {"status": 3}, by_state(), Ended(True, result="")),
        (200, [1], by_state(), Ended(True, result="")),
        (200, {"done": True, "response": 1}, by_state("done", result="response"), Ended(True, "true", "response")),
        (200, {"done": False}, by_state("done"), Progressing("false")),
        (200, {"job": {"state": "failed"}}, by_state("job.state"), Ended(False, "failed")),
        (200, {"job": "failed"}, by_state("job.state"), Ended(True, result="")),
    ],
    ids=lambda value: str(value) if not callable(value) else "rule",
)
def test_an_answer_says_how_far_it_is(status: int, answer: Any, rule: Rule | None, said: Progressing | Ended) -> None:
    assert read_answer(status, answer, rule) == said


def test_the_server_says_when_to_ask_again_and_else_it_takes_longer_each_time() -> None:
    pauses, pause = [], None
    for _ in range(9):
        pause = next_pause(None, pause, 2.0)
        pauses.append(pause)
    assert pauses[:3] == [2.0, 3.0, 4.5]
    assert pauses[-1] == 30.0
    assert next_pause(0.0, None, 2.0) == 0.0
    assert next_pause(0.0, 0.0, 2.0) == 0.1  # again and again at once would be an attack
    assert next_pause(90.0, None, 2.0) == 90.0
    assert next_pause(None, 60.0, 60.0) == 60.0
