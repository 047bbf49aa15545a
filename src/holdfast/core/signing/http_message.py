"""HTTP Message Signatures (RFC 9421): what is covered, and the text that is signed.

The text is ASCII and holds one line for each covered component, so whoever signs needs nothing but a function from
bytes to bytes. Components of responses, and the parameters ``sf``, ``key``, ``req`` and ``tr``, are not offered.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl, quote, unquote

from holdfast.core.signing.message import Message, Unsignable
from holdfast.core.value import Value

__all__ = ["DEFAULT_COMPONENTS", "Parameters", "check_components", "signature_base", "signature_fields"]

DEFAULT_COMPONENTS: Final = ("@method", "@authority", "@path", "@query")
"""What says which request this is. A body is covered by ``content-digest``, which has to be sent as well (7.2.8)."""

_COMPONENT: Final = re.compile(r'(?P<name>@?[a-z0-9!#$%&\'*+.^_`|~-]+)(?:;name="(?P<parameter>[^"]*)"|(?P<bytes>;bs))?')
_DERIVED: Final = frozenset(
    {"@method", "@scheme", "@authority", "@path", "@query", "@query-param", "@request-target", "@target-uri"}
)
_LABEL: Final = re.compile(r"[a-z*][a-z0-9_.*-]*")  # a key of RFC 8941 3.1.2
_FORM_UNESCAPED: Final = "*-._"  # what application/x-www-form-urlencoded leaves as it is, letters and digits apart


class Parameters(Value):
    """What a signature says of itself (RFC 9421 2.3): times in seconds since 1970, a name for the key."""

    def __init__(
        self,
        *,
        created: int | None = None,
        expires: int | None = None,
        keyid: str | None = None,
        alg: str | None = None,
        nonce: str | None = None,
        tag: str | None = None,
    ) -> None:
        self.created = created
        self.expires = expires
        self.keyid = keyid
        self.alg = alg
        self.nonce = nonce
        self.tag = tag

    def spelled(self) -> str:
        return "".join(
            f";{name}={value if isinstance(value, int) else _string(value)}"
            for name, value in vars(self).items()
            if value is not None
        )


def check_components(components: Sequence[str]) -> None:
    """Raise `Unsignable` for what no request could be signed by: a component that is none, or one that occurs twice."""
    _parsed(components)


def signature_base(message: Message, components: Sequence[str], parameters: Parameters) -> tuple[str, str]:
    """The text to sign (2.5), and its last line's value, which goes into ``Signature-Input``.

    A component is spelled as in the RFC, without its outer quotes: ``@method``, ``content-digest``, ``x-tag;bs``,
    ``@query-param;name="id"``. Raises `Unsignable` for one that the request lacks, that occurs twice, or that is not
    known.
    """
    identifiers = _parsed(components)
    lines: list[str] = []
    for identifier, match in identifiers.items():
        value = _value(message, match["name"], match["parameter"], as_bytes=match["bytes"] is not None)
        if not value.isascii() or "\n" in value:
            name = match["name"]
            raise Unsignable(f"the value of {name!r} is not ASCII or has line breaks: cover it as {name};bs")
        lines.append(f"{identifier}: {value}")
    signed = f"({' '.join(identifiers)}){parameters.spelled()}"
    return "\n".join([*lines, f'"@signature-params": {signed}']), signed


def signature_fields(label: str, signed: str, signature: bytes) -> tuple[tuple[str, str], tuple[str, str]]:
    """``Signature-Input`` and ``Signature`` (4.1, 4.2). Raises ValueError for a label that is no key."""
    if not _LABEL.fullmatch(label):
        raise ValueError(f"label must be a structured field's key (a-z, 0-9, _ - . *), got {label!r}")
    return ("Signature-Input", f"{label}={signed}"), ("Signature", f"{label}=:{b64encode(signature).decode()}:")


def _parsed(components: Sequence[str]) -> dict[str, re.Match[str]]:
    """Components by their identifiers, in order."""
    parsed: dict[str, re.Match[str]] = {}
    for component in components:
        match = _COMPONENT.fullmatch(component)
        if match is None:
            raise Unsignable(f"{component!r} is no component that can be signed (RFC 9421 2)")
        name = match["name"]
        if name.startswith("@") and name not in _DERIVED:
            raise Unsignable(f"{name!r} is no component of a request (RFC 9421 2.2)")
        if name.startswith("@") and match["bytes"] is not None:
            raise Unsignable(f"{name!r} has no form {name};bs")
        if (name == "@query-param") is (match["parameter"] is None):
            raise Unsignable(f"{name!r} takes no name" if match["parameter"] else f'{name!r} needs ;name="..."')
        identifier = f'"{name}"{component[match.end("name") :]}'
        if identifier in parsed:
            raise Unsignable(f"{component!r} is covered twice (RFC 9421 2.5)")
        parsed[identifier] = match
    return parsed


def _value(message: Message, name: str, parameter: str | None, *, as_bytes: bool) -> str:
    if parameter is not None:
        return _query_parameter(message, parameter)
    match name:
        case "@method":
            return message.method
        case "@scheme":
            return message.scheme
        case "@authority":
            return message.authority
        case "@path":
            return message.path
        case "@query":
            return f"?{message.query or ''}"  # 2.2.7: without a query, the mark alone
        case "@request-target":
            return message.target
        case "@target-uri":
            return f"{message.scheme}://{message.authority}{message.target}"
        case _:
            return _field(message, name, as_bytes=as_bytes)


def _field(message: Message, name: str, *, as_bytes: bool) -> str:
    values = message.values(name)
    if not values:
        raise Unsignable(f"{name!r} is to be signed, but this request has no such header field")
    if as_bytes:  # 2.1.3: each value for itself, so that a comma in one cannot be moved to another
        return ", ".join(f":{b64encode(value.encode('latin-1')).decode()}:" for value in values)
    return ", ".join(values)


def _query_parameter(message: Message, encoded_name: str) -> str:
    wanted = unquote(encoded_name)
    pairs = parse_qsl(message.query or "", keep_blank_values=True)
    values = [value for name, value in pairs if name == wanted]
    if len(values) != 1:  # 2.2.8 forbids what occurs twice: an attacker could swap the two
        raise Unsignable(
            f"query parameter {encoded_name!r} occurs {len(values)} times, and has to occur once to be signed:"
            ' cover "@query" instead'
        )
    return quote(values[0], safe=_FORM_UNESCAPED).replace("~", "%7E")


def _string(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise Unsignable(f"{value!r} cannot be written as a parameter of a signature: printable ASCII only")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
