"""A store whose content nobody can read without the key.

Each entry becomes one of random bytes under names that are keyed digests. Its metadata is sealed under a key of its
own, derived from a random salt, together with the names, so that no entry passes for another. In there is a second
salt, for the key of the body: so a body belongs to its metadata and to no other. The body is sealed in pieces, whose
nonces are their numbers, and the last of which is marked: none can be left out, moved or cut off.
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from hashlib import blake2b
from typing import Any, Final

from holdfast.clock import Clock, SystemClock
from holdfast.core.caching.directives import NO_RESPONSE_DIRECTIVES
from holdfast.core.caching.entry import Blob, Entry
from holdfast.core.caching.key import split_key
from holdfast.stores.base import KeepsSecret, Listing, Store, StoreError, Streaming, Writer
from holdfast.stores.encoding import Metadata, Unreadable, decode, encode, epoch_of
from holdfast.stores.sealing import KEY_BYTES, SALT_BYTES, aead, derived

__all__ = ["Encrypted", "is_sealed"]

_TAG_BYTES: Final = 16
_SEALED_PIECE: Final = 60 * 1024  # as SQLiteStore cuts them
_PIECE: Final = _SEALED_PIECE - _TAG_BYTES
_YIELDED: Final = 64 * 1024


class Encrypted:
    """``store`` with everything in it encrypted: AES-256-GCM from ``cryptography``, extra ``crypto``.

    ``key`` is 32 random bytes, or several of that for a rotation: the first encrypts, all decrypt. Raises ValueError
    for others, and ImportError without the extra. With a wrong key nothing is found, and what was tampered with is
    not found either. docs/stores.md tells what can still be seen: sizes, times, and what belongs together.

    >>> import secrets
    >>> from holdfast import SQLiteStore
    >>> Encrypted(SQLiteStore("answers.db"), key=secrets.token_bytes(32))
    Encrypted(SQLiteStore('answers.db', max_bytes=268435456))

    A purge by prefix reads the metadata of all entries, and removes everything where ``store`` has no `Listing`.
    `Streaming`, `Listing` and `KeepsSecret` are offered if ``store`` has them, `SyncLookup` never. Cancellation and
    sharing are as ``store``'s.
    """

    # Given to an instance only if its store can do it: this is how a capability is asked for.
    writer: Callable[[], Coroutine[Any, Any, Writer]]
    read: Callable[..., AsyncGenerator[bytes, None]]
    secret: Callable[[], Coroutine[Any, Any, bytes]]
    entries: Callable[[], AsyncGenerator[Entry, None]]

    def __init__(self, store: Store, *, key: bytes | Sequence[bytes], clock: Clock | None = None) -> None:
        given = [key] if isinstance(key, bytes) else list(key)
        if not given or any(len(one) != KEY_BYTES for one in given):
            raise ValueError(f"key must be {KEY_BYTES} bytes, or several times {KEY_BYTES} bytes")
        self._store = store
        aead(given[0])  # without the extra, it is known now
        self._clock = SystemClock() if clock is None else clock
        self._epoch = epoch_of(self._clock)
        self._keys = [_Key(one) for one in given]
        if isinstance(store, Streaming):
            self._streaming = store
            self.writer, self.read = self._writer, self._read
        if isinstance(store, KeepsSecret):
            self.secret = store.secret
        if isinstance(store, Listing):
            self._listing = store
            self.entries = self._entries

    def __repr__(self) -> str:
        return f"Encrypted({self._store!r})"

    async def get(self, key: str) -> tuple[Entry, ...]:
        """All variants stored for ``key``, the one put last first."""
        found: list[Entry] = []
        for index, own in enumerate(self._keys):
            for sealed in await self._store.get(own.key(key)):
                entry = self._opened(index, sealed)
                if entry is not None and entry.key == key:
                    found.append(entry)
        return tuple(found)

    async def put(self, entry: Entry) -> None:
        """Encrypt an entry and store it, and remove what other keys encrypted of its key."""
        if isinstance(entry.body, bytes):
            index, salt = 0, secrets.token_bytes(SALT_BYTES)
            body: bytes | Blob = b"".join(self._keys[0].cipher(b"body", salt).seal_all(entry.body))
        else:
            long = _Long.of(entry.body)
            if long is None or long.index >= len(self._keys):
                return
            index, salt, body = long.index, long.salt, long.inner
        await self._remove_others(index, entry.key)
        await self._store.put(self._keys[index].sealed(entry, self._epoch, salt, body))

    async def delete(self, key: str) -> None:
        """Remove all variants of ``key``."""
        for own in self._keys:
            await self._store.delete(own.key(key))

    async def purge(self, url: str) -> int:
        """Remove every entry of a URL; the number removed."""
        return sum([await self._store.purge(own.url(url)) for own in self._keys])

    async def purge_prefix(self, prefix: str) -> int:
        """Remove every entry whose URL begins with ``prefix``, decrypting the metadata of all; the number removed.

        Where they cannot be listed, all are removed: what nobody can find must not stay.
        """
        if not prefix or not isinstance(self._store, Listing):
            return sum([await self._store.purge_prefix(own.prefix) for own in self._keys])
        urls: dict[str, None] = {}
        async with aclosing(self._store.entries()) as listed:
            async for sealed in listed:
                if any(
                    metadata is not None and split_key(metadata.key)[2].startswith(prefix)
                    for metadata in (own.metadata(sealed) for own in self._keys)
                ):
                    urls[sealed.url] = None
        return sum([await self._store.purge(url) for url in urls])

    async def purge_tag(self, tag: str) -> int:
        """Remove every entry that has ``tag``; the number removed."""
        return sum([await self._store.purge_tag(own.tag(tag)) for own in self._keys])

    async def clear(self) -> None:
        """Remove everything, also what other keys encrypted."""
        await self._store.clear()

    async def aclose(self) -> None:
        """Close the store."""
        await self._store.aclose()

    async def _entries(self) -> AsyncGenerator[Entry, None]:
        async with aclosing(self._listing.entries()) as listed:
            async for sealed in listed:
                for own in self._keys:
                    metadata = own.metadata(sealed)
                    if metadata is not None and (arrived := self._arrived(metadata)) is not None:
                        yield metadata.entry(Blob(metadata.size, ""), arrived)

    async def _writer(self) -> Writer:
        return _Writer(await self._streaming.writer(), self._keys[0], self._finish)

    async def _finish(self, writer: Writer, entry: Entry, salt: bytes, size: int) -> Entry | None:
        """Store ``entry`` with the ``size`` bytes that ``writer`` has sealed under ``salt``."""
        await self._remove_others(0, entry.key)
        sealed = self._keys[0].sealed(entry.with_body(Blob(size, "")), self._epoch, salt, b"")
        stored = await writer.finish(sealed)
        return None if stored is None else self._opened(0, stored)

    async def _read(self, entry: Entry, start: int = 0) -> AsyncGenerator[bytes, None]:
        if isinstance(entry.body, bytes):
            for begin in range(start, len(entry.body), _YIELDED):
                yield entry.body[begin : begin + _YIELDED]
            return
        long, size = _Long.of(entry.body), entry.body.size
        if long is None or long.index >= len(self._keys):
            raise StoreError("no body of this store's")
        if start >= size:
            return
        cipher = self._keys[long.index].cipher(b"body", long.salt)
        number, skipped = divmod(start, _PIECE)
        last = (size - 1) // _PIECE
        waiting = bytearray()
        inner = self._streaming.read(entry.with_body(long.inner), number * _SEALED_PIECE)
        async with aclosing(inner) as reading:
            async for chunk in reading:
                waiting += chunk
                while number < last and len(waiting) >= _SEALED_PIECE:
                    yield cipher.open(number, bytes(waiting[:_SEALED_PIECE]), final=False)[skipped:]
                    del waiting[:_SEALED_PIECE]
                    number, skipped = number + 1, 0
        if number != last:
            raise StoreError("the body was cut off")
        yield cipher.open(number, bytes(waiting), final=True)[skipped:]

    async def _remove_others(self, index: int, key: str) -> None:
        for other, own in enumerate(self._keys):
            if other != index:
                await self._store.delete(own.key(key))

    def _opened(self, index: int, sealed: Entry) -> Entry | None:
        """The entry that was sealed, or None if it cannot be opened."""
        own = self._keys[index]
        metadata, salt = own.opened(sealed)
        if metadata is None or (arrived := self._arrived(metadata)) is None:
            return None
        if isinstance(sealed.body, Blob):
            return metadata.entry(Blob(metadata.size, _Long(index, salt, sealed.body).name), arrived)
        try:
            body = own.cipher(b"body", salt).open_all(sealed.body)
        except StoreError:
            return None
        return metadata.entry(body, arrived) if len(body) == metadata.size else None

    def _arrived(self, metadata: Metadata) -> float | None:
        """When it came. The inner store's own word for that is not sealed: an answer could be made younger."""
        return metadata.arrived(epoch=self._epoch, now=self._clock.monotonic(), wall=self._clock.wall())


