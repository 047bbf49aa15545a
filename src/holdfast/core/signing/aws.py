"""AWS Signature Version 4, in the ``Authorization`` header.

Source: "Create a signed AWS API request" in AWS's IAM user guide. Not offered: presigned URLs, signed chunks of a
stream, and Signature Version 4A.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from holdfast.core.secret import Secret
from holdfast.core.signing.message import Message, Unsignable

__all__ = ["S3", "UNSIGNED_PAYLOAD", "authorization"]

UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
"""Stands for the digest of a body that is not signed; S3 alone accepts it, over TLS."""

S3: Final = frozenset({"s3", "s3express", "s3-outposts", "s3-object-lambda"})
"""Services that take the path as it is, and want the body's digest in a header."""

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_UNESCAPED: Final = "-_.~"


def authorization(
    message: Message,
    *,
    access_key: str,
    secret_key: Secret,
    region: str,
    service: str,
    at: str,
    session_token: Secret | None = None,
    sign_also: Collection[str] = (),
    unsigned_payload: bool = False,
) -> list[tuple[str, str]]:
    """The header fields to add, ``Authorization`` last. ``at``: UTC time, as in ``20150830T123600Z``.

    Signed are ``host``, ``content-type``, all of ``x-amz-...``, and those named in ``sign_also`` (in lower case):
    AWS asks for these, and a proxy on the way leaves them alone. For S3 the path is taken as it is, and the body's
    digest is sent along. Raises `Unsignable` for a body or a query that cannot be signed.
    """
    # What can fail comes first, while no secret is among the locals.
    digest = UNSIGNED_PAYLOAD if unsigned_payload else hashlib.sha256(message.whole_body()).hexdigest()
    query = _query(message.query or "")
    is_s3 = service in S3
    added = [("X-Amz-Date", at)]
    if session_token is not None:
        added.append(("X-Amz-Security-Token", session_token.reveal()))
    if is_s3:
        added.append(("X-Amz-Content-SHA256", digest))
    signed = _signed_headers(message, added, sign_also)
    request = "\n".join(
        (
            message.method,
            message.path if is_s3 else _path(message.path),
            query,
            *(f"{name}:{value}" for name, value in signed.items()),
            "",
            ";".join(signed),
            digest,
        )
    )
    scope = f"{at[:8]}/{region}/{service}/aws4_request"
    text = "\n".join((_ALGORITHM, at, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = b"AWS4" + secret_key.reveal().encode("utf-8", "surrogatepass")
    for part in (at[:8], region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    names = ";".join(signed)
    credential = f"{_ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return [*added, ("Authorization", credential)]


def _signed_headers(message: Message, added: list[tuple[str, str]], also: Collection[str]) -> dict[str, str]:
    values: dict[str, list[str]] = {"host": [message.authority]}
    replaced = {name.lower() for name, _ in added}
    for name, value in message.headers:
        if name in replaced or name == "host":
            continue
        if name == "content-type" or name.startswith("x-amz-") or name in also:
            values.setdefault(name, []).append(value)
    for name, value in added:
        values[name.lower()] = [value]
    # White space around a value goes, and inside it shrinks to one space.
    return {name: ",".join(" ".join(value.split()) for value in values[name]) for name in sorted(values)}


def _path(path: str) -> str:
    """Encoded once more than it was sent, without dot segments and doubled slashes; S3 alone wants none of that."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    end = "/" if path.endswith("/") and segments else ""
    return quote(f"/{'/'.join(segments)}{end}", safe=f"/{_UNESCAPED}")


def _query(query: str) -> str:
    """Each name and value encoded in the one way AWS knows, sorted by name and then by value."""
    if "+" in query:
        raise Unsignable(
            "the query holds a '+', which some services read as a space and others as a plus sign:"
            " write %20 or %2B, so that what is signed is what is read"
        )
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return "&".join(map("=".join, sorted((_encoded(name), _encoded(value)) for name, _, value in pairs)))


def _encoded(text: str) -> str:
    return quote(unquote_to_bytes(text), safe=_UNESCAPED)
