"""Credentials that are not sent: each attempt is signed with them, at its own time and with a nonce of its own."""

from __future__ import annotations

import hmac
import secrets
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from holdfast.auth.credential import Attempt, OriginBound
from holdfast.clock import Clock, SystemClock
from holdfast.core.secret import Secret
from holdfast.core.signing import aws, hmac_scheme
from holdfast.core.signing.digests import Algorithm, content_digest
from holdfast.core.signing.http_message import (
    DEFAULT_COMPONENTS,
    Parameters,
    signature_base,
    signature_fields,
)
from holdfast.core.signing.message import Message
from holdfast.errors import InvalidInput

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

__all__ = ["AWSSignature", "HMACSignature", "HTTPSignature"]

_NONCE_BYTES: Final = 16


class _Signature(OriginBound):
    """What signatures have in common: a clock, and the name of a key."""

    def __init__(
        self,
        key_id: str,
        *,
        origins: str | Iterable[str] | None,
        allow_http: bool,
        identity: str | None,
        clock: Clock | None,
    ) -> None:
        super().__init__(origins=origins, allow_http=allow_http, identity=identity)
        self.key_id: Final = key_id
        self._clock: Clock = SystemClock() if clock is None else clock

    def _default_identity(self) -> str:
        return f"{type(self).__name__}:{self.key_id}"


