"""An event stream says the same however it is cut into chunks, and what the HTML standard makes of it."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.event_stream import EventStream, RawEvent
from holdfast.core.lines import Lines
from holdfast.errors import LineTooLong

LONGEST = 1000


def read(chunks: list[bytes], last_id: str = "") -> list[tuple[str, str, str]]:
    stream = EventStream(LONGEST, last_id)
    return [(event.type, event.data, event.id) for chunk in chunks for event in stream.feed(chunk)]


@pytest.mark.parametrize(
    ("text", "events"),
    [
        # The examples of the standard, 9.2.6.
        ("data: YHOO\ndata: +2\ndata: 10\n\n", [("message", "YHOO\n+2\n10", "")]),
        (
            ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            [("message", "first event", "1"), ("message", "second event", ""), ("message", " third event", "")],
        ),
        ("data\n\ndata\ndata\n\ndata:", [("message", "", ""), ("message", "\n", "")]),
        ("data:test\n\ndata: test\n\n", [("message", "test", "")] * 2),
        ("event: add\ndata: 1\n\ndata: 2\n\n", [("add", "1", ""), ("message", "2", "")]),
        # An event without data is none, but its id counts; one without a type is a message again.
        ("id: 7\nevent: x\n\ndata: a\n\n", [("message", "a", "7")]),
        ("id: a\0b\ndata: x\n\n", [("message", "x", "")]),
        ("\ufeffdata: x\n\n", [("message", "x", "")]),
        ("\ufeff\ufeffdata: x\n\ndata: y\n\n", [("message", "y", "")]),
        ("data: a\rdata: b\r\ndata: c\n\r\n", [("message", "a\nb\nc", "")]),
        ("Data: x\nfoo: y\n:data\ndata:z\n\n", [("message", "z", "")]),
        ("data: never finished\n", []),
        ("data: a\u2028b\u0085c\n\n", [("message", "a\u2028b\u0085c", "")]),
        ("data: é\n\n", [("message", "é", "")]),
    ],
    ids=repr,
)
def test_a_stream_is_read_as_the_standard_says(text: str, events: list[tuple[str, str, str]]) -> None:
    body = text.encode()
    assert read([body]) == events
    assert read([bytes([byte]) for byte in body]) == events


def test_bytes_that_are_no_utf8_are_replaced_and_nothing_else_is_lost() -> None:
    assert read([b"data: a\xff\xe2\x82\ndata: b\n\n"]) == [("message", "a\ufffd\ufffd\nb", "")]


def oracle(body: bytes) -> list[tuple[str, str, str]]:
    """The standard's algorithm on the whole text at once."""
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")
    events, data, kind, id = [], "", "", ""
    lines = re.split("\r\n|\n|\r", text)
    for line in lines[:-1]:
        if line == "":
            if data:
                events.append((kind or "message", data.removesuffix("\n"), id))
            data, kind = "", ""
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                data += value + "\n"
            elif name == "event":
                kind = value
            elif name == "id" and "\0" not in value:
                id = value
    return events


PIECES = st.sampled_from(
    ["data", "event", "id", "retry", ":", ": ", "\n", "\r", "\r\n", "\n\n", "\r\r", "x", "é", "\0", "\ufeff", "💡", "7"]
)


@given(st.lists(PIECES, max_size=60).map("".join), st.lists(st.integers(0, 400), max_size=12))
def test_chunks_may_end_at_any_byte(text: str, cuts: list[int]) -> None:
    body = text.encode()
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    chunks = [body[start:stop] for start, stop in pairwise(places)]
    assert read(chunks) == read([bytes([byte]) for byte in body]) == oracle(body)


def test_the_last_id_goes_on_over_connections_and_the_wait_is_in_seconds() -> None:
    stream = EventStream(LONGEST, "41")
    assert [*stream.feed(b"data: a\n\nretry: 1500\nretry: soon\nid: 42\n")] == [RawEvent("message", "a", "41")]
    assert (stream.last_id, stream.retry) == ("41", 1.5)  # an id counts when its event is complete
    assert [*stream.feed(b"\n")] == []
    assert stream.last_id == "42"


@pytest.mark.parametrize("body", [b"data: " + b"x" * LONGEST, b"data: 123456\n" * 100, b":" + b"x" * LONGEST])
def test_a_line_and_an_event_have_a_cap(body: bytes) -> None:
    with pytest.raises(LineTooLong) as raised:
        read([body[at : at + 7] for at in range(0, len(body), 7)])
    assert raised.value.limit == LONGEST


@given(st.binary(max_size=80).map(lambda raw: raw.replace(b"a", b"\n").replace(b"b", b"\r\n")), st.integers(1, 9))
def test_lines_end_with_lf_and_a_cr_before_it_is_none_of_theirs(body: bytes, size: int) -> None:
    lines = Lines(1000)
    found = [line for at in range(0, len(body), size) for line in lines.feed(body[at : at + size])]
    assert [*found, lines.end()] == [line.removesuffix(b"\r") for line in body.split(b"\n")]
