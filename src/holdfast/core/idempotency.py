"""Which requests carry an idempotency key, and how is it written? (draft-ietf-httpapi-idempotency-key-header)

By its key a server knows a request that comes a second time, and does not act twice. Keys are made elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import field

from holdfast.core.retry import check_methods
from holdfast.core.settings import Settings

__all__ = ["IdempotencyKeys"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2


class IdempotencyKeys(Settings):
    """Gives each call of ``methods`` a key of its own: a random UUID, the same for all of its attempts.

    With a key a request counts as idempotent, so it is sent again after any passing fault. Only for servers that
    heed the ``header``: to one that does not know it, a POST that is sent twice is two. A value that the caller gives
    is kept. ``quoted`` writes a new one as a string of structured fields, as the draft has it; Stripe, Adyen and
    Square take it bare. Raises ValueError for a name that is none.

    >>> IdempotencyKeys(header="X-Request-Id").quoted
    False
    """

    methods: frozenset[str] = field(default=frozenset({"POST", "PATCH"}))
    header: str = "Idempotency-Key"
    quoted: bool = False

    def __post_init__(self) -> None:
        if _TOKEN.fullmatch(self.header) is None:
            raise ValueError(f"header must be the name of a header field, got {self.header!r}")
        check_methods(self.methods)

    def written(self, key: str) -> str:
        """``key`` as it stands in the header."""
        return f'"{key}"' if self.quoted else key
