"""Which error does an answer raise that means failure? One of `holdfast.errors.StatusError`'s tree, of its family."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeAlias, cast

from holdfast._wire import Family, HeadersLike, Q, R, URLLike
from holdfast.call import OPTIONS
from holdfast.core.failure import EXCERPT, kind_of, phrase_of, problem_of, request_id_of
from holdfast.core.retry_after import server_delay
from holdfast.errors import StatusError

__all__ = ["Beginning", "StatusErrors", "check_status_errors", "header_pairs", "shown_url", "status_error"]

StatusErrors: TypeAlias = Mapping[int, type[StatusError] | Callable[[StatusError], Exception]]
"""What a service raises for a status in place of the tree's class: a subclass of `StatusError`, or whatever a function
makes of the error that would have been raised, which is then its ``__cause__``."""


def check_status_errors(kinds: StatusErrors) -> None:
    """Raise ValueError or TypeError for a table that cannot serve."""
    for status, kind in kinds.items():
        if not 300 <= status <= 599:
            raise ValueError(f"status_errors: only a status from 300 to 599 can mean failure, got {status}")
        if not callable(kind):
            raise TypeError(f"status_errors[{status}] must be a subclass of StatusError or a function, got {kind!r}")


def status_error(
    family: Family[Q, R],
    request: Q,
    response: R,
    body: bytes,
    *,
    wall: float,
    operation: str | None = None,
    template: str | None = None,
    kinds: StatusErrors | None = None,
) -> Exception:
    """The error to raise for ``response``, whose decoded body begins with ``body``; the caller reads and closes it.

    It is an ``HTTPStatusError`` of the family too, unless a function in ``kinds`` makes it something else. ``wall``
    is the time since 1970, for a Retry-After. `holdfast.history` works on it as on the response.
    """
    status = response.status_code
    header = response.headers.get
    retry_after = server_delay(header, wall)
    request_id = request_id_of(header)
    url = shown_url(request.url)
    of_ours = (kinds or {}).get(status)
    named = isinstance(of_ours, type) and issubclass(of_ours, StatusError)
    kind = cast("type[StatusError]", of_ours) if named else kind_of(status)  # `named` is out of the checkers' sight
    told: dict[str, Any] = response.extensions.get(OPTIONS) or {}
    what = f"{request.method} {template or url}"
    message = (
        f"{operation or what}: {phrase_of(status)}"
        + (f" ({what})" if operation and operation != what else "")
        + (f", request id {request_id}" if request_id else "")
    )
    error = kind.__new__(kind, message)
    StatusError.__init__(  # a class of the user's may have another __init__
        error,
        message,
        status_code=status,
        method=request.method,
        url=url,
        operation=operation,
        headers=header_pairs(response.headers),
        body=body[:EXCERPT],
        problem=problem_of(header("content-type"), body),
        request_id=request_id,
        retry_after=retry_after,
        retry_at=None if retry_after is None else wall + retry_after,
        attempts=len(told.get("attempts", ())) or 1,
    )
    if told:
        error.__dict__[OPTIONS] = told
    failure = family.failure(error, response)
    if of_ours is None or named:
        return failure
    made = cast("Callable[[StatusError], Exception]", of_ours)(failure)
    if not isinstance(cast("object", made), BaseException):
        raise TypeError(f"status_errors[{status}] made {made!r} of a StatusError, which is no exception") from failure
    if made is not failure:
        made.__cause__ = failure
    return made


class Beginning:
    """A body that ends after so many bytes. Not a generator, because trio warns of one that is left half-way."""

    def __init__(self, stream: Any, size: int) -> None:
        self._stream = stream
        self._left = size
        self._chunks: Any = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._chunks = self._stream.__aiter__()
        return self

    async def __anext__(self) -> bytes:
        if self._left <= 0:
            raise StopAsyncIteration
        chunk: bytes = await self._chunks.__anext__()
        self._left -= len(chunk)
        return chunk

    async def aclose(self) -> None:
        if hasattr(self._chunks, "aclose"):
            await self._chunks.aclose()
        await self._stream.aclose()


def shown_url(url: URLLike) -> str:
    """A URL for people and logs: without query and user information, which are where secrets stand."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    port = "" if url.port is None else f":{url.port}"
    path, query, _ = url.raw_path.decode("ascii", "replace").partition("?")
    return f"{url.scheme}://{host}{port}{path}{'?...' if query else ''}"


def header_pairs(headers: HeadersLike) -> tuple[tuple[str, str], ...]:
    """The fields as they came, in order, repeats kept."""
    return tuple((_text(name), _text(value)) for name, value in headers.raw)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
