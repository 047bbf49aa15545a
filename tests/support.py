"""What several tests share."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Final

FAMILY_NAMES: Final = ("httpx", "httpx2")


@dataclass(frozen=True, slots=True)
class FamilyModules:
    """One HTTP family under test: the library itself and our module for it."""

    name: str
    http: ModuleType  # httpx or httpx2
    holdfast: ModuleType  # holdfast.httpx or holdfast.httpx2

    def __str__(self) -> str:
        return self.name
