"""What does a profile say? Where a credential goes, how it is sent, and the name of its secret; never the secret.

From a table of a TOML file, or from variables. Pure; every complaint names the profile and the key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from holdfast.core.oauth.metadata import metadata_urls
from holdfast.core.origins import Origins
from holdfast.core.value import Value
from holdfast.errors import InvalidInput

__all__ = ["KINDS", "Profile", "no_toml", "profile_of", "profiles_of", "profiles_of_environment"]

KINDS: Final[Mapping[str, frozenset[str]]] = {
    "bearer": frozenset(),
    "api_key": frozenset({"header", "query", "cookie", "prefix"}),
    "basic": frozenset({"username"}),
    "hmac": frozenset({"key_id"}),
    "http_signature": frozenset({"key_id", "tag"}),
    "jwt": frozenset({"algorithm", "key_id", "issuer", "subject", "audience"}),
    "aws": frozenset({"access_key", "region", "service"}),
    "client_credentials": frozenset({"server", "client_id", "scope"}),
    "login": frozenset({"server", "client_id", "scope"}),
}
"""The kinds of credentials, and the keys that each may have besides."""

_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "basic": ("username",),
    "hmac": ("key_id",),
    "http_signature": ("key_id",),
    "jwt": ("algorithm",),
    "aws": ("access_key", "region", "service"),
    "client_credentials": ("server", "client_id"),
    "login": ("server", "client_id"),
}
_SECRETS: Final = frozenset({"token", "password", "key", "api_key", "client_secret", "access_token", "refresh_token"})
_ALL: Final = frozenset[str]().union(*KINDS.values())


class Profile(Value):
    """One credential. ``secret``: the name under which its secret is kept; for a login there may be none there.

    ``settings``: those of its kind, by `KINDS`.
    """

    def __init__(
        self, name: str, kind: str, origins: tuple[str, ...], secret: str, settings: Mapping[str, str]
    ) -> None:
        self.name = name
        self.kind = kind
        self.origins = origins
        self.secret = secret
        self.settings = dict(settings)


def no_toml(path: object, error: ValueError) -> InvalidInput:
    """What to raise for a file that is no TOML: with the line, and without the error's text, which may quote it."""
    found = re.search(r"at (line \d+|end of document)", str(error))
    return InvalidInput(f"{path} is no TOML in UTF-8{f' ({found[0]})' if found else ''}", argument="path")


def profiles_of(document: Mapping[str, Any]) -> dict[str, Profile]:
    """The profiles of a TOML document, one for each table. Raises `InvalidInput`."""
    return {name: profile_of(name, table) for name, table in document.items()}


def profile_of(name: str, table: Any) -> Profile:
    """One profile. Raises `InvalidInput`, which never has a value in it that may be a secret."""
    if not isinstance(table, Mapping):
        raise InvalidInput(f"{name} is no table: a profile is written as [{name}]", argument=name)
    given = dict(cast("Mapping[str, Any]", table))
    if found := sorted(_SECRETS & given.keys()):
        raise InvalidInput(
            f"profile {name} has its {found[0]} in the file: keep that in a store, and name it with secret=",
            argument=found[0],
        )
    kind, secret = given.pop("kind", "bearer"), given.pop("secret", name)
    origins = given.pop("origins", None)
    if kind not in KINDS:
        raise InvalidInput(f"profile {name} has a kind that is none of {', '.join(KINDS)}", argument="kind")
    origins = [origins] if isinstance(origins, str) else origins
    if not isinstance(origins, list) or not origins:
        raise InvalidInput(f"profile {name} needs origins, the only ones that it is sent to", argument="origins")
    for key in given:
        if key not in KINDS[kind]:
            raise InvalidInput(f"profile {name}, a {kind}, has no {key}", argument=key)
    for key in _REQUIRED.get(kind, ()):
        if key not in given:
            raise InvalidInput(f"profile {name}, a {kind}, needs {key}", argument=key)
    for key, value in {**given, "secret": secret, **dict.fromkeys(["origins"], "")}.items():
        if not isinstance(value, str):
            raise InvalidInput(f"profile {name}: {key} is a text", argument=key)
    texts = cast("list[Any]", cast("object", origins))
    if not all(isinstance(origin, str) for origin in texts):
        raise InvalidInput(f"profile {name}: origins are texts", argument="origins")
    try:
        Origins.of(texts)
        if "server" in given:
            metadata_urls(given["server"])
    except InvalidInput as error:
        raise InvalidInput(f"profile {name}: {error.message}", argument=error.argument) from None
    return Profile(name, kind, tuple(texts), secret, given)


def profiles_of_environment(environ: Mapping[str, str], prefix: str) -> dict[str, Profile]:
    """A profile for each ``<prefix><NAME>_ORIGINS``: its other keys in the same way, names in lower case.

    Several origins are separated by spaces. Raises `InvalidInput`.
    """
    found: dict[str, Profile] = {}
    for variable in sorted(environ):
        stem = variable.removesuffix("_ORIGINS")
        if not variable.startswith(prefix) or stem in (variable, prefix.removesuffix("_")) or not environ[variable]:
            continue
        name = stem.removeprefix(prefix).lower()
        table: dict[str, Any] = {"origins": environ[variable].split()}
        for key in ("kind", *sorted(_ALL)):
            if value := environ.get(f"{stem}_{key.upper()}"):
                table[key] = value
        found[name] = profile_of(name, table)
    return found
