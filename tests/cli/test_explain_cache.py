"""``holdfast explain-cache`` tells the reasoning of `holdfast.core.caching.explain` in both forms."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest

from holdfast.cli import main

SWR = "Cache-Control: max-age=60, stale-while-revalidate=30"


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["explain-cache", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_sentences_are_for_people(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["explain-cache", "--header", SWR, "--header", 'ETag: "a"', "--request-header", "Cookie: a=b"]) == 0
    assert capsys.readouterr().out == (
        "GET, answered 200\n"
        "  request  Cookie: a=b\n"
        "  answer  Cache-Control: max-age=60, stale-while-revalidate=30\n"
        '  answer  ETag: "a"\n'
        "stored      yes: nothing forbids it (RFC 9111 3)\n"
        "for         requests with the same Cookie, and no others\n"
        "fresh       for 60 s, by max-age (RFC 9111 5.2.2.1)\n"
        "until 60 s  answered from the store, without the origin (RFC 9111 4.2)\n"
        "until 90 s  answered from the store at once, while the origin is asked in the background (RFC 5861 3)\n"
        "after 90 s  the origin is asked whether it still holds, by If-None-Match (RFC 9111 4.3); where it fails, so "
        "does the call\n"
    )


def test_lines_fit_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["explain-cache", "--header", SWR, "--header", 'ETag: "a"']) == 0
    lines = capsys.readouterr().out.splitlines()[3:]
    assert max(map(len, lines)) <= 60
    assert "If-None-Match" in "\n".join(lines)


def test_data_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "--header", SWR, "--shared")
    assert (found["schema"], found["stored"], found["objection"], found["shared"]) == (1, True, None, True)
    phases = [(phase["start"], phase["end"], phase["answer"]) for phase in found["standing"]["phases"]]
    assert phases == [(0, 60, "fresh"), (60, 90, "meanwhile"), (90, None, "validate")]


@pytest.mark.parametrize(
    ("arguments", "objection"),
    [
        (["--header", "Cache-Control: no-store"], "no-store"),
        (["--header", "cache-control:private", "--shared"], "private"),
        (["--header", SWR, "--method", "POST"], "method"),
        (["--status", "500"], "status"),
        (["--header", SWR, "--request-header", "Cache-Control: no-store"], "no-store in the request"),
    ],
)
def test_each_argument_counts(capsys: pytest.CaptureFixture[str], arguments: list[str], objection: str) -> None:
    found = told(capsys, *arguments)
    assert (found["stored"], found["objection"]) == (False, objection)


def test_an_answer_that_was_copied_yesterday_comes_when_it_was_made(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "--header", f"Date: {formatdate(1_000_000_000, usegmt=True)}", "--header", SWR)
    assert found["standing"]["age"] == 0


@pytest.mark.parametrize("arguments", [["--header", "max-age=60"], ["--status", "99"], ["--status", "OK"]])
def test_arguments_that_make_no_sense_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explain-cache", *arguments])
    assert ended.value.code == 2
    assert "usage: " in capsys.readouterr().err
