"""The public HTTP cache test suite, replayed against every kind of cache that can be built here."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from holdfast import Cache, MemoryStore, Pipeline, SQLiteStore
from holdfast.clock import Clock, SystemClock
from holdfast.stores.base import Store
from holdfast.testing.faulty import FaultyServer
from tests.conformance.cases import UNSAID, Case, public_cases
from tests.conformance.clocks import HandClock, HandPauses, Pauses, RealPauses
from tests.conformance.more import more_cases
from tests.conformance.origin import Origin
from tests.conformance.replay import replay
from tests.conftest import modules_of
from tests.support import FAMILY_NAMES

pytestmark = pytest.mark.anyio
ON_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])

PUBLIC: Final = public_cases()
CASES: Final = PUBLIC + more_cases()

STORES: Final[dict[str, Callable[[Path, Clock], Store]]] = {
    "memory": lambda path, clock: MemoryStore(),
    "sqlite": lambda path, clock: SQLiteStore(path / "answers.db", clock=clock),
}
ALONE: Final[dict[str, Any]] = {"retry": None, "breaker": None, "concurrency": None}

DECLINED: Final[dict[str, str]] = {
    "partial-store-partial-reuse-partial-suffix": "its 206 says six bytes and brings five: which ones is a guess",
    "partial-store-partial-complete": "its 206 has no strong validator, so nothing may be joined to it (RFC 9111 3.4)",
}
"""Optimal cases that we do not follow, each with its reason. One that begins to pass must leave this table."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of cache."""

    shared: bool
    family: str
    store: str
    alone: bool

    def __str__(self) -> str:
        return "-".join(
            ("shared" if self.shared else "private", self.family, self.store, "alone" if self.alone else "pipeline")
        )

    def pipeline(self, store: Store, clock: Clock) -> Pipeline:
        cache = Cache(
            shared=self.shared,
            targets=("CDN-Cache-Control",) if self.shared else (),
            store=store,
            stale_if_error=None if self.alone else 60.0,  # with it the cases that forbid stale answers say more
            store_timeout=60.0,  # a stall of the machine is not to pass for a cache that keeps nothing
        )
        return Pipeline(cache=cache, clock=clock, **(ALONE if self.alone else {}))


EVERY_KIND: Final = tuple(
    Kind(*chosen) for chosen in itertools.product((False, True), FAMILY_NAMES, STORES, (True, False))
)
EVERYDAY: Final = (Kind(False, "httpx", "memory", True), Kind(True, "httpx2", "sqlite", False))
"""Enough for every change: each setting of `Kind` both ways. The others are for `nox -s conformance`."""


async def verdicts(kind: Kind, cases: tuple[Case, ...], path: Path, *, by_hand: bool) -> dict[str, str | None]:
    """Why each case failed that applies to this kind of cache; None for those that passed."""
    cases = tuple(case for case in cases if case.applies(shared=kind.shared))
    clock: Clock = SystemClock()
    pauses: Pauses = RealPauses()
    if by_hand:
        clock = hand = HandClock()
        pauses = HandPauses(hand, len(cases))
    origin = Origin(cases, clock.wall)
    store = STORES[kind.store](path, clock)
    async with FaultyServer() as server:
        server.default(origin.answer)
        pipeline = kind.pipeline(store, clock)
        try:
            return await replay(
                modules_of(kind.family), cases, pipeline, origin, server, pauses, retries=not kind.alone
            )
        finally:
            await store.aclose()


def mistakes(results: dict[str, str | None], cases: tuple[Case, ...]) -> list[str]:
    """What is not as the tables say."""
    kinds = {case.id: case.kind for case in cases}
    failed = [
        f"{kinds[id]} {id}: {why}"
        for id, why in results.items()
        if why is not None and kinds[id] != "check" and id not in DECLINED
    ]
    passed = [f"{id} passes: take it from DECLINED" for id, why in results.items() if why is None and id in DECLINED]
    return failed + passed


def report(results: dict[str, str | None], cases: tuple[Case, ...]) -> None:
    """What `pytest -rP` shows: the cases that only ask how a cache behaves, and how many of the others passed."""
    for case in cases:
        if case.kind == "check" and case.id in results:
            print(f"{'no ' if results[case.id] else 'yes'} {case.id}")
    for sort in ("required", "optimal"):
        of_it = [results[case.id] for case in cases if case.kind == sort and case.id in results]
        print(f"{sort}: {of_it.count(None)} of {len(of_it)}")


@ON_ASYNCIO
@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind in EVERYDAY else pytest.mark.conformance) for kind in EVERY_KIND],
    ids=str,
)
async def test_the_suite(kind: Kind, tmp_path: Path) -> None:
    results = await verdicts(kind, CASES, tmp_path, by_hand=True)
    report(results, CASES)
    assert not (wrong := mistakes(results, CASES)), "\n".join(wrong)


@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.parametrize("kind", EVERY_KIND[:1], ids=str)
async def test_the_public_suite_on_the_other_event_loop(kind: Kind, tmp_path: Path) -> None:
    assert not (wrong := mistakes(await verdicts(kind, PUBLIC, tmp_path, by_hand=True), PUBLIC)), "\n".join(wrong)


@ON_ASYNCIO
@pytest.mark.conformance
@pytest.mark.parametrize("kind", EVERY_KIND, ids=str)
async def test_the_public_suite_in_real_time(kind: Kind, tmp_path: Path) -> None:
    results = await verdicts(kind, PUBLIC, tmp_path, by_hand=False)
    report(results, PUBLIC)
    cases, wrong = PUBLIC, mistakes(results, PUBLIC)
    # A stall of the machine makes an answer older than its case says, so those that failed are run again, alone.
    for _ in range(4):
        if wrong:
            cases = tuple(case for case in cases if results.get(case.id) is not None)
            results = await verdicts(kind, cases, tmp_path, by_hand=False)
            wrong = mistakes(results, cases)
    assert not wrong, "\n".join(wrong)


@ON_ASYNCIO
async def test_the_replay_can_fail() -> None:
    """Without a cache every case fails that wants an answer from one, and no other."""
    clock = HandClock()
    origin = Origin(PUBLIC, clock.wall)
    async with FaultyServer() as server:
        server.default(origin.answer)
        pauses = HandPauses(clock, len(PUBLIC))
        pipeline = Pipeline(clock=clock, **ALONE)
        results = await replay(modules_of("httpx"), PUBLIC, pipeline, origin, server, pauses, retries=False)
    wants_a_cache = {
        case.id
        for case in PUBLIC
        if any(
            step.expected_type not in (None, "not_cached") or step.expected_status not in (UNSAID, None)
            for step in case.requests
        )
    }
    failed = {id for id, why in results.items() if why is not None}
    assert failed == wants_a_cache | {"partial-store-partial-complete"}
