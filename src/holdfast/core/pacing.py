"""How fast does the server want us to go? Silence when it asked for some, and what is left of its quota.

No I/O, no clock, no lock: callers pass ``now``. What a server says is a hint: nothing here waits for longer than
``max_server_delay`` at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import KW_ONLY
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from holdfast.core.settings import Settings

if TYPE_CHECKING:
    from holdfast.core.adaptive import Adaptive
    from holdfast.core.hints import Hint, Reset

__all__ = ["Mode", "Pace", "Pacing"]

Mode: TypeAlias = Literal["off", "guard", "spread"]

_ROUNDING: Final = 1e-9
_DOUBLES: Final = 0.1
"""Seconds in which the number of requests doubles that were let go after a silence."""
_RAMP: Final = 2.0
"""Seconds after a silence for which that is looked at: then it is over a million."""
_SAME: Final = 2.0
"""Seconds by which two replies may differ about the end of one window: whole seconds, and the time on their way."""
_NAMES: Final = 8
"""How many quotas of one server are looked at."""
_SCARCE: Final = 0.2
"""Part of a quota below which ``spread`` begins (R5.7)."""


class Pacing(Settings, kw_only=False):
    """What is made of a server's word on its limits; shared by all callers of a key.

    ``Retry-After`` on 429, 503 and 403 always holds back everybody. ``mode`` is about what is left of a quota
    (``RateLimit``, ``X-RateLimit-*``): "guard" stops at 0 until the quota begins anew; "spread" also goes slower
    once less than a fifth is left, so that it lasts until then; "off" does not look.

    ``adaptive``: a 429 that says nothing of when, nor of a quota, cuts the rate of its key to 0.7 of what was sent; it
    climbs back to where it was, and beyond. That is also done where ``mode`` is "off".

    ``max_server_delay``: seconds, the longest silence that one answer can cause. ``reset``: what the ``X-`` fields
    mean by theirs ("delta", "epoch", "epoch_ms", "date"); "auto" goes by the size of the number.
    """

    mode: Mode = "guard"
    _: KW_ONLY
    adaptive: bool = False
    max_server_delay: float = 120.0
    reset: Reset = "auto"

    def __post_init__(self) -> None:
        if self.mode not in ("off", "guard", "spread"):
            raise ValueError(f'pacing must be "off", "guard" or "spread", got {self.mode!r}')
        if not 0 <= self.max_server_delay < math.inf:
            raise ValueError(f"max_server_delay must be at least 0 seconds, got {self.max_server_delay}")
        if self.reset not in ("auto", "delta", "epoch", "epoch_ms", "date"):
            raise ValueError(f'reset must be "auto", "delta", "epoch", "epoch_ms" or "date", got {self.reset!r}')


class _Quota:
    """One window of the server. ``ends`` is when it says that it ends; ``opens`` how long we believe it at most."""

    __slots__ = ("ends", "left", "next_at", "opens", "size")

    def __init__(self, left: float, ends: float, opens: float, size: float) -> None:
        self.left = left
        self.ends = ends
        self.opens = opens
        self.size = size
        self.next_at = -math.inf  # when the next may go, if what is left is spread


class Pace:
    """What the server said to one key, in words or by refusing. Owned by one limiter, and by one event loop at a time.

    ``in_flight``: requests that were sent and not answered. An answer does not know of those that came after it, so
    they are taken off what it says is left; and no answer of one window raises what another has said.

    After a silence requests do not go as a herd: one, and then twice as many with each tenth of a second.
    """

    __slots__ = ("_adaptive", "_longest", "_quotas", "_released", "_spreads", "blocked_until", "in_flight")

    def __init__(self, mode: Mode, longest: float, adaptive: Adaptive | None = None) -> None:
        self._adaptive = adaptive
        self.blocked_until = -math.inf
        self.in_flight = 0.0
        self._longest = longest
        self._spreads = mode == "spread"
        self._released = 0.0  # requests since the last silence
        self._quotas: dict[str, _Quota] = {}

    def reconfigure(self, mode: Mode, longest: float) -> None:
        """Other settings for what the server says from now on; "off" also forgets the quotas that it told of."""
        self._longest, self._spreads = longest, mode == "spread"
        if mode == "off":
            self._quotas.clear()

    def wait(self, cost: float, now: float, *, ahead: float = 0.0) -> float:
        """Seconds until ``cost`` requests may go behind others who cost ``ahead``; 0 if they may now."""
        self._roll(now)
        wait = 0.0 if self._adaptive is None else self._adaptive.wait(now, ahead=ahead)
        cost += ahead
        start, number = self.blocked_until, self._released + cost
        for quota in self._quotas.values():
            if cost > quota.left:
                if quota.opens > start:
                    start, number = quota.opens, cost - max(0.0, quota.left)
            elif self._spreads and quota.left <= _SCARCE * quota.size:
                wait = max(wait, quota.next_at - now + (cost - 1.0) * (quota.ends - now) / quota.left)
        if start > now - _RAMP:
            wait = max(wait, start - now + _DOUBLES * math.log2(max(1.0, number)))
        return wait if wait > _ROUNDING else 0.0

    def take(self, cost: float, now: float) -> None:
        """``cost`` requests go. Only after `wait` said 0."""
        if self._adaptive is not None:
            self._adaptive.take(cost, now)
        if self.blocked_until > now - _RAMP:
            self._released += cost
        for quota in self._quotas.values():
            if self._spreads and 0 < quota.left <= _SCARCE * quota.size:
                quota.next_at = max(now, quota.next_at) + cost * (quota.ends - now) / quota.left
            quota.left -= cost
            if quota.left < 1:
                quota.opens = min(quota.opens, now + self._longest)

    def give_back(self, cost: float) -> None:
        """They were not sent after all."""
        if self._adaptive is not None:
            self._adaptive.give_back(cost)
        self._released = max(0.0, self._released - cost)
        for quota in self._quotas.values():
            quota.left += cost

    def block(self, until: float) -> None:
        """Nothing before ``until``. Never shortens a silence."""
        if until > self.blocked_until:
            self.blocked_until = until
            self._released = 0.0

    def learn(self, hints: Iterable[Hint], now: float) -> float:
        """Believe what an answer says is left; how many seconds of silence that means, 0 for none."""
        self._roll(now)
        silence = 0.0
        for hint in hints:
            ends = now + hint.resets_in
            quota = self._quotas.get(hint.name)
            left = hint.left - self.in_flight
            size = max(hint.left, hint.size or 0.0, 0.0 if quota is None else quota.size)
            if quota is None or ends > quota.ends + _SAME:
                if quota is None and len(self._quotas) >= _NAMES:
                    continue
                quota = self._quotas[hint.name] = _Quota(left, ends, ends, size)
            elif ends < quota.ends - _SAME:
                continue  # late: it was written before the window that we know of began
            else:
                quota.left, quota.size = min(quota.left, left), size
            if quota.left < 1:
                quota.opens = min(quota.opens, now + self._longest)
                silence = max(silence, quota.opens - now)
        return silence

    def idle(self, now: float) -> bool:
        self._roll(now)
        rests = self._adaptive is None or self._adaptive.idle(now)
        return rests and self.blocked_until <= now - _RAMP and not self._quotas and not self.in_flight

    def snapshot(self, now: float) -> tuple[float | None, float | None]:
        """What is left of the scarcest quota, and in how many seconds it begins anew. Changes nothing."""
        running = [quota for quota in tuple(self._quotas.values()) if quota.opens > now]
        scarcest = min(running, key=lambda quota: quota.left, default=None)
        return (None, None) if scarcest is None else (max(0.0, scarcest.left), scarcest.ends - now)

    def _roll(self, now: float) -> None:
        """Forget windows that are over; one that was empty was a silence."""
        over = [name for name, quota in self._quotas.items() if quota.opens <= now]
        for name in over:
            quota = self._quotas.pop(name)
            if quota.left < 1:
                self.block(quota.opens)
