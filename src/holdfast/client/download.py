"""How does a body become a file, whole or not at all? In a part beside it, which a later request goes on with."""

from __future__ import annotations

import hashlib
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from holdfast._deadline import deadline
from holdfast.client.fields import headers_of
from holdfast.client.incoming import Incoming, check_idle, passes, pause
from holdfast.client.part_file import BLOCK, PartFile
from holdfast.client.plan import changed
from holdfast.core.caching.ranges import read_content_range, strong_validator
from holdfast.core.transfer import Part, digest_of, judge
from holdfast.core.value import Value
from holdfast.errors import DigestMismatch, StatusError

if TYPE_CHECKING:
    from holdfast._wire import ReceivedLike
    from holdfast.client.channel import Channel
    from holdfast.client.plan import Plan
    from holdfast.client.upload import OnProgress

__all__ = ["Download", "download"]

_WAIT: Final = 0.1
_IN_A_ROW: Final = 5
_STARTS: Final = 5
"""Times that one download begins anew. A server without ranges that always breaks off would send for ever."""


class Download(Value):
    """A file that was fetched: its ``path`` and ``size``; ``resumed_at``: bytes that an earlier download had left.

    ``requests``: how many of them brought it. ``digest``: the algorithm by which it, or what a range brought
    of it, was compared with what the server said; None if it said nothing.
    """

    def __init__(self, path: Path, size: int, resumed_at: int, requests: int, digest: str | None) -> None:
        self.path: Final = path
        self.size: Final = size
        self.resumed_at: Final = resumed_at
        self.requests: Final = requests
        self.digest: Final = digest


async def download(
    channel: Channel,
    plan: Plan,
    path: str | os.PathLike[str],
    *,
    resume: bool,
    progress: OnProgress | None,
    idle: float | None,
) -> Download:
    """See `Call.download`."""
    transfer = _Transfer(channel, plan, Path(path), resume and plan.method == "GET", progress, check_idle(idle))
    whole: float | None = plan.options.get("deadline")
    with nullcontext() if whole is None else deadline(whole, clock=channel.clock):
        return await transfer.run()


