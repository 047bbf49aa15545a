"""A rule is found by operation or template, exactly, and only what makes sense is a rule."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.caching.key import spelled
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.rules import CacheRule, Rules, without_query
from tests.support import CHARACTERS

API = "https://api.example.com"


def rules(*names: str) -> Rules:
    return Rules({name: CacheRule(groups=(name,)) for name in names})


def found(ready: Rules, url: str, operation: str | None = None, template: str | None = None) -> str | None:
    """Name of the rule for a request."""
    rule = ready.find(spelled(url), operation, template)
    return None if rule is None else rule.groups[0]


@pytest.mark.parametrize(
    ("template", "url", "matches"),
    [
        ("/users", f"{API}/users", True),
        ("/users", f"{API}/users?page=2", True),
        ("/users", f"{API}/superusers", False),
        ("/users", f"{API}/users/", False),
        ("/users", f"{API}/users/1", False),
        ("/users", f"{API}/v1/users", False),
        ("/users", f"{API}/Users", False),
        ("/users", f"{API}/%75sers", True),
        ("/users", f"{API}/?path=/users", False),
        ("/users/", f"{API}/users/", True),
        ("/users/{id}", f"{API}/users/1", True),
        ("/users/{id}", f"{API}/users/a%2Fb", True),
        ("/users/{id}", f"{API}/users/", False),
        ("/users/{id}", f"{API}/superusers/1", False),
        ("/users/{id}", f"{API}/users/1/posts", False),
        ("/users/{id}/posts", f"{API}/users/1/posts", True),
        ("/users/a%2Fb", f"{API}/users/a%2fb", True),
        ("/users/a%2Fb", f"{API}/users/a/b", False),
        ("/müller", f"{API}/m%C3%BCller", True),
        ("/", f"{API}", True),
        (f"{API}/users/{{id}}", f"{API}/users/1", True),
        (f"{API}/users/{{id}}", "http://api.example.com/users/1", False),
        (f"{API}/users/{{id}}", "https://api.example.com.evil/users/1", False),
        (f"{API}/users/{{id}}", f"{API}:8443/users/1", False),
        ("https://API.example.com:443/users", f"{API}/users", True),
        ("http://[::1]:8000/users", "http://[::1]:8000/users", True),
        (API, f"{API}/", True),
    ],
)
def test_a_template_matches_whole_segments(template: str, url: str, matches: bool) -> None:
    assert found(rules(template), url) == (template if matches else None)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"{API}/users/me", f"{API}/{{kind}}/{{id}}"),
        ("http://a.test/users/me", "/users/me"),
        ("http://a.test/users/1", "/users/{id}"),
        ("http://a.test/groups/me", "/{kind}/me"),
        ("http://a.test/groups/1", None),
    ],
)
def test_the_nearest_template_wins_in_any_order(url: str, expected: str | None) -> None:
    for order in permutations(("/users/me", "/users/{id}", "/{kind}/me", f"{API}/{{kind}}/{{id}}")):
        assert found(rules(*order), url) == expected, order


@pytest.mark.parametrize(
    ("operation", "template", "expected"),
    [
        ("Users.get", "/users/{id}", "Users.get"),
        ("Users.getAll", "/v1/users/{id}", "/v1/users/{id}"),
        ("users.get", None, "/users/{id}"),
        (None, "/users", "/users/{id}"),
        (None, None, "/users/{id}"),
    ],
)
def test_an_operation_goes_before_a_template_and_that_before_the_url(
    operation: str | None, template: str | None, expected: str
) -> None:
    ready = rules("/users/{id}", "/v1/users/{id}", "Users.get")
    assert found(ready, f"{API}/users/1", operation, template) == expected


@pytest.mark.parametrize(
    "names",
    [
        ("",),
        (" Users.get",),
        ("users/{id}",),
        ("{id}",),
        ("//api.example.com/users",),
        ("ftp://api.example.com/users",),
        ("https:///users",),
        ("https://user@api.example.com/users",),
        ("/users?role=admin",),
        ("/users#top",),
        ("/users/{id}.json",),
        ("/users/{}",),
        ("/users/{user id}",),
        ("/users/*/{",),
        ("/users/{id}", "/users/{name}"),
        ("/users", "/%75sers"),
    ],
)
def test_what_names_no_request_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"rule|template|placeholder"):
        CachePolicy(rules={name: CacheRule() for name in names})


@pytest.mark.parametrize(
    "wrong",
    [
        {"ttl": -1.0},
        {"ttl": float("inf")},
        {"ttl": float("nan")},
        {"ttl_by_status": {404: -1.0}},
        {"ttl_by_status": {304: 1.0}},
        {"ttl_by_status": {206: 1.0}},
        {"ttl_by_status": {103: 1.0}},
        {"ignore": ("Cache-Contrl",)},
        {"ignore": ("ETag",)},
        {"ignore": "Vary"},
        {"key_headers": ("",)},
        {"key_headers": ("Ünicode",)},
        {"ignore_query": ["utm_source"]},
        {"groups": "users"},
        {"invalidates": (1,)},
    ],
    ids=str,
)
def test_what_cannot_be_a_rule_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)) + r"|never stored"):
        CacheRule(**wrong)


def test_settings_do_not_change_with_the_callers_mappings() -> None:
    by_status, by_name = {404: 10.0}, {"/users": CacheRule()}
    rule, policy = CacheRule(ttl_by_status=by_status), CachePolicy(rules=by_name)
    by_status.clear()
    by_name.clear()
    assert rule.ttl_by_status == {404: 10.0}
    assert policy.rules == {"/users": CacheRule()}
    assert hash(policy) == hash(CachePolicy(rules={"/users": CacheRule()}))


@pytest.mark.parametrize(
    ("url", "stripped"),
    [
        ("/a?utm_source=x", "/a"),
        ("/a?b=1&utm_source=x&c=2", "/a?b=1&c=2"),
        ("/a?utm%5Fsource=x&b", "/a?b"),
        ("/a?utm_source", "/a"),
        ("/a?my_utm_source=x", "/a?my_utm_source=x"),
        ("/a?b=utm_source", "/a?b=utm_source"),
        ("/a?c=2&b=1", "/a?c=2&b=1"),
        ("/a?", "/a?"),
        ("/a", "/a"),
    ],
)
def test_the_query_loses_whole_parameters_only(url: str, stripped: str) -> None:
    assert without_query(url, ("utm_source",)) == stripped


def test_a_purge_reaches_what_any_rule_stores_the_url_under() -> None:
    ready = Rules({"/a": CacheRule(ignore_query=("x",)), "/b": CacheRule(ignore_query=("y",)), "/c": CacheRule()})
    assert ready.spellings(f"{API}/a?x=1&y=2") == (f"{API}/a?x=1&y=2", f"{API}/a?y=2", f"{API}/a?x=1")
    assert ready.spellings(f"{API}/a") == (f"{API}/a",)


@given(st.text(CHARACTERS), st.lists(st.text(alphabet="abé/%{}", min_size=1), max_size=4))
def test_no_url_raises(path: str, names: list[str]) -> None:
    ready = rules("/{a}/{b}", "/users/{id}", "https://api.example.com/{a}")
    ready.find(f"{API}/{path}", *names[:2])
    without_query(f"{API}?{path}", names)
