"""Secrets for as long as the process lives."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import anyio

from holdfast.auth.stores.base import SecretStore, checked
from holdfast.core.secret import Secret

__all__ = ["MemorySecrets"]


class MemorySecrets(SecretStore):
    """Keeps them in memory. Shared by the tasks of one event loop at a time.

    >>> MemorySecrets({"github": "s3cr3t"})
    MemorySecrets(1 secret)
    """

    def __init__(self, secrets: Mapping[str, str | Secret] | None = None) -> None:
        self._secrets = {checked(name): Secret.of(value) for name, value in (secrets or {}).items()}
        self._doors: dict[str, anyio.Semaphore] = {}

    def __repr__(self) -> str:
        count = len(self._secrets)
        return f"MemorySecrets({count} secret{'' if count == 1 else 's'})"

    async def get(self, name: str) -> Secret | None:
        return self._secrets.get(checked(name))

    async def put(self, name: str, secret: Secret) -> None:
        self._secrets[checked(name)] = secret

    async def delete(self, name: str) -> None:
        self._secrets.pop(checked(name), None)

    async def names(self) -> list[str]:
        return sorted(self._secrets)

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncGenerator[None]:
        door = self._doors.setdefault(checked(name), anyio.Semaphore(1))
        try:
            async with door:
                yield
        finally:
            # It belongs to an event loop: it goes with the last who wants it.
            if door.value and not door.statistics().tasks_waiting:
                self._doors.pop(name, None)

    def place(self, name: str) -> str:
        return f"the secret {name!r}"
