"""docs/caching-explained.md is what the decision functions say, and what they say is what they do.

``python tests/test_caching_explained.py --write`` writes the page anew.
"""

from __future__ import annotations

import difflib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from holdfast import Cache
from holdfast.cli.explain_cache import explained
from holdfast.cli.words import of_explanation
from holdfast.core.caching.explain import Explanation
from holdfast.core.caching.policy import CachePolicy
from holdfast.testing import Reply
from tests.scripting import stage
from tests.support import FamilyModules

PAGE: Final = Path(__file__).parents[1] / "docs" / "caching-explained.md"
WALL: Final = 1_795_348_800.0
"""2026-11-22 12:00:00 UTC, when the answers of the page come."""

CONDITIONS: Final = ("If-None-Match", "If-Modified-Since")


@dataclass(frozen=True, slots=True)
class Case:
    title: str
    answer: str
    request: str = ""
    status: int = 200
    method: str = "GET"
    shared: bool = False


CASES: Final = (
    Case(
        "An API that knows its users (GitHub)",
        """
Cache-Control: private, max-age=60, s-maxage=60
ETag: W/"7a2c84e1"
Last-Modified: Sat, 21 Nov 2026 09:00:00 GMT
Vary: Accept, Authorization, Cookie, Accept-Encoding
""",
        "Authorization: Bearer ...",
    ),
    Case(
        "The same behind a shared cache",
        """
Cache-Control: private, max-age=60, s-maxage=60
ETag: W/"7a2c84e1"
""",
        "Authorization: Bearer ...",
        shared=True,
    ),
    Case("An API that wants nothing kept (Stripe)", "Cache-Control: no-cache, no-store", "Authorization: Bearer ..."),
    Case("An asset with a hash in its name", "Cache-Control: public, max-age=31536000, immutable"),
    Case("An object in a bucket, with an ETag only (S3)", 'ETag: "9b2cf535f27731c974343645a3985328"'),
    Case("A file with Last-Modified only", "Last-Modified: Thu, 12 Nov 2026 12:00:00 GMT"),
    Case("JSON without a word about caching", "Content-Type: application/json"),
    Case("A page that sets a cookie", 'Cache-Control: max-age=300\nSet-Cookie: session=...; HttpOnly\nETag: "a"'),
    Case("A page for a session", 'Cache-Control: max-age=300\nETag: "a"', "Cookie: session=..."),
    Case("Authorization in a shared cache", "Cache-Control: max-age=300", "Authorization: Bearer ...", shared=True),
    Case(
        "Authorization in a shared cache, and public",
        "Cache-Control: public, max-age=300",
        "Authorization: Bearer ...",
        shared=True,
    ),
    Case("s-maxage in a shared cache", "Cache-Control: max-age=60, s-maxage=600, stale-if-error=86400", shared=True),
    Case("Compressed or not", "Cache-Control: max-age=300\nVary: Accept-Encoding", "Accept-Encoding: gzip"),
    Case("Vary: *", "Cache-Control: max-age=300\nVary: *"),
    Case("Always ask first", 'Cache-Control: no-cache\nETag: "a"'),
    Case("Never stale", 'Cache-Control: max-age=60, must-revalidate, stale-if-error=600\nETag: "a"'),
    Case(
        "A CDN that forgives",
        'Cache-Control: max-age=60, stale-while-revalidate=30, stale-if-error=86400\nETag: "a"',
    ),
    Case("Halfway through a CDN", 'Cache-Control: max-age=600\nAge: 590\nETag: "a"'),
    Case("Expires: 0", "Expires: 0"),
    Case(
        "The belt and braces of old servers", "Cache-Control: no-cache, must-revalidate\nPragma: no-cache\nExpires: 0"
    ),
    Case("Expires, a date", "Date: Sun, 22 Nov 2026 12:00:00 GMT\nExpires: Sun, 22 Nov 2026 13:00:00 GMT"),
    Case("Not found, for a while", "Cache-Control: max-age=10", status=404),
    Case("Not found, without a word", "Content-Type: text/html", status=404),
    Case("A failure", "Content-Type: text/html", status=503),
    Case("A permanent redirect", "Location: https://api.example.com/v2/\nCache-Control: max-age=3600", status=301),
    Case("A temporary redirect", "Location: https://api.example.com/elsewhere", status=302),
    Case(
        "A part of a download",
        'Content-Range: bytes 0-1048575/4194304\nContent-Length: 1048576\nETag: "a"\nCache-Control: max-age=3600',
        "Range: bytes=0-1048575",
        status=206,
    ),
    Case("One of a group", 'Cache-Control: max-age=600\nCache-Groups: "users"'),
    Case("The answer to a change", 'Cache-Control: max-age=60\nETag: "a"', method="POST"),
    Case("A request that is content with old answers", "Cache-Control: max-age=60", "Cache-Control: max-stale=30"),
    Case("A request that wants nothing kept", "Cache-Control: max-age=60", "Cache-Control: no-store"),
)

