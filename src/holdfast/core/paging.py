"""Which page of a listing comes next? A rule tells it from what the server said of the page before, and of no other.

An empty or a short page says nothing: servers cut pages shorter than asked, and filter after they have cut. Only
where a server gives no sign at all may an empty page end a listing, and then its rule says so by name.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, cast

from holdfast.core.address import absolute
from holdfast.core.value import Value
from holdfast.errors import InvalidInput

__all__ = [
    "Header",
    "PagingRule",
    "Place",
    "Told",
    "Unreadable",
    "Where",
    "by_cursor",
    "by_link",
    "by_offset",
    "by_page",
    "by_url",
    "links_of",
    "place_in",
    "token_of",
]


class Header(Value):
    """A place in the header of an answer: ``by_page(pages=Header("X-WP-TotalPages"))``."""

    def __init__(self, name: str) -> None:
        self.name: Final = name


Where: TypeAlias = str | Sequence[str] | Header
"""Where an answer says something: names in its JSON with dots between (``"meta.next"``, ``"data.-1.id"`` in the last of
an array), the same as a sequence (``["@odata.nextLink"]``), or a `Header`."""


class Place(Value):
    """Where a page is: at a URL of its own, or behind parameters over those of the listing. Neither is the first."""

    def __init__(self, query: Mapping[str, str | int] | None = None, url: str | None = None) -> None:
        self.query: Final = query or {}
        self.url: Final = url


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


class PagingRule(Value, ABC):
    """How the pages of a listing hang together. A rule of one's own needs `after` alone."""

    def first(self) -> Place:
        """Where a listing begins."""
        return Place()

    @abstractmethod
    def after(self, place: Place, told: Told) -> Place | None:
        """Where the page after this one is; None if this is the last. Raises `Unreadable`."""

    def ahead(self, place: Place, told: Told) -> Iterator[Place] | None:
        """All places after this one, where the server told how many there are; None where it did not."""
        return None

    def total(self, told: Told) -> int | None:
        """How many items the whole listing has, where the server told."""
        return None

    def fits(self, place: Place) -> bool:
        """Whether this rule could have made that place."""
        return True


class _ByLink(PagingRule):
    def after(self, place: Place, told: Told) -> Place | None:
        target = links_of(told.header("link") or "", told.url).get("next")
        return None if target is None else Place(url=target)

    def ahead(self, place: Place, told: Told) -> Iterator[Place] | None:
        links = links_of(told.header("link") or "", told.url)
        urls = _counted(links["next"], links["last"]) if {"next", "last"} <= links.keys() else None
        return None if urls is None else (Place(url=url) for url in urls)

    def fits(self, place: Place) -> bool:
        return not place.query


class _ByUrl(PagingRule):
    def __init__(self, at: Where) -> None:
        self.at: Final = _checked(at)

    def after(self, place: Place, told: Told) -> Place | None:
        target = _read(self.at, told)
        if target in (None, "", False):
            return None
        if not isinstance(target, str):
            raise Unreadable(_shown(self.at), "a URL", target)
        return Place(url=absolute(target, told.url))

    def fits(self, place: Place) -> bool:
        return not place.query


class _ByCursor(PagingRule):
    def __init__(self, at: Where, parameter: str, more: Where | None) -> None:
        self.at: Final = _checked(at)
        self.parameter: Final = parameter
        self.more: Final = None if more is None else _checked(more)

    def after(self, place: Place, told: Told) -> Place | None:
        if self.more is not None and not _flag(self.more, told):
            return None
        cursor = _read(self.at, told)
        ends = cursor is None or cursor == "" or cursor is False
        if ends and self.more is None:
            return None
        # More is there, and no way to it: to end here would be to lose it without a word.
        if ends or isinstance(cursor, bool) or not isinstance(cursor, (str, int)):
            raise Unreadable(_shown(self.at), "a cursor", cursor)
        return Place({self.parameter: cursor})

    def fits(self, place: Place) -> bool:
        return place.url is None and place.query.keys() <= {self.parameter}


