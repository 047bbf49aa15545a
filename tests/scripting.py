"""A real client of either family over a scripted far side, in virtual time: the public door of most tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from holdfast import Pipeline
from holdfast.testing import ScriptedTransport, VirtualClock
from holdfast.testing.scripted import Answer, Step
from tests.support import FamilyModules

URL = "http://api.test/things"


@dataclass(frozen=True, slots=True)
class Stage:
    """One client, what stands behind it, and the clock of both."""

    client: Any
    script: ScriptedTransport[Any, Any]
    clock: VirtualClock
    pipeline: Pipeline

    @property
    def times(self) -> list[float]:
        """When each request arrived."""
        return [round(sent.at, 6) for sent in self.script.sent]


@asynccontextmanager
async def stage(
    family: FamilyModules,
    script: Iterable[Step] | Callable[[int, Any], Answer],
    *,
    repeat_last: bool = False,
    jump: bool = True,
    pipeline: Callable[[VirtualClock], Pipeline] | None = None,
    client: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Stage]:
    """A client whose transport is a pipeline of ``settings`` around ``script``; random is 0.5 throughout."""
    clock = VirtualClock(jump=jump)
    made = pipeline(clock) if pipeline else Pipeline(clock=clock, random=lambda: 0.5, **settings)
    far_side: ScriptedTransport[Any, Any] = ScriptedTransport(
        family.holdfast.FAMILY, script, clock=clock, repeat_last=repeat_last
    )
    transport = family.holdfast.ResilientTransport(made, inner=far_side)
    async with family.http.AsyncClient(transport=transport, timeout=None, **(client or {})) as http:
        yield Stage(http, far_side, clock, made)
