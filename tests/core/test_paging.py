"""Which page is next: rules on plain data, links of any shape, and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from holdfast.core.links import links_of
from holdfast.core.page_token import place_in, token_of
from holdfast.core.paging import PagingRule, Place, by_cursor, by_link, by_offset, by_page, by_url
from holdfast.core.told import Header, Told, Unreadable
from holdfast.errors import InvalidInput

HERE = "https://api.test/v1/users?page=1"


def told(document: Any = None, count: int = 2, headers: Mapping[str, str] | None = None) -> Told:
    return Told(HERE, count, (headers or {}).get, lambda: document)


@pytest.mark.parametrize(
    ("field", "links"),
    [
        ("", {}),
        ("<https://api.test/v1/users?page=2>; rel=next", {"next": "https://api.test/v1/users?page=2"}),
        ('</x?a=1,2;b=3>; title="a, <b>; rel=last"; REL="Next"', {"next": "https://api.test/x?a=1,2;b=3"}),
        ('<?page=2>; rel="next last", <?page=1>; rel=first', {
            "next": "https://api.test/v1/users?page=2",
            "last": "https://api.test/v1/users?page=2",
            "first": "https://api.test/v1/users?page=1",
        }),
        ('<?page=2>; rel=prev; rel=next', {"prev": "https://api.test/v1/users?page=2"}),
        ('<?page=2>; rel=next, <?page=3>; rel=next', {"next": "https://api.test/v1/users?page=2"}),
        ('<?page=2>; rel="next"; anchor="/other"', {}),
        ('<?page=2>; rel="next"; anchor="?page=1"', {"next": "https://api.test/v1/users?page=2"}),
        ("<//other.test/x>;rel=next", {"next": "https://other.test/x"}),
        ('<?a>;;rel = "ne\\xt" ; x', {"next": "https://api.test/v1/users?a"}),
        ("nonsense, <?b>; rel=next", {"next": "https://api.test/v1/users?b"}),
        ("<?a>, <?b; rel=next", {}),
        ("<?a>; rel", {}),
    ],
)  # fmt: skip
def test_links_are_read_as_rfc_8288_says(field: str, links: dict[str, str]) -> None:
    assert links_of(field, HERE) == links


@pytest.mark.parametrize(
    "field", ["<a>" + ";" * 60_000, "<a>; " + " " * 60_000 + "x", "<" * 60_000, '<a>; a="' * 9_000]
)
def test_no_link_field_is_slow(field: str) -> None:
    assert links_of(field, HERE) == {}


def offset(number: int, limit: int) -> Place:
    return Place({"offset": number, "limit": limit})


def page(number: int, **sizes: int) -> Place:
    return Place({"page": number, **sizes})


AFTER = by_cursor("hits.-1.sort", parameter="search_after", sent_in="body")
INNER = by_cursor("meta.after", parameter="page.cursor", sent_in="body")
IN_BODY = by_offset(2, total="n", parameter="from", size_parameter="page.size", sent_in="body")
FORM = by_cursor("next", parameter="page.cursor", sent_in="form")
IN_FORM = by_offset(2, total="n", sent_in="form")
NEXT = {"link": "<?page=2>; rel=next"}
SECOND = Place(url="https://api.test/v1/users?page=2")
LAST_ID = by_cursor("data.-1.id", parameter="after", more="has_more")
COUNT, TWO = Header("X-WP-TotalPages"), {"X-WP-TotalPages": "2"}


@pytest.mark.parametrize(
    ("rule", "place", "answer", "after"),
    [
        (by_link(), Place(), told(headers=NEXT), SECOND),
        (by_link(), Place(), told(headers=NEXT, count=0), SECOND),
        (by_link(), Place(), told(headers={"link": "<?page=0>; rel=prev"}), None),
        (by_url("paging.next"), Place(), told({"paging": {"next": "/v1/u?c=1"}}), Place(url="https://api.test/v1/u?c=1")),
        (by_url("paging.next"), Place(), told({"paging": {"next": None}}), None),
        (by_url("paging.next"), Place(), told({"paging": None}), None),
        (by_url(["@odata.nextLink"]), Place(), told({"@odata.nextLink": "?page=2"}), SECOND),
        (by_cursor("next"), Place(), told({"next": "a b"}, count=0), Place({"cursor": "a b"})),
        (by_cursor("next"), Place(), told({"next": 0}), Place({"cursor": 0})),
        (by_cursor("next"), Place(), told({"next": ""}), None),
        (by_cursor("next"), Place(), told({}), None),
        (by_cursor("next"), Place(), told({"next": False}), None),
        (LAST_ID, Place(), told({"data": [{"id": 7}], "has_more": True}), Place({"after": 7})),
        (LAST_ID, Place(), told({"data": [{"id": 7}], "has_more": False}), None),
        (by_cursor("id", more="has_more"), Place(), told({"id": 7}), None),
        (by_cursor(Header("X-Next"), parameter="page"), Place(), told(headers={"X-Next": "4"}), Place({"page": "4"})),
        (by_cursor(Header("X-Next"), parameter="page"), Place(), told(headers={"X-Next": ""}), None),
        # A server that cuts pages shorter than asked, and one that filters what it has cut.
        (by_offset(100, total="total"), offset(0, 100), told({"total": 5}), offset(2, 100)),
        (by_offset(100, total="total"), offset(3, 100), told({"total": 5}), None),
        (by_offset(2, total="total", step="size"), offset(0, 2), told({"total": 5}, count=1), offset(2, 2)),
        (by_offset(2, total="total"), offset(0, 2), told({"total": 5}, count=0), offset(2, 2)),
        (by_offset(2, more="more"), offset(4, 2), told({"more": True}), offset(6, 2)),
        (by_offset(2, until_empty=True), offset(4, 2), told(count=1), offset(5, 2)),
        (by_offset(2, until_empty=True), offset(4, 2), told(count=0), None),
        (by_offset(2, total="total", first=1), offset(1, 2), told({"total": 2}), None),
        (by_page(pages=COUNT), page(1), told(headers=TWO, count=0), page(2)),
        (by_page(pages=COUNT), page(2), told(headers=TWO), None),
        (by_page(pages="pages", first=0), page(0), told({"pages": 2}), page(1)),
        (by_page(pages="pages", first=0), page(1), told({"pages": 2}), None),
        (by_page(pages="pages"), page(1), told({"pages": 0}), None),
        (by_page(more="more", size=5), page(1, per_page=5), told({"more": True}), page(2, per_page=5)),
        (by_page(until_empty=True), page(1), told(count=1), page(2)),
        (by_page(until_empty=True), page(2), told(count=0), None),
        (AFTER, Place(), told({"hits": [{"sort": [7, "a"]}]}), Place(body={"search_after": [7, "a"]})),
        (AFTER, Place(), told({"hits": []}, count=0), None),
        (INNER, Place(), told({"meta": {"after": {"id": 7}}}), Place(body={"page": {"cursor": {"id": 7}}})),
        (IN_BODY, IN_BODY.first(), told({"n": 3}), Place(body={"from": 2, "page": {"size": 2}})),
        (IN_BODY, Place(body={"from": 2, "page": {"size": 2}}), told({"n": 3}), None),
        (FORM, Place(), told({"next": "a"}), Place(form={"page.cursor": "a"})),
        (IN_FORM, IN_FORM.first(), told({"n": 3}), Place(form={"offset": 2, "limit": 2})),
    ],
)  # fmt: skip
def test_a_rule_says_what_is_next(rule: PagingRule, place: Place, answer: Told, after: Place | None) -> None:
    assert rule.after(place, answer) == after
    assert after is None or rule.fits(after)


@pytest.mark.parametrize(
    ("rule", "answer", "path"),
    [
        (by_url("next"), told({"next": 4}), "$.next"),
        (by_url("next"), told([1, 2]), "$"),
        (by_cursor("a.b"), told({"a": "text"}), "$.a"),
        (by_cursor("next"), told({"next": {"a": 1}}), "$.next"),
        (by_cursor("next"), told({"next": True}), "$.next"),
        (by_cursor("next", sent_in="body"), told({"next": True}), "$.next"),
        (by_cursor("next", sent_in="form"), told({"next": [1]}), "$.next"),
        (by_cursor("data.-1.id", more="more"), told({"data": [], "more": True}), "$.data.-1.id"),
        (by_cursor("id", more="more"), told({"id": 1, "more": "yes"}), "$.more"),
        (by_page(pages="pages"), told({"pages": -1}), "$.pages"),
        (by_page(pages="pages"), told({}), "$.pages"),
        (by_page(pages=Header("X-Pages")), told(headers={"X-Pages": "many"}), "the header field X-Pages"),
    ],
)
def test_an_answer_that_does_not_say_it_ends_no_listing(rule: PagingRule, answer: Told, path: str) -> None:
    with pytest.raises(Unreadable) as wrong:
        rule.after(rule.first(), answer)
    assert wrong.value.path == path


@pytest.mark.parametrize(
    ("rule", "answer", "places"),
    [
        (by_link(), told(headers={"link": "<?q=a&page=2>; rel=next, <?q=a&page=4>; rel=last"}), [
            Place(url=f"https://api.test/v1/users?q=a&page={page}") for page in (2, 3, 4)
        ]),
        (by_link(), told(headers={"link": "<?page=2>; rel=next, <?page=2>; rel=last"}), [Place(url="https://api.test/v1/users?page=2")]),
        (by_link(), told(headers={"link": "<?c=ab>; rel=next, <?c=zz>; rel=last"}), None),
        (by_link(), told(headers={"link": "<?page=2>; rel=next, <?from=4>; rel=last"}), None),
        (by_link(), told(headers={"link": "<?page=2&a=1>; rel=next, <?page=4&a=2>; rel=last"}), None),
        (by_link(), told(headers={"link": "<?page=5>; rel=next, <?page=4>; rel=last"}), None),
        (by_link(), told(headers={"link": "<?page=2>; rel=next"}), None),
        (by_page(pages="n"), told({"n": 3}), [Place({"page": 2}), Place({"page": 3})]),
        (by_page(more="m"), told({"m": True}), None),
        (by_offset(2, total="n"), told({"n": 5}), [Place({"offset": 2, "limit": 2}), Place({"offset": 4, "limit": 2})]),
        (by_offset(100, total="n"), told({"n": 5}), None),  # cut shorter than asked
        (by_offset(100, total="n", step="size"), told({"n": 101}), [Place({"offset": 100, "limit": 100})]),
        (by_cursor("next"), told({"next": "a"}), None),
    ],
)  # fmt: skip
def test_pages_are_known_ahead_where_a_server_tells(rule: PagingRule, answer: Told, places: list[Place] | None) -> None:
    ahead = rule.ahead(rule.first(), answer)
    assert (None if ahead is None else [*ahead]) == places


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"more": "m", "until_empty": True},
        {"more": ""},
        {"more": "a..b"},
        {"more": []},
        {"more": "m", "size": 0},
        {"more": "m", "sent_in": "path"},
    ],
    ids=str,
)
def test_a_listing_by_numbers_ends_by_one_sign(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        by_page(**settings)


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        (by_link(), Place(url="https://api.test/é?a=1")),
        (by_link(), Place()),
        (by_cursor("next"), Place({"cursor": "a"})),
        (by_offset(5, more="m"), Place({"offset": 5, "limit": 5})),
        (AFTER, Place(body={"search_after": [7, "a"]})),
        (INNER, Place()),
        (IN_BODY, Place(body={"from": 2, "page": {"size": 2}})),
        (FORM, Place(form={"page.cursor": "a"})),
    ],
)
def test_a_token_comes_back_as_it_was(rule: PagingRule, place: Place) -> None:
    assert place_in(token_of("users", place, 3), "users", rule) == (place, 3)


@pytest.mark.parametrize(
    ("token", "rule"),
    [
        ("", by_link()),
        ("[]", by_link()),
        ("{}", by_link()),
        ("[" * 100_000, by_link()),
        ('{"v":1}', by_link()),
        (token_of("others", Place()), by_link()),
        (token_of("users", Place(), -1), by_link()),
        (token_of("users", Place({"cursor": "a"})), by_link()),
        (token_of("users", Place(url="https://api.test/")), by_cursor("next")),
        (token_of("users", Place({"admin": "true"})), by_cursor("next")),
        (token_of("users", Place({"offset": "5", "limit": 5})), by_offset(5, more="m")),
        (token_of("users", Place({"offset": 5, "limit": 500})), by_offset(5, more="m")),
        (token_of("users", Place({"offset": 5})), by_offset(5, more="m")),
        (token_of("users", Place({"cursor": [1]})), by_cursor("next")),  # type: ignore[dict-item]
        (token_of("users", Place(body={"cursor": "a"})), by_link()),
        (token_of("users", Place(form={"cursor": "a"})), by_link()),
        (token_of("users", Place(form={"cursor": "a"})), by_cursor("next")),
        (token_of("users", Place({"page.cursor": "a"})), FORM),
        (token_of("users", Place(form={"page.cursor": "a", "admin": "1"})), FORM),
        (token_of("users", Place(form={"page.cursor": [1]})), FORM),  # type: ignore[dict-item]
        (token_of("users", Place(body={"cursor": "a"})), by_cursor("next")),
        (token_of("users", Place({"search_after": 1})), AFTER),
        (token_of("users", Place(body={"search_after": 1, "admin": True})), AFTER),
        (token_of("users", Place(body={"page": "a"})), INNER),
        (token_of("users", Place(body={"from": 2, "page": {"size": 500}})), IN_BODY),
        (token_of("users", Place(url=7)), by_link()),  # type: ignore[arg-type]
    ],
)
def test_a_token_of_something_else_is_refused(token: str, rule: PagingRule) -> None:
    with pytest.raises(InvalidInput):
        place_in(token, "users", rule)
