"""What shape does a type have? For the standard library's types and attrs classes, compiled once for each.

So what one decodes does not depend on which libraries are installed. Types of pydantic and msgspec are theirs to
decode, and whatever holds one: `Foreign` says so.
"""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple

from holdfast.client.scalars import SCALARS, enum_of, literal_of, number_in_text
from holdfast.client.shapes import (
    ANY,
    ARRAY,
    OBJECT,
    Mismatch,
    Shape,
    all_fit,
    array_of,
    items_in,
    kind_of_json,
    mapping_of,
    member,
    names_in,
    places_of,
    union_of,
)

__all__ = ["Foreign", "Unknown", "shape_of"]


class Foreign(Exception):
    """A type that ``library`` decodes, with all that stands around it."""

    def __init__(self, library: Literal["pydantic", "msgspec"]) -> None:
        super().__init__(library)
        self.library: Final = library


class Unknown(TypeError):
    """A type that nobody here can decode; ``form`` is the one, if it says nothing at all of its shape."""

    def __init__(self, message: str, form: Any = ...) -> None:
        super().__init__(message)
        self.form = form


def shape_of(form: Any, *, strict: bool) -> Shape:
    """The shape of a type; ``strict``: an object may hold no names but the type's.

    Raises `Foreign` for a type that has one of a library's in it, `Unknown` for one that nobody can decode.
    """
    return _Compiler(strict).shape(form, {})


class _Field(NamedTuple):
    key: str  # in the JSON object
    name: str  # that the constructor knows it by
    shape: Shape
    required: bool


