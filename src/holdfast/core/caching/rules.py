"""What may users know better about their requests than the header fields say, and for which of them?

A rule is found by operation id or by URL template (`holdfast.core.templates`). What it says is carried out elsewhere
(`storing`, `key`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import unquote_plus

from holdfast.core.templates import Templates

IGNORABLE: Final = ("Age", "Cache-Control", "Date", "Expires", "Set-Cookie", "Vary")
"""Response fields that a rule may have ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRule:
    """What the user knows better about some requests and their answers than the header fields say.

    Given by operation id or URL template in ``Cache(rules=...)``. A field that is not ignored still forbids:
    ``ttl`` does not store what ``no-store`` says shall not be, nor reuse what ``no-cache`` wants asked again.
    Raises ValueError for a negative time, a status that is never stored, or a name that is none.

    >>> CacheRule(ttl=60.0, ttl_by_status={404: 10.0}, ignore=("Cache-Control",)).ttl
    60.0
    """

    ttl: float | None = None
    """Seconds for which an answer below 400 is fresh from its arrival on; None: what it says itself."""

    ttl_by_status: Mapping[int, float] | None = field(default=None, hash=False)
    """The same for single statuses, errors among them: ``{404: 10.0}`` asks again only after ten seconds."""

    ignore: tuple[str, ...] = ()
    """Response fields of `IGNORABLE` that are not heeded; the caller still sees them, but for Set-Cookie."""

    key_headers: tuple[str, ...] = ()
    """Request fields whose values have answers of their own, whatever Vary says."""

    ignore_query: tuple[str, ...] = ()
    """Parameters of the query that make no other answer, such as ``utm_source``."""

    groups: tuple[str, ...] = ()
    """Cache groups of the answers, beside those of Cache-Groups (RFC 9875)."""

    invalidates: tuple[str, ...] = ()
    """Cache groups of the same origin that a request with an unsafe method makes worthless."""

    never: bool = False
    """Whether the cache keeps out: no option of a request lifts this."""

    def __post_init__(self) -> None:
        by_status = dict(self.ttl_by_status or {})
        for name, seconds in [("ttl", self.ttl), *((f"ttl_by_status[{key}]", ttl) for key, ttl in by_status.items())]:
            if seconds is not None and not 0 <= seconds < float("inf"):
                raise ValueError(f"{name} must be at least 0 seconds, got {seconds}")
        for status in by_status:
            if not 200 <= status <= 599 or status in (206, 304):
                raise ValueError(f"an answer of status {status} is never stored for reuse")
        for name in ("ignore", "key_headers", "ignore_query", "groups", "invalidates"):
            _check_names(name, getattr(self, name))
        for header in self.ignore:
            if header.title() not in IGNORABLE:
                raise ValueError(f"ignore takes {', '.join(IGNORABLE)}, got {header!r}")
        for header in self.key_headers:
            if not header.isascii():
                raise ValueError(f"key_headers must be names of header fields, got {header!r}")
        if self.ttl_by_status is not None:
            object.__setattr__(self, "ttl_by_status", by_status)  # a copy: the caller may go on with theirs


class Rules(Templates[CacheRule]):
    """The rules of a cache, by operation id or URL template.

    >>> rules = Rules({"/users/{id}": CacheRule(ttl=60.0), "Users.list": CacheRule(ttl=5.0)})
    >>> rules.find("https://api.example.com/users/1").ttl
    60.0
    """

    __slots__ = ("_stripped",)

    def __init__(self, rules: Mapping[str, CacheRule]) -> None:
        super().__init__(rules, "rule")
        self._stripped = tuple(dict.fromkeys(rule.ignore_query for rule in rules.values() if rule.ignore_query))

    def spellings(self, url: str) -> tuple[str, ...]:
        """Every URL under which answers of ``url`` may be stored: itself, and what the rules strip it to."""
        if "?" not in url:
            return (url,)
        return tuple(dict.fromkeys((url, *(without_query(url, names) for names in self._stripped))))


def same_keys(before: Mapping[str, CacheRule] | None, after: Mapping[str, CacheRule] | None) -> bool:
    """Whether every request has one and the same key under both, so that what was stored is found, and purged."""
    keys = [
        {name: (rule.key_headers, rule.ignore_query) for name, rule in (rules or {}).items()}
        for rules in (before, after)
    ]
    return keys[0] == keys[1] or not any(any(names) for each in keys for names in each.values())


def without_query(url: str, names: Iterable[str]) -> str:
    """The URL without the query parameters of these names; the others stay as they are, in their order."""
    base, _, query = url.partition("?")
    parts = query.split("&")
    kept = [part for part in parts if unquote_plus(part.partition("=")[0]) not in names]
    if len(kept) == len(parts):
        return url
    return f"{base}?{'&'.join(kept)}" if kept else base


def _check_names(setting: str, names: object) -> None:
    # A lone string is a sequence of its letters: the usual slip.
    if not isinstance(names, tuple) or not all(
        isinstance(name, str) and name.strip() for name in cast("tuple[object, ...]", names)
    ):
        raise ValueError(f'{setting} must be a tuple of names such as ("...",), got {names!r}')
