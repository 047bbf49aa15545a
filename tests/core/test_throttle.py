"""The rule of client throttling as tables: how much is refused, and what counts."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.core.throttle import Tally, Throttle, refuse_probability


@pytest.mark.parametrize(
    ("requests", "accepts", "k", "probability"),
    [
        (0, 0, 2.0, 0.0),
        (100, 100, 2.0, 0.0),
        (100, 50, 2.0, 0.0),
        (100, 49, 2.0, 2 / 101),
        (99, 0, 2.0, 0.99),
        (100, 50, 1.5, 25 / 101),
        (100, 10, 2.0, 80 / 101),
    ],
    ids=str,
)
def test_what_is_beyond_k_times_the_acceptances_is_refused(
    requests: int, accepts: int, k: float, probability: float
) -> None:
    assert refuse_probability(requests, accepts, k) == pytest.approx(probability)


@pytest.mark.parametrize(
    ("ends", "sums", "refuses"),
    [
        ("", (0, 0, 0), 0.0),
        ("?" * 50, (50, 0, 0), 0.0),
        ("?" * 9 + "-", (10, 0, 1), 10 / 11),
        ("+" * 10, (10, 10, 0), 0.0),
        ("+-" * 5, (10, 5, 5), 0.0),
        ("+---", (4, 1, 3), 2 / 5),
        ("x" * 10, (0, 0, 0), 0.0),
        ("----xxxx", (4, 0, 4), 4 / 5),
    ],
    ids=str,
)
def test_a_request_counts_from_its_start_and_is_no_refusal_until_it_is_one(
    ends: str, sums: tuple[int, int, int], refuses: float
) -> None:
    tally = Tally(Throttle())
    for end in ends:  # accepted, turned down, forgotten, and still on its way
        slot = tally.begin(0.0)
        if end != "?":
            {"+": tally.accept, "-": tally.reject, "x": tally.forget}[end](slot)
    assert tally.sums(1.0) == sums
    assert tally.refuses(1.0) == pytest.approx(refuses)


@pytest.mark.parametrize(("now", "requests"), [(50.0, 2), (113.0, 2), (120.0, 1), (163.0, 1), (171.0, 0)])
def test_what_is_older_than_the_window_is_forgotten(now: float, requests: int) -> None:
    tally = Tally(Throttle(window=120.0))
    for began in (0.0, 50.0):
        tally.reject(tally.begin(began))
    assert tally.sums(now) == (requests, 0, requests)


def test_an_end_counts_where_its_request_began() -> None:
    tally = Tally(Throttle(window=120.0))
    slot = tally.begin(0.0)
    tally.begin(110.0)
    tally.accept(slot)
    assert tally.sums(119.0) == (2, 1, 0)
    assert tally.sums(121.0) == (1, 0, 0)


@pytest.mark.parametrize(
    ("given", "named"),
    [({"k": 0.9}, "k"), ({"window": 0}, "window"), ({"statuses": frozenset({200})}, "statuses")],
    ids=str,
)
def test_a_bad_setting_is_refused_by_name(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=rf"^{named} "):
        Throttle(**given)
