"""How is a long listing read? Page by page, as far as somebody reads on, by a rule that says which page is next."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Final, Generic, TypedDict, TypeVar

from holdfast.client.listing import Listing, Paged, Progress
from holdfast.client.page_reader import Items, PageReader
from holdfast.client.payload import UNSET, Unset
from holdfast.core.page_token import place_in
from holdfast.core.paging import PagingRule, by_link
from holdfast.core.query import Query
from holdfast.core.scalar import Scalar
from holdfast.core.value import replace
from holdfast.errors import InvalidInput

if TYPE_CHECKING:
    from typing import Unpack

    from holdfast.client.channel import Auth, Channel
    from holdfast.client.interceptors import Interceptor

__all__ = ["Changes", "Pages", "pages_in", "pages_of"]

T_co = TypeVar("T_co", covariant=True)


class Changes(TypedDict, total=False):
    """What `Call.using` takes."""

    headers: Mapping[str, str] | None
    query: Query | None
    json: Mapping[str, Any] | None
    form: Query | None
    auth: Auth | Unset | None
    deadline: float | None
    attempt_timeout: float | None
    attempts: int | None
    retry: Unset | None
    cache: str | Mapping[str, float] | None
    identity: str | None
    key: str | None
    cost: float | None
    idempotent: bool | None
    idempotency_key: str | None
    around_call: Sequence[Interceptor]
    around_attempt: Sequence[Interceptor]
    compress: int | Unset | None
    options: Mapping[str, Any] | None


class Pages(Generic[T_co]):
    """A listing that has not been read: ``async for item in pages``. Each time it is read anew, from its beginning.

    It never changes: `where`, `sort`, `limit`, `using`, `resume` and `parallel` give other listings. A page is asked
    for when the one before it is used up, and none after the loop was left. ``await pages.collect(limit=500)`` is a
    list, and so is ``await pages.limit(500)``.

    A listing ends where its rule says so, however many items came; never because a page is short or empty. A page that
    was read before raises `PageLoop`, a page of another origin `ForeignOrigin` unless the service's ``allow_origins``
    has it, and then it gets no credentials. After an error, and after a cancellation, an iterator asks for the same
    page again; `resume_token` of the error is where another process may go on.
    """

    __slots__ = ("_listing",)

    def __init__(self, listing: Listing) -> None:
        self._listing: Final = listing

    def __repr__(self) -> str:
        return f"<Pages of {self._listing.call!r}>"

    def __aiter__(self) -> Items[T_co]:
        return Items(self.pages())

    def __await__(self) -> Generator[Any, None, list[T_co]]:
        if self._listing.limit is None:
            raise InvalidInput("a listing without a limit() is read by async for, or by collect(limit=)")
        return self.collect(limit=self._listing.limit).__await__()

    def pages(self) -> PageReader[T_co]:
        """Page by page. Under a `limit`, the last is cut there, and its token is behind what is left of it."""
        return PageReader(self._listing)

    async def collect(self, *, limit: int) -> list[T_co]:
        """At most ``limit`` items, as a list. Raises as reading them does; what was read until then is lost."""
        found: list[T_co] = []
        reader = self.limit(limit).pages()
        try:
            async for page in reader:
                found.extend(page.items)
        finally:
            await reader.aclose()
        return found

    def where(
        self, parameters: Query | None = None, /, **named: Scalar | Sequence[Scalar] | Set[Scalar] | None
    ) -> Pages[T_co]:
        """With these parameters in its query, over those of the same name; None takes one away."""
        return self.using(query={**(parameters or {}), **named})

    def sort(self, *names: str, parameter: str = "sort") -> Pages[T_co]:
        """In the order of these names, as ``sort=name,-created``; of none: as the server likes."""
        return self.using(query={parameter: ",".join(names) or None})

    def limit(self, items: int) -> Pages[T_co]:
        """At most so many items, whatever the size of a page is; the smaller of two limits."""
        if items < 0:
            raise InvalidInput(f"limit must be at least 0, got {items}", argument="limit")
        before = self._listing.limit
        return self._with(limit=items if before is None else min(items, before))

    def parallel(self, *, limit: int) -> Pages[T_co]:
        """With up to ``limit`` pages under way at once, in their order, where the first page tells how many there are.

        That is by `by_page` with ``pages``, by `by_offset` with ``total``, and by `by_link` with ``rel="last"``; where
        a server does not tell, pages come one after the other. Raises `InvalidInput` for a limit below 1.
        """
        if limit < 1:
            raise InvalidInput(f"limit must be at least 1, got {limit}", argument="limit")
        return self._with(parallel=limit)

    def resume(self, token: str | None) -> Pages[T_co]:
        """From where a `Page.token` was taken; None is the beginning.

        Raises `InvalidInput` for the token of another listing: other parameters and another rule make it one.
        """
        if token is None:
            return self._with(place=None, skip=0)
        place, skip = place_in(token, self._listing.name, self._listing.rule)
        return self._with(place=place, skip=skip)

    def using(
        self,
        *,
        max_pages: int | Unset | None = UNSET,
        prefetch: int | Unset = UNSET,
        on_progress: Callable[[Progress], object] | Unset | None = UNSET,
        **changes: Unpack[Changes],
    ) -> Pages[T_co]:
        """The same listing with some of it changed, for each of its calls: what `Call.using` and `Call.pages` take."""
        given = {"max_pages": max_pages, "prefetch": prefetch, "on_progress": on_progress}
        settings = {name: value for name, value in given.items() if not isinstance(value, Unset)}
        return self._with(**settings, **({"call": self._listing.call.using(**changes)} if changes else {}))

    def _with(self, **changes: Any) -> Pages[T_co]:
        return Pages(replace(self._listing, **changes))


def pages_of(
    call: Paged[Sequence[T_co]],
    channel: Channel,
    rule: PagingRule,
    max_pages: int | None,
    prefetch: int,
    on_progress: Callable[[Progress], object] | None,
) -> Pages[T_co]:
    """See `Call.pages`."""
    return Pages(Listing(call, channel, rule, max_pages, prefetch, on_progress))


def pages_in(call: Paged[Sequence[T_co]], channel: Channel, rule: PagingRule | None) -> Pages[T_co]:
    """By this rule, or the one that is usual in the service."""
    return Pages(Listing(call, channel, rule or channel.paging or by_link(), None, 0, None))
