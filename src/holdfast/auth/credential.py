"""What have all credentials in common? They know where they belong, and are put on an attempt that goes there alone.

An attempt's headers and URL are its own, so what is put there is gone with it: neither a redirect, which copies the
request, nor an exception or a log, which show it, has ever seen the secret.
"""

from __future__ import annotations

import copy
import secrets
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NoReturn, Protocol, TypeVar, cast

from holdfast._wire import HeadersLike
from holdfast.core.origins import Origins
from holdfast.errors import HoldfastError, InvalidInput

__all__ = ["Again", "Attempt", "Hook", "InsecureOrigin", "OriginBound"]

C = TypeVar("C", bound="OriginBound")

Again = Callable[[Any], Awaitable[bool]]
"""Whether the answer to an attempt makes it worth being sent once more."""

Hook = Callable[[Any, int], Awaitable[Again | None]]
"""An attempt hook of a `Pipeline`."""


class InsecureOrigin(HoldfastError):
    """A call that belongs to a credential goes to ``origin`` in clear, where anybody could read it. Not sent."""

    def __init__(self, message: str, *, origin: str) -> None:
        super().__init__(message)
        self.origin = origin


class Attempt(Protocol):
    """What a credential sees of an attempt: a request whose headers and URL are this attempt's alone."""

    method: str
    extensions: dict[str, Any]
    url: Any

    @property
    def headers(self) -> HeadersLike: ...
    @property
    def content(self) -> bytes: ...


class OriginBound(ABC):
    """Base of all credentials of ours.

    ``origins``: where it may be sent (``https://api.example.com``; ``https://*.example.com`` for every host below).
    None: the origin of the `Service` that it is given to. Elsewhere, whatever leads there, it is not put on, and the
    fields that it owns are taken off. ``allow_http``: also in clear; loopback is always allowed. ``identity``: whose
    answers a private cache keeps for it; default: a digest of the secret, or a random one where the secret changes.

    Immutable but for the tokens that it holds, so it can be shared by services, transports and tasks. Raises
    `InvalidInput` for an origin that is none, or that is plain http.
    """

    owned: frozenset[str] = frozenset()
    """Names, in lower case, of the header fields that it sets, and that go nowhere else."""

    def __init__(
        self,
        *,
        origins: str | Iterable[str] | None,
        allow_http: bool,
        identity: str | None,
    ) -> None:
        self._allow_http = allow_http
        self._origins = None if origins is None else Origins.of(origins, allow_http=allow_http)
        self._identity = identity

    @property
    def identity(self) -> str:
        """Whose answers these are, for a private cache. Not the secret, and nothing that tells it."""
        return self._own_identity()

    @abstractmethod
    async def _put_on(self, attempt: Attempt) -> object:
        """Put it on an attempt that goes where it belongs; what is returned tells `rejected` which secret that was."""

    def for_origin(self: C, origin: str) -> C:
        """It, bound to this origin if it was bound to none. What it holds is shared.

        Raises `InvalidInput` if it is bound to other origins, or the origin is plain http.
        """
        if self._origins is None:
            bound = copy.copy(self)
            bound._identity = self._own_identity()
            bound._origins = Origins.of(origin, allow_http=self._allow_http)
            return bound
        if not self._origins.covers(origin):
            raise InvalidInput(f"this credential belongs to {self._origins}, and not to {origin}", argument="auth")
        return self

    async def sign(self, request: Any) -> object:
        """Put it on this attempt, or, where it does not belong, take off what it owns.

        Raises `InsecureOrigin` where a call to one of its hosts has become one in clear, as after a redirect.
        """
        attempt = cast("Attempt", request)
        if self._admits(attempt.url):
            return await self._put_on(attempt)
        host, origins = _host(attempt.url), self._bound()
        if attempt.url.scheme == "http" and origins.knows(host):
            raise InsecureOrigin(
                f"a call to {host} would go out in clear, and its credential is for {origins} only",
                origin=f"http://{host}",
            )
        for name in self.owned:
            if name in attempt.headers:
                del attempt.headers[name]
        url = str(attempt.url)
        if (bare := self.without_secret(url)) != url:
            attempt.url = attempt.url.join(bare)
        return None

    def without_secret(self, url: str) -> str:
        """A URL without the secret in it, which some servers copy into their links and redirects."""
        return url

    async def rejected(self, proof: object, challenge: str | None) -> bool:
        """Whether the request is worth one more try, now that the server has answered 401 to it.

        ``proof``: what `sign` returned. ``challenge``: the answer's ``WWW-Authenticate``.
        """
        return False

    def hook(self) -> Hook:
        """An attempt hook: ``Pipeline(hooks=[credential.hook()])``. Raises `InvalidInput` without ``origins``."""
        self._bound()

        async def sign(request: Any, attempt: int) -> None:
            await self.sign(request)

        return sign

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self._origins is None else self._origins})"

    def __copy__(self: C) -> C:
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        return twin

    def __reduce__(self) -> NoReturn:
        raise TypeError("a credential is not pickled: its secret would lie open in a file or on a wire")

    def _own_identity(self) -> str:
        if self._identity is None:
            self._identity = self._default_identity()
        return self._identity

    def _default_identity(self) -> str:
        return f"{type(self).__name__}:{secrets.token_hex(16)}"

    def _admits(self, url: Any) -> bool:
        """Whether it may go to this URL of one of the libraries."""
        return self._bound().admit(url.scheme, _host(url), url.port)

    def _bound(self) -> Origins:
        if self._origins is None:
            raise InvalidInput(
                f"{type(self).__name__} needs origins= to know where it may be sent: only a Service knows its own",
                argument="origins",
            )
        return self._origins


def _host(url: Any) -> str:
    """As it is sent: ``url.host`` of one library is not that of the other where a name is not ASCII."""
    raw: bytes = url.raw_host
    return raw.decode("ascii")
