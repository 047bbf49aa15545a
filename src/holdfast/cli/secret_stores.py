"""Which store does a command use? Told by ``--store`` or ``HOLDFAST_STORE``; its key by ``HOLDFAST_STORE_KEY``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Awaitable, Callable

import anyio

from holdfast.auth.stores.base import SecretStore
from holdfast.auth.stores.environment import EnvironmentSecrets
from holdfast.core.secret import Secret
from holdfast.errors import HoldfastError, InvalidInput

__all__ = ["add_store_to", "run_with_store", "store_of"]

_VARIABLE = "HOLDFAST_STORE"
_KEY = "HOLDFAST_STORE_KEY"
_HELP = f"""keyring, keyring:SERVICE, file:PATH or sqlite:PATH, sealed with the key in {_KEY} (32 random bytes in
base64) or in the file that {_KEY}_FILE names, or sqlite+clear:PATH; default: {_VARIABLE}, or keyring"""


def add_store_to(parser: argparse.ArgumentParser) -> None:
    """Add ``--store``."""
    parser.add_argument("--store", metavar="STORE", default=os.environ.get(_VARIABLE) or "keyring", help=_HELP)


def store_of(text: str) -> SecretStore:
    """The store that a text names. Raises `InvalidInput`, and `StoreLocked` where a key is needed."""
    kind, colon, rest = text.partition(":")
    if kind == "keyring" and (rest or not colon):
        from holdfast.auth.stores.keyring import KeyringSecrets

        return KeyringSecrets(rest or "holdfast")
    if kind == "file" and rest:
        from holdfast.auth.stores.file import EncryptedFile

        return EncryptedFile(rest, key=_key())
    if kind in ("sqlite", "sqlite+clear") and rest:
        from holdfast.auth.stores.sqlite import SQLiteSecrets

        return SQLiteSecrets(rest, key=None if kind == "sqlite+clear" else [_key()])
    raise InvalidInput(f"{text!r} is no store: keyring, file:PATH, sqlite:PATH or sqlite+clear:PATH", argument="store")


def run_with_store(
    work: Callable[[SecretStore, argparse.Namespace], Awaitable[int]], arguments: argparse.Namespace
) -> int:
    """The exit code of ``work``, or 2 with a line about what is wrong."""

    async def opened() -> int:
        async with store_of(arguments.store) as store:
            return await work(store, arguments)

    try:
        code: int = anyio.run(opened)
    except (HoldfastError, OSError, ImportError) as error:
        print(f"holdfast {arguments.command}: {error}", file=sys.stderr)
        return 2
    return code


def _key() -> Secret:
    environment = EnvironmentSecrets(variables={"key": _KEY})
    found = environment.read("key")
    if found is None:
        raise environment.missing("key")
    return found
