"""``python -m holdfast explain-cache``: what the cache does with an answer that has these fields, and why.

The answer is taken to come at the time of its Date field, else now. Exit code 0: told. 2: the arguments are wrong.

With ``--json`` standard output is one JSON object; keys are only ever added, times are seconds::

    schema        1
    stored        whether it is
    objection     why it is not, as the detail of Cache-Status has it; null if it is
    shared        whether the cache is
    credentials   fields of the request: the answer is for requests with the same
    vary          the same, by Vary
    standing      null if it is not stored; else {"lifetime", "source", "age", "conditions", "no_cache",
                  "forbids_stale", "phases": [{"start", "end", "answer", "why", "stands_in"}]}: seconds since it came
    whole         of a 206, what a request for all of it gets at first, as in "phases"; else null
    omitted       {field: why it is not stored}
    groups        cache groups
    text          [[label, sentence]], as without ``--json``
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict
from typing import Any, Final

from holdfast.cli.words import columns, line_of, of_explanation, printable
from holdfast.clock import SystemClock
from holdfast.core.caching.dates import parse_date
from holdfast.core.caching.explain import Explanation, explain
from holdfast.core.caching.fields import Headers, combine
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.caching.request import read_ask

__all__ = ["add_to", "explained"]

_URL: Final = "https://api.example.com/"


def add_to(commands: Any) -> None:
    """Add this command to argparse's subparsers (whose class has no public name)."""
    parser: argparse.ArgumentParser = commands.add_parser("explain-cache", description=_DESCRIPTION, epilog=_EPILOG)
    parser.set_defaults(run=_run)
    parser.add_argument(
        "--header", action="append", default=[], type=field, metavar="FIELD", help="of the answer; again for more"
    )
    parser.add_argument(
        "--request-header", action="append", default=[], type=field, metavar="FIELD", help="of the request"
    )
    parser.add_argument("--status", type=status, default=200, help="of the answer (default: 200)")
    parser.add_argument("--method", default="GET", help="of the request (default: GET)")
    parser.add_argument("--shared", action="store_true", help="as Cache(shared=True), for several users")
    parser.add_argument("--json", action="store_true", dest="as_json", help="data on standard output")


_DESCRIPTION = """
Tells whether an answer with these header fields is stored, for whom, for how long it is fresh, and what a later
request of the same kind gets then. The decisions are the cache's own, with its default settings.
"""
_EPILOG = 'Example: explain-cache --header "Cache-Control: max-age=60, stale-if-error=600" --header "ETag: x"'


def field(text: str) -> tuple[bytes, bytes]:
    """``Name: value`` as bytes of the wire."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f'a field is "Name: value", got {text!r}')
    return name.strip().encode("utf-8", "surrogateescape"), value.strip().encode("utf-8", "surrogateescape")


def status(text: str) -> int:
    """A status code."""
    code = int(text)
    if not 100 <= code <= 599:
        raise argparse.ArgumentTypeError(f"must be 100 to 599, got {text}")
    return code


def explained(
    headers: Headers,
    *,
    code: int = 200,
    request: Headers = (),
    method: str = "GET",
    policy: CachePolicy | None = None,
    wall: float,
) -> Explanation:
    """What becomes of the answer; ``wall``, in seconds since the epoch, is when it comes if it does not say."""
    date = parse_date(combine(headers).get(b"date"), wall)
    return explain(
        read_ask(method, request),
        code,
        headers,
        url=_URL,
        wall=wall if date is None else date,
        policy=CachePolicy() if policy is None else policy,
    )


def document(explanation: Explanation) -> dict[str, Any]:
    """See the module."""
    return {
        "schema": 1,
        "stored": explanation.objection is None,
        **asdict(explanation),
        "omitted": dict(explanation.omitted),
        "text": [list(pair) for pair in of_explanation(explanation)],
    }


def _run(arguments: argparse.Namespace) -> int:
    explanation = explained(
        arguments.header,
        code=arguments.status,
        request=arguments.request_header,
        method=arguments.method,
        policy=CachePolicy(shared=arguments.shared),
        wall=SystemClock().wall(),
    )
    if arguments.as_json:
        print(json.dumps(document(explanation), indent=2))
        return 0
    print(f"{printable(arguments.method)}, answered {arguments.status}")
    for title, headers in (("request", arguments.request_header), ("answer", arguments.header)):
        for name, value in headers:
            print(f"  {title}  {line_of(name, value)}")
    print(*columns(list(of_explanation(explanation)), shutil.get_terminal_size().columns), sep="\n")
    return 0
