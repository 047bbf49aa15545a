"""Errors by meaning: each status its class, of both families, with all that the answer said and none of its secrets."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any, Final

import pytest

import holdfast
from holdfast import errors
from holdfast.client.failures import StatusErrors, check_status_errors, status_error
from holdfast.core.failure import EXCERPT, KINDS
from holdfast.testing import Reply
from tests.conftest import modules_of
from tests.scripting import stage
from tests.support import FamilyModules

WALL: Final = 1_700_000_000.0
URL: Final = "https://user:hunter2@api.test:8443/users/7?api_key=hunter2"


class AlreadyExists(errors.Conflict):
    """A user's own class, with an ``__init__`` of its own."""

    def __init__(self, name: str) -> None:
        raise AssertionError(f"not called for {name}")

    @property
    def field(self) -> Any:
        return None if self.problem is None else self.problem.extensions.get("field")


class Elsewhere(Exception):
    """A domain error that knows nothing of HTTP."""


def failed(
    family: FamilyModules,
    status: int,
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    body: bytes = b"",
    *,
    url: str = URL,
    operation: str | None = None,
    template: str | None = None,
    kinds: StatusErrors | None = None,
) -> Any:
    """The error for an answer that a client of this family got and read."""
    request = family.http.Request("GET", url)
    response = family.http.Response(status, headers=headers, content=body, request=request)
    return status_error(
        family.holdfast.FAMILY,
        request,
        response,
        response.content,
        wall=WALL,
        operation=operation,
        template=template,
        kinds=kinds,
    )


@pytest.mark.parametrize(
    ("status", "kind", "also"),
    [
        *((status, kind, errors.StatusError) for status, kind in KINDS.items()),
        (410, errors.Gone, errors.NotFound),
        (412, errors.PreconditionFailed, errors.Conflict),
        (503, errors.Unavailable, errors.ServerFault),
        (500, errors.ServerFault, errors.StatusError),
        (599, errors.ServerFault, errors.StatusError),
        (418, errors.StatusError, errors.HoldfastError),
        (302, errors.StatusError, errors.HoldfastError),
    ],
)
def test_each_status_has_its_class_which_both_trees_catch(
    status: int, kind: type[errors.StatusError], also: type[errors.HoldfastError], family: FamilyModules
) -> None:
    error = failed(family, status)
    assert type(error).__name__ == kind.__name__
    assert isinstance(error, kind)
    assert isinstance(error, also)
    assert isinstance(error, family.http.HTTPStatusError)
    assert isinstance(error, family.http.HTTPError)
    assert error.status_code == error.response.status_code == status
    assert error.request.method == "GET"


def test_a_class_is_made_once(family: FamilyModules) -> None:
    assert type(failed(family, 404)) is type(failed(family, 404))


def test_an_error_tells_what_the_answer_said(family: FamilyModules) -> None:
    body = json.dumps(
        {
            "type": "https://api.test/problems/no-credit",
            "title": "Not enough credit",
            "status": 429,
            "detail": "Your balance is 30",
            "instance": "/account/12345",
            "balance": 30,
        }
    ).encode()
    headers = [
        ("Content-Type", "Application/Problem+JSON; charset=utf-8"),
        ("Retry-After", "120"),
        ("X-Request-Id", "req-1"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
    ]
    error = failed(family, 429, headers, body, operation="Users.get")
    assert error.problem == errors.Problem(
        type="https://api.test/problems/no-credit",
        title="Not enough credit",
        status=429,
        detail="Your balance is 30",
        instance="/account/12345",
        extensions={"balance": 30},
    )
    assert [value for name, value in error.headers if name.lower() == "set-cookie"] == ["a=1", "b=2"]
    assert (error.header("SET-cookie"), error.header("absent")) == ("a=1", None)
    assert (error.retry_after, error.retry_at) == (120.0, WALL + 120.0)
    assert (error.request_id, error.operation, error.attempts) == ("req-1", "Users.get", 1)
    assert error.body == body
    assert str(error) == ("Users.get: 429 Too Many Requests (GET https://api.test:8443/users/7?...), request id req-1")


@pytest.mark.parametrize(
    ("content_type", "body", "problem"),
    [
        ("application/problem+json", b"{}", errors.Problem()),
        ("application/problem+json", b'{"status": "409", "title": 1, "type": null}', errors.Problem()),
        ("application/problem+json", b'{"status": true, "detail": "d"}', errors.Problem(detail="d")),
        ("application/problem+json", b'\xef\xbb\xbf{"detail": "\xc3\xa9"}', errors.Problem(detail="é")),
        ("application/problem+json", b"[]", None),
        ("application/problem+json", b"{", None),
        ("application/problem+json", b'{"a":' * 5000 + b"1" + b"}" * 5000, None),
        ("application/problem+json", b'{"a": "' + b"x" * 70_000 + b'"}', None),
        ("application/problem+json", b'{"a": NaN}', None),
        ("application/json", b'{"detail": "d"}', None),
        (None, b'{"detail": "d"}', None),
    ],
)
def test_what_is_no_problem_document_is_none(
    content_type: str | None, body: bytes, problem: errors.Problem | None
) -> None:
    family = modules_of("httpx")
    headers = {} if content_type is None else {"content-type": content_type}
    assert failed(family, 400, headers, body).problem == problem


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"x-request-id": "a"}, "a"),
        ({"cf-ray": "c", "x-amzn-requestid": "b"}, "b"),
        ({"x-request-id": "two words"}, None),
        ({"x-request-id": "x" * 300}, None),
        ({"x-request-id": "two words", "cf-ray": "c"}, "c"),
        ({}, None),
    ],
)
def test_a_request_id_is_told_if_it_fits_into_a_line(
    headers: dict[str, str], told: str | None, family: FamilyModules
) -> None:
    error = failed(family, 500, headers)
    assert error.request_id == told
    assert ("request id" in str(error)) is (told is not None)


