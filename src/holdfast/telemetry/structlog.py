"""Log lines for structlog, or for any logger whose ``log(level, event, **values)`` takes values by name."""

from __future__ import annotations

from typing import Any, Protocol

from holdfast.events import Event
from holdfast.telemetry.logging import Suppressed, Throttle, details, place_of

__all__ = ["StructuredLogListener", "StructuredLogger"]


class StructuredLogger(Protocol):
    """What structlog's bound loggers have."""

    def log(self, level: int, event: str, **values: Any) -> Any: ...


class StructuredLogListener:
    """Writes records to one logger, such as ``structlog.get_logger("holdfast")``.

    The event is ``holdfast.retry``, ..., the names of the loggers of `holdfast.telemetry.logging`, the record's class
    is ``kind``. Levels, the limit on lines and what is left out are as there; `flush` writes the counts.
    """

    def __init__(self, logger: StructuredLogger, *, burst: int = 10, per: float = 60.0, paths: bool = True) -> None:
        self._logger = logger
        self._throttle = Throttle(burst, per)
        self._paths = paths

    def __call__(self, event: Event, /) -> None:
        for suppressed in self._throttle.over(event.at):
            self._count(suppressed)
        if not self._throttle.passes(event):
            return
        told = details(event, paths=self._paths)
        told["kind"] = told.pop("event")
        place = place_of(type(event))
        self._logger.log(place.level, place.logger, **told)

    def flush(self) -> None:
        """Write the counts of what was suppressed so far: before the process ends, say."""
        for suppressed in self._throttle.all():
            self._count(suppressed)

    def _count(self, suppressed: Suppressed) -> None:
        place = place_of(suppressed.kind)
        self._logger.log(
            place.level,
            place.logger,
            kind=suppressed.kind.__name__,
            key=suppressed.key,
            suppressed=suppressed.lines,
            seconds=suppressed.seconds,
        )
