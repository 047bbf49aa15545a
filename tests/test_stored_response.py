"""A response from memory is a response: whatever is done with it comes out as with one from the origin."""

from __future__ import annotations

import copy
import gzip
import pickle
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from holdfast import Cache
from holdfast._families import append_field, fields_of, is_encoded
from holdfast.core.caching.fields import combine
from tests.cache_origin import answer, told
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

TEXT = '{"name": "Zoë",\n "size": 3}\n'.encode()
Reading = Callable[[Any], Awaitable[object]]


def joined(chunks: Callable[[Any], Any]) -> Reading:
    async def read(response: Any) -> list[object]:
        return [chunk async for chunk in chunks(response)]

    return read


def then(*steps: Callable[[Any], Any]) -> Reading:
    """What each step gives, or the name of what it raises."""

    async def read(response: Any) -> list[object]:
        given: list[object] = []
        for step in steps:
            try:
                result = step(response)
                given.append(await result if hasattr(result, "__await__") else result)
            except Exception as error:
                given.append(type(error).__name__)
        return given

    return read


def state(response: Any) -> tuple[object, ...]:
    return response.is_closed, response.is_stream_consumed, response.num_bytes_downloaded


WAYS: dict[str, Reading] = {
    "aread": then(lambda it: it.aread(), lambda it: it.aread(), lambda it: it.content, state),
    "text": then(lambda it: it.aread(), lambda it: it.text, lambda it: it.encoding),
    "json": then(lambda it: it.aread(), lambda it: it.json()),
    "read, after aread": then(lambda it: it.aread(), lambda it: it.read(), lambda it: list(it.iter_bytes(5))),
    "iter_lines, after aread": then(lambda it: it.aread(), lambda it: list(it.iter_lines())),
    "aiter_bytes": joined(lambda it: it.aiter_bytes()),
    "aiter_bytes, by five": joined(lambda it: it.aiter_bytes(5)),
    "aiter_bytes, after aread": then(lambda it: it.aread(), joined(lambda it: it.aiter_bytes(5))),
    "aiter_bytes, twice": then(joined(lambda it: it.aiter_bytes()), joined(lambda it: it.aiter_bytes()), state),
    "aiter_text": joined(lambda it: it.aiter_text()),
    "aiter_lines": joined(lambda it: it.aiter_lines()),
    "aiter_raw": then(joined(lambda it: it.aiter_raw()), state),
    "aiter_raw, by five": joined(lambda it: it.aiter_raw(5)),
    "aiter_raw, then aread": then(joined(lambda it: it.aiter_raw()), lambda it: it.aread()),
    "aread, then aiter_raw": then(lambda it: it.aread(), joined(lambda it: it.aiter_raw())),
    "content, unread": then(lambda it: it.content, state),
    "read, unread": then(lambda it: it.read(), lambda it: list(it.iter_raw()), lambda it: it.close(), state),
    "aclose": then(lambda it: it.aclose(), lambda it: it.aread(), joined(lambda it: it.aiter_bytes()), state),
    "elapsed": then(lambda it: it.elapsed, lambda it: it.aread(), lambda it: it.elapsed.total_seconds() >= 0),
    "elapsed, closed": then(lambda it: it.aclose(), lambda it: it.elapsed.total_seconds() >= 0),
    "pickled": then(
        lambda it: it.aread(),
        lambda it: pickle.loads(pickle.dumps(it)).content,
        lambda it: state(pickle.loads(pickle.dumps(it))),
        lambda it: type(pickle.loads(pickle.dumps(it))).__module__,
    ),
    "pickled, unread": then(lambda it: pickle.loads(pickle.dumps(it)).content),
    "copied": then(lambda it: it.aread(), lambda it: copy.copy(it).text, lambda it: state(copy.copy(it))),
    "the rest": then(
        lambda it: (it.status_code, it.reason_phrase, it.http_version, it.history, str(it.url), it.charset_encoding),
        lambda it: it.raise_for_status().status_code,
        repr,
    ),
}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (TEXT, {"Content-Type": "application/json"}),
        ('{"é": 1}'.encode("latin-1"), {"Content-Type": "text/plain; charset=latin-1"}),
        (gzip.compress(TEXT, mtime=0), {"Content-Encoding": "gzip", "Content-Type": "application/json"}),
        (b"", {}),
    ],
    ids=["plain", "latin-1", "gzip", "empty"],
)
async def test_a_stored_answer_is_read_as_one_from_the_origin(
    family: FamilyModules, body: bytes, fields: dict[str, Any]
) -> None:
    async with stage(family, [answer(body, **fields)] * len(WAYS), cache=Cache()) as on:
        for name, way in WAYS.items():
            came: list[object] = []
            for option in ("refresh", "only"):
                asking = on.client.stream("GET", URL, extensions={"holdfast": {"cache": option}})
                async with asking as response:
                    came.append(await way(response))
            assert told(response) == ("cache", "hit")
            assert came[0] == came[1], name


