"""What identifies a body? ``Content-Digest`` (RFC 9530), and the hex digests of other schemes."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Final, Literal

__all__ = ["Algorithm", "content_digest"]

Algorithm = Literal["sha-256", "sha-512"]
"""The algorithms that RFC 9530 5 calls active; the others are broken, and are not offered."""

_HASHES: Final = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}


def content_digest(body: bytes, algorithm: Algorithm = "sha-256") -> str:
    """The value of ``Content-Digest`` for the bytes sent, content coding included.

    >>> content_digest(b'{"hello": "world"}')
    'sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:'
    """
    return f"{algorithm}=:{b64encode(_HASHES[algorithm](body).digest()).decode()}:"
