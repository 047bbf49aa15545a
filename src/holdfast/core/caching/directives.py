"""What does Cache-Control say? (RFC 9111 5.2)

Names are case-insensitive, arguments may be quoted, unknown directives are ignored. Where a header
contradicts itself or cannot be read, the answer that reuses less wins: of two ``max-age`` the smaller, an
unreadable time is 0, and a field longer than ``LONGEST_LIST`` is a no-store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from holdfast.core.caching.fields import DELTA_CAP, LONGEST_LIST, delta_seconds, split_list

_ESCAPE = b"\\"
_TIMES = (b"max-age", b"s-maxage", b"stale-while-revalidate", b"stale-if-error")
_REMEMBERED = 256  # bytes; longer values are read anew, so that hostile ones cannot fill the memory


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseDirectives:
    """Cache-Control of a response; times in whole seconds, None when absent."""

    no_store: bool = False
    no_cache: bool = False  # unqualified: nothing may be reused unvalidated
    no_cache_fields: frozenset[bytes] = frozenset()  # lower case; only these may not
    private: bool = False
    private_fields: frozenset[bytes] = frozenset()
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    max_age: int | None = None
    s_maxage: int | None = None
    stale_while_revalidate: int | None = None  # RFC 5861
    stale_if_error: int | None = None
    targeted: bool = False  # of a field that Expires does not stand beside (RFC 9213 2.2)

    def forbids_stale(self, *, shared: bool) -> bool:
        """Whether a stale answer may never be used without asking the origin (RFC 9111 4.2.4)."""
        if self.must_revalidate or self.no_cache:
            return True
        # RFC 9111 5.2.2.10: s-maxage implies proxy-revalidate.
        return shared and (self.proxy_revalidate or self.s_maxage is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDirectives:
    """Cache-Control of a request; times in whole seconds, None when absent."""

    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    min_fresh: int | None = None
    max_stale: float | None = None  # DELTA_CAP when any staleness will do
    stale_if_error: int | None = None  # RFC 5861


LISTING = (b"no-cache", b"private")
"""Directives that may be about some fields of the response only, which their argument lists."""

NO_RESPONSE_DIRECTIVES = ResponseDirectives()
NO_REQUEST_DIRECTIVES = RequestDirectives()


def response_directives(value: bytes | None) -> ResponseDirectives:
    """Read a response's Cache-Control; equal short values give the same object, which entries then share."""
    if value is None:
        return NO_RESPONSE_DIRECTIVES
    return _remembered_response(value) if len(value) <= _REMEMBERED else _read_response(value)


def request_directives(value: bytes | None) -> RequestDirectives:
    """Read a request's Cache-Control."""
    if value is None:
        return NO_REQUEST_DIRECTIVES
    return _remembered_request(value) if len(value) <= _REMEMBERED else _read_request(value)


def collect(said: Iterable[tuple[bytes, bytes | None]]) -> ResponseDirectives:
    """Directives of a response from their names, in lower case, and arguments."""
    flags: set[bytes] = set()
    seconds: dict[bytes, int] = {}
    listed: dict[bytes, set[bytes]] = {name: set() for name in LISTING}
    for name, argument in said:
        if name in listed and (names := _field_names(argument)):
            listed[name] |= names
        elif name in _TIMES:
            seconds[name] = min(delta_seconds(argument) or 0, seconds.get(name, DELTA_CAP))
        else:
            flags.add(name)
    return ResponseDirectives(
        no_store=b"no-store" in flags,
        no_cache=b"no-cache" in flags,
        no_cache_fields=frozenset(listed[b"no-cache"]),
        private=b"private" in flags,
        private_fields=frozenset(listed[b"private"]),
        public=b"public" in flags,
        must_revalidate=b"must-revalidate" in flags,
        proxy_revalidate=b"proxy-revalidate" in flags,
        must_understand=b"must-understand" in flags,
        max_age=seconds.get(b"max-age"),
        s_maxage=seconds.get(b"s-maxage"),
        stale_while_revalidate=seconds.get(b"stale-while-revalidate"),
        stale_if_error=seconds.get(b"stale-if-error"),
    )


def _read_response(value: bytes) -> ResponseDirectives:
    if len(value) > LONGEST_LIST:
        return ResponseDirectives(no_store=True)
    return collect(_directives(value))


def _read_request(value: bytes) -> RequestDirectives:
    if len(value) > LONGEST_LIST:
        return RequestDirectives(no_store=True)
    flags: set[bytes] = set()
    max_age: int | None = None
    min_fresh: int | None = None
    max_stale: float | None = None
    stale_if_error: int | None = None
    for name, argument in _directives(value):
        match name:
            case b"max-age":
                max_age = min(delta_seconds(argument) or 0, DELTA_CAP if max_age is None else max_age)
            case b"min-fresh":
                asked = delta_seconds(argument)
                min_fresh = max(DELTA_CAP if asked is None else asked, min_fresh or 0)
            case b"max-stale":
                allowed = DELTA_CAP if argument is None else delta_seconds(argument) or 0
                max_stale = min(allowed, DELTA_CAP if max_stale is None else max_stale)
            case b"stale-if-error":
                permitted = delta_seconds(argument) or 0
                stale_if_error = min(permitted, DELTA_CAP if stale_if_error is None else stale_if_error)
            case _:
                flags.add(name)
    return RequestDirectives(
        no_store=b"no-store" in flags,
        no_cache=b"no-cache" in flags,
        only_if_cached=b"only-if-cached" in flags,
        max_age=max_age,
        min_fresh=min_fresh,
        max_stale=max_stale,
        stale_if_error=stale_if_error,
    )


_remembered_response = lru_cache(maxsize=512)(_read_response)
_remembered_request = lru_cache(maxsize=128)(_read_request)


def _directives(value: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    for member in split_list(value):
        name, equals, argument = member.partition(b"=")
        # "max-age =1" breaks the grammar: the directive is meant, but its argument is not to be trusted.
        spaced = name[-1:] in (b" ", b"\t")
        name = name.rstrip(b" \t").lower()
        if not equals:
            yield name, None
        else:
            yield name, b"" if spaced else _unquote(argument)


def _unquote(argument: bytes) -> bytes:
    if len(argument) < 2 or argument[:1] != b'"' or argument[-1:] != b'"':
        return argument
    inner = argument[1:-1]
    if _ESCAPE not in inner:
        return inner
    # Split at escaped backslashes first, so that their second half does not escape what follows.
    return _ESCAPE.join(part.replace(_ESCAPE, b"") for part in inner.split(_ESCAPE * 2))


def _field_names(argument: bytes | None) -> set[bytes]:
    if argument is None:
        return set()
    return {name.strip(b' \t"').lower() for name in argument.split(b",")} - {b""}