class _Compiler:
    """Makes shapes; knows those that it is making, because a type may hold itself."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._made: dict[Any, Shape] = {}

    def shape(self, form: Any, where: Mapping[Any, Any]) -> Shape:
        """``where`` says what the type variables stand for."""
        try:
            known = self._made.get((form, *where.items()))
        except TypeError:  # metadata of an Annotated that has no hash
            return self._shape(form, where)
        if known is not None:
            return known
        name = f"{form.__name__} (an object)" if isinstance(form, type) else str(form)
        made = self._made[form, *where.items()] = Shape(name, OBJECT, _unfinished)
        found = self._shape(form, where)
        # Whoever holds the unfinished one asks it for its reader only when it reads.
        made.expected, made.rank, made.read, made.fits = found.expected, found.rank, found.read, found.fits
        return made

    def _shape(self, form: Any, where: Mapping[Any, Any]) -> Shape:
        _refuse_foreign(form)
        if isinstance(form, typing.TypeVar):
            bound = form.__bound__
            return self.shape(where.get(form, Any if bound is None else bound), {})
        if form is Any or form is object:
            return Shape("anything", ANY, _as_it_is)
        if form is None:
            return SCALARS["builtins.NoneType"](types.NoneType)
        if isinstance(form, typing.NewType):
            return self.shape(form.__supertype__, where)
        if type(form).__name__ == "TypeAliasType" and typing.get_origin(form) is None:  # Python 3.12's `type`
            return self.shape(form.__value__, where)
        origin, arguments = typing.get_origin(form), typing.get_args(form)
        if origin in (typing.Annotated, typing.Required, typing.NotRequired) or str(origin).endswith(".ReadOnly"):
            for each in arguments[1:]:
                _refuse_foreign(type(each))
            return self.shape(arguments[0], where)
        if origin is Literal:
            return literal_of(arguments)
        if origin in (typing.Union, types.UnionType):
            return union_of([self.shape(each, where) for each in arguments])
        if origin is not None and type(origin).__name__ == "TypeAliasType":
            return self.shape(origin.__value__, dict(zip(origin.__type_params__, arguments, strict=False)))
        cls = origin or form
        if not isinstance(cls, type):
            raise Unknown(f"there is no way to decode {form!r}", form)
        bound_here = tuple(where.get(each, each) for each in arguments)
        return self._of_class(cls, bound_here, where)

    def _of_class(self, cls: Any, arguments: tuple[Any, ...], where: Mapping[Any, Any]) -> Shape:
        scalar = SCALARS.get(f"{cls.__module__}.{cls.__qualname__}")
        if scalar is not None:
            return scalar(cls)
        if issubclass(cls, enum.Enum):
            return enum_of(cls)
        if dataclasses.is_dataclass(cls):
            return self._dataclass(cls, arguments)
        if hasattr(cls, "__attrs_attrs__"):
            return self._attrs(cls, arguments)
        if dict in cls.__mro__ and hasattr(cls, "__required_keys__"):  # also one of typing_extensions
            return self._typed_dict(cls, arguments)
        if tuple in cls.__mro__ and hasattr(cls, "_fields"):
            return self._named_tuple(cls, arguments)
        if cls is tuple:
            return self._tuple(cls, arguments, where)
        made_of = _CONTAINERS.get(cls)
        if made_of is dict:
            key, value = arguments or (str, Any)
            return mapping_of(self._key(key, where), self.shape(value, where))
        if made_of is not None:
            return array_of(self.shape(arguments[0] if arguments else Any, where), made_of)
        raise Unknown(f"there is no way to decode {cls.__module__}.{cls.__qualname__}; `into` may be a function", cls)

    def _key(self, form: Any, where: Mapping[Any, Any]) -> Shape | None:
        """How an object's names are read; None: as they are. A number is one that is written in a name."""
        if form in (str, Any):
            return None
        shape = self.shape(form, where)
        if form in (int, float):
            return Shape(shape.expected, shape.rank, partial(number_in_text, shape))
        return shape

    def _hints(self, cls: type) -> dict[str, Any]:
        try:
            return typing.get_type_hints(cls, localns={cls.__name__: cls}, include_extras=True)
        except NameError as error:
            raise Unknown(
                f"an annotation of {cls.__module__}.{cls.__qualname__} names {error.name!r}, which is not known where"
                " that class was defined (is it imported under TYPE_CHECKING, or defined in a function?)"
            ) from error

    def _dataclass(self, cls: Any, arguments: tuple[Any, ...]) -> Shape:
        hints, where = self._hints(cls), _bindings(cls, arguments)
        fields = [
            _Field(
                str(each.metadata.get("json", each.name)),
                each.name,
                self.shape(hints[each.name], where),
                each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING,
            )
            for each in dataclasses.fields(cls)
            if each.init
        ]
        return self._object(cls, cls, fields)

    def _attrs(self, cls: Any, arguments: tuple[Any, ...]) -> Shape:
        import attrs

        hints, where = self._hints(cls), _bindings(cls, arguments)
        fields = [
            _Field(
                str(each.metadata.get("json", each.alias)),
                each.alias or each.name,
                # A converter says itself what it takes; the annotation is what it gives.
                self.shape(Any if each.converter is not None else hints.get(each.name, Any), where),
                each.default is attrs.NOTHING,
            )
            for each in attrs.fields(cls)
            if each.init
        ]
        return self._object(cls, cls, fields)

    def _typed_dict(self, cls: Any, arguments: tuple[Any, ...]) -> Shape:
        hints, where = self._hints(cls), _bindings(cls, arguments)
        fields = [
            _Field(name, name, self.shape(hint, where), _is_required(cls, name, hint)) for name, hint in hints.items()
        ]
        return self._object(cls, dict, fields)

    def _named_tuple(self, cls: Any, arguments: tuple[Any, ...]) -> Shape:
        hints, where = self._hints(cls), _bindings(cls, arguments)
        fields = [
            _Field(name, name, self.shape(hints.get(name, Any), where), name not in cls._field_defaults)
            for name in cls._fields
        ]
        by_name = self._object(cls, cls, fields)
        by_place = places_of(cls, [each.shape for each in fields], sum(each.required for each in fields))

        def read(value: Any) -> Any:
            return by_place(value) if type(value) is list else by_name.read(value)

        def fits(value: Any, depth: int) -> int | None:
            if type(value) is list:
                return 0 if len(items_in(value)) <= len(fields) else None
            return by_name.fits(value, depth)

        return Shape(by_name.expected, OBJECT, read, fits)

    def _tuple(self, cls: type, arguments: tuple[Any, ...], where: Mapping[Any, Any]) -> Shape:
        if not arguments and cls is tuple:
            return array_of(self.shape(Any, where), tuple)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return array_of(self.shape(arguments[0], where), tuple)
        shapes = [self.shape(each, where) for each in arguments if each != ()]
        read = places_of(lambda *values: values, shapes, len(shapes))

        def fits(value: Any, depth: int) -> int | None:
            if type(value) is not list or len(values := items_in(value)) != len(shapes):
                return None
            return all_fit(zip(shapes, values, strict=True), depth)

        return Shape(f"an array of {len(shapes)}", ARRAY, read, fits)

    def _object(self, cls: type, make: Callable[..., Any], fields: Sequence[_Field]) -> Shape:
        strict, known = self._strict, frozenset(each.key for each in fields)
        expected = f"{cls.__name__} (an object)"

        def read(value: Any) -> Any:
            if type(value) is not dict:
                raise Mismatch(expected, kind_of_json(value))
            given = names_in(value)
            found: dict[str, Any] = {}
            for key, name, shape, required in fields:
                if key in given:
                    try:
                        found[name] = shape.read(given[key])
                    except Mismatch as mismatch:
                        mismatch.at(member(key))
                        raise
                elif required:
                    raise Mismatch(shape.expected, "nothing").at(member(key))
            if strict and not given.keys() <= known:
                other = next(key for key in given if key not in known)
                raise Mismatch(f"only the names of {cls.__name__}", "another one").at(member(other))
            return _made(make, found, cls.__name__, value)

        def fits(value: Any, depth: int) -> int | None:
            if type(value) is not dict:
                return None
            given = names_in(value)
            if strict and not given.keys() <= known:
                return None
            if any(each.required and each.key not in given for each in fields):
                return None
            here = [(each.shape, given[each.key]) for each in fields if each.key in given]
            return None if all_fit(here, depth) is None else len(here)

        return Shape(expected, OBJECT, read, fits)


