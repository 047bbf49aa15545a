"""Log lines by the standard library: which logger, which level, and how many of a kind.

A hundred thousand failures a minute must not become as many lines. So of each kind of record, for each logger and
key, only the first few in a minute are written; the others are counted, and the count is written when the minute is
over. Nothing is lost from the count.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Final, NamedTuple

from holdfast.events import (
    AttemptEnded,
    AttemptStarted,
    CacheAnswered,
    CallEnded,
    CallStarted,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitRamping,
    Event,
    FallbackFailed,
    FellBack,
    GaveUp,
    HedgeSent,
    HedgeWon,
    LimitAdapted,
    LimitBlocked,
    OperationDeprecated,
    Refusal,
    Retried,
    StoreDegraded,
    StoreRecovered,
    Waited,
    WentOffline,
    WentOnline,
)

__all__ = ["PLACES", "LogListener", "Place", "Suppressed", "Throttle", "details", "place_of", "plain"]


class Place(NamedTuple):
    """Where a kind of record is written, and what it says."""

    logger: str
    level: int
    text: str


PLACES: Final[Mapping[type[Event], Place]] = {
    CallStarted: Place("holdfast.call", logging.DEBUG, "call"),
    CallEnded: Place("holdfast.call", logging.DEBUG, "call ended"),
    AttemptStarted: Place("holdfast.attempt", logging.DEBUG, "attempt"),
    AttemptEnded: Place("holdfast.attempt", logging.DEBUG, "attempt ended"),
    Retried: Place("holdfast.retry", logging.INFO, "sending again"),
    GaveUp: Place("holdfast.retry", logging.WARNING, "gave up"),
    Waited: Place("holdfast.limiter", logging.DEBUG, "waited"),
    Refusal: Place("holdfast.limiter", logging.INFO, "refused"),
    LimitBlocked: Place("holdfast.limiter", logging.WARNING, "the server asked for silence"),
    LimitAdapted: Place("holdfast.limiter", logging.DEBUG, "limit moved"),
    CircuitOpened: Place("holdfast.breaker", logging.WARNING, "circuit opened"),
    CircuitHalfOpened: Place("holdfast.breaker", logging.INFO, "circuit half open"),
    CircuitRamping: Place("holdfast.breaker", logging.INFO, "circuit ramping up"),
    CircuitClosed: Place("holdfast.breaker", logging.INFO, "circuit closed"),
    HedgeSent: Place("holdfast.hedge", logging.DEBUG, "hedge sent"),
    HedgeWon: Place("holdfast.hedge", logging.DEBUG, "hedge won"),
    CacheAnswered: Place("holdfast.cache", logging.DEBUG, "cache"),
    StoreDegraded: Place("holdfast.store", logging.WARNING, "store in trouble"),
    StoreRecovered: Place("holdfast.store", logging.INFO, "store works again"),
    FallbackFailed: Place("holdfast.fallback", logging.ERROR, "a fallback failed"),
    FellBack: Place("holdfast.fallback", logging.WARNING, "answered in another way"),
    WentOffline: Place("holdfast.offline", logging.WARNING, "offline"),
    OperationDeprecated: Place("holdfast.deprecation", logging.WARNING, "deprecated"),
    WentOnline: Place("holdfast.offline", logging.INFO, "online again"),
}
_OF_ANY_OTHER_KIND: Final = Place("holdfast.event", logging.INFO, "event")
_WINDOWS: Final = 1024


class Suppressed(NamedTuple):
    """Lines that were not written: how many of a kind, of a key, in how many seconds."""

    kind: type[Event]
    key: str
    lines: int
    seconds: float


class _Window:
    __slots__ = ("began", "count")

    def __init__(self, began: float) -> None:
        self.began = began
        self.count = 0


class Throttle:
    """At most ``burst`` lines in ``per`` seconds of each kind and key. Time is the records' own.

    At most 1,024 kinds and keys are kept apart; the oldest is then told of early.
    """

    __slots__ = ("_burst", "_per", "_windows")

    def __init__(self, burst: int, per: float) -> None:
        if burst < 1:
            raise ValueError(f"burst must be at least 1, got {burst}")
        if not per > 0:
            raise ValueError(f"per must be more than 0 seconds, got {per}")
        self._burst = burst
        self._per = per
        self._windows: OrderedDict[tuple[type[Event], str], _Window] = OrderedDict()  # in the order of their beginning

    def passes(self, event: Event) -> bool:
        """Count a record; True if it is to be written. Ask `over` first."""
        place = (type(event), event.key)
        window = self._windows.get(place)
        if window is None:
            window = self._windows[place] = _Window(event.at)
        window.count += 1
        return window.count <= self._burst

    def over(self, now: float) -> Iterator[Suppressed]:
        """What was suppressed in windows that are over; they are forgotten. A clock that was set back ends them."""
        while self._windows:
            place, window = next(iter(self._windows.items()))
            if len(self._windows) < _WINDOWS and 0 <= now - window.began < self._per:
                return
            yield from self._close(place)

    def all(self) -> Iterator[Suppressed]:
        """As `over`, of all of them now."""
        for place in list(self._windows):
            yield from self._close(place)

    def _close(self, place: tuple[type[Event], str]) -> Iterator[Suppressed]:
        window = self._windows.pop(place)
        if window.count > self._burst:
            yield Suppressed(*place, window.count - self._burst, self._per)


class LogListener:
    """Writes records to the loggers of `PLACES`; each value is in ``extra`` too, as ``holdfast.<field>``.

    Of one kind and key at most ``burst`` (10) lines in ``per`` (60) seconds; how many more there were is written once
    those are over, when the next record comes or by `flush`, with ``holdfast.suppressed``. A level that is not enabled
    costs a look at it.

    Lines hold no header, body, query or user information, and no text of an exception. Paths are written: where they
    hold secrets, give the calls a ``template``, and ``paths=False``.
    """

    def __init__(self, *, burst: int = 10, per: float = 60.0, paths: bool = True) -> None:
        self._throttle = Throttle(burst, per)
        self._paths = paths
        self._loggers = {kind: logging.getLogger(place.logger) for kind, place in PLACES.items()}

    def __call__(self, event: Event, /) -> None:
        for suppressed in self._throttle.over(event.at):
            self._count(suppressed)
        place, logger = self._place(type(event))
        if not logger.isEnabledFor(place.level) or not self._throttle.passes(event):
            return
        told = details(event, paths=self._paths)
        words = " ".join(f"{name}={plain(value)}" for name, value in told.items() if name not in ("event", "at"))
        logger.log(place.level, "%s: %s", place.text, words, extra=_extra(told))

    def flush(self) -> None:
        """Write the counts of what was suppressed so far: before the process ends, say."""
        for suppressed in self._throttle.all():
            self._count(suppressed)

    def _count(self, suppressed: Suppressed) -> None:
        place, logger = self._place(suppressed.kind)
        told = {"event": suppressed.kind.__name__, "key": suppressed.key, "suppressed": suppressed.lines}
        logger.log(
            place.level,
            "%s: key=%s and %d more in %g s",
            place.text,
            plain(suppressed.key),
            suppressed.lines,
            suppressed.seconds,
            extra=_extra(told),
        )

    def _place(self, kind: type[Event]) -> tuple[Place, logging.Logger]:
        place = place_of(kind)
        return place, self._loggers.get(kind) or logging.getLogger(place.logger)


def place_of(kind: type[Event]) -> Place:
    """Where records of this class go; those of a user's own class (`Pipeline.tell`) go to ``holdfast.event``."""
    return PLACES.get(kind, _OF_ANY_OTHER_KIND)


def details(event: Event, *, paths: bool = True) -> dict[str, Any]:
    """A record as plain data, without what is None: ``event`` is its class's name.

    Without ``paths`` a URL ends with its host.
    """
    told: dict[str, Any] = {"event": type(event).__name__}
    for field in fields(event):
        value = getattr(event, field.name)
        if value is not None:
            told[field.name] = value
    if not paths and "url" in told:
        scheme, _, rest = told["url"].partition("://")
        told["url"] = f"{scheme}://{rest.partition('/')[0]}"
    return told


def _extra(told: Mapping[str, Any]) -> dict[str, Any]:
    return {f"holdfast.{name}": value for name, value in told.items()}


def plain(value: Any) -> str:
    """No line breaks from outside in a log line: a key or an operation is whatever its caller gave."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if text.isprintable() else repr(text)
