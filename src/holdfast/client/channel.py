"""How does a plan become a request, and a request an answer? What a service adds to each of its calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias, Union, cast

from holdfast._wire import AROUND_ATTEMPT, Site
from holdfast.by_origin import origin_of
from holdfast.call import OPTIONS, Options, read_options
from holdfast.client.decode import Decoder, UnknownFields, decoder_for
from holdfast.client.fields import Fields, said_to_anyone, strip
from holdfast.client.interceptors import Interceptor, Interceptors, around, close
from holdfast.client.payload import UNSET, Unset, packed
from holdfast.client.plan import Plan, changed
from holdfast.core.value import Value
from holdfast.errors import (
    DecodeError,
    DeprecatedOperation,
    ForeignOrigin,
    InvalidInput,
    Unsupported,
)

if TYPE_CHECKING:
    from holdfast._wire import AuthLike, Credential, FoundLike, Handler, ReceivedLike
    from holdfast.client.backend import Backend
    from holdfast.client.failures import StatusErrors
    from holdfast.client.inputs import Validate
    from holdfast.clock import Clock
    from holdfast.core.address import Address
    from holdfast.core.caching.request import Ask
    from holdfast.core.paging import PagingRule
    from holdfast.core.query import ListStyle

__all__ = ["Auth", "Channel", "Reading"]

Auth: TypeAlias = Union["AuthLike", "Credential", tuple[str, str]]
"""An ``Auth`` of the family, a `Credential`, or a name and a password for Basic."""
_REDIRECTS: Final = 10
_ERROR_BODY: Final = 64 * 1024
"""Bytes of a failed answer's body that are read, as they are on the wire; the error keeps fewer."""
_LONG: Final = 256 * 1024
"""Bytes for which gzip takes some milliseconds."""
_CACHED: Final = ("GET", "HEAD")
_OPERATIONS: Final = 1024  # whose options are kept, or names are made up as the calls go on
_KEEP_METHOD: Final = frozenset({303, 307, 308})


class Reading(Value):
    """What is made of a body: ``into`` which type, and what is taken off around it first."""

    def __init__(self, into: Any, unwrap: str | Unset | None = UNSET) -> None:
        self.into: Final = into
        self.unwrap: Final = unwrap


