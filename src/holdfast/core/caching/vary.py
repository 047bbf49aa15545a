"""Which stored variant was made for a request like this one? (RFC 9111 4.1)

A variant is one value: the request's fields that Vary names, normalised where the field's syntax allows it.
Two requests get the same answer when their values are equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from holdfast.core.caching.entry import Entry
from holdfast.core.caching.fields import LONGEST_LIST, Fields, split_list
from holdfast.core.caching.key import Identity

ANYTHING: Final = (b"*",)
"""The names of ``Vary: *``, which no request matches."""

_MOST_NAMES: Final = 64  # each name costs every later look-up; a longer list is answered as ``*``
_REMEMBERED: Final = 256  # bytes
_UNORDERED: Final = frozenset((b"accept", b"accept-charset", b"accept-encoding", b"accept-language"))
_CASELESS: Final = frozenset((b"accept-charset", b"accept-encoding", b"accept-language"))
# Not lists: a comma in them is text, and so is the space after it.
_VERBATIM: Final = frozenset((b"user-agent", b"referer", b"origin", b"host", b"date", b"from"))


def vary_names(value: bytes | None) -> tuple[bytes, ...]:
    """Names that a Vary value lists, lower case, sorted, each once; ``ANYTHING`` if ``*`` is among them."""
    if value is None:
        return ()
    return _remembered_names(value) if len(value) <= _REMEMBERED else _read_names(value)


def variant_of(names: Sequence[bytes], fields: Fields, identity: Identity) -> bytes:
    """A request's side of the named fields; credentials appear as digests, since a store writes this down."""
    parts: list[bytes] = []
    for name in names:
        value = fields.get(name)
        if value is None:
            parts.append(b"-")
            continue
        if identity.is_proof(name):
            value = identity.conceal(value)
        elif name not in _VERBATIM:
            value = _remembered_normal(name, value) if len(value) <= _REMEMBERED else _normalise(name, value)
        parts.append(b"%d:%b" % (len(value), value))
    return b"".join(parts)


def matches(entry: Entry, fields: Fields, identity: Identity) -> bool:
    """Whether a stored response was selected by a request like this one."""
    names = entry.vary
    return not names or (names != ANYTHING and variant_of(names, fields, identity) == entry.variant)


def select(key: str, entries: Iterable[Entry], fields: Fields, identity: Identity) -> Entry | None:
    """The variant of ``key`` for a request; of several the one that came last.

    Entries of another key are passed over: a store that mixes them up costs a miss, not a wrong answer.
    """
    chosen: Entry | None = None
    for entry in entries:
        if entry.key != key or (entry.vary and not matches(entry, fields, identity)):
            continue
        if chosen is None or entry.response_time > chosen.response_time:
            chosen = entry
    return chosen


def _read_names(value: bytes) -> tuple[bytes, ...]:
    if len(value) > LONGEST_LIST:
        return ANYTHING
    names = {name.lower() for name in split_list(value)}
    if b"*" in names or len(names) > _MOST_NAMES:
        return ANYTHING
    return tuple(sorted(names))


def _normalise(name: bytes, value: bytes) -> bytes:
    if len(value) > LONGEST_LIST:
        return value
    members = split_list(value)
    if name in _CASELESS:
        members = [member.lower() for member in members]
    if name in _UNORDERED:
        members = sorted(b";".join(part.strip(b" \t") for part in member.split(b";")) for member in members)
    return b",".join(members)


_remembered_names = lru_cache(maxsize=256)(_read_names)
_remembered_normal = lru_cache(maxsize=512)(_normalise)
