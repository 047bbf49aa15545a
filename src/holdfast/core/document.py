"""What does a JSON text from the other side say, and is it one that is safe to read?

Bytes in, plain values out. What is no JSON, or more or deeper than allowed, raises `Malformed`, and nothing else
does. Never a word of the text itself is in a message.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable
from itertools import accumulate
from typing import Any, Final

__all__ = ["Malformed", "charset_of", "check_depth", "json_text", "media_type", "read_json", "text_of"]

# Patterns are compiled when they are first used: most answers need none of them.
_CHARSET: Final = r'(?i);[ \t]*charset[ \t]*=[ \t]*"?([a-z0-9_.:+-]{1,40})"?'
_SLOW: Final = frozenset({"idna", "punycode"})  # quadratic, and no charset of any body
_STEPS: Final = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")  # one level in, one out
_ALL_BUT_STRUCTURE: Final = bytes(code for code in range(256) if code not in b'[]{}"')
_STRING: Final = rb'"[^"]*"'


class Malformed(ValueError):
    """A text that is not read. ``expected`` and ``got`` say what was wanted and what there is."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected = expected
        self.got = got


def media_type(content_type: str | None) -> str:
    """Type and subtype in lower case, "" if there is none."""
    return "" if content_type is None else content_type.partition(";")[0].strip().lower()


def charset_of(content_type: str | None) -> str | None:
    """The codec that a Content-Type names, None if it names none that we have."""
    found = re.search(_CHARSET, content_type) if content_type else None
    if found is None:
        return None
    try:
        name = codecs.lookup(found[1]).name
        "".encode(name)  # some codecs are not for text
    except (LookupError, ValueError):
        return None
    return None if name in _SLOW else name


def text_of(body: bytes, content_type: str | None) -> str:
    """A body as text: in the charset that is named, else in UTF-8; a byte order mark is no part of it."""
    charset = charset_of(content_type) or "utf-8"
    try:
        text = body.decode(charset)
    except (ValueError, LookupError):
        raise Malformed(f"text in {charset}", f"{len(body):,} bytes that are none") from None
    return text.removeprefix("\ufeff")


def json_text(body: bytes, content_type: str | None) -> bytes:
    """The same text in UTF-8, without a byte order mark.

    RFC 8259 8.1 knows no charset but UTF-8, and many servers name another one and send UTF-8 all the same. So what
    they name is asked only for bytes that are no UTF-8.
    """
    if body.startswith(codecs.BOM_UTF8):
        body = body[3:]
    # Whatever is wider has a zero among the first four, or begins with a byte order mark.
    guess: str = "utf-8" if b"\0" not in body[:4] and body[:1] < b"\xfe" else json.detect_encoding(body)
    if guess == "utf-8":
        try:
            body.decode()
        except UnicodeDecodeError:
            guess = charset_of(content_type) or ""
        else:
            return body
    try:
        return body.decode(guess).removeprefix("\ufeff").encode()
    except (ValueError, LookupError):
        raise Malformed("JSON in UTF-8", f"{len(body):,} bytes that are none") from None


def read_json(text: bytes, *, max_depth: int, unique: bool = False) -> Any:
    """The value of a JSON text in UTF-8. ``unique``: an object that has a name twice is malformed (RFC 8259 4).

    Else the last of them counts. NaN and Infinity are no JSON, whatever Python writes by default.
    """
    check_depth(text, max_depth)
    try:
        return (_UNIQUE if unique else _PLAIN).decode(text.decode())
    except json.JSONDecodeError as error:
        raise Malformed("JSON", f"something else at byte {_bytes_before(error):,}") from None
    except RecursionError:
        raise Malformed(f"at most {max_depth} levels", "more") from None
    except Malformed:
        raise
    except ValueError:  # int() refuses more than 4,300 digits
        raise Malformed("numbers that can be read", "one with too many digits") from None


def check_depth(text: bytes, max_depth: int) -> None:
    """Raise `Malformed` if arrays and objects are nested deeper than ``max_depth``; whether it is JSON is not asked.

    Parsers recurse, and end far below what a few kilobytes of brackets ask for. No step here is taken in Python for a
    character or a value.
    """
    if text.count(b"[") + text.count(b"{") <= max_depth:
        return
    if b"\\" in text:  # outside of strings there is none, so that pairs are found from the left
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    steps = text.translate(_STEPS, _ALL_BUT_STRUCTURE).replace(b'""', b"")  # most strings have no brackets
    levels = accumulate(memoryview(re.sub(_STRING, b"", steps)).cast("b"))
    if max(levels, default=0) > max_depth:
        raise Malformed(f"at most {max_depth} levels", "more")


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Malformed("each name once in an object", "one that is there twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise Malformed("JSON", f"{name}, which is no JSON number")


# json.loads makes one for each call that has a setting.
_PLAIN: Final = json.JSONDecoder(parse_constant=_refuse_constant)
_UNIQUE: Final = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_unique)


def _bytes_before(error: json.JSONDecodeError) -> int:
    return len(error.doc[: error.pos].encode("utf-8", "surrogatepass"))
