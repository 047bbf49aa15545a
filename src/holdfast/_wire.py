"""What the policies know of an HTTP library: a few Protocols, and `Family`, the only door to real classes.

A policy is written once and serves httpx and httpx2 alike, because it sees requests and responses
through these Protocols and asks a `Family` for whatever needs a real class: which exceptions are
transient, how to build a response, how to raise a refusal that the library's own ``except`` clauses catch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from holdfast._body import Body, Stream
from holdfast.call import CALL
from holdfast.core.fault import Fault
from holdfast.core.value import Value
from holdfast.errors import HoldfastError, StatusError

if TYPE_CHECKING:
    from holdfast.call import Options
    from holdfast.core.caching.request import Ask

__all__ = [
    "AROUND_ATTEMPT",
    "AuthLike",
    "ClientFamily",
    "ClientLike",
    "Credential",
    "Family",
    "Fault",
    "FoundLike",
    "Handler",
    "HeadersLike",
    "Inner",
    "Middleware",
    "Q",
    "R",
    "ReceivedLike",
    "RequestLike",
    "ResponseLike",
    "ShortWay",
    "Site",
    "URLLike",
    "around_attempts",
]

AROUND_ATTEMPT = "holdfast.around_attempt"
"""Key of ``function(request, send)`` in a request's extensions: the resource layer's way around each attempt."""


class URLLike(Protocol):
    """The parts of a URL that a policy may look at."""

    @property
    def scheme(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int | None: ...
    @property
    def raw_path(self) -> bytes: ...


class HeadersLike(Protocol):
    """A multi-dict of header fields; names compare without case, ``raw`` keeps bytes and order."""

    @property
    def raw(self) -> list[tuple[bytes, bytes]]: ...
    def get(self, key: str, /) -> str | None: ...
    def get_list(self, key: str) -> list[str]: ...
    def __contains__(self, key: Any) -> bool: ...
    def __getitem__(self, key: str) -> str: ...
    def __setitem__(self, key: str, value: str) -> None: ...
    def __delitem__(self, key: str) -> None: ...


class RequestLike(Protocol):
    """A request on its way down. ``extensions`` may be replaced, never written into: redirects share it."""

    method: str
    extensions: dict[str, Any]

    @property
    def url(self) -> URLLike: ...
    @property
    def headers(self) -> HeadersLike: ...


class ResponseLike(Protocol):
    """A response on its way up: head received, body mostly still on the wire."""

    status_code: int
    extensions: dict[str, Any]
    is_closed: bool

    @property
    def headers(self) -> HeadersLike: ...
    async def aclose(self) -> None: ...


Q = TypeVar("Q", bound=RequestLike)
R = TypeVar("R", bound=ResponseLike)

Handler = Callable[[Q], Awaitable[R]]
"""One layer, seen from above: send this request, return on the response's head, or raise."""


class ReceivedLike(ResponseLike, Protocol):
    """A response as a caller has it: with a body to read, whole or in pieces."""

    @property
    def request(self) -> Any: ...
    @property
    def url(self) -> Any: ...
    @property
    def content(self) -> bytes: ...
    @property
    def is_success(self) -> bool: ...
    async def aread(self) -> bytes: ...
    def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]: ...
    def aiter_raw(self, chunk_size: int | None = None) -> AsyncIterator[bytes]: ...
    def aiter_text(self, chunk_size: int | None = None) -> AsyncIterator[str]: ...
    def aiter_lines(self) -> AsyncIterator[str]: ...


class AuthLike(Protocol):
    """What both families' ``Auth`` looks like. It runs above the transport: once for a call, not for each attempt."""

    def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]: ...


class Credential(Protocol):
    """What proves who calls, put onto each attempt as it goes out, and only towards the service's own origin.

    Those of `holdfast.auth` have two methods more, which are used where they are there: ``for_origin(origin)`` gives
    the credential bound to a service's origin, and ``await rejected(proof, challenge)`` says whether an attempt that
    was answered with 401 is worth one more, ``proof`` being what `sign` returned for it. One that has
    ``await exchange(request, send, fresh)`` sends by itself, so that it sees what is answered: ``fresh`` makes a copy
    to send again, and is None where the body cannot be.
    """

    @property
    def identity(self) -> str:
        """Whose answers these are, for a private cache. It is not the secret, and says nothing of it."""
        ...

    async def sign(self, request: Any) -> object:
        """Put it onto this attempt, whose headers are its own. What it raises ends the call, and nothing is sent."""
        ...


Q_contra = TypeVar("Q_contra", bound=RequestLike, contravariant=True)
R_co = TypeVar("R_co", bound=ResponseLike, covariant=True)


class Inner(Protocol[Q_contra, R_co]):
    """What both families' ``AsyncBaseTransport`` looks like."""

    async def handle_async_request(self, request: Q_contra) -> R_co: ...
    async def aclose(self) -> None: ...


