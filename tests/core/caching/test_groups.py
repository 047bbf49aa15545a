"""Cache groups are lists of strings, read strictly (RFC 9875, RFC 9651), and end up as tags."""

from __future__ import annotations

import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.groups import (
    LONGEST_GROUP,
    MOST_GROUPS,
    group_tag,
    group_tag_within,
    joined,
    operation_tag,
    read_groups,
    tags_of,
)
from holdfast.core.caching.reach import Reach, reach_of
from tests.core.caching.building import HOSTILE

API = "https://api.example.com"


@pytest.mark.parametrize(
    ("field", "groups"),
    [
        (b'"users"', ("users",)),
        (b'  "a", "b"\t,\t"c" ', ("a", "b", "c")),
        (b'"b","a","b"', ("b", "a")),
        (b'"Users", "users"', ("Users", "users")),
        (b'"a, b"', ("a, b",)),
        (b'"say \\"hi\\" \\\\o/"', ('say "hi" \\o/',)),
        (b'""', ("",)),
        (b'"a";x, "b";y=1;z="q;,"; w=?0;v=tok/en;u=:YQ==:;t=-1.5;s=@1659578233;r=%"f"', ("a", "b")),
        (b"users", ()),
        (b'"a", users', ()),
        (b'"a", 1', ()),
        (b'("a" "b")', ()),
        (b'"a",', ()),
        (b',"a"', ()),
        (b'"a" "b"', ()),
        (b'"a', ()),
        (b'\t"a"', ()),
        (b'"a\\b"', ()),
        (b'"\xc3\xa9"', ()),
        (b'"a\tb"', ()),
        (b'"a";X=1', ()),
        (b'"a";x=', ()),
        (b'"a" ;x', ()),
        (b"", ()),
        (None, ()),
    ],
)
def test_lists_of_strings(field: bytes | None, groups: tuple[str, ...]) -> None:
    assert read_groups(field) == groups


def test_groups_are_bounded() -> None:
    many = b", ".join(b'"%d"' % number for number in range(200))
    assert read_groups(many) == tuple(str(number) for number in range(MOST_GROUPS))
    assert read_groups(b'"%b", "b"' % (b"x" * (LONGEST_GROUP + 1))) == ("b",)
    assert read_groups(b'"%b"' % (b"x" * 10_000)) == ()
    # What RFC 9875 2 wants at least: 32 groups of 32 characters.
    assert len(read_groups(b", ".join(b'"%032d"' % number for number in range(32)))) == 32


@given(st.lists(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)), max_size=9, unique=True))
def test_what_is_written_by_the_rules_is_read(names: list[str]) -> None:
    written = ", ".join('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in names)
    assert read_groups(written.encode("ascii")) == tuple(names)


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_longest_field_that_is_read_is_read_in_no_time(kind: str) -> None:
    value = HOSTILE[kind](8_000)
    # A pattern that goes back over what it has read takes seconds for this.
    assert min(timeit.repeat(lambda: read_groups(value), number=1, repeat=5)) < 0.5


def test_tags_are_shared_and_scoped() -> None:
    tags = tags_of(API, ("users", "users"), "Users.list")
    assert tags == (group_tag("users"), group_tag_within(API, "users"), operation_tag("Users.list"))
    assert tags_of(API, ("users", "users"), "Users.list") is tags
    assert group_tag_within("https://other.example", "users") not in tags
    assert group_tag_within("https://a.test", "https://b.test users") != group_tag_within("https://b.test", "users")


def test_a_validated_answer_keeps_the_tags_that_it_had() -> None:
    old = tags_of(API, ("a", "b"), None)
    assert joined(tags_of(API, ("a",), None), old) is old
    assert set(joined(tags_of(API, ("c",), None), old)) == {*old, *tags_of(API, ("c",), None)}
    tags = old
    for number in range(1000):
        tags = joined(tags_of(API, (str(number),), None), tags)
    assert len(tags) <= 3 * MOST_GROUPS
    assert group_tag("999") in tags


@pytest.mark.parametrize(
    ("meant", "reach"),
    [
        ({"url": "HTTPS://API.example.com:443/users?x#y"}, Reach("url", f"{API}/users?x")),
        ({"prefix": f"{API}/us"}, Reach("prefix", f"{API}/us")),
        ({"prefix": API}, Reach("prefix", f"{API}/")),
        ({"group": "users"}, Reach("tag", group_tag("users"))),
        ({"operation": "Users.get"}, Reach("tag", operation_tag("Users.get"))),
    ],
)
def test_a_purge_says_what_it_removes(meant: dict[str, str], reach: Reach) -> None:
    assert reach_of(**meant) == reach


@pytest.mark.parametrize(
    "meant",
    [{}, {"url": API, "group": "users"}, {"url": "/users"}, {"prefix": ""}, {"prefix": "api.example.com"}],
    ids=str,
)
def test_a_purge_of_none_or_several_or_of_no_url_is_refused(meant: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"purge takes one of url, prefix, group and operation|absolute"):
        reach_of(**meant)
