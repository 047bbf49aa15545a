"""The credentials of a program, by profile: from the environment, or from a file that names secrets in a store."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

from holdfast.auth.bearer import Bearer, Provider, TokenBound
from holdfast.auth.credential import OriginBound
from holdfast.auth.jwt import JWT, Algorithm, SigningKey
from holdfast.auth.oauth.client import OAuthClient
from holdfast.auth.oauth.credential import OAuth2
from holdfast.auth.oauth.grants import ClientCredentials, RefreshToken
from holdfast.auth.signatures import AWSSignature, HMACSignature, HTTPSignature
from holdfast.auth.static import APIKey, Basic
from holdfast.auth.stores.base import SecretStore
from holdfast.auth.stores.environment import EnvironmentSecrets
from holdfast.core.profiles import Profile, no_toml, profiles_of, profiles_of_environment
from holdfast.core.secret import Hidden, Secret
from holdfast.errors import InvalidInput

__all__ = ["Credentials", "oauth_client", "read_profiles", "token_name"]


class Credentials(Mapping[str, OriginBound]):
    """What a program may send, by profile: ``Service(url, auth=credentials["github"])``.

    Made by `from_env` or `from_file`. ``async with`` closes what those with tokens hold open.

    >>> Credentials.from_env(environ={
    ...     "HOLDFAST_GITHUB_ORIGINS": "https://api.github.com", "HOLDFAST_GITHUB_SECRET": "t0k3n"
    ... })
    Credentials(github)
    """

    def __init__(self, credentials: Mapping[str, OriginBound]) -> None:
        self._credentials: Final = dict(credentials)

    @classmethod
    def from_env(cls, prefix: str = "HOLDFAST_", *, environ: Mapping[str, str] | None = None) -> Self:
        """A profile for each ``HOLDFAST_<NAME>_ORIGINS``, with its secret in ``HOLDFAST_<NAME>_SECRET``, or in the file
        that ``HOLDFAST_<NAME>_SECRET_FILE`` names. ``_KIND`` is ``bearer`` (the default), ``api_key`` (``_HEADER``,
        ``_QUERY``, ``_COOKIE``, ``_PREFIX``), ``basic`` (``_USERNAME``), ``hmac`` (``_KEY_ID``), ``http_signature``
        (``_KEY_ID``, ``_TAG``), ``jwt`` (``_ALGORITHM``, ``_KEY_ID``, ``_ISSUER``, ``_SUBJECT``, ``_AUDIENCE``),
        ``aws`` (``_ACCESS_KEY``, ``_REGION``, ``_SERVICE``) or ``client_credentials`` (``_SERVER``, ``_CLIENT_ID``,
        ``_SCOPE``).

        Raises `MissingSecret`, which names the variable, and `InvalidInput`.
        """
        environ = Hidden(os.environ if environ is None else environ)
        profiles = profiles_of_environment(environ, prefix)
        store = EnvironmentSecrets(
            prefix, variables={name: f"{prefix}{name.upper()}_SECRET" for name in profiles}, environ=environ
        )
        made: dict[str, OriginBound] = {}
        for name, profile in profiles.items():
            if profile.kind == "login":
                raise InvalidInput(f"profile {name}: the tokens of a login need a store", argument="kind")
            secret = store.read(name)
            if secret is None:
                raise store.missing(name)
            made[name] = _credential(profile, secret, secret, None)
        return cls(made)

    @classmethod
    async def from_file(cls, path: str | os.PathLike[str], store: SecretStore) -> Self:
        """The tables of a TOML file, with their secrets in ``store`` under the profile's name, or that which ``secret``
        names. A bearer is read from there again after a 401, so it can be rotated while the program runs. A profile
        of kind ``login`` has its tokens there, from ``python -m holdfast login``.

        Raises `MissingSecret` and `InvalidInput`, `OSError` for a file that cannot be read, `StoreError`.
        """
        made: dict[str, OriginBound] = {}
        for name, profile in read_profiles(path).items():
            secret = await (store.get if profile.kind == "login" else store.require)(profile.secret)
            made[name] = _credential(profile, secret, partial(store.require, profile.secret), store)
        return cls(made)

    async def aclose(self) -> None:
        """End refreshes, and close the connections to authorization servers."""
        for credential in self._credentials.values():
            if isinstance(credential, OAuth2):
                await credential.client.aclose()
            elif isinstance(credential, TokenBound):
                await credential.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __getitem__(self, name: str) -> OriginBound:
        return self._credentials[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._credentials)

    def __len__(self) -> int:
        return len(self._credentials)

    def __repr__(self) -> str:
        return f"Credentials({', '.join(self._credentials)})"


def read_profiles(path: str | os.PathLike[str]) -> dict[str, Profile]:
    """The profiles of a TOML file. Raises `InvalidInput` and `OSError`."""
    try:
        document = tomllib.loads(Path(path).read_text("utf-8"))
    except ValueError as error:
        raise no_toml(os.fspath(path), error) from None
    return profiles_of(document)


def token_name(profile: Profile) -> str:
    """The name under which a profile's tokens are kept: beside its secret, and not in its place.

    Another one for another server, client or scope: what a token was given by and for is not in the token.
    """
    told = "\n".join(f"{key}={profile.settings.get(key)}" for key in ("server", "client_id", "scope"))
    return f"{profile.name}.token.{blake2b(told.encode(), digest_size=4).hexdigest()}"


def oauth_client(profile: Profile, secret: Secret | None) -> OAuthClient:
    """The client of a profile that has a server."""
    return OAuthClient(profile.settings["client_id"], secret, server=profile.settings["server"])


def _credential(
    profile: Profile, secret: Secret | None, bearer: Secret | Provider, store: SecretStore | None
) -> OriginBound:
    try:
        return _made(profile, secret, bearer, store)
    except InvalidInput as error:  # of a setting or a secret that its kind cannot use
        raise InvalidInput(f"profile {profile.name}: {error.message}", argument=error.argument) from None


def _made(profile: Profile, secret: Secret | None, bearer: Secret | Provider, store: SecretStore | None) -> OriginBound:
    origins, settings = profile.origins, profile.settings
    if profile.kind in ("login", "client_credentials"):
        grant = RefreshToken() if profile.kind == "login" else ClientCredentials(scope=settings.get("scope"))
        client = oauth_client(profile, secret)
        return OAuth2(client, grant, store=store, name=token_name(profile), origins=origins)
    if profile.kind == "bearer":
        return Bearer(bearer, origins=origins)
    assert secret is not None, "required"
    if profile.kind == "basic":
        return Basic(settings["username"], secret, origins=origins)
    if profile.kind == "hmac":
        return HMACSignature(settings["key_id"], secret, origins=origins)
    if profile.kind == "http_signature":
        return HTTPSignature(settings["key_id"], secret, tag=settings.get("tag"), origins=origins)
    if profile.kind == "jwt":
        algorithm = cast("Algorithm", settings["algorithm"])  # SigningKey refuses any other
        return JWT(
            SigningKey(secret, algorithm, key_id=settings.get("key_id")),
            issuer=settings.get("issuer"),
            subject=settings.get("subject"),
            audience=settings.get("audience"),
            origins=origins,
        )
    if profile.kind == "aws":
        region, service = settings["region"], settings["service"]
        return AWSSignature(settings["access_key"], secret, region=region, service=service, origins=origins)
    return APIKey(
        secret,
        header=settings.get("header"),
        query=settings.get("query"),
        cookie=settings.get("cookie"),
        prefix=settings.get("prefix", ""),
        origins=origins,
    )
