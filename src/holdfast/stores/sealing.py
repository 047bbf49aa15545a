"""How is a text sealed so that nobody can read it, or change it unnoticed, without the key? AES-256-GCM.

No key is used twice with one nonce: each message has a key of its own, derived from a random salt.
"""

from __future__ import annotations

import secrets
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from holdfast.core.secret import Secret
from holdfast.errors import InvalidInput
from holdfast.stores.base import StoreDamaged, StoreLocked

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["KEY_BYTES", "SALT_BYTES", "Key", "Seal", "aead", "derived"]

KEY_BYTES: Final = 32
SALT_BYTES: Final = 16

Key = bytes | Secret
"""32 random bytes, as they are or in base64."""

_NONCE: Final = bytes(12)  # each message has a key of its own


class Seal:
    """Seals whole messages under the first of some keys, and opens those of all of them.

    Raises `StoreLocked` without a key, `InvalidInput` for one that is not 32 bytes: a passphrase is no key. And
    ImportError without the extra ``crypto``.
    """

    def __init__(self, key: Key | Sequence[Key] | None) -> None:
        given = [key] if isinstance(key, (bytes, Secret)) else list(key or ())
        if not given:
            raise StoreLocked("there is no key for this store, and nothing is kept in clear instead")
        self._keys = [derived(_octets(one), b"secrets") for one in given]
        aead(self._keys[0])  # without the extra, it is known now

    def close(self, content: bytes, bound: bytes) -> bytes:
        """The message, sealed. ``bound`` is not in there, and has to be the same for opening it."""
        salt = secrets.token_bytes(SALT_BYTES)
        return salt + aead(derived(self._keys[0], b"message", salt)).encrypt(_NONCE, content, bound)

    def open(self, sealed: bytes, bound: bytes) -> bytes:
        """What `close` was given. Raises `StoreDamaged`."""
        from cryptography.exceptions import InvalidTag

        salt, rest = sealed[:SALT_BYTES], sealed[SALT_BYTES:]
        for key in self._keys:
            try:
                return aead(derived(key, b"message", salt)).decrypt(_NONCE, rest, bound)
            except InvalidTag:
                continue
        raise StoreDamaged("it was cut off or tampered with, or was sealed with another key")


def aead(key: bytes) -> AESGCM:
    """The cipher. Raises ImportError without the extra ``crypto``."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ImportError("encryption needs the extra crypto: pip install 'holdfast[crypto]'") from error
    return AESGCM(key)


def derived(key: bytes, purpose: bytes, salt: bytes = b"") -> bytes:
    """A key that follows from ``key``, for one purpose of up to 7 bytes and one salt."""
    return blake2b(salt, digest_size=KEY_BYTES, key=key, person=b"holdfast " + purpose).digest()


def _octets(key: Key) -> bytes:
    if isinstance(key, Secret):
        try:
            key = b64decode(key.reveal().strip(), altchars=b"-_", validate=True)
        except (NotBase64, ValueError):
            key = b""
    if len(key) != KEY_BYTES:
        raise InvalidInput(
            f"a key is {KEY_BYTES} random bytes, as bytes or as a Secret of their base64 (it is not shown)",
            argument="key",
        )
    return key