class _Writer:
    """A body on its way into an `Encrypted` store: one piece of it in clear, in memory."""

    def __init__(
        self, writer: Writer, own: _Key, finish: Callable[[Writer, Entry, bytes, int], Awaitable[Entry | None]]
    ) -> None:
        self._finish = finish
        self._writer = writer
        self._salt = secrets.token_bytes(SALT_BYTES)
        self._cipher = own.cipher(b"body", self._salt)
        self._waiting = bytearray()
        self._number = 0

    async def write(self, chunk: bytes) -> bool:
        accepted = True
        left = memoryview(chunk)
        while left:
            if len(self._waiting) == _PIECE:  # the last piece is sealed by `finish`, however long it is
                sealed = self._cipher.seal(self._number, bytes(self._waiting), final=False)
                self._waiting.clear()
                self._number += 1
                accepted = await self._writer.write(sealed)
            room = _PIECE - len(self._waiting)
            self._waiting += left[:room]
            left = left[room:]
        return accepted

    async def finish(self, entry: Entry) -> Entry | None:
        size = self._number * _PIECE + len(self._waiting)
        last = self._cipher.seal(self._number, bytes(self._waiting), final=True)
        self._waiting.clear()
        await self._writer.write(last)
        return await self._finish(self._writer, entry, self._salt, size)

    async def discard(self) -> None:
        self._waiting.clear()
        await self._writer.discard()


