"""A far side for the cache's tests: answers, and a resource that has versions and knows conditional requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.testing import Reply

MINUTE = {"Cache-Control": "max-age=60"}


def answer(body: bytes = b"body", status: int = 200, *, delay: float = 0.0, **headers: str) -> Reply:
    """A small answer of declared length, fresh for a minute unless told otherwise; ``_`` in names means ``-``."""
    said = {"Cache-Control": "max-age=60", "Content-Length": str(len(body))}
    said |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, headers={name: value for name, value in said.items() if value}, body=body, delay=delay)


def stream(*chunks: bytes, every: float = 0.0, **more: Any) -> Reply:
    """An answer whose length is not declared, so that it is read by the caller and not inside the attempt."""
    return Reply(200, headers=MINUTE, body=chunks, every=every, **more)


@dataclass(slots=True)
class Resource:
    """One resource at every URL: ``version`` is its body and its ETag; an unsafe method makes the next one."""

    version: int = 1
    headers: Mapping[str, str] = field(default_factory=lambda: MINUTE)
    delay: float = 0.0
    statuses: list[int] = field(default_factory=list)

    def __call__(self, number: int, request: Any) -> Reply:
        if request.method not in ("GET", "HEAD"):
            self.version += 1
            return Reply(204, delay=self.delay)
        etag = f'"{self.version}"'
        known = request.headers.get("if-none-match") == etag
        self.statuses.append(304 if known else 200)
        body = b"" if known or request.method == "HEAD" else b"version %d" % self.version
        length = {} if known or request.method == "HEAD" else {"Content-Length": str(len(body))}
        headers = {**self.headers, "ETag": etag, **length}
        return Reply(304 if known else 200, headers=headers, body=body, delay=self.delay)


def told(response: Any) -> tuple[str | None, str | None]:
    """Source and cache of a response's record."""
    record = response.extensions["holdfast"]
    return record["source"], record["cache"]


def status_of(response: Any) -> str:
    """The Cache-Status field."""
    text: str = response.headers["cache-status"]
    return text
