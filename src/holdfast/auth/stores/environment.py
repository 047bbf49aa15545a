"""Secrets that the environment brings: variables, and the files that variables name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

from holdfast.auth.stores.base import SecretStore, checked
from holdfast.core.secret import Hidden, Secret
from holdfast.errors import InvalidInput
from holdfast.stores.base import StoreError, StoreReadOnly

__all__ = ["EnvironmentSecrets"]

_FILE: Final = "_FILE"
_LONGEST: Final = 1024 * 1024


class EnvironmentSecrets(SecretStore):
    """Reads ``HOLDFAST_GITHUB`` for "github", or the file that ``HOLDFAST_GITHUB_FILE`` names (as Docker's secrets
    are), without the newline at its end. Read afresh each time; nothing can be put there (`StoreReadOnly`).

    ``variables`` gives other variables to some names. An empty variable is none.

    >>> EnvironmentSecrets(variables={"github": "GITHUB_TOKEN"}).variable("github")
    'GITHUB_TOKEN'
    """

    def __init__(
        self,
        prefix: str = "HOLDFAST_",
        *,
        variables: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        if not prefix:  # else every variable of the process would be a secret of ours
            raise InvalidInput("the prefix must not be empty", argument="prefix")
        self._prefix = prefix
        self._variables = dict(variables or {})
        self._environ = Hidden(os.environ if environ is None else environ)

    def __repr__(self) -> str:
        return f"EnvironmentSecrets({self._prefix!r})"

    def variable(self, name: str) -> str:
        """The variable for a name."""
        return self._variables.get(name) or self._prefix + re.sub("[^A-Z0-9]", "_", checked(name).upper())

    async def get(self, name: str) -> Secret | None:
        return self.read(name)

    def read(self, name: str) -> Secret | None:
        """As `get`, but not async. Raises `StoreError`, which names the variable, for a file that cannot be read."""
        variable = self.variable(name)
        if text := self._environ.get(variable):
            return Secret(text)
        path = self._environ.get(variable + _FILE)
        if not path:
            return None
        try:
            with open(path, encoding="utf-8", newline="") as file:
                text = file.read(_LONGEST + 1)
        except (OSError, ValueError) as error:
            raise self._unreadable(variable, _reason(error)) from None
        if len(text) > _LONGEST:
            raise self._unreadable(variable, f"it has more than {_LONGEST:,} characters")
        text = text.removesuffix("\n").removesuffix("\r")
        return Secret(text) if text else None

    async def put(self, name: str, secret: Secret) -> None:
        raise self._read_only(name)

    async def delete(self, name: str) -> None:
        raise self._read_only(name)

    async def names(self) -> list[str]:
        own = {
            variable.removeprefix(self._prefix).removesuffix(_FILE).lower()
            for variable, value in self._environ.items()
            if value and variable.startswith(self._prefix) and variable.removesuffix(_FILE) != self._prefix[:-1]
        }
        given = {name for name, variable in self._variables.items() if self._environ.get(variable)}
        return sorted((own | given) - {""})

    def exclusive(self, name: str) -> AbstractAsyncContextManager[None]:
        raise self._read_only(name)

    def place(self, name: str) -> str:
        return f"the environment variable {self.variable(name)}"

    def _unreadable(self, variable: str, why: str) -> StoreError:
        return StoreError(f"{variable}{_FILE} names a file that cannot be read: {why}")

    def _read_only(self, name: str) -> StoreReadOnly:
        return StoreReadOnly(f"{self.place(name)} can be set by whoever starts this process alone")


def _reason(error: Exception) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else "it is no text in UTF-8"
