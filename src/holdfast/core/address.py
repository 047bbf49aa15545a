"""Where does a URL lead, and may a call go there? Decided before an HTTP library sees it.

Two readers of one URL must come to the same host, so whatever they could read differently is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urljoin

from holdfast.core.value import Value
from holdfast.errors import ForeignOrigin, InvalidInput

__all__ = ["Address", "absolute", "address_of", "is_absolute", "origin_text"]

# No user information (the library would make a credential of it), no backslash (a slash to some readers).
_URL: Final = (
    r"(?P<scheme>[A-Za-z]+)://(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s\x00-\x20\x7f/?#@:\\\[\]]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[^?#\s\x00-\x20\x7f\\]*)?(?P<query>\?[^#\s\x00-\x20\x7f\\]*)?(?P<fragment>#.*)?"
)
_PORTS: Final = {"http": 80, "https": 443}


class Address(Value):
    """Where a service is: ``url`` without a slash at its end, its ``origin``, and the others it may lead to."""

    def __init__(self, url: str, origin: str, allowed: frozenset[str]) -> None:
        self.url: Final = url
        self.origin: Final = origin
        self.allowed: Final = allowed

    def reach(self, reference: str, here: str | None = None) -> tuple[str, bool]:
        """A link as an absolute URL, character for character, and whether it leads to another origin.

        A relative one is resolved against ``here``. Raises `ForeignOrigin` for an origin that is not allowed.
        """
        url = absolute(reference, here or f"{self.url}/")
        origin = origin_text(url)
        if origin == self.origin:
            return url, False
        if origin not in self.allowed:
            raise ForeignOrigin(
                f"{origin} is not the origin of this service ({self.origin}); allow_origins= would allow it",
                origin=origin,
            )
        return url, True


def address_of(base_url: str, allow_origins: Iterable[str] = ()) -> Address:
    """Read a base URL. Raises `InvalidInput` for one that is not absolute, or has more than a path to it."""
    origin = origin_text(base_url)
    if "?" in base_url or "#" in base_url:
        raise InvalidInput("a base URL has neither a query nor a fragment")
    return Address(base_url.rstrip("/"), origin, frozenset(map(origin_text, allow_origins)))


def absolute(reference: str, here: str) -> str:
    """A reference that was found ``here``, as an absolute URL without fragment; one that is absolute stays as it is."""
    if re.search(r"[\x00-\x20\x7f]", reference):
        return reference  # and no URL to anybody here, where `urljoin` would leave some of these out
    if reference.startswith("//"):
        reference = f"{here.partition(':')[0]}:{reference}"
    return (reference if is_absolute(reference) else urljoin(here, reference)).partition("#")[0]


def is_absolute(reference: str) -> bool:
    """Whether it names a host: a URL with a scheme, or ``//host``."""
    return reference.startswith(("//", "\\")) or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", reference) is not None


def origin_text(url: str) -> str:
    """``https://host``, lower case, with the port only where it is not the scheme's own."""
    found = re.fullmatch(_URL, url)
    if found is None or found["scheme"].lower() not in _PORTS:
        raise InvalidInput("this is no absolute http or https URL, or one that could be read in two ways")
    scheme, host = found["scheme"].lower(), found["host"].lower()
    port = int(found["port"] or _PORTS[scheme])
    return f"{scheme}://{host}" if port == _PORTS[scheme] else f"{scheme}://{host}:{port}"
