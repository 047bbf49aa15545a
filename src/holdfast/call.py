"""What is known about one call while it runs, and what is told of it afterwards.

`Options` is what the caller asked for in ``extensions["holdfast"]``; `Call` is the running record that the
layers share through ``request.extensions[CALL]``; `holdfast.History` is the same, frozen and typed, for users.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias, cast

from holdfast.core.buffering import Auto
from holdfast.core.priority import HIGHEST, LOWEST
from holdfast.core.value import Value
from holdfast.errors import Closed, DeadlineExceeded, InvalidOption, Refused

__all__ = [
    "CALL",
    "DEADLINE",
    "OPTIONS",
    "TIMER_SLACK",
    "Call",
    "Options",
    "Owner",
    "Stamp",
    "closed_error",
    "read_options",
    "refusal_reason",
]

OPTIONS = "holdfast"
"""Key of the user's options in ``request.extensions`` (never written by us), and of the record in a response's."""
CALL = "holdfast.call"
"""Key of the running `Call` in the extensions of a request that is inside the pipeline."""
DEADLINE = "holdfast.deadline"
"""Key of the deadline's stamp, left on a request whose redirect or auth flow goes on (R0.9)."""


class Options:
    """Per-request options. An option that is not given leaves the pipeline's setting in force."""

    attempts: int | None = None
    hedge: bool | None = None  # False: not hedged
    deadline: float | None = None  # seconds for the whole call
    attempt_timeout: float | None = None  # seconds for each attempt
    fallback: bool = True  # whether it may be answered in another way when it fails
    idempotent: bool = False  # may be sent again although its method is not idempotent
    replayable: bool = False  # the body may be iterated again (multipart)
    key: str | None = None  # in place of the origin, for circuit, limits and budget
    cost: float = 1.0  # tokens for each attempt
    priority: int = 0  # in the lines for tokens and permits; the higher goes first
    buffer_body: Auto | None = None
    deadline_covers_body: Auto | None = None
    cache: str | Mapping[str, float] | None = None  # "refresh", "bypass", "only", {"ttl": 60}
    identity: str | None = None  # whose private cache this is
    operation: str | None = None  # id of what is done ("Users.get"), for cache rules and purges
    template: str | None = None  # of the URL ("/users/{id}"), for cache rules
    cache_groups: Sequence[str] | None = None  # of the answer, beside its Cache-Groups (RFC 9875)
    invalidates: Sequence[str] | None = None  # cache groups that a request with an unsafe method makes worthless

    def __init__(self, **given: Any) -> None:
        for name, value in given.items():
            if value is not None and not _CHECKS[name](value):
                raise InvalidOption(f'extensions["holdfast"]["{name}"] has a bad value: {value!r}; {_WANTED[name]}')
        vars(self).update({name: value for name, value in given.items() if value is not None})

    def replace(self, **changes: Any) -> Options:
        """A copy that differs in these."""
        return Options(**{**vars(self), **changes})


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def _cache(value: Any) -> bool:
    if isinstance(value, Mapping):
        given = cast("Mapping[str, Any]", value)  # isinstance cannot tell of what
        return list(given) == ["ttl"] and (given["ttl"] == 0 or _positive(given["ttl"]))
    return value in ("refresh", "bypass", "only")


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _flag_or_auto(value: Any) -> bool:
    return value is True or value is False or value == "auto"


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != "" and (value.isascii() or _encodable(value))


