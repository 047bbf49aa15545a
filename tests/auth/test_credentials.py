"""Credentials through a real client: where they are put, where they never are, and what shows of them."""

from __future__ import annotations

import copy
import pickle
import traceback
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from holdfast import Cache, MemoryStore, Pipeline
from holdfast.auth import (
    APIKey,
    AWSSignature,
    Basic,
    Bearer,
    HMACSignature,
    HTTPSignature,
    KeyPool,
    Secret,
    Unsignable,
)
from holdfast.client import Service, by_link
from holdfast.errors import InvalidInput
from holdfast.telemetry.prometheus import PrometheusMetrics
from holdfast.testing.faulty import FaultyServer
from holdfast.testing.scripted import Answer, Fails, Reply
from tests.auth.kinds import KEY, KINDS, SECRET, Make, seen_by_a_tracker, traces
from tests.faults.wire import TRUSTS_NOBODY
from tests.scripting import stage
from tests.support import FamilyModules

pytestmark = pytest.mark.anyio

HOME = "https://api.test"


class FarSide:
    """Answers in turn, and keeps what came."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = answers
        self.requests: list[Any] = []

    def __call__(self, number: int, request: Any) -> Answer:
        self.requests.append(request)
        return self.answers[len(self.requests) - 1]


every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


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
        ("https://xn--bcher-kva.test", "https://bücher.test/", True),
        ("https://*.xn--bcher-kva.test", "https://a.xn--bcher-kva.test/", True),
        ("https://api.test", "https://api.test.other.test/", False),
        ("https://api.test", "https://api.test@other.test/", False),
        ("https://api.test", "https://api.test./", False),
        ("https://api.test", "https://api.test:8443/", False),
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
        (lambda: Bearer(KEY, origins="http://api.test"), "origins"),
        (lambda: Bearer(KEY, origins=[]), "origins"),
        (lambda: Bearer(KEY, origins="https://a.*.test"), "origins"),
        (lambda: Bearer(KEY, origins="api.test"), None),
        (lambda: Bearer(KEY, origins="ftp://api.test"), None),
        (lambda: Bearer(KEY).hook(), "origins"),
        (lambda: Bearer(Secret(f"{SECRET}\r\nX: y")), "token"),
        (lambda: Bearer(KEY, lifetime=0), "lifetime"),
        (lambda: APIKey(Secret(f"{SECRET}\n")), "key"),
        (lambda: APIKey(Secret(f"{SECRET} ")), "key"),
        (lambda: APIKey(KEY, prefix="ü"), "key"),
        (lambda: APIKey(Secret(f"{SECRET};"), cookie="a"), "key"),
        (lambda: APIKey(KEY, cookie="a", header="b"), "header"),
        (lambda: APIKey(KEY, header="X-Key: y"), "header"),
        (lambda: APIKey(KEY, cookie="a;b"), "cookie"),
        (lambda: APIKey(KEY, query=""), "query"),
        (lambda: Basic("a:b", KEY), "username"),
        (lambda: Basic(Secret(f"{SECRET}\0"), ""), "username"),
        (lambda: Basic("a", ""), "password"),
        (lambda: Basic("a", Secret(f"{SECRET}\ud800")), "password"),
        (lambda: HMACSignature("k\r\nX: y", KEY), "key_id"),
        (lambda: HMACSignature("k", KEY, parts=["body", "host"]), "parts"),  # type: ignore[list-item]
        (lambda: HMACSignature("k", KEY, parts="method"), "parts"),  # type: ignore[arg-type]
        (lambda: HMACSignature("k", KEY, algorithm="md5"), "algorithm"),  # type: ignore[arg-type]
        (lambda: HMACSignature("k", KEY, encoding="base32"), "encoding"),  # type: ignore[arg-type]
        (lambda: HMACSignature("k", KEY, timestamp="days"), "timestamp"),  # type: ignore[arg-type]
        (lambda: HMACSignature("k", KEY, secret_encoding="rot13"), "secret_encoding"),  # type: ignore[arg-type]
        (lambda: HMACSignature("k", KEY, fields={"X": "{secret}"}), "fields"),
        (lambda: HMACSignature("k", KEY, fields={"X Y": "{signature}"}), "fields"),
        (lambda: HMACSignature("k", KEY, fields={"X": "{signature}\n"}), "fields"),
        (lambda: HMACSignature("k", KEY, fields={"X": "{timestamp}{nonce}"}), "fields"),
        (lambda: HMACSignature("k", KEY, fields={"X": "{timestamp}{signature}"}), "fields"),
        (lambda: HMACSignature("k", KEY, secret_encoding="hex"), "secret"),
        (lambda: HMACSignature("k", Secret(f"{SECRET}\ud800")), "secret"),
        (lambda: HTTPSignature("k", "short"), "key"),
        (lambda: HTTPSignature("k", Secret("-----BEGIN PRIVATE KEY-----\n" + SECRET)), "key"),
        (lambda: HTTPSignature("ü", KEY), "key_id"),
        (lambda: HTTPSignature("k", KEY, components=["@status"]), "components"),
        (lambda: HTTPSignature("k", KEY, components=["date", "date"]), "components"),
        (lambda: HTTPSignature("k", KEY, label="Sig 1"), "label"),
        (lambda: HTTPSignature("k", KEY, tag="ü"), "tag"),
        (lambda: HTTPSignature("k", KEY, digest="md5"), "digest"),  # type: ignore[arg-type]
        (lambda: HTTPSignature("k", KEY, expires_after=0), "expires_after"),
        (lambda: AWSSignature("k", KEY, region="r", service="es", unsigned_payload=True), "unsigned_payload"),
        (lambda: AWSSignature("k", KEY, region="", service="es"), "region"),
        (lambda: AWSSignature("k", KEY, region="r", service="e s"), "service"),
        (
            lambda: AWSSignature("k", KEY, region="r", service="s3", session_token=Secret(f"{SECRET}\n")),
            "session_token",
        ),
        (lambda: KeyPool({"a": Bearer(KEY, origins="https://other.test")}, origins=HOME), "keys"),
        (lambda: KeyPool({"a": Bearer(KEY, origins="https://other.test")}).for_origin(HOME), "keys"),
        (lambda: Bearer(KEY, origins="https://bücher.test"), "origins"),
        (lambda: Service("http://api.test", auth=("ada", "pw")), "origins"),
        (lambda: Bearer(KEY, origins=HOME).for_origin("https://other.test"), "auth"),
        (lambda: Bearer(KEY).for_origin("http://api.test"), "origins"),
    ],
)
async def test_what_cannot_be_a_credential_is_named_and_not_shown(
    make: Callable[[], object], argument: str | None
) -> None:
    with pytest.raises(InvalidInput) as caught:
        make()
    assert caught.value.argument == argument
    assert [text for text in seen_by_a_tracker(caught.value) if traces(text)] == []


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
        texts = [
            *(text for text in seen_by_a_tracker(caught.value) if "testing/scripted" not in text),  # the far side
            *traceback.format_exception(caught.value),
            repr(caught.value),
            repr(told),
            caplog.text,
            str(world.pipeline.snapshot()),
        ]
        texts += [repr(vars(caught.value)), str(caught.value.request.url), repr(caught.value.request.headers)]
        assert [text[:3000] for text in texts if traces(text)] == []


@every_kind
async def test_a_day_of_a_service_shows_nothing(
    make: Make, family: FamilyModules, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (None, family.name, "httpcore", "holdfast"):
        caplog.set_level(1, logger=name)
    told: list[object] = []
    errors: list[Exception] = []
    store, metrics = MemoryStore(), CollectorRegistry()
    fresh = {"Cache-Control": "max-age=60", "Vary": "Authorization, X-API-Key, Cookie"}
    day = {"/ok": Reply(headers=fresh, body=b"1"), "/gone": Reply(404), "/worse": Reply(500)}
    settings: dict[str, Any] = {
        "cache": Cache(store=store),
        "listeners": [told.append, PrometheusMetrics(metrics)],
        "retry": None,
    }
    async with stage(family, lambda number, request: day.get(request.url.path, Reply(401)), **settings) as world:
        shop = Service(HOME, auth=make(), client=world.client)
        for path in ("/ok", "/ok", "/gone", "/worse", "/who"):
            outcome = await shop.GET(path, int, query={"page": 2}).outcome()
            errors += [] if outcome.ok else [outcome.error]
        texts = [repr(told), caplog.text, generate_latest(metrics).decode(), str(world.pipeline.describe())]
        texts += [str(world.pipeline.snapshot()), repr(shop), repr(vars(shop)), shop.GET("/ok", int).as_curl()]
        texts += [repr(entry) async for entry in store.entries()]
        texts += [text for error in errors for text in (*traceback.format_exception(error), repr(vars(error)))]
        texts += [pickle.dumps(error).decode("latin-1") for error in errors]
    assert len(errors) == 3
    assert len(store) == 1
    assert [text[:3000] for text in texts if traces(text)] == []


async def test_a_token_that_is_changed_under_a_hundred_calls_is_read_once(family: FamilyModules) -> None:
    reads: list[str] = []
    sent: Counter[str] = Counter()

    def read() -> str:
        reads.append("new" if sent else "old")
        return reads[-1]

    def answer(number: int, request: Any) -> Reply:
        token = request.headers["authorization"]
        sent[token] += 1
        good = token == "Bearer new" or sent[token] <= 30  # the old one is accepted for a while
        return Reply(200 if good else 401, delay=0.1)

    async with stage(family, answer, retry=None) as world:
        auth = Bearer(read, clock=world.clock)
        shop = Service(HOME, auth=auth, client=world.client)
        await auth.source.get()
        await world.clock.advance(5.0)
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(shop.GET("/", None).value)
    assert reads == ["old", "new"]
    assert sent["Bearer new"] == 70
    assert sent["Bearer old"] == 100  # so no call was made more than twice


async def test_a_key_that_is_changed_under_a_hundred_calls_moves_them_to_the_new_one(family: FamilyModules) -> None:
    sent: Counter[str] = Counter()

    def answer(number: int, request: Any) -> Reply:
        key = request.headers["x-api-key"]
        sent[key] += 1
        return Reply(200 if key == "new" or sent[key] <= 30 else 401, delay=0.1)

    async with stage(family, answer, retry=None) as world:
        pool = KeyPool({"old": APIKey("old"), "new": APIKey("new")}, weights={"old": 1000}, clock=world.clock)
        shop = Service(HOME, auth=pool, client=world.client)
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(shop.GET("/", None).value)
    assert sent["new"] >= 70
    assert sent.total() <= 170  # none more than twice
    assert pool.health() == {"old": "turned down, for 299.9 s", "new": "usable"}  # once, whoever else was told so


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/latest/meta-data",
        "//169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/",
        "http://localhost:9200/",
        "file:///etc/passwd",
        "ftp://api.test/",
        "javascript:alert(1)",
        "data:,x",
        "https://api.test:8443/",
        "https://ada:pw@api.test/",
        "https://api.test\\@other.test/",
        "http://",
    ],
)
async def test_a_redirect_elsewhere_is_refused_by_default(location: str, family: FamilyModules) -> None:
    moved = Reply(302, headers={"Location": location})
    async with stage(family, far := FarSide(moved, moved), retry=None) as world:
        with pytest.raises(family.http.HTTPError) as caught:
            await Service(HOME, auth=Bearer(KEY), client=world.client).GET("/things", None)
        assert len(far.requests) == 1
        with suppress(family.http.InvalidURL):  # so httpx itself, which reads what it is not to follow
            assert (await world.client.get(f"{HOME}/things")).status_code == 302
        assert len(far.requests) == 2
    assert [text for text in (str(caught.value), repr(vars(caught.value))) if "passwd" in text or "meta" in text] == []


async def test_what_the_environment_says_of_proxies_and_logins_is_left_alone(
    family: FamilyModules, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text(f"default login ada password {SECRET}")
    with FaultyServer() as home, FaultyServer() as proxy:
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url.replace("://", f"://ada:{SECRET}@"))
        async with Service(home.url, family=family.name) as shop:  # type: ignore[arg-type]
            await shop.GET("/", None)
        async with family.http.AsyncClient(transport=family.holdfast.ResilientTransport()) as client:
            await client.get(home.url)
        assert (home.count(), proxy.count()) == (2, 0)
        names = {name.lower() for request in home.requests for name, _ in request.headers}
        assert not names & {b"authorization", b"proxy-authorization"}


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


@pytest.mark.parametrize("served", [False, True], ids=["hook", "service"])
@pytest.mark.parametrize("kind", ["hmac", "http signature", "aws", "pool"])
async def test_a_stream_that_would_have_to_be_signed_is_refused_by_name(
    kind: str, served: bool, family: FamilyModules
) -> None:
    async def body() -> Any:
        yield b"piece"

    make = KINDS["hmac" if kind == "pool" else kind]
    credential = KeyPool({"a": make()}, origins=HOME) if kind == "pool" else make(origins=HOME)
    async with stage(family, far := FarSide(Reply()), hooks=[] if served else [credential.hook()]) as world:
        shop = Service(HOME, auth=credential if served else None, client=world.client)
        with pytest.raises(Unsignable, match="stream") as caught:
            await shop.POST("/things", None, content=body())
        assert isinstance(caught.value, family.http.TransportError)
        assert not far.requests
    frames = [text for text in seen_by_a_tracker(caught.value) if "/holdfast/" in text]
    assert [text for text in frames if traces(text)] == []


async def test_a_key_that_a_server_copies_into_its_links_is_sent_once_and_shown_nowhere(
    family: FamilyModules, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    targets: list[str] = []

    def far_side(number: int, request: Any) -> Reply:
        targets.append(request.url.raw_path.decode())
        again = f"{HOME}{targets[-1]}&page={number + 1}"
        if number == 2:
            return Reply(307, headers={"Location": again})
        return Reply(body=b"[1]", headers={"Link": f'<{again}>; rel="next"'} if number < 4 else {})

    async with stage(family, far_side) as world:
        shop = Service(HOME, auth=KINDS["query"](), client=world.client)
        call = shop.GET("/things", list[int], query={"q": "a b"})
        pages = [page async for page in call.pages(by_link()).pages()]
        followed = call.following(f"{HOME}{targets[0]}")
        url = str(followed.request().url)
    own = f"api_key={SECRET}"
    assert targets == [
        "/things?q=a%20b" + more + f"&{own}" for more in ("", "&page=2", "&page=2&page=3", "&page=2&page=3&page=4")
    ]
    shown = [caplog.text, repr(followed), url, *(f"{page.next} {page.token} {page.reply.url}" for page in pages)]
    assert [text for text in shown if traces(text)] == []


async def test_a_key_takes_the_place_of_an_older_one(family: FamilyModules) -> None:
    hooks = [KINDS[kind](origins=HOME).hook() for kind in ("cookie", "query")]
    async with stage(family, far := FarSide(Reply()), hooks=hooks) as world:
        headers = {"Cookie": "session=old; theme=dark; sessions=2"}
        await world.client.get(f"{HOME}/?api_key=old&q=a%20b&api_keys=2", headers=headers)
    sent = far.requests[0]
    assert sent.headers["cookie"] == f"theme=dark; sessions=2; session={SECRET}"
    assert sent.url.raw_path.decode() == f"/?q=a%20b&api_keys=2&api_key={SECRET}"


async def test_the_library_under_http2_logs_no_key(family: FamilyModules, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    caplog.set_level(0, logger="hpack")
    with FaultyServer(http2=True) as server:
        pipeline = Pipeline(hooks=[KINDS["own header"](origins=server.url).hook()])
        transport = family.holdfast.ResilientTransport(pipeline, http1=False, http2=True, verify=TRUSTS_NOBODY)
        async with family.http.AsyncClient(transport=transport) as client:
            await client.get(f"{server.url}/")
        assert server.requests[0].header("x-token") == f"Token {SECRET}"
    assert not traces(caplog.text)


async def test_two_users_of_one_private_cache_never_see_each_other(family: FamilyModules) -> None:
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