class _Counting(PagingRule):
    """Pages under numbers that grow."""

    def __init__(
        self,
        parameter: str,
        first: int,
        size_parameter: str,
        size: int | None,
        more: Where | None,
        count: Where | None,
        until_empty: bool,
    ) -> None:
        if [more is not None, count is not None, until_empty].count(True) != 1:
            raise InvalidInput("a listing by numbers ends by one of more=, a count of all, and until_empty=True")
        if size is not None and size < 1:
            raise InvalidInput(f"size must be at least 1, got {size}", argument="size")
        self.parameter: Final = parameter
        self.begin: Final = first
        self.size_parameter: Final = size_parameter
        self.size: Final = size
        self.more: Final = None if more is None else _checked(more)
        self.count: Final = None if count is None else _checked(count)
        self.until_empty: Final = until_empty

    def first(self) -> Place:
        return self._at(self.begin)

    def fits(self, place: Place) -> bool:
        return (
            place.url is None
            and all(
                type(value) is int and (name == self.parameter or value == self.size)
                for name, value in place.query.items()
            )
            and place.query.keys() == self.first().query.keys()
        )

    def _at(self, number: int) -> Place:
        sized: dict[str, str | int] = {} if self.size is None else {self.size_parameter: self.size}
        return Place({self.parameter: number, **sized})

    def _number(self, place: Place) -> int:
        return int(place.query[self.parameter])

    def _goes_on(self, told: Told, numbers_left: Callable[[int], bool]) -> bool:
        if self.count is not None:
            return numbers_left(_number_at(self.count, told))
        return _flag(self.more, told) if self.more is not None else told.count > 0


class _ByPage(_Counting):
    def after(self, place: Place, told: Told) -> Place | None:
        number = self._number(place)
        # A first page of 0 counts as one of them.
        return self._at(number + 1) if self._goes_on(told, lambda pages: number - self.begin + 1 < pages) else None

    def ahead(self, place: Place, told: Told) -> Iterator[Place] | None:
        if self.count is None:
            return None
        return map(self._at, range(self._number(place) + 1, self.begin + _number_at(self.count, told)))


class _ByOffset(_Counting):
    def __init__(
        self,
        parameter: str,
        first: int,
        size_parameter: str,
        size: int,
        more: Where | None,
        count: Where | None,
        until_empty: bool,
        step: Literal["items", "size"],
    ) -> None:
        if step not in ("items", "size"):
            raise InvalidInput(f'step is "items" or "size", got {step!r}', argument="step")
        super().__init__(parameter, first, size_parameter, size, more, count, until_empty)
        self.step: Final = step

    def after(self, place: Place, told: Told) -> Place | None:
        # An empty page in the middle: what it should have held was filtered away.
        step = self._page_size if self.step == "size" or told.count == 0 else told.count
        offset = self._number(place) + step
        return self._at(offset) if self._goes_on(told, lambda total: offset - self.begin < total) else None

    def ahead(self, place: Place, told: Told) -> Iterator[Place] | None:
        if self.count is None or (self.step == "items" and told.count != self._page_size):
            return None  # a server that cuts pages shorter than asked: the next offset is known one by one
        end = self.begin + _number_at(self.count, told)
        return map(self._at, range(self._number(place) + self._page_size, end, self._page_size))

    def total(self, told: Told) -> int | None:
        return None if self.count is None else _number_at(self.count, told)

    @property
    def _page_size(self) -> int:
        assert self.size is not None, "a rule by offset has a size"
        return self.size


def by_link() -> PagingRule:
    """The next page is the ``Link`` of ``rel="next"`` (RFC 8288); a page without one is the last."""
    return _ByLink()


def by_url(at: Where) -> PagingRule:
    """The next page's URL is there; a page where nothing, null, "" or false is, is the last."""
    return _ByUrl(at)


def by_cursor(at: Where, *, parameter: str = "cursor", more: Where | None = None) -> PagingRule:
    """The next page is behind the cursor that is there, sent back as ``parameter``.

    A page where nothing, null, "" or false is, is the last. With ``more``, the last is the one whose flag there is not
    true, and a page without a cursor that says there is more is an error.
    """
    return _ByCursor(at, parameter, more)


