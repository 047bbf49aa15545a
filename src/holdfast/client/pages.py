"""How is a long listing read? Page by page, as far as somebody reads on, by a rule that says which page is next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Set
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypedDict, TypeVar

import anyio

from holdfast import _deadline
from holdfast.background import Background
from holdfast.call import OPTIONS
from holdfast.client.payload import UNSET, Unset
from holdfast.client.shapes import kind_of_json
from holdfast.core.document import Malformed, json_text, read_json
from holdfast.core.failure import EXCERPT
from holdfast.core.paging import PagingRule, Place, Told, Unreadable, by_link, place_in, token_of
from holdfast.core.query import Query
from holdfast.core.scalar import Scalar
from holdfast.core.value import Value, replace
from holdfast.errors import DecodeError, ForeignOrigin, HoldfastError, InvalidInput, PageLoop, TooManyPages

if TYPE_CHECKING:
    from typing import Unpack

    from holdfast._wire import RequestLike
    from holdfast.client.channel import Auth, Channel
    from holdfast.client.interceptors import Interceptor
    from holdfast.client.reply import Reply

__all__ = ["Changes", "Items", "Page", "PageReader", "Pages", "Progress", "pages_in", "pages_of", "resume_token"]

T_co = TypeVar("T_co", covariant=True)

_TOKEN: Final = "holdfast.page_token"
_MAX_DEPTH: Final = 100


class Changes(TypedDict, total=False):
    """What `Call.using` takes."""

    headers: Mapping[str, str] | None
    query: Query | None
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


class Paged(Protocol[T_co]):
    """What is asked here of a `Call`, which is not known here: it makes listings."""

    @property
    def operation(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def using(self) -> Callable[..., Paged[T_co]]: ...
    def following(self, link: str) -> Paged[T_co]: ...
    def without_secret(self, link: str) -> str: ...
    def request(self) -> RequestLike: ...
    async def reply(self) -> Reply[T_co]: ...


class Progress(Value):
    """How far something long is: ``done`` of ``total``, None where nobody knows; ``failed`` of those that are done."""

    def __init__(self, done: int, total: int | None, failed: int = 0) -> None:
        self.done: Final = done
        self.total: Final = total
        self.failed: Final = failed


class Page(Generic[T_co]):
    """One page: its ``items``, the URL of the ``next`` one (None: it is the last), and the ``reply`` that it came in.

    ``token`` is where to go on behind its items, as JSON; None if nothing is left. It holds what a server put into its
    links, and is for the program that it came from: whoever may write one may choose what is asked for.
    """

    __slots__ = ("items", "next", "reply", "token")

    def __init__(
        self, items: Sequence[T_co], reply: Reply[Sequence[T_co]], next: str | None, token: str | None
    ) -> None:
        self.items: Final = items
        self.reply: Final = reply
        self.next: Final = next
        self.token: Final = token

    def __repr__(self) -> str:
        return f"<Page of {len(self.items)} items{'' if self.token else ', the last'}>"


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

    def __init__(self, listing: _Listing) -> None:
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


class Items(Generic[T_co]):
    """Reads a listing item by item; for one task. `aclose` leaves nothing running, and so does dropping it."""

    def __init__(self, reader: PageReader[T_co]) -> None:
        self._reader = reader
        self._items: Iterator[T_co] = iter(())

    def __aiter__(self) -> Items[T_co]:
        return self

    async def __anext__(self) -> T_co:
        while True:
            for item in self._items:
                return item
            self._items = iter((await self._reader.__anext__()).items)

    async def aclose(self) -> None:
        """Read no further; returns when nothing of it is under way."""
        self._items = iter(())
        await self._reader.aclose()


class PageReader(Generic[T_co]):
    """Reads a listing page by page; for one task. `aclose` leaves nothing running, and so does dropping it."""

    def __init__(self, listing: _Listing) -> None:
        self._background = Background() if listing.ahead else None
        self._listing: Final = listing
        self._name: Final = listing.name
        self._line = _Line([listing.rule.first() if listing.place is None else listing.place])
        self._asked: deque[_Asked] = deque()  # pages that were asked for before their turn
        self._seen: set[int] = set()  # hashes of URLs: a hundred bytes for a page
        self._reading = False
        self._pages = 0
        self._read = 0
        self._skip = listing.skip

    def __aiter__(self) -> PageReader[T_co]:
        return self

    def __del__(self) -> None:
        if self._background is not None:
            self._background.cancel()

    async def aclose(self) -> None:
        """Read no further; returns when nothing of it is under way."""
        self._line = _Line(())
        await self._recall()
        self._line = _Line(())

    async def __anext__(self) -> Page[T_co]:
        if self._reading:
            raise RuntimeError("two tasks read one listing at once; each needs an iterator of its own")
        self._reading = True
        try:
            return await self._next()
        finally:
            self._reading = False

    async def _next(self) -> Page[T_co]:
        asked = self._asked[0] if self._asked else None
        place = self._line.head() if asked is None else asked.place
        if place is None or self._left == 0:
            raise StopAsyncIteration
        try:
            if asked is None:
                self._check(place)
            reply = await (self._listing.fetch(place) if asked is None else asked.arrival())
            after, known = self._told(place, reply)
        except BaseException as error:
            await self._recall()
            if isinstance(error, Exception):
                vars(error)[_TOKEN] = token_of(self._name, place, self._skip)
            raise
        if asked is None:
            self._line.take()
        else:
            self._asked.popleft()
        self._pages += 1
        self._seen.add(hash(self._listing.url_at(place)))
        if known is not None:
            self._line = _Line(known)
        elif after is None:
            await self._recall()  # the listing got shorter while it was read
            self._line = _Line(())
        elif not self._asked and self._line.head() is None:
            self._line = _Line([after])
        return await self._page(place, reply)

    @property
    def _left(self) -> int | None:
        """Items up to the limit."""
        return None if self._listing.limit is None else self._listing.limit - self._read

    def _told(self, place: Place, reply: Reply[Sequence[T_co]]) -> tuple[Place | None, Iterator[Place] | None]:
        """The page after this one; and, of the first, all that come where they may be asked for at once."""
        listing, rule = self._listing, self._listing.rule
        told = Told(reply.url or listing.call.url, len(reply.value), reply.headers.get, _Document(reply))
        try:
            after = None if _stands_in(reply) else rule.after(place, told)
            known = rule.ahead(place, told) if after and listing.parallel > 1 and not self._pages else None
            if listing.on_progress is not None:
                total = None if _stands_in(reply) else rule.total(told)
                listing.on_progress(Progress(self._read + told.count - self._skip, total))
        except Unreadable as wrong:
            got = kind_of_json(wrong.value)
            error = DecodeError(
                f"{reply.operation}: {wrong.path}: expected {wrong.expected}, got {got}",
                path=wrong.path,
                expected=wrong.expected,
                got=got,
                body=reply.response.content[:EXCERPT],
                content_type=reply.headers.get("content-type"),
                operation=reply.operation,
                status_code=reply.status,
            )
            raise self._ours(error) from None
        bare = listing.without_secret
        return after and bare(after), known and map(bare, known)

    async def _page(self, place: Place, reply: Reply[Sequence[T_co]]) -> Page[T_co]:
        """What is handed out of a page that was read; pages behind it are asked for."""
        items, skipped = reply.value[self._skip :], self._skip
        self._skip = 0
        following = self._asked[0].place if self._asked else self._line.head()
        token = None if following is None else token_of(self._name, following)
        if self._left is not None and len(items) > self._left:
            items = items[: self._left]
            token = token_of(self._name, place, skipped + len(items))
        self._read += len(items)
        if self._left == 0:
            await self._recall()
        else:
            self._ask_ahead(len(reply.value))
        return Page(items, reply, None if following is None else self._listing.url_at(following), token)

    def _ask_ahead(self, size: int) -> None:
        """Ask for pages before their turn, for no more than are likely to be read."""
        wanted = self._listing.ahead
        if self._left is not None:
            wanted = min(wanted, -(-self._left // max(size, 1)))
        while len(self._asked) < wanted and (place := self._line.head()) is not None:
            assert self._background is not None, "it is there wherever pages are asked for ahead"
            try:
                self._check(place)
            except HoldfastError:  # raised in its turn
                return
            self._asked.append(_Asked(self._line.take(), self._listing, self._background))

    def _check(self, place: Place) -> None:
        """Raise what speaks against reading this page, in the family's form."""
        listing = self._listing
        if listing.max_pages is not None and self._pages + len(self._asked) >= listing.max_pages:
            message = f"{listing.call.operation}: there are more than {listing.max_pages} pages"
            raise self._ours(TooManyPages(message, max_pages=listing.max_pages))
        try:
            if place.url is not None:
                listing.channel.address.reach(place.url)
        except InvalidInput:
            message = f"{listing.call.operation}: expected a link to the next page, got what is no URL"
            error = DecodeError(message, expected="a link to the next page", got="what is no URL")
            raise self._ours(error) from None
        except ForeignOrigin as error:
            raise self._ours(error) from None
        if hash(listing.url_at(place)) in self._seen:
            message = f"{listing.call.operation}: after {self._pages} pages comes one that was read before"
            raise self._ours(PageLoop(message, pages=self._pages))

    def _ours(self, error: HoldfastError) -> Exception:
        return self._listing.channel.backend.family.refusal(error, self._listing.call.request())

    async def _recall(self) -> None:
        """Nothing is under way behind this; what was asked for ahead stands in line again."""
        places = [asked.place for asked in self._asked]
        self._asked.clear()
        self._line.put_back(places)
        if self._background is not None and len(self._background):
            await self._background.aclose()


