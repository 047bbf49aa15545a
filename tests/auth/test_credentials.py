"""Credentials through a real client: where they are put, where they never are, and what shows of them."""

from __future__ import annotations

import copy
import pickle
import traceback
from base64 import b64encode
from collections.abc import Callable
from itertools import takewhile
from typing import Any

import pytest

from holdfast.auth import (
    JWT,
    APIKey,
    AWSSignature,
    Basic,
    Bearer,
    HMACSignature,
    HTTPSignature,
    InsecureOrigin,
    OAuth2,
    OAuthClient,
    OriginBound,
    RefreshToken,
    Secret,
    SigningKey,
    Token,
    Unsignable,
)
from holdfast.errors import InvalidInput
from holdfast.testing.scripted import Answer, Fails, Reply
from tests.scripting import stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

SECRET = "s3cr3t-value-of-at-least-32-bytes"
HOME = "https://api.test"

Make = Callable[..., OriginBound]


def logged_in(**settings: Any) -> OAuth2:
    """With a token at hand, so that nobody is asked for one."""
    auth = OAuth2(OAuthClient("worker", SECRET, server="https://id.test"), RefreshToken(SECRET), **settings)
    auth.source._adopt(Token(Secret(SECRET), refresh_token=Secret(SECRET)), issued=0.0)
    return auth


KINDS: dict[str, Make] = {
    "header": lambda **settings: APIKey(SECRET, **settings),
    "own header": lambda **settings: APIKey(SECRET, header="X-Token", prefix="Token ", **settings),
    "query": lambda **settings: APIKey(SECRET, query="api_key", **settings),
    "cookie": lambda **settings: APIKey(SECRET, cookie="session", **settings),
    "basic": lambda **settings: Basic("ada", SECRET, **settings),
    "bearer": lambda **settings: Bearer(SECRET, **settings),
    "bearer of a function": lambda **settings: Bearer(lambda: SECRET, **settings),
    "jwt": lambda **settings: JWT(SigningKey(SECRET, "HS256"), claims={"note": SECRET}, **settings),
    "oauth": logged_in,
    "hmac": lambda **settings: HMACSignature("k1", SECRET, **settings),
    "http signature": lambda **settings: HTTPSignature("k1", SECRET, **settings),
    "aws": lambda **settings: AWSSignature("AKID", SECRET, region="us-east-1", service="es", **settings),
}


