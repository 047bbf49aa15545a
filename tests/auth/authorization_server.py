"""An authorization server in a few lines, as the far side of a scripted transport: it counts, rotates and revokes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

from holdfast import Pipeline
from holdfast.auth import OAuthClient, ServerMetadata
from holdfast.clock import Clock
from holdfast.testing import ScriptedTransport, VirtualClock
from holdfast.testing.scripted import Answer, Reply
from tests.support import FamilyModules

ISSUER = "https://id.test"
METADATA = ServerMetadata(
    issuer=ISSUER,
    token_endpoint=f"{ISSUER}/token",
    authorization_endpoint=f"{ISSUER}/auth",
    device_authorization_endpoint=f"{ISSUER}/device",
    revocation_endpoint=f"{ISSUER}/revoke",
    introspection_endpoint=f"{ISSUER}/introspect",
)


class AuthorizationServer:
    """Gives numbered tokens of ``lifetime`` seconds after ``takes`` seconds, or what stands in ``answers`` first.

    A refresh token serves once; one that comes a second time ends its whole family (RFC 9700 4.14.2).
    """

    def __init__(self, *, lifetime: float | None = 3600.0, takes: float = 0.0) -> None:
        self.lifetime = lifetime
        self.takes = takes
        self.answers: list[Answer] = []
        self.requests: list[Any] = []
        self.forms: list[dict[str, str]] = []
        self.revoked: list[str] = []
        self.good: str | None = "r0"
        self.seen: set[str] = set()

    def __call__(self, number: int, request: Any) -> Answer:
        self.requests.append(request)
        form = dict(parse_qsl(request.content.decode(), keep_blank_values=True))
        self.forms.append(form)
        if self.answers:
            return self.answers.pop(0)
        match request.url.path:
            case "/token":
                return self.token(form)
            case "/revoke":
                self.revoked.append(form["token"])
                return Reply(200, delay=self.takes)
            case "/introspect":
                return Reply.json({"active": form["token"] not in self.revoked, "scope": "read"})
            case _:
                return Reply(404)

    def token(self, form: dict[str, str]) -> Reply:
        issued: dict[str, Any] = {"access_token": f"t{len(self.forms)}", "token_type": "bearer"}
        if self.lifetime is not None:
            issued["expires_in"] = self.lifetime
        if form["grant_type"] == "refresh_token":
            token = form["refresh_token"]
            if token != self.good:
                if token in self.seen:
                    self.good = None
                return Reply.json({"error": "invalid_grant"}, status=400, delay=self.takes)
            self.seen.add(token)
        if form["grant_type"] != "client_credentials":
            self.good = issued["refresh_token"] = f"r{len(self.forms)}"
        return Reply.json(issued, headers={"Cache-Control": "no-store"}, delay=self.takes)


@asynccontextmanager
async def client_of(
    family: FamilyModules, far_side: Any, secret: Any = "hunter2", *, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[OAuthClient]:
    """A client of it, in virtual time."""
    clock = VirtualClock(jump=True) if clock is None else clock
    transport: ScriptedTransport[Any, Any] = ScriptedTransport(family.holdfast.FAMILY, far_side, clock=clock)
    lane = Pipeline(clock=clock, random=lambda: 0.5, deadline=10.0, attempt_timeout=5.0)
    whole: dict[str, Any] = {"server": METADATA, "family": family.name, "transport": transport, "pipeline": lane}
    async with OAuthClient("worker", secret, **{**whole, **settings}) as client:
        yield client
