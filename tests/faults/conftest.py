"""What the tests over real sockets stand on: a faulty origin each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.testing.faulty import FaultyServer


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    """An origin of the test's own; a file whose tests share some of its answers puts them on it."""
    with FaultyServer() as server:
        yield server
