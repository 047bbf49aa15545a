"""Offline: what is stored answers, however old it is; nothing is sent but a probe now and then.

The switch stands outside the cache and all other layers, and only in the way of calls while something is offline. The
watch stands below the cache, where what a call meets is the network's doing, and turns the switch for a key.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from holdfast._wire import Family, Handler, Q, R, RequestLike
from holdfast.call import CALL, Call
from holdfast.clock import Clock
from holdfast.core.caching.invalidation import SAFE_METHODS
from holdfast.core.offline import Away, OfflineMode, at_once, back, disconnect, gives_up, probe, read_attempt
from holdfast.errors import CircuitOpen, Closed, Offline, Refused

if TYPE_CHECKING:
    from holdfast.policies.emitter import Emitter

__all__ = ["Switch", "Watch"]

_logger = logging.getLogger("holdfast")

_ALL: Final = ""
"""The scope of a whole pipeline, which is switched by hand; the others are keys."""
_KEYS: Final = 1024
"""Keys that are watched at once; another that fails takes the place of the one that has failed for longest."""


class Stored(Protocol):
    """Where stored answers are, if there is such a place."""

    async def stored(self, request: Q, family: Family[Q, R]) -> R | None:
        """The stored answer to a request, of whatever age; None if there is none that may be given."""
        ...


class Switch:
    """What of a pipeline is offline, shared by all its transports.

    A call that is under way when it is switched stays as it is. While its scope is offline, a call gets what is
    stored, or raises the family's `Offline`. One call every ``probe_every`` seconds is sent, once and without asking
    the cache; any answer below 500 switches the scope on again, and else that call fares like the others, its
    `Offline` chained to what happened. Unsafe methods probe only for a key that went offline by itself, and then
    their caller gets what came of it. A probe that is cancelled counts as sent, if it was.

    What was switched by hand is noted in ``mode.file``, at once: it is small, and a switch that is known only later is
    none. Raises OSError where that cannot be read or written, but never into a call.
    """

    def __init__(
        self, *, clock: Clock, stored: Stored | None, emitter: Emitter | None = None, mode: OfflineMode | None = None
    ) -> None:
        self._clock = clock
        self._stored = stored
        self._emitter = emitter
        self._mode = OfflineMode(after=None) if mode is None else mode
        self._failing: dict[str, float] = {}
        self.away: dict[str, Away] = {}
        if self._mode.file is not None and (noted := _read(Path(self._mode.file))) is not None:
            since, probe_every = noted
            now = clock.monotonic()
            away_for = 0.0 if since is None else max(0.0, clock.wall() - since)
            self._leave(_ALL, replace(disconnect(now, probe_every), since=now - away_for), "by_hand")

    def reconfigure(self, mode: OfflineMode) -> None:
        """For keys that go offline from now on; one that is away is probed as it was told to be."""
        self._mode = mode

    def turn_on(self, probe_every: float | None) -> None:
        self._leave(_ALL, disconnect(self._clock.monotonic(), probe_every), "by_hand")
        if self._mode.file is not None:
            _write(Path(self._mode.file), self._clock.wall(), probe_every)

    def turn_off(self) -> None:
        self._failing.clear()
        for scope in [*self.away]:
            self._come_back(scope, None)
        if self._mode.file is not None:
            Path(self._mode.file).unlink(missing_ok=True)

    def probe(self, key: str) -> None:
        """Let the next call to a key probe, before it would be due."""
        now = self._clock.monotonic()
        for scope in (_ALL, key):
            if scope in self.away:
                self.away[scope] = at_once(self.away[scope], now)

    def failed(self, key: str) -> None:
        """A call to a key failed, for a reason that may be the network's."""
        after, now = self._mode.after, self._clock.monotonic()
        if after is None or key in self.away:
            return
        if key not in self._failing and len(self._failing) >= _KEYS:
            del self._failing[next(iter(self._failing))]
        if gives_up(self._failing.setdefault(key, now), now, after) and len(self.away) < _KEYS:
            del self._failing[key]
            self._leave(key, disconnect(now, self._mode.probe_every), "failing")

    def worked(self, key: str) -> None:
        """A call to a key was answered."""
        self._failing.pop(key, None)
        self._come_back(key, None)

    @property
    def watch(self) -> Watch | None:
        """The layer that turns this switch, if any key is to go offline by itself."""
        return None if self._mode.after is None else Watch(self)

    def is_offline(self, key: str | None) -> bool:
        return _ALL in self.away or (key is not None and key in self.away)

    def snapshot(self) -> dict[str, Any] | None:
        """None unless all is offline; else for how long, and the seconds until a call may probe (None: never)."""
        return _told(self.away[_ALL], self._clock.monotonic()) if _ALL in self.away else None

    def by_key(self) -> dict[str, dict[str, Any]]:
        """The same for each key that went offline by itself."""
        now = self._clock.monotonic()
        return {scope: _told(state, now) for scope, state in [*self.away.items()] if scope != _ALL}

    async def handle(self, request: Q, inner: Handler[Q, R], family: Family[Q, R]) -> R:
        """A call while something is offline."""
        call: Call = request.extensions[CALL]
        scope = _ALL if _ALL in self.away else call.key
        if scope not in self.away:
            return await inner(request)
        failure: Exception | None = None
        try:
            probing = self._admit(scope, request, call)
            if probing is not None:
                try:
                    response = await self._probe(scope, request, call, probing, inner)
                except (Refused, family.transport_error) as error:
                    if isinstance(error, Closed) or request.method not in SAFE_METHODS:
                        raise
                    failure = error
                else:
                    if response is not None:
                        return response
            stored = None
            if self._stored is not None and request.method in SAFE_METHODS:
                stored = await self._stored.stored(request, family)
            if stored is None:
                refusal = self._refusal(scope, request, call, family.http)
                if self._emitter is not None:
                    self._emitter.refused(call, refusal)
                raise family.refusal(refusal, request) from failure
            return stored
        finally:
            del failure  # its traceback holds this frame

    def _leave(self, scope: str, state: Away, reason: str) -> None:
        before = self.away.get(scope)
        self.away[scope] = state
        if before is None and self._emitter is not None:
            self._emitter.went_offline(scope, reason)

    def _come_back(self, scope: str, state: Away | None) -> None:
        """Take over ``state``; None: online."""
        before = self.away.get(scope)
        if before is None:
            return
        if state is not None:
            self.away[scope] = state
            return
        del self.away[scope]
        if self._emitter is not None:
            self._emitter.went_online(scope, self._clock.monotonic() - before.since)

    def _admit(self, scope: str, request: RequestLike, call: Call) -> Away | None:
        """The state that lets this call through as a probe, if it does."""
        # Who switches by hand wants nothing changed meanwhile. A key that went offline by itself may never be asked
        # anything but to change something, and would stay offline for ever. Who wants a stored answer is no probe.
        if (scope == _ALL and request.method not in SAFE_METHODS) or call.options.cache == "only":
            return None
        probing = probe(self.away[scope], self._clock.monotonic())
        if probing is not None:
            self.away[scope] = probing
        return probing

    async def _probe(self, scope: str, request: Q, call: Call, probing: Away, inner: Handler[Q, R]) -> R | None:
        """The answer if there is a network again, None for one that is no better than none."""
        option, sends, safe = call.options.cache, call.sends, request.method in SAFE_METHODS
        call.options = call.options.replace(attempts=1, cache="bypass" if option == "bypass" else "refresh")
        ok = False
        try:
            response = await inner(request)
            ok = response.status_code < 500
        finally:
            after = back(self.away.get(scope), probing, sent=call.sends > sends, ok=ok)
            self._come_back(scope, after)
            if after is None and scope == _ALL:
                self._forget()
        if not safe or (ok and call.sends > sends):
            return response
        await response.aclose()
        return None

    def _forget(self) -> None:
        """The next process begins online."""
        if self._mode.file is None:
            return
        try:
            Path(self._mode.file).unlink(missing_ok=True)
        except OSError:  # the call that probed is protected from it
            _logger.exception("the file that says that a pipeline is offline could not be removed")

    def _refusal(self, scope: str, request: RequestLike, call: Call, http: bool) -> Offline:
        call.reason = "offline"
        upcoming = self.away[scope].next_probe if scope in self.away else None
        what = "nothing that is stored answers it" if request.method in SAFE_METHODS else "it would change something"
        return Offline(
            f"offline: {request.method} to {call.key} was not sent, and {what}"
            if http
            else f"offline: the function guarded as {call.key} was not called",
            policy="offline",
            key=call.key,
            retry_after=None if upcoming is None else max(0.0, upcoming - self._clock.monotonic()),
        )


