"""holdfast: an async-first resilient HTTP toolkit for httpx and httpx2.

``holdfast.httpx`` and ``holdfast.httpx2`` hold the transports; here is what both share. Names are loaded when they
are first used (PEP 562), so that ``import holdfast`` costs next to nothing, and imports no HTTP library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast._deadline import SendDeadline as SendDeadline
    from holdfast._deadline import deadline as deadline
    from holdfast._history import Attempt as Attempt
    from holdfast._history import History as History
    from holdfast._history import history as history
    from holdfast._version import __version__ as __version__
    from holdfast.core.breaker import CircuitBreaker as CircuitBreaker
    from holdfast.core.bucket import RateLimit as RateLimit
    from holdfast.core.budget import RetryBudget as RetryBudget
    from holdfast.core.caching.rules import CacheRule as CacheRule
    from holdfast.core.gradient import AdaptiveConcurrency as AdaptiveConcurrency
    from holdfast.core.health import Condition as Condition
    from holdfast.core.health import Health as Health
    from holdfast.core.health import condition_of as condition_of
    from holdfast.core.hedge import Hedge as Hedge
    from holdfast.core.idempotency import IdempotencyKeys as IdempotencyKeys
    from holdfast.core.jitter import DecorrelatedJitter as DecorrelatedJitter
    from holdfast.core.jitter import EqualJitter as EqualJitter
    from holdfast.core.jitter import FullJitter as FullJitter
    from holdfast.core.jitter import ProportionalJitter as ProportionalJitter
    from holdfast.core.limits import Scope as Scope
    from holdfast.core.offline import OfflineMode as OfflineMode
    from holdfast.core.outages import Alert as Alert
    from holdfast.core.pacing import Pacing as Pacing
    from holdfast.core.retry import IDEMPOTENT_METHODS as IDEMPOTENT_METHODS
    from holdfast.core.retry import Retry as Retry
    from holdfast.core.sliding import Window as Window
    from holdfast.core.throttle import Throttle as Throttle
    from holdfast.errors import BodyDropped as BodyDropped
    from holdfast.errors import BodyTooLarge as BodyTooLarge
    from holdfast.errors import CircuitOpen as CircuitOpen
    from holdfast.errors import Closed as Closed
    from holdfast.errors import ConcurrencyFull as ConcurrencyFull
    from holdfast.errors import DeadlineExceeded as DeadlineExceeded
    from holdfast.errors import HoldfastError as HoldfastError
    from holdfast.errors import InvalidOption as InvalidOption
    from holdfast.errors import Offline as Offline
    from holdfast.errors import RateLimited as RateLimited
    from holdfast.errors import Refused as Refused
    from holdfast.errors import ResponseRejected as ResponseRejected
    from holdfast.errors import Throttled as Throttled
    from holdfast.errors import Unsupported as Unsupported
    from holdfast.pipeline import Pipeline as Pipeline
    from holdfast.policies.cache import Cache as Cache
    from holdfast.policies.concurrency import ConcurrencyLimit as ConcurrencyLimit
    from holdfast.policies.fallback_settings import Failure as Failure
    from holdfast.policies.fallback_settings import Fallback as Fallback
    from holdfast.policies.fallback_settings import Substitute as Substitute
    from holdfast.stores.base import Store as Store
    from holdfast.stores.base import StoreError as StoreError
    from holdfast.stores.encrypted import Encrypted as Encrypted
    from holdfast.stores.memory import MemoryStore as MemoryStore
    from holdfast.stores.sqlite import SQLiteStore as SQLiteStore
    from holdfast.stores.tiered import Tiered as Tiered
    from holdfast.telemetry.activity import ActivityLog as ActivityLog
    from holdfast.telemetry.notify import Notify as Notify

_MODULES = {
    "_version": ("__version__",),
    "_deadline": ("SendDeadline", "deadline"),
    "_history": ("Attempt", "History", "history"),
    "core.breaker": ("CircuitBreaker",),
    "core.bucket": ("RateLimit",),
    "core.budget": ("RetryBudget",),
    "core.caching.rules": ("CacheRule",),
    "core.gradient": ("AdaptiveConcurrency",),
    "core.health": ("Condition", "Health", "condition_of"),
    "core.idempotency": ("IdempotencyKeys",),
    "core.hedge": ("Hedge",),
    "core.jitter": ("DecorrelatedJitter", "EqualJitter", "FullJitter", "ProportionalJitter"),
    "core.limits": ("Scope",),
    "core.outages": ("Alert",),
    "core.offline": ("OfflineMode",),
    "core.pacing": ("Pacing",),
    "core.retry": ("IDEMPOTENT_METHODS", "Retry"),
    "core.sliding": ("Window",),
    "core.throttle": ("Throttle",),
    "errors": (
        "BodyDropped",
        "BodyTooLarge",
        "CircuitOpen",
        "Closed",
        "ConcurrencyFull",
        "DeadlineExceeded",
        "HoldfastError",
        "InvalidOption",
        "Offline",
        "RateLimited",
        "Refused",
        "ResponseRejected",
        "Throttled",
        "Unsupported",
    ),
    "pipeline": ("Pipeline",),
    "policies.cache": ("Cache",),
    "policies.concurrency": ("ConcurrencyLimit",),
    "policies.fallback_settings": ("Failure", "Fallback", "Substitute"),
    "stores.base": ("Store", "StoreError"),
    "stores.encrypted": ("Encrypted",),
    "stores.memory": ("MemoryStore",),
    "stores.sqlite": ("SQLiteStore",),
    "stores.tiered": ("Tiered",),
    "telemetry.activity": ("ActivityLog",),
    "telemetry.notify": ("Notify",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [*_HOME]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]  # loaded late

if not TYPE_CHECKING:  # or checkers would take any misspelt name for one of ours

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"holdfast.{_HOME[name]}"), name)
        globals()[name] = value  # the next look-up does not come here
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
