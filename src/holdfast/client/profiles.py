"""Where is an API, and who asks? Read from the environment, or from a profile in a TOML file, once and in full.

What is missing, unknown or of the wrong kind is named, and never what it holds. Secrets stand in the environment
alone: a profile names the variable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from holdfast.core.secret import Hidden, Secret
from holdfast.errors import InvalidInput

if TYPE_CHECKING:
    from holdfast.client.channel import Auth

__all__ = ["AuthKind", "from_environment", "from_profile"]

AuthKind: TypeAlias = Literal["bearer", "basic", "api_key"]

_SECRETS: Final[Mapping[str, tuple[str, ...]]] = {
    "bearer": ("token",),
    "basic": ("username", "password"),
    "api_key": ("api_key",),
}
# What Kubernetes sets in each container for a Service of this name, whoever made it.
_OF_THE_CLUSTER: Final = r"SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?)?"
_PROFILE_AUTH: Final = ("token_env", "username", "password_env", "api_key_env", "api_key_header")


def from_environment(prefix: str, auth: AuthKind | Auth | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of a service, from the variables that begin with ``prefix`` and an underscore.

    Raises `InvalidInput`, which names the variable.
    """
    environ = Hidden(environ)
    start = f"{prefix.rstrip('_').upper()}_"
    named = {name.removeprefix(start): name for name in environ if name.startswith(start)}
    given = {key.lower(): name for key, name in named.items() if re.fullmatch(_OF_THE_CLUSTER, key) is None}
    kind = auth if isinstance(auth, str) else None
    if kind is not None and kind not in _SECRETS:
        raise InvalidInput(f"auth is {', '.join(map(repr, _SECRETS))}, a credential or None", argument="auth")
    of_auth = () if kind is None else (*_SECRETS[kind], *(("api_key_header",) if kind == "api_key" else ()))
    known = {"url", *_READERS, *of_auth} - {"default_headers"}
    for key, variable in given.items():
        if key not in known:
            allowed = ", ".join(f"{start}{name.upper()}" for name in sorted(known))
            raise InvalidInput(f"{variable} is no setting; there are: {allowed}", argument=variable)

    def required(key: str) -> str:
        return _variable(f"{start}{key.upper()}", environ)

    made: dict[str, Any] = {"base_url": required("url")}
    for key, read in _READERS.items():
        if key in given and environ[given[key]] != "":
            made[key] = read(environ[given[key]], given[key])
    if kind is None:
        return made if auth is None else {**made, "auth": auth}
    secrets = [_kept(name, required(name)) for name in _SECRETS[kind]]
    return {**made, "auth": _credential(kind, secrets, environ.get(f"{start}API_KEY_HEADER") or None)}


def from_profile(name: str, path: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of a service, from a table of a TOML file. Raises `InvalidInput`, which names the key; OSError."""
    import tomllib

    environ = Hidden(environ)
    file = Path(path or environ.get("HOLDFAST_PROFILES") or Path.home() / ".config/holdfast/profiles.toml")
    try:
        profiles = tomllib.loads(file.read_text("utf-8"))
    except ValueError as error:  # TOMLDecodeError, and bytes that are no UTF-8
        from holdfast.core.profiles import no_toml

        raise no_toml(file, error) from None
    profile = profiles.get(name)
    if not isinstance(profile, dict):
        raise InvalidInput(f"there is no profile [{name}] in {file}", argument=name)
    table = cast("dict[str, Any]", profile)
    made: dict[str, Any] = {}
    for key, value in table.items():
        where = f"{name}.{key}"
        if key == "url":
            made["base_url"] = _text(value, where)
        elif key in _READERS:
            made[key] = _READERS[key](value, where)
        elif key not in _PROFILE_AUTH:
            allowed = ", ".join(("url", *_READERS, *_PROFILE_AUTH))
            raise InvalidInput(f"{where} is no setting; there are: {allowed}", argument=where)
    if "base_url" not in made:
        raise InvalidInput(f"{name}.url is missing", argument=f"{name}.url")
    auth = _auth_of(name, {key: _text(table[key], f"{name}.{key}") for key in _PROFILE_AUTH if key in table}, environ)
    return made if auth is None else {**made, "auth": auth}


def _auth_of(name: str, told: Mapping[str, str], environ: Mapping[str, str]) -> Auth | None:
    kinds: list[AuthKind] = []
    if "token_env" in told:
        kinds.append("bearer")
    if "username" in told or "password_env" in told:
        kinds.append("basic")
    if "api_key_env" in told or "api_key_header" in told:
        kinds.append("api_key")
    if len(kinds) > 1:
        raise InvalidInput(f"profile [{name}] has more than one credential: {' and '.join(kinds)}", argument=name)
    if not kinds:
        return None
    secrets: list[Any] = []
    for secret in _SECRETS[kinds[0]]:
        key = secret if secret == "username" else f"{secret}_env"
        if key not in told:
            raise InvalidInput(f"{name}.{key} is missing", argument=f"{name}.{key}")
        secrets.append(_kept(secret, told[key] if secret == "username" else _variable(told[key], environ)))
    return _credential(kinds[0], secrets, told.get("api_key_header"))


def _kept(name: str, text: str) -> str | Secret:
    return text if name == "username" else Secret(text)


def _credential(kind: AuthKind, secrets: list[Any], header: str | None) -> Auth:
    from holdfast.auth import APIKey, Basic, Bearer

    match kind:
        case "bearer":
            return Bearer(*secrets)
        case "basic":
            return Basic(*secrets)
        case "api_key":
            return APIKey(*secrets, header=header)


def _variable(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "")
    if not value:  # an empty one is what a deployment leaves of a secret that it does not have
        raise InvalidInput(f"the environment variable {name} is not set", argument=name)
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{where} is no text", argument=where)
    return value


def _seconds(value: Any, where: str) -> float:
    try:
        seconds = float(value) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError):
        seconds = float("nan")
    if not 0 < seconds < float("inf"):
        raise InvalidInput(f"{where} is no number of seconds", argument=where) from None
    return seconds


def _bytes(value: Any, where: str) -> int:
    try:
        return int(value) if not isinstance(value, (bool, float)) else int("")
    except (TypeError, ValueError):
        raise InvalidInput(f"{where} is no number of bytes", argument=where) from None


def _texts(value: Any, where: str) -> list[str]:
    given: Any = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(given, list):
        raise InvalidInput(f"{where} is no list of texts", argument=where)
    return [_text(each, where) for each in cast("Sequence[object]", given)]


def _fields(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{where} is no table of header fields", argument=where)
    return {name: _text(text, f"{where}.{name}") for name, text in cast("dict[str, Any]", value).items()}


def _one_of(*words: str) -> Callable[[Any, str], str]:
    def read(value: Any, where: str) -> str:
        if value not in words:
            raise InvalidInput(f"{where} is none of {', '.join(words)}", argument=where)
        return str(value)

    return read


_READERS: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "deadline": _seconds,
    "user_agent": _text,
    "api_version": _text,
    "version_header": _text,
    "family": _one_of("httpx", "httpx2"),
    "lists": _one_of("repeat", "comma", "brackets"),
    "unwrap": _text,
    "unknown": _one_of("ignore", "error"),
    "validate": _one_of("strict", "off"),
    "compress": _bytes,
    "allow_origins": _texts,
    "default_headers": _fields,
}
