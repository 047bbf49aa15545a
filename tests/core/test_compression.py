"""Bodies that get shorter by gzip, and those that are left alone."""

from __future__ import annotations

import gzip
import random

import pytest

from holdfast.core.compression import gzipped

LONG = b'{"name": "Ada"}' * 1000
NOISE = random.Random(1).randbytes(5000)


@pytest.mark.parametrize(
    ("body", "media_type", "at_least", "shorter"),
    [
        (LONG, "application/json", 1024, True),
        (LONG, None, 1024, True),
        (LONG * 50, "application/json", 1024, True),
        (LONG, "application/json", len(LONG), True),
        (LONG, "application/json", len(LONG) + 1, False),
        (b"", "application/json", 0, False),
        (b"ab", "application/json", 0, False),
        (NOISE, "application/octet-stream", 1024, False),
        (LONG, "image/png", 1024, False),
        (LONG, "IMAGE/SVG+XML", 1024, True),
        (LONG, "application/zip", 1024, False),
        (LONG, " Application/GZIP", 1024, False),
        (LONG, "application/x-ndjson", 1024, True),
    ],
)
def test_a_body_is_gzipped_if_it_gets_shorter(
    body: bytes, media_type: str | None, at_least: int, shorter: bool
) -> None:
    made = gzipped(body, media_type, at_least)
    assert (made is not None) is shorter
    if made is not None:
        assert gzip.decompress(made) == body
        assert len(made) < len(body)


def test_the_same_body_makes_the_same_bytes() -> None:
    made = gzipped(LONG, None, 0)
    assert made == gzipped(LONG, None, 0)
    assert made is not None
    assert made[4:8] == b"\0\0\0\0", "RFC 1952 2.3: no time"
