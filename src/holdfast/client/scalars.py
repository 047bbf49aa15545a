"""Which JSON is a value of a type that is made of no others? Nothing is coerced that JSON tells apart.

The classes are not imported here, and known by their names: whoever asks for a UUID has imported it.
"""

from __future__ import annotations

import collections.abc as abc
import enum
import math
import re
from base64 import b64decode
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Final

from holdfast.client.shapes import (
    BOOLEAN,
    CONSTANT,
    FLOAT,
    INTEGER,
    NULL,
    SPECIAL,
    TEXT,
    WIDER,
    Mismatch,
    Shape,
    kind_of_json,
)

__all__ = ["SCALARS", "enum_of", "literal_of", "number_in_text"]

_DURATION: Final = re.compile(
    r"([+-])?P(?:(\d{1,6})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,12}(?:\.\d{1,9})?)S)?)?"
)
_EXACT: Final = 2**53  # beyond it a JSON number with a fraction stands for several integers


def literal_of(values: Collection[Any]) -> Shape:
    allowed: dict[tuple[Any, Any], Any] = {(type(_plain(each)), _plain(each)): each for each in values}
    return _constant(f"one of {', '.join(sorted(map(repr, map(_plain, values))))}", allowed)


def enum_of(cls: type[enum.Enum]) -> Shape:
    expected = f"a value of {cls.__name__}"
    known = _constant(expected, {(type(each.value), each.value): each for each in cls if _hashable(each.value)})
    asks: Any = cls._missing_
    if asks.__func__ is enum.Enum.__dict__["_missing_"].__func__:
        return known

    def read(value: Any) -> Any:
        try:
            return known.read(value)
        except Mismatch:
            if type(value) not in (str, int):
                raise
            try:
                return cls(value)
            except Exception:  # whatever `_missing_` raises, it does not know the value
                pass
            raise

    return Shape(expected, CONSTANT, read)


def _hashable(value: Any) -> bool:
    return isinstance(value, abc.Hashable)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


def _constant(expected: str, allowed: Mapping[tuple[Any, Any], Any]) -> Shape:
    def read(value: Any) -> Any:
        try:
            return allowed[type(value), value]  # the type, since True == 1
        except (KeyError, TypeError):
            raise Mismatch(expected, kind_of_json(value)) from None

    return Shape(expected, CONSTANT, read)


def _null(value: Any) -> None:
    if value is not None:
        raise Mismatch("null", kind_of_json(value))


def _boolean(value: Any) -> bool:
    if value is True or value is False:
        return value is True
    raise Mismatch("a boolean", kind_of_json(value))


def _integer(value: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer() and abs(value) <= _EXACT:
        return int(value)  # RFC 8259 6: 1.0 is the number 1
    raise Mismatch("an integer", kind_of_json(value) if type(value) is not float else "a number with a fraction")


def _float(value: Any) -> float:
    if type(value) is float or type(value) is int:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):  # 1e999 is one that Python reads as infinite
            return number
        raise Mismatch("a number", "one that is too large")
    raise Mismatch("a number", kind_of_json(value))


def _string(value: Any) -> str:
    if type(value) is str:
        return value
    raise Mismatch("a string", kind_of_json(value))


def _octets(value: Any) -> bytes:
    try:
        return b64decode(_string(value), validate=True)
    except ValueError:
        raise Mismatch("a string in base64", "another string") from None


def _from_text(expected: str, make: Callable[[str], Any], value: Any) -> Any:
    if type(value) is not str:
        raise Mismatch(expected, kind_of_json(value))
    try:
        return make(value)
    except (ValueError, OverflowError):
        raise Mismatch(expected, "another string") from None


def _decimal(cls: Any, value: Any) -> Any:
    """A number's digits are those that Python writes for it: as many as it takes to tell it from others."""
    if type(value) not in (str, int, float):
        raise Mismatch("a decimal number", kind_of_json(value))
    try:
        number = cls(value if type(value) is int else str(value))
    except ArithmeticError:
        raise Mismatch("a decimal number", "another string") from None
    if not number.is_finite():
        raise Mismatch("a decimal number", "one that is not finite")
    return number


def _duration(cls: Any, text: str) -> Any:
    """ISO 8601, without years and months, which have no length of their own."""
    found = _DURATION.fullmatch(text)
    if found is None or text[-1] in "PT":
        raise ValueError
    weeks, days, hours, minutes, seconds = (float(each or 0) for each in found.groups()[1:])
    length = cls(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    return -length if found[1] == "-" else length


def number_in_text(shape: Shape, text: str) -> Any:
    kind = int if shape.rank == INTEGER else float
    try:
        return shape.read(kind(text))
    except ValueError:
        raise Mismatch(f"{shape.expected} as a name", "another name") from None


def _texts(expected: str, rank: int, make: Callable[[Any], Callable[[str], Any]]) -> Callable[[Any], Shape]:
    return lambda cls: Shape(expected, rank, partial(_from_text, expected, make(cls)))


SCALARS: Final[Mapping[str, Callable[[Any], Shape]]] = {
    "builtins.NoneType": lambda _: Shape("null", NULL, _null),
    "builtins.bool": lambda _: Shape("a boolean", BOOLEAN, _boolean),
    "builtins.int": lambda _: Shape("an integer", INTEGER, _integer),
    "builtins.float": lambda _: Shape("a number", FLOAT, _float),
    "builtins.str": lambda _: Shape("a string", TEXT, _string),
    "builtins.bytes": lambda _: Shape("a string in base64", WIDER, _octets),
    "decimal.Decimal": lambda cls: Shape("a decimal number", WIDER, partial(_decimal, cls)),
    "uuid.UUID": _texts("a UUID", SPECIAL, lambda cls: cls),
    "datetime.date": _texts("a date", SPECIAL, lambda cls: cls.fromisoformat),
    "datetime.time": _texts("a time", SPECIAL, lambda cls: cls.fromisoformat),
    "datetime.datetime": _texts("a date and time", WIDER, lambda cls: cls.fromisoformat),  # takes a date too
    "datetime.timedelta": _texts("a duration", SPECIAL, lambda cls: partial(_duration, cls)),
    "ipaddress.IPv4Address": _texts("an IPv4 address", SPECIAL, lambda cls: cls),
    "ipaddress.IPv6Address": _texts("an IPv6 address", SPECIAL, lambda cls: cls),
}