def pages_of(
    call: Paged[Sequence[T_co]],
    channel: Channel,
    rule: PagingRule,
    max_pages: int | None,
    prefetch: int,
    on_progress: Callable[[Progress], object] | None,
) -> Pages[T_co]:
    """See `Call.pages`."""
    return Pages(_Listing(call, channel, rule, max_pages, prefetch, on_progress))


def pages_in(call: Paged[Sequence[T_co]], channel: Channel, rule: PagingRule | None) -> Pages[T_co]:
    """By this rule, or the one that is usual in the service."""
    return Pages(_Listing(call, channel, rule or channel.paging or by_link(), None, 0, None))


def resume_token(error: BaseException) -> str | None:
    """Where to go on in the listing that ended with this error, for `Pages.resume`; None if it was no listing."""
    token: str | None = vars(error).get(_TOKEN)
    return token


class _Listing(Value):
    """A listing and how it is read; never changed."""

    def __init__(
        self,
        call: Paged[Sequence[Any]],
        channel: Channel,
        rule: PagingRule,
        max_pages: int | None,
        prefetch: int,
        on_progress: Callable[[Progress], object] | None,
        limit: int | None = None,
        parallel: int = 1,
        place: Place | None = None,
        skip: int = 0,
    ) -> None:
        if max_pages is not None and max_pages < 1:
            raise InvalidInput(f"max_pages must be at least 1, got {max_pages}", argument="max_pages")
        if prefetch not in (0, 1):  # which page is next is known when the one before it is there
            raise InvalidInput(f"prefetch is 0 or 1, got {prefetch!r}", argument="prefetch")
        self.call: Final = call
        self.channel: Final = channel
        self.rule: Final = rule
        self.max_pages: Final = max_pages
        self.prefetch: Final = prefetch
        self.on_progress: Final = on_progress
        self.limit: Final = limit
        self.parallel: Final = parallel
        self.place: Final = place
        self.skip: Final = skip

    @property
    def ahead(self) -> int:
        """How many pages may be asked for before their turn."""
        return self.parallel if self.parallel > 1 else self.prefetch

    @property
    def name(self) -> str:
        """What tells it from other listings."""
        return f"{type(self.rule).__name__} {self.call.operation} {self.call.url}"

    def without_secret(self, place: Place) -> Place:
        if place.url is None:
            return place
        return Place(place.query, self.call.without_secret(place.url))

    def url_at(self, place: Place) -> str:
        if place.url is not None:
            return place.url
        return self.call.using(query=place.query).url if place.query else self.call.url

    async def fetch(self, place: Place) -> Reply[Sequence[Any]]:
        call = self.call
        if place.url is not None:
            call = call.following(place.url)
        elif place.query:
            call = call.using(query=place.query)
        reply = await call.reply()
        if place != self.rule.first() and _stands_in(reply):
            # It says nothing of a page behind it, and would end the listing without a word: let its failure be seen.
            reply = await call.using(options={"fallback": False}).reply()
        return reply


