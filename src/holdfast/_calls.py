"""The third family: calls of functions, so that the layers guard what is not HTTP, or not through us.

To a layer a call of a function looks like a request, and what it returns like an answer that has been read. No HTTP
library is imported, and refusals are raised as they are in `holdfast.errors`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import update_wrapper
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from cachetools import LRUCache

from holdfast._deadline import in_force, share
from holdfast._wire import Family, Handler
from holdfast.background import Background
from holdfast.call import DEFAULT_OPTIONS, OPTIONS, Call, Options, Owner, read_options
from holdfast.clock import Clock
from holdfast.core.fault import Fault
from holdfast.errors import HoldfastError

__all__ = ["NO_WORK", "CallFamily", "Calls", "Errors", "Guard", "Result", "Work", "call_outside", "check_errors"]

P = ParamSpec("P")
T = TypeVar("T")

Errors = tuple[type[Exception], ...]

_RETRY_ON = 64
"""How many sets of exceptions have their layers bound and kept; each place in the code has one set."""


class _NoFields:
    """The header fields of what has none."""

    raw: list[tuple[bytes, bytes]] = []  # noqa: RUF012  # shared and never written, as nobody writes into `raw`

    def get(self, key: str, /) -> None:
        return None

    def get_list(self, key: str) -> list[str]:
        return []

    def __contains__(self, key: Any) -> bool:
        return False

    def __getitem__(self, key: str) -> str:
        raise KeyError(key)

    def __setitem__(self, key: str, value: str) -> None:
        raise TypeError("a call of a function has no header fields")

    def __delitem__(self, key: str) -> None:
        raise KeyError(key)


_NO_FIELDS = _NoFields()


class _Place:
    """Where a function's calls go, as telemetry shows it: ``call://KEY``."""

    scheme = "call"
    port = None
    raw_path = b""

    def __init__(self, host: str) -> None:
        self.host = host


class Work:
    """A call of a function, as a request. ``run`` makes a fresh awaitable for each attempt."""

    method: str = "CALL"
    headers = _NO_FIELDS

    def __init__(
        self, run: Callable[[], Awaitable[Any]], failed_if: Callable[[Any], bool] | None, options: Mapping[str, Any]
    ) -> None:
        self.run = run
        self.failed_if = failed_if
        self.extensions: dict[str, Any] = {OPTIONS: options}

    @property
    def url(self) -> _Place:
        return _Place(self.extensions[OPTIONS]["key"])


class Result:
    """What a function returned, as an answer whose body has been read."""

    status_code: int = 200
    is_closed: bool = True
    headers = _NO_FIELDS

    def __init__(self, value: Any) -> None:
        self.value = value
        self.extensions: dict[str, Any] = {}

    async def aclose(self) -> None:
        """Closed it is."""


class ResultRejected(Exception):
    """Stands for a result that ``failed_if`` calls a failure; the caller gets that result if no other follows."""

    def __init__(self, result: Any) -> None:
        super().__init__("failed_if called the result a failure")
        self.result = result


