"""Which stored answers does this exchange make worthless? (RFC 9111 4.4)"""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from holdfast.core.caching.fields import Fields
from holdfast.core.caching.key import target

SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "QUERY", "REPORT", "SEARCH"))
"""Methods registered as safe; one that is not known may change things, so it counts as unsafe."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LONGEST_REFERENCE: Final = 65_536  # bytes
_AS_IT_IS: Final = "".join(map(chr, range(0x21, 0x7F)))


def invalidated(method: str, url: str, status: int, fields: Fields) -> list[str]:
    """URLs whose answers are to be removed, in every partition; none for a safe method or an error.

    The target always; Location and Content-Location when they are of the same origin, so that nobody can
    empty another site's cache.
    """
    if method in SAFE_METHODS or not 200 <= status < 400:
        return []
    references = (fields.get(b"location"), fields.get(b"content-location"))
    resolved = (_same_origin(url, reference) for reference in references if reference)
    return list(dict.fromkeys((target(url), *(other for other in resolved if other))))


def _same_origin(url: str, reference: bytes) -> str | None:
    """The reference as an absolute URL in the form that requests use; None for another origin."""
    if len(reference) > _LONGEST_REFERENCE:
        return None
    try:
        base = urlsplit(url)
        resolved = urlsplit(urljoin(url, quote(reference.strip(b" \t"), safe=_AS_IT_IS)))
        if _origin(base) != _origin(resolved):
            return None
    except ValueError:  # not a URL: an unclosed bracket, a port that is no number
        return None
    # The target's own spelling of the origin: that is how the key of a request for it begins.
    query = f"?{resolved.query}" if resolved.query else ""
    return target(f"{base.scheme}://{base.netloc}{resolved.path}{query}")


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or _DEFAULT_PORTS.get(url.scheme)
