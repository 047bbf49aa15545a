"""What docs/policies says of defaults and decisions is what the code says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, Final

import pytest

import holdfast
from holdfast.core.fault import Fault
from holdfast.core.retry import Retry, Verdict, judge

PAGES: Final = Path(__file__).parents[1] / "docs" / "policies"
SETTINGS: Final = {
    "../health": "Notify",
    "breaker": "CircuitBreaker",
    "budget": "RetryBudget",
    "concurrency": "ConcurrencyLimit",
    "fallback": "Fallback",
    "hedge": "Hedge",
    "idempotency": "IdempotencyKeys",
    "offline": "OfflineMode",
    "rate-limit": "RateLimit",
    "retry": "Retry",
    "throttle": "Throttle",
    "timeouts": "Pipeline",
}
COLUMNS: Final[tuple[dict[str, Any], ...]] = (
    {"method": "GET", "keyed": False, "idempotent": False},
    {"method": "POST", "keyed": False, "idempotent": False},
    {"method": "POST", "keyed": False, "idempotent": True},
    {"method": "POST", "keyed": True, "idempotent": False},
)


def rows(page: str, header: str) -> list[list[str]]:
    """The cells below the table's ``header``."""
    _, _, below = (PAGES / f"{page}.md").read_text("utf-8").partition(f"| {header} |")
    table = below.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


@pytest.mark.parametrize(("page", "name"), SETTINGS.items())
def test_each_default_is_the_codes(page: str, name: str) -> None:
    parameters = inspect.signature(getattr(holdfast, name)).parameters
    stated = {cells[0].strip("`"): cells[1] for cells in rows(page, "setting")}
    assert stated.keys() <= parameters.keys()
    defaults = {field: eval(text[1:-1]) for field, text in stated.items() if text.startswith("`")}
    assert defaults == {field: parameters[field].default for field in defaults}
    assert defaults


def test_the_table_of_retries_is_what_is_decided() -> None:
    decided, seen = list[list[str]](), set[Fault]()
    table = rows("retry", "what came")
    for what, *_ in table:
        fault = next((fault for fault in Fault if f"`{fault.name}`" in what), None)
        statuses = [None] if fault else [int(status) for status in re.findall(r"\d{3}", what)]
        seen |= {fault} if fault else set()
        answers = {
            tuple(judge(Retry(), status=status, fault=fault, **column) is Verdict.AGAIN for column in COLUMNS)
            for status in statuses
        }
        assert len(answers) == 1, f"{what} is not one row: {answers}"
        decided.append([what, *("again" if again else "no" for again in answers.pop())])
    assert table == decided
    assert seen == set(Fault)
    assert set(re.findall(r"[A-Z]{3,}", header_of_methods())) == Retry().methods


def header_of_methods() -> str:
    (line,) = re.findall(r"^\| what came \|.*$", (PAGES / "retry.md").read_text("utf-8"), re.MULTILINE)
    return str(line).split("|")[2]
