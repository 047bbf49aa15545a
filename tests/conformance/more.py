"""More cases of the same kind, judged from the RFCs: what the public data that is copied here has no case for.

Every case begins with an answer that a cache may see. ``reused`` says that a second request gets it from the cache,
``asked_again`` that the origin is asked. Where nothing but economy speaks for reuse the case is optimal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, Literal

from tests.conformance.cases import Case, Header, Kind, Step

FRESH: Final[Header] = ["Cache-Control", "max-age=3600"]
STALE_SOON: Final[Header] = ["Cache-Control", "max-age=2"]
NOW: Final[Header] = ["Date", 0]
TAG: Final[Header] = ["ETag", '"v1"']
MODIFIED: Final[Header] = ["Last-Modified", -3000]
LONG_AGO: Final[Header] = ["Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT"]
For = Literal["private", "shared", "both"]


def more_cases() -> tuple[Case, ...]:
    groups = (
        lifetimes(),
        dates(),
        ages(),
        storing(),
        heuristics(),
        variants(),
        conditions(),
        updates(),
        requests(),
        invalidations(),
        stale(),
        others(),
    )
    return tuple(case for group in groups for case in group)


def case(id: str, kind: Kind, *steps: Step, by: For = "both") -> Case:
    return Case(id=f"more-{id}", kind=kind, requests=steps, private=by != "shared", shared=by != "private")


def answered(*headers: Header, status: int = 200, pause: bool = True, **more: Any) -> Step:
    """The answer that the case is about."""
    return Step(
        response_headers=tuple([name, value, False] for name, value, *_ in headers),
        response_status=None if status == 200 else (status, "Whatever"),
        setup=True,
        pause_after=pause,
        **more,
    )


def reused(id: str, *headers: Header, kind: Kind = "optimal", by: For = "both", **more: Any) -> Case:
    first = answered(*headers, **more)
    return case(id, kind, first, Step(expected_type="cached", response_status=first.response_status), by=by)


def asked_again(id: str, *headers: Header, kind: Kind = "required", by: For = "both", **more: Any) -> Case:
    first = answered(*headers, **more)
    return case(id, kind, first, Step(expected_type="not_cached", response_status=first.response_status), by=by)


def lifetimes() -> Iterator[Case]:
    """RFC 9111 4.2.1 and 5.2."""
    for id, value in (
        ("max-age-unknown-directives", "foo, max-age=3600, bar=1"),
        ("max-age-no-space", "public,max-age=3600,foo"),
        ("max-age-leading-zeros", "max-age=0003600"),
        ("max-age-2^31-1", "max-age=2147483647"),
        ("max-age-2^31", "max-age=2147483648"),
        ("max-age-20-digits", "max-age=99999999999999999999"),
        ("max-age-empty-members", ", ,max-age=3600, ,"),
        ("max-age-tabs", "\tfoo\t,\tmax-age=3600\t"),
        ("max-age-must-revalidate", "max-age=3600, must-revalidate"),
        ("max-age-proxy-revalidate", "max-age=3600, proxy-revalidate"),
        ("max-age-immutable", "max-age=3600, immutable"),
        ("max-age-quoted-extension", 'foo="max-age=1", max-age=3600'),
        ("max-age-quoted-no-store", 'foo="no-store", max-age=3600'),
        ("max-age-quoted-comma", 'foo="a, no-store, b", max-age=3600'),
        ("max-age-escaped-quote", 'foo="\\", no-store", max-age=3600'),
        ("max-age-like-names", "max-age=3600, x-no-store, no-storex, max-agex=0"),
        ("public", "public, max-age=3600"),
    ):
        yield reused(id, ["Cache-Control", value])
    for id, value in (
        ("max-age-1", "max-age=1"),
        ("max-age-negative", "max-age=-3600"),
        ("max-age-two-smaller-wins", "max-age=3600, max-age=1"),
        ("max-age-words", "max-age=forever"),
        ("max-age-no-value", "max-age"),
        ("max-age-empty-value", "max-age="),
        ("max-age-hexadecimal", "max-age=0xFF"),
        ("max-age-decimal-below", "max-age=0.9"),
        ("max-age-other-digits", "max-age=³"),
        ("max-age-quoted-last", 'max-age=1, foo="a\\", max-age=3600"'),
        ("no-store-last", "max-age=3600, no-store"),
        ("no-store-with-value", "max-age=3600, no-store=1"),
        ("no-cache-upper-case", "max-age=3600, NO-CACHE"),
        ("s-maxage-0-shared", "max-age=3600, s-maxage=0"),
    ):
        yield asked_again(id, ["Cache-Control", value], by="shared" if "shared" in id else "both")
    yield reused("max-age-over-expires", FRESH, ["Expires", -3600], NOW)
    yield reused("max-age-over-bad-expires", FRESH, ["Expires", "0"], NOW)
    yield asked_again("max-age-0-over-expires", ["Cache-Control", "max-age=0"], ["Expires", 3600], NOW)
    yield asked_again("max-age-1-over-expires", ["Cache-Control", "max-age=1"], ["Expires", 3600], NOW)
    yield asked_again("unknown-cache-control-and-old-expires", ["Cache-Control", "foo"], ["Expires", -3600], NOW)
    yield reused("two-fields-make-one", ["Cache-Control", "foo"], FRESH)
    yield asked_again("no-store-in-the-second-field", FRESH, ["Cache-Control", "no-store"])
    yield asked_again("no-store-in-the-first-field", ["Cache-Control", "no-store"], FRESH)
    yield reused("s-maxage-private", ["Cache-Control", "s-maxage=1, max-age=3600"], by="private")
    yield asked_again("s-maxage-alone-private", ["Cache-Control", "s-maxage=3600"], by="private")
    yield reused("s-maxage-expires-shared", ["Cache-Control", "s-maxage=3600"], ["Expires", -3600], NOW, by="shared")
    yield reused("s-maxage-upper-case-shared", ["Cache-Control", "max-age=1, S-MaxAge=3600"], by="shared")
    yield asked_again("s-maxage-age-shared", ["Cache-Control", "s-maxage=3600"], ["Age", "7200"], by="shared")
    yield asked_again("old-date", FRESH, ["Date", -7200])
    yield reused("date-ahead", FRESH, ["Date", 7200])
    yield asked_again("date-ahead-stale", STALE_SOON, ["Date", 7200])
    yield reused("bad-date", FRESH, ["Date", "yesterday"])
    yield reused("pragma-is-nothing-beside-max-age", FRESH, ["Pragma", "no-cache"])


def dates() -> Iterator[Case]:
    """RFC 9110 5.6.7, RFC 9111 5.3."""
    for id, value in (
        ("rfc850", "Thursday, 18-Aug-50 02:01:18 GMT"),
        ("asctime-two-digit-day", "Thu Aug 18 02:01:18 2050"),
        ("far", "Sun, 21 Nov 2286 04:46:39 GMT"),
        ("year-9999", "Fri, 31 Dec 9999 23:59:59 GMT"),
        ("case-of-weekday", "THU, 18 Aug 2050 02:01:18 GMT"),
        ("case-of-zone", "Thu, 18 Aug 2050 02:01:18 gMT"),
        ("leap-second", "Thu, 30 Jun 2050 23:59:60 GMT"),
        ("wrong-weekday", "Mon, 18 Aug 2050 02:01:18 GMT"),
    ):
        yield reused(f"expires-{id}", ["Expires", value], NOW, kind="optimal" if id != "wrong-weekday" else "check")
    for id, value in (
        ("0", "0"),
        ("minus-1", "-1"),
        ("empty", ""),
        ("epoch-seconds", "4102444800"),
        ("now", "Now"),
        ("iso", "2050-08-18T02:01:18Z"),
        ("utc", "Thu, 18 Aug 2050 02:01:18 UTC"),
        ("aest", "Thu, 18 Aug 2050 02:01:18 AEST"),
        ("offset", "Thu, 18 Aug 2050 02:01:18 +0000"),
        ("no-zone", "Thu, 18 Aug 2050 02:01:18"),
        ("no-weekday", "18 Aug 2050 02:01:18 GMT"),
        ("1-digit-day", "Thu, 8 Aug 2050 02:01:18 GMT"),
        ("1-digit-hour", "Thu, 18 Aug 2050 2:01:18 GMT"),
        ("2-digit-year", "Thu, 18 Aug 50 02:01:18 GMT"),
        ("3-digit-year", "Thu, 18 Aug 205 02:01:18 GMT"),
        ("5-digit-year", "Thu, 18 Aug 20500 02:01:18 GMT"),
        ("long-month", "Thu, 18 August 2050 02:01:18 GMT"),
        ("long-weekday", "Thursday, 18 Aug 2050 02:01:18 GMT"),
        ("other-language", "Do, 18 Aug 2050 02:01:18 GMT"),
        ("no-seconds", "Thu, 18 Aug 2050 02:01 GMT"),
        ("hour-24", "Thu, 18 Aug 2050 24:00:00 GMT"),
        ("minute-60", "Thu, 18 Aug 2050 02:60:18 GMT"),
        ("february-30", "Thu, 30 Feb 2050 02:01:18 GMT"),
        ("am", "Thu, 18 Aug 2050 02:01:18 AM GMT"),
        ("comment", "Thu, 18 Aug 2050 02:01:18 GMT (no)"),
        ("quoted", '"Thu, 18 Aug 2050 02:01:18 GMT"'),
        ("garbage-behind", "Thu, 18 Aug 2050 02:01:18 GMT; foo"),
        ("no-space", "Thu,18 Aug 2050 02:01:18 GMT"),
        ("milliseconds", "Thu, 18 Aug 2050 02:01:18.000 GMT"),
    ):
        yield asked_again(f"expires-invalid-{id}", ["Expires", value], NOW)
    yield asked_again("expires-now", ["Expires", 0], NOW)
    yield asked_again("expires-1", ["Expires", 1], NOW)
    yield asked_again("expires-before-a-date-ahead", ["Expires", 10], ["Date", 20])
    yield reused("expires-after-an-old-date", ["Expires", 3600], ["Date", -60])
    yield asked_again("expires-two-alike", ["Expires", "Thu, 18 Aug 2050 02:01:18 GMT"], *[["Expires", 3600]])
    yield asked_again("expires-age", ["Expires", 3600], NOW, ["Age", "7200"])


def ages() -> Iterator[Case]:
    """RFC 9111 5.1 and 4.2.3: the first member counts, and one that is no number is ignored."""
    for id, *values in (
        ("negative", "-7200"),
        ("words", "old"),
        ("words-then-number", "old, 7200"),
        ("words-then-number-in-two-lines", "old", "7200"),
        ("small-then-large", "0, 7200"),
        ("small-then-large-in-two-lines", "0", "7200"),
        ("parameter", "0;foo=7200"),
        ("quoted", '"7200"'),
        ("hexadecimal", "0x7200"),
        ("empty", ""),
        ("plus", "+7200"),
    ):
        yield reused(f"age-{id}", NOW, FRESH, *(["Age", value] for value in values))
    for id, *values in (
        ("equal", "3600"),
        ("2^31-1", "2147483647"),
        ("2^31+1", "2147483649"),
        ("2^32", "4294967296"),
        ("30-digits", "1" * 30),
        ("large-then-words", "7200, old"),
        ("large-then-words-in-two-lines", "7200", "old"),
        ("leading-zeros", "0007200"),
        ("spaces", "  7200  "),
    ):
        yield asked_again(f"age-{id}", NOW, FRESH, *(["Age", value] for value in values))
    sent_on = Step(expected_type="cached", expected_response_headers=(["Age", ">", 1002],))
    yield case("age-is-added-to", "required", answered(NOW, FRESH, ["Age", "1000"]), sent_on)
    yield case("age-of-an-old-date", "required", answered(["Date", -1000], FRESH), sent_on)


def storing() -> Iterator[Case]:
    """RFC 9111 3."""
    yield asked_again("private-shared", ["Cache-Control", "private, max-age=3600"], by="shared")
    yield reused("private-private", ["Cache-Control", "private, max-age=3600"], by="private")
    yield asked_again("private-expires-shared", ["Cache-Control", "private"], ["Expires", 3600], NOW, by="shared")
    yield asked_again("private-upper-case-shared", ["Cache-Control", "PRIVATE, max-age=3600"], by="shared")
    for directive, allows in (("public", True), ("must-revalidate", True), ("proxy-revalidate", False)):
        first = answered(["Cache-Control", f"max-age=3600, {directive}"], request_headers=(["Authorization", "FOO"],))
        kind: Kind = "optimal" if allows else "required"
        second = Step(expected_type="cached" if allows else "not_cached")
        yield case(f"authorization-{directive}-shared", kind, first, second, by="shared")
        yield case(
            f"authorization-{directive}-then-another-private",
            "required",
            first,
            Step(expected_type="not_cached", request_headers=(["Authorization", "BAR"],)),
            by="private",
        )
    for status in (200, 201, 202, 203, 204, 226, 299, 300, 301, 305, 400, 401, 402, 403, 404, 405, 406, 409, 410, 413):
        yield reused(f"status-{status}", FRESH, NOW, status=status, check_body=True)
    for status in (414, 418, 421, 422, 428, 429, 431, 451, 499, 501, 505, 510, 511, 599):
        yield reused(f"status-{status}", FRESH, NOW, status=status)
        yield asked_again(f"status-{status}-stale", STALE_SOON, NOW, status=status)
    yield asked_again("must-understand-599", ["Cache-Control", "max-age=3600, must-understand"], status=599)
    yield reused("must-understand-200", ["Cache-Control", "max-age=3600, must-understand, no-store"])
    yield asked_again(
        "must-understand-599-no-store", ["Cache-Control", "max-age=3600, no-store, must-understand"], status=599
    )
    yield asked_again("a-part-is-not-the-whole", FRESH, ["Content-Range", "bytes 0-4/10"], status=206)
    yield asked_again("head-is-not-get", FRESH, request_method="HEAD")
    yield asked_again("post-is-not-get", FRESH, request_method="POST", request_body="a")
    yield asked_again("options-is-not-get", FRESH, request_method="OPTIONS")
    hop = (["Keep-Alive", "a"], ["Proxy-Authenticate", "a"], ["TE", "a"], ["Upgrade", "a"], ["X-A", "a"], ["X-B", "b"])
    kept = Step(
        expected_type="cached",
        expected_response_headers=(["X-B", "b"],),
        expected_response_headers_missing=("Keep-Alive", "Proxy-Authenticate", "TE", "Upgrade", "X-A"),
        setup_tests=("expected_type",),
    )
    yield case("connection-fields", "required", answered(FRESH, ["Connection", "x-a, foo"], *hop), kept)
    yield case("connection-fields-in-two-lines", "required", answered(FRESH, *[["Connection", "X-A"]] * 2, *hop), kept)
    for name, value in (
        ("Content-Language", "de"),
        ("Content-Disposition", "attachment"),
        ("Content-Security-Policy", "default-src 'self'"),
        ("Clear-Site-Data", "cookies"),
        ("ETag", '"a"'),
        ("Expires", "Thu, 18 Aug 2050 02:01:18 GMT"),
        ("Link", '</a>; rel="next"'),
        ("Server", "x"),
        ("Strict-Transport-Security", "max-age=1"),
        ("Vary", "Foo"),
        ("Via", "1.1 x"),
        ("Warning", '199 - "x"'),
        ("WWW-Authenticate", "Basic"),
        ("X-Odd", "caf\xe9\xff"),
    ):
        seen = Step(expected_type="cached", expected_response_headers=([name, value],), setup_tests=("expected_type",))
        yield case(f"keeps-{name}", "required", answered(FRESH, NOW, [name, value]), seen)
    lists: tuple[tuple[str, For], ...] = (("no-cache", "both"), ("private", "shared"))
    for name, by in lists:
        without = Step(
            expected_type="cached",
            expected_response_headers=(["b", "2"],),
            expected_response_headers_missing=("a", "c"),
            setup_tests=("expected_type",),
        )
        listing = ["Cache-Control", f'max-age=3600, {name}="A, c"']
        yield case(f"fields-of-{name}", "check", answered(listing, ["a", "1"], ["b", "2"], ["c", "3"]), without, by=by)


def heuristics() -> Iterator[Case]:
    """RFC 9111 4.2.2, RFC 9110 15.1."""
    old: tuple[Header, ...] = (["Last-Modified", -864_000], NOW)
    for status in (203, 300, 301, 308, 404, 405, 501):
        yield reused(f"heuristic-{status}", *old, status=status)
    for status in (202, 302, 303, 307, 400, 403, 429, 500, 599):
        yield asked_again(f"heuristic-{status}", *old, status=status)
    yield reused("heuristic-public-599", *old, ["Cache-Control", "public"], status=599, kind="check")
    yield asked_again("heuristic-no-date", ["Cache-Control", "foo"])
    yield asked_again("heuristic-modified-now", ["Last-Modified", 0], NOW)
    yield asked_again("heuristic-modified-ahead", ["Last-Modified", 3600], NOW)
    yield asked_again("heuristic-bad-date", ["Last-Modified", "long ago"], NOW)
    yield asked_again("heuristic-expired", *old, ["Expires", "0"])
    yield asked_again("heuristic-no-cache", *old, ["Cache-Control", "no-cache"])
    yield asked_again("heuristic-private-shared", *old, ["Cache-Control", "private"], by="shared")


def variants() -> Iterator[Case]:
    """RFC 9111 4.1."""

    def pair(
        id: str, vary: str | list[str], first: list[Header], second: list[Header], kind: Kind = "required"
    ) -> Case:
        lines = [vary] if isinstance(vary, str) else vary
        answer = answered(FRESH, NOW, *(["Vary", line] for line in lines), request_headers=tuple(first), pause=False)
        same = kind == "optimal"
        return case(
            f"vary-{id}",
            kind,
            answer,
            Step(expected_type="cached" if same else "not_cached", request_headers=tuple(second)),
        )

    one, two, bar = ["Foo", "1"], ["Foo", "2"], ["Bar", "x"]
    language, german = "Accept-Language", ["Accept-Language", "de, en;q=0.5"]
    yield pair("added", "Foo", [], [one])
    yield pair("empty-is-not-absent", "Foo", [["Foo", ""]], [])
    yield pair("second-of-two", "Foo, Bar", [one, bar], [one, ["Bar", "y"]])
    yield pair("second-of-two-lines", ["Foo", "Bar"], [one, bar], [one, ["Bar", "y"]])
    yield pair("first-of-two-lines", ["Foo", "Bar"], [one, bar], [two, bar])
    yield pair("case-of-a-value", "Foo", [["Foo", "a"]], [["Foo", "A"]])
    yield pair("order-of-a-value", "Foo", [["Foo", "a, b"]], [["Foo", "b, a"]])
    yield pair("quoted-space", "Foo", [["Foo", '"a,b"']], [["Foo", '"a, b"']])
    for id, star in (("star", "*"), ("star-spaces", " * "), ("empty-then-star", ", *"), ("foo-star-bar", "Foo,*,Bar")):
        yield pair(id, star, [one], [one])
    yield pair("star-in-the-second-line", ["Foo", "*"], [one], [one])
    yield pair("star-in-the-first-line", ["*", "Foo"], [one], [one])
    yield pair("same", "Foo", [one], [one], "optimal")
    yield pair("both-absent", "Foo", [], [], "optimal")
    yield pair("others-differ", "Foo", [one, bar], [one], "optimal")
    yield pair("case-of-a-name", "fOO", [one], [["FOO", "1"]], "optimal")
    yield pair("order-of-names", "Foo, Bar", [one, bar], [bar, one], "optimal")
    yield pair("empty", "", [one], [two], "optimal")
    yield pair("empty-members", ", Foo,,", [one], [one], "optimal")
    yield pair("language-order", language, [german], [[language, "en;q=0.5, de"]], "optimal")
    yield pair("language-case", language, [german], [[language, "DE, En;q=0.5"]], "optimal")
    yield pair("language-space", language, [german], [[language, "de,en; q=0.5"]], "optimal")
    yield pair("language-other-weight", language, [german], [[language, "de, en;q=0.4"]])
    yield pair(
        "encoding-order",
        "Accept-Encoding",
        [["Accept-Encoding", "br, gzip"]],
        [["Accept-Encoding", "gzip,BR"]],
        "optimal",
    )
    first, second = (
        answered(FRESH, NOW, ["Vary", "Foo"], request_headers=(field,), pause=False, response_body=field[1])
        for field in (one, two)
    )
    again = [Step(expected_type="cached", request_headers=(field,), response_body=field[1]) for field in (one, two)]
    yield case("vary-keeps-both", "optimal", first, replace(second, expected_type="not_cached"), *again)
    changed = answered(FRESH, NOW, ["Vary", "Bar"], request_headers=(two, bar), pause=False, response_body="2")
    third = Step(expected_type="not_cached", request_headers=(two,), response_body="3")
    yield case("vary-changes", "required", first, changed, third)


def conditions() -> Iterator[Case]:
    """RFC 9111 4.3.2: a condition of the client's on an answer that is fresh; RFC 9110 13.2.2."""

    def fresh(
        id: str, headers: list[Header], asked: list[Header], status: int, kind: Kind = "optimal", **more: Any
    ) -> Case:
        second = Step(request_headers=tuple(asked), expected_type="cached", expected_status=status, **more)
        return case(f"condition-{id}", kind, answered(FRESH, NOW, *headers), second)

    none, since = "If-None-Match", "If-Modified-Since"
    yield fresh("first-of-several", [TAG], [[none, '"v1", "v2"']], 304)
    yield fresh("last-of-several", [TAG], [[none, '"v0","v1"']], 304)
    yield fresh("of-two-lines", [TAG], [[none, '"v0"'], [none, '"v1"']], 304)
    yield fresh("odd-spaces", [TAG], [[none, ' "v0"  ,\t"v1" , ']], 304)
    yield fresh("comma-in-a-tag", [["ETag", '"a,b"']], [[none, '"x", "a,b"']], 304)
    yield fresh("any", [TAG], [[none, "*"]], 304)
    yield fresh("weak-asks-strong", [TAG], [[none, 'W/"v1"']], 304)
    yield fresh("strong-asks-weak", [["ETag", 'W/"v1"']], [[none, '"v1"']], 304)
    yield fresh("other", [TAG], [[none, '"v2"']], 200)
    yield fresh("part-of-a-tag", [["ETag", '"a,b"']], [[none, '"a"']], 200)
    yield fresh("case-of-a-tag", [TAG], [[none, '"V1"']], 200)
    yield fresh("no-tag", [], [[none, '"v1"']], 200)
    yield fresh("tag-before-date", [TAG, MODIFIED], [[none, '"v2"'], [since, 0]], 200, magic_ims=True)
    yield fresh("tag-before-old-date", [TAG, MODIFIED], [[none, '"v1"'], [since, -9000]], 304, magic_ims=True)
    yield fresh("earlier-date", [MODIFIED], [[since, -9000]], 200, magic_ims=True)
    yield fresh("bad-date", [MODIFIED], [[since, "0"]], 200)
    yield fresh("no-modified", [], [[since, -9000]], 200, magic_ims=True)
    headers = ("ETag", "Cache-Control", "Date", "Vary", "Content-Location")
    yield fresh(
        "fields-of-a-304",
        [TAG, ["Vary", "Foo"], ["Content-Location", "/a"], ["X-A", "1"], ["Content-Length", "36"]],
        [[none, '"v1"']],
        304,
        "required",
        setup_tests=("expected_type", "expected_status"),
        expected_response_headers=headers,
        expected_response_headers_missing=("Content-Length",),
    )
    yield case(
        "condition-on-a-404",
        "required",
        answered(FRESH, NOW, TAG, status=404),
        Step(
            request_headers=([none, '"v1"'],),
            expected_type="cached",
            expected_status=404,
            setup_tests=("expected_type",),
        ),
    )
    for id, asked in (("if-match", ["If-Match", '"v0"']), ("if-unmodified-since", ["If-Unmodified-Since", -9000])):
        yield case(
            f"condition-{id}-is-the-origins",
            "required",
            answered(FRESH, NOW, TAG, MODIFIED),
            Step(request_headers=(asked,), response_status=(412, "No"), expected_type="not_cached"),
        )

    def validated(id: str, validators: list[Header], sent: list[str | Header], by: Literal["etag", "lm"]) -> Case:
        second = Step(
            response_headers=tuple([name, value, False] for name, value in validators),
            expected_type="etag_validated" if by == "etag" else "lm_validated",
            expected_request_headers=tuple(sent),
            expected_response_headers_missing=("Age",),  # it would say that the origin was not asked
        )
        return case(f"validated-{id}", "optimal", answered(STALE_SOON, NOW, *validators), second)

    yield validated("both", [TAG, LONG_AGO], [[none, '"v1"'], [since, LONG_AGO[1]]], "etag")
    yield validated("modified", [LONG_AGO], [[since, LONG_AGO[1]]], "lm")
    yield validated("unquoted", [["ETag", "v1"]], [[none, "v1"]], "etag")
    yield validated("obs-text", [["ETag", '"v\xe9"']], [[none, '"v\xe9"']], "etag")
    yield validated("odd-date", [["Last-Modified", "Wednesday, 01-Jan-20 00:00:00 GMT"]], [since], "lm")


