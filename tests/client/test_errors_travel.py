"""What a worker process of a pool raised is raised here, whole: errors of real calls, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Final

import pytest

from holdfast import errors as base
from holdfast import history
from holdfast.client import resume_token
from holdfast.testing.faulty import Answer, FaultyServer, Never
from tests.client.worker import make
from tests.support import FamilyModules

PROBLEM: Final = b'{"title": "Taken", "status": 409, "detail": "by somebody else", "email": "ada"}'


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as made:
        yield made


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as made:
        made.on("/gone", Answer(404, headers={"X-Request-Id": "r-1"}))
        made.on("/taken", Answer(409, headers={"Content-Type": "application/problem+json"}, body=PROBLEM))
        made.on("/busy", Answer(429, headers={"Retry-After": "7200"}))
        made.on("/broken", Answer(500))
        made.on("/odd", Answer.json({"id": "one", "name": "Ada"}))
        made.on("/moved", Answer(302, headers={"Location": "https://elsewhere.example/"}))
        made.on("/hangs", Never())
        made.on("/again", Answer.json([1], headers=(("Link", "</again?page=2>; rel=next"),)))
        yield made


@pytest.mark.parametrize(
    ("path", "kind", "told"),
    [
        ("/gone", base.NotFound, {"status_code": 404, "request_id": "r-1", "operation": "GET /gone", "attempts": 1}),
        ("/taken", base.Conflict, {"status_code": 409, "body": PROBLEM}),
        ("/busy", base.TooManyRequests, {"retry_after": 7200.0}),
        ("/broken", base.ServerFault, {"status_code": 500}),
        ("/odd", base.DecodeError, {"path": "$.id", "expected": "an integer", "body": b'{"id": "one", "name": "Ada"}'}),
        ("/moved", base.ForeignOrigin, {"origin": "https://elsewhere.example"}),
        ("/hangs", base.DeadlineExceeded, {"deadline": 0.3}),
        ("/open", base.CircuitOpen, {"policy": "circuit_breaker"}),
        ("/again", base.PageLoop, {"pages": 2}),
    ],
)
def test_an_error_comes_out_of_a_process_pool_as_it_was(
    pool: ProcessPoolExecutor,
    server: FaultyServer,
    family: FamilyModules,
    path: str,
    kind: type[Exception],
    told: dict[str, Any],
) -> None:
    with pytest.raises(kind) as here:
        make(family.name, server.url, path)
    with pytest.raises(kind) as there:
        pool.submit(make, family.name, server.url, path).result(timeout=60)
    error: Any = there.value
    assert type(error) is type(here.value)
    assert isinstance(error, family.http.HTTPError)
    assert str(error) == str(here.value)
    assert {name: getattr(error, name) for name in told} == told
    if path == "/taken":
        assert error.problem.extensions == {"email": "ada"}
    if path == "/again":
        assert resume_token(error) == resume_token(here.value) is not None
    if path not in ("/open", "/moved", "/again"):
        assert len(history(error).attempts) == len(history(here.value).attempts) >= 1
