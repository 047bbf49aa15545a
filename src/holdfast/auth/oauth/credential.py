"""The credential: a bearer token from an authorization server, renewed for all who use it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import anyio

from holdfast.auth.bearer import TokenBound
from holdfast.auth.oauth.client import OAuthClient
from holdfast.auth.oauth.grants import Grant, RefreshToken
from holdfast.auth.token_source import TokenStore, TokenUnavailable
from holdfast.core.oauth.answers import TokenError
from holdfast.core.secret import Secret
from holdfast.core.tokens import Token
from holdfast.errors import InvalidInput

__all__ = ["LoginRequired", "OAuth2"]


class LoginRequired(TokenUnavailable):
    """There is no refresh token, or the server takes it no more: a person has to log in again."""


class OAuth2(TokenBound):
    """``Authorization: Bearer`` with a token that ``client`` gets by ``grant``; renewed in time, and after a 401.

    A refresh token that came along is used first; where the server turns it down, the grant begins anew, or
    `LoginRequired` is raised if only a person can. A refresh that was sent is read to its end and saved, whoever is
    cancelled: with rotation, its answer holds the only token that is still good.

    ``store``, ``name``: where the tokens are kept, for this process when it starts again and for others that run;
    each person's login has a name of its own. `keep` hands in the token of a login, `logout` gives it back.

    ``origins``, ``allow_http``, ``identity`` as for every `OriginBound`. It is closed with ``client``.
    """

    def __init__(
        self,
        client: OAuthClient,
        grant: Grant | RefreshToken,
        *,
        store: TokenStore | None = None,
        name: str | None = None,
        origins: str | Iterable[str] | None = None,
        allow_http: bool = False,
        identity: str | None = None,
    ) -> None:
        self.client: Final = client
        self._grant = grant
        self._spent: tuple[Secret, ...] = ()  # refresh tokens that the server does not take any more
        self._name = name
        if store is not None and name is None:
            raise InvalidInput("tokens are stored under a name: give one to each person's login", argument="name")
        source = client.source(self._fetch, store=store, name=name or "")
        super().__init__(source, origins=origins, allow_http=allow_http, identity=identity)

    async def keep(self, token: Token) -> None:
        """Use a token that a login brought, from now on; saved before anybody gets it."""
        await self.source.keep(token)

    async def logout(self) -> None:
        """Have the server forget the token, and forget it here and in the store.

        It is forgotten also where the server cannot be asked, which is raised then.
        """
        token = await self.source.forget()
        if token is not None:
            await self.client.revoke(token)

    def _default_identity(self) -> str:
        own = self._name
        if own is None and not isinstance(self._grant, RefreshToken):
            own = self._grant.identity
        if own is None:
            return super()._default_identity()
        return f"OAuth2:{self.client.issuer}:{self.client.client_id}:{Secret(own).fingerprint(b'identity')}"

    async def _fetch(self, previous: Token | None) -> Token:
        refreshes = isinstance(self._grant, RefreshToken) or self._grant.refreshes
        if refreshes and previous is not None and previous.refresh_token is not None:
            token = await self._refreshed(previous, previous.refresh_token)
            if token is not None:
                return token
        if isinstance(self._grant, RefreshToken):
            token = None if self._grant.token is None else await self._refreshed(self._grant.token, self._grant.token)
            if token is None:
                raise LoginRequired("there is no refresh token that the server takes: log in again")
            return token
        return await self.client.token(await self._grant.form(), again=self._grant.repeatable)

    async def _refreshed(self, token: Token | Secret, refresh_token: Secret) -> Token | None:
        """The next token; None where the server takes that refresh token no more."""
        if refresh_token in self._spent:
            return None  # asked again, a server that watches for reuse would end the whole family
        try:
            with anyio.CancelScope(shield=True):  # the lane's own deadline bounds it
                return await self.client.refresh(token)
        except TokenError as error:
            if error.error != "invalid_grant":
                raise
            self._spent = (*self._spent[-1:], refresh_token)
        return None
