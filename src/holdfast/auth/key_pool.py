"""Several keys for one API, each used as long as it is good."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final, TypeVar, cast

import anyio

from holdfast._wire import AROUND_ATTEMPT
from holdfast.auth.credential import Attempt, Hook, OriginBound
from holdfast.clock import Clock, SystemClock
from holdfast.core.hints import hints_of
from holdfast.core.keys import (
    Accepted,
    Aside,
    Forbidden,
    Key,
    Keys,
    Limited,
    Rejected,
    Ticket,
    Verdict,
    revive,
    settle,
    take,
)
from holdfast.core.retry_after import server_delay
from holdfast.errors import InvalidInput, NoUsableKey

__all__ = ["KeyPool"]

P = TypeVar("P", bound="KeyPool")
Send = Callable[[Any], Awaitable[Any]]

COOL_DOWN: Final = 30.0
REVIVE_AFTER: Final = 300.0


class KeyPool(OriginBound):
    """One of several credentials for each attempt, by weight; one that fails is put aside, and another sends at once.

    - 429: aside until the server's own reset (``Retry-After``, ``RateLimit``), else for ``cool_down`` seconds, doubled
      each time up to an hour. 403 is the same where it says so.
    - 401: aside for ``revive_after`` seconds, doubled each time; then one call tries it.
    - 403: the request is sent with one more key. If that is let through, it was the key, and 403 is as 401; if not,
      it is the request that is not allowed, and no key is to blame.

    Failures of one key that come together are one. With no key left, the last answer is the caller's, and calls after
    it raise `NoUsableKey`, which names ids and never values. The server's answers are seen where a `Service` sends;
    with `hook`, another key is used from the next attempt on. A request whose body cannot be sent again is not.

    Give the pipeline ``pacing=None`` where quotas are each key's own: it would take what a server tells of one key for
    the whole origin's.

    ``keys``: credentials by id. An id is shown in errors and `health`; the credentials need no origins of their own,
    and none that has some is sent elsewhere.
    ``weights``: by id, 1 where none is given. Shared by all tasks of one event loop. Raises `InvalidInput`.

    >>> from holdfast.auth import APIKey
    >>> KeyPool({"team-a": APIKey("k1"), "team-b": APIKey("k2")}, weights={"team-a": 3})
    KeyPool(team-a, team-b)
    """

    def __init__(
        self,
        keys: Mapping[str, OriginBound],
        *,
        weights: Mapping[str, float] | None = None,
        cool_down: float = COOL_DOWN,
        revive_after: float = REVIVE_AFTER,
        origins: str | Iterable[str] | None = None,
        allow_http: bool = False,
        identity: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(origins=origins, allow_http=allow_http, identity=identity)
        weights = weights or {}
        if not keys:
            raise InvalidInput("a pool needs a key", argument="keys")
        if not all(isinstance(key, OriginBound) and not isinstance(key, KeyPool) for key in _values(keys)):
            raise InvalidInput("a pool's keys are credentials by id, and no pools", argument="keys")
        if strangers := weights.keys() - keys.keys():
            raise InvalidInput(f"weights of no key: {', '.join(sorted(strangers))}", argument="weights")
        if not all(0 < weight < float("inf") for weight in weights.values()):
            raise InvalidInput(
                "a weight is a number above 0; leave a key out that is not to be used", argument="weights"
            )
        for name, seconds in (("cool_down", cool_down), ("revive_after", revive_after)):
            if not 0 < seconds < float("inf"):
                raise InvalidInput(f"{name} must be more than 0 seconds, got {seconds}", argument=name)
        self._members = {id: self._bound_member(member) for id, member in keys.items()}
        self.owned = frozenset[str]().union(*(member.owned for member in keys.values()))
        self._clock: Clock = SystemClock() if clock is None else clock
        self._cool_down = cool_down
        self._revive_after = revive_after
        # In a list, so that what `for_origin` gives shares it.
        self._keys: list[Keys] = [{id: Key(weight=weights.get(id, 1.0)) for id in keys}]

    def for_origin(self: P, origin: str) -> P:
        bound = super().for_origin(origin)
        if bound is not self:
            bound._members = {id: bound._bound_member(member) for id, member in self._members.items()}
        return bound

    def health(self) -> dict[str, str]:
        """By id: "usable", or why and for how long the key is put aside. For people and health checks."""
        now = self._clock.monotonic()
        return {id: _told(key, now) for id, key in self._keys[0].items()}

    def revive(self, id: str) -> None:
        """Use a key again, whatever was found out about it. Raises KeyError for an id that is none."""
        self._keys[0] = revive(self._keys[0], id)

    def hook(self) -> Hook:
        self._bound()

        async def sign(request: Any, attempt: int) -> None:
            around: Callable[[Any, Send], Awaitable[Any]] | None = request.extensions.get(AROUND_ATTEMPT)

            async def exchange(request: Any, send: Send) -> Any:
                async def inner(own: Any) -> Any:
                    return await (send(own) if around is None else around(own, send))

                return await self.exchange(request, inner, None)

            request.extensions[AROUND_ATTEMPT] = exchange

        return sign

    async def exchange(self, request: Any, send: Send, fresh: Callable[[Any], Any] | None) -> Any:
        """Send with one key after the other, until an answer is not about the key. Raises `NoUsableKey`."""
        if not self._admits(request.url):
            await self.sign(request)  # takes off what belongs to a key
            return await send(request)
        doubted: Ticket | None = None  # its key got a 403, and another key is to say whose fault that was
        renewed: set[str] = set()
        ticket = self._take()
        while True:
            member, verdict, response = self._members[ticket.id], None, None
            try:
                again = None if fresh is None else fresh(request)
                proof = await member.sign(request)
                response = await send(request)
                verdict = self._verdict(response)
                may_renew = response.status_code == 401 and again is not None and ticket.id not in renewed
                if may_renew and await member.rejected(proof, response.headers.get("www-authenticate")):
                    renewed.add(ticket.id)  # it has a newer secret
                    verdict = None
            except BaseException:
                if response is not None:
                    await _close(response)
                raise
            finally:
                self._settle(ticket, verdict)
            if isinstance(verdict, Forbidden):
                if doubted is not None:
                    return response  # two keys are told the same: it is the request
                doubted = ticket
            elif isinstance(verdict, Accepted) or response.status_code >= 500:
                if doubted is not None and verdict is not None:
                    self._settle(doubted, Rejected())
                return response
            # Before the answer is given up: others may lose the last key while it is closed.
            following = None if again is None else self._next(doubted)
            if following is None:
                return response
            request, ticket = again, following
            try:
                await _close(response)
            except BaseException:
                self._settle(ticket, None)
                raise

    def without_secret(self, url: str) -> str:
        for member in self._members.values():
            url = member.without_secret(url)
        return url

    async def _put_on(self, attempt: Attempt) -> Ticket:
        ticket = self._take()
        await self._members[ticket.id].sign(attempt)
        return ticket

    def _bound_member(self, member: OriginBound) -> OriginBound:
        if self._origins is None:
            return member
        if member._origins is not None:
            if not member._origins.include(self._origins):
                raise InvalidInput(
                    f"the pool is for {self._origins}, and one of its keys only for {member._origins}", argument="keys"
                )
            return member
        twin = copy.copy(member)
        twin._origins = self._origins
        return twin

    def _take(self) -> Ticket:
        ticket = self._next()
        if ticket is None:
            now, told = self._clock.monotonic(), self.health()
            waits = [key.until - now for key in self._keys[0].values() if key.until > now]
            listed = ", ".join(f"{id} ({why})" for id, why in told.items())
            raise NoUsableKey(f"no key can be used now: {listed}", keys=told, retry_after=min(waits, default=None))
        return ticket

    def _next(self, doubted: Ticket | None = None) -> Ticket | None:
        """The key whose turn it is, but not the one that is doubted; None if there is none."""
        without = () if doubted is None else (doubted.id,)
        self._keys[0], ticket = take(self._keys[0], self._clock.monotonic(), without)
        return ticket

    def _settle(self, ticket: Ticket, verdict: Verdict) -> None:
        self._keys[0] = settle(
            self._keys[0],
            ticket,
            verdict,
            self._clock.monotonic(),
            cool_down=self._cool_down,
            revive_after=self._revive_after,
        )

    def _verdict(self, response: Any) -> Verdict:
        status: int = response.status_code
        if status == 401:
            return Rejected()
        if status in (403, 429):
            delay = self._asked(response)
            return Limited(delay) if status == 429 or delay is not None else Forbidden()
        return Accepted() if status < 500 else None

    def _asked(self, response: Any) -> float | None:
        """Seconds until the server takes this key again; None if it did not say."""
        header, wall = response.headers.get, self._clock.wall()
        delay = server_delay(header, wall)
        if delay is not None:
            return delay
        return max((hint.resets_in for hint in hints_of(header, wall) if hint.left < 1), default=None)

    def _default_identity(self) -> str:
        digest = blake2b(digest_size=16)
        for member in self._members.values():
            digest.update(f"{len(member.identity)}:{member.identity}".encode())
        return f"KeyPool:{digest.hexdigest()}"

    def __repr__(self) -> str:
        return f"KeyPool({', '.join(self._members)})"


def _values(keys: object) -> Iterable[object]:
    """Of what should be a mapping."""
    return cast("Mapping[str, object]", keys).values() if isinstance(keys, Mapping) else (None,)


def _told(key: Key, now: float) -> str:
    if key.trial:
        return "is being tried"
    if key.usable(now):
        return "usable"
    why = "limited" if key.aside is Aside.LIMITED else "turned down"
    return f"{why}, for {key.until - now:.1f} s"


async def _close(response: Any) -> None:
    with anyio.CancelScope(shield=True):  # a connection is given back, whoever leaves
        await response.aclose()
