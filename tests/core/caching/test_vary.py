"""Variants: the same answer for requests that mean the same, and for no others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.entry import Entry
from holdfast.core.caching.fields import LONGEST_LIST, combine
from holdfast.core.caching.key import Identity
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.vary import ANYTHING, matches, select, variant_of, vary_names
from tests.core.caching.building import (
    IDENTITY,
    KEY,
    RECEIVED,
    ask,
    exchange,
    stored,
)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, ()),
        (b"", ()),
        (b", ,", ()),
        (b"Foo", (b"foo",)),
        (b"foo, BAR,,baz , Foo", (b"bar", b"baz", b"foo")),
        (b"*", ANYTHING),
        (b"*, *", ANYTHING),
        (b", *", ANYTHING),
        (b"Foo, *", ANYTHING),
        (b"*, Foo", ANYTHING),
        (b", ".join(b"x-%d" % number for number in range(65)), ANYTHING),
        (b"\xff, \xe9", (b"\xe9", b"\xff")),
    ],
)
def test_names(value: bytes | None, names: tuple[bytes, ...]) -> None:
    assert vary_names(value) == names


@pytest.mark.parametrize(
    ("name", "one", "other", "same"),
    [
        ("Foo", "Foo: 1", "Foo: 1", True),
        ("Foo", "Foo: 1", "Foo: 2", False),
        ("Foo", "Foo: 1", "", False),
        ("Foo", "Foo:", "", False),
        ("Foo", "", "Bar: 1", True),
        ("Foo", "Foo: 1, 2", "Foo: 1\nFoo: 2", True),
        ("Foo", "Foo: 1,2", "Foo:  1 ,  2 ", True),
        ("Foo", "Foo: 1, 2", "Foo: 2, 1", False),
        ("Foo", "Foo: a", "Foo: A", False),
        ("Foo", 'Foo: "1, 2"', 'Foo: "1,2"', False),
        ("Foo", "Foo: \xe9", "Foo: \xe8", False),
        ("Foo, Bar", "Foo: 1\nBar: 2", "Bar: 2\nFoo: 1", True),
        ("Foo, Bar", "Foo: 1\nBar: 2", "Foo: 2\nBar: 1", False),
        ("Foo, Bar", "Foo: 1", "Bar: 1", False),
        ("Accept-Language", "Accept-Language: de, EN;q=0.5", "Accept-Language: en; q=0.5,DE", True),
        ("Accept-Language", "Accept-Language: de, en;q=0.5", "Accept-Language: de;q=0.5, en", False),
        ("Accept-Encoding", "Accept-Encoding: gzip, br", "Accept-Encoding: BR,gzip", True),
        ("Accept", "Accept: a/b, c/d", "Accept: c/d, a/b", True),
        ("Accept", "Accept: a/b;p=X", "Accept: a/b;p=x", False),
        ("User-Agent", "User-Agent: x (a, b)", "User-Agent: x (a,b)", False),
        ("Cookie", "Cookie: a=1", "Cookie: a=1", True),
        ("Cookie", "Cookie: a=1", "Cookie: a=2", False),
        ("Authorization", "Authorization: a, b", "Authorization: a,b", False),
    ],
)
def test_which_requests_get_the_same_answer(name: str, one: str, other: str, same: bool) -> None:
    entry = stored(f"Cache-Control: max-age=60\nVary: {name}", request=one)
    assert matches(entry, ask(one).fields, IDENTITY)
    assert matches(entry, ask(other).fields, IDENTITY) is same


@pytest.mark.parametrize("name", ["Cookie", "X-Api-Key", "Private-Token"])
def test_what_looks_like_a_credential_is_concealed(name: str) -> None:
    lower = name.lower().encode()
    assert b"s3cr3t" not in variant_of((lower,), {lower: b"s3cr3t"}, IDENTITY)


def test_identity_headers_of_the_user_are_concealed_too() -> None:
    identity = Identity.of(CachePolicy(identity_headers=("X-Tenant",)), b"0123456789abcdef")
    fields = {b"x-tenant": b"acme"}
    assert b"acme" not in variant_of((b"x-tenant",), fields, identity)
    assert b"acme" in variant_of((b"x-tenant",), fields, IDENTITY)


def test_of_several_variants_the_matching_one_that_came_last_is_chosen() -> None:
    def variant(language: str, at: float) -> Entry:
        return stored(
            "Cache-Control: max-age=60\nVary: Accept-Language",
            request=f"Accept-Language: {language}",
            when=exchange(at),
        )

    german, french = variant("de", RECEIVED), variant("fr", RECEIVED + 1)
    newer = stored("Cache-Control: max-age=60", when=exchange(RECEIVED + 2))
    asked = ask("Accept-Language: de").fields
    assert select(KEY, [german, french], asked, IDENTITY) == german
    assert select(KEY, [newer, german], asked, IDENTITY) == newer
    assert select(KEY, [german, newer], asked, IDENTITY) == newer
    assert select(KEY, [french], asked, IDENTITY) is None


VALUES = st.lists(st.sampled_from([b"a", b"b", b"c;q=1", b'"x,y"']), min_size=1, max_size=5)


@given(VALUES)
def test_how_a_list_is_spread_over_lines_does_not_matter(values: list[bytes]) -> None:
    lines = combine([(b"Foo", value) for value in values])
    assert variant_of((b"foo",), lines, IDENTITY) == variant_of((b"foo",), {b"foo": b",".join(values)}, IDENTITY)


@given(st.tuples(st.binary(), st.binary()), st.tuples(st.binary(), st.binary()))
def test_different_verbatim_values_never_run_together(one: tuple[bytes, bytes], other: tuple[bytes, bytes]) -> None:
    names = (b"origin", b"user-agent")
    variants = [variant_of(names, dict(zip(names, values, strict=True)), IDENTITY) for values in (one, other)]
    assert (variants[0] == variants[1]) is (one == other)


def test_lists_too_long_to_be_honest_are_taken_as_they_are() -> None:
    long = b"a, " * LONGEST_LIST
    assert vary_names(long) == ANYTHING
    assert variant_of((b"foo",), {b"foo": long}, IDENTITY).endswith(long)