class CallFamily(Family[Work, Result]):
    """What the policies need to know of functions: ``retry_on`` are the exceptions that blame the other side.

    Whatever else a function raises is the caller's own mistake: it says nothing about the other side, and another
    attempt would not change it. A timeout blames the other side in any case.
    """

    name = "calls"
    http = False
    grace = 0.0
    transport_error = Exception
    timeout_error = TimeoutError

    def __init__(self, retry_on: Errors) -> None:
        self._blaming = (TimeoutError, ResultRejected, *retry_on)

    def fault(self, error: Exception) -> Fault:
        # How far it came, nobody can know: a function may do several things.
        blames = isinstance(error, self._blaming) and not isinstance(error, HoldfastError)
        return Fault.INTERRUPTED if blames else Fault.LOCAL

    def refusal(self, error: HoldfastError, request: Work) -> Exception:
        return error

    def timeout(self, message: str, request: Work) -> Exception:
        return TimeoutError(message)

    def replayable(self, request: Work) -> bool:
        return True

    def streams(self, request: Work) -> bool:
        return False

    def preview(self, response: Result, request: Work) -> Result:
        return response

    def fresh_attempt(self, request: Work) -> Work:
        return Work(request.run, request.failed_if, request.extensions[OPTIONS])

    def _no_body(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("a result has no body, and is made by its function alone")

    body = rebody = capped = track = response = head = stored = received = decoded = _no_body
    pool_timeout = read_error = undecodable = failure = readdressed = _no_body


class _Open:
    """The `Owner` of calls that come through no transport: never closed, and has the arms of hedged calls."""

    closing = closed = False
    certificate: bytes | None = None
    running = 0

    def __init__(self) -> None:
        self._background = Background()

    def leave(self, error: BaseException | None, complete: bool) -> None:
        self.running -= 1

    def start(self, work: Callable[[], Awaitable[None]], lost: Callable[[], None]) -> bool:
        around = in_force()

        async def within() -> None:
            share(around)  # the function runs here, and what it calls has its caller's deadline
            await work()

        self._background.start(within, lambda began: None if began else lost())
        return True


class _Binds(Protocol):
    def __call__(
        self, inner: Handler[Work, Result], family: Family[Work, Result], owner: Owner
    ) -> Handler[Work, Result]: ...


class Calls:
    """Calls functions through the layers of one pipeline. Shares the pipeline's state, and has none of its own."""

    def __init__(self, bind: _Binds) -> None:
        self._bind = bind
        self._owner = _Open()
        self._handlers: LRUCache[Errors, Handler[Work, Result]] = LRUCache(_RETRY_ON)

    async def run(
        self,
        run: Callable[[], Awaitable[T]],
        options: Mapping[str, Any],
        retry_on: Errors,
        failed_if: Callable[[Any], bool] | None,
    ) -> T:
        try:
            result = await self._handler(retry_on)(Work(run, failed_if, options))
        except ResultRejected as rejected:
            value: T = rejected.result
            return value
        value = result.value
        return value

    def _handler(self, retry_on: Errors) -> Handler[Work, Result]:
        handler = self._handlers.get(retry_on)
        if handler is None:
            check_errors(retry_on)
            handler = self._handlers[retry_on] = self._bind(_send, CallFamily(retry_on), self._owner)
        return handler


class Guard:
    """A decorator for functions that return awaitables, made by `Pipeline.guard`; keeps their signature."""

    def __init__(
        self,
        calls: Calls,
        key: str | Callable[..., str],
        options: Mapping[str, Any],
        retry_on: Errors,
        failed_if: Callable[[Any], bool] | None,
    ) -> None:
        # What is wrong is told where it is written, not where the function is called.
        read_options({OPTIONS: options if callable(key) else {**options, "key": key}})
        check_errors(retry_on)
        self._calls = calls
        self._key = key
        self._options = options
        self._retry_on = retry_on
        self._failed_if = failed_if

    def __call__(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        calls, key, retry_on, failed_if = self._calls, self._key, self._retry_on, self._failed_if
        fixed = self._options if callable(key) else {**self._options, "key": key}

        async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            options = {**fixed, "key": key(*args, **kwargs)} if callable(key) else fixed
            return await calls.run(lambda: function(*args, **kwargs), options, retry_on, failed_if)

        return update_wrapper(guarded, function)


def check_errors(kinds: Errors) -> None:
    """Raise TypeError for what is no tuple of exception classes."""
    given: tuple[Any, ...] = kinds  # the user's, whatever the types say
    for kind in given:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise TypeError(f"no class of exceptions: {kind!r}")


def _nothing() -> Awaitable[None]:
    raise AssertionError("this is no call of ours")


NO_WORK: Final = Work(_nothing, None, {"key": ""})
"""What is done outside, where a request is asked for; see `call_outside`."""


async def _send(work: Work) -> Result:
    """The innermost handler: call the function."""
    running = work.run()
    if not hasattr(running, "__await__"):
        raise TypeError(
            f"a guarded function must return an awaitable, got {type(running).__name__};"
            " have a blocking one run in a thread (anyio.to_thread.run_sync)"
        )
    value = await running
    if work.failed_if is not None and work.failed_if(value):
        raise ResultRejected(value)
    return Result(value)


def call_outside(key: str, clock: Clock, options: Options = DEFAULT_OPTIONS, within: float | None = None) -> Call:
    """The record of what is done under ``key`` without being called by us, for up to ``within`` seconds.

    It has the deadline of the context, if that is shorter.
    """
    now, around = clock.monotonic(), in_force()
    if around is not None and (within is None or around.left < within):
        return Call(options, now, now + around.left, around.seconds, key)
    return Call(options, now, None if within is None else now + within, within, key)
