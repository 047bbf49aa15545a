"""What is a type to a decoder? A `Shape`: how its JSON is read, and how a union tells it from others.

Here are those that are made of others: arrays, objects by name, unions. A value that is not of the type raises
`Mismatch`, which finds its place on the way out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

__all__ = [
    "ANY", "ARRAY", "BOOLEAN", "CONSTANT", "FLOAT", "INTEGER", "MAPPING", "NULL", "OBJECT", "SPECIAL", "TEXT", "WIDER",
    "Mismatch", "Read", "Shape", "all_fit", "array_of", "items_in", "kind_of_json", "mapping_of", "member", "names_in",
    "places_of", "union_of",
]  # fmt: skip

Read: TypeAlias = Callable[[Any], Any]
_LOOK_DEEP: Final = 2
"""Levels that a union looks at to choose a member. Then it is final: trying one after the other takes time that is
exponential in the depth of an answer."""
_NAME: Final = r"[A-Za-z_$][A-Za-z0-9_$-]{0,63}"

# Ranks in a union: the more special goes first
NULL, BOOLEAN, INTEGER, FLOAT, CONSTANT, SPECIAL, WIDER, TEXT, ARRAY, OBJECT, MAPPING, ANY = range(12)


class Mismatch(Exception):
    """A value that is not of the type. ``steps`` lead to it, innermost first."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected = expected
        self.got = got
        self.steps: list[str] = []

    def at(self, step: str) -> Mismatch:
        """The same, seen from one level further out."""
        self.steps.append(step)
        return self

    @property
    def path(self) -> str:
        return "$" + "".join(reversed(self.steps))


class Shape:
    """One type: how it is ``read``, and how a union tells it from others.

    ``fits`` scores a value by a look at the levels given: None if it cannot be of the type, else how many of its names
    are known. ``rank`` says which of two that fit goes first: the more special one.
    """

    __slots__ = ("expected", "fits", "rank", "read")

    def __init__(
        self, expected: str, rank: int, read: Read, fits: Callable[[Any, int], int | None] | None = None
    ) -> None:
        self.expected = expected
        self.rank = rank
        self.read = read
        self.fits = self._by_reading if fits is None else fits

    def _by_reading(self, value: Any, depth: int) -> int | None:
        try:
            self.read(value)
        except Mismatch:
            return None
        return 0


def kind_of_json(value: Any) -> str:
    """What a JSON value is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case dict():
            return "an object"
        case _:
            return type(value).__name__


def member(name: str) -> str:
    """A step of a path; a name that need not be one of a field is not told."""
    return f".{name}" if re.fullmatch(_NAME, name) else "[...]"


def items_in(value: Any) -> list[Any]:
    """For the type checkers: what was seen to be a list is one of anything."""
    found: list[Any] = value
    return found


def names_in(value: Any) -> dict[str, Any]:
    """For the type checkers: what was seen to be a dict is a JSON object."""
    found: dict[str, Any] = value
    return found


def all_fit(pairs: Iterable[tuple[Shape, Any]], depth: int) -> int | None:
    if depth > 0:
        for shape, value in pairs:
            if shape.fits(value, depth - 1) is None:
                return None
    return 0


def array_of(item: Shape, make: Callable[[Iterable[Any]], Any]) -> Shape:
    def read(value: Any) -> Any:
        if type(value) is not list:
            raise Mismatch("an array", kind_of_json(value))
        found: list[Any] = []
        try:
            found.extend(map(item.read, items_in(value)))
        except Mismatch as mismatch:
            mismatch.at(f"[{len(found)}]")
            raise
        if make is list:
            return found
        try:
            return make(found)
        except TypeError as error:
            raise Mismatch("values that a set can hold", "others") from error

    def fits(value: Any, depth: int) -> int | None:
        return all_fit([(item, each) for each in items_in(value)[:1]], depth) if type(value) is list else None

    return Shape("an array", ARRAY, read, fits)


def places_of(make: Callable[..., Any], shapes: Sequence[Shape], least: int) -> Read:
    many = str(len(shapes)) if least == len(shapes) else f"{least} to {len(shapes)}"

    def read(value: Any) -> Any:
        if type(value) is not list:
            raise Mismatch(f"an array of {many}", kind_of_json(value))
        values = items_in(value)
        if not least <= len(values) <= len(shapes):
            raise Mismatch(f"an array of {many}", f"one of {len(values)}")
        found: list[Any] = []
        try:
            for shape, each in zip(shapes, values, strict=False):
                found.append(shape.read(each))
        except Mismatch as mismatch:
            mismatch.at(f"[{len(found)}]")
            raise
        return make(*found)

    return read


def mapping_of(key: Shape | None, item: Shape) -> Shape:
    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise Mismatch("an object", kind_of_json(value))
        found: dict[Any, Any] = {}
        for name, each in names_in(value).items():
            try:
                found[name if key is None else key.read(name)] = item.read(each)
            except Mismatch as mismatch:
                mismatch.at("[...]")  # the name is data here
                raise
            except TypeError as error:
                raise Mismatch("names that a dict can hold", "others") from error
        return found

    def fits(value: Any, depth: int) -> int | None:
        if type(value) is not dict:
            return None
        return all_fit([(item, each) for each in list(names_in(value).values())[:1]], depth)

    return Shape("an object", MAPPING, read, fits)


def union_of(shapes: Sequence[Shape]) -> Shape:
    """One of several types, chosen by what the value looks like, whatever order they are named in.

    The order does not count because ``A | B`` and ``B | A`` are equal, and so are decoded alike.
    """
    members = sorted(shapes, key=lambda shape: (shape.rank, shape.expected))
    nullable = any(each.rank == NULL for each in members)
    others = [each for each in members if each.rank != NULL]

    def chosen(value: Any, depth: int) -> Shape | None:
        best, score = None, (0, 0)
        for each in others:
            known = each.fits(value, depth)
            if known is not None and (best is None or (each.rank, -known) < score):
                best, score = each, (each.rank, -known)
        return best

    def read(value: Any) -> Any:
        if value is None and nullable:
            return None
        if len(others) == 1:
            return others[0].read(value)
        shape = chosen(value, _LOOK_DEEP)
        if shape is None:  # if there is but one of its kind, it can say what is wrong
            ranks = (ARRAY,) if isinstance(value, list) else (OBJECT, MAPPING) if isinstance(value, dict) else ()
            alike = [each for each in others if each.rank in ranks]
            if len(alike) != 1:
                raise Mismatch(" or ".join(each.expected for each in members), kind_of_json(value))
            shape = alike[0]
        return shape.read(value)

    def fits(value: Any, depth: int) -> int | None:
        if value is None and nullable:
            return 0
        shape = chosen(value, depth)
        return None if shape is None else 0

    rank = others[0].rank if others else NULL
    return Shape(" or ".join(each.expected for each in members), rank, read, fits)
