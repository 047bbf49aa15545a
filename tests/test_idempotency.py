"""Idempotency keys: who gets one, that it stays through a call and no longer, and what is retried for it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import tenacity

import holdfast
from holdfast import Hedge, IdempotencyKeys, Retry
from holdfast.testing import Fails, Reply
from holdfast.testing.scripted import Answer, Sent, Step
from tests.scripting import URL, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio
KEYED: dict[str, Any] = {
    "idempotency": IdempotencyKeys(),
    "retry": Retry(wait=tenacity.wait_fixed(1), wait_throttled=tenacity.wait_fixed(2)),
}
UUID4 = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def keys(sent: list[Sent], header: str = "Idempotency-Key") -> list[str | None]:
    """The key of each request, None where it has none."""
    found: list[str | None] = []
    for request in sent:
        values = [value.decode() for name, value in request.headers if name.decode().lower() == header.lower()]
        assert len(values) < 2, "one key for each request"
        found.append(values[0] if values else None)
    return found


async def test_all_attempts_of_a_call_have_one_key_and_each_call_another(family: FamilyModules) -> None:
    script: list[Step] = [Fails("ReadTimeout"), Reply(503), Reply(201), Reply(201)]
    async with stage(family, script, **KEYED) as on:
        request = on.client.build_request("POST", URL, json={"amount": 5})
        first = await on.client.send(request)
        second = await on.client.send(request)  # the same object, and yet a new call
        sent = keys(on.script.sent)
        assert sent[0] == sent[1] == sent[2] != sent[3]
        assert all(re.fullmatch(UUID4, key or "") for key in sent)
        assert [holdfast.history(answer).idempotency_key for answer in (first, second)] == sent[2:]
        assert "idempotency-key" not in request.headers
        assert on.times == [0.0, 1.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("method", "settings", "keyed"),
    [
        ("POST", IdempotencyKeys(), True),
        ("PATCH", IdempotencyKeys(), True),
        ("PUT", IdempotencyKeys(), False),
        ("GET", IdempotencyKeys(), False),
        ("DELETE", IdempotencyKeys(), False),
        ("PUT", IdempotencyKeys(methods=frozenset({"PUT"})), True),
        ("POST", IdempotencyKeys(methods=frozenset({"PUT"})), False),
    ],
)
async def test_the_methods_of_the_settings_get_one(
    family: FamilyModules, method: str, settings: IdempotencyKeys, keyed: bool
) -> None:
    async with stage(family, [Reply(200)], idempotency=settings) as on:
        answer = await on.client.request(method, URL)
        assert [key is not None for key in keys(on.script.sent)] == [keyed]
        assert (holdfast.history(answer).idempotency_key is not None) is keyed


async def test_a_header_of_another_name_and_quotes_make_a_request_as_safe(family: FamilyModules) -> None:
    settings = IdempotencyKeys(header="X-Request-Id", quoted=True)
    async with stage(family, [Fails("ReadError"), Reply(200)], **{**KEYED, "idempotency": settings}) as on:
        await on.client.post(URL)
        first, second = keys(on.script.sent, "x-request-id")
        assert first == second
        assert re.fullmatch(f'"{UUID4}"', first or "")
        assert keys(on.script.sent) == [None, None]


@pytest.mark.parametrize("name", ["Idempotency-Key", "idempotency-key"])
async def test_the_callers_own_key_is_kept(family: FamilyModules, name: str) -> None:
    async with stage(family, [Fails("ReadError"), Reply(200)], **KEYED) as on:
        answer = await on.client.post(URL, headers={name: "order-17"})
        assert keys(on.script.sent) == ["order-17", "order-17"]
        assert holdfast.history(answer).idempotency_key == "order-17"


@pytest.mark.parametrize(
    ("first", "keyed", "times"),
    [
        (Fails("ReadTimeout"), True, [0.0, 1.0]),
        (Fails("ReadTimeout"), False, [0.0]),
        (Reply(500), True, [0.0, 1.0]),
        (Reply(500), False, [0.0]),
        (Reply(409), True, [0.0, 2.0]),  # the first request is still worked on: no hurry
        (Reply(409, headers={"Retry-After": "4"}), True, [0.0, 4.2]),
        (Reply(409), False, [0.0]),
        (Reply(422), True, [0.0]),
        (Reply(422, headers={"x-should-retry": "true"}), True, [0.0]),
        (Reply(501), True, [0.0]),
        (Reply(400), True, [0.0]),
    ],
)
async def test_a_key_makes_a_post_repeatable(
    family: FamilyModules, first: Answer, keyed: bool, times: list[float]
) -> None:
    settings = KEYED if keyed else {**KEYED, "idempotency": None}
    async with stage(family, [first, Reply(201)], **settings) as on:
        try:
            await on.client.post(URL)
        except family.http.ReadTimeout:
            assert len(times) == 1
        assert on.times == times


async def test_a_call_that_failed_tells_its_key_so_that_it_can_be_taken_up_again(family: FamilyModules) -> None:
    async with stage(family, [Fails("ReadError"), Reply(201)], idempotency=IdempotencyKeys(), retry=None) as on:
        with pytest.raises(family.http.ReadError) as caught:
            await on.client.post(URL)
        key = holdfast.history(caught.value).idempotency_key
        assert key is not None
        await on.client.post(URL, headers={"Idempotency-Key": key})
        assert keys(on.script.sent) == [key, key]


@pytest.mark.parametrize("deadline", [30.0, None])
async def test_the_key_goes_along_with_redirects_and_auth_flows(family: FamilyModules, deadline: float | None) -> None:
    challenge = Reply(401, headers={"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'})
    script: list[Step] = [Reply(307, headers={"Location": "/elsewhere"}), challenge, Reply(201), Reply(201)]
    async with stage(family, script, **KEYED, deadline=deadline) as on:
        auth = family.http.DigestAuth("user", "password")
        await on.client.post(URL, auth=auth, follow_redirects=True)
        await on.client.post(URL)
        sent = keys(on.script.sent)
        assert sent[0] == sent[1] == sent[2] != sent[3]


@pytest.mark.parametrize("deadline", [30.0, None])
async def test_a_request_that_is_sent_anew_long_after_its_401_gets_a_new_key(
    family: FamilyModules, deadline: float | None
) -> None:
    async with stage(family, [Reply(401), Reply(201)], **KEYED, deadline=deadline) as on:
        request = on.client.build_request("POST", URL)
        await on.client.send(request)
        await on.clock.sleep(61)
        await on.client.send(request)
        first, second = keys(on.script.sent)
        assert first != second


async def test_a_body_that_cannot_be_sent_again_has_a_key_and_one_attempt(family: FamilyModules) -> None:
    async def chunks() -> Any:
        yield b"once"

    async with stage(family, lambda number, request: Reply(503), **KEYED) as on:
        answer = await on.client.post(URL, content=chunks())
        assert (answer.status_code, len(keys(on.script.sent))) == (503, len(on.script.sent))
        assert None not in keys(on.script.sent)


async def test_a_request_that_is_hedged_has_one_key_too(family: FamilyModules) -> None:
    settings: dict[str, Any] = {**KEYED, "idempotency": IdempotencyKeys(header="X-Request-Id")}
    script: list[Step] = [Reply(201, delay=2.0), Reply(201, delay=0.5)]
    async with stage(family, script, **settings, hedge=Hedge(delay=0.5)) as on:
        await on.client.post(URL)
        first, second = keys(on.script.sent, "x-request-id")
        assert first == second is not None


async def test_hooks_sign_each_attempt_anew_under_the_same_key(family: FamilyModules) -> None:
    def sign(request: Any, attempt: int) -> None:
        request.headers["X-Nonce"] = str(attempt)

    async with stage(family, [Reply(503), Reply(201)], **KEYED, hooks=[sign]) as on:
        await on.client.post(URL)
        assert keys(on.script.sent, "x-nonce") == ["1", "2"]
        first, second = keys(on.script.sent)
        assert first == second is not None


@pytest.mark.parametrize(
    "settings",
    [
        {"header": ""},
        {"header": "a b"},
        {"header": "ключ"},
        {"methods": frozenset({"post"})},
        {"methods": frozenset({""})},
    ],
)
def test_a_setting_that_names_nothing_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        IdempotencyKeys(**settings)
