"""What a server says of its limits, over real sockets (S14)."""

from __future__ import annotations

import anyio
import pytest

from holdfast import ConcurrencyLimit
from holdfast.testing.faulty import Answer, FaultyServer
from tests.faults.wire import surviving
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio


async def test_one_of_twenty_callers_is_told_to_wait_and_nobody_sends_earlier(
    family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/quota", Answer(429, headers={"retry-after": "1"}), Answer(body=b"good"))

    async with surviving(family, server, concurrency=ConcurrencyLimit(1), deadline=20.0) as http:

        async def caller() -> None:
            response = await http.get(f"{server.url}/quota")
            assert response.text == "good"

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(caller)
    sent = [request.at for request in server.requests if request.path == "/quota"]
    assert len(sent) == 21
    assert min(sent[1:]) >= sent[0] + 1.0
