"""Stores for the cache's tests."""

from __future__ import annotations

from typing import Any

from holdfast import MemoryStore
from holdfast.core.caching.entry import Entry


class Remote:
    """A store that has to be waited for, and that may be slow or down."""

    def __init__(self, clock: Any) -> None:
        self._memory = MemoryStore()
        self._clock = clock
        self.delay = 0.001
        self.error: Exception | None = None
        self.asked = 0

    async def _trip(self) -> None:
        self.asked += 1
        await self._clock.sleep(self.delay)
        if self.error is not None:
            raise self.error

    async def get(self, key: str) -> tuple[Entry, ...]:
        await self._trip()
        return await self._memory.get(key)

    async def put(self, entry: Entry) -> None:
        await self._trip()
        await self._memory.put(entry)

    async def delete(self, key: str) -> None:
        await self._trip()
        await self._memory.delete(key)

    async def purge(self, url: str) -> int:
        await self._trip()
        return await self._memory.purge(url)

    async def purge_prefix(self, prefix: str) -> int:
        await self._trip()
        return await self._memory.purge_prefix(prefix)

    async def purge_tag(self, tag: str) -> int:
        await self._trip()
        return await self._memory.purge_tag(tag)

    async def clear(self) -> None:
        await self._trip()
        await self._memory.clear()

    async def aclose(self) -> None:
        pass
