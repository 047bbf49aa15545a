"""A long body is sent from where it is, at constant memory, and again where that can be done."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from email.parser import BytesParser
from email.policy import HTTP
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from holdfast import DeadlineExceeded, Pipeline
from holdfast.client import Upload
from holdfast.errors import InvalidInput, Unavailable
from holdfast.testing import VirtualClock
from holdfast.testing.faulty import Answer, FaultyServer, Never, OnHead
from holdfast.testing.faulty.exchange import Behaviour
from holdfast.testing.faulty.ledger import Received
from tests.client.api import Shop
from tests.faults.wire import HALF_READ
from tests.support import FamilyModules

pytestmark = [pytest.mark.anyio, HALF_READ]

BODY = bytes(range(256)) * 4096  # 1 MiB


class Origin:
    """Keeps what came, and says 503 so many times before."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.bodies: list[bytes] = []
        self.fields: list[dict[str, str]] = []

    def __call__(self, request: Received) -> Behaviour:
        self.bodies.append(request.body)
        self.fields.append({name.decode().lower(): value.decode() for name, value in request.headers})
        self.refusals -= 1
        return Answer(503, headers={"retry-after": "0"}) if self.refusals >= 0 else Answer(204)


@pytest.fixture
async def scene(family: FamilyModules) -> Any:
    async with FaultyServer() as server, Shop(server.url, family=family.name) as shop:  # type: ignore[arg-type]
        origin = Origin()
        server.on("/file", origin)
        yield shop, origin


async def flood() -> AsyncGenerator[bytes, None]:
    while True:  # more than any socket keeps
        yield BODY


async def chunks() -> AsyncIterator[bytes]:
    for start in range(0, len(BODY), 100_000):
        yield BODY[start : start + 100_000]


async def test_a_file_is_sent_with_its_length_and_again(scene: tuple[Shop, Origin], tmp_path: Path) -> None:
    shop, origin = scene
    origin.refusals = 2
    path = tmp_path / "disk.img"
    path.write_bytes(BODY)
    seen: list[tuple[int, int | None]] = []
    upload = Upload(path, progress=lambda done, total: seen.append((done, total)))
    reply = await shop.PUT("/file", content=upload).reply()
    assert reply.attempts == 3
    assert origin.bodies == [BODY] * 3
    assert origin.fields[0]["content-length"] == str(len(BODY))
    assert "transfer-encoding" not in origin.fields[0]
    once = [(done, len(BODY)) for done in range(256 * 1024, len(BODY) + 1, 256 * 1024)]
    assert seen == once * 3


async def test_a_stream_is_sent_once(scene: tuple[Shop, Origin]) -> None:
    shop, origin = scene
    origin.refusals = 1
    seen: list[tuple[int, int | None]] = []
    call = shop.PUT("/file", content=Upload(chunks(), progress=lambda done, total: seen.append((done, total))))
    with pytest.raises(Unavailable) as raised:
        await call
    assert raised.value.attempts == 1
    assert origin.bodies == [BODY]
    assert origin.fields[0]["transfer-encoding"] == "chunked"
    assert seen[0] == (100_000, None)
    assert seen[-1] == (len(BODY), None)
    with pytest.raises(InvalidInput, match="sent before"):
        await call


async def test_a_stream_whose_size_is_known_has_a_length(scene: tuple[Shop, Origin]) -> None:
    shop, origin = scene
    await shop.PUT("/file", content=Upload(chunks(), size=len(BODY)))
    assert origin.bodies == [BODY]
    assert origin.fields[0]["content-length"] == str(len(BODY))


async def test_a_post_of_a_file_is_sent_again_with_its_key(scene: tuple[Shop, Origin], tmp_path: Path) -> None:
    shop, origin = scene
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    origin.refusals = 1
    with pytest.raises(Unavailable):
        await shop.POST("/file", content=Upload(path)).using(retry=None)
    origin.refusals = 1
    await shop.POST("/file", content=Upload(path), idempotent="key")
    assert origin.bodies == [b"abc"] * 3
    assert [fields.get("idempotency-key") is None for fields in origin.fields] == [True, False, False]


def form_in(origin: Origin, number: int) -> list[tuple[Any, ...]]:
    """Name, filename, type and content of each part, as a parser of somebody else's reads them."""
    head = f"Content-Type: {origin.fields[number]['content-type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + origin.bodies[number])
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_content_type(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    ]


