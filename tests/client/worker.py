"""What a process of test_errors_travel's pool does. Each imports this file first, so it imports little."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from holdfast import CircuitBreaker, Pipeline
from holdfast.client import Service, by_link


@dataclass
class User:
    id: int
    name: str


def make(family: str, url: str, path: str) -> object:
    """What a task of a worker does: one call, and its value or its error."""
    pipeline = Pipeline(breaker=CircuitBreaker(failures=1))

    async def call() -> object:
        async with Service(url, family="httpx2" if family == "httpx2" else "httpx", pipeline=pipeline) as service:
            if path == "/again":
                return await service.GET("/again", list[int]).pages(by_link()).collect(limit=10)
            if path == "/open":
                pipeline.circuits.force_open(url)
            return await service.GET(path, User).using(deadline=0.3 if path == "/hangs" else 30.0)

    return asyncio.run(call())
