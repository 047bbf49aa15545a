"""Which field says how long an answer may be kept? (RFC 9213)

Cache-Control, unless the cache was told to heed fields that are meant for its kind, such as CDN-Cache-Control.
They are Dictionaries (RFC 9651), whose rules are strict where Cache-Control's are lenient: one that breaks them
is no field at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from holdfast.core.caching.directives import LISTING, ResponseDirectives, collect, response_directives
from holdfast.core.caching.fields import LONGEST_LIST, Fields

# Possessive throughout, so that nothing is read twice. Not compiled here, as in dates.py.
_KEY: Final = rb"[a-z*][a-z0-9_\-.*]*+"
_INTEGER: Final = rb"-?+[0-9]{1,15}+(?![0-9.])"
_STRING: Final = rb'"(?:[ !#-\[\]-~]|\\["\\])*+"'
_BARE: Final = (
    rb"(?:"
    + _INTEGER
    + rb"|-?+[0-9]{1,12}+\.[0-9]{1,3}+(?![0-9.])|"
    + _STRING
    + rb"|[A-Za-z*][!#-'*+\-./0-:A-Z^-z|~]*+"
    rb"|:[A-Za-z0-9+/=]*+:|\?[01]|@-?+[0-9]{1,15}+|%\"[ !#-~]*+\")"
)
_PARAMETERS: Final = rb"(?:; *+" + _KEY + rb"(?:=" + _BARE + rb")?+)*+"
_INNER: Final = rb"\( *+(?:" + _BARE + _PARAMETERS + rb"(?: ++|(?=\))))*+\)"
_MEMBER: Final = rb"(?P<name>" + _KEY + rb")(?:=(?P<argument>" + _INNER + rb"|" + _BARE + rb"))?+" + _PARAMETERS
_COMMA: Final = rb"[ \t]*+,[ \t]*+"


def effective_directives(fields: Fields, targets: tuple[str, ...]) -> ResponseDirectives:
    """The directives that hold for a response; those of the first of ``targets`` that is there, not empty and valid."""
    for name in targets:
        value = fields.get(name.lower().encode("ascii"))
        if value is not None and (members := dictionary(value)):
            return replace(collect(_arguments(members)), targeted=True)
    return response_directives(fields.get(b"cache-control"))


def dictionary(value: bytes) -> dict[bytes, bytes | None] | None:
    """Members of a Dictionary (RFC 9651 3.2) by name, the last of each, as they stand; None if it is none.

    A member without a value, which is true, is None. Parameters are left out.
    """
    text = value.strip(b" ")
    if len(text) > LONGEST_LIST:
        return None
    members: dict[bytes, bytes | None] = {}
    at = 0
    while member := re.compile(_MEMBER).match(text, at):
        members[member["name"]] = member["argument"]
        if member.end() == len(text):
            return members
        comma = re.compile(_COMMA).match(text, member.end())
        if comma is None:
            return None
        at = comma.end()
    return members if not text else None


def _arguments(members: dict[bytes, bytes | None]) -> Iterator[tuple[bytes, bytes | None]]:
    """The members as directives with arguments; one of the wrong type is an argument that cannot be read."""
    for name, value in members.items():
        if value is None or value == b"?1":
            yield name, None
        elif value == b"?0":
            continue
        elif name in LISTING:
            yield name, re.sub(rb"\\(.)", rb"\1", value[1:-1]) if value.startswith(b'"') else b""
        else:
            yield name, value if re.fullmatch(_INTEGER, value) else b""
