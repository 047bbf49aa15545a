"""Types with a msgspec Struct in them, decoded by msgspec."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from holdfast.client.forms import Unknown
from holdfast.client.shapes import Mismatch, items_in
from holdfast.core.document import Malformed, check_depth

__all__ = ["MsgspecReader"]

_SAID: Final = re.compile(r"(?:Expected (?P<expected>.+?)(?:, got (?P<got>.+?))?|.*?)(?: - at `(?P<path>[^`]*)`)?")
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>[^`]*)`")


class MsgspecReader:
    """msgspec's own rules for a type: its names, its constraints, its tags."""

    def __init__(self, into: Any, *, strict: bool) -> None:
        self._into = into
        try:
            self._decoder = msgspec.json.Decoder(into)
        except TypeError as error:
            raise Unknown(f"msgspec cannot decode {into!r}: {error}") from error
        loose = sorted(each.__name__ for each in _structs(into) if not each.__struct_config__.forbid_unknown_fields)
        if strict and loose:
            raise Unknown(f'unknown="error" is the Struct\'s own affair: {loose[0]} lacks forbid_unknown_fields=True')

    def json(self, text: bytes, max_depth: int) -> Any:
        check_depth(text, max_depth)
        try:
            return self._decoder.decode(text)
        except msgspec.ValidationError as error:
            raise _mismatch(error) from error.__cause__
        except msgspec.DecodeError:
            raise Malformed("JSON", "something else") from None

    def value(self, value: Any) -> Any:
        try:
            return msgspec.convert(value, self._into, str_keys=True)
        except msgspec.ValidationError as error:
            raise _mismatch(error) from error.__cause__


def _mismatch(error: msgspec.ValidationError) -> Mismatch:
    """Its texts name types, fields and limits, but for a value that is not among the allowed ones."""
    text = str(error)
    said = _SAID.fullmatch(text)
    missing = _MISSING.match(text)
    expected = (said and said["expected"]) or "what the type allows"
    mismatch = Mismatch(expected.replace("`", ""), ((said and said["got"]) or "another value").replace("`", ""))
    if missing:
        mismatch = Mismatch("a value", "nothing").at(f".{missing['name']}")
    if said and said["path"]:
        mismatch.at(said["path"].removeprefix("$"))
    return mismatch


def _structs(into: Any) -> Iterator[type[msgspec.Struct]]:
    """Each Struct that is reached from a type."""
    seen: set[int] = set()

    def walk(node: Any) -> Iterator[type[msgspec.Struct]]:
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, msgspec.inspect.StructType):
            yield node.cls
        if isinstance(node, (msgspec.inspect.Type, msgspec.inspect.Field)):
            for name in node.__struct_fields__:
                yield from walk(getattr(node, name))
        elif type(node) is tuple:
            for each in items_in(node):
                yield from walk(each)

    return walk(msgspec.inspect.type_info(into))