class _Transfer:
    """One download; belongs to one task."""

    def __init__(
        self, channel: Channel, plan: Plan, path: Path, resume: bool, progress: OnProgress | None, idle: float | None
    ) -> None:
        self._channel = channel
        self._family = channel.backend.family
        fields = {**headers_of({"Accept-Encoding": "identity"}), **plan.headers}  # ranges are of what is encoded
        self._plan = changed(plan, headers=fields)
        self._covers = "deadline" in plan.options  # who gives a call a deadline means the file, not its head
        self._resume = resume
        self._progress = progress
        self._idle = idle
        url = plan.target(channel.address.url)
        self._file = PartFile(path, hashlib.sha256(url.encode()).hexdigest())
        self._length: int | None = None
        self._digest: str | None = None
        self._resumed_at = 0
        self._received = 0  # in this download
        self._requests = 0
        self._starts = -1
        self._pieces: list[tuple[str, int, int]] = []  # Content-Digest of what stands from where to where

    async def run(self) -> Download:
        file, in_vain = self._file, 0
        try:
            await anyio.to_thread.run_sync(file.open, self._resume)
            self._resumed_at = file.size
            while True:
                before = self._received
                try:
                    if await self._fetch():
                        break
                except (StatusError, self._family.transport_error) as error:
                    in_vain = 0 if self._received > before else in_vain + 1
                    resumable = self._received > 0 and (file.part is not None or file.size == 0)
                    given_up = in_vain > _IN_A_ROW or self._starts >= _STARTS
                    if not resumable or given_up or not passes(error, self._family):
                        raise
                    await self._channel.clock.sleep(pause(_WAIT, in_vain, error))
            return await self._finish()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(file.close)

    async def _fetch(self) -> bool:
        """One request, its body written; whether the file is complete then."""
        file, plan = self._file, self._plan
        start, part = file.size, file.part
        if start and part is not None:
            fields = headers_of({"Range": f"bytes={start}-", "If-Range": part.validator})
            plan = changed(plan, headers={**plan.headers, **fields})
        response = await self._channel.open(plan, passing=(416,) if start else (), deadline_covers_body=self._covers)
        self._requests += 1
        encoded = response.headers.get("content-encoding") not in (None, "", "identity")
        incoming = Incoming(response, self._channel, idle=self._idle)
        try:
            told = response.headers.get("content-range")
            piece = judge(
                response.status_code, told, response.headers.get("etag"), start=start, part=part if start else None
            )
            if piece == "complete":
                return True
            if piece == "useless" or (encoded and piece == "rest"):
                await self._restart(None)
                if not start:
                    raise self._family.read_error("a part came that was not asked for", response.request)
                return False
            stop = await self._begin(response, encoded) if piece == "whole" else self._go_on(told)
            await self._write(incoming)
        finally:
            await incoming.aclose()
        if stop is not None and file.size > stop:
            await self._restart(None)
        if stop is not None and file.size != stop:
            raise self._family.read_error("another number of bytes came than was announced", response.request)
        if piece == "rest" and (digest := response.headers.get("content-digest")) is not None:
            self._pieces.append((digest, start, file.size))
        return self._length is None or file.size == self._length

    async def _begin(self, response: ReceivedLike, encoded: bool) -> int | None:
        """Take an answer as the whole; where it will stop."""
        self._length = None if encoded else _length_of(response)
        # Those of an encoded answer are digests of what is not written here.
        header = response.headers.get
        self._digest = None if encoded else header("repr-digest") or header("content-digest")
        self._starts += 1
        await self._restart(None if encoded else self._part_of(response))
        return self._length

    def _go_on(self, content_range: str | None) -> int:
        """Take an answer as the rest; where it will stop."""
        holds = read_content_range((content_range or "").encode("latin-1"))
        assert holds is not None, "judged to be the rest"
        span, self._length = holds
        return span.stop

    async def _restart(self, part: Part | None) -> None:
        self._resumed_at = 0
        self._pieces.clear()
        await anyio.to_thread.run_sync(self._file.restart, part)

    async def _write(self, incoming: Incoming) -> None:
        """Take in a body in blocks. What has come is written also if the rest does not."""
        pending: list[bytes] = []
        size = 0
        try:
            while (piece := await incoming.next()) is not None:
                pending.append(piece)
                size += len(piece)
                if size >= BLOCK:
                    ready, pending, size = pending, [], 0
                    await self._put(ready)
        finally:
            with anyio.CancelScope(shield=True):
                await self._put(pending)

    async def _put(self, pieces: list[bytes]) -> None:
        if not pieces:
            return
        await anyio.to_thread.run_sync(self._file.append, pieces)
        self._received += sum(map(len, pieces))
        if self._progress is not None:
            self._progress(self._file.size, self._length)

    def _part_of(self, response: ReceivedLike) -> Part | None:
        """What a later request needs to know, if there can be one: the bytes have a validator."""
        fields = {name.lower(): value for name, value in response.headers.raw}
        validator = strong_validator(fields, self._channel.clock.wall())
        if validator is None or not self._resume or fields.get(b"accept-ranges", b"").strip().lower() == b"none":
            return None
        return Part(validator.decode("latin-1"), self._length, self._digest)

    async def _finish(self) -> Download:
        file = self._file
        whole = self._digest if file.part is None else file.part.digest
        algorithm = None
        for told, start, stop in [(whole, 0, file.size), *self._pieces]:
            expected = digest_of(told)
            if expected is None:
                continue
            algorithm, value = expected
            if await anyio.to_thread.run_sync(file.digest, algorithm, start, stop) != value:
                await anyio.to_thread.run_sync(file.restart, None)
                error = DigestMismatch(
                    f"what was downloaded does not have the {algorithm} that its server told", algorithm=algorithm
                )
                raise self._family.refusal(error, self._channel.request(self._plan, None))
        size = file.size
        await anyio.to_thread.run_sync(file.commit)
        return Download(file.target, size, self._resumed_at, self._requests, algorithm)


def _length_of(response: ReceivedLike) -> int | None:
    told = response.headers.get("content-length")
    return int(told) if told is not None and told.isdecimal() and len(told) < 20 else None
