"""To which origins does a credential belong? Decided from scheme, host and port, before anything is put on a request.

Source: RFC 6454 4, and "Protecting Credentials with HTTP APIs" (IETF draft): never in clear, so ``http`` goes for
loopback alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from holdfast.core.address import origin_text
from holdfast.core.value import Value
from holdfast.errors import InvalidInput

__all__ = ["Origins", "is_loopback"]

_PORTS: Final = {"http": 80, "https": 443}


class Origins(Value):
    """A set of origins, and of hosts below a domain where it was told so."""

    def __init__(self, exact: frozenset[str], below: tuple[tuple[str, str, int], ...], *, allow_http: bool) -> None:
        self.exact = exact
        self.below = below
        self.allow_http = allow_http

    @classmethod
    def of(cls, origins: str | Iterable[str], *, allow_http: bool = False) -> Origins:
        """Read ``https://api.example.com``, or ``https://*.example.com`` for every host below (not that one itself).

        A path is not part of an origin, and is left out. Raises `InvalidInput` for what is no URL, and for plain http
        to a host that is not this machine, unless ``allow_http``.
        """
        exact: set[str] = set()
        below: list[tuple[str, str, int]] = []
        given = [origins] if isinstance(origins, str) else list(origins)
        if not given:
            raise InvalidInput("a credential without an origin could be sent nowhere", argument="origins")
        for origin in given:
            text = origin_text(origin)
            scheme, _, authority = text.partition("://")
            if not authority.isascii():  # two spellings of one host would be two origins
                raise InvalidInput(
                    f"{text}: for a credential, a host name is written as it is sent (xn--...)", argument="origins"
                )
            if scheme == "http" and not allow_http and not is_loopback(_host(authority)):
                raise InvalidInput(
                    f"{text} is plain http: whoever is on the way could read a credential sent there."
                    " Use https, or allow_http=True",
                    argument="origins",
                )
            if authority.startswith("*."):
                host, _, port = authority[1:].partition(":")
                below.append((scheme, host, int(port or _PORTS[scheme])))
            elif "*" in authority:
                raise InvalidInput(f"{text}: a star stands for the first label of a host alone", argument="origins")
            else:
                exact.add(text)
        return cls(frozenset(exact), tuple(below), allow_http=allow_http)

    def admit(self, scheme: str, host: str, port: int | None) -> bool:
        """Whether a credential of these may go there. ``host`` in lower case and ASCII, as it is sent."""
        own = _PORTS.get(scheme)
        written = f"[{host}]" if ":" in host else host
        if (f"{scheme}://{written}" if port is None or port == own else f"{scheme}://{written}:{port}") in self.exact:
            return True
        return any(
            scheme == allowed and (port or own) == number and host.endswith(domain)
            for allowed, domain, number in self.below
        )

    def covers(self, origin: str) -> bool:
        """Whether it may go to an origin, as `origin_text` spells it."""
        scheme, _, authority = origin.partition("://")
        host = _host(authority)
        port = authority.removeprefix(f"[{host}]").removeprefix(host).removeprefix(":")
        return self.admit(scheme, host, int(port) if port else None)

    def include(self, other: Origins) -> bool:
        """Whether it may go wherever one of those may."""
        return all(map(self.covers, other.exact)) and set(other.below) <= set(self.below)

    def knows(self, host: str) -> bool:
        """Whether any of them is at this host, whatever its scheme and port."""
        return any(_host(origin.partition("://")[2]) == host for origin in self.exact) or any(
            host.endswith(domain) for _, domain, _ in self.below
        )

    def __str__(self) -> str:
        below = (f"{scheme}://*{domain}:{port}" for scheme, domain, port in self.below)
        return ", ".join([*sorted(self.exact), *below])


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name or address (RFC 6761 6.3); nothing is looked up."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _host(authority: str) -> str:
    return authority[1:].partition("]")[0] if authority.startswith("[") else authority.partition(":")[0]
