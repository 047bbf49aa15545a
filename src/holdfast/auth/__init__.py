"""Credentials: where they come from, where they may go, and how they are put on an attempt."""

from __future__ import annotations

from holdfast.auth.bearer import Bearer, TokenBound
from holdfast.auth.credential import InsecureOrigin, OriginBound
from holdfast.auth.signatures import AWSSignature, HMACSignature, HTTPSignature
from holdfast.auth.static import APIKey, Basic
from holdfast.auth.token_source import TokenSource, TokenStore, TokenUnavailable
from holdfast.core.secret import Secret
from holdfast.core.signing.message import Unsignable
from holdfast.core.tokens import Token

__all__ = [
    "APIKey",
    "AWSSignature",
    "Basic",
    "Bearer",
    "HMACSignature",
    "HTTPSignature",
    "InsecureOrigin",
    "OriginBound",
    "Secret",
    "Token",
    "TokenBound",
    "TokenSource",
    "TokenStore",
    "TokenUnavailable",
    "Unsignable",
]
