"""Three forms are dates; everything else is none."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.dates import format_date, parse_date
from tests.core.caching.building import HOSTILE, LINEAR, WALL, growth

IN_2026 = 1_795_352_400.0


@pytest.mark.parametrize(
    "value",
    [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
        b"sUN, 06 nOV 1994 08:49:37 gmt",
        b" Sun, 06 Nov 1994 08:49:37 GMT\t",
        b"Mon, 06 Nov 1994 08:49:37 GMT",  # a weekday that lies
    ],
)
def test_the_three_forms_name_the_same_moment(value: bytes) -> None:
    assert parse_date(value, IN_2026) == WALL


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"0",
        b"-1",
        b"784111777",
        b"Thu 18 Aug 2050 02:01:18 GMT",
        b"Thu, 18  Aug  2050 02:01:18 GMT",
        b"Thu, 18-Aug-2050 02:01:18 GMT",
        b"Thu, 18 Aug 2050 02.01.18 GMT",
        b"Thu, 18 Aug 2050 2:01:18 GMT",
        b"Thu, 18 Aug 50 02:01:18 GMT",
        b"Thu, 8 Aug 2050 02:01:18 GMT",
        b"Thu, 18 Aug 2050 02:01:18 AEST",
        b"Thu, 18 Aug 2050 02:01:18 UTC",
        b"Thu, 18 Aug 2050 02:01:18 +0000",
        b"Thu, 18 Aug 2050 02:01:18",
        b"Thu, 18 Aug 2050 02:01 GMT",
        b"18 Aug 2050 02:01:18 GMT",
        b"Aug, 18 Aug 2050 02:01:18 GMT",
        b"Thu, 31 Feb 2050 02:01:18 GMT",
        b"Thu, 00 Aug 2050 02:01:18 GMT",
        b"Thu, 18 Aug 0000 02:01:18 GMT",
        b"Thu, 18 Aug 2050 24:00:00 GMT",
        b"Thu, 18 Aug 2050 02:60:00 GMT",
        b"Thu, 18 Aug 2050 02:01:61 GMT",
        b"Thu, 18 Aug 20500 02:01:18 GMT",
        b"Thu Aug 8 02:01:18 2050",
        b"Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT",
        "Thu, 1٨ Aug 2050 02:01:18 GMT".encode(),
        b"\xff\xfe",
    ],
)
def test_anything_else_is_no_date(value: bytes | None) -> None:
    assert parse_date(value, IN_2026) is None


@pytest.mark.parametrize(("year", "full"), [(b"26", 2026), (b"76", 2076), (b"77", 1977), (b"99", 1999), (b"00", 2000)])
def test_a_two_digit_year_lies_at_most_50_years_ahead(year: bytes, full: int) -> None:
    long_form = b"Sun, 06 Nov %d 08:49:37 GMT" % full
    assert parse_date(b"Sunday, 06-Nov-%b 08:49:37 GMT" % year, IN_2026) == parse_date(long_form, IN_2026)


def test_a_leap_second_is_the_next_minute() -> None:
    assert parse_date(b"Sat, 31 Dec 2016 23:59:60 GMT", IN_2026) == 1_483_228_800.0


@given(st.integers(min_value=-62_135_596_800 + 86_400, max_value=253_402_300_799))
def test_a_moment_survives_being_written_and_read(moment: int) -> None:
    assert parse_date(formatdate(moment, usegmt=True).encode(), IN_2026) == moment


@given(st.binary(max_size=40))
def test_reading_a_date_never_raises(value: bytes) -> None:
    assert parse_date(value, IN_2026) is None or len(value) >= len(b"Sun Nov  6 08:49:37 1994")


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_reading_a_date_takes_linear_time(make: Callable[[int], bytes]) -> None:
    assert growth(lambda value: parse_date(value, IN_2026), make) < LINEAR


@given(st.integers(0, 253_402_300_799))
def test_a_moment_is_written_in_the_form_to_generate(moment: int) -> None:
    assert format_date(moment + 0.9).decode() == formatdate(moment, usegmt=True)
