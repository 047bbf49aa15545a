"""What the tests over real sockets stand on: a faulty origin each, and cheap collections."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from holdfast.testing.faulty import FaultyServer


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    """An origin of the test's own; a file whose tests share some of its answers puts them on it."""
    with FaultyServer() as server:
        yield server


@pytest.fixture(autouse=True, scope="module")
def _cheap_collections() -> Iterator[None]:
    """What is older than these tests is not looked at by each of their collections."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
