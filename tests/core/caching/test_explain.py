"""Each objection, each source of a lifetime and each omission is told; phases meet the decisions at every moment."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli.words import OBJECTIONS
from holdfast.core.caching.explain import Explanation, Omission, explain, phase_at, standing
from holdfast.core.caching.freshness import Source
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.request import Terms
from holdfast.core.caching.rules import CacheRule
from holdfast.core.caching.storing import Objection, Storable, judge
from tests.core.caching.building import (
    IDENTITY,
    KEY,
    MINUTE_LATER,
    PRIVATE,
    RECEIVED,
    SHARED,
    URL,
    WALL,
    ask,
    block,
    exchange,
    stored,
)

FRESH = "Cache-Control: max-age=60"


def explained(
    answer: str, request: str = "", *, status: int = 200, method: str = "GET", policy: CachePolicy = PRIVATE
) -> Explanation:
    return explain(ask(request, method), status, block(answer), url=URL, wall=WALL, policy=policy)


OBJECTED: dict[Objection, Explanation] = {
    "method": explained(FRESH, method="POST"),
    "status": explained("", status=500),
    "range": explained("Content-Range: bytes 0-9/100\nContent-Length: 9\nETag: x", "Range: bytes=0-9", status=206),
    "must-understand": explained("Cache-Control: max-age=60, must-understand", status=299),
    "no-store": explained("Cache-Control: no-store"),
    "no-store in the request": explained(FRESH, "Cache-Control: no-store"),
    "private": explained("Cache-Control: private, max-age=60", policy=SHARED),
    "authorization": explained(FRESH, "Authorization: Basic x", policy=SHARED),
    "malformed": explain(ask(), 200, [*block(FRESH), (b"X", b"a\nb")], url=URL, wall=WALL, policy=PRIVATE),
    "vary": explained(f"{FRESH}\nVary: *"),
    "no lifetime and no validator": explained(""),
}


def test_each_objection_can_be_met_and_has_a_sentence() -> None:
    assert {told.objection for told in OBJECTED.values()} == set(get_args(Objection)) == set(OBJECTIONS)


@pytest.mark.parametrize("objection", OBJECTED)
def test_an_objection_is_the_judgements_own(objection: Objection) -> None:
    assert (OBJECTED[objection].objection, OBJECTED[objection].standing) == (objection, None)


LIFETIMES: list[tuple[str, CachePolicy, float, Source]] = [
    ("Cache-Control: max-age=60, s-maxage=600", PRIVATE, 60, "max-age"),
    ("Cache-Control: max-age=60, s-maxage=600", SHARED, 600, "s-maxage"),
    (f"Expires: {MINUTE_LATER.decode()}", PRIVATE, 60, "expires"),
    ("Expires: 0\nETag: x", PRIVATE, 0, "expires"),
    ("Last-Modified: Sun, 06 Nov 1994 08:32:57 GMT", PRIVATE, 100, "heuristic"),
    ("Last-Modified: Sun, 06 Nov 1994 08:32:57 GMT", CachePolicy(heuristic=False), 0, "none"),
    ("ETag: x", PRIVATE, 0, "none"),
]


@pytest.mark.parametrize(("answer", "policy", "lifetime", "source"), LIFETIMES)
def test_a_lifetime_has_its_source(answer: str, policy: CachePolicy, lifetime: float, source: Source) -> None:
    told = explained(answer, policy=policy).standing
    assert told is not None
    assert (told.lifetime, told.source) == (lifetime, source)


def test_each_source_is_in_the_table() -> None:
    assert {source for *_, source in LIFETIMES} == set(get_args(Source))


def test_a_lifetime_that_the_answer_does_not_explain_is_the_users() -> None:
    asked = ask()
    asked.terms = Terms(rule=CacheRule(ttl=5.0))
    judged = judge(asked, KEY, 200, block(FRESH), exchange(), PRIVATE, IDENTITY)
    assert isinstance(judged, Storable)
    told = standing(ask(), judged.entry, PRIVATE)
    assert (told.lifetime, told.source) == (5.0, "settings")


@pytest.mark.parametrize("said", ["Last-Modified: Sun, 06 Nov 1994 08:00:00 GMT", f"Expires: {MINUTE_LATER.decode()}"])
def test_a_stored_answer_that_came_without_a_date_still_explains_its_lifetime(said: str) -> None:
    entry = stored(said, when=exchange(wall=WALL + 0.4))
    assert standing(ask(), entry, PRIVATE).source in ("heuristic", "expires")


@pytest.mark.parametrize(
    ("answer", "request_", "policy", "omitted"),
    [
        ("Age: 3\nConnection: X-Hop\nX-Hop: 1", "", PRIVATE, {"age", "connection", "x-hop"}),
        ("Set-Cookie: a=b", "", PRIVATE, {"set-cookie"}),
        ("Set-Cookie: a=b", "Cookie: a=c", PRIVATE, set()),
        ('Cache-Control: no-cache="x-a"\nX-A: 1', "", PRIVATE, {"x-a"}),
        ('Cache-Control: private="x-a"\nX-A: 1', "", PRIVATE, set()),
        ('Cache-Control: private="x-a"\nX-A: 1', "", SHARED, {"x-a"}),
    ],
)
def test_what_is_not_stored_is_told(answer: str, request_: str, policy: CachePolicy, omitted: set[str]) -> None:
    told = explained(f"{answer}\n{FRESH}", request_, policy=policy)
    assert {name for name, _ in told.omitted} == omitted


def test_each_omission_has_its_reason() -> None:
    told = explained(
        'Cache-Control: max-age=60, no-cache="x-a", private="x-b"\nX-A: 1\nX-B: 1\nSet-Cookie: a=b\nAge: 1',
        policy=SHARED,
    )
    assert dict(told.omitted) == {"x-a": "no-cache", "x-b": "private", "set-cookie": "set-cookie", "age": "connection"}
    assert set(dict(told.omitted).values()) == set(get_args(Omission))


@pytest.mark.parametrize(
    ("request_", "policy", "credentials"),
    [
        ("", PRIVATE, ()),
        ("Cookie: a=b\nAuthorization: Basic x", PRIVATE, ("authorization", "cookie")),
        ("X-Team: blue", CachePolicy(identity_headers=("X-Team",)), ("x-team",)),
        ("Cookie: a=b", SHARED, ()),
    ],
)
def test_an_answer_is_for_those_with_the_same_credentials(
    request_: str, policy: CachePolicy, credentials: tuple[str, ...]
) -> None:
    assert explained(FRESH, request_, policy=policy).credentials == credentials


def test_a_part_answers_its_range_and_is_completed_for_the_whole() -> None:
    told = explained(f'Content-Range: bytes 0-9/100\nETag: "x"\n{FRESH}', "Range: bytes=0-9", status=206)
    assert told.standing is not None
    assert [phase.answer for phase in told.standing.phases] == ["fresh", "validate"]
    assert told.whole is not None
    assert told.whole.answer == "complete"


times = st.sampled_from([0, 5, 30, 60, 90])
said = st.lists(
    st.one_of(
        st.sampled_from(["no-cache", "must-revalidate", "public"]),
        st.builds("{}={}".format, st.sampled_from(["max-age", "stale-while-revalidate", "stale-if-error"]), times),
    )
).map(", ".join)
wanted = st.lists(
    st.builds("{}={}".format, st.sampled_from(["max-age", "min-fresh", "max-stale", "stale-if-error"]), times)
).map(", ".join)


@given(said, wanted, st.sampled_from([0, 7, 60]), st.sampled_from([None, 45.0]), st.floats(0, 400))
def test_at_every_moment_the_phase_is_what_is_decided_then(
    said: str, wanted: str, age: int, stale_if_error: float | None, at: float
) -> None:
    policy = CachePolicy(stale_if_error=stale_if_error)
    asked = ask(f"Cache-Control: {wanted}")
    entry = stored(f'Cache-Control: {said}\nETag: "x"\nAge: {age}', request=f"Cache-Control: {wanted}", policy=policy)
    phases = standing(asked, entry, policy).phases
    assert [phase.start for phase in phases[1:]] == [phase.end for phase in phases[:-1]]
    assert (phases[0].start, phases[-1].end) == (0.0, None)
    if any(abs(at - phase.start) < 1e-6 for phase in phases):
        return  # which of the two holds at the very moment is a matter of < and <=
    phase = next(phase for phase in phases if phase.end is None or at < phase.end)
    now = phase_at(asked, entry, policy, now=RECEIVED + at)
    assert (now.answer, now.why, now.stands_in) == (phase.answer, phase.why, phase.stands_in)
