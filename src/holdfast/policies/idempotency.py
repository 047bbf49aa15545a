"""Idempotency keys as a layer: above retry, so that all attempts of a call carry the same one."""

from __future__ import annotations

from uuid import uuid4

from holdfast._wire import Family, Handler, Q, R
from holdfast.call import CALL, Call
from holdfast.core.idempotency import IdempotencyKeys

__all__ = ["Keying"]


class Keying:
    """Writes the key of its call into each request of the settings' methods, and notes it in the `Call`.

    The caller's request is left as it is, so that it gets a new key when it is sent anew. A call that goes on after
    a redirect, an auth flow or a failover keeps its key. No state. Keys are random numbers of the system's: the
    pipeline's own random source may repeat itself, in tests and in forked processes.
    """

    def __init__(self, settings: IdempotencyKeys) -> None:
        self._settings = settings

    def reconfigure(self, settings: IdempotencyKeys) -> None:
        """Other settings for the calls that begin from now on."""
        self._settings = settings

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        methods, header, written = self._settings.methods, self._settings.header, self._settings.written

        async def handle(request: Q) -> R:
            if request.method in methods:
                call: Call = request.extensions[CALL]
                given = request.headers.get(header)
                if given is None:
                    request = family.fresh_attempt(request)
                    given = request.headers[header] = call.idempotency_key or written(str(uuid4()))
                call.idempotency_key = given
            return await inner(request)

        return handle
