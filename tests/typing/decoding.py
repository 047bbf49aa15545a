"""What a decoder gives, for each way to say what is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypedDict, assert_type

import httpx

from holdfast.client.decode import Decoder, decoder_for
from holdfast.errors import DecodeError, Problem, StatusError


@dataclass
class User:
    id: int


class Movie(TypedDict):
    title: str


def count(said: Any) -> int:
    return len(said)


def types_are_kept() -> None:
    assert_type(decoder_for(User), Decoder[User])
    assert_type(decoder_for(list[User]), Decoder[list[User]])
    assert_type(decoder_for(User | None), Decoder[User | None])
    assert_type(decoder_for(Annotated[dict[str, Movie], "by name"]), Decoder[dict[str, Movie]])
    assert_type(decoder_for(bytes), Decoder[bytes])
    assert_type(decoder_for(None), Decoder[None])
    assert_type(decoder_for(httpx.Response), Decoder[httpx.Response])


def functions_say_what_they_return() -> None:
    assert_type(decoder_for(count), Decoder[int])


def values_are_typed(decoder: Decoder[User]) -> None:
    assert_type(decoder.decode(b"{}", "application/json"), User)
    assert_type(decoder.convert({}), User)


def settings_are_checked() -> None:
    decoder_for(User, unknown="warn")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    decoder_for(User, "ignore")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    decoder_for(5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


def errors_tell_what_they_know(error: Exception) -> None:
    if isinstance(error, DecodeError):
        assert_type(error.path, str)
        assert_type(error.body, bytes)
    if isinstance(error, StatusError):
        assert_type(error.headers, tuple[tuple[str, str], ...])
        assert_type(error.problem, Problem | None)
        assert_type(error.retry_after, float | None)
