"""Does a request leave reference cycles behind? The bar: none that the bare transport does not leave.

    python -m benchmarks.cycles

Counts what the collector finds after so many requests with it switched off.
"""

from __future__ import annotations

import argparse
import asyncio
import gc

from benchmarks.pipeline import FAMILIES, Modules, Send, exchange, stacks
from benchmarks.report import Figure, Section, show

CALLS = 200


async def left_behind(send: Send, family: Modules) -> float:
    """Objects in cycles for each request."""
    await exchange(send, family)
    gc.collect()
    gc.disable()
    try:
        for _ in range(CALLS):
            await exchange(send, family)
        return gc.collect() / CALLS
    finally:
        gc.enable()


async def measure() -> Section:
    figures: list[Figure] = []
    data: dict[str, float] = {}
    for family in FAMILIES:
        sends = await stacks(family)
        for name in ("bare transport", "holdfast, no limits in time", "holdfast, defaults"):
            count = data[f"{family.name}: {name}"] = await left_behind(sends[name], family)
            is_ours = name.startswith("holdfast")
            figures.append(
                Figure(
                    f"{family.name}: {name}",
                    f"{count:g} a request",
                    "0" if is_ours else "",
                    (count == 0) if is_ours else None,
                )
            )
    return Section("Reference cycles", figures, data)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    print(show([asyncio.run(measure())], as_json=parser.parse_args().json))
