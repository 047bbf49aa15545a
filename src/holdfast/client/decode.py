"""How does the body of an answer become a value of the type that was asked for?

`decoder_for` gives a `Decoder`, made once for each type. Types of the standard library and attrs classes are read by
`holdfast.client.forms`; whatever has a pydantic model or a msgspec Struct in it is decoded by that library, imported
then. An answer that does not fit raises `DecodeError`, whatever it is, and nothing else.
"""

from __future__ import annotations

import functools
import re
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, TypeAlias, TypeVar, cast, overload

from holdfast.client.shapes import Mismatch, Shape, kind_of_json, member
from holdfast.core.document import Malformed, json_text, media_type, read_json, text_of
from holdfast.core.value import Value
from holdfast.errors import DecodeError

if TYPE_CHECKING:
    from typing_extensions import TypeForm

__all__ = ["Decoder", "UnknownFields", "decoder_for"]

T = TypeVar("T")
UnknownFields: TypeAlias = Literal["ignore", "error"]

_MAX_BYTES: Final = 64 * 1024 * 1024
_MAX_DEPTH: Final = 100
_FUNCTIONS: Final = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, functools.partial)


class Reader(Protocol):
    """Makes values of one type. Raises `Mismatch` or `Malformed`."""

    def json(self, text: bytes, max_depth: int) -> Any:
        """From a JSON text in UTF-8."""
        ...

    def value(self, value: Any) -> Any:
        """From what a JSON text says, as Python's plain values."""
        ...


class Decoder(Generic[T]):
    """Turns bodies into values of one type; made by `decoder_for`, and shared freely: it keeps nothing of a body."""

    as_it_is = False
    """Whether the body itself is the value, in one way or another: no JSON is read of it."""
    passes_response = False
    """Whether the response itself is the value. There is nothing to decode then."""

    def __init__(self, reader: Reader, settings: _Settings) -> None:
        self._reader = reader
        self._settings = settings

    def decode(
        self,
        body: bytes,
        content_type: str | None = None,
        *,
        operation: str | None = None,
        status_code: int | None = None,
    ) -> T:
        """The value of a decoded body (of a 204: ``b""``). ``operation`` and ``status_code`` are for the error alone.

        Raises `DecodeError`.
        """
        try:
            return cast("T", self._decoded(body, content_type))  # what the reader was made for
        except (Mismatch, Malformed, RecursionError) as wrong:
            mismatch = self._mismatch(wrong, content_type)
            cause = wrong.__cause__
        raise _error(mismatch, body, content_type, operation, status_code) from cause

    def convert(self, value: Any, *, at: str = "$", operation: str | None = None, status_code: int | None = None) -> T:
        """The value of a part of a JSON text that was read before; ``at`` is its path, for the error."""
        try:
            return cast("T", self._reader.value(value))
        except (Mismatch, Malformed, RecursionError) as wrong:
            mismatch = self._mismatch(wrong, None).at(at.removeprefix("$"))
            cause = wrong.__cause__
        raise _error(mismatch, b"", None, operation, status_code) from cause

    def _mismatch(self, wrong: Mismatch | Malformed | RecursionError, content_type: str | None) -> Mismatch:
        if isinstance(wrong, Mismatch):
            return wrong
        if isinstance(wrong, RecursionError):
            return Mismatch(f"at most {self._settings.max_depth} levels", "more")
        declared = media_type(content_type)
        if wrong.expected != "JSON" or declared.endswith("json"):
            return Mismatch(wrong.expected, wrong.got)
        return Mismatch("JSON", f"{wrong.got} in {_shown(declared)}")

    def _decoded(self, body: bytes, content_type: str | None) -> Any:
        settings = self._settings
        if len(body) > settings.max_bytes:
            raise Mismatch(f"at most {settings.max_bytes:,} bytes", f"{len(body):,}")
        if not body:
            return self._empty()
        text = json_text(body, content_type)
        if not settings.path and not settings.strict:
            return self._reader.json(text, settings.max_depth)
        value = read_json(text, max_depth=settings.max_depth, unique=settings.strict)
        for place, name in enumerate(settings.path):
            if not isinstance(value, dict):
                raise _at(settings.path[:place], Mismatch(f"an object with {name!r}", kind_of_json(value)))
            members = cast("dict[str, Any]", value)
            if name not in members:
                raise _at(settings.path[: place + 1], Mismatch("a value", "nothing"))
            value = members[name]
        try:
            return self._reader.value(value)
        except Mismatch as mismatch:
            raise _at(settings.path, mismatch) from mismatch.__cause__

    def _empty(self) -> Any:
        """No body says what null says, where the type admits that."""
        try:
            return self._reader.value(None)
        except Mismatch as mismatch:
            raise Mismatch(mismatch.expected, "an empty body") from None


