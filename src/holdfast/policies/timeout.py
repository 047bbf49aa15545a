"""One attempt: how long it may take, and what is written down of it.

The innermost policy but for the hooks. Time spent in our queues is over when an attempt begins, so it counts
for the deadline and never for the attempt's own timeout.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from holdfast._wire import Family, Handler, Q, R, ResponseLike
from holdfast.call import CALL, Call
from holdfast.clock import Clock
from holdfast.core.buffering import Auto, is_stream, read_head
from holdfast.errors import DeadlineExceeded

if TYPE_CHECKING:
    from holdfast.policies.emitter import Emitter
    from holdfast.policies.telemetry import Note

__all__ = ["TIMER_SLACK", "AttemptTimeout", "deadline_exceeded"]

TIMER_SLACK = 0.005
"""Seconds that a timer may fire before its time."""
_TIMEOUTS = ("connect", "read", "write", "pool")
_UNLIMITED: dict[str, Any] = dict.fromkeys(_TIMEOUTS)


class AttemptTimeout:
    """Gives each attempt ``min(seconds, what is left of the deadline)``.

    The limit goes into ``request.extensions["timeout"]`` (each of connect, read, write and pool is narrowed
    to it), and a cancel scope stands behind it, ``family.grace`` later, because a read timeout is for each
    read and a dripping server never trips it. A stream that the deadline does not cover gets the caller's own
    timeouts back once its head is there: a pause between two events is not an attempt that takes long. No
    scope is made where there is neither deadline nor timeout. An attempt that the scope ended raises the
    family's ReadTimeout. Cancellation from outside passes through.
    """

    def __init__(
        self,
        seconds: float | None,
        *,
        clock: Clock,
        covers_body: Auto = "auto",
        emitter: Emitter | None = None,
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._covers_body = covers_body
        self._emitter = emitter

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        clock, monotonic, grace = self._clock, self._clock.monotonic, family.grace
        note: Note = _note
        if self._emitter is not None:
            from holdfast.policies.telemetry import told_before, told_of

            inner, note = told_before(inner, self._emitter), told_of(note, self._emitter)

        async def handle(request: Q) -> R:
            call: Call = request.extensions[CALL]
            if call.queued:
                call.queued = False
                if call.recheck is not None:
                    call.recheck()
            begun = monotonic()
            limit, number = self._limit(call, begun), 0
            try:
                if limit is None:
                    call.sends = number = call.sends + 1
                    response = await inner(request)
                    note(call, number, begun, monotonic(), response, None)
                    return response
                if limit <= 0:
                    raise family.refusal(deadline_exceeded(call), request)
                extensions = request.extensions
                given: dict[str, Any] | None = extensions.get("timeout")
                narrowed = _narrowed(given, limit)
                request.extensions = {**extensions, "timeout": narrowed}
                call.sends = number = call.sends + 1
                with clock.timeout_at(begun + limit + grace):
                    response = await inner(request)
                    note(call, number, begun, monotonic(), response, None)
                    number = 0
                    if self._leave_to_caller(response, request, call, family) and narrowed is not given:
                        narrowed.update(_UNLIMITED if given is None else given)
                    return response
                raise family.timeout(f"the attempt was not over in {limit:.3g} s", request)
            except BaseException as error:
                if number:
                    note(call, number, begun, monotonic(), None, error)
                raise

        return handle

    def _limit(self, call: Call, now: float) -> float | None:
        seconds = call.options.attempt_timeout or self._seconds
        if call.deadline is None:
            return seconds
        left = call.deadline - now
        call.full_attempt = seconds is not None and seconds <= left
        return seconds if seconds is not None and seconds <= left else left

    def _leave_to_caller(self, response: R, request: Q, call: Call, family: Family[Q, R]) -> bool:
        """True if the body goes on without us, under the timeouts that the caller gave; else guard it."""
        if response.is_closed:
            return False
        body = family.body(response)
        if body.in_memory:
            return False
        asked = call.options.deadline_covers_body
        covers = self._covers_body if asked is None else asked
        if covers == "auto":
            covers = not is_stream(read_head(response.headers.raw), response.status_code)
        if covers and call.deadline is not None:
            body.guard = _DeadlineGuard(
                self._clock,
                call.deadline,
                family.grace,
                family.timeout_error,
                lambda: family.refusal(deadline_exceeded(call), request),
            )
        return not covers


class _DeadlineGuard:
    """Lets each chunk of a body come until the deadline."""

    __slots__ = ("_clock", "_deadline", "_error", "_grace", "_timeout_error")

    def __init__(
        self,
        clock: Clock,
        deadline: float,
        grace: float,
        timeout_error: type[Exception],
        error: Callable[[], Exception],
    ) -> None:
        self._clock = clock
        self._deadline = deadline
        self._grace = grace
        self._timeout_error = timeout_error
        self._error = error

    async def next(self, chunks: AsyncIterator[bytes]) -> bytes:
        if self._clock.monotonic() >= self._deadline:
            raise self._error()
        try:
            with self._clock.timeout_at(self._deadline + self._grace):
                return await chunks.__anext__()
        except self._timeout_error as error:  # the socket's own timeout may come first: one error for both
            if self._clock.monotonic() < self._deadline - TIMER_SLACK:
                raise
            raise self._error() from error
        raise self._error()


def deadline_exceeded(call: Call) -> DeadlineExceeded:
    """The refusal for a call whose total time is over."""
    return DeadlineExceeded(
        f"the call to {call.key} took longer than its deadline of {call.total} s",
        key=call.key,
        deadline=call.total,
    )


def _narrowed(timeouts: dict[str, Any] | None, limit: float) -> dict[str, Any]:
    if timeouts is None:
        return dict.fromkeys(_TIMEOUTS, limit)
    given = timeouts.values()
    if len(timeouts) == len(_TIMEOUTS) and None not in given and max(given) <= limit:
        return timeouts
    return {
        name: limit if (seconds := timeouts.get(name)) is None or seconds > limit else seconds for name in _TIMEOUTS
    }


def _note(
    call: Call, number: int, begun: float, now: float, response: ResponseLike | None, error: BaseException | None
) -> None:
    call.attempts.append(
        {
            "number": number,
            "started": begun - call.started,
            "duration": now - begun,
            "status": None if response is None else response.status_code,
            "error": None if error is None else type(error).__name__,
            "wait": call.retry_wait,
        }
    )
