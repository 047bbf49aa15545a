"""What a call through an accessor must not add. The structure is tested, never the time: `benchmarks/` takes that."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from holdfast.errors import NotFound
from tests.client.api import BASE, Shop, User
from tests.support import FamilyModules


def shop_of(family: FamilyModules) -> Shop:
    def answer(request: Any) -> Any:
        return family.http.Response(200, json={"id": 1, "name": "Ada"})

    return Shop(BASE, transport=family.http.MockTransport(answer))


def test_a_good_call_starts_no_task_and_never_gives_up_its_turn(family: FamilyModules) -> None:
    shop = shop_of(family)

    async def step_through() -> None:
        running = shop.users.get(1).value()
        with pytest.raises(StopIteration) as done:  # driven by hand: whatever it yields to the loop would come out here
            running.send(None)
        assert done.value.value == User(1, "Ada")
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(step_through())


def test_a_good_call_leaves_no_reference_cycle_of_ours(family: FamilyModules) -> None:
    shop = shop_of(family)

    async def garbage() -> list[str]:
        for _ in range(3):  # what is made once
            await shop.users.get(1).reply()
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            await shop.users.get(1)
            await shop.users.get(1).map(str).or_else(None, on=NotFound).reply()
            gc.collect()
            return [f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    found = asyncio.run(garbage())  # the libraries leave some: a request and its response know each other
    assert [name for name in found if name.startswith("holdfast") or name.endswith(("function", "cell", "frame"))] == []
