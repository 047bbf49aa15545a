"""What does an authorization server's answer come to? Read from its status and its JSON; sceptical of both.

No request, no clock: callers pass ``asked_at``. Nothing that was sent as a secret is in an error's text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from holdfast.core.masking import MASK
from holdfast.core.secret import Secret
from holdfast.core.tokens import Token
from holdfast.core.value import Value
from holdfast.errors import HoldfastError

__all__ = [
    "DeviceCode",
    "TokenError",
    "device_wait",
    "json_object",
    "read_device_code",
    "read_document",
    "read_introspection",
    "read_token",
]

DEVICE_INTERVAL: Final = 5.0  # RFC 8628 3.2: what holds where the server says nothing
_LONGEST_TEXT: Final = 300
_SHORTEST_SECRET: Final = 6
"""A shorter one is in many a word, and taking it out there would tell it."""


class TokenError(HoldfastError):
    """An authorization server turned a request down, or its answer is none that a client may use.

    ``error``: its code (``invalid_grant``), or ours: ``invalid_response`` for an answer that is not OAuth's. Then
    ``error_description``, ``error_uri``, ``status_code``, and ``retry_after``: seconds that it asks to be left alone.
    """

    def __init__(
        self,
        message: str,
        *,
        error: str,
        error_description: str | None = None,
        error_uri: str | None = None,
        status_code: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.error = error
        self.error_description = error_description
        self.error_uri = error_uri
        self.status_code = status_code
        self.retry_after = retry_after


class DeviceCode(Value):
    """What a person needs to know to let a device in, and what the device asks with (RFC 8628 3.2).

    Show ``verification_uri`` and ``user_code``; ``verification_uri_complete``, if there is one, has both in it.
    ``expires_at``: seconds since 1970. ``interval``: seconds between two questions.
    """

    def __init__(
        self,
        device_code: Secret,
        user_code: str,
        verification_uri: str,
        *,
        verification_uri_complete: str | None,
        expires_at: float,
        interval: float,
    ) -> None:
        self.device_code = device_code
        self.user_code = user_code
        self.verification_uri = verification_uri
        self.verification_uri_complete = verification_uri_complete
        self.expires_at = expires_at
        self.interval = interval


def read_document(
    status: int, body: bytes, *, sent: Iterable[Secret] = (), retry_after: float | None = None
) -> dict[str, Any]:
    """The JSON object of a good answer. Raises `TokenError` for any other; ``sent``: what its text must not repeat."""
    document = json_object(body)
    if 200 <= status < 300 and document is not None and "error" not in document:
        return document
    code = None if document is None else _text(document, "error", sent)
    if document is None or code is None:
        what = "not JSON" if document is None else "no OAuth error"
        raise TokenError(
            f"the authorization server answered {status}, and what it sent is {what}",
            error="invalid_response",
            status_code=status,
            retry_after=retry_after,
        )
    description = _text(document, "error_description", sent)
    raise TokenError(
        f"the authorization server answered {status}: {code}{f' ({description})' if description else ''}",
        error=code,
        error_description=description,
        error_uri=_text(document, "error_uri", sent),
        status_code=status,
        retry_after=retry_after,
    )


def read_token(document: Mapping[str, Any], *, asked_at: float, previous: Token | None = None) -> Token:
    """The token of an answer to a request made at ``asked_at`` (seconds since 1970).

    Without ``expires_in`` nobody knows when it ends, and nothing is made up. From ``previous`` come its login, and what
    an answer may leave out: the refresh token that is not rotated, and the scope. Raises `TokenError` for an answer
    without a token.
    """
    access_token, token_type = document.get("access_token"), document.get("token_type", "Bearer")
    if not isinstance(access_token, str) or not _is_token(access_token):
        raise _unusable("it has no access_token")
    if not isinstance(token_type, str) or not token_type.isascii() or not token_type.isalnum():
        raise _unusable("its token_type is no word")
    refresh_token, scope = document.get("refresh_token"), document.get("scope")
    lifetime = _seconds(document.get("expires_in"))
    kept = None if previous is None else previous.refresh_token
    return Token(
        Secret(access_token),
        expires_at=None if lifetime is None else asked_at + lifetime,
        lifetime=lifetime,
        refresh_token=Secret(refresh_token) if isinstance(refresh_token, str) and _is_token(refresh_token) else kept,
        token_type=token_type,
        scope=scope if isinstance(scope, str) else None if previous is None else previous.scope,
        login=None if previous is None else previous.login,
    )


def read_device_code(document: Mapping[str, Any], *, asked_at: float) -> DeviceCode:
    """Raises `TokenError` for an answer that lacks what RFC 8628 3.2 requires."""
    for name in ("device_code", "user_code", "verification_uri"):
        if not isinstance(document.get(name), str) or not document[name]:
            raise _unusable(f"it has no {name}")
    lifetime = _seconds(document.get("expires_in"))
    if lifetime is None:
        raise _unusable("it has no expires_in")
    complete = document.get("verification_uri_complete")
    return DeviceCode(
        Secret(document["device_code"]),
        document["user_code"],
        document["verification_uri"],
        verification_uri_complete=complete if isinstance(complete, str) else None,
        expires_at=asked_at + lifetime,
        interval=_seconds(document.get("interval")) or DEVICE_INTERVAL,
    )


def read_introspection(document: dict[str, Any]) -> dict[str, Any]:
    """Raises `TokenError` for an answer that does not say whether the token is ``active`` (RFC 7662 2.2)."""
    if not isinstance(document.get("active"), bool):
        raise _unusable("it has no active")
    return document


def json_object(body: bytes) -> dict[str, Any] | None:
    """The object that ``body`` is, None for anything else."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", document) if isinstance(document, dict) else None


def device_wait(error: str | None, interval: float) -> float | None:
    """Seconds before the next question, after an answer with ``error`` or none at all (RFC 8628 3.5). None: the end.

    >>> device_wait("authorization_pending", 5.0), device_wait("slow_down", 5.0), device_wait("access_denied", 5.0)
    (5.0, 10.0, None)
    """
    match error:
        case "authorization_pending":
            return interval
        case "slow_down":
            return interval + DEVICE_INTERVAL
        case None:
            return 2.0 * interval
        case _:
            return None


def _unusable(why: str) -> TokenError:
    return TokenError(
        f"the authorization server's answer cannot be used: {why}", error="invalid_response", status_code=200
    )


def _is_token(text: str) -> bool:
    """Whether a header field can hold it."""
    return text.isascii() and text.isprintable() and text != "" and " " not in text


def _seconds(value: object) -> float | None:
    """A lifetime. Some servers write it as a text; 0 and less, as some write for "never", say nothing."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if 0.0 < seconds < math.inf else None


def _text(document: Mapping[str, Any], name: str, sent: Iterable[Secret]) -> str | None:
    """A text for people, in one short line, and without what we sent in confidence."""
    value = document.get(name)
    if not isinstance(value, str) or not value:
        return None
    for secret in sent:
        if len(text := secret.reveal()) >= _SHORTEST_SECRET:
            value = value.replace(text, MASK)
    return "".join(one if one.isprintable() else " " for one in value[:_LONGEST_TEXT])
