"""What is a listing, before anybody reads it? A call, the rule by which its pages hang together, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from holdfast.call import OPTIONS
from holdfast.core.value import Value, replace
from holdfast.errors import InvalidInput

if TYPE_CHECKING:
    from holdfast._wire import RequestLike
    from holdfast.client.channel import Channel
    from holdfast.client.reply import Reply
    from holdfast.core.paging import PagingRule, Place

__all__ = ["Listing", "Paged", "Progress", "stands_in"]

T_co = TypeVar("T_co", covariant=True)


class Paged(Protocol[T_co]):
    """What is asked here of a `Call`, which is not known here: it makes listings."""

    @property
    def operation(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def _content(self) -> bytes: ...
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


class Listing(Value):
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
        content = self.call._content  # pyright: ignore[reportPrivateUsage]
        return f"{type(self.rule).__name__} {self.call.operation} {self.call.url}{f' {content!r}' if content else ''}"

    def without_secret(self, place: Place) -> Place:
        return place if place.url is None else replace(place, url=self.call.without_secret(place.url))

    def url_at(self, place: Place) -> str:
        if place.url is not None:
            return place.url
        return self.call.using(query=place.query).url if place.query else self.call.url

    def mark(self, place: Place) -> int:
        """What tells a place from others: a number, where its URL and body may be long."""
        url = self.url_at(place)
        sent = json.dumps([place.body, place.form], sort_keys=True) if place.body or place.form else ""
        return hash((url, sent))

    async def fetch(self, place: Place) -> Reply[Sequence[Any]]:
        call = self.call
        if place.url is not None:
            call = call.following(place.url)
        else:
            changes: dict[str, Any] = {"query": place.query, "json": place.body, "form": place.form}
            changes = {name: over for name, over in changes.items() if over}
            call = call.using(**changes) if changes else call
        reply = await call.reply()
        if place != self.rule.first() and stands_in(reply):
            # It says nothing of a page behind it, and would end the listing without a word: let its failure be seen.
            reply = await call.using(options={"fallback": False}).reply()
        return reply


def stands_in(reply: Reply[Any]) -> bool:
    """Whether a value of the pipeline's `Fallback` stands in for an answer."""
    told: dict[str, Any] = reply.response.extensions.get(OPTIONS) or {}
    return told.get("fallback") not in (None, "failover", "stale")
