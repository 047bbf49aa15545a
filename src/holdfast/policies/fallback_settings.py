"""What users say of fallback: its settings, what stands in for an answer, and what they are told of a failure."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from typing import Final, TypeAlias

from holdfast._wire import RequestLike, ResponseLike
from holdfast.core.fallback import Alternatives
from holdfast.core.settings import Settings
from holdfast.core.templates import Templates
from holdfast.core.value import Value

__all__ = ["JSON", "Failure", "Fallback", "Substitute", "Supply", "substitute"]


class Failure(Value):
    """How a call failed, for whoever supplies a value in place of its answer.

    Either ``response`` or ``error`` is there. ``reason`` is as in `History.reason`, or else the status
    (``status_503``) or the name of the error's class. ``attempts`` counts the requests that were sent.
    """

    def __init__(
        self,
        request: RequestLike,
        *,
        response: ResponseLike | None,
        error: Exception | None,
        reason: str,
        attempts: int,
        key: str,
        operation: str | None,
    ) -> None:
        self.request: Final = request
        self.response: Final = response
        self.error: Final = error
        self.reason: Final = reason
        self.attempts: Final = attempts
        self.key: Final = key
        self.operation: Final = operation


class Substitute(Settings, kw_only=False):
    """A response to fall back on: for what is not JSON, or has a status, header fields or an ``age`` (seconds) to tell.

    >>> Substitute(b"id,name", headers={"Content-Type": "text/csv"}, age=60.0).status
    200
    """

    body: bytes = b""
    status: int = field(default=200, kw_only=True)
    headers: Mapping[str, str] | None = field(default=None, kw_only=True)
    age: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599:
            raise ValueError(f"status must be that of a final answer, 200 to 599, got {self.status}")
        if self.age is not None and not 0 <= self.age < float("inf"):
            raise ValueError(f"age must be at least 0 seconds, got {self.age}")


JSON: TypeAlias = str | float | bool | Sequence["JSON"] | Mapping[str, "JSON"] | None
"""What becomes the body of a response of type ``application/json``."""
Supply: TypeAlias = JSON | Substitute | Callable[[Failure], JSON | Substitute | Awaitable[JSON | Substitute]]
"""A value, or a function that makes one of a `Failure`, sync or async. None: there is none, go on."""


class Fallback(Settings):
    """Other ways to answer a call that failed, in this order; each answer says which way it came.

    ``failover``: other base URLs, by the one that they stand in for. ``stale``: the stored answer, however old, or
    at most so many seconds past its time (needs a cache). ``values``: by operation id or URL template. ``default``:
    for all other calls of safe methods. Whatever gives nothing or fails leaves it to the next, and after the last the
    caller gets the first failure.

    A call has failed when it ends with 500, 502, 503 or 504, with an error of the network, or with a refusal of ours.
    ``on`` names other statuses and exception classes in place of those. Never a failure: 401, a cancellation, an
    answer that cannot be decoded or trusted, a transport that is closed, a mistake in the request or in our code.

    A failover leaves credentials behind: header fields and query parameters that look like one go along only if
    ``keep`` names them. ``timeout``: seconds that a function may take; the deadline does not bound it, being over.

    ``extensions["holdfast"]["fallback"] = False`` turns it off for one request. Raises ValueError for settings that
    cannot be, TypeError for a value that is no JSON.

    >>> fallback = Fallback(stale=3600.0, values={"Stats.get": {"visits": None}})
    """

    failover: Mapping[str, Sequence[str]] | None = None
    stale: bool | float = False
    values: Mapping[str, Supply] | None = None
    default: Supply = None
    on: tuple[int | type[Exception], ...] | None = None
    keep: tuple[str, ...] = ()
    timeout: float = 1.0

    def __post_init__(self) -> None:
        if not (self.failover or self.stale or self.values) and self.default is None:
            raise ValueError("a Fallback needs something to fall back on: failover, stale, values or default")
        if not 0 <= self.stale < float("inf"):
            raise ValueError(f"stale must be True or seconds past the lifetime, got {self.stale}")
        if not 0 < self.timeout < float("inf"):
            raise ValueError(f"timeout must be more than 0 seconds, got {self.timeout}")
        _check_names("keep", self.keep)
        for failure in self.on or ():
            _check_failure(failure)
        for others in (self.failover or {}).values():
            _check_names("the other base URLs", others)
        Alternatives(self.failover or {})
        Templates(self.values or {}, "value")
        for name, supply in {"default": self.default, **(self.values or {})}.items():
            if not callable(supply):
                substitute(supply, name)


def _check_names(setting: str, names: object) -> None:
    # A lone string is a sequence of its letters: the usual slip.
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f'{setting} must be a tuple of strings such as ("...",)')


def _check_failure(failure: object) -> None:
    if isinstance(failure, int) and not isinstance(failure, bool):
        if failure == 401:
            raise ValueError("401 is nothing to fall back from: the caller has to learn of it")
        if not 400 <= failure <= 599:
            raise ValueError(f"on takes statuses of failures, 400 to 599, got {failure}")
    elif not (isinstance(failure, type) and issubclass(failure, Exception)):
        raise TypeError(f"on takes statuses and exception classes, got {failure!r}")


def substitute(given: JSON | Substitute, name: str) -> Substitute:
    """The response that is made of a value. Raises TypeError for what is no JSON; ``name`` is the value's."""
    if isinstance(given, Substitute):
        return given
    try:
        body = json.dumps(given, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise TypeError(f"the fallback {name!r} is no JSON; give a Substitute(body): {error}") from None
    return Substitute(body.encode(), headers={"Content-Type": "application/json"})
