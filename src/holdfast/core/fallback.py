"""When may a call be answered in another way, and where else could it be asked? Decided from plain data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final
from urllib.parse import unquote_plus, urlsplit

from holdfast.core.caching.key import origin_of, spelled
from holdfast.core.fault import Fault
from holdfast.core.retry import IDEMPOTENT_METHODS, NOT_PROCESSED
from holdfast.core.value import Value

__all__ = ["FAILURES", "Alternatives", "Elsewhere", "may_be_asked_elsewhere"]

FAILURES: Final = frozenset({500, 502, 503, 504})
"""Statuses that say that the server failed, and nothing about the request."""

_PORTS: Final = {"http": 80, "https": 443}
_PROOF_PARAMETERS: Final = frozenset(
    {
        "accesstoken",
        "apikey",
        "auth",
        "authorization",
        "authtoken",
        "clientsecret",
        "jwt",
        "key",
        "password",
        "secret",
        "session",
        "sessionid",
        "sig",
        "signature",
        "token",
    }
)


def may_be_asked_elsewhere(
    method: str, *, idempotent: bool, keyed: bool, sends: int, status: int | None, fault: Fault | None
) -> bool:
    """Whether a call that failed after ``sends`` requests may go to another server, which knows nothing of this one.

    A key does not make that safe, since its record is with the server that may have acted on the request.
    """
    if idempotent or sends == 0 or method in IDEMPOTENT_METHODS:
        return True
    untouched = fault in (Fault.UNSENT, Fault.UNPROCESSED) or status in NOT_PROCESSED
    # Without a key, all requests but the last were untouched, or they would not have been repeated.
    return untouched and (sends == 1 or not keyed)


class Elsewhere(Value):
    """Another address for the same: its ``url``, without credentials, and the ``key`` of its origin."""

    def __init__(self, url: str, key: str) -> None:
        self.url: Final = url
        self.key: Final = key


class Alternatives:
    """Other base URLs, by the one that they stand in for. Never changed, so it may be shared.

    The longest base that matches wins, path segments stay whole. ``kept`` names parameters of the query that go along
    although they look like credentials. Raises ValueError for what is no base URL.

    >>> others = Alternatives({"https://a.example/v1": ["https://b.example"]})
    >>> [other.url for other in others.of("https://a.example/v1/users?page=2&api_key=x")]
    ['https://b.example/users?page=2']
    >>> others.of("https://a.example/v10/users")
    ()
    """

    def __init__(self, by_base: Mapping[str, Sequence[str]], kept: Collection[str] = ()) -> None:
        self._kept = frozenset(map(_plain, kept))
        self._by_base = {
            base: tuple((other, _key(other)) for other in map(_base, others))
            for base, others in sorted(
                ((_base(base), others) for base, others in by_base.items()), key=lambda pair: len(pair[0]), reverse=True
            )
        }

    def of(self, url: str) -> tuple[Elsewhere, ...]:
        """Where else the resource of ``url`` (spelled as in the cache's keys) may be had, in the order given."""
        bare, mark, query = url.partition("?")
        for base, others in self._by_base.items():
            if bare.startswith(base) and bare[len(base) : len(base) + 1] == "/":
                rest = bare[len(base) :]
                kept = "&".join(part for part in query.split("&") if not self._is_proof(part))
                tail = f"{rest}{mark}{kept}" if kept or not query else rest
                return tuple(Elsewhere(f"{other}{tail}", key) for other, key in others)
        return ()

    def _is_proof(self, parameter: str) -> bool:
        name = _plain(unquote_plus(parameter.partition("=")[0]))
        return name in _PROOF_PARAMETERS and name not in self._kept


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _base(url: str) -> str:
    """A base URL as written in keys, without a slash at its end."""
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("a base URL for failover has no user, query or fragment")  # which may be secret: not shown
    return spelled(url).rstrip("/")


def _key(base: str) -> str:
    parts = urlsplit(origin_of(base))
    return f"{parts.scheme}://{parts.netloc}" + ("" if parts.port else f":{_PORTS[parts.scheme]}")
