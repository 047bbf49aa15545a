"""Secrets in the keyring of the user's desktop: macOS Keychain, Windows Credential Locker, Secret Service, KWallet."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from anyio import to_thread

from holdfast.auth.stores.base import SecretStore, checked
from holdfast.auth.stores.lock import file_lock, lock_beside
from holdfast.clock import Clock, SystemClock
from holdfast.core.secret import Secret
from holdfast.stores.base import StoreDamaged, StoreError, StoreLocked, StoreUnsafe

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

__all__ = ["KeyringSecrets"]

T = TypeVar("T")

_INDEX: Final = "\N{SECTION SIGN} names"
"""Keyrings have no list of what they hold. No name of ours can be this one: a caller's is told so."""

_INSTEAD: Final = "use EncryptedFile or SQLiteSecrets (--store file:PATH or sqlite:PATH)"


class KeyringSecrets(SecretStore):
    """Keeps secrets in the system's keyring, as passwords of ``service`` (extra ``keyring``).

    ``backend``: one of ``keyring``'s; default: the one that it finds best. One that does not protect what it keeps,
    such as a file in clear, is `StoreUnsafe`; a machine without a keyring, as most servers are, is `StoreLocked`.
    ``locks``: the directory of the files behind `exclusive`; default: ``holdfast`` below ``XDG_STATE_HOME``.

    Shared by tasks and processes of one user. Windows keeps no more than 1,280 characters, which some tokens are not.
    """

    def __init__(
        self,
        service: str = "holdfast",
        *,
        backend: KeyringBackend | None = None,
        locks: str | os.PathLike[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.service: Final = checked(service)
        self._given = backend
        self._locks = _state_home() / "holdfast" if locks is None else Path(locks)
        self._clock: Clock = SystemClock() if clock is None else clock

    def __repr__(self) -> str:
        return f"KeyringSecrets({self.service!r})"

    async def get(self, name: str) -> Secret | None:
        text = await self._asked(lambda ring: ring.get_password(self.service, self._own(name)))
        return Secret(text) if text else None

    async def put(self, name: str, secret: Secret) -> None:
        own = self._own(name)

        def put(ring: _Ring) -> None:
            ring.set_password(self.service, own, secret.reveal())
            self._list(ring, lambda names: names | {own})

        async with self._listing():
            await self._asked(put)

    async def delete(self, name: str) -> None:
        own = self._own(name)

        def delete(ring: _Ring) -> None:
            if ring.get_password(self.service, own) is not None:
                ring.delete_password(self.service, own)
            self._list(ring, lambda names: names - {own})

        async with self._listing():
            await self._asked(delete)

    async def names(self) -> list[str]:
        return sorted(await self._asked(self._listed))

    def exclusive(self, name: str) -> AbstractAsyncContextManager[None]:
        return file_lock(lock_beside(self._locks / self.service, self._own(name)), self._clock)

    def place(self, name: str) -> str:
        return f"the secret {name!r} of {self.service!r} in the keyring"

    def _own(self, name: str) -> str:
        return checked(name) if name != _INDEX else checked("")

    def _listing(self) -> AbstractAsyncContextManager[None]:
        return file_lock(lock_beside(self._locks / self.service, _INDEX), self._clock)

    def _list(self, ring: _Ring, change: Callable[[set[str]], set[str]]) -> None:
        before = self._listed(ring)
        after = change(before)
        if after != before:
            ring.set_password(self.service, _INDEX, json.dumps(sorted(after)))

    def _listed(self, ring: _Ring) -> set[str]:
        text = ring.get_password(self.service, _INDEX)
        try:
            found: Any = json.loads(text or "[]")
            return set(map(str, found))
        except (ValueError, TypeError):
            raise StoreDamaged(f"the list of names of {self.service!r} in the keyring is no list") from None

    async def _asked(self, work: Callable[[_Ring], T]) -> T:
        """In a thread: a keyring that is locked asks the user first."""
        return await to_thread.run_sync(self._ask, work, abandon_on_cancel=True)

    def _ask(self, work: Callable[[_Ring], T]) -> T:
        try:
            import keyring
            from keyring.errors import KeyringError, NoKeyringError
        except ImportError as error:
            raise ImportError("KeyringSecrets needs the extra keyring: pip install 'holdfast[keyring]'") from error
        try:
            ring = keyring.get_keyring() if self._given is None else self._given
            if (strength := float(ring.priority)) < 1:  # keyring's own rule for what it recommends
                kind = StoreLocked if strength <= 0 else StoreUnsafe
                raise kind(f"no keyring here protects a secret, not even {ring.name}; {_INSTEAD}")
            return work(ring)
        except NoKeyringError:
            raise StoreLocked(f"this machine has no keyring; {_INSTEAD}") from None
        except KeyringError as error:
            raise StoreError(f"the keyring refused: {type(error).__name__}") from error


def _state_home() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")


class _Ring(Protocol):
    """What is used of a `KeyringBackend`, not all of which is typed."""

    def get_password(self, service: str, username: str, /) -> str | None: ...
    def set_password(self, service: str, username: str, password: str, /) -> None: ...
    def delete_password(self, service: str, username: str, /) -> None: ...
