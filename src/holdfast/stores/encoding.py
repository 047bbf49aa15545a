"""How is an entry written down?

Metadata and body apart. The metadata is one record: a line with the version and a checksum, then a JSON object,
described in docs/stores.md. What it may hold follows from the annotations of `Entry`: a field of a type that is
not in the table below cannot be forgotten, since this module then does not even import.

Reading trusts nothing: what is not exactly of the expected shape is `Unreadable`, and nothing in a record is ever
run. The checksums find damage; they are no protection against an attacker, who is left with making up answers.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, TypeAlias
from zlib import crc32

from holdfast.clock import Clock, SystemClock
from holdfast.core.caching.directives import ResponseDirectives
from holdfast.core.caching.entry import Blob, Entry

VERSION: Final = 1


class Unreadable(ValueError):
    """A record that is damaged, or that another version wrote."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """An entry as its record tells of it, before it is known when that was on this process's clock."""

    fields: Mapping[str, Any]
    size: int
    """Bytes of the body."""
    checksum: int
    """`zlib.crc32` of the body; 0 where the store keeps it in pieces that have their own."""
    epoch: str
    """Names the monotonic clock that ``monotonic`` was read from; empty where that means nothing to others."""
    monotonic: float

    @property
    def key(self) -> str:
        key: str = self.fields["key"]
        return key

    def arrived(self, *, epoch: str, now: float, wall: float) -> float | None:
        """`Entry.response_time` on the monotonic clock that reads ``now``; None for an entry from the future.

        Where it is the same monotonic clock, that decides: a wall clock that was set back makes no answer younger.
        The wall clock is believed when it tells of more time, which a sleeping machine does not count, and alone
        after a reboot.
        """
        residence = wall - self.fields["wall"]
        if epoch and self.epoch == epoch and self.monotonic <= now:
            return now - residence if residence > now - self.monotonic + _JITTER else self.monotonic
        return now - residence if residence >= 0 else None

    def entry(self, body: bytes | Blob, response_time: float) -> Entry:
        """The entry, with its body and what `arrived` said."""
        return Entry(body=body, response_time=response_time, **self.fields)


def encode(entry: Entry, *, size: int, checksum: int, epoch: str = "") -> bytes:
    """The record of an entry whose body has ``size`` bytes; for the others see `Metadata`.

    Raises ValueError for numbers that no record can hold: infinite ones.
    """
    record: dict[str, Any] = _write(entry, _ENTRY)
    record["body"] = [size, checksum]
    record["clock"] = [epoch, entry.response_time]
    text = json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii")
    return b"%b%08x\n%b" % (_HEADER, crc32(text), text)


def decode(record: bytes) -> Metadata:
    """What `encode` wrote. Raises `Unreadable`, and nothing else, whatever it is given."""
    return _remembered(record) if len(record) <= _REMEMBERED else _decode(record)


def _decode(record: bytes) -> Metadata:
    header, text = record[:_HEADER_LENGTH], record[_HEADER_LENGTH:]
    if header != b"%b%08x\n" % (_HEADER, crc32(text)):
        raise Unreadable("damaged, or of another version")
    try:
        found = json.loads(text)
        size, checksum = map(_whole, found.pop("body"))
        epoch, monotonic = found.pop("clock")
        return Metadata(_read(found, _ENTRY), size, checksum, _text(epoch), _number(monotonic))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise Unreadable(f"not a record: {error!r}") from error


def epoch_of(clock: Clock) -> str:
    """A name for the clock's monotonic time: all processes of this machine read the same one until it reboots."""
    if isinstance(clock, SystemClock):
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        except (OSError, ValueError):
            pass
    return secrets.token_hex(16)


_REMEMBERED: Final = 4096  # bytes; the same record is read again and again, longer ones would fill the memory
_remembered = lru_cache(maxsize=512)(_decode)

_HEADER: Final = b"holdfast-entry/%d " % VERSION
_HEADER_LENGTH: Final = len(_HEADER) + 9
_JITTER: Final = 1.0  # seconds by which two clocks may drift apart before it means anything
_LARGEST: Final = 2**53  # up to here every integer is a float as well

_Codec: TypeAlias = tuple[Callable[[Any], Any], Callable[[Any], Any]]  # to JSON and back


