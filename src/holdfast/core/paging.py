"""Which page of a listing comes next? A rule tells it from what the server said of the page before, and of no other.

An empty or a short page says nothing: servers cut pages shorter than asked, and filter after they have cut. Only
where a server gives no sign at all may an empty page end a listing, and then its rule says so by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

from holdfast.core.address import absolute
from holdfast.core.links import counted, links_of
from holdfast.core.told import Told, Unreadable, Where, checked, flag_at, number_at, said_at, shown
from holdfast.core.value import Value
from holdfast.errors import InvalidInput

__all__ = ["PagingRule", "Place", "SentIn", "by_cursor", "by_link", "by_offset", "by_page", "by_url"]

SentIn: TypeAlias = Literal["query", "body", "form"]
"""Where a parameter is sent: in the URL's query, as a member of the request's JSON, dots leading into it, or as a field
of its form.
"""


class Place(Value):
    """Where a page is: at a URL of its own, behind parameters over those of the listing, behind members over those of
    its JSON body (merged as RFC 7396 says), or behind fields over those of its form. None of them is the first page.
    """

    def __init__(
        self,
        query: Mapping[str, str | int] | None = None,
        url: str | None = None,
        body: Mapping[str, Any] | None = None,
        form: Mapping[str, str | int] | None = None,
    ) -> None:
        self.query: Final = query or {}
        self.url: Final = url
        self.body: Final = body or {}
        self.form: Final = form or {}


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
        urls = counted(links["next"], links["last"]) if {"next", "last"} <= links.keys() else None
        return None if urls is None else (Place(url=url) for url in urls)

    def fits(self, place: Place) -> bool:
        return place == Place(url=place.url)


class _ByUrl(PagingRule):
    def __init__(self, at: Where) -> None:
        self.at: Final = checked(at)

    def after(self, place: Place, told: Told) -> Place | None:
        target = said_at(self.at, told)
        if target in (None, "", False):
            return None
        if not isinstance(target, str):
            raise Unreadable(shown(self.at), "a URL", target)
        return Place(url=absolute(target, told.url))

    def fits(self, place: Place) -> bool:
        return place == Place(url=place.url)


class _Sending(PagingRule):
    """Pages behind a parameter."""

    def __init__(self, parameter: str, sent_in: SentIn) -> None:
        if sent_in not in ("query", "body", "form"):
            raise InvalidInput(f'sent_in is "query", "body" or "form", got {sent_in!r}', argument="sent_in")
        self.parameter: Final = parameter
        self.sent_in: Final = sent_in

    def _behind(self, values: Mapping[str, Any]) -> Place:
        if self.sent_in != "body":
            return Place(values) if self.sent_in == "query" else Place(form=values)
        body: dict[str, Any] = {}
        for name, value in values.items():
            *outer, last = name.split(".")
            inner = body
            for each in outer:
                inner = inner.setdefault(each, {})
            inner[last] = value
        return Place(body=body)

    def _value(self, place: Place) -> Any:
        """What that parameter is there; None if it is not."""
        if self.sent_in != "body":
            return (place.query if self.sent_in == "query" else place.form).get(self.parameter)
        value: Any = place.body
        for name in self.parameter.split("."):
            value = value.get(name) if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        return value  # pyright: ignore[reportUnknownVariableType]


class _ByCursor(_Sending):
    def __init__(self, at: Where, parameter: str, more: Where | None, sent_in: SentIn) -> None:
        super().__init__(parameter, sent_in)
        self.at: Final = checked(at)
        self.more: Final = None if more is None else checked(more)

    def after(self, place: Place, told: Told) -> Place | None:
        if self.more is not None and not flag_at(self.more, told):
            return None
        cursor = said_at(self.at, told)
        ends = cursor is None or cursor == "" or cursor is False
        if ends and self.more is None:
            return None
        # More is there, and no way to it: to end here would be to lose it without a word.
        if ends or not self._takes(cursor):
            raise Unreadable(shown(self.at), "a cursor", cursor)
        return self._behind({self.parameter: cursor})

    def fits(self, place: Place) -> bool:
        cursor = self._value(place)
        return place == Place() or (self._takes(cursor) and place == self._behind({self.parameter: cursor}))

    def _takes(self, cursor: Any) -> bool:
        # In JSON some are a key of several parts: an array, or an object.
        return type(cursor) in ((str, int, list, dict) if self.sent_in == "body" else (str, int))


class _Counting(_Sending):
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
        sent_in: SentIn,
    ) -> None:
        super().__init__(parameter, sent_in)
        if [more is not None, count is not None, until_empty].count(True) != 1:
            raise InvalidInput("a listing by numbers ends by one of more=, a count of all, and until_empty=True")
        if size is not None and size < 1:
            raise InvalidInput(f"size must be at least 1, got {size}", argument="size")
        self.begin: Final = first
        self.size_parameter: Final = size_parameter
        self.size: Final = size
        self.more: Final = None if more is None else checked(more)
        self.count: Final = None if count is None else checked(count)
        self.until_empty: Final = until_empty

    def first(self) -> Place:
        return self._at(self.begin)

    def fits(self, place: Place) -> bool:
        number = self._value(place)
        return type(number) is int and place == self._at(number)

    def _at(self, number: int) -> Place:
        return self._behind({self.parameter: number, **({} if self.size is None else {self.size_parameter: self.size})})

    def _number(self, place: Place) -> int:
        return int(self._value(place))

    def _goes_on(self, told: Told, numbers_left: Callable[[int], bool]) -> bool:
        if self.count is not None:
            return numbers_left(number_at(self.count, told))
        return flag_at(self.more, told) if self.more is not None else told.count > 0


class _ByPage(_Counting):
    def after(self, place: Place, told: Told) -> Place | None:
        number = self._number(place)
        # A first page of 0 counts as one of them.
        return self._at(number + 1) if self._goes_on(told, lambda pages: number - self.begin + 1 < pages) else None

    def ahead(self, place: Place, told: Told) -> Iterator[Place] | None:
        if self.count is None:
            return None
        return map(self._at, range(self._number(place) + 1, self.begin + number_at(self.count, told)))


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
        sent_in: SentIn,
    ) -> None:
        if step not in ("items", "size"):
            raise InvalidInput(f'step is "items" or "size", got {step!r}', argument="step")
        super().__init__(parameter, first, size_parameter, size, more, count, until_empty, sent_in)
        self.step: Final = step

    def after(self, place: Place, told: Told) -> Place | None:
        # An empty page in the middle: what it should have held was filtered away.
        step = self._page_size if self.step == "size" or told.count == 0 else told.count
        offset = self._number(place) + step
        return self._at(offset) if self._goes_on(told, lambda total: offset - self.begin < total) else None

    def ahead(self, place: Place, told: Told) -> Iterator[Place] | None:
        if self.count is None or (self.step == "items" and told.count != self._page_size):
            return None  # a server that cuts pages shorter than asked: the next offset is known one by one
        end = self.begin + number_at(self.count, told)
        return map(self._at, range(self._number(place) + self._page_size, end, self._page_size))

    def total(self, told: Told) -> int | None:
        return None if self.count is None else number_at(self.count, told)

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


def by_cursor(
    at: Where, *, parameter: str = "cursor", more: Where | None = None, sent_in: SentIn = "query"
) -> PagingRule:
    """The next page is behind the cursor that is there, sent back as ``parameter``.

    ``sent_in="body"``: in the JSON of a search by POST, where it may be an array or an object, too; ``"form"``: in its
    form.

    A page where nothing, null, "" or false is, is the last. With ``more``, the last is the one whose flag there is not
    true, and a page without a cursor that says there is more is an error.
    """
    return _ByCursor(at, parameter, more, sent_in)


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
    sent_in: SentIn = "query",
) -> PagingRule:
    """``offset=0&limit=9``, ``offset=9&limit=9``, ... up to the ``total`` that is there, or while there is ``more``.

    ``until_empty`` is for servers that tell neither: an empty page is the last then. ``step="items"`` goes on by as
    many items as came, which is right for a server that cuts pages shorter than asked; ``step="size"`` by as many as
    were asked for, for one that filters what it has cut. ``sent_in`` as with `by_cursor`. Raises `InvalidInput` if
    there is not one sign of the end.
    """
    return _ByOffset(parameter, first, size_parameter, size, more, total, until_empty, step, sent_in)


def by_page(
    *,
    pages: Where | None = None,
    more: Where | None = None,
    until_empty: bool = False,
    size: int | None = None,
    parameter: str = "page",
    size_parameter: str = "per_page",
    first: int = 1,
    sent_in: SentIn = "query",
) -> PagingRule:
    """``page=1``, ``page=2``, ... up to the number of ``pages`` that is there, or while there is ``more``.

    ``until_empty`` is for servers that tell neither: an empty page is the last then. ``size`` is sent along, where it
    is given; ``sent_in`` as with `by_cursor`. Raises `InvalidInput` if there is not one sign of the end.
    """
    return _ByPage(parameter, first, size_parameter, size, more, pages, until_empty, sent_in)
