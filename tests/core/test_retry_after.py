"""How long does the server ask us to wait? Total on whatever the other side sends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.retry_after import server_delay, should_retry
from tests.support import CHARACTERS

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("headers", "delay"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": " 120 "}, 120.0),
        ({"retry-after": "007"}, 7.0),
        ({"retry-after": "9999999999"}, 9999999999.0),
        ({"retry-after": "99999999999"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "+1"}, None),
        ({"retry-after": "1, 2"}, None),
        ({"retry-after": "\u0661"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 15 Jan 2027 07:59:30 GMT"}, 0.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 CET"}, None),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT", "date": "Fri, 15 Jan 2027 08:00:10 GMT"}, 20.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT", "date": "yesterday"}, 30.0),
    ],
    ids=str,
)
def test_a_delay_is_read_or_is_as_if_it_were_not_there(headers: dict[str, str], delay: float | None) -> None:
    assert server_delay(headers.get, NOW) == delay


@given(
    st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date", "x-should-retry"]), st.text(CHARACTERS))
)
def test_nothing_that_a_server_sends_raises(headers: dict[str, str]) -> None:
    delay = server_delay(headers.get, NOW)
    assert delay is None or 0 <= delay < 1e12
    assert should_retry(headers.get) in (True, False, None)


@pytest.mark.parametrize("text", ["9" * 1_000_000, "Fri, " * 200_000, " " * 1_000_000, "Mon, 01 Jan" + "0" * 1_000_000])
def test_a_long_value_is_not_worked_on(text: str) -> None:
    assert server_delay({"retry-after": text}.get, NOW) is None
