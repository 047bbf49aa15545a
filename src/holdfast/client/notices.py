"""Who hears that an operation will go? Once for each: the pipeline's listeners, and whoever sees Python's warnings."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any, Final

from holdfast.by_origin import origin_of
from holdfast.core.caching.dates import format_date
from holdfast.core.deprecation import Notice, notice_of
from holdfast.errors import DeprecatedOperation

if TYPE_CHECKING:
    from holdfast._wire import ReceivedLike
    from holdfast.client.backend import Backend
    from holdfast.client.plan import Plan

__all__ = ["tell"]

_MOST: Final = 1024
"""Operations that are remembered; code that makes up names without end is told of that many."""


def tell(response: ReceivedLike, plan: Plan, backend: Backend) -> None:
    """Pass on what an answer says of its operation, the first time. Raises the warning where warnings are errors."""
    if plan.operation in backend.told or len(backend.told) >= _MOST:
        return
    wall = backend.clock.wall()
    notice = notice_of(response.headers.get, str(response.url), wall)
    if notice is None:
        return
    backend.told.add(plan.operation)
    pipeline: Any = backend.pipeline
    if pipeline is not None:
        from holdfast.events import OperationDeprecated

        chosen = pipeline.choose(response.url) if hasattr(pipeline, "choose") else pipeline
        chosen.tell(
            OperationDeprecated(
                at=wall,
                key=origin_of(response.url),
                operation=plan.operation,
                template=plan.template,
                deprecated_at=notice.deprecated_at,
                sunset_at=notice.sunset_at,
                link=notice.link,
            )
        )
    warnings.warn(_text(plan.operation, notice, wall), DeprecatedOperation, stacklevel=_caller())


def _caller() -> int:
    """The stack level, for `tell`, of the code that made the call: Python shows a DeprecationWarning in that alone."""
    level, frame = 1, sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while (outer := frame.f_back) is not None and str(frame.f_globals.get("__name__")).startswith("holdfast."):
        level, frame = level + 1, outer
    return level


def _text(operation: str, notice: Notice, wall: float) -> str:
    said: list[str] = []
    if notice.deprecated_at is not None:
        is_now = "has been deprecated since" if notice.deprecated_at <= wall else "will be deprecated on"
        said.append(f"{is_now} {format_date(notice.deprecated_at).decode()}")
    elif notice.sunset_at is None or notice.link is None:
        said.append("is deprecated")
    if notice.sunset_at is not None:
        ends = "is to be gone since" if notice.sunset_at <= wall else "will be gone after"
        said.append(f"{ends} {format_date(notice.sunset_at).decode()}")
    more = "" if notice.link is None else f" (see {notice.link})"
    return f"{operation} {' and '.join(said)}, its server says{more}"
