"""What does a request carry? Made when the call is made, so that what happens to a value later changes nothing."""

from __future__ import annotations

import json as standard_json
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from holdfast.core.query import ListStyle, Query, encode_query
from holdfast.core.scalar import written
from holdfast.core.value import Value
from holdfast.errors import InvalidInput

if TYPE_CHECKING:
    from holdfast.client.fields import Fields
    from holdfast.client.multipart import Form
    from holdfast.client.upload import Upload

__all__ = ["UNSET", "Content", "Payload", "Unset", "payload_of", "with_changes"]

Content: TypeAlias = (
    "bytes | str | AsyncIterable[bytes] | Iterable[bytes] | Callable[[], AsyncIterable[bytes]] | Upload"
)
"""A function makes the body anew for each send; an iterator serves one, and no second attempt."""


class Unset:
    """The type of `UNSET`."""

    def __repr__(self) -> str:
        return "UNSET"


_OF_BYTES: Final = frozenset({"content-encoding", "content-range", "content-md5", "content-digest", "digest"})
"""Fields that say something of a body's very bytes, which are then left as they are."""
UNSET: Final = Unset()
"""Not given, where None has a meaning of its own."""


class Payload(Value):
    """A body: ``content`` with its ``type``, or what the HTTP library makes a multipart body of.

    ``form``: the encoded pairs of a form, by name.
    """

    def __init__(
        self,
        content: Content | Form | None,
        type: str | None,
        files: Any = None,
        fields: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> None:
        self.content: Final = content
        self.type: Final = type
        self.files: Final = files
        self.fields: Final = fields
        self.form: Final = form

    @property
    def replayable(self) -> bool:
        """Whether an iterator says of itself that it can be read again, as an `Upload` of a file does."""
        return getattr(self.content, "replayable", False) is True

    def length(self) -> int | None:
        """The bytes that an `Upload`, or a form of some, will send, if it knows. Raises OSError."""
        length: Callable[[], int | None] | None = getattr(self.content, "length", None)
        return None if length is None else length()


def payload_of(json: Any, content: Content | None, form: Query | None, files: Any, style: ListStyle) -> Payload | None:
    """The one body that was given, or None. Raises `InvalidInput` for two of them, and for what JSON cannot say."""
    given = [
        name
        for name, there in (
            ("json", json is not UNSET),
            ("content", content is not None),
            ("form", form is not None and files is None),
            ("files", files is not None),
        )
        if there
    ]
    if len(given) > 1:
        raise InvalidInput(f"a request has one body, got {' and '.join(given)}", argument=given[1])
    if json is not UNSET:
        return Payload(json_bytes(json), "application/json")
    if files is not None:
        from holdfast.client.multipart import form_of

        fields = {name: _field(name, value) for name, value in (form or {}).items() if value is not None}
        long = form_of(fields, files)
        return Payload(None, None, files, fields) if long is None else Payload(long, long.type)
    if form is not None:
        return _form_payload(encode_query(form, style))
    if content is None:
        return None
    return Payload(content, "text/plain; charset=utf-8" if isinstance(content, str) else None)


def checked_compress(at_least: int | None) -> int | None:
    """A number of bytes, or None. Raises `InvalidInput`."""
    if at_least is not None and (type(at_least) is not int or at_least < 0):
        raise InvalidInput(f"compress is a number of bytes, or None, got {at_least!r}", argument="compress")
    return at_least


def packed(content: bytes | str, fields: Fields, at_least: int) -> bytes | str:
    """The content in gzip, and told so, where that makes it shorter and no field says anything of its bytes."""
    from holdfast.core.compression import gzipped

    if not fields.keys().isdisjoint(_OF_BYTES):
        return content
    body = content.encode() if isinstance(content, str) else content
    made = gzipped(body, fields["content-type"][1].decode("latin-1") if "content-type" in fields else None, at_least)
    if made is None:
        return content
    fields["content-encoding"] = (b"Content-Encoding", b"gzip")
    return made


def json_bytes(value: Any) -> bytes:
    """Compact JSON in UTF-8. Raises `InvalidInput` for NaN, for cycles, and for objects of unknown classes."""
    try:
        text = standard_json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"this value is no JSON: {type(error).__name__}", argument="json") from error


def with_changes(
    payload: Payload | None, json: Mapping[str, Any] | None, form: Query | None, style: ListStyle, method: str
) -> Payload | None:
    """A body with these members of its JSON object, or these fields of its form, over those of the same name.

    Raises `InvalidInput` for a body that has none, and for a method without a body.
    """
    if json is not None:
        payload = _with_members(payload, json, method)
    return payload if form is None else _with_fields(payload, form, style, method)


def _with_members(payload: Payload | None, members: Mapping[str, Any], method: str) -> Payload:
    """The JSON object of a body, with these members merged into it (RFC 7396). Raises `InvalidInput` for another."""
    text = b"{}" if payload is None else payload.content if payload.type == "application/json" else None
    before = standard_json.loads(text) if isinstance(text, bytes) and method not in ("GET", "HEAD") else None
    if not isinstance(before, dict):
        raise InvalidInput("json= changes members of a JSON object, and this call's body is none", argument="json")
    after = _merged(before, standard_json.loads(json_bytes(members)))
    return Payload(json_bytes(after), "application/json")


def _with_fields(payload: Payload | None, fields: Query, style: ListStyle, method: str) -> Payload:
    """A form with these fields over those of the same name, None for none. Raises `InvalidInput` for another body."""
    before: Mapping[str, str] | None = {} if payload is None else payload.form
    if before is None or method in ("GET", "HEAD"):
        raise InvalidInput("form= changes fields of a form, and this call's body is none", argument="form")
    return _form_payload({**before, **encode_query(fields, style)})


def _form_payload(form: Mapping[str, str]) -> Payload:
    content = "&".join(filter(None, form.values())).encode()
    return Payload(content, "application/x-www-form-urlencoded", form=form)


def _merged(value: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged: dict[str, Any] = {**value} if isinstance(value, dict) else {}
    for name, each in cast("dict[str, Any]", patch).items():
        if each is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), each)
    return merged


def _plain(value: Any) -> Any:
    """What stands for an object in JSON: a model's own dump, a record's fields, a value's spelling."""
    kind: Any = cast("object", type(value))  # asked for marks of libraries that are not imported here
    if hasattr(kind, "model_dump"):  # pydantic
        return value.model_dump(mode="json", by_alias=True)
    if hasattr(kind, "__struct_fields__"):
        import msgspec

        return msgspec.to_builtins(value)
    if hasattr(kind, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in kind.__dataclass_fields__}
    if hasattr(kind, "__attrs_attrs__"):
        return {each.name: getattr(value, each.name) for each in kind.__attrs_attrs__}
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Any]", value))
    if isinstance(value, (set, frozenset)):
        return list(cast("Iterable[Any]", value))
    return written(value, "a member")


def _field(name: str, value: Any) -> Any:
    if isinstance(value, (list, tuple, set, frozenset)):
        return [written(item, name) for item in cast("Iterable[Any]", value)]
    return written(value, name)
