"""Streams and conditional writes as a user's editor sees them."""

from __future__ import annotations

from typing import assert_type

from holdfast.client import Call, Rows, ServerEvent, ServerEvents, Service


class Tick:
    price: float


async def events_and_rows_have_the_type_of_the_call(service: Service) -> None:
    call = service.GET("/ticks", Tick)
    async with call.events() as events:
        assert_type(events, ServerEvents[Tick])
        async for event in events:
            assert_type(event, ServerEvent[Tick])
            assert_type(event.value, Tick)
    async with call.rows() as rows:
        assert_type(rows, Rows[Tick])
        assert_type([row async for row in rows], list[Tick])
    async for _ in call.events():  # a mistake that shows when it runs: nothing would close it
        break
    for _ in call.rows():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        break


async def a_write_is_made_of_a_reply(service: Service) -> None:
    seen = await service.GET("/ticks/1", Tick).reply()
    write = assert_type(service.PUT("/ticks/1", Tick, json={"price": 1.0}).if_match(seen), Call[Tick])
    assert_type(await write, Tick)
    await service.PUT("/ticks/1").if_match(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
