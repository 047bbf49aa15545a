"""What is a call that has not been made? A value: to be kept, changed into another, shown, and made again."""

from __future__ import annotations

import sys
import warnings
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeAlias, TypeVar

import anyio

from holdfast.client.channel import Auth, Channel, Reading
from holdfast.client.fields import headers_of, said_to_anyone
from holdfast.client.payload import UNSET, Unset, checked_compress, with_changes
from holdfast.client.plan import NOTHING, Plan, changed, options_of
from holdfast.client.reply import Failed, Ok, Outcome, Reply
from holdfast.client.steps import Instead, Mapped, Step
from holdfast.core.query import Query, encode_query
from holdfast.errors import HoldfastError, InvalidInput, StatusError

if TYPE_CHECKING:
    from os import PathLike

    from holdfast._wire import ReceivedLike, RequestLike
    from holdfast.client.download import Download
    from holdfast.client.interceptors import Interceptor
    from holdfast.client.listing import Progress
    from holdfast.client.operations import OnPoll
    from holdfast.client.pages import Pages
    from holdfast.client.rows import Rows
    from holdfast.client.server_events import ServerEvents
    from holdfast.client.upload import OnProgress
    from holdfast.core.paging import PagingRule
    from holdfast.core.polling import Rule

__all__ = ["Call"]

U = TypeVar("U")
T_co = TypeVar("T_co", covariant=True)
Errors: TypeAlias = type[Exception] | tuple[type[Exception], ...]
CacheUse: TypeAlias = str | Mapping[str, float]


