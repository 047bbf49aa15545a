"""What several tests share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import ModuleType
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st

FAMILY_NAMES: Final = ("httpx", "httpx2")

CHARACTERS: Final = st.characters(exclude_categories=["Cs"])
"""For ``st.text``: what it takes by itself, which hypothesis finds by asking a codec about each of a million."""


@dataclass(frozen=True, slots=True)
class FamilyModules:
    """One HTTP family under test: the library itself and our module for it."""

    name: str
    http: ModuleType  # httpx or httpx2
    holdfast: ModuleType  # holdfast.httpx or holdfast.httpx2

    def __str__(self) -> str:
        return self.name


def examples(share: float) -> settings:
    """For a test whose examples take long: this share of what the profile has of them."""
    return settings(max_examples=int(settings().max_examples * share))


def spelled(value: object) -> str:
    """A test's id from a value, the same in every process: no addresses, no sets, whose order changes."""
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(value) if isinstance(value, (dict, list, tuple)) else str(value))
    return re.sub(r"(?:frozenset\()?\{[^{}:]+\}\)?", "{...}", text)