class Channel:
    """One service's address, defaults and interceptors, over a backend that it may share with others.

    Calls hold it, so it is what a service's accessors, and the calls they made, have in common.
    """

    def __init__(
        self,
        backend: Backend,
        address: Address,
        *,
        auth: Auth | None,
        headers: Fields,
        list_style: ListStyle,
        validate: Validate,
        unknown: UnknownFields,
        unwrap: str | None,
        status_errors: StatusErrors | None,
        options: Mapping[str, Any],
        compress: int | None = None,
        paging: PagingRule | None = None,
        around_call: Sequence[Interceptor] = (),
        around_attempt: Sequence[Interceptor] = (),
    ) -> None:
        self.backend: Final = backend
        self.address: Final = address
        self.auth: Final = self.bound(auth)
        self.headers: Final = headers
        self.list_style: Final = list_style
        self.validate: Final = validate
        self.unknown: Final = unknown
        self.unwrap: Final = unwrap
        self.status_errors: Final = status_errors
        self.options: Final = options
        self.compress: Final = compress
        self.paging: Final = paging
        self.around_call: Final = Interceptors(around_call)
        self.around_attempt: Final = Interceptors(around_attempt)
        self._raw: list[tuple[bytes, bytes]] = []
        self._defaults: Fields = headers
        self._asks: dict[tuple[str, bytes | None], Ask] = {}  # of calls without headers of their own
        self._known_options: dict[tuple[str, str | None, str | None], Options] = {}  # of calls without any of their own

    @property
    def clock(self) -> Clock:
        """The pipeline's."""
        return self.backend.clock

    def derived(self, auth: Auth | Unset | None, headers: Fields, options: Mapping[str, Any]) -> Channel:
        """One over the same backend, with some of it changed."""
        return Channel(
            self.backend,
            self.address,
            auth=self.auth if isinstance(auth, Unset) else auth,
            headers={**self.headers, **headers},
            list_style=self.list_style,
            validate=self.validate,
            unknown=self.unknown,
            unwrap=self.unwrap,
            status_errors=self.status_errors,
            options={**self.options, **options},
            compress=self.compress,
            paging=self.paging,
            around_call=self.around_call,
            around_attempt=self.around_attempt,
        )

    def request(self, plan: Plan, accept: bytes | None) -> Any:
        """The family's request, with no I/O: as it will be handed to the client, but for what auth adds to it."""
        family, foreign = self.backend.family, False
        if plan.url is None:
            url = self._merged(plan.target(self.address.url))
        else:
            url, foreign = self.address.reach(plan.url)
            url = self.without_secret(url, plan)
        fields = self._fields(foreign, accept)
        payload = plan.payload
        content: Any = None
        if payload is not None:
            if payload.type is not None:
                fields["content-type"] = (b"content-type", payload.type.encode())
            content = payload.content() if callable(payload.content) else payload.content
            if (length := payload.length()) is not None:
                fields["content-length"] = (b"Content-Length", b"%d" % length)
        fields.update(plan.headers)
        at_least = self._compress(plan)
        if at_least is not None and isinstance(content, (bytes, str)):
            content = packed(content, fields, at_least)
        credential = None if foreign else _credential(self.auth_of(plan))
        extensions: dict[str, Any] = {OPTIONS: self._options(plan, None if credential is None else credential.identity)}
        if credential is not None or self.around_attempt or plan.around_attempt:
            from holdfast.client.attempts import around_attempt

            interceptors = (*self.around_attempt, *plan.around_attempt)
            extensions[AROUND_ATTEMPT] = around_attempt(family, interceptors, credential)
        request = family.request(
            plan.method,
            url,
            list(fields.values()),
            content=content,
            fields=None if payload is None else payload.fields,
            files=None if payload is None else payload.files,
            extensions=extensions,
        )
        if not self.backend.owned and not foreign and self.backend.client.cookies:
            self.backend.client.cookies.set_cookie_header(request)
        return request

    async def answer(self, plan: Plan, reading: Reading, *, responding: bool) -> tuple[Any, ReceivedLike | None]:
        """The value of a call, and its response if that is wanted.

        Raises what `send` and `read` do. What is stored and fresh answers without a request, where nothing on the way
        to the cache would need one.
        """
        decoder = self.decoder(reading)
        accept = _accept(decoder)
        found = None if decoder.passes_response else self._found(plan, accept)
        if found is None:
            response = await self.send(plan, accept)
            return await self.read(response, plan, reading), response

        def respond() -> ReceivedLike:
            return cast("ReceivedLike", found.response(self.request(plan, accept)))

        if found.deprecated and plan.operation not in self.backend.told:
            await self._tell(respond(), plan)
        value = self._decoded(decoder, found.content, found.content_type, found.status_code, plan, respond)
        return value, respond() if responding else None

    async def send(self, plan: Plan, accept: bytes | None = None) -> ReceivedLike:
        """The answer, its body unread, whatever its status; redirects within the allowed origins are followed."""
        recall: Callable[[], Awaitable[None]] | None = getattr(self.auth_of(plan), "recall", None)
        if recall is not None:
            await recall()
        if self._packs_long(plan):
            from anyio.to_thread import run_sync

            self.backend.open()  # here: what is left to do there changes nothing that is shared
            request = await run_sync(self.request, plan, accept)
        else:
            request = self.request(plan, accept)
        self.backend.enter(request)
        if not self.backend.resilient:
            self._refuse_what_a_plain_client_ignores(plan)
        foreign = plan.url is not None and self.address.reach(plan.url)[1]
        auth = None if foreign else self.auth_of(plan)
        settings: dict[str, Any] = {"stream": True, "follow_redirects": False}
        if foreign or self.backend.owned or auth is not None or not isinstance(plan.auth, Unset):
            settings["auth"] = None if _credential(auth) is not None else auth  # else a lent client's own

        async def dispatch(request: Any) -> Any:
            return await self._follow(request, await self._send(request, settings), plan, settings)

        handle: Handler[Any, Any] = dispatch
        if self.around_call or plan.around_call:
            handle = around((*self.around_call, *plan.around_call), dispatch)
        response = cast("ReceivedLike", await handle(request))  # of one of two libraries
        for name, _ in response.headers.raw:
            if len(name) in (6, 11) and name.lower() in (b"sunset", b"deprecation"):
                await self._tell(response, plan)
                break
        return response

    async def _tell(self, response: ReceivedLike, plan: Plan) -> None:
        from holdfast.client.notices import tell

        try:
            tell(response, plan, self.backend)
        except DeprecatedOperation:  # warnings are errors here
            await close(response)
            raise

    async def read(self, response: ReceivedLike, plan: Plan, reading: Reading) -> Any:
        """The value of an answer, which is read to its end or closed. Raises `StatusError` and `DecodeError`."""
        try:
            if response.status_code >= 300:
                raise await self.status_error(response, plan)
            body = await response.aread()
        except BaseException:
            await close(response)
            raise
        decoder = self.decoder(reading)
        if decoder.passes_response:
            return response
        content_type = response.headers.get("content-type")
        return self._decoded(decoder, body, content_type, response.status_code, plan, lambda: response)

    async def open(
        self, plan: Plan, accept: bytes | None = None, *, passing: Sequence[int] = (), **options: Any
    ) -> ReceivedLike:
        """The answer at its head, for its body to be read as it comes; whoever called this closes it.

        ``options`` hold where the call has no others. Raises `StatusError` as `read` does, but not for ``passing``.
        """
        self.backend.open()
        if self.backend.resilient:  # else nobody reads ahead
            plan = changed(plan, options={"buffer_body": False, **options, **plan.options})
        response = await self.send(plan, accept)
        if response.status_code >= 300 and response.status_code not in passing:
            try:
                raise await self.status_error(response, plan)
            finally:
                await close(response)
        return response

    def decoder(self, reading: Reading) -> Decoder[Any]:
        """What makes values of bodies. The service's ``unwrap`` is for JSON, and not for what is taken as it is."""
        if isinstance(reading.unwrap, Unset):
            bare = decoder_for(reading.into, unknown=self.unknown)
            if self.unwrap is None or bare.as_it_is:
                return bare
            return decoder_for(reading.into, unknown=self.unknown, unwrap=self.unwrap)
        return decoder_for(reading.into, unknown=self.unknown, unwrap=reading.unwrap)

    def accept(self, reading: Reading) -> bytes | None:
        """The media type to ask for; None where the body is taken as it is."""
        return _accept(self.decoder(reading))

    async def status_error(self, response: ReceivedLike, plan: Plan) -> Exception:
        """What to raise for an answer that means failure; of its body only the beginning is read."""
        from holdfast.client.failures import Beginning, status_error

        family, body = self.backend.family, b""
        if not response.is_closed:
            family.rebody(response, (), rest=Beginning(cast("Any", response).stream, _ERROR_BODY))
        with suppress(family.error):  # the status stands, whatever became of the body
            body = await response.aread()
        return status_error(
            family,
            response.request,
            response,
            body,
            wall=self.clock.wall(),
            operation=plan.operation,
            template=plan.template,
            kinds=self.status_errors,
        )

    async def _send(self, request: Any, settings: dict[str, Any]) -> Any:
        """Send by the client that there is now: interceptors may take their time, and `reconnect` none."""
        connections = self.backend.open()
        connections.sending += 1
        try:
            return await connections.client.send(request, **settings)
        except self.backend.family.invalid_url:  # in httpx, which reads where a redirect leads: no HTTPError of its own
            error = InvalidInput("a redirect leads to what is no URL")
            raise self.backend.family.refusal(error, request) from None
        finally:
            connections.sent()

    async def _follow(self, request: Any, response: Any, plan: Plan, settings: dict[str, Any]) -> Any:
        """Take redirects within the allowed origins, and none that turns a request into another one."""
        earlier: list[Any] = []
        while (following := response.next_request) is not None and len(earlier) < _REDIRECTS:
            if following.method != request.method and response.status_code not in _KEEP_METHOD:
                break
            try:
                url, foreign = self.address.reach(str(following.url))
            except (ForeignOrigin, InvalidInput) as error:
                await response.aclose()
                raise self.backend.family.refusal(error, request) from None
            await response.aclose()
            earlier = [*earlier, *response.history, response]
            if (bare := self.without_secret(url, plan)) != url:
                following.url = following.url.join(bare)
            if foreign:
                settings = {**settings, "auth": None}
                strip(following)
            request, response = following, await self._send(following, settings)
        if earlier:
            response.history = [*earlier, *response.history]
        return response

    def _decoded(
        self,
        decoder: Decoder[Any],
        body: bytes,
        content_type: str | None,
        status_code: int,
        plan: Plan,
        respond: Callable[[], ReceivedLike],
    ) -> Any:
        try:
            return decoder.decode(body, content_type, operation=plan.operation, status_code=status_code)
        except DecodeError as error:
            response = respond()
            vars(error)[OPTIONS] = response.extensions.get(OPTIONS)
            raise self.backend.family.refusal(error, response.request) from error.__cause__

    def _found(self, plan: Plan, accept: bytes | None) -> FoundLike | None:
        """What is stored for a call, if a client of ours would be given it, and would give it on as it is."""
        answer = self.backend.short_way
        if answer is None or plan.method not in _CACHED or plan.url is not None or plan.payload is not None:
            return None
        auth = self.auth_of(plan)
        credential = _credential(auth)
        if self.around_call or plan.around_call or (auth is not None and credential is None):
            return None
        site = self.backend.site
        if site is None:
            site = self.backend.site = self._site()
        options = self._read_options(plan, None if credential is None else credential.identity)
        signed = credential is not None or bool(self.around_attempt) or bool(plan.around_attempt)
        return answer(self._ask(plan, accept, site), plan.target(site.base), site, options, signed)

    def _site(self) -> Site:
        """How the library writes this service's address: asked once, so that its rules need not be known here."""
        request = self.backend.family.request("GET", f"{self.address.url}/", (), extensions={})
        url = str(request.url)
        root = url[: url.find("/", url.find("//") + 2)]
        return Site(request.url, root, url[:-1], dict(request.headers.raw)[b"Host"], origin_of(request.url))

    def _ask(self, plan: Plan, accept: bytes | None, site: Site) -> Ask:
        """What the cache is asked, as it would read it from the request."""
        known = self._asks.get((plan.method, accept))
        if known is not None and not plan.headers:
            return known
        from holdfast.core.caching.request import read_ask

        fields = {"host": (b"Host", site.host), **self._fields(False, accept), **plan.headers}
        ask = read_ask(plan.method, [*fields.values()])
        if not plan.headers:
            self._asks[(plan.method, accept)] = ask
        return ask

    def _read_options(self, plan: Plan, identity: str | None) -> Options:
        """The options of a call, read and checked; most calls of an operation have the same."""
        if plan.options:
            return read_options({OPTIONS: self._options(plan, identity)})
        name = (plan.operation, plan.template, identity)
        known = self._known_options.get(name)
        if known is None:
            if len(self._known_options) > _OPERATIONS:
                self._known_options.clear()
            known = self._known_options[name] = read_options({OPTIONS: self._options(plan, identity)})
        return known

    def _fields(self, foreign: bool, accept: bytes | None) -> Fields:
        """The client's own fields and the service's. Another origin gets those that say nothing of who asks."""
        fields = self._default_fields()
        if foreign:
            fields = said_to_anyone(fields)
        if accept is not None and "accept" not in self.headers:
            return {**fields, "accept": (b"accept", accept)}
        return {**fields}

    def _compress(self, plan: Plan) -> int | None:
        return self.compress if isinstance(plan.compress, Unset) else plan.compress

    def _packs_long(self, plan: Plan) -> bool:
        """Whether a body is to be compressed for so long that other tasks would notice."""
        if plan.payload is None or self._compress(plan) is None:
            return False
        return isinstance(plan.payload.content, (bytes, str)) and len(plan.payload.content) > _LONG

    def _default_fields(self) -> Fields:
        raw = self._raw if self.backend.owned and self._raw else self.backend.client.headers.raw
        if raw != self._raw:  # at first, and after somebody changed those of a lent client
            self._raw = raw
            # Repeated fields of a client are one line each, and lists of several lines are rare there: the last counts.
            named = {name.lower().decode("latin-1"): (name, value) for name, value in raw}
            if self.backend.owned:
                from holdfast._version import __version__

                agent = f"holdfast/{__version__} {named['user-agent'][1].decode('latin-1')}"
                named["user-agent"] = (b"user-agent", agent.encode("latin-1"))
            self._defaults = {**named, **self.headers}
        return self._defaults

    def _merged(self, url: str) -> str:
        """With the parameters of a lent client behind it, as they are in the requests that it makes itself."""
        if self.backend.owned or not self.backend.client.params:
            return url
        return f"{url}{'&' if '?' in url else '?'}{self.backend.client.params}"

    def without_secret(self, url: str, plan: Plan) -> str:
        """A link without the key that the server has copied there, where this call's credential is one in a query."""
        bare: Callable[[str], str] | None = getattr(self.auth_of(plan), "without_secret", None)
        return url if bare is None else bare(url)

    def bound(self, auth: Auth | None) -> Auth | None:
        """A credential of `holdfast.auth` for this service's origin.

        Raises `InvalidInput` if it is for another; and a name with a password for plain http to another machine.
        """
        if isinstance(auth, tuple) and self.address.origin.startswith("http:"):
            from holdfast.core.origins import Origins

            Origins.of(self.address.origin)
        for_origin: Callable[[str], Auth] | None = getattr(auth, "for_origin", None)
        return auth if for_origin is None else for_origin(self.address.origin)

    def auth_of(self, plan: Plan) -> Auth | None:
        """What proves who makes this call."""
        return self.auth if isinstance(plan.auth, Unset) else plan.auth

    def _options(self, plan: Plan, identity: str | None) -> dict[str, Any]:
        options = {"operation": plan.operation, **self.options, **plan.options}
        if plan.template:
            options["template"] = plan.template
        if plan.payload is not None and plan.payload.replayable:
            options.setdefault("replayable", True)
        if identity is not None:
            options.setdefault("identity", identity)
        return options

    def _refuse_what_a_plain_client_ignores(self, plan: Plan) -> None:
        given = [*self.options, *plan.options]
        if self.around_attempt or plan.around_attempt:
            given.append("around_attempt")
        if _credential(self.auth_of(plan)) is not None:
            given.append("a Credential as auth")
        if given:
            raise Unsupported(
                f"{given[0]} needs holdfast's transport, and the lent client has another one; wrap() the client first"
            )


def _accept(decoder: Decoder[Any]) -> bytes | None:
    return None if decoder.as_it_is else b"application/json"


def _credential(auth: Auth | None) -> Credential | None:
    return None if auth is None or isinstance(auth, tuple) or not hasattr(auth, "sign") else cast("Credential", auth)