def updates() -> Iterator[Case]:
    """RFC 9111 3.2, 4.3.4, 4.3.5."""

    def update(id: str, old: list[Header], new: list[Header], seen: list[Header], *, kind: Kind = "required") -> Case:
        return case(
            f"304-{id}",
            kind,
            answered(STALE_SOON, NOW, TAG, *old),
            Step(
                response_headers=(FRESH, NOW, TAG, *new),
                expected_type="etag_validated",
                expected_response_headers=tuple(seen),
                setup_tests=("expected_type",),
                pause_after=True,
            ),
            Step(expected_type="cached", expected_response_headers=tuple(seen), setup_tests=("expected_type",)),
        )

    for name, old, new in (
        ("Content-Foo", "a", "b"),
        ("Content-Language", "de", "en"),
        ("Content-Location", "/a", "/b"),
        ("Content-Disposition", "inline", "attachment"),
        ("Content-Encoding", "foo", "bar"),
        ("Content-Type", "text/plain", "text/html"),
        ("Expires", "Thu, 18 Aug 2050 02:01:18 GMT", "Thu, 18 Aug 2051 02:01:18 GMT"),
        ("Link", "</a>", "</b>"),
        ("X-XSS-Protection", "0", "1"),
        ("x-odd-CASE", "a", "b"),
    ):
        yield update(name, [[name, old]], [[name, new]], [[name, new]])
    yield update("adds", [], [["X-New", "1"]], [["X-New", "1"]])
    yield update("keeps", [["X-Old", "1"]], [], [["X-Old", "1"]])
    yield update("replaces-all-lines", [["X-A", "1"], ["X-A", "2"]], [["X-A", "3"]], [["X-A", "3"]])
    yield update("other-case-of-a-name", [["X-A", "1"]], [["x-a", "2"]], [["X-A", "2"]])
    for status in (500, 503, 429):
        trouble = Step(response_status=(status, "No"), expected_status=None, check_body=False)
        yield case(
            f"validator-survives-{status}",
            "optimal",
            answered(STALE_SOON, NOW, TAG, pause=True),
            replace(trouble, response_headers=(TAG,)),
            Step(response_headers=(TAG,), expected_type="etag_validated"),
        )
    yield case(
        "200-replaces",
        "required",
        answered(STALE_SOON, NOW, TAG, response_body="old"),
        Step(response_headers=(FRESH, ["ETag", '"v2"']), response_body="new", expected_type="not_cached", setup=True),
        Step(expected_type="cached", response_body="new"),
    )
    yield case(
        "404-replaces",
        "required",
        answered(STALE_SOON, NOW, TAG),
        Step(response_headers=(FRESH,), response_status=(404, "No"), expected_type="not_cached", setup=True),
        Step(expected_type="cached", response_status=(404, "No")),
    )
    before = answered(FRESH, NOW, TAG, response_body="old", pause=False)
    refused = Step(
        request_headers=(["Cache-Control", "no-cache"],),
        response_headers=(["Cache-Control", "no-store"],),
        response_body="new",
        expected_type="not_cached",
        setup=True,
    )
    yield case("no-store-later", "check", before, refused, Step(expected_type="cached", response_body="old"))

    def head(id: str, new: list[Header], status: int, kept: bool, kind: Kind, seen: list[Header] | None = None) -> Case:
        return case(
            f"head-{id}",
            kind,
            answered(STALE_SOON, NOW, TAG, ["X-A", "1"]),
            Step(
                request_method="HEAD",
                response_headers=tuple(new),
                response_status=None if status == 200 else (status, "No"),
                setup=True,
            ),
            Step(
                expected_type="cached" if kept else "not_cached",
                expected_response_headers=tuple(seen or ()),
                setup_tests=("expected_type",) if kept else (),
            ),
        )

    yield head("200-freshens", [FRESH, TAG], 200, True, "check")
    yield head("200-updates", [FRESH, TAG, ["X-A", "2"]], 200, True, "check", [["X-A", "2"]])
    yield head("200-keeps-the-rest", [FRESH, TAG], 200, True, "check", [["X-A", "1"]])
    yield head("200-of-another", [FRESH, ["ETag", '"v2"']], 200, False, "required")
    yield head("410-removes", [FRESH], 410, False, "required")