class _Line:
    """Places of pages that nobody has asked for yet, in order."""

    def __init__(self, places: Iterable[Place]) -> None:
        self._places = iter(places)
        self._first: deque[Place] = deque()

    def head(self) -> Place | None:
        if not self._first:
            self._first.extend(islice(self._places, 1))
        return self._first[0] if self._first else None

    def take(self) -> Place:
        return self._first.popleft()

    def put_back(self, places: Sequence[Place]) -> None:
        self._first.extendleft(reversed(places))


class _Asked:
    """A page that is under way before its turn. Knows nothing of who will read it, so that he may be dropped."""

    def __init__(self, place: Place, listing: _Listing, background: Background) -> None:
        self.place: Final = place
        self._listing: Final = listing
        self._over: Final = anyio.Event()
        self._reply: Reply[Sequence[Any]] | None = None
        self._error: Exception | None = None
        self._deadline: Final = _deadline.in_force()
        background.start(self._fetch, lambda began: self._over.set())

    async def arrival(self) -> Reply[Sequence[Any]]:
        await self._over.wait()
        if self._error is not None:
            raise self._error
        reply, self._reply = self._reply, None  # a task that is over is freed late, and what it holds with it
        # Without a reply somebody cancelled every task of the event loop.
        return await self._listing.fetch(self.place) if reply is None else reply

    async def _fetch(self) -> None:
        _deadline.share(self._deadline)  # this is the work of one caller, and not of all
        try:
            self._reply = await self._listing.fetch(self.place)
        except Exception as error:  # raised where the page is read
            self._error = error


def _stands_in(reply: Reply[Any]) -> bool:
    """Whether a value of the pipeline's `Fallback` stands in for an answer."""
    told: dict[str, Any] = reply.response.extensions.get(OPTIONS) or {}
    return told.get("fallback") not in (None, "failover", "stale")


class _Document:
    """The body of an answer as JSON, read where a rule asks for it, and once."""

    def __init__(self, reply: Reply[Any]) -> None:
        self._reply = reply

    def __call__(self) -> Any:
        return self._document

    @cached_property
    def _document(self) -> Any:
        response = self._reply.response
        try:
            return read_json(json_text(response.content, response.headers.get("content-type")), max_depth=_MAX_DEPTH)
        except Malformed as wrong:
            raise Unreadable("$", wrong.expected, ...) from wrong
