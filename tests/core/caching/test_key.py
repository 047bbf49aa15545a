"""One key for one request of one user, and no way back to the credential."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.key import NOBODY, Identity, primary_key, split_key, target
from holdfast.core.caching.policy import CachePolicy
from tests.core.caching.building import IDENTITY

DISTINCT = [
    "https://a.example/x",
    "https://a.example/X",
    "https://a.example/x/",
    "https://a.example/x?",
    "https://a.example/x?a=1&b=2",
    "https://a.example/x?b=2&a=1",
    "https://a.example/x;a=1",
    "https://a.example/%2F",
    "https://a.example/%2f",
    "https://a.example//",
    "https://a.example/x%20",
    "https://a.example/x+",
    "https://a.example:8443/x",
    "http://a.example/x",
    "https://b.example/x",
    "https://a.example/a@b",
    "https://a.example/b",
]


def test_urls_that_a_server_can_tell_apart_have_different_keys() -> None:
    for one, other in combinations(DISTINCT, 2):
        assert primary_key("GET", one) != primary_key("GET", other)


def test_get_and_head_share_a_key_and_other_methods_have_their_own() -> None:
    url = "https://a.example/x"
    assert primary_key("HEAD", url) == primary_key("GET", url)
    assert len({primary_key(method, url) for method in ("GET", "POST", "get")}) == 3


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://a.example/x?q#top", "https://a.example/x?q"),
        ("https://user:secret@a.example/x", "https://a.example/x"),
        ("https://user:p@ss@a.example:8443", "https://a.example:8443/"),
        ("https://a.example/x?mail=a@b", "https://a.example/x?mail=a@b"),
        ("https://a.example?mail=a@b", "https://a.example/?mail=a@b"),
        ("https://a.example", "https://a.example/"),
        ("https://a.example#top", "https://a.example/"),
        ("https://[::1]:80/x", "https://[::1]:80/x"),
        ("nonsense", "nonsense"),
        ("", ""),
    ],
)
def test_only_what_is_sent_is_in_the_key(url: str, sent: str) -> None:
    assert target(url) == sent
    assert primary_key("GET", url) == f"GET  {sent}"


@given(st.text(alphabet=st.characters(max_codepoint=0x7F)))
def test_a_target_is_its_own_target(url: str) -> None:
    assert target(target(url)) == target(url)


def test_a_key_comes_apart_into_what_it_was_made_of() -> None:
    key = primary_key("GET", "https://a.example/x y", "abc")
    assert split_key(key) == ("GET", "abc", "https://a.example/x y")
    assert split_key("nonsense") == ("nonsense", "", "")


CREDENTIALS = [
    {b"authorization": b"Bearer a"},
    {b"authorization": b"Bearer b"},
    {b"cookie": b"Bearer a"},
    {b"x-api-key": b"Bearer a"},
    {b"proxy-authorization": b"Bearer a"},
    {b"authorization": b"Bearer a", b"cookie": b"s=1"},
    {b"authorization": b""},
    {b"authorization": b"a", b"cookie": b""},
    {b"authorization": b"", b"cookie": b"a"},
]


def test_each_set_of_credentials_is_a_partition_of_its_own() -> None:
    partitions = [IDENTITY.partition(fields) for fields in CREDENTIALS]
    assert len({NOBODY, *partitions}) == len(CREDENTIALS) + 1


def test_requests_without_a_credential_share_the_common_partition() -> None:
    assert IDENTITY.partition({b"accept": b"text/html", b"host": b"a.example"}) == NOBODY


def test_a_partition_depends_on_the_secret_and_shows_no_credential() -> None:
    fields = {b"authorization": b"Bearer token"}
    one, other = IDENTITY, Identity(b"another secret of enough length")
    assert one.partition(fields) != other.partition(fields)
    assert one.conceal(b"token") != other.conceal(b"token")
    assert b"token" not in one.conceal(b"token")
    assert "token" not in one.partition(fields)
    assert "0123456789abcdef" not in repr(one)


def test_a_given_identity_outlives_the_token_and_cannot_be_forged_by_fields() -> None:
    old, new = {b"authorization": b"Bearer old"}, {b"authorization": b"Bearer new"}
    assert IDENTITY.partition(old, "user 1") == IDENTITY.partition(new, "user 1")
    assert IDENTITY.partition(old, "user 1") != IDENTITY.partition(old, "user 2")
    assert IDENTITY.partition({b"authorization": b"user 1"}) != IDENTITY.partition({}, "user 1")
    assert IDENTITY.partition({}, "\udcff") != NOBODY


def test_extra_identity_headers_tell_users_apart() -> None:
    identity = Identity.of(CachePolicy(identity_headers=("X-Tenant", "Cookie")), b"0123456789abcdef")
    assert identity.names[-1] == b"x-tenant"
    assert identity.names.count(b"cookie") == 1
    assert identity.partition({b"x-tenant": b"1"}) != identity.partition({b"x-tenant": b"2"})


@pytest.mark.parametrize("length", [0, 15, 65])
def test_a_secret_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError):
        Identity(bytes(length))


@pytest.mark.parametrize(
    "settings",
    [
        {"heuristic_fraction": 0.0},
        {"heuristic_fraction": 1.1},
        {"heuristic_fraction": float("nan")},
        {"heuristic_cap": -1.0},
        {"heuristic_cap": float("nan")},
        {"max_entry_bytes": -1},
        {"identity_headers": ("",)},
        {"identity_headers": ("X-Ü",)},
    ],
)
def test_a_policy_out_of_range_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        CachePolicy(**settings)  # type: ignore[arg-type]  # a table of wrong values has no one type
