"""The README's example is the one that the type checkers read; `tests/test_docs.py` runs it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_example_that_is_shown_is_the_one_that_is_type_checked() -> None:
    _, _, code = (ROOT / "tests/typing/readme.py").read_text("utf-8").partition("\n\n")
    assert f"```python\n{code}```" in (ROOT / "README.md").read_text("utf-8")
    assert len([line for line in code.splitlines() if line]) == 15