HEAD: Final = """\
# What is cached, and why

What [the cache](cache.md) does with answers as they are met, with its default settings. Every sentence is made by \
the decisions themselves (`python tests/test_caching_explained.py --write`), and a test compares. For header \
fields of your own:

```sh
python -m holdfast explain-cache --header "Cache-Control: max-age=60" --header 'ETag: "a"'
```

Times count from when the answer came, here Sun, 22 Nov 2026 12:00:00 GMT, and tell what the same \
request gets then. Where asking the origin fails, retries come first.
"""


def page() -> str:
    return "\n".join((HEAD, *map(section, CASES)))


def section(case: Case) -> str:
    request = "".join(f"{line}\n" for line in (f"{case.method} /", *case.request.splitlines()))
    told = "\n".join(f"- **{label}** {sentence}" for label, sentence in of_explanation(explanation_of(case)))
    answer = f"{case.status}\n{case.answer.strip()}"
    title = f"{case.title} (a shared cache)" if case.shared and "shared" not in case.title else case.title
    return f"## {title}\n\n```http\n{request}\n{answer}\n```\n\n{told}\n"


def explanation_of(case: Case) -> Explanation:
    return explained(
        block(case.answer),
        code=case.status,
        request=block(case.request),
        method=case.method,
        policy=CachePolicy(shared=case.shared),
        wall=WALL,
    )


def block(text: str) -> list[tuple[bytes, bytes]]:
    pairs = (line.partition(":") for line in text.strip().splitlines())
    return [(name.encode("latin-1"), value.strip().encode("latin-1")) for name, _, value in pairs]


def test_the_page_is_what_the_decisions_say() -> None:
    recorded, now = PAGE.read_text("utf-8"), page()
    change = "".join(difflib.unified_diff(recorded.splitlines(True), now.splitlines(True), "recorded", "now"))
    assert not change, f"if it is meant, run `python tests/test_caching_explained.py --write`\n{change}"


@pytest.mark.anyio
@pytest.mark.parametrize("case", [case for case in CASES if case.method == "GET"], ids=lambda case: case.title)
async def test_a_call_gets_what_the_page_says(family: FamilyModules, case: Case) -> None:
    explanation = explanation_of(case)
    if explanation.standing is None:
        first, second = await asked_twice(family, case, after=1.0)
        assert status_of(first).get("detail", explanation.objection) == explanation.objection
        assert second.status_code == 500
        return
    for phase in explanation.standing.phases:
        after = phase.start + 1 if phase.end is None else (phase.start + phase.end) / 2
        first, second = await asked_twice(family, case, after=after)
        assert "detail" not in status_of(first)
        told = status_of(second)
        match phase.answer:
            case "fresh":
                assert (told["hit"], told["ttl"] >= 0, "detail" in told) == (True, True, False)
            case "stale":
                assert (told["hit"], told["ttl"] < 0, "detail" in told) == (True, True, False)
            case "meanwhile":
                assert (told["hit"], told["detail"]) == (True, "stale-while-revalidate")
            case "validate":
                assert second.status_code == (case.status if phase.stands_in else 500)
                sent = second.extensions["sent"]
                assert {name for name in CONDITIONS if name.lower() in sent} == set(explanation.standing.conditions)
            case other:
                pytest.fail(f"{other} is not on the page")


async def asked_twice(family: FamilyModules, case: Case, *, after: float) -> tuple[Any, Any]:
    """The answer to the case's request, and to the same request later, when the origin fails."""
    head = {name.decode("latin-1"): value.decode("latin-1") for name, value in block(case.answer)}
    good = Reply(case.status, headers=head, body=bytes(int(head.get("Content-Length", 4))))
    settings: dict[str, Any] = {"cache": Cache(shared=case.shared), "retry": None, "breaker": None}
    async with stage(family, [good, Reply(500)], repeat_last=True, **settings) as on:
        on.clock.set_wall(WALL)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in block(case.request)}
        first = await on.client.get("http://api.test/", headers=headers)
        on.client.cookies.clear()  # the same request is meant
        await on.clock.sleep(after)
        second = await on.client.get("http://api.test/", headers=headers)
        second.extensions["sent"] = {name.decode("latin-1").lower() for name, _ in on.script.sent[-1].headers}
    return first, second


def status_of(response: Any) -> dict[str, Any]:
    told: dict[str, Any] = response.extensions["holdfast"]["cache_status"]
    return told


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), "utf-8")
    else:
        print(__doc__)
