"""Credentials by profile: what each profile puts on the wire, and what is said of one that cannot be."""

from __future__ import annotations

from base64 import b64encode
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from holdfast.auth import Credentials, MemorySecrets, MissingSecret, Secret
from holdfast.client import Service
from holdfast.errors import InvalidInput
from holdfast.testing import Reply
from tests.client.api import ADA, stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

SECRET = "s3cr3t-value-of-32-bytes-or-more"
HOME = "https://api.test/v1"
BASIC = f"Basic {b64encode(f'ada:{SECRET}'.encode()).decode()}"

KINDS = [
    ({}, {"authorization": f"Bearer {SECRET}"}),
    ({"kind": "api_key"}, {"x-api-key": SECRET}),
    ({"kind": "api_key", "header": "X-Token", "prefix": "Token "}, {"x-token": f"Token {SECRET}"}),
    ({"kind": "basic", "username": "ada"}, {"authorization": BASIC}),
    ({"kind": "hmac", "key_id": "k1"}, {"authorization": "HMAC-SHA256 k1:*"}),
    ({"kind": "jwt", "algorithm": "HS256"}, {"authorization": "Bearer eyJ*.*.*"}),
    (
        {"kind": "http_signature", "key_id": "k1", "tag": "shop"},
        {
            "signature-input": 'sig1=("@method" "@authority" "@path" "@query");created=*;keyid="k1";*;tag="shop"',
            "signature": "sig1=:*:",
        },
    ),
    (
        {"kind": "aws", "access_key": "AKID", "region": "eu-west-1", "service": "execute-api"},
        {"authorization": "AWS4-HMAC-SHA256 Credential=AKID/*/eu-west-1/execute-api/aws4_request,*"},
    ),
]


def toml(table: dict[str, str]) -> str:
    return "\n".join(["[my_api]", 'origins = ["https://api.test"]', *(f"{k} = '{v}'" for k, v in table.items())])


@pytest.mark.parametrize(("table", "headers"), KINDS)
@pytest.mark.parametrize("source", ["environment", "file"])
async def test_a_profile_becomes_what_is_sent(
    table: dict[str, str], headers: dict[str, str], source: str, family: FamilyModules, tmp_path: Path
) -> None:
    if source == "file":
        (tmp_path / "profiles.toml").write_text(toml(table))
        credentials = await Credentials.from_file(tmp_path / "profiles.toml", MemorySecrets({"my_api": SECRET}))
    else:
        variables = {f"HOLDFAST_MY_API_{key.upper()}": value for key, value in table.items()}
        variables |= {"HOLDFAST_MY_API_ORIGINS": "https://api.test", "HOLDFAST_MY_API_SECRET": SECRET}
        credentials = Credentials.from_env(environ=variables)
    assert list(credentials) == ["my_api"]
    assert SECRET not in f"{credentials!r} {vars(credentials)!r}"
    async with credentials, stage(family, base_url=HOME) as world:
        await world.shop.using(auth=credentials["my_api"]).users.get(1)
        assert all(fnmatchcase(world.last.headers[name], value) for name, value in headers.items())
    with pytest.raises(InvalidInput, match=r"other\.test"):
        Service("https://other.test", auth=credentials["my_api"])


async def test_a_token_of_our_own_says_what_its_profile_says(tmp_path: Path) -> None:
    import jwt
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    told = {"kind": "jwt", "algorithm": "ES256", "key_id": "7", "issuer": "shop", "subject": "us", "audience": "orders"}
    (tmp_path / "profiles.toml").write_text(toml(told))
    async with await Credentials.from_file(tmp_path / "profiles.toml", MemorySecrets({"my_api": pem})) as credentials:
        credential: Any = credentials["my_api"]
        token = (await credential.source.get()).access_token.reveal()
    claims = jwt.decode(token, key.public_key(), algorithms=["ES256"], audience="orders", issuer="shop")
    assert (jwt.get_unverified_header(token)["kid"], claims["sub"]) == ("7", "us")


