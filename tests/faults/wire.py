"""A user's client on a faulty origin, and what must be so once it is closed: nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import ssl
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import sniffio
import tenacity
import trio
import trustme

from holdfast import Pipeline, Retry, errors
from holdfast.testing.faulty import FaultyServer
from tests.support import FamilyModules

AT_ONCE = tenacity.wait_none()
"""No backoff: these tests are about what is sent again, not when."""
HTTP2: dict[str, Any] = {"http1": False, "http2": True}
"""Settings of a transport that speaks HTTP/2 with prior knowledge."""
HALF_READ = pytest.mark.filterwarnings("ignore:Async generator 'http(core|x):ResourceWarning")
"""For files whose bodies are not all read or sent to their end: httpcore and httpx leave the generators of such a
body to the collector, and trio tells of it. So they do without us; ours are still an error."""

TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For origins without TLS: the default context reads the certificates of the world, each time."""


def retry(attempts: int = 3, **settings: Any) -> Retry:
    """The default retry without its waits."""
    return Retry(attempts=attempts, wait=AT_ONCE, wait_throttled=AT_ONCE, **settings)


@asynccontextmanager
async def surviving(
    family: FamilyModules,
    *servers: FaultyServer,
    transport: dict[str, Any] | None = None,
    client: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Any]:
    """A client on a pipeline of ``settings`` that is to survive what its test does with it.

    Afterwards it must still serve the last of ``servers``; and when it is closed, no connection to any of them and
    no task may be left. What was dropped unclosed warns when it is collected, which is an error here.
    """
    before = running_tasks()
    pipeline = Pipeline(**{"retry": retry(), **settings})
    inside = family.holdfast.ResilientTransport(pipeline, **{"verify": TRUSTS_NOBODY, **(transport or {})})
    async with family.http.AsyncClient(transport=inside, **{"timeout": 60.0, **(client or {})}) as http:
        yield http
        for server in servers[-1:]:
            after = await http.get(f"{server.url}/after")
            assert (after.status_code, after.text) == (200, "GET /after"), "the client is not usable any more"
    for server in servers:
        await server.await_for(lambda server: server.connections_open == 0)
    assert running_tasks() == before
    gc.collect()


def running_tasks() -> int:
    """How many tasks the current event loop has."""
    if sniffio.current_async_library() == "asyncio":
        return len(asyncio.all_tasks())
    return trio.lowlevel.current_statistics().tasks_living


async def outcome(http: Any, method: str, url: str, **options: Any) -> Any:
    """The response, or the exception in its place."""
    try:
        return await http.request(method, url, **options)
    except Exception as error:  # the test that asked for it looks at whatever it is
        return error


def named(family: FamilyModules, name: str) -> Any:
    """An exception class by the name that the docs give it: ours for this family, or the library's own."""
    ours = getattr(errors, name, None)
    return getattr(family.http, name) if ours is None else family.holdfast._kin(ours)  # made when the first is raised


@dataclass(slots=True)
class Measured:
    """``seconds`` of real time and ``peak`` bytes of memory above the beginning, once the block is over."""

    seconds: float = field(default=0.0)
    peak: int = field(default=0)


STALL = 15.0
"""Seconds by which a shared machine may stop a test for: what the bounds catch would take longer by far."""


@contextmanager
def stopwatch() -> Iterator[Measured]:
    measured = Measured()
    began = time.monotonic()
    try:
        yield measured
    finally:
        measured.seconds = time.monotonic() - began


@contextmanager
def memory() -> Iterator[Measured]:
    """Everything that this process allocates, the faulty server (a few buffers) included."""
    measured = Measured()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield measured
        measured.peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def server_context(certificate: trustme.LeafCert, *protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