def _encodable(text: str) -> bool:
    """Whether UTF-8 can say it: a file, a scrape and a wire take no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _names(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and all(map(_text, cast("Sequence[Any]", value)))


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "attempts": lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 1,
    "hedge": _flag,
    "deadline": _positive,
    "attempt_timeout": _positive,
    "fallback": _flag,
    "idempotent": _flag,
    "replayable": _flag,
    "key": _text,
    "cost": _positive,
    "priority": lambda value: isinstance(value, int) and not isinstance(value, bool) and LOWEST <= value <= HIGHEST,
    "buffer_body": _flag_or_auto,
    "deadline_covers_body": _flag_or_auto,
    "cache": _cache,
    "identity": _text,
    "operation": _text,
    "template": _text,
    "cache_groups": _names,
    "invalidates": _names,
}
_WANTED = {
    "attempts": "a whole number of at least 1",
    "hedge": "True or False",
    "deadline": "seconds, more than 0",
    "attempt_timeout": "seconds, more than 0",
    "fallback": "True or False",
    "idempotent": "True or False",
    "replayable": "True or False",
    "key": "a text that is not empty",
    "cost": "a number of tokens, more than 0",
    "priority": f"a whole number from {LOWEST} to {HIGHEST}",
    "buffer_body": 'True, False or "auto"',
    "deadline_covers_body": 'True, False or "auto"',
    "cache": '"refresh", "bypass", "only" or {"ttl": seconds}',
    "identity": "a text that is not empty",
    "operation": "a text that is not empty",
    "template": "a text that is not empty",
    "cache_groups": "a tuple of texts that are not empty",
    "invalidates": "a tuple of texts that are not empty",
}
DEFAULT_OPTIONS = Options()

_HOP: Final = 60.0
"""Seconds in which a call without a deadline comes back for its next hop."""


def read_options(extensions: Mapping[str, Any]) -> Options:
    """The caller's options, checked. Raises `InvalidOption` for an unknown key, a bad type or a bad value."""
    if not isinstance(extensions[OPTIONS], Mapping):
        kind = type(extensions[OPTIONS]).__name__
        raise InvalidOption(f'extensions["holdfast"] must be a dict of options, got {kind}')
    given: Mapping[str, Any] = extensions[OPTIONS]
    unknown = [name for name in given if name not in _CHECKS]
    if unknown:
        raise InvalidOption(f'extensions["holdfast"] has no option {unknown[0]!r}; there are: {", ".join(_CHECKS)}')
    return Options(**given)


TIMER_SLACK: Final = 0.005
"""Seconds that a timer may fire before its time."""


class Stamp(Value):
    """What a request keeps over redirects and auth flows, its deadline above all, and when it was left there."""

    def __init__(
        self,
        deadline: float | None,
        total: float | None,
        left_at: float,
        sends: int = 0,
        idempotency_key: str | None = None,
    ) -> None:
        self.deadline: Final = deadline
        self.total: Final = total
        self.left_at: Final = left_at
        self.sends: Final = sends  # so far
        self.idempotency_key: Final = idempotency_key

    def stale(self, now: float) -> bool:
        """True if nobody took the call further in all its time: the user sends an old Request anew."""
        return now - self.left_at > (_HOP if self.total is None else self.total)


class Recheck(Protocol):
    def __call__(self) -> None:
        """Raise the family's `CircuitOpen` if the circuit opened while this call stood in a queue."""
        ...


Noted: TypeAlias = tuple[int, float, float, "int | None", "str | None", float]
"""An attempt: its number, when it began and ended (monotonic seconds), status, name of the error, wait before it."""


class Owner(Protocol):
    """A transport, as its calls see it: the door that they come through."""

    closing: bool  # no call may begin
    closed: bool  # nothing is sent any more
    running: int  # calls whose body is not closed yet
    certificate: bytes | None  # stands for the client certificate that all its calls are made with

    def leave(self, error: BaseException | None, complete: bool) -> None:
        """A running call is over; a `holdfast._body.Watcher`."""
        ...

    def start(self, work: Callable[[], Awaitable[None]], lost: Callable[[], None]) -> bool:
        """Have ``work`` done in the background, until the transport is closed; False if it is closing.

        ``lost`` is called in its place if it is cancelled before it begins.
        """
        ...


def closed_error() -> Closed:
    """The refusal of a transport that is closing or closed."""
    return Closed("the transport is closed; no call may begin", policy="transport")


_REFUSAL_REASONS: Final = {
    "circuit_breaker": "circuit_open",
    "rate_limit": "rate_limited",
    "concurrency": "concurrency_full",
    "throttle": "throttled",
}


def refusal_reason(error: Refused) -> str:
    """What a refusal is called where a call's `History` gives a reason."""
    if isinstance(error, DeadlineExceeded):
        return "deadline"
    return _REFUSAL_REASONS.get(error.policy, error.policy)


