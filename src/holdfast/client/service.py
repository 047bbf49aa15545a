"""Where does an API begin? A service: its address, its pipeline and its client, and the resources hung on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from types import CodeType, GenericAlias, TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast, overload

from holdfast.client.backend import Backend, FamilyName
from holdfast.client.channel import Auth, Channel
from holdfast.client.fields import headers_of
from holdfast.client.payload import UNSET, Unset, checked_compress
from holdfast.client.plan import NOTHING, options_of
from holdfast.client.resource import Resource
from holdfast.client.verbs import Verbs
from holdfast.core.address import address_of
from holdfast.core.query import ListStyle
from holdfast.core.template import template_of
from holdfast.errors import InvalidInput

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import TypeForm

    from holdfast._wire import ClientLike, Inner
    from holdfast.by_origin import Pipelines
    from holdfast.client.batches import Again
    from holdfast.client.call import Call
    from holdfast.client.checks import Check
    from holdfast.client.decode import UnknownFields
    from holdfast.client.failures import StatusErrors
    from holdfast.client.gather import OnError
    from holdfast.client.inputs import Validate
    from holdfast.client.interceptors import Interceptors
    from holdfast.client.listing import Progress
    from holdfast.client.pages import Pages
    from holdfast.client.profiles import AuthKind
    from holdfast.client.reply import Outcome
    from holdfast.core.paging import PagingRule
    from holdfast.core.scalar import Scalar
    from holdfast.pipeline import Pipeline

__all__ = ["Service"]

Item = TypeVar("Item")
K = TypeVar("K")
T = TypeVar("T")


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
    in place of the pipeline's. ``api_version``: goes with each call, in the field ``version_header``, else as a segment
    behind the base URL's path. ``compress``: request bodies in memory of so many bytes and more are sent in gzip, where
    that makes them shorter (default None: none is). ``paging``: how the pages of `query` and `Crud` hang together
    (default `by_link`).

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
        paging: PagingRule | None = None,
        api_version: str | None = None,
        version_header: str | None = None,
    ) -> None:
        if validate == "strict":
            from holdfast.client.inputs import checked

            self.__class__ = checked(type(self), Service)
        elif validate != "off":
            raise InvalidInput(f'validate is "strict" or "off", got {validate!r}', argument="validate")
        fixed = {} if user_agent is None else {"User-Agent": user_agent}
        if version_header is not None:
            if api_version is None:
                raise InvalidInput("version_header= is the field for api_version=", argument="version_header")
            fixed[version_header] = api_version
        elif api_version is not None:
            base_url = f"{base_url.rstrip('/')}{template_of('/{api_version}').fill({'api_version': api_version})}"
        options = options_of(deadline=deadline)
        if status_errors:
            from holdfast.client.failures import check_status_errors

            check_status_errors(status_errors)
        self._owner = True
        self._channel = Channel(
            Backend(family, pipeline, transport, client),
            address_of(base_url, allow_origins),
            auth=auth,
            headers=headers_of({**fixed, **(default_headers or {})}),
            list_style=lists,
            validate=validate,
            unknown=unknown,
            unwrap=unwrap,
            status_errors=status_errors,
            options=options,
            compress=checked_compress(compress),
            paging=paging,
        )

    @classmethod
    def from_env(cls, prefix: str, *, auth: AuthKind | Auth | None = "bearer", **settings: Any) -> Self:
        """A service as the environment says: ``Shop.from_env("SHOP")`` reads ``SHOP_URL`` and ``SHOP_TOKEN``.

        ``auth``: which secrets there must be: "bearer" (``_TOKEN``), "basic" (``_USERNAME``, ``_PASSWORD``), "api_key"
        (``_API_KEY``, and ``_API_KEY_HEADER`` if it has another than X-API-Key); a credential, or None: no secret.
        The other variables are named as arguments are: ``_DEADLINE``, ``_USER_AGENT``, ``_API_VERSION``, ...
        ``settings`` are further arguments, and go over them. Raises `InvalidInput`, which names the variable, for one
        that is missing or empty, that cannot be, or that is no setting.
        """
        from holdfast.client.profiles import from_environment

        return cls(**{**from_environment(prefix, auth, os.environ), **settings})

    @classmethod
    def from_profile(cls, name: str, path: str | os.PathLike[str] | None = None, **settings: Any) -> Self:
        """A service as a profile says: a table of a TOML file, with ``url`` and the names of arguments as keys.

        A secret stands in a variable, which is named: ``token_env``, or ``username`` and ``password_env``, or
        ``api_key_env`` (with ``api_key_header``). ``path``: default ``$HOLDFAST_PROFILES``, else
        ``~/.config/holdfast/profiles.toml``. ``settings`` are further arguments, and go over them. Raises
        `InvalidInput`, which names the key or the variable, for one that is missing, cannot be, or is no setting; and
        OSError.
        """
        from holdfast.client.profiles import from_profile

        return cls(**{**from_profile(name, path, os.environ), **settings})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self._channel.address.url}>"

    @property
    def base_url(self) -> str:
        return self._channel.address.url

    @property
    def pipeline(self) -> Pipeline | Pipelines | None:
        """The pipeline, for its circuits, its snapshot and its purges; None if a lent client has none."""
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
        given = options_of(options, deadline=deadline)
        made = object.__new__(type(self))
        kept = {name: value for name, value in vars(self).items() if not isinstance(value, Resource)}
        vars(made).update(kept)
        made._owner = False
        made._channel = self._channel.derived(auth, headers_of(headers or {}), given)
        return made

    def query(
        self,
        path: str,
        into: TypeForm[T],
        /,
        *,
        paging: PagingRule | None = None,
        unwrap: str | Unset | None = UNSET,
        operation: str | None = None,
        **values: Scalar,
    ) -> Pages[T]:
        """A listing of ``into``, to be narrowed: ``service.query("/users", User).where(role="admin").limit(50)``.

        ``paging``: how its pages hang together (default: the service's). The rest is as with ``GET``.
        """
        from holdfast.client.pages import pages_in

        many = GenericAlias(list, (into,))
        call = self._call("GET", path, many, None, None, unwrap, operation, None, values)
        return pages_in(call, self._channel, paging)

    @overload
    async def gather(  # type: ignore[overload-overlap]  # a mapping is an iterable of its keys, which are no calls
        self,
        calls: Mapping[K, Call[T]],
        *,
        limit: int = ...,
        on_error: OnError = ...,
        on_progress: Callable[[Progress], object] | None = ...,
    ) -> dict[K, Outcome[T]]: ...
    @overload
    async def gather(
        self,
        calls: Iterable[Call[T]],
        *,
        limit: int = ...,
        on_error: OnError = ...,
        on_progress: Callable[[Progress], object] | None = ...,
    ) -> list[Outcome[T]]: ...
    async def gather(
        self,
        calls: Mapping[Any, Call[Any]] | Iterable[Call[Any]],
        *,
        limit: int = 10,
        on_error: OnError = "collect",
        on_progress: Callable[[Progress], object] | None = None,
    ) -> dict[Any, Outcome[Any]] | list[Outcome[Any]]:
        """Make many calls, at most ``limit`` at once: how each ended, `Ok` or `Failed`, in the order given.

        Of a mapping the keys are kept. An iterable is drawn from as calls are made, so a generator may be long.
        ``on_error="raise"`` raises the first failure, and cancels those on the way. A bug in code around a call is
        raised either way. ``on_progress`` is called with a `Progress` after each call. Cancelled, it takes the calls
        on the way along, and begins no other. Raises `InvalidInput` for a limit below 1.
        """
        from holdfast.client.gather import gathered

        if isinstance(calls, Mapping):
            named = cast("Mapping[Any, Call[Any]]", calls)  # and no iterable of calls that is a mapping too
            return await gathered(named.items(), len(named), limit, on_error, on_progress)
        total = len(calls) if isinstance(calls, Sized) else None
        numbered = enumerate(calls) if total is None else [*enumerate(calls)]
        return [*(await gathered(numbered, total, limit, on_error, on_progress)).values()]

    async def batch(
        self,
        items: Iterable[Item],
        send: Callable[[Sequence[Item]], Call[Sequence[Outcome[T]]]],
        *,
        size: int = 100,
        limit: int = 4,
        attempts: int = 3,
        again: Again | None = None,
        max_wait: float = 30.0,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> list[Outcome[T]]:
        """Send many items to an endpoint that takes several at once: how each ended, in the order given.

        ``send`` makes the call of a chunk of up to ``size`` items, whose value is the end of each of them, in their
        order; `outcome_of` makes one of a status. Up to ``limit`` chunks are on the way at once. Items that failed
        with a status by which the server did not act (421, 425, 429; for a call that is idempotent without a key all
        that a retry may cure) are sent again, alone, up to ``attempts`` times altogether, after the seconds that the
        server asked for, or with backoff; a wait above ``max_wait`` ends it. ``again`` decides it otherwise. A chunk
        whose call fails has failed: the pipeline sent it as often as it may. Cancelled as `gather`.
        """
        from holdfast.client.batches import BatchSettings, batched

        settings = BatchSettings(size, limit, attempts, again, max_wait, on_progress)
        return await batched(self._channel, [*items], send, None, settings)

    async def batch_or_singles(
        self,
        items: Iterable[Item],
        send: Callable[[Sequence[Item]], Call[Sequence[Outcome[T]]]],
        single: Callable[[Item], Call[T]],
        *,
        size: int = 100,
        limit: int = 4,
        attempts: int = 3,
        again: Again | None = None,
        max_wait: float = 30.0,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> list[Outcome[T]]:
        """As `batch`; where the server does not have that endpoint (404, 405, 501), a call for each item.

        That is remembered as long as the service lives, so it is found out once.
        """
        from holdfast.client.batches import BatchSettings, batched

        settings = BatchSettings(size, limit, attempts, again, max_wait, on_progress)
        return await batched(self._channel, [*items], send, single, settings)

    def explain(self, call: Call[Any]) -> dict[str, Any]:
        """The policies in force for a call, and the keys under which they count it; plain data, keys are only added.

        ``operation``, ``template``, ``url`` (secrets masked), ``deadline``, ``attempts``, ``sent_again`` (whether also
        after the server may have acted), ``breaker``, ``rate_limit``, ``cache``, ... Nothing is sent. Of a lent client
        only what the service adds is known.
        """
        return call.explain()

    async def check(self, *, deadline: float = 5.0) -> Check:
        """Whether the API is there: makes the call that is marked with `health_check`, once, past cache and fallback.

        Where a circuit is open, or the key offline, this call is the probe, before one would be due: what it finds is
        so for all calls. ``deadline`` is in seconds. What HTTP and holdfast raise is in the `Check`. Raises
        `InvalidInput` if not exactly one method is marked.
        """
        from holdfast.client.checks import check, marked

        return await check(self, marked(self)(), deadline)

    async def reconnect(self, drain: float = 30.0) -> None:
        """Go on over fresh connections, at once: a name leads elsewhere now, or a pool is dead.

        Calls on the way end on the old ones, which are closed when the last has ended, or after ``drain`` seconds; this
        waits for that. Cancelled, it closes them. The pipeline's state stays. Raises `InvalidInput` for a service that
        was lent its client or given a transport.
        """
        await self._channel.backend.reconnect(drain)

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
