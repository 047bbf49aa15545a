"""Each kind of credential, made of one secret; and whether a text tells it."""

from __future__ import annotations

import traceback
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from holdfast.auth import (
    JWT,
    APIKey,
    AWSSignature,
    Basic,
    Bearer,
    HMACSignature,
    HTTPSignature,
    KeyPool,
    LoginToken,
    OAuth2,
    OAuthClient,
    OriginBound,
    RefreshToken,
    Secret,
    SigningKey,
    Token,
)

SECRET = "s3cr3t-value-of-at-least-32-bytes"
KEY = Secret(SECRET)

Make: TypeAlias = Callable[..., OriginBound]


def logged_in(**settings: Any) -> OAuth2:
    """With a token at hand, so that nobody is asked for one."""
    auth = OAuth2(OAuthClient("worker", KEY, server="https://id.test"), RefreshToken(KEY), **settings)
    auth.source._adopt(Token(KEY, refresh_token=KEY), issued=0.0)
    return auth


async def provided() -> str:
    return SECRET


async def login() -> dict[str, str]:
    return {"accessToken": SECRET}


KINDS: Mapping[str, Make] = {
    "header": lambda **settings: APIKey(KEY, **settings),
    "query": lambda **settings: APIKey(KEY, query="api_key", **settings),
    "own header": lambda **settings: APIKey(KEY, header="X-Token", prefix="Token ", **settings),
    "cookie": lambda **settings: APIKey(KEY, cookie="session", **settings),
    "basic": lambda **settings: Basic("ada", KEY, **settings),
    "key as name": lambda **settings: Basic(KEY, "", **settings),
    "bearer": lambda **settings: Bearer(KEY, **settings),
    "bearer of a function": lambda **settings: Bearer(lambda: SECRET, **settings),
    "bearer of an async function": lambda **settings: Bearer(provided, **settings),
    "jwt": lambda **settings: JWT(SigningKey(KEY, "HS256"), claims={"note": "n"}, **settings),
    "oauth": logged_in,
    "login": lambda **settings: LoginToken(login=login, header="X-Session", prefix="", **settings),
    "hmac": lambda **settings: HMACSignature("k1", KEY, **settings),
    "http signature": lambda **settings: HTTPSignature("k1", KEY, **settings),
    "aws": lambda **settings: AWSSignature("AKID", KEY, region="r", service="es", session_token=KEY, **settings),
    "pool": lambda **settings: KeyPool({"a": APIKey(KEY, query="api_key"), "b": Bearer(KEY)}, **settings),
}

SPELLINGS = (SECRET, *(b64encode(pair.encode()).decode() for pair in (f"ada:{SECRET}", f"{SECRET}:")))


def traces(text: str) -> bool:
    """Whether a text tells the secret, in any of the spellings that go over a wire."""
    return any(spelling in text for spelling in SPELLINGS)


def _safely_spelled(value: object) -> str:
    """As trackers do, since an object that its ``__init__`` refused may be too little of one for its repr."""
    try:
        return repr(value)
    except Exception:
        return "<half made>"


def seen_by_a_tracker(error: BaseException) -> list[str]:
    """What an error tracker sends home: texts, attributes and the locals of each frame, of causes and contexts too."""
    texts: list[str] = []
    following: BaseException | None = error
    while following is not None:
        for frame, line in traceback.walk_tb(following.__traceback__):
            found = {name: _safely_spelled(value) for name, value in frame.f_locals.items()}
            texts.append(f"{frame.f_code.co_filename}:{line} {found}")
        texts += [repr(following), str(following), repr(vars(following)), repr(getattr(following, "object", None))]
        following = following.__cause__ or following.__context__
    return texts
