"""Reads small bodies inside the attempt, so that a cut body is a failed attempt and not the caller's surprise."""

from __future__ import annotations

from holdfast._wire import Family, Handler, Q, R
from holdfast.call import CALL, Call
from holdfast.core.buffering import MAX_ENCODINGS, Auto, buffer_limit, count_encodings, read_head

__all__ = ["BodyBuffer"]


class BodyBuffer:
    """``"auto"`` reads what `core.buffering.buffer_limit` says, True everything, False nothing.

    A body in memory holds no connection and no permit. Errors of the read surface as the attempt's error. An
    answer with more than five chained content encodings is refused from its head. ``cap`` is the pipeline's
    ``max_body_bytes``: not even True reads more than that ahead; the rest is left to the response that counts.
    """

    def __init__(self, setting: Auto, cap: int | None = None) -> None:
        self._setting: Auto = setting
        self._cap = cap

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        own, cap = self._setting, self._cap

        async def handle(request: Q) -> R:
            call: Call = request.extensions[CALL]
            response = await inner(request)
            if response.is_closed:
                return response
            raw = response.headers.raw
            encodings = count_encodings(raw)
            if encodings > MAX_ENCODINGS:
                await response.aclose()
                message = f"the answer has {encodings} content encodings; at most {MAX_ENCODINGS} are decoded"
                raise family.undecodable(message, request)
            asked = call.options.buffer_body
            setting: Auto = own if asked is None else asked
            if setting is False:
                return response
            limit = buffer_limit(setting, read_head(raw), method=request.method, status=response.status_code)
            if limit != 0:
                await family.body(response).load(cap if limit is None else limit)
            return response

        return handle