def requests() -> Iterator[Case]:
    """RFC 9111 5.2.1."""

    def asks(id: str, said: str, headers: list[Header], expected: str, *, pause: bool = True, **more: Any) -> Case:
        kind: Kind = "optimal" if expected == "cached" else "required"
        second = Step(request_headers=(["Cache-Control", said],), expected_type=expected, **more)  # type: ignore[arg-type]
        return case(f"request-{id}", kind, answered(*headers, pause=pause), second)

    old = [FRESH, ["Age", "1800"]]
    yield asks("max-age-0", "max-age=0", [FRESH], "not_cached")
    yield asks("max-age-1", "max-age=1", [FRESH], "not_cached")
    yield asks("max-age-below-age", "max-age=1000", old, "not_cached")
    yield asks("max-age-above-age", "max-age=2000", old, "cached")
    yield asks("max-age-upper-case", "Max-Age=0", [FRESH], "not_cached")
    yield asks("max-age-beyond-lifetime", "max-age=2000", [STALE_SOON], "not_cached")
    yield asks("max-stale-any", "max-stale", [STALE_SOON], "cached")
    yield asks("max-stale-less", "max-stale=0", [STALE_SOON], "not_cached")
    yield asks(
        "max-stale-must-revalidate", "max-stale", [["Cache-Control", "max-age=2, must-revalidate"]], "not_cached"
    )
    yield asks("max-stale-no-cache", "max-stale", [["Cache-Control", "max-age=2, no-cache"], TAG], "not_cached")
    yield asks("min-fresh-more", "min-fresh=2000", old, "not_cached")
    yield asks("min-fresh-less", "min-fresh=1000", old, "cached")
    yield asks("no-cache", "no-cache", [FRESH], "not_cached")
    yield asks("no-cache-last", "foo, No-Cache", [FRESH], "not_cached")
    yield asks("unknown", "foo, max-age=9999, bar", [FRESH], "cached")
    yield asks("only-if-cached", "only-if-cached", [FRESH], "cached")
    yield case(
        "request-no-store-is-not-kept",
        "required",
        answered(FRESH, request_headers=(["Cache-Control", "no-store"],)),
        Step(expected_type="not_cached"),
    )
    yield case(
        "request-only-if-cached-stale",
        "required",
        answered(STALE_SOON),
        Step(request_headers=(["Cache-Control", "only-if-cached"],), expected_status=504, expected_response_text=None),
    )
    yield case(
        "request-no-cache-modified",
        "optimal",
        answered(FRESH, LONG_AGO, pause=False),
        Step(
            request_headers=(["Cache-Control", "no-cache"],), response_headers=(LONG_AGO,), expected_type="lm_validated"
        ),
    )