def is_sealed(entry: Entry) -> bool:
    """Whether an entry, as the inner store gives it, is one that `Encrypted` made: it names no URL."""
    return "://" not in entry.url


class _Key:
    """What follows from one key: names, and ciphers."""

    def __init__(self, key: bytes) -> None:
        self._names = derived(key, b"names")
        self._seals = derived(key, b"seals")
        self.prefix = self._name(b"key", "")[:8]  # of all URLs, so that those of one key can be purged

    def key(self, key: str) -> str:
        """The inner store's name for a key."""
        _, _, url = split_key(key)
        return f"GET {self._name(b'key', key)} {self.url(url)}"

    def url(self, url: str) -> str:
        return f"{self.prefix}{self._name(b'url', url)}"

    def tag(self, tag: str) -> str:
        return self._name(b"tag", tag)

    def cipher(self, purpose: bytes, salt: bytes) -> _Cipher:
        return _Cipher(derived(self._seals, purpose, salt))

    def sealed(self, entry: Entry, epoch: str, body_salt: bytes, body: bytes | Blob) -> Entry:
        """The entry as the inner store sees it, with a ``body`` that is sealed already."""
        salt = secrets.token_bytes(SALT_BYTES)
        variant = _digest(self._names, b"variant", *entry.vary, entry.variant)
        key = self.key(entry.key)
        try:
            record = encode(entry, size=entry.size, checksum=0, epoch=epoch)  # the seal is better
        except ValueError as error:
            raise StoreError(str(error)) from error
        head = self.cipher(b"head", salt).seal(0, body_salt + record, final=True, bound=_bound(key, variant))
        return Entry(
            key=key,
            status=200,
            head=b64encode(salt + head),
            body=body,
            vary=(),
            variant=variant,
            directives=NO_RESPONSE_DIRECTIVES,
            lifetime=entry.lifetime,
            initial_age=0.0,
            response_time=entry.response_time,
            wall=entry.wall,
            tags=tuple(map(self.tag, entry.tags)),
        )

    def opened(self, sealed: Entry) -> tuple[Metadata | None, bytes]:
        """The metadata in a sealed entry and the salt of its body; None if it cannot be opened."""
        try:
            head = b64decode(sealed.head, validate=True)
            salt, head = head[:SALT_BYTES], head[SALT_BYTES:]
            bound = _bound(sealed.key, sealed.variant)
            plain = self.cipher(b"head", salt).open(0, head, final=True, bound=bound)
            return decode(plain[SALT_BYTES:]), plain[:SALT_BYTES]
        except (ValueError, StoreError, Unreadable):
            return None, b""

    def metadata(self, sealed: Entry) -> Metadata | None:
        return self.opened(sealed)[0]

    def _name(self, purpose: bytes, text: str) -> str:
        return _digest(self._names, purpose, text.encode("utf-8", "surrogatepass")).hex()