class ClientLike(Protocol[Q_contra, R_co]):
    """What the resource layer needs of an ``AsyncClient``; both families' satisfy it."""

    @property
    def headers(self) -> HeadersLike: ...
    @property
    def cookies(self) -> Any: ...
    @property
    def params(self) -> Any: ...
    @property
    def is_closed(self) -> bool: ...
    async def send(
        self, request: Q_contra, *, stream: bool = ..., auth: Any = ..., follow_redirects: bool = ...
    ) -> R_co: ...
    async def aclose(self) -> None: ...


class Site(Value):
    """Where a service's requests go, as its library writes it.

    ``url`` is one of them; all begin with ``base``, whose scheme and authority are ``root``. ``host`` is their Host
    field, and ``key`` their origin as policies name it.
    """

    def __init__(self, url: URLLike, root: str, base: str, host: bytes, key: str) -> None:
        self.url: Final = url
        self.root: Final = root
        self.base: Final = base
        self.host: Final = host
        self.key: Final = key

    def at(self, url: str) -> URLLike:
        """The parts of another URL there."""
        return _Place(self.url.scheme, self.url.host, self.url.port, url[len(self.root) :].encode("ascii"))


class _Place:
    def __init__(self, scheme: str, host: str, port: int | None, raw_path: bytes) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.raw_path = raw_path


class FoundLike(Protocol):
    """An answer for a call that has no request."""

    @property
    def status_code(self) -> int: ...
    @property
    def content(self) -> bytes: ...
    @property
    def content_type(self) -> str | None: ...
    @property
    def deprecated(self) -> bool:
        """Whether its header fields say that the operation, or the resource, will go."""
        ...

    def response(self, request: Any) -> Any:
        """The library's response, as its client would have given it, read and closed."""
        ...


class ShortWay(Protocol):
    """How a call is answered before there is a request; only with what a transport would answer it with at once."""

    def __call__(self, ask: Ask, url: str, site: Site, options: Options, signed: bool) -> FoundLike | None:
        """The answer, counted and told of; None if the call must go the long way.

        ``url`` is at ``site``, and as the library would write it. ``signed``: the request would have `AROUND_ATTEMPT`.
        """
        ...