@pytest.mark.parametrize("echo", ["X-Echo", "Content-Type", "Location", "X-Request-Id"])
def test_no_text_tells_a_secret_that_was_sent(echo: str, family: FamilyModules) -> None:
    body = b'{"title": "hunter2", "detail": "hunter2"}'
    error = failed(family, 400, {echo: "Bearer hunter2"}, body, operation="Users.get", template="/users/{id}")
    told = "".join(map(str, (str(error), repr(error), error.args, error.url)))
    assert "hunter2" not in told
    assert "/users/{id}" in str(error)


def test_a_page_of_html_is_cut(family: FamilyModules) -> None:
    error = failed(family, 502, {"content-type": "text/html"}, b"<p>" * 1_700_000)
    assert len(error.body) == EXCERPT
    assert len(pickle.dumps(error)) < 3 * EXCERPT


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://[::1]:8080/x?y=1", "http://[::1]:8080/x?..."),
        ("https://user:hunter2@api.test/a%2Fb#c", "https://api.test/a%2Fb"),
        ("http://api.test", "http://api.test/"),
    ],
)
def test_a_url_is_shown_without_query_and_user(url: str, shown: str, family: FamilyModules) -> None:
    error = failed(family, 500, url=url)
    assert error.url == shown
    assert str(error) == f"GET {shown}: 500 Internal Server Error"


# What a service raises in place of the tree's classes


def test_a_service_has_classes_of_its_own(family: FamilyModules) -> None:
    headers = {"content-type": "application/problem+json"}
    error = failed(family, 409, headers, b'{"field": "email"}', kinds={409: AlreadyExists})
    assert isinstance(error, AlreadyExists)
    assert isinstance(error, family.http.HTTPStatusError)
    assert error.field == "email"
    assert type(failed(family, 404, kinds={409: AlreadyExists})).__name__ == "NotFound"


def test_a_function_makes_the_error_of_the_one_that_would_be_raised(family: FamilyModules) -> None:
    error = failed(family, 404, kinds={404: lambda found: Elsewhere(found.status_code)})
    assert type(error) is Elsewhere
    assert error.args == (404,)
    assert isinstance(error.__cause__, errors.NotFound)


def test_a_function_may_leave_it_as_it_is(family: FamilyModules) -> None:
    error = failed(family, 404, kinds={404: lambda found: found})
    assert isinstance(error, errors.NotFound)
    assert error.__cause__ is None
    with pytest.raises(TypeError, match=r"status_errors\[404\]"):
        failed(family, 404, kinds={404: lambda found: None})  # type: ignore[dict-item, return-value]


@pytest.mark.parametrize(
    ("kinds", "raised"),
    [({200: errors.Conflict}, ValueError), ({404: "NotFound"}, TypeError), ({409: AlreadyExists}, None)],
)
def test_a_table_that_cannot_serve_is_refused(kinds: Any, raised: type[Exception] | None) -> None:
    if raised is None:
        check_status_errors(kinds)
    else:
        with pytest.raises(raised, match="status_errors"):
            check_status_errors(kinds)


# They travel


@pytest.mark.parametrize(
    "copied",
    [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy],
    ids=["pickle", "copy", "deepcopy"],
)
@pytest.mark.parametrize("status", [409, 404, 503, 418])
def test_errors_survive_pickle_and_copy(status: int, copied: Callable[[Any], Any], family: FamilyModules) -> None:
    headers = [("content-type", "application/problem+json"), ("x", "1"), ("x", "2"), ("content-encoding", "gzip")]
    request = family.http.Request("POST", URL, content=b"secret")
    response = family.http.Response(status, headers=headers[:3], json={"title": "t"}, request=request)
    error: Any = status_error(
        family.holdfast.FAMILY, request, response, response.content, wall=WALL, kinds={409: AlreadyExists}
    )
    error.headers = tuple(headers)
    other = copied(error)
    assert type(other) is type(error)
    assert isinstance(other, family.http.HTTPStatusError)
    assert str(other) == str(error)
    left = {"_request", "response"}
    assert {k: v for k, v in vars(other).items() if k not in left} == {
        k: v for k, v in vars(error).items() if k not in left
    }
    assert other.response.status_code == status
    assert other.response.json() == {"title": "t"}
    assert other.response.headers.get_list("x") == ["1", "2"]
    assert (other.request.method, str(other.request.url)) == ("POST", "https://api.test:8443/users/7?...")
    assert not hasattr(other, "nothing")


def test_a_kind_of_the_services_own_travels_as_the_others_do(family: FamilyModules) -> None:
    error = failed(family, 409, {"retry-after": "3"}, kinds={409: AlreadyExists})
    travelled = pickle.loads(pickle.dumps(error))
    assert isinstance(travelled, AlreadyExists)
    assert type(travelled) is type(error)
    assert travelled.retry_after == 3.0


@pytest.mark.anyio
async def test_an_error_has_the_history_of_its_call(family: FamilyModules) -> None:
    async with stage(family, [Reply(503), Reply(503), Reply(404)]) as act:
        response = await act.client.get("http://api.test/users/7")
        error: Any = status_error(family.holdfast.FAMILY, response.request, response, response.content, wall=WALL)
    assert error.attempts == 3
    for one in (error, copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert [attempt.status for attempt in holdfast.history(one).attempts] == [503, 503, 404]
