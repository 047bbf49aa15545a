"""Credentials that are sent as they are: a key, a name with a password, a token."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from holdfast.auth.credential import Attempt, OriginBound
from holdfast.core.fields import is_cookie_value, is_name, is_value, with_cookie
from holdfast.core.query import without_parameter
from holdfast.core.secret import Secret
from holdfast.errors import InvalidInput

__all__ = ["APIKey", "Basic"]


class APIKey(OriginBound):
    """A key in a header field, a cookie or a query parameter: whichever of ``header``, ``cookie``, ``query`` is named.

    ``header`` is "X-API-Key" if none is named; ``prefix`` stands before the key ("Token "). In a query it is put last,
    on the attempt alone: no log, error, cache key or next link has it. But servers and proxies log queries: prefer a
    header wherever the API has one. Raises `InvalidInput` for a key that the place cannot hold.

    >>> APIKey("k3y", header="X-API-Key", origins="https://api.example.com")
    APIKey(https://api.example.com)
    """

    def __init__(
        self,
        key: str | Secret,
        *,
        header: str | None = None,
        query: str | None = None,
        cookie: str | None = None,
        prefix: str = "",
        origins: str | Iterable[str] | None = None,
        allow_http: bool = False,
        identity: str | None = None,
    ) -> None:
        super().__init__(origins=origins, allow_http=allow_http, identity=identity)
        places = [place for place in (header, query, cookie) if place is not None]
        if len(places) > 1:
            raise InvalidInput(
                "a key stands in one place: name a header, a query parameter or a cookie", argument="header"
            )
        self._key = Secret.of(key)
        self._query = query
        self._cookie = cookie
        self._header = "X-API-Key" if not places else header
        self._prefix = prefix
        for argument, name in (("header", self._header), ("cookie", cookie)):
            if name is not None and not is_name(name):
                raise InvalidInput(f"{name!r} is no name of a {argument}", argument=argument)
        if query == "":
            raise InvalidInput("a query parameter needs a name", argument="query")
        fits = is_value if self._header is not None else is_cookie_value
        if query is None and not fits(prefix + self._key.reveal()):
            raise InvalidInput(
                "this key has characters that its place cannot hold (its value is not shown)", argument="key"
            )
        if self._header is not None:
            self.owned = frozenset((self._header.lower(),))

    def without_secret(self, url: str) -> str:
        base, mark, query = url.partition("?")
        if self._query is None or not mark:
            return url
        query = without_parameter(query, self._query, self._prefix + self._key.reveal())
        return f"{base}?{query}" if query else base

    async def _put_on(self, attempt: Attempt) -> None:
        if self._header is not None:
            attempt.headers[self._header] = self._prefix + self._key.reveal()
        elif self._cookie is not None:
            value = self._prefix + self._key.reveal()
            attempt.headers["Cookie"] = with_cookie(attempt.headers.get("cookie"), self._cookie, value)
        elif self._query is not None:
            own = f"{quote(self._query, safe='')}={quote(self._prefix + self._key.reveal(), safe='')}"
            query = without_parameter(attempt.url.query.decode("ascii"), self._query)
            attempt.url = attempt.url.copy_with(query=f"{query}&{own}".removeprefix("&").encode())

    def _default_identity(self) -> str:
        return f"APIKey:{self._key.fingerprint(b'identity')}"


class Basic(OriginBound):
    """Name and password (RFC 7617), as UTF-8. Where the key is the name, as with Stripe: ``Basic(Secret(key), "")``.

    Raises `InvalidInput` for a name with a colon, which none can hold, and for control characters.

    >>> Basic("ada", Secret("s3cr3t"))
    Basic()
    """

    owned = frozenset({"authorization"})

    def __init__(
        self,
        username: str | Secret,
        password: str | Secret,
        *,
        origins: str | Iterable[str] | None = None,
        allow_http: bool = False,
        identity: str | None = None,
    ) -> None:
        super().__init__(origins=origins, allow_http=allow_http, identity=identity)
        if password == "" and not isinstance(username, Secret):  # most often a setting that nobody has made
            raise InvalidInput(
                "the password is empty; where the name is the key, give that as a Secret", argument="password"
            )
        if _PLAIN.fullmatch(_text(username)) is None or ":" in _text(username):
            raise InvalidInput("a name has no colons and no control characters (RFC 7617 2)", argument="username")
        if _PLAIN.fullmatch(_text(password)) is None:
            raise InvalidInput(
                "a password has no control characters (RFC 7617 2); this one is not shown", argument="password"
            )
        # Not of the password: that can be guessed.
        self._who = Secret(_text(username) or "-").fingerprint(b"identity")
        pair = f"{_text(username)}:{_text(password)}"
        self._value = Secret(f"Basic {b64encode(pair.encode()).decode()}")

    async def _put_on(self, attempt: Attempt) -> None:
        attempt.headers["Authorization"] = self._value.reveal()

    def _default_identity(self) -> str:
        return f"Basic:{self._who}"


_PLAIN: Final = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]*")


def _text(given: str | Secret) -> str:
    return given.reveal() if isinstance(given, Secret) else given
