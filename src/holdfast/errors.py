"""What can go wrong, as one tree.

::

    HoldfastError
    +-- Refused            we did not send, or stopped sending (policy, key, retry_after)
    |   +-- CircuitOpen        the circuit of this key is open
    |   +-- RateLimited        the wait for a token is longer than the caller has
    |   +-- Throttled          this server turns down so much that a share is refused here
    |   +-- ConcurrencyFull    the queue in front of the permits is full
    |   +-- DeadlineExceeded   the call's total time is over
    |   +-- Closed             the transport or the pipeline was closed
    |   +-- Offline            only stored answers are allowed, and there is none
    +-- BodyDropped        the rest of a body was given up for a retry that never came
    +-- BodyTooLarge       a decoded body passed ``max_body_bytes``
    +-- ResponseRejected   ``Retry(retry_if=...)`` turned down every answer
    +-- InvalidOption      ``extensions["holdfast"]`` holds an unknown key or a bad value
    +-- WrongLoop          a service is used on a second event loop
    +-- Unsupported        the installed httpx or httpx2 lacks what a feature needs
    +-- InvalidInput       a value that no request is made of (argument); nothing was sent
    +-- ForeignOrigin      an answer points to another origin, which gets no request of ours
    +-- StatusError        a status that means failure (raised by the resource layer)
        +-- Unauthorized, NotFound, Conflict, TooManyRequests, ServerFault

Each family (``holdfast.httpx``, ``holdfast.httpx2``) subclasses what it raises once more, with
its own ``TransportError`` (``DeadlineExceeded``: ``TimeoutException``; ``StatusError``:
``HTTPStatusError``), so that ``except httpx.HTTPError`` keeps working. Configuration errors are
``ValueError`` and ``TypeError``, raised where the setting is made.

All of them survive pickle and copy: the arguments are plain data, held as attributes.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias

__all__ = [
    "BodyDropped",
    "BodyTooLarge",
    "CircuitOpen",
    "Closed",
    "ConcurrencyFull",
    "Conflict",
    "DeadlineExceeded",
    "ForeignOrigin",
    "HoldfastError",
    "InvalidOption",
    "InvalidInput",
    "NotFound",
    "Offline",
    "RateLimited",
    "RefusalCode",
    "Refused",
    "ResponseRejected",
    "ServerFault",
    "StatusError",
    "Throttled",
    "TooManyRequests",
    "Unauthorized",
    "Unsupported",
    "WrongLoop",
]


RefusalCode: TypeAlias = Literal[
    "circuit_open",
    "rate_limited",
    "concurrency_full",
    "deadline",
    "offline",
    "closed",
    "refused",  # by any other policy
]
"""Why a call was refused, for programs; stable."""


class HoldfastError(Exception):
    """Base of every error that holdfast raises. ``str(error)`` is for people; attributes are data."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        # The request hangs on httpx's side of a family's subclass; it may hold a live stream, and stays behind.
        state = {name: value for name, value in self.__dict__.items() if name != "_request"}
        return _revive, (type(self), self.message, state)


def _revive(kind: type[HoldfastError], message: str, state: dict[str, Any]) -> HoldfastError:
    error = kind.__new__(kind, message)
    HoldfastError.__init__(error, message)
    error.__dict__.update(state)
    return error


class Refused(HoldfastError):
    """A policy of ours ended the call; the server is not to blame, and trying again at once is of no use.

    ``policy`` names the layer, ``key`` whose share was asked for (default: the origin), ``retry_after``
    is the number of seconds after which a call may pass, or None where nobody can know. ``code`` belongs to the class.
    """

    code: ClassVar[RefusalCode] = "refused"

    def __init__(
        self, message: str, *, policy: str = "", key: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.policy = policy
        self.key = key
        self.retry_after = retry_after


class CircuitOpen(Refused):
    """The circuit of ``key`` is open. ``opened_at`` is monotonic seconds; the last failure is ``__cause__``."""

    code = "circuit_open"

    def __init__(
        self,
        message: str,
        *,
        policy: str = "circuit_breaker",
        key: str | None = None,
        retry_after: float | None = None,
        state: str = "open",
        opened_at: float | None = None,
    ) -> None:
        super().__init__(message, policy=policy, key=key, retry_after=retry_after)
        self.state = state
        self.opened_at = opened_at


class RateLimited(Refused):
    """Our own limiter cannot grant a token in the time that is left; ``retry_after`` says when it could."""

    code = "rate_limited"


class Throttled(Refused):
    """The server turns down so many requests that a share of them, at random, is not sent; see `Throttle`."""


class ConcurrencyFull(Refused):
    """All permits are taken, and as many callers as may wait for one do so already."""

    code = "concurrency_full"


class DeadlineExceeded(Refused):
    """The call's total time is over. ``deadline`` is that total in seconds."""

    code = "deadline"

    def __init__(
        self,
        message: str,
        *,
        policy: str = "deadline",
        key: str | None = None,
        retry_after: float | None = None,
        deadline: float | None = None,
    ) -> None:
        super().__init__(message, policy=policy, key=key, retry_after=retry_after)
        self.deadline = deadline


class Closed(Refused):
    """The transport was closed, or is closing and takes no new calls."""

    code = "closed"


class Offline(Refused):
    """Only stored answers are allowed now, and none fits."""

    code = "offline"


class BodyDropped(HoldfastError):
    """This answer's body was longer than 64 KiB and was dropped before a backoff; status and headers stand."""


class BodyTooLarge(HoldfastError):
    """The decoded body passed ``limit`` bytes. The connection was closed, and nothing was kept."""

    def __init__(self, message: str, *, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class ResponseRejected(HoldfastError):
    """``Retry(retry_if=...)`` turned down the last answer as well; ``status_code`` is that answer's."""

    def __init__(self, message: str, *, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code


class InvalidOption(HoldfastError, ValueError):
    """A per-request option is unknown or has a bad value. Nothing was sent."""


class WrongLoop(HoldfastError, RuntimeError):
    """A service was used on one event loop, and is used on another now; its connections belong to the first."""


class Unsupported(HoldfastError, RuntimeError):
    """The installed HTTP library has no (documented or known) way to do what was asked."""


class InvalidInput(HoldfastError, ValueError):
    """A value of which no request is made: of the wrong type, or one that would not stay in its place.

    ``argument`` names it; its value is nowhere told. Nothing was sent.
    """

    def __init__(self, message: str, *, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument


class ForeignOrigin(HoldfastError):
    """A link or a redirect leads to ``origin``, which is not the service's and not in ``allow_origins``."""

    def __init__(self, message: str, *, origin: str) -> None:
        super().__init__(message)
        self.origin = origin


class StatusError(HoldfastError):
    """A response whose status means failure; ``status_code`` is that status."""

    def __init__(self, message: str, *, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code


class Unauthorized(StatusError):
    """401: no credential, or not a good one (any more)."""


class NotFound(StatusError):
    """404 or 410: there is nothing at this address."""


class Conflict(StatusError):
    """409 or 412: the resource is not in the state that the request took for granted."""


class TooManyRequests(StatusError):
    """429: the server's quota is used up."""


class ServerFault(StatusError):
    """5xx: the server failed."""
