"""Requests and stored responses for the tables of this directory."""

from __future__ import annotations

import time
from collections.abc import Callable

from holdfast.core.caching.entry import Entry, Exchange
from holdfast.core.caching.key import Identity, primary_key
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.request import Ask, read_ask
from holdfast.core.caching.storing import Storable, Unstorable, judge

Headers = list[tuple[bytes, bytes]]

URL = "https://api.example.com/users/1"
KEY = primary_key("GET", URL)
WALL = 784_111_777.0
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
"""`WALL` as a date."""
MINUTE_EARLIER = b"Sun, 06 Nov 1994 08:48:37 GMT"
MINUTE_LATER = b"Sun, 06 Nov 1994 08:50:37 GMT"
RECEIVED = 1_000.0
"""Monotonic time at which responses arrive."""
IDENTITY = Identity(b"0123456789abcdef")
PRIVATE = CachePolicy()
SHARED = CachePolicy(shared=True)


def block(text: str) -> Headers:
    """Header block from lines of ``Name: value``."""
    pairs = (line.split(":", 1) for line in text.strip().splitlines())
    return [(name.strip().encode("latin-1"), value.strip().encode("latin-1")) for name, value in pairs]


def ask(text: str = "", method: str = "GET") -> Ask:
    return read_ask(method, block(text))


def exchange(at: float = RECEIVED, *, took: float = 0.0, wall: float = WALL) -> Exchange:
    return Exchange(request_time=at - took, response_time=at, wall=wall)


def judged(
    response: str,
    *,
    request: str = "",
    method: str = "GET",
    status: int = 200,
    policy: CachePolicy = PRIVATE,
    key: str = KEY,
    when: Exchange | None = None,
) -> Storable | Unstorable:
    return judge(ask(request, method), key, status, block(response), when or exchange(), policy, IDENTITY)


def stored(
    response: str,
    *,
    request: str = "",
    status: int = 200,
    policy: CachePolicy = PRIVATE,
    key: str = KEY,
    when: Exchange | None = None,
    body: bytes = b"body",
) -> Entry:
    answer = judged(response, request=request, status=status, policy=policy, key=key, when=when)
    assert isinstance(answer, Storable), answer
    return answer.entry.with_body(body)


LINEAR = 80.0
"""What `growth` may be on a machine with other work to do."""


def growth(work: Callable[[bytes], object], make: Callable[[int], bytes]) -> float:
    """How much longer 256 KiB takes than 16 KiB: 16 when linear, 256 when quadratic.

    The best times of 2 rounds are compared; of 30, where a busy machine made linear work look like more.
    """

    def seconds(value: bytes) -> float:
        start = time.thread_time()  # our own work alone, whatever else the machine does
        work(value)
        return time.thread_time() - start

    short, long = make(1 << 14), make(1 << 18)
    least, most, ratio = float("inf"), float("inf"), float("inf")
    for number in range(30):
        least, most = min(least, seconds(short)), min(most, seconds(long))
        ratio = most / max(least, 1e-4)
        if number >= 1 and ratio < LINEAR:
            break
    return ratio


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "commas": lambda size: b"," * size,
    "spaces": lambda size: b" " * size,
    "quotes": lambda size: b'"' * size,
    "open quote and escapes": lambda size: b'"' + b'\\"' * (size // 2),
    "backslashes": lambda size: b"\\" * size,
    "quoted commas": lambda size: b'"' + b"," * size + b'"',
    "many members": lambda size: b"max-age=1," * (size // 10),
    "one long name": lambda size: b"a" * size,
    "one long number": lambda size: b"max-age=" + b"9" * size,
    "zeros": lambda size: b"max-age=" + b"0" * size,
    "equals": lambda size: b"=" * size,
    "tags": lambda size: b'W/"' * (size // 3),
    "high bytes": lambda size: b"\xff" * size,
}
