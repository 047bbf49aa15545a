"""Credentials: where they come from, where they may go, and how they are put on an attempt."""

from __future__ import annotations

from holdfast.auth.bearer import Bearer, TokenBound
from holdfast.auth.credential import InsecureOrigin, OriginBound
from holdfast.auth.jwt import JWT, SigningKey
from holdfast.auth.oauth.client import OAuthClient
from holdfast.auth.oauth.credential import LoginRequired, OAuth2
from holdfast.auth.oauth.grants import ClientCredentials, JWTBearer, RefreshToken, TokenExchange
from holdfast.auth.signatures import AWSSignature, HMACSignature, HTTPSignature
from holdfast.auth.static import APIKey, Basic
from holdfast.auth.token_source import TokenSource, TokenStore, TokenUnavailable
from holdfast.auth.token_stores import MemoryTokens, SQLiteTokens
from holdfast.core.oauth.answers import DeviceCode, TokenError
from holdfast.core.oauth.authorization import Authorization
from holdfast.core.oauth.metadata import ServerMetadata
from holdfast.core.secret import Secret
from holdfast.core.signing.message import Unsignable
from holdfast.core.tokens import Token

__all__ = [
    "JWT",
    "APIKey",
    "AWSSignature",
    "Authorization",
    "Basic",
    "Bearer",
    "ClientCredentials",
    "DeviceCode",
    "HMACSignature",
    "HTTPSignature",
    "InsecureOrigin",
    "JWTBearer",
    "LoginRequired",
    "MemoryTokens",
    "OAuth2",
    "OAuthClient",
    "OriginBound",
    "RefreshToken",
    "SQLiteTokens",
    "Secret",
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
