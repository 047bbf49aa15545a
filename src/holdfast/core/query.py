"""How are parameters written into a query? ``None`` is left out; the style of a list has a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Final, Literal, TypeAlias, cast
from urllib.parse import unquote_plus

from holdfast.core.scalar import Scalar, encoded, written
from holdfast.errors import InvalidInput

__all__ = ["ListStyle", "Query", "encode_query", "without_parameter"]

Query: TypeAlias = Mapping[str, "Scalar | Sequence[Scalar] | Set[Scalar] | None"]
ListStyle: TypeAlias = Literal["repeat", "comma", "brackets"]
"""``a=1&a=2``, ``a=1,2`` or ``a[]=1&a[]=2``. A list without items is left out."""

_STYLES: Final = ("repeat", "comma", "brackets")


def encode_query(query: Query, style: ListStyle = "repeat") -> dict[str, str]:
    """Each parameter as it will stand in the URL, by its name, in the order given; None comes as an empty text.

    >>> "&".join(encode_query({"q": "a b", "tag": ["x", "y"], "deep": True}, "comma").values())
    'q=a%20b&tag=x,y&deep=true'
    """
    if style not in _STYLES:
        raise InvalidInput(f"a style of lists is one of {', '.join(_STYLES)}, got {style!r}")
    if not isinstance(cast("object", query), Mapping):  # a placeholder of this name would come here
        raise InvalidInput(f"query= takes parameters by name, got a {type(query).__name__}")
    return {name: _parameter(name, value, style) for name, value in query.items()}


def without_parameter(query: str, name: str, value: str | None = None) -> str:
    """An encoded query without the parameters of this name, or of this name and value; the others as they were.

    >>> without_parameter("a=1&key=k%2Fy&b", "key", "k/y"), without_parameter("key=x", "key", "y")
    ('a=1&b', 'key=x')
    """

    def is_it(pair: str) -> bool:
        given, _, text = pair.partition("=")
        return unquote_plus(given) == name and (value is None or unquote_plus(text) == value)

    return "&".join(pair for pair in query.split("&") if not is_it(pair))


def _parameter(name: str, value: object, style: ListStyle) -> str:
    if value is None:
        return ""
    key = encoded(name, "the name of a parameter")
    if not isinstance(value, (list, tuple, set, frozenset)):
        return f"{key}={encoded(written(value, name), name)}"
    items = [encoded(written(item, name), name) for item in cast("Sequence[object]", value)]
    match style:
        case "repeat":
            return "&".join(f"{key}={item}" for item in items)
        case "comma":
            return f"{key}={','.join(items)}" if items else ""
        case "brackets":
            return "&".join(f"{key}[]={item}" for item in items)
