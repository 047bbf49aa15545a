"""Validation: what is asked, and what each answer does to the entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.caching.entry import Entry
from holdfast.core.caching.fields import LONGEST_LIST, combine
from holdfast.core.caching.freshness import is_fresh
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.request import read_ask
from holdfast.core.caching.validation import (
    Mismatch,
    Superseded,
    Untouched,
    Updated,
    Verdict,
    conditions,
    judge_answer,
    not_modified,
    not_modified_headers,
    same_representation,
    unchanged,
    with_conditions,
)
from tests.core.caching.building import (
    DATE,
    HOSTILE,
    IDENTITY,
    LINEAR,
    MINUTE_EARLIER,
    MINUTE_LATER,
    PRIVATE,
    RECEIVED,
    SHARED,
    WALL,
    ask,
    block,
    exchange,
    growth,
    stored,
)

NOW, EARLIER, LATER = DATE.decode(), MINUTE_EARLIER.decode(), MINUTE_LATER.decode()
ENTRY = stored(f'Cache-Control: max-age=60\nETag: "a"\nLast-Modified: {EARLIER}\nX-A: 1\nDate: {NOW}')


def answered(
    entry: Entry,
    response: str,
    *,
    status: int = 304,
    method: str = "GET",
    request: str = "",
    conditional: bool = True,
    policy: CachePolicy = PRIVATE,
    at: float = RECEIVED + 100.0,
) -> Verdict:
    return judge_answer(
        ask(request, method),
        entry,
        conditional=conditional,
        status=status,
        headers=block(response),
        exchange=exchange(at, wall=WALL + at - RECEIVED),
        policy=policy,
        identity=IDENTITY,
    )


def updated(entry: Entry, response: str, **how: object) -> Entry:
    verdict = answered(entry, response, **how)  # type: ignore[arg-type]  # passed on as it is
    assert isinstance(verdict, Updated), verdict
    return verdict.entry


@pytest.mark.parametrize(
    ("response", "asked"),
    [
        ('ETag: "a"', 'If-None-Match: "a"'),
        ('ETag: W/"a"', 'If-None-Match: W/"a"'),
        ('ETag: "\xfc"', 'If-None-Match: "\xfc"'),
        (f"Last-Modified: {EARLIER}", f"If-Modified-Since: {EARLIER}"),
        (f'Last-Modified: {EARLIER}\nETag: "a"', f'If-None-Match: "a"\nIf-Modified-Since: {EARLIER}'),
        ("Last-Modified: yesterday", ""),
        ("X-A: 1", ""),
        ("ETag:", ""),
    ],
)
def test_both_validators_are_sent_as_they_came(response: str, asked: str) -> None:
    assert conditions(stored(f"Cache-Control: max-age=1\n{response}")) == block(asked)


def test_our_conditions_replace_the_callers_and_nothing_else() -> None:
    headers = block('Host: a\nif-none-match: "mine"\nIF-MODIFIED-SINCE: x\nAccept: */*')
    assert with_conditions(headers, block('If-None-Match: "a"')) == block('Host: a\nAccept: */*\nIf-None-Match: "a"')


def test_without_conditions_of_ours_the_request_stays_as_it_is() -> None:
    headers = block('Host: a\nif-none-match: "mine"')
    assert with_conditions(headers, []) == headers


@pytest.mark.parametrize(
    ("method", "status", "response", "verdict"),
    [
        ("GET", 200, 'ETag: "b"', Superseded(remove=True)),
        ("GET", 404, "", Superseded(remove=True)),
        ("GET", 500, "", Untouched()),
        ("GET", 503, "Cache-Control: max-age=60", Untouched()),
        ("GET", 599, "", Untouched()),
        ("GET", 429, "", Untouched()),
        ("GET", 408, "", Untouched()),
        ("GET", 304, 'ETag: "b"', Mismatch()),
        ("GET", 304, 'ETag: W/"b"', Mismatch()),
        ("GET", 304, f"Last-Modified: {LATER}", Mismatch()),
        ("GET", 304, "Last-Modified: nonsense", Mismatch()),
        ("HEAD", 304, 'ETag: "b"', Mismatch()),
        ("HEAD", 200, 'ETag: "b"', Superseded(remove=True)),
        ("HEAD", 200, "Content-Length: 5", Superseded(remove=True)),
        ("HEAD", 200, "Content-Length: x", Superseded(remove=True)),
        ("HEAD", 404, "", Superseded(remove=True)),
        ("HEAD", 302, "", Untouched()),
        ("HEAD", 403, "", Untouched()),
        ("HEAD", 500, "", Untouched()),
    ],
)
def test_answers_that_do_not_confirm_the_entry(method: str, status: int, response: str, verdict: Verdict) -> None:
    assert answered(ENTRY, response, status=status, method=method) == verdict


@pytest.mark.parametrize(
    ("method", "status", "response"),
    [
        ("GET", 304, ""),
        ("GET", 304, 'ETag: "a"'),
        ("GET", 304, 'ETag: W/"a"'),
        ("GET", 304, f'ETag: "a"\nLast-Modified: {LATER}'),
        ("GET", 304, f"Last-Modified: {EARLIER}"),
        ("GET", 304, "Last-Modified: Sunday, 06-Nov-94 08:48:37 GMT"),
        ("HEAD", 304, ""),
        ("HEAD", 200, ""),
        ("HEAD", 200, 'ETag: "a"\nContent-Length: 4'),
    ],
)
def test_answers_that_confirm_the_entry_make_it_fresh_again(method: str, status: int, response: str) -> None:
    assert not is_fresh(ENTRY, RECEIVED + 100.0)
    entry = updated(ENTRY, response, status=status, method=method)
    assert is_fresh(entry, RECEIVED + 159.0)
    assert not is_fresh(entry, RECEIVED + 160.0)
    assert (entry.body, entry.status, entry.key) == (ENTRY.body, 200, ENTRY.key)
    assert entry.fields[b"x-a"] == b"1"


def test_a_304_to_the_callers_own_condition_says_nothing_about_the_entry() -> None:
    entry = stored("Cache-Control: max-age=60")
    assert answered(entry, 'ETag: "b"', conditional=False) == Untouched()


def test_a_304_with_a_tag_does_not_confirm_an_entry_without_one() -> None:
    entry = stored(f"Cache-Control: max-age=60\nLast-Modified: {EARLIER}")
    assert answered(entry, f'ETag: "a"\nLast-Modified: {EARLIER}') == Mismatch()


def test_an_unstorable_answer_leaves_an_entry_that_is_still_fresh() -> None:
    assert answered(
        ENTRY, "Cache-Control: no-store", status=200, request="Cache-Control: no-cache", at=RECEIVED + 5.0
    ) == Superseded(remove=False)


def test_a_304_replaces_every_stored_field_but_the_length() -> None:
    entry = stored(
        'Cache-Control: max-age=1\nETag: "a"\nX-A: 1\nX-A: 2\nX-B: \xe9\nContent-Length: 4\nContent-Type: a/b'
    )
    later = updated(
        entry,
        "Cache-Control: max-age=600\nx-a: 3\nContent-Length: 0\nContent-Type: c/d\nX-C: \xff\nAge: 0",
    )
    assert sorted(later.headers) == sorted(
        block(
            'ETag: "a"\nContent-Length: 4\nContent-Type: c/d\nX-B: \xe9\nCache-Control: max-age=600\nx-a: 3\nX-C: \xff'
            "\nDate: Sun, 06 Nov 1994 08:51:17 GMT"
        )
    )
    assert later.lifetime == 600


@pytest.mark.parametrize(
    ("stored_with", "named", "held"),
    [
        ('ETag: "a"', 'ETag: "a"', True),  # strong: the bytes are the same, whatever their coding is now called
        ('ETag: "a"', "", False),
        ('ETag: W/"a"', 'ETag: W/"a"', False),
        ('ETag: W/"a"', 'ETag: "a"', False),
        ('ETag: "a"', 'ETag: W/"a"', False),
        (f"Last-Modified: {EARLIER}", f"Last-Modified: {EARLIER}", False),
    ],
)
def test_a_304_for_another_coding_needs_a_strong_validator(stored_with: str, named: str, held: bool) -> None:
    for ours, theirs in (("\nContent-Encoding: gzip", "br"), ("", "gzip")):
        entry = stored(f"Cache-Control: max-age=1\n{stored_with}{ours}")
        verdict = answered(entry, f"{named}\nContent-Encoding: {theirs}")
        assert isinstance(verdict, Updated if held else Mismatch)
        assert isinstance(answered(entry, f"{named}{ours.upper()}"), Updated)


def test_a_field_of_the_connection_changes_no_stored_one() -> None:
    later = updated(stored('Cache-Control: max-age=1\nETag: "a"\nX-A: 1'), "Connection: X-A\nX-A: 2")
    assert later.fields[b"x-a"] == b"1"


def test_a_304_brings_nothing_that_may_not_be_stored() -> None:
    later = updated(ENTRY, "Connection: X-Hop\nX-Hop: 1\nKeep-Alive: 1\nTransfer-Encoding: chunked\nSet-Cookie: a=b")
    assert later.fields.keys() == {b"cache-control", b"date", b"etag", b"last-modified", b"x-a"}


def test_the_age_on_arrival_is_that_of_the_304() -> None:
    entry = stored('Cache-Control: max-age=60\nETag: "a"\nAge: 50')
    assert updated(entry, "").initial_age == 0
    assert updated(entry, "Age: 20").initial_age == 20


def test_a_304_without_a_date_does_not_lengthen_an_absolute_expiry() -> None:
    entry = stored(f'Date: {EARLIER}\nExpires: {LATER}\nETag: "a"')
    assert entry.lifetime == 120
    assert updated(entry, "").lifetime == 0


@pytest.mark.parametrize("said", ["no-store", "private"])
def test_a_304_may_take_back_the_leave_to_store(said: str) -> None:
    verdict = answered(ENTRY, f"Cache-Control: {said}, max-age=60", policy=SHARED)
    assert isinstance(verdict, Updated)
    assert not verdict.keep


def test_a_304_with_vary_star_is_used_once() -> None:
    verdict = answered(ENTRY, "Vary: *")
    assert isinstance(verdict, Updated)
    assert not verdict.keep


def test_a_304_with_a_line_break_in_a_field_is_not_believed() -> None:
    verdict = judge_answer(
        ask(),
        ENTRY,
        conditional=True,
        status=304,
        headers=[(b"X", b"1\n2")],
        exchange=exchange(),
        policy=PRIVATE,
        identity=IDENTITY,
    )
    assert verdict == Mismatch()


def test_a_304_that_changes_vary_files_the_entry_under_this_request() -> None:
    entry = updated(ENTRY, "Vary: Accept-Language", request="Accept-Language: de")
    assert entry.vary == (b"accept-language",)
    assert b"de" in entry.variant


@pytest.mark.parametrize(
    ("response", "request_headers", "held"),
    [
        ('ETag: "a"', 'If-None-Match: "a"', True),
        ('ETag: "a"', 'If-None-Match: W/"a"', True),
        ('ETag: W/"a"', 'If-None-Match: "a"', True),
        ('ETag: "a"', 'If-None-Match: "b", "a"', True),
        ('ETag: "a"', 'If-None-Match: "b"\nIf-None-Match: "a"', True),
        ('ETag: "a"', 'If-None-Match: "b"', False),
        ('ETag: "a"', 'If-None-Match: "b, a"', False),
        ('ETag: "a,b"', 'If-None-Match: "x", "a,b"', True),
        ('ETag: "a"', "If-None-Match: a", False),
        ("ETag: a", "If-None-Match: a", True),
        ('ETag: W\\"a"', 'If-None-Match: W\\"a"', True),
        ('ETag: "\xfc"', 'If-None-Match: "\xfc"', True),
        ('ETag: "a"', "If-None-Match: *", True),
        ("X: no tag", "If-None-Match: *", True),
        ("X: no tag", 'If-None-Match: "a"', False),
        ('ETag: "a"', "If-None-Match:", False),
        (f"Last-Modified: {NOW}", f"If-Modified-Since: {NOW}", True),
        (f"Last-Modified: {NOW}", f"If-Modified-Since: {LATER}", True),
        (f"Last-Modified: {NOW}", f"If-Modified-Since: {EARLIER}", False),
        (f"Last-Modified: {NOW}", "If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT", True),
        (f"Last-Modified: {NOW}", "If-Modified-Since: nonsense", False),
        (f"Date: {NOW}", f"If-Modified-Since: {NOW}", True),
        ("X: received now", f"If-Modified-Since: {EARLIER}", False),
        (f'ETag: "a"\nLast-Modified: {NOW}', f'If-None-Match: "b"\nIf-Modified-Since: {NOW}', False),
        ('ETag: "a"', "Accept: */*", False),
    ],
)
def test_the_callers_own_condition_is_judged_by_the_entry(response: str, request_headers: str, held: bool) -> None:
    entry = stored(f"Cache-Control: max-age=60\n{response}")
    assert not_modified(ask(request_headers), entry) is held


def test_only_a_200_is_not_modified() -> None:
    entry = stored('Cache-Control: max-age=60\nETag: "a"', status=404)
    assert not not_modified(ask('If-None-Match: "a"'), entry)


def test_a_304_from_the_cache_carries_the_fields_that_a_304_carries() -> None:
    entry = stored('Cache-Control: max-age=60\nETag: "a"\nContent-Type: text/html\nVary: A\nContent-Length: 4')
    assert not_modified_headers(entry) == block(f'Cache-Control: max-age=60\nETag: "a"\nVary: A\nDate: {DATE.decode()}')


FIELDS = st.lists(
    st.tuples(
        st.sampled_from([b"ETag", b"Last-Modified", b"Date", b"Vary", b"Cache-Control", b"Content-Length"]),
        st.binary() | st.sampled_from([b'"a"', DATE, b"max-age=5"]),
    )
)


@given(FIELDS, st.integers(0, 999), st.sampled_from(["GET", "HEAD"]), st.booleans())
def test_no_answer_raises(headers: list[tuple[bytes, bytes]], status: int, method: str, conditional: bool) -> None:
    verdict = judge_answer(
        ask(method=method),
        ENTRY,
        conditional=conditional,
        status=status,
        headers=headers,
        exchange=exchange(),
        policy=PRIVATE,
        identity=IDENTITY,
    )
    if status >= 500:
        assert verdict == Untouched()


SAID = [
    "Cache-Control: max-age=60",
    'Cache-Control: max-age=60, no-cache="X-A, ETag"',
    "CDN-Cache-Control: max-age=5",
    "Expires: Sun, 06 Nov 2094 08:49:37 GMT",
    f"Last-Modified: {EARLIER}",
    'ETag: "a"',
    'etag: W/"a"',
    "Vary: Accept",
    "Set-Cookie: a=1",
    "Set-Cookie: b=2",
    'Cache-Groups: "g"',
    "X-A: Date",
    "Age: 7",
    f"DATE: {NOW}",
    "Connection: close, X-A",
    "Content-Length: 4",
    "Content-Encoding: gzip",
]
POLICIES = [PRIVATE, SHARED, CachePolicy(targets=("CDN-Cache-Control",)), CachePolicy(heuristic=False)]


def lines(entry: Entry) -> list[tuple[bytes, bytes]]:
    return sorted((name.lower(), value) for name, value in entry.headers)


@settings(max_examples=50)
@given(
    st.lists(st.sampled_from(SAID), max_size=3, unique=True),
    st.lists(st.sampled_from(SAID), max_size=1),
    st.sampled_from([f"Date: {LATER}", f"Date: {NOW}", f"DATE: {LATER}", f"Date: {NOW}\nDate: {NOW}", "Date: soon"]),
    st.sampled_from(POLICIES),
    st.sampled_from(POLICIES),
)
def test_a_304_that_tells_no_news_is_judged_as_any_other(
    before: list[str], more: list[str], date: str, policy: CachePolicy, today: CachePolicy
) -> None:
    entry = stored("\n".join(["Cache-Control: max-age=9", 'ETag: "e"', *before]), policy=policy)
    when = exchange(RECEIVED + 100.0, wall=WALL + 100.0)
    headers = block("\n".join([*before, *more, date]))
    quick = unchanged(ask(), entry, combine(headers), when, today)
    if quick is None:
        return
    verdict = judge_answer(
        ask(), entry, conditional=True, status=304, headers=headers, exchange=when, policy=today, identity=IDENTITY
    )
    assert isinstance(verdict, Updated)
    assert verdict.keep == quick.keep
    assert replace(verdict.entry, head=quick.entry.head) == quick.entry
    assert lines(verdict.entry) == lines(quick.entry)


def test_a_304_with_nothing_new_but_its_date_leaves_the_fields_as_they_were() -> None:
    found = unchanged(ask(), ENTRY, combine(block(f'ETag: "a"\nDate: {LATER}\nContent-Length: 0')), exchange(), PRIVATE)
    assert found is not None
    assert found.entry.headers == [*ENTRY.headers[:-1], (b"Date", MINUTE_LATER)]
    assert unchanged(ask(), ENTRY, combine(block(f'ETag: "a"\nDate: {LATER}\nX-A: 2')), exchange(), PRIVATE) is None


@given(st.binary(), st.binary())
def test_no_condition_raises(tag: bytes, since: bytes) -> None:
    headers = [(b"If-None-Match", tag), (b"If-Modified-Since", since)]
    for header in headers:
        assert not_modified(read_ask("GET", [header]), ENTRY) in (True, False)
    assert with_conditions(headers, conditions(ENTRY)) == conditions(ENTRY)


def test_a_condition_too_long_to_be_honest_is_not_met() -> None:
    assert not not_modified(ask('If-None-Match: "b", ' * LONGEST_LIST + '"a"'), ENTRY)


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_comparing_validators_takes_linear_time(make: Callable[[int], bytes]) -> None:
    def compare(value: bytes) -> bool:
        return same_representation(ENTRY, {b"etag": value, b"last-modified": value})

    assert growth(compare, make) < LINEAR
