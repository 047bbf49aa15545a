"""What a fallback may be given: plain JSON of any shape, substitutes, and functions that are sync or async."""

from __future__ import annotations

from typing import assert_type

from holdfast import Failure, Fallback, Substitute


def counted(failure: Failure) -> dict[str, int]:
    assert_type(failure.attempts, int)
    assert_type(failure.error, Exception | None)
    return {"attempts": failure.attempts}


async def looked_up(failure: Failure) -> Substitute | None:
    return Substitute(b"id", headers={"Content-Type": "text/csv"}) if failure.operation else None


numbers: list[int] = [1, 2]
Fallback(values={"A": {"n": numbers}, "B": counted, "C": looked_up, "D": lambda failure: [failure.reason]})
Fallback(default=numbers)
Fallback(default=lambda failure: None)
Fallback(failover={"https://a.example": ["https://b.example"]}, on=(503, OSError))
Fallback(default=object())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
