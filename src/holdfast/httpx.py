"""holdfast for httpx: `ResilientTransport`, to be given to ``httpx.AsyncClient(transport=...)``, and `wrap`.

The one module that imports it. The other family's module is this file with another name in it; a test compares them.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from http.cookiejar import CookieJar
from types import TracebackType
from typing import Any

import httpx

from holdfast import _body, _wire, errors
from holdfast._door import Door, certificate_of
from holdfast._families import (
    bounded_decoders,
    grace,
    hush_hpack,
    is_certificate_error,
    is_encoded,
    leaks_when_cancelled,
    peer_broke_http2,
    refuse_inner_retries,
    unprocessed,
)
from holdfast.by_origin import Pipelines
from holdfast.core.fault import Fault
from holdfast.pipeline import Pipeline
from holdfast.pools import PoolLimits, Pools

__all__ = ["FAMILY", "ResilientTransport", "as_auth", "wrap"]


_KINDS: dict[type[errors.HoldfastError], type[errors.HoldfastError]] = {}
_BASES: tuple[tuple[type[errors.HoldfastError], type[httpx.HTTPError]], ...] = (
    (errors.DeadlineExceeded, httpx.TimeoutException),
    (errors.StatusError, httpx.HTTPStatusError),
    (errors.DecodeError, httpx.DecodingError),
    (errors.HoldfastError, httpx.TransportError),
)


class _Kin(errors.HoldfastError):
    """Base of the errors that `_kin` makes, which pickle cannot find by their name."""

    def __reduce__(self) -> tuple[Any, ...]:
        kind, message, state = super().__reduce__()[1]
        return _revive, (kind.__bases__[1], message, state)


class _StatusKin(_Kin, errors.StatusError):
    """Has a request and a response also after pickle and copy, which leave the real ones behind."""

    def __getattr__(self, name: str) -> Any:
        if name not in ("_request", "response") or "status_code" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._request = httpx.Request(self.method or "GET", self.url or "")
        # The excerpt is decoded already, and need not be all of the body.
        framing = ("content-encoding", "content-length", "transfer-encoding")
        headers = [field for field in self.headers if field[0].lower() not in framing]
        self.response = httpx.Response(self.status_code, headers=headers, content=self.body, request=self._request)
        return self.__dict__[name]


def _kin(kind: type[errors.HoldfastError]) -> type[errors.HoldfastError]:
    """``kind`` as this library's error too; made when the first is raised, for most never are."""
    if known := _KINDS.get(kind):
        return known
    if issubclass(kind, httpx.HTTPError):
        return kind
    library = next(theirs for ours, theirs in _BASES if issubclass(kind, ours))
    mixin = _StatusKin if issubclass(kind, errors.StatusError) else _Kin
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    made: Any = type(kind.__name__, (mixin, kind, library), names)
    _KINDS[kind] = made
    return _KINDS[kind]


def _revive(kind: type[errors.HoldfastError], message: str, state: dict[str, Any]) -> errors.HoldfastError:
    made = _kin(kind)
    error = made.__new__(made, message)
    error.__dict__.update(state)
    if not isinstance(error, errors.StatusError):
        error.__dict__["_request"] = None  # as httpx has it where there is none
    return error


class _Attempt(httpx.Request):
    """An attempt, shown without its query: a key may be put there, and tracebacks show locals."""

    def __repr__(self) -> str:
        return f"<Request({self.method!r}, {str(self.url).partition('?')[0]!r})>"


class _Stream(_body.Body, httpx.AsyncByteStream):
    """A `Body` that httpx takes for one of its own streams."""

    __slots__ = ()


