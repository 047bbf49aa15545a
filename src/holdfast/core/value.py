"""What is a record of ours? Attributes that are set once, and equal where all of them are.

A frozen dataclass takes half a millisecond of the import to define, and an instance of it three times as long to make.
What a user sets is a `holdfast.core.settings.Settings`; states and answers, which only we make, are bare values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Value", "replace"]


class Value:
    """A record: `__init__` stores each argument under its own name, and nothing changes it afterwards."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


V = TypeVar("V", bound=Value)


def replace(value: V, **changes: Any) -> V:
    """A copy that differs in these."""
    make: Callable[..., V] = type(value)
    return make(**{**vars(value), **changes})
