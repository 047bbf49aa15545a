"""The line in front of permits, circuits and pools."""

from __future__ import annotations

import contextlib
import gc

import anyio
import pytest

from holdfast._waiting import Line
from holdfast.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio


class Office:
    """A line, the callers in it, and what became of them."""

    def __init__(self) -> None:
        self.line = Line()
        self.clock = VirtualClock()
        self.outcomes: dict[str, object] = {}
        self.lost = 0
        self.scopes: dict[str, anyio.CancelScope] = {}

    async def caller(self, name: str, until: float | None = None, owner: object = None) -> None:
        with anyio.CancelScope() as self.scopes[name]:
            try:
                self.outcomes[name] = await self.line.wait(self.clock, until, self._lose, owner)
            except LookupError as error:
                self.outcomes[name] = error

    def _lose(self) -> None:
        self.lost += 1
        self.line.admit()


async def test_callers_are_admitted_in_the_order_of_their_coming() -> None:
    office = Office()
    async with anyio.create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(office.caller, name)
            await office.clock.settle()
        assert office.line.admit() == 1
        await office.clock.settle()
        assert office.outcomes == {"a": True}
        assert office.line.admit(5) == 2
    assert office.outcomes == {"a": True, "b": True, "c": True}
    assert office.line.admit() == 0


async def test_a_caller_waits_no_longer_than_it_wants() -> None:
    office = Office()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(office.caller, "patient", 5.0)
        tasks.start_soon(office.caller, "hasty", 1.0)
        await office.clock.advance(2.0)
        assert (office.outcomes, len(office.line)) == ({"hasty": False}, 1)
        office.line.admit()
    assert (office.outcomes["patient"], office.lost, office.clock.sleepers) == (True, 0, 0)


async def test_a_cancelled_caller_leaves_from_the_middle_without_a_trace() -> None:
    office = Office()
    async with anyio.create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(office.caller, name)
            await office.clock.settle()
        office.scopes["b"].cancel()
        await office.clock.settle()
        assert len(office.line) == 2
        assert office.line.admit(2) == 2
    assert (office.outcomes, office.lost) == ({"a": True, "c": True}, 0)


async def test_a_place_given_to_a_caller_that_is_cancelled_in_that_moment_is_not_lost() -> None:
    office = Office()
    async with anyio.create_task_group() as tasks:
        for name in "ab":
            tasks.start_soon(office.caller, name)
            await office.clock.settle()
        office.line.admit()
        office.scopes["a"].cancel()
        await office.clock.settle()
        # The loops differ in which of the two a task hears of first; the place is used in both cases.
        assert (office.outcomes, office.lost) in [({"b": True}, 1), ({"a": True}, 0)]
        office.line.admit()
    assert office.outcomes["b"] is True


async def test_dismissed_callers_raise_an_error_each_of_its_own() -> None:
    office, ours = Office(), object()
    async with anyio.create_task_group() as tasks:
        for name, owner in [("a", ours), ("b", None), ("c", ours)]:
            tasks.start_soon(office.caller, name, None, owner)
            await office.clock.settle()
        office.line.dismiss(lambda: LookupError("closed"), ours)
        await office.clock.settle()
        assert set(office.outcomes) == {"a", "c"}
        office.line.dismiss(lambda: LookupError("closed"))
    assert all(isinstance(error, LookupError) for error in office.outcomes.values())
    assert len({id(error) for error in office.outcomes.values()}) == 3
    assert len(office.line) == 0


async def test_one_who_is_admitted_before_it_stands_passes_at_once() -> None:
    office = Office()
    caller = office.line.enter()
    assert office.line.admit() == 1
    assert await office.line.stand(caller, office.clock, None, office._lose)


async def test_a_dismissal_leaves_no_reference_cycle() -> None:
    office = Office()
    gc.collect()
    gc.disable()
    try:
        waiter = office.line.enter()
        office.line.dismiss(lambda: LookupError("closed"))
        with contextlib.suppress(LookupError):
            waiter.raise_if_dismissed()
        del waiter
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert [thing for thing in gc.garbage if isinstance(thing, LookupError)] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
