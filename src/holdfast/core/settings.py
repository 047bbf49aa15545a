"""What is a setting of ours? A frozen dataclass, whose class costs little to define.

The standard library's decorator compiles `__init__` and its like anew for each class, which takes half a millisecond
of the import, or two for a class of twenty fields. Here they are written once. All that rests on the fields stays:
`dataclasses.replace`, ``fields`` and ``asdict``, the signature, and what type checkers know.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field
from inspect import Parameter, Signature
from typing import Any, ClassVar, NoReturn, dataclass_transform

from holdfast.core.value import Value

__all__ = ["Settings"]


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
class Settings(Value):
    """Base of settings: fields are annotated, with defaults; `__post_init__` raises for values that cannot be.

    Keyword-only, unless the class is made with ``kw_only=False``.
    """

    __signature__: ClassVar[Signature]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __init_subclass__(cls, *, kw_only: bool = True) -> None:
        dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
        parameters = [_parameter(each) for each in cls.__dataclass_fields__.values()]
        cls.__signature__ = Signature(parameters, return_annotation=None)

    def __init__(self, *values: Any, **named: Any) -> None:
        given = self.__signature__.bind(*values, **named)
        given.apply_defaults()
        vars(self).update(given.arguments)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Everything goes."""

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")


def _parameter(each: Field[Any]) -> Parameter:
    kind = Parameter.KEYWORD_ONLY if each.kw_only else Parameter.POSITIONAL_OR_KEYWORD
    default = Parameter.empty if each.default is MISSING else each.default
    return Parameter(each.name, kind, default=default, annotation=each.type)
