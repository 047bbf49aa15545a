"""What a request gets from what is stored."""

from __future__ import annotations

import pytest

from holdfast.core.caching.entry import Entry
from holdfast.core.caching.key import primary_key
from holdfast.core.caching.parts import judge_part
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.reuse import (
    Bypass,
    Complete,
    Fresh,
    Meanwhile,
    Miss,
    Reuse,
    Unsatisfiable,
    Validate,
    decide,
)
from holdfast.core.caching.storing import Storable
from tests.core.caching.building import IDENTITY, KEY, PRIVATE, RECEIVED, SHARED, URL, ask, block, exchange, stored


def decided(
    *entries: Entry,
    request: str = "",
    method: str = "GET",
    after: float = 10.0,
    policy: CachePolicy = PRIVATE,
    key: str = KEY,
) -> Reuse:
    question = ask(request, method)
    return decide(question, key, entries, now=RECEIVED + after, policy=policy, identity=IDENTITY)


def in_short(answer: Reuse) -> str:
    match answer:
        case Fresh(_, age):
            return f"fresh {age:g}"
        case Meanwhile(_, age):
            return f"stale {age:g}, validate"
        case Validate(_, why):
            return f"validate {why}"
        case Miss(why):
            return f"miss {why}"
        case Complete(_, gap, why):
            return f"complete {gap.start}-{gap.stop} {why}"
        case Bypass(why):
            return f"bypass {why}"
        case Unsatisfiable():
            return "504"


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [
        ("", "fresh 10"),
        ("max-age=10", "fresh 10"),
        ("max-age=9", "validate request"),
        ("max-age=0", "validate request"),
        ("max-age=abc", "validate request"),
        ("no-cache", "validate request"),
        ("no-store", "bypass request"),
        ("min-fresh=50", "fresh 10"),
        ("min-fresh=51", "validate request"),
        ("min-fresh=abc", "validate request"),
        ("max-stale", "fresh 10"),
        ("max-stale=5, max-age=5", "validate request"),
        ("only-if-cached", "fresh 10"),
        ("only-if-cached, no-cache", "504"),
        ("only-if-cached, no-store", "504"),
        ("only-if-cached, max-age=1", "504"),
        ("unknown, max-age=10", "fresh 10"),
    ],
)
def test_request_directives_and_an_entry_fresh_for_60_seconds(wanted: str, answer: str) -> None:
    entry = stored("Cache-Control: max-age=60")
    assert in_short(decided(entry, request=f"Cache-Control: {wanted}")) == answer


@pytest.mark.parametrize(
    ("said", "wanted", "private", "shared"),
    [
        ("max-age=60", "", "validate stale", "validate stale"),
        ("max-age=60", "max-stale", "fresh 100", "fresh 100"),
        ("max-age=60", "max-stale=40", "fresh 100", "fresh 100"),
        ("max-age=60", "max-stale=39", "validate stale", "validate stale"),
        ("max-age=60", "max-stale=abc", "validate stale", "validate stale"),
        ("max-age=60", "max-stale, max-age=99", "validate request", "validate request"),
        ("max-age=60", "max-stale, min-fresh=1", "validate stale", "validate stale"),
        ("max-age=60, must-revalidate", "max-stale", "validate stale", "validate stale"),
        ("max-age=60, proxy-revalidate", "max-stale", "fresh 100", "validate stale"),
        ("max-age=60, s-maxage=60", "max-stale", "fresh 100", "validate stale"),
        ("max-age=60", "only-if-cached", "504", "504"),
        ("max-age=60", "only-if-cached, max-stale", "fresh 100", "fresh 100"),
        ("max-age=600, no-cache", "", "validate stale", "validate stale"),
        ("max-age=600, no-cache", "max-stale", "validate stale", "validate stale"),
        ("max-age=60, s-maxage=600", "", "validate stale", "fresh 100"),
    ],
)
def test_an_entry_100_seconds_old(said: str, wanted: str, private: str, shared: str) -> None:
    answers = [
        in_short(
            decided(
                stored(f"Cache-Control: {said}\nETag: x", policy=policy),
                request=f"Cache-Control: {wanted}",
                after=100.0,
                policy=policy,
            )
        )
        for policy in (PRIVATE, SHARED)
    ]
    assert answers == [private, shared]


def test_max_stale_covers_an_answer_that_was_old_when_it_came() -> None:
    entry = stored("Cache-Control: max-age=1500\nAge: 2000")
    assert in_short(decided(entry, request="Cache-Control: max-stale=1000", after=0.0)) == "fresh 2000"


