"""What does a setting look like as plain data, and with no secret in it?"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast
from urllib.parse import urlsplit

__all__ = ["described"]

_NAMED = ("store", "key", "file", "values", "default")
"""Settings that may hold, or lead to, what is secret: told by the name of their class."""


def described(value: object) -> Any:
    """Numbers, words and their collections as they are; settings by their fields; anything else by its name."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if "://" not in value else _without_secrets(value)
    if is_dataclass(value) and not isinstance(value, type):
        told = {each.name: _of(each.name, getattr(value, each.name)) for each in fields(value)}
        return {"kind": type(value).__name__} | told
    if isinstance(value, Mapping):
        return {str(described(name)): described(each) for name, each in cast("Mapping[object, object]", value).items()}
    if isinstance(value, Collection) and not isinstance(value, bytes | bytearray):
        items = [described(each) for each in cast("Collection[object]", value)]
        return sorted(items, key=str) if isinstance(value, frozenset | set) else items
    return getattr(value, "__qualname__", type(value).__qualname__)


def _without_secrets(url: str) -> str:
    """Without user information, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _of(name: str, value: object) -> Any:
    if name in _NAMED and value is not None and value not in ("origin", "operation", "identity"):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return described(value)
