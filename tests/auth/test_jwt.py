"""Tokens that we sign ourselves: what is in them, that others verify them, and how often they are signed."""

from __future__ import annotations

import copy
import pickle
import traceback
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from holdfast.auth import JWT, Secret, SigningKey, TokenUnavailable
from holdfast.errors import InvalidInput
from holdfast.testing import VirtualClock
from holdfast.testing.scripted import Reply
from tests.client.api import ADA, stage
from tests.support import FamilyModules

SHARED = "a-shared-secret-of-sixty-four-bytes-is-enough-for-each-of-them!!"
RSA = rsa.generate_private_key(65537, 2048)
P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()
HOME = "https://api.test"


def pem(key: Any) -> str:
    text: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return text.decode()


def claims_of(request: Any, key: Any, algorithm: str, audience: str | None = "api") -> dict[str, Any]:
    """What PyJWT makes of a request's token, at no particular time."""
    token = request.headers["authorization"].removeprefix("Bearer ")
    options: Any = {"verify_exp": False, "verify_iat": False}
    claims: dict[str, Any] = jwt.decode(token, key, algorithms=[algorithm], audience=audience, options=options)
    return claims


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("algorithm", "key", "public"),
    [
        ("HS256", SHARED, SHARED),
        ("HS384", Secret(SHARED), SHARED),
        ("HS512", SHARED, SHARED),
        ("RS256", RSA, RSA.public_key()),
        ("RS512", pem(RSA), RSA.public_key()),
        ("PS256", Secret(pem(RSA)), RSA.public_key()),
        ("ES256", P256, P256.public_key()),
        ("ES384", pem(P384), P384.public_key()),
        ("EdDSA", ED, ED.public_key()),
        ("EdDSA", pem(ED), ED.public_key()),
    ],
    ids=["HS256", "HS384", "HS512", "RS256", "RS512 pem", "PS256 pem", "ES256", "ES384 pem", "EdDSA", "EdDSA pem"],
)
async def test_others_verify_what_we_sign(algorithm: Any, key: Any, public: Any, family: FamilyModules) -> None:
    clock = VirtualClock(jump=True)
    own = {"role": "admin", "nested": {"list": [1, 2]}}
    before = copy.deepcopy(own)
    auth = JWT(
        SigningKey(key, algorithm, key_id="k7"), issuer="shop", subject="ada", audience="api", claims=own, clock=clock
    )
    async with stage(family, auth=auth, base_url=HOME) as world:
        await world.shop.users.get(1)
        claims = claims_of(world.last, public, algorithm)
        jti = claims.pop("jti")
        now = int(clock.wall())
        assert claims == {**own, "iss": "shop", "sub": "ada", "aud": "api", "iat": now, "exp": now + 300}
        assert len(jti) >= 22
        head = jwt.get_unverified_header(world.last.headers["authorization"].removeprefix("Bearer "))
        assert head == {"alg": algorithm, "typ": "JWT", "kid": "k7"}
    assert own == before


@pytest.mark.anyio
async def test_it_is_signed_once_in_a_lifetime_and_once_more_after_a_401(family: FamilyModules) -> None:
    clock = VirtualClock(jump=True)
    told: list[int] = []

    def claims() -> dict[str, Any]:
        told.append(len(told))
        return {"number": len(told)}

    key = SigningKey(SHARED, "HS256")
    auth = JWT(key, claims=claims, lifetime=100.0, clock=clock)
    async with stage(family, [ADA] * 11 + [Reply(401), ADA], auth=auth, base_url=HOME) as world:
        for _ in range(10):
            await world.shop.users.get(1)
        assert len(told) == 1
        await clock.advance(98.0)
        await world.shop.users.get(1)
        assert len(told) == 2
        await clock.advance(2.0)
        await world.shop.users.get(1)
        numbers = [claims_of(request, SHARED, "HS256", None)["number"] for request in world.requests]
        assert numbers == [1] * 10 + [2, 2, 3]
        assert len({claims_of(request, SHARED, "HS256", None)["jti"] for request in world.requests}) == 3


@pytest.mark.anyio
async def test_times_of_the_callers_own_count(family: FamilyModules) -> None:
    clock = VirtualClock(jump=True)
    ends = datetime.fromtimestamp(int(clock.wall()), UTC) + timedelta(seconds=20)
    own = {"exp": ends.astimezone(timezone(timedelta(hours=7))), "jti": "mine"}
    auth = JWT(SigningKey(SHARED, "HS256"), claims=own, backdate=60.0, clock=clock)
    async with stage(family, auth=auth, base_url=HOME) as world:
        await world.shop.users.get(1)
        began = int(clock.wall())
        assert claims_of(world.last, SHARED, "HS256", None) == {"iat": began - 60, "exp": began + 20, "jti": "mine"}
        await clock.advance(20.0)
        with pytest.raises(TokenUnavailable, match="ended already"):
            await world.shop.users.get(1)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        ("short", "HS256"),
        (SHARED[:40], "HS512"),
        (RSA, "HS256"),
        (pem(RSA), "HS256"),  # somebody's key, taken for a password
        ("-----BEGIN PRIVATE KEY-----\ns3cr3t\n-----END PRIVATE KEY-----", "RS256"),
        (P256, "RS256"),
        (P384, "ES256"),
        (RSA.public_key(), "RS256"),
        (SHARED, "none"),
        (SHARED, "RS257"),
    ],
    ids=[
        "short",
        "short of its hash",
        "no text",
        "a pem",
        "broken",
        "another kind",
        "curve",
        "public",
        "none",
        "unknown",
    ],
)
def test_a_key_that_does_not_fit_is_refused_and_not_shown(key: Any, algorithm: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        SigningKey(key, algorithm)
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "claims",
    [{"exp": datetime(2030, 1, 1)}, {"nbf": datetime(2030, 1, 1)}, {"x": object()}, {"x": {1, 2}}],  # noqa: DTZ001
    ids=["naive exp", "naive nbf", "object", "set"],
)
def test_claims_that_would_not_mean_what_they_say_are_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        SigningKey(SHARED, "HS256").sign(claims)


@pytest.mark.parametrize("settings", [{"lifetime": 0.0}, {"lifetime": 1e6}, {"backdate": -1.0}], ids=str)
def test_settings_that_cannot_be(settings: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        JWT(SigningKey(SHARED, "HS256"), **settings)  # type: ignore[arg-type]


def test_a_key_shows_nothing() -> None:
    key = SigningKey(SHARED, "HS256", key_id="k7")
    assert SHARED not in f"{key!r} {vars(key)} {vars(JWT(key, origins=HOME))}"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(key)


def test_an_assertion_is_for_one_reader_and_one_use() -> None:
    key = SigningKey(SHARED, "HS256")
    one, two = (key.assertion(issuer="i", subject="s", audience="a", now=1000.0, lifetime=60.0, azp="x") for _ in "12")
    options: Any = {"verify_exp": False, "verify_iat": False}
    read = [jwt.decode(text.reveal(), SHARED, ["HS256"], audience="a", options=options) for text in (one, two)]
    assert read[0].pop("jti") != read[1].pop("jti")
    assert read[0] == read[1] == {"azp": "x", "iss": "i", "sub": "s", "aud": "a", "iat": 1000, "exp": 1060}