def invalidations() -> Iterator[Case]:
    """RFC 9111 4.4."""
    for method in ("POST", "PUT", "DELETE", "PATCH", "BREW"):
        for id, status, removed in (("201", 201, True), ("302", 302, True), ("400", 400, False), ("503", 503, False)):
            change = Step(request_method=method, request_body="a", response_status=(status, "Whatever"), setup=True)
            kind: Kind = "required" if removed else "optimal"
            third = Step(expected_type="not_cached" if removed else "cached")
            yield case(f"{method}-{id}", kind, answered(FRESH, pause=False), change, third)
        for field in ("Location", "Content-Location"):
            target = answered(FRESH, filename="there", pause=False)
            change = Step(
                request_method=method,
                request_body="a",
                magic_locations=True,
                response_headers=([field, "there"],),
                setup=True,
            )
            yield case(f"{method}-{field}", "check", target, change, Step(filename="there", expected_type="not_cached"))
    for method in ("HEAD", "OPTIONS", "TRACE"):
        safe = Step(request_method=method, setup=True, check_body=False, expected_status=None)
        yield case(f"{method}-is-safe", "optimal", answered(FRESH, pause=False), safe, Step(expected_type="cached"))
    elsewhere = Step(
        request_method="POST",
        request_body="a",
        response_headers=(["Location", "http://elsewhere.test/there"],),
        setup=True,
    )
    yield case(
        "location-elsewhere",
        "optimal",
        answered(FRESH, filename="there", pause=False),
        elsewhere,
        Step(filename="there", expected_type="cached"),
    )