def by_offset(
    size: int,
    *,
    total: Where | None = None,
    more: Where | None = None,
    until_empty: bool = False,
    parameter: str = "offset",
    size_parameter: str = "limit",
    first: int = 0,
    step: Literal["items", "size"] = "items",
) -> PagingRule:
    """``offset=0&limit=9``, ``offset=9&limit=9``, ... up to the ``total`` that is there, or while there is ``more``.

    ``until_empty`` is for servers that tell neither: an empty page is the last then. ``step="items"`` goes on by as
    many items as came, which is right for a server that cuts pages shorter than asked; ``step="size"`` by as many as
    were asked for, for one that filters what it has cut. Raises `InvalidInput` if there is not one sign of the end.
    """
    return _ByOffset(parameter, first, size_parameter, size, more, total, until_empty, step)


def by_page(
    *,
    pages: Where | None = None,
    more: Where | None = None,
    until_empty: bool = False,
    size: int | None = None,
    parameter: str = "page",
    size_parameter: str = "per_page",
    first: int = 1,
) -> PagingRule:
    """``page=1``, ``page=2``, ... up to the number of ``pages`` that is there, or while there is ``more``.

    ``until_empty`` is for servers that tell neither: an empty page is the last then. ``size`` is sent along, where it
    is given. Raises `InvalidInput` if there is not one sign of the end.
    """
    return _ByPage(parameter, first, size_parameter, size, more, pages, until_empty)


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


def token_of(listing: str, place: Place, skip: int = 0) -> str:
    """Where to go on, as JSON: at this place of this listing, behind so many items."""
    where = {"query": {**place.query}} if place.url is None else {"url": place.url}
    return json.dumps({"v": 1, "of": _fingerprint(listing), **where, "skip": skip}, separators=(",", ":"))


def place_in(token: str, listing: str, rule: PagingRule) -> tuple[Place, int]:
    """What `token_of` wrote. Raises `InvalidInput` for what is no token, or one of another listing."""
    try:
        read: dict[str, Any] = json.loads(token)
        known, skip = (read["v"], read["of"]) == (1, _fingerprint(listing)), read["skip"]
        place = Place(read.get("query"), read.get("url"))
        sound = type(skip) is int and skip >= 0 and _is_place(place) and rule.fits(place)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InvalidInput("this is no token of a page", argument="token") from None
    if not (known and sound):
        raise InvalidInput("this token is one of another listing", argument="token")
    return place, skip


# One parameter of a link; no two parts of it can take the same character, so no header field makes it slow.
_PARAMETER: Final = r'[ \t]*;[ \t]*(?:([^\s=;,<>"]+)[ \t]*(?:=[ \t]*(?:"((?:[^"\\]|\\.)*)"?|([^\s;,"]+)?))?)?'


def _is_place(place: Place) -> bool:
    if place.url is not None:
        return isinstance(cast("object", place.url), str) and not place.query
    query = cast("object", place.query)
    return isinstance(query, dict) and all(
        type(each) in (str, int) for each in cast("dict[str, object]", query).values()
    )


def _fingerprint(listing: str) -> str:
    return hashlib.blake2b(listing.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _counted(first: str, last: str) -> Iterator[str] | None:
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


def _checked(where: Where) -> Header | tuple[str, ...]:
    if isinstance(where, Header):
        return where
    path = tuple(where.split(".")) if isinstance(where, str) else tuple(where)
    if not path or not all(path):
        raise InvalidInput(f"a place in an answer is names with dots between, got {where!r}")
    return path


def _read(where: Header | tuple[str, ...], told: Told) -> Any:
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
            raise Unreadable(_shown(where[:depth]), f"an object with {name!r}", value)
    return value


def _flag(where: Header | tuple[str, ...], told: Told) -> bool:
    """Whether it is true there; some encoders leave out what is false."""
    flag = _read(where, told)
    if isinstance(where, Header) and flag is not None:
        flag = {"true": True, "false": False, "1": True, "0": False}.get(flag.lower(), flag)
    if flag is not None and not isinstance(flag, bool):
        raise Unreadable(_shown(where), "true or false", flag)
    return bool(flag)


def _number_at(where: Header | tuple[str, ...], told: Told) -> int:
    number = _read(where, told)
    if isinstance(number, str) and re.fullmatch("[0-9]{1,15}", number):  # in a header, and in quotes by some servers
        return int(number)
    if type(number) is not int or number < 0:
        raise Unreadable(_shown(where), "a number of what there is", number)
    return number


def _shown(where: Header | tuple[str, ...]) -> str:
    return f"the header field {where.name}" if isinstance(where, Header) else ".".join(("$", *where))
