"""JSON Web Tokens that we sign ourselves (RFC 7519): as a credential, and as an assertion of who a client is."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from holdfast.auth.bearer import TokenBound
from holdfast.auth.token_source import TokenSource
from holdfast.clock import Clock, SystemClock
from holdfast.core.secret import Secret
from holdfast.core.tokens import Token
from holdfast.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

__all__ = ["JWT", "Algorithm", "SigningKey"]

Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]

_LONGEST_LIFETIME: Final = 24 * 3600.0
_JTI_BYTES: Final = 16
_CURVES: Final = {"ES256": 256, "ES384": 384, "ES512": 521}
_TIMES: Final = ("exp", "iat", "nbf")


class SigningKey:
    """A key with the algorithm it is for, which signs claims. Needs PyJWT (``pip install "holdfast[jwt]"``).

    ``key``: a shared secret for HS*, or a private key, as PEM or as an object of `cryptography`. ``key_id``: the
    ``kid`` that tells the server which of its keys to check with. Immutable; it shows nothing of the key.

    Raises `InvalidInput` for a key that does not fit its algorithm, HS* keys shorter than their hash included
    (RFC 7518 3.2), and `Unsupported` without PyJWT.
    """

    def __init__(
        self, key: str | Secret | PrivateKey, algorithm: Algorithm = "RS256", *, key_id: str | None = None
    ) -> None:
        jwt = _pyjwt()
        self.algorithm: Final = algorithm
        self.key_id: Final = key_id
        text = Secret.of(key) if isinstance(key, (str, Secret)) else None
        if algorithm not in get_args(Algorithm):
            raise InvalidInput(f"{algorithm!r} is no algorithm to sign with", argument="algorithm")
        shared = algorithm.startswith("HS")
        if shared and (text is None or len(text.reveal().encode()) < int(algorithm[2:]) // 8):
            at_least = int(algorithm[2:]) // 8
            raise InvalidInput(f"a key for {algorithm} is a text of {at_least} bytes or more", argument="key")
        try:
            # Kept as what PyJWT makes of it: a PEM is read once.
            prepared = jwt.get_algorithm_by_name(algorithm).prepare_key(key if text is None else text.reveal())
        except (jwt.PyJWTError, ValueError, TypeError, NotImplementedError):
            # Not chained: what reads a key may quote it.
            raise InvalidInput(f"this is no private key for {algorithm} (it is not shown)", argument="key") from None
        if not shared and not hasattr(prepared, "sign"):
            raise InvalidInput(f"{algorithm} signs with a private key, and this is a public one", argument="key")
        if algorithm in _CURVES and prepared.curve.key_size != _CURVES[algorithm]:  # older PyJWT does not look
            raise InvalidInput(f"{algorithm} is for another curve than this key's", argument="key")
        self._key = _Sealed(prepared)
        self._encode: Final = jwt.encode

    def sign(self, claims: Mapping[str, Any], *, type: str | None = "JWT") -> Secret:
        """The claims as a signed token. Raises `InvalidInput` for claims that are no JSON, and for a naive time."""
        naive = [name for name in _TIMES if isinstance(at := claims.get(name), datetime) and at.tzinfo is None]
        if naive:
            raise InvalidInput(f"{naive[0]} is a datetime without a zone, which could mean any time", argument=naive[0])
        headers: dict[str, Any] = {"typ": type}
        if self.key_id is not None:
            headers["kid"] = self.key_id
        try:
            return Secret(self._encode(dict(claims), self._key.open(), algorithm=self.algorithm, headers=headers))
        except TypeError as error:
            raise InvalidInput(f"these claims are no JSON: {error}", argument="claims") from None

    def assertion(
        self, *, issuer: str, subject: str, audience: str, now: float, lifetime: float = 60.0, **more: Any
    ) -> Secret:
        """A statement of ``issuer`` about ``subject`` for ``audience`` alone, good once (``jti``) and not for long."""
        return self.sign(
            {
                **more,
                "iss": issuer,
                "sub": subject,
                "aud": audience,
                "iat": int(now),
                "exp": int(now + lifetime),
                "jti": secrets.token_urlsafe(_JTI_BYTES),
            }
        )

    def __repr__(self) -> str:
        return f"SigningKey({self.algorithm!r}{'' if self.key_id is None else f', key_id={self.key_id!r}'})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a signing key is not pickled: it would lie open in a file or on a wire")


class JWT(TokenBound):
    """``Authorization: Bearer`` with a token of our own signing, for APIs that take those (GitHub Apps, Google, ...).

    ``claims``: what the token says, or a function of nothing that tells it anew for each; it is copied, never changed.
    ``issuer``, ``subject`` and ``audience`` are ``iss``, ``sub`` and ``aud``. ``iat``, ``exp`` and ``jti`` are put in,
    unless ``claims`` has them. ``lifetime``: seconds (300); signed once in a lifetime, and once more after a 401.
    ``backdate``: seconds by which ``iat`` lies in the past, for servers whose clock is behind.

    >>> JWT(SigningKey("k" * 32, "HS256"), issuer="shop", audience="api", origins="https://api.example.com")
    JWT(https://api.example.com)
    """

    def __init__(
        self,
        key: SigningKey,
        *,
        issuer: str | None = None,
        subject: str | None = None,
        audience: str | list[str] | None = None,
        claims: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None,
        lifetime: float = 300.0,
        backdate: float = 0.0,
        origins: str | Iterable[str] | None = None,
        allow_http: bool = False,
        identity: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not 0 < lifetime <= _LONGEST_LIFETIME:
            raise InvalidInput(f"lifetime is over 0 seconds and at most a day, got {lifetime}", argument="lifetime")
        if backdate < 0:
            raise InvalidInput(f"backdate must not be negative, got {backdate}", argument="backdate")
        clock = SystemClock() if clock is None else clock
        named = {"iss": issuer, "sub": subject, "aud": audience}
        fixed = {name: value for name, value in named.items() if value is not None}
        given: Mapping[str, Any] | Callable[[], Mapping[str, Any]] = claims if callable(claims) else {**(claims or {})}

        async def sign(previous: Token | None) -> Token:
            now = clock.wall()
            own = given() if callable(given) else given
            times = {"iat": int(now - backdate), "exp": int(now + lifetime), "jti": secrets.token_urlsafe(_JTI_BYTES)}
            whole: dict[str, Any] = {**times, **fixed, **own}
            ends = whole["exp"].timestamp() if isinstance(whole["exp"], datetime) else float(whole["exp"])
            return Token(key.sign(whole), expires_at=ends, lifetime=ends - now)

        super().__init__(TokenSource(sign, clock=clock), origins=origins, allow_http=allow_http, identity=identity)


class _Sealed:
    """Holds a key where neither `vars` nor a traceback's locals show it: PyJWT keeps a shared secret as bytes."""

    __slots__ = ("open",)

    def __init__(self, key: Any) -> None:
        self.open: Final[Callable[[], Any]] = lambda: key


def _pyjwt() -> ModuleType:
    try:
        import jwt
    except ImportError:
        raise Unsupported('JSON Web Tokens need PyJWT: pip install "holdfast[jwt]"') from None
    return jwt
