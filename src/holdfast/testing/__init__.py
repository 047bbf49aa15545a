"""For the tests of those who use holdfast: a virtual clock, a scripted far side, and a faulty origin.

Names are loaded when they are first used: the scripted transport needs no server, and the server no clock.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.testing.clock import VirtualClock as VirtualClock
    from holdfast.testing.faulty import FaultyServer as FaultyServer
    from holdfast.testing.scripted import Expect as Expect
    from holdfast.testing.scripted import Fails as Fails
    from holdfast.testing.scripted import Hangs as Hangs
    from holdfast.testing.scripted import Reply as Reply
    from holdfast.testing.scripted import ScriptedTransport as ScriptedTransport
    from holdfast.testing.scripted import ScriptMismatch as ScriptMismatch

_HOME = {
    "Expect": "scripted",
    "Fails": "scripted",
    "FaultyServer": "faulty",
    "Hangs": "scripted",
    "Reply": "scripted",
    "ScriptMismatch": "scripted",
    "ScriptedTransport": "scripted",
    "VirtualClock": "clock",
}

__all__ = [*_HOME]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]  # loaded late

if not TYPE_CHECKING:  # or checkers would take any misspelt name for one of ours

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'holdfast.testing' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"holdfast.testing.{_HOME[name]}"), name)
        globals()[name] = value  # the next look-up does not come here
        return value
