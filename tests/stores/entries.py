"""What the tests of the stores put into them; processes of theirs import it too, so it imports little."""

from __future__ import annotations

import random
from contextlib import aclosing
from dataclasses import replace
from functools import cache
from typing import Final

from holdfast.core.caching.entry import Entry
from holdfast.core.caching.key import primary_key
from holdfast.stores.base import Store, Streaming
from tests.core.caching.building import URL, stored

LONG: Final = 1_500_007
"""Bytes of a body that a store with `Streaming` keeps apart."""


def entry(
    url: str = URL,
    *,
    partition: str = "",
    language: str | None = None,
    body: bytes = b"1",
    tags: tuple[str, ...] = (),
) -> Entry:
    vary, request = ("", "") if language is None else ("\nVary: Accept-Language", f"Accept-Language: {language}")
    made = stored(
        f"Cache-Control: max-age=60, no-cache=set-cookie\nX-High: \xe9{vary}",
        request=request,
        key=primary_key("GET", url, partition),
        body=body,
    )
    return replace(made, tags=tags)


@cache
def long_body(seed: int = 0) -> bytes:
    """Bytes no two pieces of which are alike."""
    return random.Random(seed).randbytes(LONG)


async def body_of(store: Store, found: Entry, start: int = 0) -> bytes:
    if isinstance(found.body, bytes):
        return found.body[start:]
    assert isinstance(store, Streaming), "only such a store gives blobs"
    pieces: list[bytes] = []
    async with aclosing(store.read(found, start)) as reading:
        async for piece in reading:
            assert 0 < len(piece) <= 64 * 1024
            pieces.append(piece)
    return b"".join(pieces)


async def write(store: Streaming, made: Entry, body: bytes) -> Entry | None:
    writer = await store.writer()
    for begin in range(0, len(body), 100_000):
        assert await writer.write(body[begin : begin + 100_000])
    return await writer.finish(made)
