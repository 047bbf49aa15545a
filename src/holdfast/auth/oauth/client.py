"""What can one ask of an authorization server? Each question of OAuth 2.0 as one method, and who asks."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar
from urllib.parse import quote_plus, urlencode
from weakref import WeakSet

import anyio

from holdfast._waiting import running_loop
from holdfast._wire import Inner
from holdfast.auth.jwt import SigningKey
from holdfast.auth.oauth.lane import Answer, FamilyName, Lane
from holdfast.auth.token_source import TokenSource, TokenStore
from holdfast.core.oauth.answers import (
    DeviceCode,
    TokenError,
    device_wait,
    read_device_code,
    read_document,
    read_introspection,
    read_token,
)
from holdfast.core.oauth.authorization import Authorization, authorization_url, read_callback
from holdfast.core.oauth.metadata import ServerMetadata, metadata_document, metadata_urls, read_metadata
from holdfast.core.secret import Secret
from holdfast.core.tokens import Token
from holdfast.errors import Closed, InvalidInput

if TYPE_CHECKING:
    from typing import Self

    from holdfast.clock import Clock
    from holdfast.pipeline import Pipeline

__all__ = ["Authentication", "Form", "OAuthClient"]

T = TypeVar("T")

Authentication = Literal["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]
Form = Mapping[str, "str | Secret | Sequence[str] | None"]
"""Parameters of a request. None is left out, a list is repeated."""

ASSERTION_LIFETIME: Final = 60.0
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_DEVICE_CODE: Final = "urn:ietf:params:oauth:grant-type:device_code"


class OAuthClient:
    """A client that an authorization server knows, and the way there.

    ``server``: the issuer's URL, whose metadata is read with the first request (RFC 8414, OpenID Discovery), or a
    `ServerMetadata`. ``secret``: what it proves itself with; a `SigningKey` instead signs an assertion for each attempt
    (``private_key_jwt``; with an HS* key ``client_secret_jwt``); None for a public client. ``authentication``: how a
    secret is sent (default: ``client_secret_basic``, unless the metadata has ``client_secret_post`` alone).
    ``audience``: of its assertions (default: the issuer, or the token endpoint).

    ``family``, ``transport``: what sends, as for a `Service`; the transport is closed with the client. ``pipeline``:
    the lane's (default: a `Pipeline` with 10 s for a request and 5 s for an attempt). It is shared with no API.

    All of it may raise the library's errors and our refusals, where there is no answer, and `TokenError` for one that
    is none that was wanted. No secret is in the text of an error, in its request, or in its response. One event loop
    at a time; ``async with`` closes the connections, and ends the refreshes of the credentials made with it. Raises
    `InvalidInput` for settings that cannot be.

    >>> OAuthClient("worker", "s3cr3t", server="https://id.example.com")
    OAuthClient('worker', server='https://id.example.com')
    """

    def __init__(
        self,
        client_id: str,
        secret: str | Secret | SigningKey | None = None,
        *,
        server: str | ServerMetadata,
        authentication: Literal["client_secret_basic", "client_secret_post"] | None = None,
        audience: str | None = None,
        family: FamilyName = "httpx",
        transport: Inner[Any, Any] | None = None,
        pipeline: Pipeline | None = None,
    ) -> None:
        if authentication is not None and (secret is None or isinstance(secret, SigningKey)):
            raise InvalidInput(f"{authentication} needs a secret", argument="authentication")
        if isinstance(server, str):
            metadata_urls(server)  # raises for what is no issuer
        self.client_id: Final = client_id
        self.issuer: Final = server if isinstance(server, str) else server.issuer
        self._secret: Secret | SigningKey | None = Secret.of(secret) if isinstance(secret, str) else secret
        self._authentication = authentication
        self._audience = audience
        self._metadata = None if isinstance(server, str) else server
        self._looker: tuple[object, anyio.Lock] | None = None
        self._lane: Final = Lane(family, transport, pipeline)
        self._sources: WeakSet[TokenSource] = WeakSet()

    @property
    def clock(self) -> Clock:
        """The lane's."""
        return self._lane.clock

    @property
    def errors(self) -> type[Exception]:
        """The base of what the library raises where no answer comes."""
        return self._lane.errors

    async def metadata(self) -> ServerMetadata:
        """The server's endpoints; asked for once."""
        if self._metadata is None:
            assert self.issuer is not None, "either is given"
            async with self._looking():
                if self._metadata is None:
                    self._metadata = await self._discovered(self.issuer)
        return self._metadata

    async def token(self, form: Form, *, previous: Token | None = None, again: bool = False) -> Token:
        """What the token endpoint gives for ``form``, to which the client's own proof is added.

        ``previous``: where an answer leaves something out, it is taken from there. ``again``: whether asking twice
        does no harm, as for client credentials; a code or a rotating refresh token is lost by it.
        """
        metadata = await self.metadata()
        asked_at = self.clock.wall()
        read = partial(read_token, asked_at=asked_at, previous=previous)
        return await self._ask(metadata.endpoint("token_endpoint"), form, read, again=again)

    async def refresh(self, token: Token | Secret, *, scope: str | None = None) -> Token:
        """A new token for a refresh token, or for one that came with it; rotation spends it.

        What the answer leaves out is as it was before.
        """
        previous, secret = (None, token) if isinstance(token, Secret) else (token, token.refresh_token)
        if secret is None:
            raise InvalidInput("this token came without a refresh token", argument="token")
        if previous is None:
            previous = Token(secret, refresh_token=secret)
        form: Form = {"grant_type": "refresh_token", "refresh_token": secret, "scope": scope}
        return await self.token(form, previous=previous)

    async def authorization(
        self, *, redirect_uri: str, scope: str | None = None, parameters: Mapping[str, str] | None = None
    ) -> Authorization:
        """Begin a login in the browser: authorization code with PKCE (S256) and a state of its own."""
        metadata = await self.metadata()
        state, verifier = Secret(secrets.token_urlsafe(32)), Secret(secrets.token_urlsafe(32))
        url = authorization_url(
            metadata.endpoint("authorization_endpoint"),
            client_id=self.client_id,
            redirect_uri=redirect_uri,
            scope=scope,
            state=state,
            verifier=verifier,
            parameters=parameters or {},
        )
        return Authorization(url, redirect_uri=redirect_uri, state=state, verifier=verifier)

    async def authorized(self, authorization: Authorization, callback_url: str) -> Token:
        """The token of a login, from the URL to which the browser was sent back.

        Raises `TokenError` before anything is sent, if that URL is no answer to this login (state, ``iss``).
        """
        metadata = await self.metadata()
        code = read_callback(
            callback_url, authorization, issuer=metadata.issuer, issuer_required=metadata.iss_in_callback
        )
        return await self.token(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": authorization.redirect_uri,
                "code_verifier": authorization.verifier,
            }
        )

    async def device_code(self, *, scope: str | None = None, parameters: Form | None = None) -> DeviceCode:
        """Begin a login on another device (RFC 8628): show what is returned, then await `device_token`."""
        metadata = await self.metadata()
        asked_at = self.clock.wall()
        url = metadata.endpoint("device_authorization_endpoint")
        read = partial(read_device_code, asked_at=asked_at)
        return await self._ask(url, {"scope": scope, **(parameters or {})}, read, again=True)

    async def device_token(self, code: DeviceCode) -> Token:
        """The token, once the person has let the device in. Asks at the server's pace, and more slowly if it says so.

        Raises `TokenError` with ``access_denied`` or ``expired_token``, and `Closed` once this client is closed.
        """
        form: Form = {"grant_type": _DEVICE_CODE, "device_code": code.device_code}
        interval: float = code.interval
        while True:
            await self.clock.sleep(interval)
            if self.clock.wall() >= code.expires_at:
                raise TokenError("nobody let the device in while its code was good", error="expired_token")
            try:
                return await self.token(form)
            except TokenError as error:
                transient = error.retry_after is not None or (error.status_code or 0) >= 500
                following = device_wait(None if transient else error.error, interval)
                if following is None:
                    raise
                interval = max(following, error.retry_after or 0.0)
            except Closed:
                raise
            except self.errors:  # RFC 8628 3.5: no answer asks for less, and is not the end
                interval = device_wait(None, interval) or interval

    async def revoke(self, token: Token) -> None:
        """Have the server forget a token (RFC 7009): its refresh token, with which all of it goes, then itself.

        Some servers revoke no access token that is a JWT: that is an error only where there was no refresh token.
        """
        url = (await self.metadata()).endpoint("revocation_endpoint")
        if token.refresh_token is not None:
            await self._revoke(url, token.refresh_token, "refresh_token")
        try:
            await self._revoke(url, token.access_token, "access_token")
        except TokenError as error:
            if token.refresh_token is None or error.error != "unsupported_token_type":
                raise

    async def introspect(self, token: Token | Secret) -> dict[str, Any]:
        """What the server says of a token (RFC 7662): ``active``, and where that is true, ``scope``, ``exp``, ..."""
        url = (await self.metadata()).endpoint("introspection_endpoint")
        secret = token if isinstance(token, Secret) else token.access_token
        return await self._ask(url, {"token": secret}, read_introspection, again=True)

    def source(
        self,
        fetch: Callable[[Token | None], Awaitable[Token]],
        *,
        store: TokenStore | None = None,
        name: str = "token",
    ) -> TokenSource:
        """A `TokenSource` on the lane's clock, which is closed with this client."""
        source = TokenSource(fetch, store=store, name=name, clock=self.clock)
        self._sources.add(source)
        return source

    async def aclose(self) -> None:
        """End the refreshes that are under way, and close the connections."""
        for source in [*self._sources]:
            await source.aclose()
        await self._lane.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"OAuthClient({self.client_id!r}, server={self.issuer!r})"

    def _looking(self) -> anyio.Lock:
        """One look for the metadata at a time; the lock of a loop that was closed is left behind."""
        here = running_loop()
        if self._looker is None or self._looker[0] is not here:
            self._looker = here, anyio.Lock()
        return self._looker[1]

    async def _discovered(self, issuer: str) -> ServerMetadata:
        said: list[str] = []
        answer = None
        for url in metadata_urls(issuer):
            answer = await self._lane.get(url)
            document = metadata_document(answer.body) if answer.status == 200 else None
            if document is not None:
                return read_metadata(document, issuer)
            said.append(f"{url} answered {answer.status}{', with no metadata' if answer.status == 200 else ''}")
            if answer.status >= 500 or answer.status == 429:
                break  # in trouble; others say in many ways that there is nothing
        assert answer is not None, "there is more than one place to look"
        raise TokenError(
            f"{issuer} has no metadata: {'; '.join(said)}",
            error="invalid_response",
            status_code=answer.status,
            retry_after=answer.retry_after,
        )

    async def _revoke(self, url: str, secret: Secret, kind: str) -> None:
        answer = await self._post(url, {"token": secret, "token_type_hint": kind}, again=True)
        if not 200 <= answer.status < 300:
            _outcome(answer, dict[str, Any], [secret])

    async def _ask(self, url: str, form: Form, read: Callable[[dict[str, Any]], T], *, again: bool) -> T:
        answer = await self._post(url, form, again=again)
        return _outcome(answer, read, [value for value in (*form.values(), self._secret) if isinstance(value, Secret)])

    async def _post(self, url: str, form: Form, *, again: bool) -> Answer:
        metadata = await self.metadata()

        def sealed() -> tuple[dict[str, str], bytes]:
            headers, proof = self._proof(metadata)
            return headers, urlencode(_revealed({**form, **proof}), doseq=True).encode()

        return await self._lane.post(url, sealed, again=again)

    def _proof(self, metadata: ServerMetadata) -> tuple[dict[str, str], Form]:
        """Header fields and parameters that say who asks (RFC 6749 2.3, RFC 7523 2.2)."""
        match self._secret:
            case None:
                return {}, {"client_id": self.client_id}
            case SigningKey() as key:
                assertion = key.assertion(
                    issuer=self.client_id,
                    subject=self.client_id,
                    audience=self._audience or metadata.issuer or metadata.endpoint("token_endpoint"),
                    lifetime=ASSERTION_LIFETIME,
                    now=self.clock.wall(),
                )
                # The id is in the assertion already, but some servers look for it here.
                return {}, {
                    "client_id": self.client_id,
                    "client_assertion_type": _ASSERTION,
                    "client_assertion": assertion,
                }
            case secret if self._how(metadata) == "client_secret_post":
                return {}, {"client_id": self.client_id, "client_secret": secret}
            case secret:
                # RFC 6749 2.3.1: both are encoded as in a form first, or an id with a colon would be another one.
                pair = f"{quote_plus(self.client_id)}:{quote_plus(secret.reveal())}"
                return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}, {}

    def _how(self, metadata: ServerMetadata) -> str:
        if self._authentication is not None:
            return self._authentication
        known: tuple[str, ...] = metadata.authentication
        only_post = "client_secret_post" in known and "client_secret_basic" not in known
        return "client_secret_post" if only_post else "client_secret_basic"


def _outcome(answer: Answer, read: Callable[[dict[str, Any]], T], sent: Iterable[Secret] = ()) -> T:
    """What ``read`` makes of a good answer. Raises `TokenError` from here, where no local shows what came."""
    outcome = _read(answer, read, sent)
    if isinstance(outcome, TokenError):
        raise outcome
    return outcome


def _read(answer: Answer, read: Callable[[dict[str, Any]], T], sent: Iterable[Secret]) -> T | TokenError:
    try:
        return read(read_document(answer.status, answer.body, sent=sent, retry_after=answer.retry_after))
    except TokenError as error:
        return error.with_traceback(None)


def _revealed(form: Form) -> list[tuple[str, str | Sequence[str]]]:
    return [
        (name, value.reveal() if isinstance(value, Secret) else value)
        for name, value in form.items()
        if value is not None
    ]
