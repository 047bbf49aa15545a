"""Which header fields does a call have of its own, and which of all may another origin see?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias, cast

from holdfast._wire import AROUND_ATTEMPT
from holdfast.errors import InvalidInput

__all__ = ["Fields", "headers_of", "said_to_anyone", "strip"]

Fields: TypeAlias = dict[str, tuple[bytes, bytes]]
"""Header fields by lower-case name."""

# Patterns are compiled when the first field is given: most calls have none of their own.
_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 5.6.2
_VALUE: Final = r"[^\x00-\x08\x0a-\x1f\x7f]*"  # RFC 9110 5.5
_PUBLIC: Final = frozenset({"accept", "accept-encoding", "accept-language", "connection", "user-agent"})
"""Fields that another origin may get too: they say nothing of who asks."""
_CONTENT: Final = frozenset(
    {"content-type", "content-length", "content-encoding", "transfer-encoding", "host", "range", "if-range"}
)


def headers_of(headers: Mapping[str, str]) -> Fields:
    """Header fields by name. Raises `InvalidInput`, which names the field, for what would not be one field."""
    fields: Fields = {}
    if not isinstance(cast("object", headers), Mapping):  # a placeholder of this name would come here
        raise InvalidInput(f"headers= takes fields by name, got a {type(headers).__name__}", argument="headers")
    for name, value in headers.items():
        if re.fullmatch(_NAME, name) is None:
            raise InvalidInput(f"{name!r} is no name of a header field", argument="headers")
        if not isinstance(cast("object", value), str) or re.fullmatch(_VALUE, value) is None:
            raise InvalidInput(f"the value of the header field {name} is no line of text", argument=name)
        try:
            fields[name.lower()] = (name.encode(), value.encode("latin-1"))
        except UnicodeEncodeError:
            fields[name.lower()] = (name.encode(), value.encode())  # obs-text: bytes that most servers take for UTF-8
    return fields


def said_to_anyone(fields: Mapping[str, tuple[bytes, bytes]]) -> Fields:
    """Those fields that say nothing of who asks."""
    return {name: field for name, field in fields.items() if name in _PUBLIC}


def strip(request: Any) -> None:
    """Leave nothing on a request to another origin that says who asks."""
    for name in [name for name in request.headers if name not in _PUBLIC and name not in _CONTENT]:
        del request.headers[name]
    request.extensions = {name: value for name, value in request.extensions.items() if name != AROUND_ATTEMPT}
