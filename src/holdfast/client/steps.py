"""What becomes of a call's value, or of its error, before its caller gets it? A step each, the last one first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from holdfast.core.value import Value
from holdfast.errors import DecodeError, Forbidden, Unauthorized

if TYPE_CHECKING:
    from holdfast._wire import ReceivedLike

__all__ = ["Instead", "Mapped", "Step"]

Ending: TypeAlias = Callable[[], Awaitable["tuple[Any, ReceivedLike | None]"]]
"""Makes the call with the steps before this one: its value, and its response if that is wanted."""

_TELLING: Final = (Unauthorized, Forbidden, DecodeError)
"""What says that somebody must look: hidden only by who names it, not by a class above it."""


class Mapped(Value):
    """`Call.map`."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function: Final = function

    async def end(self, before: Ending) -> tuple[Any, ReceivedLike | None]:
        value, response = await before()
        return self.function(value), response


class Instead(Value):
    """`Call.or_else`. Raises ValueError for ``Exception``, which would hide bugs."""

    def __init__(self, value: Any, on: type[Exception] | tuple[type[Exception], ...]) -> None:
        self.value: Final = value
        self.on: Final = on if isinstance(on, tuple) else (on,)
        if any(issubclass(BaseException, kind) or issubclass(Exception, kind) for kind in self.on):
            raise ValueError("or_else(on=) names the errors that it is for; Exception would hide bugs too")

    async def end(self, before: Ending) -> tuple[Any, ReceivedLike | None]:
        try:
            return await before()
        except self.on as error:
            if isinstance(error, _TELLING) and not any(
                issubclass(kind, _TELLING) and isinstance(error, kind) for kind in self.on
            ):
                raise
            return self.value, None


Step: TypeAlias = Mapped | Instead
