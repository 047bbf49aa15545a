"""Credentials that are sent as they are: a key, a name with a password, a token."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from holdfast.auth.credential import Attempt, OriginBound
from holdfast.core.secret import Secret
from holdfast.errors import InvalidInput

__all__ = ["APIKey", "Basic"]

_COOKIE_VALUE: Final = frozenset(range(0x21, 0x7F)) - frozenset(b'",;\\')  # RFC 6265 4.1.1
_FIELD_VALUE: Final = frozenset(range(0x20, 0x7F))


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
        if self._header is not None:
            self.owned = frozenset((self._header.lower(),))
        if query is None:
            _check(prefix + self._key.reveal(), _FIELD_VALUE if cookie is None else _COOKIE_VALUE)

    async def _put_on(self, attempt: Attempt) -> None:
        if self._header is not None:
            attempt.headers[self._header] = self._prefix + self._key.reveal()
        elif self._cookie is not None:
            others = attempt.headers.get("cookie")
            own = f"{self._cookie}={self._prefix}{self._key.reveal()}"
            attempt.headers["Cookie"] = own if others is None else f"{others}; {own}"
        elif self._query is not None:
            own = f"{quote(self._query, safe='')}={quote(self._prefix + self._key.reveal(), safe='')}"
            query = attempt.url.query
            attempt.url = attempt.url.copy_with(query=b"%b&%b" % (query, own.encode()) if query else own.encode())

    def _default_identity(self) -> str:
        return f"APIKey:{self._key.fingerprint(b'identity')}"


class Basic(OriginBound):
    """Name and password (RFC 7617), as UTF-8. Raises `InvalidInput` for a name with a colon, which none can hold.

    >>> Basic("ada", Secret("s3cr3t"))
    Basic()
    """

    owned = frozenset({"authorization"})

    def __init__(
        self,
        username: str,
        password: str | Secret,
        *,
        origins: str | Iterable[str] | None = None,
        allow_http: bool = False,
        identity: str | None = None,
    ) -> None:
        super().__init__(origins=origins, allow_http=allow_http, identity=identity)
        if ":" in username:
            raise InvalidInput("a name with a colon would end there (RFC 7617 2)", argument="username")
        if any(ord(character) < 0x20 or ord(character) == 0x7F for character in username):
            raise InvalidInput("a name has no control characters (RFC 7617 2)", argument="username")
        self._username = username
        pair = f"{username}:{Secret.of(password).reveal()}"
        self._value = Secret(f"Basic {b64encode(pair.encode()).decode()}")

    async def _put_on(self, attempt: Attempt) -> None:
        attempt.headers["Authorization"] = self._value.reveal()

    def _default_identity(self) -> str:
        return (
            f"Basic:{Secret(self._username or '-').fingerprint(b'identity')}"  # not of the password: it can be guessed
        )


def _check(value: str, allowed: frozenset[int]) -> None:
    if not value.isascii() or not allowed.issuperset(value.encode()):
        raise InvalidInput(
            "this key has characters that its place cannot hold (its value is not shown)", argument="key"
        )
