"""A store that keeps long bodies as files, to the contract, and that can be made slow or broken at any step."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from itertools import count
from pathlib import Path

from holdfast import MemoryStore
from holdfast.clock import Clock
from holdfast.core.caching.entry import Blob, Entry
from holdfast.stores.base import StoreError

PIECE = 1000


class DirectoryStore:
    """Metadata in memory, every body in a file of its own; a body that is not whole yet ends in ``.part``.

    ``delays`` and ``errors`` are by step: writer, write, finish, discard, read (a piece), secret and those of
    `Store`. ``missing`` bytes are left out at the end of what is read.
    """

    def __init__(self, directory: Path, clock: Clock, *, largest: int = 10**9) -> None:
        self.directory = directory
        self.clock = clock
        self.largest = largest
        self.delays: dict[str, float | list[float]] = {}
        self.errors: dict[str, Exception] = {}
        self.missing = 0
        self.reading = 0
        self.pieces_read = 0
        self.names = count()
        self.memory = MemoryStore()
        self.kept_secret = bytes(range(32))

    @property
    def files(self) -> list[Path]:
        """All there is on the disk."""
        return sorted(self.directory.iterdir())

    @property
    def parts(self) -> list[str]:
        """Bodies that somebody began, and neither finished nor discarded."""
        return [path.name for path in self.files if path.suffix == ".part"]

    @property
    def bodies(self) -> list[bytes]:
        return [path.read_bytes() for path in self.files if path.suffix == ".body"]

    async def step(self, name: str) -> None:
        match self.delays.get(name, 0.0):
            case []:
                pass
            case [*several]:
                self.delays[name] = several[1:]
                await self.clock.sleep(several[0])
            case float(seconds) if seconds:
                await self.clock.sleep(seconds)
            case _:
                pass
        if name in self.errors:
            raise self.errors[name]

    async def get(self, key: str) -> tuple[Entry, ...]:
        await self.step("get")
        return await self.memory.get(key)

    async def put(self, entry: Entry) -> None:
        await self.step("put")
        if isinstance(entry.body, Blob) and not (self.directory / entry.body.name).exists():
            return
        await self.memory.put(entry)

    async def delete(self, key: str) -> None:
        await self.step("delete")
        for entry in await self.memory.get(key):
            self.forget(entry)
        await self.memory.delete(key)

    async def purge(self, url: str) -> int:
        await self.step("purge")
        return await self.memory.purge(url)

    async def purge_prefix(self, prefix: str) -> int:
        return await self.memory.purge_prefix(prefix)

    async def purge_tag(self, tag: str) -> int:
        return await self.memory.purge_tag(tag)

    async def clear(self) -> None:
        await self.memory.clear()

    async def aclose(self) -> None:
        pass

    async def writer(self) -> FileWriter:
        await self.step("writer")
        return FileWriter(self, self.directory / f"{next(self.names)}.part")

    async def read(self, entry: Entry, start: int = 0) -> AsyncGenerator[bytes, None]:
        assert isinstance(entry.body, Blob)
        self.reading += 1
        try:
            await self.step("read")
            try:
                file = (self.directory / entry.body.name).open("rb")
            except FileNotFoundError as error:
                raise StoreError("the body is gone") from error
            with file:
                file.seek(start)
                left = entry.size - start
                while piece := file.read(min(PIECE, left - self.missing)):
                    self.pieces_read += 1
                    left -= len(piece)
                    yield piece
                    await self.step("read")
        finally:
            self.reading -= 1

    async def secret(self) -> bytes:
        await self.step("secret")
        return self.kept_secret

    def forget(self, entry: Entry) -> None:
        if isinstance(entry.body, Blob):
            (self.directory / entry.body.name).unlink(missing_ok=True)


class FileWriter:
    def __init__(self, store: DirectoryStore, path: Path) -> None:
        self._store = store
        self._path = path
        self._path.touch()
        self._size = 0

    async def write(self, chunk: bytes) -> bool:
        await self._store.step("write")
        self._size += len(chunk)
        if self._size > self._store.largest:
            return False
        with self._path.open("ab") as file:
            file.write(chunk)
        return True

    async def finish(self, entry: Entry) -> Entry | None:
        await self._store.step("finish")
        body = self._path.with_suffix(".body")
        stored = replace(entry, body=Blob(self._size, body.name))
        for other in await self._store.memory.get(entry.key):
            self._store.forget(other)
        self._path.rename(body)
        await self._store.memory.put(stored)
        return stored

    async def discard(self) -> None:
        await self._store.step("discard")
        self._path.unlink(missing_ok=True)
