"""What must nobody see of a request that is shown to people? Told by the names of fields and parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

__all__ = ["MASK", "is_secret", "masked", "masked_query"]

MASK: Final = "***"
# Better one harmless value too many masked than one secret shown.
_SECRET: Final = re.compile(
    r"auth|cookie|token|secret|passw|pwd|passphrase|credential|signature|session|api[_-]?key|"
    r"(?:^|[_-])(?:sig|key|code|pin)(?:$|[_-])",
    re.IGNORECASE,
)


def is_secret(name: str) -> bool:
    """Whether the value under this name is likely a secret."""
    return _SECRET.search(name) is not None


def masked(value: Any) -> Any:
    """JSON with the values of secret-looking names masked, at any depth."""
    match value:
        case Mapping():
            members = cast("Mapping[str, Any]", value)
            return {name: MASK if is_secret(name) else masked(item) for name, item in members.items()}
        case list() | tuple():
            return [masked(item) for item in cast("Sequence[Any]", value)]
        case _:
            return value


def masked_query(query: str) -> str:
    """An encoded query, or a form, with secret-looking values masked."""
    return "&".join(
        f"{name}={MASK}" if equals and is_secret(name) else f"{name}{equals}{value}"
        for name, equals, value in (pair.partition("=") for pair in query.split("&"))
    )