def around_attempts(send: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
    """``send``, or what a request wants around it (`AROUND_ATTEMPT`): the innermost place of a transport.

    What that raises of ours, as a credential that cannot sign does, is the family's too. An attempt that ended before
    it was sent does not count as one, so that its token and the like go back.
    """

    async def sent_within(around: Callable[[Q, Handler[Q, R]], Awaitable[R]], request: Q) -> R:
        sent = False

        def counted(request: Q) -> Awaitable[R]:
            nonlocal sent
            sent = True
            return send(request)

        try:
            return await around(request, counted)
        except BaseException as error:
            if not sent:
                request.extensions[CALL].sends -= 1
            if isinstance(error, HoldfastError) and not isinstance(error, family.transport_error):
                raise family.refusal(error, request) from error.__cause__
            raise

    def handle(request: Q) -> Awaitable[R]:
        around: Callable[[Q, Handler[Q, R]], Awaitable[R]] | None = request.extensions.get(AROUND_ATTEMPT)
        return send(request) if around is None else sent_within(around, request)

    return handle


class Family(ABC, Generic[Q, R]):
    """The one object that touches the classes of httpx, or of httpx2. Stateless; one instance for each.

    ``name`` is the module's name. ``http``: its requests have methods and header fields, and its responses bodies.
    ``grace`` is how many seconds later than the timeouts in the request's extensions a cancel scope may fire: 0.25
    where cancelling a request damages the connection pool (httpx 0.28.1, encode/httpcore#1093), 0 where it does
    not; ``cancellable`` is False there, and requests that nobody wants any more are let end. ``transport_error`` is
    the base class of all that an inner transport raises about the exchange itself, ``timeout_error`` that of its
    timeouts.
    """

    name: str
    http: bool = True
    grace: float
    cancellable: bool = True
    transport_error: type[Exception]
    timeout_error: type[Exception]

    @abstractmethod
    def fault(self, error: Exception) -> Fault:
        """Classify what the inner transport raised. An exception of a foreign kind is `Fault.LOCAL`."""

    @abstractmethod
    def refusal(self, error: HoldfastError, request: Q) -> Exception:
        """A fresh exception that is both ``type(error)`` and this library's ``TransportError`` or its kin."""

    @abstractmethod
    def failure(self, error: StatusError, response: R) -> StatusError:
        """A fresh exception that is both ``type(error)`` and this library's ``HTTPStatusError``."""

    @abstractmethod
    def timeout(self, message: str, request: Q) -> Exception:
        """This library's ``ReadTimeout``: for an attempt that we ended because its time was over."""

    @abstractmethod
    def pool_timeout(self, message: str, request: Q) -> Exception:
        """This library's ``PoolTimeout``: for a call that got no connection in its pool timeout."""

    @abstractmethod
    def read_error(self, message: str, request: Q) -> Exception:
        """This library's ``ReadError``: for a stored body that breaks off in the middle."""

    @abstractmethod
    def undecodable(self, message: str, request: Q) -> Exception:
        """This library's ``DecodingError``: for content encodings that nobody should decode."""

    @abstractmethod
    def replayable(self, request: Q) -> bool:
        """True if the request's body can be sent again, byte for byte (RFC 9110 says nothing; R1.8 does)."""

    @abstractmethod
    def streams(self, request: Q) -> bool:
        """True if the request's body goes out piece by piece: how long that takes says nothing of the server."""

    @abstractmethod
    def track(self, request: Q) -> Callable[[], bool]:
        """Wrap a body that cannot be replayed; the function tells whether its reading has begun."""

    @abstractmethod
    def response(
        self,
        request: Q,
        status_code: int,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        extensions: dict[str, Any] | None = None,
        *,
        rest: Stream | None = None,
    ) -> R:
        """An open, unread response made by us, of ``body`` and then ``rest``: wire bytes (still content-encoded)."""

    @abstractmethod
    def head(self, headers: Sequence[tuple[bytes, bytes]]) -> HeadersLike:
        """Header fields for `stored`, read once for many responses."""

    @abstractmethod
    def stored(self, request: Q, status_code: int, head: HeadersLike, body: bytes) -> R:
        """As `response`, with a copy of ``head`` (made by `head`), and quicker to make and to read."""

    @abstractmethod
    def received(self, request: Q, status_code: int, head: HeadersLike, body: bytes, extensions: dict[str, Any]) -> R:
        """As `stored`, but read, and closed, as a client gives it."""

    @abstractmethod
    def decoded(self, head: HeadersLike, body: bytes) -> bytes | None:
        """The content of a body under these header fields; None if it is not what they say."""

    @abstractmethod
    def preview(self, response: R, request: Q) -> R:
        """For a user's predicate: a read copy of a response whose body is in memory; else the response itself."""

    @abstractmethod
    def body(self, response: R) -> Body:
        """The response's stream as a `Body`; wraps it on the first call. The response must not be closed."""

    @abstractmethod
    def rebody(self, response: R, chunks: Iterable[bytes], rest: Stream | None = None) -> Body:
        """Replace the response's stream by ``chunks``, then ``rest``. The old stream is not closed."""

    @abstractmethod
    def capped(self, response: R, limit: int, request: Q) -> R:
        """The same response, whose decoded body raises `BodyTooLarge` once it passes ``limit`` bytes."""

    @abstractmethod
    def readdressed(self, request: Q, url: str, left_out: Callable[[str], bool]) -> Q:
        """A copy for another ``url``, with that one's Host and without the header fields that ``left_out`` names.

        It is asked for each name, in small letters. The body is shared.
        """

    @abstractmethod
    def fresh_attempt(self, request: Q) -> Q:
        """A copy with headers and extensions of its own, for hooks to change. Has ``content`` if it is in memory."""


class ClientFamily(Family[Q, R]):
    """A family whose library has clients: what the resource layer needs of it beside what the policies do.

    ``error`` is the base class of all that its client raises about an exchange, but for ``invalid_url``.
    """

    error: type[Exception]
    invalid_url: type[Exception]

    @abstractmethod
    def request(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[bytes, bytes]],
        *,
        content: Any = None,
        fields: Mapping[str, Any] | None = None,
        files: Any = None,
        extensions: dict[str, Any],
    ) -> Q:
        """A request of exactly this, nothing of a client merged into it; ``fields`` and ``files`` are multipart."""

    @abstractmethod
    def client(self, transport: Inner[Q, R]) -> ClientLike[Q, R]:
        """A client of ours around a resilient transport: it keeps no cookies, and reads nothing of the environment."""

    @abstractmethod
    def transport(self, inner: Inner[Q, R] | None, bind: Any) -> Inner[Q, R]:
        """A `ResilientTransport` of the pipeline ``bind`` around ``inner`` (None: the default one)."""

    @abstractmethod
    def short_way(self, transport: Inner[Q, R]) -> ShortWay | None:
        """Past a transport of ours, if it has a cache and is nothing but that."""

    @abstractmethod
    def is_resilient(self, thing: object) -> bool:
        """Whether a transport, or all that a client has, is a `ResilientTransport`."""

    @abstractmethod
    def pipeline_of(self, client: object) -> Any:
        """The pipeline of all that a client sends by; None if they have none, or several."""


class Middleware(Protocol):
    """One layer with its shared state. `bind` is called once for each transport, when it is made."""

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        """The layer around ``inner``: a coroutine function that holds references, and builds nothing per call."""
        ...
