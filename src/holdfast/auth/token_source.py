"""Who renews a token that all share? One refresh at a time, for all tasks and, with a store, for all processes.

A refresh runs in the background, not in the task of the caller who needed it first: with a rotating refresh token, a
caller who is cancelled between the server's answer and its reading would lose the token for everybody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from secrets import token_hex
from typing import Final, Protocol

import anyio

from holdfast._waiting import Line
from holdfast.background import Background
from holdfast.clock import Clock, SystemClock
from holdfast.core.tokens import Freshness, Refresh, Token, freshness
from holdfast.core.value import replace
from holdfast.errors import Closed, HoldfastError

__all__ = ["TokenSource", "TokenStore", "TokenUnavailable", "of_a_login"]

REFRESH_TIMEOUT: Final = 30.0
TOO_SOON: Final = 1.0
"""A token that is turned down within a second of being issued does not get better by being renewed."""
RECALL: Final = 1.0
LONG_AGO: Final = float("-inf")
SAVING: Final = 5.0
"""Seconds that a save may take, whoever is cancelled meanwhile: the token that was spent for it is gone."""


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
    it; a new token is saved before anybody gets it, and one that could not be saved is tried again, not lost. Without
    a store it lives in memory. ``timeout``: seconds for a fetch.

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
        self._issued = LONG_AGO
        self._rejected: Token | None = None
        self._refresh = Refresh()
        self._failure: BaseException | None = None
        self._refreshing = False
        self._unsaved: tuple[Token | None, Token] | None = None  # what it came of, and the token
        self._era = 0  # grows when a token is put in or taken away by hand: the next may be another person's
        self._known = store is None
        self._asking = False
        self._mark = "" if store is None else token_hex(8)  # until the store was asked, nobody's
        self._curious = Line()

    @property
    def whose(self) -> str:
        """Tells the token of one login by hand, here or in the store, from that of every other; empty: of none."""
        return self._mark

    async def recall(self) -> None:
        """Learn from the store whose token there is, once, in at most a second. Raises nothing: `get` will."""
        if self._known or self._store is None:
            return
        if self._asking:
            await self._curious.wait(self._clock, None, _nothing_to_give_back)
            return
        self._asking, era = True, self._era
        try:
            with self._clock.timeout_at(self._clock.monotonic() + RECALL):
                found = await self._store.load(self._name)
                if era == self._era:
                    self._learn(found)
        except Exception:
            return  # whoever needs the token is told
        finally:
            self._asking = False
            self._curious.admit(len(self._curious))

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
        self._rejected = current
        return True

    async def keep(self, token: Token) -> None:
        """Go on with a token that came by another way, such as a login; saved before anybody gets it."""
        token = of_a_login(self._dated(token))
        if self._store is None:
            self._begin_anew(token)
            return
        async with self._store.exclusive(self._name):
            await self._store.save(self._name, token)
            self._begin_anew(token)

    async def forget(self) -> Token | None:
        """Give out no token that there is now, here or from the store; what it was."""
        token = self._token
        if self._store is None:
            self._begin_anew(None)
            return token
        async with self._store.exclusive(self._name):
            token = await self._store.load(self._name) or token
            await self._store.delete(self._name)
            self._begin_anew(None)  # in here: a refresh that waits outside would go on with the old one
        return token

    async def aclose(self) -> None:
        """End a refresh that is under way; who waits for it gets `errors.Closed`."""
        await self._background.aclose()

    def _freshness(self, now: float) -> Freshness:
        token = self._token
        if token is None or token is self._rejected:
            return Freshness.OVER
        if self._ends is None or token.expires_at is None:
            return Freshness.FRESH
        # Monotonic time stands still while a machine sleeps, and the wall clock may be set back.
        return freshness(min(self._ends - now, token.expires_at - self._clock.wall()), token.lifetime)

    def _start(self) -> None:
        self._background.give_up_lost()
        if not self._refreshing:
            self._refreshing = True
            self._failure = Closed("the source of tokens was closed", policy="auth")
            self._background.start(self._renew, self._settle)

    async def _renew(self) -> None:
        era = self._era
        try:
            with self._clock.timeout_at(self._clock.monotonic() + self._timeout):
                token, issued = await self._renewed(era)
                if era == self._era and token is not None:
                    self._adopt(token, issued)
                    if self._freshness(self._clock.monotonic()) is Freshness.OVER:
                        raise TokenUnavailable("the token that came had ended already")
                self._failure = None
                return
            self._failure = TimeoutError(f"no token came in {self._timeout:g} s")
        except Exception as error:  # whatever it is, those who wait are told
            self._failure = error
        asked = getattr(self._failure, "retry_after", None)
        self._refresh = self._refresh.failed(
            self._clock.monotonic(), asked if isinstance(asked, (int, float)) else None
        )

    async def _renewed(self, era: int) -> tuple[Token | None, float]:
        """The next token, and since when we know it; none if one was put in or taken away by hand meanwhile."""
        store, name = self._store, self._name
        if store is None:
            token = self._dated(await self._fetch(self._token))
            return token, self._clock.monotonic()
        found = await store.load(name)  # most often another process was first
        if found is not None and self._is_news(found):
            return found, LONG_AGO
        async with store.exclusive(name):
            if era != self._era:
                return None, LONG_AGO
            found = await store.load(name)
            if self._unsaved is None or self._unsaved[0] != found:
                if found is not None and self._is_news(found):
                    return found, LONG_AGO
                self._unsaved = found, self._dated(await self._fetch(self._token if found is None else found))
            _, token = self._unsaved
            with anyio.move_on_after(SAVING, shield=True):
                await store.save(name, token)
                self._unsaved = None
                return token, self._clock.monotonic()
            raise TimeoutError(f"the token could not be saved in {SAVING:g} s")

    def _is_news(self, token: Token) -> bool:
        """Whether a stored token is another than ours, and still good."""
        for known in (self._token, self._rejected):
            if known is not None and known.access_token == token.access_token:
                return False
        left = None if token.expires_at is None else token.expires_at - self._clock.wall()
        return freshness(left, token.lifetime) is Freshness.FRESH

    def _dated(self, token: Token) -> Token:
        """With the lifetime that it has from now on, where only its end was told: by that one knows what is late."""
        if token.expires_at is None or token.lifetime is not None:
            return token
        return replace(token, lifetime=max(0.0, token.expires_at - self._clock.wall()))

    def _begin_anew(self, token: Token | None) -> None:
        self._era += 1
        self._token = self._unsaved = None
        self._known, self._mark = True, token_hex(8)
        if token is not None:
            self._adopt(token, self._clock.monotonic())

    def _adopt(self, token: Token, issued: float) -> None:
        now = self._clock.monotonic()
        self._learn(token)
        self._token, self._rejected, self._refresh = token, None, Refresh()
        self._ends = None if token.expires_at is None else now + token.expires_at - self._clock.wall()
        self._issued = issued

    def _learn(self, token: Token | None) -> None:
        self._known = True
        if token is not None and token.login is not None:
            self._mark = token.login
        elif not self._era:  # else what was before was another's, maybe
            self._mark = ""

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
        if isinstance(failure, TokenUnavailable):
            return type(failure)(failure.message, retry_after=wait)
        error = TokenUnavailable(
            f"no token could be had ({type(failure).__name__}); the next try is in {wait:.1f} s", retry_after=wait
        )
        error.__cause__ = failure
        return error


def _nothing_to_give_back() -> None:
    """Who was let through and cancelled in the same moment held nothing."""


def of_a_login(token: Token) -> Token:
    """A token that a login by hand brought, told from those of all others."""
    return token if token.login is not None else replace(token, login=token_hex(8))
