"""The authorization code flow, the parts that the browser carries: the address to open, and the one that comes back.

Source: RFC 6749 4.1, RFC 7636 (PKCE, S256 alone), RFC 9207 (``iss``), RFC 9700 (best current practice).
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from holdfast.core.oauth.answers import TokenError
from holdfast.core.secret import Secret
from holdfast.core.value import Value

__all__ = ["Authorization", "authorization_url", "challenge", "read_callback"]

_RESERVED: Final = frozenset(
    {"client_id", "code_challenge", "code_challenge_method", "redirect_uri", "response_type", "state"}
)


class Authorization(Value):
    """A login that was begun: open ``url`` in a browser; the rest is for the one who comes back.

    ``state`` and ``verifier`` belong to one browser and to one attempt: keep them where that browser alone gets at
    them, such as its session.
    """

    def __init__(self, url: str, *, redirect_uri: str, state: Secret, verifier: Secret) -> None:
        self.url = url
        self.redirect_uri = redirect_uri
        self.state = state
        self.verifier = verifier


def challenge(verifier: Secret) -> str:
    """RFC 7636 4.2, S256.

    >>> challenge(Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"))
    'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
    """
    return urlsafe_b64encode(sha256(verifier.reveal().encode("ascii")).digest()).rstrip(b"=").decode()


def authorization_url(
    endpoint: str,
    *,
    client_id: str,
    redirect_uri: str,
    scope: str | None,
    state: Secret,
    verifier: Secret,
    parameters: Mapping[str, str],
) -> str:
    """The endpoint's address with the request in its query. ``parameters`` are more of it (``prompt``, ``resource``).

    Raises ValueError for one of ``parameters`` that is ours to set.
    """
    if taken := _RESERVED & parameters.keys():
        raise ValueError(f"{min(taken)} is set by the flow itself")
    parts = urlsplit(endpoint)
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        **({"scope": scope} if scope else {}),
        "state": state.reveal(),
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
        **parameters,
    }
    pairs = [*parse_qsl(parts.query, keep_blank_values=True), *query.items()]  # RFC 6749 3.1: its query is kept
    return urlunsplit(parts._replace(query=urlencode(pairs)))


def read_callback(url: str, authorization: Authorization, *, issuer: str | None, issuer_required: bool) -> Secret:
    """The code that the browser brought back.

    Raises `TokenError`: ``invalid_state`` for an answer to another login than this one (CSRF), ``invalid_issuer`` for
    one of another server, or the server's own error, such as ``access_denied``. The state is looked at first: of
    somebody else's answer nothing is believed, not even the error.
    """
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    fields, states = dict(pairs), [value for name, value in pairs if name == "state"]
    if len(states) != 1 or not hmac.compare_digest(states[0].encode(), authorization.state.reveal().encode()):
        raise TokenError("the answer belongs to another login: its state is not ours", error="invalid_state")
    if len(fields) < len(pairs):  # RFC 6749 3.1: none may come twice
        raise TokenError("the answer of the login has a parameter twice", error="invalid_request")
    given = fields.get("iss")
    # RFC 9207 2.4: compared as it is, character by character.
    if issuer is not None and given != issuer and (given is not None or issuer_required):
        raise TokenError("the answer comes from another server than was asked (iss)", error="invalid_issuer")
    if "error" in fields:
        code, description = (_line(fields.get(name, "")) for name in ("error", "error_description"))
        raise TokenError(
            f"the login was not granted: {code}{f' ({description})' if description else ''}",
            error=code,
            error_description=description or None,
        )
    if not fields.get("code"):
        raise TokenError("the answer of the login has no code", error="invalid_request")
    return Secret(fields["code"])


def _line(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text[:300])
