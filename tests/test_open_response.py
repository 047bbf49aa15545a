"""A response that came through us is read in a shorter way than the library's own, and nobody can tell."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from holdfast import Pipeline
from tests.support import FamilyModules
from tests.test_stored_response import TEXT, WAYS, Reading, joined, state, then

pytestmark = pytest.mark.anyio

URL = "http://api.test/things"


async def meet_the_error(response: Any) -> object:
    """What a read that fails leaves behind."""
    try:
        return await response.aread()
    except Exception as error:
        knows: Any = error
        return type(error).__name__, str(error), str(knows.request.url), *state(response)[1:]


MORE: dict[str, Reading] = {
    "an error": meet_the_error,
    "aread, then aclose": then(lambda it: it.aread(), lambda it: it.aclose(), state),
    "chunk by chunk": then(joined(lambda it: it.aiter_bytes()), state),
}


def far_side(family: FamilyModules, chunks: list[bytes | Exception], fields: dict[str, str]) -> Any:
    """A transport whose responses are the library's own."""
    http: Any = family.http

    class Body(http.AsyncByteStream):  # type: ignore[misc]  # one of two libraries
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in chunks:
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk

    class FarSide(http.AsyncBaseTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            return http.Response(200, headers=fields, stream=Body())

    return FarSide()


@pytest.mark.parametrize("buffer", [True, False], ids=["buffered", "on the wire"])
@pytest.mark.parametrize(
    ("chunks", "fields"),
    [
        ([TEXT], {"Content-Type": "application/json"}),
        ([TEXT[:7], b"", TEXT[7:]], {"Content-Type": "text/plain; charset=utf-8"}),
        ([gzip.compress(TEXT, mtime=0)], {"Content-Encoding": "gzip"}),
        ([TEXT], {"Content-Encoding": "identity"}),
        ([], {}),
    ],
    ids=["plain", "in pieces", "gzip", "identity", "empty"],
)
async def test_an_answer_is_read_as_without_us(
    family: FamilyModules, chunks: list[bytes | Exception], fields: dict[str, str], buffer: bool
) -> None:
    inner = far_side(family, chunks, fields)
    ours = family.holdfast.ResilientTransport(Pipeline(buffer_body=buffer), inner=far_side(family, chunks, fields))
    for name, way in {**WAYS, **MORE}.items():
        came: list[object] = []
        for transport in (inner, ours):
            client = family.http.AsyncClient(transport=transport)
            async with client.stream("GET", URL) as response:
                try:
                    came.append(await way(response))
                except Exception as error:
                    came.append(repr(error))
        assert came[0] == came[1], name


async def test_a_read_that_fails_names_its_request(family: FamilyModules) -> None:
    torn: list[bytes | Exception] = [b"some", family.http.ReadError("gone")]
    ours = family.holdfast.ResilientTransport(Pipeline(buffer_body=False), inner=far_side(family, torn, {}))
    came: list[object] = []
    for transport in (far_side(family, torn, {}), ours):
        async with family.http.AsyncClient(transport=transport).stream("GET", URL) as response:
            came.append(await meet_the_error(response))
    assert came[0] == came[1] == ("ReadError", "gone", URL, True, 4)


@pytest.mark.parametrize("buffer", [True, False], ids=["buffered", "on the wire"])
async def test_who_leaves_in_the_middle_of_a_body_has_closed_it(family: FamilyModules, buffer: bool) -> None:
    """On trio a generator that is left to the collector warns, which fails a test here."""
    pipeline = Pipeline(buffer_body=buffer)
    ours = family.holdfast.ResilientTransport(pipeline, inner=far_side(family, [b"one", b"two"], {}))
    async with family.http.AsyncClient(transport=ours).stream("GET", URL) as response:
        async with contextlib.aclosing(response.aiter_bytes()) as chunks:
            assert await anext(chunks) == b"one"
        assert (response.is_closed, response.num_bytes_downloaded) == (True, 3)
    assert pipeline.snapshot()["origins"]["http://api.test:80"]["concurrency"]["in_use"] == 0


@pytest.mark.parametrize(("wrapped", "fields"), [(bytes.upper, {}), (gzip.compress, {"content-encoding": "gzip"})])
async def test_a_stream_that_somebody_put_around_ours_is_read(
    family: FamilyModules, wrapped: Callable[[bytes], bytes], fields: dict[str, str]
) -> None:
    http: Any = family.http

    class Around(http.AsyncByteStream):  # type: ignore[misc]  # one of two libraries
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for chunk in self._inner:
                yield wrapped(chunk)

        async def aclose(self) -> None:
            await self._inner.aclose()

    ours = family.holdfast.ResilientTransport(inner=far_side(family, [b"quiet"], {}))
    response = await ours.handle_async_request(http.Request("GET", URL))
    response.stream = Around(response.stream)
    response.headers.update(fields)
    assert await response.aread() == (b"quiet" if fields else b"QUIET")


async def test_a_stream_is_closed_although_its_iterator_does_not_end_well(family: FamilyModules) -> None:
    closed = 0

    class Body(family.http.AsyncByteStream):  # type: ignore[misc, name-defined]  # one of two libraries
        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                yield b"one"
                yield b"two"
            finally:
                raise RuntimeError("not yet")

        async def aclose(self) -> None:
            nonlocal closed
            closed += 1

    class FarSide(family.http.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            return family.http.Response(200, stream=Body())

    transport = family.holdfast.ResilientTransport(Pipeline(buffer_body=False), inner=FarSide())
    response = await transport.handle_async_request(family.http.Request("GET", URL))
    assert await anext(aiter(response.stream)) == b"one"
    with pytest.raises(RuntimeError, match="not yet"):
        await response.aclose()
    assert closed == 1
