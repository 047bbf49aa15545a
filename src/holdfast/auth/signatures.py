"""Credentials that are not sent: each attempt is signed with them, at its own time and with a nonce of its own."""

from __future__ import annotations

import hmac
import secrets
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from holdfast.auth.credential import Attempt, OriginBound
from holdfast.clock import Clock, SystemClock
from holdfast.core.fields import is_name, is_value
from holdfast.core.secret import Secret
from holdfast.core.signing import aws, hmac_scheme
from holdfast.core.signing.digests import Algorithm, content_digest
from holdfast.core.signing.http_message import (
    DEFAULT_COMPONENTS,
    Parameters,
    check_components,
    signature_base,
    signature_fields,
)
from holdfast.core.signing.message import Message, Unsignable
from holdfast.errors import InvalidInput, Unsupported

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
        if not is_value(key_id):
            raise InvalidInput("a key's name is printable ASCII, for it is sent in a header field", argument="key_id")
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
    into another one, or be sent again by somebody else. Raises `InvalidInput` for settings that no server could check,
    and, when it signs, `Unsignable` for a body that is a stream, where it is to be covered.

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
        self._fields = dict(_HMAC_FIELDS if fields is None else fields)
        self._parts = tuple(parts)
        for argument, given, allowed in (
            ("algorithm", {algorithm}, get_args(hmac_scheme.Hash)),
            ("encoding", {encoding}, get_args(hmac_scheme.Encoding)),
            ("timestamp", {timestamp}, ("seconds", "milliseconds")),
            ("secret_encoding", {secret_encoding}, ("utf-8", "hex", "base64")),
            ("parts", set(self._parts), hmac_scheme.PARTS),
        ):
            if not given or not given <= set(allowed):
                raise InvalidInput(f"{argument}: {', '.join(allowed)}; got {sorted(given)}", argument=argument)
        self._check_fields()
        self._secret = Secret.of(secret)
        self._secret_encoding = secret_encoding
        if _key_bytes(self._secret, secret_encoding) is None:
            raise InvalidInput(f"this secret is not {secret_encoding} (it is not shown)", argument="secret")
        self._separator = separator
        self._algorithm: hmac_scheme.Hash = algorithm
        self._encoding: hmac_scheme.Encoding = encoding
        self._per_second = 1000 if timestamp == "milliseconds" else 1
        self.owned = frozenset(name.lower() for name in self._fields)

    def _check_fields(self) -> None:
        try:
            filled = self._filled("\x01", "\x02", "\x03")
        except (AttributeError, IndexError, KeyError, ValueError):
            filled = []
        text = "".join(value for _, value in filled)
        plain = all(is_name(name) and is_value(value.translate(_PLACEHOLDERS)) for name, value in filled)
        if not filled or not plain:
            raise InvalidInput(
                "a field may have {key_id}, {signature}, {timestamp} and {nonce} in it, no other braces, and what a"
                " header field can hold",
                argument="fields",
            )
        sent = {"signature": "\x01" in text, "timestamp": "\x02" in text, "nonce": "\x03" in text}
        for part in ("signature", *(part for part in self._parts if part in sent)):
            if not sent[part]:
                raise InvalidInput(
                    f"no field has {{{part}}} in it, so that no server could check the signature", argument="fields"
                )

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
        assert key is not None, "it was looked at when this was made"
        signature = hmac_scheme.signature(key, signed, algorithm=self._algorithm, encoding=self._encoding)
        for name, value in self._filled(signature, timestamp, nonce):
            attempt.headers[name] = value

    def _filled(self, signature: str, timestamp: str, nonce: str) -> list[tuple[str, str]]:
        values = {"key_id": self.key_id, "signature": signature, "timestamp": timestamp, "nonce": nonce}
        return [(name, template.format_map(values)) for name, template in self._fields.items()]


_PLACEHOLDERS: Final = str.maketrans("\x01\x02\x03", "stn")
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
        if expires_after is not None and not 0 < expires_after < float("inf"):
            raise InvalidInput(
                f"expires_after must be more than 0 seconds, got {expires_after}", argument="expires_after"
            )
        if digest not in (None, *get_args(Algorithm)):
            raise InvalidInput(f"digest is {' or '.join(get_args(Algorithm))}, got {digest!r}", argument="digest")
        if tag is not None and not is_value(tag):
            raise InvalidInput("a tag is printable ASCII", argument="tag")
        try:
            check_components([components] if isinstance(components, str) else components)
        except Unsignable as error:
            raise InvalidInput(str(error), argument="components") from None
        try:
            signature_fields(label, "()", b"")
        except ValueError as error:
            raise InvalidInput(str(error), argument="label") from None
        self._algorithm, self._sign = _signer(key)
        self._components = (components,) if isinstance(components, str) else tuple(components)
        self._digest: Algorithm | None = digest
        self._expires_after = expires_after
        self._label = label
        self._tag = tag

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
        for argument, given in (("region", region), ("service", service)):
            if not is_name(given):
                raise InvalidInput(f"{given!r} is no name of a {argument}", argument=argument)
        if session_token is not None and not is_value(Secret.of(session_token).reveal()):
            raise InvalidInput(
                "this session token has characters that no header field can hold (it is not shown)",
                argument="session_token",
            )
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
            secret_key=self._secret,
            session_token=self._session,
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


def _key_bytes(secret: Secret, encoding: str) -> bytes | None:
    """None for a text that is none: raised here, an error would have the secret among its locals."""
    try:
        match encoding:
            case "hex":
                return bytes.fromhex(secret.reveal())
            case "base64":
                return b64decode(secret.reveal(), validate=True)
            case _:
                return secret.reveal().encode()
    except ValueError:
        return None


def _signer(key: Any) -> tuple[str, Callable[[bytes], bytes]]:
    """The algorithm's name in the IANA registry of RFC 9421 6.2, and the function that signs."""
    if isinstance(key, (str, bytes, Secret)):
        octets = _octets(key)
        if not octets().lstrip().startswith(b"-----BEGIN"):
            if len(octets()) < 32:
                raise InvalidInput("a key for hmac-sha256 has at least 32 bytes (RFC 7518 3.2)", argument="key")
            return "hmac-sha256", lambda text: hmac.digest(octets(), text, "sha256")
    else:
        octets = None
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
    except ImportError:
        raise Unsupported('a private key needs the extra crypto: pip install "holdfast[crypto]"') from None
    if octets is not None:
        key = None
        with suppress(ValueError, TypeError, UnsupportedAlgorithm):
            key = serialization.load_pem_private_key(octets(), password=None)
        if key is None:
            raise InvalidInput("this PEM is no private key that can be read (it is not shown)", argument="key")
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


def _octets(key: str | bytes | Secret) -> Callable[[], bytes]:
    """In a function, where no traceback's locals show them."""
    octets = key if isinstance(key, bytes) else Secret.of(key).reveal().encode("utf-8", "surrogatepass")
    return lambda: octets


_CURVES: Final = {
    "secp256r1": ("ecdsa-p256-sha256", 32, "SHA256"),
    "secp384r1": ("ecdsa-p384-sha384", 48, "SHA384"),
}
