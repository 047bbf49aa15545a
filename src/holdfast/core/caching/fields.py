"""How is a raw list of header fields read?

Everything stays bytes (values may hold 0x80 to 0xFF) and every function is total and linear: these
values come from the network, so none of them may raise or take longer than it is long.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Headers = Sequence[tuple[bytes, bytes]]
"""A field block as it came: names in their own case, in order, repeats kept."""

Fields = Mapping[bytes, bytes]
"""The same block for looking up: lower-case names, repeated lines joined by ``, ``."""

DELTA_CAP = 2**31
"""Seconds; a larger number, or one too long to read, means this many (RFC 9111 1.2.2)."""

LONGEST_LIST = 8_192
"""Bytes; a list that is longer is not read, and taken to say whatever lets the cache do least."""

_SPACE = b" \t"
# A quoted string, closed or not, or a comma; possessive, so that nothing is read twice.
_MARK = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?P<closed>"?)|,', re.DOTALL)


def combine(headers: Headers) -> dict[bytes, bytes]:
    """Look-up form of a field block (RFC 9110 5.2)."""
    combined = {name.lower(): value for name, value in headers}
    if len(combined) < len(headers):
        lines: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            lines.setdefault(name.lower(), []).append(value)
        combined = {name: b", ".join(values) for name, values in lines.items()}
    return combined


def split_list(value: bytes) -> list[bytes]:
    """Members of a comma-separated list, stripped, empty ones left out; commas in quotes do not split."""
    members = _split_quoted(value) if b'"' in value else value.split(b",")
    return [stripped for member in members if (stripped := member.strip(_SPACE))]


def delta_seconds(text: bytes | None) -> int | None:
    """Whole seconds from 0 to ``DELTA_CAP``; None when the text is not digits alone."""
    if text is None or not text.isdigit():
        return None
    if len(text) < 10:  # most
        return int(text)
    digits = text.lstrip(b"0")
    if len(digits) > 10:  # int() of a very long text is slow, and raises above 4,300 digits
        return DELTA_CAP
    return min(int(digits or b"0"), DELTA_CAP)


def _split_quoted(value: bytes) -> list[bytes]:
    members: list[bytes] = []
    start = 0
    for mark in _MARK.finditer(value):
        if mark[0] == b",":
            members.append(value[start : mark.start()])
            start = mark.end()
        elif not mark["closed"]:
            # A quote that never closes must not hide a directive, so what follows it is split as if unquoted.
            return members + value[start:].split(b",")
    members.append(value[start:])
    return members
