"""Which sites, on which servers, and with which passwords? Two files: one may be shown around, the other may not."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from holdfast.auth import Secret

__all__ = ["Fleet", "Server", "Site", "read"]


@dataclass(frozen=True, slots=True)
class Server:
    """A machine that carries several sites; ``at_once``: requests that they may get from us at a time, together."""

    name: str
    at_once: int = 4


@dataclass(frozen=True, slots=True)
class Site:
    """``url`` without ``/wp-json``. ``user`` has an application password of WordPress, in credentials.toml."""

    name: str
    url: str
    server: str
    user: str


@dataclass(frozen=True, slots=True)
class Fleet:
    sites: tuple[Site, ...]
    servers: Mapping[str, Server]
    passwords: Mapping[str, Secret]  # by name of a site


def read(path: Path) -> Fleet:
    """``sites.toml``, and the ``credentials.toml`` beside it. Raises ValueError for what cannot be, naming the site."""
    told = tomllib.loads(path.read_text("utf-8"))
    servers = {name: Server(name, **settings) for name, settings in told["servers"].items()}
    sites = tuple(Site(**site) for site in told["sites"])
    passwords = _passwords(path.with_name("credentials.toml"))
    for site in sites:
        if site.server not in servers:
            raise ValueError(f"{site.name}: there is no server {site.server!r}")
        if site.name not in passwords:
            raise ValueError(f"{site.name}: no password in credentials.toml")
    if len({site.name for site in sites}) < len(sites):
        raise ValueError("two sites have one name")
    return Fleet(sites, servers, passwords)


def _passwords(path: Path) -> dict[str, Secret]:
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise ValueError(f"{path.name} can be read by others: chmod 600")
    return {name: Secret(password) for name, password in tomllib.loads(path.read_text("utf-8")).items()}
