"""All benchmarks, one after the other, as one report. Nothing is sent anywhere but to loopback.

    python -m benchmarks [--quick] [--json]

Takes about a quarter of an hour; ``--quick`` one or two, and then says whether all of it runs, not how fast. Exits
with 0 whatever the figures say: on a shared machine they are for people to judge.
"""

from __future__ import annotations

import argparse
import asyncio

from benchmarks import cache, cycles, imports, limiter, pipeline, resources, wire
from benchmarks.report import show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    quick = options.quick
    sections = asyncio.run(pipeline.measure(*((5, 50) if quick else (41, 500))))
    sections += asyncio.run(resources.measure(*((5, 20) if quick else (101, 20))))
    sections.append(asyncio.run(cycles.measure()))
    sections.append(asyncio.run(imports.measure(2 if quick else 15)))
    sections += asyncio.run(limiter.measure(*((3_000, 1) if quick else (10_000, 5))))
    sections += asyncio.run(cache.measure(*((3, 20, 20_000) if quick else (9, 100, 1_000_000))))
    sections.append(wire.report(wire.QUICK if quick else wire.TURNS))
    print(show(sections, as_json=options.json))


if __name__ == "__main__":
    main()
