"""One attempt: how long it may take, how much of its body belongs to it, and what is written down of it.

The innermost policy but for the hooks. Time spent in our queues is over when an attempt begins, so it counts
for the deadline and never for the attempt's own timeout. A small body is read here, so that a cut one is a
failed attempt and not the caller's surprise.
"""

from __future__ import annotations

import math
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from holdfast._body import Body
from holdfast._families import fields_of, is_encoded
from holdfast._wire import Family, Handler, Q, R, ResponseLike
from holdfast.call import CALL, TIMER_SLACK, Call
from holdfast.clock import Clock
from holdfast.core.buffering import MAX_ENCODINGS, Auto, buffer_limit, chained_encodings, is_stream, read_head
from holdfast.errors import DeadlineExceeded, Refused

if TYPE_CHECKING:
    from holdfast.policies.emitter import Emitter
    from holdfast.policies.telemetry import Note

__all__ = ["Attempts", "deadline_exceeded", "late"]

_TIMEOUTS = ("connect", "read", "write", "pool")
_UNLIMITED: dict[str, Any] = dict.fromkeys(_TIMEOUTS)


class Attempts:
    """Gives each attempt ``min(timeout, what is left of the deadline)``, and reads its body if that is small.

    The limit goes into ``request.extensions["timeout"]`` (each of connect, read, write and pool is narrowed
    to it), and a cancel scope stands behind it, ``family.grace`` later, because a read timeout is for each
    read and a dripping server never trips it. A stream that the deadline does not cover gets the caller's own
    timeouts back once its head is there: a pause between two events is not an attempt that takes long. Nor is a
    body that goes out piece by piece, and its server takes it: ``timeout`` is then for each write and each read, and
    the deadline for all of them. No scope is made where there is neither deadline nor timeout. An attempt that the
    scope ended raises the family's ReadTimeout. Cancellation from outside passes through.

    ``buffer``: "auto" reads what `core.buffering.buffer_limit` says, True everything, False nothing; a body in
    memory holds no connection and no permit, and errors of the read are the attempt's. An answer with more than
    five chained content encodings is refused from its head. ``cap`` is the pipeline's ``max_body_bytes``: not even
    True reads more than that ahead; the rest is left to the response that counts.
    """

    def __init__(
        self,
        timeout: float | None = None,
        *,
        clock: Clock,
        covers_body: Auto = "auto",
        buffer: Auto = "auto",
        cap: int | None = None,
        emitter: Emitter | None = None,
    ) -> None:
        self._timeout = timeout
        self._clock = clock
        self._covers_body = covers_body
        self._buffer: Auto = buffer
        self._cap = cap
        self._emitter = emitter

    def reconfigure(self, timeout: float | None, *, covers_body: Auto, buffer: Auto, cap: int | None) -> None:
        """``buffer`` and ``cap`` hold for the calls that come in from now on, the others from the next attempt on."""
        self._timeout = timeout
        self._covers_body = covers_body
        self._buffer = buffer
        self._cap = cap

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        clock, monotonic, grace, buffer = self._clock, self._clock.monotonic, family.grace, self._buffer
        limit_of, body_of, everything = self._limit, family.body, sys.maxsize if self._cap is None else self._cap
        streams = family.streams
        note: Note = _note
        if self._emitter is not None:
            from holdfast.policies.telemetry import told_before, told_of

            inner, note = told_before(inner, self._emitter), told_of(note, self._emitter)

        def ahead(request: Q, response: R, call: Call) -> int:
            """How many bytes of the body belong to the attempt: 0 if it is to be left where it is."""
            asked, headers = call.options.buffer_body, response.headers
            setting = buffer if asked is None else asked
            size: int | None = 0
            if setting is False:
                encodings = chained_encodings(fields_of(headers)) if is_encoded(headers) else 0
            else:
                head = read_head(fields_of(headers))
                encodings, size = head.encodings, buffer_limit(setting, head, request.method, response.status_code)
            if encodings > MAX_ENCODINGS:
                raise family.undecodable(_too_many(encodings), request)
            return everything if size is None else size

        async def handle(request: Q) -> R:
            extensions = request.extensions
            call: Call = extensions[CALL]
            if call.queued:
                call.queued = False
                if call.recheck is not None:
                    call.recheck()
            begun, number = monotonic(), 0  # not sent; and 0 again once it was noted
            limit = limit_of(call, begun)
            response: R | None = None
            try:
                if limit is None:
                    call.sends = number = call.sends + 1
                    response = await inner(request)
                    if not response.is_closed and (size := ahead(request, response, call)):
                        await body_of(response).load(size)
                    note(call, number, begun, monotonic(), response, None)
                    number = 0
                    return response
                if limit <= 0:
                    raise family.refusal(deadline_exceeded(call), request)
                given: dict[str, Any] | None = extensions.get("timeout")
                narrowed = _narrowed(given, limit)
                if narrowed is not None:
                    request.extensions = {**extensions, "timeout": narrowed}
                call.sends = number = call.sends + 1
                until = begun + limit
                if streams(request):
                    until = math.inf if call.deadline is None else call.deadline
                with clock.timeout_at(until + grace):
                    response = await inner(request)
                    if not response.is_closed:
                        body = body_of(response)
                        if size := ahead(request, response, call):
                            await body.load(size)
                        if not body.in_memory:
                            covered = self._cover(body, response, call, request, family)
                            if narrowed is not None and not covered:
                                narrowed.update(_UNLIMITED, **(given or {}))
                    note(call, number, begun, monotonic(), response, None)
                    number = 0
                    return response
                where = ", and still waited for its credential" if call.unsigned else ""
                raise family.timeout(f"the attempt was not over in {limit:.3g} s{where}", request)
            except BaseException as error:
                if number:
                    note(call, number, begun, monotonic(), None, error)
                if response is not None:
                    await response.aclose()
                raise
            finally:
                request.extensions = extensions

        return handle

    def _limit(self, call: Call, now: float) -> float | None:
        seconds = call.options.attempt_timeout or self._timeout
        if call.deadline is None:
            return seconds
        left = call.deadline - now
        if seconds is not None and seconds <= left:
            call.full_attempt = True
            return seconds
        call.full_attempt = False
        return left

    def _cover(self, body: Body, response: R, call: Call, request: Q, family: Family[Q, R]) -> bool:
        """Guard a body that is still on the wire; False if it goes on without us, as its caller wants."""
        asked = call.options.deadline_covers_body
        covers = self._covers_body if asked is None else asked
        if covers == "auto":
            covers = not is_stream(read_head(fields_of(response.headers)), response.status_code)
        if covers and call.deadline is not None:
            body.guard = _DeadlineGuard(
                self._clock,
                call.deadline,
                family.grace,
                family.timeout_error,
                lambda: family.refusal(deadline_exceeded(call), request),
            )
        return bool(covers)


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