class _TrackedStream(httpx.AsyncByteStream):
    """A request body that can be read once, and knows whether that has begun."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream
        self.began = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        self.began = True
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        await self._stream.aclose()


class _CappedResponse(httpx.Response):
    """A response that counts what it decodes. Decoding happens in the client, so no layer below can count it."""

    max_body_bytes: int

    async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncGenerator[bytes, None]:
        size = 0
        chunks: Any = super().aiter_bytes(chunk_size)
        async for chunk in chunks:
            size += len(chunk)
            if size > self.max_body_bytes:
                await self.aclose()
                with suppress(httpx.DecodingError):
                    async for _ in chunks:
                        pass  # what was taken in already: trio warns of generators that are left half-way
                raise _too_large(self.max_body_bytes, self.request)
            yield chunk


class _Response(httpx.Response):
    """A response whose body is read in one loop, or in one step from memory, where httpx takes three generators.

    Only where nothing is to be decoded. That saves more than all layers of a pipeline cost together.
    """

    async def aread(self) -> bytes:
        # Not through `aiter_bytes`: the event loop keeps account of each generator, which takes as long as the reading.
        if not _KEEPS_CONTENT or not self._comes_as_it_is():
            return await super().aread()
        stream: Any = self.stream
        body = self._begin(stream)
        if body is not None and body.in_memory:
            content = b"".join(body.take())
            self._num_bytes_downloaded = len(content)
            self.is_closed = True
            if stream is not body:
                await stream.aclose()  # which tells the client that it was read
        else:
            chunks = stream.__aiter__() if body is None else body.chunks()
            held: list[bytes] = []
            try:
                async for chunk in chunks:
                    held.append(chunk)
                    self._num_bytes_downloaded += len(chunk)
                if body is not None:
                    body.read_whole()
                self.is_closed = True
                await stream.aclose()
            except BaseException as error:
                await self._broke_off(body, chunks, error)
                raise
            content = b"".join(held)
        self._content = content
        return content

    def aiter_bytes(self, chunk_size: int | None = None) -> AsyncGenerator[bytes, None]:
        if chunk_size is None and self._comes_as_it_is():
            return self._as_it_comes()
        plain: Any = super().aiter_bytes(chunk_size)
        chunks: AsyncGenerator[bytes, None] = plain  # in both families, though the types of one say less
        return chunks

    async def _as_it_comes(self) -> AsyncGenerator[bytes, None]:
        stream: Any = self.stream
        body = self._begin(stream)
        if body is not None and body.in_memory:
            held = body.take()
            self.is_closed = True
            if stream is not body:
                await stream.aclose()
            for chunk in held:
                if chunk:
                    self._num_bytes_downloaded += len(chunk)
                    yield chunk
            return
        chunks = stream.__aiter__() if body is None else body.chunks()
        try:
            async for chunk in chunks:
                if chunk:
                    self._num_bytes_downloaded += len(chunk)
                    yield chunk
            if body is not None:
                body.read_whole()
            self.is_closed = True
            await stream.aclose()
        except BaseException as error:
            await self._broke_off(body, chunks, error)
            raise

    def _comes_as_it_is(self) -> bool:
        return not (self.is_stream_consumed or self.is_closed or is_encoded(self.headers))

    def _begin(self, stream: object) -> _Stream | None:
        self.is_stream_consumed = True
        self._num_bytes_downloaded = 0
        return _body_beneath(stream)

    async def _broke_off(self, body: _Stream | None, chunks: AsyncIterator[bytes], error: BaseException) -> None:
        if isinstance(error, httpx.RequestError) and self._request is not None:
            error.request = self._request
        if body is None and isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
        elif body is not None and not isinstance(error, GeneratorExit):  # that is a reader who leaves
            await body.fail(error)
        await self.aclose()

    def __reduce__(self) -> tuple[Any, ...]:
        """As a plain response, which needs nothing of ours where it is loaded."""
        return httpx.Response.__new__, (httpx.Response,), self.__getstate__()


_KEEPS_CONTENT = hasattr(httpx.Response(200, content=b""), "_content")
"""What was read is kept under a private name: if that changes, reading gets slow."""


def _body_beneath(stream: object) -> _Stream | None:
    """Our own stream, alone or in the client's, which measures the time; None if somebody else's may change bytes."""
    if type(stream).__module__ == "httpx._client":  # by a private name: if that changes, reading gets slow
        stream = getattr(stream, "_stream", None)
    return stream if type(stream) is _Stream else None


def _too_large(limit: int, request: httpx.Request) -> Exception:
    message = f"the body of {request.method} {request.url.host} passed max_body_bytes={limit}; nothing was kept"
    return FAMILY.refusal(errors.BodyTooLarge(message, limit=limit), request)


class _Metered(httpx.AsyncByteStream):
    """A body under a cap: counts what the wire brings, and hands it on in pieces whose decoding stays bounded.

    Not a generator, because trio warns of one that is left half-way.
    """

    def __init__(self, stream: _body.Stream, limit: int, piece: int, request: httpx.Request) -> None:
        self._stream = stream
        self._limit = limit
        self._piece = piece
        self._request = request
        self._size = 0
        self._chunk = b""
        self._at = 0
        self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._chunks = self._stream.__aiter__()
        return self

    async def __anext__(self) -> bytes:
        if self._closed:
            raise StopAsyncIteration
        if self._at >= len(self._chunk):
            self._chunk, self._at = await self._chunks.__anext__(), 0
            self._size += len(self._chunk)
            if self._size > self._limit:
                await self._stream.aclose()
                raise _too_large(self._limit, self._request)
        at = self._at
        self._at += self._piece
        return self._chunk[at : self._at]

    async def aclose(self) -> None:
        self._closed = True
        await self._stream.aclose()


class _NoCookies(CookieJar):
    """Keeps none: whoever calls next would send along what a server set for another."""

    def extract_cookies(self, response: object, request: object) -> None:
        """Nothing; the standard library's way to find that out costs a tenth of a call."""


