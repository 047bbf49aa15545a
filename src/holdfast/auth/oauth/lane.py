"""The way to an authorization server: a lane of its own, so that the API's troubles are not its, nor the other way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from holdfast._waiting import running_loop
from holdfast._wire import AROUND_ATTEMPT, ClientFamily, ClientLike, Handler, Inner
from holdfast.clock import Clock
from holdfast.core.retry_after import server_delay
from holdfast.core.value import Value
from holdfast.errors import Closed

if TYPE_CHECKING:
    from holdfast.pipeline import Pipeline

__all__ = ["Answer", "FamilyName", "Lane", "Sealed"]

FamilyName = Literal["httpx", "httpx2"]
Sealed = Callable[[], tuple[dict[str, str], bytes]]
"""Header fields and body of a request that holds secrets, made anew for each attempt."""

DEADLINE: Final = 10.0
ATTEMPT_TIMEOUT: Final = 5.0
CONCURRENT: Final = 10
MAX_BODY: Final = 1 << 20


class Answer(Value):
    """Status, body, and for how many seconds the server asks to be left alone."""

    def __init__(self, status: int, body: bytes, retry_after: float | None) -> None:
        self.status = status
        self.body = body
        self.retry_after = retry_after

    def __repr__(self) -> str:
        return f"Answer({self.status})"  # its body may hold tokens


class Lane:
    """A client of its own over a pipeline of its own: circuit, limits and timeouts, and no cache.

    It begins with the first request, and anew on another event loop, one at a time. Redirects are not followed: what
    is sent here belongs to one server. What is sent in confidence is in the attempts alone, so that no exception's
    request and no response's shows it.
    """

    def __init__(
        self, family: FamilyName, transport: Inner[Any, Any] | None = None, pipeline: Pipeline | None = None
    ) -> None:
        if pipeline is None:
            from holdfast.pipeline import Pipeline
            from holdfast.policies.concurrency import ConcurrencyLimit

            pipeline = Pipeline(
                concurrency=ConcurrencyLimit(CONCURRENT),
                deadline=DEADLINE,
                attempt_timeout=ATTEMPT_TIMEOUT,
                max_body_bytes=MAX_BODY,
            )
        self.pipeline: Final = pipeline
        self._family_name: Final = family
        self._transport = transport
        self._client: ClientLike[Any, Any] | None = None
        self._loop: object = None
        self._closed = False

    @property
    def clock(self) -> Clock:
        return self.pipeline.clock

    @property
    def errors(self) -> type[Exception]:
        """The base of what the library raises where there is no answer."""
        return _family(self._family_name).error

    async def get(self, url: str) -> Answer:
        """What stands there."""
        return await self._send("GET", url, None, again=True)

    async def post(self, url: str, sealed: Sealed, *, again: bool) -> Answer:
        """The answer to a request that ``sealed`` makes. ``again``: asking twice does no harm.

        Raises what the library raises where there is no answer, and our refusals.
        """
        return await self._send("POST", url, sealed, again=again)

    async def aclose(self) -> None:
        """Close its connections; a request after that is refused."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None and self._loop is running_loop():
            await client.aclose()

    async def _send(self, method: str, url: str, sealed: Sealed | None, *, again: bool) -> Answer:
        family = _family(self._family_name)
        headers = [(b"Accept", b"application/json")]
        extensions: dict[str, Any] = {"holdfast": {"idempotent": again}}
        if sealed is not None:
            extensions[AROUND_ATTEMPT] = _unsealing(family, url, sealed)
        request = family.request(method, url, headers, extensions=extensions)
        client = self._open(family)
        if client is None:
            raise family.refusal(Closed("the way to the authorization server was closed", policy="auth"), request)
        response: Any = await client.send(request, follow_redirects=False)
        delay = server_delay(response.headers.get, self.clock.wall())
        return Answer(response.status_code, response.content, delay)

    def _open(self, family: ClientFamily[Any, Any]) -> ClientLike[Any, Any] | None:
        here = running_loop()
        if self._closed:
            return None
        if self._client is None or self._loop is not here:
            self._loop = here  # the connections of another loop cannot be closed from here
            self._client = family.client(family.transport(self._transport, self.pipeline))
        return self._client


def _unsealing(family: ClientFamily[Any, Any], url: str, sealed: Sealed) -> Any:
    async def attempt(request: Any, send: Handler[Any, Any]) -> Any:
        return await send(_unsealed(family, url, sealed, request.extensions))

    return attempt


def _unsealed(
    family: ClientFamily[Any, Any], url: str, sealed: Sealed, extensions: Mapping[str, Any]
) -> Any:  # a function of its own, so that its locals are gone when sending fails
    headers, content = sealed()
    fields = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded", **headers}
    inside = {name: value for name, value in extensions.items() if name != AROUND_ATTEMPT}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]
    return family.request("POST", url, raw, content=content, extensions=inside)


def _family(name: FamilyName) -> ClientFamily[Any, Any]:
    if name == "httpx":
        from holdfast.httpx import FAMILY as family

        return family
    from holdfast.httpx2 import FAMILY as family2

    return family2
