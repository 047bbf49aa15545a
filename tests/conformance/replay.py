"""The client of the conformance cases: sends the requests of all cases, and judges what came back.

The checks and their order are those of the suite's own client, on two points more exact: an answer is told from a
cached one by the number of the request that it was made for, so that a retry is not taken for another request, and
a value that must be gone is looked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import anyio

from holdfast import Pipeline
from holdfast.testing.faulty import FaultyServer
from tests.conformance.cases import UNSAID, Case, Step
from tests.conformance.clocks import Pauses
from tests.conformance.origin import ANSWERS, NO_BODY, NOW, Origin, body_of, rendered
from tests.support import FamilyModules

_AT_ONCE: Final = 16  # cases between two pauses; more would only queue, and age their answers


@dataclass(frozen=True, slots=True)
class Failed(Exception):
    """A check that failed; ``setup``: it only means that the case says nothing."""

    why: str
    setup: bool = False

    def __str__(self) -> str:
        return f"{'set-up: ' if self.setup else ''}{self.why}"


async def replay(
    family: FamilyModules,
    cases: Sequence[Case],
    pipeline: Pipeline,
    origin: Origin,
    server: FaultyServer,
    pauses: Pauses,
    *,
    retries: bool,
) -> dict[str, str | None]:
    """Why each case failed, by its id; None for those that passed."""
    results: dict[str, str | None] = {}
    slots = anyio.Semaphore(_AT_ONCE)
    async with _client(family, pipeline) as client:

        async def one(case: Case) -> None:
            run = _Run(family, client, case, origin, server.url + origin.path(case), retries=retries)
            try:
                await run.requests(pauses, slots)
                results[case.id] = None
            except Failed as failed:
                results[case.id] = str(failed)
            finally:
                pauses.finished()

        async with anyio.create_task_group() as tasks:
            for case in cases:
                tasks.start_soon(one, case)
    return results


@asynccontextmanager
async def _client(family: FamilyModules, pipeline: Pipeline) -> AsyncIterator[Any]:
    # The suite's own client keeps no cookies; with them a request would be another user's than the one before.
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    transport = family.holdfast.ResilientTransport(pipeline, verify=False)
    async with family.http.AsyncClient(transport=transport, cookies=no_cookies) as client:
        yield client


class _Run:
    """One case under way."""

    def __init__(
        self, family: FamilyModules, client: Any, case: Case, origin: Origin, url: str, *, retries: bool
    ) -> None:
        self._family = family
        self._client = client
        self._case = case
        self._origin = origin
        self._url = url
        self._retries = retries

    async def requests(self, pauses: Pauses, slots: anyio.Semaphore) -> None:
        responses: list[Any] = []
        await slots.acquire()
        try:
            for number, step in enumerate(self._case.requests, 1):
                response = await self._send(number, step, responses[-1] if responses else None)
                responses.append(response)
                self._judge(number, step, response)
                if step.pause_after:
                    slots.release()
                    await pauses.pause()
                    await slots.acquire()
        finally:
            slots.release()
        for number, step in enumerate(self._case.requests, 1):
            self._judge_asked(number, step, responses[number - 1])

    async def _send(self, number: int, step: Step, before: Any) -> Any:
        """The response; None if the connection ended without one."""
        base = float(before.headers[NOW]) if step.magic_ims else 0.0
        headers = [
            # As in fetch: the space around a value is no part of it.
            (str(name), rendered((name, value), step, base).strip())
            for name, value in step.request_headers
        ]
        url = self._url
        url += f"/{step.filename}" if step.filename else ""
        url += f"?{step.query_arg}" if step.query_arg else ""
        try:
            return await self._client.request(
                step.request_method,
                url,
                headers=[
                    (name.encode("latin-1"), value.encode("latin-1"))
                    for name, value in [*headers, ("Req-Num", str(number))]
                ],
                content=step.request_body,
                extensions={"holdfast": {"key": self._case.id}},  # an origin of its own, for circuits and limits
            )
        except self._family.http.TransportError as error:
            if step.disconnect and step.expected_status is None:
                return None
            raise Failed(f"request {number}: {type(error).__name__}: {error}", step.setup) from error

    def _judge(self, number: int, step: Step, response: Any) -> None:
        def check(name: str, claim: bool, why: str) -> None:
            if not claim:
                raise Failed(f"response {number}: {why}", name == "" or step.prepares(name))

        if response is None:
            return
        headers, status = response.headers, response.status_code
        made_for = int(headers[ANSWERS]) if ANSWERS in headers else None
        if step.expected_type == "cached":
            cached = made_for < number if made_for is not None else self._origin.asked(self._case, number) is None
            check("expected_type", cached, "does not come from the cache")
        if step.expected_type == "not_cached":
            check("expected_type", made_for == number, "comes from the cache")

        if step.expected_status is not UNSAID:
            if step.expected_status is not None:
                check("expected_status", status == step.expected_status, f"status {status}")
        elif step.response_status is not None:
            check("", status == step.response_status[0], f"status {status}")
        elif status == 999:
            check("expected_type", False, "the request should have been conditional")
        else:
            check("", status == 200, f"status {status}")

        for wanted in step.expected_response_headers:
            name, *rest = (wanted,) if isinstance(wanted, str) else wanted
            value = headers.get(name)
            check("expected_response_headers", value is not None, f"no {name}")
            match rest:
                case [">", least]:
                    check("expected_response_headers", int(value) > least, f"{name}: {value}, not above {least}")
                case ["=", other]:
                    check("expected_response_headers", value == headers.get(other), f"{name}: {value}")
                case [_]:
                    exactly = rendered((name, rest[0]), step, float(headers.get(NOW, 0)))
                    check("expected_response_headers", value == exactly, f"{name}: {value}, not {exactly}")
        for unwanted in step.expected_response_headers_missing:
            name, *rest = (unwanted,) if isinstance(unwanted, str) else unwanted
            value = headers.get(name)
            gone = value is None or (bool(rest) and rest[0] not in value)
            check("expected_response_headers_missing", gone, f"{name}: {value}")
        self._judge_body(step, response, check)

    def _judge_body(self, step: Step, response: Any, check: Any) -> None:
        if not step.check_body:
            return
        text = response.content.decode("latin-1")
        if step.expected_response_text is not UNSAID:
            wanted = step.expected_response_text
            check("expected_response_text", wanted is None or text == wanted, f"body {text!r}")
        elif step.response_body is not None:
            check("", text == step.response_body, f"body {text!r}")
        elif response.status_code not in NO_BODY and step.request_method != "HEAD":
            check("", text == body_of(self._case), f"body {text!r}")

    def _judge_asked(self, number: int, step: Step, response: Any) -> None:
        """What the origin saw of a request."""

        def check(name: str, claim: bool, why: str) -> None:
            if not claim:
                raise Failed(f"request {number}: {why}", name == "" or step.prepares(name))

        if not self._retries:
            check("", self._origin.times(self._case, number) < 2, "was sent twice")
        if step.expected_type == "cached":
            return
        asked = self._origin.asked(self._case, number)
        if step.expected_type is not None:
            check("expected_type", asked is not None, "was not sent")
        condition = {"etag_validated": "if-none-match", "lm_validated": "if-modified-since"}.get(
            step.expected_type or ""
        )
        if condition is not None and asked is not None:
            check("expected_type", asked.request.header(condition) is not None, f"no {condition}")
        for wanted in step.expected_request_headers:
            name, value = (wanted, None) if isinstance(wanted, str) else wanted
            sent = None if asked is None else asked.request.header(name)
            check("expected_request_headers", sent is not None and value in (None, sent), f"{name}: {sent}")
        if step.expected_method is not None:
            method = None if asked is None else asked.request.method
            check("expected_method", method == step.expected_method, f"method {method}")
        if asked is not None and response is not None:
            for name, value in asked.promised:
                if name.lower() != "date":
                    received = response.headers.get(name)
                    check("", received == value, f"the origin's {name} is {value!r}, and came as {received!r}")
