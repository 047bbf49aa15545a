"""What can stand in a header field, or in a cookie? What cannot is refused early: a library below would quote it."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["is_cookie_value", "is_name", "is_value", "with_cookie"]

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_VALUE: Final = re.compile(r"[!-~]([ -~]*[!-~])?")  # RFC 9110 5.5, ASCII alone
_COOKIE_VALUE: Final = re.compile(r"[!#-+\--:<-\[\]-~]+")  # RFC 6265 4.1.1


def is_name(text: str) -> bool:
    """Whether it can be the name of a field or a cookie."""
    return _NAME.fullmatch(text) is not None


def is_value(text: str) -> bool:
    """Whether it can be a field's value: not empty, and without white space at its ends."""
    return _VALUE.fullmatch(text) is not None


def is_cookie_value(text: str) -> bool:
    """Whether it can be a cookie's value, as it is."""
    return _COOKIE_VALUE.fullmatch(text) is not None


def with_cookie(cookies: str | None, name: str, value: str) -> str:
    """The field ``Cookie`` with this cookie in it, in place of one of that name.

    >>> with_cookie("theme=dark; session=old", "session", "new")
    'theme=dark; session=new'
    """
    others = [pair.strip() for pair in (cookies or "").split(";") if pair.strip()]
    return "; ".join([*(pair for pair in others if pair.partition("=")[0] != name), f"{name}={value}"])
