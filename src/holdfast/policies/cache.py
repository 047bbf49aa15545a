"""An HTTP cache as a layer: its settings, and the state that all transports of a pipeline share.

Above retry, so that a fresh answer costs no token, no permit and no verdict, and works while a circuit is open.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from holdfast._wire import Family, Handler, Q, R, RequestLike
from holdfast.clock import Clock
from holdfast.core.caching.fields import DELTA_CAP
from holdfast.core.caching.key import Identity
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.reach import Reach
from holdfast.core.caching.rules import Rules, same_keys
from holdfast.policies.cache_layer import CacheLayer
from holdfast.policies.cache_state import Shared
from holdfast.policies.cache_store import Shelf
from holdfast.policies.coalesce import Flights
from holdfast.stores.base import Measured, Store

if TYPE_CHECKING:
    from holdfast.policies.emitter import Emitter
    from holdfast.policies.telemetry import CallTelemetry

__all__ = ["Cache", "Caching"]

_BY_HAND: Final = 60.0
"""Seconds that a store may take for a purge that no call waits for: it may have to look at all there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache(CachePolicy):
    """A cache by RFC 9111: private by default, ``shared=True`` for one between several users.

    A private cache keeps apart what is asked for with different credentials: by the identity that a Credential
    or ``extensions["holdfast"]["identity"]`` gives, else by Authorization, Cookie, Proxy-Authorization,
    X-Api-Key, every other field whose name looks like a credential, and ``identity_headers``. What hooks,
    interceptors or a service's credential may sign below the cache passes it by: without an identity, and in a
    shared cache always.

    ``extensions["holdfast"]["cache"]`` of one request: ``"refresh"`` asks the origin whether what is stored still
    holds, ``"bypass"`` neither looks nor stores, ``"only"`` never asks the origin (504 if there is nothing
    fresh), ``{"ttl": 60}`` takes an answer below 400 that may be stored for fresh for 60 seconds from now. What a
    request says goes before ``rules``, and those before the answer's own fields.

    One event loop at a time. A caller that is cancelled while others wait for its answer hands the fetch to
    one of them. Raises ValueError for settings out of range.

    >>> Cache(max_entry_bytes=1_000_000).shared
    False
    """

    store: Store | None = None
    """Where answers are kept; None: a `MemoryStore` of the pipeline's own, of 64 MiB.

    A store that is given is lent: other pipelines may use it too, and whoever made it closes it.
    """

    key: bytes | None = field(default=None, repr=False)
    """Secret of the digests that stand for credentials, 16 to 64 bytes; None: the store's, if it keeps one.

    Else a random one. Give one where several pipelines share a store that keeps none, or answers to credentials
    are each pipeline's own.
    """

    store_timeout: float = 0.05
    """Seconds for each operation of a store that has to wait; after that the origin is asked.

    A long body on its way into a store may take so much for each ``spill_bytes``. What is not used is saved up, to
    ten times as much; a store that needs more is given up for this body.
    """

    spill_bytes: int = 1024 * 1024
    """Bytes of a body that are held in memory while it comes; with a store that takes long bodies, more go there.

    They go in pieces of this size. With other stores a body is held up to ``max_entry_bytes``.
    """

    def __post_init__(self) -> None:
        CachePolicy.__post_init__(self)  # super() does not know a class with slots (bpo-46757)
        if self.key is not None:
            Identity(self.key)
        if not 0 < self.store_timeout < float("inf"):
            raise ValueError(f"store_timeout must be more than 0 seconds, got {self.store_timeout}")
        if self.spill_bytes < 1:
            raise ValueError(f"spill_bytes must be at least 1, got {self.spill_bytes}")


def told_apart(before: Cache, after: Cache) -> str | None:
    """The setting by which the one keeps answers elsewhere than the other, or for somebody else; None if none does."""
    if before.store is not after.store:
        return "store"
    for name in ("key", "shared", "identity_headers"):
        if getattr(before, name) != getattr(after, name):
            return name
    return None if same_keys(before.rules, after.rules) else "rules"


class Caching:
    """The cache layer. ``signed`` says that attempt hooks may add a credential which the cache cannot see.

    ``deadline`` is in seconds, for each fetch in the background.
    """

    def __init__(
        self,
        settings: Cache,
        store: Store,
        *,
        clock: Clock,
        deadline: float | None,
        signed: bool,
        emitter: Emitter | None = None,
    ) -> None:
        self._store = store
        shelf = Shelf(store, clock=clock, timeout=settings.store_timeout, emitter=emitter)
        kept = settings.key is None and shelf.keeps_secret is not None
        own = Identity.of(settings, settings.key or secrets.token_bytes(32), passing=kept)
        self._shared = Shared(
            policy=settings,
            identity=None if kept else own,
            stand_in=own,
            shelf=shelf,
            spill_bytes=settings.spill_bytes,
            flights=Flights(clock),
            clock=clock,
            deadline=deadline,
            rules=Rules(settings.rules) if settings.rules else None,
            signed=signed,
            telemetry=None if emitter is None else _telemetry(emitter),
        )

    def reconfigure(self, settings: Cache, deadline: float | None) -> None:
        """For the calls that come in once their transport was bound anew; the deadline for fetches in the background.

        What is stored stays, as it was stored.
        """
        shared = self._shared
        shared.policy, shared.spill_bytes, shared.deadline = settings, settings.spill_bytes, deadline
        shared.shelf.timeout = settings.store_timeout
        shared.rules = Rules(settings.rules) if settings.rules else None

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        return CacheLayer(inner, family, self._shared).handle

    def layer(self, family: Family[Q, R]) -> CacheLayer[Q, R]:
        """What is stored, and nothing beneath it."""
        return CacheLayer(_unsent, family, self._shared)

    async def stored(self, request: Q, family: Family[Q, R]) -> R | None:
        """The stored answer to a request, of whatever age; None if there is none that may be given."""
        return await self.layer(family).stored(request, DELTA_CAP, instead_of="network")

    async def fallback(self, request: Q, family: Family[Q, R], past: float) -> R | None:
        """The stored answer, at most ``past`` seconds past its lifetime; None if there is none that may be given."""
        return await self.layer(family).stored(request, past, instead_of="error")

    async def purge(self, reach: Reach) -> int:
        """Remove the answers within ``reach``, of every user and variant; how many there were."""
        rules = self._shared.rules
        reaches = [reach]
        if reach.kind == "url" and rules is not None:
            reaches = [Reach("url", url) for url in rules.spellings(reach.text)]
        return await self._shared.shelf.purge(reaches, _BY_HAND)

    def dismiss(self, make_error: Callable[[], Exception], owner: object = None) -> None:
        """Send away those who wait for another caller's fetch, or those of one ``owner``."""
        self._shared.flights.dismiss(make_error, owner)

    def snapshot(self) -> dict[str, int]:
        """Counts since the pipeline was made (see `Counts`); ``fetching``: the fetches that others may join now.

        ``entries`` and ``bytes`` of a store that knows them without I/O (`holdfast.stores.base.Measured`).
        """
        shared, store = self._shared, self._store
        told = {
            **asdict(shared.counts),
            "store_faults": shared.shelf.fault_count,
            "fetching": len(shared.flights),
        }
        if isinstance(store, Measured):
            told |= {"entries": len(store), "bytes": store.bytes_used}
        return told


def _telemetry(emitter: Emitter) -> CallTelemetry:
    from holdfast.policies.telemetry import CallTelemetry

    return CallTelemetry(emitter)


async def _unsent(request: RequestLike) -> Any:
    raise AssertionError("a stored answer needs no origin")
