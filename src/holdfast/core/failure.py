"""What does an answer that means failure say? Its class by meaning, its problem details, its request id.

Values come from the other side, so nothing here raises: what is malformed is as if it were not there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, TypeVar, cast

from holdfast.core.document import Malformed, json_text, media_type, read_json
from holdfast.errors import (
    BadGateway,
    BadRequest,
    Conflict,
    ContentTooLarge,
    Forbidden,
    GatewayTimeout,
    Gone,
    MethodNotAllowed,
    NotFound,
    PreconditionFailed,
    Problem,
    ServerFault,
    StatusError,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unprocessable,
    UnsupportedMediaType,
)

__all__ = ["EXCERPT", "KINDS", "kind_of", "phrase_of", "problem_of", "request_id_of"]

EXCERPT: Final = 8192
"""Bytes of a body that an error keeps: enough for an API's own words, not a page of HTML."""

KINDS: Final[Mapping[int, type[StatusError]]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    409: Conflict,
    410: Gone,
    412: PreconditionFailed,
    413: ContentTooLarge,
    415: UnsupportedMediaType,
    422: Unprocessable,
    429: TooManyRequests,
    502: BadGateway,
    503: Unavailable,
    504: GatewayTimeout,
}
_LONGEST_PROBLEM: Final = 64 * 1024
_DEEPEST_PROBLEM: Final = 32  # pickle recurses too
# What services and proxies call it; the first that there is counts.
_REQUEST_IDS: Final = (
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
    "x-amz-request-id",
    "x-ms-request-id",
    "x-github-request-id",
    "x-correlation-id",
    "x-trace-id",
    "cf-ray",
)
_REQUEST_ID: Final = r"[A-Za-z0-9._:/+=@-]{1,200}"

T = TypeVar("T")


def kind_of(status: int) -> type[StatusError]:
    """The class of a status: one of its own, or that of its kind."""
    return KINDS.get(status) or (ServerFault if 500 <= status <= 599 else StatusError)


def phrase_of(status: int) -> str:
    """ "404 Not Found", or the number alone where RFC 9110 has no name for it."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def request_id_of(header: Callable[[str], str | None]) -> str | None:
    """What the server calls this exchange, if that is something which fits into a line of text."""
    for name in _REQUEST_IDS:
        value = header(name)
        if value is not None and re.fullmatch(_REQUEST_ID, value):
            return value
    return None


def problem_of(content_type: str | None, body: bytes) -> Problem | None:
    """Problem details (RFC 9457); None if the body is not declared as such, longer than 64 KiB, or no JSON object."""
    if media_type(content_type) != "application/problem+json" or len(body) > _LONGEST_PROBLEM:
        return None
    try:
        value = read_json(json_text(body, content_type), max_depth=_DEEPEST_PROBLEM)
    except Malformed:
        return None
    if not isinstance(value, dict):
        return None
    members = dict(cast("dict[str, Any]", value))  # JSON has no other keys
    return Problem(
        type=_taken(members, "type", str) or "about:blank",
        title=_taken(members, "title", str),
        status=_taken(members, "status", int),
        detail=_taken(members, "detail", str),
        instance=_taken(members, "instance", str),
        extensions=members,
    )


def _taken(members: dict[str, Any], name: str, kind: type[T]) -> T | None:
    """RFC 9457 3.1: a member whose value is of another type is ignored."""
    value = members.pop(name, None)
    return value if type(value) is kind else None