@pytest.mark.parametrize(
    ("method", "request_headers", "answer"),
    [
        ("GET", "", "fresh 10"),
        ("HEAD", "", "fresh 10"),
        ("POST", "", "bypass method"),
        ("DELETE", "Cache-Control: only-if-cached", "bypass method"),
        ("get", "", "bypass method"),
        ("GET", "Range: bytes=0-1", "fresh 10"),
        ("GET", "Range: bytes=0-0,2-2", "miss bypass"),
        ("GET", "Range: items=0-1", "miss bypass"),
        ("HEAD", "Range: items=0-1", "fresh 10"),
        ("GET", 'If-Range: "a"', "fresh 10"),
        ("GET", 'Range: bytes=0-1\nIf-Match: "a"', "bypass bypass"),
        ("GET", 'If-Match: "a"', "bypass bypass"),
        ("GET", "If-Unmodified-Since: 0", "bypass bypass"),
        ("GET", "Range: bytes=0-1\nCache-Control: only-if-cached", "fresh 10"),
        ("GET", "Range: bytes=0-0,2-2\nCache-Control: only-if-cached", "504"),
        ("GET", 'If-None-Match: "a"', "fresh 10"),
        ("GET", "Pragma: no-cache", "fresh 10"),
    ],
)
def test_requests_that_the_cache_has_no_part_in(method: str, request_headers: str, answer: str) -> None:
    entry = stored("Cache-Control: max-age=60")
    assert in_short(decided(entry, method=method, request=request_headers)) == answer


def test_nothing_stored_is_a_miss() -> None:
    assert decided() == Miss("uri-miss")
    assert decided(request="Cache-Control: only-if-cached") == Unsatisfiable()


def test_another_variant_is_a_miss_of_its_own_kind() -> None:
    entry = stored("Cache-Control: max-age=60\nVary: Accept-Language", request="Accept-Language: de")
    assert decided(entry, request="Accept-Language: fr") == Miss("vary-miss")
    assert in_short(decided(entry, request="Accept-Language: de")) == "fresh 10"


def test_an_entry_of_another_key_is_never_used() -> None:
    wrong = stored("Cache-Control: max-age=60", key=primary_key("GET", f"{URL}?other"))
    assert isinstance(decided(wrong), Miss)
    assert decided(wrong, request="Cache-Control: only-if-cached") == Unsatisfiable()


STRONG = 'Cache-Control: max-age=60\nETag: "a"\n'
WEAK = 'Cache-Control: max-age=60\nETag: W/"a"\n'


@pytest.mark.parametrize(
    ("fields", "request_headers", "method", "after", "answer"),
    [
        (STRONG, "Range: bytes=1-2", "GET", 10, "fresh 10"),
        (STRONG, "Range: bytes=1-2", "GET", 90, "validate stale"),
        (STRONG, "Range: bytes=1-2\nCache-Control: no-cache", "GET", 10, "validate request"),
        (STRONG, "Range: bytes=1-5", "GET", 10, "miss partial"),
        (STRONG, "", "GET", 10, "complete 5-10 partial"),
        (STRONG, "", "GET", 90, "complete 5-10 partial"),
        (STRONG, "Cache-Control: no-cache", "GET", 10, "complete 5-10 partial"),
        (STRONG, "Cache-Control: only-if-cached", "GET", 10, "504"),
        (STRONG, "Cache-Control: no-store", "GET", 10, "bypass request"),
        (STRONG, "Cache-Control: max-stale", "GET", 90, "complete 5-10 partial"),
        (STRONG, 'If-None-Match: "a"', "GET", 10, "miss partial"),
        (STRONG, "", "HEAD", 10, "miss partial"),
        (STRONG, "Range: bytes=1-2", "HEAD", 10, "miss partial"),
        (WEAK, "Range: bytes=1-2", "GET", 10, "fresh 10"),
        (WEAK, "Range: bytes=1-2", "GET", 90, "miss stale"),
        (WEAK, "Range: bytes=1-2\nCache-Control: max-stale", "GET", 90, "fresh 90"),
        (WEAK, "Range: bytes=1-2\nCache-Control: no-cache", "GET", 10, "miss request"),
        (STRONG.replace("60", "60, stale-while-revalidate=60"), "Range: bytes=1-2", "GET", 90, "validate stale"),
        (WEAK, "", "GET", 10, "miss partial"),
    ],
)
def test_a_part_answers_for_what_it_holds_and_for_nothing_else(
    fields: str, request_headers: str, method: str, after: float, answer: str
) -> None:
    judged = judge_part(
        ask("Range: bytes=0-4"),
        KEY,
        block(fields + "Content-Range: bytes 0-4/10"),
        exchange(),
        PRIVATE,
        IDENTITY,
    )
    assert isinstance(judged, Storable)
    part = judged.entry.with_body(b"01234")
    assert in_short(decided(part, method=method, request=request_headers, after=after)) == answer