class Call(Generic[T_co]):
    """One call of an API that has not been made yet. ``await`` makes it, each time anew, and gives its value.

    It never changes: `using`, `map` and `or_else` give other calls. `value`, `reply` and `outcome` are coroutine
    functions that make it, for ``create_task(call.value())`` or ``start_soon(call.reply)``; ``asyncio.gather`` and
    ``wait_for`` take the call itself. Cancelled, it ends at once, and its connection is given back. A call that was
    neither made, derived from nor shown is likely an ``await`` forgotten: it warns when it goes.

    With ``idempotent="key"`` the key belongs to the call: made again after a failure, it is the same order to the
    server, and not a second one.
    """

    __slots__ = ("__weakref__", "_channel", "_plan", "_reading", "_steps", "_used")

    _channel: Channel
    _plan: Plan
    _reading: Reading
    _steps: tuple[Step, ...]
    _used: bool

    def __init__(self, channel: Channel, plan: Plan, reading: Reading, steps: tuple[Step, ...] = ()) -> None:
        put = object.__setattr__
        put(self, "_used", False)
        put(self, "_channel", channel)
        put(self, "_plan", plan)
        put(self, "_reading", reading)
        put(self, "_steps", steps)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a call never changes; `using` makes another one (cannot assign to {name!r})")

    def __copy__(self) -> Call[T_co]:
        return self

    def __deepcopy__(self, memo: object) -> Call[T_co]:
        return self

    def __repr__(self) -> str:
        where = (self._plan.url or self._plan.path).partition("?")[0]  # secrets stand in queries
        return f"<Call {self._plan.operation}: {self._plan.method} {where}>"

    def __del__(self) -> None:
        if not self._used and not sys.is_finalizing():
            message = f"the call {self._plan.operation} was never made: is an await missing?"
            warnings.warn(message, RuntimeWarning, stacklevel=2)

    @property
    def operation(self) -> str:
        """The name of what is done, such as ``Users.get``: in events, rules, limits and errors."""
        return self._plan.operation

    @property
    def method(self) -> str:
        return self._plan.method

    @property
    def template(self) -> str | None:
        """The path before values were filled in; None for a link."""
        return self._plan.template

    @property
    def url(self) -> str:
        """The whole URL, as it will be sent; secrets in its query are not masked."""
        self._use()
        return self._plan.target(self._channel.address.url)

    @property
    def _content(self) -> bytes:
        """Its body, as far as that is in memory."""
        content = None if self._plan.payload is None else self._plan.payload.content
        return content if isinstance(content, bytes) else b""

    def __await__(self) -> Generator[Any, None, T_co]:
        return self.value().__await__()

    async def value(self) -> T_co:
        """Make the call; its value.

        Raises `StatusError` for a status of 300 and above, `DecodeError` for a body of another shape, and whatever
        the pipeline and the HTTP library raise. All of them are the library's ``HTTPError`` too.
        """
        self._use()
        value: T_co  # what the steps make of it is known to their types alone
        value, _ = await self._ended(self._steps, responding=False)
        return value

    async def reply(self) -> Reply[T_co]:
        """Make the call; its value with what the response told. Raises as `value` does."""
        self._use()
        clock = self._channel.clock
        started = clock.monotonic()
        value, response = await self._ended(self._steps, responding=True)
        return Reply(
            value,
            response,
            operation=self._plan.operation,
            elapsed=clock.monotonic() - started,
            wall=clock.wall(),
        )

    async def outcome(self) -> Outcome[T_co]:
        """Make the call; its end as a value. What HTTP and holdfast raise is `Failed`.

        So is what ``status_errors`` makes of an answer. A bug in code around the call, and a cancellation, are raised.
        """
        self._use()
        try:
            value, _ = await self._ended(self._steps, responding=False)
        except Exception as error:
            told = isinstance(error, (HoldfastError, self._channel.backend.family.error))
            if not told and not isinstance(error.__cause__, StatusError):
                raise
            return Failed(error)
        return Ok(value)

    def stream(self) -> AbstractAsyncContextManager[ReceivedLike]:
        """The response as soon as its head is there: ``async with call.stream() as response``, then ``aiter_bytes()``.

        Nothing of the body is read ahead or decoded. Leaving the block closes it. Raises `StatusError` as `value` does.
        """
        self._stepless("stream")
        return self._streaming()

    def events(
        self,
        *,
        reconnects: int | None = None,
        until: str | None = None,
        last_id: str = "",
        idle: float | None = 60.0,
        longest: int = 1024 * 1024,
    ) -> ServerEvents[T_co]:
        """Server-sent events: ``async with call.events() as events``, then ``async for event in events``.

        The data of each is decoded into the call's type (``str``: as it is). When the stream ends or breaks, it is
        connected to anew, with ``Last-Event-ID`` and after the time that the server names, up to ``reconnects`` times
        in a row without an event (default: 5 for a GET, else 0). ``until``: data that means the end, such as
        ``"[DONE]"``. ``last_id``: to go on from. ``idle``: seconds of silence that count as a break (None: none do).
        ``longest``: bytes of a line and of an event, else `LineTooLong`. The call's deadline is for each connection
        up to its head.

        Entering raises as `stream` does, and `DecodeError` for another type of content.
        """
        from holdfast.client.server_events import ServerEvents

        self._stepless("events")
        return ServerEvents(
            self._channel,
            self._plan,
            self._reading,
            reconnects=reconnects,
            until=until,
            last_id=last_id,
            idle=idle,
            longest=longest,
        )

    def rows(self, *, idle: float | None = 60.0, longest: int = 1024 * 1024) -> Rows[T_co]:
        """A stream of lines of JSON: ``async with call.rows() as rows``, then ``async for row in rows``.

        Each line is decoded into the call's type. ``idle``: seconds of silence after which the library's ReadTimeout is
        raised (None: never). ``longest``: bytes of a line, else `LineTooLong`. The call's deadline ends with the head.
        """
        from holdfast.client.rows import Rows

        self._stepless("rows")
        return Rows(self._channel, self._plan, self._reading, idle=idle, longest=longest)

    def map(self, function: Callable[[T_co], U]) -> Call[U]:
        """A call whose value is ``function(value)``."""
        return self._derived(steps=(*self._steps, Mapped(function)))

    def or_else(self, value: U, *, on: Errors) -> Call[T_co | U]:
        """A call that has ``value`` where it would raise one of the errors ``on``; `Reply.source` is "fallback" then.

        `Unauthorized`, `Forbidden` and `DecodeError` are hidden only where they are named themselves. Raises
        ValueError for ``Exception``, which would hide bugs.
        """
        self._use()
        return self._derived(steps=(*self._steps, Instead(value, on)))

    def using(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        query: Query | None = None,
        json: Mapping[str, Any] | None = None,
        form: Query | None = None,
        auth: Auth | Unset | None = UNSET,
        deadline: float | None = None,
        attempt_timeout: float | None = None,
        attempts: int | None = None,
        retry: Unset | None = UNSET,
        cache: CacheUse | None = None,
        identity: str | None = None,
        key: str | None = None,
        cost: float | None = None,
        idempotent: bool | None = None,
        idempotency_key: str | None = None,
        around_call: Sequence[Interceptor] = (),
        around_attempt: Sequence[Interceptor] = (),
        compress: int | Unset | None = UNSET,
        options: Mapping[str, Any] | None = None,
    ) -> Call[T_co]:
        """The same call with some of it changed; what is not given stays.

        ``headers``, ``query`` and ``form`` go over those of the same name (None takes a parameter away), and ``json``
        over members of the JSON body (RFC 7396: None takes one away, objects are merged). ``auth=None``: none.
        ``deadline`` and ``attempt_timeout`` are in seconds. ``retry=None`` is one attempt. ``cache``: "refresh",
        "bypass", "only" or ``{"ttl": seconds}``. The rest are the options of ``extensions["holdfast"]``, and
        ``options`` has those without an argument of their own. ``around_call`` and ``around_attempt`` go inside the
        service's. ``compress`` is as `Service`'s. Raises `InvalidOption` and `InvalidInput` for values that cannot be.
        """
        self._use()
        plan, lists = self._plan, self._channel.list_style
        if query is not None and plan.url is not None:
            raise InvalidInput("a link is followed as it is; it takes no query=", argument="query")
        set_now = options_of(
            options,
            deadline=deadline,
            attempt_timeout=attempt_timeout,
            attempts=1 if retry is None else attempts,
            cache=cache,
            identity=identity,
            key=key,
            cost=cost,
            idempotent=idempotent,
        )
        ordered = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        plan = changed(
            plan,
            payload=with_changes(plan.payload, json, form, lists, plan.method),
            headers={**plan.headers, **headers_of(headers or {}), **headers_of(ordered)},
            query={**plan.query, **encode_query(query, lists)} if query else plan.query,
            auth=plan.auth if isinstance(auth, Unset) else self._channel.bound(auth),
            options={**plan.options, **set_now},
            around_call=(*plan.around_call, *around_call),
            around_attempt=(*plan.around_attempt, *around_attempt),
            compress=plan.compress if isinstance(compress, Unset) else checked_compress(compress),
        )
        return self._derived(plan)

    def without_secret(self, link: str) -> str:
        """A link without the key that the server has copied there, where this call's credential is one in a query."""
        return self._channel.without_secret(link, self._plan)

    def following(self, link: str) -> Call[T_co]:
        """The same call to another URL, such as a next page's: used character for character, no parameter merged in.

        A relative one is resolved against this call's. It goes with auth and headers to the service's own origin,
        without those that say who asks to one of ``allow_origins``; for any other `ForeignOrigin` is raised.
        """
        self._use()
        url, foreign = self._channel.address.reach(link, self.url)
        url = self.without_secret(url)
        headers = said_to_anyone(self._plan.headers) if foreign else self._plan.headers
        return self._derived(changed(self._plan, url=url, query=NOTHING, headers=headers))

    def pages(
        self: Call[Sequence[U]],
        rule: PagingRule,
        *,
        max_pages: int | None = None,
        prefetch: int = 0,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> Pages[U]:
        """The listing whose first page this call gives, and whose others ``rule`` finds: `by_link`, `by_cursor`, ...

        ``max_pages``: one more raises `TooManyPages`. ``prefetch=1``: while a page is used, the next one is fetched.
        ``on_progress`` is called with a `Progress` after each page. Raises `InvalidInput` behind `or_else`, which
        would end a listing where a page failed, for a call with an ``Idempotency-Key``, which has one answer, and for
        a link and a rule that sends parameters.
        """
        from holdfast.client.pages import pages_of

        self._use()
        if any(isinstance(step, Instead) for step in self._steps):
            raise InvalidInput("pages() behind or_else(): a page that failed would end the listing without a word")
        if self._plan.url is not None and getattr(rule, "sent_in", None) == "query":
            raise InvalidInput("pages() of a link: it is followed as it is, and takes no parameters", argument="rule")
        if "idempotency-key" in self._plan.headers:
            message = "pages() with an Idempotency-Key: a server would give the first page again for each"
            raise InvalidInput(message, argument="idempotent")
        return pages_of(self, self._channel, rule, max_pages, prefetch, on_progress)

    async def until_done(
        self,
        *,
        deadline: float | None = 600.0,
        rule: Rule | None = None,
        every: float = 2.0,
        on_poll: OnPoll | None = None,
    ) -> T_co:
        """Make the call, and where the server has only accepted it (202), ask until it is done; the result's value.

        It is asked at ``Operation-Location``, which tells of the operation by a state (`by_state`), or at
        ``Location``, where 202 goes on and any other success is the result; for a GET that has neither, here. A result
        that is elsewhere is fetched: where the answer or ``Location`` says, for a PUT and PATCH at its own URL.
        ``rule`` says of an answer's JSON how far it is. It is asked again when ``Retry-After`` says, else after
        ``every`` seconds, half as long again each time, up to 30.

        ``deadline``: seconds for all of it (None: no limit), `DeadlineExceeded` before a wait that would outlast it.
        ``on_poll`` gets a `Poll` after each answer, with the URL by which ``service.GET(url, T).until_done()`` takes it
        up again. Raises `OperationFailed`, `ForeignOrigin` for an address elsewhere, and what `value` raises.
        """
        from holdfast.client.operations import until_done

        self._stepless("until_done")
        value: T_co = await until_done(
            self._channel, self._plan, self._reading, rule=rule, every=every, seconds=deadline, on_poll=on_poll
        )
        return value

    def if_match(self, seen: Reply[Any] | str) -> Call[T_co]:
        """The same write, to be carried out only if the resource is still as it was ``seen``; else PreconditionFailed.

        A reply's strong ETag is sent as ``If-Match``; without any ETag, its Last-Modified as ``If-Unmodified-Since``. A
        string is an ETag that was kept, or ``"*"``: there is something to be changed. Raises `WeakValidator` for what
        could not tell two states apart, and `InvalidInput` for a call that reads.

        A 412 after an attempt whose answer was lost may be that attempt's own doing: ``error.attempts`` is above 1.
        """
        from holdfast.core.preconditions import if_match

        self._use()
        if self._plan.method in ("GET", "HEAD"):
            raise InvalidInput(f"if_match is for a call that changes something, not for {self._plan.method}")
        name, value = if_match(seen) if isinstance(seen, str) else seen.precondition
        return self.using(headers={name: value})

    def request(self) -> RequestLike:
        """The HTTP library's Request, made and not sent; auth adds to it when it is."""
        self._use()
        request: RequestLike = self._channel.request(self._plan, self._channel.accept(self._reading))
        return request

    def as_curl(self) -> str:
        """A command line for people, with secrets masked; nothing is sent, and no HTTP library imported."""
        from holdfast.client.curl import curl

        self._use()
        return curl(self._channel, self._plan, self._channel.accept(self._reading))

    def explain(self) -> dict[str, Any]:
        """What would become of it, as plain data: see `Service.explain`."""
        from holdfast.client.explain import explain

        self._use()
        return explain(self._channel, self._plan, self._channel.accept(self._reading))

    async def download(
        self,
        path: str | PathLike[str],
        *,
        resume: bool = True,
        progress: OnProgress | None = None,
        idle: float | None = 60.0,
    ) -> Download:
        """Make the call, and have its body in a file, whole or not at all.

        It grows in ``path.part`` and gets its name when all of it is there, and has the size and the digest (RFC 9530)
        that the server told. A transfer that breaks goes on where it was; so does one that was cancelled or failed,
        with the next download of the same URL to the same path, if the server gives the bytes a strong validator.
        Else, and with ``resume=False``, nothing is left of it. A file that is there is replaced.

        ``progress(bytes, total)`` is called as they are written. ``idle``: seconds of silence that count as a break.
        A deadline given to this call (`using`) is for all of it, the service's and the pipeline's for each head.
        Memory is constant; files are handled in threads. The type of the call is not looked at.

        Raises as `stream` does, `DigestMismatch`, and OSError (BlockingIOError: another download writes the part).
        """
        from holdfast.client.download import download

        self._stepless("download")
        return await download(self._channel, self._plan, path, resume=resume, progress=progress, idle=idle)

    def _stepless(self, what: str) -> None:
        self._use()
        if self._steps:
            raise InvalidInput(f"{what}() comes before map() and or_else(): it has no single value", argument=what)

    def _use(self) -> None:
        object.__setattr__(self, "_used", True)

    def _derived(self, plan: Plan | None = None, steps: tuple[Step, ...] | None = None) -> Call[Any]:
        self._use()
        return Call(
            self._channel, self._plan if plan is None else plan, self._reading, self._steps if steps is None else steps
        )

    async def _ended(self, steps: tuple[Step, ...], *, responding: bool) -> tuple[Any, ReceivedLike | None]:
        """The value after these steps, and its response if that is wanted."""
        if not steps:
            return await self._channel.answer(self._plan, self._reading, responding=responding)
        return await steps[-1].end(lambda: self._ended(steps[:-1], responding=responding))

    @asynccontextmanager
    async def _streaming(self) -> AsyncGenerator[ReceivedLike]:
        response = await self._channel.open(self._plan)
        try:
            yield response
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()
