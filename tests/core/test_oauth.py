"""What a client of OAuth 2.0 says and understands, as tables."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from holdfast.core.oauth.answers import TokenError, device_wait, read_device_code, read_document, read_token
from holdfast.core.oauth.authorization import Authorization, authorization_url, challenge, read_callback
from holdfast.core.oauth.metadata import ServerMetadata, metadata_urls, read_metadata
from holdfast.core.secret import Secret
from holdfast.core.tokens import Token
from holdfast.errors import InvalidInput


@pytest.mark.parametrize(
    ("expires_in", "lifetime"),
    [
        (3600, 3600.0),
        ("3600", 3600.0),
        (0.5, 0.5),
        (None, None),
        (0, None),
        (-1, None),
        (True, None),
        ("soon", None),
        ([], None),
        (1e999, None),
        ("1" * 5000, None),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_lifetime_is_what_the_server_said_and_never_made_up(expires_in: Any, lifetime: float | None) -> None:
    token = read_token({"access_token": "a", "expires_in": expires_in}, asked_at=1000.0)
    assert (token.lifetime, token.expires_at) == (lifetime, None if lifetime is None else 1000.0 + lifetime)


def test_an_answer_may_leave_out_what_stays_as_it_was() -> None:
    previous = Token(Secret("a1"), refresh_token=Secret("r1"), scope="read")
    kept = read_token({"access_token": "a2"}, asked_at=0.0, previous=previous)
    assert (kept.refresh_token, kept.scope) == (Secret("r1"), "read")
    rotated = read_token({"access_token": "a2", "refresh_token": "r2", "scope": "write"}, asked_at=0.0, previous=kept)
    assert (rotated.refresh_token, rotated.scope) == (Secret("r2"), "write")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"access_token": None},
        {"access_token": ""},
        {"access_token": "two words"},
        {"access_token": "line\r\nX-Injected: 1"},
        {"access_token": "é"},
        {"access_token": "a", "token_type": "Bearer\r\nX: 1"},
        {"access_token": "a", "token_type": 7},
    ],
    ids=str,
)
def test_an_answer_without_a_usable_token_is_an_error(document: dict[str, Any]) -> None:
    with pytest.raises(TokenError) as caught:
        read_token(document, asked_at=0.0)
    assert caught.value.error == "invalid_response"


@pytest.mark.parametrize(
    ("status", "body", "error", "description"),
    [
        (400, {"error": "invalid_grant"}, "invalid_grant", None),
        (401, {"error": "invalid_client", "error_description": "wrong"}, "invalid_client", "wrong"),
        (200, {"error": "slow_down"}, "slow_down", None),  # some answer so with 200
        (400, {"error": "x", "error_description": "the secret hunter2 is\nwrong"}, "x", "the secret *** is wrong"),
        (400, {"error": "x", "error_description": {"not": "a text"}}, "x", None),
        (400, {"error": ["not a text"]}, "invalid_response", None),
        (500, {"message": "oops"}, "invalid_response", None),
        (302, {"access_token": "a"}, "invalid_response", None),
        (200, [1], "invalid_response", None),
        (502, "<html>", "invalid_response", None),
        (200, b"\xff\xfe\x00", "invalid_response", None),
        (200, b"[" * 100_000, "invalid_response", None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_error_is_told_by_its_name_and_without_what_was_sent(
    status: int, body: Any, error: str, description: str | None
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(TokenError) as caught:
        read_document(status, raw, sent=[Secret("hunter2")], retry_after=7.0)
    assert (caught.value.error, caught.value.error_description) == (error, description)
    assert (caught.value.status_code, caught.value.retry_after) == (status, 7.0)
    assert "hunter2" not in f"{caught.value} {vars(caught.value)}"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("interval", "waits"), [(None, 5.0), (0, 5.0), (7, 7.0), ("x", 5.0)], ids=["unsaid", "zero", "said", "nonsense"]
)
def test_a_device_asks_every_five_seconds_where_nothing_is_said(interval: Any, waits: float) -> None:
    answer = {"device_code": "d", "user_code": "U", "verification_uri": "https://v", "expires_in": 600}
    code = read_device_code({**answer, "interval": interval}, asked_at=1000.0)
    assert (code.interval, code.expires_at) == (waits, 1600.0)


@pytest.mark.parametrize(
    ("error", "following"),
    [("authorization_pending", 5.0), ("slow_down", 10.0), (None, 10.0), ("access_denied", None), ("other", None)],
)
def test_how_a_device_goes_on(error: str | None, following: float | None) -> None:
    assert device_wait(error, 5.0) == following


@pytest.mark.parametrize("name", ["device_code", "user_code", "verification_uri", "expires_in"])
def test_a_device_code_is_whole_or_an_error(name: str) -> None:
    answer = {"device_code": "d", "user_code": "U", "verification_uri": "https://v", "expires_in": 600}
    with pytest.raises(TokenError, match=name):
        read_device_code({key: value for key, value in answer.items() if key != name}, asked_at=0.0)


def test_the_vector_of_rfc_7636_b() -> None:
    assert challenge(Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")) == (
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    )


def test_the_query_of_an_endpoint_stays_in_front_of_the_request() -> None:
    settings: dict[str, Any] = {
        "client_id": "shop & co",
        "redirect_uri": "http://127.0.0.1:1/cb?x=1",
        "scope": "openid a/b",
        "state": Secret("s"),
        "verifier": Secret("v"),
    }
    url = authorization_url("https://id.test/auth?tenant=7", parameters={"prompt": "consent"}, **settings)
    assert {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()} == {
        "tenant": "7",
        "response_type": "code",
        "client_id": "shop & co",
        "redirect_uri": "http://127.0.0.1:1/cb?x=1",
        "scope": "openid a/b",
        "state": "s",
        "code_challenge": challenge(Secret("v")),
        "code_challenge_method": "S256",
        "prompt": "consent",
    }
    with pytest.raises(ValueError, match="state"):
        authorization_url("https://id.test/auth", parameters={"state": "mine"}, **settings)


ISSUER = "https://id.test"


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("code=c&state=s&iss=https://id.test", None),
        ("code=c&state=s", None),
        ("code=c&state=other", "invalid_state"),
        ("code=c", "invalid_state"),
        ("code=c&state=", "invalid_state"),
        ("code=c&state=%C3%A9", "invalid_state"),
        ("error=access_denied&state=other", "invalid_state"),
        ("error=access_denied&state=s", "access_denied"),
        ("error=access_denied&state=s&iss=https://evil.test", "invalid_issuer"),
        ("code=c&state=s&iss=https://evil.test", "invalid_issuer"),
        ("code=c&state=s&iss=https://id.test/", "invalid_issuer"),
        ("code=c&state=s&iss=", "invalid_issuer"),
        ("code=c&code=d&state=s", "invalid_request"),
        ("code=c&code=d&state=other", "invalid_state"),  # of somebody else's answer not even this is a fault
        ("code=c&state=other&state=s", "invalid_state"),
        ("state=s", "invalid_request"),
        ("code=&state=s", "invalid_request"),
    ],
)
def test_an_answer_from_the_browser_is_believed_only_if_it_is_ours(query: str, error: str | None) -> None:
    login = Authorization("", redirect_uri="http://127.0.0.1/cb", state=Secret("s"), verifier=Secret("v"))
    url = f"http://127.0.0.1/cb?{query}"
    if error is None:
        assert read_callback(url, login, issuer=ISSUER, issuer_required=False) == Secret("c")
        return
    with pytest.raises(TokenError) as caught:
        read_callback(url, login, issuer=ISSUER, issuer_required=False)
    assert caught.value.error == error


def test_a_server_that_has_promised_its_name_must_give_it() -> None:
    login = Authorization("", redirect_uri="", state=Secret("s"), verifier=Secret("v"))
    with pytest.raises(TokenError) as caught:
        read_callback("/cb?code=c&state=s", login, issuer=ISSUER, issuer_required=True)
    assert caught.value.error == "invalid_issuer"


def test_where_metadata_may_be() -> None:
    assert metadata_urls("https://id.test") == [
        "https://id.test/.well-known/oauth-authorization-server",
        "https://id.test/.well-known/openid-configuration",
    ]
    assert metadata_urls("https://id.test/acme") == [
        "https://id.test/.well-known/oauth-authorization-server/acme",
        "https://id.test/.well-known/openid-configuration/acme",
        "https://id.test/acme/.well-known/openid-configuration",
    ]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"issuer": "https://evil.test"}, "invalid_issuer"),
        ({"issuer": "https://id.test/"}, "invalid_issuer"),
        ({"token_endpoint": "http://id.test/token"}, "invalid_response"),
        ({"token_endpoint": "file:///etc/passwd"}, "invalid_response"),
        ({"token_endpoint": "//id.test/token"}, "invalid_response"),
        ({"revocation_endpoint": "https://user:pw@id.test/"}, "invalid_response"),
        ({"token_endpoint": "https://id.test:port/"}, "invalid_response"),
    ],
    ids=str,
)
def test_metadata_that_would_lead_astray_is_an_error(changed: dict[str, str], error: str) -> None:
    document = {"issuer": ISSUER, "token_endpoint": "https://id.test/token", **changed}
    with pytest.raises(TokenError) as caught:
        read_metadata(document, ISSUER)
    assert caught.value.error == error


def test_what_metadata_says() -> None:
    metadata = read_metadata(
        {
            "issuer": ISSUER,
            "token_endpoint": "https://id.test/token",
            "authorization_response_iss_parameter_supported": True,
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "jwks_uri": "https://id.test/jwks",
        },
        ISSUER,
    )
    assert metadata == ServerMetadata(
        issuer=ISSUER,
        token_endpoint="https://id.test/token",
        iss_in_callback=True,
        authentication=("client_secret_post",),
    )
    with pytest.raises(InvalidInput, match="device_authorization_endpoint"):
        metadata.endpoint("device_authorization_endpoint")
    assert ServerMetadata(token_endpoint="http://127.0.0.1:8/t").token_endpoint == "http://127.0.0.1:8/t"
