"""What a call, its attempts and the refusals of the policies look like to those who listen.

Bound only where somebody does. A call's records are made by the pipeline's entry, which knows its end also when it
is cancelled; an attempt's by the attempt timeout, which alone can tell its own timeout from a cancellation; the
refusals by a layer just above the policies that refuse, so that each is told once, also those that a retry hides.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast._wire import Family, Handler, Q, R, ResponseLike, URLLike
from holdfast.call import CALL, Call
from holdfast.errors import Refused
from holdfast.events import (
    AttemptEnded,
    AttemptStarted,
    CacheAnswered,
    CallEnded,
    CallStarted,
    HedgeSent,
    Outcome,
    Waited,
)
from holdfast.policies.emitter import Emitter

__all__ = ["CallTelemetry", "Note", "RefusalTelemetry", "outcome_of", "shown", "told_before", "told_of"]

_PROTOCOLS = {b"HTTP/1.0": "1.0", b"HTTP/1.1": "1.1", b"HTTP/2": "2", b"HTTP/3": "3"}

Note = Callable[[Call, int, float, float, "ResponseLike | None", "BaseException | None"], None]


class CallTelemetry:
    """Tells of the calls of a pipeline: that they came in, where they stood in line, and how they ended."""

    __slots__ = ("_emitter",)

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter

    def started(self, call: Call, method: str, url: URLLike) -> None:
        call.on_wait = self._waited
        options = call.options
        self._emitter.emit(
            CallStarted(
                **self._emitter.about(call),
                method=method,
                url=shown(url),
                template=options.template,
                background=call.background,
            )
        )

    def ended(self, call: Call, method: str, seconds: float, status: int | None, error: BaseException | None) -> None:
        if status is not None and call.cache is not None and not call.background:
            self._emitter.emit(CacheAnswered(**self._emitter.about(call), result=call.cache, age=call.age))
        self._emitter.emit(
            CallEnded(
                **self._emitter.about(call),
                method=method,
                outcome=outcome_of(call, status, error),
                duration=seconds,
                attempts=call.sends,
                source=None if status is None else call.source,
                status=status,
                error=None if error is None else type(error).__name__,
                reason=call.reason,
                background=call.background,
            )
        )

    def _waited(self, call: Call, place: str, seconds: float) -> None:
        if place != "backoff":  # no queue; `Retried` tells of it before it begins
            self._emitter.emit(Waited(**self._emitter.about(call), place=place, seconds=seconds))


class RefusalTelemetry:
    """Tells of each refusal of the policies below: also of those after which an earlier answer is handed back."""

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        emitter = self._emitter

        async def handle(request: Q) -> R:
            try:
                return await inner(request)
            except Refused as error:
                call: Call = request.extensions[CALL]
                if call.arm == 1:  # a hedge is only for what is to spare; that there was nothing is no refusal
                    emitter.refused(call, error)
                raise

        return handle


def told_before(inner: Handler[Q, R], emitter: Emitter) -> Handler[Q, R]:
    """``inner``, with a record before each request."""

    async def handle(request: Q) -> R:
        call: Call = request.extensions[CALL]
        if call.arm > 1:
            emitter.emit(HedgeSent(**emitter.about(call), arm=call.arm, delay=call.hedged_after))
        emitter.emit(
            AttemptStarted(
                **emitter.about(call),
                number=call.sends,
                repeat=call.sent_before + call.sends - 1,
                method=request.method,
                url=shown(request.url),
            )
        )
        return await inner(request)

    return handle


def told_of(note: Note, emitter: Emitter) -> Note:
    """``note``, with a record of what is noted."""

    def told(
        call: Call, number: int, begun: float, now: float, response: ResponseLike | None, error: BaseException | None
    ) -> None:
        note(call, number, begun, now, response, error)
        protocol = None if response is None else response.extensions.get("http_version")
        emitter.emit(
            AttemptEnded(
                **emitter.about(call),
                number=number,
                duration=now - begun,
                status=None if response is None else response.status_code,
                error=None if error is None else type(error).__name__,
                protocol=None if protocol is None else _PROTOCOLS.get(protocol),
            )
        )

    return told


def outcome_of(call: Call, status: int | None, error: BaseException | None) -> Outcome:
    """One word for how a call ended: with an answer of some status, or without."""
    if status is not None:
        if call.source == "fallback":
            return "fallback"
        if call.source == "cache" and call.cache != "unsatisfiable":
            return "cache_hit"
        return "success" if status < 400 else "http_error"
    if not isinstance(error, Exception):
        return "cancelled"
    return error.code if isinstance(error, Refused) else "exception"


def shown(url: URLLike) -> str:
    """A URL without what may be secret in it: user information, query and fragment."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    port = "" if url.port is None else f":{url.port}"
    path = url.raw_path.partition(b"?")[0].decode("ascii", "replace")
    return f"{url.scheme}://{host}{port}{path}"
