"""The default wire: connections one by one, under one cap, in front of which callers stand in one line."""

from __future__ import annotations

from holdfast.pools.ledger import PoolLimits
from holdfast.pools.transport import Pools

__all__ = ["PoolLimits", "Pools"]
