"""A token from a login that is not OAuth: some JSON, or a session's cookie."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import anyio

from holdfast.auth.bearer import TokenBound
from holdfast.auth.credential import Attempt
from holdfast.auth.token_source import TokenSource, TokenStore
from holdfast.clock import Clock, SystemClock
from holdfast.core.fields import is_name, with_cookie
from holdfast.core.logins import NotThere, check_pointer, cookie_token, json_token
from holdfast.core.retry_after import server_delay
from holdfast.core.secret import Secret
from holdfast.core.tokens import Token
from holdfast.errors import HoldfastError, InvalidInput, StatusError

__all__ = ["LoginFailed", "LoginToken"]

_VALUE: Final = re.compile(r"[\x21-\x7e]+")
_REFUSED: Final = frozenset({400, 401, 403, 404, 410, 422})
"""With these a server says that a refresh token is good no more; with others it has troubles of its own."""


class LoginFailed(HoldfastError):
    """A login or a refresh brought no token. ``status``: of the answer, None if the token was not in there.

    Nothing of the answer is kept. ``retry_after``: seconds that the server asks for.
    """

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class LoginToken(TokenBound):
    """A token that ``login()`` brings, renewed in time and after a 401, once for all who use it.

    ``login``: gives what the server answered: the document (a call of a `Service` does), or a response, which is then
    closed. ``refresh``: the same for a refresh token, where there are such; if the server turns it down, ``login`` is
    asked. Both are to send with a client of their own, which waits for no token.

    ``token``, ``refresh_token``: JSON Pointers. ``expires``: a pointer to seconds, a time or a date, or a number of
    seconds; None: nobody knows, and a 401 tells. ``cookie``: the token is this cookie of a response instead, good for
    as long as the cookie is, and sent as one. Else it goes into ``header``, behind ``prefix``.

    ``store``, ``name``: where it is kept, for other processes and the next start; a new one is saved before anybody
    gets it. Failures are told to all who wait (`TokenUnavailable` over `LoginFailed`) and further and further apart.
    Shared, cancelled and closed as a `TokenSource` is. Raises `InvalidInput` for settings that cannot be.

    >>> async def login() -> dict[str, object]:
    ...     return {"accessToken": "t0k3n", "expiresIn": 900}
    >>> LoginToken(login=login, expires="/expiresIn", origins="https://api.example.com")
    LoginToken(https://api.example.com)
    """

    def __init__(
        self,
        *,
        login: Callable[[], Awaitable[Any]],
        refresh: Callable[[Secret], Awaitable[Any]] | None = None,
        token: str = "/accessToken",
        refresh_token: str = "/refreshToken",
        expires: str | float | None = None,
        cookie: str | None = None,
        header: str = "Authorization",
        prefix: str = "Bearer ",
        store: TokenStore | None = None,
        name: str = "login",
        origins: str | Iterable[str] | None = None,
        allow_http: bool = False,
        identity: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_pointer(token, "token")
        check_pointer(refresh_token, "refresh_token")
        if isinstance(expires, str):
            check_pointer(expires, "expires")
        elif expires is not None and not 0 < expires < float("inf"):
            raise InvalidInput(f"expires must be more than 0 seconds, got {expires}", argument="expires")
        if cookie is not None and (isinstance(expires, str) or refresh is not None):
            raise InvalidInput("a cookie has neither a document nor a refresh token", argument="cookie")
        for argument, given in (("header", header), ("cookie", cookie)):
            if given is not None and not is_name(given):
                raise InvalidInput(f"{given!r} is no name of a {argument}", argument=argument)
        if not (prefix.isascii() and prefix.isprintable()):
            raise InvalidInput(f"prefix has characters that no header field can hold: {prefix!r}", argument="prefix")
        self._login = login
        self._refresh = refresh
        self._token = token
        self._refresh_token = refresh_token
        self._expires = expires
        self._cookie = cookie
        self._header = header
        self._prefix = prefix
        self._clock: Clock = SystemClock() if clock is None else clock
        self.owned = frozenset((header.lower(),)) if cookie is None else frozenset()
        source = TokenSource(self._fetch, store=store, name=name, clock=self._clock)
        super().__init__(source, origins=origins, allow_http=allow_http, identity=identity)

    async def logout(self) -> None:
        """Forget the token, here and in the store; the next call logs in anew."""
        await self.source.forget()

    async def _put_on(self, attempt: Attempt) -> Token:
        token = await self._token_for(attempt)
        if self._cookie is None:
            attempt.headers[self._header] = self._prefix + token.access_token.reveal()
        else:
            value = token.access_token.reveal()
            attempt.headers["Cookie"] = with_cookie(attempt.headers.get("cookie"), self._cookie, value)
        return token

    async def _fetch(self, previous: Token | None) -> Token:
        if self._refresh is not None and previous is not None and previous.refresh_token is not None:
            try:
                return await self._read(self._refresh(previous.refresh_token), previous)
            except LoginFailed as error:
                if error.status not in _REFUSED:
                    raise
        return await self._read(self._login(), None)

    async def _read(self, asked: Awaitable[Any], previous: Token | None) -> Token:
        try:
            answer = await asked
        # Our errors and the libraries' have the request, with a password in its body, and some of the answer.
        except StatusError as error:
            raise _turned_down(error.status_code, error.retry_after) from None
        except Exception as error:
            if not hasattr(error, "_request"):
                raise
            response = getattr(error, "response", None)
            if response is not None:  # of raise_for_status
                asks = server_delay(response.headers.get, self._clock.wall())
                raise _turned_down(response.status_code, asks) from None
            asks = getattr(error, "retry_after", None)
            raise LoginFailed(f"there was no answer ({type(error).__name__})", retry_after=asks) from None
        wall = self._clock.wall()
        try:
            if hasattr(answer, "aread"):
                token = await self._read_response(answer, previous, wall)
            else:
                token = self._read_document(answer, previous, wall)
        except NotThere as error:
            raise LoginFailed(str(error)) from None
        if _VALUE.fullmatch(token.access_token.reveal()) is None:
            raise LoginFailed("the token has characters that no header field can hold (it is not shown)")
        return token

    async def _read_response(self, response: Any, previous: Token | None, wall: float) -> Token:
        try:
            status: int = response.status_code
            if status >= 400:
                raise _turned_down(status, server_delay(response.headers.get, wall))
            if self._cookie is not None:
                lifetime = None if isinstance(self._expires, str) else self._expires
                return cookie_token(response.headers.get_list("set-cookie"), self._cookie, lifetime, wall)
            await response.aread()
            try:
                document = response.json()
            except ValueError:
                raise NotThere("the answer is no JSON") from None
            return self._read_document(document, previous, wall)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    def _read_document(self, document: Any, previous: Token | None, wall: float) -> Token:
        if self._cookie is not None:
            raise NotThere("a cookie is in a response: have login return that")
        return json_token(
            document,
            token=self._token,
            refresh_token=self._refresh_token,
            expires=self._expires,
            wall=wall,
            previous=previous,
        )


def _turned_down(status: int, retry_after: float | None) -> LoginFailed:
    return LoginFailed(f"the server answered {status}", status=status, retry_after=retry_after)
