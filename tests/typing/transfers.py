"""Downloads and uploads as a user's editor sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import assert_type

from holdfast.client import Download, Service, Upload


def show(done: int, total: int | None) -> None: ...


async def chunks() -> AsyncIterator[bytes]:
    yield b""


async def a_body_is_a_file(service: Service) -> None:
    fetched = await service.GET("/a", bytes).download(Path("a"), progress=show)
    assert_type(fetched, Download)
    assert_type(fetched.path, Path)
    assert_type(fetched.digest, str | None)
    await service.GET("/a", bytes).download("a", progress=lambda done: None)  # type: ignore[arg-type, misc]  # pyright: ignore[reportArgumentType]


async def a_file_is_a_body(service: Service) -> None:
    await service.PUT("/a", content=Upload("a", progress=show))
    await service.PUT("/a", content=Upload(chunks(), size=3))
    Upload(b"bytes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
