"""Age and lifetime: the more pessimistic reading wins, and no clock that is set back revives anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.directives import response_directives
from holdfast.core.caching.fields import DELTA_CAP, combine
from holdfast.core.caching.freshness import (
    current_age,
    freshness_lifetime,
    initial_age,
    is_fresh,
    received_age,
)
from holdfast.core.caching.policy import CachePolicy
from tests.core.caching.building import (
    DATE,
    MINUTE_EARLIER,
    MINUTE_LATER,
    PRIVATE,
    RECEIVED,
    SHARED,
    WALL,
    block,
    exchange,
    stored,
)

HEURISTIC = CachePolicy()
NOW, EARLIER, LATER = DATE.decode(), MINUTE_EARLIER.decode(), MINUTE_LATER.decode()
DAY_EARLIER = "Sat, 05 Nov 1994 08:49:37 GMT"


def lifetime(response: str, policy: CachePolicy = PRIVATE, status: int = 200) -> float:
    fields = combine(block(response))
    said = response_directives(fields.get(b"cache-control"))
    return freshness_lifetime(status, fields, said, WALL, policy)


@pytest.mark.parametrize(
    ("response", "private", "shared"),
    [
        ("", 0, 0),
        ("Cache-Control: max-age=60", 60, 60),
        ("Cache-Control: max-age=60\nExpires: 0", 60, 60),
        ("Cache-Control: s-maxage=60", 0, 60),
        ("Cache-Control: max-age=1, s-maxage=60", 1, 60),
        ("Cache-Control: s-maxage=1\nCache-Control: max-age=60", 60, 1),
        (f"Cache-Control: max-age=0, s-maxage=60\nExpires: {LATER}", 0, 60),
        (f"Cache-Control: max-age=abc\nExpires: {LATER}", 0, 0),
        (f"Date: {NOW}\nExpires: {LATER}", 60, 60),
        (f"Date: {EARLIER}\nExpires: {NOW}", 60, 60),
        (f"Expires: {LATER}", 60, 60),
        (f"Date: nonsense\nExpires: {LATER}", 60, 60),
        (f"Date: {NOW}\nExpires: {EARLIER}", 0, 0),
        ("Expires: 0", 0, 0),
        ("Expires: -1", 0, 0),
        ("Expires:", 0, 0),
        (f"Expires: {LATER}\nExpires: {LATER}", 0, 0),
        (f"Date: {NOW}\nLast-Modified: {DAY_EARLIER}", 8640, 8640),
    ],
)
def test_lifetimes(response: str, private: float, shared: float) -> None:
    assert (lifetime(response), lifetime(response, SHARED)) == (private, shared)


@pytest.mark.parametrize(
    ("status", "response", "seconds"),
    [
        (200, f"Date: {NOW}\nLast-Modified: {DAY_EARLIER}", 8640),
        (410, f"Date: {NOW}\nLast-Modified: {DAY_EARLIER}", 8640),
        (201, f"Date: {NOW}\nLast-Modified: {DAY_EARLIER}", 0),
        (503, f"Date: {NOW}\nLast-Modified: {DAY_EARLIER}", 0),
        (599, f"Cache-Control: public\nDate: {NOW}\nLast-Modified: {DAY_EARLIER}", 8640),
        (200, f"Expires: 0\nDate: {NOW}\nLast-Modified: {DAY_EARLIER}", 0),
        (200, f"Cache-Control: max-age=abc\nLast-Modified: {DAY_EARLIER}", 0),
        (200, f"Date: {NOW}\nLast-Modified: {LATER}", 0),
        (200, "Last-Modified: nonsense", 0),
        (200, f"Date: {NOW}\nLast-Modified: Sun, 06 Nov 1904 08:49:37 GMT", 86_400),
    ],
)
def test_a_heuristic_lifetime_is_a_capped_part_of_the_time_unchanged(
    status: int, response: str, seconds: float
) -> None:
    assert lifetime(response, HEURISTIC, status) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        (b"7200", 7200),
        (b"7200, 0", 7200),
        (b"0, 7200", 0),
        (b" 7200 ,0", 7200),
        (b"7200.0", 0),
        (b"-7200", 0),
        (b"7200;foo=1", 0),
        (b'"7200"', 0),
        (b"", 0),
        (b"2147483648", DELTA_CAP),
        (b"1" + b"0" * 24, DELTA_CAP),
    ],
)
def test_the_first_age_counts_if_it_is_whole_seconds(value: bytes | None, seconds: int) -> None:
    assert received_age(value) == seconds


@pytest.mark.parametrize(
    ("response", "took", "age"),
    [
        ("", 0.0, 0.0),
        (f"Date: {NOW}", 0.0, 0.0),
        (f"Date: {EARLIER}", 0.0, 60.0),
        (f"Date: {LATER}", 0.0, 0.0),
        ("Date: nonsense", 0.0, 0.0),
        ("Age: 30", 2.0, 32.0),
        (f"Date: {EARLIER}\nAge: 30", 2.0, 60.0),
        (f"Date: {EARLIER}\nAge: 90", 2.0, 92.0),
        (f"Date: {LATER}\nAge: 90", 2.0, 92.0),
        ("Age: 30\nAge: 0", 0.0, 30.0),
    ],
)
def test_the_age_on_arrival_is_the_larger_of_the_two_estimates(response: str, took: float, age: float) -> None:
    assert initial_age(combine(block(response)), exchange(took=took)) == age


@pytest.mark.parametrize(("now", "fresh"), [(0.0, True), (59.9, True), (60.0, False), (1e9, False)])
def test_an_entry_is_fresh_until_its_age_reaches_its_lifetime(now: float, fresh: bool) -> None:
    assert is_fresh(stored("Cache-Control: max-age=60"), RECEIVED + now) is fresh


@pytest.mark.parametrize("date", [LATER, "Mon, 07 Nov 1994 08:49:37 GMT"])
def test_a_date_ahead_of_us_lengthens_nothing(date: str) -> None:
    entry = stored(f"Cache-Control: max-age=60\nDate: {date}")
    assert not is_fresh(entry, RECEIVED + 60.0)


def test_age_grows_with_the_monotonic_clock_and_never_shrinks_below_the_age_on_arrival() -> None:
    entry = stored("Cache-Control: max-age=60\nAge: 10")
    assert current_age(entry, RECEIVED + 5.0) == 15.0
    assert current_age(entry, RECEIVED - 3_600.0) == 10.0


@given(st.dictionaries(st.sampled_from([b"age", b"date", b"expires", b"last-modified"]), st.binary()))
def test_no_header_raises_or_makes_a_negative_time(fields: dict[bytes, bytes]) -> None:
    said = response_directives(fields.get(b"cache-control"))
    assert initial_age(fields, exchange()) >= 0
    assert freshness_lifetime(200, fields, said, WALL, HEURISTIC) >= 0
