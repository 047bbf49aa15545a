"""What a user's own tests see of us under respx and pytest-httpx. Both know httpx alone, not httpx2.

Both stand below our transport, so the pipeline is in force: retries happen, circuits open. No socket is opened, so
a virtual clock may jump over the waits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import respx
from pytest_httpx import HTTPXMock

import holdfast
from holdfast import Pipeline
from holdfast.httpx import ResilientTransport
from holdfast.testing import VirtualClock

pytestmark = pytest.mark.anyio
URL = "https://api.test/things"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """The defaults, whose waits take no time."""
    pipeline = Pipeline(clock=VirtualClock(jump=True))
    async with httpx.AsyncClient(transport=ResilientTransport(pipeline)) as client:
        yield client


async def test_under_respx_the_pipeline_is_in_force(client: httpx.AsyncClient) -> None:
    with respx.mock:
        route = respx.get(URL)
        route.side_effect = [httpx.Response(503), httpx.ConnectError, httpx.Response(200, json={"fine": True})]
        response = await client.get(URL)
    assert response.json() == {"fine": True}
    assert route.call_count == 3
    assert [attempt.status for attempt in holdfast.history(response).attempts] == [503, None, 200]


async def test_under_respx_a_request_that_nobody_expects_fails_at_once(client: httpx.AsyncClient) -> None:
    with respx.mock as router:
        with pytest.raises(AssertionError, match="not mocked"):
            await client.get(URL)
        assert router.calls.call_count == 0


async def test_respx_on_top_of_the_client_passes_us_by(client: httpx.AsyncClient) -> None:
    with respx.mock(using="httpx") as router:
        route = router.get(URL).respond(503)
        response = await client.get(URL)
    assert route.call_count == 1
    assert "holdfast" not in response.extensions


async def test_a_respx_router_as_inner_transport(client: httpx.AsyncClient) -> None:
    router = respx.MockRouter(assert_all_called=False)
    route = router.get(URL)
    route.side_effect = [httpx.Response(503), httpx.Response(200)]
    transport = ResilientTransport(
        Pipeline(clock=VirtualClock(jump=True)), inner=httpx.MockTransport(router.async_handler)
    )
    async with httpx.AsyncClient(transport=transport) as client:
        assert (await client.get(URL)).status_code == 200
    assert route.call_count == 2


async def test_under_pytest_httpx_the_pipeline_is_in_force(client: httpx.AsyncClient, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(503)
    httpx_mock.add_exception(httpx.ReadError("gone"))
    httpx_mock.add_response(json={"fine": True})
    response = await client.get(URL)
    assert response.json() == {"fine": True}
    assert len(httpx_mock.get_requests()) == 3


async def test_under_pytest_httpx_a_failure_must_be_there_for_each_attempt(
    client: httpx.AsyncClient, httpx_mock: HTTPXMock
) -> None:
    httpx_mock.add_response(503, is_reusable=True)
    response = await client.get(URL)
    assert response.status_code == 503
    assert len(httpx_mock.get_requests()) == 3


@pytest.mark.httpx_mock(assert_all_requests_were_expected=False)
async def test_under_pytest_httpx_a_request_that_nobody_expects_is_a_timeout_and_sent_again(
    client: httpx.AsyncClient, httpx_mock: HTTPXMock
) -> None:
    with pytest.raises(httpx.TimeoutException, match="No response can be found"):
        await client.get(URL)
    assert len(httpx_mock.get_requests()) == 3
    with pytest.raises(httpx.TimeoutException):
        await client.get(URL, extensions={"holdfast": {"attempts": 1}})
    assert len(httpx_mock.get_requests()) == 4


async def test_under_pytest_httpx_a_body_can_be_streamed(client: httpx.AsyncClient, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(content=b"a long story")
    async with client.stream("GET", URL) as response:
        assert b"".join([chunk async for chunk in response.aiter_bytes()]) == b"a long story"
