"""The SDKs of openai and anthropic on our transport: the attempts are ours alone, and streaming works.

Both take an ``httpx2.AsyncClient`` as ``http_client``. Their calls are POSTs without an idempotency key, which are
not sent again after a 503 unless somebody says that they may be: here ``Retry(methods=...)`` does. Both are imported
where they are used, for it takes seconds, and each process would take them that only collects the tests.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest

from holdfast import Pipeline
from holdfast.core.retry import IDEMPOTENT_METHODS
from holdfast.httpx2 import ResilientTransport
from holdfast.testing.faulty import Answer, FaultyServer
from tests.faults.wire import TRUSTS_NOBODY, retry

pytestmark = [
    pytest.mark.anyio,
    # Both SDKs stop reading a stream at its last event and leave their generators to the collector; trio tells of it.
    pytest.mark.filterwarnings("ignore:Async generator '(openai|anthropic|holdfast|httpx2|httpcore2):ResourceWarning"),
]
# The SDKs heed the header too, and would else wait for half a second and more.
BUSY = Answer(503, headers=(("retry-after-ms", "1"),))
EVENTS = (("content-type", "text/event-stream"),)
MESSAGE: dict[str, Any] = {
    "id": "1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
ASKED: Any = [{"role": "user", "content": "Say hello."}]


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    pipeline = Pipeline(retry=retry(methods=IDEMPOTENT_METHODS | {"POST"}))
    transport = ResilientTransport(pipeline, verify=TRUSTS_NOBODY)
    async with httpx2.AsyncClient(transport=transport) as client:
        yield client


def retry_counts(server: FaultyServer) -> list[str | None]:
    return [request.header("x-stainless-retry-count") for request in server.requests]


class Openai:
    path = "/v1/chat/completions"
    answer = Answer.json(
        {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}},
            ],
        }
    )

    @staticmethod
    def stream() -> Answer:
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        deltas = [{"index": 0, "delta": {"content": text}, "finish_reason": None} for text in ("hel", "lo")]
        lines = [f"data: {json.dumps({**chunk, 'choices': [delta]})}\n\n" for delta in deltas]
        return Answer(body="".join([*lines, "data: [DONE]\n\n"]).encode(), headers=EVENTS, chunked=True)

    def __init__(self, server: FaultyServer, http: httpx2.AsyncClient, max_retries: int = 0) -> None:
        import openai

        self.overloaded = openai.InternalServerError
        self.sdk = openai.AsyncOpenAI(
            api_key="k", base_url=f"{server.url}/v1", http_client=http, max_retries=max_retries
        )

    async def ask(self) -> str | None:
        completion = await self.sdk.chat.completions.create(model="m", messages=ASKED)
        return completion.choices[0].message.content

    async def ask_for_a_stream(self) -> str:
        events = await self.sdk.chat.completions.create(model="m", messages=ASKED, stream=True)
        return "".join([event.choices[0].delta.content or "" async for event in events])


class Anthropic:
    path = "/v1/messages"
    answer = Answer.json(MESSAGE)

    @staticmethod
    def stream() -> Answer:
        begun = {**MESSAGE, "content": [], "stop_reason": None}
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": begun},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hel"}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
            {"type": "message_stop"},
        ]
        lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
        return Answer(body="".join(lines).encode(), headers=EVENTS, chunked=True)

    def __init__(self, server: FaultyServer, http: httpx2.AsyncClient, max_retries: int = 0) -> None:
        import anthropic

        self.overloaded = anthropic.InternalServerError
        self.sdk = anthropic.AsyncAnthropic(api_key="k", base_url=server.url, http_client=http, max_retries=max_retries)

    async def ask(self) -> str | None:
        message = await self.sdk.messages.create(model="m", max_tokens=9, messages=ASKED)
        block = message.content[0]
        return block.text if block.type == "text" else None

    async def ask_for_a_stream(self) -> str:
        async with self.sdk.messages.stream(model="m", max_tokens=9, messages=ASKED) as stream:
            return "".join([text async for text in stream.text_stream])


SDKS = pytest.mark.parametrize("sdk", [Openai, Anthropic])


@SDKS
async def test_attempts_are_exactly_ours(
    sdk: type[Openai] | type[Anthropic], server: FaultyServer, http: httpx2.AsyncClient
) -> None:
    server.on(sdk.path, BUSY, BUSY, sdk.answer)
    assert await sdk(server, http).ask() == "hello"
    assert retry_counts(server) == ["0"] * 3


@SDKS
async def test_streaming_works_after_failures_too(
    sdk: type[Openai] | type[Anthropic], server: FaultyServer, http: httpx2.AsyncClient
) -> None:
    server.on(sdk.path, BUSY, BUSY, sdk.stream())
    assert await sdk(server, http).ask_for_a_stream() == "hello"
    assert server.count() == 3


@SDKS
async def test_an_sdks_own_retries_add_and_do_not_multiply(
    sdk: type[Openai] | type[Anthropic], server: FaultyServer, http: httpx2.AsyncClient
) -> None:
    server.on(sdk.path, BUSY)
    client = sdk(server, http, max_retries=2)
    with pytest.raises(client.overloaded):
        await client.ask()
    assert retry_counts(server) == ["0", "0", "0", "1", "2"]  # 3 of ours, then 2 of its own; not 3 times 3


@SDKS
async def test_without_leave_a_post_is_not_sent_again(
    sdk: type[Openai] | type[Anthropic], server: FaultyServer
) -> None:
    server.on(sdk.path, BUSY)
    async with httpx2.AsyncClient(transport=ResilientTransport(Pipeline(), verify=TRUSTS_NOBODY)) as http:
        client = sdk(server, http)
        with pytest.raises(client.overloaded):
            await client.ask()
    assert server.count() == 1
