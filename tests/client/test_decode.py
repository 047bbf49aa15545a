"""Bodies become values of a type, or a DecodeError that says where they do not fit. Nothing else."""

from __future__ import annotations

import copy
import functools
import json
import math
import pickle
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.client.decode import decoder_for
from holdfast.core.failure import EXCERPT
from holdfast.errors import DecodeError
from tests.support import CHARACTERS, FamilyModules

T = TypeVar("T")
UserId = NewType("UserId", int)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1


class Lenient(Enum):
    KNOWN = "known"
    OTHER = "other"

    @classmethod
    def _missing_(cls, value: object) -> Lenient:
        return cls.OTHER


@dataclass(frozen=True)
class User:
    id: int
    name: str
    email: str | None = None


@dataclass
class Admin:
    id: int
    name: str
    rights: list[str]


@dataclass
class Cat:
    kind: Literal["cat"]
    lives: int = 9


@dataclass
class Dog:
    kind: Literal["dog"]
    lives: int = 1


@dataclass
class Tree:
    value: int
    children: list[Tree] = field(default_factory=list)


@dataclass
class Page(Generic[T]):
    items: list[T]
    next: str | None = None


@dataclass
class UserPage(Page[User]):
    total: int = 0


@dataclass
class Renamed:
    created_at: datetime = field(metadata={"json": "createdAt"})
    counted: int = field(default=0, init=False)


@dataclass
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value < 1:
            raise ValueError(f"{self.value} is not positive")


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Point(NamedTuple):
    x: int
    y: int = 0


@attrs.define
class Account:
    id: int
    _note: str = ""
    owner: User | None = None
    tags: list[str] = attrs.field(factory=list, converter=list)
    limit: int = attrs.field(default=1, validator=attrs.validators.ge(1))


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    id: int
    at: datetime | None = None
    tags: dict[str, int] = {}


class Checked(pydantic.BaseModel):
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def no_space(cls, name: str) -> str:
        if " " in name:
            raise ValueError(f"{name!r} has a space")
        return name


class Struct(msgspec.Struct):
    id: int
    at: datetime | None = None
    tags: dict[str, int] = {}


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    id: int


@dataclass
class Mixed:
    model: Model


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


ADA: Final = {"id": 1, "name": "Ada"}
NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACCOUNT: Final = Account(1, "n", User(1, "Ada"), ["a"])  # type: ignore[list-item]  # mypy does not know what list takes