@dataclass(frozen=True, slots=True)
class _Slot:
    """One field of a dataclass."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    default: Any  # MISSING where it must be given


def _write(value: object, schema: Mapping[str, _Slot]) -> dict[str, Any]:
    """The fields that differ from their default, so that a record stays readable when a field is added."""
    found = ((name, getattr(value, name), slot) for name, slot in schema.items())
    return {name: slot.write(given) for name, given, slot in found if given != slot.default}


def _read(found: dict[str, Any], schema: Mapping[str, _Slot]) -> dict[str, Any]:
    known = {name: schema[name].read(value) for name, value in found.items()}
    for name, slot in schema.items():
        if slot.default is MISSING and name not in known:
            raise Unreadable(f"{name} is missing")
    return known


def _same(value: Any) -> Any:
    return value


def _is(kind: type[object], value: Any) -> bool:
    return type(value) is kind  # true is no number here


def _exactly(kind: type[object], value: Any) -> Any:
    if not _is(kind, value):
        raise TypeError(f"{kind.__name__} expected, got {value!r}")
    return value


def _text(value: Any) -> str:
    text: str = _exactly(str, value)
    return text


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise TypeError(f"a whole number expected, got {value!r}")
    return value


def _number(value: Any) -> float:
    # A lifetime may be a whole number, and comes back as one.
    if type(value) is not int and type(value) is not float:
        raise TypeError(f"a number expected, got {value!r}")
    if not -_LARGEST <= value <= _LARGEST:  # not a number is not in there either
        raise ValueError(f"{value!r} is out of range")
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"a stored number must be finite, got {value}")
    return value


def _octets(value: Any) -> bytes:
    return _text(value).encode("latin-1")


def _latin(value: bytes) -> str:
    return value.decode("latin-1")


def _list(value: Any) -> list[Any]:
    items: list[Any] = _exactly(list, value)
    return items


@lru_cache(maxsize=1024)
def _shared(value: tuple[Any, ...]) -> tuple[Any, ...]:
    """One object for equal values: a memory tier may hold a million entries with the same."""
    return value


def _read_directives(value: dict[str, object]) -> ResponseDirectives:
    return _directives(tuple((name, type(given), _frozen(given)) for name, given in value.items()))


@lru_cache(maxsize=512)
def _directives(items: tuple[tuple[str, type[object], Any], ...]) -> ResponseDirectives:
    """With the type of each, since 1 and 1.0 would be found in the place of true."""
    return ResponseDirectives(**_read({name: _thawed(value) for name, _, value in items}, _DIRECTIVES))


def _frozen(value: Any) -> Any:
    return tuple(value) if _is(list, value) else value


def _thawed(value: Any) -> Any:
    return list(value) if _is(tuple, value) else value


_CODECS: Final[Mapping[str, _Codec]] = {
    "str": (_same, _text),
    "bool": (_same, partial(_exactly, bool)),
    "int": (_same, _whole),
    "int | None": (_same, _whole),  # None is the default, and not written
    "float": (_finite, _number),
    "float | None": (_finite, _number),
    "bytes": (_latin, _octets),
    "bytes | None": (_latin, _octets),
    "tuple[str, ...]": (list, lambda value: _shared(tuple(map(_text, _list(value))))),
    "tuple[bytes, ...]": (
        lambda value: list(map(_latin, value)),
        lambda value: _shared(tuple(map(_octets, _list(value)))),
    ),
    "frozenset[bytes]": (
        lambda value: sorted(map(_latin, value)),
        lambda value: frozenset(map(_octets, _list(value))),
    ),
    "ResponseDirectives": (lambda value: _write(value, _DIRECTIVES), _read_directives),
}
"""By annotation: to what JSON can hold, and back."""

_APART: Final = frozenset({"body", "response_time"})


def _slot(field: Field[Any]) -> _Slot:
    assert isinstance(field.type, str), "annotations are texts in the modules of this package"
    assert field.default_factory is MISSING, "a default that is made anew cannot be left out of a record"
    write, read = _CODECS[field.type]
    return _Slot(write, read, field.default)


_DIRECTIVES: Final[Mapping[str, _Slot]] = {field.name: _slot(field) for field in fields(ResponseDirectives)}
_ENTRY: Final = {field.name: _slot(field) for field in fields(Entry) if field.name not in _APART}
