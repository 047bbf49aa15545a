"""Bad protocol data (P01 to P33) over real sockets: named, or delivered as it came; bounded, and nothing is left."""

from __future__ import annotations

import datetime
import email.utils
import gzip
import time
import zlib
from typing import Any

import pytest

import holdfast
from holdfast import RateLimit
from holdfast.testing.faulty import (
    Answer,
    Behaviour,
    Bomb,
    Echo,
    FaultyServer,
    Held,
    InTurn,
    Raw,
    Stream,
)
from tests.faults.wire import HALF_READ, STALL, memory, outcome, retry, stopwatch, surviving
from tests.support import FamilyModules

pytestmark = [pytest.mark.anyio, HALF_READ]
MIB = 1024 * 1024
OK = b"HTTP/1.1 200 OK\r\n"
GOOD = OK + b"content-length: 4\r\n\r\ngood"
EVIL = OK + b"content-length: 4\r\n\r\nevil"
ONE_LOOP = pytest.mark.parametrize("anyio_backend", ["asyncio"])
"""For tables of values, and for what takes long: neither looks at the event loop."""
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


def row(name: str, *values: Any) -> Any:
    return pytest.param(*values, id=name)


@pytest.mark.parametrize(
    "raw",
    [
        row("P01-not-http", Raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")),
        row("P02-chunk-size-zz", Raw(CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n")),
        row("P03-chunk-without-crlf", Raw(CHUNKED + b"5\r\nhelloXX0\r\n\r\n")),
        row("P04-chunk-size-of-24-digits", Raw(CHUNKED + b"9" * 24 + b"\r\nhello\r\n0\r\n\r\n")),
        row("P05-two-lengths", Raw(OK + b"content-length: 4\r\ncontent-length: 5\r\n\r\ngood")),
        row("P06-negative-length", Raw(OK + b"content-length: -5\r\n\r\ngood")),
        row("P07-status-99", Raw(b"HTTP/1.1 99 Odd\r\ncontent-length: 4\r\n\r\ngood")),
        row("P08-status-abc", Raw(b"HTTP/1.1 abc Odd\r\ncontent-length: 4\r\n\r\ngood")),
        row("P09-nul-in-a-value", Raw(OK + b"x-odd: a\x00b\r\ncontent-length: 4\r\n\r\ngood")),
        row("P10-space-in-a-name", Raw(OK + b"x odd: a\r\ncontent-length: 4\r\n\r\ngood")),
        row("P12-8-MiB-header", Raw(OK + b"x-long: ", repeat=b"a" * 1024, times=8 * 1024, tail=b"\r\n\r\n")),
        row("P12-200000-lines", Raw(OK, repeat=b"x-line: a\r\n", times=200_000, tail=b"\r\n")),
        row("P33-10000-cookies", Raw(OK, repeat=b"set-cookie: a=1\r\n", times=10_000, tail=b"\r\n")),
    ],
)
async def test_what_is_not_http_is_named_and_its_connection_dropped(
    raw: Raw, family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/fault", raw)
    async with surviving(family, server, retry=retry(2)) as http:
        with memory() as measured, stopwatch() as taken, pytest.raises(family.http.RemoteProtocolError):
            await http.get(f"{server.url}/fault")
        await server.await_for(lambda server: server.connections_open == 0)
        assert measured.peak < 4 * MIB
        assert taken.seconds < 2.0 + STALL


async def test_odd_bytes_are_delivered_unchanged(family: FamilyModules, server: FaultyServer) -> None:
    """P11, as far as there is no cache: status 999, and obs-text in headers and ETag."""
    odd = [(b"x-odd", b"caf\xe9 \xff"), (b"etag", b'"\xe9\xff"')]
    server.on("/fault", Answer(999, headers=tuple(odd), body=b"\xff"))
    async with surviving(family, server) as http:
        response = await http.get(f"{server.url}/fault")
        assert (response.status_code, response.content) == (999, b"\xff")
        assert [header for header in response.headers.raw if header[0] != b"content-length"] == odd


@pytest.mark.parametrize(
    "answer",
    [
        row("P14-in-one-write", Raw(GOOD + EVIL, close=False)),
        row("P14-half-of-it", Raw(GOOD + EVIL[:20], close=False)),
        row("P14-a-line-end", Raw(GOOD + b"\r\n", close=False)),
    ],
)
async def test_an_unasked_answer_never_answers_the_next_request(
    answer: Behaviour, family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/fault", answer)
    async with surviving(family, server) as http:
        for _ in range(3):
            assert (await http.get(f"{server.url}/fault")).text == "good"
            assert (await http.post(f"{server.url}/next")).text == "POST /next"


@pytest.mark.parametrize("rounds", [row("P14-in-two-writes", 3)])
async def test_an_unasked_answer_that_came_later_never_answers_the_next_request(
    rounds: int, family: FamilyModules, server: FaultyServer
) -> None:
    """As long as it comes before the next request: after that nobody could tell it from the answer."""
    both_sent = server.gate()
    server.on("/fault", InTurn(Raw(GOOD, close=False), Raw(EVIL, close=False), Held(both_sent)))
    async with surviving(family, server) as http:
        for _ in range(rounds):
            assert (await http.get(f"{server.url}/fault")).text == "good"
            # Written by now, or dropped already because both came together.
            await server.await_for(lambda server: both_sent.waiting == 1 or server.connections_open == 0)
            assert (await http.post(f"{server.url}/next")).text == "POST /next"
            await server.await_for(lambda _: both_sent.waiting == 0)


@ONE_LOOP
@pytest.mark.parametrize(
    "path",
    [
        row("P16-crlf", "/a\r\nx-evil: 1"),
        row("P16-encoded-crlf", "/a%0d%0ax-evil:%201"),
        row("P16-space", "/a b HTTP/1.1"),
        row("P16-control", "/a\x01\x7f"),
        row("P16-nul", "/a\x00"),
        row("P16-query", "/a?b=c\r\nx-evil: 1"),
        row("P16-not-ascii", "/caf\xe9/\u2603"),
    ],
)
async def test_a_path_never_becomes_a_header_line(path: str, family: FamilyModules, server: FaultyServer) -> None:
    async with surviving(family, server) as http:
        got = await outcome(http, "GET", server.url + path)
        raw = await outcome(http, "GET", server.url, extensions={"target": path.encode("latin-1", "replace")})
        for refused in (got, raw):
            if isinstance(refused, Exception):
                assert isinstance(refused, (family.http.InvalidURL, family.http.LocalProtocolError)), repr(refused)
        for request in server.requests:
            assert request.header("x-evil") is None
            assert all(0x21 <= octet <= 0x7E or octet >= 0x80 for octet in request.target.encode("latin-1"))


def tomorrow() -> str:
    moment = datetime.datetime.now(tz=datetime.UTC) + datetime.timedelta(days=1)
    return email.utils.format_datetime(moment, usegmt=True)


@ONE_LOOP
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    "value",
    [row("P17-86400", lambda: "86400"), row("P17-tomorrow", tomorrow), row("P17-milliseconds", lambda: "")],
)
async def test_a_wait_that_does_not_fit_the_deadline_is_not_begun(
    status: int, value: Any, family: FamilyModules, server: FaultyServer
) -> None:
    asked = {"retry-after": value()} if value() else {"retry-after-ms": "86400000"}
    server.on("/fault", Answer(status, headers=asked, body=b"later"))
    # With pacing the pause would hold for all calls of this origin: tests/policies/test_pacing.py.
    async with surviving(family, server, deadline=60.0, pacing=None) as http:
        with stopwatch() as measured:
            response = await http.get(f"{server.url}/fault")
        assert (response.status_code, response.text) == (status, "later")
        assert holdfast.history(response).reason == "retry_after_exceeds_deadline"
        assert server.count("/fault") == 1
        assert measured.seconds < 0.5 + STALL


BAD_DATE = "Sun, 99 Foo 99999 99:99:99 GMT"


@ONE_LOOP
@pytest.mark.parametrize(
    "headers",
    [
        row("P18-garbage", {"retry-after": "soon"}),
        row("P18-negative", {"retry-after": "-5"}),
        row("P18-infinite", {"retry-after": "1e309"}),
        row("P18-nan", {"retry-after": "nan"}),
        row("P18-other-digits", {"retry-after": "\u0661".encode().decode("latin-1")}),
        row("P18-superscript", {"retry-after": "\xb2"}),
        row("P18-year-99999", {"retry-after": "Fri, 31 Dec 99999 23:59:59 GMT"}),
        row("P18-bad-date", {"retry-after": BAD_DATE}),
        row("P18-400-digits", {"retry-after": "9" * 400}),
        row("P18-empty", {"retry-after": ""}),
        row("P18-milliseconds-garbage", {"retry-after-ms": "1e309"}),
        row(
            "P20-bad-date-beside-a-past-one",
            {"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT", "date": BAD_DATE},
        ),
    ],
)
async def test_a_malformed_wait_is_as_if_it_were_not_there(
    headers: dict[str, str], family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/fault", Answer(503, headers=headers), Answer(body=b"good"))
    async with surviving(family, server) as http:
        with stopwatch() as measured:
            assert (await http.get(f"{server.url}/fault")).text == "good"
        assert server.count("/fault") == 2
        assert measured.seconds < 0.5 + STALL


@ONE_LOOP
async def test_the_wait_that_the_server_asks_for_is_kept(family: FamilyModules, server: FaultyServer) -> None:
    """P19, in real time; the other loop has it in virtual time (tests/test_retry.py)."""
    server.on("/fault", Answer(503, headers={"retry-after": "1"}), Answer(body=b"good"))
    async with surviving(family, server) as http:
        assert (await http.get(f"{server.url}/fault")).text == "good"
        first, second = (request.at for request in server.requests[:2])
        assert second - first >= 1.0


BAD_CACHING = [
    ("expires", "0"), ("expires", "never"), ("expires", BAD_DATE), ("age", "1" + "0" * 24), ("age", "-1"),
    ("age", "abc"), ("cache-control", "max-age=-10"), ("cache-control", "max-age=abc"), ("cache-control", "max-age"),
    ("cache-control", "=,;\"="), ("etag", "no quotes"), ("etag", "\""), ("vary", ",,"), ("vary", "\xff"),
    ("date", BAD_DATE), ("last-modified", "yesterday"), ("cache-control", "max-age=" + "9" * 400),
]  # fmt: skip


@ONE_LOOP
@pytest.mark.parametrize(
    "header", [row(f"P20-{number}-{header[0]}", header) for number, header in enumerate(BAD_CACHING)]
)
async def test_bad_caching_headers_pass_through(
    header: tuple[str, str], family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/fault", Answer(headers=(header,), body=b"good"))
    async with surviving(family, server) as http:
        for _ in range(2):
            response = await http.get(f"{server.url}/fault")
            assert (response.text, response.headers[header[0]]) == ("good", header[1])


@pytest.mark.parametrize(
    ("body", "coding", "settings"),
    [
        row("P21-not-gzip", b"not gzip", "gzip", {}),
        row("P21-cut-gzip-header", gzip.compress(b"good")[:4] + b"\xff" * 20, "gzip", {}),
        row("P21-bad-checksum", gzip.compress(b"good")[:-8] + b"\x00" * 8, "gzip", {}),
        row("P21-not-deflate", b"\xff" * 20, "deflate", {}),
        row("P21-capped", b"not gzip", "gzip", {"max_body_bytes": MIB}),
        row("P21-not-buffered", b"not gzip", "gzip", {"buffer_body": False}),
    ],
)
async def test_a_body_that_cannot_be_decoded_is_named_and_costs_no_connection(
    body: bytes, coding: str, settings: dict[str, Any], family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/fault", Answer(headers={"content-encoding": coding}, body=body))
    async with surviving(family, server, **settings) as http:
        with pytest.raises(family.http.DecodingError):
            await http.get(f"{server.url}/fault")
        assert server.count("/fault") == 1
        assert (await http.get(f"{server.url}/next")).status_code == 200
        assert server.connections_opened <= (2 if settings.get("buffer_body") is False else 1)


CAP = 4 * MIB
PACKED: dict[str, str] = {"content-encoding": "gzip"}


def packed(size: int) -> bytes:
    """``size`` zeros in gzip without the end, which nobody reaches; the faulty server's own Bomb packs each of them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    first, again = (packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + again * (size // MIB - 1)


ALL: dict[str, Any] = {"buffer_body": True}
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "settings"),
    [
        row("P22-gzip-bomb", Answer(body=packed(256 * MIB), headers=PACKED), {}),
        row("P22-gzip-bomb-in-chunks", Answer(body=packed(256 * MIB), headers=PACKED, chunked=True), {}),
        row("P22-gzip-bomb-as-it-is-made", Bomb(16 * MIB, headers=JSON), {}),
        row("P22-gzip-bomb-read-ahead", Bomb(16 * MIB), ALL),
        row("P22-endless-body", Stream(bytes(64 * 1024)), {}),
        row("P22-endless-body-read-ahead", Stream(bytes(64 * 1024)), ALL),
        row("P22-endless-json", Stream(b"[" * 64 * 1024, headers=JSON), {}),
        row("P22-just-above", Answer(body=bytes(CAP + 1)), {}),
        row("P33-endless-event", Stream(b"data: " * 10_000, headers={"content-type": "text/event-stream"}), {}),
        row("P33-endless-line", Stream(b"x" * 60_000, headers={"content-type": "application/x-ndjson"}), {}),
    ],
)
async def test_a_body_above_the_cap_is_named_and_never_held(
    body: Behaviour, settings: dict[str, Any], family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/fault", body)
    async with surviving(family, server, max_body_bytes=CAP, **settings) as http:
        with memory() as measured, pytest.raises(holdfast.BodyTooLarge) as caught:
            await http.get(f"{server.url}/fault")
        assert caught.value.limit == CAP
        assert measured.peak < 64 * MIB
        assert server.count("/fault") == 1


async def test_a_body_of_the_cap_itself_passes(family: FamilyModules, server: FaultyServer) -> None:
    """P22, the other side of the line."""
    server.on("/fault", Answer(body=bytes(CAP)))
    async with surviving(family, server, max_body_bytes=CAP) as http:
        assert len((await http.get(f"{server.url}/fault")).content) == CAP


@pytest.mark.parametrize("how", ["aiter_bytes", "aiter_raw", "aiter_lines", "aiter_text"])
async def test_an_endless_line_ends_at_the_cap_however_it_is_read(
    how: str, family: FamilyModules, server: FaultyServer
) -> None:
    """P33, streamed."""
    server.on("/fault", Stream(b"x" * 60_000, headers={"content-type": "text/event-stream"}))
    async with surviving(family, server, max_body_bytes=CAP) as http:
        async with http.stream("GET", f"{server.url}/fault") as response:
            with memory() as measured, stopwatch() as taken, pytest.raises(holdfast.BodyTooLarge):
                await anext(piece async for piece in getattr(response, how)() if piece is None)
        assert measured.peak < 64 * MIB
        assert taken.seconds < 3.0 + STALL


@ONE_LOOP
@pytest.mark.parametrize(
    "encodings",
    [
        row("P24-one-line", [", ".join(["gzip"] * 60)]),
        row("P24-60-lines", ["gzip"] * 60),
        row("P24-six", ["gzip"] * 6),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"buffer_body": False}, {"max_body_bytes": CAP}], ids=str)
async def test_stacked_encodings_are_refused(
    encodings: list[str], settings: dict[str, Any], family: FamilyModules, server: FaultyServer
) -> None:
    headers = tuple(("content-encoding", value) for value in encodings)
    server.on("/fault", Answer(headers=headers, body=bytes(100)))
    async with surviving(family, server, **settings) as http:
        with pytest.raises(family.http.DecodingError):
            await http.get(f"{server.url}/fault")
        assert server.count("/fault") == 1


@pytest.mark.parametrize(
    "answer",
    [
        row("P25-304", Answer(304, headers={"etag": '"unknown"'})),
        row(
            "P25-304-with-length",
            Raw(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 1000\r\n\r\n", close=False),
        ),
        row(
            "P25-304-with-body",
            Raw(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nevil", close=False),
        ),
        row("P25-204-with-body", Raw(b"HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nevil", close=False)),
    ],
)
async def test_an_answer_without_a_body_is_delivered_at_once(
    answer: Behaviour, family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/fault", answer)
    async with surviving(family, server) as http:
        response = await http.get(f"{server.url}/fault")
        assert (response.status_code in (204, 304), response.content) == (True, b"")


@ONE_LOOP
@pytest.mark.parametrize(
    ("part", "escaped_by_both"),
    [
        row("P27-field-name", {'a\r\nx-evil: 1\r\n\r\n"': ("f", b"body")}, True),
        row("P27-file-name", {"a": ('f"\r\nx-evil: 1', b"body")}, True),
        row("P27-content-type", {"a": ("f", b"body", "text/plain\r\nx-evil: 1")}, False),
        row("P27-part-header", {"a": ("f", b"body", "text/plain", {"x-part": "1\r\nx-evil: 1"})}, False),
    ],
)
async def test_line_ends_in_a_multipart_name_stay_in_it(
    part: dict[str, Any], escaped_by_both: bool, family: FamilyModules, server: FaultyServer
) -> None:
    """httpx 0.28.1 puts a part's content type and headers into the body as they are; httpx2 refuses them.

    The body is made above the transport, so ours can only pass it on; what it must not do is crash or send twice.
    """
    server.on("/fault", Echo())
    async with surviving(family, server) as http:
        try:
            response = await http.post(f"{server.url}/fault", files=part)
        except ValueError:
            assert (family.name, escaped_by_both, server.count("/fault")) == ("httpx2", False, 0)
            return
        if escaped_by_both:
            assert "\nx-evil" not in response.json()["body"]
        assert server.count("/fault") == 1
        assert server.requests[0].header("x-evil") is None


@ONE_LOOP
@pytest.mark.parametrize("buffer_body", [row("P28-auto", "auto"), row("P28-off", False)])
async def test_a_bomb_read_in_pieces_stays_small(buffer_body: Any, family: FamilyModules, server: FaultyServer) -> None:
    size = 64 * MIB
    server.on("/fault", Answer(body=packed(size), headers=PACKED, chunked=True))
    async with surviving(family, server, max_body_bytes=size, buffer_body=buffer_body) as http:
        received = 0
        with memory() as measured:
            async with http.stream("GET", f"{server.url}/fault") as response:
                async for chunk in response.aiter_bytes(64 * 1024):
                    received += len(chunk)
        assert received == size
        assert measured.peak < 32 * MIB


@ONE_LOOP
@pytest.mark.parametrize(
    "body",
    [
        row("P29-nested", b"[" * 100_000 + b"]" * 100_000),
        row("P29-nan", b'{"a": NaN, "a": Infinity}'),
        row("P29-not-json", b"<html>"),
        row("P29-wrong-charset", '{"a": "\xe9"}'.encode("latin-1")),
        row("P29-empty", b""),
    ],
)
async def test_bad_json_is_delivered_as_it_came(body: bytes, family: FamilyModules, server: FaultyServer) -> None:
    server.on("/fault", Answer(headers={"content-type": "application/json; charset=utf-16"}, body=body))
    async with surviving(family, server) as http:
        response = await http.get(f"{server.url}/fault")
        assert (response.content, server.count("/fault")) == (body, 1)


BAD_QUOTAS = [
    {"x-ratelimit-remaining": "-1"},
    {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9970000000"},
    {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9970000000000"},
    {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2286-11-20T17:46:40Z"},
    {"x-ratelimit-remaining": "nan", "x-ratelimit-reset": "inf"},
    {"x-ratelimit-limit": "9" * 400, "x-ratelimit-remaining": "1e309", "x-ratelimit-reset": "-5"},
    {"x-ratelimit-reset-requests": "6m0s6m0s", "x-ratelimit-remaining-requests": ""},
    {"ratelimit": '"burst";r=0;t=99999999999', "ratelimit-policy": '"burst";q=0;w=0'},
    {"ratelimit": '"', "ratelimit-policy": ";;;"},
    {"ratelimit": "limit=100, remaining=-1, reset=abc"},
]


@ONE_LOOP
@pytest.mark.parametrize("headers", [row(f"P31-{number}", headers) for number, headers in enumerate(BAD_QUOTAS)])
@pytest.mark.parametrize("status", [200, 429])
async def test_a_bad_quota_blocks_nobody(
    headers: dict[str, str], status: int, family: FamilyModules, server: FaultyServer
) -> None:
    server.on("/fault", Answer(status, headers=headers), Answer(body=b"good"))
    limited = RateLimit(100, per=1.0)
    async with surviving(family, server, rate_limit=limited, deadline=60.0, breaker=None) as http:
        with stopwatch() as measured:
            await http.get(f"{server.url}/fault")
            assert (await http.get(f"{server.url}/fault")).text == "good"
        assert measured.seconds < 1.0 + STALL


async def test_trailers_change_nothing(family: FamilyModules, server: FaultyServer) -> None:
    """P32."""
    trailers = {
        "content-length": "1",
        "set-cookie": "a=evil",
        "authorization": "Bearer evil",
        "x-trailer": "1",
    }
    server.on("/fault", Answer(body=b"good", trailers=trailers))
    async with surviving(family, server) as http:
        for _ in range(2):
            response = await http.get(f"{server.url}/fault")
            assert response.text == "good"
            assert not set(trailers) & set(response.headers)
        assert dict(http.cookies) == {}
        assert server.requests[1].header("authorization") is None
        assert server.connections_opened == 1


async def test_many_small_cookies_take_linear_time(family: FamilyModules, server: FaultyServer) -> None:
    """P33: as many as fit into a head."""
    cookies = tuple(("set-cookie", f"c{number}=1") for number in range(4000))
    server.on("/fault", Answer(headers=cookies, body=b"good"))
    async with surviving(family, server, client={"timeout": 60.0}) as http:
        began = time.thread_time()  # whatever else the machine does
        response = await http.get(f"{server.url}/fault")
        worked = time.thread_time() - began
        assert (response.text, len(http.cookies)) == ("good", 4000)
        assert worked < 10.0
        http.cookies.clear()
