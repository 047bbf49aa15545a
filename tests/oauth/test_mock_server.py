"""A token endpoint that misbehaves on request: oauth2-mock-server over real sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.auth import ClientCredentials, OAuth2, OAuthClient, TokenError, TokenUnavailable
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("fault", "lifetime"),
    [
        ({}, 3600.0),
        ({"members": {"expires_in": "120"}}, 120.0),
        ({"members": {"expires_in": None}}, None),
        ({"members": {"expires_in": -1}}, None),
        ({"members": {"token_type": "bearer"}}, 3600.0),
    ],
    ids=["as it is", "a text", "unsaid", "below nothing", "small letters"],
)
async def test_what_a_server_may_do(
    fault: dict[str, Any], lifetime: float | None, family: FamilyModules, mock_server: str
) -> None:
    async with OAuthClient("worker", "secret", server=mock_server, family=family.name) as client:  # type: ignore[arg-type]
        auth = OAuth2(client, ClientCredentials(parameters={"fault": json.dumps(fault)}))
        assert (await auth.source.get()).lifetime == lifetime


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 400, "body": {"error": "invalid_scope", "error_description": "no\nsuch"}}, "invalid_scope"),
        ({"status": 200, "body": {"error": "bad_verification_code"}}, "bad_verification_code"),
        ({"status": 500, "body": {"message": "oops"}}, "invalid_response"),
        ({"status": 429, "body": {"error": "slow_down"}}, "slow_down"),
        ({"status": 200, "body": {"id_token": "no access token"}}, "invalid_response"),
        ({"status": 302, "body": {"access_token": "t"}}, "invalid_response"),
    ],
    ids=["an error", "an error with 200", "no error", "too many", "no token", "elsewhere"],
)
async def test_what_a_server_may_not_do(
    fault: dict[str, Any], error: str, family: FamilyModules, mock_server: str
) -> None:
    async with OAuthClient("worker", "secret", server=mock_server, family=family.name) as client:  # type: ignore[arg-type]
        auth = OAuth2(client, ClientCredentials(parameters={"fault": json.dumps(fault)}))
        with pytest.raises(TokenUnavailable) as caught:
            await auth.source.get()
        assert isinstance(caught.value.__cause__, TokenError)
        assert caught.value.__cause__.error == error
