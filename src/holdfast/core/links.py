"""Which other pages does an answer link to? Its ``Link`` field (RFC 8288), and links that differ by a number alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from holdfast.core.address import absolute

__all__ = ["counted", "links_of"]

# One parameter of a link; no two parts of it can take the same character, so no header field makes it slow.
_PARAMETER: Final = r'[ \t]*;[ \t]*(?:([^\s=;,<>"]+)[ \t]*(?:=[ \t]*(?:"((?:[^"\\]|\\.)*)"?|([^\s;,"]+)?))?)?'


def links_of(field: str, here: str) -> dict[str, str]:
    """Where each relation of a ``Link`` field leads, by its name in lower case: the first of each, absolute.

    >>> links_of('<?page=2>; rel="next last"', "https://api.test/users")
    {'next': 'https://api.test/users?page=2', 'last': 'https://api.test/users?page=2'}
    """
    found: dict[str, str] = {}
    place = 0
    while (start := field.find("<", place)) >= 0 and (end := field.find(">", start)) >= 0:
        place, given = end + 1, dict[str, str]()
        while parameter := re.compile(_PARAMETER).match(field, place):
            place = parameter.end()
            if parameter[1] is not None:
                value = parameter[3] or "" if parameter[2] is None else re.sub(r"\\(.)", r"\1", parameter[2])
                given.setdefault(parameter[1].lower(), value)  # RFC 8288 3.3: the first rel counts
        # RFC 8288 3.2: with another anchor it is a link of another resource.
        if "anchor" not in given or absolute(given["anchor"], here) == here:
            for relation in given.get("rel", "").lower().split():
                found.setdefault(relation, absolute(field[start + 1 : end].strip(), here))
    return found


def counted(first: str, last: str) -> Iterator[str] | None:
    """The URLs from one to the other, where one number in their queries is all that differs."""
    base, _, query = first.partition("?")
    pairs, others = query.split("&"), last.partition("?")[2].split("&")
    differing = [place for place, (one, other) in enumerate(zip(pairs, others, strict=False)) if one != other]
    if base != last.partition("?")[0] or len(pairs) != len(others) or len(differing) > 1:
        return None
    if not differing:
        return iter([first])
    place = differing[0]
    (name, _, begin), (other, _, end) = pairs[place].partition("="), others[place].partition("=")
    if name != other or not re.fullmatch("[0-9]{1,9} [0-9]{1,9}", f"{begin} {end}") or int(begin) > int(end):
        return None
    return (
        f"{base}?{'&'.join([*pairs[:place], f'{name}={number}', *pairs[place + 1 :]])}"
        for number in range(int(begin), int(end) + 1)
    )
