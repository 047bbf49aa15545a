"""Where are an authorization server's endpoints? Told by its user, or by its metadata (RFC 8414, OpenID Discovery)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from holdfast.core.oauth.answers import TokenError, json_object
from holdfast.core.origins import is_loopback
from holdfast.core.value import Value
from holdfast.errors import InvalidInput

__all__ = ["ServerMetadata", "check_endpoint", "metadata_document", "metadata_urls", "read_metadata"]

_ENDPOINTS: Final = (
    "authorization_endpoint",
    "token_endpoint",
    "device_authorization_endpoint",
    "revocation_endpoint",
    "introspection_endpoint",
    "userinfo_endpoint",
)


class ServerMetadata(Value):
    """The endpoints of an authorization server, as far as they are known.

    ``issuer``: what its tokens and its answers call it. ``iss_in_callback``: whether it has promised to name itself in
    the answer of a login (RFC 9207). ``authentication``: how clients may prove who they are, by its own word.

    Raises `InvalidInput` for an endpoint that is no https URL; plain http goes for this machine alone.
    """

    def __init__(
        self,
        *,
        token_endpoint: str | None = None,
        authorization_endpoint: str | None = None,
        device_authorization_endpoint: str | None = None,
        revocation_endpoint: str | None = None,
        introspection_endpoint: str | None = None,
        userinfo_endpoint: str | None = None,
        issuer: str | None = None,
        iss_in_callback: bool = False,
        authentication: tuple[str, ...] = (),
    ) -> None:
        self.token_endpoint = token_endpoint
        self.authorization_endpoint = authorization_endpoint
        self.device_authorization_endpoint = device_authorization_endpoint
        self.revocation_endpoint = revocation_endpoint
        self.introspection_endpoint = introspection_endpoint
        self.userinfo_endpoint = userinfo_endpoint
        self.issuer = issuer
        self.iss_in_callback = iss_in_callback
        self.authentication = authentication
        for name in _ENDPOINTS:
            if (url := getattr(self, name)) is not None:
                check_endpoint(url, name)

    def endpoint(self, name: str) -> str:
        """The URL of ``name``. Raises `InvalidInput` if it is not known."""
        url: str | None = getattr(self, name)
        if url is None:
            raise InvalidInput(f"this authorization server has no {name}", argument=name)
        return url


def metadata_urls(issuer: str) -> list[str]:
    """Where the metadata of ``issuer`` may be: RFC 8414 3.1, then OpenID Connect Discovery 4.1.

    >>> metadata_urls("https://id.example.com/acme")[0]
    'https://id.example.com/.well-known/oauth-authorization-server/acme'
    """
    check_endpoint(issuer, "issuer")
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    urls = [f"{origin}/.well-known/{name}{path}" for name in ("oauth-authorization-server", "openid-configuration")]
    return list(dict.fromkeys([*urls, f"{origin}{path}/.well-known/openid-configuration"]))


def metadata_document(body: bytes) -> dict[str, Any] | None:
    """The metadata that ``body`` is, whose it may be; None for a page, an error, or anything else that names no issuer.

    >>> metadata_document(b"<!doctype html>")
    """
    document = json_object(body)
    return document if document is not None and isinstance(document.get("issuer"), str) else None


def read_metadata(document: Mapping[str, Any], issuer: str) -> ServerMetadata:
    """Raises `TokenError` for the metadata of another issuer (RFC 8414 3.3), or with endpoints that are none."""
    if (named := document.get("issuer")) != issuer:
        raise TokenError(f"the metadata is that of {str(named)[:300]!r}, and not of {issuer!r}", error="invalid_issuer")
    endpoints = {name: document[name] for name in _ENDPOINTS if isinstance(document.get(name), str)}
    methods = document.get("token_endpoint_auth_methods_supported")
    try:
        return ServerMetadata(
            **endpoints,
            issuer=issuer,
            iss_in_callback=document.get("authorization_response_iss_parameter_supported") is True,
            authentication=tuple(map(str, methods)) if isinstance(methods, list) else (),  # pyright: ignore[reportUnknownArgumentType]
        )
    except InvalidInput as error:
        raise TokenError(f"this metadata cannot be used: {error.message}", error="invalid_response") from error


def check_endpoint(url: str, name: str) -> None:
    """Raise `InvalidInput` for what is no URL to send secrets to."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port  # raises for one that is no number
    except ValueError:
        host = ""
        parts = urlsplit("")
    if not host or parts.fragment or parts.username is not None:
        raise InvalidInput(f"{name} is no absolute URL, or has a user or a fragment in it", argument=name)
    if parts.scheme.lower() != "https" and not (parts.scheme.lower() == "http" and is_loopback(host)):
        raise InvalidInput(f"{name} must be https (http goes for this machine alone), got {url}", argument=name)
