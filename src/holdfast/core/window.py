"""How many calls, and how many of them failed, in the last seconds?

No clock: callers pass ``now``, in seconds that never go back.
"""

from __future__ import annotations

from collections import deque

__all__ = ["OutcomeWindow"]


class OutcomeWindow:
    """Sums over the last ``seconds``, in ``slots`` equal steps: what falls out falls out a slot at a time.

    The sums reach back between ``seconds - seconds / slots`` and ``seconds``. Counting costs one addition;
    the deque of past slots is touched once for each slot that begins. Changed in place by its one owner.

    >>> window = OutcomeWindow(30.0, slots=10)
    >>> window.count(0.0, bad=True)
    >>> window.count(1.0, bad=False)
    >>> window.sums(1.0)
    (2, 1)
    >>> window.sums(31.0)
    (0, 0)
    """

    __slots__ = ("_counted", "_past", "_slot", "_slots", "_width", "bad", "calls", "ends_at")

    def __init__(self, seconds: float, *, slots: int = 10) -> None:
        self._width = seconds / slots
        self._slots = slots
        self._slot: int | None = None
        self._past: deque[tuple[int, int, int]] = deque()  # (slot, calls, bad) of slots that are over
        self._counted = (0, 0)  # sums of _past: what is beyond them belongs to the running slot
        self.calls: int = 0
        self.bad: int = 0
        self.ends_at = float("-inf")  # when the running slot ends: until then nothing has to be moved

    def count(self, now: float, *, bad: bool) -> None:
        if now >= self.ends_at:
            self.roll(now)
        self.calls += 1
        if bad:
            self.bad += 1

    def sums(self, now: float) -> tuple[int, int]:
        """(calls, bad ones) of the window that ends at ``now``. Moves nothing, so another thread may ask."""
        calls, bad = self.calls, self.bad
        if now < self.ends_at:
            return calls, bad
        oldest = int(now // self._width) - self._slots
        if self._slot is None or self._slot <= oldest:
            return 0, 0
        for slot, old_calls, old_bad in tuple(self._past):
            if slot <= oldest:
                calls -= old_calls
                bad -= old_bad
        return calls, bad

    def roll(self, now: float) -> None:
        """Begin the slot of ``now``, and drop the slots that are too old."""
        slot = int(now // self._width)
        self.ends_at = (slot + 1) * self._width
        if slot == self._slot:
            return
        calls, bad = self._counted
        if self.calls != calls and self._slot is not None:
            self._past.append((self._slot, self.calls - calls, self.bad - bad))
        while self._past and self._past[0][0] <= slot - self._slots:
            _, old_calls, old_bad = self._past.popleft()
            self.calls -= old_calls
            self.bad -= old_bad
        self._slot = slot
        self._counted = (self.calls, self.bad)