_url = lru_cache(256)(httpx.URL)
"""Reading a URL takes longer than all that a service does for a call, and the same are asked for again and again."""


class HttpxFamily(_wire.ClientFamily[httpx.Request, httpx.Response]):
    """What the policies need of httpx's classes."""

    name = "httpx"
    grace = grace(httpx.__name__, httpx.__version__)
    cancellable = not leaks_when_cancelled(httpx.__name__, httpx.__version__)
    error = httpx.HTTPError
    invalid_url = httpx.InvalidURL
    transport_error = httpx.TransportError
    timeout_error = httpx.TimeoutException

    def fault(self, error: Exception) -> Fault:
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)):
            return Fault.LOCAL if is_certificate_error(error) else Fault.UNSENT
        if isinstance(error, httpx.PoolTimeout):
            return Fault.SATURATED
        if isinstance(error, httpx.RemoteProtocolError):
            return Fault.UNPROCESSED if unprocessed(error) else Fault.INTERRUPTED
        if isinstance(error, (httpx.NetworkError, httpx.TimeoutException)):
            return Fault.INTERRUPTED
        if isinstance(error, httpx.LocalProtocolError) and peer_broke_http2(error):
            return Fault.INTERRUPTED
        return Fault.LOCAL

    def refusal(self, error: errors.HoldfastError, request: httpx.Request) -> Exception:
        kind = _kin(type(error))
        refusal = kind.__new__(kind, error.message)
        refusal.__dict__.update(error.__dict__, _request=request)
        refusal.__cause__ = error.__cause__
        return refusal

    def failure(self, error: errors.StatusError, response: httpx.Response) -> errors.StatusError:
        failure = self.refusal(error, response.request)
        assert isinstance(failure, errors.StatusError), "the same kind, and this library's too"
        failure.__dict__["response"] = response
        return failure

    def timeout(self, message: str, request: httpx.Request) -> Exception:
        return httpx.ReadTimeout(message, request=request)

    def pool_timeout(self, message: str, request: httpx.Request) -> Exception:
        return httpx.PoolTimeout(message, request=request)

    def read_error(self, message: str, request: httpx.Request) -> Exception:
        return httpx.ReadError(message, request=request)

    def undecodable(self, message: str, request: httpx.Request) -> Exception:
        return httpx.DecodingError(message, request=request)

    def replayable(self, request: httpx.Request) -> bool:
        stream = request.stream
        if type(stream) is httpx.ByteStream:
            return True
        # httpx rewinds the files of a multipart body to their start, and sends nothing for one that cannot seek.
        multipart = request.headers.get("content-type", "").startswith("multipart/")
        return isinstance(stream, httpx.AsyncByteStream) and isinstance(stream, httpx.SyncByteStream) and not multipart

    def streams(self, request: httpx.Request) -> bool:
        return not isinstance(request.stream, httpx.ByteStream)

    def track(self, request: httpx.Request) -> Callable[[], bool]:
        stream = request.stream
        if not isinstance(stream, _TrackedStream):
            assert isinstance(stream, httpx.AsyncByteStream), "an AsyncClient checks this before it sends"
            stream = request.stream = _TrackedStream(stream)
        return lambda: stream.began

    def response(
        self,
        request: httpx.Request,
        status_code: int,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        extensions: dict[str, Any] | None = None,
        *,
        rest: _body.Stream | None = None,
    ) -> httpx.Response:
        # stream=, not content=: a response made with content is closed already, and its elapsed raises.
        return _Response(
            status_code,
            headers=list(headers),
            stream=_Stream((body,), rest),
            extensions=extensions,
            request=request,
        )

    def head(self, headers: Sequence[tuple[bytes, bytes]]) -> httpx.Headers:
        return httpx.Headers(list(headers))

    def stored(self, request: httpx.Request, status_code: int, head: _wire.HeadersLike, body: bytes) -> httpx.Response:
        assert isinstance(head, httpx.Headers), "made by `head`"
        response = _Response(status_code, headers=head, stream=_Stream((body,)), request=request)
        response.headers.encoding = head.encoding  # else the first look-up decodes all of them to find it out
        return response

    def received(
        self,
        request: httpx.Request,
        status_code: int,
        head: _wire.HeadersLike,
        body: bytes,
        extensions: dict[str, Any],
    ) -> httpx.Response:
        assert isinstance(head, httpx.Headers), "made by `head`"
        response = httpx.Response(
            status_code, headers=head, stream=httpx.ByteStream(body), extensions=extensions, request=request
        )
        response.read()
        response.elapsed = timedelta(0)
        return response

    def decoded(self, head: _wire.HeadersLike, body: bytes) -> bytes | None:
        assert isinstance(head, httpx.Headers), "made by `head`"
        with suppress(httpx.DecodingError):
            return httpx.Response(200, headers=head, stream=httpx.ByteStream(body)).read()
        return None

    def preview(self, response: httpx.Response, request: httpx.Request) -> httpx.Response:
        if response.is_closed:
            return response
        body = self.body(response)
        if not body.in_memory:
            return response
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            content=body.peek(),
            extensions=response.extensions,
            request=request,
        )

    def body(self, response: httpx.Response) -> _body.Body:
        stream = response.stream
        if type(stream) is _Stream:
            return stream
        assert isinstance(stream, httpx.AsyncByteStream), "the inner transport is not an async one"
        response.stream = body = _Stream((), stream)
        if type(response) is httpx.Response:
            response.__class__ = _Response  # a new one would cost more than it saves
        return body

    def rebody(self, response: httpx.Response, chunks: Iterable[bytes], rest: _body.Stream | None = None) -> _body.Body:
        response.stream = body = _Stream(chunks, rest)
        return body

    def capped(self, response: httpx.Response, limit: int, request: httpx.Request) -> httpx.Response:
        stream: Any = response.stream
        encodings = response.headers.get_list("content-encoding", split_commas=True)
        piece = bounded_decoders(httpx.__name__, httpx.__version__, encodings) if encodings else sys.maxsize
        if piece is None:
            coding = ", ".join(encodings)
            raise self.undecodable(f"max_body_bytes cannot be kept while decoding {coding!r} here", request)
        capped = _CappedResponse(
            response.status_code,
            headers=response.headers,
            stream=_Stream((), _Metered(stream, limit, piece, request)),
            extensions=response.extensions,
            request=request,
        )
        capped.max_body_bytes = limit
        return capped

    def readdressed(self, request: httpx.Request, url: str, left_out: Callable[[str], bool]) -> httpx.Request:
        there = httpx.URL(url)
        fields = [
            (name, value)
            for name, value in request.headers.raw
            if (lower := name.decode("ascii").lower()) != "host" and not left_out(lower)
        ]
        return httpx.Request(
            request.method,
            there,
            headers=[(b"Host", there.netloc), *fields],
            stream=request.stream,
            extensions=dict(request.extensions),
        )

    def fresh_attempt(self, request: httpx.Request) -> httpx.Request:
        attempt = _Attempt.__new__(_Attempt)  # not by its constructor, which reads the URL and the fields again
        vars(attempt).update(vars(request))
        attempt.headers = httpx.Headers(request.headers)
        attempt.extensions = dict(request.extensions)
        if type(request.stream) is httpx.ByteStream:
            attempt.read()  # no I/O: signatures cover `content`
        return attempt

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
    ) -> httpx.Request:
        return httpx.Request(
            method, _url(url), headers=list(headers), content=content, data=fields, files=files, extensions=extensions
        )

    def client(self, transport: _wire.Inner[httpx.Request, httpx.Response]) -> httpx.AsyncClient:
        assert isinstance(transport, httpx.AsyncBaseTransport), "made by `transport`"
        return httpx.AsyncClient(transport=transport, timeout=None, cookies=_NoCookies(), trust_env=False)

    def transport(self, inner: _wire.Inner[httpx.Request, httpx.Response] | None, bind: Any) -> ResilientTransport:
        return ResilientTransport(bind, inner=inner)

    def short_way(self, transport: _wire.Inner[httpx.Request, httpx.Response]) -> _wire.ShortWay | None:
        if type(transport) is not ResilientTransport:  # a subclass may do something of its own with each request
            return None
        pipeline = transport.pipeline
        return pipeline.short_way(FAMILY, transport._door) if isinstance(pipeline, Pipeline) else None

    def is_resilient(self, thing: object) -> bool:
        if not isinstance(thing, httpx.AsyncClient):
            return isinstance(thing, ResilientTransport)
        return all(isinstance(transport, ResilientTransport) for transport in _transports(thing))

    def pipeline_of(self, client: object) -> Pipeline | Pipelines | None:
        if not isinstance(client, httpx.AsyncClient):
            return None
        found = [getattr(transport, "pipeline", None) for transport in _transports(client)]
        return found[0] if all(pipeline is found[0] for pipeline in found) else None