class FarSide:
    """Answers in turn, and keeps what came."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = answers
        self.requests: list[Any] = []

    def __call__(self, number: int, request: Any) -> Answer:
        self.requests.append(request)
        return self.answers[len(self.requests) - 1]


every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def traces(text: str) -> bool:
    """Whether a text tells the secret, in any of the spellings that go over a wire."""
    return SECRET in text or b64encode(f"ada:{SECRET}".encode()).decode() in text


def wire(request: Any) -> str:
    """All that goes out, as text."""
    return f"{request.url} {[*request.headers.raw]!r}"


@pytest.mark.parametrize(
    ("make", "headers", "target"),
    [
        (KINDS["header"], {"x-api-key": SECRET}, "/things?page=2"),
        (KINDS["own header"], {"x-token": f"Token {SECRET}"}, "/things?page=2"),
        (KINDS["query"], {}, f"/things?page=2&api_key={SECRET}"),
        (KINDS["cookie"], {"cookie": f"theme=dark; session={SECRET}"}, "/things?page=2"),
        (
            KINDS["basic"],
            {"authorization": f"Basic {b64encode(f'ada:{SECRET}'.encode()).decode()}"},
            "/things?page=2",
        ),
        (KINDS["bearer"], {"authorization": f"Bearer {SECRET}"}, "/things?page=2"),
        (KINDS["bearer of a function"], {"authorization": f"Bearer {SECRET}"}, "/things?page=2"),
    ],
    ids=["header", "own header", "query", "cookie", "basic", "bearer", "bearer of a function"],
)
async def test_a_credential_is_put_where_it_belongs_on_the_attempt_alone(
    make: Make, headers: dict[str, str], target: str, family: FamilyModules
) -> None:
    hooks = [make(origins=HOME).hook()]
    async with stage(family, far := FarSide(Reply()), hooks=hooks) as world:
        response = await world.client.get(f"{HOME}/things?page=2", headers={"Cookie": "theme=dark"})
        sent = far.requests[0]
        assert {name: sent.headers[name] for name in headers} == headers
        assert sent.url.raw_path.decode() == target
        assert not traces(wire(response.request))
        assert not traces(f"{response.url} {response!r} {response.request!r} {world.pipeline.snapshot()}")


@every_kind
@pytest.mark.parametrize(
    "url",
    [
        "https://other.test/things",
        "https://sub.api.test/things",
        "https://api.test.other.test/things",
        "https://api.test:8443/things",
        "https://api.test@other.test/things",
        "http://other.test/things",
    ],
)
async def test_no_other_origin_gets_it(make: Make, url: str, family: FamilyModules) -> None:
    credential = make(origins=HOME)
    async with stage(family, far := FarSide(Reply()), hooks=[credential.hook()]) as world:
        owned = dict.fromkeys(credential.owned, SECRET)
        await world.client.get(url, headers=owned)  # as a redirect copies them
        sent = far.requests[0]
        assert not any(name in sent.headers and name != "authorization" for name in credential.owned)
        assert not traces(wire(sent))


@every_kind
async def test_a_redirect_takes_it_nowhere(make: Make, family: FamilyModules) -> None:
    moved = Reply(302, headers={"Location": "https://other.test/elsewhere"})
    async with stage(family, far := FarSide(moved, Reply()), hooks=[make(origins=HOME).hook()]) as world:
        await world.client.get(f"{HOME}/things", follow_redirects=True)
        first, second = far.requests
        assert wire(first) != wire(second)
        assert not traces(wire(second))
        assert "signature" not in wire(second).lower()


@every_kind
async def test_a_redirect_to_clear_text_is_not_followed(make: Make, family: FamilyModules) -> None:
    moved = Reply(302, headers={"Location": "http://api.test/things"})
    async with stage(family, far := FarSide(moved, Reply()), hooks=[make(origins=HOME).hook()]) as world:
        with pytest.raises(InsecureOrigin, match="in clear") as caught:
            await world.client.get(f"{HOME}/things", follow_redirects=True)
        assert isinstance(caught.value, family.http.TransportError)
        assert len(far.requests) == 1


@pytest.mark.parametrize(
    ("origins", "url", "sent"),
    [
        ("https://*.api.test", "https://eu.api.test/", True),
        ("https://*.api.test", "https://a.b.api.test/", True),
        ("https://*.api.test", "https://api.test/", False),
        ("https://*.api.test", "https://evilapi.test/", False),
        ("https://*.api.test:8443", "https://eu.api.test/", False),
        ("https://*.api.test:8443", "https://eu.api.test:8443/", True),
        (["https://a.test", "https://b.test:444"], "https://b.test:444/", True),
        (["https://a.test", "https://b.test:444"], "https://b.test/", False),
        ("https://a.test:443", "https://A.test/", True),
        ("https://a.test/with/a/path", "https://a.test/other", True),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/", True),
        ("http://localhost", "http://localhost/", True),
        ("http://[::1]:80", "http://[::1]/", True),
    ],
)
async def test_origins_are_exact_unless_told_otherwise(
    origins: Any, url: str, sent: bool, family: FamilyModules
) -> None:
    async with stage(family, far := FarSide(Reply()), hooks=[Bearer(SECRET, origins=origins).hook()]) as world:
        await world.client.get(url)
        assert traces(wire(far.requests[0])) is sent


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: Bearer(SECRET, origins="http://api.test"), "origins"),
        (lambda: Bearer(SECRET, origins=[]), "origins"),
        (lambda: Bearer(SECRET, origins="https://a.*.test"), "origins"),
        (lambda: Bearer(SECRET, origins="api.test"), None),
        (lambda: Bearer(SECRET, origins="ftp://api.test"), None),
        (lambda: Bearer(SECRET).hook(), "origins"),
        (lambda: Bearer(f"{SECRET}\r\nX: y"), "token"),
        (lambda: Bearer(SECRET, lifetime=0), "lifetime"),
        (lambda: APIKey(f"{SECRET}\n"), "key"),
        (lambda: APIKey(f"{SECRET};", cookie="a"), "key"),
        (lambda: APIKey(SECRET, cookie="a", header="b"), "header"),
        (lambda: Basic("a:b", SECRET), "username"),
        (lambda: HMACSignature("k", SECRET, parts=["body", "host"]), "parts"),  # type: ignore[list-item]
        (lambda: HMACSignature("k", SECRET, fields={"X": "{secret}"}), "fields"),
        (lambda: HMACSignature("k", SECRET, secret_encoding="hex"), "secret"),
        (lambda: HTTPSignature("k", "short"), "key"),
        (lambda: HTTPSignature("k", "-----BEGIN PRIVATE KEY-----\n" + SECRET), "key"),
        (lambda: AWSSignature("k", SECRET, region="r", service="es", unsigned_payload=True), "unsigned_payload"),
        (lambda: Bearer(SECRET, origins=HOME).for_origin("https://other.test"), "auth"),
        (lambda: Bearer(SECRET).for_origin("http://api.test"), "origins"),
    ],
)
async def test_what_cannot_be_a_credential_is_named_and_not_shown(
    make: Callable[[], object], argument: str | None
) -> None:
    with pytest.raises(InvalidInput) as caught:
        make()
    assert caught.value.argument == argument
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@every_kind
def test_a_credential_shows_nothing(make: Make) -> None:
    credential = make(origins=HOME)
    shown = [
        repr(credential),
        str(credential),
        credential.identity,
        repr(vars(credential)),
        repr(copy.copy(credential)),
    ]
    assert not any(traces(text) for text in shown)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(credential)


@every_kind
async def test_a_failing_call_shows_nothing(
    make: Make, family: FamilyModules, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (None, family.name, "httpcore", "holdfast"):
        caplog.set_level(1, logger=name)
    told: list[object] = []
    down = [Fails("ConnectError")] * 3
    settings: dict[str, Any] = {"hooks": [make(origins=HOME).hook()], "listeners": [told.append]}
    async with stage(family, down, **settings) as world:
        with pytest.raises(family.http.TransportError) as caught:
            await world.client.get(f"{HOME}/things?page=2")
        # Down to where it is put on: below, the attempt itself is among the locals of the HTTP library.
        told_frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        frames = [
            str(frame.locals) for frame in takewhile(lambda frame: "hooks" not in frame.filename, told_frames.stack)
        ]
        assert len(frames) > 5
        texts = [
            *frames,
            *traceback.format_exception(caught.value),
            repr(caught.value),
            repr(told),
            caplog.text,
            str(world.pipeline.snapshot()),
        ]
        texts += [repr(vars(caught.value)), str(caught.value.request.url), repr(caught.value.request.headers)]
        assert [text[:3000] for text in texts if traces(text)] == []


def test_a_secret_is_compared_and_shown_as_a_secret() -> None:
    secret = Secret(SECRET)
    assert (secret == Secret(SECRET), secret == Secret("other"), secret == SECRET) == (True, False, False)
    assert len({secret, Secret(SECRET)}) == 1
    assert [repr(secret), str(secret), f"{secret:>5}", str.format("{}", secret)] == [
        "Secret('***')",
        "***",
        "  ***",
        "***",
    ]
    assert copy.deepcopy({"a": secret})["a"] is secret
    assert not hasattr(secret, "__dict__")
    with pytest.raises(ValueError, match="empty"):
        Secret("")
    with pytest.raises(TypeError, match="a str, got bytes"):
        Secret(b"x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)


@pytest.mark.parametrize("kind", ["hmac", "http signature", "aws"])
async def test_each_attempt_is_signed_afresh(kind: str, family: FamilyModules) -> None:
    async with stage(
        family, far := FarSide(Reply(503), Reply(503), Reply()), hooks=[KINDS[kind](origins=HOME).hook()]
    ) as world:
        await world.client.get(f"{HOME}/things?page=2")
        signed = [wire(request) for request in far.requests]
        assert len(signed) == 3
        if kind != "aws":  # whose time has whole seconds, and no nonce beside it
            assert len(set(signed)) == 3


async def test_an_hmac_can_be_checked_from_what_was_sent(family: FamilyModules) -> None:
    import hashlib
    import hmac

    async with stage(
        family, far := FarSide(Reply()), hooks=[HMACSignature("k1", SECRET, origins=HOME).hook()]
    ) as world:
        await world.client.post(f"{HOME}/things?b=2&a=1", content=b"body")
        sent = far.requests[0]
        text = "\n".join(
            (
                "POST",
                "api.test",
                "/things",
                "b=2&a=1",
                hashlib.sha256(b"body").hexdigest(),
                sent.headers["X-Timestamp"],
                sent.headers["X-Nonce"],
            )
        )
        mac = hmac.new(SECRET.encode(), text.encode(), "sha256").hexdigest()
        assert sent.headers["authorization"] == f"HMAC-SHA256 k1:{mac}"


@pytest.mark.parametrize("algorithm", ["ed25519", "rsa-pss-sha512", "ecdsa-p256-sha256", "ecdsa-p384-sha384"])
async def test_an_http_signature_verifies_with_the_public_key(algorithm: str, family: FamilyModules) -> None:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

    keys: dict[str, Callable[[], Any]] = {
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "rsa-pss-sha512": lambda: rsa.generate_private_key(65537, 2048),
        "ecdsa-p256-sha256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "ecdsa-p384-sha384": lambda: ec.generate_private_key(ec.SECP384R1()),
    }
    key = keys[algorithm]()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    async with stage(
        family, far := FarSide(Reply()), hooks=[HTTPSignature("k1", pem, origins=HOME, tag="t").hook()]
    ) as world:
        await world.client.post(f"{HOME}/things?a=1", content=b"body")
        sent = far.requests[0]
    said = sent.headers["signature-input"].removeprefix("sig1=")
    assert f'keyid="k1";alg="{algorithm}"' in said
    base = "\n".join(
        (
            '"@method": POST',
            '"@authority": api.test',
            '"@path": /things',
            '"@query": ?a=1',
            f'"content-digest": {sent.headers["content-digest"]}',
            f'"@signature-params": {said}',
        )
    ).encode()
    from base64 import b64decode

    signature = b64decode(sent.headers["signature"].removeprefix("sig1=:").removesuffix(":"))
    public = key.public_key()
    match algorithm:  # raises InvalidSignature
        case "ed25519":
            public.verify(signature, base)
        case "rsa-pss-sha512":
            public.verify(signature, base, padding.PSS(padding.MGF1(hashes.SHA512()), 64), hashes.SHA512())
        case _:
            half = len(signature) // 2
            der = utils.encode_dss_signature(
                int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
            )
            public.verify(der, base, ec.ECDSA(hashes.SHA256() if half == 32 else hashes.SHA384()))


@pytest.mark.parametrize("kind", ["hmac", "http signature", "aws"])
async def test_a_stream_that_would_have_to_be_signed_is_refused_by_name(kind: str, family: FamilyModules) -> None:
    async def body() -> Any:
        yield b"piece"

    async with stage(family, far := FarSide(Reply()), hooks=[KINDS[kind](origins=HOME).hook()]) as world:
        with pytest.raises(Unsignable, match="stream") as caught:
            await world.client.post(f"{HOME}/things", content=body())
        assert isinstance(caught.value, family.http.TransportError)
        assert not far.requests


async def test_two_users_of_one_private_cache_never_see_each_other(family: FamilyModules) -> None:
    from holdfast import Cache

    asked: list[str] = []

    def greet(number: int, request: Any) -> Reply:
        asked.append(request.headers["x-user"])
        return Reply(headers={"Cache-Control": "max-age=60"}, body=request.headers["x-api-key"].encode())

    users = {name: APIKey(f"{name}-{SECRET}", origins=HOME) for name in ("ada", "bob")}

    def sign(request: Any, attempt: int) -> Any:
        return users[request.headers["x-user"]].hook()(request, attempt)

    async with stage(family, greet, hooks=[sign], cache=Cache()) as world:
        for name in ("ada", "bob", "ada", "bob"):
            options = {"identity": users[name].identity}
            response = await world.client.get(f"{HOME}/me", headers={"X-User": name}, extensions={"holdfast": options})
            assert response.text == f"{name}-{SECRET}"
        assert asked == ["ada", "bob"]