class _Shouting:
    """A transport that changes what passes, as a decrypting one does."""

    def __init__(self, inner: Any, family: FamilyModules) -> None:
        self._inner = inner
        http: Any = family.http

        class Louder(http.AsyncByteStream):  # type: ignore[misc]  # one of two libraries
            def __init__(self, stream: Any) -> None:
                self._stream = stream  # as the client's own wrapper calls it

            async def __aiter__(self) -> AsyncIterator[bytes]:
                async for chunk in self._stream:
                    yield chunk.upper()

            async def aclose(self) -> None:
                await self._stream.aclose()

        self._louder = Louder

    async def handle_async_request(self, request: Any) -> Any:
        response = await self._inner.handle_async_request(request)
        response.stream = self._louder(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


async def test_a_stream_that_somebody_puts_around_ours_is_heeded(family: FamilyModules) -> None:
    async with stage(family, [answer(b"quiet")], cache=Cache()) as on:
        client = family.http.AsyncClient(transport=_Shouting(on.client._transport, family))
        answers = [await client.get(URL), await client.get(URL)]
        await client.aclose()
        assert told(answers[1]) == ("cache", "hit")
        assert [one.content for one in answers] == [b"QUIET", b"QUIET"]


async def test_fields_of_one_answer_are_not_those_of_the_next(family: FamilyModules) -> None:
    async with stage(family, [answer(b"x")], cache=Cache()) as on:
        await on.client.get(URL)
        first = await on.client.get(URL)
        first.headers["X-Mine"] = "1"
        first.extensions["holdfast"]["cache_status"]["hit"] = "changed"
        second = await on.client.get(URL)
        assert told(second) == ("cache", "hit")
        assert "x-mine" not in second.headers
        assert second.extensions["holdfast"]["cache_status"]["hit"] is True


async def test_a_hit_is_read_in_one_step_through_the_client(family: FamilyModules) -> None:
    """The short way looks past the client's own stream by a private name: if that changes, hits get slow."""
    async with stage(family, [answer(b"hello")], cache=Cache()) as on:
        await on.client.get(URL)
        async with on.client.stream("GET", URL) as response:
            stream = response.stream
            async for chunk in response.aiter_bytes():
                assert (chunk, response.is_closed) == (b"hello", True)
            assert [part async for part in stream] == [], "what was closed is not read again"


async def test_a_hit_is_read_without_a_generator(family: FamilyModules) -> None:
    """Its content is put where the library keeps it, under a private name: if that changes, reading gets slow."""
    generators: list[object] = []
    async with stage(family, [answer(b"hello")], cache=Cache()) as on:
        await on.client.get(URL)
        async with on.client.stream("GET", URL) as response:
            before = sys.get_asyncgen_hooks()
            sys.set_asyncgen_hooks(firstiter=generators.append)
            try:
                assert await response.aread() == b"hello"
            finally:
                sys.set_asyncgen_hooks(*before)
        assert (response.content, generators) == (b"hello", [])


class Otherwise:
    """Header fields of a library that keeps them in another way."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self.raw = raw

    def __setitem__(self, key: str, value: str) -> None:
        self.raw.append((key.encode(), value.encode()))


@pytest.mark.parametrize(
    ("raw", "encoded"),
    [
        ([], False),
        ([(b"Content-Encoding", b"gzip"), (b"ETag", b'"a"')], True),
        ([(b"X-Named", b"content-encoding"), (b"x-caf\xe9", b"\xff")], False),
        ([(b"Vary", b"accept"), (b"ETag", b'"a"'), (b"VARY", b"origin")], False),
    ],
)
def test_header_fields_are_read_in_place_as_from_a_list_of_them(
    family: FamilyModules, raw: list[tuple[bytes, bytes]], encoded: bool
) -> None:
    for headers in (family.http.Headers(raw), Otherwise(list(raw))):
        assert fields_of(headers) == combine(raw)
        assert is_encoded(headers) is encoded
        append_field(headers, b"Cache-Status", b"holdfast")
        assert headers.raw == [*raw, (b"Cache-Status", b"holdfast")]
        assert fields_of(headers)[b"cache-status"] == b"holdfast"