@pytest.mark.parametrize(
    ("into", "said", "value"),
    [
        (User, ADA, User(1, "Ada")),
        (User, {**ADA, "email": None, "more": [1]}, User(1, "Ada")),
        (User | None, None, None),
        (User | None, ADA, User(1, "Ada")),
        (list[User], [ADA, ADA], [User(1, "Ada")] * 2),
        (dict[str, User], {"a": ADA}, {"a": User(1, "Ada")}),
        (Mapping[int, str], {"7": "x"}, {7: "x"}),
        (dict[Colour, int], {"red": 1}, {Colour.RED: 1}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[int, ...], [1, 2], (1, 2)),
        (Sequence[int], [1], [1]),
        (set[int], [1, 1], {1}),
        (frozenset[str], ["a"], frozenset({"a"})),
        (list, [1, "a"], [1, "a"]),
        (dict, {"a": 1}, {"a": 1}),
        (Any, {"a": [None]}, {"a": [None]}),
        (int, 1, 1),
        (int, 1.0, 1),
        (float, 1, 1.0),
        (bool, True, True),
        (Decimal, "1.10", Decimal("1.10")),
        (Decimal, 1.1, Decimal("1.1")),
        (Decimal, 12345678901234567890, Decimal(12345678901234567890)),
        (datetime, "2026-03-01T12:00:00Z", NOON),
        (date, "2026-03-01", date(2026, 3, 1)),
        (timedelta, "P1DT2H3.5S", timedelta(days=1, hours=2, seconds=3.5)),
        (timedelta, "-PT1M", -timedelta(minutes=1)),
        (UUID, "12345678-1234-5678-1234-567812345678", UUID("12345678-1234-5678-1234-567812345678")),
        (list[bytes], ["aGk="], [b"hi"]),
        (Colour, "red", Colour.RED),
        (Level, 1, Level.LOW),
        (Lenient, "new", Lenient.OTHER),
        (Literal["a", 1], 1, 1),
        (UserId, 5, 5),
        (Annotated[int, "a remark"], 5, 5),
        (Annotated[list[int], ["no hash"]], [5], [5]),
        (Movie, {"title": "M"}, {"title": "M"}),
        (Movie, {"title": "M", "year": 1931, "more": 1}, {"title": "M", "year": 1931}),
        (Point, {"x": 1}, Point(1, 0)),
        (Point, [1, 2], Point(1, 2)),
        (Page[User], {"items": [ADA]}, Page([User(1, "Ada")])),
        (UserPage, {"items": [ADA], "total": 1}, UserPage([User(1, "Ada")], None, 1)),
        (Tree, {"value": 1, "children": [{"value": 2}]}, Tree(1, [Tree(2)])),
        (Renamed, {"createdAt": "2026-03-01T12:00:00+00:00", "counted": 5}, Renamed(NOON)),
        (Account, {"id": 1, "note": "n", "owner": ADA, "tags": ["a"]}, ACCOUNT),
        (Model, {"id": 1, "at": "2026-03-01T12:00:00Z"}, Model(id=1, at=NOON)),
        (list[Model | None], [{"id": 1}, None], [Model(id=1), None]),
        (Mixed, {"model": {"id": 1}}, Mixed(Model(id=1))),
        (Annotated[int, pydantic.Field(gt=0)], 5, 5),
        (Struct, {"id": 1, "at": "2026-03-01T12:00:00Z"}, Struct(1, NOON)),
        (dict[int, Struct], {"7": {"id": 1}}, {7: Struct(1)}),
        (Annotated[int, msgspec.Meta(gt=0)], 5, 5),
    ],
)
def test_each_type_takes_its_json(into: Any, said: Any, value: Any) -> None:
    decoded = decoder_for(into).decode(body(said), "application/json")
    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.parametrize(
    ("into", "said", "where", "expected", "got"),
    [
        (User, {"id": 1}, "$.name", "a string", "nothing"),
        (User, {"id": "1", "name": "a"}, "$.id", "an integer", "a string"),
        (User, {"id": True, "name": "a"}, "$.id", "an integer", "a boolean"),
        (User, {"id": 1.5, "name": "a"}, "$.id", "an integer", "a number with a fraction"),
        (User, [ADA], "$", "User (an object)", "an array"),
        (User, None, "$", "User (an object)", "null"),
        (User | None, {"id": 1}, "$.name", "a string", "nothing"),
        (Page[User], {"items": [ADA, ADA, ADA, {"id": 1, "name": None}]}, "$.items[3].name", "a string", "null"),
        (list[tuple[int, str]], [[1, "a"], [1]], "$[1]", "an array of 2", "one of 1"),
        (dict[str, User], {"hunter2": {"id": 1}}, "$[...].name", "a string", "nothing"),
        (dict[int, int], {"x": 1}, "$[...]", "an integer as a name", "another name"),
        (Tree, {"value": 1, "children": [{"value": 2}, {}]}, "$.children[1].value", "an integer", "nothing"),
        (datetime, "hunter2", "$", "a date and time", "another string"),
        (datetime, 1700000000, "$", "a date and time", "a number"),
        (timedelta, "P", "$", "a duration", "another string"),
        (timedelta, "P1Y", "$", "a duration", "another string"),
        (UUID, "hunter2", "$", "a UUID", "another string"),
        (Decimal, "hunter2", "$", "a decimal number", "another string"),
        (Decimal, "NaN", "$", "a decimal number", "one that is not finite"),
        (list[bytes], ["\u00e9"], "$[0]", "a string in base64", "another string"),
        (Colour, "green", "$", "a value of Colour", "a string"),
        (Level, True, "$", "a value of Level", "a boolean"),
        (Literal["a", "b"], "c", "$", "one of 'a', 'b'", "a string"),
        (Literal[1], True, "$", "one of 1", "a boolean"),
        (set[Any], [[1]], "$", "values that a set can hold", "others"),
        (int | str, [1], "$", "an integer or a string", "an array"),
        (Cat | Dog, {"kind": "cow"}, "$", "Cat (an object) or Dog (an object)", "an object"),
        (Point, [1, 2, 3], "$", "an array of 1 to 2", "one of 3"),
        (Movie, {}, "$.title", "a string", "nothing"),
        (Positive, {"value": -7}, "$", "what Positive takes", "an object"),
        (Account, {"id": 1, "limit": -7}, "$", "what Account takes", "an object"),
        (Account, {"id": 1, "owner": {"id": 1}}, "$.owner.name", "a string", "nothing"),
        (Model, {"id": "1"}, "$.id", "an integer", "a string"),
        (Model, {}, "$.id", "a value", "nothing"),
        (list[int | Model], [{"id": "x"}], "$[0]", "an integer", "an object"),
        (Model, {"id": 1, "tags": {"hunter2": "x"}}, "$.tags[...]", "an integer", "a string"),
        (Checked, {"name": "hunter 2"}, "$.name", "what the type allows (pydantic: value_error)", "a string"),
        (Struct, {"id": "1"}, "$.id", "int", "str"),
        (Struct, {}, "$.id", "a value", "nothing"),
        (list[Struct], [{"id": 1}, {"id": 1, "tags": {"a": "x"}}], "$[1].tags[...]", "int", "str"),
        (Annotated[int, msgspec.Meta(gt=0)], 0, "$", "int >= 1", "another value"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_its_place(into: Any, said: Any, where: str, expected: str, got: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decoder_for(into).decode(body(said), operation="Users.get", status_code=200)
    error = caught.value
    assert (error.path, error.expected, error.got) == (where, expected, got)
    assert str(error) == f"Users.get: {where}: expected {expected}, got {got}"
    assert (error.operation, error.status_code, error.body) == ("Users.get", 200, body(said))
    assert "hunter" not in str(error) + repr(error)


@pytest.mark.parametrize(
    ("into", "said", "value"),
    [
        (int | float, 1, 1),
        (float | int, 1, 1),
        (str | datetime, "2026-03-01T12:00:00Z", NOON),
        (datetime | date, "2026-03-01", date(2026, 3, 1)),
        (str | UUID, "x", "x"),
        (bool | int, True, True),
        (str | list[str], ["a"], ["a"]),
        (list[int] | list[str], ["a"], ["a"]),
        (list[User] | User, ADA, User(1, "Ada")),
        (dict[str, int] | User, ADA, User(1, "Ada")),
        (dict[str, int] | User, {"a": 1}, {"a": 1}),
        (Cat | Dog, {"kind": "dog"}, Dog("dog")),
        (User | Admin, {**ADA, "rights": []}, Admin(1, "Ada", [])),
        (Admin | User, ADA, User(1, "Ada")),
        (Admin | User, {**ADA, "email": "a@b"}, User(1, "Ada", "a@b")),
        (Colour | str, "red", Colour.RED),
        (Literal["a"] | int, "a", "a"),
        (Any | None, None, None),
    ],
)
def test_a_union_takes_the_member_that_fits_best(into: Any, said: Any, value: Any) -> None:
    decoded = decoder_for(into).decode(body(said))
    assert decoded == value
    assert type(decoded) is type(value)


def test_the_order_of_a_union_does_not_count() -> None:
    """Else what was decoded first would decide, since ``A | B == B | A``."""
    assert decoder_for(date | str).decode(b'"2026-03-01"') == decoder_for(str | date).decode(b'"2026-03-01"')


# What is not JSON at all


@pytest.mark.parametrize(
    ("text", "content_type", "expected", "got"),
    [
        (b"<html>hunter2", "text/html", "JSON", "something else at byte 0 in text/html"),
        (b"<html>", None, "JSON", "something else at byte 0 in a body of no known type"),
        (b'{"a": 1', "application/json", "JSON", "something else at byte 7"),
        (b"[1] x", "application/problem+json", "JSON", "something else at byte 4"),
        (b"NaN", "application/json", "JSON", "NaN, which is no JSON number"),
        (b"[-Infinity]", "application/json", "JSON", "-Infinity, which is no JSON number"),
        (b"\xff\xfe\xff", "application/json", "JSON in UTF-8", "3 bytes that are none"),
        (b"[" * 100_000, "application/json", "at most 100 levels", "more"),
        (b"[" * 100_000 + b"]" * 100_000, "application/json", "at most 100 levels", "more"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "application/json", "at most 100 levels", "more"),
        (b"9" * 5000, "application/json", "numbers that can be read", "one with too many digits"),
        (b"", "application/json", "{}", "an empty body"),
    ],
)
@pytest.mark.parametrize(
    ("into", "named"),
    [(User, "User (an object)"), (list[Any], "an array"), (Model, "an object"), (Struct, "object")],
    ids=["own", "any", "pydantic", "msgspec"],
)
def test_what_is_no_json_is_named(
    text: bytes, content_type: str | None, expected: str, got: str, into: Any, named: str
) -> None:
    with pytest.raises(DecodeError) as caught:
        decoder_for(into).decode(text, content_type)
    error = caught.value
    assert "hunter2" not in str(error)
    assert error.content_type == content_type
    assert len(error.body) <= EXCERPT
    if into in (Model, Struct) and expected in ("JSON", "numbers that can be read"):
        return  # these parse for themselves, and say less
    assert (error.expected, error.got) == (expected.format(named), got)


@pytest.mark.parametrize("into", [list[Any], pydantic.RootModel[list[Any]], Annotated[list[Any], msgspec.Meta()]])
@pytest.mark.parametrize(("depth", "fits"), [(100, True), (101, False)])
def test_a_hundred_levels_are_allowed(into: Any, depth: int, fits: bool) -> None:
    text = b"[" * depth + b'"[[[\\"[[\\\\"' + b"]" * depth
    if fits:
        decoder_for(into).decode(text)
    else:
        with pytest.raises(DecodeError, match="at most 100 levels"):
            decoder_for(into).decode(text)


def test_brackets_in_strings_are_no_levels() -> None:
    said = ["]", "[[" * 500, '"]', "\\", {"[": "{" * 500}]
    assert decoder_for(list[Any]).decode(body(said)) == said


def test_an_answer_of_the_deepest_kind_is_still_read() -> None:
    text = b'{"value": 1, "children": [' * 50 + b'{"value": 1}' + b"]}" * 50
    with pytest.raises(DecodeError, match="at most 100 levels"):
        decoder_for(Tree).decode(text)
    assert decoder_for(Tree, max_depth=101).decode(text).children[0].value == 1
    with pytest.raises(DecodeError):
        decoder_for(Tree, max_depth=100_000).decode(b'{"value": 1, "children": [' * 30_000 + b"]}" * 30_000)


def test_a_body_that_is_too_long_is_not_read() -> None:
    with pytest.raises(DecodeError, match=r"at most 10 bytes, got 11"):
        decoder_for(list[int], max_bytes=10).decode(b"[1,2,3,4,5]")
    assert decoder_for(bytes, max_bytes=10).decode(b"[1,2,3,4,5]") == b"[1,2,3,4,5]"


@pytest.mark.parametrize(
    ("text", "content_type", "value"),
    [
        ("é".encode(), "text/plain", "é"),
        ("é".encode("latin-1"), "text/plain; charset=ISO-8859-1", "é"),
        ("é".encode("latin-1"), 'text/plain; a=b; charset="latin1"', "é"),
        ("é".encode(), "text/plain; charset=no-such", "é"),
        ("é".encode(), "text/plain; charset=punycode", "é"),
        ("é".encode(), "text/plain; charset=zip", "é"),
        (b"\xef\xbb\xbfa", None, "a"),
        ("é".encode("utf-16"), "text/plain; charset=utf-16", "é"),
        (b"", None, ""),
    ],
)
def test_text_is_in_the_charset_that_is_named(text: bytes, content_type: str | None, value: str) -> None:
    assert decoder_for(str).decode(text, content_type) == value


def test_bytes_that_are_no_text_are_told() -> None:
    with pytest.raises(DecodeError, match=r"expected text in utf-8, got 1 bytes"):
        decoder_for(str).decode(b"\xff")


@pytest.mark.parametrize(
    ("text", "content_type"),
    [
        ('["é"]'.encode(), "application/json"),
        ('["é"]'.encode(), "application/json; charset=iso-8859-1"),  # said so, and sent UTF-8: RFC 8259 8.1
        ('["é"]'.encode("latin-1"), "application/json; charset=iso-8859-1"),
        (b"\xef\xbb\xbf" + '["é"]'.encode(), "application/json"),
        ('["é"]'.encode("utf-16"), "application/json"),
        ('["é"]'.encode("utf-32-le"), None),
    ],
)
@pytest.mark.parametrize("into", [list[str], pydantic.RootModel[list[str]], Annotated[list[str], msgspec.Meta()]])
def test_json_is_utf_8_whatever_is_said(text: bytes, content_type: str | None, into: Any) -> None:
    decoded = decoder_for(into).decode(text, content_type)
    assert getattr(decoded, "root", decoded) == ["é"]


# As they are


@pytest.mark.parametrize(
    ("into", "text", "value"),
    [
        (bytes, b"\xff", b"\xff"),
        (bytes, b"", b""),
        (str, b"{", "{"),
        (None, b"{", None),
        (type(None), b"", None),
        (User | None, b"", None),
        (Any, b"", None),
        (object, b"", None),
        (str | None, b"{", "{"),
        (str | None, b"", None),
        (bytes | None, b"", None),
        (Model | None, b"", None),
        (Struct | None, b"", None),
    ],
)
def test_some_types_are_the_body_as_it_is_and_some_take_none(into: Any, text: bytes, value: Any) -> None:
    decoded = decoder_for(into).decode(text)
    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.parametrize(
    "into", [User, list[int], dict[str, int], int, Movie, Model, Struct, Account, json.dumps, Point]
)
def test_an_empty_body_is_no_value(into: Any) -> None:
    with pytest.raises(DecodeError) as caught:
        decoder_for(into).decode(b"")
    assert caught.value.got == "an empty body"


def test_the_response_itself_is_handed_on(family: FamilyModules) -> None:
    assert decoder_for(family.http.Response).passes_response
    assert decoder_for(family.http.Response | None).passes_response
    assert not decoder_for(User).passes_response


# Functions


class Plain:
    """A class that says nothing of its fields."""

    def __init__(self, said: Any) -> None:
        self.said = said["a"]


@pytest.mark.parametrize(
    ("into", "value"),
    [(lambda said: said["a"], 1), (functools.partial(dict, b=2), {"a": 1, "b": 2}), (len, 1), (Plain, 1)],
)
def test_a_function_takes_what_the_json_says(into: Any, value: Any) -> None:
    decoded = decoder_for(into).decode(b'{"a": 1}')
    assert getattr(decoded, "said", decoded) == value


@pytest.mark.parametrize("into", [lambda said: said["b"], lambda said: 1 / 0, Plain])
def test_what_a_function_raises_is_the_cause(into: Any) -> None:
    with pytest.raises(DecodeError) as caught:
        decoder_for(into).decode(b"{}")
    assert isinstance(caught.value.__cause__, (KeyError, ZeroDivisionError))


@pytest.mark.parametrize("into", [Positive, Checked, Account])
def test_what_a_check_of_the_users_raises_is_the_cause(into: Any) -> None:
    said = {"value": -7, "name": "a b", "id": 1, "limit": -7}
    with pytest.raises(DecodeError) as caught:
        decoder_for(into).decode(body(said))
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("into", [Model, Struct, User, UUID])
def test_no_traceback_holds_what_a_library_says_of_values(into: Any) -> None:
    with pytest.raises(DecodeError) as caught:
        decoder_for(into).decode(b'{"id": "hunter2"}')
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


class Strange(pydantic.BaseModel):
    """Of fields whose errors quote what they were given."""

    colour: Colour = Colour.RED
    code: Annotated[str, pydantic.Field(pattern="^[a-z]$")] = "a"
    link: pydantic.HttpUrl | None = None
    at: datetime | None = None
    kind: Literal["a"] = "a"


class StrangeStruct(msgspec.Struct):
    colour: Colour = Colour.RED
    code: Annotated[str, msgspec.Meta(pattern="^[a-z]$")] = "a"
    at: datetime | None = None
    kind: Literal["a"] = "a"


@pytest.mark.parametrize("into", [Strange, StrangeStruct])
@pytest.mark.parametrize("name", ["colour", "code", "link", "at", "kind"])
def test_no_librarys_error_tells_a_value(into: Any, name: str) -> None:
    if name not in into.__annotations__:
        return
    said = body({name: "hunter2 hunter2"})
    with pytest.raises(DecodeError) as caught:
        decoder_for(into).decode(said)
    error = caught.value
    assert "hunter2" not in "".join(traceback.format_exception(error))
    assert error.path.startswith(f"$.{name}")


# Settings


@pytest.mark.parametrize(
    ("into", "said", "where"),
    [
        (User, {**ADA, "age": 5}, "$.age"),
        (list[User], [{**ADA, "a b": 5}], "$[0][...]"),
        (Movie, {"title": "M", "rating": 1}, "$.rating"),
        (Point, {"x": 1, "z": 1}, "$.z"),
        (Account, {"id": 1, "x": 1}, "$.x"),
        (Model, {"id": 1, "x": 1}, "$.x"),
        (Closed, {"id": 1, "x": 1}, "$"),
        (User | Admin, {**ADA, "age": 5}, "$"),
    ],
)
def test_an_unknown_name_is_an_error_if_asked_for(into: Any, said: Any, where: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decoder_for(into, unknown="error").decode(body(said))
    assert caught.value.path == where


@pytest.mark.parametrize("into", [User, Model, Closed, dict[str, Any]])
def test_a_name_that_is_there_twice_is_an_error_if_asked_for(into: Any) -> None:
    text = b'{"id": 1, "name": "a", "id": 2}'
    with pytest.raises(DecodeError, match="each name once"):
        decoder_for(into, unknown="error").decode(text)
    if into is not Closed:
        value = decoder_for(into).decode(text)
        assert (value["id"] if isinstance(value, dict) else value.id) == 2


@pytest.mark.parametrize(
    ("into", "value"),
    [
        (list[User], [User(1, "Ada")]),
        (list[Model], [Model(id=1)]),
        (list[Struct], [Struct(1)]),
        (len, 1),
    ],
)
def test_a_value_may_be_wrapped(into: Any, value: Any) -> None:
    decoder = decoder_for(into, unwrap="result.items")
    assert decoder.decode(body({"result": {"items": [ADA]}, "ok": True})) == value


@pytest.mark.parametrize(
    ("said", "where", "got"),
    [
        ({"result": {"items": [{"id": 1}]}}, "$.result.items[0].name", "nothing"),
        ({"result": {}}, "$.result.items", "nothing"),
        ({"result": None}, "$.result", "null"),
        ({}, "$.result", "nothing"),
        ([], "$", "an array"),
    ],
)
def test_what_is_wrapped_wrongly_is_told(said: Any, where: str, got: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decoder_for(list[User], unwrap="result.items").decode(body(said))
    assert (caught.value.path, caught.value.got) == (where, got)


def test_a_wrapped_string_is_one_of_json() -> None:
    assert decoder_for(str, unwrap="a").decode(b'{"a": "b"}') == "b"
    assert decoder_for(str | None, unwrap="a").decode(b'{"a": null}') is None


def test_a_part_that_was_read_before_is_converted() -> None:
    decoder = decoder_for(User)
    assert decoder.convert(ADA) == User(1, "Ada")
    with pytest.raises(DecodeError) as caught:
        decoder.convert({"id": 1}, at="$.items[3]", operation="Users.list")
    assert str(caught.value) == "Users.list: $.items[3].name: expected a string, got nothing"


@pytest.mark.parametrize(
    "settings",
    [{"unknown": "warn"}, {"unwrap": ""}, {"unwrap": "a..b"}, {"max_bytes": 0}, {"max_depth": 0}],
)
def test_a_bad_setting_is_refused_at_once(settings: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        decoder_for(User, **settings)


class Opaque:
    """A class that nobody can decode where it is part of a type."""


def unresolved() -> type:
    @dataclass
    class Local:
        other: Nowhere  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

    return Local


@pytest.mark.parametrize(
    ("into", "settings", "told"),
    [
        (list[Opaque], {}, "Opaque"),
        (dict[str, complex], {}, "complex"),
        ("User", {}, "'User'"),
        (unresolved(), {}, "Nowhere"),
        (list[Struct | Model], {}, "msgspec"),
        (Struct, {"unknown": "error"}, "forbid_unknown_fields"),
        (list[Model | Account], {}, "pydantic"),
    ],
)
def test_a_type_that_nobody_can_decode_is_refused_at_once(into: Any, settings: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        decoder_for(into, **settings)


def test_a_decoder_is_made_once_for_a_type_and_its_settings() -> None:
    assert decoder_for(list[User]) is decoder_for(list[User])
    assert decoder_for(User) is not decoder_for(User, unknown="error")
    assert decoder_for(Annotated[User, []]).decode(body(ADA)) == User(1, "Ada")


# The error itself


@pytest.mark.parametrize("copied", [lambda it: pickle.loads(pickle.dumps(it)), copy.copy, copy.deepcopy])
def test_the_error_travels_and_is_of_the_family(copied: Any, family: FamilyModules) -> None:
    with pytest.raises(DecodeError) as caught:
        decoder_for(User).decode(b'{"id": 1, "junk": "' + b"x" * 100_000 + b'"}', "application/json", status_code=200)
    request = family.http.Request("GET", "http://api.test/")
    error: Any = family.holdfast.FAMILY.refusal(caught.value, request)
    assert isinstance(error, family.http.HTTPError)
    assert isinstance(error, family.http.DecodingError)
    assert not isinstance(error, family.http.TransportError)
    other = copied(error)
    assert type(other) is type(error)
    assert isinstance(other, DecodeError)
    assert str(other) == str(error) == "$.name: expected a string, got nothing"
    assert len(other.body) == EXCERPT
    assert (other.path, other.status_code, other.content_type) == ("$.name", 200, "application/json")


# Anything that a server may send

WORDS: Final = st.sampled_from(["red", "cat", "2026-03-01"])
JSON: Final[st.SearchStrategy[Any]] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(CHARACTERS) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(CHARACTERS, max_size=3) | st.sampled_from(["id", "name", "kind", "items", "value", "at", "link"]),
            inner,
        )
    ),
    max_leaves=12,
)
ANY_TYPE: Final = st.sampled_from(
    [
        User, Admin | User | None, Cat | Dog, Tree, Page[Tree], UserPage, Renamed, Movie, Point, Account, Positive,
        dict[int, Level], dict[Colour, int], set[int | str], frozenset[Any], tuple[int, ...], list[bytes | Decimal],
        float, Literal["cat", 1], Lenient, datetime | date | timedelta, UUID | int, list[User] | dict[str, User],
        Model, list[Model] | None, Strange, StrangeStruct, Struct, dict[str, Struct], list[Struct | int],
        Any, str, bytes, None,
    ]
)  # fmt: skip


@given(into=ANY_TYPE, said=JSON, unknown=st.sampled_from(["ignore", "error"]), unwrap=st.sampled_from([None, "data"]))
def test_any_json_is_a_value_or_a_decode_error(into: Any, said: Any, unknown: Any, unwrap: str | None) -> None:
    if unknown == "error" and "Struct" in str(into):
        return
    try:
        decoder_for(into, unknown=unknown, unwrap=unwrap).decode(body({"data": said} if unwrap else said))
    except DecodeError as error:
        str(error).encode()
        pickle.dumps(error)


@given(into=ANY_TYPE, text=st.binary(max_size=200), content_type=st.none() | st.text(CHARACTERS, max_size=60))
def test_any_bytes_are_a_value_or_a_decode_error(into: Any, text: bytes, content_type: str | None) -> None:
    try:
        decoder_for(into).decode(text, content_type)
    except DecodeError as error:
        str(error).encode()


@given(value=st.floats() | st.integers())
def test_no_number_is_infinite(value: float) -> None:
    try:
        decoded = decoder_for(float).decode(body(value))
    except DecodeError:
        assert not math.isfinite(value) or abs(value) > 1e308
    else:
        assert math.isfinite(decoded)


@dataclass
class Left:
    value: int
    next: Left | Right | None = None


@dataclass
class Right:
    value: str
    next: Left | Right | None = None


def test_a_union_in_a_union_does_not_take_exponential_time() -> None:
    text = b'{"value": 1, "next": ' * 95 + b'{"value": null}' + b"}" * 95
    began = time.thread_time()
    with pytest.raises(DecodeError):
        decoder_for(Left | Right).decode(text)
    assert time.thread_time() - began < 1.0
