"""What does an exception from an attempt tell about the request?"""

from __future__ import annotations

import enum

__all__ = ["Fault"]


class Fault(enum.Enum):
    """How far a failed attempt came, in the order of how sure we are that the server did not act on it."""

    UNSENT = "unsent"  # no connection came about: the server saw nothing
    UNPROCESSED = "unprocessed"  # the server said that it did not act on it (HTTP/2 GOAWAY, REFUSED_STREAM)
    INTERRUPTED = "interrupted"  # lost on the way, or no answer in time: the server may have acted
    SATURATED = "saturated"  # no free connection on our side; says nothing about the server
    LOCAL = "local"  # our request, our settings or our trust store are at fault: sending again is of no use
