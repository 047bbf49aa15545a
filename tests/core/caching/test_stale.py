"""When an answer that is stale may be given: a table of who allowed it, and who forbids."""

from __future__ import annotations

import pytest

from holdfast.core.caching.directives import response_directives
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.stale import if_error, of_use_when_stale, while_validating
from holdfast.core.caching.storing import Storable
from tests.core.caching.building import PRIVATE, SHARED, ask, block, judged, stored

TAGGED = 'Cache-Control: %s\nETag: "a"'
LENIENT = CachePolicy(stale_if_error=100.0)


@pytest.mark.parametrize(
    ("said", "age", "asked", "policy", "allowed"),
    [
        ("max-age=60, stale-while-revalidate=30", 89, "", PRIVATE, True),
        ("max-age=60, stale-while-revalidate=30", 90, "", PRIVATE, True),
        ("max-age=60, stale-while-revalidate=30", 91, "", PRIVATE, False),
        ('max-age=60, Stale-While-Revalidate="30"', 89, "", PRIVATE, True),
        ("max-age=60, stale-while-revalidate=30, stale-while-revalidate=10", 75, "", PRIVATE, False),
        ("max-age=60, stale-while-revalidate", 61, "", PRIVATE, False),
        ("max-age=60, stale-while-revalidate=x", 61, "", PRIVATE, False),
        ("max-age=60", 61, "", PRIVATE, False),
        ("max-age=60", 61, "", LENIENT, False),
        ("max-age=60, stale-while-revalidate=30, must-revalidate", 61, "", PRIVATE, False),
        ("max-age=60, stale-while-revalidate=30, no-cache", 61, "", PRIVATE, False),
        ("max-age=60, stale-while-revalidate=30, proxy-revalidate", 61, "", PRIVATE, True),
        ("max-age=60, stale-while-revalidate=30, proxy-revalidate", 61, "", SHARED, False),
        ("s-maxage=60, stale-while-revalidate=30", 61, "", SHARED, False),
        ("max-age=60, stale-while-revalidate=30", 61, "no-cache", PRIVATE, False),
        ("max-age=60, stale-while-revalidate=30", 61, "max-age=100", PRIVATE, False),
        ("max-age=60, stale-while-revalidate=30", 61, "min-fresh=1", PRIVATE, False),
        ("max-age=60, stale-while-revalidate=30", 61, "max-stale=10", PRIVATE, True),
    ],
)
def test_an_answer_is_given_while_it_is_validated(
    said: str, age: float, asked: str, policy: CachePolicy, allowed: bool
) -> None:
    entry = stored(TAGGED % said, policy=policy)
    assert while_validating(ask(f"Cache-Control: {asked}"), entry, age, policy) is allowed


@pytest.mark.parametrize(
    ("said", "age", "asked", "policy", "allowed"),
    [
        ("max-age=60, stale-if-error=30", 90, "", PRIVATE, True),
        ("max-age=60, stale-if-error=30", 91, "", PRIVATE, False),
        ("max-age=60, stale-if-error=0", 60, "", PRIVATE, False),
        ("max-age=60", 61, "", PRIVATE, False),
        ("max-age=60", 160, "", LENIENT, True),
        ("max-age=60", 161, "", LENIENT, False),
        ("max-age=60, stale-if-error=200", 250, "", LENIENT, True),
        ("max-age=60, stale-if-error=10", 150, "", LENIENT, True),
        ("max-age=60", 90, "stale-if-error=30", PRIVATE, True),
        ("max-age=60", 91, "stale-if-error=30", PRIVATE, False),
        ("max-age=60, stale-if-error=300", 91, "stale-if-error=30", LENIENT, False),
        ("max-age=60, stale-if-error=300", 61, "stale-if-error=0", LENIENT, False),
        ("max-age=60, stale-if-error=300", 61, "stale-if-error=x", LENIENT, False),
        ("max-age=60, stale-if-error=300", 50, "max-age=10", PRIVATE, True),
        ("max-age=60, stale-if-error=300", 61, "no-cache", LENIENT, False),
        ("max-age=60, stale-if-error=300, must-revalidate", 61, "", LENIENT, False),
        ("max-age=60, stale-if-error=300, no-cache", 10, "", LENIENT, False),
        ("max-age=60, stale-if-error=300, proxy-revalidate", 61, "", PRIVATE, True),
        ("max-age=60, stale-if-error=300, proxy-revalidate", 61, "", SHARED, False),
        ("s-maxage=60, stale-if-error=300", 61, "", SHARED, False),
    ],
)
def test_an_answer_stands_in_for_an_error(
    said: str, age: float, asked: str, policy: CachePolicy, allowed: bool
) -> None:
    entry = stored(TAGGED % said, policy=policy)
    assert if_error(ask(f"Cache-Control: {asked}"), entry, age, policy) is allowed


def test_an_error_never_stands_in_for_another() -> None:
    entry = stored(TAGGED % "max-age=60, stale-if-error=300", status=503)
    assert not if_error(ask(), entry, 61, PRIVATE)


@pytest.mark.parametrize(
    ("said", "policy", "of_use"),
    [
        ("X: nothing said", PRIVATE, False),
        ("X: nothing said", LENIENT, True),
        ("Cache-Control: max-age=0, stale-while-revalidate=10", PRIVATE, True),
        ("Cache-Control: max-age=0, stale-if-error=10", PRIVATE, True),
        ("Cache-Control: max-age=0, stale-if-error=0", PRIVATE, False),
        ("Cache-Control: no-cache, stale-if-error=10", LENIENT, False),
        ("Cache-Control: max-age=0, must-revalidate", LENIENT, False),
    ],
)
def test_without_lifetime_and_validator_an_answer_is_kept_for_what_it_may_do_when_stale(
    said: str, policy: CachePolicy, of_use: bool
) -> None:
    fields = {name.lower(): value for name, value in block(said)}
    assert of_use_when_stale(response_directives(fields.get(b"cache-control")), policy) is of_use
    assert isinstance(judged(said, policy=policy), Storable) is of_use
