"""How is one value written into a URL? The same in a path and in a query, and never by accident.

What has no one obvious spelling (a float that is no number, bytes, a dict, an object of some class) is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias, Union
from urllib.parse import quote

from holdfast.errors import InvalidInput

if TYPE_CHECKING:
    from datetime import date, time
    from decimal import Decimal
    from ipaddress import IPv4Address, IPv6Address
    from uuid import UUID

__all__ = ["Scalar", "encoded", "written"]

Scalar: TypeAlias = Union[str, int, float, bool, Enum, "date", "time", "UUID", "Decimal", "IPv4Address", "IPv6Address"]
"""What has a spelling: true and false, ISO 8601 for dates, the value of an enum, ``str()`` for the rest."""

_SPELLED_BY_STR: Final = frozenset({"uuid", "decimal", "_pydecimal", "ipaddress"})
"""Modules of the standard library whose classes are known by ``__str__``, and are not imported for it."""


def written(value: object, name: str) -> str:
    """The text of a value. Raises `InvalidInput`, with ``name`` and never the value, if there is none."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    iso: Callable[[], str] | None = getattr(value, "isoformat", None)
    if iso is not None:
        return iso()
    if type(value).__module__ in _SPELLED_BY_STR:
        return str(value)
    raise InvalidInput(
        f"{name} is a {type(value).__name__}, which has no spelling in a URL; give it as a string", argument=name
    )


def encoded(text: str, name: str) -> str:
    """Percent-encoded with no character left as it is but letters, digits and ``-._~`` (RFC 3986 2.3)."""
    if text.isascii() and text.isalnum():
        return text
    if "\r" in text or "\n" in text or "\0" in text:
        raise InvalidInput(f"{name} holds a line break or a NUL", argument=name)
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise InvalidInput(f"{name} holds half of a surrogate pair, which is no text", argument=name) from None
