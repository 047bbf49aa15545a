"""An API for the tests of the resource layer, and a service of it over a scripted far side in virtual time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from holdfast import Pipeline
from holdfast.client import Call, Resource, Service, accessor
from holdfast.testing import ScriptedTransport, VirtualClock
from holdfast.testing.scripted import Answer, Reply
from tests.support import FamilyModules

BASE = "http://api.test/v1"


@dataclass
class User:
    id: int
    name: str


class Users(Resource, path="/users"):
    def get(self, id: int | str) -> Call[User]:
        return self.GET("/{id}", User, id=id)

    def all(self, *, role: str | None = None, tags: Iterable[str] = ()) -> Call[list[User]]:
        return self.GET("", list[User], query={"role": role, "tag": [*tags]})

    def create(self, name: str) -> Call[User]:
        return self.POST("", User, json={"name": name})

    def order(self, name: str) -> Call[User]:
        return self.POST("", User, json={"name": name}, idempotent="key")

    def remove(self, id: int) -> Call[None]:
        return self.DELETE("/{id}", id=id)


class Repos(Resource, path="/repos"):
    def get(self, name: str) -> Call[bytes]:
        return self.GET("/{name}", bytes, name=name)


class Orgs(Resource, path="/orgs/{org}"):
    repos = accessor(Repos)

    def __call__(self, org: str) -> Orgs:
        return self.at(org=org)


class Shop(Service):
    users = accessor(Users)
    orgs = accessor(Orgs)

    def ping(self) -> Call[None]:
        return self.GET("/ping", None)


ADA = Reply(200, body=b'{"id": 1, "name": "Ada"}', headers={"content-type": "application/json"})


def document(value: Any, status: int = 200, **headers: str) -> Reply:
    """An answer of JSON."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, body=json.dumps(value).encode(), headers={"content-type": "application/json", **named})


@dataclass
class Stage:
    """A service, what stands behind it, and what arrived there."""

    shop: Shop
    script: ScriptedTransport[Any, Any]
    clock: VirtualClock
    requests: list[Any] = field(default_factory=list[Any])

    @property
    def urls(self) -> list[str]:
        return [str(request.url) for request in self.requests]

    @property
    def last(self) -> Any:
        return self.requests[-1]


@asynccontextmanager
async def stage(
    family: FamilyModules,
    script: Iterable[Answer] | Callable[[int, Any], Answer] = (ADA,),
    *,
    base_url: str = BASE,
    pipeline: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Stage]:
    """A service with these settings; the script's last answer repeats, and random is 0.5 throughout."""
    clock = VirtualClock(jump=True)
    answers = None if callable(script) else [*script]
    requests: list[Any] = []

    def answer(number: int, request: Any) -> Answer:
        requests.append(request)
        return script(number, request) if callable(script) else (answers or [ADA])[min(number, len(answers or [1])) - 1]

    far_side: ScriptedTransport[Any, Any] = ScriptedTransport(family.holdfast.FAMILY, answer, clock=clock)
    made = Pipeline(clock=clock, random=lambda: 0.5, **(pipeline or {}))
    settings = {"family": family.name, **settings}
    async with Shop(base_url, pipeline=made, transport=far_side, **settings) as shop:
        yield Stage(shop, far_side, clock, requests)
