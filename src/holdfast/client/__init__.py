"""The resource layer: an API as typed classes, whose methods give calls, and calls are values.

Names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast._wire import Credential as Credential
    from holdfast.client.call import Call as Call
    from holdfast.client.payload import UNSET as UNSET
    from holdfast.client.reply import Failed as Failed
    from holdfast.client.reply import Ok as Ok
    from holdfast.client.reply import Outcome as Outcome
    from holdfast.client.reply import Reply as Reply
    from holdfast.client.resource import Resource as Resource
    from holdfast.client.resource import accessor as accessor
    from holdfast.client.rows import Rows as Rows
    from holdfast.client.server_events import ServerEvent as ServerEvent
    from holdfast.client.server_events import ServerEvents as ServerEvents
    from holdfast.client.service import Service as Service

_HOME = {
    "UNSET": "client.payload",
    "Call": "client.call",
    "Credential": "_wire",
    "Failed": "client.reply",
    "Ok": "client.reply",
    "Outcome": "client.reply",
    "Reply": "client.reply",
    "Resource": "client.resource",
    "Rows": "client.rows",
    "ServerEvent": "client.server_events",
    "ServerEvents": "client.server_events",
    "Service": "client.service",
    "accessor": "client.resource",
}

__all__ = [*_HOME]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]  # PEP 562


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'holdfast.client' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"holdfast.{_HOME[name]}"), name)
    globals()[name] = value  # the next look-up does not come here
    return value
