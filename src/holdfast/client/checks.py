"""Is the API there? Asked by the one operation that is marked as its health check."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from holdfast.client.resource import Resource, accessor
from holdfast.core.value import Value
from holdfast.errors import HoldfastError, InvalidInput, StatusError

if TYPE_CHECKING:
    from holdfast.client.call import Call
    from holdfast.client.verbs import Verbs
    from holdfast.core.health import Health

__all__ = ["Check", "check", "health_check"]

M = TypeVar("M", bound=Callable[..., Any])

_MARK: Final = "__holdfast_health_check__"


class Check(Value):
    """How a health check went: ``ok``, in how many ``seconds``; the ``error``, if it was none.

    ``health`` is the pipeline's after it (None: a lent client without one).
    """

    def __init__(
        self, ok: bool, operation: str, seconds: float, error: Exception | None, health: Health | None
    ) -> None:
        self.ok: Final = ok
        self.operation: Final = operation
        self.seconds: Final = seconds
        self.error: Final = error
        self.health: Final = health


def health_check(method: M) -> M:
    """Mark the method of a service, or of a resource on it, whose call is its health check: one without arguments.

    >>> from holdfast.client import Call, Service
    >>> class Shop(Service):
    ...     @health_check
    ...     def ping(self) -> Call[None]:
    ...         return self.GET("/ping", None)
    """
    setattr(method, _MARK, True)
    return method


async def check(service: Verbs, call: Call[Any], deadline: float) -> Check:
    """See `Service.check`."""
    backend = service._channel.backend  # pyright: ignore[reportPrivateUsage]
    backend.open()
    if backend.resilient:
        call = call.using(
            deadline=deadline, retry=None, cache="bypass", options={"fallback": False, "hedge": False, "priority": 3}
        )
    pipeline: Any = backend.pipeline
    if pipeline is not None:
        told = call.explain()
        request: Any = call.request()
        chosen = pipeline.choose(request.url) if hasattr(pipeline, "choose") else pipeline
        circuit: str | None = None if told["breaker"] is None else told["breaker"]["key"]
        chosen.probe(told["key"], circuit=circuit)
    started, error = backend.clock.monotonic(), None
    ok = False
    try:
        reply = await call.reply()
        ok = reply.source in ("origin", "revalidated")  # what is stored says nothing of now
    except Exception as failure:
        ours = isinstance(failure, (HoldfastError, backend.family.error)) or isinstance(failure.__cause__, StatusError)
        if not ours:  # a bug in code around the call
            raise
        error = failure
    seconds = backend.clock.monotonic() - started
    return Check(ok, call.operation, seconds, error, None if pipeline is None else pipeline.health())


def marked(service: Verbs) -> Callable[[], Call[Any]]:
    """The method that is the health check. Raises `InvalidInput` if there is none, or more than one."""
    found = [path for path in _paths(type(service)) if path]
    if len(found) != 1:
        how_many = "no method" if not found else "more than one method"
        raise InvalidInput(f"{how_many} of {type(service).__name__} is marked with @health_check", argument="check")
    method: Callable[[], Call[Any]] = attrgetter(".".join(found[0]))(service)
    return method


def _paths(cls: type) -> list[tuple[str, ...]]:
    """Where marked methods are: of the class, and of the resources that hang on it."""
    paths: list[tuple[str, ...]] = []
    for name in {name: None for base in cls.__mro__ for name in vars(base)}:
        member: Any = next(vars(base)[name] for base in cls.__mro__ if name in vars(base))
        if isinstance(member, accessor):
            resource: type[Resource] = vars(member)["resource"]
            paths += [(name, *path) for path in _paths(resource)]
        elif getattr(member, _MARK, False) is True:
            paths.append((name,))
    return paths
