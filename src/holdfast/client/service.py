"""Where does an API begin? A service: its address, its pipeline and its client, and the resources hung on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from holdfast.call import OPTIONS, read_options
from holdfast.client.backend import Backend, FamilyName
from holdfast.client.channel import Auth, Channel, checked_compress, headers_of
from holdfast.client.failures import StatusErrors, check_status_errors
from holdfast.client.payload import UNSET, Unset
from holdfast.client.plan import NOTHING
from holdfast.client.resource import Resource
from holdfast.client.verbs import Verbs
from holdfast.core.address import address_of
from holdfast.core.query import ListStyle
from holdfast.errors import InvalidInput

if TYPE_CHECKING:
    from typing import Self

    from holdfast._wire import ClientLike, Inner
    from holdfast.by_origin import Pipelines
    from holdfast.client.call import Call
    from holdfast.client.decode import UnknownFields
    from holdfast.client.inputs import Validate
    from holdfast.client.interceptors import Interceptors
    from holdfast.pipeline import Pipeline

__all__ = ["Service"]


class Service(Verbs):
    """An API at a base URL, typed: a subclass hangs resources on itself with `accessor`, and calls are values.

    ``base_url``: absolute, http or https; paths go behind its own. ``auth``: an ``Auth`` of the family, a
    `Credential`, or (name, password). ``pipeline``: the policies (default: a `Pipeline()` of its own). ``transport``:
    what sends, inside the pipeline; or a `ResilientTransport`, which brings its own. ``client``: an AsyncClient that
    is lent; it is not closed, and decides the family, as a transport of the library's own does. ``family``: "httpx"
    (the default) or "httpx2", imported with the first call.

    ``default_headers`` go with each call. ``user_agent`` stands in place of ours. ``allow_origins``: URLs of other
    origins that links and redirects may lead to; they get neither auth nor default headers. ``lists``: how lists
    stand in a query, "repeat" (``a=1&a=2``), "comma" or "brackets". ``validate="strict"``: arguments of methods are
    checked against their signatures, for callers that no type checker saw. ``unknown``: "ignore" or "error", for
    members of a body that its type does not have. ``unwrap``: where values are in each body, such as "data".
    ``status_errors``: what to raise for a status, in place of the tree's class. ``deadline``: seconds for each call,
    in place of the pipeline's. ``compress``: request bodies in memory of so many bytes and more are sent in gzip, where
    that makes them shorter (default None: none is).

    The client is made with the first call, and belongs to that event loop (`WrongLoop` on another). ``async with``
    closes it. A client of ours keeps no cookies. Two services share nothing but a pipeline or a client given to both.
    Raises `InvalidInput` for settings that cannot be.

    >>> from holdfast.client import Call, Resource, accessor
    >>> class Users(Resource, path="/users"):
    ...     def get(self, id: int) -> Call[dict[str, str]]:
    ...         return self.GET("/{id}", dict[str, str], id=id)
    >>> class Shop(Service):
    ...     users = accessor(Users)
    >>> print(Shop("https://api.example.com/v1").users.get(1).as_curl())
    curl https://api.example.com/v1/users/1 -H 'Accept: application/json'
    """

    _prefix = ""
    _values = NOTHING
    _operations: ClassVar[dict[CodeType, str | None]] = {}

    def __init__(
        self,
        base_url: str,
        *,
        auth: Auth | None = None,
        pipeline: Pipeline | Pipelines | None = None,
        client: ClientLike[Any, Any] | None = None,
        transport: Inner[Any, Any] | None = None,
        family: FamilyName | None = None,
        default_headers: Mapping[str, str] | None = None,
        user_agent: str | None = None,
        allow_origins: Iterable[str] = (),
        lists: ListStyle = "repeat",
        validate: Validate = "off",
        unknown: UnknownFields = "ignore",
        unwrap: str | None = None,
        status_errors: StatusErrors | None = None,
        deadline: float | None = None,
        compress: int | None = None,
    ) -> None:
        if validate == "strict":
            from holdfast.client.inputs import checked

            self.__class__ = checked(type(self), Service)
        elif validate != "off":
            raise InvalidInput(f'validate is "strict" or "off", got {validate!r}', argument="validate")
        agent = {} if user_agent is None else {"User-Agent": user_agent}
        options = NOTHING if deadline is None else {"deadline": deadline}
        read_options({OPTIONS: options})
        check_status_errors(status_errors or {})
        self._owner = True
        self._channel = Channel(
            Backend(family, pipeline, transport, client),
            address_of(base_url, allow_origins),
            auth=auth,
            headers=headers_of({**agent, **(default_headers or {})}),
            list_style=lists,
            validate=validate,
            unknown=unknown,
            unwrap=unwrap,
            status_errors=status_errors,
            options=options,
            compress=checked_compress(compress),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self._channel.address.url}>"

    @property
    def base_url(self) -> str:
        return self._channel.address.url

    @property
    def pipeline(self) -> Pipeline | Pipelines | None:
        """The pipeline, for its circuits, its snapshot and its purges; None if a lent client has it."""
        return self._channel.backend.pipeline

    @property
    def around_call(self) -> Interceptors:
        """Around each call, once: ``@service.around_call`` on ``async (request, call_next) -> response``.

        The first is the outermost. Calls on the way have those that there were when they began.
        """
        return self._channel.around_call

    @property
    def around_attempt(self) -> Interceptors:
        """Around each attempt, inside the retries; as `around_call`. Not called where the cache answers."""
        return self._channel.around_attempt

    def using(
        self,
        *,
        auth: Auth | Unset | None = UNSET,
        headers: Mapping[str, str] | None = None,
        deadline: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """The same service with some of it changed, over the same pipeline and connections: a tenant's, say.

        ``options`` are per-request options for all of its calls (``identity``, ``key``, ``cache``, ...). Interceptors
        are copied. It has nothing to close; the service it comes from has.
        """
        given = {**({} if deadline is None else {"deadline": deadline}), **(options or {})}
        read_options({OPTIONS: given})
        made = object.__new__(type(self))
        kept = {name: value for name, value in vars(self).items() if not isinstance(value, Resource)}
        vars(made).update(kept)
        made._owner = False
        made._channel = self._channel.derived(auth, headers_of(headers or {}), given)
        return made

    def explain(self, call: Call[Any]) -> dict[str, Any]:
        """The policies in force for a call, and the keys under which they count it; plain data, keys are only added.

        ``operation``, ``template``, ``url`` (secrets masked), ``deadline``, ``attempts``, ``sent_again`` (whether also
        after the server may have acted), ``breaker``, ``rate_limit``, ``cache``, ... Nothing is sent. Of a lent client
        only what the service adds is known.
        """
        return call.explain()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def aclose(self, drain: float = 0.0) -> None:
        """Take no more calls, give running ones up to ``drain`` seconds, close the client. A lent one stays open."""
        if self._owner:
            await self._channel.backend.aclose(drain)
