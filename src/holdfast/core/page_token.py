"""Where shall somebody go on in a listing, later and elsewhere? A token: a page's place and how much of it was read."""

from __future__ import annotations

import hashlib
import json
from typing import Any, cast

from holdfast.core.paging import PagingRule, Place
from holdfast.errors import InvalidInput

__all__ = ["place_in", "token_of"]


def token_of(listing: str, place: Place, skip: int = 0) -> str:
    """Where to go on, as JSON: at this place of this listing, behind so many items."""
    sent = {"query": {**place.query}, "body": {**place.body}, "form": {**place.form}}
    parts = sent if place.url is None else {"url": place.url}
    where = {name: part for name, part in parts.items() if part or name == "query"}
    return json.dumps({"v": 1, "of": _fingerprint(listing), **where, "skip": skip}, separators=(",", ":"))


def place_in(token: str, listing: str, rule: PagingRule) -> tuple[Place, int]:
    """What `token_of` wrote. Raises `InvalidInput` for what is no token, or one of another listing."""
    try:
        read: dict[str, Any] = json.loads(token)
        known, skip = (read["v"], read["of"]) == (1, _fingerprint(listing)), read["skip"]
        place = Place(read.get("query"), read.get("url"), read.get("body"), read.get("form"))
        sound = type(skip) is int and skip >= 0 and _is_place(place) and rule.fits(place)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InvalidInput("this is no token of a page", argument="token") from None
    if not (known and sound):
        raise InvalidInput("this token is one of another listing", argument="token")
    return place, skip


def _is_place(place: Place) -> bool:
    if place.url is not None:
        return isinstance(cast("object", place.url), str) and place == Place(url=place.url)
    query, body, form = cast("tuple[object, ...]", (place.query, place.body, place.form))
    return (
        isinstance(query, dict)
        and isinstance(body, dict)
        and isinstance(form, dict)
        and all(type(each) in (str, int) for each in cast("list[object]", [*query.values(), *form.values()]))
    )


def _fingerprint(listing: str) -> str:
    return hashlib.blake2b(listing.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
