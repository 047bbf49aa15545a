"""What is done with each attempt of a call, inside the retries? Interceptors run, and the credential signs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from holdfast._wire import AROUND_ATTEMPT
from holdfast.call import OPTIONS
from holdfast.client.interceptors import Interceptor, around, close

if TYPE_CHECKING:
    from holdfast._wire import Credential, Family, Handler

__all__ = ["around_attempt"]


def around_attempt(
    family: Family[Any, Any], interceptors: Sequence[Interceptor], credential: Credential | None
) -> Interceptor:
    """What goes with a request to its attempts: these interceptors, and inside them the credential.

    It signs each attempt. One that is answered with 401 is sent once more, where the credential can renew its proof
    and the body can be read again.
    """

    async def attempt(request: Any, send: Handler[Any, Any]) -> Any:
        own = family.fresh_attempt(request)  # what is changed there is gone with the attempt
        del own.extensions[AROUND_ATTEMPT]
        inner = send if credential is None else signed(send, credential)
        return await around(interceptors, inner)(own)

    def replayable(request: Any) -> bool:
        return request.extensions[OPTIONS].get("replayable") is True or family.replayable(request)

    def signed(send: Handler[Any, Any], credential: Credential) -> Handler[Any, Any]:
        exchange: Callable[..., Awaitable[Any]] | None = getattr(credential, "exchange", None)
        if exchange is not None:

            async def hand_over(request: Any) -> Any:
                fresh = family.fresh_attempt if replayable(request) else None
                return await exchange(request, send, fresh)

            return hand_over
        rejected: Callable[[object, str | None], Awaitable[bool]] | None = getattr(credential, "rejected", None)

        async def sign_and_send(request: Any) -> Any:
            again = family.fresh_attempt(request) if rejected is not None and replayable(request) else None
            proof = await credential.sign(request)
            response = await send(request)
            if response.status_code != 401 or again is None or rejected is None:
                return response
            try:
                worth_it = await rejected(proof, response.headers.get("www-authenticate"))
            except BaseException:
                await close(response)
                raise
            if not worth_it:
                return response
            await close(response)
            await credential.sign(again)
            return await send(again)

        return sign_and_send

    return attempt
