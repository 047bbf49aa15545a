"""The HMAC that an API has made up for itself: which parts, in which order, how joined.

There are hundreds of them, and all are this: a few parts of the request, one below the other, under a shared key.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Sequence
from typing import Final, Literal, get_args

from holdfast.core.signing.message import Message

__all__ = ["ALL_PARTS", "PARTS", "Encoding", "Hash", "Part", "canonical", "signature"]

Part = Literal["method", "scheme", "authority", "path", "query", "target", "digest", "body", "timestamp", "nonce"]
Hash = Literal["sha256", "sha384", "sha512"]
Encoding = Literal["hex", "base64"]

PARTS: Final[tuple[Part, ...]] = get_args(Part)

ALL_PARTS: Final[tuple[Part, ...]] = ("method", "authority", "path", "query", "digest", "timestamp", "nonce")
"""What a signature has to cover for a request not to be turned into another one, nor to be sent twice."""


def canonical(
    message: Message,
    *,
    timestamp: str,
    nonce: str,
    parts: Sequence[Part] = ALL_PARTS,
    separator: str = "\n",
    algorithm: Hash = "sha256",
) -> bytes:
    """The bytes to sign. ``digest`` is the hex digest of the body sent, by the HMAC's own hash function.

    Path and query are as sent. Raises `Unsignable` if the body is asked for and not known.

    >>> order = Message(method="POST", scheme="https", authority="api.example.com", target="/orders?dry=1", body=b"{}")
    >>> canonical(order, timestamp="1700000000", nonce="n1", parts=("method", "target", "timestamp", "body"))
    b'POST\\n/orders?dry=1\\n1700000000\\n{}'
    """
    return separator.encode().join(
        _part(message, part, timestamp=timestamp, nonce=nonce, algorithm=algorithm) for part in parts
    )


def signature(key: bytes, signed: bytes, *, algorithm: Hash = "sha256", encoding: Encoding = "hex") -> str:
    """HMAC (RFC 2104) of ``signed``, spelled as asked."""
    mac = hmac.digest(key, signed, algorithm)
    return mac.hex() if encoding == "hex" else b64encode(mac).decode()


def _part(message: Message, part: Part, *, timestamp: str, nonce: str, algorithm: Hash) -> bytes:
    match part:
        case "body":
            return message.whole_body()
        case "digest":
            return hashlib.new(algorithm, message.whole_body()).hexdigest().encode()
        case "timestamp":
            return timestamp.encode()
        case "nonce":
            return nonce.encode()
        case "query":
            return (message.query or "").encode()
        case _:
            value: str = getattr(message, part)
            return value.encode()
