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
    |   +-- NoUsableKey        every key of a pool is put aside (keys)
    +-- BodyDropped        the rest of a body was given up for a retry that never came
    +-- BodyTooLarge       a decoded body passed ``max_body_bytes``
    +-- ResponseRejected   ``Retry(retry_if=...)`` turned down every answer
    +-- InvalidOption      ``extensions["holdfast"]`` holds an unknown key or a bad value
    +-- WrongLoop          a service is used on a second event loop
    +-- Unsupported        the installed httpx or httpx2 lacks what a feature needs
    +-- InvalidInput       a value that no request is made of (argument); nothing was sent
    |   +-- WeakValidator      a reply that no write can be made conditional on
    +-- DecodeError        an answer does not fit the type that it was to have (path, expected, got)
    +-- ForeignOrigin      an answer points to another origin, which gets no request of ours
    +-- PageLoop           a listing leads back to a page that was read before
    +-- LineTooLong        a line or an event of a stream passed its cap
    +-- DigestMismatch     a download is not what its server says of it (algorithm)
    +-- OperationFailed    a long-running operation ended, and not well (state)
    +-- TooManyPages       a listing has more pages than it was to have
    +-- StatusError        a status that means failure (raised by the resource layer)
        +-- BadRequest         400
        +-- Unauthorized       401
        +-- Forbidden          403
        +-- NotFound           404
        |   +-- Gone               410
        +-- MethodNotAllowed   405
        +-- Conflict           409
        |   +-- PreconditionFailed 412
        +-- ContentTooLarge    413
        +-- UnsupportedMediaType 415
        +-- Unprocessable      422
        +-- TooManyRequests    429
        +-- ServerFault        5xx
            +-- BadGateway         502
            +-- Unavailable        503
            +-- GatewayTimeout     504

Each family (``holdfast.httpx``, ``holdfast.httpx2``) subclasses what it raises once more, with
its own ``TransportError`` (``DeadlineExceeded``: ``TimeoutException``; ``StatusError``:
``HTTPStatusError``; ``DecodeError``: ``DecodingError``), so that ``except httpx.HTTPError`` keeps
working. Configuration errors are ``ValueError`` and ``TypeError``, raised where the setting is made.

All of them survive pickle and copy: the arguments are plain data, held as attributes.

`DeprecatedOperation` is a warning, and no error: a server told that an operation will go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

__all__ = [
    "BadGateway",
    "BadRequest",
    "BodyDropped",
    "BodyTooLarge",
    "CircuitOpen",
    "Closed",
    "ConcurrencyFull",
    "Conflict",
    "ContentTooLarge",
    "DeadlineExceeded",
    "DecodeError",
    "DeprecatedOperation",
    "DigestMismatch",
    "Forbidden",
    "ForeignOrigin",
    "GatewayTimeout",
    "Gone",
    "HoldfastError",
    "InvalidInput",
    "InvalidOption",
    "LineTooLong",
    "MethodNotAllowed",
    "NoUsableKey",
    "NotFound",
    "Offline",
    "OperationFailed",
    "PageLoop",
    "PreconditionFailed",
    "Problem",
    "RateLimited",
    "RefusalCode",
    "Refused",
    "ResponseRejected",
    "ServerFault",
    "StatusError",
    "Throttled",
    "TooManyPages",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "Unprocessable",
    "Unsupported",
    "UnsupportedMediaType",
    "WeakValidator",
    "WrongLoop",
]