class _Settings(Value):
    def __init__(self, strict: bool, path: tuple[str, ...], max_bytes: int, max_depth: int) -> None:
        self.strict: Final = strict
        self.path: Final = path
        self.max_bytes: Final = max_bytes
        self.max_depth: Final = max_depth


class _Shaped:
    """The standard library's types, and attrs."""

    def __init__(self, shape: Shape) -> None:
        self._read = shape.read

    def json(self, text: bytes, max_depth: int) -> Any:
        return self._read(read_json(text, max_depth=max_depth))

    def value(self, value: Any) -> Any:
        return self._read(value)


class _Function:
    """A function of what the JSON text says."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self._name = getattr(function, "__name__", type(function).__name__)

    def json(self, text: bytes, max_depth: int) -> Any:
        return self.value(read_json(text, max_depth=max_depth))

    def value(self, value: Any) -> Any:
        try:
            return self._function(value)
        except Exception as error:  # the caller knows of answers that do not fit, not of what this function raises
            raise Mismatch(f"what {self._name} takes", kind_of_json(value)) from error


class _FunctionDecoder(Decoder[T]):
    def _empty(self) -> Any:
        raise Mismatch("JSON", "an empty body")


class _Nothing(Decoder[None]):
    as_it_is = True

    def _decoded(self, body: bytes, content_type: str | None) -> Any:
        return None


class _Octets(Decoder[bytes]):
    as_it_is = True

    def _decoded(self, body: bytes, content_type: str | None) -> Any:
        return body


class _Text(Decoder[str]):
    as_it_is = True

    def _decoded(self, body: bytes, content_type: str | None) -> Any:
        return text_of(body, content_type)


class _OrNothing(Decoder[T]):
    """``str | None`` and ``bytes | None``: an empty body is None."""

    as_it_is = True

    def __init__(self, decoder: Decoder[T]) -> None:
        super().__init__(decoder._reader, decoder._settings)
        self._decoder = decoder

    def _decoded(self, body: bytes, content_type: str | None) -> Any:
        return self._decoder._decoded(body, content_type) if body else None


class _Response(Decoder[T]):
    as_it_is = passes_response = True

    def _decoded(self, body: bytes, content_type: str | None) -> Any:
        raise AssertionError("the response itself is the value; ask `passes_response` first")


_AS_THEY_ARE: Final[dict[Any, type[Decoder[Any]]]] = {
    None: _Nothing,
    types.NoneType: _Nothing,
    bytes: _Octets,
    str: _Text,
}


@overload
def decoder_for(
    into: TypeForm[T],
    *,
    unknown: UnknownFields = ...,
    unwrap: str | None = ...,
    max_bytes: int = ...,
    max_depth: int = ...,
) -> Decoder[T]: ...
@overload
def decoder_for(
    into: Callable[[Any], T],
    *,
    unknown: UnknownFields = ...,
    unwrap: str | None = ...,
    max_bytes: int = ...,
    max_depth: int = ...,
) -> Decoder[T]: ...
def decoder_for(
    into: Any,
    *,
    unknown: UnknownFields = "ignore",
    unwrap: str | None = None,
    max_bytes: int = _MAX_BYTES,
    max_depth: int = _MAX_DEPTH,
) -> Decoder[Any]:
    """The decoder of a type, or of a function of the parsed JSON.

    ``bytes``, ``str``, None and the family's Response are the body, its text, nothing, and the response as they are.
    ``unknown``: what becomes of a name that the type does not have, and of one that is there twice. ``unwrap``: the
    value is under these names ("data", "result.items"). ``max_bytes`` (64 MiB) and ``max_depth`` (100 levels) are
    caps on what is read at all.

    Raises TypeError for a type that cannot be decoded, or whose library is not installed; ValueError for a setting.
    """
    if type(into) in _FUNCTIONS:  # which are often made anew for each call: none of them is kept
        return _made(into, unknown, unwrap, max_bytes, max_depth)
    try:
        return _kept(into, unknown, unwrap, max_bytes, max_depth)
    except TypeError as error:
        if type(error) is not TypeError:  # ours, which says that nobody can decode it
            raise
        return _made(into, unknown, unwrap, max_bytes, max_depth)  # an Annotated whose metadata has no hash


def _made(into: Any, unknown: str, unwrap: str | None, max_bytes: int, max_depth: int) -> Decoder[Any]:
    settings = _checked(unknown, unwrap, max_bytes, max_depth)
    if type(into) in _FUNCTIONS:
        return _FunctionDecoder(_Function(into), settings)
    if unwrap is None:
        members = typing.get_args(into) if typing.get_origin(into) in (typing.Union, types.UnionType) else (into,)
        others = [each for each in members if each is not types.NoneType or len(members) == 1]
        if len(others) == 1:
            passing = _passing(others[0], settings)
            if passing is not None:
                return passing if len(members) == 1 or passing.passes_response else _OrNothing(passing)
    from holdfast.client.forms import Foreign, Unknown, shape_of

    try:
        return Decoder(_Shaped(shape_of(into, strict=settings.strict)), settings)
    except Foreign as foreign:
        return Decoder(_reader_of(foreign.library, into, strict=settings.strict), settings)
    except Unknown as unknown_type:
        if unknown_type.form is not into or not callable(into):
            raise
        return _FunctionDecoder(_Function(into), settings)


_kept = functools.lru_cache(maxsize=1024)(_made)


def _checked(unknown: str, unwrap: str | None, max_bytes: int, max_depth: int) -> _Settings:
    if unknown not in ("ignore", "error"):
        raise ValueError(f'unknown must be "ignore" or "error", got {unknown!r}')
    path = () if unwrap is None else tuple(unwrap.split("."))
    if not all(path):
        raise ValueError(f'unwrap must be names with dots between ("data", "result.items"), got {unwrap!r}')
    if max_bytes < 1 or max_depth < 1:
        raise ValueError(f"max_bytes and max_depth must be at least 1, got {max_bytes} and {max_depth}")
    return _Settings(unknown == "error", path, max_bytes, max_depth)


def _passing(into: Any, settings: _Settings) -> Decoder[Any] | None:
    if into is not None and not isinstance(into, type):
        return None
    kind = _AS_THEY_ARE.get(into)
    if kind is None and into is not None and any(map(_is_response, into.__mro__)):
        kind = _Response
    return None if kind is None else kind(_Function(_as_it_is), settings)


def _is_response(cls: type) -> bool:
    return cls.__name__ == "Response" and cls.__module__.partition(".")[0] in ("httpx", "httpx2")


def _as_it_is(value: Any) -> Any:
    return value


def _reader_of(library: str, into: Any, *, strict: bool) -> Reader:
    from holdfast.client.forms import Unknown

    try:
        if library == "pydantic":
            from holdfast.client.decode_pydantic import PydanticReader

            return PydanticReader(into, strict=strict)
        from holdfast.client.decode_msgspec import MsgspecReader

        return MsgspecReader(into, strict=strict)
    except ImportError as error:
        raise Unknown(f"{into!r} takes {library}: pip install 'holdfast[{library}]'") from error


def _shown(media: str) -> str:
    return media if re.fullmatch(r"[a-z0-9.+*/-]{1,80}", media) else "a body of no known type"


def _at(names: tuple[str, ...], mismatch: Mismatch) -> Mismatch:
    for name in reversed(names):
        mismatch.at(member(name))
    return mismatch


def _error(
    mismatch: Mismatch, body: bytes, content_type: str | None, operation: str | None, status_code: int | None
) -> DecodeError:
    from holdfast.core.failure import EXCERPT

    before = f"{operation}: " if operation else ""
    return DecodeError(
        f"{before}{mismatch.path}: expected {mismatch.expected}, got {mismatch.got}",
        path=mismatch.path,
        expected=mismatch.expected,
        got=mismatch.got,
        body=body[:EXCERPT],
        content_type=content_type,
        operation=operation,
        status_code=status_code,
    )
