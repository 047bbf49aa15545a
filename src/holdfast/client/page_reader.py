"""How are the pages of a listing read? One by one or some ahead of their turn, as far as somebody reads on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import anyio

from holdfast import _deadline
from holdfast.background import Background
from holdfast.client.listing import Listing, Progress, stands_in
from holdfast.client.shapes import kind_of_json
from holdfast.core.document import Malformed, json_text, read_json
from holdfast.core.failure import EXCERPT
from holdfast.core.page_token import token_of
from holdfast.core.paging import Place
from holdfast.core.told import Told, Unreadable
from holdfast.errors import DecodeError, ForeignOrigin, HoldfastError, InvalidInput, PageLoop, TooManyPages

if TYPE_CHECKING:
    from holdfast.client.reply import Reply

__all__ = ["Items", "Page", "PageReader", "resume_token"]

T_co = TypeVar("T_co", covariant=True)

_TOKEN: Final = "holdfast.page_token"
_MAX_DEPTH: Final = 100


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

    def __init__(self, listing: Listing) -> None:
        self._background = Background() if listing.ahead else None
        self._listing: Final = listing
        self._name: Final = listing.name
        self._line = _Line([listing.rule.first() if listing.place is None else listing.place])
        self._asked: deque[_Asked] = deque()  # pages that were asked for before their turn
        self._seen: set[int] = set()  # a hundred bytes for a page
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
        self._seen.add(self._listing.mark(place))
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
            after = None if stands_in(reply) else rule.after(place, told)
            known = rule.ahead(place, told) if after and listing.parallel > 1 and not self._pages else None
            if listing.on_progress is not None:
                total = None if stands_in(reply) else rule.total(told)
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
        if listing.mark(place) in self._seen:
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


def resume_token(error: BaseException) -> str | None:
    """Where to go on in the listing that ended with this error, for `Pages.resume`; None if it was no listing."""
    token: str | None = vars(error).get(_TOKEN)
    return token


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

    def __init__(self, place: Place, listing: Listing, background: Background) -> None:
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
