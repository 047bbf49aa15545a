"""The resource layer: an API as typed classes, whose methods give calls, and calls are values.

Names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast._wire import Credential as Credential
    from holdfast.client.batches import outcome_of as outcome_of
    from holdfast.client.call import Call as Call
    from holdfast.client.checks import Check as Check
    from holdfast.client.checks import health_check as health_check
    from holdfast.client.crud import Crud as Crud
    from holdfast.client.download import Download as Download
    from holdfast.client.listing import Progress as Progress
    from holdfast.client.operations import Poll as Poll
    from holdfast.client.page_reader import Page as Page
    from holdfast.client.page_reader import resume_token as resume_token
    from holdfast.client.pages import Pages as Pages
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
    from holdfast.client.upload import Upload as Upload
    from holdfast.core.paging import PagingRule as PagingRule
    from holdfast.core.paging import Place as Place
    from holdfast.core.paging import by_cursor as by_cursor
    from holdfast.core.paging import by_link as by_link
    from holdfast.core.paging import by_offset as by_offset
    from holdfast.core.paging import by_page as by_page
    from holdfast.core.paging import by_url as by_url
    from holdfast.core.polling import Ended as Ended
    from holdfast.core.polling import Progressing as Progressing
    from holdfast.core.polling import by_state as by_state
    from holdfast.core.query import Query as Query
    from holdfast.core.told import Header as Header
    from holdfast.core.told import Told as Told

_HOME = {
    "Call": "client.call",
    "Check": "client.checks",
    "Credential": "_wire",
    "Crud": "client.crud",
    "Download": "client.download",
    "Ended": "core.polling",
    "Failed": "client.reply",
    "Header": "core.told",
    "Ok": "client.reply",
    "Outcome": "client.reply",
    "Page": "client.page_reader",
    "Pages": "client.pages",
    "PagingRule": "core.paging",
    "Place": "core.paging",
    "Poll": "client.operations",
    "Progress": "client.listing",
    "Progressing": "core.polling",
    "Query": "core.query",
    "Reply": "client.reply",
    "Resource": "client.resource",
    "Rows": "client.rows",
    "ServerEvent": "client.server_events",
    "ServerEvents": "client.server_events",
    "Service": "client.service",
    "Told": "core.told",
    "UNSET": "client.payload",
    "Upload": "client.upload",
    "accessor": "client.resource",
    "by_cursor": "core.paging",
    "by_link": "core.paging",
    "by_offset": "core.paging",
    "by_page": "core.paging",
    "by_state": "core.polling",
    "by_url": "core.paging",
    "outcome_of": "client.batches",
    "health_check": "client.checks",
    "resume_token": "client.page_reader",
}

__all__ = [*_HOME]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]  # loaded late

if not TYPE_CHECKING:  # or checkers would take any misspelt name for one of ours

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'holdfast.client' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"holdfast.{_HOME[name]}"), name)
        globals()[name] = value  # the next look-up does not come here
        return value
