"""How long does an import take, beyond what the user has imported anyway?

    python -m benchmarks.imports [--rounds 15] [--json]

Each figure is the CPU time of a fresh process, all taken in turn: what stands before is imported, then the clock
starts. Bytecode is compiled before, as it is after an installation.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from functools import partial

from benchmarks.report import Figure, Section, interleaved, show

BAR, RESOURCES_BAR = 20.0, 10.0  # milliseconds
RESOURCES = "holdfast.client.service, beyond holdfast.httpx"
ANCHOR, ANCHOR_TOOK = "asyncio, httpx", 107.0  # milliseconds, on the machine of the bars
PROBE = """
import {before}
from time import process_time
started = process_time()
{timed}
print((process_time() - started) * 1000)
"""
SUBJECTS = {  # what: (imported before, done on the clock)
    ANCHOR: ("sys", "import asyncio, httpx"),
    "holdfast.httpx": ("asyncio, httpx", "import holdfast.httpx"),
    "holdfast.httpx2": ("asyncio, httpx2", "import holdfast.httpx2"),
    "of it: anyio, sniffio, cachetools, dataclasses": (
        "asyncio, httpx",
        "import anyio, sniffio, cachetools, dataclasses",
    ),
    "then ResilientTransport()": ("asyncio, httpx, holdfast.httpx", "holdfast.httpx.ResilientTransport()"),
    "  of it httpx's SSL context": ("asyncio, httpx, holdfast.httpx", "httpx.create_ssl_context(trust_env=False)"),
    "and with the cache": ("asyncio, httpx, holdfast.httpx", "import holdfast.policies.cache"),
    RESOURCES: ("asyncio, httpx, holdfast.httpx", "import holdfast.client.service"),
    "peer: tenacity": ("asyncio, httpx", "import tenacity"),
    "peer: aiolimiter": ("asyncio, httpx", "import aiolimiter"),
    "peer: hishel.httpx": ("asyncio, httpx", "import hishel.httpx"),
    "peer: httpx_retries": ("asyncio, httpx", "import httpx_retries"),
}


async def milliseconds(before: str, timed: str, environment: Mapping[str, str]) -> float:
    """What one fresh process says."""
    code = PROBE.format(before=before, timed=timed)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, env=environment
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{timed} failed")
    return float(said)


async def measure(rounds: int) -> Section:
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = bytecode
        subjects = {name: partial(milliseconds, *imports, environment) for name, imports in SUBJECTS.items()}
        for once in subjects.values():  # compiles
            await once()
        taken = await interleaved(subjects, rounds)
    medians = {name: statistics.median(figures) for name, figures in taken.items()}
    slower = medians[ANCHOR] / ANCHOR_TOOK
    figures = [Figure(f"anchor: {ANCHOR}", f"{medians.pop(ANCHOR):.1f} ms", f"{ANCHOR_TOOK:g} ms")]
    for name, median in medians.items():
        ours, bar = name.startswith("holdfast"), RESOURCES_BAR if name == RESOURCES else BAR
        value = f"{median:.1f} ms   scaled {median / slower:.1f} ms"
        figures.append(Figure(name, value, f"<= {bar:g} ms" if ours else "", median / slower <= bar if ours else None))
    return Section("Import, beyond asyncio and the family", figures, dict(taken))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    print(show([asyncio.run(measure(given.rounds))], as_json=given.json))
