"""A guarded function keeps its signature and its result."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import assert_type

from holdfast import Pipeline, deadline

pipeline = Pipeline()


@pipeline.guard(key="db", retry_on=(OSError, LookupError), failed_if=lambda row: row is None, idempotent=True)
async def row(table: str, *, number: int = 0) -> int | None:
    return number


def key_of(bucket: str, name: bytes) -> str:
    return f"s3 {bucket}"


@pipeline.guard(key=key_of)
def promise(bucket: str, name: bytes) -> Awaitable[bytes]:
    raise NotImplementedError


class Table:
    @pipeline.guard(key="db")
    async def size(self, of: str) -> int:
        return len(of)


async def results_keep_their_types() -> None:
    assert_type(await row("users", number=3), int | None)
    assert_type(await promise("bucket", b"name"), bytes)
    assert_type(await Table().size("users"), int)
    assert_type(await pipeline.call(row, "users", key="db", number=3), int | None)
    async with pipeline.circuits.guard("db") as nothing:
        assert_type(nothing, None)
    with deadline(2.0) as left:
        assert_type(left.left, float)


async def arguments_are_checked() -> None:
    await row(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await row("users", numbr=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await promise("bucket")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await Table().size(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def only_awaitables_are_guarded() -> None:
    pipeline.guard(key="db")(len)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    pipeline.guard()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
