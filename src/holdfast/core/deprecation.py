"""Does a server say that what was asked for will go? ``Deprecation`` (RFC 9745), ``Sunset`` (RFC 8594), their links.

Values come from the other side, so nothing here raises; what cannot be read is as if it were not there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from holdfast.core.caching.dates import parse_date
from holdfast.core.links import links_of
from holdfast.core.value import Value

__all__ = ["Notice", "notice_of"]

_MOMENT: Final = r"@(-?[0-9]{1,11})"  # RFC 9651 3.3.7; 11 digits reach the year 5138
_YES: Final = frozenset({"true", "?1"})  # of drafts before RFC 9745


class Notice(Value):
    """``deprecated_at`` and ``sunset_at`` in wall seconds, None where it was not said; ``link``: where more is told."""

    def __init__(self, deprecated_at: float | None, sunset_at: float | None, link: str | None) -> None:
        self.deprecated_at: Final = deprecated_at
        self.sunset_at: Final = sunset_at
        self.link: Final = link


def notice_of(header: Callable[[str], str | None], here: str, wall: float) -> Notice | None:
    """What an answer from the URL ``here`` says; ``wall``: when it came. None: that nothing will go."""
    deprecation, sunset = (header("deprecation") or "").strip(), (header("sunset") or "").strip()
    found = re.fullmatch(_MOMENT, deprecation)
    deprecated_at = float(found[1]) if found else parse_date(deprecation.encode("latin-1", "replace"), wall)
    sunset_at = parse_date(sunset.encode("latin-1", "replace"), wall)
    if deprecated_at is None and sunset_at is None and deprecation.lower() not in _YES:
        return None
    links = links_of(header("link") or "", here)
    link = links.get("deprecation") or links.get("sunset")
    return Notice(deprecated_at, sunset_at, None if link is None else _bare(link))


def _bare(link: str) -> str | None:
    """Without user information, query and fragment: servers copy keys there, and this goes into logs."""
    try:
        parts = urlsplit(link)
    except ValueError:  # no URL
        return None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
