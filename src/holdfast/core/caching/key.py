"""Under which key is an answer kept, and whose answer is it?

The key is text, so that every store can use it as it is: ``GET <partition> <url>``. The URL is verbatim but
for the parts that are not sent in a request (fragment) or are a credential (userinfo). The partition is a
keyed digest: equal for one user, and no way back to the credential.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Final
from urllib.parse import quote, urlsplit

from holdfast.core.caching.fields import Fields
from holdfast.core.caching.policy import CachePolicy
from holdfast.core.proof import is_proof

CREDENTIAL_FIELDS: Final = (b"authorization", b"cookie", b"proxy-authorization", b"x-api-key")
CERTIFICATE: Final = b":client-certificate"
"""Field that stands for the client certificate among those of a request; no header field has such a name."""
NOBODY: Final = ""
"""Partition of requests without a credential in a private cache."""
EVERYBODY: Final = "*"
"""Partition of everything in a shared cache: what a private one stored in the same place may be private."""

_NOBODYS: Final = "~"
_PASSING: Final = "?"
_PASSING_KEYS: Final = (f"GET {_PASSING}", f"GET {_NOBODYS}{_PASSING}")
_DIGEST_BYTES: Final = 16
_SECRET_LENGTHS: Final = range(16, 65)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_REMEMBERED: Final = 256
_AS_IT_IS: Final = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class Identity:
    """Tells users apart without keeping what they prove themselves with.

    ``secret`` is 16 to 64 random bytes, the same for all who share a store. Raises ValueError for others. One that is
    ``passing`` stands in for one whose secret is not known yet: what is stored by it would never be found again.
    """

    secret: bytes = field(repr=False)
    names: tuple[bytes, ...] = (*CREDENTIAL_FIELDS, CERTIFICATE)
    passing: bool = False
    _known: dict[tuple[bytes, ...], tuple[bytes, ...]] = field(
        default_factory=dict[tuple[bytes, ...], tuple[bytes, ...]], init=False, repr=False, compare=False
    )  # requests of a program have few sets of fields

    def __post_init__(self) -> None:
        if len(self.secret) not in _SECRET_LENGTHS:
            raise ValueError(f"the key must have 16 to 64 bytes, got {len(self.secret)}")

    @classmethod
    def of(cls, policy: CachePolicy, secret: bytes, *, passing: bool = False) -> Identity:
        """Identity by the usual credentials and the policy's own header names."""
        extra = {name.strip().lower().encode("ascii") for name in policy.identity_headers}
        return cls(secret, (*CREDENTIAL_FIELDS, CERTIFICATE, *sorted(extra - set(CREDENTIAL_FIELDS))), passing)

    def partition(self, fields: Fields, given: str | None = None) -> str:
        """Partition of a request in a private cache.

        ``given`` is an identity that a Credential vouches for; it replaces the digest of the header fields,
        so that it outlives a refreshed token. Without either the partition is ``NOBODY``.
        """
        if given is not None:
            return self._marked(b"given", given.encode("utf-8", "surrogatepass"))
        proofs = self._known.get(tuple(fields))
        if proofs is None:
            proofs = self.proofs(fields)
        if not proofs:
            return NOBODY
        parts: list[bytes] = []
        for name in proofs:
            parts += (name, fields[name])
        return self._marked(b"fields", *parts)

    def proofs(self, fields: Fields) -> tuple[bytes, ...]:
        """Names of the fields that prove who asks: those of ``names``, and what looks like a credential."""
        asked = tuple(fields)
        found = self._known.get(asked)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._known[asked] = tuple(sorted(filter(self.is_proof, asked)))
        return found

    def is_proof(self, name: bytes) -> bool:
        """Whether a field, by its name in small letters, proves who asks."""
        return name in self.names or _is_proof(name)

    def divided(self, partition: str, fields: Fields, names: Sequence[str]) -> str:
        """The part of a partition for requests with the same values of ``names``; itself if there are none."""
        parts: list[bytes] = []
        for name in names:
            lower = name.strip().lower().encode("ascii")
            if (value := fields.get(lower)) is not None:
                parts += (lower, value)
        if not parts:
            return partition
        mark = _NOBODYS if is_nobodys(partition) else ""
        return mark + self._marked(b"divided", partition.encode("ascii"), *parts)

    def conceal(self, value: bytes) -> bytes:
        """Stand-in for a credential that has to be compared later (``Vary: Cookie``)."""
        return self._digest(b"value", value)

    def _marked(self, purpose: bytes, *parts: bytes) -> str:
        return (_PASSING if self.passing else "") + self._digest(purpose, *parts).hex()

    def _digest(self, purpose: bytes, *parts: bytes) -> bytes:
        digest = blake2b(digest_size=_DIGEST_BYTES, key=self.secret, person=purpose)
        for part in parts:  # with their lengths, so that no two lists run together to the same text
            digest.update(b"%d:%b" % (len(part), part))
        return digest.digest()


@lru_cache(maxsize=_REMEMBERED)
def _is_proof(name: bytes) -> bool:
    return is_proof(name.decode("latin-1"))


def is_nobodys(partition: str) -> bool:
    """Whether a partition is of requests without a credential, and so shared by all who carry none."""
    return partition == NOBODY or partition.startswith(_NOBODYS)


def is_passing(key: str) -> bool:
    """Whether nothing is to be stored under a key, because it will be another one soon."""
    return key.startswith(_PASSING_KEYS)


def primary_key(method: str, url: str, partition: str = NOBODY) -> str:
    """Key of a request; GET and HEAD share one, since a stored GET answers both."""
    return f"{'GET' if method == 'HEAD' else method} {partition} {target(url)}"


def key_of_target(url: str, partition: str) -> str:
    """`primary_key` of a GET, or a HEAD, whose URL is one that `target` gave."""
    return f"GET {partition} {url}"


def split_key(key: str) -> tuple[str, str, str]:
    """Method, partition and URL of a key; a text that is no key has an empty partition and URL."""
    method, _, rest = key.partition(" ")
    partition, _, url = rest.partition(" ")
    return method, partition, url


def origin_of(url: str) -> str:
    """Scheme and authority of a URL that is spelled as in the keys."""
    end = url.find("/", url.find("//") + 2)
    return url[:end] if end >= 0 else url


def spelled(url: str) -> str:
    """A URL that a person wrote, in the spelling of the keys: small host, no default port, spaces as ``%20``.

    Raises ValueError for what is no absolute http or https URL.
    """
    parts = urlsplit(quote(url.strip(), safe=_AS_IT_IS))
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"an absolute http or https URL is needed, got {url!r}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    query = f"?{parts.query}" if "?" in url.partition("#")[0] else ""
    return target(f"{parts.scheme}://{host}{port}{parts.path}{query}")


def target(url: str) -> str:
    """The URL without fragment and userinfo, with ``/`` for an empty path (RFC 9110 4.2.3, 4.2.4, 7.1)."""
    if "@" not in url and "#" not in url and url.count("/") > 2:
        return url
    scheme, separator, rest = url.partition("#")[0].partition("://")
    if not separator:
        return scheme
    end = min((at for at in map(rest.find, "/?") if at >= 0), default=len(rest))
    authority = rest[:end].rpartition("@")[2]
    path = rest[end:]
    return f"{scheme}://{authority}{path if path.startswith('/') else '/' + path}"