class HMACSignature(_Signature):
    """An API's own HMAC: ``parts`` of the request, joined by ``separator``, under a shared key.

    ``fields``: the header fields to send, in which ``{key_id}``, ``{signature}``, ``{timestamp}`` and ``{nonce}`` are
    filled in. ``encoding``: "hex" or "base64". ``timestamp``: Unix time in "seconds" or "milliseconds".
    ``secret_encoding``: how the key's text becomes bytes ("utf-8", "hex", "base64").

    The default covers method, authority, path, query, body digest, time and nonce: less lets a request be turned
    into another one, or be sent again by somebody else. Raises `Unsignable` for a body that is a stream, where it is
    to be covered.

    >>> HMACSignature("k1", Secret("s3cr3t"), origins="https://api.example.com")
    HMACSignature(https://api.example.com)
    """

    def __init__(
        self,
        key_id: str,
        secret: str | Secret,
        *,
        parts: Sequence[hmac_scheme.Part] = hmac_scheme.ALL_PARTS,
        separator: str = "\n",
        algorithm: hmac_scheme.Hash = "sha256",
        encoding: hmac_scheme.Encoding = "hex",
        timestamp: Literal["seconds", "milliseconds"] = "seconds",
        secret_encoding: Literal["utf-8", "hex", "base64"] = "utf-8",
        fields: Mapping[str, str] | None = None,
        origins: str | Iterable[str] | None = None,
        allow_http: bool = False,
        identity: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(key_id, origins=origins, allow_http=allow_http, identity=identity, clock=clock)
        self._secret = Secret.of(secret)
        self._secret_encoding = secret_encoding
        _key_bytes(self._secret, secret_encoding)  # raises for a text that is none
        self._parts = tuple(parts)
        self._separator = separator
        self._algorithm: hmac_scheme.Hash = algorithm
        self._encoding: hmac_scheme.Encoding = encoding
        self._per_second = 1000 if timestamp == "milliseconds" else 1
        self._fields = dict(_HMAC_FIELDS if fields is None else fields)
        self.owned = frozenset(name.lower() for name in self._fields)
        unknown = set(self._parts) - set(hmac_scheme.PARTS)
        if unknown or not self._parts:
            raise InvalidInput(
                f"parts are some of {', '.join(hmac_scheme.PARTS)}, got {sorted(unknown)}", argument="parts"
            )
        try:
            self._filled("s", "t", "n")
        except (KeyError, IndexError, ValueError) as error:
            raise InvalidInput(
                "a field may have {key_id}, {signature}, {timestamp} and {nonce} in it, and no other braces",
                argument="fields",
            ) from error

    async def _put_on(self, attempt: Attempt) -> None:
        timestamp = str(int(self._clock.wall() * self._per_second))
        nonce = secrets.token_hex(_NONCE_BYTES)
        signed = hmac_scheme.canonical(
            _message(attempt),
            timestamp=timestamp,
            nonce=nonce,
            parts=self._parts,
            separator=self._separator,
            algorithm=self._algorithm,
        )
        key = _key_bytes(self._secret, self._secret_encoding)
        signature = hmac_scheme.signature(key, signed, algorithm=self._algorithm, encoding=self._encoding)
        for name, value in self._filled(signature, timestamp, nonce):
            attempt.headers[name] = value

    def _filled(self, signature: str, timestamp: str, nonce: str) -> list[tuple[str, str]]:
        values = {"key_id": self.key_id, "signature": signature, "timestamp": timestamp, "nonce": nonce}
        return [(name, template.format_map(values)) for name, template in self._fields.items()]


_HMAC_FIELDS: Final = {
    "Authorization": "HMAC-SHA256 {key_id}:{signature}",
    "X-Timestamp": "{timestamp}",
    "X-Nonce": "{nonce}",
}


class HTTPSignature(_Signature):
    """HTTP Message Signatures (RFC 9421), with the body's digest (RFC 9530).

    ``key``: a shared secret of at least 32 bytes as text or bytes (``hmac-sha256``), or a private key of
    ``cryptography`` (extra ``crypto``) or its PEM: Ed25519, ECDSA on P-256 or P-384, RSA (PSS with SHA-512).
    ``components``: what is covered, as `holdfast.core.signing.http_message` spells it. A request with a body gets a
    ``Content-Digest`` of ``digest`` ("sha-256"; None: none), which is covered too. ``expires_after``: seconds
    (None: no ``expires``). ``label`` names the signature, ``tag`` the application. ``created`` and a nonce are made
    for each attempt.

    >>> HTTPSignature("k1", b"32 bytes of randomness, or more..", origins="https://api.example.com")
    HTTPSignature(https://api.example.com)
    """

    owned = frozenset({"signature", "signature-input"})

    def __init__(
        self,
        key_id: str,
        key: str | bytes | Secret | PrivateKey,
        *,
        components: Sequence[str] = DEFAULT_COMPONENTS,
        digest: Algorithm | None = "sha-256",
        expires_after: float | None = 300.0,
        label: str = "sig1",
        tag: str | None = None,
        origins: str | Iterable[str] | None = None,
        allow_http: bool = False,
        identity: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(key_id, origins=origins, allow_http=allow_http, identity=identity, clock=clock)
        self._algorithm, self._sign = _signer(key)
        self._components = tuple(components)
        self._digest: Algorithm | None = digest
        self._expires_after = expires_after
        self._label = label
        self._tag = tag
        signature_fields(label, "()", b"")  # raises for a label that is none

    async def _put_on(self, attempt: Attempt) -> None:
        message = _message(attempt)
        components = self._components
        if self._digest is not None and message.body != b"":
            attempt.headers["Content-Digest"] = content_digest(message.whole_body(), self._digest)
            message = _message(attempt)
            if "content-digest" not in components:
                components = (*components, "content-digest")
        created = int(self._clock.wall())
        parameters = Parameters(
            created=created,
            expires=None if self._expires_after is None else int(created + self._expires_after),
            keyid=self.key_id,
            alg=self._algorithm,
            nonce=secrets.token_urlsafe(_NONCE_BYTES),
            tag=self._tag,
        )
        base, signed = signature_base(message, components, parameters)
        for name, value in signature_fields(self._label, signed, self._sign(base.encode())):
            attempt.headers[name] = value


class AWSSignature(_Signature):
    """AWS Signature Version 4 in ``Authorization``, for one ``region`` and ``service``.

    ``session_token``: that of temporary credentials. ``unsigned_payload``: S3 alone, over TLS: streams go out without
    a digest. Presigned URLs and Version 4A are not offered.

    >>> AWSSignature("AKIDEXAMPLE", Secret("..."), region="eu-central-1", service="execute-api")
    AWSSignature()
    """

    owned = frozenset({"authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"})

    def __init__(
        self,
        access_key: str,
        secret_key: str | Secret,
        *,
        region: str,
        service: str,
        session_token: str | Secret | None = None,
        unsigned_payload: bool = False,
        origins: str | Iterable[str] | None = None,
        allow_http: bool = False,
        identity: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(access_key, origins=origins, allow_http=allow_http, identity=identity, clock=clock)
        if unsigned_payload and service not in aws.S3:
            raise InvalidInput(f"only S3 takes an unsigned payload, {service} does not", argument="unsigned_payload")
        self._secret = Secret.of(secret_key)
        self._session = None if session_token is None else Secret.of(session_token)
        self._region = region
        self._service = service
        self._unsigned_payload = unsigned_payload

    async def _put_on(self, attempt: Attempt) -> None:
        message = _message(attempt)
        added = aws.authorization(
            message,
            access_key=self.key_id,
            secret_key=self._secret.reveal(),
            session_token=None if self._session is None else self._session.reveal(),
            region=self._region,
            service=self._service,
            at=time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock.wall())),
            unsigned_payload=self._unsigned_payload and message.body is None,
        )
        for name, value in added:
            attempt.headers[name] = value


def _message(attempt: Attempt) -> Message:
    """The attempt as it goes out: target and header fields from where the library takes them, too."""
    url: Any = attempt.url
    try:
        body: bytes | None = attempt.content
    except RuntimeError:  # both libraries' RequestNotRead: a stream
        body = None
    return Message(
        method=attempt.method,
        scheme=url.scheme,
        authority=attempt.headers.get("host") or url.netloc.decode("ascii"),
        target=url.raw_path.decode("ascii"),
        headers=((name.decode("latin-1"), value.decode("latin-1")) for name, value in attempt.headers.raw),
        body=body,
    )


def _key_bytes(secret: Secret, encoding: str) -> bytes:
    try:
        match encoding:
            case "hex":
                return bytes.fromhex(secret.reveal())
            case "base64":
                return b64decode(secret.reveal(), validate=True)
            case _:
                return secret.reveal().encode()
    except ValueError:
        raise InvalidInput(f"this secret is not {encoding} (it is not shown)", argument="secret") from None


def _signer(key: Any) -> tuple[str, Callable[[bytes], bytes]]:
    """The algorithm's name in the IANA registry of RFC 9421 6.2, and the function that signs."""
    if isinstance(key, Secret):
        key = key.reveal()
    if isinstance(key, str):
        key = key.encode()
    if isinstance(key, bytes) and not key.lstrip().startswith(b"-----BEGIN"):
        if len(key) < 32:
            raise InvalidInput("a key for hmac-sha256 has at least 32 bytes (RFC 7518 3.2)", argument="key")
        shared: bytes = key
        return "hmac-sha256", lambda text: hmac.digest(shared, text, "sha256")
    try:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
    except ImportError as error:
        raise ImportError("a private key needs the extra crypto: pip install 'holdfast[crypto]'") from error
    if isinstance(key, bytes):
        try:
            key = serialization.load_pem_private_key(key, password=None)
        except (ValueError, TypeError):
            raise InvalidInput(
                "this PEM is no private key that can be read (it is not shown)", argument="key"
            ) from None
    match key:
        case ed25519.Ed25519PrivateKey():
            return "ed25519", key.sign
        case rsa.RSAPrivateKey():
            pss = padding.PSS(padding.MGF1(hashes.SHA512()), 64)  # RFC 9421 3.3.1
            return "rsa-pss-sha512", lambda text: key.sign(text, pss, hashes.SHA512())
        case ec.EllipticCurvePrivateKey() if key.curve.name in _CURVES:
            name, size, digest = _CURVES[key.curve.name]
            algorithm = ec.ECDSA(getattr(hashes, digest)())

            def sign(text: bytes) -> bytes:  # 3.3.4: r and s side by side, not DER
                r, s = utils.decode_dss_signature(key.sign(text, algorithm))
                return r.to_bytes(size, "big") + s.to_bytes(size, "big")

            return name, sign
        case _:
            raise InvalidInput(
                f"a {type(key).__name__} cannot sign here: shared secret, Ed25519, P-256, P-384 or RSA", argument="key"
            )


_CURVES: Final = {
    "secp256r1": ("ecdsa-p256-sha256", 32, "SHA256"),
    "secp384r1": ("ecdsa-p384-sha384", 48, "SHA384"),
}