def _unfinished(value: Any) -> Any:
    raise AssertionError("a shape is read after it was made")


def _as_it_is(value: Any) -> Any:
    return value


def _refuse_foreign(form: Any) -> None:
    """Raise `Foreign` for what pydantic or msgspec made, or made known to pydantic."""
    library = getattr(form, "__module__", None) or ""
    library = library.partition(".")[0]
    if library == "msgspec" or (isinstance(form, type) and hasattr(form, "__struct_fields__")):
        raise Foreign("msgspec")
    if library in ("pydantic", "pydantic_core", "annotated_types") or (
        isinstance(form, type)
        and (hasattr(form, "__get_pydantic_core_schema__") or hasattr(form, "__pydantic_validator__"))
    ):
        raise Foreign("pydantic")


def _bindings(cls: Any, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """What the type variables of a generic class, and of those it is made of, stand for."""
    where: dict[Any, Any] = dict(zip(getattr(cls, "__parameters__", ()), arguments, strict=False))
    for base in getattr(cls, "__orig_bases__", ()):
        origin = typing.get_origin(base)
        if origin in (None, typing.Generic, typing.Protocol):
            continue
        given = tuple(where.get(each, each) for each in typing.get_args(base))
        for variable, each in _bindings(origin, given).items():
            if where.setdefault(variable, each) != each:
                raise Unknown(f"{cls.__name__} and {origin.__name__} mean different things by {variable!r}")
    return where


def _is_required(cls: Any, name: str, hint: Any) -> bool:
    """Asked of the hint first, since a class does not see through annotations that are strings."""
    origin = typing.get_origin(hint)
    return origin is typing.Required or (origin is not typing.NotRequired and name in cls.__required_keys__)


def _made(make: Callable[..., Any], found: dict[str, Any], name: str, value: Any) -> Any:
    try:
        return make(**found)
    except Exception as error:  # the user's own check; its caller knows of answers that do not fit, not of its errors
        raise Mismatch(f"what {name} takes", kind_of_json(value)) from error


_CONTAINERS: Final[Mapping[Any, type]] = {
    list: list,
    abc.Sequence: list,
    abc.MutableSequence: list,
    abc.Collection: list,
    abc.Iterable: list,
    set: set,
    abc.MutableSet: set,
    frozenset: frozenset,
    abc.Set: frozenset,
    dict: dict,
    abc.Mapping: dict,
    abc.MutableMapping: dict,
}
