"""What does a conformance case say? The data of `http-cache.json`, read into types.

The file's own ``format`` key explains the data. An unknown key is an error here: a case that is half understood
tests nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

Kind: TypeAlias = Literal["required", "optimal", "check"]
Header: TypeAlias = list[Any]
"""Name and value; the value is a number of seconds in a date. A third item False: not checked at the client."""

DATES: Final = frozenset(("date", "expires", "last-modified", "if-modified-since", "if-unmodified-since"))


class Unsaid(Enum):
    """Absence, where null has a meaning of its own."""

    UNSAID = "unsaid"


UNSAID: Final = Unsaid.UNSAID


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request, what the origin makes of it, and what must come of it."""

    request_method: str = "GET"
    request_headers: tuple[Header, ...] = ()
    request_body: str | None = None
    filename: str | None = None
    query_arg: str | None = None
    magic_ims: bool = False
    rfc850date: tuple[str, ...] = ()
    redirect: str = "manual"
    pause_after: bool = False

    response_status: tuple[int, str] | None = None
    response_headers: tuple[Header, ...] = ()
    response_body: str | None = None
    magic_locations: bool = False
    disconnect: bool = False

    setup: bool = False
    setup_tests: tuple[str, ...] = ()
    check_body: bool = True
    expected_type: Literal["cached", "not_cached", "etag_validated", "lm_validated"] | None = None
    expected_status: int | Unsaid | None = UNSAID
    expected_method: str | None = None
    expected_request_headers: tuple[str | Header, ...] = ()
    expected_response_headers: tuple[str | Header, ...] = ()
    expected_response_headers_missing: tuple[str | Header, ...] = ()
    expected_response_text: str | Unsaid | None = UNSAID

    def prepares(self, check: str) -> bool:
        """Whether a failed ``check`` only means that the case could not be set up."""
        return self.setup or check in self.setup_tests


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Requests sent one after another, to a URL that no other case uses."""

    id: str
    kind: Kind
    requests: tuple[Step, ...]
    private: bool = True
    shared: bool = True
    depends_on: tuple[str, ...] = ()
    category: str = ""

    def applies(self, *, shared: bool) -> bool:
        return self.shared if shared else self.private


def public_cases() -> tuple[Case, ...]:
    """Those of http-tests/cache-tests that need nothing but an HTTP client."""
    text = Path(__file__).with_name("http-cache.json").read_text("utf-8")
    return tuple(_case(raw) for raw in json.loads(text)["cases"])


def _case(raw: dict[str, Any]) -> Case:
    applies = set(raw["applies_to"])
    return Case(
        id=raw["id"],
        category=raw["category"],
        kind=raw["kind"],
        requests=tuple(_step(step) for step in raw["requests"]),
        private="private" in applies,
        shared=bool(applies & {"shared", "cdn"}),
        depends_on=tuple(raw["depends_on"]),
    )


def _step(raw: dict[str, Any]) -> Step:
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()}
    return Step(**fields)