class Call:
    """The record of one running call; belongs to it alone, so nothing here needs a lock.

    ``deadline`` is in the clock's monotonic seconds (None: no limit), ``total`` the seconds it stands
    for. ``key`` is the scope of circuit, limits and budget. ``sends`` counts requests handed to the
    inner transport: a layer that took something for a send gives it back if the count did not move.
    ``queued`` is set by whoever made the call wait; the innermost layer then asks ``recheck`` before it sends.
    """

    idempotency_key: str | None = None  # as it stands in the header
    sends_again = False  # the pipeline retries
    single = False  # a layer above sends again already, so this one does not
    arm = 1  # which request of a hedged call; all but the first take what is free, and wait for nothing
    hedged_after = 0.0  # seconds between the first arm and this one
    superseded = False  # another arm has decided its call
    background = False  # nobody waits for its answer
    sends = 0
    sent_before = 0  # by earlier hops of a redirect or an auth flow
    id: str | None = None  # for those who listen; given with the first record
    on_wait: Callable[[Call, str, float], None] | None = None  # told of (this call, place, seconds), if anybody listens
    queued = False
    recheck: Recheck | None = None
    full_attempt = True  # this attempt had its whole attempt timeout, not what a deadline left of it
    unsigned = False  # this attempt waits for its credential: the server has not seen it
    retry_wait = 0.0
    source: str | None = "origin"
    cache: str | None = None
    cache_status: dict[str, bool | int | str] | None = None
    reason: str | None = None
    fallback: str | None = None
    age: float | None = None  # seconds, of an answer from the cache

    def __init__(
        self,
        options: Options,
        started: float,
        deadline: float | None,
        total: float | None,
        key: str,
        owner: Owner | None = None,
        given: dict[str, Any] | None = None,
    ) -> None:
        # What most calls never change is the class's: a call that goes well is made in a third of the time.
        self.options = options
        self.started = started
        self.deadline = deadline
        self.total = total
        self.key = key
        self.owner = owner  # the transport that it came through
        self.given: dict[str, Any] = {} if given is None else given  # the request's extensions as they came
        self.attempts: list[Noted] = []
        self.waits: dict[str, float] = {}

    def cut_short(self, now: float) -> bool:
        """True if an attempt that failed by ``now`` may have done so for lack of time, and not for the server's fault.

        Its call's deadline left it none, or it spent it waiting for its credential.
        """
        if self.unsigned:
            return True
        return not self.full_attempt and self.deadline is not None and now >= self.deadline - TIMER_SLACK

    def waited(self, place: str, seconds: float) -> None:
        """Add to the waits of a place, and have the circuit looked at again before the next send."""
        self.waits[place] = self.waits.get(place, 0.0) + seconds
        self.queued = True
        if self.on_wait is not None:
            self.on_wait(self, place, seconds)

    def keyed(self, headers: Container[str]) -> bool:
        """Whether its request, with these header fields, has an idempotency key."""
        return self.idempotency_key is not None or "idempotency-key" in headers

    def elsewhere(self, key: str) -> Call:
        """The same call on its way to another origin, with what is left of its time; what happens is noted for both."""
        there = Call(self.options.replace(key=None), self.started, self.deadline, self.total, key, self.owner)
        there.given, there.attempts, there.waits = self.given, self.attempts, self.waits
        there.sends, there.sent_before, there.id, there.on_wait = self.sends, self.sent_before, self.id, self.on_wait
        there.sends_again, there.single = self.sends_again, self.single
        there.idempotency_key = self.idempotency_key
        return there

    def stamp(self, now: float) -> Stamp:
        """What the next hop of this call goes on with."""
        return Stamp(self.deadline, self.total, now, self.sent_before + self.sends, self.idempotency_key)

    def record(self) -> dict[str, Any]:
        """What goes under ``response.extensions["holdfast"]``: plain data, keys are only ever added."""
        return {
            "attempts": [
                {
                    "number": number,
                    "started": begun - self.started,
                    "duration": ended - begun,
                    "status": status,
                    "error": error,
                    "wait": wait,
                }
                for number, begun, ended, status, error, wait in self.attempts
            ],
            "source": self.source,
            "cache": self.cache,
            "cache_status": self.cache_status,
            "waits": self.waits,
            "reason": self.reason,
            "fallback": self.fallback,
            "age": self.age,
            "idempotency_key": self.idempotency_key,
        }