def late(error: Exception, call: Call, now: float, family: Family[Q, R], request: Q) -> Exception | None:
    """`DeadlineExceeded` in place of a timeout that only came because the deadline left the attempt no more time.

    Whether the timeout of the socket fires first or our scope behind it, the caller gets one and the same error.
    """
    if call.deadline is None or now < call.deadline - TIMER_SLACK or not isinstance(error, family.timeout_error):
        return None
    return None if isinstance(error, Refused) else family.refusal(deadline_exceeded(call), request)


def _too_many(encodings: int) -> str:
    return f"the answer has {encodings} content encodings; at most {MAX_ENCODINGS} are decoded"


def _narrowed(timeouts: dict[str, Any] | None, limit: float) -> dict[str, Any] | None:
    """Timeouts of at most ``limit``; None if they are that already."""
    if timeouts is None:
        return dict.fromkeys(_TIMEOUTS, limit)
    given = timeouts.values()
    if len(timeouts) == len(_TIMEOUTS) and None not in given and max(given) <= limit:
        return None
    return {
        name: limit if (seconds := timeouts.get(name)) is None or seconds > limit else seconds for name in _TIMEOUTS
    }


def _note(
    call: Call, number: int, begun: float, now: float, response: ResponseLike | None, error: BaseException | None
) -> None:
    status = None if response is None else response.status_code
    call.attempts.append((number, begun, now, status, None if error is None else type(error).__name__, call.retry_wait))
