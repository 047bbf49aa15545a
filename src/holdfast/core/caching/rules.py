"""Which of the user's own rules is for this request?

A rule is found by operation id or by URL template, always exactly: ``/users`` is not ``/superusers``, and not
``/users/`` either. What a rule says is carried out elsewhere (`storing`, `key`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias, cast
from urllib.parse import unquote, unquote_plus, urlsplit

IGNORABLE: Final = ("Age", "Cache-Control", "Date", "Expires", "Set-Cookie", "Vary")
"""Response fields that a rule may have ignored."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


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


_Pattern: TypeAlias = tuple[str | None, ...]
"""Segments of a path; None stands for any one that is not empty."""


class _Node:
    """What may come after some segments of a path."""

    __slots__ = ("any", "rule", "text")

    def __init__(self) -> None:
        self.text: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.rule: CacheRule | None = None


class Rules:
    """Rules made ready for looking up. Never changed, so it may be shared.

    An operation id goes before a template; of several templates that match, one with an origin goes before one
    without, and then the one that has text where the other has a placeholder, from the left. Raises ValueError
    for a name that is neither, and for two templates that match the same URLs.

    >>> rules = Rules({"/users/{id}": CacheRule(ttl=60.0), "Users.list": CacheRule(ttl=5.0)})
    >>> rules.find("https://api.example.com/users/1").ttl
    60.0
    >>> rules.find("https://api.example.com/superusers/1")
    """

    __slots__ = ("_by_name", "_by_origin", "_stripped")

    def __init__(self, rules: Mapping[str, CacheRule]) -> None:
        self._by_name = dict(rules)
        self._by_origin: dict[str | None, _Node] = {}
        self._stripped = tuple(dict.fromkeys(rule.ignore_query for rule in rules.values() if rule.ignore_query))
        seen: dict[tuple[str | None, _Pattern], str] = {}
        for name, rule in rules.items():
            if "/" not in name:
                if not name or name != name.strip() or "{" in name:
                    raise ValueError(f"a rule needs an operation id or a URL template, got {name!r}")
                continue
            origin, pattern = _compiled(name)
            if (same := seen.setdefault((origin, pattern), name)) != name:
                raise ValueError(f"the rules {same!r} and {name!r} are for the same URLs")
            _plant(self._by_origin.setdefault(origin, _Node()), pattern, rule)

    def find(self, url: str, operation: str | None = None, template: str | None = None) -> CacheRule | None:
        """The rule for a request to ``url`` (spelled as in the keys), or None."""
        by_name = self._by_name
        if operation is not None and operation in by_name:
            return by_name[operation]
        if template is not None and template in by_name:
            return by_name[template]
        by_origin = self._by_origin
        if not by_origin:
            return None
        start = url.find("/", url.find("//") + 2)
        segments = url[start:].partition("?")[0].split("/")
        if (here := by_origin.get(url[:start])) and (rule := _walk(here, segments, 1)):
            return rule
        return _walk(anywhere, segments, 1) if (anywhere := by_origin.get(None)) else None

    def spellings(self, url: str) -> tuple[str, ...]:
        """Every URL under which answers of ``url`` may be stored: itself, and what the rules strip it to."""
        if "?" not in url:
            return (url,)
        return tuple(dict.fromkeys((url, *(without_query(url, names) for names in self._stripped))))


def without_query(url: str, names: Iterable[str]) -> str:
    """The URL without the query parameters of these names; the others stay as they are, in their order."""
    base, _, query = url.partition("?")
    parts = query.split("&")
    kept = [part for part in parts if unquote_plus(part.partition("=")[0]) not in names]
    if len(kept) == len(parts):
        return url
    return f"{base}?{'&'.join(kept)}" if kept else base


def _compiled(template: str) -> tuple[str | None, _Pattern]:
    parts = urlsplit(template)
    absolute = parts.scheme in _DEFAULT_PORTS and bool(parts.hostname)
    if not (absolute or template.startswith("/")) or template.startswith("//"):
        raise ValueError(f"a URL template begins with '/', 'http://' or 'https://', got {template!r}")
    if "?" in template or "#" in template or "@" in parts.netloc:
        raise ValueError(f"a URL template has no query, fragment or user, got {template!r}")
    segments = (parts.path or "/").split("/")[1:]
    return (_origin(parts.scheme, parts.hostname or "", parts.port) if absolute else None), tuple(
        _segment(segment, template) for segment in segments
    )


def _segment(segment: str, template: str) -> str | None:
    if segment.startswith("{") and segment.endswith("}") and segment[1:-1].isidentifier():
        return None
    if "{" in segment or "}" in segment:
        raise ValueError(f"a placeholder such as {{id}} is a whole segment of the path, got {template!r}")
    return unquote(segment)


def _origin(scheme: str, host: str, port: int | None) -> str:
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" if port in (None, _DEFAULT_PORTS[scheme]) else f"{scheme}://{host}:{port}"


def _plant(node: _Node, pattern: _Pattern, rule: CacheRule) -> None:
    for segment in pattern:
        if segment is not None:
            node = node.text.setdefault(segment, _Node())
        else:
            node.any = node.any or _Node()
            node = node.any
    node.rule = rule


def _walk(node: _Node, segments: list[str], at: int) -> CacheRule | None:
    """The rule for the segments from ``at`` on, text before placeholders; no deeper than the templates are."""
    if at == len(segments):
        return node.rule
    segment = unquote(segments[at]) if "%" in segments[at] else segments[at]
    if (child := node.text.get(segment)) and (rule := _walk(child, segments, at + 1)):
        return rule
    return _walk(node.any, segments, at + 1) if node.any and segment else None


def _check_names(setting: str, names: object) -> None:
    # A lone string is a sequence of its letters: the usual slip.
    if not isinstance(names, tuple) or not all(
        isinstance(name, str) and name.strip() for name in cast("tuple[object, ...]", names)
    ):
        raise ValueError(f'{setting} must be a tuple of names such as ("...",), got {names!r}')
