"""What may a user decide about the cache?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from holdfast.core.caching.rules import CacheRule, Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """Settings of the decisions in this package.

    Raises ValueError for a number that is out of range, an identity header without a name, or rules that cannot be.

    >>> CachePolicy(shared=True).heuristic
    True
    """

    shared: bool = False
    """True for a cache between several users: RFC 9111 3.5 then rules answers to Authorization."""

    targets: tuple[str, ...] = ()
    """Fields that this cache heeds in place of Cache-Control and Expires, the first of them that is there and valid.

    ``("CDN-Cache-Control",)``, say, where it is the cache of a CDN (RFC 9213).
    """

    heuristic: bool = True
    """Whether an answer that names no lifetime may be fresh for a part of its Last-Modified age (RFC 9111 4.2.2)."""

    heuristic_fraction: float = 0.1
    """That part (RFC 9111 4.2.2 names 10 % as typical); above 0, at most 1."""

    heuristic_cap: float = 86_400.0
    """The longest such lifetime, in seconds."""

    stale_if_error: float | None = None
    """Seconds after its lifetime for which an answer may stand in for an error; None: only as the origin says.

    Where it is given, answers without lifetime and validator are stored as well. Never against must-revalidate or
    no-cache.
    """

    max_entry_bytes: int = 8 * 1024 * 1024
    """Longest body that is stored, in bytes of the wire."""

    identity_headers: tuple[str, ...] = ()
    """Request fields that tell one user from another, beside the usual four and what looks like a credential."""

    store_set_cookie: bool = False
    """Whether Set-Cookie is stored where several callers share an entry.

    They do in a shared cache, and in a private one for requests that carry no credential. One caller's
    session must not be handed to the next, so the field is left out there unless asked for.
    """

    rules: Mapping[str, CacheRule] | None = field(default=None, hash=False)
    """What the user knows better, by operation id (``"Users.get"``) or URL template (``"/users/{id}"``).

    A template is matched whole: its segments exactly, ``{name}`` with any one that is not empty; an origin in front
    (``"https://api.example.com/users/{id}"``) is matched too. One rule at most applies; see `Rules`.
    """

    def __post_init__(self) -> None:
        if self.rules is not None:
            object.__setattr__(self, "rules", dict(self.rules))  # a copy: the caller may go on with theirs
            Rules(self.rules)
        if not 0.0 < self.heuristic_fraction <= 1.0:
            raise ValueError(f"heuristic_fraction must be above 0 and at most 1, got {self.heuristic_fraction}")
        if not self.heuristic_cap >= 0.0:
            raise ValueError(f"heuristic_cap must not be negative, got {self.heuristic_cap}")
        if self.stale_if_error is not None and not self.stale_if_error >= 0.0:
            raise ValueError(f"stale_if_error must not be negative, got {self.stale_if_error}")
        if self.max_entry_bytes < 0:
            raise ValueError(f"max_entry_bytes must not be negative, got {self.max_entry_bytes}")
        for setting in ("identity_headers", "targets"):
            for name in getattr(self, setting):
                if not name.strip() or not name.isascii():
                    raise ValueError(f"{setting} must be names of header fields, got {name!r}")