async def test_a_form_with_files_is_counted_as_it_is_sent_and_again(scene: tuple[Shop, Origin], tmp_path: Path) -> None:
    shop, origin = scene
    origin.refusals = 1
    path = tmp_path / 'a "disk".png'
    path.write_bytes(BODY)
    seen: list[tuple[int, int | None]] = []
    files = {"disk": Upload(path, progress=lambda done, total: seen.append((done, total))), "note": ("n.txt", "Ada")}
    call = shop.PUT("/file", files=files, form={"tag": ["a", "b"], "size": 7, "none": None})
    assert call.as_curl().endswith("/file -F tag=a -F tag=b -F size=7 -F disk=@... -F note=@...")
    assert (await call.reply()).attempts == 2
    assert origin.bodies[0] == origin.bodies[1]
    assert origin.fields[0]["content-length"] == str(len(origin.bodies[0]))
    assert form_in(origin, 1) == [
        ("tag", None, "text/plain", b"a"),
        ("tag", None, "text/plain", b"b"),
        ("size", None, "text/plain", b"7"),
        ("disk", "a %22disk%22.png", "image/png", BODY),
        ("note", "n.txt", "text/plain", b"Ada"),
    ]
    assert len(seen) == 8
    assert seen[-1] == (len(BODY), len(BODY))


class Renewed:
    """A credential whose first proof is turned down."""

    identity = "ada"

    async def sign(self, request: Any) -> None:
        """As it is."""

    async def rejected(self, proof: object, challenge: str | None) -> bool:
        return True


@pytest.mark.parametrize("form", [False, True], ids=["file", "form"])
async def test_a_file_is_sent_again_with_a_new_token(family: FamilyModules, tmp_path: Path, form: bool) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(BODY)
    upload = Upload(path)
    async with FaultyServer() as server, Shop(server.url, family=family.name, auth=Renewed()) as shop:  # type: ignore[arg-type]
        server.on("/file", Answer(401), Answer(204))
        await (shop.PUT("/file", files={"disk": upload}) if form else shop.PUT("/file", content=upload))
        first, second = (request.body for request in server.requests)
        assert first == second
        assert BODY in first


async def test_a_form_with_a_stream_is_sent_once(scene: tuple[Shop, Origin]) -> None:
    shop, origin = scene
    origin.refusals = 1
    with pytest.raises(Unavailable):
        await shop.PUT("/file", files=[("disk", ("x", Upload(chunks()), "image/x-raw", {"X-Part": "1"}))])
    assert origin.fields[0]["transfer-encoding"] == "chunked"
    assert form_in(origin, 0) == [("disk", "x", "image/x-raw", BODY)]
    with pytest.raises(InvalidInput):
        await shop.PUT("/file", files={"disk": Upload("a"), "other": BytesIO()})
    with pytest.raises(InvalidInput):
        await shop.PUT("/file", files={"disk": ("a", Upload("a"), "text/plain\r\nX-Evil: 1")})


async def test_a_file_that_is_not_there_or_changes_is_an_error(scene: tuple[Shop, Origin], tmp_path: Path) -> None:
    shop, origin = scene
    with pytest.raises(FileNotFoundError):
        await shop.PUT("/file", content=Upload(tmp_path / "none"))
    path = tmp_path / "log"
    path.write_bytes(BODY)

    def grow(done: int, total: int | None) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    with pytest.raises(OSError, match="changed"):
        await shop.PUT("/file", content=Upload(path, progress=grow))
    assert origin.bodies == []


async def trickle(clock: VirtualClock, pieces: int) -> AsyncIterator[bytes]:
    """A piece each second."""
    for _ in range(pieces):
        await clock.advance(1.0)
        yield b"x" * 1000


async def test_an_upload_that_makes_progress_takes_its_time_and_one_that_stands_still_does_not(
    family: FamilyModules,
) -> None:
    def put(shop: Shop, path: str, source: Any, timeout: float, deadline: float | None = None) -> Any:
        return shop.PUT(path, content=Upload(source)).using(attempt_timeout=timeout, retry=None, deadline=deadline)

    clock = VirtualClock()  # the sockets' own timeouts are in real time
    pipeline = Pipeline(clock=clock, deadline=None)
    async with FaultyServer() as server, Shop(server.url, family=family.name, pipeline=pipeline) as shop:  # type: ignore[arg-type]
        server.on("/file", Answer(204))
        server.on("/unread", OnHead(Never()))
        server.on("/unanswered", Never())
        await put(shop, "/file", trickle(clock, 60), 20.0)
        assert len(server.requests[-1].body) == 60_000
        with pytest.raises(DeadlineExceeded):
            await put(shop, "/file", trickle(clock, 1000), 20.0, deadline=30.0)
        stalled = family.http.ConnectTimeout  # what a machine that stalls makes of it
        async with aclosing(flood()) as endless:
            with pytest.raises((family.http.WriteTimeout, stalled)):
                await put(shop, "/unread", endless, 0.4)
        with pytest.raises((family.http.ReadTimeout, stalled)):
            await put(shop, "/unanswered", chunks(), 0.4)


@pytest.mark.parametrize("bad", [{"source": "a", "size": 1}, {"source": "a", "block": 0}], ids=str)
def test_settings_that_cannot_be_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Upload(**bad)
