"""What does a call through an accessor cost, beside the client that one would use by hand?

    python -m benchmarks.resources [--quick] [--rounds N] [--json]

The far side is in memory and answers at once, with a small object of JSON. By hand means ``client.get``, a look at the
status and the same decoder; under it is the same pipeline, and in one row none. All run interleaved in one process, in
short batches; a ratio is that of the quickest batches, since whatever else the machine does only adds.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.pipeline import ANCHORS, FAMILIES, Modules, anchors, each, far_side
from benchmarks.report import Figure, Rounds, Section, interleaved, show
from holdfast import Cache, Pipeline
from holdfast.client import Call, Resource, Service, accessor
from holdfast.client.decode import decoder_for

BODY = b'{"id": 1, "name": "Ada"}'
BASE = "https://api.example"
PLAIN, BY_HAND, ACCESSOR = "client.get and decode, no pipeline", "client.get and decode", "await shop.users.get(1)"
LENT, BUILT = "the same over a lent client", "shop.users.get(1), not awaited"
HIT_BY_HAND, HIT = "fresh hit: client.get", "fresh hit: await shop.users.raw(1)"
ADDED, HIT_BAR = 1.15, 25.0  # times; microseconds on the machine of the bars

Once = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class User:
    id: int
    name: str


class Users(Resource, path="/users"):
    def get(self, id: int) -> Call[User]:
        return self.GET("/{id}", User, id=id)

    def raw(self, id: int) -> Call[bytes]:
        return self.GET("/{id}", bytes, id=id)


class Shop(Service):
    users = accessor(Users)


async def subjects(family: Modules, stack: AsyncExitStack) -> dict[str, Once]:
    """All that is compared, over far sides of their own."""
    http, ours, decode = family.http, family.holdfast, decoder_for(User).decode

    def answering() -> Any:
        headers = {"Content-Type": "application/json", "Cache-Control": "max-age=86400"}
        return http.MockTransport(lambda request: http.Response(200, headers=headers, content=BODY))

    def through(**policies: Any) -> Any:
        return ours.ResilientTransport(Pipeline(**policies), inner=answering())

    async def client_over(transport: Any) -> Any:
        return await stack.enter_async_context(http.AsyncClient(transport=transport, base_url=BASE))

    def by_hand(client: Any) -> Once:
        async def once() -> User:
            response = await client.get("/users/1")
            response.raise_for_status()
            return decode(response.content, response.headers.get("content-type"))

        return once

    plain, resilient = await client_over(answering()), await client_over(through())
    shop = await stack.enter_async_context(Shop(BASE, transport=through()))
    lent = Shop(BASE, client=resilient)
    cached = await client_over(through(cache=Cache()))
    caching = await stack.enter_async_context(Shop(BASE, transport=through(cache=Cache())))

    async def build() -> None:
        call = shop.users.get(1)
        call._use()  # or it warns that it was never made

    return {
        PLAIN: by_hand(plain),
        BY_HAND: by_hand(resilient),
        ACCESSOR: lambda: shop.users.get(1).value(),
        LENT: lambda: lent.users.get(1).value(),
        BUILT: build,
        HIT_BY_HAND: lambda: cached.get("/users/1"),
        HIT: lambda: caching.users.raw(1).value(),
    }


async def compared(family: Modules, rounds: int, calls: int) -> Section:
    async with AsyncExitStack() as stack:
        found = await subjects(family, stack)
        bare = far_side(family).handle_async_request
        request = family.http.Request("GET", BASE)
        for once in found.values():  # what is made once, and stored
            await once()
        timed = {name: _timed(once, calls) for name, once in {**found, **anchors(bare, request)}.items()}
        taken = await interleaved(timed, rounds)
    return Section(f"A call through an accessor, {family.name}", figures(taken), taken)


def figures(taken: Rounds) -> list[Figure]:
    """Ratios to the same by hand, and what a hit takes on the machine of the bars."""
    least = {name: min(figures) for name, figures in taken.items()}
    slower = sorted(least[name] / took for name, took in ANCHORS.items())[len(ANCHORS) // 2]
    shown = [Figure("so this machine is slower by", f"{slower:.2f} x"), Figure(PLAIN, f"{least[PLAIN]:.1f} us")]
    shown.append(Figure(BY_HAND, f"{least[BY_HAND]:.1f} us"))
    for name in (ACCESSOR, LENT):
        ratio = least[name] / least[BY_HAND]
        value = f"{ratio:.2f} x   {least[name]:.1f} us"
        shown.append(Figure(name, value, f"<= {ADDED:g} x", ratio <= ADDED))
    shown.append(Figure(BUILT, f"{least[BUILT]:.1f} us"))
    shown.append(Figure(HIT_BY_HAND, f"{least[HIT_BY_HAND]:.1f} us   scaled {least[HIT_BY_HAND] / slower:.1f} us"))
    value = f"{least[HIT]:.1f} us   scaled {least[HIT] / slower:.1f} us"
    shown.append(Figure(HIT, value, f"<= {HIT_BAR:g} us", least[HIT] / slower <= HIT_BAR))
    return shown


def _timed(once: Once, calls: int) -> Callable[[], Awaitable[float]]:
    return lambda: each(once, calls)


async def measure(rounds: int, calls: int) -> list[Section]:
    return [await compared(family, rounds, calls) for family in FAMILIES]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="whether it runs, not how fast")
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--calls", type=int, default=20, help="of each in a round")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    print(show(asyncio.run(measure(5 if given.quick else given.rounds, given.calls)), as_json=given.json))
