"""Arguments that no type checker has seen are refused by name, and none that it would accept."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, Protocol, TypedDict, TypeVar

import pytest

from holdfast.client.inputs import checked
from holdfast.errors import InvalidInput

if TYPE_CHECKING:
    from nowhere import Hidden  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]

T = TypeVar("T")
UserId = NewType("UserId", int)


class Colour(Enum):
    RED = 1


class Body(TypedDict):
    name: str


class Closes(Protocol):
    def close(self) -> None: ...


class Base:
    def inherited(self, id: int) -> Any:
        return id


class Api(Base):
    """An API."""

    def integer(self, it: int) -> Any:
        return it

    def number(self, it: float) -> Any:
        return it

    def optional(self, it: str | None = None) -> Any:
        return it

    def choice(self, it: Literal["a", 1]) -> Any:
        return it

    def strings(self, it: list[str]) -> Any:
        return it

    def sequence(self, it: Sequence[str]) -> Any:
        return it

    def pair(self, it: tuple[int, str]) -> Any:
        return it

    def row(self, it: tuple[int, ...]) -> Any:
        return it

    def table(self, it: Mapping[str, int]) -> Any:
        return it

    def colour(self, it: Colour | datetime) -> Any:
        return it

    def identity(self, it: UserId) -> Any:
        return it

    def annotated(self, it: Annotated[int, "at least 1"]) -> Any:
        return it

    def record(self, it: Body) -> Any:
        return it

    def function(self, it: Callable[[], None]) -> Any:
        return it

    def any_protocol(self, it: Closes) -> Any:
        return it

    def hidden(self, it: Hidden) -> Any:
        return it

    def variable(self, it: T) -> T:
        return it

    def iterable(self, it: Iterable[int]) -> Any:
        return it

    def default(self, it: str = None) -> Any:  # type: ignore[assignment]  # noqa: RUF013  # a sentinel, say
        return it

    def many(self, *it: int, more: str = "", **others: int) -> Any:
        return (it, more, others)

    def by_place(self, it: int, /, **others: str) -> Any:
        return (it, others)

    async def waits(self, it: int) -> Any:
        return it

    def __call__(self, it: int) -> Any:
        return it

    def _private(self, it: int) -> Any:
        return it

    @staticmethod
    def static(it: int) -> Any:
        return it

    @property
    def name(self) -> str:
        return "n"


api: Any = checked(Api, Base)()


def numbers() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("integer", 1),
        ("integer", True),
        ("number", 1),
        ("number", 1.5),
        ("optional", None),
        ("optional", "a"),
        ("choice", 1),
        ("strings", ["a"]),
        ("strings", []),
        ("sequence", ("a", "b")),
        ("sequence", "ab"),
        ("pair", (1, "a")),
        ("row", ()),
        ("row", (1, 2)),
        ("table", {"a": 1}),
        ("colour", Colour.RED),
        ("colour", datetime(2026, 1, 1)),  # noqa: DTZ001
        ("identity", 5),
        ("annotated", 0),
        ("record", {"name": "a"}),
        ("function", print),
        ("any_protocol", 5),
        ("hidden", 5),
        ("variable", 5),
        ("default", None),
        ("__call__", 5),
        ("_private", "not asked"),
        ("static", "not asked"),
        ("inherited", "not asked"),
    ],
)
def test_what_fits_is_passed_on(method: str, value: Any) -> None:
    assert getattr(api, method)(value) is value


@pytest.mark.parametrize(
    ("method", "value", "told"),
    [
        ("integer", "1", "Api.integer: it must be int, got str"),
        ("integer", None, "Api.integer: it must be int, got NoneType"),
        ("integer", 1.0, "Api.integer: it must be int, got float"),
        ("number", "1", "Api.number: it must be float, got str"),
        ("optional", 5, "Api.optional: it must be str | None, got int"),
        ("choice", True, "Api.choice: it must be Literal['a', 1], got bool"),
        ("choice", "b", "Api.choice: it must be Literal['a', 1], got str"),
        ("strings", ["a", 1], "Api.strings: it must be list[str], got list"),
        ("strings", "ab", "Api.strings: it must be list[str], got str"),
        ("sequence", [1], "Api.sequence: it must be Sequence[str], got list"),
        ("pair", (1,), "Api.pair: it must be tuple[int, str], got tuple"),
        ("pair", ("a", 1), "Api.pair: it must be tuple[int, str], got tuple"),
        ("row", (1, "a"), "Api.row: it must be tuple[int, ...], got tuple"),
        ("table", {"a": "b"}, "Api.table: it must be Mapping[str, int], got dict"),
        ("table", {1: 1}, "Api.table: it must be Mapping[str, int], got dict"),
        ("colour", 1, "Api.colour: it must be Colour | datetime, got int"),
        ("identity", "5", "Api.identity: it must be UserId, got str"),
        ("record", [], "Api.record: it must be Body, got list"),
        ("function", 5, "Api.function: it must be Callable[[], None], got int"),
        ("iterable", 5, "Api.iterable: it must be Iterable[int], got int"),
        ("waits", "1", "Api.waits: it must be int, got str"),
        ("__call__", "1", "Api.__call__: it must be int, got str"),
    ],
)
@pytest.mark.parametrize("by_name", [False, True], ids=["by place", "by name"])
def test_what_does_not_fit_is_refused_by_name(method: str, value: Any, told: str, by_name: bool) -> None:
    with pytest.raises(InvalidInput) as caught:
        getattr(api, method)(it=value) if by_name else getattr(api, method)(value)
    assert str(caught.value) == told
    assert caught.value.argument == "it"


def test_without_the_future_import_names_that_are_not_there_are_not_checked_either() -> None:
    hidden = "Hidden" if sys.version_info >= (3, 14) else "'Hidden'"  # PEP 649: it may stand there without quotes
    source = f"""class Lazy:
        def some(self, n: int, one: {hidden}, many: list[{hidden}], later: 'Lazy | None' = None): return n"""
    names: dict[str, Any] = {}
    exec(compile(source, "lazy", "exec", dont_inherit=True), names)
    lazy: Any = checked(names["Lazy"], object)()
    assert lazy.some(1, one=object(), many=[object()], later=lazy) == 1
    for argument, values in {"n": ("1", 1, []), "many": (1, 1, 1), "later": (1, 1, [], 1)}.items():
        with pytest.raises(InvalidInput) as caught:
            lazy.some(*values)
        assert caught.value.argument == argument
        assert "ForwardRef" not in str(caught.value)


def test_the_value_is_nowhere_told() -> None:
    with pytest.raises(InvalidInput) as caught:
        api.integer("hunter2")
    assert "hunter2" not in repr(caught.value)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: api.many(1, "a"), "it"),
        (lambda: api.many(more=1), "more"),
        (lambda: api.many(other="a"), "other"),
        (lambda: api.by_place("a"), "it"),
        (lambda: api.by_place(1, it=2), None),
        (lambda: api.by_place(1, that=2), "that"),
    ],
)
def test_the_rest_of_the_arguments_is_checked_too(call: Callable[[], Any], argument: str | None) -> None:
    if argument is None:
        assert call() == (1, {"it": 2})
    else:
        with pytest.raises(InvalidInput) as caught:
            call()
        assert caught.value.argument == argument


@pytest.mark.parametrize("call", [lambda: api.integer(), lambda: api.integer(1, 2), lambda: api.integer(1, that=2)])
def test_a_wrong_number_of_arguments_is_the_methods_own_error(call: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match="argument"):
        call()


def test_an_iterator_is_not_used_up() -> None:
    given = numbers()
    assert list(api.iterable(given)) == [1]


@pytest.mark.anyio
async def test_a_coroutine_method_stays_one() -> None:
    assert await api.waits(5) == 5


def test_the_class_keeps_its_name_and_is_made_once() -> None:
    kind = checked(Api, Base)
    assert kind is checked(Api, Base)
    assert (kind.__name__, kind.__qualname__, kind.__module__, kind.__doc__) == (
        "Api",
        "Api",
        Api.__module__,
        "An API.",
    )
    assert isinstance(api, Api)
    assert api.integer.__name__ == "integer"
    assert api.name == "n"
    assert Api().integer("as it was") == "as it was"  # type: ignore[arg-type]  # that is the point


def test_an_async_iterator_is_one_by_its_class() -> None:
    class Streams(Base):
        def send(self, it: AsyncIterator[bytes]) -> Any:
            return it

    async def chunks() -> AsyncIterator[bytes]:
        yield b""

    streams: Any = checked(Streams, Base)()
    assert streams.send(chunks())
    with pytest.raises(InvalidInput):
        streams.send([b""])
