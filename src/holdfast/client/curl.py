"""How would one send this call by hand? A command line in which no secret stands."""

from __future__ import annotations

import json
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

from holdfast.core.masking import MASK, is_secret, masked, masked_query

if TYPE_CHECKING:
    from holdfast.client.channel import Channel
    from holdfast.client.payload import Payload
    from holdfast.client.plan import Plan

__all__ = ["curl"]

_LONGEST: Final = 4096
"""Characters of a body that are shown."""


def curl(channel: Channel, plan: Plan, accept: bytes | None) -> str:
    """The command, with masked headers, query and body; ``***`` stands for whatever auth would add."""
    url, foreign = plan.target(channel.address.url), False
    if plan.url is not None:
        url, foreign = channel.address.reach(plan.url)
    base, mark, query = url.partition("?")
    words = ["curl", quote(base + mark + masked_query(query))]
    if plan.method not in ("GET", "HEAD"):
        words[1:1] = ["-X", plan.method]
    elif plan.method == "HEAD":
        words[1:1] = ["--head"]
    fields = {} if foreign else {**channel.headers}
    if accept is not None:
        fields = {"accept": (b"Accept", accept), **fields}
    if plan.payload is not None and plan.payload.type is not None and not hasattr(plan.payload.content, "files"):
        fields["content-type"] = (b"Content-Type", plan.payload.type.encode())
    fields |= plan.headers
    if not foreign and channel.auth_of(plan) is not None:
        fields["authorization"] = (b"Authorization", b"***")
    for name, (shown, value) in fields.items():
        text = MASK if is_secret(name) else value.decode("latin-1")
        words += ["-H", quote(f"{shown.decode()}: {text}")]
    if plan.payload is not None:
        words += _body(plan.payload)
    return " ".join(words)


def _body(payload: Payload) -> list[str]:
    form: Any = payload if payload.files is not None else payload.content
    if hasattr(form, "files"):
        named: Any = form.files.items() if hasattr(form.files, "items") else form.files
        fields = [(name, each) for name, value in form.fields.items() for each in _several(value)]
        parts = [_field(name, value) for name, value in fields] + [quote(f"{name}=@...") for name, _ in named]
        return [word for part in parts for word in ("-F", part)]
    content = payload.content
    if isinstance(content, str):
        content = content.encode()
    if not isinstance(content, bytes):
        return ["--data-binary", "@..."]
    text = content.decode("utf-8", "replace")
    if payload.type == "application/json":
        text = json.dumps(masked(json.loads(text)), ensure_ascii=False, separators=(",", ":"))
    elif payload.type == "application/x-www-form-urlencoded":
        text = masked_query(text)
    return ["--data-raw", quote(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")]


def _several(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def _field(name: str, value: Any) -> str:
    return quote(f"{name}={MASK if is_secret(name) else value}")