def _transports(client: httpx.AsyncClient) -> list[object]:
    """All that a client sends by; as in `wrap`. Where they are kept elsewhere, nothing is known of them: None."""
    mounts: dict[Any, object] = getattr(client, "_mounts", {})
    return [getattr(client, "_transport", None), *filter(None, mounts.values())]


FAMILY = HttpxFamily()
"""The one instance; policies compare by identity."""


class ResilientTransport(httpx.AsyncBaseTransport):
    """An httpx transport that survives a bad server: ``httpx.AsyncClient(transport=ResilientTransport())``.

    ``pipeline`` holds policies and state (default: a `Pipeline()` of its own). ``inner`` is the transport that
    sends (default: our tuned one, small pools of httpx's own AsyncHTTPTransport under one cap). The rest are
    AsyncHTTPTransport's settings for that default, and a TypeError together with ``inner``: ``verify`` (True),
    ``cert``, ``http1`` (True), ``http2`` (False), ``limits`` (httpx's), ``proxy``, ``trust_env`` (False: no
    SSL_CERT_FILE and its like), ``local_address``, ``uds``.

    A client's own ``verify=``, ``http2=``, ``limits=``, ``proxy=`` and ``mounts=`` pass a custom transport by;
    `wrap` covers a client that was made with them.

    The inner transport belongs to it and is closed with it; the pipeline does not. A call that is cancelled gives
    back its permits, its token and its probe, and its connection is closed or reused, never lost. Async only.
    """

    def __init__(
        self,
        pipeline: Pipeline | Pipelines | None = None,
        *,
        inner: _wire.Inner[httpx.Request, httpx.Response] | None = None,
        verify: ssl.SSLContext | str | bool = True,
        cert: str | tuple[str, str] | tuple[str, str, str] | None = None,
        http1: bool = True,
        http2: bool = False,
        limits: httpx.Limits | None = None,
        proxy: str | httpx.URL | httpx.Proxy | None = None,
        trust_env: bool = False,
        local_address: str | None = None,
        uds: str | None = None,
    ) -> None:
        if inner is None:
            context = httpx.create_ssl_context(verify=verify, cert=cert, trust_env=trust_env)
            inner = _tuned(context, http1, http2, limits, proxy, local_address, uds)
        else:
            settings = (verify, cert, http1, http2, limits, proxy, trust_env, local_address, uds)
            defaults = _INNER_SETTINGS.items()
            given = [name for (name, default), value in zip(defaults, settings, strict=True) if value is not default]
            if given:
                raise TypeError(f"{given[0]}= belongs to the inner transport: give it to that one, not here")
            refuse_inner_retries(inner)
        self.pipeline = Pipeline() if pipeline is None else pipeline
        self._inner = inner
        self._door = Door(certificate_of(cert))
        self._handle = self.pipeline.bind(_wire.around_attempts(inner.handle_async_request, FAMILY), FAMILY, self._door)

    def __repr__(self) -> str:
        kind, inner, closed = type(self), type(self._inner), "closed " if self._door.closing else ""
        return f"<{closed}{kind.__module__}.{kind.__qualname__} over {inner.__qualname__}, {self.pipeline!r}>"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._handle(request)

    async def __aenter__(self) -> ResilientTransport:
        enter = getattr(self._inner, "__aenter__", None)
        if enter is not None:
            await enter()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def aclose(self, drain: float = 0.0) -> None:
        """Refuse new calls (`Closed`), let running ones end for up to ``drain`` seconds, then close ``inner``.

        Callers of this transport who stand in a queue are sent away with `Closed`. Safe to call again; while it
        drains, a call without ``drain`` ends that wait.
        """
        await self._door.close(self.pipeline, self._inner, drain)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Always raises: there is no sync transport."""
        raise errors.Unsupported(
            "ResilientTransport is async only: give it to an httpx.AsyncClient, not an httpx.Client"
        )

    def __enter__(self) -> ResilientTransport:
        raise errors.Unsupported("ResilientTransport is async only: use `async with httpx.AsyncClient(...)`")

    def __exit__(self, *exc_info: object) -> None:
        """Never reached: `__enter__` raises."""


_INNER_SETTINGS: dict[str, bool | None] = {
    "verify": True,
    "cert": None,
    "http1": True,
    "http2": False,
    "limits": None,
    "proxy": None,
    "trust_env": False,
    "local_address": None,
    "uds": None,
}


def wrap(client: httpx.AsyncClient, pipeline: Pipeline | Pipelines | None = None) -> httpx.AsyncClient:
    """Put ``pipeline`` around every transport of a client that someone else made, and return that client.

    Its proxies, mounts, cookies, base_url, auth and event hooks stay. Raises ValueError if it is wrapped already, and
    `errors.Unsupported` if this httpx keeps its transports elsewhere.
    """
    parts: Any = client  # httpx has no public way to a client's transports
    if not hasattr(parts, "_transport") or not hasattr(parts, "_mounts"):
        raise errors.Unsupported(f"wrap() does not know where httpx {httpx.__version__} keeps a client's transports")
    mounts: dict[Any, httpx.AsyncBaseTransport | None] = parts._mounts
    if any(isinstance(transport, ResilientTransport) for transport in (parts._transport, *mounts.values())):
        raise ValueError("this client has a ResilientTransport already; wrapped twice, its retries would nest")
    shared = Pipeline() if pipeline is None else pipeline
    parts._transport = ResilientTransport(shared, inner=parts._transport)
    parts._mounts = {
        pattern: None if transport is None else ResilientTransport(shared, inner=transport)
        for pattern, transport in mounts.items()
    }
    return client


class _Auth(httpx.Auth):
    def __init__(self, credential: _wire.Credential) -> None:
        self._credential = credential

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        try:
            proof = await self._credential.sign(request)
            response = yield request
            rejected: Callable[..., Any] | None = getattr(self._credential, "rejected", None)
            # A redirect may have led anywhere, so its answer says nothing of the credential.
            if response.status_code != 401 or response.history or rejected is None or not FAMILY.replayable(request):
                return
            if await rejected(proof, response.headers.get("www-authenticate")):
                await self._credential.sign(request)
                yield request
        except errors.HoldfastError as error:
            raise FAMILY.refusal(error, request) from error.__cause__

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        raise RuntimeError("a credential of holdfast is async: use an AsyncClient")


def as_auth(credential: _wire.Credential) -> httpx.Auth:
    """A credential for a client without our transport: ``httpx.AsyncClient(auth=as_auth(Bearer(token, origins=...)))``.

    Only for one that is sent in ``Authorization``, which httpx takes off where a redirect leads to another origin: any
    other field follows there, and no auth runs again. It is put on the request, once for all retries that are made
    below, and renewed once after a 401. Raises `errors.Unsupported` for other kinds (API keys in fields of their own,
    in queries and cookies, signatures, pools), which are hooks of a `Pipeline`; `errors.InvalidInput` without origins.
    """
    owned = getattr(credential, "owned", None)
    bound: Callable[[], object] | None = getattr(credential, "hook", None)
    if owned != {"authorization"} or bound is None or hasattr(credential, "exchange"):
        raise errors.Unsupported(
            f"{type(credential).__name__} would go along where httpx follows a redirect to another host, or be sent"
            " twice: use Pipeline(hooks=[credential.hook()]) and its transport"
        )
    bound()  # raises where it does not know its origins
    return _Auth(credential)


def _tuned(
    context: ssl.SSLContext,
    http1: bool,
    http2: bool,
    limits: httpx.Limits | None,
    proxy: str | httpx.URL | httpx.Proxy | None,
    local_address: str | None,
    uds: str | None,
) -> Pools[httpx.Request, httpx.Response]:
    """The default inner transport: httpx's own, one for each connection, with one SSL context and one cap."""
    if http2:
        hush_hpack()
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=20) if limits is None else limits
    proxy = httpx.Proxy(proxy) if isinstance(proxy, (str, httpx.URL)) else proxy
    one = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=limits.keepalive_expiry)

    def make() -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(
            verify=context,
            http1=http1,
            http2=http2,
            limits=one,
            proxy=proxy,
            local_address=local_address,
            uds=uds,
        )

    return Pools(
        make,
        family=FAMILY,
        limits=PoolLimits(
            connections=limits.max_connections,
            kept=limits.max_keepalive_connections,
            keep_for=limits.keepalive_expiry,
        ),
        http1=http1,
        http2=http2,
    )