RefusalCode: TypeAlias = Literal[
    "circuit_open",
    "rate_limited",
    "throttled",
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
        # Request and response hang on httpx's side of a family's subclass; they may hold live streams, and stay behind.
        state = {name: value for name, value in self.__dict__.items() if name not in ("_request", "response")}
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


class NoUsableKey(Refused):
    """Every key of a pool is put aside. ``keys``: by id, why and for how long; never the keys themselves."""

    def __init__(
        self, message: str, *, policy: str = "key_pool", keys: Mapping[str, str], retry_after: float | None = None
    ) -> None:
        super().__init__(message, policy=policy, retry_after=retry_after)
        self.keys = dict(keys)


class Throttled(Refused):
    """The server turns down so many requests that a share of them, at random, is not sent; see `Throttle`."""

    code = "throttled"


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


class WeakValidator(InvalidInput):
    """A reply has no validator that a write could be made conditional on: none at all, or only a weak one.

    With a weak one two different states may look the same, and somebody else's change would be overwritten.
    """


class DecodeError(HoldfastError):
    """An answer does not have the shape that was asked for. It is never sent again, and no circuit counts it.

    ``path`` says where (``$.items[3].name``; ``[...]`` stands for a key that is data), ``expected`` and ``got`` are
    names of types, never values. ``body`` is the beginning of the body, at most 8 KiB, and ``operation``,
    ``status_code`` and ``content_type`` say what it came from, where that is known.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str = "$",
        expected: str = "",
        got: str = "",
        body: bytes = b"",
        content_type: str | None = None,
        operation: str | None = None,
        status_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.path = path
        self.expected = expected
        self.got = got
        self.body = body
        self.content_type = content_type
        self.operation = operation
        self.status_code = status_code


class ForeignOrigin(HoldfastError):
    """A link or a redirect leads to ``origin``, which is not the service's and not in ``allow_origins``."""

    def __init__(self, message: str, *, origin: str) -> None:
        super().__init__(message)
        self.origin = origin


class PageLoop(HoldfastError):
    """A listing's next page is one that was read before: going on would never end. ``pages`` were read."""

    def __init__(self, message: str, *, pages: int) -> None:
        super().__init__(message)
        self.pages = pages


class LineTooLong(HoldfastError):
    """A line, or an event, of a stream is longer than ``limit`` bytes. The connection was closed."""

    def __init__(self, message: str, *, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class DigestMismatch(HoldfastError):
    """What was downloaded does not have the digest that its server told (RFC 9530). Nothing of it was kept."""

    def __init__(self, message: str, *, algorithm: str) -> None:
        super().__init__(message)
        self.algorithm = algorithm


class OperationFailed(HoldfastError):
    """The server accepted an operation, which then failed, was cancelled, or cannot be asked about.

    ``state`` is the server's word for it (None: it told no address to ask at). ``body`` is the beginning of what it
    said last, at most 8 KiB, and ``url`` where, without query.
    """

    def __init__(
        self,
        message: str,
        *,
        state: str | None = None,
        operation: str | None = None,
        url: str | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.state = state
        self.operation = operation
        self.url = url
        self.body = body


class DeprecatedOperation(DeprecationWarning):
    """A server says that an operation is deprecated (RFC 9745), or will be gone (RFC 8594). Given once for each."""


class TooManyPages(HoldfastError):
    """A listing goes on behind ``max_pages`` pages. Nothing was cut off in silence: `resume` goes on."""

    def __init__(self, message: str, *, max_pages: int) -> None:
        super().__init__(message)
        self.max_pages = max_pages


class Problem:
    """What a server says of a failure in ``application/problem+json`` (RFC 9457 3.1), as it says it.

    A member that is missing or of the wrong type is None (``type``: "about:blank"); ``extensions`` has all others.
    """

    def __init__(
        self,
        *,
        type: str = "about:blank",
        title: str | None = None,
        status: int | None = None,
        detail: str | None = None,
        instance: str | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        self.type = type
        self.title = title
        self.status = status
        self.detail = detail
        self.instance = instance
        self.extensions: Mapping[str, Any] = extensions or {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"Problem({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class StatusError(HoldfastError):
    """A response whose status means failure; ``status_code`` is that status.

    ``headers`` are (name, value) pairs as they came, repeats kept; ``body`` is its beginning, at most 8 KiB.
    ``problem`` has its problem details (RFC 9457). ``request_id`` is what the server calls this exchange,
    ``retry_after`` are the seconds, ``retry_at`` the moment (since 1970), that it asks to wait; ``attempts`` were
    made. ``url`` comes without query and user information. None: it did not say.

    Its text holds nothing that came from the server but the status and the request id. A subclass of your own, for
    ``status_errors={409: AlreadyExists}``, is made without its ``__init__`` being called: give it properties.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        method: str | None = None,
        url: str | None = None,
        operation: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        problem: Problem | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        retry_at: float | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.method = method
        self.url = url
        self.operation = operation
        self.headers = headers
        self.body = body
        self.problem = problem
        self.request_id = request_id
        self.retry_after = retry_after
        self.retry_at = retry_at
        self.attempts = attempts

    def header(self, name: str) -> str | None:
        """The first field of this name, in whatever case; None if there is none."""
        return next((value for field, value in self.headers if field.lower() == name.lower()), None)


class BadRequest(StatusError):
    """400: the server does not understand the request."""


class Unauthorized(StatusError):
    """401: no credential, or not a good one (any more)."""


class Forbidden(StatusError):
    """403: understood, and refused whoever asks with this credential."""


class NotFound(StatusError):
    """404, or 410 as `Gone`: there is nothing at this address."""


class Gone(NotFound):
    """410: there is nothing at this address any more, nor will there be."""


class MethodNotAllowed(StatusError):
    """405: the address does not take this method; its ``Allow`` field has those that it takes."""


class Conflict(StatusError):
    """409, or 412 as `PreconditionFailed`: the resource is not in the state that the request took for granted."""


class PreconditionFailed(Conflict):
    """412: what ``If-Match`` or its kin asked for does not hold; somebody else was quicker."""


class ContentTooLarge(StatusError):
    """413: the request's body is larger than the server takes."""


class UnsupportedMediaType(StatusError):
    """415: the server does not take this type of content, or this content encoding (RFC 7694)."""


class Unprocessable(StatusError):
    """422: well-formed, and still not to be carried out: a field that does not pass the server's checks, say."""


class TooManyRequests(StatusError):
    """429: the server's quota is used up."""


class ServerFault(StatusError):
    """5xx: the server failed."""


class BadGateway(ServerFault):
    """502: the server got no good answer from the one behind it."""


class Unavailable(ServerFault):
    """503: overloaded, or being maintained."""


class GatewayTimeout(ServerFault):
    """504: the server got no answer in time from the one behind it, which may have acted."""