def stale() -> Iterator[Case]:
    """RFC 9111 4.2.4, RFC 5861."""
    forbidding: tuple[tuple[str, For], ...] = (
        ("must-revalidate", "both"),
        ("no-cache", "both"),
        ("proxy-revalidate", "shared"),
        ("s-maxage=2", "shared"),
    )
    for directive, by in forbidding:
        said: Header = ["Cache-Control", f"max-age=2, stale-if-error=60, {directive}"]
        for id, trouble in (
            ("close", Step(disconnect=True, expected_status=None, check_body=False)),
            ("503", Step(response_status=(503, "No"), expected_status=503, check_body=False)),
        ):
            yield case(
                f"stale-{id}-{directive}",
                "required",
                answered(said, TAG),
                replace(trouble, expected_response_headers_missing=("age",)),
                by=by,
            )
    yield asked_again("stale-while-revalidate-over", ["Cache-Control", "max-age=1, stale-while-revalidate=1"], TAG)
    yield asked_again(
        "stale-while-revalidate-must-revalidate",
        ["Cache-Control", "max-age=1, stale-while-revalidate=60, must-revalidate"],
        TAG,
    )


def others() -> Iterator[Case]:
    for id, first, second in (("order", "a=1&b=2", "b=2&a=1"), ("case", "a=b", "a=B"), ("escape", "a=%2f", "a=/")):
        yield case(
            f"query-{id}",
            "required",
            answered(FRESH, query_arg=first),
            Step(query_arg=second, expected_type="not_cached"),
        )
    yield case("path-case", "required", answered(FRESH, filename="a"), Step(filename="A", expected_type="not_cached"))
    yield case(
        "cookie-of-another-private",
        "required",
        answered(FRESH, request_headers=(["Cookie", "a=1"],)),
        Step(request_headers=(["Cookie", "a=2"],), expected_type="not_cached"),
        by="private",
    )
    yield case(
        "cookie-of-the-same-private",
        "optimal",
        answered(FRESH, request_headers=(["Cookie", "a=1"],)),
        Step(request_headers=(["Cookie", "a=1"],), expected_type="cached"),
        by="private",
    )
    yield case(
        "date-is-kept",
        "required",
        answered(FRESH, ["Date", -100]),
        Step(expected_type="cached", expected_response_headers=(["Date", -100],)),
    )
