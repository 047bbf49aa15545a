"""Which header fields prove who asks?

By their names alone, since APIs make up their own: what looks like a credential is treated as one.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["is_proof"]

_PROOF: Final = re.compile("auth|cookie|credential|jwt|key|passw|secret|session|signature|token")
_NO_PROOF: Final = frozenset({"idempotency-key", "sec-websocket-key"})


def is_proof(header: str) -> bool:
    """Whether a header field, by its name in small letters, looks like a credential: those are one user's alone."""
    return _PROOF.search(header) is not None and header not in _NO_PROOF
