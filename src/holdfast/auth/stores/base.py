"""What must a place for secrets do? Keep texts under names; a token is such a text too, so each is a `TokenStore`."""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final, Self

from holdfast.core.secret import Secret
from holdfast.core.tokens import Token
from holdfast.errors import HoldfastError, InvalidInput
from holdfast.stores.base import StoreDamaged

__all__ = ["MissingSecret", "SecretStore", "checked", "is_name"]

_LONGEST: Final = 128
_KIND: Final = "holdfast-token/1"


class MissingSecret(HoldfastError):
    """Nobody has set the secret ``name``; ``where`` is the place, such as an environment variable, to set it at."""

    def __init__(self, message: str, *, name: str, where: str) -> None:
        super().__init__(message)
        self.name = name
        self.where = where


class SecretStore(ABC):
    """Secrets by name, and tokens, which share the names. One contract test suite runs on every implementation.

    Nothing of a secret is in an error, a repr or a log. A value is given back as it was put, or an error is raised:
    never a part of one, nor what somebody made of it. Errors are `holdfast.stores.base.StoreError`: `StoreDamaged`,
    `StoreUnsafe`, `StoreLocked`, `StoreReadOnly`; and `InvalidInput` for a name that is empty, longer than 128
    characters or not printable. A call that is cancelled leaves each name as it was or as it was to become.
    """

    @abstractmethod
    async def get(self, name: str) -> Secret | None:
        """What was put last under ``name``; None when there is nothing."""

    @abstractmethod
    async def put(self, name: str, secret: Secret) -> None:
        """Keep it in place of the one before. It is durable, and whole for every reader, when this returns."""

    @abstractmethod
    async def delete(self, name: str) -> None:
        """Forget it; nothing happens when there is none."""

    @abstractmethod
    async def names(self) -> list[str]:
        """Of all that is stored, sorted."""

    @abstractmethod
    def exclusive(self, name: str) -> AbstractAsyncContextManager[None]:
        """Held by one task at a time, of all processes that share the store; entering waits for it.

        One that dies while it holds it gives it back, at once or after a time that the store names.
        """

    @abstractmethod
    def place(self, name: str) -> str:
        """Where a secret of this name would be, for people: what they have to set."""

    async def require(self, name: str) -> Secret:
        """As `get`, but raises `MissingSecret` when there is nothing."""
        found = await self.get(name)
        if found is None:
            raise self.missing(name)
        return found

    def missing(self, name: str) -> MissingSecret:
        """The error that says what is to be set."""
        return MissingSecret(f"{self.place(name)} is not set", name=name, where=self.place(name))

    async def load(self, name: str) -> Token | None:
        """The token that was saved last under ``name``. Raises `StoreDamaged` for a secret that is no token."""
        found = await self.get(name)
        return None if found is None else _read(found, name)

    async def save(self, name: str, token: Token) -> None:
        """As `put`, for a token."""
        await self.put(name, _written(token))

    async def aclose(self) -> None:  # noqa: B027  (most hold nothing open)
        """Give back what the store holds open; using it after that opens it again."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def is_name(text: str) -> bool:
    """Whether every store can keep a secret under it."""
    return 0 < len(text) <= _LONGEST and text.isprintable()


def checked(name: str) -> str:
    """A name that every store can keep. Raises `InvalidInput`."""
    if not is_name(name):
        raise InvalidInput(f"a name has 1 to {_LONGEST} printable characters, got {name!r}", argument="name")
    return name


def _written(token: Token) -> Secret:
    """All attributes, whichever a later version has, and which of them are secrets."""
    plain: dict[str, Any] = {}
    hidden: dict[str, str] = {}
    for name, value in vars(token).items():
        if isinstance(value, Secret):
            hidden[name] = value.reveal()
        elif value is not None:
            plain[name] = value
    return Secret(json.dumps({"kind": _KIND, "plain": plain, "secret": hidden}))


def _read(written: Secret, name: str) -> Token:
    known = inspect.signature(Token).parameters.keys()
    try:
        found = json.loads(written.reveal())
        if found["kind"] != _KIND:
            raise ValueError
        fields: dict[str, Any] = {**found["plain"], **{key: Secret(text) for key, text in found["secret"].items()}}
        return Token(**{key: value for key, value in fields.items() if key in known})
    except (ValueError, TypeError, KeyError, AttributeError):
        # Without its cause, whose text may be a part of what was read.
        raise StoreDamaged(f"what is stored as {name!r} is no token") from None
