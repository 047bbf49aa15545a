"""What did a login answer? The token in a JSON document or in a cookie, and how long it is good.

Pure, and never a word of the answer in a message: it is all secrets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from holdfast.core.caching.dates import parse_date
from holdfast.core.hints import seconds_until
from holdfast.core.secret import Secret
from holdfast.core.tokens import Token
from holdfast.errors import InvalidInput

__all__ = ["NotThere", "check_pointer", "cookie_token", "json_token", "pointed"]

_FARTHEST: Final = 10 * 365 * 86400.0
"""A token that is said to be good for longer is one whose end nobody knows."""


class NotThere(ValueError):
    """An answer has nothing at the place where the token was to be."""


def check_pointer(pointer: str, argument: str) -> None:
    """Raises `InvalidInput` for what is no JSON Pointer (RFC 6901)."""
    if not pointer.startswith("/"):
        raise InvalidInput(f"{argument} is a JSON Pointer such as /data/token, got {pointer!r}", argument=argument)


def pointed(document: Any, pointer: str) -> Any:
    """What stands at a JSON Pointer; None if nothing does."""
    found = document
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")  # in this order: RFC 6901 4
        if isinstance(found, Mapping):
            found = cast("Mapping[str, Any]", found).get(name)
        elif isinstance(found, list) and name.isascii() and name.isdigit():
            items = cast("list[Any]", cast("object", found))
            found = items[int(name)] if int(name) < len(items) else None
        else:
            return None
    return found


def json_token(
    document: Any,
    *,
    token: str,
    refresh_token: str | None,
    expires: str | float | None,
    wall: float,
    previous: Token | None = None,
) -> Token:
    """The token of a document, by pointers. ``expires``: a pointer to seconds or to a moment, or seconds.

    A refresh token stays as it was where the answer to a refresh brings no other. Raises `NotThere`.
    """
    text = pointed(document, token)
    if not isinstance(text, str) or not text:
        raise NotThere(f"the answer has no text at {token}")
    renewing = None if refresh_token is None else pointed(document, refresh_token)
    if isinstance(renewing, str) and renewing:
        kept: Secret | None = Secret(renewing)
    else:
        kept = None if previous is None else previous.refresh_token
    left = expires if not isinstance(expires, str) else _left(pointed(document, expires), wall)
    return _token(text, left, wall, kept)


def cookie_token(set_cookies: Iterable[str], name: str, lifetime: float | None, wall: float) -> Token:
    """The token that a cookie is, from the answer's ``Set-Cookie`` lines; the last of that name counts.

    It is good for ``lifetime`` seconds, or, where that is None, as long as the cookie is (RFC 6265 5.3). Raises
    `NotThere`, also where the cookie is being taken back.
    """
    found: Token | None = None
    for line in set_cookies:
        pair, *attributes = line.split(";")
        key, equals, value = pair.partition("=")
        if key.strip() != name or not equals:
            continue
        named = {key.strip().lower(): text.strip() for key, _, text in (one.partition("=") for one in attributes)}
        left = _cookie_left(named, wall)
        text = value.strip().strip('"')
        over = not text or (left is not None and left <= 0)
        found = None if over else _token(text, left if lifetime is None else lifetime, wall, None)
    if found is None:
        raise NotThere(f"the answer sets no cookie {name}")
    return found


def _token(text: str, left: float | None, wall: float, refresh_token: Secret | None) -> Token:
    ends = None if left is None or left > _FARTHEST else wall + left
    return Token(Secret(text), expires_at=ends, lifetime=None if ends is None else left, refresh_token=refresh_token)


def _left(value: Any, wall: float) -> float | None:
    """Seconds until a moment, however it was said: seconds, a time since 1970, or a date."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    return seconds_until(f"{value:f}" if isinstance(value, float) else str(value), wall)


def _cookie_left(attributes: dict[str, str], wall: float) -> float | None:
    age = attributes.get("max-age")
    if age is not None and age.isascii() and age.removeprefix("-").isdigit() and len(age) < 12:
        return float(age)
    expires = attributes.get("expires")
    moment = None if expires is None else parse_date(expires.encode("latin-1", "replace"), wall)
    return None if moment is None else moment - wall
