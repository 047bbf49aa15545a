"""What is a record of ours? Attributes that are set once, and equal where all of them are.

For states and answers, which only we make. A frozen dataclass takes half a millisecond of the import to define, and an
instance of it three times as long to make. Settings are dataclasses all the same: users derive copies of them with
`dataclasses.replace`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

__all__ = ["Value"]


class Value:
    """A record: `__init__` stores each argument under its own name, and nothing changes it afterwards."""

    def replace(self, **changes: Any) -> Self:
        """A copy that differs in these."""
        make: Callable[..., Self] = type(self)
        return make(**{**vars(self), **changes})

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"
