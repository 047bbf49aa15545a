"""What does a stored answer take in memory, and how long does a look-up among a million take?

    python -m benchmarks.cache_entries [--entries N]

The entries are made of response headers as the cache makes them, in processes of their own; what they take is how
much larger the process is with them, less their bodies.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import subprocess
import sys
import time
from typing import Any, Final

from benchmarks.report import Figure, Section, show
from holdfast import MemoryStore
from holdfast.core.caching.entry import Exchange
from holdfast.core.caching.key import Identity, primary_key
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.request import read_ask
from holdfast.core.caching.storing import Storable, judge

BODY_BYTES: Final = 100
LOOKUPS: Final = 20_000
POLICY: Final = CachePolicy()
IDENTITY: Final = Identity.of(POLICY, b"benchmarks of holdfast")
OURS: Final[dict[str, list[tuple[bytes, bytes]]]] = {
    "anonymous": [],
    "of a user each": [(b"Authorization", b"Bearer token")],
}


def _key(number: int, partition: str) -> str:
    return primary_key("GET", f"https://api.example/things/{number:07}", partition)


async def filled(who: str, entries: int) -> dict[str, Any]:
    """Bytes an entry, and seconds a look-up with a thousand entries, ten thousand, and so on."""
    store = MemoryStore(max_entries=entries, max_bytes=entries * 4096)
    ask = read_ask("GET", OURS[who])
    partition = IDENTITY.partition(ask.fields)
    took: dict[int, float] = {}
    gc.collect()
    gc.disable()  # it would only look at a million entries again and again
    before = _resident()
    for number in range(entries):
        stored = judge(ask, _key(number, partition), 200, _headers(number), _exchange(number), POLICY, IDENTITY)
        assert isinstance(stored, Storable)
        await store.put(stored.entry.with_body(b"%0*d" % (BODY_BYTES, number)))
        if number + 1 in (1_000, 10_000, 100_000, 1_000_000, entries):
            took[number + 1] = _looked_up(store, number + 1, partition)
    grown = _resident() - before
    assert len(store) == entries, "nothing was evicted"
    return {"bytes": grown / entries - BODY_BYTES, "counted": store.bytes_used / entries - BODY_BYTES, "took": took}


def _headers(number: int) -> list[tuple[bytes, bytes]]:
    return [
        (b"Date", b"Sun, 22 Nov 2026 18:%02d:%02d GMT" % (number // 60 % 60, number % 60)),
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"%d" % BODY_BYTES),
        (b"Cache-Control", b"max-age=86400"),
        (b"ETag", b'"%08x"' % number),
    ]


def _exchange(number: int) -> Exchange:
    now = 1_795_370_400.25 + number / 1000
    return Exchange(request_time=now, response_time=now + 0.125, wall=now + 0.125)


def _looked_up(store: MemoryStore, entries: int, partition: str) -> float:
    """Microseconds a look-up, the best of five times, in no order and by keys that were made anew."""
    chosen = random.Random(entries)
    best = float("inf")
    for _ in range(5):
        keys = [_key(chosen.randrange(entries), partition) for _ in range(LOOKUPS)]
        started = time.process_time()
        for key in keys:
            store.lookup(key)
        best = min(best, (time.process_time() - started) / LOOKUPS * 1e6)
    return best


def _resident() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(entries: int) -> Section:
    """Both kinds of entries, a fresh process each, at the same time."""
    command = [sys.executable, "-m", "benchmarks.cache_entries", "--entries", str(entries), "--only"]
    running = {who: subprocess.Popen([*command, who], stdout=subprocess.PIPE) for who in OURS}
    found = {who: json.loads(process.communicate()[0]) for who, process in running.items()}
    figures: list[Figure] = []
    for who, taken in found.items():
        value = f"{taken['bytes']:.0f} bytes beyond the body, counted as {taken['counted']:.0f}"
        figures.append(Figure(f"an entry, {who}", value, "<= 700", taken["bytes"] <= 700))
        slowest = max(taken["took"].values())
        value = ", ".join(f"{took:.2f} us of {int(size):,}" for size, took in taken["took"].items())
        figures.append(Figure(f"a look-up, {who}", value, "<= 2 us", slowest <= 2.0))
    return Section(f"{entries:,} entries in memory", figures, found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--only", choices=OURS, help="one kind, in this process, as data")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.only:
        print(json.dumps(asyncio.run(filled(given.only, given.entries))))
    else:
        print(show([measure(given.entries)], as_json=given.json))
