"""A download is a file, whole or not at all, and goes on where it was."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from holdfast import BodyTooLarge, DeadlineExceeded, Pipeline
from holdfast.client import Call, Download
from holdfast.errors import DigestMismatch, InvalidInput, NotFound, Unavailable
from holdfast.testing import VirtualClock
from holdfast.testing.faulty import Answer, Drip, FaultyServer, Raw, Stream
from holdfast.testing.faulty.exchange import Behaviour
from holdfast.testing.faulty.ledger import Received
from holdfast.testing.scripted import Fails, Reply
from tests.client.api import Shop, stage
from tests.faults.wire import HALF_READ
from tests.support import FamilyModules

pytestmark = [pytest.mark.anyio, HALF_READ]

BODY = bytes(range(256)) * 4096  # 1 MiB
DIGEST = f"sha-256=:{b64encode(hashlib.sha256(BODY).digest()).decode()}:"


def field_of(request: Received, name: str) -> str | None:
    return {key.decode().lower(): value.decode() for key, value in request.headers}.get(name)


@dataclass
class Origin:
    """A server of one file that breaks off after ``cut`` bytes, as often as there are any of them."""

    body: bytes = BODY
    etag: str | None = '"v1"'
    headers: dict[str, str] = field(default_factory=dict[str, str])
    cuts: list[int] = field(default_factory=list[int])
    ranges: bool = True
    asked: list[tuple[str | None, str | None]] = field(default_factory=list[tuple[str | None, str | None]])

    def __call__(self, request: Received) -> Behaviour:
        wanted, condition = field_of(request, "range"), field_of(request, "if-range")
        self.asked.append((wanted, condition))
        headers = {**self.headers, **({} if self.etag is None else {"etag": self.etag})}
        start, status = 0, 200
        if wanted is not None and self.ranges and condition in (None, self.etag):
            start, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
            if start >= len(self.body):
                return Answer(416, headers={"content-range": f"bytes */{len(self.body)}"})
            headers["content-range"] = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
        rest = self.body[start:]
        if not self.cuts:
            return Answer(status, body=rest, headers=headers)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        begin = f"HTTP/1.1 {status} Fine\r\ncontent-length: {len(rest)}\r\n{head}\r\n"
        return Raw(begin.encode() + rest[: self.cuts.pop(0)])


@dataclass
class Scene:
    server: FaultyServer
    shop: Shop
    origin: Origin
    target: Path

    @property
    def call(self) -> Call[None]:
        return self.shop.GET("/file", None)

    @property
    def left(self) -> list[str]:
        return sorted(path.name for path in self.target.parent.iterdir())


@pytest.fixture
async def scene(family: FamilyModules, tmp_path: Path) -> Any:
    async with FaultyServer() as server, Shop(server.url, family=family.name) as shop:  # type: ignore[arg-type]
        origin = Origin()
        server.on("/file", origin)
        yield Scene(server, shop, origin, tmp_path / "file.bin")


async def test_a_body_becomes_a_file_in_one_step(scene: Scene) -> None:
    seen: list[tuple[int, int | None]] = []

    def progress(done: int, total: int | None) -> None:
        assert not scene.target.exists()
        seen.append((done, total))

    scene.target.with_name("file.bin.part").touch()
    fetched = await scene.call.download(scene.target, progress=progress)
    assert fetched == Download(scene.target, len(BODY), 0, 1, None)
    assert scene.target.read_bytes() == BODY
    assert scene.left == ["file.bin"]
    assert seen[-1] == (len(BODY), len(BODY))
    assert len(seen) >= 4  # in blocks, and not at the end
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert field_of(scene.server.requests[0], "accept-encoding") == "identity"


async def test_a_transfer_that_breaks_goes_on_where_it_was(scene: Scene) -> None:
    scene.origin.cuts = [300_000, 0, 500_000]
    scene.origin.headers = {"repr-digest": DIGEST}
    fetched = await scene.call.download(scene.target)
    assert (fetched.size, fetched.requests, fetched.digest) == (len(BODY), 4, "sha-256")
    assert scene.target.read_bytes() == BODY
    assert scene.origin.asked == [
        (None, None),
        ("bytes=300000-", '"v1"'),
        ("bytes=300000-", '"v1"'),
        ("bytes=800000-", '"v1"'),
    ]


def half() -> Raw:
    """More than one block of the file, and then silence."""
    head = f'HTTP/1.1 200 Fine\r\netag: "v1"\r\ncontent-length: {len(BODY)}\r\n\r\n'.encode()
    return Raw(head + BODY[: len(BODY) // 2], close=False)


async def test_what_was_cancelled_is_gone_on_with(scene: Scene) -> None:
    scene.server.on("/file", half())
    part, begun = scene.target.with_name("file.bin.part"), anyio.Event()

    async def begin() -> None:
        await scene.call.download(scene.target, progress=lambda *_: begun.set())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begin)
        await begun.wait()
        tasks.cancel_scope.cancel()
    assert scene.left == ["file.bin.part", "file.bin.part.json"]
    kept = part.read_bytes()
    assert kept
    assert BODY.startswith(kept)
    scene.server.on("/file", scene.origin)
    fetched = await scene.call.download(scene.target)
    assert (fetched.resumed_at, fetched.size, fetched.requests) == (len(kept), len(BODY), 1)
    assert scene.target.read_bytes() == BODY
    assert scene.origin.asked == [(f"bytes={len(kept)}-", '"v1"')]
    assert scene.left == ["file.bin"]


def leave(scene: Scene, part: bytes, note: str | None = None) -> None:
    """A part as an earlier download of ``/file`` left it."""
    url = hashlib.sha256(f"{scene.server.url}/file".encode()).hexdigest()
    scene.target.with_name("file.bin.part").write_bytes(part)
    told = f'{{"url": "{url}", "validator": "\\"v1\\"", "length": {len(BODY)}, "digest": "{DIGEST}"}}'
    scene.target.with_name("file.bin.part.json").write_text(told if note is None else note, "utf-8")


def another_version(origin: Origin) -> None:
    origin.etag, origin.body = '"v2"', BODY[::-1]


def no_ranges(origin: Origin) -> None:
    origin.ranges = False


def another_place(origin: Origin) -> None:
    origin.headers = {"content-range": f"bytes 7-{len(BODY) - 1}/{len(BODY)}"}


@pytest.mark.parametrize(
    ("part", "note", "change", "requests"),
    [
        (BODY[:1000], None, another_version, 1),
        (BODY[:1000], None, no_ranges, 1),
        (BODY + b"x", None, lambda _: None, 1),
        (BODY[:1000], '{"url": "another", "validator": "v", "length": 5, "digest": null}', lambda _: None, 1),
        (BODY[:1000], "{", lambda _: None, 1),
        (BODY[:1000], "[]", lambda _: None, 1),
        (b"", None, lambda _: None, 1),
    ],
    ids=["changed", "no ranges", "too long", "of another URL", "broken note", "no note", "empty"],
)
async def test_a_part_that_is_of_no_use_is_not_used(
    scene: Scene, part: bytes, note: str | None, change: Callable[[Origin], None], requests: int
) -> None:
    leave(scene, part, note)
    change(scene.origin)
    fetched = await scene.call.download(scene.target)
    assert (fetched.resumed_at, fetched.requests) == (0, requests)
    assert scene.target.read_bytes() == scene.origin.body
    assert scene.left == ["file.bin"]


async def test_a_range_that_is_not_the_one_that_was_asked_for_starts_over(scene: Scene) -> None:
    leave(scene, BODY[:1000])
    answers: list[Behaviour | Origin] = [
        Answer(206, body=BODY[7:], headers={"etag": '"v1"', "content-range": f"bytes 7-{len(BODY) - 1}/{len(BODY)}"}),
        scene.origin,
    ]
    scene.server.on("/file", *answers)
    fetched = await scene.call.download(scene.target)
    assert (fetched.resumed_at, fetched.requests) == (0, 2)
    assert scene.target.read_bytes() == BODY
    assert scene.origin.asked == [(None, None)]


async def test_a_server_may_give_a_range_in_smaller_ones(scene: Scene) -> None:
    leave(scene, BODY[:1000])

    def thrifty(request: Received) -> Answer:
        start = int(re.findall(r"\d+", field_of(request, "range") or "")[0])
        stop = min(start + 400_000, len(BODY))
        whole = f"bytes {start}-{stop - 1}/{len(BODY)}"
        digest = f"sha-256=:{b64encode(hashlib.sha256(BODY[start:stop]).digest()).decode()}:"
        return Answer(206, body=BODY[start:stop], headers={"content-range": whole, "content-digest": digest})

    scene.server.on("/file", thrifty)
    fetched = await scene.call.download(scene.target)
    assert (fetched.resumed_at, fetched.requests) == (1000, 3)
    assert scene.target.read_bytes() == BODY


async def test_more_than_a_range_promised_starts_over(scene: Scene) -> None:
    leave(scene, BODY[:1000])
    promised = {"etag": '"v1"', "content-range": f"bytes 1000-1999/{len(BODY)}"}
    scene.server.on("/file", Answer(206, body=BODY[1000:5000], headers=promised), scene.origin)
    fetched = await scene.call.download(scene.target)
    assert (fetched.resumed_at, fetched.requests) == (0, 2)
    assert scene.target.read_bytes() == BODY


async def test_a_server_without_ranges_that_always_breaks_off_does_not_send_for_ever(
    family: FamilyModules, tmp_path: Path
) -> None:
    headers = {"etag": '"v1"', "content-length": "9"}
    async with stage(family, [Reply(200, headers=headers, body=(b"half",), then=Fails("ReadError"))]) as s:
        with pytest.raises(family.http.ReadError):
            await s.shop.GET("/file", None).download(tmp_path / "file.bin")
        assert len(s.requests) == 6


async def test_a_link_where_the_part_will_be_is_not_followed(scene: Scene) -> None:
    precious = scene.target.with_name("precious")
    precious.write_bytes(b"gold")
    scene.target.with_name("file.bin.part").symlink_to(precious)
    with pytest.raises(OSError, match=re.escape("file.bin.part")):
        await scene.call.download(scene.target)
    assert precious.read_bytes() == b"gold"
    assert scene.origin.asked == []


async def test_a_part_that_is_all_of_it_is_only_looked_at(scene: Scene) -> None:
    leave(scene, BODY)
    fetched = await scene.call.download(scene.target)
    assert fetched == Download(scene.target, len(BODY), len(BODY), 1, "sha-256")
    assert scene.target.read_bytes() == BODY
    leave(scene, BODY[:-1] + b"!")
    with pytest.raises(DigestMismatch):
        await scene.call.download(scene.target)
    assert scene.target.read_bytes() == BODY
    assert scene.left == ["file.bin"]


async def test_a_416_of_a_shorter_file_starts_over(scene: Scene) -> None:
    leave(scene, BODY[:1000])
    scene.origin.body = BODY[:500]
    assert (await scene.call.download(scene.target)).size == 500
    assert scene.target.read_bytes() == BODY[:500]


@pytest.mark.parametrize("name", ["repr-digest", "content-digest"])
async def test_what_is_not_what_the_server_says_is_no_file(scene: Scene, name: str) -> None:
    scene.target.write_bytes(b"old")
    scene.origin.headers = {name: DIGEST}
    scene.origin.body = BODY[:-1] + b"!"
    with pytest.raises(DigestMismatch) as raised:
        await scene.call.download(scene.target)
    assert raised.value.algorithm == "sha-256"
    assert scene.target.read_bytes() == b"old"
    assert scene.left == ["file.bin"]


async def test_without_a_validator_nothing_is_left_and_nothing_resumed(scene: Scene, family: FamilyModules) -> None:
    for change in ({"etag": 'W/"v1"'}, {"etag": None}):
        scene.origin.etag = change["etag"]
        scene.origin.cuts = [1000]
        with pytest.raises(family.http.RemoteProtocolError):
            await scene.call.download(scene.target)
        assert scene.left == []
    scene.origin.etag, scene.origin.cuts = '"v1"', [1000]
    with pytest.raises(family.http.RemoteProtocolError):
        await scene.call.download(scene.target, resume=False)
    assert scene.left == []


async def test_an_encoded_body_is_decoded_and_whole(scene: Scene) -> None:
    import gzip

    packed = gzip.compress(BODY)
    told = f"sha-256=:{b64encode(hashlib.sha256(packed).digest()).decode()}:"
    answer = Answer(200, body=packed, headers={"content-encoding": "gzip", "etag": '"v1"', "repr-digest": told})
    scene.server.on("/file", answer)
    fetched = await scene.call.download(scene.target)
    assert (fetched.size, fetched.digest) == (len(BODY), None)
    assert scene.target.read_bytes() == BODY


async def test_an_answer_that_means_failure_is_no_file(scene: Scene) -> None:
    scene.server.on("/file", Answer(404))
    leave(scene, BODY[:1000])
    with pytest.raises(NotFound):
        await scene.call.download(scene.target)
    assert scene.left == ["file.bin.part", "file.bin.part.json"]  # it may come back
    scene.server.on("/file", Answer(503))
    with pytest.raises(Unavailable):
        await scene.call.using(retry=None).download(scene.target)
    with pytest.raises(InvalidInput):
        await scene.call.map(str).download(scene.target)
    with pytest.raises(IsADirectoryError):
        await scene.call.download(scene.target.parent)


async def test_a_cap_on_bodies_holds_for_files(family: FamilyModules, tmp_path: Path) -> None:
    pipeline = Pipeline(max_body_bytes=300_000)
    async with FaultyServer() as server, Shop(server.url, family=family.name, pipeline=pipeline) as shop:  # type: ignore[arg-type]
        server.on("/file", Stream(BODY[:100_000], times=10, headers={"etag": '"v1"'}))  # of no declared length
        with pytest.raises(BodyTooLarge):
            await shop.GET("/file", None).download(tmp_path / "file.bin")
        assert server.count() == 1
        assert not (tmp_path / "file.bin").exists()


class NoPause(VirtualClock):
    """Time that is moved by hand; the pause before the next try takes none."""

    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()


@pytest.fixture
async def still(family: FamilyModules, tmp_path: Path) -> Any:
    """A scene whose time stands still until the client has a part of the file; then a minute passes."""
    clock = NoPause()
    pipeline = Pipeline(clock=clock, deadline=None, attempt_timeout=600.0)
    async with FaultyServer() as server, Shop(server.url, family=family.name, pipeline=pipeline) as shop:  # type: ignore[arg-type]
        origin, begun = Origin(), anyio.Event()
        server.on("/file", half(), origin)

        async def pass_time() -> None:
            await begun.wait()
            await clock.advance(61.0)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pass_time)
            yield Scene(server, shop, origin, tmp_path / "file.bin"), lambda *_: begun.set()


async def test_a_deadline_of_the_call_is_for_the_file(still: tuple[Scene, Callable[..., None]]) -> None:
    scene, progress = still
    with pytest.raises(DeadlineExceeded), anyio.fail_after(60):
        await scene.call.using(deadline=60.0).download(scene.target, idle=None, progress=progress)
    assert scene.left == ["file.bin.part", "file.bin.part.json"]


async def test_two_downloads_into_one_file_are_told_apart(scene: Scene) -> None:
    scene.server.on("/file", Drip(BODY, every=0.01, headers={"etag": '"v1"'}))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.call.download, scene.target)
        await scene.server.await_for(lambda server: server.in_flight == 1)
        with pytest.raises(BlockingIOError):
            await scene.call.download(scene.target)
        tasks.cancel_scope.cancel()


async def test_silence_is_a_break(still: tuple[Scene, Callable[..., None]]) -> None:
    scene, progress = still
    with anyio.fail_after(60):
        fetched = await scene.call.download(scene.target, idle=60.0, progress=progress)
    assert fetched.requests == 2
    ((wanted, condition),) = scene.origin.asked
    assert condition == '"v1"'
    assert re.fullmatch(r"bytes=[1-9]\d+-", wanted or "")  # all that had come
    assert scene.target.read_bytes() == BODY