class Watch:
    """Tells a switch of each call that went to the network; a layer below the cache. No state of its own.

    Refusals of our limits, mistakes and cancelled calls say nothing; a circuit that opened by itself does.
    """

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        failed, worked = self._switch.failed, self._switch.worked

        async def handle(request: Q) -> R:
            call: Call = request.extensions[CALL]
            try:
                response = await inner(request)
            except (Refused, family.transport_error) as error:
                if _says_down(error, call, family):
                    failed(call.key)
                raise
            if read_attempt(status=response.status_code, fault=None, whole=True):
                worked(call.key)
            else:
                failed(call.key)
            return response

        return handle


def _says_down(error: Exception, call: Call, family: Family[Q, R]) -> bool:
    if isinstance(error, Refused):
        return isinstance(error, CircuitOpen) and error.state != "forced_open"
    if call.unsigned:
        return False
    # A timeout that only the deadline caused says nothing, unless others came before it.
    whole = call.full_attempt or len(call.attempts) > 1 or not isinstance(error, family.timeout_error)
    return read_attempt(status=None, fault=family.fault(error), whole=whole) is False


def _told(state: Away, now: float) -> dict[str, Any]:
    upcoming = state.next_probe
    return {"for": now - state.since, "probe_in": None if upcoming is None else max(0.0, upcoming - now)}


def _read(file: Path) -> tuple[float | None, float | None] | None:
    """Since when (wall time) it was offline, and how often it probes; None if it was not."""
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return None
    try:
        noted = json.loads(text)
        disconnect(0.0, noted["probe_every"])
        return float(noted["since"]), noted["probe_every"]
    except (ValueError, TypeError, KeyError):  # that it is there says enough
        return None, OfflineMode().probe_every


def _write(file: Path, since: float, probe_every: float | None) -> None:
    passing = file.with_name(f"{file.name}.{os.getpid()}")
    passing.write_text(json.dumps({"since": since, "probe_every": probe_every}), "utf-8")
    passing.replace(file)
