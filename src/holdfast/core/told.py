"""What does an answer say at a place that a rule names: a header field, or a member of its JSON?"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, cast

from holdfast.core.value import Value
from holdfast.errors import InvalidInput

__all__ = ["Header", "Told", "Unreadable", "Where", "checked", "flag_at", "number_at", "said_at", "shown"]


class Header(Value):
    """A place in the header of an answer: ``by_page(pages=Header("X-WP-TotalPages"))``."""

    def __init__(self, name: str) -> None:
        self.name: Final = name


Where: TypeAlias = str | Sequence[str] | Header
"""Where an answer says something: names in its JSON with dots between (``"meta.next"``, ``"data.-1.id"`` in the last of
an array), the same as a sequence (``["@odata.nextLink"]``), or a `Header`."""


class Told(Value):
    """What is known of a page that was read: its ``url``, how many items came, and what the answer says.

    ``header`` gives the value of a field, None if there is none. ``document`` reads the body as JSON.
    """

    def __init__(
        self, url: str, count: int, header: Callable[[str], str | None], document: Callable[[], Any] = dict
    ) -> None:
        self.url: Final = url
        self.count: Final = count
        self.header: Final = header
        self.document: Final = document


class Unreadable(Exception):
    """An answer does not say what its rule needs: ``value`` is at ``path``, where ``expected`` should be."""

    def __init__(self, path: str, expected: str, value: Any) -> None:
        super().__init__(f"{path}: expected {expected}")
        self.path: Final = path
        self.expected: Final = expected
        self.value: Final = value


def checked(where: Where) -> Header | tuple[str, ...]:
    if isinstance(where, Header):
        return where
    path = tuple(where.split(".")) if isinstance(where, str) else tuple(where)
    if not path or not all(path):
        raise InvalidInput(f"a place in an answer is names with dots between, got {where!r}")
    return path


def said_at(where: Header | tuple[str, ...], told: Told) -> Any:
    """What is there; None where nothing is."""
    if isinstance(where, Header):
        return told.header(where.name)
    value = told.document()
    for depth, name in enumerate(where):
        if value is None:
            return None
        if isinstance(value, dict):
            value = cast("dict[str, Any]", value).get(name)
        elif isinstance(value, list) and re.fullmatch("-?[0-9]{1,9}", name):
            items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
            value = items[int(name)] if -len(items) <= int(name) < len(items) else None
        else:
            raise Unreadable(shown(where[:depth]), f"an object with {name!r}", value)
    return value


def flag_at(where: Header | tuple[str, ...], told: Told) -> bool:
    """Whether it is true there; some encoders leave out what is false."""
    flag = said_at(where, told)
    if isinstance(where, Header) and flag is not None:
        flag = {"true": True, "false": False, "1": True, "0": False}.get(flag.lower(), flag)
    if flag is not None and not isinstance(flag, bool):
        raise Unreadable(shown(where), "true or false", flag)
    return bool(flag)


def number_at(where: Header | tuple[str, ...], told: Told) -> int:
    number = said_at(where, told)
    if isinstance(number, str) and re.fullmatch("[0-9]{1,15}", number):  # in a header, and in quotes by some servers
        return int(number)
    if type(number) is not int or number < 0:
        raise Unreadable(shown(where), "a number of what there is", number)
    return number


def shown(where: Header | tuple[str, ...]) -> str:
    return f"the header field {where.name}" if isinstance(where, Header) else ".".join(("$", *where))
