"""What servers write about their limits, and what is made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.hints import Reset, hints_of, seconds_until
from tests.support import CHARACTERS

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


def read(fields: dict[str, str], reset: Reset = "auto") -> list[tuple[str, float, float, float | None]]:
    """What is left, for how long, and of how much, by name."""
    return [(hint.name, hint.left, hint.resets_in, hint.size) for hint in hints_of(fields.get, NOW, reset=reset)]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"ratelimit": '"burst";r=50;t=30', "ratelimit-policy": '"burst";q=100;w=60'}, [("burst", 50, 30, 100)]),
        ({"ratelimit": '"b";r=9;t=1, "day";r=0;t=80000'}, [("b", 9, 1, None), ("day", 0, 80000, None)]),
        ({"ratelimit": '"b" ; r=9'}, []),
        ({"ratelimit": '"b";r=9'}, []),  # until when?
        ({"ratelimit": '"b";r=9', "ratelimit-policy": '"b";q=10;w=60'}, [("b", 9, 60, 10)]),
        ({"ratelimit": '"b";r=9;t=5;pk=:dHdlbnR5:'}, [("b", 9, 5, None)]),
        ({"ratelimit": '"a\\"b";r=9;t=5'}, [('a\\"b', 9, 5, None)]),
        ({"ratelimit": "default;r=9;t=5"}, [("default", 9, 5, None)]),
        ({"ratelimit": '"b";r=9;t=5', "ratelimit-policy": '"b";q=65535;qu="content-bytes"'}, []),
        ({"ratelimit": '"b";r=9;t=5', "ratelimit-policy": '"b";q=10;qu="requests"'}, [("b", 9, 5, 10)]),
        ({"ratelimit": '"b";r=9;t=5', "ratelimit-policy": "no, list ("}, [("b", 9, 5, None)]),
        ({"ratelimit": "limit=100, remaining=50, reset=30"}, [("", 50, 30, 100)]),
        ({"ratelimit": "limit=100;w=60,remaining=50,\treset=30"}, [("", 50, 30, 100)]),
        ({"ratelimit-limit": "100", "ratelimit-remaining": "50", "ratelimit-reset": "30"}, [("l", 50, 30, 100)]),
        ({"x-ratelimit-remaining": "50", "x-ratelimit-reset": "30"}, [("x", 50, 30, None)]),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{NOW + 90:.0f}"}, [("x", 0, 90, None)]),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{(NOW + 90) * 1000:.0f}"}, [("x", 0, 90, None)]),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2023-11-14T22:14:50Z"}, [("x", 0, 90, None)]),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "Tue, 14 Nov 2023 22:14:50 GMT"}, [("x", 0, 90, None)]),
        (
            {  # the server's clock is a minute behind ours
                "date": "Tue, 14 Nov 2023 22:12:20 GMT",
                "x-ratelimit-remaining": "0",
                "x-ratelimit-reset": f"{NOW:.0f}",
            },
            [("x", 0, 60, None)],
        ),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "1"}, [("x", 7, 1, None)]),
        (
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"},
            [("x", 0, 360, None)],
        ),
        (
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2023-11-14T22:14:50+00:00",
            },
            [("a", 0, 90, 50)],
        ),
        ({"x-ratelimit-remaining": "7"}, []),
        ({"x-ratelimit-reset": "7"}, []),
        ({"x-ratelimit-remaining": "-1", "x-ratelimit-reset": "30"}, []),
        ({"x-ratelimit-remaining": "nan", "x-ratelimit-reset": "30"}, []),
        ({"x-ratelimit-remaining": "\u0665", "x-ratelimit-reset": "30"}, []),  # a digit elsewhere
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": "soon"}, []),
        ({"ratelimit": '"b";r=9;t=5,', "x-ratelimit-remaining": "1", "x-ratelimit-reset": "2"}, [("x", 1, 2, None)]),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9970000000"}, []),  # the year 2286
        ({"ratelimit": '"b";r=0;t=99999999999'}, []),
        ({}, []),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_told_is_understood_or_ignored(
    fields: dict[str, str], told: list[tuple[str, float, float, float | None]]
) -> None:
    found = read(fields)
    if "ratelimit" in fields and found and not found[0][0].startswith("x-"):
        assert found == told
    else:  # these have no name but their field's
        assert [(name[0], *rest) for name, *rest in found] == [
            ("r" if name == "l" else name, *rest) for name, *rest in told
        ]


@pytest.mark.parametrize(
    ("text", "reset", "seconds"),
    [
        ("30", "auto", 30),
        ("1.5", "auto", 1.5),
        ("999999999", "auto", 999_999_999),
        ("1700000060", "auto", 60),
        ("1700000060", "epoch", 60),
        ("1700000060", "delta", 1_700_000_060),
        ("60", "epoch", 0),  # long ago
        ("1700000060000", "auto", 60),
        ("1700000060000", "epoch_ms", 60),
        ("1699999999", "auto", 0),
        ("6m0s", "auto", 360),
        ("1h2m3.5s", "auto", 3723.5),
        ("120ms", "auto", 0.12),
        ("6m", "epoch", None),
        ("m", "auto", None),
        ("6x", "auto", None),
        ("20231114", "date", 0),
        ("2023-11-14T22:14:20", "date", 60),  # of no zone: UTC
        ("2023-11-14T22:14:20", "delta", None),
        ("9" * 65, "auto", None),
        ("", "auto", None),
    ],
)
def test_a_reset_has_four_meanings(text: str, reset: Reset, seconds: float | None) -> None:
    assert seconds_until(text, NOW, reset=reset) == (None if seconds is None else pytest.approx(seconds))


@given(st.text(CHARACTERS, max_size=200), st.text(CHARACTERS, max_size=200), st.text(CHARACTERS, max_size=80))
def test_nothing_that_comes_raises(field: str, policy: str, reset: str) -> None:
    fields = {"ratelimit": field, "ratelimit-policy": policy, "x-ratelimit-remaining": "1", "x-ratelimit-reset": reset}
    for hint in hints_of(fields.get, NOW):
        assert hint.left >= 0
        assert hint.resets_in >= 0


@pytest.mark.parametrize("field", ['"' * 3000, '"a";' * 700, '"a",' * 512, "a=1," * 512, ";" * 2048, '"\\' * 1024])
def test_long_fields_are_read_once_or_not_at_all(field: str) -> None:
    assert hints_of({"ratelimit": field}.get, NOW) == ()
