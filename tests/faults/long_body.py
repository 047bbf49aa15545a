"""A process of its own that sends long bodies through the cache, and tells what memory that took. Linux only.

``python -m tests.faults.long_body FAMILY BACKEND URL FILE CAP``: asks for /small first, then twice for /long and
once for /above, with a SQLite store in FILE that takes bodies up to CAP bytes. Prints what came as a line of JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import anyio

from holdfast import Cache, Pipeline
from holdfast.stores.sqlite import SQLiteStore
from tests.faults.wire import TRUSTS_NOBODY


def memory(name: str) -> int:
    """A figure of this process in bytes: VmRSS now, VmHWM at its highest."""
    (line,) = [line for line in Path("/proc/self/status").read_text("ascii").splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1024


async def read(client: Any, url: str, **headers: str) -> dict[str, Any]:
    """Read a body as it comes and keep nothing of it."""
    size = checksum = 0
    first: float | None = None
    began = time.process_time()  # a machine that stalls takes none of it
    async with client.stream("GET", url, headers=headers) as response:
        async for chunk in response.aiter_raw():
            first = time.process_time() - began if first is None else first
            size += len(chunk)
            checksum = zlib.crc32(chunk, checksum)
    return {
        "status": response.status_code,
        "cache": response.extensions["holdfast"]["cache"],
        "size": size,
        "checksum": checksum,
        "first": first,
        "seconds": time.process_time() - began,
    }


async def main(family: str, url: str, file: str, cap: int) -> None:
    http = importlib.import_module(family)
    holdfast = importlib.import_module(f"holdfast.{family}")
    # What is tested here is memory, and not how fast this machine is at the moment.
    async with SQLiteStore(file, max_bytes=2 * 1024**3) as store:
        cache = Cache(store=store, max_entry_bytes=cap, store_timeout=60.0)
        pipeline = Pipeline(cache=cache, deadline=None, attempt_timeout=None)
        transport = holdfast.ResilientTransport(pipeline, verify=TRUSTS_NOBODY)
        async with http.AsyncClient(transport=transport, timeout=60.0) as client:
            await read(client, f"{url}/small")
            before = memory("VmRSS")
            bodies = [await read(client, f"{url}/{path}") for path in ("long", "long", "above")]
            again = await read(client, f"{url}/above", **{"Cache-Control": "only-if-cached"})
    growth = memory("VmHWM") - before
    seen = {"growth": growth, "bodies": bodies, "again": again, "cache": pipeline.snapshot()["cache"]}
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    family, backend, url, file, cap = sys.argv[1:]
    anyio.run(main, family, url, file, int(cap), backend=backend)
