"""Which path do these values make? A template such as ``/users/{id}``, each value one encoded segment.

No value ever changes which resource is meant: it cannot leave its segment, and nothing is sent where one could.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from holdfast.core.scalar import encoded, written
from holdfast.errors import InvalidInput

__all__ = ["Template", "template_of"]

_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TEXT: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")  # RFC 3986 3.3


class Template:
    """A path with placeholders, read once. ``{name}`` is all there is: no formats, no attributes, no indices.

    >>> Template("/users/{id}/files/{name}").fill({"id": 7, "name": "a/b"})
    '/users/7/files/a%2Fb'
    """

    __slots__ = ("_first", "_parts", "names", "text")

    def __init__(self, text: str) -> None:
        """Raises `InvalidInput` for what is no path: an absolute URL, ``//host``, a query, a stray brace, ``..``."""
        self.text: Final = text
        first, *rest = _PLACEHOLDER.split(text)
        self.names: Final = tuple(rest[::2])
        self._first = first
        self._parts = tuple(zip(rest[::2], rest[1::2], strict=True))
        if text and (not text.startswith("/") or text.startswith("//")):
            raise InvalidInput(f"a path begins with one slash and has no host, got {text!r}")
        if len({*self.names}) < len(self.names):
            raise InvalidInput(f"{text!r} has a placeholder twice")
        if not all(_TEXT.fullmatch(part) for part in (first, *rest[1::2])):
            raise InvalidInput(f"{text!r} is no path: {{name}} and encoded text is all that stands in one")
        if any(segment in (".", "..") for segment in text.lower().replace("%2e", ".").split("/")):
            raise InvalidInput(f"{text!r} has a dot segment")

    def fill(self, values: Mapping[str, object]) -> str:
        """The path. Raises `InvalidInput` for a missing or unused name, and for a value that is no segment."""
        if len(values) != len(self.names):
            raise self._mismatch(values)
        path = self._first
        for name, text in self._parts:
            if name not in values:
                raise self._mismatch(values)
            path += _segment(values[name], name, self.text) + text
        return path

    def check(self, values: Mapping[str, object]) -> None:
        """As `fill`, for some of the values: raises for an unused name, and for a value that is no segment."""
        for name, value in values.items():
            if name not in self.names:
                raise InvalidInput(f"{self.text} has no {name}", argument=name)
            _segment(value, name, self.text)

    def _mismatch(self, values: Mapping[str, object]) -> InvalidInput:
        missing = [name for name in self.names if name not in values]
        unused = [name for name in values if name not in self.names]
        told = [f"{word}: {', '.join(names)}" for word, names in (("missing", missing), ("unused", unused)) if names]
        return InvalidInput(f"values for {self.text or 'the empty path'} do not fit ({'; '.join(told)})")


def _segment(value: object, name: str, template: str) -> str:
    if type(value) is int:
        return str(value)
    segment = written(value, name)
    if segment in ("", ".", ".."):
        raise InvalidInput(f"{name} of {template} is {segment!r}: that would make it another path", argument=name)
    return encoded(segment, name)


@lru_cache(4096)
def template_of(text: str) -> Template:
    """As `Template`, read once for all who use it."""
    return Template(text)
