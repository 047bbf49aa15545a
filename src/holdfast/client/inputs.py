"""Do the arguments of a call fit the signature of the method that makes it? Asked of callers that no checker saw.

What a type checker accepts is never refused: a boolean passes for an integer, an integer for a float. What it cannot
be told at run time is not checked: protocols, type variables, the constraints of an Annotated, what an iterator will
yield, and annotations that name something imported for type checkers alone.

Nothing is looked at when a class is defined. A resource of a checking service is of a subclass, made with the first
one, whose methods read their signature when they are first called.
"""

from __future__ import annotations

import collections.abc as abc
import functools
import inspect
import itertools
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, TypeVar

from holdfast.client.shapes import items_in
from holdfast.errors import InvalidInput

if sys.version_info >= (3, 14):
    import annotationlib

__all__ = ["Validate", "checked"]

Validate: TypeAlias = Literal["strict", "off"]
C = TypeVar("C")
Fits: TypeAlias = Callable[[Any], bool]


def checked(cls: type[C], base: type) -> type[C]:
    """``cls`` with the public methods, and the ``__call__``, that it has beyond ``base`` checking their arguments.

    They raise `InvalidInput`, before the method runs. The class keeps its name; it is made once.
    """
    asked: Any = cls  # functools.cache takes what is hashable, and mypy does not see that a class is
    made: type[C] = _checked(asked, base)
    return made


@functools.cache
def _checked(cls: Any, base: Any) -> Any:
    own: tuple[Any, ...] = cls.__mro__[: cls.__mro__.index(base)]
    methods: dict[str, Any] = {}
    for name in dict.fromkeys(itertools.chain.from_iterable(map(vars, own))):
        method = inspect.getattr_static(cls, name)
        if isinstance(method, types.FunctionType) and (name == "__call__" or not name.startswith("_")):
            methods[name] = _checking(method)
    if not methods:
        return cls
    likeness = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls,), {**methods, **likeness})


def _checking(method: Callable[..., Any]) -> Callable[..., Any]:
    signature: _Signature | None = None

    @functools.wraps(method)
    def check_and_call(*values: Any, **named: Any) -> Any:
        nonlocal signature
        if signature is None:
            signature = _Signature(method)
        signature.check(values, named)
        return method(*values, **named)

    return check_and_call


class _Parameter(typing.NamedTuple):
    name: str
    fits: Fits
    wanted: str
    default: Any


