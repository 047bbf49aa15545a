"""A client on our transport keeps the types of its own family, through `wrap` too."""

from __future__ import annotations

from typing import assert_type

import httpx
import httpx2

import holdfast.httpx
import holdfast.httpx2
from holdfast import CircuitBreaker, Pipeline, RateLimit, Retry


async def httpx_stays_httpx() -> None:
    client = httpx.AsyncClient(transport=holdfast.httpx.ResilientTransport())
    assert_type(await client.get("/"), httpx.Response)
    assert_type(holdfast.httpx.wrap(client), httpx.AsyncClient)


async def httpx2_stays_httpx2() -> None:
    client = httpx2.AsyncClient(transport=holdfast.httpx2.ResilientTransport())
    assert_type(await client.get("/"), httpx2.Response)
    assert_type(holdfast.httpx2.wrap(client), httpx2.AsyncClient)


async def a_transport_answers_in_its_own_family(request: httpx.Request, request2: httpx2.Request) -> None:
    assert_type(await holdfast.httpx.ResilientTransport().handle_async_request(request), httpx.Response)
    assert_type(await holdfast.httpx2.ResilientTransport().handle_async_request(request2), httpx2.Response)


def one_pipeline_serves_both() -> None:
    pipeline = Pipeline(retry=Retry(attempts=4), breaker=None, rate_limit=RateLimit(100, per=60.0, burst=10))
    holdfast.httpx.ResilientTransport(pipeline, http2=True)
    holdfast.httpx2.ResilientTransport(pipeline, http2=True)


def families_do_not_mix() -> None:
    httpx2.AsyncClient(transport=holdfast.httpx.ResilientTransport())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    holdfast.httpx2.wrap(httpx.AsyncClient())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def settings_are_checked() -> None:
    Retry(attempts="4")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Retry(4)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    CircuitBreaker(open_for=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Pipeline(Retry())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
