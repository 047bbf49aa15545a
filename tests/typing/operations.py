"""Operations that take long as a user's editor sees them."""

from __future__ import annotations

from typing import Any, assert_type

from holdfast.client import Call, Ended, Poll, Progressing, Service, by_state, health_check
from holdfast.core.health import Health


class Export:
    rows: int


def rule(answer: Any) -> Progressing | Ended | None:
    return Ended(True, result="output") if answer["done"] else Progressing()


def show(poll: Poll) -> None: ...


async def the_result_has_the_type_of_the_call(service: Service) -> None:
    call = service.POST("/exports", Export)
    assert_type(await call.until_done(), Export)
    assert_type(await call.until_done(rule=rule, on_poll=show, deadline=None), Export)
    assert_type(await call.until_done(rule=by_state("state", done=["ok"])), Export)
    await call.until_done(rule="status")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Watched(Service):
    @health_check
    def ping(self) -> Call[None]:
        return self.GET("/ping", None)


async def a_check_keeps_its_method_as_it_is(service: Watched) -> None:
    assert_type(service.ping(), Call[None]).as_curl()
    checked = await service.check()
    assert_type(checked.ok, bool)
    assert_type(checked.health, Health | None)
    await service.reconnect(drain="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