class _Cipher:
    """Seals the pieces of one message, each once, under a key that no other message has."""

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        self._aead = aead(key)

    def seal(self, number: int, piece: bytes, *, final: bool, bound: bytes = b"") -> bytes:
        return self._aead.encrypt(_nonce(number, final), piece, bound)

    def open(self, number: int, sealed: bytes, *, final: bool, bound: bytes = b"") -> bytes:
        """The piece; `StoreError` if it is not the one that was sealed at this place."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._aead.decrypt(_nonce(number, final), sealed, bound)
        except InvalidTag as error:
            raise StoreError("what is stored was tampered with") from error

    def seal_all(self, body: bytes) -> Iterator[bytes]:
        last = max(len(body) - 1, 0) // _PIECE
        for number in range(last + 1):
            yield self.seal(number, body[number * _PIECE : (number + 1) * _PIECE], final=number == last)

    def open_all(self, sealed: bytes) -> bytes:
        last = max(len(sealed) - 1, 0) // _SEALED_PIECE
        return b"".join(
            self.open(number, sealed[number * _SEALED_PIECE : (number + 1) * _SEALED_PIECE], final=number == last)
            for number in range(last + 1)
        )


class _Long:
    """A body that the inner store keeps apart, and how it was sealed."""

    __slots__ = ("index", "inner", "salt")

    def __init__(self, index: int, salt: bytes, inner: Blob) -> None:
        self.index = index  # of the key
        self.salt = salt
        self.inner = inner

    @property
    def name(self) -> str:
        return f"{self.index}/{self.salt.hex()}/{self.inner.size}/{self.inner.name}"

    @classmethod
    def of(cls, blob: Blob) -> _Long | None:
        """What `name` says; None for a name that is not of our making."""
        index, _, rest = blob.name.partition("/")
        salt, _, rest = rest.partition("/")
        size, _, name = rest.partition("/")
        try:
            return cls(int(index), bytes.fromhex(salt), Blob(int(size), name))
        except ValueError:
            return None


def _nonce(number: int, final: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes((final,))


def _bound(key: str, variant: bytes) -> bytes:
    """What is not secret, but belongs to the message."""
    return b"%b %b" % (key.encode("ascii", "backslashreplace"), variant)


def _digest(key: bytes, purpose: bytes, *parts: bytes) -> bytes:
    digest = blake2b(digest_size=SALT_BYTES, key=key, person=purpose)
    for part in parts:  # with their lengths, so that no two lists run together to the same text
        digest.update(b"%d:%b" % (len(part), part))
    return digest.digest()
