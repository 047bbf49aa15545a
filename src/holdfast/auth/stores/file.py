"""Secrets in one encrypted file."""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Final

from anyio import to_thread

from holdfast.auth.stores.base import SecretStore, checked
from holdfast.auth.stores.lock import file_lock, lock_beside
from holdfast.clock import Clock, SystemClock
from holdfast.core.secret import Secret
from holdfast.stores.base import StoreDamaged, StoreError, StoreUnsafe
from holdfast.stores.sealing import Key, Seal
from holdfast.stores.sqlite_file import locked

__all__ = ["EncryptedFile"]

_MAGIC: Final = b"holdfast-secrets/1\n"


class EncryptedFile(SecretStore):
    """Keeps all secrets in the file ``path``, names included, under AES-256-GCM (extra ``crypto``).

    ``key``: 32 random bytes, or a `Secret` of their base64; of several, the first seals and all open, so a new one
    is put in front. Without a key `StoreLocked` is raised at once, and never is anything kept in clear.

    >>> EncryptedFile("secrets.holdfast", key=bytes(range(32)))
    EncryptedFile('secrets.holdfast')

    A file that others can read is `StoreUnsafe`, one that was cut off or changed `StoreDamaged`. A change replaces
    the file as a whole, with mode 0600, so a process that is killed leaves the old one or the new one. Made for
    tens of secrets, which change now and then; shared by tasks, event loops and processes of one machine.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, key: Key | Sequence[Key] | None, clock: Clock | None = None
    ) -> None:
        self.path: Final = Path(path)
        self._seal = Seal(key)
        self._clock: Clock = SystemClock() if clock is None else clock

    def __repr__(self) -> str:
        return f"EncryptedFile({str(self.path)!r})"

    async def get(self, name: str) -> Secret | None:
        text = (await to_thread.run_sync(self._read)).get(checked(name))
        return None if text is None else Secret(text)

    async def put(self, name: str, secret: Secret) -> None:
        def put(texts: dict[str, str]) -> None:
            texts[name] = secret.reveal()

        checked(name)
        await to_thread.run_sync(self._change, put, abandon_on_cancel=True)

    async def delete(self, name: str) -> None:
        def delete(texts: dict[str, str]) -> None:
            texts.pop(name, None)

        checked(name)
        await to_thread.run_sync(self._change, delete, abandon_on_cancel=True)

    async def names(self) -> list[str]:
        return sorted(await to_thread.run_sync(self._read))

    def exclusive(self, name: str) -> AbstractAsyncContextManager[None]:
        return file_lock(lock_beside(self.path, checked(name)), self._clock)

    def place(self, name: str) -> str:
        return f"the secret {name!r} of {self.path}"

    def _read(self) -> dict[str, str]:
        try:
            with open(self.path, "rb") as file:
                _refuse_what_others_read(self.path, os.fstat(file.fileno()))
                content = file.read()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}") from error
        if not content.startswith(_MAGIC):
            raise StoreDamaged(f"{self.path}: it is empty or cut off, or no file of ours")
        try:
            texts: dict[str, str] = json.loads(self._seal.open(content[len(_MAGIC) :], _MAGIC))
        except StoreDamaged as error:
            raise StoreDamaged(f"{self.path}: {error}") from None
        return texts

    def _change(self, change: Callable[[dict[str, str]], None]) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(self.path.parent):  # nobody writes between our reading and our writing
                before = self._read()
                after = {**before}
                change(after)
                if after != before:
                    sealed = self._seal.close(json.dumps(after).encode(), _MAGIC)
                    replace_file(self.path, _MAGIC + sealed)
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}") from error


def replace_file(path: Path, content: bytes) -> None:
    """Have ``content`` be in the file, on the disk, with mode 0600; killed meanwhile, the old one is whole.

    The caller holds the directory's lock. Raises OSError.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(new)
        raise
    with suppress(OSError):  # a system where directories cannot be opened
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _refuse_what_others_read(path: Path, status: os.stat_result) -> None:
    if os.name == "posix" and status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise StoreUnsafe(f"{path}: others can read it (mode {mode:o}); it has to be 600")
