"""What happened, as records for those who listen.

One record for each occurrence, handed at once to every listener of a pipeline (``Pipeline(listeners=...)``), in
the order of the calls' own steps. A record holds plain data and no secret: no header, no body, no query, no
user information of a URL. Without listeners no record is made, and this module is not even imported.

The records of one call share its ``call``, and come in this order, also when the call fails or is cancelled:
`CallStarted`, any number of others, `CallEnded`; of a hedged call, the `AttemptEnded` of the request that came too
late may follow. Each hop of a redirect is a call. So is what is fetched in the background after its caller has gone
with a stale answer; ``background`` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from holdfast.errors import RefusalCode

__all__ = [
    "AttemptEnded",
    "AttemptStarted",
    "CacheAnswered",
    "CallEnded",
    "CallStarted",
    "CircuitClosed",
    "CircuitHalfOpened",
    "CircuitOpened",
    "CircuitRamping",
    "Event",
    "FallbackFailed",
    "FellBack",
    "GaveUp",
    "HedgeSent",
    "HedgeWon",
    "LimitAdapted",
    "LimitBlocked",
    "Listener",
    "OperationDeprecated",
    "Outcome",
    "Refusal",
    "Retried",
    "StoreDegraded",
    "StoreRecovered",
    "Waited",
    "WentOffline",
    "WentOnline",
]

Outcome: TypeAlias = Literal[
    "success",  # an answer below 400
    "http_error",  # an answer of 400 or above
    "exception",  # of the inner transport, of a hook, of ours that is no refusal
    "cancelled",
    "fallback",
    "cache_hit",
    RefusalCode,  # ours, which say why
]
"""How a call ended, of low cardinality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all records."""

    at: float
    """Wall time, in seconds since the epoch."""

    key: str
    """The scope that the policies count by: the origin, unless the user gave another."""

    call: str | None = None
    """Id of the call; None for what belongs to no single call."""

    operation: str | None = None
    """The operation that the caller named, such as ``Users.get``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStarted(Event):
    """A call came in."""

    method: str
    url: str
    """Scheme, host, port and path: without user information, query and fragment."""

    template: str | None = None
    """The URL's template, such as ``/users/{id}``, if the caller gave one."""

    background: bool = False
    """Nobody waits for the answer: what was given stale is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(Event):
    """One request goes out, after all waits."""

    number: int
    """From 1; a repeat is one above."""

    repeat: int
    """How many requests came before it for what the caller asked, hops of redirects and auth flows included."""

    method: str
    url: str
    """As `CallStarted.url`: of this attempt, which may go elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(Event):
    """One request was answered, or failed."""

    number: int
    duration: float
    """Seconds, from `AttemptStarted` to the head of the answer (to the end of a body that was buffered)."""

    status: int | None
    error: str | None = None
    """Name of the exception's class; None after an answer."""

    protocol: str | None = None
    """Version of HTTP that the answer came in: 1.0, 1.1, 2 or 3; None if nothing says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried(Event):
    """An attempt failed, and there will be another."""

    number: int
    """The attempt that failed."""

    reason: str
    """Its status, as text, or the name of the exception's class."""

    wait: float
    """Seconds until the next attempt."""

    source: Literal["backoff", "retry_after"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GaveUp(Event):
    """An attempt failed, and there will be none after it, though the policy might have had one."""

    number: int
    reason: str
    """As ``History.reason``: attempts, deadline, budget_exhausted, body_not_replayable, ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited(Event):
    """A call stood in a queue of ours."""

    place: str
    """rate_limit, concurrency, circuit, cache or pool."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal(Event):
    """A policy refused to send; or would have, if it only observes."""

    policy: str
    reason: str
    retry_after: float | None
    """Seconds after which it may be different; None: not known."""

    observed: bool = False
    """The policy only observes: nothing was refused (``would_reject``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitOpened(Event):
    """A circuit opened, or opened again after a probe that failed."""

    open_for: float | None
    """Seconds until the first probe; None where it was opened by hand, and stays so."""

    reason: str
    """What opened it: consecutive, rate, slow, probe, ramp or forced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitHalfOpened(Event):
    """A circuit lets a probe through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitRamping(Event):
    """A probe went well, and the server gets its load back step by step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitClosed(Event):
    """A circuit closed."""

    open_for: float
    """Seconds since it opened; 0 where it was closed by hand and not open."""

    forced: bool = False
    """It was closed by hand, and stays so whatever comes (``force_closed``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitBlocked(Event):
    """A server asked for silence, so nobody sends under this key."""

    seconds: float
    source: str
    """retry_after, ratelimit or x_ratelimit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitAdapted(Event):
    """A limit that adapts itself moved."""

    limit: float
    """Requests a second, or requests at once."""

    policy: str
    """rate_limit or concurrency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeSent(Event):
    """A second request went out, because the first takes long."""

    arm: int
    """From 2."""

    delay: float
    """Seconds after the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeWon(Event):
    """A later request was answered first."""

    arm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheAnswered(Event):
    """The cache had its say."""

    result: str
    """hit, stale, revalidated, collapsed, miss, bypass, offline or unsatisfiable."""

    age: float | None = None
    """Seconds; None for what came from the origin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FellBack(Event):
    """A call that failed was answered in another way."""

    source: str
    """Which way: stale, failover, the name of a value, or default."""

    reason: str
    age: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackFailed(Event):
    """A function that was to supply a value in place of an answer raised, or took too long."""

    source: str
    """As `FellBack.source`."""

    error: str
    """Name of the exception's class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreDegraded(Event):
    """A store of shared or cached state is in trouble, and is done without for a while."""

    store: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRecovered(Event):
    """A store works again."""

    store: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationDeprecated(Event):
    """A server says that an operation is deprecated (RFC 9745), or will be gone (RFC 8594). Once for each operation."""

    template: str | None
    deprecated_at: float | None
    """Wall time; None: it did not say since when."""

    sunset_at: float | None
    """Wall time after which it need not answer any more; None: it did not say."""

    link: str | None
    """Where more is told: without user information, query and fragment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WentOffline(Event):
    """From now on only stored answers are given. ``key`` is empty where it is for all of a pipeline."""

    reason: str
    """``by_hand``, or ``failing``: the calls to this key have failed for some time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WentOnline(Event):
    """The origin is asked again."""

    offline_for: float
    """Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded(Event):
    """A call ended: its answer was handed to the caller, or its error was raised.

    A body that is still on the wire is the caller's from here on.
    """

    method: str
    outcome: Outcome
    duration: float
    """Seconds, from `CallStarted`."""

    attempts: int
    source: str | None
    """origin, cache, revalidated or fallback; None after an error."""

    status: int | None = None
    error: str | None = None
    """Name of the exception's class."""

    reason: str | None = None
    """As ``History.reason``."""

    background: bool = False
    """As `CallStarted.background`."""


class Listener(Protocol):
    """Whoever wants to know. Called inline, between two awaits of the call: quick, and without waiting.

    An exception that it raises is logged once and never reaches the call; the listener is not called again.
    """

    def __call__(self, event: Event, /) -> None: ...