async def test_a_bearer_of_a_store_is_rotated_while_the_program_runs(family: FamilyModules, tmp_path: Path) -> None:
    (tmp_path / "profiles.toml").write_text(toml({"secret": "shared"}))
    store = MemorySecrets({"shared": "old"})
    good = ["old"]

    def answer(number: int, request: Any) -> Reply:
        return ADA if request.headers["authorization"] == f"Bearer {good[0]}" else Reply(401)

    async with await Credentials.from_file(tmp_path / "profiles.toml", store) as credentials:
        bearer: Any = credentials["my_api"]
        async with stage(family, answer, base_url=HOME) as world:
            shop = world.shop.using(auth=bearer)
            await shop.users.get(1)
            await store.put("shared", Secret("new"))
            await shop.users.get(1)  # the old one is good until the server says no
            good[0] = "new"
            bearer.source._issued = float("-inf")  # it is older than a second
            await shop.users.get(1)
            assert [request.headers["authorization"][7:] for request in world.requests] == ["old", "old", "old", "new"]


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "environment variable HOLDFAST_SHOP_SECRET is not set"),
        ({"HOLDFAST_SHOP_SECRET": ""}, "HOLDFAST_SHOP_SECRET"),
        ({"HOLDFAST_SHOP_TOKEN": SECRET}, "HOLDFAST_SHOP_SECRET"),
    ],
)
def test_a_missing_secret_is_named_by_its_variable(variables: dict[str, str], told: str) -> None:
    with pytest.raises(MissingSecret, match=told) as caught:
        Credentials.from_env(environ={"HOLDFAST_SHOP_ORIGINS": "https://api.test", **variables})
    assert SECRET not in str(caught.value)


async def test_a_secret_that_the_store_has_not_is_named(tmp_path: Path) -> None:
    (tmp_path / "profiles.toml").write_text(toml({"secret": "elsewhere"}))
    with pytest.raises(MissingSecret, match="'elsewhere'"):
        await Credentials.from_file(tmp_path / "profiles.toml", MemorySecrets())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a]", "a needs origins"),
        ("[a]\norigins = []", "a needs origins"),
        ("[a]\norigins = 7", "a needs origins"),
        ("[a]\norigins = ['http://api.test']", "plain http"),
        ("[a]\norigins = ['https://a.test', 7]", "origins are texts"),
        ("[a]\norigins = 'https://a.test'\nkind = 'magic'", "none of bearer, api_key"),
        ("[a]\norigins = 'https://a.test'\nheader = 'X'", "a bearer, has no header"),
        ("[a]\norigins = 'https://a.test'\nkind = 'basic'", "needs username"),
        ("[a]\norigins = 'https://a.test'\nkind = 'aws'\nregion = 'r'", "needs access_key"),
        ("[a]\norigins = 'https://a.test'\nkind = 'http_signature'", "needs key_id"),
        ("[a]\norigins = 'https://a.test'\nkind = 'jwt'", "needs algorithm"),
        ("[a]\norigins = 'https://a.test'\nkind = 'jwt'\nalgorithm = 'none'", "profile a: 'none' is no algorithm"),
        ("[a]\norigins = 'https://a.test'\nkind = 'jwt'\nalgorithm = 'RS256'", "profile a: this is no private key"),
        ("[a]\norigins = 'https://a.test'\nkind = 'api_key'\nheader = 7", "header is a text"),
        (f"[a]\norigins = 'https://a.test'\ntoken = '{SECRET}'", "has its token in the file"),
        (f"[a]\norigins = 'https://a.test'\npassword = '{SECRET}'", "has its password in the file"),
        ("a = 1", "a is no table"),
        (f"[a]\n{SECRET}\n", r"is no TOML in UTF-8 \(at line 2\)$"),
    ],
)
async def test_a_profile_that_cannot_be_is_named_and_nothing_of_it_is_shown(
    text: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "profiles.toml").write_text(text)
    with pytest.raises(InvalidInput, match=told) as caught:
        await Credentials.from_file(tmp_path / "profiles.toml", MemorySecrets({"a": SECRET}))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_other_variables_are_left_alone() -> None:
    variables = {"HOLDFAST_ORIGINS": "https://x.test", "OTHER_ORIGINS": "https://x.test", "HOLDFAST_A_ORIGINS": ""}
    assert dict(Credentials.from_env(environ=variables)) == {}
