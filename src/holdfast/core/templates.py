"""Which of the user's own settings is for this request, by operation id or by URL template?

Always exactly: ``/users`` is not ``/superusers``, and not ``/users/`` either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Generic, TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

__all__ = ["Templates"]

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

T = TypeVar("T")

_Pattern: TypeAlias = tuple[str | None, ...]
"""Segments of a path; None stands for any one that is not empty."""


class _Node(Generic[T]):
    """What may come after some segments of a path."""

    __slots__ = ("any", "text", "value")

    def __init__(self) -> None:
        self.text: dict[str, _Node[T]] = {}
        self.any: _Node[T] | None = None
        self.value: T | None = None


class Templates(Generic[T]):
    """Values by operation id or URL template, made ready for looking up. Never changed, so it may be shared.

    An operation id goes before a template; of several templates that match, one with an origin goes before one
    without, and then the one that has text where the other has a placeholder, from the left. Raises ValueError
    for a name that is neither, and for two templates that match the same URLs; ``kind`` is what it calls the values.

    >>> templates = Templates({"/users/{id}": "one", "Users.list": "all"}, "name")
    >>> templates.find("https://api.example.com/users/1")
    'one'
    >>> templates.find("https://api.example.com/superusers/1")
    """

    __slots__ = ("_by_name", "_by_origin")

    def __init__(self, values: Mapping[str, T], kind: str) -> None:
        self._by_name = dict(values)
        self._by_origin: dict[str | None, _Node[T]] = {}
        seen: dict[tuple[str | None, _Pattern], str] = {}
        for name, value in values.items():
            if "/" not in name:
                if not name or name != name.strip() or "{" in name:
                    raise ValueError(f"a {kind} needs an operation id or a URL template, got {name!r}")
                continue
            origin, pattern = _compiled(name)
            if (same := seen.setdefault((origin, pattern), name)) != name:
                raise ValueError(f"the {kind}s {same!r} and {name!r} are for the same URLs")
            _plant(self._by_origin.setdefault(origin, _Node()), pattern, value)

    def find(self, url: str, operation: str | None = None, template: str | None = None) -> T | None:
        """The value for a request to ``url`` (spelled as in the cache's keys), or None."""
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
        if (here := by_origin.get(url[:start])) and (value := _walk(here, segments, 1)) is not None:
            return value
        return _walk(anywhere, segments, 1) if (anywhere := by_origin.get(None)) else None


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


def _plant(node: _Node[T], pattern: _Pattern, value: T) -> None:
    for segment in pattern:
        if segment is not None:
            node = node.text.setdefault(segment, _Node())
        else:
            node.any = node.any or _Node()
            node = node.any
    node.value = value


def _walk(node: _Node[T], segments: list[str], at: int) -> T | None:
    """The value for the segments from ``at`` on, text before placeholders; no deeper than the templates are."""
    if at == len(segments):
        return node.value
    segment = unquote(segments[at]) if "%" in segments[at] else segments[at]
    if (child := node.text.get(segment)) and (value := _walk(child, segments, at + 1)) is not None:
        return value
    return _walk(node.any, segments, at + 1) if node.any and segment else None
