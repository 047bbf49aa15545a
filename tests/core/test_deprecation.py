"""What a server says of the end of an operation, as a table."""

from __future__ import annotations

import pytest

from holdfast.core.deprecation import Notice, notice_of

SUNSET = "Sun, 11 Nov 2018 23:59:59 GMT"
AT = 1541980799.0


@pytest.mark.parametrize(
    ("headers", "notice"),
    [
        ({"deprecation": "@1688169599"}, Notice(1688169599.0, None, None)),
        ({"deprecation": " @-1 "}, Notice(-1.0, None, None)),
        ({"deprecation": "true"}, Notice(None, None, None)),  # of the drafts, as GitHub and others sent it for years
        ({"deprecation": SUNSET}, Notice(AT, None, None)),
        ({"sunset": SUNSET}, Notice(None, AT, None)),
        (
            {
                "deprecation": "@1688169599",
                "sunset": SUNSET,
                "link": '</docs/v2>; rel="deprecation"; type="text/html", <https://b.example>; rel="sunset"',
            },
            Notice(1688169599.0, AT, "https://api.test/docs/v2"),
        ),
        ({"sunset": SUNSET, "link": "<https://b.example/>; rel=sunset"}, Notice(None, AT, "https://b.example/")),
        (
            {"sunset": SUNSET, "link": "<https://u:s3cr3t@b.example/v2?key=s3cr3t#now>; rel=sunset"},
            Notice(None, AT, "https://b.example/v2"),
        ),
        ({"sunset": SUNSET, "link": "<https://[b.example>; rel=sunset"}, Notice(None, AT, None)),
        ({"deprecation": "false", "sunset": SUNSET}, Notice(None, AT, None)),
        ({}, None),
        ({"deprecation": "false"}, None),
        ({"deprecation": "?0"}, None),
        ({"deprecation": "@1.5"}, None),
        ({"deprecation": "soon"}, None),
        ({"sunset": "soon", "deprecation": "é"}, None),
        ({"link": '</docs>; rel="deprecation"'}, None),
    ],
    ids=str,
)
def test_an_answer_says_when_its_operation_goes(headers: dict[str, str], notice: Notice | None) -> None:
    assert notice_of(headers.get, "https://api.test/v1/users?page=2", 1.7e9) == notice
