"""Types with a pydantic model in them, decoded by pydantic."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, Literal

from pydantic import (
    PydanticSchemaGenerationError,
    PydanticUndefinedAnnotation,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
)

from holdfast.client.forms import Unknown
from holdfast.client.shapes import Mismatch, items_in, kind_of_json, member, names_in
from holdfast.core.document import Malformed, check_depth, read_json

__all__ = ["PydanticReader"]

_NO_NUMBERS: Final = (b"NaN", b"Infinity")


class PydanticReader:
    """pydantic's own rules for a type, in its JSON mode: its aliases, its validators, its leniency."""

    def __init__(self, into: Any, *, strict: bool) -> None:
        self._known: frozenset[str] | None = None
        self._extra: Literal["forbid"] | None = "forbid" if strict else None  # None: as the model says
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(into)
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation) as error:
            raise Unknown(f"pydantic cannot decode {into!r}") from error

    def json(self, text: bytes, max_depth: int) -> Any:
        check_depth(text, max_depth)
        if any(each in text for each in _NO_NUMBERS):  # pydantic takes them, JSON does not
            read_json(text, max_depth=max_depth)
        return self._validated(text)

    def value(self, value: Any) -> Any:
        return self._validated(json.dumps(value).encode())  # a strict model takes from JSON what it takes from no dict

    def _validated(self, text: bytes) -> Any:
        try:
            return self._adapter.validate_json(text, extra=self._extra)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=True)[0]
            if first["type"] == "json_invalid":
                raise Malformed("JSON", "something else") from None
            raised = first.get("ctx", {}).get("error")  # by a validator of the user's; pydantic has a text there
            cause = raised if isinstance(raised, BaseException) else None
            raise _mismatch(first, text, self._names()) from cause

    def _names(self) -> frozenset[str]:
        """All names of fields in the type; looked up for the first error, and none where there is no schema of it."""
        if self._known is None:
            try:
                self._known = frozenset(_properties(self._adapter.json_schema()))
            except PydanticUserError:
                self._known = frozenset()
        return self._known


def _properties(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for name, inner in names_in(schema).items():
            if name == "properties" and isinstance(inner, dict):
                yield from names_in(inner)
            yield from _properties(inner)
    elif isinstance(schema, list):
        for inner in items_in(schema):
            yield from _properties(inner)


def _mismatch(first: Any, text: bytes, known: frozenset[str]) -> Mismatch:
    kind: str = first["type"]
    missing = kind == "missing"
    mismatch = Mismatch(
        "a value" if missing else _EXPECTED.get(kind, f"what the type allows (pydantic: {kind})"), "nothing"
    )
    if not missing:
        mismatch.got = kind_of_json(first["input"])
    at: Any = json.loads(text)
    for number, step in enumerate(first["loc"], 1):
        if isinstance(at, list) and isinstance(step, int):
            at = items_in(at)[step]
            mismatch.steps.insert(0, f"[{step}]")
        elif isinstance(at, dict) and (step in at or (missing and number == len(first["loc"]))):
            at = names_in(at).get(step)
            is_field = step in known or kind == "extra_forbidden"
            mismatch.steps.insert(0, member(str(step)) if is_field else "[...]")
        # else it names a member of a union or a step of a validator, which are no part of the answer
    return mismatch


_EXPECTED: Final = {
    "bool_type": "a boolean",
    "bool_parsing": "a boolean",
    "date_from_datetime_parsing": "a date",
    "datetime_from_date_parsing": "a date and time",
    "datetime_parsing": "a date and time",
    "decimal_parsing": "a decimal number",
    "dict_type": "an object",
    "extra_forbidden": "only the names of the model",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "int_type": "an integer",
    "list_type": "an array",
    "model_type": "an object",
    "none_required": "null",
    "string_type": "a string",
    "uuid_parsing": "a UUID",
}
