"""Settings are frozen dataclasses in all that a user does with them."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, fields, replace
from typing import Any

import pytest

from holdfast import CircuitBreaker, ConcurrencyLimit, FullJitter, RateLimit, Retry, RetryBudget
from holdfast.core.settings import Settings

EACH = [CircuitBreaker(failures=3), ConcurrencyLimit(3), FullJitter(cap=3.0), RateLimit(3), Retry(), RetryBudget()]


@pytest.mark.parametrize("settings", EACH, ids=lambda each: type(each).__name__)
def test_they_are_values(settings: Settings) -> None:
    for twin in (copy.copy(settings), replace(settings), pickle.loads(pickle.dumps(settings))):
        assert (twin, hash(twin)) == (settings, hash(settings))
    assert asdict(settings) == vars(settings)
    assert [each.name for each in fields(settings)] == list(inspect.signature(type(settings)).parameters)


def test_a_copy_differs_in_what_was_given_and_is_checked_again() -> None:
    ours = RateLimit(100, per=60.0)
    assert replace(ours, burst=5.0) == RateLimit(100, per=60.0, burst=5.0) != ours
    with pytest.raises(ValueError, match="burst must be at least 1"):
        replace(ours, burst=0.5)


def test_settings_of_two_kinds_are_never_equal() -> None:
    class Other(Settings):
        ratio: float = 0.2
        reserve: int = 10
        window: float = 10.0

    assert vars(Other()) == vars(RetryBudget())
    assert Other() != RetryBudget()


def test_they_say_what_they_hold() -> None:
    said = "ConcurrencyLimit(limit=20, total=100, max_queue=10000, observe=False)"
    assert repr(ConcurrencyLimit(20, total=100)) == said


def test_nothing_of_them_changes() -> None:
    settings: Any = Retry()
    with pytest.raises(FrozenInstanceError, match="attempts"):
        settings.attempts = 5
    with pytest.raises(FrozenInstanceError, match="attempts"):
        del settings.attempts
    assert settings == Retry()


WRONG: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]] = [
    (Retry, (3,), {}),
    (Retry, (), {"attempt": 3}),
    (RateLimit, (), {}),
    (RateLimit, (10, 60.0), {}),
    (RateLimit, (10,), {"limit": 10}),
]


@pytest.mark.parametrize(("kind", "values", "named"), WRONG)
def test_what_is_no_argument_of_theirs_is_a_type_error(
    kind: Callable[..., object], values: tuple[Any, ...], named: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        kind(*values, **named)
