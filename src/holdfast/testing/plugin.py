"""Fixtures for pytest: ``pytest_plugins = ["holdfast.testing.plugin"]`` in a ``conftest.py``.

They are synchronous, so they serve plain tests, and async ones on asyncio and trio, whichever plugin runs those.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.testing.clock import VirtualClock
from holdfast.testing.faulty import FaultyServer

__all__ = ["faulty_server", "virtual_clock"]


@pytest.fixture
def faulty_server() -> Iterator[FaultyServer]:
    """A loopback origin of this test's own, stopped when the test is over.

    A behaviour that raised makes the test an error then, in an ``ExceptionGroup``.
    """
    with FaultyServer() as server:
        yield server


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A clock that jumps to the next timer when every task waits. Not for tests with sockets."""
    return VirtualClock(jump=True)
