"""A token in ``Authorization``: a constant, what a function gives, or what a `TokenSource` has."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable
from typing import Any, Final

from holdfast.auth.credential import Again, Attempt, Hook, OriginBound
from holdfast.auth.token_source import TokenSource
from holdfast.call import CALL, Call
from holdfast.clock import Clock, SystemClock
from holdfast.core.secret import Secret
from holdfast.core.tokens import Token
from holdfast.errors import InvalidInput

__all__ = ["Bearer", "Provider", "TokenBound"]

Provider = Callable[[], "str | Secret | Awaitable[str | Secret]"]

_TOKEN: Final = re.compile(r"[\x21-\x7e]+")  # wider than RFC 6750 2.1, which many servers do not keep to
_INSUFFICIENT_SCOPE: Final = re.compile(r'error\s*=\s*"?insufficient_scope\b', re.IGNORECASE)


class TokenBound(OriginBound):
    """Base of the credentials whose token comes from a `TokenSource`, and is renewed once after a 401."""

    owned = frozenset({"authorization"})

    def __init__(
        self,
        source: TokenSource,
        *,
        origins: str | Iterable[str] | None,
        allow_http: bool,
        identity: str | None,
    ) -> None:
        super().__init__(origins=origins, allow_http=allow_http, identity=identity)
        self.source: Final = source
        self._one_person = identity is not None

    @property
    def identity(self) -> str:
        """As of every credential; another one for each login by hand, unless it was given. See `recall`."""
        own, whose = self._own_identity(), self.source.whose
        return own if self._one_person or not whose else f"{own}:{whose}"

    async def recall(self) -> None:
        """Learn from the store whose token there is; until then the identity is nobody's, and finds no answers.

        A service does so by itself. Takes a second at most, once, and raises nothing.
        """
        await self.source.recall()

    async def _put_on(self, attempt: Attempt) -> Token:
        token = await self._token_for(attempt)
        attempt.headers["Authorization"] = f"{_scheme(token.token_type)} {token.access_token.reveal()}"
        return token

    async def rejected(self, proof: object, challenge: str | None) -> bool:
        # RFC 6750 3.1: another token of the same scope would be no better.
        if not isinstance(proof, Token) or (challenge is not None and _INSUFFICIENT_SCOPE.search(challenge)):
            return False
        return self.source.invalidate(proof)

    def hook(self) -> Hook:
        """As every credential's, and after a 401 the attempt is made once more with the next token."""
        self._bound()

        async def sign(request: Any, attempt: int) -> Again | None:
            proof = await self.sign(request)

            async def again(response: Any) -> bool:
                challenge = response.headers.get("www-authenticate")
                return response.status_code == 401 and await self.rejected(proof, challenge)

            return None if proof is None else again

        return sign

    async def _token_for(self, attempt: Attempt) -> Token:
        call: Call | None = attempt.extensions.get(CALL)
        if call is None:
            return await self.source.get()
        call.unsigned = True  # and stays so if the attempt's time ends here
        token = await self.source.get()
        call.unsigned = False
        return token

    async def aclose(self) -> None:
        """End a refresh that is under way."""
        await self.source.aclose()


class Bearer(TokenBound):
    """``Authorization: Bearer ...`` (RFC 6750).

    ``token``: a constant, or a function, plain or async, that gives one. A function is called once, and again only
    when the server has answered 401 to what it gave, or after ``lifetime`` seconds; all callers wait for the same
    call of it. Raises `InvalidInput` for a constant with characters that a header field cannot hold.

    >>> Bearer("t0k3n", origins="https://api.example.com")
    Bearer(https://api.example.com)
    """

    def __init__(
        self,
        token: str | Secret | Provider,
        *,
        lifetime: float | None = None,
        origins: str | Iterable[str] | None = None,
        allow_http: bool = False,
        identity: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        if lifetime is not None and not lifetime > 0:
            raise InvalidInput(f"lifetime must be more than 0 seconds, got {lifetime}", argument="lifetime")
        self._constant: Final = None if callable(token) else Secret.of(token)
        if self._constant is not None:
            _checked(self._constant)
        clock = SystemClock() if clock is None else clock

        async def fetch(previous: Token | None) -> Token:
            text = _checked(await _given(token))
            return Token(text, lifetime=lifetime, expires_at=None if lifetime is None else clock.wall() + lifetime)

        super().__init__(TokenSource(fetch, clock=clock), origins=origins, allow_http=allow_http, identity=identity)

    async def rejected(self, proof: object, challenge: str | None) -> bool:
        return self._constant is None and await super().rejected(proof, challenge)

    def _default_identity(self) -> str:
        if self._constant is None:
            return super()._default_identity()
        return f"Bearer:{self._constant.fingerprint(b'identity')}"


async def _given(token: str | Secret | Provider) -> Secret:
    given = token() if callable(token) else token
    return Secret.of(await given if isawaitable(given) else given)


def _checked(token: Secret) -> Secret:
    if _TOKEN.fullmatch(token.reveal()) is None:
        raise InvalidInput(
            "this token has characters that no header field can hold (it is not shown)", argument="token"
        )
    return token


def _scheme(token_type: str) -> str:
    """Servers write ``bearer`` as often as ``Bearer`` in a token's answer, and then want it spelled as in RFC 6750."""
    return "Bearer" if token_type.lower() == "bearer" else token_type
