"""Reads small bodies inside the attempt, so that a cut body is a failed attempt and not the caller's surprise."""

from __future__ import annotations

from holdfast._wire import Family, Handler, Q, R
from holdfast.call import CALL, Call
from holdfast.core.buffering import MAX_ENCODINGS, Auto, buffer_limit, read_head

__all__ = ["BodyBuffer"]


class BodyBuffer:
    """``"auto"`` reads what `core.buffering.buffer_limit` says, True everything, False nothing.

    A body in memory holds no connection and no permit. Errors of the read surface as the attempt's error. An
    answer with more than five chained content encodings is refused from its head.
    """

    def __init__(self, setting: Auto) -> None:
        self._setting = setting

    def bind(self, inner: Handler[Q, R], family: Family[Q, R]) -> Handler[Q, R]:
        own = self._setting

        async def handle(request: Q) -> R:
            response = await inner(request)
            if response.is_closed:
                return response
            call: Call = request.extensions[CALL]
            asked = call.options.buffer_body
            setting = own if asked is None else asked
            if setting is False:
                return response
            head = read_head(response.headers.raw)
            if head.encodings > MAX_ENCODINGS:
                await response.aclose()
                message = f"the answer has {head.encodings} content encodings; at most {MAX_ENCODINGS} are decoded"
                raise family.undecodable(message, request)
            limit = buffer_limit(setting, head, method=request.method, status=response.status_code)
            if limit != 0:
                await self._read(response, limit, family)
            return response

        return handle

    async def _read(self, response: R, limit: int | None, family: Family[Q, R]) -> None:
        body = family.body(response)
        chunks: list[bytes] = []
        size = 0
        async for chunk in body:
            chunks.append(chunk)
            size += len(chunk)
            if limit is not None and size > limit:
                family.rebody(response, chunks, rest=body)
                return
        await body.aclose()
        family.rebody(response, chunks)
