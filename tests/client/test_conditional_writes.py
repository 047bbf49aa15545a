"""A write that is carried out only if nobody else was quicker."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.errors import Conflict, InvalidInput, PreconditionFailed, WeakValidator
from holdfast.testing.faulty import Answer, FaultyServer
from holdfast.testing.faulty.ledger import Received
from tests.client.api import ADA, Shop, document, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

MODIFIED = "Sun, 22 Nov 2026 10:00:00 GMT"
LATER = "Sun, 22 Nov 2026 11:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ({"ETag": '"v1"'}, ("if-match", '"v1"')),
        ({"ETag": '"v1"', "Last_Modified": MODIFIED, "Date": LATER}, ("if-match", '"v1"')),
        ({"Last_Modified": MODIFIED, "Date": LATER}, ("if-unmodified-since", MODIFIED)),
    ],
    ids=["etag", "both", "date"],
)
async def test_a_write_carries_what_its_reply_was_told(
    family: FamilyModules, headers: dict[str, Any], sent: tuple[str, str]
) -> None:
    async with stage(family, [document({"id": 1, "name": "Ada"}, **headers), ADA]) as s:
        seen = await s.shop.users.get(1).reply()
        await s.shop.PUT("/users/{id}", id=1, json={"name": "Bo"}).if_match(seen)
        conditions = {name: value for name, value in s.last.headers.items() if name.startswith("if-")}
        assert conditions == dict([sent])


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": 'W/"v1"'},
        {"ETag": 'W/"v1"', "Last_Modified": MODIFIED, "Date": LATER},
        {"Last_Modified": MODIFIED, "Date": MODIFIED},
        {"Last_Modified": MODIFIED},
        {},
    ],
    ids=["weak", "weak and a date", "too fresh", "no date", "nothing"],
)
async def test_what_tells_no_two_states_apart_is_refused_before_anything_is_sent(
    family: FamilyModules, headers: dict[str, Any]
) -> None:
    async with stage(family, [document({"id": 1, "name": "Ada"}, **headers)]) as s:
        seen = await s.shop.users.get(1).reply()
        with pytest.raises(WeakValidator) as raised:
            _ = s.shop.users.remove(1).if_match(seen)
        assert isinstance(raised.value, InvalidInput)
        assert len(s.requests) == 1


@pytest.mark.parametrize("etag", ['W/"a"', "a", '"a", "b"', ""])
async def test_an_etag_that_was_kept_is_strong_and_quoted(family: FamilyModules, etag: str) -> None:
    async with stage(family) as s:
        with pytest.raises(WeakValidator):
            _ = s.shop.users.remove(1).if_match(etag)
        await s.shop.PATCH("/users/1").if_match('"a"')
        assert s.last.headers["if-match"] == '"a"'
        await s.shop.PATCH("/users/1").if_match("*")
        assert s.last.headers["if-match"] == "*"
        with pytest.raises(InvalidInput):
            _ = s.shop.users.get(1).if_match('"a"')


async def test_who_comes_second_is_told_so(family: FamilyModules) -> None:
    version = 1

    def resource(request: Received) -> Answer:
        nonlocal version
        if request.method == "PUT":
            sent = {name.lower(): value for name, value in request.headers}
            if sent.get(b"if-match") != b'"v%d"' % version:
                return Answer(412)
            version += 1
        return Answer.json({"id": 1, "name": "Ada"}, headers={"etag": f'"v{version}"'})

    async with FaultyServer() as server, Shop(server.url, family=family.name) as shop:  # type: ignore[arg-type]
        server.default(resource)
        seen = await shop.users.get(1).reply()
        write = shop.PUT("/users/1", json={"name": "Bo"}).if_match(seen)
        await write
        with pytest.raises(PreconditionFailed) as raised:
            await write
        assert isinstance(raised.value, Conflict)
        assert isinstance(raised.value, family.http.HTTPStatusError)
        assert version == 2
