"""Who is told that a service is down, and that it is back? A listener that hands alerts to a function of the user's.

Which alerts there are is `holdfast.core.outages`'. Here is how they are handed over: one after the other, in the
background, where neither an error nor slowness of the receiver reaches a call.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Final

import anyio
import anyio.to_thread
import sniffio

from holdfast.background import Background
from holdfast.core.outages import Alert, Outages
from holdfast.events import CircuitClosed, CircuitOpened, Event, WentOffline, WentOnline

__all__ = ["Notify", "Sink"]

Sink = Callable[[Alert], object]
"""Takes an alert to where somebody sees it. Async, or sync: then it is called in a thread, and may block. What it
returns is awaited if it can be, and not looked at."""

_PATIENCE: Final = 30.0
"""Seconds that one alert may take to be handed over."""
_WAITING: Final = 1000
"""Alerts that may wait for a slow sink; above that the oldest go."""

_logger = logging.getLogger("holdfast.notify")


class Notify:
    """A listener that raises one alert for each outage that lasts, and one when it is over.

    An outage of a key begins when its circuit opens, or when it goes offline, and is over when the circuit has closed
    again: probes that fail belong to it. ``sink`` is told of it once ``after`` seconds have passed (60), and of its
    end if it was told of its beginning. Within ``every`` seconds (3600) of an alert, no other outage of that key is.

    There is no timer: the alert comes with the first thing that happens in the pipeline after its time. While nobody
    calls, nobody is told, and nobody is hurt either; `check` is for those who have a timer of their own.

    The sink runs in the background of the event loop that is running, one alert at a time, 30 s at most for each. What
    it raises is logged ("holdfast.notify") and the alert is gone. Where no loop runs, alerts wait for the next event.
    One for each pipeline: an alert knows its key, and two pipelines may know one key. One event loop at a time.

    >>> def page(alert):
    ...     print(alert)
    >>> from holdfast import Pipeline
    >>> pipeline = Pipeline(listeners=[Notify(page, after=120.0)])
    """

    def __init__(self, sink: Sink, *, after: float = 60.0, every: float = 3600.0) -> None:
        for name, seconds in (("after", after), ("every", every)):
            if not 0 <= seconds < math.inf:
                raise ValueError(f"{name} must be at least 0 seconds, got {seconds}")
        self._sink = sink
        self._waits = inspect.iscoroutinefunction(sink) or inspect.iscoroutinefunction(type(sink).__call__)
        self._outages = Outages(after=after, every=every)
        self._alerts: deque[Alert] = deque(maxlen=_WAITING)
        self._background = Background()
        self._delivered: anyio.Event | None = None  # while a delivery is under way

    def __call__(self, event: Event) -> None:
        outages, ended = self._outages, None
        if event.at >= outages.next_due:
            self._alerts.extend(outages.due(event.at))
        match event:
            case CircuitOpened():
                code = "circuit_forced_open" if event.reason == "forced" else "circuit_open"
                outages.began(event.key, "circuit", code, event.at)
            case WentOffline():
                outages.began(event.key, "offline", "offline", event.at)
            case CircuitClosed():
                ended = outages.ended(event.key, "circuit", event.at)
            case WentOnline():
                ended = outages.ended(event.key, "offline", event.at)
            case _:
                pass
        if ended is not None:
            self._alerts.append(ended)
        if self._alerts:
            self._deliver()

    def check(self, now: float) -> None:
        """Raise the alerts that are due at wall time ``now``, though nothing happened in the pipeline."""
        self._alerts.extend(self._outages.due(now))
        self._deliver()

    async def aclose(self) -> None:
        """Return when every alert is handed over, after 30 s at the latest; what is left then is given up."""
        with anyio.move_on_after(_PATIENCE):
            if self._delivered is not None:
                await self._delivered.wait()
            await self._hand_over()
        await self._background.aclose()

    def _deliver(self) -> None:
        if self._delivered is not None:
            return
        try:
            sniffio.current_async_library()
        except sniffio.AsyncLibraryNotFoundError:
            return
        delivered = self._delivered = anyio.Event()

        async def work() -> None:
            await self._hand_over()
            self._over(delivered)  # in the step that found nothing left: an alert after it starts anew

        # In a context of its own: the deadline and the trace of the call that happened to come now are none of its.
        Context().run(self._background.start, work, lambda began: self._over(delivered))

    def _over(self, delivered: anyio.Event) -> None:
        delivered.set()
        if self._delivered is delivered:
            self._delivered = None

    async def _hand_over(self) -> None:
        while self._alerts:
            alert = self._alerts.popleft()
            try:
                with anyio.fail_after(_PATIENCE):
                    await self._tell(alert)
            except Exception:  # protects the alerts behind it, whatever the user's function does
                _logger.exception("this alert was not delivered: %s", alert)

    async def _tell(self, alert: Alert) -> None:
        if self._waits:
            said = self._sink(alert)
        else:
            said = await anyio.to_thread.run_sync(self._sink, alert, abandon_on_cancel=True)
        if inspect.isawaitable(said):
            await said
