"""Who renews a token that all share? One refresh at a time, for all tasks and, with a store, for all processes.

A refresh runs in the background, not in the task of the caller who needed it first: with a rotating refresh token, a
caller who is cancelled between the server's answer and its reading would lose the token for everybody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from holdfast._waiting import Line
from holdfast.background import Background
from holdfast.clock import Clock, SystemClock
from holdfast.core.tokens import Freshness, Refresh, Token, freshness
from holdfast.errors import Closed, HoldfastError

__all__ = ["TokenSource", "TokenStore", "TokenUnavailable"]

REFRESH_TIMEOUT: Final = 30.0
TOO_SOON: Final = 1.0
"""A token that is turned down within a second of being issued does not get better by being renewed."""


class TokenUnavailable(HoldfastError):
    """There is no usable token, and getting one failed; the failure is ``__cause__``. Nothing was sent.

    ``retry_after``: seconds in which no caller tries again.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TokenStore(Protocol):
    """Tokens by name, that outlive the process or are shared by several. Errors are `holdfast.stores.StoreError`."""

    async def load(self, name: str) -> Token | None:
        """What was saved last under ``name``; None when there is nothing."""
        ...

    async def save(self, name: str, token: Token) -> None:
        """Keep it in place of the one before. It is durable, and whole for every reader, when this returns."""
        ...

    async def delete(self, name: str) -> None:
        """Forget it; nothing happens when there is none."""
        ...

    def exclusive(self, name: str) -> AbstractAsyncContextManager[None]:
        """Held by one task at a time, of all processes that share the store; entering waits for it.

        One that dies while it holds it gives it back, at once or after a time that the store names.
        """
        ...


class TokenSource:
    """The token that all callers share, renewed before it ends.

    ``fetch(previous)`` gets a new one; ``previous`` is the last one, which may hold a refresh token, or None.
    ``store``: where it is kept under ``name``, so that other processes, and this one when it starts again, go on with
    it; a new token is saved before anybody gets it. Without one it lives in memory. ``timeout``: seconds for a fetch.

    Shared by all tasks of one event loop at a time. A caller that is cancelled leaves no trace, and the refresh goes
    on; it ends with `aclose`.
    """

    def __init__(
        self,
        fetch: Callable[[Token | None], Awaitable[Token]],
        *,
        store: TokenStore | None = None,
        name: str = "token",
        timeout: float = REFRESH_TIMEOUT,
        clock: Clock | None = None,
    ) -> None:
        self._fetch = fetch
        self._store = store
        self._name = name
        self._timeout = timeout
        self._clock: Clock = SystemClock() if clock is None else clock
        self._background = Background()
        self._line = Line()
        self._token: Token | None = None
        self._ends: float | None = None  # monotonic seconds
        self._issued = float("-inf")
        self._rejected: Token | None = None
        self._refresh = Refresh()
        self._failure: BaseException | None = None
        self._refreshing = False

    async def get(self) -> Token:
        """A token that can be sent now. Raises `TokenUnavailable` if there is none and none is to be had."""
        while True:
            now = self._clock.monotonic()
            state = self._freshness(now)
            if state is Freshness.FRESH:
                break
            may_refresh = now >= self._refresh.not_before
            if state is Freshness.AGEING:
                if may_refresh:
                    self._start()
                break
            if not may_refresh and not self._refreshing:
                raise self._unavailable()
            self._start()
            await self._line.wait(self._clock, None, _nothing_to_give_back)
        assert self._token is not None, "usable"
        return self._token

    def invalidate(self, token: Token) -> bool:
        """Do not give out ``token`` again: the server has turned it down. Whether a call is worth one more try."""
        current = self._token
        if current is None or current.access_token != token.access_token:
            return True  # there is, or will be, a newer one
        if self._clock.monotonic() - self._issued < TOO_SOON:
            return False
        self._rejected = token
        return True

    async def aclose(self) -> None:
        """End a refresh that is under way; who waits for it gets `errors.Closed`."""
        await self._background.aclose()

    def _freshness(self, now: float) -> Freshness:
        token = self._token
        if token is None or token is self._rejected:
            return Freshness.OVER
        return freshness(None if self._ends is None else self._ends - now, token.lifetime)

    def _start(self) -> None:
        if not self._refreshing:
            self._refreshing = True
            self._failure = Closed("the source of tokens was closed", policy="auth")
            self._background.start(self._renew, self._settle)

    async def _renew(self) -> None:
        try:
            with self._clock.timeout_at(self._clock.monotonic() + self._timeout):
                self._adopt(await self._renewed())
                self._failure = None
                return
            self._failure = TimeoutError(f"no token came in {self._timeout:g} s")
        except Exception as error:  # whatever it is, those who wait are told
            self._failure = error
        asked = getattr(self._failure, "retry_after", None)
        self._refresh = self._refresh.failed(
            self._clock.monotonic(), asked if isinstance(asked, (int, float)) else None
        )

    async def _renewed(self) -> Token:
        store, name = self._store, self._name
        if store is None:
            return await self._fetch(self._token)
        found = await store.load(name)  # most often another process was first
        if found is not None and self._is_news(found):
            return found
        async with store.exclusive(name):
            found = await store.load(name)
            if found is not None and self._is_news(found):
                return found
            token = await self._fetch(self._token if found is None else found)
            await store.save(name, token)
            return token

    def _is_news(self, token: Token) -> bool:
        """Whether a stored token is another than ours, and still good."""
        for known in (self._token, self._rejected):
            if known is not None and known.access_token == token.access_token:
                return False
        left = None if token.expires_at is None else token.expires_at - self._clock.wall()
        return freshness(left, token.lifetime) is Freshness.FRESH

    def _adopt(self, token: Token) -> None:
        now = self._clock.monotonic()
        self._token, self._rejected, self._refresh = token, None, Refresh()
        self._ends = None if token.expires_at is None else now + token.expires_at - self._clock.wall()
        self._issued = now

    def _settle(self, began: bool) -> None:
        self._refreshing = False
        if self._failure is None or self._freshness(self._clock.monotonic()) is not Freshness.OVER:
            self._line.admit(len(self._line))
        else:
            self._line.dismiss(self._unavailable)

    def _unavailable(self) -> TokenUnavailable | Closed:
        failure = self._failure
        if isinstance(failure, Closed):
            return Closed(failure.message, policy="auth")
        wait = max(0.0, self._refresh.not_before - self._clock.monotonic())
        error = TokenUnavailable(
            f"no token could be had ({type(failure).__name__}); the next try is in {wait:.1f} s", retry_after=wait
        )
        error.__cause__ = failure
        return error


def _nothing_to_give_back() -> None:
    """Who was let through and cancelled in the same moment held nothing."""
