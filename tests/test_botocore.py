"""botocore behind the policies: a blocking client in a thread, against an origin on loopback."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError
from botocore.session import get_session

import holdfast
from holdfast import CircuitBreaker, Pipeline, Retry
from holdfast.testing import VirtualClock
from holdfast.testing.faulty import Answer, FaultyServer, Held, Reset

pytestmark = [pytest.mark.anyio, pytest.mark.heavy]  # a client of boto3 is slow to make
UNREACHED = (OSError, HTTPClientError, ConnectionError)


class Unwell(Exception):
    """The server says that it is not well, or that this is too much."""


@pytest.fixture
async def server() -> AsyncIterator[FaultyServer]:
    async with FaultyServer() as server:
        yield server


@pytest.fixture
def s3(server: FaultyServer) -> Iterator[Any]:
    """Without retries of its own, or attempts would multiply."""
    config = Config(
        retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, connect_timeout=60.0, read_timeout=60.0
    )
    session = get_session()
    keys = {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
    client = session.create_client("s3", region_name="us-east-1", endpoint_url=server.url, config=config, **keys)
    yield client
    client.close()
    with warnings.catch_warnings():  # urllib3 leaves the socket of a broken answer to the collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def reading(s3: Any, pipeline: Pipeline, ended: Callable[[], None] = lambda: None) -> Callable[[str], Awaitable[bytes]]:
    def get(name: str) -> bytes:
        try:
            body: bytes = s3.get_object(Bucket="bucket", Key=name)["Body"].read()
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (429, 500, 502, 503, 504):
                raise Unwell from error
            raise
        finally:
            ended()
        return body

    @pipeline.guard(key="s3", retry_on=(*UNREACHED, Unwell), idempotent=True)
    async def read(name: str) -> bytes:
        return await anyio.to_thread.run_sync(get, name, abandon_on_cancel=True)

    return read


async def test_what_passes_is_tried_again(server: FaultyServer, s3: Any) -> None:
    server.on("/bucket/letter", Reset(), Answer(503), Answer(body=b"hello"))
    read = reading(s3, Pipeline(retry=Retry(wait=lambda state: 0.0)))
    assert await read("letter") == b"hello"
    assert server.count("/bucket/letter") == 3


async def test_what_does_not_exist_is_asked_for_once_and_blames_nobody(server: FaultyServer, s3: Any) -> None:
    server.on("/bucket/letter", Answer(404))
    pipeline = Pipeline(breaker=CircuitBreaker(failures=1))
    with pytest.raises(ClientError):
        await reading(s3, pipeline)("letter")
    assert server.count("/bucket/letter") == 1
    assert pipeline.snapshot()["origins"]["s3"]["circuit"]["state"] == "closed"


async def test_an_origin_that_is_down_opens_the_circuit(server: FaultyServer, s3: Any) -> None:
    server.on("/bucket/letter", Answer(500))
    read = reading(s3, Pipeline(retry=None, breaker=CircuitBreaker(failures=2)))
    for error in (Unwell, Unwell, holdfast.CircuitOpen, holdfast.CircuitOpen):
        with pytest.raises(error):
            await read("letter")
    assert server.count("/bucket/letter") == 2


async def test_the_deadline_lets_the_caller_go_and_the_thread_ends_when_it_ends(server: FaultyServer, s3: Any) -> None:
    gate, ended = server.gate(), threading.Event()
    server.on("/bucket/letter", Held(gate))
    clock = VirtualClock()

    async def pass_time() -> None:
        await server.await_for(lambda _: gate.waiting == 1)
        await clock.advance(0.2)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pass_time)
        with holdfast.deadline(0.2, clock=clock), pytest.raises(holdfast.DeadlineExceeded):
            await reading(s3, Pipeline(clock=clock), ended.set)("letter")
    assert not ended.is_set()
    gate.open()
    assert await anyio.to_thread.run_sync(ended.wait, 30.0)
