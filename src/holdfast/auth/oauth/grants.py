"""What does a client get its tokens for? For being itself, for an assertion, for another token, or for a login."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from inspect import isawaitable
from typing import Final, Protocol

from holdfast.auth.oauth.client import Form
from holdfast.core.secret import Secret

__all__ = ["ClientCredentials", "Given", "Grant", "JWTBearer", "RefreshToken", "TokenExchange"]

Given = str | Secret | Callable[[], "str | Secret | Awaitable[str | Secret]"]
"""A token or an assertion, or a function, plain or async, that gives one."""

_JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"


class Grant(Protocol):
    """What to ask the token endpoint with, when there is no refresh token that would do."""

    @property
    def refreshes(self) -> bool:
        """Whether a refresh token that came with a token is used."""
        ...

    @property
    def repeatable(self) -> bool:
        """Whether the same parameters may be sent twice, as after an answer that did not come."""
        ...

    @property
    def identity(self) -> str | None:
        """What tells its answers from those of others, as far as the grant itself says; None: nothing does."""
        ...

    async def form(self) -> Form:
        """The parameters."""
        ...


class ClientCredentials:
    """The client for itself (RFC 6749 4.4). ``resource`` (RFC 8707), ``audience``: what the token is to be for.

    A refresh token that comes along is not kept (RFC 6749 4.4.3): asking again is as good.
    """

    refreshes = False
    repeatable = True

    def __init__(
        self,
        *,
        scope: str | None = None,
        resource: str | Sequence[str] | None = None,
        audience: str | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        own = {"scope": scope, "resource": resource, "audience": audience}
        self._form: Form = {"grant_type": "client_credentials", **own, **(parameters or {})}
        self.identity: str | None = " ".join(f"{name}={value}" for name, value in self._form.items() if value)

    async def form(self) -> Form:
        return self._form


class JWTBearer:
    """An assertion that somebody signed, such as `SigningKey.assertion`, for a token (RFC 7523 2.1).

    ``assertion``: most often a function, because a server takes one only once.
    """

    refreshes = True
    repeatable = False
    identity: str | None = None

    def __init__(
        self, assertion: Given, *, scope: str | None = None, parameters: Mapping[str, str] | None = None
    ) -> None:
        self._assertion = assertion
        self._form: Form = {"grant_type": _JWT_BEARER, "scope": scope, **(parameters or {})}

    async def form(self) -> Form:
        return {**self._form, "assertion": await _secret(self._assertion)}


class TokenExchange:
    """Another token for a token (RFC 8693). ``subject``: on whose behalf; ``actor``: who acts for them."""

    refreshes = True
    repeatable = False
    identity: str | None = None

    def __init__(
        self,
        subject: Given,
        *,
        subject_type: str = ACCESS_TOKEN,
        actor: Given | None = None,
        actor_type: str = ACCESS_TOKEN,
        requested_type: str | None = None,
        scope: str | None = None,
        resource: str | Sequence[str] | None = None,
        audience: str | Sequence[str] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        self._subject = subject
        self._actor = actor
        self._form: Form = {
            "grant_type": _TOKEN_EXCHANGE,
            "subject_token_type": subject_type,
            "actor_token_type": None if actor is None else actor_type,
            "requested_token_type": requested_type,
            "scope": scope,
            "resource": resource,
            "audience": audience,
            **(parameters or {}),
        }

    async def form(self) -> Form:
        actor = None if self._actor is None else await _secret(self._actor)
        return {**self._form, "subject_token": await _secret(self._subject), "actor_token": actor}


class RefreshToken:
    """What a person's login left: each refresh brings the next one (RFC 6749 6). Only a login can begin it.

    ``token``: the first refresh token, for one that came by another way; once a store has a later one, that counts.
    Where tokens rotate, give a store: the first refresh spends this one, and the next start would send it again.
    """

    def __init__(self, token: str | Secret | None = None) -> None:
        self.token: Final = None if token is None else Secret.of(token)


async def _secret(given: Given) -> Secret:
    value = given() if callable(given) else given
    return Secret.of(await value if isawaitable(value) else value)
