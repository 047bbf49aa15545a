"""What came back, beside the value? An answer as plain facts, and a call's end as a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NoReturn, TypeAlias, TypeVar, cast

from holdfast.call import OPTIONS
from holdfast.core.value import Value

if TYPE_CHECKING:
    from holdfast._history import History
    from holdfast._wire import HeadersLike, ReceivedLike
    from holdfast.core.hints import Hint

__all__ = ["Failed", "Ok", "Outcome", "Reply"]

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Reply(Generic[T_co]):
    """One answer, decoded: ``value``, and what its response told.

    ``status`` is None where nothing came back and `Call.or_else` stood in. ``elapsed`` is in seconds, for the whole
    call. It holds the response, whose body is read; nothing of it is on the wire.
    """

    __slots__ = ("_response", "_wall", "elapsed", "operation", "value")

    def __init__(
        self,
        value: T_co,
        response: ReceivedLike | None,
        *,
        operation: str,
        elapsed: float,
        wall: float,
    ) -> None:
        self.value: Final = value
        self.operation: Final = operation
        self.elapsed: Final = elapsed
        self._response: Final = response
        self._wall: Final = wall

    def __repr__(self) -> str:
        return f"<Reply {self.operation} {self.status} from {self.source}>"

    @property
    def status(self) -> int | None:
        return None if self._response is None else self._response.status_code

    @property
    def source(self) -> str:
        """ "origin", "cache", "revalidated" or "fallback"."""
        return "fallback" if self._response is None else self._record(self._response).get("source") or "origin"

    @property
    def headers(self) -> HeadersLike:
        """The response's fields; names compare without case, and ``get_list`` has all of a repeated one."""
        if self._response is None:
            raise ValueError("this reply is a fallback: there are no headers")
        return self._response.headers

    @property
    def response(self) -> Any:
        """The HTTP library's own Response, read; None where there was none."""
        return self._response

    @property
    def url(self) -> str | None:
        """Where the answer came from, after redirects."""
        return None if self._response is None else str(self._response.url)

    @property
    def request_id(self) -> str | None:
        """What the server calls this exchange, in one of the usual header fields."""
        from holdfast.core.failure import request_id_of

        return None if self._response is None else request_id_of(self._response.headers.get)

    @property
    def attempts(self) -> int:
        """Requests on the wire, those of redirects and auth flows included; 0 for an answer from the cache."""
        if self._response is None:
            return 0
        hops = [*cast("list[Any]", getattr(self._response, "history", [])), self._response]
        return sum(len(self._record(hop)["attempts"]) if self._record(hop) else 1 for hop in hops)

    @property
    def history(self) -> History:
        """What happened in the call. Raises ValueError if it did not pass through holdfast's transport."""
        from holdfast._history import history

        return history(self._response)

    @property
    def precondition(self) -> tuple[str, str]:
        """Name and value of the field that lets a write go ahead while this reply still holds; see `Call.if_match`.

        Raises `WeakValidator` for a reply that has none.
        """
        from holdfast.core.preconditions import if_unchanged

        raw = [] if self._response is None else self._response.headers.raw
        return if_unchanged({name.lower(): value for name, value in raw}, self._wall)

    @property
    def limits(self) -> tuple[Hint, ...]:
        """What the server told of its quotas: how much is left of each, and for how many seconds."""
        from holdfast.core.hints import hints_of

        return () if self._response is None else hints_of(self._response.headers.get, self._wall)

    @staticmethod
    def _record(response: ReceivedLike | None) -> dict[str, Any]:
        return {} if response is None else response.extensions.get(OPTIONS, {})


class Ok(Value, Generic[T_co]):
    """A call that ended well."""

    __match_args__ = ("value",)

    ok: Literal[True] = True

    def __init__(self, value: T_co) -> None:
        self.value: Final = value


class Failed(Value):
    """A call that ended with ``error``, which is raised where the value is asked for."""

    __match_args__ = ("error",)

    ok: Literal[False] = False

    def __init__(self, error: Exception) -> None:
        self.error: Final = error

    @property
    def value(self) -> NoReturn:
        raise self.error


Outcome: TypeAlias = Ok[T] | Failed
"""How a call ended: `Ok` or `Failed`, for ``match`` or by its ``ok``."""
