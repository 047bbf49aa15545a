"""Credentials: where they come from, where they may go, and how they are put on an attempt."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from holdfast.auth.bearer import Bearer, TokenBound
from holdfast.auth.credential import InsecureOrigin, OriginBound
from holdfast.auth.jwt import JWT, SigningKey
from holdfast.auth.oauth.client import OAuthClient
from holdfast.auth.oauth.credential import LoginRequired, OAuth2
from holdfast.auth.oauth.grants import ClientCredentials, JWTBearer, RefreshToken, TokenExchange
from holdfast.auth.signatures import AWSSignature, HMACSignature, HTTPSignature
from holdfast.auth.static import APIKey, Basic
from holdfast.auth.stores.base import MissingSecret, SecretStore
from holdfast.auth.token_source import TokenSource, TokenStore, TokenUnavailable
from holdfast.core.oauth.answers import DeviceCode, TokenError
from holdfast.core.oauth.authorization import Authorization
from holdfast.core.oauth.metadata import ServerMetadata
from holdfast.core.secret import Secret
from holdfast.core.signing.message import Unsignable
from holdfast.core.tokens import Token

if TYPE_CHECKING:
    from holdfast.auth.key_pool import KeyPool
    from holdfast.auth.login import LoginFailed, LoginToken
    from holdfast.auth.profiles import Credentials
    from holdfast.auth.stores.environment import EnvironmentSecrets
    from holdfast.auth.stores.file import EncryptedFile
    from holdfast.auth.stores.keyring import KeyringSecrets
    from holdfast.auth.stores.memory import MemorySecrets
    from holdfast.auth.stores.sqlite import SQLiteSecrets

__all__ = [
    "JWT",
    "APIKey",
    "AWSSignature",
    "Authorization",
    "Basic",
    "Bearer",
    "ClientCredentials",
    "Credentials",
    "DeviceCode",
    "EncryptedFile",
    "EnvironmentSecrets",
    "HMACSignature",
    "HTTPSignature",
    "InsecureOrigin",
    "JWTBearer",
    "KeyPool",
    "KeyringSecrets",
    "LoginFailed",
    "LoginRequired",
    "LoginToken",
    "MemorySecrets",
    "MissingSecret",
    "OAuth2",
    "OAuthClient",
    "OriginBound",
    "RefreshToken",
    "SQLiteSecrets",
    "Secret",
    "SecretStore",
    "ServerMetadata",
    "SigningKey",
    "Token",
    "TokenBound",
    "TokenError",
    "TokenExchange",
    "TokenSource",
    "TokenStore",
    "TokenUnavailable",
    "Unsignable",
]

# Most programs use one of them, or none: they are loaded when they are first used (PEP 562).
_HOME = {
    "Credentials": "profiles",
    "KeyPool": "key_pool",
    "LoginFailed": "login",
    "LoginToken": "login",
    "EncryptedFile": "stores.file",
    "EnvironmentSecrets": "stores.environment",
    "KeyringSecrets": "stores.keyring",
    "MemorySecrets": "stores.memory",
    "SQLiteSecrets": "stores.sqlite",
}

if not TYPE_CHECKING:  # or checkers would take any misspelt name for one of ours

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'holdfast.auth' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"holdfast.auth.{_HOME[name]}"), name)
        globals()[name] = value  # the next look-up does not come here
        return value