class _Signature:
    """What a method's parameters take. Too many arguments, and too few, are for the method itself to refuse."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method.__qualname__
        self._by_place: list[_Parameter | None] = []  # None: anything
        self._by_name: dict[str, _Parameter] = {}
        self._rest: _Parameter | None = None
        self._others: _Parameter | None = None
        parameters = _parameters(method)
        for parameter, wanted in parameters:
            form = _resolved(method, parameter.annotation)
            fits = None if form is inspect.Parameter.empty else _fits(form)
            one = None if fits is None else _Parameter(parameter.name, fits, wanted, parameter.default)
            if parameter.kind is parameter.VAR_POSITIONAL:
                self._rest = one
            elif parameter.kind is parameter.VAR_KEYWORD:
                self._others = one
            else:
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    self._by_place.append(one)
                if one is not None and parameter.kind is not parameter.POSITIONAL_ONLY:
                    self._by_name[parameter.name] = one
        self._named = frozenset(parameter.name for parameter, _ in parameters)

    def check(self, values: Sequence[Any], named: Mapping[str, Any]) -> None:
        for parameter, value in zip(self._by_place, values, strict=False):
            if parameter is not None and not parameter.fits(value):
                self._refuse(parameter, value, parameter.name)
        if self._rest is not None:
            for value in values[len(self._by_place) :]:
                if not self._rest.fits(value):
                    self._refuse(self._rest, value, self._rest.name)
        for name, value in named.items():
            parameter = self._by_name.get(name)
            if parameter is None and name not in self._named:
                parameter = self._others
            if parameter is not None and not parameter.fits(value):
                self._refuse(parameter, value, name)

    def _refuse(self, parameter: _Parameter, value: Any, name: str) -> None:
        if value is not parameter.default:  # which may be a mark that the annotation does not tell of
            message = f"{self._method}: {name} must be {parameter.wanted}, got {type(value).__name__}"
            raise InvalidInput(message, argument=name)


def _parameters(method: Callable[..., Any]) -> list[tuple[inspect.Parameter, str]]:
    """What a method takes, each with its annotation as text."""
    if sys.version_info >= (3, 14):  # annotations are evaluated when asked for, and may name what is not there then
        signature = inspect.signature(method, annotation_format=annotationlib.Format.FORWARDREF)
        as_written = inspect.signature(method, annotation_format=annotationlib.Format.STRING)
    else:
        signature = as_written = inspect.signature(method)
    texts = [each.annotation for each in as_written.parameters.values()]
    return [
        (parameter, text if isinstance(text, str) else inspect.formatannotation(text))
        for parameter, text in zip(signature.parameters.values(), texts, strict=True)
    ]


def _resolved(method: Callable[..., Any], annotation: Any) -> Any:
    """An annotation as a type; Any if it names something that is not there at run time."""
    if not isinstance(annotation, str):
        return annotation
    named = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(named, globalns=getattr(method, "__globals__", {}))["it"]
    except Exception:  # an expression of the user's: a NameError most often, and whatever else evaluating it raises
        return Any


def _fits(form: Any) -> Fits | None:
    """The question whether a value is of a type; None where that cannot be asked."""
    kinds = _kinds(form)
    if kinds is not None:
        return lambda value: isinstance(value, kinds)
    if isinstance(form, typing.NewType):
        return _fits(form.__supertype__)
    if type(form).__name__ == "TypeAliasType":
        return _fits(form.__value__)
    origin, arguments = typing.get_origin(form), typing.get_args(form)
    if origin is typing.Annotated:
        return _fits(arguments[0])
    if origin is Literal:
        allowed: list[tuple[Any, Any]] = [(type(each), each) for each in arguments]
        return lambda value: (type(value), value) in allowed
    if origin in (typing.Union, types.UnionType):
        return _any_of([_fits(each) for each in arguments])
    if origin is tuple:
        return _tuple_of(arguments)
    here = _fits(origin)
    if here is None or origin is None:
        return None
    if origin in _HELD:
        item = _fits(arguments[0]) or _anything
        return lambda value: here(value) and (_is_text(value) or all(map(item, value)))
    if issubclass(origin, abc.Mapping) and len(arguments) == 2:
        key, member = (_fits(each) or _anything for each in arguments)
        return lambda value: here(value) and all(map(key, value)) and all(map(member, value.values()))
    return here


_HELD: Final = frozenset({list, set, frozenset, abc.Sequence, abc.MutableSequence, abc.Set, abc.MutableSet})
"""What can be looked through without using it up."""


def _is_text(value: Any) -> bool:
    """Its items are of its own type, over and over."""
    return isinstance(value, str)


def _anything(value: Any) -> bool:
    return True


def _kinds(form: Any) -> tuple[type, ...] | None:
    """The classes whose instances are all that a type takes; None where that says too much, or too little."""
    if form is None:
        return (types.NoneType,)
    if typing.get_origin(form) in (typing.Union, types.UnionType):
        members = [_kinds(each) for each in typing.get_args(form)]
        known = [each for each in members if each is not None]
        return tuple(kind for each in known for kind in each) if len(known) == len(members) else None
    if not isinstance(form, type) or typing.get_origin(form) is not None or form in (object, Any):
        return None
    if hasattr(form, "__required_keys__"):  # a TypedDict, which isinstance refuses
        return (dict,)
    if getattr(form, "_is_protocol", False) and not getattr(form, "_is_runtime_protocol", False):
        return None
    return _PROMOTED.get(form, (form,))


_PROMOTED: Final[Mapping[type, tuple[type, ...]]] = {float: (float, int), complex: (complex, float, int)}


def _any_of(members: Sequence[Fits | None]) -> Fits | None:
    known = [each for each in members if each is not None]
    if len(known) < len(members):
        return None
    return lambda value: any(fits(value) for fits in known)


def _tuple_of(arguments: Sequence[Any]) -> Fits:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        item = _fits(arguments[0]) or _anything
        return lambda value: isinstance(value, tuple) and all(map(item, items_in(value)))
    items = [_fits(each) or _anything for each in arguments if each != ()]

    def fits(value: Any) -> bool:
        if not isinstance(value, tuple) or len(values := items_in(value)) != len(items):
            return False
        return all(fits(each) for fits, each in zip(items, values, strict=True))

    return fits
