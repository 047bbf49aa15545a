"""Which moment does an HTTP date name?

Exactly the three forms of RFC 9110 5.6.7 are dates, with names in any case. A lenient mail parser would
take more, and what it takes wrongly makes a stale answer fresh.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Final

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1
    )
}
_DAYS: Final = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_DAY: Final = rb"(?:mon|tue|wed|thu|fri|sat|sun)"
_LONG_DAY: Final = rb"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_MONTH: Final = rb"(?P<month>" + b"|".join(_MONTHS) + rb")"
_TIME: Final = rb"(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"
# Not compiled here: re does that, and keeps it, when a date is first read, which most programs never do.
_IMF: Final = _DAY + rb", (?P<day>[0-9]{2}) " + _MONTH + rb" (?P<year>[0-9]{4}) " + _TIME + rb" gmt"
_RFC850: Final = _LONG_DAY + rb", (?P<day>[0-9]{2})-" + _MONTH + rb"-(?P<year>[0-9]{2}) " + _TIME + rb" gmt"
_ASCTIME: Final = _DAY + rb" " + _MONTH + rb" (?P<day>[0-9]{2}| [0-9]) " + _TIME + rb" (?P<year>[0-9]{4})"
_LONGEST: Final = 64  # bytes, with space around: longer than any date, and not worth remembering
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()


def parse_date(value: bytes | None, now: float) -> float | None:
    """Seconds since the epoch, or None for anything but an HTTP date.

    ``now`` is wall time; it tells the century of the two-digit years of the RFC 850 form. The name of the
    weekday is not compared with the date.
    """
    if value is None or len(value) > _LONGEST:
        return None
    moment = _of_four_digits(value)
    if moment is None and (match := re.fullmatch(_RFC850, value.strip(b" \t").lower())):
        return _recent(match, now)
    return moment


def format_date(moment: float) -> bytes:
    """A wall time as an HTTP date, in the form that is to be generated."""
    days, seconds = divmod(int(moment), 86400)
    day = date.fromordinal(days + _EPOCH_DAY)
    clock = (seconds // 3600, seconds // 60 % 60, seconds % 60)
    return b"%b, %02d %b %04d %02d:%02d:%02d GMT" % (
        _DAYS[day.weekday()],
        day.day,
        tuple(_MONTHS)[day.month - 1].title(),
        day.year,
        *clock,
    )


@lru_cache(maxsize=128)  # all answers of one second have the same Date
def _of_four_digits(value: bytes) -> float | None:
    """Moment of a date that names its year in full."""
    text = value.strip(b" \t").lower()
    match = re.fullmatch(_IMF, text) or re.fullmatch(_ASCTIME, text)
    return _moment(match, int(match["year"])) if match else None


def _recent(match: re.Match[bytes], now: float) -> float | None:
    """Moment of a two-digit year: one more than 50 years ahead lies in the past."""
    this_year = 1970 + int(now // 31_556_952)  # mean Gregorian year
    year = this_year // 100 * 100 + int(match["year"])
    return _moment(match, year - 100 if year > this_year + 50 else year)


def _moment(match: re.Match[bytes], year: int) -> float | None:
    try:
        days = date(year, _MONTHS[match["month"]], int(match["day"])).toordinal() - _EPOCH_DAY
    except ValueError:  # 31 February, year 0
        return None
    return float(days * 86400 + int(match["hour"]) * 3600 + int(match["minute"]) * 60 + int(match["second"]))
